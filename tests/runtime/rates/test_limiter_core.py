"""The core of a rate limiter: its answers from memory, and its handling of forks, closing and errors."""

from dataclasses import replace

import pytest

from ddb_lease import ConfigurationError, StoreUnavailable
from ddb_lease._protocol.outcomes import Admitted, Busy, Denied, LostRace, OutOfTurn, Unavailable
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._runtime.driver import Wakeup
from ddb_lease._runtime.rates.limiter_core import RateLimiterCore, Wish
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.rates import limiter_state
from ddb_lease._state.rates.key_book import KeyBook
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.models import Limit
from scripts.harness.simulated_engine import Simulated
from tests.support import Tap

HOUR = 3600.0


class Part:
    """Something that must know of forks."""

    forked = 0

    def after_fork_in_child(self):
        self.forked += 1


@pytest.fixture
def tap():
    return Tap()


@pytest.fixture
def make(tap):
    service = Simulated()

    def core(**settings):
        limit = Limit(5, per=HOUR, burst=settings.pop("burst", 5))
        settings = {"limits": {"permits": limit}, "prefetch": 0, "fork_aware": ()} | settings
        return RateLimiterCore(
            "api",
            table="leases",
            connection=ConnectionSettings(session=service.session(), endpoint_url=service.endpoint_url),
            timing=None,
            runtime=Runtime(wrap=tap.around),
            **settings,
        )

    return core


def admit(core, n=1, *, key=""):
    """Drive what a try asks for; whether the permits were had."""
    wish = core.try_at_once(key, some(n))
    if isinstance(wish, bool):
        return wish
    wakeup = Wakeup()
    with core.in_queue(wish, wakeup.wake) as (operation, _):
        outcome = core.driver.run(operation, wakeup)
    return core.conclude(wish, outcome)


def some(n):
    return Wanted(booked={"permits": n})


def waiting(core):
    return sum(booking.wanted.booked["permits"] for booking in core.state.book("").waiting())


def in_hand(core):
    return core.state.book("").in_hand(now=core.state.rate_time.now_ns())


def a_wish(n=1, *, patient=True):
    return Wish(key="", wanted=some(n), began=0.0, deadline=1.0, patient=patient)


def test_before_anything_is_known_the_table_is_to_be_asked(make, tap):
    core = make()
    wanted = core.try_at_once("", some(2))
    assert isinstance(wanted, Wish)
    assert (wanted.wanted, wanted.patient) == (some(2), False)
    assert wanted.deadline - wanted.began == pytest.approx(10.0)
    assert core.answers.wait_time("", some(5)) == 0.0
    assert tap.sent == []


def test_a_call_that_waits_has_the_deadline_that_it_was_given(make):
    wanted = make().wait_for("", some(3), 7.0)
    assert (wanted.wanted, wanted.patient) == (some(3), True)
    assert wanted.deadline - wanted.began == pytest.approx(7.0)
    assert make().wait_for("", some(1), None).deadline == float("inf")
    for wrong in (-1, float("nan")):
        with pytest.raises(ConfigurationError, match="timeout must be 0 or more"):
            make().wait_for("", some(1), wrong)


def test_permits_in_hand_are_taken_without_asking(make, tap):
    core = make(prefetch=5)
    assert admit(core)
    tap.clear()
    assert core.try_at_once("", some(2)) is True
    assert core.wait_for("", some(2), 0) is None
    assert core.try_at_once("", some(1)) is False
    assert core.answers.wait_time("", some(1)) > 60.0
    assert tap.sent == []


def test_a_waiter_leaves_the_queue_when_its_operation_ends_in_any_way(make):
    core = make()
    wanted = core.try_at_once("", some(3))
    with core.in_queue(wanted, lambda: None):
        assert waiting(core) == 3
    assert waiting(core) == 0
    with pytest.raises(KeyboardInterrupt), core.in_queue(wanted, lambda: None):
        raise KeyboardInterrupt
    assert waiting(core) == 0


def test_an_interrupt_amid_leaving_the_queue_leaves_it_all_the_same(make, monkeypatch):
    core = make()
    leave, calls = KeyBook.leave, []

    def interrupted(book, booking):
        calls.append(booking)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return leave(book, booking)

    monkeypatch.setattr(KeyBook, "leave", interrupted)
    with pytest.raises(KeyboardInterrupt), core.in_queue(core.try_at_once("", some(1)), lambda: None):
        pass
    assert waiting(core) == 0


@pytest.mark.parametrize(
    ("outcome", "had"), [(Admitted(), True), (Denied(retry_in=1.0), False), (OutOfTurn(), False)], ids=str
)
def test_what_is_no_trouble_is_an_answer(make, outcome, had):
    assert make().conclude(a_wish(), outcome).allowed is had


@pytest.mark.parametrize("kind", [Busy, Unavailable])
def test_trouble_is_told_with_its_cause(make, kind):
    cause = OSError("out")
    with pytest.raises(StoreUnavailable, match="no permit of rate 'api': out") as told:
        make().conclude(a_wish(), kind(cause=cause))
    assert told.value.__cause__ is cause


def test_trouble_of_those_in_front_is_told_to_those_behind(make):
    core = make()
    core.state.book("").trouble = OSError("out")
    with pytest.raises(StoreUnavailable, match="out"):
        core.conclude(a_wish(), OutOfTurn())


def test_a_try_that_stood_behind_others_in_vain_is_no_denial_where_nothing_is_known(make):
    core = make()
    with pytest.raises(StoreUnavailable, match="do not tell its time"):
        core.conclude(a_wish(patient=False), OutOfTurn())
    assert admit(core)
    assert core.conclude(a_wish(patient=False), OutOfTurn()).allowed is False


@pytest.mark.parametrize("outcome", [OutOfTurn(), LostRace()], ids=str)
@pytest.mark.parametrize("patient", [True, False])
def test_a_check_ends_with_a_denial_only_where_something_known_denies_it(make, outcome, patient):
    core = make()
    check = replace(a_wish(patient=patient), decides=True)
    with pytest.raises(StoreUnavailable):
        core.conclude(check, outcome)
    assert admit(core, 4)
    with pytest.raises(StoreUnavailable, match="no permit of rate 'api': the service did not answer in time those"):
        core.conclude(check, outcome)
    assert core.conclude(replace(check, wanted=some(2)), outcome).allowed is False
    assert core.conclude(replace(check, decides=False), outcome).allowed is False
    assert core.conclude(check, Denied(retry_in=1.0)).allowed is False


@pytest.mark.parametrize(("mode", "allowed"), [("allow", True), ("deny", False), ("local", True)])
def test_what_nothing_known_denies_is_decided_as_set(make, mode, allowed):
    core = make(on_unavailable=mode, local_share=0.5)
    check = replace(a_wish(), decides=True)
    decided = core.driver.run(core.without_answer(check, OutOfTurn()), Wakeup())
    assert (decided.allowed, decided.by) == (allowed, mode)
    assert core.without_answer(replace(check, decides=False), OutOfTurn()) is None


def test_a_check_keeps_its_place_for_a_while_and_others_do_not(make):
    waits = replace(a_wish(), decides=True)
    assert grace(make(budget=1), waits) == pytest.approx(1.0)
    core = make()
    assert grace(core, waits) == 10.0
    for other in (a_wish(), replace(waits, patient=False)):
        assert grace(core, other) == 0.0


def grace(core, wish):
    """For how long a call would keep its place after its timeout."""
    with core.in_queue(wish, lambda: None) as (_, booking):
        return booking.grace


def test_a_call_says_within_what_time_its_requests_are_to_be_sent(make):
    core = make(budget=1)
    assert core.seconds_left(core.try_at_once("", some(1))) == pytest.approx(10, abs=5)
    assert core.seconds_left(core.wait_for("", some(1), 60)) == pytest.approx(60, abs=5)
    assert core.seconds_left(core.wait_for("", some(1), 60, decides=True)) == pytest.approx(61, abs=5)
    assert core.seconds_left(core.wait_for("", some(1), None)) is None


def test_a_closed_limiter_forgoes_its_permits_wakes_all_and_admits_nobody(make):
    core = make(prefetch=5)
    assert admit(core)
    woken = []
    with core.in_queue(a_wish(5), lambda: woken.append(1)):
        core.close()
    assert woken == [1]
    assert in_hand(core) == 0
    for use in (
        lambda: core.try_at_once("", some(1)),
        lambda: core.wait_for("", some(1), None),
        lambda: core.conclude(a_wish(), Admitted()),
    ):
        with pytest.raises(ConfigurationError, match="the limiter of rate 'api' is closed"):
            use()


def test_a_forked_child_lets_go_of_all_that_is_the_parents(make, tap, monkeypatch):
    part = Part()
    core = make(prefetch=5, burst=20, fork_aware=(part,))
    assert admit(core)
    told = []
    for other in (core.state.rate_time, core.state.time, tap.store):
        own = other.after_fork_in_child
        monkeypatch.setattr(other, "after_fork_in_child", lambda own=own: (told.append(own), own()))
    core.after_fork_in_child()
    assert len(told) == 3
    assert part.forked == 1
    assert in_hand(core) == 0
    assert admit(core)


def test_at_the_exit_there_is_nothing_to_do(make, tap):
    core = make(prefetch=5)
    assert admit(core)
    tap.clear()
    core.at_exit(0.0)
    assert tap.sent == []


def test_keys_that_nobody_asks_for_are_forgotten_whatever_is_in_hand(make, monkeypatch):
    monkeypatch.setattr(limiter_state, "MOST_BOOKS", 20)
    core = make(prefetch=3)
    for number in range(200):
        assert admit(core, key=f"k{number}")
    assert len(core.state.books()) <= 20


def test_keys_whose_callers_wait_are_kept_and_do_not_keep_others(make, monkeypatch):
    monkeypatch.setattr(limiter_state, "MOST_BOOKS", 40)
    core = make()
    assert admit(core)
    woken, waiters = [], []
    for number in range(30):
        wish = Wish(key=f"w{number}", wanted=some(1), began=0.0, deadline=1e12, patient=True)
        waiters.append(core.in_queue(wish, lambda number=number: woken.append(number)))
        waiters[-1].__enter__()
        if number % 2:  # booked, and not due yet
            book = core.state.book(f"w{number}")
            now = core.state.rate_time.now_ns()
            book.give_back(some(1), due=now + 10**17)
            assert book.deal(now=now, steady=0.0)
    for number in range(200):
        assert admit(core, key=f"k{number}")
    assert len(core.state.books()) <= 41
    core.close()
    assert sorted(woken) == list(range(30))
    for waiter in waiters:
        waiter.__exit__(None, None, None)
