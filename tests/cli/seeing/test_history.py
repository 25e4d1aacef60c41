"""What timestamped lines tell of a bucket: events, snapshots, and both."""

import json

import pytest

from ddb_lease.cli.seeing.history import histories, parsed
from ddb_lease.cli.seeing.stamps import seconds_in, stamp

T = 1_795_957_200.0


def event(at, kind, lease_id="0-a", **more):
    return T + at, {"bucket": "gpus", "event": kind, "lease_id": lease_id} | more


def acquired(at, lease_id="0-a", slots=(0,), **more):
    return event(at, "Acquired", lease_id, slots=list(slots), fence=7, waited_seconds=0.0, owner="a:1", **more)


def row(slot=0, lease_id="0-a", *, age=1.0, remaining=20.0, owner="a:1", **more):
    return {
        "slot": slot,
        "lease_id": lease_id,
        "age_seconds": age,
        "remaining_seconds": remaining,
        "owner": owner,
        "fence": 7,
    } | more


def snapshot(at, *leases, **more):
    return T + at, {"bucket": "gpus", "name": "gpus", "max_tokens": 2, "leases": list(leases)} | more


def read(lines):
    """The histories in these lines, through a file."""
    problems = []
    found = histories(parsed("file", [json.dumps({"at": at} | line) for at, line in lines], problems))
    assert problems == []
    return found


def told(*lines):
    (bucket,) = read(lines)
    return bucket


def spans(bucket):
    return [(hold.slot, round(hold.start - T, 3), round(hold.shown_end - T, 3), hold.ending) for hold in bucket.holds]


def test_a_lease_lasts_from_its_acquire_to_its_release():
    bucket = told(acquired(5), event(8, "Renewed"), event(11, "Released", freed=True))
    assert spans(bucket) == [(0, 5, 11, "released")]
    (hold,) = bucket.holds
    assert (hold.owner, hold.fence, hold.uncertain) == ("a:1", 7, 0.0)


def test_a_slot_that_is_kept_closed_is_held_by_nobody_from_when_it_is_seen():
    lines = [acquired(5), event(8, "Released", freed=True)]
    lines += [snapshot(at, row(lease_id="0-closed-a", age=at - 5.0)) for at in (10, 14)]
    bucket = told(*lines, snapshot(18))
    assert [(hold.owner, hold.start - T) for hold in bucket.holds] == [("a:1", 5), ("closed by a:1", 10)]


def test_lines_may_come_in_any_order():
    assert spans(told(event(11, "Released"), acquired(5))) == [(0, 5, 11, "released")]


def test_a_lease_on_several_slots_holds_each():
    bucket = told(acquired(5, "0.1-a", [0, 1]), event(9, "Lost", "0.1-a", reason="unreachable"))
    assert spans(bucket) == [(0, 5, 9, "lost"), (1, 5, 9, "lost")]
    assert bucket.lost == {"unreachable": 1}


def test_a_lease_that_nothing_ends_is_held_as_far_as_it_was_seen():
    assert spans(told(acquired(5), event(8, "Renewed"))) == [(0, 5, 8, "open")]


def test_the_next_lease_of_its_slot_ends_one_whose_end_nobody_told():
    bucket = told(acquired(5), event(8, "Renewed"), acquired(20, "0-b"))
    assert spans(bucket) == [(0, 5, 20, "gone"), (0, 20, 20, "open")]
    assert bucket.holds[0].uncertain == 12


def test_a_wait_ends_when_the_slot_is_had():
    bucket = told((T + 30, acquired(30)[1] | {"waited_seconds": 12.5}))
    (wait,) = bucket.waits
    assert (wait.owner, wait.start - T, wait.end - T, wait.outcome) == ("a:1", 17.5, 30, "served")


def test_snapshots_tell_when_a_lease_began_and_roughly_when_it_ended():
    bucket = told(snapshot(10, row(age=4)), snapshot(12, row(age=6)), snapshot(14))
    assert spans(bucket) == [(0, 6, 13, "gone")]
    assert (bucket.holds[0].uncertain, bucket.max_tokens) == (1, 2)


def test_the_next_lease_in_a_snapshot_bounds_the_end_of_the_one_before():
    bucket = told(snapshot(10, row(age=4)), snapshot(14, row(0, "0-b", age=3, owner="b:2")))
    assert spans(bucket) == [(0, 6, 10.5, "gone"), (0, 11, 14, "open")]


def test_a_lease_that_ran_out_ended_when_it_expired():
    bucket = told(snapshot(10, row(age=4, remaining=1)), snapshot(14, row(age=8, remaining=-3)), snapshot(16))
    assert spans(bucket) == [(0, 6, 11, "expired")]
    assert bucket.lost == {"expired": 1}


def test_a_revocation_is_where_it_is_first_seen():
    bucket = told(snapshot(10, row()), snapshot(12, row(age=3, revoked=True)), snapshot(14, row(age=5, revoked=True)))
    assert bucket.holds[0].revoked_at == T + 12
    assert bucket.revoked == 1


def test_events_are_believed_before_snapshots():
    bucket = told(
        acquired(5),
        snapshot(6, row(age=2)),
        event(8, "Lost", reason="unreachable"),
        snapshot(9, row(age=4)),
        snapshot(11, row(age=6, remaining=-1.0)),
        snapshot(12),
    )
    assert spans(bucket) == [(0, 5, 8, "lost")]


def test_times_without_an_answer_last_until_the_next_snapshot():
    gone = {"bucket": "gpus", "error": "StoreUnavailable", "message": "no answer"}
    bucket = told(snapshot(10, row()), (T + 12, gone), (T + 14, gone), snapshot(16, row(age=7)), snapshot(18))
    assert [(one.start - T, one.end - T, one.message) for one in bucket.outages] == [(10, 16, "no answer")]
    assert spans(bucket)[0][2] == 17, "it was not seen to end meanwhile"


def test_a_queue_tells_who_waited():
    first = {"owner": "b:2", "since": stamp(T + 3), "count": 2, "place": 1, "priority": 5}
    second = {"owner": "c:3", "since": stamp(T + 4), "count": 1, "place": 2, "priority": 5}
    bucket = told(
        snapshot(5, row(), queue=[first, second]),
        snapshot(7, row(0, "0-b", owner="b:2", age=0.5), queue=[second]),
        snapshot(9, row(0, "0-b", owner="b:2", age=2.5), queue=[]),
    )
    assert [(one.owner, one.start - T, one.end - T, one.outcome, one.count) for one in bucket.waits] == [
        ("b:2", 3, 6.5, "served", 2),
        ("c:3", 4, 8, "gone", 1),
    ]


def test_a_wait_that_both_tell_of_is_one():
    waiter = {"owner": "a:1", "since": stamp(T + 3), "count": 1}
    bucket = told(snapshot(5, queue=[waiter]), (T + 6, acquired(6)[1] | {"waited_seconds": 3.2}), snapshot(7, row()))
    assert [(round(one.start - T, 3), one.end - T, one.outcome) for one in bucket.waits] == [(2.8, 6, "served")]


def waits(at, owner="a:1", waited=0.5):
    return T + at, {"bucket": "gpus", "event": "Waiting", "owner": owner, "place": 2, "waited_seconds": waited}


@pytest.mark.parametrize(
    "served", [(T + 6, acquired(6)[1] | {"waited_seconds": 3.5}), snapshot(7, row(age=1.0))], ids=["event", "snapshot"]
)
def test_a_wait_that_is_told_while_it_lasts_ends_when_the_slot_is_had(served):
    bucket = told(waits(3), waits(4, waited=1.5), served, waits(20, "b:2"))
    assert [(one.owner, one.start - T, one.end - T, one.outcome) for one in bucket.waits] == [
        ("a:1", 2.5, 6, "served"),
        ("b:2", 19.5, 20, "open"),
    ]


def test_a_wait_that_a_snapshot_shows_too_is_one():
    waiter = {"owner": "a:1", "since": stamp(T + 3), "count": 1}
    bucket = told(waits(3), snapshot(4, queue=[waiter]), waits(5), snapshot(6, row(age=0.5)))
    assert [(one.start - T, one.end - T, one.outcome) for one in bucket.waits] == [(2.5, 5.5, "served")]


def test_two_waits_of_one_owner_are_told_apart_by_their_tickets():
    def waits(at, ticket, count, waited):
        more = {"owner": "a:1", "ticket": ticket, "count": count, "place": 1, "waited_seconds": waited}
        return T + at, {"bucket": "gpus", "event": "Waiting"} | more

    first, second = "0" * 16, "1" * 16
    had = acquired(9, "1-b", (1,), ticket=second)
    had[1]["waited_seconds"] = 5.0
    bucket = told(waits(2, first, 2, 1.0), waits(4, second, 1, 0.0), had, waits(10, first, 2, 9.0))
    assert [(wait.start - T, wait.end - T, wait.outcome, wait.count) for wait in bucket.waits] == [
        (1, 10, "open", 2),
        (4, 9, "served", 1),
    ]


def test_a_bucket_that_is_not_there_yet_is_no_outage():
    bucket = told((T + 1, {"bucket": "gpus", "error": "UnknownBucket", "message": "never used"}), snapshot(2, row()))
    assert bucket.outages == []


def test_what_throttles_and_gets_in_the_way_is_marked_and_what_is_not_known_is_ignored():
    bucket = told(
        acquired(1),
        event(2, "Throttled", operation="claim", limit="table"),
        event(3, "Contended", operation="claim", reason="taken", slots=[1]),
        event(4, "Invented", surprising=True),
        event(5, "Lost", "9-unknown", reason="taken"),
        (T + 6, {"bucket": "gpus", "more": 1}),
    )
    assert [(mark.at - T, mark.kind, mark.text) for mark in bucket.marks] == [
        (2, "throttled", "claim table"),
        (3, "contended", "claim taken"),
    ]
    assert len(bucket.holds) == 1


def test_each_bucket_has_a_history_and_rates_have_none():
    other = T + 2, acquired(2)[1] | {"bucket": "aaa"}
    rate = T + 3, {"rate": "news", "event": "Admitted"}
    assert [bucket.name for bucket in read([acquired(1), other, rate])] == ["aaa", "gpus"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[1]", "is no JSON object"),
        ('{"bucket": "b"}', "has no 'at'"),
        ('{"bucket": "b", "at": "yesterday"}', "not a time: 'yesterday'"),
        ('{"bucket": "b", "at": true}', "not a time"),
        ('{"bucket": "b", "at": 1e300}', "not a time"),
        ('{"at": 1}', "names no bucket"),
        ('{"at": 1, "bucket": 3}', "names no bucket"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_told_with_its_number_and_left_out(text, why):
    problems = []
    good = json.dumps({"at": 5, "bucket": "b"})
    lines = parsed("file", [good, "", text, good], problems)
    assert [at for at, _ in lines] == [5, 5]
    ((problem),) = problems
    assert (problem.file, problem.number) == ("file", 3)
    assert why in problem.why


@pytest.mark.parametrize(
    "line",
    [
        {"event": "Acquired", "slots": "none", "lease_id": 7, "waited_seconds": "long"},
        {"event": "Acquired", "slots": [-1, True, "x", None]},
        {
            "leases": [
                None,
                {},
                {"slot": "x", "lease_id": "a", "age_seconds": 1},
                {"slot": 1, "lease_id": [], "age_seconds": 1},
            ]
        },
        {"leases": [], "queue": [None, {}, {"owner": "o"}, {"owner": "o", "since": "x"}, {"owner": 3, "since": 1}]},
        {"leases": [], "queue": {"a": 1}, "max_tokens": "many"},
        {"error": None},
    ],
)
def test_fields_of_other_types_are_no_defect(line):
    read([(T, {"bucket": "b"} | line), (T + 1, {"bucket": "b", "leases": []})])


def test_a_time_is_written_as_it_is_read():
    assert stamp(T + 0.25) == "2026-11-29T13:00:00.250Z"
    assert seconds_in(stamp(T + 0.25)) == T + 0.25
    assert seconds_in("2026-11-29 14:00:00+01:00") == seconds_in("2026-11-29T13:00:00") == T
