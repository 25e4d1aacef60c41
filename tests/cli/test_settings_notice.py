"""What `run` says of settings that the bucket was not made with: what was typed, and the command that changes it."""

import argparse
import logging

import pytest

from ddb_lease._protocol.records import Settings
from ddb_lease._state.bucket_state import OTHER_SETTINGS_TEXT, PRIORITY_TEXT, Described
from ddb_lease.cli.settings_notice import SettingsNotice, different

STORED = Described(Settings(max_tokens=4, lease_ms=60_000, order="any"))
WANTED = Described(Settings(max_tokens=2, lease_ms=30_000, order="fifo"))


def typed(*given):
    where = {"table": "ddb-lease", "region": None, "profile": None, "endpoint_url": None, "local": True}
    return argparse.Namespace(bucket="gpus", given=frozenset(given), **where)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), []),
        (
            ("max_tokens",),
            [
                (
                    "bucket 'gpus' has max_tokens=4, and that counts, not the 2 of --max-tokens; to change that: "
                    "ddb-lease resize gpus 2 --table ddb-lease --local"
                )
            ],
        ),
        (
            ("lease",),
            [
                (
                    "bucket 'gpus' has leases of 1m, and that counts, not the 30s of --lease; "
                    "the length is set when a bucket is made: to have another one, use a bucket of another name"
                )
            ],
        ),
        (
            ("fifo",),
            [
                (
                    "bucket 'gpus' has order=any, and that counts, not --fifo; to change that: "
                    "ddb-lease configure gpus --order fifo --table ddb-lease --local"
                )
            ],
        ),
    ],
)
def test_only_what_was_typed_is_told_of(given, told):
    assert different(typed(*given), stored=STORED, wanted=WANTED) == told
    assert different(typed(*given), stored=STORED, wanted=STORED) == []


def test_the_librarys_own_warning_is_not_logged_besides(capsys):
    log = logging.getLogger("ddb_lease")
    with SettingsNotice(typed("max_tokens")) as notice:
        assert not notice.filter(log.makeRecord("n", 30, "p", 1, OTHER_SETTINGS_TEXT, ("b", STORED, WANTED, ""), None))
        assert notice.filter(log.makeRecord("n", 30, "p", 1, "%s is full", ("b",), None))
        assert notice in log.filters
    assert notice not in log.filters
    assert capsys.readouterr().err.startswith("ddb-lease: bucket 'gpus' has max_tokens=4")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            ["priority"],
            (
                "ddb-lease: bucket 'gpus' has order=any, and a --priority does nothing there; to change that: "
                "ddb-lease configure gpus --order fifo --table ddb-lease --local\n"
            ),
        ),
        (["priority", "fifo"], ""),
        ([], ""),
    ],
    ids=["typed", "told of --fifo already", "not typed"],
)
def test_a_priority_in_a_bucket_without_an_order_is_told(capsys, given, told):
    log = logging.getLogger("ddb_lease")
    notice = SettingsNotice(typed(*given))
    assert not notice.filter(log.makeRecord("n", 30, "p", 1, PRIORITY_TEXT, ("bucket 'gpus'", "any"), None))
    assert capsys.readouterr().err == told
