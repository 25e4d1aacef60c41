"""Admission as values: its requests, answer by answer, without a table, a clock or a thread."""

from random import Random

import pytest

from ddb_lease import ConfigurationError, StoreUnavailable
from ddb_lease._operations.admit import ATTEMPT_SECONDS, admit, read_meter
from ddb_lease._operations.sync_time import TIME_UNKNOWN
from ddb_lease._protocol.messages import Charge, Charged, Done, Look, Metered, Pause, ReadMeter, Uncharged
from ddb_lease._protocol.outcomes import Admitted, Busy, Denied, LostRace, Unavailable
from ddb_lease._protocol.records import Meter, Rate
from ddb_lease._protocol.retry import FIRST_CONTACT_SECONDS, TRIES_AT_ONCE
from ddb_lease._state.permits import Permits, PermitWaiter
from ddb_lease._state.rate_state import RateState
from tests.support import LOST, THROTTLED, UNSENT

START = 1_795_470_755_000_000_000
NS = 1_000_000_000
RATE = Rate(rate=100.0, per=1.0, burst=5, interval_ns=NS // 100)


class Time:
    """The service's time, which pauses move, and how often it was asked for."""

    def __init__(self):
        self.seconds = 0.0
        self.known = self.reliable = True
        self.asked = 0

    @property
    def confirmed(self):
        return self.reliable

    unsettled = False

    def steady(self):
        return self.seconds

    def middle_ns(self):
        return START + round(self.seconds * NS), 0

    def reliable_ns(self):
        self.asked += 1
        return self.middle_ns()[0] if self.reliable else None


@pytest.fixture
def state():
    chance = Random(1)
    return RateState(
        name="api",
        rate=RATE,
        prefetch=0,
        retention=60.0,
        time=Time(),
        chance=chance,
        permits=Permits(RATE, lanes=8, chance=chance),
    )


def queued(state, n=1, *, patient=True):
    waiter = PermitWaiter(lambda: None, count=n, patient=patient)
    state.permits.join(waiter)
    return waiter


def play(state, operation, answers=()):
    """Run it: pauses move the time, requests get these answers in turn. Returns its result, and what it yielded."""
    answers, effects, answer = iter(answers), [], None
    while True:
        try:
            effect = operation.send(answer)
        except StopIteration as stop:
            return stop.value, effects
        effects.append(effect)
        assert len(effects) < 1_000
        if isinstance(effect, Pause):
            state.time.seconds += effect.seconds
            answer = None
        else:
            answer = next(answers)
            answer = answer(effect) if callable(answer) else answer


def ask(state, waiter, answers=(), *, seconds=10.0):
    began = state.time.steady()
    return play(state, admit(state, waiter, began=began, deadline=began + seconds), answers)


def of(kind, effects):
    return [effect for effect in effects if isinstance(effect, kind)]


def admitted(charge):
    return Charged(tat=charge.now + charge.taken)


def held_by_another(tat):
    return Uncharged(meter=Meter(tat=tat, lanes={}))


# Each sending.


def test_the_time_is_asked_for_once_for_each_sending(state):
    outcome, effects = ask(state, queued(state, patient=False), [admitted])
    assert outcome == Admitted()
    assert state.time.asked == 1
    assert [type(effect) for effect in effects] == [Charge]
    state.time.asked = 0
    outcome, effects = ask(state, queued(state), [LOST, LOST, admitted])
    assert outcome == Admitted()
    assert len(of(Charge, effects)) == state.time.asked == 3


def test_a_charge_says_what_is_needed_now_and_what_is_taken(state):
    state.prefetch = 8
    _, (charge,) = ask(state, queued(state, 2), [admitted])
    interval, tolerance = RATE.interval_ns, RATE.tolerance_ns
    assert (charge.idle, charge.now, charge.taken) == (True, START, 8 * interval)
    assert charge.at_most == START + tolerance - 2 * interval
    assert charge.ttl == -(-(START + tolerance + 8 * interval) // NS) + 60
    assert (charge.lane, charge.rate) == (state.permits.lane, RATE)
    assert state.permits.balance.in_hand == 6


def test_an_attempt_keeps_its_id_over_its_sendings_and_each_is_of_its_own_time(state):
    outcome, effects = ask(state, queued(state), [LOST, THROTTLED, UNSENT, admitted])
    charges = of(Charge, effects)
    assert outcome == Admitted()
    assert len({charge.attempt for charge in charges}) == 1
    nows = [charge.now for charge in charges]
    assert nows == sorted(set(nows))
    assert nows[-1] - nows[0] == round(sum(pause.seconds for pause in of(Pause, effects)) * NS)


def test_an_attempt_whose_outcome_stays_unknown_is_given_up_after_a_while(state):
    def slow(_):
        state.time.seconds += ATTEMPT_SECONDS / 2
        return LOST

    outcome, effects = ask(state, queued(state), [slow] * 100, seconds=20.0)
    assert isinstance(outcome, Unavailable)
    sent = {}
    for charge in of(Charge, effects):
        sent.setdefault(charge.attempt, []).append(charge.now)
    assert len(sent) > 1
    assert max(max(nows) - min(nows) for nows in sent.values()) <= ATTEMPT_SECONDS * NS


def test_the_lost_answer_of_an_admitted_charge_is_recognised_by_its_lane(state):
    def shown(charge):
        return Uncharged(meter=Meter(tat=START + 3 * RATE.interval_ns, lanes={charge.lane: charge.attempt}))

    outcome, effects = ask(state, queued(state), [LOST, shown])
    assert outcome == Admitted()
    assert len(of(Charge, effects)) == 2
    assert state.permits.balance.tat == START + 3 * RATE.interval_ns


def test_a_wrong_guess_is_corrected_by_one_request(state):
    outcome, effects = ask(state, queued(state), [held_by_another(START + RATE.interval_ns), admitted])
    assert outcome == Admitted()
    assert [charge.idle for charge in of(Charge, effects)] == [True, False]


def test_guesses_that_are_wrong_again_and_again_end_an_attempt_and_then_a_try_that_does_not_wait(state):
    far = START + RATE.interval_ns
    answers = [held_by_another(far), held_by_another(None)] * 2 * TRIES_AT_ONCE
    outcome, effects = ask(state, queued(state, patient=False), answers, seconds=60.0)
    assert outcome == LostRace()
    assert len(of(Charge, effects)) == 4 * TRIES_AT_ONCE


# Denials.


def test_a_denial_by_the_table_is_the_last_word_of_a_try(state):
    outcome, effects = ask(state, queued(state, patient=False), [held_by_another(START + 5 * RATE.interval_ns)])
    assert isinstance(outcome, Denied)
    assert outcome.retry_in == pytest.approx(0.01, abs=1e-5)
    assert len(effects) == 1


def test_a_waiter_sleeps_until_its_permits_are_due_and_then_sends(state):
    state.permits.learn(START + 5 * RATE.interval_ns)
    outcome, effects = ask(state, queued(state, 3), [admitted])
    assert outcome == Admitted()
    pause, charge = effects
    assert pause.wakeable
    assert pause.seconds == pytest.approx(0.03, abs=1e-5)
    assert not charge.idle


@pytest.mark.parametrize("seconds", [0.0, 0.029])
def test_what_is_not_to_be_had_in_time_is_told_at_once(state, seconds):
    state.permits.learn(START + 5 * RATE.interval_ns)
    first, behind = queued(state, 3), queued(state, 3)
    for waiter in (first, behind):
        outcome, effects = ask(state, waiter, seconds=seconds)
        assert isinstance(outcome, Denied)
        assert effects == []


def test_what_is_due_now_is_had_without_time_to_wait(state):
    assert ask(state, queued(state, 5), [admitted], seconds=0.0)[0] == Admitted()


def test_a_waiter_that_keeps_losing_permits_to_others_spreads_its_tries(state):
    def taken(charge):
        return held_by_another(charge.now + RATE.tolerance_ns)

    waits = [
        pause.seconds - 0.01
        for pause in of(Pause, ask(state, queued(state), [taken] * 5_000, seconds=20.0)[1])
        if pause.wakeable
    ]
    assert waits[0] == pytest.approx(0, abs=1e-5)
    assert max(waits[:6]) < 0.32
    assert 0.7 < max(waits) <= 1.0


# The queue.


def test_a_waiter_that_is_not_first_sends_nothing_until_it_is(state):
    first, second = queued(state), queued(state)
    operation = admit(state, second, began=0.0, deadline=60.0)
    pause = next(operation)
    assert isinstance(pause, Pause)
    assert pause.wakeable
    state.permits.leave(first)
    assert isinstance(operation.send(None), Charge)


def test_a_try_behind_others_is_told_what_met_them(state):
    first = queued(state)
    assert state.permits.my_turn(first, now=0.0)
    hasty = queued(state, patient=False)
    operation = admit(state, hasty, began=0.0, deadline=10.0)
    assert isinstance(next(operation), Pause)
    state.permits.failed(OSError("out"))
    outcome, effects = play(state, operation)
    assert isinstance(outcome, Unavailable)
    assert {type(effect) for effect in effects} == {Pause}


def test_a_try_behind_others_that_take_all_is_denied_at_once(state):
    state.permits.learn(START)
    first = queued(state, 5)
    assert state.permits.my_turn(first, now=0.0)
    outcome, effects = ask(state, queued(state, patient=False))
    assert isinstance(outcome, Denied)
    assert effects == []


# Trouble.


def test_nothing_is_charged_by_a_time_that_cannot_be_relied_on(state):
    state.time.reliable = False
    looks = [Done()] * 1_000
    outcome, effects = ask(state, queued(state, patient=False), looks)
    assert outcome == Unavailable(cause=TIME_UNKNOWN)
    assert {type(effect) for effect in effects} == {Look, Pause}


def test_a_time_that_comes_to_be_reliable_is_used(state):
    state.time.reliable = False

    def learnt(_):
        state.time.reliable = True
        return Done()

    outcome, effects = ask(state, queued(state), [learnt, admitted])
    assert outcome == Admitted()
    assert [type(effect) for effect in effects] == [Look, Charge]


def test_a_time_that_comes_into_doubt_between_sendings_is_asked_for_again(state):
    def doubted(_):
        state.time.reliable = False
        return LOST

    def learnt(_):
        state.time.reliable = True
        return Done()

    outcome, effects = ask(state, queued(state), [doubted, learnt, admitted])
    assert outcome == Admitted()
    assert [type(effect) for effect in effects] == [Charge, Pause, Look, Charge]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(THROTTLED, Busy), (UNSENT, Unavailable), (LOST, Unavailable)],
    ids=["busy", "unsent", "lost"],
)
def test_a_try_gives_up_on_trouble_after_a_few(state, answer, outcome):
    got, effects = ask(state, queued(state, patient=False), [answer] * 1_000, seconds=10_000.0)
    assert isinstance(got, outcome)
    assert len({charge.attempt for charge in of(Charge, effects)}) == TRIES_AT_ONCE
    assert state.permits.trouble is answer.cause


def test_a_service_that_never_answered_is_given_up_and_one_that_did_is_waited_for(state):
    state.time.known = False
    outcome, _ = ask(state, queued(state), [UNSENT] * 1_000, seconds=10_000.0)
    assert isinstance(outcome, Unavailable)
    assert FIRST_CONTACT_SECONDS <= state.time.seconds < 2 * FIRST_CONTACT_SECONDS
    state.time.known = True
    waiter = queued(state)
    began = state.time.seconds
    outcome, _ = ask(state, waiter, [UNSENT] * 1_000, seconds=120.0)
    assert isinstance(outcome, Unavailable)
    assert state.time.seconds - began == pytest.approx(120.0)


def test_a_limiter_that_is_closed_sends_nothing(state):
    waiter = queued(state)
    state.closed = True
    with pytest.raises(ConfigurationError, match="the limiter of rate 'api' is closed"):
        ask(state, waiter)


def test_a_limiter_that_is_closed_while_the_time_is_asked_for_sends_no_more(state):
    state.time.reliable = False

    def closed(_):
        state.time.reliable = state.closed = True
        return Done()

    with pytest.raises(ConfigurationError, match="is closed"):
        ask(state, queued(state), [closed])


# Reading.


def test_a_meter_is_read_again_after_trouble_and_the_time_is_learnt(state):
    meter = Meter(tat=5)
    state.time.reliable = False
    found, effects = play(
        state, read_meter(state, deadline=60.0), [LOST, THROTTLED, Metered(meter=meter), Done(), Done(), Done()]
    )
    assert found == meter
    assert [type(effect) for effect in effects] == [ReadMeter, Pause] * 2 + [ReadMeter] + [Look] * 3


@pytest.mark.parametrize("answer", [LOST, THROTTLED, UNSENT], ids=["lost", "throttled", "unsent"])
def test_a_meter_that_cannot_be_read_is_told_with_its_cause(state, answer):
    with pytest.raises(StoreUnavailable, match=f"the rate cannot be read: Injected: {answer.cause}"):
        play(state, read_meter(state, deadline=60.0), [answer] * 5)


def test_a_meter_without_a_time_is_no_status(state):
    state.time.known = state.time.reliable = False
    with pytest.raises(StoreUnavailable, match="do not tell its time"):
        play(state, read_meter(state, deadline=60.0), [Metered(meter=None), *[Done()] * 3])
