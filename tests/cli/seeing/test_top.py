"""`ddb-lease top`: what it draws, in terminals of any size."""

import os
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from ddb_lease import Limit
from ddb_lease._protocol.listing import BucketListing, RateListing
from ddb_lease.cli import main
from ddb_lease.cli.fitting import columns_of
from ddb_lease.cli.seeing import top
from ddb_lease.cli.seeing.screen import drawn, lines_of
from ddb_lease.cli.seeing.watching import Picture
from ddb_lease.models import Waiter
from tests.cli.seeing.test_ls import bucket, lease, listing

ODD = "a\x1b[2J\u4e2d" * 30
QUEUE = tuple(
    Waiter(
        place=n,
        owner=f"w:{n}",
        since=datetime.now(timezone.utc) - timedelta(minutes=90, seconds=20),
        count=n,
        priority=5,
    )
    for n in (1, 2)
)
GPUS = BucketListing(
    name="gpus",
    max_tokens=2,
    lease_seconds=60.0,
    leases=(lease(0, "a:1", age=7500), lease(1, "b:2", revoked=True), lease(3, "d:4", remaining=-1)),
    order="fifo",
    queue=QUEUE,
    waiting=5,
)
RATE = RateListing(name="news", limits={"permits": Limit(5.0, per=60.0, burst=5)}, available=2)
WHOLE = listing(bucket("idle"), GPUS, RATE)


def lines(found=WHOLE, *, width=80, height=24, age=1.0, error="", plain=False):
    picture = Picture(listing=found, number=1, age_seconds=age, error=error)
    return lines_of(drawn(picture, width=width, height=height, interval=5, plain=plain))


def test_the_fullest_bucket_comes_first_with_a_bar_and_who_waits():
    assert lines() == [
        "ddb-lease  now, every 5s, 12 items read in 1 request, 6.5 RCU             q ends",
        "",
        "BUCKET              LEASED                   WAITING  OLDEST HOLDER",
        "gpus                2 of 2 \u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588        5  a:1, 2h05m",
        "idle                0 of 4 " + "\u2591" * 16 + " " * 9,
        "",
        "news                2 of 5 left " + "\u2588" * 7 + "\u2591" * 9 + "  5/m, burst 5",
    ]


@pytest.mark.parametrize(("found", "said"), [(GPUS, True), (bucket("idle"), False)])
def test_who_waits_has_a_column_if_anybody_can_wait_in_order(found, said):
    (heads,) = (line for line in lines(listing(found)) if line.startswith("BUCKET"))
    assert ("WAITING" in heads) is said


def test_named_buckets_show_their_holders_and_their_queues():
    since = datetime.now(timezone.utc) - timedelta(minutes=90, seconds=20)
    gpus = replace(GPUS, queue=tuple(replace(waiter, since=since) for waiter in QUEUE))
    shown = lines(listing(gpus, read_units=None))
    assert [line.split() for line in shown[4:]] == [
        ["0", "a:1", "2h05m", "20s", "left"],
        ["1", "b:2", "5s", "20s", "left,", "revoked"],
        ["3", "d:4", "5s", "expired"],
        ["1.", "w:1", "waits", "1h30m,", "priority", "5"],
        ["2.", "w:2", "waits", "1h30m,", "wants", "2,", "priority", "5"],
        ["and", "3", "more", "wait"],
    ]


def test_in_an_outage_the_last_picture_stays_and_says_how_old_it_is():
    shown = lines(age=42, error="no answer")
    assert shown[0].startswith("ddb-lease  42s ago, every 5s")
    assert shown[1:3] == ["no answer", "the picture below is 42s old"]
    assert any(line.startswith("gpus") for line in shown)
    assert lines(age=17)[1] == "nothing new has come"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 30), (40, 12), (20, 5), (10, 2), (1, 1)])
def test_it_never_takes_more_than_the_terminal_has(width, height):
    many = [bucket(f"{n}-{ODD}", lease(0, ODD), max_tokens=100_000) for n in range(40)]
    for found in (WHOLE, listing(*many), listing(GPUS, *many, read_units=None), listing()):
        for error in ("", ODD.replace("\x1b", "")):
            shown = lines(found, width=width, height=height, error=error)
            assert len(shown) <= height
            assert all(columns_of(line) <= width for line in shown)
            assert not any("\x1b" in line for line in shown)


def test_what_does_not_fit_is_counted():
    many = [bucket(f"b-{n:02}") for n in range(40)]
    assert lines(listing(*many), height=10)[-1] == "and 34 more lines"


def test_what_just_fits_is_shown_whole():
    found = listing(*(bucket(f"b-{n:02}") for n in range(20)))
    whole = lines(found, height=100)
    assert lines(found, height=len(whole)) == whole
    assert lines(found, height=len(whole) - 1) == [*whole[:-2], "and 2 more lines"]


def test_a_terminal_without_such_characters_gets_others():
    assert all(line.isascii() for line in lines(plain=True))
    assert "################" in lines(plain=True)[3]


def test_colours_are_where_they_mean_something():
    picture = Picture(listing=WHOLE, number=1, age_seconds=1.0, error="no answer")
    text = drawn(picture, width=80, height=24, interval=5)
    styles = {text.plain[span.start : span.end].strip(): str(span.style) for span in text.spans}
    assert styles["gpus"] == styles["ddb-lease"] == "bold"
    assert (styles["2 of 2"], styles["\u2588" * 16], styles["\u2588" * 7]) == ("bold", "yellow", "bright_blue")
    assert styles["no answer"] == "bold bright_red"


def test_an_empty_table_says_so():
    assert "no bucket and no rate is here yet" in lines(listing())


def test_without_rich_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main.main(["top", "--region=us-east-1"]) == 2
    assert "top needs rich: pip install 'ddb-lease[terminal]'" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
@pytest.mark.parametrize(
    ("typed", "ends"),
    [(b"q", True), (b"Q", True), (b"\x1b", True), (b"\x04", True), (b"\x1b[A", False), (b"x", False), (b" q", False)],
)
def test_a_key_that_ends_it_does_and_an_arrow_is_none(monkeypatch, typed, ends):
    person, terminal = os.openpty()
    try:
        with os.fdopen(terminal) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            with top.Keys() as keys:
                os.write(person, typed)
                assert keys.quit_within(5.0) is ends
                assert keys.quit_within(0.0) is False, "nothing more was typed"
            monkeypatch.undo()
    finally:
        os.close(person)
