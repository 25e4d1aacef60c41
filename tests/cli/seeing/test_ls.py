"""`ddb-lease ls`: what it prints of a listing."""

import argparse
import contextlib
import dataclasses
import json

import pytest

from ddb_lease import Limit
from ddb_lease._protocol.listing import BucketListing, ListPage, PageIs, RateListing, TableListing
from ddb_lease.cli.fitting import columns_of
from ddb_lease.cli.seeing import ls
from ddb_lease.models import LeaseInfo


def lease(slot=0, owner="host:1", *, age=5.0, remaining=20.0, **more):
    own = {"lease_id": f"{slot}-{'ab' * 16}", "fence": 1, "data": {}, "revoked": False, "retired": False} | more
    return LeaseInfo(slot=slot, owner=owner, age_seconds=age, remaining_seconds=remaining, **own)


def bucket(name="gpus", *leases, max_tokens=4, kind="bucket"):
    return BucketListing(name=name, kind=kind, max_tokens=max_tokens, lease_seconds=60.0, leases=leases)


def listing(*found, **more):
    buckets = tuple(one for one in found if isinstance(one, BucketListing))
    rates = tuple(one for one in found if isinstance(one, RateListing))
    own = {"table": "ddb-lease", "items": 12, "unreadable": 0, "read_units": 6.5, "pages": 1} | more
    return TableListing(buckets=buckets, rates=rates, **own)


def test_the_fullest_bucket_comes_first_with_its_oldest_holder():
    full = bucket("full", lease(0, "young", age=2), lease(1, "old", age=7500), max_tokens=2)
    text = ls.as_table(listing(bucket("a", lease()), full), width=80)
    assert text.splitlines() == [
        "table ddb-lease: 2 buckets, 0 rates",
        "",
        "BUCKET    USED  OLDEST HOLDER    FOR",
        "full    2 of 2  old            2h05m",
        "a       1 of 4  host:1            5s",
        "",
        "12 items read in 1 request, 6.5 RCU",
    ]


def test_expired_leases_use_nothing_and_are_no_oldest_holder():
    gone = bucket("gone", lease(0, "dead", age=900, remaining=-3))
    assert "gone    0 of 4" in ls.as_table(listing(gone), width=80)
    assert json.loads(ls.as_json(listing(gone)))["buckets"][0] == {
        "name": "gone",
        "kind": "bucket",
        "max_tokens": 4,
        "used": 0,
        "expired": 1,
        "order": "any",
        "waiting": 0,
        "lease_seconds": 60.0,
        "oldest": None,
    }


def test_where_somebody_waits_comes_first_if_that_is_known():
    queued = dataclasses.replace(bucket("queued", lease(), max_tokens=9), order="fifo", waiting=12)
    text = ls.as_table(listing(bucket("full", lease(), max_tokens=1), queued), width=80)
    assert text.splitlines()[2:5] == [
        "BUCKET    USED  WAITING  OLDEST HOLDER  FOR",
        "queued  1 of 9       12  host:1          5s",
        "full    1 of 1           host:1          5s",
    ]


def test_a_rate_shows_its_limits_and_its_keys():
    one = RateListing(name="news", limits={"permits": Limit(5.0, per=60.0, burst=2)}, available=1)
    keyed = RateListing(
        name="api", limits={"requests": Limit(100.0, per=60.0, burst=9)}, keys=1234, blocked=2, available=None
    )
    lines = ls.as_table(listing(one, keyed), width=80).splitlines()
    assert lines[2:5] == [
        "RATE  AVAILABLE  LIMITS",
        "news          1  5/m, burst 2",
        "api              requests 100/m, burst 9; 1,234 keys; 2 blocked",
    ]
    assert json.loads(ls.as_json(listing(keyed)))["rates"][0]["blocked"] == 2


@pytest.mark.parametrize("width", [80, 60])
def test_it_fits_whatever_the_names_are(width):
    odd = "\u4e2d\u6587" * 60 + "\x1b[2J"
    limits = {f"limit-{n}": Limit(5.0, per=60.0, burst=2) for n in range(5)}
    text = ls.as_table(listing(bucket(odd, lease(0, odd)), RateListing(name=odd, limits=limits)), width=width)
    assert all(columns_of(line) <= width for line in text.splitlines())
    assert "\x1b" not in text


def test_what_cannot_be_read_is_said_and_a_cost_that_is_not_known_is_not():
    text = ls.as_table(listing(read_units=None, unreadable=2, items=12345, pages=3), width=80)
    assert text.splitlines()[-1] == "12,345 items read in 3 requests; 2 items cannot be read"
    assert ls.units_text(1234567.5) == "1,234,568 RCU"


def list_table(monkeypatch, *pages):
    """List a table that comes in these pages."""

    class Reader:
        def read(self, observe):
            for page in pages:
                observe(ListPage(), page)
            return listing()

    monkeypatch.setattr(ls, "table_reader", lambda _: contextlib.nullcontext(Reader()))
    assert ls.execute(argparse.Namespace(json=False)) == 0


def test_while_a_large_table_is_read_it_says_so_and_what_that_costs(monkeypatch, capsys):
    page = PageIs(found=(), unreadable=0, scanned=5_000, after=("a", "b"), read_units=128.0)
    list_table(monkeypatch, dataclasses.replace(page, after=None))
    assert capsys.readouterr().err == "", "one page is soon there"
    list_table(monkeypatch, *[page] * 51)
    assert capsys.readouterr().err.splitlines() == [
        "ddb-lease: the table is larger than one page: reading on, 128 RCU for each 1 MB of it, until Ctrl-C",
        "ddb-lease: 250,000 items so far, 6,400 RCU",
    ]
