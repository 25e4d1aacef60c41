"""The line of a command that waits: what it says, and that it fits."""

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease.cli import wait_text
from ddb_lease.cli.fitting import columns_of
from ddb_lease.cli.wait_text import Holder, Standing
from ddb_lease.models import Waiter
from tests.cli.test_formatting import lease, status

A, B = Holder(owner="A", seconds=7200.0), Holder(owner="B", seconds=36.0)


def test_it_says_how_long_and_who_holds_what_is_waited_for():
    line = wait_text.waiting("gpus", "full", (A, B), waited=130.0, aged=4.0)
    assert line == "waiting for gpus: full, waited 2m10s; held by A for 2h, B for 40s"


def test_it_says_what_is_known():
    assert wait_text.waiting("gpus", "", (), waited=0.4, aged=0.0) == "waiting for gpus"
    assert wait_text.waiting("gpus", "", (), waited=3.0, aged=0.0) == "waiting for gpus: waited 3s"
    assert wait_text.held_by(()) == ""


def test_who_waits_to_lead_reads_who_leads():
    def line(state, *holders, width=None):
        return wait_text.waiting("sched", state, holders, waited=61.0, aged=4.0, width=width, to_lead=True)

    assert line("full", B) == "waiting to lead sched: waited 1m01s; B has led for 40s"
    assert line("closed for 2m more") == "waiting to lead sched: closed for 2m more, waited 1m01s"
    assert line("full", B, width=50) == "waiting to lead sched: waited 1m01s; B leads"
    assert line("full", B, width=40) == "waiting to lead sched: waited 1m01s"


def test_where_there_is_no_end_of_room_five_holders_are_named():
    many = tuple(Holder(owner=f"h{n}", seconds=60.0) for n in range(8))
    assert wait_text.held_by(many) == "held by h0 for 1m, h1 for 1m, h2 for 1m, h3 for 1m, h4 for 1m, and 3 more"


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (100, "waiting for gpus: full, waited 5s; held by build-host-1…ernal:12345 for 2h, vm:7 for 36s"),
        (80, "waiting for gpus: full, waited 5s; held by build-ho…l:12345 for 2h, vm:7 for 36s"),
        (72, "waiting for gpus: full, waited 5s; held by buil…345 for 2h, vm:7 for 36s"),
        (64, "waiting for gpus: full, waited 5s; held by build…12345 for 2h +1"),
        (60, "waiting for gpus: full, waited 5s; held by build…12345, vm:7"),
        (54, "waiting for gpus: full, waited 5s; held by buil…345 +1"),
        (52, "waiting for gpus: full, waited 5s"),
        (24, "waiting for gpus: full,…"),
    ],
)
def test_where_there_is_little_room_owners_are_shortened_before_the_rest_goes(width, line):
    holders = (
        Holder(owner="build-host-17.eu-central-1.compute.internal:12345", seconds=7200.0),
        Holder(owner="vm:7", seconds=36.0),
    )
    assert wait_text.waiting("gpus", "full", holders, waited=5.0, aged=0.0, width=width) == line


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    subject=st.text(min_size=1, max_size=60),
    owners=st.lists(st.text(min_size=1, max_size=60), max_size=6),
    width=st.integers(1, 130),
)
def test_no_owner_makes_it_longer_than_the_terminal_or_moves_its_cursor(subject, owners, width):
    holders = tuple(Holder(owner=owner, seconds=1.0) for owner in owners)
    line = wait_text.waiting(wait_text.printable(subject), "full", holders, waited=9.0, aged=0.0, width=width)
    assert columns_of(line) <= width
    assert all(c.isprintable() for c in line)


def test_a_standing_is_what_a_status_shows():
    held = [lease(slot=n, lease_id=f"{n}-a", age_seconds=float(n)) for n in range(11)]
    expired = lease(slot=11, lease_id="11-a", remaining_seconds=-1.0)
    assert wait_text.standing(status(*held, expired), owner="me", count=1).state == ""
    assert wait_text.standing(status(*held, expired), owner="me", count=2).state == "1 free of 2 wanted"
    full = wait_text.standing(status(*held, lease(slot=11, lease_id="10-a", age_seconds=10.0)), owner="me", count=1)
    assert full.state == "full"
    assert [holder.seconds for holder in full.holders] == [10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    assert Standing() == wait_text.UNKNOWN


def test_a_slot_that_is_kept_closed_is_held_by_nobody_and_it_says_for_how_long():
    closed = [lease(slot=n, lease_id=f"{n}-closed-a", remaining_seconds=60.0 * (n + 2)) for n in range(2)]
    standing = wait_text.standing(status(*closed, max_tokens=2), owner="me", count=1)
    assert standing == Standing(state="closed for 2m more")
    standing = wait_text.standing(status(closed[0], lease(slot=1, lease_id="1-a"), max_tokens=2), owner="me", count=1)
    assert standing.state == "full, 1 kept closed"
    assert len(standing.holders) == 1


def test_in_an_ordered_bucket_it_says_the_place():
    since = datetime(2026, 1, 1, tzinfo=timezone.utc)
    queue = tuple(
        Waiter(place=n + 1, owner=owner, since=since, count=1, priority=5) for n, owner in enumerate(("a", "me", "b"))
    )
    assert wait_text.standing(status(queue=queue, waiting=7), owner="me", count=1).state == "place 2 of 7"
    assert wait_text.placed(8, 7) == "place 8"
    assert wait_text.standing(status(queue=queue, waiting=7, max_tokens=0), owner="x", count=1).state == "full"
