"""The driver carries out the steps of an operation; an interrupt ends it at any point."""

import math
import random
import sys
import threading
from contextvars import ContextVar
from time import monotonic

import pytest

from ddb_lease._protocol.messages import AtOnce, Done, Look, Pause, Refused, Reply, Unknown
from ddb_lease._protocol.records import Settings, Slot
from ddb_lease._protocol.retry import resending
from ddb_lease._runtime.clock import SystemClock
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.ports import Wakeup
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.workers import Workers
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.service_time import ServiceTime
from ddb_lease._state.signing_time import SigningTime
from ddb_lease.models import Timing
from tests.support import REJECTED, UNTIMELY, MovableClock

LONG = 30.0
FIRST = Look(limit=1, consistent=True)
SECOND = Look(limit=2, consistent=True)


class Interrupt(BaseException):
    """What a signal handler may raise anywhere."""


class Store:
    """Answers, and raises if set to."""

    def __init__(self, *raises):
        self.sent, self.raises, self.reply = [], list(raises), {}

    def send(self, request):
        self.sent.append(request)
        if self.raises and (error := self.raises.pop(0)) is not None:
            raise error
        return Reply(**({"answer": Done(), "genuine": True, "date": 1.7e9} | self.reply))


class Silent(Wakeup):
    """A wakeup whose pauses take no time; it notes them."""

    def __init__(self, raises=None):
        super().__init__()
        self.pauses, self.sleeps, self.raises = [], [], raises

    def pause(self, seconds):
        self.pauses.append(seconds)
        if self.raises:
            raise self.raises

    def sleep(self, seconds):
        self.sleeps.append(seconds)


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def time(clock):
    return ServiceTime(clock)


class Heartbeats:
    """Notes how often it was told to check again, and who has to ask for the time."""

    def __init__(self):
        self.looked_again, self.jobs, self.workers = 0, [], self

    def reconsider_all(self):
        self.looked_again += 1

    def submit(self, job, *, line):
        self.jobs.append((job, line))


def driver(store, time=None, signing=None, heartbeats=None):
    time = time or ServiceTime(MovableClock())
    state = BucketState(
        bucket="b",
        wanted=Settings(max_tokens=1, lease_ms=30_000),
        timing=Timing(),
        time=time,
        chance=random.Random(1),
    )
    runtime = Runtime(heartbeats=heartbeats or Heartbeats())
    return Driver(
        sender=store, time=time, signing=signing or SigningTime(time, MovableClock()), runtime=runtime, state=state
    )


def errand(notes=None, fails=None):
    """Sends, pauses, sends; notes the answers."""
    notes = [] if notes is None else notes
    try:
        notes.append((yield FIRST))
        notes.append((yield Pause(seconds=1.0, wakeable=True)))
        notes.append((yield Pause(seconds=2.0)))
        notes.append((yield SECOND))
        if fails:
            raise fails
    except Exception as error:
        notes.append(error)
        raise
    return "result"


# Carrying out.


def test_requests_are_answered_pauses_are_made_and_the_result_is_returned():
    store, wakeup, notes = Store(), Silent(), []
    assert driver(store).run(errand(notes), wakeup) == "result"
    assert store.sent == [FIRST, SECOND]
    assert notes == [Done(), None, None, Done()]


def test_only_a_pause_that_says_so_may_be_woken():
    wakeup = Silent()
    driver(Store()).run(errand(), wakeup)
    assert (wakeup.pauses, wakeup.sleeps) == ([1.0], [2.0])


def test_a_procedure_without_effects_just_returns():
    def idle():
        return 5
        yield

    assert driver(Store()).run(idle(), Silent()) == 5


def test_a_procedures_own_exception_comes_out_as_it_is():
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        driver(Store()).run(errand(fails=error), Silent())
    assert caught.value is error


def test_a_request_is_sent_once_and_the_time_is_learnt_from_its_answer(time):
    store = Store()
    assert driver(store, time).perform(FIRST) == Done()
    assert time.known
    assert store.sent == [FIRST]


def test_the_time_of_a_request_is_taken_before_sending_and_after_its_answer(clock, time):
    store = Store()
    send = store.send
    store.send = lambda request: (clock.pass_time(5.0), send(request))[1]
    driver(store, time).perform(FIRST)
    low, high = time.now_ms()
    assert high - low == pytest.approx(6_000, abs=5), "five seconds under way, and a Date cut to one"


@pytest.mark.parametrize("answer", [Refused(), Unknown(cause=OSError())], ids=lambda a: type(a).__name__)
def test_answers_of_others_than_the_service_teach_no_time(time, answer):
    store = Store()
    store.reply = {"genuine": False, "date": 1.0, "answer": answer}
    assert driver(store, time).perform(FIRST) is answer
    assert not time.known


def test_the_heartbeat_is_told_when_deadlines_moved_or_doubt_began_or_ended(time):
    store, heartbeats = Store(), Heartbeats()
    watched = driver(store, time, heartbeats=heartbeats)
    for date, told in ((1.7e9, 0), (1.7e9, 0), (1.6e9, 1), (1.7e9, 2), (1.8e9, 3), (1.8e9, 3), (1.8e9, 4)):
        store.reply = {"date": date}
        watched.perform(FIRST)
        assert heartbeats.looked_again == told


# Signatures that are refused for their time.

ELSEWHERE = 1.7e9
"""The service's clock, in seconds since the epoch: far from this machine's."""


class Refusing(Store):
    """Refuses as many requests as it has Dates for."""

    def __init__(self, *dates):
        super().__init__()
        self.dates = list(dates)

    def send(self, request):
        self.reply = {"answer": UNTIMELY, "date": self.dates.pop(0)} if self.dates else {"date": ELSEWHERE}
        return super().send(request)


@pytest.mark.parametrize("dates", [[ELSEWHERE], [5e8, ELSEWHERE], [5e8, 6e8, ELSEWHERE], [5e8, 5e8, ELSEWHERE]])
def test_a_request_refused_for_its_time_is_sent_again_until_two_odd_dates_are_behind_it(dates):
    store, notes = Refusing(*dates), []
    assert driver(store).run(errand(notes), Silent()) == "result"
    assert store.sent == [FIRST] * len(dates) + [FIRST, SECOND]
    assert notes[0] == Done(), "the operation gets the last answer"


@pytest.mark.parametrize(
    ("dates", "sendings"),
    [([None], 1), ([ELSEWHERE, None], 2), ([ELSEWHERE] * 4, 4), ([5e8, 6e8, 7e8, 8e8], 4)],
    ids=["no Date", "no second Date", "always the same", "never the same"],
)
def test_where_no_date_helps_the_refusal_is_the_answer(dates, sendings):
    store = Refusing(*dates, *[ELSEWHERE] * 9)
    assert driver(store).perform(FIRST) is UNTIMELY
    assert store.sent == [FIRST] * sendings


def test_other_refusals_are_not_sent_again():
    store = Store()
    store.reply = {"answer": REJECTED}
    driver(store).perform(FIRST)
    assert store.sent == [FIRST]


def test_what_is_sent_because_of_a_refusal_is_signed_by_its_date_already(clock, time):
    """A refusal's Date may begin a doubt, which sends looks on other threads."""
    store, signed, heartbeats, signing = Refusing(), [], Heartbeats(), SigningTime(time, clock)
    watched = driver(store, time, signing, heartbeats)
    for _ in range(3):
        watched.perform(FIRST)
    heartbeats.submit = lambda *_, **__: signed.append(signing.at())
    store.dates = [ELSEWHERE + 9e6]
    watched.perform(FIRST)
    assert signed[0] == pytest.approx(ELSEWHERE + 9e6, abs=1.0)


# Interrupts.


@pytest.mark.parametrize("interrupt", [Interrupt(), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_an_interrupted_request_ends_the_run_and_nothing_more_is_sent(interrupt):
    store, notes = Store(interrupt), []
    with pytest.raises(type(interrupt)) as caught:
        driver(store).run(errand(notes), Silent())
    assert caught.value is interrupt
    assert store.sent == [FIRST]
    assert notes == [], "the procedure is not resumed"


def test_an_interrupted_pause_ends_the_run():
    store, notes = Store(), []
    with pytest.raises(Interrupt):
        driver(store).run(errand(notes), Silent(raises=Interrupt()))
    assert store.sent == [FIRST]
    assert notes == [Done()]


def test_a_defect_in_the_store_comes_out_too():
    store = Store(TypeError("a defect"))
    with pytest.raises(TypeError, match="a defect"):
        driver(store).run(errand(), Silent())


def test_an_interrupt_inside_a_policy_is_not_taken_for_a_failure_to_be_tried_again():
    store = Store(None, Interrupt())
    policy = resending(again=lambda _: True, steady=lambda: 0.0, deadline=math.inf, chance=random.Random(1), tries=5)

    def attempt():
        return (yield FIRST)

    with pytest.raises(Interrupt):
        driver(store).run(policy(attempt), Silent())
    assert store.sent == [FIRST, FIRST]


def interrupted_at(line, store, notes):
    """Run an errand, interrupted before the line-th line that the driver executes; whether it came so far."""
    count = 0
    source = Driver.run.__code__.co_filename

    def trace(frame, event, _argument):
        nonlocal count
        if frame.f_code.co_filename != source:
            return None
        if event == "line":
            count += 1
            if count == line:
                notes.append(len(store.sent))
                raise Interrupt
        return trace

    watched, before = driver(store), sys.gettrace()
    sys.settrace(trace)
    try:
        watched.run(errand(), Silent())
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_before_any_line_of_the_driver_comes_out_and_nothing_is_sent_after_it():
    line, seen = 0, set()
    while True:
        line += 1
        store, notes = Store(), []
        if not interrupted_at(line, store, notes):
            break
        assert notes == [len(store.sent)]
        assert store.sent == [FIRST, SECOND][: len(store.sent)], "and nothing twice"
        seen.add(len(store.sent))
    assert seen == {0, 1, 2}, "it struck before, between and after"


# Wakeup.


def rung_in_time(wakeup, wait):
    """Whether a wait of an hour on the wakeup ends at once."""
    over = threading.Event()
    threading.Thread(target=lambda: (wait(3600.0), over.set()), daemon=True).start()
    return over.wait


def test_a_wakeup_pauses_for_the_time_asked_for_and_no_longer():
    for wait, seconds in ((Wakeup().pause, 0.0), (Wakeup().pause, 0.05), (Wakeup().sleep, 0.0), (Wakeup().sleep, 0.05)):
        began = monotonic()
        wait(seconds)
        assert seconds <= monotonic() - began + 0.001 < LONG


def test_a_wake_before_the_pause_counts_and_counts_once():
    wakeup = Wakeup()
    for _ in range(3):
        wakeup.wake()
    assert rung_in_time(wakeup, wakeup.pause)(LONG)
    second = rung_in_time(wakeup, wakeup.pause)
    assert not second(0.05), "three wakes ended one pause"
    wakeup.wake()
    assert second(LONG)


def test_a_wake_does_not_end_a_sleep_but_the_pause_after_it():
    wakeup = Wakeup()
    slept = rung_in_time(wakeup, lambda _: wakeup.sleep(0.1))
    wakeup.wake()
    assert slept(LONG)
    assert rung_in_time(wakeup, wakeup.pause)(LONG)


def test_a_pause_for_ever_is_no_overflow():
    wakeup = Wakeup()
    wakeup.wake()
    wakeup.pause(math.inf)


# Looks at once.


LOOKS = tuple(Look(start=128 * number, limit=129, consistent=False) for number in range(4))


class Together(Store):
    """Answers no look before all of them are under way."""

    def __init__(self, *, of=4, raises_at=None):
        super().__init__()
        self.barrier, self.raises_at, self.by = threading.Barrier(of), raises_at, {}

    def send(self, request):
        self.barrier.wait(LONG)
        self.by[request] = threading.get_ident(), trace.get()
        if request is self.raises_at:
            raise ZeroDivisionError
        return Reply(answer=Done(slot=Slot(number=request.start, fence=1)), genuine=True, date=1.7e9)


trace = ContextVar("trace", default="none")


@pytest.fixture
def working():
    """A heartbeat with real workers."""
    heartbeats = Heartbeats()
    heartbeats.workers = Workers(SystemClock())
    return heartbeats


def at_once():
    return (yield AtOnce(looks=LOOKS))


def numbers(answer):
    return [each.slot.number for each in answer.answers]


def test_looks_are_under_way_at_the_same_time_and_answered_in_their_order(working):
    store, observed = Together(), []
    trace.set("the caller's")
    answer = driver(store, heartbeats=working).run(
        at_once(), Wakeup(), observe=lambda look, each: observed.append((threading.get_ident(), look, each))
    )
    assert numbers(answer) == [look.start for look in LOOKS]
    assert [(look, each) for _, look, each in observed] == list(zip(LOOKS, answer.answers, strict=True))
    assert {thread for thread, _, _ in observed} == {threading.get_ident()}, "events are told where the caller is"
    assert threading.get_ident() in {thread for thread, _ in store.by.values()}, "it sends one itself"
    assert {trace for _, trace in store.by.values()} == {"the caller's"}


def test_without_a_worker_the_caller_sends_all_looks_itself():
    store = Together(of=1)
    assert numbers(driver(store, heartbeats=Heartbeats()).run(at_once(), Wakeup())) == [look.start for look in LOOKS]
    assert {thread for thread, _ in store.by.values()} == {threading.get_ident()}


@pytest.mark.parametrize("at", LOOKS)
def test_what_a_look_raises_is_raised_to_the_caller_on_whatever_thread_it_was(working, at):
    with pytest.raises(ZeroDivisionError):
        driver(Together(raises_at=at), heartbeats=working).run(at_once(), Wakeup())


def test_an_interrupt_does_not_wait_for_the_other_looks(working):
    go_on, here = threading.Event(), threading.get_ident()

    class Hanging(Store):
        def send(self, request):
            if threading.get_ident() == here:
                raise Interrupt
            go_on.wait(LONG)
            return super().send(request)

    began = monotonic()
    with pytest.raises(Interrupt):
        driver(Hanging(), heartbeats=working).run(at_once(), Wakeup())
    assert monotonic() - began < LONG / 2
    go_on.set()


def test_a_wake_while_looks_are_under_way_ends_the_next_pause(working):
    wakeup = Wakeup()

    class Waking(Together):
        def send(self, request):
            wakeup.wake()
            return super().send(request)

    def errand():
        yield from at_once()
        yield Pause(seconds=LONG, wakeable=True)

    began = monotonic()
    driver(Waking(), heartbeats=working).run(errand(), wakeup)
    assert monotonic() - began < LONG / 2
