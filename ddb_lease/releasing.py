"""Releasing: the procedure that ends a lease by its id, for its holder, a stranger, or an interrupted acquire.

Laws of this room:

- The one condition is the lease id, so a release can be sent late, twice, or by anyone, and ends no other lease.
- Of several slots taken together each is released by a request of its own: one that fails leaves no other held.
"""

from __future__ import annotations

from collections.abc import Sequence

from ddb_lease.insisting import insist, require_answered
from ddb_lease.messages import Answer, Done, Refused, Release
from ddb_lease.protocol import released
from ddb_lease.retry import Procedure
from ddb_lease.scene import Scene
from ddb_lease.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What became of one slot's release: its last answer, and whether an earlier sending of it may have worked."""

    slot: int
    answer: Answer
    uncertain: bool

    @property
    def known(self) -> bool:
        """Whether the slot is surely not ours any more."""
        return isinstance(self.answer, (Done, Refused))


def send_release(
    scene: Scene, *, slots: Sequence[int], lease_id: str, fence: int | None, tries: int, deadline: float | None = None
) -> Procedure[list[Ending]]:
    """Release a lease by its id, again while it fails.

    Where a slot's release has failed and the time is over, those after it are not tried any more.

    Args:
        scene: The bucket's surroundings.
        slots: All that the lease is on.
        lease_id: Which lease.
        fence: The lease's own, where known.
        tries: How often each request is sent at most.
        deadline: Until when, on the steady clock; None for no end.
    """
    until = float("inf") if deadline is None else deadline
    endings: list[Ending] = []
    for slot in slots:
        ending = yield from _release_one(scene, slot, lease_id, fence, tries=tries, deadline=until)
        endings.append(ending)
        if not ending.known and scene.time.steady() >= until:
            break
    return endings


def _release_one(
    scene: Scene, slot: int, lease_id: str, fence: int | None, *, tries: int, deadline: float
) -> Procedure[Ending]:
    def request() -> Release:
        # Without the fence, the item keeps the TTL that its lease gave it: see `protocol.ttl_for`.
        known = scene.time.known and fence is not None
        ttl = scene.ttl(scene.time.now_ms()[1], fence=fence or 0) if known else None
        return Release(slot=slot, lease_id=lease_id, ttl=ttl)

    answer, uncertain = yield from insist(scene, request, tries=tries, deadline=deadline)
    return Ending(slot=slot, answer=answer, uncertain=uncertain)


def ended_slots(endings: Sequence[Ending], *, fence: int | None) -> list[int]:
    """The slots that a release ended the lease on, as far as is known."""
    return [
        ending.slot
        for ending in endings
        if isinstance(ending.answer, (Done, Refused))
        and released(ending.answer, fence=fence, uncertain=ending.uncertain)
    ]


def require_answers(endings: Sequence[Ending], *, lease_id: str) -> None:
    """Make sure that every slot's release was answered.

    Raises:
        StoreUnavailable: Nobody knows.
        StoreRejected: The service refuses for good.
    """
    for ending in endings:
        require_answered(ending.answer, f"lease {lease_id} could not be released")
