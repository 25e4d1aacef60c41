"""Synchronising the time: the operation that learns the service's time where the last answers do not tell it well.

Invariants:

- It asks with the cheapest read there is, and only where something is about to be written, or believed, by the time.
- It asks a few times at most, and more often only while answers come. The caller decides what to do if that did not
  help.
- A failure to ask is returned, never swallowed: it is why the time is not known. A refusal ends the asking: the next
  look would be refused, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from ddb_lease._protocol.messages import (
    Answer,
    Conflict,
    Look,
    Pause,
    Rejected,
    Seen,
    ThrottledAnswer,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.outcomes import Busy, Unavailable, failure_of
from ddb_lease._protocol.retry import FIRST_CONTACT_SECONDS, Operation
from ddb_lease._state.offset import AGREEING, WINDOW
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.errors import StoreUnavailable

TIME_UNKNOWN = StoreUnavailable("the service's answers do not tell its time")
"""What stands against a write that needs to know it."""

_FAILURES: Final = (Unsent, Unknown, Rejected, Conflict, ThrottledAnswer)


def ask_while(
    wanting: Callable[[], bool],
    time: ServiceTime,
    *,
    times: int = AGREEING,
    until: float = math.inf,
    pause: float = 0.0,
) -> Operation[Answer | None]:
    """Look, for the sake of the answers' dates, while something is wanting.

    Args:
        wanting: Whether to ask (again), such as ``lambda: time.unsettled``.
        time: What learns from the answers.
        times: How often at most.
        until: When to stop asking, on the steady clock.
        pause: Seconds between one answer and the next question.

    Returns:
        The last look's answer if it was a failure; else None.

    Cost: half an RCU for each look.
    """
    answers = yield from _ask(wanting, time, times=times, until=until, pause=pause)
    return _last_failure(answers)


def ask_patiently(
    wanting: Callable[[], bool], time: ServiceTime, *, until: float = math.inf
) -> Operation[Answer | None]:
    """Look while something is wanting, as often as two wrong answers can make necessary; less often if none comes.

    Returns:
        The last look's answer if it was a failure; else None.
    """
    answers = yield from _ask(wanting, time, times=AGREEING, until=until)
    # A list: an interrupt that strikes as a generator is thrown away is lost.
    if not _is_refused(answers) and [answer for answer in answers if isinstance(answer, Seen)]:
        answers += yield from _ask(wanting, time, times=WINDOW - AGREEING, until=until)
    return _last_failure(answers)


def settle(time: ServiceTime, *, until: float = math.inf) -> Operation[Answer | None]:
    """Ask while answers contradict one another, or the strict bounds are wide after idling.

    With bounds as wide as that, an expiry written now would lie far ahead.
    """
    return ask_patiently(lambda: time.unsettled_strictly, time, until=until)


def confirm(time: ServiceTime, *, until: float = math.inf) -> Operation[Answer | None]:
    """Ask until more than one answer stands for the time, and none against it.

    Args:
        time: What learns from the answers.
        until: When to stop asking, on the steady clock.

    Returns:
        The failure that ended it, if one did.
    """
    return ask_patiently(lambda: not time.confirmed or time.unsettled, time, until=until)


def make_certain(time: ServiceTime) -> Operation[Answer | None]:
    """Ask until three answers agree, and none of the latest contradicts them; returns as `confirm` does."""
    return ask_patiently(lambda: not time.certain or time.unsettled, time)


def _ask(
    wanting: Callable[[], bool], time: ServiceTime, *, times: int, until: float, pause: float = 0.0
) -> Operation[list[Answer | None]]:
    """The answers to the looks that were sent."""
    answers: list[Answer | None] = []
    while len(answers) < times and wanting() and time.steady() < until:
        answer = yield Look(limit=1, consistent=False)
        answers.append(answer)
        if _is_refused(answers):
            break
        if _last_failure(answers) is not None and not time.known:
            break  # nothing has ever come from the service: the caller retries after a pause, or raises
        if pause:
            yield Pause(seconds=pause, wakeable=False)
    return answers


def _last_failure(answers: list[Answer | None]) -> Answer | None:
    return answers[-1] if answers and isinstance(answers[-1], _FAILURES) else None


def _is_refused(answers: list[Answer | None]) -> bool:
    """Whether the last look was refused for good."""
    return bool(answers) and isinstance(answers[-1], Rejected)


def without_time(failed: Answer | None) -> Busy | Unavailable:
    """Why nothing can be written: the service could not be asked for its time, or does not tell it.

    Args:
        failed: What `confirm` or `ask_while` returned.

    Raises:
        StoreRejected: The service refuses for good.
    """
    return Unavailable(cause=TIME_UNKNOWN) if failed is None else failure_of(failed)


def never_reached(time: ServiceTime, *, since: float) -> Callable[[object], bool]:
    """When to give up: for a retry policy's `give_up`.

    An outage is waited out. An endpoint that has never answered is more likely a wrong one, and what this process
    raises itself does not pass by waiting.

    Args:
        time: Known once the service has answered.
        since: When the operation began, on the steady clock.
    """

    def give_up(outcome: object) -> bool:
        if not isinstance(outcome, Unavailable):
            return False
        silent = time.steady() - since >= FIRST_CONTACT_SECONDS
        return outcome.raised_here or (silent and not time.known)

    return give_up
