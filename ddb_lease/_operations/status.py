"""Status: the operation that reads a whole bucket, for people.

Invariants: it only reads, page by page, strongly consistent. What it returns is no snapshot.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from itertools import starmap

from ddb_lease._operations.resend import answer_of, require_answered, resend_until_answered
from ddb_lease._protocol.decisions import circulates
from ddb_lease._protocol.messages import Look, Seen
from ddb_lease._protocol.queueing import SEEN, counting
from ddb_lease._protocol.records import Counter, Slot
from ddb_lease._protocol.retry import Operation
from ddb_lease._protocol.tickets import LookAtQueue, QueueSeen, Ticket
from ddb_lease._state.bucket_state import BucketState
from ddb_lease.errors import StoreUnavailable
from ddb_lease.models import BucketStatus, LeaseInfo, Waiter

PAGE = 1_000
"""Slots, or tickets, in one page at most. DynamoDB ends one at 1 MB: some thousands of slots without data."""

TRIES = 5
"""How often one page is asked for, and how often the time, until there is an answer."""


def read_status(state: BucketState, *, table: str, seconds: float) -> Operation[BucketStatus | None]:
    """Read the counter and all slots.

    Args:
        state: The bucket's state.
        table: Its table's name, for the status.
        seconds: How long to try for each page while the service does not answer.

    Returns:
        The status; None where the bucket does not exist.

    Raises:
        StoreRejected: The service refuses for good.
        StoreUnavailable: A page did not come.
    """
    counter, slots = yield from read_whole(state, seconds=seconds)
    if counter is None:
        return None
    for _ in range(TRIES):
        if not state.time.known:
            yield from _page(state, 0, seconds, counter=True)
    if not state.time.known:
        raise StoreUnavailable(f"{state.called} cannot be read: the answers do not tell the service's time")
    now_lo, now_hi = state.time.now_ms()
    status = describe(counter, slots, bucket=state.bucket, table=table, now_ms=(now_lo + now_hi) // 2)
    if counter.order == "any":
        return status
    waiting = yield from _waiting(state, seconds=seconds, now_ms=now_lo, max_tokens=counter.max_tokens)
    return replace(status, queue=tuple(starmap(waiter_of, enumerate(waiting[:SEEN], start=1))), waiting=len(waiting))


def _waiting(state: BucketState, *, seconds: float, now_ms: int, max_tokens: int) -> Operation[list[Ticket]]:
    """The waiters whose tickets count, by place."""
    tickets: list[Ticket] = []
    after: str | None = None
    while True:
        seen = yield from _tickets(state, LookAtQueue(limit=PAGE, consistent=False, after=after), seconds)
        tickets += seen.tickets
        after = seen.end if seen.more else None
        if after is None:
            return counting(tickets, now_ms=now_ms, max_tokens=max_tokens)


def _tickets(state: BucketState, look: LookAtQueue, seconds: float) -> Operation[QueueSeen]:
    until = state.time.steady() + seconds
    answer, _ = yield from resend_until_answered(state.time, state.chance, lambda: look, tries=TRIES, deadline=until)
    return answer_of(QueueSeen, require_answered(answer, f"the queue of {state.called} cannot be read"))


def waiter_of(place: int, ticket: Ticket) -> Waiter:
    """A ticket for people."""
    return Waiter(
        place=place,
        owner=ticket.owner,
        since=datetime.fromtimestamp(ticket.arrival / 1000, tz=timezone.utc),
        count=ticket.count,
        priority=ticket.priority,
    )


def read_whole(
    state: BucketState, *, seconds: float, start: int = 0, whole: bool = True
) -> Operation[tuple[Counter | None, dict[int, Slot]]]:
    """Read the counter, None where the bucket does not exist, and all slots by number; errors as `read_status`.

    With another `start` than 0, it reads the slots from there on, and no counter. `whole` as in `Look`.
    """
    counter: Counter | None = None
    slots: dict[int, Slot] = {}
    more, with_counter = True, start == 0
    while more:
        seen = yield from _page(state, start, seconds, counter=with_counter, whole=whole)
        counter = seen.view.counter or counter
        slots.update(seen.view.slots)
        # A first page that is full of somebody else's items, and shows no slot, is followed by one of slots alone.
        more = seen.more and (bool(seen.view.covered) or with_counter)
        start, with_counter = seen.view.covered.stop, False
    return counter, slots


def read_counter(state: BucketState, *, seconds: float) -> Operation[Counter | None]:
    """Read the counter, None where the bucket does not exist: one Query of two items; errors as `read_status`.

    While the service does not answer, it asks for as long as `seconds`, as an acquire does, however many tries that is.
    """
    tries = TRIES + round(100 * seconds)  # pauses grow; the deadline ends it
    seen = yield from _page(state, 0, seconds, counter=True, whole=False, limit=1, tries=tries)
    return seen.view.counter


def describe(counter: Counter, slots: dict[int, Slot], *, bucket: str, table: str, now_ms: int) -> BucketStatus:
    """The status that a bucket's items show at this time of the service."""
    return BucketStatus(
        name=bucket,
        table=table,
        max_tokens=counter.max_tokens,
        lease_seconds=counter.lease_ms / 1000,
        minted=counter.minted,
        in_circulation=sum(map(circulates, slots.values())),
        leases=tuple(
            LeaseInfo(
                lease_id=slot.lease.lease_id,
                slot=number,
                fence=slot.fence,
                owner=slot.lease.owner,
                data=slot.lease.data,
                age_seconds=max(0.0, (now_ms - slot.lease.acquired_at) / 1000),
                remaining_seconds=(slot.lease.expires_at - now_ms) / 1000,
                revoked=slot.lease.revoked,
                retired=slot.retired,
            )
            for number, slot in sorted(slots.items())
            if slot.lease is not None
        ),
        order=counter.order,
    )


def _page(
    state: BucketState,
    start: int,
    seconds: float,
    *,
    counter: bool,
    whole: bool = True,
    limit: int | None = None,
    tries: int = TRIES,
) -> Operation[Seen]:
    look = Look(start=start, limit=limit or PAGE, consistent=True, whole=whole, counter=counter)
    until = state.time.steady() + seconds
    answer, _ = yield from resend_until_answered(state.time, state.chance, lambda: look, tries=tries, deadline=until)
    return answer_of(Seen, require_answered(answer, f"{state.called} cannot be read"))
