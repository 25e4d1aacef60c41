"""Renewals in batches save requests and change nothing else: a lease is kept, extended or lost as by its own request."""

import logging
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ddb_lease import LossReason, StoreRejected
from ddb_lease._protocol.batch_breaker import REST_SECONDS
from ddb_lease._protocol.messages import (
    Conflict,
    Each,
    Look,
    Refused,
    Rejected,
    Renew,
    RenewEach,
    ThrottledAnswer,
    Unknown,
)
from ddb_lease._protocol.records import PER_BATCH
from ddb_lease._runtime import renewer
from ddb_lease._runtime.heartbeat import Heartbeats
from ddb_lease._runtime.renewer import AHEAD, MOST_AHEAD_SECONDS, take_batch
from ddb_lease._runtime.workers import Workers
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import read_answer
from ddb_lease.dynamodb.expressions import call_for
from ddb_lease.events import Renewed
from scripts.harness.inside import core_of, held_of
from tests.support import (
    CONFLICT,
    EXPIRED,
    LOST,
    NOW,
    THROTTLED,
    UNSENT,
    UNTIMELY,
    Fault,
    claimant,
    put_counter,
    put_leased,
    renew,
    renewals_only,
)

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too
NOT_ON = ("embedded",)  # it knows no such PartiQL, which costs no lease: tests/test_lease_holding.py

DENIED = Rejected(error=StoreRejected("permission is missing: dynamodb:PartiQLUpdate"))


def item(lease_id="0-mine", slot=0, **changes):
    values = {"fence": {"N": "10"}, "lease_id": {"S": lease_id}, "expires_at": {"N": str(renew().expires_at)}}
    return {"pk": {"S": "b"}, "sk": {"S": f"slot#{slot:05d}"}, **values, **changes}


def holders(environment, count, **settings):
    """A bucket with some leases, all acquired at the same moment."""
    bucket = environment.bucket(max_tokens=max(count, 1), **settings)
    leases = [bucket.acquire(timeout=5) for _ in range(count)]
    for lease in leases:
        held_of(lease).belief.renew_at = environment.clock.steady() + 10.0
    bucket.tap.clear()
    return bucket, leases


def batches(bucket):
    return [request for request in bucket.tap.sent if isinstance(request, RenewEach)]


def renewed_by_hand(environment, bucket, leases):
    """Each is renewed a moment after the one before; whoever is renewed last has the latest deadline."""
    for lease in leases:
        environment.clock.pass_time(0.01)
        lease.renew()
    for lease in leases:
        held_of(lease).belief.renew_at = environment.clock.steady() + 10.0
    bucket.tap.clear()


def alone(bucket):
    return [request for request in bucket.tap.sent if isinstance(request, Renew)]


def renew_batch(bucket, leases):
    """What the heartbeat does when these are due. Workers do it at once, on this thread."""
    renewer_of(leases).renew([held_of(lease) for lease in leases])


def renewer_of(leases):
    """What renews these leases of one bucket."""
    (renewer,) = {held_of(lease).group for lease in leases}
    return renewer


def kept_jobs(bucket):
    """From now on workers only collect their jobs; returns the collection."""
    jobs = []
    bucket.heartbeats.workers.submit = lambda job, **_: jobs.append(job)
    return jobs


def kept_probes(bucket):
    """From now on workers collect probes, and do all else; returns the collection."""
    probes, submit = [], bucket.heartbeats.workers.submit

    def keep_probes(job, *, line, by):
        if by == -math.inf:
            probes.append(job)
        else:
            submit(job, line=line, by=by)

    bucket.heartbeats.workers.submit = keep_probes
    return probes


def due(environment, bucket, seconds=10.25):
    """Time passes until all are due."""
    bucket.heartbeats.reconsider_all()
    environment.run(seconds, bucket)


# What is sent.


def test_leases_that_are_due_together_are_renewed_by_one_request(environment, table):
    bucket, leases = holders(environment, 3)
    before = {lease.slot: table.get(lease.slot)["expires_at"] for lease in leases}
    due(environment, bucket)
    assert bucket.tap.count() == {"RenewEach": 1}
    assert {renewal.lease_id for renewal in bucket.tap.of(Renew)} == {lease.id for lease in leases}
    for lease in leases:
        assert table.get(lease.slot)["expires_at"] > before[lease.slot]
        assert lease.remaining > 25.0


def test_a_lease_that_is_due_alone_is_renewed_by_an_update(environment):
    bucket, _ = holders(environment, 1)
    due(environment, bucket)
    assert bucket.tap.count() == {"Renew": 1}


def test_a_batch_holds_no_more_than_dynamodb_takes(environment):
    bucket, leases = holders(environment, 2 * PER_BATCH + 1)
    due(environment, bucket)
    assert sorted(len(batch.renewals) for batch in batches(bucket)) == [PER_BATCH, PER_BATCH]
    assert len(alone(bucket)) == 1
    assert all(lease.held for lease in leases)


@pytest.mark.parametrize("slots", [2, PER_BATCH, PER_BATCH + 1, 99])
def test_the_slots_of_one_lease_are_renewed_together(environment, table, slots):
    bucket = environment.bucket(max_tokens=slots)
    lease = bucket.acquire(5, count=slots)
    bucket.tap.clear()
    due(environment, bucket)
    assert len(batches(bucket)) + len(alone(bucket)) == -(-slots // PER_BATCH)
    assert {renewal.slot for renewal in bucket.tap.of(Renew)} == set(lease.slots)
    assert len({table.get(slot)["expires_at"] for slot in lease.slots}) == 1
    assert lease.remaining > 25.0


def test_one_that_is_due_soon_comes_along_but_not_one_that_is_due_later(environment):
    bucket, (first, soon, later) = holders(environment, 3)
    held_of(soon).belief.renew_at += 30.0 * AHEAD - 0.26
    held_of(later).belief.renew_at += 30.0 * AHEAD + 0.01
    due(environment, bucket)
    (batch,) = batches(bucket)
    assert {renewal.lease_id for renewal in batch.renewals} == {first.id, soon.id}
    environment.run(1.0, bucket)
    assert {renewal.lease_id for renewal in alone(bucket)} == {later.id}


def test_long_leases_come_along_by_no_more_than_a_second(environment):
    bucket, (first, soon, later) = holders(environment, 3, lease_seconds=600)
    held_of(soon).belief.renew_at += MOST_AHEAD_SECONDS - 0.26
    held_of(later).belief.renew_at += MOST_AHEAD_SECONDS + 0.01
    due(environment, bucket)
    (batch,) = batches(bucket)
    assert {renewal.lease_id for renewal in batch.renewals} == {first.id, soon.id}


def test_nobody_comes_along_while_nobody_is_due(environment):
    bucket, _ = holders(environment, 3)
    due(environment, bucket, 9.75)
    assert bucket.tap.count() == {}


def test_the_most_urgent_are_sent_first(environment):
    bucket, leases = holders(environment, PER_BATCH + 2)
    renewed_by_hand(environment, bucket, leases[::-1])
    due(environment, bucket)
    urgent = {lease.id for lease in leases[-PER_BATCH:]}
    assert {renewal.lease_id for renewal in batches(bucket)[0].renewals} == urgent


def test_two_buckets_of_one_process_are_no_batch(environment):
    (one, _), (other, _) = holders(environment, 1), holders(environment, 1, name="another")
    other.heartbeats, other_heartbeats = one.heartbeats, other.heartbeats
    for beating in other_heartbeats.scheduled():
        one.heartbeats.add(beating)
    due(environment, one)
    assert (one.tap.count(), other.tap.count()) == ({"Renew": 1}, {"Renew": 1})


def test_doubt_about_the_time_is_cleared_once_for_all(environment):
    bucket, leases = holders(environment, 3)
    renewals_only(bucket)
    bucket.tap.odd = [7_200.0]
    leases[0].renew()
    bucket.tap.clear()
    renew_batch(bucket, leases)
    assert bucket.tap.count() == {"Look": 1, "RenewEach": 1}
    assert all(renewal.expires_at <= environment.now_ms + 33_000 for renewal in bucket.tap.of(Renew))


def test_where_the_time_is_not_told_nothing_is_written_as_long_as_there_is_time(environment):
    bucket, leases = holders(environment, 3)
    renewals_only(bucket)
    bucket.tap.odd = [7_200.0]
    leases[0].renew()
    for _ in range(3):
        bucket.tap.inject(Look, commits=False, answer=UNSENT)
    bucket.tap.clear()
    renew_batch(bucket, leases)
    assert bucket.tap.count() == {"Look": 3}
    assert all(lease.held for lease in leases)


# What is believed.


def test_what_was_renewed_is_believed_from_before_it_was_sent(environment):
    bucket, leases = holders(environment, 2)
    bucket.tap.faults.append(Fault(RenewEach, after=lambda _: environment.clock.pass_time(1.0)))
    due(environment, bucket)
    assert [lease.remaining for lease in leases] == pytest.approx([30.0 - 1.25 - 1.0] * 2, abs=0.8)
    began = bucket.tap.of(Renew)[0].expires_at / 1000 - 30.0
    for lease in leases:
        assert held_of(lease).belief.deadline <= began - environment.clock.wall() + environment.clock.steady() + 30.0


def test_a_revocation_is_seen_in_a_batch(environment):
    bucket, (first, second) = holders(environment, 2)
    environment.bucket().revoke(first.id)
    due(environment, bucket)
    assert bucket.tap.count().get("RenewEach") == 1
    assert first.lost is LossReason.REVOKED
    assert second.held


def test_a_revocation_of_one_slot_of_several_is_seen_in_a_batch(environment, table):
    bucket = environment.bucket(max_tokens=3)
    lease = bucket.acquire(5, count=3)
    table.set(1, revoked="by hand")
    due(environment, bucket)
    assert lease.lost is LossReason.REVOKED


@pytest.mark.parametrize(
    ("befalls", "reason"),
    [
        (lambda table, slot: table.delete(slot), LossReason.GONE),
        (lambda table, slot: put_leased(table, slot, "0-other"), LossReason.TAKEN),
    ],
    ids=["gone", "taken"],
)
def test_a_loss_is_told_by_an_update_and_by_no_batch(environment, table, befalls, reason):
    bucket, (first, second) = holders(environment, 2)
    befalls(table, first.slot)
    due(environment, bucket, 10.0)
    assert (len(batches(bucket)), len(alone(bucket))) == (1, 0)
    assert first.held
    environment.run(0.5, bucket)
    assert [renewal.lease_id for renewal in alone(bucket)] == [first.id]
    assert first.lost is reason
    assert second.remaining > 25.0


def test_of_several_slots_the_one_that_a_batch_refused_is_renewed_first_by_itself(environment, table):
    bucket = environment.bucket(max_tokens=5)
    lease = bucket.acquire(5, count=5)
    put_leased(table, 3, "3-other")
    renew_batch(bucket, [lease])
    (batch,) = batches(bucket)
    assert [renewal.slot for renewal in batch.renewals] == [0, 1, 2, 3, 4]
    assert lease.held
    environment.run(0.5, bucket)
    assert [renewal.slot for renewal in alone(bucket)] == [3], "one request tells"
    assert lease.lost is LossReason.TAKEN


def test_two_leases_of_one_slot_keep_no_batch_from_being_carried_out(environment, table):
    # An operator deletes the item, and this process gets the slot again before it knows that its lease is gone.
    bucket, (first, second) = holders(environment, 2)
    table.delete(first.slot)
    third = bucket.acquire(timeout=5)
    assert third.slot == first.slot
    held_of(third).belief.renew_at = environment.clock.steady() + 10.0
    bucket.tap.clear()
    due(environment, bucket, 10.5)
    assert renewer_of([first]).ahead() > 0.0
    (batch,) = batches(bucket)
    assert {renewal.lease_id for renewal in batch.renewals} == {first.id, second.id}
    assert {renewal.lease_id for renewal in alone(bucket)} == {first.id, third.id}
    assert first.lost is LossReason.TAKEN
    assert second.remaining > 20.0
    assert third.remaining > 20.0


def test_two_that_are_lost_are_told_so_each_by_an_update(environment, table):
    bucket, leases = holders(environment, 3)
    for lease in leases[:2]:
        put_leased(table, lease.slot, "0-other")
    due(environment, bucket, 10.5)
    assert [lease.lost for lease in leases] == [LossReason.TAKEN, LossReason.TAKEN, None]
    assert {renewal.lease_id for renewal in alone(bucket)} == {lease.id for lease in leases[:2]}
    assert len(batches(bucket)) == 1


def test_of_several_slots_one_that_was_taken_loses_the_lease_and_is_told_by_an_update(environment, table):
    bucket = environment.bucket(max_tokens=3)
    lease = bucket.acquire(5, count=3)
    put_leased(table, 1, "0-other")
    due(environment, bucket)
    assert lease.lost is LossReason.TAKEN


def test_a_refusal_for_a_later_expiry_costs_no_lease(environment, table):
    bucket, (first, second) = holders(environment, 2)
    table.set(first.slot, expires_at=environment.now_ms + 60_000)
    due(environment, bucket, 12.0)
    assert (first.held, second.held) == (True, True)
    assert {renewal.lease_id for renewal in alone(bucket)} == {first.id}
    assert first.remaining > 25.0


class Lying:
    """A store whose batches are carried out, and said to have gone otherwise."""

    def __init__(self, store, lie):
        self.store, self.lie = store, lie

    def __getattr__(self, name):
        return getattr(self.store, name)

    def send(self, request):
        reply = self.store.send(request)
        if not isinstance(request, RenewEach):
            return reply
        both = zip(request.renewals, reply.answer.answers, strict=True)
        answers = tuple(self.lie(renewal, answer) for renewal, answer in both)
        return replace(reply, answer=Each(answers=answers))


@pytest.mark.parametrize("answer", [LOST, CONFLICT, THROTTLED], ids=lambda answer: type(answer).__name__)
def test_one_that_failed_in_a_batch_is_tried_again_and_the_others_are_not(environment, answer):
    bucket, (first, second) = holders(environment, 2)
    bucket.tap.store = Lying(bucket.tap.store, lambda renewal, said: answer if renewal.lease_id == first.id else said)
    due(environment, bucket, 10.0)
    assert second.remaining > 25.0
    assert first.remaining < 20.0
    bucket.tap.clear()
    environment.run(6.0, bucket)
    assert {renewal.lease_id for renewal in bucket.tap.of(Renew)} == {first.id}
    assert first.remaining > 20.0


def test_of_several_slots_one_that_failed_extends_none(environment):
    bucket = environment.bucket(max_tokens=3)
    lease = bucket.acquire(5, count=3)
    before = held_of(lease).belief.deadline
    bucket.tap.store = Lying(bucket.tap.store, lambda renewal, said: LOST if renewal.slot == 1 else said)
    renew_batch(bucket, [lease])
    assert batches(bucket)
    assert held_of(lease).belief.deadline == before
    assert held_of(lease).belief.failures == 1


# If the service refuses batches.


def test_where_batches_are_denied_leases_are_renewed_one_by_one_and_none_is_lost(environment, caplog):
    caplog.set_level(logging.INFO, "ddb_lease")
    bucket, leases = holders(environment, 3)
    bucket.tap.faults += [Fault(RenewEach, commits=False, answer=DENIED) for _ in range(9)]
    due(environment, bucket, 11.0)
    assert bucket.tap.count() == {"RenewEach": 1, "Renew": 3}
    assert all(lease.remaining > 20.0 for lease in leases)
    environment.run(60.0, bucket)
    assert len(batches(bucket)) == 1
    assert all(lease.held for lease in leases)
    (said,) = (record.message for record in caplog.records if "PartiQLUpdate" in record.message)
    assert said == (
        f"bucket {bucket.name!r}: leases are renewed one by one for a while, as the service refuses batches: "
        "permission is missing: dynamodb:PartiQLUpdate"
    )


@pytest.mark.parametrize("answer", [UNTIMELY, EXPIRED], ids=["its time", "its credentials"])
def test_where_only_a_batchs_signature_is_refused_batches_go_on_and_no_lease_leaves_its_batch(
    environment, answer, caplog
):
    caplog.set_level(logging.INFO, "ddb_lease")
    bucket, leases = holders(environment, 3)
    bucket.tap.inject(RenewEach, commits=False, answer=answer)
    due(environment, bucket, 10.0)
    assert len(batches(bucket)) == 1
    assert all(lease.held for lease in leases)
    assert not any(held_of(lease).belief.alone for lease in leases)
    assert "one by one" not in caplog.text
    bucket.tap.clear()
    for lease in leases:
        held_of(lease).belief.renew_at = environment.clock.steady()
    due(environment, bucket, 0.25)
    assert bucket.tap.count() == {"RenewEach": 1}
    assert all(lease.remaining > 25.0 for lease in leases)


def test_renewals_refused_for_their_credentials_are_told_of_once_until_a_batch_works(environment, caplog):
    bucket, leases = holders(environment, 3)
    for _ in range(2):
        caplog.clear()
        bucket.tap.everything_fails = EXPIRED
        for _ in range(2):
            renew_batch(bucket, leases)
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert told == [
            f"bucket {bucket.name!r}: 3 slots could not be renewed and will be retried: the credentials have run out"
        ]
        bucket.tap.everything_fails = None
        renew_batch(bucket, leases)
    assert bucket.tap.count() == {"RenewEach": 6}
    assert all(lease.remaining > 25.0 for lease in leases)


def test_after_a_while_batches_are_tried_again(environment):
    bucket, leases = holders(environment, 3)
    bucket.tap.inject(RenewEach, commits=False, answer=DENIED)
    due(environment, bucket, REST_SECONDS + 9.0)
    assert len(batches(bucket)) == 1
    environment.run(2.0, bucket)
    for lease in leases:
        held_of(lease).belief.renew_at = environment.clock.steady()
    due(environment, bucket, 1.0)
    assert len(batches(bucket)) == 2
    assert all(lease.held for lease in leases)


@pytest.mark.parametrize("answer", [LOST, Each(answers=(LOST, LOST, LOST))], ids=["no answer", "one that says nothing"])
def test_a_first_batch_that_says_nothing_is_the_last_for_a_while(environment, answer):
    bucket, leases = holders(environment, 3)
    bucket.tap.inject(RenewEach, commits=False, answer=answer)
    due(environment, bucket, 40.0)
    assert len(batches(bucket)) == 1
    assert all(lease.held for lease in leases)


@pytest.mark.parametrize("answer", [THROTTLED, UNSENT, LOST], ids=lambda answer: type(answer).__name__)
def test_once_a_batch_has_worked_an_outage_ends_no_batches(environment, answer):
    bucket, leases = holders(environment, 3)
    due(environment, bucket)
    bucket.tap.inject(RenewEach, commits=False, answer=answer)
    environment.run(80.0, bucket)
    assert len(batches(bucket)) > 4
    assert all(lease.held for lease in leases)


@pytest.mark.parametrize("answer", [THROTTLED, UNSENT, CONFLICT], ids=lambda answer: type(answer).__name__)
def test_what_says_nothing_against_batches_ends_none(environment, answer):
    bucket, leases = holders(environment, 3)
    bucket.tap.inject(RenewEach, commits=False, answer=answer)
    due(environment, bucket, 60.0)
    assert len(batches(bucket)) > 2
    assert all(lease.held for lease in leases)


def test_where_only_batches_fail_no_lease_is_lost(environment):
    bucket, leases = holders(environment, 3)
    due(environment, bucket)
    assert batches(bucket)  # it has worked once
    bucket.tap.faults += [Fault(RenewEach, commits=False, answer=LOST) for _ in range(1_000)]
    environment.run(300.0, bucket)
    assert all(lease.held for lease in leases)
    assert alone(bucket)


def doubtful(environment, count=4):
    """A bucket whose batches have worked; then one got no answer."""
    bucket, leases = holders(environment, count)
    renew_batch(bucket, leases)
    bucket.tap.inject(RenewEach, commits=False, answer=LOST)
    renew_batch(bucket, leases)
    environment.clock.pass_time(1.0)
    bucket.tap.clear()
    return bucket, leases


def test_while_no_batch_is_answered_one_renewal_is_sent_by_itself_to_see(environment):
    bucket, leases = doubtful(environment)
    renew_batch(bucket, leases)
    assert [renewal.lease_id for renewal in alone(bucket)] == [leases[0].id]
    assert [len(batch.renewals) for batch in batches(bucket)] == [3]
    bucket.tap.clear()
    renew_batch(bucket, leases)
    assert bucket.tap.count() == {"RenewEach": 1}, "that one was answered, and so are batches"


def test_where_that_one_cannot_be_handed_to_a_worker_it_is_due_again_and_the_others_are_renewed(environment):
    bucket, leases = doubtful(environment)
    submit, failures = bucket.heartbeats.workers.submit, iter([MemoryError])

    def failing(job, **how):
        if how["by"] == -math.inf:
            for error in failures:
                raise error
        submit(job, **how)

    bucket.heartbeats.workers.submit = failing
    renew_batch(bucket, leases)
    assert [len(batch.renewals) for batch in batches(bucket)] == [3]
    due(environment, bucket, 12.0)
    assert all(lease.remaining > 20.0 for lease in leases)


def test_one_such_is_under_way_at_a_time(environment):
    bucket, leases = doubtful(environment)
    probes = kept_probes(bucket)
    for _ in range(3):
        bucket.tap.inject(RenewEach, commits=False, answer=LOST)
        renew_batch(bucket, leases)
    (probe,) = probes  # handed over as more urgent than all that waits
    bucket.tap.inject(Renew, commits=False, answer=LOST)
    probe()
    bucket.tap.inject(RenewEach, commits=False, answer=LOST)
    renew_batch(bucket, leases)
    assert len(probes) == 2


def test_a_probe_that_cannot_be_handed_to_a_worker_is_followed_by_another(environment):
    bucket, leases = doubtful(environment)
    probes, failures = kept_probes(bucket), iter([MemoryError])
    submit = bucket.heartbeats.workers.submit

    def failing(job, **how):
        if how["by"] == -math.inf:
            for error in failures:
                raise error
        submit(job, **how)

    bucket.heartbeats.workers.submit = failing
    for expected in (0, 1):
        bucket.tap.inject(RenewEach, commits=False, answer=LOST)
        renew_batch(bucket, leases)
        assert len(probes) == expected


def test_once_that_one_has_worked_all_are_but_for_one_batch_at_a_time(environment):
    bucket, leases = doubtful(environment)
    leases[0].renew()
    bucket.tap.clear()
    others = []
    bucket.tap.faults.append(Fault(RenewEach, before=lambda _: others.append(renew_batch(bucket, leases[2:]))))
    renew_batch(bucket, leases[:2])
    assert {renewal.lease_id for renewal in alone(bucket)} == {lease.id for lease in leases[2:]}
    assert [len(batch.renewals) for batch in batches(bucket)] == [2]
    bucket.tap.clear()
    renew_batch(bucket, leases)
    assert bucket.tap.count() == {"RenewEach": 1}, "it was answered"


def test_where_single_renewals_work_and_batches_do_not_there_are_none_for_a_while(environment):
    bucket, leases = doubtful(environment)
    leases[0].renew()
    environment.clock.pass_time(0.1)
    bucket.tap.inject(RenewEach, commits=False, answer=LOST)
    renew_batch(bucket, leases)
    bucket.tap.clear()
    renew_batch(bucket, leases)
    assert bucket.tap.count() == {"Renew": 4}
    assert renewer_of(leases).ahead() == 0.0


def test_a_batch_that_was_sent_before_a_single_one_worked_says_nothing_of_batches(environment):
    bucket, leases = doubtful(environment)

    def meanwhile(_):
        environment.clock.pass_time(0.1)
        leases[0].renew()

    bucket.tap.inject(RenewEach, commits=False, answer=LOST, before=meanwhile)
    renew_batch(bucket, leases[1:])
    assert renewer_of(leases).ahead() > 0.0


def test_a_single_renewal_that_worked_before_says_nothing_of_batches(environment):
    bucket, leases = holders(environment, 3)
    renew_batch(bucket, leases)
    leases[0].renew()
    for _ in range(2):
        environment.clock.pass_time(0.1)
        bucket.tap.inject(RenewEach, commits=False, answer=LOST)
        bucket.tap.inject(Renew, commits=False, answer=LOST)
        renew_batch(bucket, leases)
    assert renewer_of(leases).ahead() > 0.0


def test_what_was_in_a_batch_that_a_later_one_overtook_is_tried_by_itself(environment):
    bucket, leases = holders(environment, 4)
    renew_batch(bucket, leases)
    overtaken, others = leases[:2], leases[2:]

    def meanwhile(_):
        environment.clock.pass_time(0.1)
        renew_batch(bucket, others)
        environment.clock.pass_time(2.0)

    bucket.tap.inject(RenewEach, commits=False, answer=LOST, before=meanwhile)
    renew_batch(bucket, overtaken)
    assert [held_of(lease).belief.alone for lease in leases] == [True, True, False, False]
    bucket.tap.clear()
    renew_batch(bucket, others)
    assert bucket.tap.count() == {"RenewEach": 1}, "it says nothing of others"
    bucket.tap.clear()
    bucket.heartbeats.reconsider_all()
    environment.run(1.0, bucket)
    assert {renewal.lease_id for renewal in alone(bucket)} == {lease.id for lease in overtaken}
    assert not batches(bucket)
    assert [held_of(lease).belief.alone for lease in leases] == [False] * 4


def come_to_rest(bucket, leases):
    """The service takes no batch any more."""
    bucket.tap.inject(RenewEach, commits=False, answer=DENIED)
    renew_batch(bucket, leases)
    bucket.tap.clear()


def test_what_waits_as_a_batch_while_batches_end_is_sent_one_by_one(environment):
    bucket, leases = holders(environment, 3)
    submit, jobs = bucket.heartbeats.workers.submit, kept_jobs(bucket)
    renew_batch(bucket, leases)
    bucket.heartbeats.workers.submit = submit
    come_to_rest(bucket, leases)
    (job,) = jobs
    job()
    assert bucket.tap.count() == {"Renew": 3}


def test_while_batches_rest_nobody_comes_early(environment):
    bucket, (first, soon) = holders(environment, 2)
    come_to_rest(bucket, [first, soon])
    environment.clock.pass_time(1.0)
    renew_batch(bucket, [first, soon])  # one by one: from here on only the suspension of batches keeps them apart
    bucket.tap.clear()
    held_of(first).belief.renew_at = environment.clock.steady() + 10.0
    held_of(soon).belief.renew_at = environment.clock.steady() + 10.4
    due(environment, bucket, 10.0)
    assert {renewal.lease_id for renewal in alone(bucket)} == {first.id}


def test_one_that_was_refused_is_in_a_batch_again_once_it_is_renewed(environment, table):
    bucket, leases = holders(environment, 2)
    table.set(leases[0].slot, expires_at=environment.now_ms + 45_000)
    due(environment, bucket, 25.0)
    assert alone(bucket)
    bucket.tap.clear()
    for lease in leases:
        held_of(lease).belief.renew_at = environment.clock.steady()
    due(environment, bucket, 0.25)
    assert bucket.tap.count() == {"RenewEach": 1}


def test_one_that_failed_comes_early_with_nobody(environment):
    bucket, (first, failed) = holders(environment, 2)
    held_of(failed).belief.failures = 1
    held_of(failed).belief.renew_at += 0.4
    due(environment, bucket, 10.0)
    assert {renewal.lease_id for renewal in bucket.tap.of(Renew)} == {first.id}


def test_one_that_was_just_tried_comes_early_with_nobody(environment):
    bucket, (first, tried) = holders(environment, 2)
    held_of(tried).belief.renew_at += 0.4
    held_of(tried).belief.tried_at = environment.clock.steady() + 9.9
    due(environment, bucket, 10.0)
    assert {renewal.lease_id for renewal in bucket.tap.of(Renew)} == {first.id}


def test_a_permission_that_is_withdrawn_ends_batches_too(environment):
    bucket, leases = holders(environment, 3)
    renew_batch(bucket, leases)
    bucket.tap.store = Lying(bucket.tap.store, lambda renewal, said: DENIED)
    renew_batch(bucket, leases)
    bucket.tap.clear()
    environment.run(100.0, bucket)
    assert not batches(bucket)
    assert all(lease.held for lease in leases)


# Turns.


def test_one_that_is_renewed_or_released_at_this_moment_is_left_out(environment):
    bucket, (busy, idle) = holders(environment, 2)
    with held_of(busy).attempts.serial:
        due(environment, bucket, 10.0)
    (batch,) = batches(bucket)
    assert [renewal.lease_id for renewal in batch.renewals] == [idle.id]
    assert busy.held
    environment.run(1.0, bucket)
    assert busy.remaining > 20.0


def test_nobody_else_renews_or_releases_it_while_a_batch_is_under_way(environment):
    bucket, leases = holders(environment, 2)
    locked = []
    bucket.tap.faults.append(
        Fault(
            RenewEach,
            after=lambda _: locked.extend(held_of(lease).attempts.serial.acquire(blocking=False) for lease in leases),
        )
    )
    due(environment, bucket)
    assert locked == [False, False]
    assert all(held_of(lease).attempts.serial.acquire(blocking=False) for lease in leases)


@pytest.mark.parametrize("where", ["plan", "apply", "after"])
def test_one_in_trouble_keeps_no_other_from_being_renewed(environment, where, monkeypatch):
    bucket, leases = holders(environment, 3)
    monkeypatch.setattr(held_of(leases[1]).attempts, where, lambda *_, **__: 1 / 0)
    due(environment, bucket)
    assert all(lease.remaining > 25.0 for lease in (leases[0], leases[2]))
    assert not held_of(leases[1]).attempts.current


def test_a_defect_while_sending_costs_no_lease(environment):
    bucket, leases = holders(environment, 3)
    bucket.tap.inject(RenewEach, commits=False, raises=ZeroDivisionError())
    renew_batch(bucket, leases)
    assert [held_of(lease).belief.failures for lease in leases] == [1, 1, 1], "they do not race"
    due(environment, bucket, 15.0)
    assert all(lease.remaining > 20.0 for lease in leases)


def test_a_lease_that_ends_while_its_batch_waits_is_not_renewed(environment):
    bucket, (first, second) = holders(environment, 2)
    jobs = kept_jobs(bucket)
    renew_batch(bucket, [first, second])
    first.release()
    (job,) = jobs
    job()
    assert [renewal.lease_id for renewal in bucket.tap.of(Renew)] == [second.id]


def test_jobs_that_wait_belong_to_the_buckets_line_and_the_most_urgent_come_first(environment):
    bucket, leases = holders(environment, PER_BATCH + 1)
    renewed_by_hand(environment, bucket, leases[::-1])
    submitted = []
    bucket.heartbeats.workers.submit = lambda job, *, line, by: submitted.append((line, by))
    renew_batch(bucket, leases)
    deadlines = [held_of(leases[-1]).belief.deadline, held_of(leases[0]).belief.deadline]
    assert submitted == [(core_of(bucket).driver, deadline) for deadline in deadlines]


def test_what_cannot_be_handed_to_a_worker_is_due_again(environment):
    bucket, leases = holders(environment, 3)
    submit, failures = bucket.heartbeats.workers.submit, iter([MemoryError])

    def failing(job, **how):
        for error in failures:
            raise error
        submit(job, **how)

    bucket.heartbeats.workers.submit = failing
    due(environment, bucket, 12.0)
    assert all(lease.remaining > 20.0 for lease in leases)


def test_after_a_defect_while_batches_are_made_all_are_due_again(environment, monkeypatch):
    bucket, leases = holders(environment, 3)
    failures = iter([ZeroDivisionError])

    def failing(waiting, **how):
        for error in failures:
            raise error
        return take_batch(waiting, **how)

    monkeypatch.setattr(renewer, "take_batch", failing)
    due(environment, bucket, 10.0)
    assert bucket.tap.sent == []
    assert not any(held_of(lease).attempts.current for lease in leases)
    environment.run(2.0, bucket)
    assert all(lease.remaining > 20.0 for lease in leases)


def test_what_becomes_due_while_a_batch_is_under_way_is_sent_too(environment):
    bucket, leases = holders(environment, 4)
    first, others = leases[0], leases[1:]
    bucket.tap.faults.append(Fault(RenewEach, before=lambda _: renew_batch(bucket, [first])))
    renew_batch(bucket, others)
    assert {renewal.lease_id for renewal in bucket.tap.of(Renew)} == {lease.id for lease in leases}


def test_users_code_is_called_when_all_of_a_batch_have_taken_note(environment):
    told = []

    def tell(event):
        if isinstance(event, Renewed):
            told.append([lease.remaining > 25.0 and not held_of(lease).attempts.current for lease in leases])
            told.append([held_of(lease).attempts.serial.acquire(blocking=False) for lease in leases])
            for lease in leases:
                held_of(lease).attempts.serial.release()

    bucket, leases = holders(environment, 3, on_event=tell)
    environment.clock.pass_time(10.0)
    renew_batch(bucket, leases)
    assert told == [[True, True, True]] * 6


def test_a_lost_callback_that_takes_its_time_costs_no_other_its_lease(environment):
    bucket, leases = holders(environment, 3)
    environment.clock.pass_time(10.0)
    leases[1].on_lost = lambda _: environment.clock.pass_time(20.0)
    environment.bucket().revoke(leases[1].id)
    renew_batch(bucket, leases)
    assert leases[1].lost is LossReason.REVOKED
    assert [lease.held for lease in leases] == [True, False, True]


def test_what_a_batch_shows_of_the_service_is_told(environment):
    told = []
    bucket, (first, second) = holders(environment, 2, on_event=told.append)
    told.clear()
    bucket.tap.store = Lying(
        bucket.tap.store, lambda renewal, said: THROTTLED if renewal.lease_id == first.id else said
    )
    renew_batch(bucket, [first, second])
    assert [type(event).__name__ for event in told] == ["Throttled", "Renewed"]


def test_what_a_look_at_the_time_shows_is_told(environment):
    told = []
    bucket, leases = holders(environment, 3, on_event=told.append)
    renewals_only(bucket)
    bucket.tap.odd = [7_200.0]
    leases[0].renew()
    told.clear()
    bucket.tap.inject(Look, commits=False, answer=THROTTLED)
    renew_batch(bucket, leases)
    assert "Throttled" in [type(event).__name__ for event in told]


def test_one_that_has_no_time_to_ask_keeps_no_other_from_asking(environment):
    bucket, leases = holders(environment, 3)
    renewals_only(bucket)
    environment.clock.pass_time(leases[0].remaining - 4.0)  # less than a sixth is left
    leases[1].renew()
    bucket.tap.odd = [7_200.0]
    leases[2].renew()
    bucket.tap.clear()
    renew_batch(bucket, leases)
    assert held_of(leases[0]).belief.failures == 1, "it was tried by itself, and could not be written"
    assert bucket.tap.count() == {"Look": 1, "RenewEach": 1}
    assert {renewal.lease_id for renewal in bucket.tap.of(Renew)} == {lease.id for lease in leases[1:]}


def test_of_more_slots_than_a_batch_takes_the_first_failure_ends_it(environment):
    bucket = environment.bucket(max_tokens=99)
    lease = bucket.acquire(5, count=99)
    bucket.tap.clear()
    bucket.tap.inject(RenewEach, commits=False, answer=THROTTLED)
    renew_batch(bucket, [lease])
    assert len(batches(bucket)) == 1
    assert held_of(lease).belief.failures == 1


def test_a_revocation_counts_beside_a_failure(environment, table):
    bucket = environment.bucket(max_tokens=3)
    lease = bucket.acquire(5, count=3)
    table.set(0, revoked="by hand")
    bucket.tap.store = Lying(bucket.tap.store, lambda renewal, said: THROTTLED if renewal.slot == 1 else said)
    renew_batch(bucket, [lease])
    assert lease.lost is LossReason.REVOKED


def test_a_forked_child_hands_renewals_to_its_own_workers_and_waits_for_no_probe_of_its_parents(environment):
    bucket, leases = doubtful(environment)
    parents = kept_probes(bucket)
    bucket.tap.inject(RenewEach, commits=False, answer=LOST)
    renew_batch(bucket, leases)
    assert len(parents) == 1, "under way as the process forks"
    childs, workers = [], Workers(environment.clock)
    workers.submit = lambda job, *, line, by: childs.append(by) or job()
    object.__setattr__(core_of(bucket).runtime, "heartbeats", Heartbeats(environment.clock, workers))  # the child's
    renewer_of(leases).after_fork_in_child()
    bucket.tap.inject(RenewEach, commits=False, answer=LOST)
    renew_batch(bucket, leases)
    assert len(parents) == 1
    assert len(childs) == 2
    assert childs[1] == -math.inf


# Which go together.


def waiting(*slots, alone=()):
    leases = [
        SimpleNamespace(number=n, slots=range(100 * n, 100 * n + slots[n]), belief=SimpleNamespace(alone=False))
        for n in range(len(slots))
    ]
    for number in alone:
        leases[number].belief.alone = True
    return leases


@pytest.mark.parametrize(
    ("slots", "alone", "batch"),
    [
        ([1, 1, 1], (), [0, 1, 2]),
        ([1] * (PER_BATCH + 2), (), list(range(PER_BATCH))),
        ([1, PER_BATCH, 1], (), [0, 2]),
        ([PER_BATCH + 5, 1], (), [0]),
        ([1, 1, 1], (1,), [0, 2]),
        ([1, 1, 1], (0,), [0]),
    ],
)
def test_the_most_urgent_and_what_fits_with_it_are_a_batch(slots, alone, batch):
    leases = waiting(*slots, alone=alone)
    taken, left = take_batch(leases, singly=False)
    assert [lease.number for lease in taken] == batch
    assert [lease.number for lease in left] == [number for number in range(len(slots)) if number not in batch]


def test_two_leases_of_one_slot_are_in_no_batch_together():
    # The service refuses a whole batch for it.
    leases = waiting(1, 2, 2, 1)
    for lease, slots in zip(leases, ((7,), (8, 9), (9, 10), (7,)), strict=True):
        lease.slots = slots
    taken, left = take_batch(leases, singly=False)
    assert [lease.slots for lease in taken] == [(7,), (8, 9)]
    assert [lease.slots for lease in left] == [(9, 10), (7,)]


def test_one_by_one_is_one_by_one():
    leases = waiting(1, 1, 1)
    assert take_batch(leases, singly=True) == (leases[:1], leases[1:])


# Answers.


def answers(*parts, renewals=None):
    renewals = renewals or tuple(renew(f"{n}-mine", slot=n) for n in range(len(parts)))
    return read_answer(RenewEach(renewals=renewals), {"Responses": list(parts)})


def test_done_is_what_shows_our_lease_with_the_new_expiry():
    (answer,) = answers({"TableName": "t", "Item": item()}).answers
    assert answer.slot.lease.expires_at == renew().expires_at


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"TableName": "t"},
        {"Item": None},
        {"Item": item("0-other")},
        {"Item": item(expires_at={"N": str(NOW)})},
        {"Item": {"pk": {"S": "b"}, "sk": {"S": "slot#00000"}}},
        {"Error": {}},
        {"Error": {"Code": "InternalServerError"}},
        {"Error": {"Code": "SomethingNew", "Message": "what is this?"}},
        {"Item": item("0-mine", 1)},
        {"Error": "?"},
        None,
        [],
    ],
)
def test_whatever_else_is_said_says_nothing(part):
    (answer,) = answers(part).answers
    assert isinstance(answer, Unknown)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("TransactionConflict", Conflict),
        ("ThrottlingError", ThrottledAnswer),
        ("ProvisionedThroughputExceeded", ThrottledAnswer),
        ("RequestLimitExceeded", ThrottledAnswer),
        ("AccessDenied", Rejected),
        ("ResourceNotFound", Rejected),
        ("ValidationError", Rejected),
    ],
)
def test_what_was_surely_not_done(code, kind):
    (answer,) = answers({"Error": {"Code": code, "Message": "no"}}).answers
    assert isinstance(answer, kind)


def test_a_failed_condition_brings_no_item_nor_is_one_read():
    first, second = answers(
        {"Error": {"Code": "ConditionalCheckFailed"}},
        {"Error": {"Code": "ConditionalCheckFailed", "Item": item("0-other")}},
    ).answers
    assert first == second == Refused(slot=None)


@pytest.mark.parametrize("responses", [None, "?", [], [{}, {}, {}]])
def test_fewer_or_more_answers_than_renewals_are_no_answer(responses):
    wanted = RenewEach(renewals=(renew(), renew("1-mine", slot=1)))
    assert isinstance(read_answer(wanted, {"Responses": responses}), Unknown)


@pytest.mark.parametrize("name", ["a.b-c_D", 'the "quoted"'])
def test_a_tables_name_is_quoted(name):
    _, call = call_for(RenewEach(renewals=(renew(),)), BucketAddress(table=name, bucket="b"))
    quoted = name.replace('"', '""')
    assert call["Statements"][0]["Statement"].startswith(f'UPDATE "{quoted}" SET ')


def test_a_lease_with_its_data_comes_back_whole(store, table):
    put_counter(table)
    lease = claimant("0-mine", data={"job": "nightly"})
    put_leased(table, 0, "0-mine", data={"M": {"job": {"S": "nightly"}}})
    put_leased(table, 1, "1-mine")
    first, _ = store.send(RenewEach(renewals=(renew("0-mine"), renew("1-mine", slot=1)))).answer.answers
    assert first.slot.lease.data == lease.data
