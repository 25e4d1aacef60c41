"""Retry policies: how long, how often, after which pause; clock and randomness are the test's."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease._protocol import retry
from ddb_lease._protocol.messages import Done, Look, Pause, Refused, Rejected, Unknown
from ddb_lease._protocol.outcomes import Busy, Full, GaveWay, GivenBack, LostRace, OutOfTurn, Unavailable
from ddb_lease._protocol.retry import (
    BUSY_SECONDS,
    CONTENDED_SECONDS,
    EXPIRY_JITTER_SECONDS,
    POLL_SECONDS,
    RESEND_SECONDS,
    TRIES_AT_ONCE,
    UNAVAILABLE_SECONDS,
    acquiring,
    full_jitter,
    resending,
)

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=200)
FOREVER = float("inf")
TROUBLE = OSError("trouble")
UNKNOWN = Unknown(cause=TROUBLE)


class Steady:
    """A steady clock that only pauses move, and what they were."""

    def __init__(self, now=100.0):
        self.now = now
        self.pauses = []

    def __call__(self):
        return self.now


def play(operation, steady, answers=lambda _effect: None, *, request_takes=0.0, limit=10_000):
    """Run a procedure: pauses move the clock, requests get answers."""
    answer = None
    for _ in range(limit):
        try:
            effect = operation.send(answer)
        except StopIteration as stop:
            return stop.value
        if isinstance(effect, Pause):
            steady.pauses.append(effect.seconds)
            steady.now += effect.seconds
            answer = None
        else:
            steady.now += request_takes
            answer = answers(effect)
    raise AssertionError("it never ends")


def tries_of(outcomes, steady=None, **how):
    """An attempt that ends with one outcome after another, and when each of them did."""
    times, left = [], iter(outcomes)

    def attempt():
        times.append(steady() if steady else None)
        return next(left)
        yield

    return attempt, times


def acquire(outcomes, *, deadline=FOREVER, patient=True, give_up=lambda _: False, steady=None, seed=1):
    """Run an acquire's policy over these outcomes; returns the last, the clock, and when each try was."""
    steady = steady or Steady()
    attempt, times = tries_of(outcomes, steady)
    policy = acquiring(steady=steady, deadline=deadline, chance=random.Random(seed), patient=patient, give_up=give_up)
    return play(policy(attempt), steady), steady, times


# Full jitter.


@REPEATABLE
@given(first=st.floats(0.001, 10.0), factor=st.floats(1.0, 1000.0), attempt=st.integers(1, 10_000), seed=st.integers())
def test_a_pause_lies_between_nothing_and_a_bound_that_doubles_up_to_a_cap(first, factor, attempt, seed):
    cap = first * factor
    pause = full_jitter((first, cap), attempt, random.Random(seed))
    assert 0.0 <= pause <= cap
    if attempt <= 30:
        assert pause <= first * 2 ** (attempt - 1)


def test_pauses_spread_over_the_whole_of_it():
    chance = random.Random(1)
    pauses = [full_jitter((0.1, 1.0), 3, chance) for _ in range(2000)]
    assert min(pauses) < 0.01
    assert max(pauses) > 0.39
    assert sum(pauses) / len(pauses) == pytest.approx(0.2, abs=0.01)


# tenacity's loop as a generator.


def test_the_loop_drives_generators_and_hands_their_effects_on():
    def attempt(number):
        first = yield Look(limit=number, consistent=True)
        second = yield Look(limit=number + 1, consistent=True)
        return first, second

    policy = resending(again=lambda _: False, steady=Steady(), deadline=FOREVER, chance=random.Random(1))
    assert play(policy(attempt, 5), Steady(), lambda look: look.limit) == (5, 6)


def test_a_pause_is_yielded_not_slept():
    steady = Steady()
    attempt, _ = tries_of([UNKNOWN, Done()])
    policy = resending(again=lambda a: a is UNKNOWN, steady=steady, deadline=FOREVER, chance=random.Random(1))
    operation = policy(attempt)
    pause = next(operation)
    assert isinstance(pause, Pause)
    assert 0.0 <= pause.seconds <= RESEND_SECONDS[0]
    with pytest.raises(StopIteration) as stop:
        operation.send(None)
    assert stop.value.value == Done()


@pytest.mark.parametrize("policy", ["resending", "acquiring"])
def test_an_attempts_own_exception_passes_as_it_is_and_is_not_tried_again(policy):
    tries = []

    def attempt():
        tries.append(1)
        raise LookupError("a defect")
        yield

    steady, chance = Steady(), random.Random(1)
    made = {
        "resending": lambda: resending(again=lambda _: True, steady=steady, deadline=FOREVER, chance=chance),
        "acquiring": lambda: acquiring(
            steady=steady, deadline=FOREVER, chance=chance, patient=True, give_up=lambda _: False
        ),
    }[policy]()
    with pytest.raises(LookupError, match="a defect"):
        play(made(attempt), steady)
    assert len(tries) == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_is_thrown_into_the_attempt_and_not_taken_for_its_failure(interrupt):
    seen = []

    def attempt():
        try:
            yield Look(limit=1, consistent=True)
        except BaseException as error:
            seen.append(type(error))
            raise

    policy = resending(again=lambda _: True, steady=Steady(), deadline=FOREVER, chance=random.Random(1))
    operation = policy(attempt)
    next(operation)
    with pytest.raises(interrupt):
        operation.throw(interrupt())
    assert seen == [interrupt]


def test_an_interrupt_in_a_pause_ends_the_policy():
    attempt, times = tries_of([UNKNOWN, Done()])
    policy = resending(again=lambda a: a is UNKNOWN, steady=Steady(), deadline=FOREVER, chance=random.Random(1))
    operation = policy(attempt)
    next(operation)
    with pytest.raises(KeyboardInterrupt):
        operation.throw(KeyboardInterrupt())
    assert len(times) == 1


def test_two_runs_of_one_policy_count_their_tries_apart():
    policy = resending(
        again=lambda a: a is UNKNOWN, steady=Steady(), deadline=FOREVER, chance=random.Random(1), tries=3
    )
    for _ in range(2):
        attempt, times = tries_of([UNKNOWN] * 9)
        play(policy(attempt), Steady())
        assert len(times) == 3


# Sending one request again.


@pytest.mark.parametrize("answer", [Done(), Refused(), Rejected(error=TROUBLE)])
def test_what_need_not_be_sent_again_is_not(answer):
    steady = Steady()
    attempt, times = tries_of([answer])
    policy = resending(again=lambda a: isinstance(a, Unknown), steady=steady, deadline=FOREVER, chance=random.Random(1))
    assert play(policy(attempt), steady) == answer
    assert len(times) == 1
    assert steady.pauses == []


def test_after_so_many_tries_the_last_answer_is_the_result():
    steady = Steady()
    attempt, times = tries_of([UNKNOWN] * 9)
    policy = resending(again=lambda _: True, steady=steady, deadline=FOREVER, chance=random.Random(1), tries=4)
    assert play(policy(attempt), steady) is UNKNOWN
    assert len(times) == 4
    assert len(steady.pauses) == 3


@REPEATABLE
@given(seed=st.integers(0, 10_000), within=st.floats(0.0, 20.0))
def test_sending_again_ends_with_a_try_at_the_deadline_and_none_after_it(seed, within):
    steady = Steady()
    attempt, times = tries_of([UNKNOWN] * 10_000, steady)
    policy = resending(again=lambda _: True, steady=steady, deadline=100.0 + within, chance=random.Random(seed))
    play(policy(attempt), steady)
    assert times[-1] == pytest.approx(100.0 + within)
    assert all(at < 100.0 + within for at in times[:-1])
    assert all(0 <= pause <= RESEND_SECONDS[1] for pause in steady.pauses)


def test_a_deadline_that_has_passed_allows_one_try():
    steady = Steady()
    attempt, times = tries_of([UNKNOWN] * 2, steady)
    policy = resending(again=lambda _: True, steady=steady, deadline=1.0, chance=random.Random(1))
    assert play(policy(attempt), steady) is UNKNOWN
    assert len(times) == 1


# Acquiring.

GRANT = object()  # any result that is no reason to try again
AGAIN = [
    Full(expires_in=None),
    OutOfTurn(),
    GaveWay(0.5),
    LostRace(),
    GivenBack(),
    Busy(cause=TROUBLE),
    Unavailable(cause=TROUBLE),
]


@pytest.mark.parametrize("outcome", AGAIN, ids=lambda o: type(o).__name__)
def test_a_patient_acquire_tries_again_until_it_has_a_grant(outcome):
    assert acquire([outcome] * 5 + [GRANT])[0] is GRANT


@pytest.mark.parametrize("outcome", AGAIN, ids=lambda o: type(o).__name__)
@REPEATABLE
@given(seed=st.integers(0, 1000), within=st.floats(0.0, 60.0))
def test_the_last_try_of_an_acquire_is_at_its_deadline(outcome, seed, within):
    last, _, times = acquire([outcome] * 10_000, deadline=100.0 + within, seed=seed)
    assert last is outcome
    assert times[-1] == pytest.approx(100.0 + within)
    assert all(at < 100.0 + within for at in times[:-1])


def test_without_patience_a_full_bucket_ends_it_at_once():
    full = Full(expires_in=3.0)
    last, steady, times = acquire([full], patient=False)
    assert last is full
    assert steady.pauses == []
    assert len(times) == 1


@pytest.mark.parametrize("outcome", AGAIN[3:], ids=lambda o: type(o).__name__)
def test_without_patience_lost_races_and_a_busy_service_get_a_few_tries(outcome):
    last, _, times = acquire([outcome] * 20, patient=False)
    assert last is outcome
    assert len(times) == TRIES_AT_ONCE


@pytest.mark.parametrize("outcome", AGAIN[3:], ids=lambda o: type(o).__name__)
def test_an_acquire_gives_up_when_it_is_told_to(outcome):
    # First contact: `acquisition` says so of an endpoint that has never answered.
    calls = []

    def give_up(met):
        calls.append(met)
        return len(calls) == 3

    last, _, times = acquire([outcome] * 20, give_up=give_up)
    assert last is outcome
    assert len(times) == 3


def test_a_full_bucket_is_never_given_up():
    assert acquire([Full(expires_in=None)] * 3 + [GRANT], give_up=lambda _: True)[0] is GRANT


@pytest.mark.parametrize(
    ("outcome", "bounds"),
    [
        (LostRace(), CONTENDED_SECONDS),
        (GivenBack(), CONTENDED_SECONDS),
        (Busy(cause=TROUBLE), BUSY_SECONDS),
        (Unavailable(cause=TROUBLE), UNAVAILABLE_SECONDS),
    ],
    ids=["contended", "given back", "busy", "unavailable"],
)
@REPEATABLE
@given(seed=st.integers(0, 1000))
def test_failures_in_a_row_double_the_bound_up_to_its_cap(outcome, bounds, seed):
    _, steady, _ = acquire([outcome] * 12 + [GRANT], seed=seed)
    first, cap = bounds
    for number, pause in enumerate(steady.pauses):
        assert 0.0 <= pause <= min(cap, first * 2**number)


def test_a_full_bucket_between_failures_ends_their_row():
    for seed in range(50):
        _, steady, _ = acquire([LostRace()] * 8 + [Full(expires_in=None), LostRace(), GRANT], seed=seed)
        assert steady.pauses[-1] <= CONTENDED_SECONDS[0]


def test_a_full_bucket_is_polled_once_a_second_on_average_under_full_jitter():
    _, steady, _ = acquire([Full(expires_in=None)] * 3000 + [GRANT])
    assert all(0.0 <= pause <= 2 * POLL_SECONDS for pause in steady.pauses)
    assert sum(steady.pauses) / 3000 == pytest.approx(POLL_SECONDS, rel=0.05)
    assert min(steady.pauses) < 0.05
    assert max(steady.pauses) > 1.95


@REPEATABLE
@given(expires_in=st.floats(-10.0, 100.0), seed=st.integers(0, 1000))
def test_a_poll_follows_the_first_known_expiry_and_is_never_later_than_an_ordinary_one(expires_in, seed):
    _, steady, _ = acquire([Full(expires_in=expires_in), GRANT], seed=seed)
    (pause,) = steady.pauses
    assert 0.0 <= pause <= min(2 * POLL_SECONDS, max(0.0, expires_in) + EXPIRY_JITTER_SECONDS)


def test_at_a_known_expiry_not_everybody_jumps_at_once():
    pauses = sorted(acquire([Full(expires_in=0.1), GRANT], seed=seed)[1].pauses[0] for seed in range(200))
    assert pauses[-1] - pauses[0] > EXPIRY_JITTER_SECONDS * 0.9
    assert all(later - earlier < 0.05 for earlier, later in pairwise(pauses))


def test_a_waiter_out_of_turn_sleeps_long_and_one_that_gives_way_as_long_as_it_says():
    pauses = [acquire([OutOfTurn(), GRANT], seed=seed)[1].pauses[0] for seed in range(50)]
    assert 2.5 <= min(pauses) < 3.0
    assert 4.5 < max(pauses) <= 5.0
    assert acquire([GaveWay(0.5), GRANT])[1].pauses == [0.5]


def test_a_look_that_is_settled_for_the_whole_process_is_not_drawn_again():
    assert acquire([Full(expires_in=0.0, look_in=1.25), GRANT])[1].pauses == [1.25]


@pytest.mark.parametrize("outcome", AGAIN, ids=lambda o: type(o).__name__)
def test_only_a_waiter_for_a_slot_may_be_woken_and_none_that_backs_off(outcome):
    attempt, _ = tries_of([outcome, GRANT])
    policy = acquiring(
        steady=Steady(), deadline=FOREVER, chance=random.Random(1), patient=True, give_up=lambda _: False
    )
    pause = next(policy(attempt))
    assert pause.wakeable == isinstance(outcome, Full | OutOfTurn)


def test_until_stops_tenacity_at_the_deadline():
    steady = Steady(9.9)
    stop = retry.until(steady, 10.0)
    assert not stop(None)
    steady.now = 10.0
    assert stop(None)


@pytest.mark.parametrize(
    ("outcome", "first", "longest"),
    [(LostRace(), 0.02, 1.0), (Busy(cause=OSError()), 0.05, 2.0), (Unavailable(cause=OSError()), 0.2, 5.0)],
    ids=["lost race", "busy", "unavailable"],
)
def test_pauses_begin_short_and_end_at_a_few_seconds(outcome, first, longest):
    rows = [acquire([*[outcome] * 12, GRANT], seed=seed)[1].pauses for seed in range(200)]
    assert first * 0.9 < max(row[0] for row in rows) <= first
    assert longest * 0.9 < max(row[-1] for row in rows) <= longest


def test_a_full_bucket_is_looked_at_again_within_two_and_a_half_seconds():
    pauses = [acquire([Full(expires_in=None), GRANT], seed=seed)[1].pauses[0] for seed in range(300)]
    assert 2.3 < max(pauses) <= 2.5
    assert 1.1 < sum(pauses) / len(pauses) < 1.4


def test_at_a_known_expiry_waiters_look_within_a_fifth_of_a_second():
    pauses = [acquire([Full(expires_in=0.1), GRANT], seed=seed)[1].pauses[0] for seed in range(300)]
    assert 0.28 < max(pauses) <= 0.3
