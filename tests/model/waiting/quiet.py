"""Quiescence: what becomes of every waiter once faults stop, from every reached state.

Invariants:

- Faults off: requests and claims under way never arrive, nobody comes, dies or gives up, and every living waiter looks
  once a tick, in every order; its claim follows its look.
- Either all slots are released at every tick, but those held for ever: then all must be served in time (Q7). Or none is
  ever: then every waiter must have its ticket again (Q8), and those of the dead must be gone once they have expired (Q9).
- Only differences of times matter, and only so far as a rule can tell them apart. So many states have one future.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.model.checker import Step
from tests.model.waiting import rules
from tests.model.waiting.clauses import Clause
from tests.model.waiting.properties import Q7, Q8, Q9
from tests.model.waiting.state import DEAD, FOR_EVER, FREE, GONE, NEVER, WAITS, Scenario, Slot, State, Waiter
from tests.model.waiting.world import World, next_tick, released

PAST = 4 * rules.PATIENCE
"""What lies further back makes no difference."""


class Calm(NamedTuple):
    """A queue at rest: whether slots come free, for how many ticks more something may take, and the state."""

    freed: int
    left: int
    state: State


class Quiet:
    """Waiters alone, as a system that can be explored."""

    def __init__(self, scenario: Scenario, removed: Iterable[Clause], states: Iterable[State]) -> None:
        self.scenario = scenario
        self.world = World(scenario, removed, watch=(), curious=False)
        self.roots: dict[State, State] = {}
        for state in states:
            self.roots.setdefault(at_rest(state, self.scenario), state)
        self._life = rules.lifetime(scenario.refresh, self.world.keep)
        self.longest = self._life + rules.LAG + 2

    def initial(self) -> Iterator[Calm | None]:
        """The instant before faults stop."""
        yield None

    def steps(self, calm: Calm | None) -> Iterator[Step]:
        """Whoever has not looked since the last tick looks; then there is a tick."""
        if calm is None:
            yield from self._beginnings()
            return
        freed, left, s = calm
        waiting = [i for i, waiter in enumerate(s.waiters) if waiter.phase == WAITS]
        due = [i for i in waiting if not s.waiters[i].looked]
        for i in due:
            for label, after, _ in self._try(s, i):
                yield (f"quiet, {label[0]}", *label[1:]), Calm(freed, left, after), self._without_ticket(calm, i, after)
        if waiting and not due and left >= 0:
            after = shifted(next_tick(s))
            yield ("quiet, a tick",), Calm(freed, left - 1, _all_released(after) if freed else after), None

    def broken_in(self, calm: Calm | None) -> str | None:
        """Whether something takes too long."""
        if calm is None or calm.left >= 0:
            return None
        if calm.freed:
            return Q7
        dead = {i for i, waiter in enumerate(calm.state.waiters) if waiter.phase == DEAD}
        return Q9 if any(item.name in dead for item in calm.state.tickets) else None

    def _beginnings(self) -> Iterator[Step]:
        """Both futures of everything that was left behind; the label has the state's number."""
        for number, state in enumerate(self.roots):
            living = [i for i, waiter in enumerate(state.waiters) if waiter.phase == WAITS]
            if not living:
                continue
            yield ("faults stop, all stays held", number), Calm(0, self.longest, _none_free(state)), None
            if all(self.scenario.wishes[i].count <= _may_come_free(state) for i in living):
                calm = Calm(1, self._time_to_serve(state), _all_released(state))
                yield ("faults stop, slots come free", number), calm, None

    def _try(self, s: State, i: int) -> Iterator[Step]:
        for label, after, _ in self.world.look(s, i):
            plan = after.waiters[i].plan
            yield from [(label, after, None)] if plan is None else self.world.claim(after, i, plan)

    def _without_ticket(self, calm: Calm, i: int, after: State) -> str | None:
        waiter = after.waiters[i]
        if calm.freed or waiter.phase != WAITS or calm.left > self.longest - rules.LAG - 1:
            return None
        own = (9 - self.scenario.wishes[i].priority, waiter.arrival, i)
        there = any(item[:3] == own and item.count and item.expires >= after.now for item in after.tickets)
        return None if there else Q8

    def _time_to_serve(self, s: State) -> int:
        """How many ticks it may take until all are served."""
        dead = [item for item in s.tickets if s.waiters[item.name].phase != WAITS]
        living = sum(waiter.phase == WAITS for waiter in s.waiters)
        unserved = any(item.count > _may_come_free(s) for item in dead)  # it waits for what never comes free
        return PATIENCE * len(dead) + SLACK * living + (self._life if unserved else 0)


PATIENCE = 2 * rules.PATIENCE
"""Ticks for each dead waiter: until somebody sees the slots free for it, and that long again."""

SLACK = 2
"""Ticks for each living waiter: one until it sees its slot, one until the slot comes free."""


def at_rest(s: State, scenario: Scenario) -> State:
    """A state as it is when faults stop, without what makes no difference."""
    waiters = []
    for i, waiter in enumerate(s.waiters):
        if waiter.phase == WAITS and scenario.wishes[i].patient:
            waiters.append(waiter._replace(plan=None, looked=0, unsure=0))
        else:
            waiters.append(Waiter(DEAD if waiter.phase == DEAD else GONE))
    slots = [slot if slot.holder in {FREE, FOR_EVER} else slot._replace(holder=1) for slot in s.slots]
    return shifted(State(now=s.now, slots=tuple(slots), tickets=s.tickets, waiters=tuple(waiters)))


def shifted(s: State) -> State:
    """The state with times counted from now, and fences from 0."""
    now = s.now

    def since(time: int, least: int = -PAST) -> int:
        return NEVER if time == NEVER else max(time - now, least)

    slots = [slot._replace(fence=0, since=since(slot.since) if slot.holder == FREE else 0) for slot in s.slots]
    waiters = [
        waiter
        if waiter.phase != WAITS
        else waiter._replace(
            put_at=since(waiter.put_at, -rules.LAG),
            refresh_at=since(waiter.refresh_at, 0),
            expires=since(waiter.expires),
            slots_at=since(waiter.slots_at),
            free=tuple((n, 0, since(from_then)) for n, fence, from_then in waiter.free if s.slots[n].fence == fence),
        )
        for waiter in s.waiters
    ]
    tickets = [item._replace(expires=max(item.expires - now, -1)) for item in s.tickets]
    return s._replace(now=0, slots=tuple(slots), waiters=tuple(waiters), tickets=tuple(tickets))


def _may_come_free(s: State) -> int:
    return sum(slot.holder != FOR_EVER for slot in s.slots)


def _all_released(s: State) -> State:
    for n, slot in enumerate(s.slots):
        if slot.holder not in {FREE, FOR_EVER}:
            s = released(s._replace(slots=(*s.slots[:n], slot._replace(holder=-1), *s.slots[n + 1 :])), n)
    waiters = tuple(Waiter(GONE) if waiter.phase not in {WAITS, DEAD} else waiter for waiter in s.waiters)
    return s._replace(waiters=waiters)


def _none_free(s: State) -> State:
    return s._replace(slots=tuple(Slot(FOR_EVER) for _ in s.slots))
