"""Sending a request again while its answer is lost, or while what keeps it from being done may pass.

Invariants:

- This is for requests that may be sent again after such an answer: reads, and writes whose condition fails, or that
  change nothing, once they have happened.
- While the service says that a transaction is still under way, the same request, with the same token, is sent again
  until the service must have recovered it, as far as the deadline allows. A new token would conflict with it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from random import Random
from typing import Any, Final, TypeAlias, TypeVar

from ddb_lease._protocol.hits import HitsAnswer, HitsListed, HitsRead, HitsRefused, HitsWritten
from ddb_lease._protocol.listing import PageIs
from ddb_lease._protocol.messages import (
    Answer,
    Conflict,
    Done,
    Each,
    Refused,
    Rejected,
    Request,
    Seen,
    Shown,
    ThrottledAnswer,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.outcomes import reason_text
from ddb_lease._protocol.rates.messages import (
    KeyIs,
    KeyRefused,
    KeysAre,
    KeyWritten,
    PolicyIs,
    PolicyRefused,
    RateAnswer,
    TogetherRefused,
)
from ddb_lease._protocol.retry import RECOVERY_SECONDS, Operation, resending
from ddb_lease._protocol.tickets import QueueSeen
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.errors import StoreUnavailable

Answered: TypeAlias = Done | Each | Seen | Shown | QueueSeen | PageIs | Refused | RateAnswer | HitsAnswer

Kind = TypeVar("Kind", bound=Answered)

UNKNOWN: Final = (Unknown,)
"""Answers that leave open whether a write has happened."""

UNANSWERED: Final = (Unknown, Unsent, Conflict, ThrottledAnswer)
"""Answers that settle nothing: a later sending may be answered."""


def send_until(
    request: Request,
    *,
    anew: Callable[[], Request] | None = None,
    again: tuple[type[Answer], ...],
    time: ServiceTime,
    chance: Random,
    tries: int,
    deadline: float,
) -> Operation[tuple[Answer, bool]]:
    """Send a request, and again after such answers, with pauses between.

    Args:
        request: What to send.
        anew: Makes the request of each later sending; None to send the same again.
        again: After which answers it is sent again: `UNKNOWN` or `UNANSWERED`. Once it is in progress: `UNANSWERED`.
        time: Whose steady clock the deadline is on.
        chance: For the jitter of the pauses.
        tries: How often it is sent at most; more often only while it is in progress.
        deadline: Until when.

    Returns:
        The last answer, and whether any sending may have worked without our knowing.
    """
    answer: Any = yield request
    uncertain = isinstance(answer, Unknown)
    if isinstance(answer, again):
        recovered_at: float | None = None

        def undecided(answer: Answer) -> bool:
            nonlocal recovered_at
            if recovered_at is None and isinstance(answer, Unknown) and answer.in_progress:
                recovered_at = time.steady() + RECOVERY_SECONDS
            return isinstance(answer, again if recovered_at is None else UNANSWERED)

        def once() -> Generator[Request, Answer, Answer]:
            nonlocal uncertain
            answer = yield request if anew is None else anew()
            uncertain = uncertain or isinstance(answer, Unknown)
            return answer

        policy = resending(
            again=undecided,
            steady=time.steady,
            deadline=deadline,
            chance=chance,
            tries=tries,
            beyond=lambda: recovered_at is not None and time.steady() < recovered_at,
        )
        answer = yield from policy.after(answer, once)
    return answer, uncertain


def resend_until_answered(
    time: ServiceTime, chance: Random, make: Callable[[], Request], *, tries: int, deadline: float
) -> Operation[tuple[Answer, bool]]:
    """Send a request until it is answered for good: `send_until` with `UNANSWERED`, made anew for each sending."""
    return send_until(make(), anew=make, again=UNANSWERED, time=time, chance=chance, tries=tries, deadline=deadline)


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
        case Done() | Each() | Seen() | Shown() | QueueSeen() | PageIs() | Refused():
            return answer
        case KeyWritten() | KeyRefused() | TogetherRefused() | KeyIs() | KeysAre() | PolicyIs() | PolicyRefused():
            return answer
        case HitsWritten() | HitsRefused() | HitsRead() | HitsListed():
            return answer
        case Rejected():
            raise answer.error
        case Unknown() | Unsent() | Conflict() | ThrottledAnswer():
            raise StoreUnavailable(f"{failing}: {reason_text(answer.cause)}") from answer.cause


def answer_of(kind: type[Kind], answered: Answered) -> Kind:
    """The answer to a request that one kind only answers."""
    if not isinstance(answered, kind):
        raise TypeError(f"{kind.__name__} was asked for, and {type(answered).__name__} answered")
    return answered
