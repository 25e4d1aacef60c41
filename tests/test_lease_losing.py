"""How a lease is lost: for one reason, reported once, in time, for ever."""

import logging

import pytest

from ddb_lease import AcquireTimeout, LeaseLost, LossReason
from ddb_lease._protocol.messages import Release, Renew
from scripts.harness.inside import held_of
from tests.support import LOST, REJECTED, UNSENT, leases_in, put_leased, watched_locks

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too


class Told:
    """A lost-callback that notes when it was called, and what it saw."""

    def __init__(self, environment):
        self.environment = environment
        self.reasons = []
        self.at = []

    def __call__(self, lease):
        self.reasons.append(lease.lost)
        self.at.append(self.environment.clock.steady())


@pytest.fixture
def told(environment):
    return Told(environment)


@pytest.fixture
def bucket(environment):
    return environment.bucket(max_tokens=1)


@pytest.fixture
def lease(bucket, told):
    return bucket.acquire(timeout=5, on_lost=told)


def assert_lost(lease, reason, told):
    """Lost for this reason, and reported exactly once."""
    assert lease.lost is reason
    assert told.reasons == [reason]
    assert not lease.held
    assert lease.remaining == 0.0
    for attempt in (lease.check, lease.renew):
        with pytest.raises(LeaseLost, match=str(reason)) as raised:
            attempt()
        assert raised.value.reason is reason
        assert raised.value.lease_id == lease.id
    assert told.reasons == [reason]


BY_HAND = {
    LossReason.TAKEN: lambda table: put_leased(table, 0, "0-other"),
    LossReason.GONE: lambda table: table.delete(0),
    LossReason.REVOKED: lambda table: table.set(0, revoked="by an operator"),
}
EACH_BY_HAND = pytest.mark.parametrize("reason", BY_HAND, ids=str)


@EACH_BY_HAND
def test_what_somebody_did_to_the_slot_is_found_out_by_the_next_renewal(
    environment, bucket, lease, told, table, reason
):
    BY_HAND[reason](table)
    environment.run(11, bucket)
    assert_lost(lease, reason, told)


@EACH_BY_HAND
def test_what_somebody_did_to_the_slot_is_found_out_by_a_renewal_by_hand(bucket, lease, told, table, reason):
    BY_HAND[reason](table)
    with pytest.raises(LeaseLost) as raised:
        lease.renew()
    assert raised.value.reason is reason
    assert_lost(lease, reason, told)


def test_a_lease_released_by_somebody_else_is_taken(environment, bucket, lease, told):
    assert environment.bucket().release(lease.id)
    environment.run(11, bucket)
    assert_lost(lease, LossReason.TAKEN, told)


@pytest.mark.parametrize("answer", [UNSENT, LOST, REJECTED], ids=lambda a: type(a).__name__)
def test_an_outage_loses_the_lease_only_at_its_deadline(environment, bucket, lease, told, answer):
    bucket.tap.everything_fails = answer
    deadline = environment.clock.steady() + lease.remaining
    environment.run(deadline - environment.clock.steady() - 0.5, bucket)
    lease.check()
    assert told.reasons == []
    environment.run(1, bucket)
    assert_lost(lease, LossReason.UNREACHABLE, told)
    assert len(bucket.tap.of(Renew)) > 5


def test_a_sleep_through_the_deadline_is_told_from_an_outage(environment, bucket, lease, told):
    environment.sleep_through(60, bucket)
    assert_lost(lease, LossReason.SUSPENDED, told)


@pytest.mark.parametrize(
    "ask",
    [lambda lease: lease.held, lambda lease: lease.lost, lambda lease: lease.remaining],
    ids=["held", "lost", "remaining"],
)
@pytest.mark.parametrize(("slept", "reason"), [(False, LossReason.UNREACHABLE), (True, LossReason.SUSPENDED)])
def test_after_the_deadline_the_lease_is_not_held_even_without_a_heartbeat(
    environment, bucket, lease, told, ask, slept, reason
):
    environment.clock.pass_time(60)
    bucket.heartbeats.slept = slept
    assert ask(lease) in {False, 0.0, reason}
    assert_lost(lease, reason, told)


@pytest.mark.parametrize("alive", [True, False], ids=["heartbeat alive", "process asleep"])
def test_the_holder_stops_believing_before_anyone_else_can_have_the_slot(
    environment, bucket, lease, told, alive, table
):
    bucket.tap.everything_fails = UNSENT
    if alive:
        environment.meanwhile.append(lambda: bucket.heartbeats.turn(slept=False))
    successor = environment.bucket(max_tokens=1).acquire(timeout=120)
    taken_at = environment.clock.steady()
    assert not lease.held
    assert successor.fence > lease.fence
    assert held_of(lease).belief.deadline < taken_at
    if alive:
        assert told.at[0] < taken_at


def test_the_lost_callback_has_returned_before_the_slot_of_a_revoked_lease_is_free(environment, bucket, table):
    during = []
    lease = bucket.acquire(timeout=5, on_lost=lambda lease: during.append(leases_in(table)))
    table.set(0, revoked="by an operator")
    environment.run(11, bucket)
    assert during == [{0: lease.id}]
    assert leases_in(table) == {}


def test_a_revoked_lease_without_a_callback_stays_until_its_holder_releases_it(environment, bucket, table):
    lease = bucket.acquire(timeout=5)
    table.set(0, revoked="by an operator")
    environment.run(11, bucket)
    assert leases_in(table) == {0: lease.id}
    assert lease.release()
    assert leases_in(table) == {}


def test_the_slot_of_a_revoked_lease_is_free_after_a_callback_that_was_set_late(environment, bucket, table):
    lease = bucket.acquire(timeout=5)
    table.set(0, revoked="by an operator")
    environment.run(11, bucket)
    during = []
    lease.on_lost = lambda lease: during.append(leases_in(table))
    assert during == [{0: lease.id}]
    assert leases_in(table) == {}


def test_watchers_are_told_of_a_loss_before_its_callback_is_called(environment, bucket, table):
    told = []
    lease = bucket.acquire(timeout=5, on_lost=lambda _: told.append("callback"))
    held_of(lease).end.watch(lambda: told.append("watcher"))
    table.delete(0)
    environment.run(11, bucket)
    assert told == ["watcher", "callback"]


def test_a_callback_that_fails_harms_nothing(environment, bucket, table, caplog):
    def fails(lease):
        raise ZeroDivisionError

    lease = bucket.acquire(timeout=5, on_lost=fails)
    table.delete(0)
    environment.run(11, bucket)
    assert lease.lost is LossReason.GONE
    assert "lost-callback" in caplog.text
    assert bucket.acquire(timeout=5).held


def test_a_callback_is_called_whatever_the_logs_handlers_do(environment, bucket, lease, told, table):
    class Full(logging.Handler):
        def emit(self, record):
            raise OSError("the disk is full")

    log, handler = logging.getLogger("ddb_lease"), Full()
    log.addHandler(handler)
    try:
        table.delete(lease.slot)
        with pytest.raises(LeaseLost):
            lease.renew()
    finally:
        log.removeHandler(handler)
    assert told.reasons == [LossReason.GONE]


@pytest.mark.parametrize("notices", ["the heartbeat", "a check", "a release"])
@pytest.mark.parametrize("at", ["after", "reconsider", "call_back"])
@pytest.mark.one_api
def test_a_loss_whose_announcement_was_interrupted_is_announced_once_by_whoever_notices(
    environment, bucket, lease, told, table, monkeypatch, at, notices
):
    where = held_of(lease).attempts if at == "after" else bucket.heartbeats
    whole = getattr(where, at)

    def interrupted(*_, **__):
        setattr(where, at, whole)
        raise KeyboardInterrupt

    monkeypatch.setattr(where, at, interrupted)
    table.delete(0)
    with pytest.raises(KeyboardInterrupt):
        lease.renew()
    if notices == "the heartbeat":
        environment.run(12, bucket)  # at its next turn for this lease, if it could not even be woken
        assert told.reasons == [LossReason.GONE], "before anybody asks"
    elif notices == "a check":
        assert not lease.held
    else:
        assert not lease.release()
    assert_lost(lease, LossReason.GONE, told)
    environment.run(31, bucket)
    assert told.reasons == [LossReason.GONE]


def test_a_callback_set_after_the_loss_is_called_at_once_and_once(environment, bucket, told, table):
    lease = bucket.acquire(timeout=5)
    table.delete(0)
    environment.run(11, bucket)
    lease.on_lost = told
    lease.on_lost = told
    assert told.reasons == [LossReason.GONE]


def test_a_callback_may_be_exchanged_before_the_loss(environment, bucket, lease, told, table):
    other = Told(environment)
    lease.on_lost = other
    table.delete(0)
    environment.run(11, bucket)
    assert (told.reasons, other.reasons) == ([], [LossReason.GONE])


def test_no_callback_is_called_for_a_release(environment, bucket, lease, told):
    lease.release()
    environment.run(60, bucket)
    assert told.reasons == []
    assert lease.lost is None


def test_a_lease_is_lost_for_its_first_reason_whatever_comes_after(environment, bucket, lease, told, table):
    environment.sleep_through(60, bucket)
    table.delete(0)
    environment.run(60, bucket)
    assert_lost(lease, LossReason.SUSPENDED, told)


@pytest.mark.parametrize("commits", [True, False], ids=["committed", "not committed"])
def test_a_renewal_answered_after_the_loss_revives_nothing_and_is_released(
    environment, bucket, lease, told, table, commits
):
    answer = None if commits else UNSENT
    running_at_release = []
    bucket.tap.inject(Renew, commits=commits, answer=answer, after=lambda _: environment.clock.pass_time(25))
    bucket.tap.inject(
        Release, before=lambda _: running_at_release.append(table.get(0)["expires_at"] > environment.now_ms)
    )
    environment.run(11, bucket)
    assert not lease.held
    assert lease.lost in {LossReason.UNREACHABLE, LossReason.SUSPENDED}
    assert len(told.reasons) == 1
    environment.run(5, bucket)
    assert not lease.held
    assert len(told.reasons) == 1
    assert running_at_release == [commits]
    assert leases_in(table) == {}


def test_after_an_outage_what_unseen_renewals_extended_is_released(environment, bucket, lease, told, table):
    for _ in range(200):
        bucket.tap.inject(Renew, commits=True, answer=LOST)
    environment.run(32, bucket)
    assert_lost(lease, LossReason.UNREACHABLE, told)
    bucket.tap.faults.clear()
    environment.run(5, bucket)
    assert leases_in(table) == {}


def test_a_callback_that_returns_amid_the_clean_up_does_not_keep_the_slot(
    environment, bucket, told, table, monkeypatch
):
    with watched_locks() as locks:
        lease, after_the_loss = bucket.acquire(timeout=5, on_lost=told), []
    bucket.heartbeats.callbacks.submit = lambda job, **_: after_the_loss.append(job)
    for _ in range(200):
        bucket.tap.inject(Renew, commits=True, answer=LOST)
    loss = held_of(lease).loss
    clean_up = loss.clean_up

    def returns():
        """As the clean-up takes a lock of the lease, the callback has just returned."""
        if after_the_loss:
            after_the_loss.pop(0)()

    def cleaned_up():
        for lock in locks:
            lock.before = returns
        clean_up()

    monkeypatch.setattr(loss, "clean_up", cleaned_up)
    environment.run(32, bucket)
    assert lease.lost is LossReason.UNREACHABLE
    bucket.tap.faults.clear()
    environment.run(10, bucket)
    assert not after_the_loss
    assert leases_in(table) == {}


def test_a_lease_lost_to_an_outage_is_not_released_before_its_old_expiry(environment, bucket, lease, table):
    expires_at = table.get(0)["expires_at"]
    bucket.tap.inject(Release, before=lambda _: released_at.append(environment.now_ms))
    released_at = []
    for _ in range(200):
        bucket.tap.inject(Renew, commits=False, answer=UNSENT)
    environment.run(40, bucket)
    assert released_at
    assert released_at[0] >= expires_at - 1_000  # as the holder knows the time: to a second


def test_asking_costs_no_request(environment, bucket, lease):
    bucket.tap.clear()
    for _ in range(3):
        lease.check()
        assert lease.held
        assert lease.lost is None
        assert lease.remaining > 0
        assert "held" in repr(lease)
    environment.clock.pass_time(60)
    with pytest.raises(LeaseLost):
        lease.check()
    assert bucket.tap.sent == []


@pytest.mark.parametrize("answer", [None, UNSENT, REJECTED], ids=["service there", "service away", "service refuses"])
def test_a_block_entered_with_a_lost_lease_says_that_it_is_lost_whatever_the_service_does(
    environment, bucket, lease, answer
):
    environment.clock.pass_time(60)
    bucket.tap.everything_fails = answer
    with pytest.raises(LeaseLost), lease:
        raise AssertionError("entered")


def test_what_remains_shrinks_with_time_and_grows_with_each_renewal(environment, bucket, lease):
    full = lease.remaining
    assert 25 < full < 30
    environment.clock.pass_time(5)
    assert lease.remaining == pytest.approx(full - 5)
    lease.renew()
    assert lease.remaining == pytest.approx(full)


def test_a_lease_cannot_be_had_while_it_is_believed_in(environment, bucket, lease):
    environment.meanwhile.append(lambda: bucket.heartbeats.turn(slept=False))
    with pytest.raises(AcquireTimeout):
        environment.bucket(max_tokens=1).acquire(timeout=100)
    lease.check()


@pytest.mark.parametrize("reason", LossReason, ids=str)
def test_a_reason_reads_as_its_word(reason):
    assert f"{reason}" == reason.value == reason.name.lower()
