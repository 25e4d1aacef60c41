"""Releasing: the procedure that ends a lease by its id, for its holder, a stranger, or an interrupted acquire.

Laws of this room: the one condition is the lease id, so a release can be sent late, twice, or by anyone, and ends no
other lease.
"""

from __future__ import annotations

from collections.abc import Generator

from ddb_lease.errors import StoreUnavailable
from ddb_lease.messages import Answer, Conflict, Done, Refused, Rejected, Release, Throttled, Unknown, Unsent
from ddb_lease.protocol import released
from ddb_lease.retry import Procedure, resending
from ddb_lease.scene import Scene


def send_release(
    scene: Scene, *, slot: int, lease_id: str, fence: int | None, tries: int, deadline: float | None = None
) -> Procedure[tuple[Answer, bool]]:
    """Release a lease by its id, again while it fails.

    Returns:
        The last answer, and whether an earlier sending may have worked.
    """
    uncertain: list[bool] = []

    def once() -> Generator[Release, Answer, Answer]:
        # Without the fence, the item keeps the TTL that its lease gave it: see `protocol.ttl_for`.
        known = scene.time.known and fence is not None
        ttl = scene.ttl(scene.time.now_ms()[1], fence=fence or 0) if known else None
        answer = yield Release(slot=slot, lease_id=lease_id, ttl=ttl)
        if isinstance(answer, Unknown):
            uncertain.append(True)
        return answer

    policy = resending(
        again=lambda answer: isinstance(answer, (Unknown, Unsent, Conflict, Throttled)),
        steady=scene.time.steady,
        deadline=float("inf") if deadline is None else deadline,
        chance=scene.chance,
        tries=tries,
    )
    answer: Answer = yield from policy(once)
    return answer, bool(uncertain)


def read_release(answer: Answer, *, lease_id: str, fence: int | None, uncertain: bool) -> bool:
    """Whether a release ended the lease.

    Raises:
        StoreUnavailable: Nobody knows.
        StoreRejected: The service refuses for good.
    """
    match answer:
        case Done() | Refused():
            return released(answer, fence=fence, uncertain=uncertain)
        case Rejected():
            raise answer.error
        case Unknown() | Unsent() | Conflict() | Throttled():
            raise StoreUnavailable(f"lease {lease_id} could not be released: {answer.cause}") from answer.cause
        case _:
            raise AssertionError(f"no answer to a release: {answer}")
