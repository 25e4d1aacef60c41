"""Before a charge: the policy and the time, and a look at a key that asks for more than the limits seem to allow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ddb_lease._operations.rates.policy import ensure_policy
from ddb_lease._operations.resend import UNANSWERED, send_until
from ddb_lease._operations.sync_time import confirm, without_time
from ddb_lease._protocol.outcomes import Admission, Busy, Unavailable, failure_of
from ddb_lease._protocol.rates.charging import REMEMBERED, NeverEnough, Wanted, earliest_due
from ddb_lease._protocol.rates.messages import KeyIs, ReadKey
from ddb_lease._protocol.rates.validation import SINGLE
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease.errors import ConfigurationError

ATTEMPT_SECONDS: Final = 5.0
"""How long an attempt with an unknown outcome is sent again."""

TRIES_WHEN_UNKNOWN: Final = 6
"""How often one attempt is sent in all while its answers are lost."""


def prepare_to_charge(
    state: LimiterState, gives_up_at: Callable[[], float], budget_ends: Callable[[], float]
) -> Operation[Busy | Unavailable | None]:
    """Have a policy and the time; returns why we have not.

    Args:
        state: Of the limiter.
        gives_up_at: Until when the policy is asked for, on the steady clock.
        budget_ends: Until when the time is asked for: asked once the policy was answered, as that may end an outage.
    """
    failure = yield from ensure_policy(state, deadline=gives_up_at())
    if failure is not None:
        return failure
    if state.rate_time.now_ns() is None:
        failed = yield from confirm(state.time, until=budget_ends())
        if state.rate_time.now_ns() is None:
            return without_time(failed)
    if state.closed:
        raise state.closed_error()
    return None


def look_for_override(
    state: LimiterState, key: str, wanted: Wanted, *, refused: NeverEnough, give_up_at: float
) -> Operation[Admission | None]:
    """Read the key, as it may have an override that allows more; None: it was read just now.

    Raises:
        ConfigurationError: What was read shows that the limits never allow it.
    """
    policy, book, now = state.policy, state.book(key), state.now()
    if now - book.known_at < REMEMBERED and policy is not None:
        due = earliest_due(policy, book.known, wanted, now=now)
        if isinstance(due, NeverEnough):
            what = "n" if refused.limit == SINGLE else refused.limit
            raise ConfigurationError(
                f"{what} must be a whole number from 1 to {refused.burst:,} (the burst of the stored policy's limit "
                f"{refused.limit!r}, or of the key's override)"
            )
    return (yield from look_at_key(state, key, give_up_at=give_up_at))


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
        state.book(key).learn(answer.state, now=state.now(), since=since, process=state.process)
    return None
