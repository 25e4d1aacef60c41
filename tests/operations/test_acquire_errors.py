"""Failures in each phase; foreign items in the table; and what a user may name and attach."""

import logging
import pickle
import time
from functools import partial

import pytest

from ddb_lease import (
    AcquireTimeout,
    ConfigurationError,
    LeaseBucket,
    LeaseLost,
    LossReason,
    StoreRejected,
    StoreUnavailable,
    Timing,
    UnknownBucket,
)
from ddb_lease._protocol.messages import BringBack, Claim, Create, Look, Mint, Release, Renew, Reply
from ddb_lease.errors import EngineError, LeaseError, StoreError
from ddb_lease.events import Acquired
from scripts.harness.inside import core_of
from tests.support import (
    CONFLICT,
    LONG_AGO,
    LOST,
    NO_ANSWERS,
    REJECTED,
    THROTTLED,
    UNSENT,
    eventually,
    leases_in,
    put_counter,
    put_free,
    put_leased,
)

KIND = {"ids": lambda value: getattr(value, "__name__", type(value).__name__)}
"""Ids of parameters that are kinds of request, or answers."""
PASSING = pytest.mark.parametrize("answer", NO_ANSWERS, **KIND)
PHASES = pytest.mark.parametrize("kind", [Look, Create, Claim], **KIND)


# Acquiring


@PHASES
@PASSING
def test_an_acquire_survives_what_passes(environment, table, kind, answer):
    bucket = environment.bucket(max_tokens=1)
    for _ in range(3):
        bucket.tap.inject(kind, commits=False, answer=answer)
    lease = bucket.acquire(timeout=60)
    assert leases_in(table) == {0: lease.id}


@pytest.mark.parametrize("answered", [1, 2], ids=["for a second answer", "for a third one"])
def test_a_look_for_the_time_that_is_refused_is_raised_and_not_repeated(environment, table, answered):
    put_counter(table, max_tokens=1, minted=1)
    put_leased(table, 0, expires_at=LONG_AGO)
    bucket = environment.bucket(max_tokens=1)
    for _ in range(answered - 1):
        bucket.tap.inject(Look, commits=True)
    bucket.tap.inject(Look, commits=True, after=lambda _: setattr(bucket.tap, "everything_fails", REJECTED))
    with pytest.raises(StoreRejected, match="permission is missing"):
        bucket.try_acquire()
    assert bucket.tap.count() == {"Look": answered + 1}


@pytest.mark.parametrize("kind", [Mint, BringBack], **KIND)
@PASSING
def test_coming_into_circulation_survives_what_passes(environment, table, kind, answer):
    put_counter(table, max_tokens=1, minted=0)
    if kind is BringBack:
        put_free(table, 0)
        table.set(0, retired=True)
    bucket = environment.bucket(max_tokens=1)
    for _ in range(3):
        bucket.tap.inject(kind, commits=False, answer=answer)
    assert bucket.acquire(timeout=60).held
    assert table.get("counter")["minted"] == 1


@PHASES
@PASSING
def test_try_acquire_gives_up_after_a_few_tries(environment, kind, answer):
    bucket = environment.bucket(max_tokens=1)
    for _ in range(100):
        bucket.tap.inject(kind, commits=False, answer=answer)
    with pytest.raises(StoreUnavailable) as raised:
        bucket.try_acquire()
    assert raised.value.__cause__ is answer.cause
    assert len(bucket.tap.of(kind)) <= 30


@PHASES
def test_what_can_never_succeed_is_raised_at_once(environment, kind):
    bucket = environment.bucket(max_tokens=1)
    bucket.tap.inject(kind, commits=False, answer=REJECTED)
    with pytest.raises(StoreRejected, match="permission is missing"):
        bucket.acquire(timeout=60)
    assert len(bucket.tap.of(kind)) == 1
    assert environment.pauses == []


@PHASES
def test_a_bucket_object_can_be_used_again_after_a_failed_acquire(environment, kind):
    bucket = environment.bucket(max_tokens=1)
    bucket.tap.inject(kind, commits=False, answer=REJECTED)
    with pytest.raises(StoreRejected):
        bucket.acquire(timeout=60)
    assert bucket.acquire(timeout=60).held


@pytest.mark.parametrize("answer", [LOST, THROTTLED, CONFLICT, UNSENT], **KIND)
def test_a_service_that_does_not_answer_in_time_is_unavailable_not_full(environment, answer):
    bucket = environment.bucket(max_tokens=1)
    bucket.tap.everything_fails = answer
    with pytest.raises(StoreUnavailable):
        bucket.acquire(timeout=7)


def test_a_full_bucket_times_out_and_is_not_unavailable(environment):
    environment.bucket(max_tokens=1).acquire(timeout=5)
    with pytest.raises(AcquireTimeout, match="7 s"):
        environment.bucket(max_tokens=1).acquire(timeout=7)


def test_without_a_timeout_a_service_that_was_never_reached_is_given_up(environment):
    bucket = environment.bucket()
    bucket.tap.everything_fails = UNSENT
    began = environment.clock.steady()
    environment.meanwhile.append(lambda: pytest.fail("for ever") if environment.clock.steady() - began > 300 else None)
    with pytest.raises(StoreUnavailable):
        bucket.acquire()
    assert 20 <= environment.clock.steady() - began < 40


def test_without_a_timeout_an_outage_is_waited_out(environment):
    bucket = environment.bucket(max_tokens=1)
    bucket.acquire(timeout=5).release()
    bucket.tap.everything_fails = UNSENT
    began = environment.clock.steady()

    def recover():
        if environment.clock.steady() - began > 300:
            bucket.tap.everything_fails = None

    environment.meanwhile.append(recover)
    assert bucket.acquire().held


# Renewing and releasing


@PASSING
def test_a_renewal_by_hand_that_fails_says_so_and_costs_no_lease(environment, answer):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    bucket.tap.inject(Renew, commits=False, answer=answer)
    with pytest.raises(StoreUnavailable) as raised:
        lease.renew()
    assert raised.value.__cause__ is answer.cause
    lease.check()
    lease.renew()


def test_a_renewal_that_is_rejected_says_so_and_costs_no_lease(environment):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    bucket.tap.inject(Renew, commits=False, answer=REJECTED)
    with pytest.raises(StoreRejected):
        lease.renew()
    lease.check()


@PASSING
def test_a_release_survives_what_passes(environment, table, answer):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    for _ in range(3):
        bucket.tap.inject(Release, commits=False, answer=answer)
    assert lease.release()
    assert leases_in(table) == {}


@PASSING
def test_a_release_that_fails_for_long_says_so_in_bounded_time(environment, answer):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    bucket.tap.everything_fails = answer
    began = environment.clock.steady()
    with pytest.raises(StoreUnavailable):
        lease.release()
    assert environment.clock.steady() - began < 6
    assert not lease.held
    bucket.tap.everything_fails = None


def test_a_release_that_is_rejected_says_so_at_once(environment):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    bucket.tap.inject(Release, commits=False, answer=REJECTED)
    with pytest.raises(StoreRejected):
        lease.release()
    assert environment.pauses == []
    assert not lease.held


@pytest.mark.parametrize("operation", ["status", "release"])
@PASSING
def test_other_operations_survive_what_passes(environment, operation, answer):
    bucket, other = environment.bucket(max_tokens=1), environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    other.tap.inject(Look if operation == "status" else Release, commits=False, answer=answer)
    assert other.status() if operation == "status" else other.release(lease.id)


@PASSING
def test_a_status_that_cannot_be_had_says_so(environment, answer):
    bucket = environment.bucket()
    bucket.tap.everything_fails = answer
    with pytest.raises(StoreUnavailable):
        bucket.status()


# Set-up


@pytest.mark.parametrize("operation", [lambda b: b.acquire(timeout=5), lambda b: b.try_acquire(), lambda b: b.status()])
def test_a_missing_table_is_named_with_the_command_that_makes_it(new_bucket, operation):
    with pytest.raises(StoreRejected, match="ddb-lease create-table --table no-such-table"):
        operation(new_bucket(table="no-such-table"))


@pytest.fixture(
    params=[("id", None, "S"), ("pk", None, "S"), ("pk", "sk", "N")], ids=["other names", "no range", "numbers"]
)
def misshapen(request, client, bucket_name):
    """A table whose keys are not ours."""
    hash_key, range_key, kind = request.param
    keys = [(hash_key, "HASH")] + ([(range_key, "RANGE")] if range_key else [])
    client.create_table(
        TableName=f"misshapen-{bucket_name}",
        KeySchema=[{"AttributeName": name, "KeyType": role} for name, role in keys],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, _ in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    yield f"misshapen-{bucket_name}"
    client.delete_table(TableName=f"misshapen-{bucket_name}")


@pytest.mark.parametrize("max_tokens", [1, 3])
def test_a_table_with_other_keys_is_rejected_with_the_keys_it_should_have(new_bucket, misshapen, max_tokens):
    with pytest.raises(StoreRejected, match="pk and sk"):
        new_bucket(table=misshapen, max_tokens=max_tokens).acquire(timeout=5)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_stored_settings_rule_and_one_warning_names_both(new_bucket, caplog):
    kept = new_bucket(max_tokens=2, lease_seconds=40).acquire(timeout=5)
    bucket = new_bucket(max_tokens=5, lease_seconds=30)
    lease = bucket.acquire(timeout=5)
    assert 35 < lease.remaining < 40
    assert bucket.try_acquire() is None
    lease.release()
    kept = kept, bucket.acquire(timeout=5)
    bucket.status()
    (warning,) = warnings_of(caplog)
    for named in ("max_tokens=2, lease_seconds=40", "max_tokens=5, lease_seconds=30", bucket.name):
        assert named in warning


def test_a_bucket_that_is_resized_again_and_again_is_nothing_more_to_warn_of(new_bucket, table, caplog):
    leases = [new_bucket(max_tokens=2).acquire(timeout=5)]
    bucket = new_bucket(max_tokens=5)
    for max_tokens in (2, 3, 4):
        table.set("counter", max_tokens=max_tokens, rev=table.get("counter")["rev"] + 1)
        while (lease := bucket.try_acquire()) is not None:
            leases.append(lease)
    assert core_of(bucket).state.hints.counter.max_tokens == 4
    assert len(warnings_of(caplog)) == 1


def test_the_same_settings_are_nothing_to_warn_of(new_bucket, caplog):
    leases = [new_bucket().acquire(timeout=5) for _ in range(2)]
    assert warnings_of(caplog) == []
    assert all(lease.held for lease in leases)


@pytest.mark.parametrize("again", range(2), ids=["at first", "and ever after"])
def test_a_stored_lease_too_short_for_this_clients_margin_is_refused(new_bucket, table, again):
    put_counter(table, max_tokens=1, minted=1, lease_ms=3_000)
    put_free(table, 0)
    bucket = new_bucket(timing=Timing(front_end_skew=2.0))
    for _ in range(again):
        with pytest.raises(ConfigurationError):
            bucket.acquire(timeout=5)
    with pytest.raises(ConfigurationError, match="too short"):
        bucket.acquire(timeout=1)
    assert leases_in(table) == {}


def test_a_closed_bucket_acquires_no_more_and_holds_nothing(new_bucket, table):
    bucket = new_bucket()
    leases = [bucket.acquire(timeout=5) for _ in range(2)]
    bucket.close()
    assert leases_in(table) == {}
    assert all(lease.lost is None and not lease.held for lease in leases)
    for acquire in (bucket.acquire, bucket.try_acquire):
        with pytest.raises(ConfigurationError, match="closed"):
            acquire()
    bucket.close()


def test_leaving_a_buckets_block_closes_it(new_bucket, table):
    with new_bucket() as bucket:
        bucket.acquire(timeout=5)
    assert leases_in(table) == {}


def test_closing_raises_nothing_when_a_release_fails(environment, caplog):
    bucket = environment.bucket()
    leases = [bucket.acquire(timeout=5) for _ in range(3)]
    bucket.tap.inject(Release, commits=False, answer=REJECTED)
    bucket.close()
    assert not any(lease.held for lease in leases)
    assert len(warnings_of(caplog)) == 1


def test_closing_many_leases_in_an_outage_has_one_deadline_for_all(new_bucket, caplog):
    bucket = new_bucket(max_tokens=60)
    leases = [bucket.acquire(timeout=60) for _ in range(60)]
    send = bucket.tap.send

    def hang_for_a_while(request):
        time.sleep(1.0)
        return Reply(answer=UNSENT, genuine=False, date=None) if isinstance(request, Release) else send(request)

    bucket.tap.send = hang_for_a_while
    began = time.monotonic()
    bucket.close()
    assert time.monotonic() - began < 30.0, "one after another, it would take 60 s at least"
    assert not any(lease.held for lease in leases)
    assert len(core_of(bucket).owed) == 60
    outage, unreleased = warnings_of(caplog)
    assert "no answer from DynamoDB" in outage
    assert "not released yet" in unreleased
    bucket.tap.send = send


def test_what_closing_in_an_outage_could_not_release_is_released_after_it(environment, table):
    bucket = environment.bucket()
    for _ in range(3):
        bucket.acquire(timeout=5)
    began = environment.clock.steady()
    bucket.tap.everything_fails = UNSENT
    bucket.close()
    assert environment.clock.steady() - began < 10.0
    assert len(leases_in(table)) == 3
    bucket.tap.everything_fails = None
    environment.run(35.0, bucket)
    assert leases_in(table) == {}
    assert core_of(bucket).owed == {}
    assert bucket.heartbeats.scheduled() == []


def test_a_release_that_was_given_up_is_sent_again_within_half_a_minute_however_long_the_lease(environment, table):
    bucket = environment.bucket(lease_seconds=3600)
    lease = bucket.acquire(timeout=5)
    bucket.tap.everything_fails = UNSENT
    with pytest.raises(StoreUnavailable):
        lease.release()
    assert len(leases_in(table)) == 1
    bucket.tap.everything_fails = None
    environment.run(31.0, bucket)
    assert leases_in(table) == {}


def test_a_release_that_was_given_up_is_sent_again_until_it_is_answered_or_has_expired(environment, table):
    bucket = environment.bucket()
    lease, other = bucket.acquire(timeout=5), bucket.acquire(timeout=5)
    bucket.tap.everything_fails = LOST
    for each in (lease, other):
        with pytest.raises(StoreUnavailable):
            each.release()
    assert set(core_of(bucket).owed) == {lease.id, other.id}
    bucket.tap.clear()
    environment.run(120.0, bucket)
    assert 2 < len(bucket.tap.of(Release)) < 20, "while the leases may last, and no longer"
    assert bucket.heartbeats.scheduled() == []
    assert core_of(bucket).owed == {}


def test_what_is_still_owed_at_the_interpreters_exit_is_sent_once_more(environment, table):
    bucket = environment.bucket()
    lease = bucket.acquire(timeout=5)
    bucket.tap.everything_fails = UNSENT
    with pytest.raises(StoreUnavailable):
        lease.release()
    bucket.tap.everything_fails = None
    core_of(bucket).at_exit(environment.clock.steady() + 5)
    assert leases_in(table) == {}


def test_a_release_that_is_refused_for_good_is_not_repeated_but_at_the_exit(environment, table):
    bucket = environment.bucket()
    lease = bucket.acquire(timeout=5)
    bucket.tap.everything_fails = REJECTED
    with pytest.raises(StoreRejected):
        lease.release()
    bucket.tap.clear()
    environment.run(20.0, bucket)  # the lease has not expired yet
    assert bucket.tap.of(Release) == []
    bucket.tap.everything_fails = None
    core_of(bucket).at_exit(environment.clock.steady() + 5)
    assert leases_in(table) == {}


def test_after_the_release_at_the_exit_nothing_is_leased_any_more(environment):
    bucket = environment.bucket()
    core_of(bucket).at_exit(environment.clock.steady() + 5)
    with pytest.raises(ConfigurationError, match="interpreter is exiting"):
        bucket.acquire(timeout=5)


def test_a_forked_child_sends_no_release_for_a_lease_whose_release_failed_in_the_parent(environment):
    bucket = environment.bucket()
    lease = bucket.acquire(timeout=5)
    bucket.tap.everything_fails = LOST
    with pytest.raises(StoreUnavailable):
        lease.release()
    core_of(bucket).after_fork_in_child()
    bucket.tap.everything_fails = None
    bucket.tap.clear()
    assert not lease.release()
    assert bucket.tap.count() == {}


def test_at_the_interpreters_exit_no_release_is_sent_after_the_time_for_it(environment, caplog):
    bucket = environment.bucket()
    for _ in range(3):
        bucket.acquire(timeout=5)
    bucket.tap.clear()
    bucket.tap.inject(Release, before=lambda _: environment.clock.pass_time(10))  # a service that is slow to answer
    core_of(bucket).at_exit(environment.clock.steady() + 5)
    assert bucket.tap.count() == {"Release": 1}
    assert "left to expire" in caplog.text


@pytest.mark.parametrize("kind", [Look, Create, Claim], **KIND)
def test_a_bucket_closed_while_an_acquire_is_under_way_is_left_with_no_lease(new_bucket, table, kind):
    told = []
    bucket = new_bucket(max_tokens=1, on_event=told.append)
    bucket.tap.inject(kind, before=lambda _: bucket.close())
    with pytest.raises(ConfigurationError, match="closed"):
        bucket.acquire(timeout=5)
    assert leases_in(table) == {}
    assert not any(isinstance(event, Acquired) for event in told), "nobody has acquired anything"


def test_a_bucket_closed_as_its_lease_is_handed_out_is_left_with_no_lease(new_bucket, table, in_thread):
    def close(event):
        if isinstance(event, Acquired):
            in_thread(bucket.close).result(10)

    bucket = new_bucket(max_tokens=1, on_event=close)
    with pytest.raises(ConfigurationError, match="closed"):
        bucket.acquire(timeout=5)
    assert leases_in(table) == {}
    assert core_of(bucket).leases == {}


def test_closing_a_bucket_ends_the_waits_for_it(new_bucket, in_thread, monkeypatch):
    monkeypatch.setattr(
        "ddb_lease._protocol.retry.LONGEST_POLL_SECONDS", 6_000.0
    )  # the wait of a waiter that is not woken
    new_bucket(max_tokens=1).acquire(timeout=5)
    bucket = new_bucket(max_tokens=1)
    waiter = in_thread(lambda: bucket.acquire(timeout=60))
    eventually(lambda: core_of(bucket).state.hints.waiting and bucket.tap.sent)
    bucket.close()
    eventually(waiter.done, within=5)
    assert isinstance(waiter.exception(), ConfigurationError)


# What is found in the table


FOREIGN_SLOTS = {
    "no fence": {"ttl": 1},
    "fence of another type": {"fence": "seven"},
    "a fence that is not whole": {"fence": {"N": "1.5"}},
    "lease without an expiry": {"fence": 1, "lease_id": "0-x"},
    "expiry of another type": {"fence": 1, "lease_id": "0-x", "expires_at": "soon"},
    "lease id of another type": {"fence": 1, "lease_id": 7, "expires_at": 1},
    "owner of another type": {"fence": 1, "lease_id": "0-x", "expires_at": 1, "owner": 7},
    "data of another type": {"fence": 1, "lease_id": "0-x", "expires_at": 1, "data": "text"},
}


@pytest.mark.parametrize("attributes", FOREIGN_SLOTS.values(), ids=FOREIGN_SLOTS)
def test_a_slot_item_of_foreign_shape_spoils_nothing_beside_it(new_bucket, table, attributes):
    put_counter(table, max_tokens=2, minted=2)
    table.set(0, **attributes)
    put_leased(table, 1, "1-other")
    bucket = new_bucket()
    lease = bucket.try_acquire()
    if lease is not None:  # what can be read as free or expired is claimed, and has our shape from then on
        assert leases_in(table)[0] == lease.id
        assert lease.release()
    assert [info.lease_id for info in bucket.status().leases if info.slot == 1] == ["1-other"]
    assert bucket.release("1-other")
    assert bucket.acquire(timeout=5).held


@pytest.mark.parametrize(
    "attributes",
    [
        FOREIGN_SLOTS[n]
        for n in ("no fence", "fence of another type", "a fence that is not whole", "lease without an expiry")
    ],
)
def test_a_slot_that_cannot_be_read_is_never_granted(new_bucket, table, attributes):
    put_counter(table, max_tokens=1, minted=1)
    table.set(0, **attributes)
    before = table.all()
    assert new_bucket().try_acquire() is None
    assert table.all() == before


@pytest.mark.parametrize("sort", ["slot#1", "slot#0000x", "slot#000001", "zzz", "Slot#00000", "slot#٠٠٠٠١", "!"])
def test_items_that_are_no_slots_are_passed_over(new_bucket, table, sort):
    put_counter(table, max_tokens=1, minted=1)
    put_free(table, 0)
    table.set(sort, fence=1)
    bucket = new_bucket()
    lease = bucket.acquire(timeout=5)
    assert lease.slot == 0
    assert bucket.try_acquire() is None
    assert [info.slot for info in bucket.status().leases] == [0]


@pytest.mark.parametrize("sort", ["aaa", "counter-old", "foo"])
def test_foreign_items_in_great_number_do_not_hide_the_bucket(new_bucket, table, sort):
    put_counter(table, max_tokens=1, minted=1)
    put_free(table, 0)
    for number in range(140):
        table.set(f"{sort}-{number:03d}", fence=1)
    bucket = new_bucket()
    assert bucket.status().in_circulation == 1
    assert bucket.try_acquire() is not None


FOREIGN_COUNTERS = {
    "text": {"max_tokens": "three"},
    "a half": {"max_tokens": {"N": "1.5"}},
    "negative": {"max_tokens": -1},
    "no lease": {"lease_ms": 0},
    "rev of another type": {"rev": "x"},
}


@pytest.mark.parametrize("attributes", FOREIGN_COUNTERS.values(), ids=FOREIGN_COUNTERS)
@pytest.mark.parametrize("operation", ["try_acquire", "status"])
def test_a_counter_of_foreign_shape_is_rejected_and_left_alone(new_bucket, table, attributes, operation):
    put_counter(table, **attributes)
    put_free(table, 0)
    before = table.all()
    with pytest.raises(StoreRejected, match="counter"):
        getattr(new_bucket(), operation)()
    assert table.all() == before


@pytest.mark.parametrize("name", ["max_tokens", "minted", "rev", "lease_ms"])
def test_a_counter_without_all_that_it_needs_is_rejected(new_bucket, table, name):
    put_counter(table)
    table.unset("counter", name)
    with pytest.raises(StoreRejected, match=name):
        new_bucket().try_acquire()


@pytest.mark.parametrize("operation", ["try_acquire", "status"])
def test_a_bucket_of_a_newer_version_is_left_alone(new_bucket, table, operation):
    put_counter(table, schema=2)
    put_free(table, 0)
    before = table.all()
    with pytest.raises(StoreRejected, match="newer version.*schema 2.*upgrade"):
        getattr(new_bucket(), operation)()
    assert table.all() == before


def test_a_counter_that_turns_foreign_beside_a_mint_is_rejected(new_bucket, table):
    put_counter(table, max_tokens=1, minted=0)
    bucket = new_bucket()
    bucket.tap.inject(Mint, before=lambda _: table.set("counter", max_tokens=0, lease_ms="x"))
    with pytest.raises(StoreRejected, match="counter"):
        bucket.acquire(timeout=5)
    assert leases_in(table) == {}


# What a user names and attaches


NAMES = [
    "ünïcode-☃-名前",
    "a#b",
    "slot#00000",
    "counter",
    'it\'s "quoted"',
    "two\nlines",
    " ",
    "\t",
    "\x00",
    "n" * 2048,
    ":v",
    "🔒" * 512,
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_text_may_name_a_bucket(new_bucket, bucket_name, name):
    name = name if len(name.encode()) > 2000 else f"{name}{bucket_name}"
    bucket = new_bucket(name, max_tokens=1)
    with bucket.acquire(timeout=5) as lease:
        lease.renew()
        assert bucket.status().name == name
        assert [info.lease_id for info in bucket.status().leases] == [lease.id]
    assert bucket.status().leases == ()


def test_buckets_whose_names_begin_alike_share_nothing(new_bucket, bucket_name):
    for name in (f"{bucket_name}", f"{bucket_name}#", f"{bucket_name}#slot", f"{bucket_name}slot#00000"):
        assert new_bucket(name, max_tokens=1).acquire(timeout=5).held


@pytest.mark.parametrize("name", ["", None, 7, b"bytes", "n" * 2049, "é" * 1025, "\ud800"], ids=ascii)
def test_what_cannot_be_a_key_cannot_name_a_bucket(new_bucket, name):
    with pytest.raises(ConfigurationError):
        new_bucket(name)


@pytest.mark.parametrize("max_tokens", [0, -1, 100_001, 1.0, True, "3", None])
def test_max_tokens_must_be_a_whole_number_in_range(new_bucket, max_tokens):
    with pytest.raises(ConfigurationError, match="max_tokens"):
        new_bucket(max_tokens=max_tokens)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "30", None, 365 * 86_400 + 1, 0.3])
def test_a_lease_must_have_a_length_that_can_work(new_bucket, seconds):
    with pytest.raises(ConfigurationError, match="lease"):
        new_bucket(lease_seconds=seconds)


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_timeout_must_not_be_negative(new_bucket, timeout):
    bucket = new_bucket()
    with pytest.raises(ConfigurationError, match="timeout"):
        bucket.acquire(timeout=timeout)
    assert bucket.tap.sent == []


DATA = {
    "text": "x",
    "empty": "",
    "unicode": "☃\n\"'#:",
    "whole": 7,
    "large": 10**30,
    "negative": -3,
    "fraction": 0.1,
    "tiny": 1e-100,
    "yes": True,
    "no": False,
    "nothing": None,
    "list": [1, "a", None, [True]],
    "map": {"ttl": 1, "lease_id": "x", "#pk": {":v": []}},
    "no items": {},
    "fence": "a name of ours",
}


def test_data_comes_back_as_it_was_given(new_bucket):
    bucket = new_bucket()
    lease = bucket.acquire(timeout=5, data=DATA)
    assert lease.data == DATA
    (info,) = new_bucket().status().leases
    assert info.data == DATA
    assert [type(info.data[key]) for key in DATA] == [type(value) for value in DATA.values()]


def test_a_lease_keeps_its_data_when_the_callers_mapping_changes(new_bucket):
    data = {"job": "a"}
    lease = new_bucket().acquire(timeout=5, data=data)
    data["job"] = "b"
    assert lease.data == {"job": "a"}


BAD_DATA = {
    "no mapping": ["a"],
    "text": "text",
    "key of another type": {1: "a"},
    "key inside of another type": {"a": {1: "b"}},
    "bytes": {"a": b"x"},
    "an object": {"a": object()},
    "a set": {"a": {"b"}},
    "not a number": {"a": float("nan")},
    "infinite": {"a": float("inf")},
    "too many digits": {"a": 10**38 + 1},
    "too great": {"a": 1e200},
    "too large": {"a": "x" * 300_001},
    "too large in bytes": {"a": "☃" * 200_000},
    "a lone surrogate": {"a": "\ud800"},
}


@pytest.mark.parametrize("data", BAD_DATA.values(), ids=BAD_DATA)
@pytest.mark.parametrize("operation", [partial(LeaseBucket.acquire, timeout=3), LeaseBucket.try_acquire])
def test_data_that_cannot_be_kept_is_refused_before_anything_is_sent(new_bucket, table, data, operation):
    bucket = new_bucket()
    with pytest.raises(ConfigurationError, match="data"):
        operation(bucket, data=data)
    assert bucket.tap.sent == []


@pytest.mark.parametrize("text", ["x" * 290_000, "é" * 140_000], ids=["ascii", "two bytes each"])
def test_large_data_is_kept_whole(new_bucket, text):
    bucket = new_bucket()
    lease = bucket.acquire(timeout=5, data={"text": text})
    lease.renew()
    assert new_bucket().status().leases[0].data == {"text": text}
    assert lease.release()


def test_a_look_at_a_bucket_of_large_leases_in_more_than_one_page_sees_all(new_bucket, table):
    bucket = new_bucket(max_tokens=6)
    leases = [bucket.acquire(timeout=5, data={"text": "x" * 280_000}) for _ in range(5)]
    assert len(new_bucket().status().leases) == 5
    assert new_bucket(max_tokens=6).acquire(timeout=5).slot not in {lease.slot for lease in leases}
    assert new_bucket(max_tokens=6).try_acquire() is None


def test_the_owner_is_what_was_given_or_tells_host_and_process(new_bucket, table):
    new_bucket(owner="job-7").acquire(timeout=5)
    new_bucket().acquire(timeout=5)
    owners = {info.owner for info in new_bucket().status().leases}
    assert "job-7" in owners
    assert any(owner.rpartition(":")[2].isdigit() for owner in owners - {"job-7"})


# The error tree


ERRORS = [
    LeaseError("m"),
    ConfigurationError("m"),
    UnknownBucket("m"),
    AcquireTimeout("m"),
    LeaseLost("m", reason=LossReason.UNREACHABLE, lease_id="0-x", cause="c"),
    StoreError("m"),
    StoreUnavailable("m"),
    StoreRejected("m"),
    EngineError("m"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_pickles(error, protocol):
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert isinstance(copy, LeaseError)


def test_an_error_says_which_slot_and_why(new_bucket, table):
    lease = new_bucket(max_tokens=1).acquire(timeout=5)
    put_leased(table, 0, "0-other")
    with pytest.raises(LeaseLost, match="slot 0.*taken") as raised:
        lease.renew()
    assert (raised.value.reason, raised.value.lease_id) == (LossReason.TAKEN, lease.id)
