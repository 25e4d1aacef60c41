"""What a limiter's user says of an unavailable service: checked, and as the figures that the limiter goes by.

Invariants:

- With ``raise``, and neither a budget nor an `on_event`, nothing is noted of the service's answers, and calls wait as
  they always do. Any other `on_unavailable` has a budget: `BUDGET_SECONDS`, if none was given.
- A request takes half of the budget at most: a quarter to connect, and a quarter to read.
"""

from __future__ import annotations

from typing import Final, get_args

from ddb_lease._numbers import as_seconds, checked_timeout, shown
from ddb_lease._operations.rates.without_answer import limits_here
from ddb_lease._protocol.rates.local_share import share_of
from ddb_lease._protocol.rates.records import Policy
from ddb_lease._protocol.rates.shown import shown_limits, shown_standings
from ddb_lease._protocol.rates.standing import standing
from ddb_lease._protocol.rates.validation import NS
from ddb_lease._runtime.telling import Meanwhile
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease._state.rates.service_contact import ServiceContact
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Decision, LimitDecision, OnUnavailable, Seconds

BUDGET_SECONDS: Final = 1.0
"""Of a decision, where `on_unavailable` is set and no budget is."""

SHORTEST_BUDGET: Final = 1.0
"""Seconds; the client's shortest timeout is a quarter of it."""

LONGEST_BUDGET: Final = 30.0
"""Seconds; whoever waits longer wants ``raise``, and a timeout."""

LEAST_SHARE: Final = 1e-6

_ANSWER_SECONDS: Final = 30.0
"""Without a budget, the client's timeouts are those for leases of this length: an answer may take a tenth of it."""

_NEARLY: Final = 0.9
"""An outage is logged no later than it counts as one: the log's own measure of it begins a moment later."""

_PART: Final = 2.5
"""A lease of so many budgets has timeouts of a quarter of the budget."""


def contact_for(
    on_unavailable: OnUnavailable,
    budget: Seconds | None,
    local_share: float,
    connection: ConnectionSettings,
    *,
    listens: bool,
) -> ServiceContact | None:
    """What a limiter notes of the service's answers; None: nothing.

    Args:
        on_unavailable: As the user gave it.
        budget: As the user gave it.
        local_share: As the user gave it.
        connection: How the service is reached.
        listens: Whether anybody wants to be told of outages.

    Raises:
        ConfigurationError: A setting cannot work.
    """
    if on_unavailable not in get_args(OnUnavailable):
        choices = ", ".join(repr(choice) for choice in get_args(OnUnavailable))
        raise ConfigurationError(f"on_unavailable must be one of {choices}, not {shown(on_unavailable)}")
    share = _checked_share(local_share)
    seconds = _checked_budget(budget)
    if seconds is None and on_unavailable != "raise":
        seconds = BUDGET_SECONDS
    if seconds is None and not listens:
        return None
    call_seconds = connection.call_seconds(_lease_seconds(seconds))
    if seconds is not None and call_seconds > seconds / 2:
        raise ConfigurationError(
            f"the client may wait {call_seconds:g} s for an answer, and only half of a budget of {seconds:g} s is for "
            f"that: make the client with config=ddb_lease.client_config({_lease_seconds(seconds):g})"
        )
    return ServiceContact(on_unavailable=on_unavailable, budget=seconds, call_seconds=call_seconds, share=share)


def timeouts_of(contact: ServiceContact | None) -> float:
    """The length of the leases whose timeouts suit the budget, in seconds."""
    return _lease_seconds(None if contact is None else contact.budget)


def meanwhile(contact: ServiceContact | None) -> Meanwhile | None:
    """What the log says of how it is decided in an outage; None: calls wait."""
    if contact is None or contact.budget is None or contact.on_unavailable == "raise":
        return None
    share = f", with {contact.local.share:g} of the rate" if contact.on_unavailable == "local" else ""
    text = f"; meanwhile on_unavailable={contact.on_unavailable!r} decides{share}"
    return Meanwhile(text=text, after=contact.patience * _NEARLY)


def in_vain(timeout: Seconds | None, contact: ServiceContact | None) -> str:
    """How long a call has waited, for the end of its error's message; or why it has not."""
    seconds = checked_timeout(timeout)
    if contact is not None and contact.on_unavailable == "deny" and (seconds is None or contact.down):
        return ": the service does not answer, and on_unavailable='deny' decides"
    return "" if seconds is None else f" within {seconds:g} s"


def decision_here(
    state: LimiterState, contact: ServiceContact, key: str, *, allowed: bool, retry_in: float
) -> Decision:
    """What `check` tells where this process decided by itself; the figures are those of its own share.

    Args:
        state: Of the limiter.
        contact: Its own book has the figures, for ``local``.
        key: Of which key permits were wanted.
        allowed: What was decided.
        retry_in: Seconds until it is worth asking again.
    """
    by = contact.on_unavailable
    if by == "raise":
        raise ConfigurationError("nothing decides in place of the table: a defect of this library")
    limits = limits_here(state, key)
    policy, known = Policy(limits=limits, rev=0), None
    if by == "local":
        with state.lock:
            policy, known = share_of(limits, contact.local.share), contact.local.state_of(key)
    found = standing(policy, known, now=round(state.time.steady() * NS))
    if by == "deny":
        left = dict.fromkeys(found.limits, LimitDecision(remaining=0, retry_after=retry_in, reset_after=retry_in))
    else:
        left = shown_standings(found.limits)
    return Decision(
        allowed=allowed,
        remaining=left[found.tightest].remaining,
        retry_after=0.0 if allowed else retry_in,
        reset_after=max(limit.reset_after for limit in left.values()),
        limits=left,
        tightest=found.tightest,
        decided_by=by,
        settings=shown_limits(limits),
    )


def _lease_seconds(budget: float | None) -> float:
    return _ANSWER_SECONDS if budget is None else min(_ANSWER_SECONDS, budget * _PART)


def _checked_budget(budget: object) -> float | None:
    if budget is None:
        return None
    seconds = as_seconds(budget)
    if SHORTEST_BUDGET <= seconds <= LONGEST_BUDGET:
        return seconds
    raise ConfigurationError(
        f"budget must be from {SHORTEST_BUDGET:g} to {LONGEST_BUDGET:g} seconds, not {shown(budget)}"
    )


def _checked_share(share: object) -> float:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not LEAST_SHARE <= share <= 1:
        raise ConfigurationError(f"local_share must be a number from 0.000001 to 1, not {shown(share)}")
    return float(share)
