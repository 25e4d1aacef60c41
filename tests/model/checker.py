"""The explorer: every state of a finite system, breadth first.

Invariants:

- It knows nothing about leases. A system says where it starts, what may happen next, and what must not happen.
- All states, no sampling: an exploration ends when there is nothing new, or with a counterexample. It raises if the
  system is larger than its cap, so that a reached cap never looks like a proof.
- Breadth first, with steps in a fixed order: a counterexample is a shortest one, and the same one each time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

State = Hashable
Label = tuple
"""What happened: its name first, then the details. Its name is a landmark of the exploration."""

Step = tuple[Label, State, "str | None"]
"""A label, the state that follows, and the property that this step breaks (None: none)."""


class TooLarge(Exception):
    """The system has more states than its cap: nothing was proved."""


class System(Protocol):
    """A system that can be explored."""

    def initial(self) -> Iterable[State]:
        """Where it starts."""

    def steps(self, state: State) -> Iterator[Step]:
        """All that may happen next, in a fixed order."""

    def broken_in(self, state: State) -> str | None:
        """The property that this state breaks (None: none). Asked once for each state."""


@dataclass(frozen=True)
class Counterexample:
    """A broken property, and a shortest way to it."""

    broken: str
    trace: list[Label]


@dataclass
class Exploration:
    """The result of an exploration.

    Attributes:
        states: All states visited, each with the state and the label that led to it first (None: initial).
        landmarks: The names of all steps that were taken somewhere.
        edges: The states that follow each state; only if asked for.
        counterexample: The first broken property; None means that all states were visited and nothing is broken.
    """

    states: dict[State, tuple[State, Label] | None] = field(default_factory=dict)
    landmarks: set[str] = field(default_factory=set)
    edges: dict[State, list[State]] = field(default_factory=dict)
    counterexample: Counterexample | None = None


def explore(system: System, *, cap: int, keep_edges: bool = False) -> Exploration:
    """Visit every state, or stop at the first broken property.

    Raises:
        TooLarge: There are more than `cap` states.
    """
    found = Exploration()
    for state in system.initial():
        found.states.setdefault(state, None)
        broken = system.broken_in(state)
        if broken is not None:
            found.counterexample = Counterexample(broken, [])
            return found
    todo = deque(found.states)
    while todo:
        state = todo.popleft()
        following: list[State] = []
        for label, after, fault in system.steps(state):
            found.landmarks.add(label[0])
            broken, known = fault, len(found.states)
            found.states.setdefault(after, (state, label))  # once: hashing a state is half of the work here
            if len(found.states) > known:
                if known >= cap:
                    raise TooLarge(f"more than {cap} states")
                todo.append(after)
                broken = fault or system.broken_in(after)
            if broken is not None:
                found.counterexample = Counterexample(broken, [*trace_to(found, state), label])
                return found
            following.append(after)
        if keep_edges:
            found.edges[state] = following
    return found


def trace_to(found: Exploration, state: State) -> list[Label]:
    """The labels on the shortest way to a state."""
    labels: list[Label] = []
    origin = found.states[state]
    while origin is not None:
        before, label = origin
        labels.append(label)
        origin = found.states[before]
    return labels[::-1]


def that_cannot_reach(found: Exploration, goal: Callable[[State], bool]) -> list[State]:
    """The states from which no state of the goal can be reached: backward reachability over the kept edges."""
    came_from: dict[State, list[State]] = {state: [] for state in found.states}
    for state, following in found.edges.items():
        for after in following:
            came_from[after].append(state)
    reaching = {state for state in found.states if goal(state)}
    todo = deque(reaching)
    while todo:
        for before in came_from[todo.popleft()]:
            if before not in reaching:
                reaching.add(before)
                todo.append(before)
    return [state for state in found.states if state not in reaching]
