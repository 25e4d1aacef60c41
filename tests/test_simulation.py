"""The simulator: its schedules, that it notices faults, and five thousand schedules of the shipped code."""

import itertools
import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddb_lease import LossReason, StoreRejected
from ddb_lease._protocol.decisions import WINDOW as WINDOW_OF_SLOTS
from ddb_lease._protocol.lease_state import Belief
from ddb_lease._protocol.records import Grant
from ddb_lease._state.offset import AGREEING, WINDOW
from ddb_lease.dynamodb import expressions
from ddb_lease.dynamodb.placeholders import all_of
from scripts.harness.dates import Dates
from scripts.harness.inside import held_of
from scripts.harness.network import Fate
from scripts.harness.simulated_process import BUCKET
from tests.simulation.exploring import KINDS, Tally, explore, explore_on_all_cores
from tests.simulation.machine import Leases
from tests.simulation.oracle import COUNTER, Violation
from tests.simulation.performance import Performance, play
from tests.simulation.schedule import DEEDS, SETUPS, Deed, Job, Schedule, ordered_schedule_for, schedule_for
from tests.simulation.shrinking import shrink
from tests.simulation.timeline import timeline

SCHEDULES = int(os.environ.get("DDB_LEASE_SCHEDULES", "5000"))
"""Schedules that the suite plays; scripts/simulate plays as many as one likes."""

pytestmark = pytest.mark.timeout(1800)
"""The schedules take minutes where others use the cores as well."""

FAULTS = {
    "unconnected", "lost", "answer lost", "late, given up", "stalled", "slow there", "slow answer", "twice", "answer lost, twice",
    "refused: throttled", "refused: throughput", "refused: limit", "refused: conflict", "refused: replicated",
    "refused: expired-token", "refused: denied", "refused: no-table", "refused: unrecognized",
    "vague, done: internal", "vague, done: unavailable", "vague, not done: internal", "vague, not done: unavailable",
    "stuck, finished: in-progress", "stuck, taken back: in-progress",
    "garbled: crc", "garbled: stranger", "stale", "odd date", "no date", "cut",
}  # fmt: skip


@pytest.fixture(scope="module")
def tally():
    """All schedules of this run."""
    total = Tally()
    for part in explore_on_all_cores(0, SCHEDULES):
        total.merge(part)
    return total


def test_no_schedule_breaks_an_invariant(tally):
    assert tally.schedules == SCHEDULES
    told = [f"seed {seed}: {failure.what} (scripts/simulate --replay {seed})" for seed, failure in tally.failures]
    assert not told, "\n".join(told[:10])


def test_every_fault_and_every_mishap_occurs_many_times(tally):
    rare = {name for name in FAULTS if tally.faults[name] < SCHEDULES / 1_000}
    assert not rare
    assert set(tally.faults) == FAULTS
    assert {what for what in DEEDS if tally.deeds[what] < SCHEDULES / 100} == set()


def test_schedules_do_what_leases_are_for(tally):
    kinds = ("grants", "takeovers", "adopted", "mints", "re_mints", "kept_closed", "lost", "given_up", "untimely")
    for what in kinds:
        assert tally.sums[what] > SCHEDULES / 50, what


def test_ordered_buckets_can_be_played_alone():
    for seed in range(40):
        ordered, any_order = ordered_schedule_for(seed), schedule_for(seed)
        assert ordered.order == "fifo"
        assert ordered == any_order or (any_order.order == "any" and ordered.jobs != ())
    assert KINDS["ordered"].schedule_for is ordered_schedule_for
    assert explore(range(3), kind="ordered").failures == []


# A run is a seed.


def test_a_seed_gives_the_same_run_in_any_process():
    program = (
        "from tests.simulation.performance import play; from tests.simulation.schedule import schedule_for\n"
        "for seed in range(40, 60):\n    print(play(schedule_for(seed), watch=True).timeline)"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert len(told) == 1


@pytest.mark.parametrize("seed", range(200, 220))
def test_a_run_is_replayed_by_its_fates(seed):
    record = play(schedule_for(seed))
    again = play(replace(record.schedule, faults=record.faults), watch=True)
    watched = play(schedule_for(seed), watch=True)
    assert again.timeline == watched.timeline


# It notices.


def first_failure(law, first=0, most=10_000):
    for seed in range(first, first + most):
        record = play(schedule_for(seed))
        if record.failure is not None:
            assert record.failure.law in law, record.failure
            return record
    pytest.fail("nobody noticed")


def test_a_slot_that_is_opened_too_early_is_noticed(monkeypatch):
    monkeypatch.setattr(Grant, "closed_until", 1)  # a time long past: a release opens the slot at once
    job = Job(pause=0.0, patient=True, timeout=9.0, hold=0.1, ending="release", at_least=3.0)
    schedule = replace(schedule_for(0), max_tokens=1, jobs=(((job,),), ((job,),)), deeds=(), odds=0.0, setup="nothing")
    record = play(replace(schedule, wishes=(), window=WINDOW_OF_SLOTS))
    assert record.failure is not None
    assert record.failure.law == "H"


def test_a_holder_that_believes_too_long_is_noticed_shrunk_and_told(monkeypatch):
    monkeypatch.setattr(Belief, "holds", lambda self, now: self.state.name == "HELD" and now < self.deadline + 4.0)
    record = first_failure({"S1", "S2"}, first=3_000)  # those before do not show it: about a minute of work
    small = shrink(record)
    assert small.failure is not None
    assert small.failure.law == record.failure.law
    assert len(small.faults) + len(small.schedule.deeds) <= len(record.faults) + len(record.schedule.deeds)
    told = timeline(small)
    assert small.failure.what in told
    assert f"seed {record.schedule.seed}" in told
    assert told.count("\n") < 200
    replayed = play(replace(small.schedule, faults=small.faults))
    assert replayed.failure == small.failure


def test_a_counter_that_comes_late_tells_how_many_tokens_there_are():
    """Its bucket was made anew by a client that wants one more, in a transaction that the last moments finish."""
    assert play(schedule_for(7_026_630)).failure is None


def test_a_fate_of_a_transaction_spoils_no_other_request_in_its_place():
    stuck = Fate("stuck, finished", out=0.01, back=0.01, instead="in-progress")
    record = play(schedule_for(7_026_630))
    assert record.faults
    assert play(replace(record.schedule, faults=dict.fromkeys(record.faults, stuck))).failure is None


WEAKER = {
    "a claim of what is leased": ("CLAIM", "#lease_id", {"S1", "S2", "S5"}),
    "a claim whose fence does not rise": ("CLAIM", "#fence", {"S3", "S5"}),
    "a claim of a retired slot": ("CLAIM", "#retired", {"N", "S1"}),
    "a renewal of another's lease": ("RENEW", "#lease_id", {"S5"}),
    "a renewal that shortens": ("RENEW", "#expires_at", {"S6"}),
    "a release of another's lease": ("RELEASE", "#lease_id", {"S5"}),
    "an adoption of another's lease": ("ADOPT", "#lease_id", {"S2", "S5"}),
    "a mint of what exists": ("MINT_SLOT", "#pk", {"S1", "S2", "S3", "S5", "L2"}),
}
"""A condition, the attribute that the missing half of it is about, and the laws that are broken without it."""


@pytest.mark.parametrize("what", WEAKER)
def test_a_missing_condition_is_noticed(monkeypatch, what):
    name, attribute, laws = WEAKER[what]
    halves = getattr(expressions, name).split(" AND ")
    (clause,) = (half for half in halves if attribute in half)
    # The clause and its placeholders stay, and no other comes to them; only it never fails.
    always = f"({clause} OR attribute_exists({attribute}) OR attribute_not_exists({attribute}))"
    monkeypatch.setattr(expressions, name, all_of(*(always if half == clause else half for half in halves)))
    first_failure(laws)


def test_a_giver_that_goes_on_believing_is_noticed(monkeypatch):
    monkeypatch.setattr(Belief, "holds", lambda self, now: self.state.name in BELIEVED and now < self.deadline)
    first_failure({"S2"})


BELIEVED = {"HELD", "HANDED_OVER"}


def test_a_missing_condition_of_a_batch_is_noticed(monkeypatch):
    text = expressions.RENEW_STATEMENT
    assert text.count('"expires_at" <= ?') == 1
    monkeypatch.setattr(
        expressions, "RENEW_STATEMENT", text.replace('"expires_at" <= ?', '"fence" <= ?')
    )  # it always is
    first_failure({"S6"})


# The oracle, invariant by invariant: a table that was made wrong by hand, unseen by it.


@pytest.fixture
def performance():
    made = Performance(quiet_schedule(), watch=False)
    yield made
    made.world.close()


def quiet_schedule(**changes):
    job = Job(pause=0.0, patient=True, timeout=5.0, hold=2.0, ending="release")
    standard = {
        "seed": 1, "max_tokens": 2, "lease_seconds": 5.0, "jobs": (((job,),),), "deeds": (), "odds": 0.0,
        "latency": 0.002, "front_ends": (0.0,), "rates": (0.0,), "walls": (0.0,),
    }  # fmt: skip
    return Schedule(**(standard | changes))


LATER = {"fence": {"N": "9999999999999"}, "ttl": {"N": "10000003601"}}
"""A fence above all others, and a TTL that goes with it."""


def wrong(performance, key, **attributes):
    item = {**performance.service.items[key], **attributes}
    performance.service.edit(key, performance.world.now, {k: v for k, v in item.items() if v is not None})


def underway(performance, at=1.0):
    performance.world.at(performance.world.now, lambda: None)
    process = performance.start("p1", 0)
    performance.work(process, performance.schedule.jobs[0][0])
    performance.world.run(performance.world.now + at)
    (held,) = process.held
    return held, (BUCKET, f"slot#{held.lease.slot:05d}")


def test_the_witness_sees_a_lease_taken_from_its_holder(performance):
    _, slot = underway(performance)
    with pytest.raises(Violation, match="S5"):
        wrong(performance, slot, lease_id={"S": "0-thief"}, **LATER)


def test_the_witness_sees_a_believer_without_a_lease(performance):
    held, slot = underway(performance)
    wrong(performance, slot, lease_id=None)
    with pytest.raises(Violation, match="S2"):
        performance.oracle.after_each()
    assert held.believes()


def test_the_witness_sees_a_fence_that_does_not_rise(performance):
    held, slot = underway(performance)
    held.process.held.clear()
    with pytest.raises(Violation, match="S3"):
        wrong(performance, slot, lease_id={"S": "0-other"}, expires_at={"N": "1"})


def test_the_witness_sees_a_slot_that_ttl_may_delete_too_early(performance):
    held, slot = underway(performance)
    with pytest.raises(Violation, match="S3.*TTL"):
        wrong(performance, slot, ttl={"N": str(held.lease.fence // 1000 + 3_599)})


def test_the_witness_sees_an_expiry_that_falls(performance):
    _, slot = underway(performance)
    with pytest.raises(Violation, match="S6"):
        wrong(performance, slot, expires_at={"N": "1"})


def test_the_witness_sees_a_slot_beyond_the_bound(performance):
    underway(performance)
    slot = {"pk": {"S": BUCKET}, "sk": {"S": "slot#00007"}, **LATER}
    with pytest.raises(Violation, match="N:"):
        performance.service.edit((BUCKET, "slot#00007"), performance.world.now, slot)


def test_the_witness_sees_a_count_below_what_circulates(performance):
    underway(performance)
    with pytest.raises(Violation, match="S4"):
        wrong(performance, COUNTER, minted={"N": "1"}, rev={"N": "9999999999999"})


def test_the_witness_sees_a_lease_that_comes_back(performance):
    held, slot = underway(performance)
    item = performance.service.items[slot]
    performance.world.run(performance.world.now + 3.0)
    assert not held.believes()
    with pytest.raises(Violation, match="S5"):
        wrong(performance, slot, lease_id=item["lease_id"], expires_at=item["expires_at"], **LATER)


@pytest.mark.parametrize("what", ["robbed", "revoked"])
def test_the_witness_sees_a_holder_that_does_not_find_out(performance, monkeypatch, what):
    held, slot = underway(performance)
    if what == "robbed":
        performance.delete(slot[1])
    else:
        assert performance.revoke(Deed(at=0.0, what="revoke", process=0, size=0.0))
    performance.oracle.after_each()
    assert held.believes(), "it cannot know yet"
    performance.world.now += held_of(held.lease).seconds + 0.1
    monkeypatch.setattr(Belief, "holds", lambda self, now: True)
    performance.oracle.stirred = True
    with pytest.raises(Violation, match="S2.*still believes"):
        performance.oracle.after_each()


@pytest.mark.parametrize("what", ["robbed", "revoked"])
def test_a_holder_finds_out_that_its_lease_was_ended(performance, what):
    held, slot = underway(performance, at=0.1)
    if what == "robbed":
        performance.delete(slot[1])
    else:
        performance.revoke(Deed(at=0.0, what="revoke", process=0, size=0.0))
    performance.world.run(performance.world.now + held_of(held.lease).seconds / 2)
    assert not held.believes()
    assert held.lease.lost is (LossReason.GONE if what == "robbed" else LossReason.REVOKED)


def test_what_arrives_after_the_end_is_waited_for():
    late = {("p1", 3): Fate("late, given up", out=400.0, back=None)}  # a claim, given up after a second
    record = play(quiet_schedule(faults=late, odds=0.5), watch=True)
    assert record.failure is None
    assert record.seconds > 400.0
    assert {who for _, who, _ in record.timeline} >= {"last", "epilogue", "very last"}


def test_to_be_rejected_a_request_of_ones_own_must_have_been():
    made = Performance(quiet_schedule(), watch=False)
    process = made.start("p1", 0)
    with pytest.raises(StoreRejected):
        made.excuse(StoreRejected("denied"), process, 0)
    process.requests = 1
    made.network.fates["p1", 1] = Fate("refused", instead="denied", refuse=True)
    made.excuse(StoreRejected("denied"), process, 0)
    made.world.close()


@pytest.mark.parametrize(
    ("owner", "ahead", "seen"), [("p1", 25.0, True), ("misled", 25.0, False), ("misled", 60.0, True)]
)
def test_an_expiry_far_ahead_is_seen_and_further_ahead_where_its_writer_was_misled(performance, owner, ahead, seen):
    _, slot = underway(performance)
    performance.network.fates["misled", 1] = Fate("odd date", date=100.0)
    far = round((performance.world.now + ahead) * 1000)
    wrong(performance, slot, owner={"S": owner}, expires_at={"N": str(far)}, ttl=LATER["ttl"])
    if seen:
        with pytest.raises(Violation, match="L1"):
            performance.rest_ms()
    else:
        assert performance.rest_ms() == pytest.approx(1000 * ahead, abs=1)


def test_ttl_deletes_slots_while_they_are_wanted():
    deletes = 0
    for seed in range(1_500):
        schedule = schedule_for(seed)
        if schedule.due and schedule.setup == "dead":
            deletes += play(schedule).deeds.get("sweep", 0)
    assert deletes > 10


def test_a_slot_that_never_comes_back_is_seen(monkeypatch):
    expired = "#expires_at < :expired_before"
    assert expired in expressions.CLAIM
    never = f"({expired} AND attribute_not_exists(#expires_at))"  # with the same placeholders
    monkeypatch.setattr(expressions, "CLAIM", expressions.CLAIM.replace(expired, never))
    job = Job(pause=0.0, patient=True, timeout=5.0, hold=0.0, ending="leave")
    crash = Deed(at=1.0, what="crash", process=0, size=0.9)
    record = play(quiet_schedule(max_tokens=1, jobs=(((job,),),), deeds=(crash,)))
    assert record.failure is not None
    assert record.failure.law == "L1"


# What it plays.


def test_each_fault_and_each_mishap_has_its_row_in_the_docs():
    rows = {
        name.strip()
        for line in (Path(__file__).parents[1] / "docs" / "faults.md").read_text().splitlines()
        if line.startswith("| ")
        for name in line.split("|")[1].split(";")
    }
    named = {fault.partition(":")[0] for fault in FAULTS} - {"cut"}
    assert named - rows == set()
    assert set(DEEDS) - rows == set()


@pytest.mark.parametrize("wrong", [(7.0, 6.0), (7.0, 7.0), (7.0, -7.0), (7.0, 11.0)])
def test_of_five_dates_in_a_row_no_three_wrong_ones_agree_and_all_else_may_be_told(wrong):
    for draw in itertools.product((0.0, *wrong), repeat=7):
        dates, told = Dates(), []
        for one in draw:
            mine = [*told[-4:], one]
            alike = any(sum(abs(other - one) < 3.0 for other in mine if other) >= 3 for one in wrong)
            assert dates.may_tell(one, took=0.0) == (not one or not alike), draw
            told.append(0.0 if one and alike else one)


_told = st.tuples(
    st.sampled_from([0.0, 4.5, 5.0, 6.9, 9.0]) | st.floats(-12.0, 12.0),
    st.floats(0.0, 0.5),
    st.floats(0.0, 0.5),
    st.floats(0.0, 0.999),
    st.floats(-1.0, 0.0),
)


@given(st.lists(_told, min_size=3, max_size=12))
@example(
    [(4.534, 0.036, 0.024, 0.6, 0.0), (5.056, 0.023, 0.103, 0.1, 0.0), (6.882, 0.053, 0.085, 0.6, -0.939)]
)  # seed 60224443: they agree by the bounds that answers give, though the wrong Dates are 2.3 s apart
def test_no_three_wrong_dates_that_are_told_give_bounds_that_agree(answers):
    """Bounds as `ServiceTime.observe` draws them; front ends up to a second apart are not wrong for that."""
    dates, got = Dates(), []
    for wrong, there, back, phase, off in answers:
        tells = dates.may_tell(wrong, took=there + back)
        date = math.floor(phase + (wrong if tells else 0.0) + off)
        got.append((bool(wrong) and tells, date - phase - back, date + 1.0 - phase + there))
        lies = [bounds for wrongly, *bounds in got[-WINDOW:] if wrongly]
        most = max((sum(low <= at <= high for low, high in lies) for at, _ in lies), default=0)
        assert most < AGREEING, got[-WINDOW:]


def test_wrong_dates_come_in_pairs_and_in_crowds():
    pairs = crowds = 0
    for seed in range(400):
        record = play(schedule_for(seed))
        assert record.failure is None
        odd = {key: fate.date for key, fate in record.faults.items() if fate.name == "odd date"}
        close = sum((name, at + k) in odd for name, at in odd for k in (1, 2, 3))
        pairs += close > 0
        crowds += len(odd) > 8
        assert not record.schedule.lies or len(odd) > 0 or record.requests < 40
    assert pairs > 15
    assert crowds > 5


def test_every_setup_is_played():
    assert {schedule_for(seed).setup for seed in range(500)} == set(SETUPS)


def test_a_quiet_schedule_has_nothing_to_tell():
    record = play(quiet_schedule(), watch=True)
    assert record.failure is None
    assert record.faults == {}
    assert Counter(who for _, who, _ in record.timeline)["p1"] > 5


def test_a_given_fate_befalls_the_request_it_is_given_to():
    lost = {("p1", 2): Fate("answer lost", out=0.002, back=None)}
    record = play(quiet_schedule(odds=0.5, faults=lost), watch=True)
    assert record.failure is None
    assert any("#2" in what and "answer lost" in what for _, _, what in record.timeline)
    assert any("#2 is answered: ReadTimeoutError" in what for _, _, what in record.timeline)


# The same, with Hypothesis choosing what happens next.

Leases.TestCase.settings = settings(stateful_step_count=30)
TestWhateverHappensNext = Leases.TestCase
