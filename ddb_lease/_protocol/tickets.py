"""Tickets: the items by which waiters of an ordered bucket stand in a queue, and the requests about them.

Invariants:

- As in `_protocol.messages`: values only, one attempt each.
- A ticket decides only who tries to claim. No safety depends on it: claims have the conditions that they always have.
- Tickets are sorted by their place: a higher priority first, then an earlier arrival. A ticket keeps its place.
- Whoever deletes a ticket names the expiry that it has seen: one that its waiter has refreshed since is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

_NUMBER_DIGITS = 6
"""Of a ticket's name; the others are random."""

HIGHEST_PRIORITY = 9
"""The priority that is served first; 0 is served last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One waiter.

    Attributes:
        priority: 0 to 9; 9 is served first.
        arrival: When it came, in ms of the service's time; of waiters of one priority, the earlier is served first.
        name: Sets it apart from others of the same arrival. It begins with its number.
        owner: Who waits, for people.
        count: How many slots it wants together.
        expires_at: Until when it counts, unless it is refreshed, in ms of the service's time.
    """

    priority: int
    arrival: int
    name: str
    owner: str = ""
    count: int = 1
    expires_at: int = 0

    @property
    def place(self) -> tuple[int, int, str]:
        """What tickets are sorted by, as the table sorts their keys."""
        return HIGHEST_PRIORITY - self.priority, self.arrival, self.name

    @property
    def number(self) -> int:
        """Counts the tickets of its priority, from where the queue was last empty; 0 if it has none.

        It serves to estimate a place: two that come at one time may have the same, and some have left the queue since.
        """
        return int(self.name[:_NUMBER_DIGITS], 16)


def numbered(name: str, number: int) -> str:
    """A name with a number."""
    return f"{min(number, 16**_NUMBER_DIGITS - 1):0{_NUMBER_DIGITS}x}{name[_NUMBER_DIGITS:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PutTicket:
    """Join the queue; there must be no such ticket yet: one PutItem. `ttl` in seconds."""

    ticket: Ticket
    ttl: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshTicket:
    """Move a ticket's expiry, never backwards; it must be there: one UpdateItem. `ttl` in seconds."""

    ticket: Ticket
    ttl: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DropTicket:
    """Delete a ticket, unless it has been refreshed beyond the expiry that is known: one DeleteItem."""

    ticket: Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtQueue:
    """Read tickets: one Query, one page. Answered by `QueueSeen`.

    Attributes:
        limit: How many at most, from the first.
        last_of: Instead the last ticket of this priority, alone.
        after: Only what lies behind this, the `end` of an earlier look.
        consistent: Strongly consistent, or eventually, at half the price.
    """

    limit: int
    consistent: bool
    last_of: int | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSeen:
    """Tickets, by place, expired ones included. `more` says that there may be further ones, behind `end`."""

    tickets: tuple[Ticket, ...]
    more: bool
    end: str | None = field(default=None, compare=False)


TicketRequest: TypeAlias = PutTicket | RefreshTicket | DropTicket | LookAtQueue
