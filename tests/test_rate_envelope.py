"""A rate's promises, compared with a plain limiter on true time: under wrong clocks, lost answers, late copies.

Simulated: the shipped procedures, the library's own expressions, time that jumps from one event to the next. The
promise: of permits taken in any t seconds, counted at the times at which they were sent for, at most rate * (t + s) +
burst, where s is how far the senders' clocks lie apart; and no more than that is true, for nothing is lost either.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from random import Random

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease._operations.admit import admit
from ddb_lease._protocol.gcra import NS, rate_of
from ddb_lease._protocol.messages import Charge, Pause
from ddb_lease._protocol.outcomes import Admitted
from ddb_lease._state.permits import Permits, PermitWaiter
from ddb_lease._state.rate_state import RateState
from ddb_lease.dynamodb.answers import read_answer, read_failure
from ddb_lease.dynamodb.expressions import BucketAddress as Where
from ddb_lease.dynamodb.expressions import call_for
from ddb_lease.dynamodb.items import LANES
from scripts.harness.simulated_dynamodb import DynamoDB
from tests.support import LOST

START = 1_795_470_755 * NS
WHERE = Where(table="leases", bucket="api")
PATIENCE_NS = NS
SEARCH = settings(max_examples=max(1, settings().max_examples // 3))
"""Each example is a whole schedule."""


@dataclass(frozen=True)
class Fate:
    """What happens to one request; nanoseconds. `out` None: it never arrives. `back` None: its answer does not.

    `again`: how long after the first a second copy arrives; None: there is none.
    """

    out: int | None = 0
    back: int | None = 0
    again: int | None = None


FINE = Fate()


class Told:
    """A process's view of the time: the truth plus its own error."""

    known = confirmed = True
    unsettled = doubtful = False

    def __init__(self, world, error):
        self._world = world
        self._error = error

    def steady(self):
        return (self._world.now - START) / NS

    def middle_ns(self):
        return self._world.now + self._error, abs(self._error)

    def reliable_ns(self):
        return self.middle_ns()[0]


@dataclass
class Call:
    """One call of a process: what it wanted, what it sent, and what came of it."""

    n: int
    sent: list
    admitted_at: int | None = None
    """When it returned with its permits."""
    over: bool = False


class Process:
    """One client of the rate, of a clock that is off by so much."""

    def __init__(self, world, rate, error, lane, prefetch):
        self.time = Told(world, error)
        self.permits = Permits(rate, lanes=LANES, chance=Random(lane))
        self.permits.lane = lane
        self.state = RateState(
            name="api",
            rate=rate,
            prefetch=prefetch,
            retention=86_400.0,
            time=self.time,
            chance=Random(lane),
            permits=self.permits,
        )


class World:
    """Processes, the service, and all that happens between them, in the order of true time."""

    def __init__(self, rate, errors, *, prefetch=0, fates=()):
        self.now = START
        self.rate = rate
        self.service = DynamoDB(on_commit=self._committed)
        self.processes = [Process(self, rate, error, lane % LANES, prefetch) for lane, error in enumerate(errors)]
        self.calls = []
        self.commits = {}
        """Of each attempt, when the copies that were charged had been sent."""
        self.charged = 0
        self.requests = 0
        self._fates = iter(fates)
        self._queue = []
        self._serial = itertools.count()
        self._sent_at = 0

    def at(self, when, happens):
        heapq.heappush(self._queue, (max(when, self.now), next(self._serial), happens))

    def run(self, until):
        while self._queue and self._queue[0][0] <= until:
            self.now, _, happens = heapq.heappop(self._queue)
            happens()
        self.now = max(self.now, until)

    def call(self, process, n, *, patience=0):
        """Have a process take permits; without patience it is `try_acquire`."""
        client, pausing = self.processes[process], []

        def wake():
            if pausing:
                self.at(self.now, pausing.pop())

        waiter = PermitWaiter(wake, count=n, patient=patience > 0)
        call = Call(n=n, sent=[], over=False)
        self.calls.append(call)
        client.permits.join(waiter)
        began = client.time.steady()
        operation = admit(client.state, waiter, began=began, deadline=began + (patience or 10 * NS) / NS)

        def go(answer):
            try:
                effect = operation.send(answer)
            except StopIteration as stop:
                client.permits.leave(waiter)
                call.over = True
                call.admitted_at = self.now if isinstance(stop.value, Admitted) else None
                return
            if isinstance(effect, Pause):
                resumed = []

                def resume():
                    if not resumed:
                        resumed.append(True)
                        go(None)

                pausing[:] = [resume] if effect.wakeable else []
                self.at(self.now + max(1, math.ceil(effect.seconds * NS)), resume)
                return
            call.sent.append(effect)
            self._send(effect, go)

        go(None)
        return call

    def _send(self, request, answered):
        fate = next(self._fates, FINE)
        sent_at = self.now
        self.requests += 1

        def arrive(*, first):
            self._sent_at = sent_at
            method, arguments = call_for(request, WHERE)
            try:
                response = self.service.execute(method, arguments, now=self.now / NS, date=None)
                answer = read_answer(request, response)
            except ClientError as error:
                answer = read_failure(error, WHERE, request)
            if first and fate.back is not None:
                if fate.back:
                    self.at(self.now + fate.back, lambda: answered(answer))
                else:
                    answered(answer)

        if fate.out is None:
            self.at(self.now + PATIENCE_NS, lambda: answered(LOST))
            return
        if fate.again is not None:
            self.at(self.now + fate.out + fate.again, lambda: arrive(first=False))
        if fate.back is None:
            self.at(self.now + fate.out + PATIENCE_NS, lambda: answered(LOST))
        if fate.out:
            self.at(self.now + fate.out, lambda: arrive(first=True))
        else:
            arrive(first=True)

    def _committed(self, changes, arguments):
        values = arguments["ExpressionAttributeValues"]
        self.commits.setdefault(values[":attempt"]["S"], []).append(self._sent_at)
        (change,) = changes
        before, after = (int(item["tat"]["N"]) if item else 0 for item in (change.before, change.after))
        assert after > before, "tat never falls"
        taken = int(values[":taken"]["N"]) if ":taken" in values else after - int(values[":now"]["N"])
        self.charged += taken // self.rate.interval_ns

    # The permits taken.

    def had(self):
        """Of each call that was admitted: when it was sent for, when it was had, how many permits."""
        found = []
        for call in self.calls:
            if call.admitted_at is not None:
                (attempt,) = {charge.attempt for charge in call.sent[-1:]}
                found.append((self.commits[attempt][0], call.admitted_at, call.n))
        return found


def most_beyond(times, rate):
    """By how many intervals permits taken at these (time, count) exceed, at most, what the rate allows in their time.

    Never more than the burst if the promise is kept exactly.
    """
    worst, least_before, total = 0.0, None, 0
    for time, count in sorted(times):
        earlier = time / rate.interval_ns - total
        least_before = earlier if least_before is None else max(least_before, earlier)
        total += count
        worst = max(worst, total - time / rate.interval_ns + least_before)
    return worst


class Plain:
    """GCRA as it stands in books: one number, on true time, in one place."""

    def __init__(self, rate):
        self._rate = rate
        self._tat = 0

    def try_acquire(self, n, now):
        reaches = max(self._tat, now) + n * self._rate.interval_ns
        if reaches > now + self._rate.tolerance_ns:
            return False
        self._tat = reaches
        return True


RATES = st.builds(
    rate_of,
    st.sampled_from([1, 3, 10, 100, 997, 30_000]),
    st.sampled_from([1.0, 0.5, 7]),
    st.integers(1, 12),
)


def test_the_measure_of_the_envelope_is_right():
    rate = rate_of(1, 1, 5)
    assert most_beyond([(START, 5)], rate) == pytest.approx(5)
    assert most_beyond([(START, 5), (START + 2 * NS, 1)], rate) == pytest.approx(5)
    assert most_beyond([(START, 5), (START + 2 * NS, 3)], rate) == pytest.approx(6)
    assert most_beyond([(START + second * NS, 1) for second in range(50)], rate) == pytest.approx(1)


@SEARCH
@given(
    rate=RATES,
    processes=st.integers(1, 5),
    steps=st.lists(st.tuples(st.floats(0, 3), st.integers(0, 4), st.integers(1, 12)), min_size=1, max_size=40),
)
def test_with_right_clocks_every_decision_is_that_of_a_plain_limiter(rate, processes, steps):
    world, plain = World(rate, [0] * processes), Plain(rate)
    for intervals, process, n in steps:
        world.run(world.now + round(intervals * rate.interval_ns))
        call = world.call(process % processes, min(n, rate.burst))
        assert (call.admitted_at is not None) == plain.try_acquire(call.n, world.now)
        assert len(call.sent) <= 2, "a guess, and its correction"


@SEARCH
@given(
    rate=RATES,
    processes=st.integers(1, 4),
    steps=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=40),
)
def test_what_memory_denies_a_plain_limiter_denies_too(rate, processes, steps):
    world, plain = World(rate, [0] * processes), Plain(rate)
    for intervals, process in steps:
        world.run(world.now + round(intervals * rate.interval_ns))
        call = world.call(process % processes, 1)
        allowed = plain.try_acquire(1, world.now)
        if not call.sent:
            assert not allowed
            assert call.admitted_at is None


ERRORS = st.lists(st.floats(-1, 1), min_size=1, max_size=5)
"""In parts of what a schedule takes for the largest error."""

SECONDS = st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 3))
FATES = st.lists(
    st.builds(
        lambda out, back, again: Fate(*(None if x is None else round(x * NS) for x in (out, back, again))),
        st.one_of(st.none(), SECONDS),
        st.one_of(st.none(), SECONDS),
        st.one_of(st.none(), SECONDS),
    ),
    max_size=60,
)
STEPS = st.lists(
    st.tuples(st.one_of(st.just(0.0), st.floats(0, 4)), st.integers(0, 4), st.integers(1, 12), st.booleans()),
    min_size=1,
    max_size=40,
)


def played(rate, errors, largest, steps, fates):
    errors = [round(error * largest * rate.interval_ns) for error in errors]
    world = World(rate, errors, fates=fates)
    for intervals, process, n, patient in steps:
        world.run(world.now + round(intervals * rate.interval_ns))
        patience = 20 * rate.interval_ns if patient else 0
        world.call(process % len(errors), min(n, rate.burst), patience=patience)
    world.run(world.now + 3_600 * NS)
    assert all(call.over for call in world.calls)
    return world, max(errors) - min(errors)


@SEARCH
@given(rate=RATES, errors=ERRORS, largest=st.integers(0, 30), steps=STEPS, fates=FATES)
def test_no_more_is_had_than_the_rate_the_burst_and_the_spread_of_the_clocks(rate, errors, largest, steps, fates):
    world, spread = played(rate, errors, largest, steps, fates)
    had = world.had()
    allowed = rate.burst + spread / rate.interval_ns
    assert most_beyond([(sent, n) for sent, _, n in had], rate) <= allowed + 1e-3
    late = max((got - sent for sent, got, _ in had), default=0)
    assert most_beyond([(got, n) for _, got, n in had], rate) <= allowed + late / rate.interval_ns + 1e-3


@SEARCH
@given(rate=RATES, errors=ERRORS, largest=st.integers(0, 5), steps=STEPS, fates=FATES)
def test_nothing_is_had_that_was_not_charged_and_no_attempt_serves_twice(rate, errors, largest, steps, fates):
    world, _ = played(rate, errors, largest, steps, fates)
    attempts = [call.sent[-1].attempt for call in world.calls if call.admitted_at is not None]
    assert len(set(attempts)) == len(attempts)
    assert all(world.commits[attempt] for attempt in attempts)
    assert world.charged >= sum(n for _, _, n in world.had())


@SEARCH
@given(rate=RATES, steps=STEPS, fates=FATES)
def test_an_attempt_is_charged_once_however_often_it_is_sent_while_its_lane_is_its_own(rate, steps, fates):
    """One call at a time, each until all its copies have arrived: nothing else writes into the lane meanwhile."""
    world = World(rate, [0], fates=fates)
    for _, _, n, patient in steps:
        world.call(0, min(n, rate.burst), patience=20 * rate.interval_ns if patient else 0)
        world.run(world.now + 60 * NS)
    assert all(len(times) == 1 for times in world.commits.values())


@SEARCH
@given(rate=RATES, steps=st.lists(st.tuples(st.floats(0, 2), st.integers(0, 2), st.integers(1, 12)), max_size=40))
def test_nothing_is_charged_that_was_not_had_where_every_answer_comes(rate, steps):
    world = World(rate, [0, 0, 0])
    for intervals, process, n in steps:
        world.run(world.now + round(intervals * rate.interval_ns))
        world.call(process, min(n, rate.burst), patience=50 * rate.interval_ns)
    world.run(world.now + 3_600 * NS)
    assert world.charged == sum(n for _, _, n in world.had())


# The bound is tight.


@pytest.mark.parametrize("error_ms", [0, 10, 55, 250, 1_000])
def test_clocks_that_lie_apart_admit_as_much_more_as_is_said_and_no_more(error_ms):
    rate, error = rate_of(100, 1, 200), error_ms * NS // 1_000
    world = World(rate, [-error, error])
    for process in (0, 1):
        while world.call(process, 1).admitted_at is not None:
            pass
    excess = sum(n for _, _, n in world.had()) - rate.burst
    assert excess == 2 * error_ms * 100 // 1_000


def test_the_excess_comes_once_and_not_each_second():
    rate, error = rate_of(100, 1, 20), NS // 2
    world = World(rate, [-error, error])
    for _ in range(1_250):
        world.run(world.now + 8 * NS // 1_000)
        for process in (0, 1):
            world.call(process, 1)
    times = [(sent, n) for sent, _, n in world.had()]
    assert most_beyond(times, rate) <= 20 + 100 + 1e-3
    assert 1_000 <= sum(n for _, n in times) <= 1_000 + 20 + 100


@pytest.mark.parametrize("error_ms", [0, 100, 1_000])
def test_no_less_is_admitted_than_the_spread_of_the_clocks_costs(error_ms):
    rate, error = rate_of(100, 1, 1), error_ms * NS // 1_000
    world = World(rate, [error, -error])
    world.call(0, 1)  # the fast one first: the slow one sees a time that is far ahead
    for step in range(1_500):
        world.run(world.now + NS // 500)
        world.call(1, 1)
        late = sum(n for _, _, n in world.had()) - 1
        assert late >= (step / 500 - 2 * error / NS) * 100 - 2
    assert len(world.calls[-1].sent) <= 1


# Several processes that wait, and prefetching.


def saturated(rate, processes, *, prefetch, seconds, error=0):
    """Every process wants a permit, and another as soon as it has one."""
    world = World(rate, [error, -error, *[0] * (processes - 2)][:processes], prefetch=prefetch)
    took = []

    def want(process):
        call = world.call(process, 1, patience=3_600 * NS)

        def look():
            if call.over:
                took.append((world.now, 1))
                want(process)
            else:
                world.at(world.now + rate.interval_ns // 16, look)

        world.at(world.now + 1, look)

    for process in range(processes):
        want(process)
    world.run(START + seconds * NS)
    return world, took


@pytest.mark.parametrize(("processes", "prefetch", "cost"), [(1, 0, 1.0), (1, 100, 0.01), (4, 200, 0.02), (4, 0, 2.0)])
def test_under_load_the_rate_is_reached_at_the_cost_that_is_said(processes, prefetch, cost):
    rate = rate_of(100, 1, 20)
    world, took = saturated(rate, processes, prefetch=prefetch, seconds=10)
    assert len(took) >= 0.93 * 100 * 10
    assert world.requests / len(took) <= cost * 1.25
    assert most_beyond(took, rate) <= rate.burst + processes * prefetch + 1e-3


@pytest.mark.parametrize("error_ms", [0, 300])
def test_prefetching_admits_no_more_than_what_is_held_on_top(error_ms):
    rate = rate_of(100, 1, 5)
    world, took = saturated(rate, 3, prefetch=10, seconds=10, error=error_ms * NS // 1_000)
    assert most_beyond(took, rate) <= rate.burst + 3 * 10 + 2 * error_ms / 10 + 1e-3
    assert all(isinstance(request, Charge) for call in world.calls for request in call.sent)
