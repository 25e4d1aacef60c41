"""Before a charge: the policy and the time; and a look at the policy and the key before a call is refused for good.

Invariant: a call for more than a burst is refused by what was read within the last second: an override, or another
policy, may allow it by now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ddb_lease._operations.rates.policy import ensure_policy
from ddb_lease._operations.resend import UNANSWERED, send_until
from ddb_lease._operations.sync_time import confirm, without_time
from ddb_lease._protocol.outcomes import Busy, Unavailable, failure_of
from ddb_lease._protocol.rates.charging import NeverEnough
from ddb_lease._protocol.rates.messages import KeyIs, ReadKey
from ddb_lease._protocol.rates.validation import NS, SINGLE
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.rates.key_book import KeyBook
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease.errors import TooManyPermits

ATTEMPT_SECONDS: Final = 5.0
"""How long an attempt with an unknown outcome is sent again."""

JUST_READ_SECONDS: Final = 1.0
"""What was read so long ago refuses a call for more than a burst without being read again."""

TRIES_WHEN_UNKNOWN: Final = 6
"""How often one attempt is sent in all while its answers are lost."""


def require_usable(state: LimiterState, process: str) -> None:
    """Raise if a call may not go on.

    Args:
        state: Of the limiter.
        process: As it was there when the call began. In a forked child, its permits are the parent's.

    Raises:
        ConfigurationError: The limiter was closed, or this is a forked child.
    """
    if state.closed:
        raise state.closed_error()
    if process != state.process:
        raise state.forked_error()


def prepare_to_charge(
    state: LimiterState,
    *,
    give_up_at: float,
    budget_ends: Callable[[], float],
    wake: Callable[[], None] | None = None,
) -> Operation[Busy | Unavailable | None]:
    """Have a policy and the time; returns why we have not.

    Args:
        state: Of the limiter.
        give_up_at: Until when the policy is asked for, on the steady clock.
        budget_ends: Until when the time is asked for: asked once the policy was answered, as that may end an outage.
        wake: As for `ensure_policy`.
    """
    failure = yield from ensure_policy(state, deadline=give_up_at, wake=wake)
    if failure is not None:
        return failure
    if not state.rate_time.known and state.rate_time.now_ns() is None:
        failed = yield from confirm(state.time, until=budget_ends())
        if state.rate_time.now_ns() is None:
            return without_time(failed)
    if state.closed:
        raise state.closed_error()
    return None


def just_read(state: LimiterState, book: KeyBook) -> bool:
    """Whether the policy and a key were read so lately that a call for more than they allow is refused."""
    now = state.rate_time.now_ns()
    key_is_new = now is not None and now - book.known_at < JUST_READ_SECONDS * NS
    return key_is_new and state.time.steady() - state.policy_at < JUST_READ_SECONDS


def read_before_refusing(state: LimiterState, key: str, *, give_up_at: float) -> Operation[Busy | Unavailable | None]:
    """Read the policy and the key, as they may allow more than they did; returns why they could not be read."""
    if state.time.steady() - state.policy_at >= JUST_READ_SECONDS:
        failure = yield from ensure_policy(state, newer=True, deadline=give_up_at)
        if failure is not None:
            return failure
    if state.rate_time.known_now_ns() - state.book(key).known_at < JUST_READ_SECONDS * NS:
        return None
    return (yield from look_at_key(state, key, give_up_at=give_up_at))


def too_many(refused: NeverEnough, *, rate: str) -> TooManyPermits:
    """The error of a call for more than its limits ever allow."""
    what = "n" if refused.limit == SINGLE else refused.limit
    said = "1" if refused.burst == 1 else f"a whole number from 1 to {refused.burst:,}"
    return TooManyPermits(
        f"{what} must be {said} (the burst of the stored policy's limit "
        f"{refused.limit!r} of rate {rate!r}, or of the key's override)"
    )


def look_at_key(state: LimiterState, key: str, *, give_up_at: float) -> Operation[Busy | Unavailable | None]:
    """Read a key and learn what its item shows; returns why it could not be read, if it could not."""
    since = state.rate_time.now_ns()
    answer, _ = yield from send_until(
        ReadKey(key=key),
        again=UNANSWERED,
        time=state.time,
        chance=state.chance,
        tries=TRIES_WHEN_UNKNOWN,
        deadline=give_up_at,
    )
    if not isinstance(answer, KeyIs):
        return failure_of(answer)
    with state.lock:
        state.book(key).learn(answer.state, now=state.rate_time.known_now_ns(), since=since, process=state.process)
    return None
