"""Processes that book permits of one rate, the items in memory, and all that happens between them, in true time.

The items execute the conditions of a charge as they are stated in `_protocol.rates.messages`, not as DynamoDB's
expressions: those are tested elsewhere. Time jumps from one event to the next.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field, replace
from random import Random

from hypothesis import strategies as st

from ddb_lease._operations.rates.booking import take_permits
from ddb_lease._protocol.messages import Look, Pause, Seen
from ddb_lease._protocol.outcomes import Admitted
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import (
    ChangePolicy,
    Charge,
    CreatePolicy,
    KeyIs,
    KeyRefused,
    KeyWritten,
    PolicyIs,
    PolicyRefused,
    ReadKey,
    ReadPolicy,
)
from ddb_lease._protocol.rates.records import KeyState, LimitState
from ddb_lease._protocol.rates.validation import limit_policies
from ddb_lease._protocol.records import View
from ddb_lease._state.rates.booking import Booking
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease.models import Limit
from tests.support import LOST

NS = 1_000_000_000
START = 1_795_470_755 * NS
PATIENCE_NS = NS


@dataclass(frozen=True)
class Fate:
    """What happens to one request; nanoseconds. `out` None: it never arrives. `back` None: its answer does not.

    `again`: how long after the first a second copy arrives; None: there is none.
    """

    out: int | None = 0
    back: int | None = 0
    again: int | None = None


FINE = Fate()


def fates_of(
    delay: st.SearchStrategy[float | None], *, again: st.SearchStrategy[float | None], most: int
) -> st.SearchStrategy[list[Fate]]:
    """Lists of fates at random: of seconds for the way out and back, and of seconds until a second copy."""
    made = st.builds(
        lambda out, back, copy: Fate(*(None if x is None else round(x * NS) for x in (out, back, copy))),
        delay,
        delay,
        again,
    )
    return st.lists(made, max_size=most)


class Told:
    """A process's view of the time: the truth plus its own error. It stands for `ServiceTime` and `RateTime`."""

    known = confirmed = True
    unsettled = False

    def __init__(self, world, error):
        self._world = world
        self.error = error

    def steady(self):
        return (self._world.now - START) / NS

    def now_ns(self):
        return self._world.now + self.error

    def known_now_ns(self):
        return self.now_ns()


class Items:
    """The policy and the keys, and every charge that was written: (sent at, charge)."""

    def __init__(self):
        self.policy = None
        self.keys = {}
        self.charges = []

    def execute(self, request, *, sent_at):  # noqa: PLR0911 - one for each kind of request
        match request:
            case ReadPolicy():
                return PolicyIs(policy=self.policy)
            case CreatePolicy():
                if self.policy is not None:
                    return PolicyRefused(policy=self.policy)
                self.policy = request.policy
                return PolicyIs(policy=self.policy)
            case ChangePolicy():
                if self.policy is None or self.policy.rev != request.rev_before:
                    return PolicyRefused(policy=self.policy)
                self.policy = request.policy
                return PolicyIs(policy=self.policy)
            case Charge():
                return self._charge(request, sent_at)
            case ReadKey():
                return KeyIs(state=self.keys.get(request.key))
            case Look():
                return Seen(view=View(counter=None, slots={}, covered=range(0)), more=False)
        raise AssertionError(request)

    def _charge(self, charge, sent_at):
        before = self.keys.get(charge.key)
        if not self._allows(charge, before):
            return KeyRefused(state=before)
        limits = {} if before is None else dict(before.limits)
        for part in charge.limits:
            found = limits.get(part.name, LimitState(tat=0, held=0, reach=0))
            match part.branch:
                case "idle":
                    tat = charge.due + part.charged
                case "busy":
                    tat = found.tat + part.charged
                case "cut":
                    tat = max(part.cut, charge.due) + part.charged if part.charged else part.cut
                case "kept":
                    continue
            held = found.held + part.reserved
            limits[part.name] = LimitState(tat=tat, held=held, reach=tat + held)
        lanes = {} if before is None else dict(before.lanes)
        lanes[charge.lane] = charge.attempt
        after = KeyState(limits=limits, rev=charge.rev, lanes=lanes)
        self.keys[charge.key] = replace(before, limits=limits, rev=charge.rev, lanes=lanes) if before else after
        self.charges.append((sent_at, charge))
        return KeyWritten(state=self.keys[charge.key])

    def _allows(self, charge, before):
        if before is not None:
            if before.lanes.get(charge.lane) == charge.attempt or before.blocked_until > charge.due:
                return False
            if before.override_rev != charge.override_rev:
                return False
            if before.rev != charge.rev and not (charge.adopts and before.rev < charge.rev):
                return False
        return all(self._part_allows(part, charge, before) for part in charge.limits)

    def _part_allows(self, part, charge, before):
        found = None if before is None else before.limits.get(part.name)
        amount = part.charged + part.reserved
        if found is not None and part.branch != "kept" and amount and found.held > part.tolerance - amount:
            return False
        match part.branch:
            case "idle":
                return found is None or found.tat < charge.due
            case "busy":
                fits = found is not None and found.reach <= charge.due + charge.horizon + part.tolerance - amount
                return fits and found.tat >= charge.due
            case "cut":
                start = max(part.cut, charge.due)
                fits = found is not None and found.held <= charge.due + part.tolerance - amount - start
                return found is not None and found.tat > part.cut and (not amount or fits)
            case "kept":
                return found is None or found.tat <= part.cut


@dataclass(eq=False)
class Call:
    """One call of a process: what it wanted, and what came of it; times are true ones."""

    process: int
    wanted: Wanted
    began: int
    sent: list = field(default_factory=list)
    admitted_at: int | None = None
    booking: Watched | None = None
    over: bool = False
    over_at: int | None = None
    outcome: object = None
    raised: Exception | None = None

    @property
    def n(self):
        return sum(self.wanted.booked.values())


class Watched(Booking):
    """A booking that remembers, as `had_at`, when its permits were due, by its process's clock."""

    __slots__ = ("_due", "had_at")

    @property
    def due(self):
        return self._due

    @due.setter
    def due(self, due):
        self._due = due
        if due is not None:
            self.had_at = due


class Process:
    """One client of the rate, of a clock that is off by so much."""

    def __init__(self, world, limits, error, seed, prefetch):
        self.time = Told(world, error)
        self.state = LimiterState(
            name="api",
            given=limit_policies(limits),
            prefetch=prefetch,
            retention=86_400.0,
            time=self.time,
            rate_time=self.time,
            chance=Random(seed),
        )


class World:
    """Processes, the items, and what happens between them, in the order of true time."""

    def __init__(self, limits, errors, *, prefetch=0, fates=(), delay=0, seed=0):
        self.now = START
        self.limits = limits if isinstance(limits, dict) else {"permits": limits}
        self.items = Items()
        self.processes = [
            Process(self, self.limits, error, seed * 100 + number, prefetch) for number, error in enumerate(errors)
        ]
        for number, process in enumerate(self.processes):
            process.state.lane = number % 8
        self.calls = []
        self.requests = []
        self._fates = iter(fates)
        self._delay = delay
        self._chance = Random(seed)
        self._queue = []
        self._serial = itertools.count()

    def at(self, when, happens):
        heapq.heappush(self._queue, (max(when, self.now), next(self._serial), happens))

    def run(self, until):
        while self._queue and self._queue[0][0] <= until:
            self.now, _, happens = heapq.heappop(self._queue)
            happens()
        self.now = max(self.now, until)

    def call(self, process, n=1, *, patience=0, key="", done=None, **permits):  # noqa: C901 - a driver in one place
        """Have a process take permits; without patience it is `try_acquire`. Patience is in nanoseconds."""
        client, pausing = self.processes[process], []
        state = client.state

        def wake():
            if pausing:
                self.at(self.now, pausing.pop())

        wanted = Wanted(booked=permits or {"permits": n})
        call = Call(process=process, wanted=wanted, began=self.now)
        self.calls.append(call)
        began = client.time.steady()
        booking = call.booking = Watched(
            wake, wanted=wanted, began=began, deadline=began + (patience or 10 * NS) / NS, patient=patience > 0
        )
        identity = state.process
        key_book = state.join(key, booking)
        operation = take_permits(state, key, key_book, booking, process=identity)
        call.cancel = lambda: over(None)

        def over(outcome):
            if call.over:
                return
            for other in key_book.leave(booking):
                other.wake()
            call.over, call.over_at, call.outcome = True, self.now, outcome
            call.admitted_at = self.now if isinstance(outcome, Admitted) else None
            if done is not None:
                done(call)

        def go(answer):
            if call.over:
                return
            try:
                effect = operation.send(answer)
            except StopIteration as stop:
                over(stop.value)
                return
            except Exception as error:  # the test looks at it
                call.raised = error
                over(None)
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
        self.requests.append(request)
        fate = next(self._fates, None)
        if fate is None:
            each = [self._chance.randrange(self._delay // 2, self._delay) if self._delay else 0 for _ in range(2)]
            fate = Fate(*each)
        sent_at = self.now

        def arrive(*, first):
            answer = self.items.execute(request, sent_at=sent_at)
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

    # What came of it.

    def used(self, process=None):
        """When permits were used, and how many."""
        return [
            (call.admitted_at, call.n)
            for call in self.calls
            if call.admitted_at is not None and process in {None, call.process}
        ]

    @property
    def charges(self):
        return [request for request in self.requests if isinstance(request, Charge)]


def excess(times, limit: Limit):
    """By how many permits those used at these (time, count) exceed, at most, what the limit admits in their time."""
    policy = limit_policies({"x": limit})["x"]
    worst, most_before, total = 0.0, None, 0
    first = min((time for time, _ in times), default=0)
    for since_the_epoch, count in sorted(times):
        time = since_the_epoch - first  # a float of the whole would be off by some millionths of a permit
        earlier = time / policy.interval - total
        most_before = earlier if most_before is None else max(most_before, earlier)
        total += count
        worst = max(worst, total - time / policy.interval + most_before)
    return worst - policy.burst


def jain(counts):
    """Jain's index of fairness: 1 if all are equal, 1/n if one has all."""
    return sum(counts) ** 2 / (len(counts) * sum(count * count for count in counts)) if any(counts) else 0.0
