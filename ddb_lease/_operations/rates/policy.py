"""The policy of a limiter: read, created by the first use, and read again from time to time.

Invariants:

- The stored policy rules. A process that was made with other limits logs that once, with both and the command that
  changes the policy; where the limits have other names, the command that shows it.
- The item in which a version before this one kept the rate is not taken for a policy, and not ignored: that is logged
  once.
- A policy that was read stays in use while the service cannot be asked again: an outage of reads stops nothing.
- Callers of any keys that need it at the same time share one question.
- A newer policy wakes all who wait: it may admit them earlier.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ddb_lease._operations.resend import UNANSWERED, send_until
from ddb_lease._operations.sync_time import confirm, without_time
from ddb_lease._protocol.messages import Pause
from ddb_lease._protocol.outcomes import Busy, Unavailable, failure_of
from ddb_lease._protocol.rates import steering
from ddb_lease._protocol.rates.messages import PolicyIs, PolicyRefused, ReadPolicy
from ddb_lease._protocol.rates.records import LimitPolicy, Policy
from ddb_lease._protocol.rates.validation import SINGLE
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.log import queued as _log
from ddb_lease._state.rates.key_book import wake as wake_all
from ddb_lease._state.rates.limiter_state import POLICY_SECONDS, LimiterState
from ddb_lease.errors import LeaseError, StoreUnavailable

_TRIES = 3

MEANWHILE_SECONDS = 1.5
"""For how long others go on by an older policy while one asks, or wait for it. Then they ask too: who did may have been
cancelled."""

OTHER_LIMITS_TEXT = "rate %r: the stored policy rules, and it differs from the limits given here: %s. %s"
"""What is logged if a limiter was made with other limits than those stored: its name, `Compared`, and what to do."""

OLDER_SORT_KEY = "rate"
"""Under which versions before this one keep a rate, in one item."""


def ensure_policy(
    state: LimiterState,
    *,
    newer: bool = False,
    shown: int = 0,
    deadline: float,
    wake: Callable[[], None] | None = None,
) -> Operation[Busy | Unavailable | None]:
    """Have a policy to charge by: read it, and create it where there is none.

    Args:
        state: Of the limiter.
        newer: Whether an item shows that there is a newer one than we know: read it consistently, now.
        shown: The `rev` that the item shows. If the stored one is older, the policy was deleted, and made anew by a
            process whose clock was behind: it is raised above, as no item could be charged under it otherwise.
        deadline: When to give up, on the steady clock.
        wake: Ends the caller's pause, so that it can wait for another one's question; None: it asks itself.

    Returns:
        Why there is none; None if there is one.

    Raises:
        StoreRejected: The service refuses for good.
    """
    if _will_do(state, newer=newer, shown=shown):
        return None
    if wake is not None and _is_asked(state):
        yield from _until_asked(state, wake, deadline)
        if _will_do(state, newer=newer, shown=shown):
            return None
    state.policy_asking_at = state.time.steady()
    try:
        failure = yield from _ask_for_policy(state, newer=newer, shown=shown, deadline=deadline)
    except LeaseError:
        _asked(state)
        raise
    _asked(state)
    return failure


def _will_do(state: LimiterState, *, newer: bool, shown: int) -> bool:
    """Whether the policy that is known is new enough."""
    if state.policy is None:
        return False
    if newer:
        return 0 < shown <= state.policy.rev
    now = state.time.steady()
    old, asking = now - state.policy_at - POLICY_SECONDS, now - state.policy_asking_at
    return old < 0 or max(old, asking) < MEANWHILE_SECONDS


def _is_asked(state: LimiterState) -> bool:
    return state.time.steady() - state.policy_asking_at < MEANWHILE_SECONDS


def _until_asked(state: LimiterState, wake: Callable[[], None], deadline: float) -> Operation[None]:
    """Wait until another caller has asked for the policy, or has been asking for long."""
    with state.lock:
        state.policy_awaited.append(wake)
    ends = min(deadline, state.policy_asking_at + MEANWHILE_SECONDS)
    while _is_asked(state) and (left := ends - state.time.steady()) > 0:
        yield Pause(seconds=left, wakeable=True)


def _asked(state: LimiterState) -> None:
    """Note that nobody asks any more, and wake those who wait for that."""
    with state.lock:
        state.policy_asking_at = -math.inf
        awaited, state.policy_awaited = state.policy_awaited, []
    for wake in awaited:
        wake()


def _ask_for_policy(
    state: LimiterState, *, newer: bool, shown: int, deadline: float
) -> Operation[Busy | Unavailable | None]:
    known = state.policy
    failure: Busy | Unavailable = Unavailable(cause=StoreUnavailable("somebody deletes the policy again and again"))
    for _ in range(_TRIES):
        asked = state.time.steady()
        found = yield from _stored(state, consistent=known is None or newer, shown=shown, deadline=deadline)
        if isinstance(found, Policy):
            learn_policy(state, found, asked=asked)
            return None
        if found is not None:
            failure = found
            break
    if known is None or newer:
        return failure
    state.policy_at = state.time.steady()  # asked, in vain: not again with each charge
    return None


def _stored(
    state: LimiterState, *, consistent: bool, shown: int, deadline: float
) -> Operation[Policy | Busy | Unavailable | None]:
    """The stored policy, which is made if there is none, and raised above `shown`; None: it was deleted meanwhile."""
    answer = yield from _ask(state, ReadPolicy(consistent=consistent), deadline)
    tell_if_older(state, answer)
    if isinstance(answer, PolicyIs) and answer.policy is None:
        failed = yield from confirm(state.time)
        now = state.rate_time.now_ns()
        if now is None:
            return without_time(failed)
        answer = yield from _ask(state, steering.create_policy(state.given, now=now), deadline)
    if isinstance(answer, (PolicyIs, PolicyRefused)) and answer.policy is not None and answer.policy.rev < shown:
        answer = yield from _ask(state, steering.raise_policy(answer.policy, above=shown), deadline)
    return answer.policy if isinstance(answer, (PolicyIs, PolicyRefused)) else failure_of(answer)


def learn_policy(state: LimiterState, policy: Policy, *, asked: float) -> None:
    """Keep a policy that was just read or written; an older one changes nothing.

    Args:
        state: Of the limiter.
        policy: As the answer shows it.
        asked: When the request was sent, on the steady clock: the policy may have been changed since then.
    """
    with state.lock:  # another thread may learn a newer one
        state.policy_at = max(state.policy_at, asked)
        before = state.policy
        if before is None or policy.rev >= before.rev:
            state.policy = policy
        is_newer = before is not None and policy.rev > before.rev
        waiting = [booking for book in state.books() for booking in book.everybody()] if is_newer else []
    _tell(state, policy)
    wake_all(waiting)


def tell_if_older(state: LimiterState, answer: object) -> None:
    """Log, once, that a version before this one keeps a rate of this name too, if an answer shows that."""
    if isinstance(answer, PolicyIs) and answer.older and not state.older_told:
        state.older_told = True
        _log.warning(
            "rate %r: the table also has an item in which a version before this one keeps a rate of this name (sort "
            "key %r). It is neither counted nor written: while processes of that version run, both versions together "
            "admit up to twice the rate. Stop them; the item then goes by itself, within days, or delete it",
            state.name,
            OLDER_SORT_KEY,
        )


def _ask(state: LimiterState, request: Any, deadline: float) -> Operation[Any]:  # noqa: ANN401 - a rate request
    answer, _ = yield from send_until(
        request, again=UNANSWERED, time=state.time, chance=state.chance, tries=_TRIES, deadline=deadline
    )
    return answer


def _tell(state: LimiterState, policy: Policy) -> None:
    differing = steering.differing(policy, state.given)
    if not differing or state.policy_told:
        return
    state.policy_told = True
    _log.warning(
        OTHER_LIMITS_TEXT,
        state.name,
        Compared(tuple((name, policy.limits.get(name), state.given.get(name)) for name in differing)),
        _advice(state, policy, {name: state.given[name] for name in differing if name in state.given}),
    )


@dataclass(frozen=True, slots=True)
class Compared:
    """Limits in a log message, as stored and as given, by name: readable as a text, and as what they are."""

    limits: tuple[tuple[str, LimitPolicy | None, LimitPolicy | None], ...]

    def __str__(self) -> str:
        return "; ".join(_compared(*each) for each in self.limits)


def _advice(state: LimiterState, policy: Policy, limits: Mapping[str, LimitPolicy]) -> str:
    """What to do. Where the limits have other names, no command that changes them: others count on those there are."""
    if policy.limits.keys() != state.given.keys():
        look = _command(state, "status")
        return f"The limits have other names: look with `{look}`, and give this process the limits that are stored"
    change = _command(state, "set", *_options(limits, alone=len(policy.limits) == 1))
    return f"To change it: limiter.set_policy(...), or `{change}`"


def _compared(name: str, stored: LimitPolicy | None, given: LimitPolicy | None) -> str:
    named = "" if name == SINGLE else f"{name}: "
    return f"{named}{_shown(stored)}, and not {_shown(given)}"


def _shown(limit: LimitPolicy | None) -> str:
    return "no limit" if limit is None else f"{limit.permits:g} in {limit.per:g} s, burst {limit.burst:,}"


def _command(state: LimiterState, what: str, *options: str) -> str:
    """A command on the rate, to be typed."""
    command = shlex.join(["ddb-lease", "rate", what, state.name, *options])
    return f"{command} {state.place}" if state.place else command


def _options(limits: Mapping[str, LimitPolicy], *, alone: bool) -> list[str]:
    """The options of `rate set` that make these limits the stored ones."""
    options: list[str] = []
    for each, limit in limits.items():
        if each == SINGLE and alone:
            options += ["--rate", _rate(limit), "--burst", str(limit.burst)]
        else:
            options += ["--limit", f"{each}={_rate(limit)},burst={limit.burst}"]
    return options


def _rate(limit: LimitPolicy) -> str:
    return f"{_decimal(limit.permits)}/{_decimal(limit.per)}s"


def _decimal(number: float) -> str:
    """A number without an exponent, exactly."""
    return f"{Decimal(repr(number)).normalize():f}"
