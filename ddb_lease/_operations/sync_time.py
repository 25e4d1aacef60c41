"""Synchronising the time: the operation that learns the service's time where the last answers do not tell it well.

Invariants:

- It asks with the cheapest read there is, and only where something is about to be written, or believed, by the time.
- It asks a few times at most, and more often only while answers come. The caller decides what to do if that did not
  help.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ddb_lease._protocol.messages import Look, Pause, Seen
from ddb_lease._protocol.outcomes import Unavailable
from ddb_lease._protocol.retry import FIRST_CONTACT_SECONDS, Operation
from ddb_lease._state.offset import AGREEING, WINDOW
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.errors import StoreUnavailable

TIME_UNKNOWN = StoreUnavailable("the service's answers do not tell its time")
"""What stands against a write that needs to know it."""


def ask_while(
    wanting: Callable[[], bool],
    time: ServiceTime,
    *,
    times: int = AGREEING,
    until: float = math.inf,
    pause: float = 0.0,
) -> Operation[int]:
    """Look, for the sake of the answers' dates, while something is wanting.

    Args:
        wanting: Whether to ask (again), such as ``lambda: time.unsettled``.
        time: What learns from the answers.
        times: How often at most.
        until: When to stop asking, on the steady clock.
        pause: Seconds between one answer and the next question.

    Returns:
        How many looks were answered.

    Cost: half an RCU for each look.
    """
    answered = 0
    for _ in range(times):
        if not wanting() or time.steady() >= until:
            break
        answer = yield Look(limit=1, consistent=False)
        answered += isinstance(answer, Seen)
        if pause:
            yield Pause(seconds=pause, wakeable=False)
    return answered


def ask_patiently(wanting: Callable[[], bool], time: ServiceTime, *, until: float = math.inf) -> Operation[None]:
    """Look while something is wanting, as often as two wrong answers can make necessary; less often if none comes."""
    answered = yield from ask_while(wanting, time, until=until)
    if answered:
        yield from ask_while(wanting, time, times=WINDOW - AGREEING, until=until)


def settle(time: ServiceTime, *, until: float = math.inf) -> Operation[None]:
    """Ask while answers contradict one another, or the strict bounds are wide after idling.

    With bounds as wide as that, an expiry written now would lie far ahead.
    """
    return ask_patiently(lambda: time.unsettled_strictly, time, until=until)


def confirm(time: ServiceTime) -> Operation[None]:
    """Ask until more than one answer stands for the time, and none against it."""
    return ask_patiently(lambda: not time.confirmed or time.unsettled, time)


def make_certain(time: ServiceTime) -> Operation[None]:
    """Ask until three answers agree, and none of the latest contradicts them."""
    return ask_patiently(lambda: not time.certain or time.unsettled, time)


def never_reached(time: ServiceTime, *, since: float) -> Callable[[object], bool]:
    """When to give up on a service that has never answered: for a retry policy's `give_up`.

    An outage is waited out. An endpoint that has never answered is more likely a wrong one.

    Args:
        time: Known once the service has answered.
        since: When the operation began, on the steady clock.
    """

    def give_up(outcome: object) -> bool:
        silent = time.steady() - since >= FIRST_CONTACT_SECONDS
        return isinstance(outcome, Unavailable) and silent and not time.known

    return give_up
