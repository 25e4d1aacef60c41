"""Listing: the operation that reads a whole table, page by page, for an operator.

Invariants:

- It only reads, eventually consistent, and pauses between pages, so that it takes at most a third of what one
  partition serves (3,000 RCU/s): leases in the same partition must not be throttled because somebody looks.
- What it returns is no snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import starmap
from random import Random
from typing import Any, Final

from ddb_lease._operations.resend import answer_of, require_answered, resend_until_answered
from ddb_lease._operations.status import waiter_of
from ddb_lease._protocol.listing import (
    BucketListing,
    Found,
    ListPage,
    PageIs,
    Position,
    RateKey,
    RateListing,
    TableListing,
)
from ddb_lease._protocol.messages import Pause
from ddb_lease._protocol.queueing import SEEN, counting
from ddb_lease._protocol.rates.records import Policy
from ddb_lease._protocol.rates.shown import shown_limits
from ddb_lease._protocol.rates.standing import standing
from ddb_lease._protocol.rates.validation import NS, SINGLE
from ddb_lease._protocol.records import Counter, Slot
from ddb_lease._protocol.retry import Operation
from ddb_lease._protocol.tickets import Ticket
from ddb_lease._state.rates.rate_time import RateTime
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.errors import StoreUnavailable
from ddb_lease.models import PERMIT_KEY, LeaseInfo

READ_UNITS_A_SECOND: Final = 1_000.0
"""What a listing takes at most, over more than one page."""

PAGE: int | None = None
"""Items of one page at most; None: as many as the service sends."""

TRIES: Final = 5
"""How often one page is asked for, and how often the time, until there is an answer."""


@dataclass(slots=True)
class _Bucket:
    counter: Counter | None = None
    slots: list[Slot] = field(default_factory=list)
    tickets: list[Ticket] = field(default_factory=list)


@dataclass(slots=True)
class _Rate:
    policy: Policy | None = None
    keys: list[RateKey] = field(default_factory=list)


class _Sum:
    """What the pages add up to so far."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}
        self._rates: dict[str, _Rate] = {}
        self.items = self.unreadable = self.pages = 0
        self.read_units: float | None = None

    def add(self, page: PageIs) -> None:
        self.items += page.scanned
        self.unreadable += page.unreadable
        self.pages += 1
        if page.read_units is not None:
            self.read_units = (self.read_units or 0.0) + page.read_units
        for found in page.found:
            self._add(found)

    def _add(self, found: Found) -> None:
        match found.item:
            case Counter():
                self._buckets.setdefault(found.name, _Bucket()).counter = found.item
            case Slot():
                self._buckets.setdefault(found.name, _Bucket()).slots.append(found.item)
            case Ticket():
                self._buckets.setdefault(found.name, _Bucket()).tickets.append(found.item)
            case Policy():
                self._rates.setdefault(found.name, _Rate()).policy = found.item
            case RateKey():
                self._rates.setdefault(found.name, _Rate()).keys.append(found.item)

    def listing(self, table: str, *, now_ms: int, rates_now: int) -> TableListing:
        buckets = [
            replace(_bucket(name, one.counter, one.slots, now_ms), **_queue(one.counter, one.tickets, now_ms))
            for name, one in sorted(self._buckets.items())
            if one.counter is not None  # slots alone are left over from a bucket that was deleted by hand
        ]
        rates = [
            _rate(name, one.policy, one.keys, rates_now)
            for name, one in sorted(self._rates.items())
            if one.policy is not None
        ]
        return TableListing(
            table=table,
            buckets=tuple(buckets),
            rates=tuple(rates),
            items=self.items,
            unreadable=self.unreadable,
            read_units=self.read_units,
            pages=self.pages,
        )


def list_table(
    time: ServiceTime, rates: RateTime, chance: Random, *, table: str, seconds: float
) -> Operation[TableListing]:
    """Read the whole table.

    Args:
        time: The service's time.
        rates: The estimate that rates go by.
        chance: For the jitter of pauses.
        table: Its name.
        seconds: How long to try for each page while the service does not answer.

    Raises:
        StoreRejected: The service refuses for good.
        StoreUnavailable: A page did not come.
    """
    total = _Sum()
    after: Position | None = None
    while True:
        page = yield from _page(time, chance, table=table, seconds=seconds, after=after, limit=PAGE)
        total.add(page)
        after = page.after
        if after is None:
            break
        if page.read_units:
            yield Pause(seconds=page.read_units / READ_UNITS_A_SECOND)
    for _ in range(TRIES):
        if not time.known:
            yield from _page(time, chance, table=table, seconds=seconds, after=None, limit=1)
    if not time.known:
        raise StoreUnavailable(f"table {table!r} cannot be read: the answers do not tell the service's time")
    now_lo, now_hi = time.now_ms()
    rates_now = rates.now_ns() or now_hi * (NS // 1000)
    return total.listing(table, now_ms=(now_lo + now_hi) // 2, rates_now=rates_now)


def _page(
    time: ServiceTime, chance: Random, *, table: str, seconds: float, after: Position | None, limit: int | None
) -> Operation[PageIs]:
    request = ListPage(after=after, limit=limit)
    until = time.steady() + seconds
    answer, _ = yield from resend_until_answered(time, chance, lambda: request, tries=TRIES, deadline=until)
    return answer_of(PageIs, require_answered(answer, f"table {table!r} cannot be read"))


def _bucket(name: str, counter: Counter, slots: Sequence[Slot], now_ms: int) -> BucketListing:
    permits = any(slot.lease is not None and PERMIT_KEY in slot.lease.data for slot in slots)
    return BucketListing(
        name=name,
        kind="window" if permits else "bucket",
        max_tokens=counter.max_tokens,
        lease_seconds=counter.lease_ms / 1000,
        order=counter.order,
        leases=tuple(
            LeaseInfo(
                lease_id=slot.lease.lease_id,
                slot=slot.number,
                fence=slot.fence,
                owner=slot.lease.owner,
                data={},
                age_seconds=max(0.0, (now_ms - slot.lease.acquired_at) / 1000),
                remaining_seconds=(slot.lease.expires_at - now_ms) / 1000,
                revoked=slot.lease.revoked,
                retired=slot.retired,
            )
            for slot in sorted(slots, key=lambda slot: slot.number)
            if slot.lease is not None
        ),
    )


def _queue(counter: Counter, tickets: Sequence[Ticket], now_ms: int) -> dict[str, Any]:
    if counter.order == "any":
        return {}  # left over from when it had an order
    waiting = counting(tickets, now_ms=now_ms, max_tokens=counter.max_tokens)
    waiting.sort(key=lambda ticket: ticket.place)
    return {"queue": tuple(starmap(waiter_of, enumerate(waiting[:SEEN], start=1))), "waiting": len(waiting)}


def _rate(name: str, policy: Policy, keys: Sequence[RateKey], now: int) -> RateListing:
    own = next((one.state for one in keys if not one.key), None)
    named = sum(bool(one.key) for one in keys)
    available, wait = None, 0.0
    if policy.limits.keys() == {SINGLE} and not named:
        stands = standing(policy, own, now=now).limits[SINGLE]
        available, wait = stands.remaining, stands.retry_after / NS
    return RateListing(
        name=name,
        limits=shown_limits(policy.limits),
        available=available,
        wait_seconds=wait,
        keys=named,
        blocked=sum(one.state.blocked_until > now for one in keys),
    )
