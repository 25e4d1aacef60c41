"""Adopting a lease that was handed over: an acquire that both APIs drive as any other, but that joins no queue.

Invariants: as for other acquires: what may be leased is noted before the request is sent, and the API that drives it
calls `abandon` if anything interrupts it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ddb_lease._operations.adopt import ADOPT_SECONDS, adopt
from ddb_lease._operations.slot_writes import SlotWrites
from ddb_lease._protocol.offers import read_token
from ddb_lease._runtime.bucket_arguments import checked_data
from ddb_lease._runtime.bucket_core import BucketCore, PendingAcquire
from ddb_lease._runtime.instrumentation import AcquireObserver, ignore
from ddb_lease._state.waiters import Waiter
from ddb_lease.errors import StoreUnavailable
from ddb_lease.models import Data

Kept = TypeVar("Kept")


def begin_adopt(core: BucketCore, token: object, data: Data | None, *, wake: Callable[[], None]) -> PendingAcquire:
    """An adoption to drive. Nothing has been sent yet.

    Args:
        core: The bucket.
        token: What the giver passed on.
        data: What to attach to the lease.
        wake: Ends the driver's pause, from any thread.

    Raises:
        ConfigurationError: The token is none of this bucket's, or the bucket is closed.
    """
    core.block.use()
    if core.state.closed:
        raise core.state.closed_error()
    offer = read_token(token, bucket=core.name)
    began = core.state.time.steady()
    data = checked_data(data, len(offer.slots))
    writes = SlotWrites(core.state, owner=core.owner, data=data, deadline=began + ADOPT_SECONDS)
    observer = None if core.reporter is None else AcquireObserver(core.reporter, now=began)
    return PendingAcquire(
        operation=adopt(writes, offer),
        waiter=Waiter(wake, len(offer.slots)),
        began=began,
        observer=observer,
        observe=ignore if observer is None else observer.observe,
        open_grants=writes.open_grants,
        unanswered=writes.unanswered,
    )


def kept(lease: Kept | PendingAcquire) -> Kept:
    """The lease that an adoption brought: it brings one, or raises."""
    if isinstance(lease, PendingAcquire):
        raise brought_nothing()
    return lease


def brought_nothing() -> StoreUnavailable:
    """The error for what cannot be: an adoption that ends brings a lease, or has raised."""
    return StoreUnavailable("an adoption has brought no lease (a bug)")
