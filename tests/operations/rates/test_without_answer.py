"""Decisions while the service does not answer, on a simulated clock: within the budget, by share, and back again."""

import math

import pytest

from ddb_lease._operations.rates.booking import take_permits
from ddb_lease._operations.rates.together import Call, Member, prepare
from ddb_lease._operations.rates.without_answer import AGAIN_SECONDS, decide_here, noting, unanswered
from ddb_lease._protocol.messages import Look, Pause, ThrottledAnswer
from ddb_lease._protocol.outcomes import Admitted, Busy, DecidedHere, Denied, OutOfTurn, Unavailable
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.contact import PROBE_SECONDS
from ddb_lease._protocol.rates.messages import Charge
from ddb_lease._protocol.rates.steering import create_policy
from ddb_lease._state.rates.booking import Booking
from ddb_lease._state.rates.service_contact import ServiceContact
from ddb_lease.models import Limit
from tests.operations.rates.rate_world import FINE, NS, START, Fate, Told, World, excess
from tests.support import LOST

BUDGET, CALL = 4.0, 1.0
"""In the world, a request without an answer takes a second."""

LIMIT = Limit(10, burst=20)
SHARE = Limit(1, burst=2)
"""A tenth of it."""


class Outage(World):
    """One process, whose service may be down; calls decide as the APIs have them decide."""

    def __init__(self, mode="local", *, limit=LIMIT, budget=BUDGET, share=0.1):
        self.down = self.throttled = False
        super().__init__(limit, [0], fates=self._fates_of_requests())
        self.contact = ServiceContact(on_unavailable=mode, budget=budget, call_seconds=CALL, share=share)
        self.processes[0].state.contact = self.contact
        self.decided = []

    def _fates_of_requests(self):
        while True:
            yield Fate(out=None) if self.down else FINE

    def decide(self, n=1, *, patience=0.0, key="", then=lambda outcome: None, **permits):
        """Ask for permits, as `KeyLimiter` does; the outcome comes with the time it took."""
        state, began = self.processes[0].state, self.now
        steady = self.processes[0].time.steady()
        deadline = steady + (patience or 10.0)
        wanted, patient = Wanted(booked=permits or {"permits": n}), patience > 0

        def over(outcome):
            self.decided.append((began, self.now, outcome))
            then(outcome)

        def ask():
            wakes = []
            booking = Booking(
                lambda: [wake() for wake in wakes[-1:]], wanted=wanted, began=steady, deadline=deadline, patient=patient
            )
            key_book = state.book(key)
            key_book.join(booking)

            def asked(outcome):
                for other in key_book.leave(booking):
                    other.wake()
                trouble = unanswered(outcome, key_book.trouble)
                if trouble is None or self.contact.on_unavailable == "raise":
                    over(outcome)
                    return
                instead = decide_here(state, self.contact, key, wanted, deadline=deadline, patient=patient)
                self.drive(instead, [], lambda decided: ask() if decided is None else over(decided))

            self.drive(
                noting(take_permits(state, key, key_book, booking, process=state.process), state, self.contact),
                wakes,
                asked,
            )

        ask()

    def drive(self, operation, wakes, over):
        def go(answer):
            try:
                effect = operation.send(answer)
            except StopIteration as stop:
                over(stop.value)
                return
            if not isinstance(effect, Pause):
                if self.throttled and isinstance(effect, Charge):
                    self.at(self.now + 1_000, lambda: go(ThrottledAnswer(cause=LOST.cause)))
                    return
                self._send(effect, go)
                return
            resumed = []

            def resume():
                if not resumed:
                    resumed.append(True)
                    go(None)

            wakes[:] = [lambda: self.at(self.now, resume)] if effect.wakeable else []
            self.at(self.now + max(1, math.ceil(effect.seconds * NS)), resume)

        go(None)

    def pass_time(self, seconds):
        self.run(self.now + round(seconds * NS))

    def outcomes(self):
        found = [outcome for _, _, outcome in self.decided]
        self.decided.clear()
        return found

    def longest(self):
        return max((ended - began) / NS for began, ended, _ in self.decided)

    def admitted(self, since=START):
        """When permits were used that this process admitted by itself."""
        return [
            (ended, 1)
            for _, ended, outcome in self.decided
            if isinstance(outcome, DecidedHere) and outcome.allowed and ended >= since
        ]


class Untold(Told):
    """Knows no time until two looks were answered."""

    looks = 0

    def __init__(self, world):
        super().__init__(world, 0)
        execute = world.items.execute

        def noted(request, **how):
            self.looks += isinstance(request, Look)
            return execute(request, **how)

        world.items.execute = noted

    @property
    def confirmed(self):
        return self.looks > 1

    known = confirmed

    def now_ns(self):
        return super().now_ns() if self.confirmed else None


def in_an_outage(mode="local", **settings):
    world = Outage(mode, **settings)
    world.decide()
    world.down = True
    world.pass_time(10)
    world.decide()
    world.pass_time(BUDGET)
    assert world.contact.down
    world.decided.clear()
    return world


# Within the budget.


@pytest.mark.parametrize("patience", [0.0, 3_600.0], ids=["try", "acquire"])
@pytest.mark.parametrize("used_before", [True, False], ids=["an outage", "no first contact"])
@pytest.mark.parametrize("mode", ["raise", "allow", "deny", "local"])
def test_each_decision_is_made_within_its_budget(mode, used_before, patience):
    world = Outage(mode)
    if used_before:
        world.decide()
    world.down = True
    for number in range(40):
        world.at(START + number * NS // 3, lambda: world.decide(patience=patience, key="k"))
    world.pass_time(40)
    made = [(began, ended, outcome) for began, ended, outcome in world.decided if began != ended or used_before]
    assert len(world.decided) == 40 + used_before or (mode == "local" and patience)
    if not (mode == "local" and patience):
        assert max(ended - began for began, ended, _ in made) <= BUDGET * NS
    kinds = {type(outcome) for _, _, outcome in world.decided[used_before:]}
    assert kinds == ({Unavailable} if mode == "raise" else {DecidedHere})


def test_without_a_budget_a_try_sends_its_five_tries_and_a_waiting_call_goes_on():
    world = Outage("raise", budget=None)
    world.decide()
    world.down = True
    world.decide(patience=100.0)
    world.pass_time(90)
    assert len(world.decided) == 1
    world.down = False
    world.pass_time(10)
    assert isinstance(world.decided[-1][2], Admitted)


def test_a_request_that_is_throttled_for_a_whole_budget_is_decided_here_and_is_no_outage():
    world = Outage("allow")
    world.decide()
    world.throttled = True
    world.decide(patience=60.0)
    world.pass_time(BUDGET)
    assert world.decided[-1][2] == DecidedHere(allowed=True, by="allow")
    assert world.decided[-1][1] - world.decided[-1][0] >= 0.3 * BUDGET * NS, "it may pass"
    assert not world.contact.down


def test_what_was_throttled_long_ago_shortens_no_budget():
    world = Outage("allow")
    world.decide(20)
    world.throttled = True
    world.decide(5, patience=60.0)
    world.pass_time(0.1)
    world.throttled = False
    world.pass_time(1)
    assert isinstance(world.decided[-1][2], Admitted)
    world.throttled = True
    began = world.now
    world.decide(5, patience=60.0)
    world.pass_time(BUDGET)
    assert world.decided[-1][1] - began >= 0.5 * BUDGET * NS


# In an outage.


def test_in_an_outage_all_but_one_caller_a_second_are_answered_at_once():
    world = in_an_outage()
    sent = len(world.requests)
    for number in range(200):
        world.at(world.now + number * NS // 20, lambda number=number: world.decide(key=f"k{number % 7}"))
    world.pass_time(15)
    waited = [(ended - began) / NS for began, ended, _ in world.decided]
    assert len(waited) == 200
    assert len([wait for wait in waited if wait > 0]) <= 10 / PROBE_SECONDS
    assert 2 <= len(world.requests) - sent <= 2 * len([wait for wait in waited if wait > 0])


def test_allow_admits_everybody_and_deny_nobody():
    for mode, allowed in (("allow", True), ("deny", False)):
        world = in_an_outage(mode)
        for patience in (0.0, 30.0):
            world.decide(100, patience=patience)
        world.pass_time(BUDGET)
        assert [(outcome.allowed, outcome.by) for outcome in world.outcomes()] == [(allowed, mode)] * 2


def test_a_share_of_the_rate_is_admitted_exactly_for_each_key_whoever_wants_it():
    world = in_an_outage()
    for number in range(400):
        world.at(world.now + number * NS // 20, lambda: world.decide(key="a"))
        world.at(world.now + number * NS // 20, lambda: world.decide(key="b", patience=0.5))
    since = world.now
    world.pass_time(30)
    assert all(isinstance(outcome, DecidedHere) for _, _, outcome in world.decided)
    assert 2 * 20 <= len(world.admitted(since)) <= 2 * (20 + 2 + 5)
    one = in_an_outage()
    for number in range(400):
        one.at(one.now + number * NS // 20, lambda number=number: one.decide(patience=0.7 * (number % 2)))
    one.pass_time(30)
    assert excess(one.admitted(), SHARE) <= 1e-6
    assert len(one.admitted()) >= 20


def test_several_limits_are_shared_alike():
    limits = {"requests": Limit(10, burst=20), "tokens": Limit(100, burst=100)}
    world = Outage("local", limit=limits)
    world.decide(requests=1, tokens=1)
    world.down = True
    world.pass_time(5)
    world.decide(requests=1, tokens=10)
    world.pass_time(BUDGET)
    world.decided.clear()
    for tokens in (6, 6):
        world.decide(requests=1, tokens=tokens)
    assert [outcome.allowed for outcome in world.outcomes()] == [True, False], "of ten tokens"
    world.pass_time(0.2)
    world.decide(requests=1, tokens=1)
    world.pass_time(BUDGET)
    assert world.outcomes()[0].allowed


def test_a_waiting_call_waits_for_the_share_and_ends_at_its_timeout():
    world = in_an_outage()
    world.decide(patience=10.0)
    world.decide(patience=10.0)
    world.decide(patience=10.0)
    world.pass_time(4)
    assert [outcome.allowed for outcome in world.outcomes()] == [True] * 3
    began = world.now
    world.decide(3, patience=7.0)  # more than the share's burst
    world.pass_time(20)
    ((_, ended, outcome),) = world.decided
    assert not outcome.allowed
    assert 7.0 <= (ended - began) / NS <= 7.0 + BUDGET


def test_a_denial_says_when_to_come_again():
    world = in_an_outage()
    for _ in range(3):
        world.decide()
    world.pass_time(BUDGET)
    assert [outcome.allowed for outcome in world.outcomes()][-1] is False
    deny = in_an_outage("deny")
    deny.decide()
    (outcome,) = deny.outcomes()
    assert 0 <= outcome.retry_in <= PROBE_SECONDS


# And back.


def test_when_the_service_answers_again_the_next_caller_that_asks_ends_the_outage_for_all():
    world = in_an_outage("deny")
    world.down = False
    for number in range(60):
        world.at(world.now + number * NS // 20, world.decide)
    world.pass_time(5)
    kinds = [type(outcome) for outcome in world.outcomes()]
    first = kinds.index(Admitted)
    assert first <= 20 * (PROBE_SECONDS + 1)
    assert DecidedHere not in kinds[first:]
    assert kinds.count(Admitted) + kinds.count(Denied) == 60 - first
    assert not world.contact.down


@pytest.mark.parametrize("together", [False, True], ids=["a key", "under parents"])
def test_the_first_answer_of_all_ends_an_outage_for_the_call_that_gets_it(together):
    world = Outage("deny")
    process = world.processes[0]
    process.time = process.state.time = process.state.rate_time = Untold(world)
    world.items.policy = create_policy(process.state.given, now=START).policy
    world.down = True
    world.decide()
    world.pass_time(BUDGET)
    assert world.contact.down
    world.outcomes()
    world.down = False
    world.pass_time(PROBE_SECONDS)
    if together:
        member = Member(state=process.state, key="", book=process.state.book(""), wanted=Wanted(booked={"permits": 1}))
        call = Call(members=(member,), began=process.time.steady(), deadline=math.inf, patient=False)
        told = world.decided
        world.drive(
            noting(prepare(member, call), process.state, world.contact), [], lambda got: told.append((0, 0, got))
        )
    else:
        world.decide()
    assert [type(outcome) for outcome in world.outcomes()] == [Admitted], (
        "the policy was answered: the time is asked for"
    )


def test_a_waiter_meets_the_recovery_and_gets_its_permits_from_the_table():
    world = in_an_outage()
    world.decide(15, patience=60.0)  # more than the share's burst: it waits
    world.pass_time(5)
    world.down = False
    world.pass_time(AGAIN_SECONDS + PROBE_SECONDS + 2)
    ((_, _, outcome),) = world.decided
    assert isinstance(outcome, Admitted)


def test_waiters_in_the_queue_when_the_outage_begins_are_served_here_too():
    world = Outage("local")
    world.decide(20)
    for _ in range(6):
        world.decide(20, patience=60.0)
    world.pass_time(0.01)
    world.down = True
    world.decide(1, patience=30.0)
    world.pass_time(60)
    found = [outcome for _, _, outcome in world.decided]
    assert len(found) == 8
    assert isinstance(found[-1], (DecidedHere, Admitted))


@pytest.mark.parametrize(
    ("outcome", "trouble", "why"),
    [
        (Admitted(), LOST.cause, None),
        (Denied(retry_in=1.0), LOST.cause, None),
        (Busy(cause=LOST.cause), None, LOST.cause),
        (Unavailable(cause=LOST.cause), None, LOST.cause),
        (OutOfTurn(), LOST.cause, LOST.cause),
        (OutOfTurn(), None, None),
    ],
)
def test_the_table_has_decided_unless_it_did_not_answer(outcome, trouble, why):
    assert unanswered(outcome, trouble) is why
