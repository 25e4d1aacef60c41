"""The state of the world, and the settings of a scenario: values only.

Invariants: everything in a state is a tuple or a number, so that states can be compared and hashed. Times are ticks of
the service's clock, except those of the steady clock in `Client`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tests.model import properties
from tests.model.table import NOBODY, Counter, Request, Slot, Table

IDLE, WAITING, HOLDING, LOST = "idle", "waiting", "holding", "lost"
PLANNER = 100
"""Operators have sender numbers from here on; clients have 0, 1, 2."""

SENT, DONE = -1, -2

LONG_DUE = -1
"""The `ttl` of a slot that TTL may delete at any time, in scenarios without ticks."""

ACQUISITIONS = frozenset({"claim", "mint", "take", "adopt"})

TRANSACTIONS = frozenset({"mint", "bring back", "take"})
"""Requests with a token: DynamoDB answers a repeated one without doing it again. The others rely on conditions."""


class Client(NamedTuple):
    """A client that wants one lease at a time.

    `hold_until` is the tick before which nobody else may have its slots, if it asked for that; else 0. `deadlines` are ticks through which it believes, one for each slot of the lease. `uncertain` counts resends, and
    `lag` the ticks by which its steady clock stood still; both stay 0 where the protocol needs neither.
    """

    phase: str = IDLE
    tries: int = 0
    lease: int = NOBODY
    slots: tuple[int, ...] = ()
    deadlines: tuple[int, ...] = ()
    hold_until: int = 0
    expires: tuple[int, ...] = ()
    renewals: int = 0
    renewing: tuple = ()
    inbox: tuple = ()
    uncertain: int = 0
    lag: int = 0


class Operator(NamedTuple):
    """An operator with a job: its step of reading (or `SENT`, `DONE`), and what it has read so far."""

    step: int = 0
    tries: int = 0
    counter: tuple = ()
    seen: tuple = ()
    """For each slot: 1 in circulation, 0 not, -1 not read yet."""
    expected: int = -1
    """The `max_tokens` that a resizer saw first, or set last; -1: none yet."""


class Message(NamedTuple):
    """A request in flight, in some copies. `executed` marks a transaction whose token the service remembers."""

    kind: str
    sender: int
    request: Request
    copies: int = 1
    executed: int = 0
    sent: int = 0


class State(NamedTuple):
    """The whole world."""

    now: int
    table: Table
    clients: tuple[Client, ...]
    operators: tuple[Operator, ...]
    net: tuple[Message, ...]
    fences: tuple[int, ...]
    """The highest fence that any lease of each slot has had: for S3 only."""
    copies: int
    """How many more copies the network may make."""
    deletions: int
    edits: int
    revocations: int
    bring_backs: int
    standstills: int
    edited: int
    """1: `minted` was edited by hand, and not repaired since; 2: slots were put beyond `max_tokens`, and not repaired."""
    offers: tuple[tuple[int, int, int], ...] = ()
    """What was handed over: slot, lease, and the fence that its holder had."""
    closed: tuple[int, ...] = ()
    """Until when nobody else may have each slot, as its last holder asked for: for H only."""


@dataclass(frozen=True)
class Job:
    """The job of an operator.

    Attributes:
        kind: "shrink", "grow", "repair", "strays" or "create".
        target: The `max_tokens` wanted.
        tries: How often it may start over when it was overtaken.
        counter_first: For the look of "strays", a Query, which may show the items in either order.
        fresh: For "create": whether the look showed no slots.
    """

    kind: str
    target: int = 0
    tries: int = 1
    counter_first: bool = True
    fresh: bool = True


@dataclass(frozen=True)
class Scenario:
    """A small configuration of the world, and what it is for.

    Attributes:
        held: The slots leased at the start: slot, client, its deadline.
        ways: How clients acquire: "claim", "mint", "re-mint", "take", "re-take" (which mints all of them), "adopt".
        acquisitions: How many attempts each client may make.
        renewals: How many renewals each client may send.
        hands_over: Whether holders may hand their leases over.
        copies: How many copies the network may make, in all.
        late: Whether answers can be heard late; else each is heard at once or never.
        last: The last tick; 0: no time passes, leases never end.
        length: Ticks of a lease.
        margin: Ticks that a holder stops early.
        hold: For how many ticks clients acquire at least; 0: they do not ask for any time.
        ahead: Bounds `now_hi` may be so many ticks ahead.
        behind: Bounds `now_lo` may differ by so many ticks; above 0 it is the difference of the service's front ends.
        lifetime: How many ticks a request can be in flight; 0: for ever.
        retention: Ticks that TTL waits after a slot's last activity or expiry.
        deletions: How many slots TTL may delete.
        revocations: How many leases an operator may revoke.
        bring_backs: How many slots acquirers may try to bring back.
        jobs: The operators' jobs.
        edits: The value to which `minted` may be edited by hand, once.
        uncounted: Whether slots beyond `max_tokens` exist at the start, put by hand, and not in `minted`.
        wanted: The `max_tokens` with which acquirers create a missing bucket once all is quiet.
        per_step: How many slots a step of a shrink can retire (99 in the real service).
        standstill: How often a client's steady clock may stand still for a tick, however good it is.
        sleeps: How often a client's machine may be suspended for a tick.
        watch: The properties that are checked.
        sees: Steps that must happen, else the scenario would show nothing.
        least: The least number of states, else the scenario would show nothing.
        cap: The number of states at which the search fails.
    """

    about: str
    counter: Counter | None
    slots: tuple[Slot | None, ...]
    held: tuple[tuple[int, int, int], ...] = ()
    ways: tuple[str, ...] = ("claim",)
    acquisitions: tuple[int, ...] = (1, 1)
    renewals: tuple[int, ...] = (0, 0, 0)
    releases: bool = True
    hands_over: bool = False
    copies: int = 0
    late: bool = False
    last: int = 0
    length: int = 3
    margin: int = 1
    hold: int = 0
    ahead: tuple[int, ...] = (0,)
    behind: tuple[int, ...] = (1,)
    lifetime: int = 0
    retention: int = 0
    deletions: int = 0
    edits: tuple[int, ...] = ()
    revocations: int = 0
    bring_backs: int = 0
    per_step: int = 2
    standstill: int = 0
    sleeps: int = 0
    jobs: tuple[Job, ...] = ()
    wanted: int = 0
    watch: tuple[str, ...] = properties.SAFETY
    sees: tuple[str, ...] = ()
    least: int = 1
    cap: int = 300_000
    uncounted: bool = False
