"""The simulator of rates: its schedules, that it notices faults, and some hundred schedules of the shipped code."""

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from ddb_lease._protocol.rates.messages import Charge, ChargeTogether
from ddb_lease._state.spares import Spares
from ddb_lease.dynamodb import expressions
from ddb_lease.dynamodb.rates.expressions import rate_call_for
from scripts.harness.network import Fate
from tests.simulation.exploring import Tally, explore_on_all_cores
from tests.simulation.rates import finale
from tests.simulation.rates.ledger import NS, Ledger, Rule, Violation, beyond
from tests.simulation.rates.performance import Performance, play
from tests.simulation.rates.schedule import DEEDS, RESERVES, SINGLE, Deed, Job, Schedule, schedule_for
from tests.simulation.shrinking import shrink
from tests.simulation.timeline import timeline

SCHEDULES = min(300, int(os.environ.get("DDB_LEASE_SCHEDULES", "5000")) // 8)
"""Schedules that the suite plays; scripts/simulate --rates plays as many as one likes."""

pytestmark = pytest.mark.timeout(1800)
"""As for the simulator of leases."""

FAULTS = {
    "unconnected", "lost", "answer lost", "late, given up", "stalled", "slow there", "slow answer", "twice", "answer lost, twice",
    "refused: throttled", "refused: throughput", "refused: limit", "refused: conflict", "refused: replicated",
    "refused: denied", "vague, done: internal", "vague, not done: unavailable",
    "garbled: crc", "garbled: stranger", "stale", "odd date", "no date", "cut",
}  # fmt: skip


@pytest.fixture(scope="module")
def tally():
    """All schedules of this run."""
    total = Tally("rates")
    for part in explore_on_all_cores(0, SCHEDULES, kind="rates"):
        total.merge(part)
    return total


def test_no_schedule_breaks_an_invariant(tally):
    assert tally.schedules == SCHEDULES
    told = [
        f"seed {seed}: {failure.what} (scripts/simulate --rates --replay {seed})" for seed, failure in tally.failures
    ]
    assert not told, "\n".join(told[:10])


def test_every_fault_and_every_mishap_occurs(tally):
    assert FAULTS - set(tally.faults) == set()
    assert {*DEEDS, "sweep"} - {what for what, count in tally.deeds.items() if count} == set()


def test_schedules_do_what_rates_are_for(tally):
    for what in ("permits", "charges", "booked", "timeouts", "denials", "reservations", "settlements"):
        assert tally.sums[what] > 2 * SCHEDULES, what
    assert tally.sums["sweeps"] > SCHEDULES / 20
    assert tally.sums["events"] > 100 * SCHEDULES


def test_schedules_are_of_all_kinds():
    schedules = [schedule_for(seed) for seed in range(500)]
    jobs = [job for one in schedules for threads in one.jobs for thread in threads for job in thread]
    assert {job.act for job in jobs} == set(RESERVES)
    assert sum(job.under is not None for job in jobs) > len(jobs) / 20
    assert {len(one.limits) for one in schedules} == {1, 2, 3}
    assert {one.calm for one in schedules} == {bool(one.prefetch) for one in schedules} == {True, False}
    assert min(Counter(len(one.jobs) for one in schedules).values()) > 50


# A run is a seed.


def test_a_seed_gives_the_same_run_in_any_process():
    program = (
        "from tests.simulation.rates.performance import play\n"
        "from tests.simulation.rates.schedule import schedule_for\n"
        "for seed in range(40, 50):\n    print(play(schedule_for(seed), watch=True).timeline)"
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


@pytest.mark.parametrize("seed", range(200, 206))
def test_a_run_is_replayed_by_its_fates(seed):
    record = play(schedule_for(seed))
    again = play(replace(record.schedule, faults=record.faults), watch=True)
    watched = play(schedule_for(seed), watch=True)
    assert again.timeline == watched.timeline


# It notices.


def first_failure(laws, most=400):
    for seed in range(most):
        record = play(schedule_for(seed))
        if record.failure is not None:
            assert record.failure.law in laws, record.failure
            return record
    pytest.fail("nobody noticed")


def test_a_permit_that_is_dealt_twice_is_noticed_shrunk_and_told(monkeypatch):
    put = Spares.put
    monkeypatch.setattr(Spares, "put", lambda *a, due: [put(*a, due=due), put(*a, due=due)])
    record = first_failure({"R2", "R5"})
    small = shrink(record, play=play, tries=100)
    assert small.failure is not None
    assert small.failure.law == record.failure.law
    assert len(small.faults) + len(small.schedule.deeds) <= len(record.faults) + len(record.schedule.deeds)
    told = timeline(small, play=play)
    assert small.failure.what in told
    assert f"seed {record.schedule.seed}" in told


WEAKER = {
    "a charge that is counted again": (r"\(attribute_not_exists\(#lane\) OR #lane <> :attempt\)", {"R1"}),
    "a charge beyond the burst": (r"#r\d <= :x\d", {"R3", "R7"}),
    "a charge under an older policy": (r"#rev = :rev", {"R8", "R3"}),
    "a charge of a key that is blocked": (
        r"\(attribute_not_exists\(#blocked_until\) OR #blocked_until <= :due\)",
        {"R7"},
    ),
    "a charge that takes a key for idle": (r"\(attribute_not_exists\(#t\d\) OR #t\d < :due\)", {"R3"}),
    "a charge on the end of what is held": (r"\(attribute_not_exists\(#h\d\) OR #h\d <= :m\d\)", {"R3"}),
}
"""The clauses of a charge's condition that are missing, and the laws that are broken without them."""


@pytest.mark.parametrize("what", WEAKER)
def test_a_missing_condition_is_noticed(monkeypatch, what):
    clause, laws = WEAKER[what]
    weakened = []

    def weaker(request, address):
        operation, call = rate_call_for(request, address)
        if isinstance(request, (Charge, ChargeTogether)):
            for update in [part["Update"] for part in call.get("TransactItems", ())] or [call]:
                # The clause and its placeholders stay; only it never fails.
                always = r"(\g<0> OR attribute_exists(#schema) OR attribute_not_exists(#schema))"
                update["ConditionExpression"], found = re.subn(clause, always, update["ConditionExpression"])
                weakened.append(found)
        return operation, call

    monkeypatch.setattr(expressions, "rate_call_for", weaker)
    first_failure(laws)
    assert any(weakened)


# The ledger, law by law.


RULE = Rule(interval=10, burst=3, rev=1, since=0)


def ledger(*charges, alone=True):
    """Charges as (now, reach, count)."""
    made = Ledger("permits")
    made.under(RULE)
    dues = [made.charged(now=now, reach=reach, count=count, booked=count, alone=alone) for now, reach, count in charges]
    return made, dues


def test_a_charge_is_explained_by_the_rule_that_allows_it_and_gives_the_room_it_asked_for():
    slow, fast = Rule(interval=100, burst=3, rev=1, since=0), RULE
    assert [rule.likeness((200, 0), held=0, room=100) for rule in (slow, fast)] == [(True, True), (False, False)]
    assert [rule.likeness((0, 10), held=20, room=20) for rule in (slow, fast)] == [(False, False), (True, True)]
    assert fast.likeness((10, 0), held=21, room=None) == (False, False)
    assert fast.likeness((10, 15), held=0, room=5) == (False, True)


def test_the_measure_of_the_envelope_is_right():
    assert beyond([], 10) == 0
    assert beyond([100], 10) == 10
    assert beyond([100] * 5, 10) == 50
    assert beyond([100] * 5 + [120], 10) == 50
    assert beyond([100] * 5 + [120] * 3, 10) == 60
    assert beyond(range(0, 500, 10), 10) == 10
    assert beyond(range(0, 500, 9), 10) == 10 + 55


def test_permits_of_one_limit_are_due_one_after_the_other():
    _, dues = ledger((1_000, 1_010, 1), (1_000, 1_050, 4))
    assert dues == [[1_000], [1_000, 1_000, 1_010, 1_020]]


def test_permits_of_several_limits_are_due_together():
    _, dues = ledger((1_020, 1_050, 4), alone=False)
    assert dues == [[1_020] * 4]
    with pytest.raises(Violation, match="R3.*not paid for before 1020"):
        ledger((1_019, 1_050, 4), alone=False)


def test_too_many_permits_in_a_time_are_seen_in_any_window():
    made, _ = ledger((1_000, 1_030, 3), (1_100, 1_130, 3))
    made.check()
    made.dues.append(1_110)
    made.check()
    made.dues.append(1_119)
    with pytest.raises(Violation, match="R3.*0.100 permits too many"):
        made.check()


def test_a_charge_that_does_not_move_the_reach_on_is_seen():
    with pytest.raises(Violation, match="R6"):
        ledger((1_000, 1_050, 1), (1_000, 1_050, 1))


def test_a_booking_beyond_the_horizon_is_seen():
    ledger((0, 30 * NS + 30, 1))
    with pytest.raises(Violation, match="R7"):
        ledger((0, 30 * NS + 31, 1))


def test_another_rule_begins_an_epoch_and_the_same_one_does_not():
    made, _ = ledger((1_000, 1_030, 3))
    made.under(RULE)
    assert len(made.dues) == 3
    made.under(replace(RULE, burst=4))
    assert made.dues == []
    assert made.epochs == 1


# The oracle: what is not so is seen.


def quiet_schedule(**changes):
    job = Job(act="acquire", key="", permits=((SINGLE, 0.0),), timeout=20.0, times=8, pause=0.0)
    standard = {
        "seed": 1, "limits": ((SINGLE, 10.0, 1.0, 2),), "jobs": (((job,),),), "deeds": (), "odds": 0.0,
        "latency": 0.002, "front_ends": (0.0,), "rates": (0.0,), "walls": (0.0,),
    }  # fmt: skip
    return Schedule(**(standard | changes))


def violated(schedule=None):
    record = play(schedule or quiet_schedule(), watch=True)
    assert record.failure is not None
    return record.failure


@pytest.fixture
def performance():
    made = Performance(quiet_schedule())
    yield made
    made.world.close()


def underway(performance, seconds=0.05):
    process = performance.start("p1", 0)
    performance.cast.append(process)
    performance.work(process, performance.schedule.jobs[0][0])
    performance.world.run(performance.world.now + seconds)
    return process, ("rate#45", "rate#")


def item_of(performance):
    ((at, item),) = [(at, item) for at, item in performance.service.items.items() if at[1] == "rate#"]
    return at, item


def test_a_quiet_schedule_has_nothing_to_tell():
    record = play(quiet_schedule(), watch=True)
    assert record.failure is None
    assert record.faults == {}
    # The user's eight; then two at once, and three times two, by the last process.
    assert record.permits == 8 + 2 + 3 * 2
    assert record.charges == 8 + 1 + 3


def test_a_permit_that_nobody_was_charged_for_is_seen(performance):
    process, _ = underway(performance)
    with pytest.raises(Violation, match="R2"):
        performance.oracle.used(process, "", {SINGLE: 1})


def test_a_permit_that_is_used_before_it_is_due_is_seen(performance):
    process, _ = underway(performance)
    ((*_, dues),) = [(key, dues) for key, dues in performance.oracle.permits.items()]
    assert dues[-1] > process.told_ns(), "one is booked"
    performance.oracle.taken.clear()
    performance.oracle.used(process, "", {SINGLE: len(dues) - 1})
    with pytest.raises(Violation, match="R2"):
        performance.oracle.used(process, "", {SINGLE: 1})


def test_what_was_due_stays_due_though_the_clock_steps_down(performance):
    process, _ = underway(performance)
    (dues,) = performance.oracle.permits.values()
    performance.oracle.taken.clear()
    process.told_ns = lambda: dues[-1]
    performance.oracle.used(process, "", {SINGLE: len(dues) - 1})
    process.told_ns = lambda: dues[0] - 1
    performance.oracle.used(process, "", {SINGLE: 1})


def test_what_is_given_back_makes_reservations_due_earlier_too(performance):
    performance.oracle.held_permits["p1", "", SINGLE] = [100, 200]
    performance.oracle.due_earlier("", SINGLE, 30)
    assert performance.oracle.held_permits["p1", "", SINGLE] == [70, 170]


def test_sums_that_do_not_fit_are_seen(performance):
    underway(performance)
    at, item = item_of(performance)
    with pytest.raises(Violation, match="R9"):
        performance.service.edit(at, performance.world.now, {**item, "held#permits": {"N": "1"}})


def test_ttl_that_deletes_what_is_not_paid_for_is_seen(performance):
    underway(performance)
    at, item = item_of(performance)
    performance.service.items[at] = {**item, "ttl": {"N": str(int(performance.world.now) - 1)}}
    with pytest.raises(Violation, match="R3: TTL"):
        performance.service.expire(performance.world.now)


def test_a_policy_that_is_not_followed_is_seen(monkeypatch):
    monkeypatch.setattr("ddb_lease._operations.rates.policy.POLICY_SECONDS", 300.0)
    idle = Job(act="acquire", key="", permits=((SINGLE, 0.0),), timeout=20.0, times=40, pause=1.2)
    failure = violated(
        quiet_schedule(jobs=(((idle,),),), deeds=(Deed(at=2.0, what="set policy", process=0, size=0.05),))
    )
    assert failure.law == "R8"


def test_a_caller_that_waits_for_ever_is_seen(monkeypatch):
    for module in ("booking", "flights", "using"):
        monkeypatch.setattr(f"ddb_lease._operations.rates.{module}.wake", lambda bookings, *, but: None)
    monkeypatch.setattr("ddb_lease._protocol.retry.TURN_SECONDS", 10_000.0)
    patient = replace(quiet_schedule().jobs[0][0][0], timeout=None)
    assert violated(quiet_schedule(jobs=(((patient,),) * 4,))).law == "L1"


def test_a_rate_that_stays_closed_is_seen(performance):
    underway(performance)
    at, item = item_of(performance)
    far = {"N": str(round((performance.world.now + 3_600) * NS))}
    performance.service.edit(at, performance.world.now, {**item, "tat#permits": far, "reach#permits": far})
    with pytest.raises(Violation, match="L2.*is closed for 3"):
        finale.play(performance)


def test_a_new_process_may_be_behind_all_that_were_ahead(performance):
    performance.oracle.errors = {"p1": (5, 9), "p2": (2, 3)}
    assert (performance.oracle.behind, performance.oracle.ahead) == (0, 9)
    performance.oracle.errors["p3"] = (-4, 1)
    assert performance.oracle.behind == 4


def test_the_finale_waits_for_transactions_that_are_stuck(performance):
    underway(performance)
    update = {
        "TableName": "table",
        "Key": {"pk": {"S": "rate#45"}, "sk": {"S": "rate#"}},
        "UpdateExpression": "SET #a = :a",
    }
    named = {"ExpressionAttributeNames": {"#a": "other"}, "ExpressionAttributeValues": {":a": {"N": "1"}}}
    stuck = {"TransactItems": [{"Update": update | named}], "ClientRequestToken": "t"}
    performance.service.stick(stuck, now=performance.world.now + 3_600, date=None, commits=False)
    until = performance.service.stuck_until
    finale.calls_end(performance)
    assert performance.world.now > until > performance.world.now - 1


def test_a_given_fate_befalls_the_request_it_is_given_to():
    lost = {("p1", 2): Fate("answer lost", out=0.002, back=None)}
    record = play(quiet_schedule(odds=0.5, faults=lost), watch=True)
    assert record.failure is None
    assert any("#2" in what and "answer lost" in what for _, _, what in record.timeline)


def test_transactions_that_meet_conflict_and_each_is_charged_once():
    job = Job(act="acquire", key="a", under="", permits=((SINGLE, 0.0),), timeout=40.0, times=5, pause=0.0)
    both = ((job,), (replace(job, key="b"),))
    schedule = quiet_schedule(
        limits=((SINGLE, 10.0, 1.0, 10),),
        jobs=(both,) * 3,
        rates=(0.0,) * 3,
        walls=(0.0,) * 3,
        transacting=0.05,
    )
    record = play(schedule)
    assert record.failure is None
    assert 10 < record.conflicts < 4 * 30, "they pause, each for a time of its own"
    # What 30 calls take, of the key and its parent; then of three keys ten at once, and three times ten.
    assert record.permits == 30 + 3 * (10 + 3 * 10)
    assert (record.charges, record.charged_again) == (2 * 30 + 3 * (1 + 3), 0)
