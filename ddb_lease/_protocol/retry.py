"""Policies: what is retried, for how long, and after which pauses. tenacity does the work.

Invariants:

- All retrying within an operation is here. A renewal that failed is made anew, when `lease_state` says so.
- Every pause is drawn with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015):
  uniform between zero and a bound that doubles up to a cap.
- tenacity's loop runs as a generator, `_Loop`: attempts are generators, a sleep is yielded as a `Pause`. So the same
  policy serves threads, asyncio and a simulator; the clock and the random source come in as arguments.
- A full bucket is not a failure: its waiters poll at a steady mean rate, and at the first known expiry. Nor is a denied
  permit: the next request for it is sent when it is due, and not before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from random import Random
from typing import Any, TypeAlias, TypeVar

from tenacity import BaseRetrying, DoAttempt, DoSleep, RetryCallState
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from ddb_lease._protocol.messages import Answer, Effect, Pause
from ddb_lease._protocol.outcomes import (
    Admission,
    Admitted,
    Booked,
    Busy,
    DecidedHere,
    Denied,
    Full,
    GaveWay,
    GivenBack,
    LostRace,
    Outcome,
    OutOfTurn,
    Unavailable,
)
from ddb_lease._protocol.records import Grant

Result = TypeVar("Result")
Operation: TypeAlias = Generator[Effect, Answer | None, Result]
"""Yields requests and pauses, is sent each answer, and returns its result."""

TRY_SECONDS = 10.0
"""How long what does not wait keeps trying while the service does not answer: `try_acquire`, `check`."""

POLL_SECONDS = 1.25
"""Mean time between the looks of a process that waits for a full bucket: less than one look a second, the first
ones included."""

LONGEST_POLL_SECONDS = 2 * POLL_SECONDS
"""Full jitter: the pause between two looks is drawn between nothing and this."""

EXPIRY_JITTER_SECONDS = 0.2
"""When a lease is known to expire, its waiters spread their looks over this long after it."""

TURN_SECONDS = 5.0
"""How long a waiter that is not the poller of its process sleeps before it checks that the poller lives."""

RESEND_SECONDS = (0.05, 1.0)
"""First bound and cap of the pause before a request with an unknown outcome is sent again."""

RECOVERY_SECONDS = 6.0
"""How long a transaction that is still under way is asked for at least: the service begins to recover one that is stuck
after five seconds (DynamoDB API Reference, TransactWriteItems: TransactionInProgressException)."""

CONTENDED_SECONDS = (0.02, 1.0)
"""First bound and cap of the pause after a slot was lost to another."""

BUSY_SECONDS = (0.05, 2.0)
"""First bound and cap after a conflict or throttling."""

UNAVAILABLE_SECONDS = (0.2, 5.0)
"""First bound and cap while the service does not answer."""

FIRST_CONTACT_SECONDS = 20.0
"""How long an acquire without a timeout tries to reach a service that has never answered, before it raises."""

TRIES_AT_ONCE = 5
"""How often `try_acquire` tries when slots are lost to others or the service is busy. Each try is 1 to 6 requests."""


_WAITING = (Full, OutOfTurn, Denied)
"""Outcomes that need no backoff: a slot that comes free should end the pause."""


class RetryPolicy:
    """Retries a generator function, by tenacity's loop.

    No policy retries an exception: an exception ends the loop.

    Args:
        again: Whether to try again after this result.
        wait: tenacity's: how long to pause before the next try.
        stop: tenacity's: when to return the last result.
    """

    __slots__ = ("_again", "_stop", "_wait")

    def __init__(self, *, again: Callable[[Any], bool], wait: wait_base, stop: stop_base) -> None:
        self._again = again
        self._wait = wait
        self._stop = stop

    def __call__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as tenacity's own
        """Run `fn`, a generator function, until the policy stops; yields its effects, and `Pause`s."""
        result = yield from fn(*args, **kwargs)
        if not self._again(result):
            return result  # nearly always: the loop is not even made, then
        return (yield from self._repeat(result, fn, *args, **kwargs))

    def after(self, result: Any, fn: Callable[..., Any]) -> Any:  # noqa: ANN401 - as above
        """Go on where the first try has been made already, with this result.

        For callers whose first try nearly always ends it: they make a policy only where it does not.
        """
        if not self._again(result):
            return result
        return (yield from self._repeat(result, fn))

    def _repeat(self, result: Any, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as above
        loop = _Loop(first=result, again=self._again, wait=self._wait, stop=self._stop)
        return (yield from loop(fn, *args, **kwargs))


class _Loop(BaseRetrying):
    """tenacity's loop as a generator, like its Tornado adapter; `first` is the result of the first try."""

    def __init__(self, *, first: object, again: Callable[[Any], bool], wait: wait_base, stop: stop_base) -> None:
        super().__init__(wait=wait, stop=stop, retry=_after(again), retry_error_callback=_last)
        self._first = first

    def __call__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - tenacity's signature
        """Continue after the first try."""
        self.begin()
        state = RetryCallState(retry_object=self, fn=fn, args=args, kwargs=kwargs)
        state.set_result(self._first)
        while True:
            do = self.iter(retry_state=state)
            if isinstance(do, DoAttempt):
                state.set_result((yield from fn(*args, **kwargs)))
            elif isinstance(do, DoSleep):
                wakeable = state.outcome is not None and isinstance(state.outcome.result(), _WAITING)
                state.prepare_for_next_attempt()
                yield Pause(seconds=float(do), wakeable=wakeable)
            else:
                return do


def full_jitter(bounds: tuple[float, float], attempt: int, chance: Random) -> float:
    """Seconds to pause before try `attempt` + 1, the first being 1."""
    first, cap = bounds
    return chance.uniform(0.0, min(cap, first * 2.0 ** min(attempt - 1, 30)))


def _never() -> bool:
    return False


class _Until(stop_base):
    """Stops at `deadline` on the steady clock, or after so many tries, unless `beyond` says that more are needed."""

    def __init__(
        self,
        steady: Callable[[], float],
        deadline: float,
        tries: int | None,
        beyond: Callable[[], bool] = _never,
    ) -> None:
        self._steady = steady
        self._deadline = deadline
        self._tries = tries
        self._beyond = beyond

    def __call__(self, retry_state: RetryCallState) -> bool:
        if self._tries is not None and retry_state.attempt_number >= self._tries and not self._beyond():
            return True
        return self._steady() >= self._deadline


def until(steady: Callable[[], float], deadline: float) -> stop_base:
    """Stops tenacity at `deadline` on the steady clock."""
    return _Until(steady, deadline, None)


class _Within(wait_base):
    """Shortens another wait so that the last try comes at the deadline, not after it."""

    def __init__(self, wait: Callable[[RetryCallState], float], steady: Callable[[], float], deadline: float) -> None:
        self._wait = wait
        self._steady = steady
        self._deadline = deadline

    def __call__(self, retry_state: RetryCallState) -> float:
        return max(0.0, min(self._wait(retry_state), self._deadline - self._steady()))


def _after(again: Callable[[Any], bool]) -> Callable[[RetryCallState], bool]:
    # The first result was judged before tenacity came in.
    return lambda state: state.attempt_number == 1 or again(_last(state))


def _last(state: RetryCallState) -> Any:  # noqa: ANN401 - whatever the attempt returned
    # Whether stopped or content, the caller gets the last attempt's result.
    return state.outcome.result() if state.outcome else None


def resending(
    *,
    again: Callable[[Any], bool],
    steady: Callable[[], float],
    deadline: float,
    chance: Random,
    tries: int | None = None,
    beyond: Callable[[], bool] = _never,
) -> RetryPolicy:
    """The policy for one request: send the same value again while `again` accepts its answer.

    Args:
        again: Whether to send it again after this answer.
        steady: The steady clock.
        deadline: When to give up; the last sending is made then.
        chance: For the jitter.
        tries: How often it is sent at most.
        beyond: Whether it is sent more often than that all the same.
    """

    def pause(state: RetryCallState) -> float:
        return full_jitter(RESEND_SECONDS, state.attempt_number, chance)

    return RetryPolicy(again=again, wait=_Within(pause, steady, deadline), stop=_Until(steady, deadline, tries, beyond))


def acquiring(
    *,
    steady: Callable[[], float],
    deadline: float,
    chance: Random,
    patient: bool,
    give_up: Callable[[Outcome], bool],
) -> RetryPolicy:
    """The policy of an acquire.

    Args:
        steady: The steady clock.
        deadline: When to give up; the last try is made then.
        chance: For the jitter.
        patient: Whether to wait for a full bucket (`acquire`), or not (`try_acquire`).
        give_up: Whether an outcome ends it, whatever the time.
    """
    pause = _OutcomePause(chance, ends_row=(Full, OutOfTurn, GaveWay))

    def again(outcome: Outcome) -> bool:
        match outcome:
            case Grant():
                return False
            case Full() | OutOfTurn() | GaveWay():
                return patient
            case LostRace() | GivenBack() | Busy() | Unavailable():
                return not give_up(outcome)

    return RetryPolicy(
        again=again,
        wait=_Within(pause, steady, deadline),
        stop=_Until(steady, deadline, None if patient else TRIES_AT_ONCE),
    )


def until_next_look(expires_in: float | None, chance: Random) -> float:
    """Seconds until the next look at a full bucket: a poll interval, or until a lease expires."""
    poll = chance.uniform(0.0, LONGEST_POLL_SECONDS)
    if expires_in is None:
        return poll
    return min(poll, max(0.0, expires_in) + chance.uniform(0.0, EXPIRY_JITTER_SECONDS))


LONGEST_DENIAL_SECONDS = 30.0
"""How long a denial is waited out without asking again: what closed the rate may be gone before it would end by itself,
as a block that is ended, or a limit that is raised."""

SHORTEST_LOOK_SECONDS = 1.0
"""A denial is waited out for so long at least, if it lasts."""


class _OutcomePause:
    """How long to pause, by what the last try met; failures in a row double the bound.

    Args:
        chance: For the jitter.
        ends_row: Outcomes after which failures are counted from zero again. `OutOfTurn` is never counted as a failure.
        longest: Seconds that a pause after a failure takes at most.
        looks_in: Seconds until a denial is not to be relied on any more.

    Attributes:
        failures: How many failures there were in a row.
    """

    def __init__(
        self,
        chance: Random,
        *,
        ends_row: tuple[type, ...],
        longest: float = math.inf,
        looks_in: Callable[[], float] | None = None,
    ) -> None:
        self._chance = chance
        self._looks_in = looks_in
        self._ends_row = ends_row
        self._longest = longest
        self.failures = 0

    def __call__(self, state: RetryCallState) -> float:
        outcome = state.outcome.result() if state.outcome else None
        if isinstance(outcome, self._ends_row):
            self.failures = 0
        elif not isinstance(outcome, OutOfTurn):
            self.failures += 1
        match outcome:
            case Denied():
                looks_in = LONGEST_DENIAL_SECONDS if self._looks_in is None else self._looks_in()
                longest = min(max(looks_in, SHORTEST_LOOK_SECONDS), LONGEST_DENIAL_SECONDS)
                return min(outcome.retry_in, longest) + self._chance.uniform(0.0, outcome.spread)
            case Full():
                settled = outcome.look_in
                return until_next_look(outcome.expires_in, self._chance) if settled is None else settled
            case GaveWay():
                return outcome.seconds
            case OutOfTurn():
                return TURN_SECONDS * self._chance.uniform(0.5, 1.0)
            case LostRace() | GivenBack():
                bounds = CONTENDED_SECONDS
            case Unavailable():
                bounds = UNAVAILABLE_SECONDS
            case _:
                bounds = BUSY_SECONDS
        return full_jitter((bounds[0], min(bounds[1], self._longest)), self.failures, self._chance)


def admitting(
    *,
    steady: Callable[[], float],
    deadline: float,
    chance: Random,
    patient: bool,
    give_up: Callable[[Admission], bool],
    longest_pause: float = math.inf,
    looks_in: Callable[[], float] | None = None,
) -> RetryPolicy:
    """The policy for permits of a rate.

    Args:
        steady: The steady clock.
        deadline: When to give up. It does not wait for a permit that is due later.
        chance: For the jitter.
        patient: Whether to wait for permits (`acquire`), or not (`try_acquire`).
        give_up: Whether an outcome ends it, whatever the time.
        longest_pause: Seconds between a failure and the next try, at most.
        looks_in: Seconds until a denial is not to be relied on any more: then it is tried again, whatever it says.
    """
    pause = _OutcomePause(chance, ends_row=(Denied,), longest=longest_pause, looks_in=looks_in)

    def again(outcome: Admission) -> bool:
        match outcome:
            case Denied():
                return patient and steady() + outcome.retry_in <= deadline
            case OutOfTurn():
                return True
            case LostRace() | Busy() | Unavailable():
                return not give_up(outcome) and (patient or pause.failures < TRIES_AT_ONCE - 1)
            case Admitted() | Booked() | DecidedHere():
                return False

    return RetryPolicy(again=again, wait=_Within(pause, steady, deadline), stop=_Until(steady, deadline, None))
