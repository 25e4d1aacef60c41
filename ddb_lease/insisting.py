"""Insisting: one request, sent again while what keeps it from being done may pass.

Laws of this room: it is for requests that may be sent again after any answer: reads, and writes whose condition fails,
or changes nothing, once they have happened.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeAlias

from ddb_lease.errors import StoreUnavailable
from ddb_lease.messages import (
    Answer,
    Charged,
    Conflict,
    Done,
    Each,
    Metered,
    Refused,
    Rejected,
    Request,
    Seen,
    Shown,
    Throttled,
    Uncharged,
    Unknown,
    Unsent,
)
from ddb_lease.retry import Procedure, resending
from ddb_lease.scene import Scene

Answered: TypeAlias = Done | Each | Seen | Shown | Refused | Charged | Uncharged | Metered


def insist(scene: Scene, make: Callable[[], Request], *, tries: int, deadline: float) -> Procedure[tuple[Answer, bool]]:
    """Send a request until it is answered for good.

    Args:
        scene: The bucket's surroundings.
        make: Makes the request, anew for each sending.
        tries: How often it is sent at most.
        deadline: Until when, on the steady clock.

    Returns:
        The last answer, and whether any sending may have worked without our knowing.
    """
    uncertain: list[bool] = []

    def once() -> Generator[Request, Answer, Answer]:
        answer = yield make()
        if isinstance(answer, Unknown):
            uncertain.append(True)
        return answer

    policy = resending(
        again=lambda answer: isinstance(answer, (Unknown, Unsent, Conflict, Throttled)),
        steady=scene.time.steady,
        deadline=deadline,
        chance=scene.chance,
        tries=tries,
    )
    answer: Answer = yield from policy(once)
    return answer, bool(uncertain)


def require_answered(answer: Answer, failing: str) -> Answered:
    """The answer, if it is one.

    Args:
        answer: The last one that `insist` got.
        failing: What did not come about, to begin the error's message with.

    Raises:
        StoreUnavailable: There was none; may be repeated.
        StoreRejected: The service refuses for good.
    """
    match answer:
        case Done() | Each() | Seen() | Shown() | Refused() | Charged() | Uncharged() | Metered():
            return answer
        case Rejected():
            raise answer.error
        case Unknown() | Unsent() | Conflict() | Throttled():
            raise StoreUnavailable(f"{failing}: {answer.cause}") from answer.cause
