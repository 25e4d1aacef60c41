"""Sending a request again while its answer is lost, or while what keeps it from being done may pass.

Invariants: this is for requests that may be sent again after such an answer: reads, and writes whose condition fails,
or that change nothing, once they have happened.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, TypeAlias, TypeVar

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
from ddb_lease._protocol.retry import Operation, RetryPolicy, resending
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.errors import StoreUnavailable

Result = TypeVar("Result")

Answered: TypeAlias = Done | Each | Seen | Shown | Refused | Charged | Uncharged | Metered

UNKNOWN: Final = (Unknown,)
"""Answers that leave open whether a write has happened."""

UNANSWERED: Final = (Unknown, Unsent, Conflict, ThrottledAnswer)
"""Answers that settle nothing: a later sending may be answered."""


def send_until(
    make: Callable[[], Request],
    *,
    again: tuple[type[Answer], ...],
    time: ServiceTime,
    chance: Random,
    tries: int,
    deadline: float,
) -> Operation[tuple[Answer, bool]]:
    """Send a request, and again after such answers, with pauses between.

    Args:
        make: Makes the request, anew for each sending.
        again: After which answers it is sent again: `UNKNOWN` or `UNANSWERED`.
        time: Whose steady clock the deadline is on.
        chance: For the jitter of the pauses.
        tries: How often it is sent at most.
        deadline: Until when.

    Returns:
        The last answer, and whether any sending may have worked without our knowing.
    """
    answer: Any = yield make()
    uncertain = isinstance(answer, Unknown)
    if isinstance(answer, again):

        def once() -> Operation[Answer]:
            nonlocal uncertain
            answer: Any = yield make()
            uncertain = uncertain or isinstance(answer, Unknown)
            return answer

        policy = resending(
            again=lambda answer: isinstance(answer, again),
            steady=time.steady,
            deadline=deadline,
            chance=chance,
            tries=tries,
        )
        answer = yield from go_on(policy, answer, once)
    return answer, uncertain


def go_on(policy: RetryPolicy, first: Result, once: Callable[[], Operation[Result]]) -> Operation[Result]:
    """Go on by a policy after a first try, which brought `first`: most operations need no second, and no policy.

    Args:
        policy: Whether there is another try, and when.
        first: What the first try brought.
        once: Makes another try.

    Returns:
        What the last try brought.
    """
    done = [first]

    def next_try() -> Operation[Result]:
        return done.pop() if done else (yield from once())

    result: Result = yield from policy(next_try)
    return result


def resend_until_answered(
    state: BucketState, make: Callable[[], Request], *, tries: int, deadline: float
) -> Operation[tuple[Answer, bool]]:
    """`send_until` for a request that is sent again after all of `UNANSWERED`."""
    return send_until(make, again=UNANSWERED, time=state.time, chance=state.chance, tries=tries, deadline=deadline)


def require_answered(answer: Answer, failing: str) -> Answered:
    """The answer, if it is one.

    Args:
        answer: The last one that `send_until` got.
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
