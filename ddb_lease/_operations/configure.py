"""Configuring: the operation that changes in which order a bucket's waiters are served.

Invariants:

- The order is a hint to waiters: no safety depends on it, and a client that has not seen it yet only claims out of
  order.
- It is written only while the counter is as seen. Setting what is set already writes nothing, so a lost answer does no
  harm: the next read shows whether it was carried out.
"""

from __future__ import annotations

from ddb_lease._operations.resend import Answered, answer_of, require_answered, resend_until_answered
from ddb_lease._operations.resize import LOSSES, STEP_SECONDS, TRIES
from ddb_lease._protocol.messages import Done, Look, Pause, Request, Seen, SetOrder
from ddb_lease._protocol.retry import CONTENDED_SECONDS, Operation, full_jitter
from ddb_lease._state.bucket_state import BucketState
from ddb_lease.errors import StoreUnavailable, UnknownBucket
from ddb_lease.models import Configured, Order


def configure(state: BucketState, *, order: Order) -> Operation[Configured]:
    """Change the order.

    Args:
        state: The bucket's state.
        order: What it is to be.

    Returns:
        What was done.

    Raises:
        UnknownBucket: It does not exist.
        StoreUnavailable: The service does not answer, or other clients keep changing the counter. The bucket has its
            old order or the new one.
        StoreRejected: The service refuses for good; as above.
    """
    before: Order | None = None
    for tries in range(1, LOSSES + 1):
        seen = yield from _send(state, Look(limit=1, consistent=True))
        counter = answer_of(Seen, seen).view.counter
        if counter is None:
            raise UnknownBucket(f"bucket {state.bucket!r} does not exist; the first acquire creates it")
        before = before or counter.order
        if counter.order == order:
            return Configured(before=before, after=order)
        if isinstance((yield from _send(state, SetOrder(rev=counter.rev, order=order))), Done):
            return Configured(before=before, after=order)
        yield Pause(seconds=full_jitter(CONTENDED_SECONDS, tries, state.chance))
    raise StoreUnavailable(f"bucket {state.bucket!r}: other clients keep changing its counter")


def _send(state: BucketState, request: Request) -> Operation[Answered]:
    until = state.time.steady() + STEP_SECONDS
    answer, _ = yield from resend_until_answered(state.time, state.chance, lambda: request, tries=TRIES, deadline=until)
    return require_answered(answer, f"bucket {state.bucket!r}")
