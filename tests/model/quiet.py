"""Quiescence: what acquirers can get once faults stop, from every reached state.

Invariants:

- Faults off: requests in flight never arrive, all holders have crashed, and the time that L1 allows a crashed holder has
  passed: a lease's length, and two ticks for the bounds' uncertainty. Then acquirers come, one after another.
- They take the steps of the shipped `protocol.choose`, in its order, and every choice that it leaves open.
- Every way must lead to the goal: backward reachability over the graph of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tests.model import properties
from tests.model.checker import Counterexample, Exploration, Step, explore, that_cannot_reach, trace_to
from tests.model.clauses import Clause, Kept
from tests.model.state import Scenario, State
from tests.model.table import (
    BringBack,
    Claim,
    Create,
    Mint,
    Request,
    Retire,
    Service,
    Slot,
    Table,
    circulates,
    circulating,
)

LATER = 1_000
"""The time of quiescence. What a clock far ahead has written may be later."""

FRESH = 1_000
"""Lease ids from here on belong to quiescence."""


class Calm(NamedTuple):
    """A table in quiescence.

    `counted` says whether a slot came into circulation since, and `short` whether `minted` was too low at the start,
    which only a hand can do.
    """

    table: Table
    counted: int
    short: int


class Quiet:
    """Acquirers alone with what is left, as a system that can be explored."""

    def __init__(self, scenario: Scenario, removed: Iterable[Clause], tables: Iterable[Table]) -> None:
        self.scenario = scenario
        self.keep = Kept(removed)
        self.service = Service(self.keep)
        self._tables = tables

    def initial(self) -> Iterator[Calm]:
        """Every table that was left behind."""
        for table in self._tables:
            short = 0
            if table.counter is not None:
                short = int(table.counter.minted < circulating(table.slots[: table.counter.max_tokens]))
            yield Calm(table, 0, short)

    def steps(self, state: Calm) -> Iterator[Step]:
        """What acquirers may do next; a request that fails leads nowhere."""
        for kind, request in self._choices(state.table):
            table = self.service.execute(state.table, kind, request)
            if table is None:
                yield (f"quiet {kind} is refused", request), state, None
                continue
            counted = state.counted or int(kind in {"mint", "bring back"})
            yield (f"quiet {kind} commits", request), state._replace(table=table, counted=counted), None

    def broken_in(self, _state: Calm) -> None:
        """None: for rest we only ask whether its goal can be reached."""

    def _choices(self, table: Table) -> list[tuple[str, Request]]:
        counter, slots = table
        if counter is None:
            fresh = not any(slots)
            wanted = self.scenario.wanted
            made = wanted if fresh else 0
            minted = wanted if fresh or self.keep.CREATE_OVER_REST else 0
            return [("create", Create(wanted, minted, made, LATER))]
        strays = tuple(n for n, slot in enumerate(slots) if n >= counter.max_tokens and circulates(slot))
        if strays and self.keep.STRAYS_RETIRED:
            minted = max(counter.minted - len(strays), min(counter.minted, counter.max_tokens))
            return [("strays", Retire(strays, counter.rev, counter.max_tokens, minted, counter.max_tokens))]
        numbers = range(min(counter.max_tokens, len(slots)))
        idle = [n for n in numbers if slots[n] is not None and _idle(slots[n])]
        claimable = [n for n in idle if not slots[n].retired]
        drifted = int(counter.minted >= counter.max_tokens)
        if claimable:
            return [("claim", self._claim(n, slots[n])) for n in claimable]
        missing = [n for n in numbers if slots[n] is None]
        if missing:
            return [("mint", Mint(n, self._fence(0), FRESH + n, LATER + 3, 0, drifted)) for n in missing]
        return [("bring back", BringBack(n, drifted, 0)) for n in idle]

    def _claim(self, n: int, slot: Slot) -> Claim:
        return Claim(n, self._fence(slot.fence), FRESH + n, LATER + 3, 0, LATER)

    def _fence(self, seen: int) -> int:
        above = seen + 1 if self.keep.FENCE_ABOVE_SEEN else 0
        return max(above, LATER) if self.keep.FENCE_BY_CLOCK else above


def _idle(slot: Slot) -> bool:
    return not slot.lease or slot.expires < LATER


def _all_leased(state: Calm) -> bool:
    counter, slots = state.table
    if counter is None or any(circulates(slot) for slot in slots[counter.max_tokens :]):
        return False
    leased = sum(1 for slot in slots if slot is not None and slot.lease >= FRESH and circulates(slot))
    return leased == counter.max_tokens


def _counted_right(state: Calm) -> bool:
    if state.short or not state.counted:
        return True
    return state.table.counter.minted == circulating(state.table.slots)


def settle(scenario: Scenario, removed: Iterable[Clause], found: Exploration) -> tuple[Counterexample | None, int]:
    """Let every reached state come to rest.

    Returns:
        A liveness property that does not hold, with a way to a state from where it cannot (None: all hold); and how
        many states of rest were explored.
    """
    removed = tuple(removed)
    longest = max(scenario.length, scenario.hold) + max(scenario.ahead)
    tables: dict[Table, State] = {}
    for state in found.states:
        assert isinstance(state, State)
        slots = state.table.slots
        if scenario.last and any(
            slot is not None and slot.lease and slot.expires > state.now + longest for slot in slots
        ):
            return Counterexample(properties.L1, trace_to(found, state)), 0
        tables.setdefault(_without_rev(state.table), state)
    calm = explore(Quiet(scenario, removed, tables), cap=scenario.cap, keep_edges=True)

    def without(goal: Callable[[Calm], bool], broken: str) -> Counterexample | None:
        stuck = that_cannot_reach(calm, goal)
        if not stuck:
            return None
        root = stuck[0]
        while calm.states[root] is not None:
            root = calm.states[root][0]
        before = trace_to(found, tables[root.table])
        return Counterexample(broken, [*before, ("faults stop", root.table), *trace_to(calm, stuck[0])])

    failed = without(_all_leased, properties.L3) or without(
        lambda state: _all_leased(state) and _counted_right(state), properties.L2
    )
    return failed, len(calm.states)


def _without_rev(table: Table) -> Table:
    # How often the counter was written makes no difference to later acquirers.
    counter = table.counter
    return table if counter is None else table._replace(counter=counter._replace(rev=0))
