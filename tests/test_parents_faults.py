"""Keys under parents, and reservations, amid outages, interrupts, closing and forks.

Our own code is tried out, not the engine: the simulator's DynamoDB is enough.
"""

import asyncio
import os
import signal
import threading
import time

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, StoreUnavailable, Timing, aio
from ddb_lease._protocol.messages import Conflict
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import ChargeTogether, Settle
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.rates import limiter_state
from ddb_lease._state.rates.booking import Booking
from scripts.harness.inside import core_of
from tests.conftest import TABLE
from tests.interrupting import interrupted
from tests.rates import KeyTable
from tests.support import NO_ANSWERS, SteppingWakeup, Table, Tap

CONTRACT = True  # the simulator's DynamoDB too
NOT_ON = ("embedded", "ministack")
HOUR = 3_600.0
ONE = Wanted(booked={"permits": 1})
TEN = {"rate": 10, "per": 10 * HOUR, "burst": 10}


thrown_away = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""An interrupt may strike while a generator that is not needed any more is closed."""


def farther(strike_at):
    """The next point to strike at: each of the first, and then one in fifteen, as a request takes hundreds."""
    return strike_at + (1 if strike_at < 200 else 15)


def available(view):
    return view.status().available


@pytest.fixture
def family(rates, bucket_name):
    """A key and three parents, ten permits each, and one more each hour."""
    limiters = [rates(name=f"{bucket_name}-{number}", **TEN) for number in range(4)]
    return limiters[0].key("k", under=limiters[1:]), limiters


# Settling.


def test_an_outage_delays_the_end_of_a_block_once_and_not_for_each_parent(family, environment):
    key, limiters = family
    reservation = key.reserve(5)
    for limiter in limiters:
        for _ in range(6):
            hangs = {"before": lambda _: environment.clock.pass_time(2), "answer": NO_ANSWERS[0], "commits": False}
            limiter.tap.inject(Settle, **hangs)
    began = environment.clock.steady()
    assert reservation.settle(1) is False
    assert environment.clock.steady() - began < 13
    for limiter in limiters:
        limiter.tap.faults.clear()
    assert key.try_acquire(9), "the numbers were noted, for all of them"


def test_a_parent_that_conflicts_for_a_while_is_settled_all_the_same(family):
    key, limiters = family
    reservation = key.reserve(5)
    for _ in range(4):
        limiters[3].tap.inject(Settle, answer=Conflict(cause=StoreUnavailable("a conflict")), commits=False)
    assert reservation.settle(1) is True
    assert {available(limiter) for limiter in limiters[1:]} == {9}


def test_numbers_that_come_after_it_was_settled_in_full_do_not_count(rates, environment):
    limiter = rates(**TEN)
    reservation = limiter.reserve(5, settle_within=60)
    environment.clock.pass_time(61)  # over, and nobody has swept it yet
    assert limiter.try_acquire()
    assert available(limiter) == 4
    assert reservation.settle(0) is False
    assert available(limiter) == 4


def test_a_hold_does_not_outlive_its_item(rates):
    limiter = rates(timing=Timing(retention=3_600), **TEN)
    with pytest.raises(ConfigurationError, match=r"settle_within must be at most Timing\.retention \(3,600 s\)"):
        limiter.reserve(settle_within=3_601)
    assert limiter.tap.sent == []
    assert limiter.reserve(settle_within=3_600).settle(0)


def test_a_reservation_is_found_whatever_other_keys_were_used_while_it_waited(rates, bucket_name, monkeypatch):
    monkeypatch.setattr(limiter_state, "MOST_BOOKS", 4)
    orgs, teams = rates(name=f"{bucket_name}-orgs", rate=1, burst=10), rates(rate=10, burst=10)
    state = core_of(teams).state
    orgs.key("acme").block(60)

    pause = SteppingWakeup.pause

    def crowded(wakeup, seconds):
        """While the call waits, many other keys are used."""
        for number in range(50):
            state.book(f"other-{number}")
        pause(wakeup, seconds)

    monkeypatch.setattr(SteppingWakeup, "pause", crowded)
    red = teams.key("red", under=[orgs.key("acme")])
    reservation = red.reserve(5, timeout=100)
    assert reservation.settle(0) is True


# Interrupts.


@thrown_away
def test_a_settlement_that_is_interrupted_at_any_point_keeps_its_numbers_and_blocks_no_other(rates, bucket_name):
    """Interrupted twice: the second time at the first step of the clean-up."""
    org = rates(name=f"{bucket_name}-org", rate=1_000, per=8_000 * HOUR, burst=1_000)
    limiter = rates(rate=1_000, per=8_000 * HOUR, burst=1_000)
    key, used, strike_at = limiter.key("k", under=[org]), 0, 1
    books = [core_of(limiter).state.book("k"), core_of(org).state.book("")]
    while True:
        reservation = key.reserve(2)
        struck = interrupted(strike_at, lambda reservation=reservation: reservation.settle(1), again=strike_at // 2 % 2)
        if not reservation.settled:
            assert struck is not None
            reservation.settle(1)
        used += 1
        assert [book.ledger.settlers for book in books] == [[], []], struck.struck_at
        if struck is None:
            break
        strike_at = farther(strike_at)
    assert key.reserve(1).settle(0)
    assert [book.ledger.entries for book in books] == [[], []]
    assert (available(limiter.key("k")), available(org)) == (1_000 - used, 1_000 - used)


@thrown_away
@pytest.mark.parametrize("under", [False, True], ids=["alone", "under a parent"])
def test_a_reserve_that_is_interrupted_at_any_point_leaves_no_hold_behind(rates, bucket_name, under):
    settings = {"rate": 1_000, "per": 8_000 * HOUR, "burst": 1_000}
    org, limiter = rates(name=f"{bucket_name}-org", **settings), rates(**settings)
    key = limiter.key("k", under=[org] if under else [])
    key.reserve(1).settle(0)
    strike_at = 1
    while True:
        got = []
        struck = interrupted(strike_at, lambda got=got: got.append(key.reserve(2)))
        for reservation in got:
            reservation.settle(0)
        key.reserve(1).settle(0)  # finds what was left
        held = [
            [one.used for one in book.ledger.entries] + list(book.ledger.seen.holds)
            for book in (core_of(limiter).state.book("k"), core_of(org).state.book(""))
            if book.ledger is not None
        ]
        assert not any(held), struck and struck.struck_at
        if struck is None:
            break
        strike_at = farther(strike_at)


@thrown_away
def test_an_interrupt_at_any_point_leaves_nobody_asleep_who_has_permits(rates):
    limiter = rates(rate=1_000, burst=1_000)
    limiter.acquire()
    core, strike_at = core_of(limiter), 1
    book = core.state.book("")
    while True:
        woken = []
        other = Booking(lambda woken=woken: woken.append(True), wanted=ONE, began=0.0, deadline=1e6, patient=True)
        book.join(other)
        book.give_back(ONE, due=core.state.rate_time.now_ns())  # whoever calls next deals it out
        struck = interrupted(strike_at, limiter.try_acquire)
        assert other.due is None or woken, struck.struck_at
        book.leave(other)
        book.spares = None
        limiter.acquire()  # finds out what became of the charge that was interrupted
        if struck is None:
            break
        strike_at = farther(strike_at)
    assert woken


# Forks.


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("reserves", [False, True], ids=["acquire", "reserve"])
@pytest.mark.parametrize("under", [False, True], ids=["alone", "under a parent"])
def test_a_call_that_is_doubled_by_a_signal_handlers_fork_has_its_permits_once(
    new_limiter, bucket_name, under, reserves
):
    settings = {"rate": 1, "per": 0.5, "burst": 1}
    org, team = new_limiter(f"{bucket_name}-org", **settings), new_limiter(**settings)
    key = team.key("k", under=[org] if under else [])
    key.acquire(timeout=30)
    children = []

    def fork(*_):
        children.append(os.fork())

    before = signal.signal(signal.SIGUSR1, fork)
    timer = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGUSR1])
    timer.start()
    told = "nothing"
    try:
        (key.reserve if reserves else key.acquire)(timeout=30)
        told = "its permits"
    except ConfigurationError as error:
        told = str(error)
    finally:
        if children == [0]:
            os._exit({"its permits": 1}.get(told, 0 if "forked amid a call" in told else 2))
        signal.signal(signal.SIGUSR1, before)
        timer.join()
    assert told == "its permits"
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


# Closing.


@pytest.mark.parametrize("closes", ["key", "parent"])
@pytest.mark.parametrize("books", [True, False], ids=["until it is due", "until others settle"])
def test_closing_wakes_who_waits_under_parents(new_limiter, bucket_name, closes, books):
    orgs, teams = new_limiter(f"{bucket_name}-orgs", **TEN), new_limiter(**TEN)
    red = teams.key("red", under=[orgs])
    red.reserve(1, timeout=30)
    if books:
        orgs.set_policy(type(orgs.policy()["permits"])(1, per=20, burst=1))
    else:
        orgs.block(100)
    raised = []

    def wait():
        try:
            red.acquire(timeout=300)
        except ConfigurationError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    deadline = time.monotonic() + 20
    while not core_of(teams).state.book("red").callers and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.2)
    {"key": teams, "parent": orgs}[closes].close()
    waiting.join(20)
    assert len(raised) == 1


def test_nobody_waits_for_ever_and_a_timeout_holds(family):
    key, limiters = family
    limiters[2].acquire(10)
    with pytest.raises(AcquireTimeout):
        key.acquire(timeout=5)
    assert [core_of(limiter).state.book("").idle for limiter in limiters[1:]] == [True, True, True]


# Tasks.


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("at", "kind"), [(0, ChargeTogether), (0, Settle), (1, Settle)])
def test_a_task_that_is_cancelled_amid_a_request_leaves_no_hold_behind(
    engine, session, bucket_name, table, at, kind, when
):
    """The request is carried out all the same, and its answer comes to nobody."""
    settings = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url, **TEN}
    names, taps = (bucket_name, f"{bucket_name}-org"), (Tap(), Tap())
    told = []

    async def work(key):
        reservation = await key.reserve(4, timeout=30)
        told.append(await reservation.settle(1))

    async def main():
        team, org = (
            aio.RateLimiter(name, runtime=Runtime(wrap=tap.around), **settings)
            for name, tap in zip(names, taps, strict=True)
        )
        async with team, org:
            key, loop, over = team.key("k", under=[org]), asyncio.get_running_loop(), threading.Event()
            await key.acquire()
            task = asyncio.create_task(work(key))
            task.add_done_callback(lambda _: over.set())

            def cancel(_):
                loop.call_soon_threadsafe(task.cancel)
                assert over.wait(30)

            taps[at].inject(kind, commits=True, **{when: cancel})
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            async with await key.reserve(1, timeout=30) as reservation:
                assert await reservation.settle(0)
            return [10 - (await each.status()).available for each in (key, org)]

    charged = asyncio.run(main())
    assert told == []
    # Nobody knows whether a charge that was given up was used; what was noted of a settlement counts.
    assert charged == [1 + (4 if kind is ChargeTogether else 1)] * 2
    for name, key in zip(names, ("k", ""), strict=True):
        item = KeyTable(Table(table.client, TABLE, name)).get(key)
        assert [attribute for attribute in item if attribute.startswith("hold#")] == []
        assert item["held#permits"] == 0
