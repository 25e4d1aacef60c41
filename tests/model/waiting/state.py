"""The state of a queue, and the settings of a scenario: values only.

Invariants: everything in a state is a tuple or a number. Times are ticks of the service's clock; a tick is two looks
of the first of the queue. Waiters are numbered from 0; a ticket's name is its waiter's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

OUT, WAITS, HOLDS, GONE, DEAD = "out", "waits", "holds", "gone", "dead"

FREE, STRANGER, FOR_EVER = 0, -1, -2
"""Who holds a slot, if no waiter does (those count from 1): nobody, somebody who releases it, somebody who does not."""

NEVER = -99


class Item(NamedTuple):
    """A ticket's item. The first three are its key. An Update that finds none makes one without a `count`."""

    before: int
    """9 - priority."""
    arrival: int
    name: int
    count: int
    expires: int


class Slot(NamedTuple):
    """A slot's item: its holder, how often it was claimed, and since when it is free."""

    holder: int
    fence: int = 0
    since: int = 0


class Plan(NamedTuple):
    """A claim that is under way, with what its waiter knew as it looked."""

    slots: tuple[tuple[int, int], ...]
    """Each with the fence that was seen."""
    passed: tuple[Item, ...]
    fair: int
    """Whether the slots that were free were enough for it and all living waiters before it that had not had their turn."""


class Waiter(NamedTuple):
    """What a waiter knows, and where it stands."""

    phase: str = OUT
    arrival: int = NEVER
    put_at: int = NEVER
    refresh_at: int = NEVER
    expires: int = NEVER
    slots_at: int = NEVER
    free: tuple[tuple[int, int, int], ...] = ()
    """Slots that it has seen free: number, fence, since when."""
    plan: Plan | None = None
    looked: int = 0
    """Whether it has looked since the last tick."""
    unsure: int = 0
    """Whether nobody has told that its ticket was put."""


class Message(NamedTuple):
    """A request about a ticket that is still under way, though nobody waits for its answer."""

    kind: str
    item: Item


class State(NamedTuple):
    """The whole world."""

    now: int
    slots: tuple[Slot, ...]
    tickets: tuple[Item, ...]
    waiters: tuple[Waiter, ...]
    net: tuple[Message, ...] = ()
    deaths: int = 0
    naps: int = 0
    losses: int = 0
    late: int = 0
    deletions: int = 0


@dataclass(frozen=True)
class Wish:
    """What one waiter wants.

    Attributes:
        count: How many slots together.
        priority: 0 to 9.
        ahead: By how many ticks it believes the service's time to be later than it is.
        patient: Whether it waits; else it tries once, behind all tickets.
        mortal: Whether it may die.
    """

    count: int = 1
    priority: int = 0
    ahead: int = 0
    patient: bool = True
    mortal: bool = True


@dataclass(frozen=True)
class Scenario:
    """A small configuration, and what it is for.

    Attributes:
        slots: The holders of the slots at the start.
        wishes: The waiters.
        first: How many of them have tickets at the start.
        last: The last tick.
        refresh: Ticks between two refreshments: fewer than in truth, so that tickets expire in small searches.
        deaths: How many waiters may die.
        naps: For how many ticks waiters may not look, in all.
        losses: How many requests about tickets may be lost, or their answers.
        late: How many of those requests, or copies of them, may arrive at any time later.
        deletions: How many tickets others may delete.
        give_up: Whether waiters may give up.
        releases: Whether slots are released before all is quiet.
        curious: Whether waiters may look at the slots where they need not.
        watch: What is checked, by its name in `properties`.
        sees: Steps that must happen, else the scenario would show nothing.
        least: The least number of states.
        cap: The number of states at which the search fails.
        large: Whether only the command line searches it.
    """

    about: str
    slots: tuple[int, ...]
    wishes: tuple[Wish, ...]
    first: int = 0
    last: int = 6
    refresh: int = 2
    deaths: int = 0
    naps: int = 0
    losses: int = 0
    late: int = 0
    deletions: int = 0
    give_up: bool = False
    releases: bool = True
    curious: bool = False
    watch: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    least: int = 1
    cap: int = 100_000
    large: bool = False
