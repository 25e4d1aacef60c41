"""Surveying: the procedure that reads a whole bucket, for people.

Laws of this room: it only reads, page by page, consistently; what it returns is no snapshot.
"""

from __future__ import annotations

from ddb_lease.errors import StoreUnavailable
from ddb_lease.insisting import insist, require_answered
from ddb_lease.messages import Look, Seen
from ddb_lease.model import BucketStatus, Counter, LeaseInfo, Slot
from ddb_lease.protocol import circulates
from ddb_lease.retry import Procedure
from ddb_lease.scene import Scene

PAGE = 1_000
TRIES = 5


def survey(scene: Scene, *, table: str, seconds: float) -> Procedure[BucketStatus | None]:
    """Read the counter and all slots.

    Args:
        scene: The bucket's surroundings.
        table: Its table's name, for the status.
        seconds: How long to try for each page while the service does not answer.

    Returns:
        The status; None where the bucket does not exist.

    Raises:
        StoreRejected: The service refuses for good.
        StoreUnavailable: A page did not come.
    """
    counter, slots = yield from read_whole(scene, seconds=seconds)
    if counter is None:
        return None
    for _ in range(TRIES):
        if not scene.time.known:
            yield from _page(scene, 0, seconds, counter=True)
    if not scene.time.known:
        raise StoreUnavailable(f"bucket {scene.bucket!r} cannot be read: the answers do not tell the service's time")
    now_lo, now_hi = scene.time.now_ms()
    return describe(counter, slots, bucket=scene.bucket, table=table, now_ms=(now_lo + now_hi) // 2)


def read_whole(
    scene: Scene, *, seconds: float, start: int = 0, whole: bool = True
) -> Procedure[tuple[Counter | None, dict[int, Slot]]]:
    """Read the counter, None where the bucket does not exist, and all slots by number; errors as `survey`.

    From another `start` than 0 on, the slots from there, and no counter; `whole` as in `Look`.
    """
    counter: Counter | None = None
    slots: dict[int, Slot] = {}
    more, with_counter = True, start == 0
    while more:
        seen = yield from _page(scene, start, seconds, counter=with_counter, whole=whole)
        counter = seen.view.counter or counter
        slots.update(seen.view.slots)
        # A page without a slot, full of somebody else's items, is followed by one of the slots alone.
        more = seen.more and (bool(seen.view.covered) or with_counter)
        start, with_counter = seen.view.covered.stop, False
    return counter, slots


def describe(counter: Counter, slots: dict[int, Slot], *, bucket: str, table: str, now_ms: int) -> BucketStatus:
    """A bucket's items as a status at this time of the service's."""
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
    )


def _page(scene: Scene, start: int, seconds: float, *, counter: bool, whole: bool = True) -> Procedure[Seen]:
    look = Look(start=start, limit=PAGE, consistent=True, whole=whole, counter=counter)
    until = scene.time.steady() + seconds
    answer, _ = yield from insist(scene, lambda: look, tries=TRIES, deadline=until)
    seen = require_answered(answer, f"bucket {scene.bucket!r} cannot be read")
    if not isinstance(seen, Seen):
        raise AssertionError(f"no answer to a look: {seen}")  # noqa: TRY004 - no caller's mistake
    return seen
