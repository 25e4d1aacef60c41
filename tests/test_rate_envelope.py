"""A rate's promises, compared with a plain limiter on true time: under wrong clocks, lost answers, late copies.

Simulated: the shipped procedures, the library's own expressions on a table in memory, time that jumps from one event to
the next. The promise: of permits used in any t seconds, for each limit, at most rate * (t + s) + burst, where s is how far
the clocks lie apart; and no more than that is true, for nothing is lost either. Bounds are exact: no slack beyond the
rounding of a float.
"""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease._protocol.rates.messages import Charge
from ddb_lease._protocol.rates.validation import limit_policies
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import read_answer, read_failure
from ddb_lease.dynamodb.expressions import call_for
from ddb_lease.models import Limit
from scripts.harness.simulated_dynamodb import DynamoDB
from tests.operations.rates.rate_world import NS, START, World, excess, fates_of

WHERE = BucketAddress(table="leases", bucket="api")
ROUNDING = 1e-6
SEARCH = settings(max_examples=max(1, settings().max_examples // 3))
"""Each example is a whole schedule."""


class Service:
    """The table behind the library's own expressions, and what was charged.

    Attributes:
        charged: Permits by limit, of all charges.
        commits: By attempt, how often it was charged.
        dues: By attempt, as of when it was charged.
    """

    def __init__(self, world):
        self._world = world
        self._table = DynamoDB(on_commit=self._committed)
        self.charged = {}
        self.commits = {}
        self.dues = {}

    def execute(self, request, *, sent_at):
        del sent_at
        method, arguments = call_for(request, WHERE)
        now = self._world.now / NS
        try:
            return read_answer(request, self._table.execute(method, arguments, now=now, date=None), WHERE)
        except ClientError as error:
            return read_failure(error, WHERE, request)

    def _committed(self, changes, arguments):
        values, (change,) = arguments.get("ExpressionAttributeValues", {}), changes
        if ":attempt" not in values:
            return
        attempt, before = values[":attempt"]["S"], change.before or {}
        self.commits[attempt] = self.commits.get(attempt, 0) + 1
        self.dues.setdefault(attempt, []).append(int(values[":due"]["N"]))
        for name, limit in limit_policies(self._world.limits).items():
            tat = f"tat#{name}"
            if tat in change.after and change.after[tat] != before.get(tat):
                start = max(int(before[tat]["N"]) if tat in before else 0, int(values[":due"]["N"]))
                count, rest = divmod(int(change.after[tat]["N"]) - start, limit.interval)
                assert rest == 0
                assert count > 0
                self.charged[name] = self.charged.get(name, 0) + count


def world_of(limits, errors, **settings):
    """Processes on clocks that are off by `errors` nanoseconds, and a table that reads and writes as DynamoDB does."""
    world = World(limits, errors, **settings)
    world.items = Service(world)
    return world


def interval_of(limit):
    return limit_policies({"x": limit})["x"].interval


def had(world):
    return [call for call in world.calls if call.admitted_at is not None]


def due_by_true_time(world, name="permits"):
    """When the permits of a limit were due, by true time, and how many."""
    return [
        (call.booking.had_at - world.processes[call.process].time.error, call.wanted.booked[name])
        for call in had(world)
        if name in call.wanted.booked
    ]


def delay(world):
    """How long after its charge an attempt recognised itself, at most, by the due times of its sendings.

    Its permits are used by then, and what others charged since counts on top: the promise has that as a delay of use.
    """
    last = {}
    for charge in world.charges:
        last[charge.attempt] = max(charge.due, last.get(charge.attempt, 0))
    return max((last[attempt] - min(dues) for attempt, dues in world.items.dues.items()), default=0)


class Plain:
    """GCRA as it stands in books: one number, on true time, in one place."""

    def __init__(self, limit):
        self._interval = interval_of(limit)
        self._tolerance = self._interval * limit.burst
        self._tat = 0

    def try_acquire(self, n, now):
        reaches = max(self._tat, now) + n * self._interval
        if reaches > now + self._tolerance:
            return False
        self._tat = reaches
        return True


def limits_of(most):
    """Limits with a burst of up to `most`."""
    return st.builds(
        lambda rate, per, burst: Limit(rate, per=per, burst=burst),
        st.sampled_from([1, 3, 10, 100, 997, 30_000]),
        st.sampled_from([1.0, 0.5, 7]),
        st.integers(1, most),
    )


LIMITS = limits_of(12)


def test_the_measure_of_the_envelope_is_right():
    limit = Limit(1, burst=5)
    assert excess([(START, 5)], limit) == pytest.approx(0)
    assert excess([(START, 5), (START + 2 * NS, 1)], limit) == pytest.approx(0)
    assert excess([(START, 5), (START + 2 * NS, 3)], limit) == pytest.approx(1)
    assert excess([(START + second * NS, 1) for second in range(50)], limit) == pytest.approx(-4)


# With right clocks.


@SEARCH
@given(
    # With more, a process that another one was faster than takes an eighth of the burst in advance, for itself.
    limit=limits_of(7),
    processes=st.integers(1, 5),
    steps=st.lists(st.tuples(st.floats(0, 3), st.integers(0, 4), st.integers(1, 12)), min_size=1, max_size=40),
)
def test_with_right_clocks_every_decision_is_that_of_a_plain_limiter(limit, processes, steps):
    world, plain = world_of(limit, [0] * processes), Plain(limit)
    for intervals, process, n in steps:
        world.run(world.now + round(intervals * interval_of(limit)))
        call = world.call(process % processes, min(n, limit.burst))
        assert (call.admitted_at is not None) == plain.try_acquire(call.n, world.now)
        assert sum(isinstance(request, Charge) for request in call.sent) <= 2, "a guess, and its correction"


@SEARCH
@given(
    limit=LIMITS,
    processes=st.integers(1, 4),
    steps=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=40),
)
def test_what_memory_denies_a_plain_limiter_denies_too(limit, processes, steps):
    world, plain = world_of(limit, [0] * processes), Plain(limit)
    for intervals, process in steps:
        world.run(world.now + round(intervals * interval_of(limit)))
        call = world.call(process % processes, 1)
        allowed = plain.try_acquire(1, world.now)
        if not call.sent:
            assert not allowed
            assert call.admitted_at is None


# Whatever the clocks and the network do.

ERRORS = st.lists(st.floats(-1, 1), min_size=1, max_size=5)
"""In parts of what a schedule takes for the largest error."""

SECONDS = st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 3))
FATES = fates_of(st.one_of(st.none(), SECONDS), again=st.one_of(st.none(), SECONDS), most=60)
STEPS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0, 4)), st.integers(0, 4), st.integers(1, 12), st.booleans(), st.booleans()
    ),
    min_size=1,
    max_size=40,
)
PREFETCH = st.sampled_from([0, 0, 3, 20])


def played(limit, errors, largest, steps, fates, *, prefetch=0):
    """Calls, of which some wait and some of those are cancelled; returns the world, and how far the clocks lie apart."""
    interval = interval_of(limit)
    errors = [round(error * largest * interval) for error in errors]
    world = world_of(limit, errors, fates=fates, prefetch=prefetch)
    for intervals, process, n, patient, cancelled in steps:
        world.run(world.now + round(intervals * interval))
        call = world.call(process % len(errors), min(n, limit.burst), patience=20 * interval if patient else 0)
        if cancelled:
            world.at(world.now + 3 * interval, call.cancel)
    world.run(world.now + 3_600 * NS)
    assert all(call.over and call.raised is None for call in world.calls)
    return world, max(errors) - min(errors)


@SEARCH
@given(limit=LIMITS, errors=ERRORS, largest=st.integers(0, 30), steps=STEPS, fates=FATES, prefetch=PREFETCH)
def test_no_more_is_due_than_the_rate_the_burst_and_the_spread_of_the_clocks(
    limit, errors, largest, steps, fates, prefetch
):
    world, spread = played(limit, errors, largest, steps, fates, prefetch=prefetch)
    assert excess(due_by_true_time(world), limit) <= (spread + delay(world)) / interval_of(limit) + ROUNDING
    for call in had(world):
        assert call.admitted_at + world.processes[call.process].time.error >= call.booking.had_at


@SEARCH
@given(limit=LIMITS, errors=ERRORS, largest=st.integers(0, 30), steps=STEPS, fates=FATES, prefetch=PREFETCH)
def test_one_process_alone_never_uses_more_than_the_rate_and_the_burst(limit, errors, largest, steps, fates, prefetch):
    world, _ = played(limit, errors, largest, steps, fates, prefetch=prefetch)
    for process in range(len(errors)):
        assert excess(world.used(process), limit) <= ROUNDING


@SEARCH
@given(limit=LIMITS, errors=ERRORS, largest=st.integers(0, 30), steps=STEPS)
def test_where_every_answer_comes_at_once_no_more_is_used_than_is_due(limit, errors, largest, steps):
    world, spread = played(limit, errors, largest, steps, ())
    assert excess(world.used(), limit) <= (spread + 1_000) / interval_of(limit) + ROUNDING, "and a pause's microsecond"


@SEARCH
@given(limit=LIMITS, errors=ERRORS, largest=st.integers(0, 5), steps=STEPS, fates=FATES, prefetch=PREFETCH)
def test_nothing_is_had_that_was_not_charged(limit, errors, largest, steps, fates, prefetch):
    world, _ = played(limit, errors, largest, steps, fates, prefetch=prefetch)
    assert world.items.charged.get("permits", 0) >= sum(call.n for call in had(world))


@SEARCH
@given(limit=LIMITS, steps=STEPS, fates=FATES)
def test_an_attempt_is_charged_once_however_often_it_is_sent_while_its_lane_is_its_own(limit, steps, fates):
    """One call at a time, each until all its copies have arrived: nothing else writes into the lane meanwhile."""
    world = world_of(limit, [0], fates=fates)
    for _, _, n, patient, _ in steps:
        world.call(0, min(n, limit.burst), patience=20 * interval_of(limit) if patient else 0)
        world.run(world.now + 60 * NS)
    assert set(world.items.commits.values()) <= {1}


@SEARCH
@given(limit=LIMITS, steps=st.lists(st.tuples(st.floats(0, 2), st.integers(0, 2), st.integers(1, 12)), max_size=40))
def test_nothing_is_charged_that_was_not_had_where_every_answer_comes(limit, steps):
    world = world_of(limit, [0, 0, 0])
    for intervals, process, n in steps:
        world.run(world.now + round(intervals * interval_of(limit)))
        world.call(process, min(n, limit.burst), patience=50 * interval_of(limit))
    world.run(world.now + 3_600 * NS)
    assert world.items.charged.get("permits", 0) == sum(call.n for call in had(world))


@SEARCH
@given(
    limits=st.tuples(LIMITS, LIMITS, LIMITS),
    errors=ERRORS,
    largest=st.integers(0, 10),
    steps=st.lists(
        st.tuples(st.floats(0, 4), st.integers(0, 4), st.tuples(*[st.integers(0, 12)] * 3), st.booleans()),
        min_size=1,
        max_size=40,
    ),
    fates=FATES,
)
def test_of_several_limits_each_holds_at_every_instant(limits, errors, largest, steps, fates):
    named = dict(zip(("bytes", "calls", "tokens"), limits, strict=True))
    longest = max(interval_of(limit) for limit in limits)
    errors = [round(error * largest * longest) for error in errors]
    world = world_of(named, errors, fates=fates)
    for intervals, process, counts, patient in steps:
        world.run(world.now + round(intervals * longest))
        wanted = {name: min(n, named[name].burst) for name, n in zip(named, counts, strict=True) if n}
        if wanted:
            world.call(process % len(errors), patience=20 * longest if patient else 0, **wanted)
    world.run(world.now + 3_600 * NS)
    assert all(call.over and call.raised is None for call in world.calls)
    spread = max(errors) - min(errors)
    for name, limit in named.items():
        assert excess(due_by_true_time(world, name), limit) <= (spread + delay(world)) / interval_of(limit) + ROUNDING
        assert world.items.charged.get(name, 0) >= sum(call.wanted.booked.get(name, 0) for call in had(world))


# The bound is tight.


@pytest.mark.parametrize("error_ms", [0, 10, 55, 250, 1_000])
def test_clocks_that_lie_apart_admit_as_much_more_as_is_said_and_no_more(error_ms):
    limit, error = Limit(100, burst=200), error_ms * NS // 1_000
    world = world_of(limit, [-error, error])
    for process in (0, 1):
        while world.call(process, 1).admitted_at is not None:
            pass
    assert sum(call.n for call in had(world)) - 200 == 2 * error_ms * 100 // 1_000


def test_the_excess_comes_once_and_not_each_second():
    limit, error = Limit(100, burst=20), NS // 2
    world = world_of(limit, [-error, error])
    for _ in range(1_250):
        world.run(world.now + 8 * NS // 1_000)
        for process in (0, 1):
            world.call(process, 1)
    assert excess(world.used(), limit) <= 100 + ROUNDING
    assert 1_000 <= sum(n for _, n in world.used()) <= 1_000 + 20 + 100


@pytest.mark.parametrize("error_ms", [0, 100, 1_000])
def test_no_less_is_admitted_than_the_spread_of_the_clocks_costs(error_ms):
    limit, error = Limit(100, burst=1), error_ms * NS // 1_000
    world = world_of(limit, [error, -error])
    world.call(0, 1)  # the fast one first: the slow one sees a time that is far ahead
    for step in range(1_500):
        world.run(world.now + NS // 500)
        world.call(1, 1)
        late = sum(n for _, n in world.used()) - 1
        assert late >= (step / 500 - 2 * error / NS) * 100 - 2
    assert len(world.calls[-1].sent) <= 1


# Several processes that wait, and prefetching.


def saturated(limit, processes, *, prefetch, seconds, error=0):
    """Every process wants a permit, and another as soon as it has one."""
    errors = [error, -error, *[0] * (processes - 2)][:processes]
    world = world_of(limit, errors, prefetch=prefetch, delay=4_000_000)
    end = START + seconds * NS

    def again(call):
        if world.now < end:
            world.at(world.now + 1, lambda: world.call(call.process, 1, patience=3_600 * NS, done=again))

    for process in range(processes):
        world.call(process, 1, patience=3_600 * NS, done=again)
    world.run(end)
    return world


@pytest.mark.parametrize(("processes", "prefetch", "cost"), [(1, 0, 1.0), (1, 15, 0.1), (4, 15, 0.1), (4, 0, 1.05)])
def test_under_load_the_rate_is_reached_at_the_cost_that_is_said(processes, prefetch, cost):
    limit = Limit(100, burst=20)
    world = saturated(limit, processes, prefetch=prefetch, seconds=10)
    used = world.used()
    assert 0.99 * 1_000 <= len(used) <= 1_000 + 20
    assert len(world.charges) / len(used) <= cost * 1.05
    assert excess(due_by_true_time(world), limit) <= ROUNDING


@pytest.mark.parametrize("error_ms", [0, 300])
def test_prefetching_admits_nothing_on_top(error_ms):
    limit = Limit(100, burst=5)
    world = saturated(limit, 3, prefetch=10, seconds=10, error=error_ms * NS // 1_000)
    assert excess(due_by_true_time(world), limit) <= 2 * error_ms / 10 + ROUNDING
