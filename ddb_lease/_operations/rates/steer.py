"""Steering: what an operator asks of a limiter, and does to it or to one of its keys, request by request.

Invariants:

- Each change is computed from what was just read, and written on the condition that this still holds. Where somebody
  was faster, it is read and computed again, a few times.
- A change whose answer is lost is read again: if it shows, it happened. Made twice, each changes nothing more.
- What only reads (`read_policy`, `look_at_key`, `look_at_keys`) creates no policy.
- Who changes the policy is not warned of it: what it set are its own limits from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ddb_lease._operations.rates.policy import ensure_policy, learn_policy, tell_if_older
from ddb_lease._operations.resend import UNANSWERED, Answered, answer_of, require_answered, send_until
from ddb_lease._operations.sync_time import confirm, without_time
from ddb_lease._protocol.outcomes import reason_text
from ddb_lease._protocol.rates import steering
from ddb_lease._protocol.rates.messages import (
    ChangePolicy,
    CreatePolicy,
    KeyIs,
    KeysAre,
    KeyWritten,
    ListKeys,
    PolicyIs,
    PolicyRefused,
    RateRequest,
    ReadKey,
    ReadPolicy,
)
from ddb_lease._protocol.rates.records import SHARDS, KeyState, LimitPolicy, Policy
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.rates.limiter_state import POLICY_SECONDS, LimiterState
from ddb_lease.errors import ConfigurationError, StoreUnavailable

TRIES: Final = 5
"""How often a request is sent until it is answered; and how often a change is made anew where others are faster."""

PAGE: Final = 1_000
"""Keys in one page of a listing: some 300 KB."""

_Make = Callable[[Policy, "KeyState | None", int], "RateRequest | None"]
"""Makes the request that changes a key, from the policy, the key's item, and the time; None: nothing is to be done."""


def read_policy(state: LimiterState, *, deadline: float) -> Operation[Policy | None]:
    """Read the policy, consistently; None if the limiter was never used.

    Raises:
        StoreUnavailable: The service did not answer.
        StoreRejected: The service refuses for good.
    """
    asked = state.time.steady()
    read = yield from _ask(state, ReadPolicy(consistent=True), "the policy cannot be read", deadline)
    answer = answer_of(PolicyIs, read)
    tell_if_older(state, answer)
    policy = answer.policy
    if policy is not None:
        learn_policy(state, policy, asked=asked)
    return policy


def set_policy(state: LimiterState, changes: Mapping[str, LimitPolicy | None], *, deadline: float) -> Operation[Policy]:
    """Change limits of the stored policy, for all processes; returns the policy as it is then.

    Raises:
        ConfigurationError: No limit would be left, or too many. Nothing was changed.
        StoreUnavailable: The service did not answer, or others changed it at the same time, again and again.
        StoreRejected: The service refuses for good.
    """
    told, state.policy_told = state.policy_told, True
    try:
        policy = yield from _change_policy(state, changes, deadline)
        state.given = policy.limits
        return policy
    finally:
        state.policy_told = told


def _change_policy(
    state: LimiterState, changes: Mapping[str, LimitPolicy | None], deadline: float
) -> Operation[Policy]:
    for _ in range(TRIES):
        policy = yield from read_policy(state, deadline=deadline)
        now = yield from _now(state)
        if policy is None:
            given = {name: limit for name, limit in {**state.given, **changes}.items() if limit is not None}
            if not given:
                raise ConfigurationError("a policy has at least one limit")
            request: CreatePolicy | ChangePolicy = steering.create_policy(given, now=now)
        else:
            change = steering.change_policy(policy, changes, now=now)
            if change is None:
                return policy
            request = change
        asked = state.time.steady()
        answer = yield from _ask(state, request, "the policy cannot be changed", deadline)
        if isinstance(answer, PolicyIs) and answer.policy is not None:
            learn_policy(state, answer.policy, asked=asked)
            return answer.policy
        if isinstance(answer, PolicyRefused) and answer.policy == request.policy:
            learn_policy(state, request.policy, asked=asked)  # an earlier sending did it
            return request.policy
    raise StoreUnavailable("the policy cannot be changed: others change it at the same time")


def read_key(state: LimiterState, key: str, *, deadline: float) -> Operation[KeyState | None]:
    """Read a key's item, consistently, and have the policy and the time.

    Raises:
        StoreUnavailable: The service did not answer, or its answers do not tell its time.
        StoreRejected: The service refuses for good.
    """
    yield from _ready(state, deadline)
    found, _ = yield from _read_key(state, key, deadline)
    return found


def look_at_key(state: LimiterState, key: str, *, deadline: float) -> Operation[tuple[KeyState | None, int]]:
    """Read a key's item, consistently, and the time; creates no policy where there is none.

    Raises:
        StoreUnavailable: The service did not answer, or its answers do not tell its time.
        StoreRejected: The service refuses for good.
    """
    yield from _look_at_policy(state, deadline)
    return (yield from _read_key(state, key, deadline))


def look_at_keys(
    state: LimiterState, shard: int, after: str | None, *, deadline: float
) -> Operation[tuple[KeysAre, int]]:
    """Read one page of the keys of one shard, and the time; creates no policy where there is none.

    Raises:
        StoreUnavailable: The service did not answer, or its answers do not tell its time.
        StoreRejected: The service refuses for good.
    """
    yield from _look_at_policy(state, deadline)
    page = yield from list_keys(state, shard, after, deadline=deadline)
    now = yield from _now(state)
    return page, now


def change_key(state: LimiterState, key: str, make: _Make, *, deadline: float) -> Operation[KeyState | None]:
    """Change a key's item, as `make` says; returns the item as it is then.

    Raises:
        StoreUnavailable: The service did not answer, or others changed it at the same time, again and again.
        StoreRejected: The service refuses for good.
    """
    for _ in range(TRIES):
        found = yield from read_key(state, key, deadline=deadline)
        now, policy = (yield from _now(state)), state.policy
        if policy is None:
            raise StoreUnavailable("the policy is gone: somebody deleted it")
        request = make(policy, found, now)
        if request is None:
            return found
        answer = yield from _ask(state, request, "the key cannot be changed", deadline)
        if isinstance(answer, KeyWritten):
            with state.lock:
                state.book(key).learn(answer.state, now=now, process=state.process)
            return answer.state
    raise StoreUnavailable("the key cannot be changed: others change it at the same time")


def list_keys(state: LimiterState, shard: int, after: str | None, *, deadline: float) -> Operation[KeysAre]:
    """Read one page of the keys of one shard.

    Raises:
        StoreUnavailable: The service did not answer.
        StoreRejected: The service refuses for good.
    """
    if not 0 <= shard < SHARDS:
        raise ValueError(f"there are shards 0 to {SHARDS - 1}")
    request = ListKeys(shard=shard, after=after, limit=PAGE)
    return answer_of(KeysAre, (yield from _ask(state, request, "the keys cannot be listed", deadline)))


def _ready(state: LimiterState, deadline: float) -> Operation[None]:
    failure = yield from ensure_policy(state, deadline=deadline)
    if failure is not None:
        raise StoreUnavailable(f"the rate cannot be read: {reason_text(failure.cause)}") from failure.cause


def _look_at_policy(state: LimiterState, deadline: float) -> Operation[None]:
    if state.policy is None or state.time.steady() - state.policy_at >= POLICY_SECONDS:
        yield from read_policy(state, deadline=deadline)


def _read_key(state: LimiterState, key: str, deadline: float) -> Operation[tuple[KeyState | None, int]]:
    since = state.rate_time.now_ns()
    answer = yield from _ask(state, ReadKey(key=key), "the rate cannot be read", deadline)
    found = answer_of(KeyIs, answer).state
    now = yield from _now(state)
    with state.lock:
        state.book(key).learn(found, now=now, since=since, process=state.process)
    return found, now


def _now(state: LimiterState) -> Operation[int]:
    now = state.rate_time.now_ns()
    if now is None:
        failed = yield from confirm(state.time)
        now = state.rate_time.now_ns()
        if now is None:
            cause = without_time(failed).cause
            raise StoreUnavailable(f"the rate cannot be read: {reason_text(cause)}") from cause
    return now


def _ask(state: LimiterState, request: RateRequest, failing: str, deadline: float) -> Operation[Answered]:
    answer, _ = yield from send_until(
        request, again=UNANSWERED, time=state.time, chance=state.chance, tries=TRIES, deadline=deadline
    )
    return require_answered(answer, failing)
