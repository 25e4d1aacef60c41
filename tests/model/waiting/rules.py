"""The shipped rules of waiting, as the model calls them: `ddb_lease._protocol.queueing`, by ticks.

Invariants: no rule is written down here a second time. A clause that is removed changes what a rule is asked, or its
answer. What the operation remembers between two looks is in `state.Waiter`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from ddb_lease._protocol import queueing
from ddb_lease._protocol.queueing import Share, Standing
from ddb_lease._protocol.tickets import HIGHEST_PRIORITY, Ticket
from tests.model.waiting.clauses import Kept
from tests.model.waiting.state import Item

TICK_SECONDS = 2 * queueing.HEAD_SECONDS
"""Two looks of the first of the queue."""
_TICK_MS = round(1000 * TICK_SECONDS)

PATIENCE = round(queueing.PATIENCE_SECONDS / TICK_SECONDS)

LAG = 1
"""Ticks for which a ticket that was just put may be missing in looks."""

LAST = 10_000
"""An arrival after all others, of who has no ticket."""

_LONG = 1_000.0


@functools.cache
def ticket(item: Item) -> Ticket:
    """An item as the library reads it."""
    return Ticket(
        priority=HIGHEST_PRIORITY - item.before,
        arrival=item.arrival * _TICK_MS,
        name=f"{item.name:016x}",
        count=item.count,
        expires_at=item.expires * _TICK_MS,
    )


def _seen(tickets: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(item for item in tickets if item.count)  # what has no count is no ticket


def standing(tickets: Iterable[Item], own: Item, *, now: int, max_tokens: int, keep: Kept) -> Standing:
    """Where a waiter stands."""
    now_ms = now * _TICK_MS if keep.EXPIRED_SKIPPED else NEVER_MS
    return queueing.standing(
        [ticket(item) for item in _seen(tickets)], ticket(own), more=False, now_ms=now_ms, max_tokens=max_tokens
    )


NEVER_MS = -(10**9)


def expired(tickets: Iterable[Item], now: int) -> tuple[Item, ...]:
    """The tickets that have expired."""
    found = {t.name for t in queueing.expired([ticket(item) for item in _seen(tickets)], now * _TICK_MS)}
    return tuple(item for item in tickets if f"{item.name:016x}" in found)


def share(stands: Standing, count: int, free_for: dict[int, int], keep: Kept) -> Share:
    """Which free slots are a waiter's."""
    ahead = stands.ahead
    if not keep.LEFT_OVER:
        ahead = ()
    if not keep.STRICT:
        ahead = tuple(ticket for ticket in ahead if ticket.count <= len(free_for))
    more = 0.0 if keep.PATIENCE else _LONG
    return queueing.share(ahead, count, {n: ticks * TICK_SECONDS + more for n, ticks in free_for.items()})


def may_be_served(stands: Standing, count: int, max_tokens: int) -> bool:
    """Whether a look at the slots is of use."""
    return stands.may_be_served(count, max_tokens)


def glance(place: int) -> int:
    """After how many ticks a waiter that cannot be served looks at the slots all the same."""
    return round(queueing.glance(place) / TICK_SECONDS)


def arrival(tickets: Iterable[Item], *, before: int, now: int, keep: Kept) -> int:
    """A newcomer's arrival. Ticks are coarse: one that is later by a millisecond has the next."""
    same = [item for item in _seen(tickets) if item.before == before]
    if not same or not keep.ARRIVES_LAST:
        return now
    last = ticket(same[-1])
    return -(-queueing.arrival_after(last, now_ms=now * _TICK_MS) // _TICK_MS)


def lifetime(refresh: int, keep: Kept) -> int:
    """How many ticks a ticket lasts that is refreshed so often."""
    return refresh * (queueing.LIVES if keep.LIVES else 1)
