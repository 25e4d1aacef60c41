"""Resending: one request, sent again until it is answered for good.

Invariants: it is for requests that may be sent again after any answer: reads, and writes that fail their condition, or
change nothing, once they have happened.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from random import Random
from typing import TypeAlias

from ddb_lease._protocol.messages import (
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
    ThrottledAnswer,
    Uncharged,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.retry import Operation, resending
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.errors import StoreUnavailable

Answered: TypeAlias = Done | Each | Seen | Shown | Refused | Charged | Uncharged | Metered


def resend_until_answered(
    time: ServiceTime, chance: Random, make: Callable[[], Request], *, tries: int, deadline: float
) -> Operation[tuple[Answer, bool]]:
    """Send a request until it is answered for good.

    Args:
        time: Has the steady clock.
        chance: For the jitter.
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
        again=lambda answer: isinstance(answer, (Unknown, Unsent, Conflict, ThrottledAnswer)),
        steady=time.steady,
        deadline=deadline,
        chance=chance,
        tries=tries,
    )
    answer: Answer = yield from policy(once)
    return answer, bool(uncertain)


def require_answered(answer: Answer, failing: str) -> Answered:
    """The answer, if it is one.

    Args:
        answer: The last one that `resend_until_answered` got.
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
        case Unknown() | Unsent() | Conflict() | ThrottledAnswer():
            raise StoreUnavailable(f"{failing}: {answer.cause}") from answer.cause
