"""Reasons: what an error of DynamoDB says besides its code. Values and text only; no decision is made here.

Invariants: an answer need not come from DynamoDB, so nothing in it is taken for granted.
"""

from __future__ import annotations

from typing import Any, Final

from botocore import exceptions as aws

from ddb_lease.events import ThrottledBy

_LIMITS: Final[tuple[tuple[str, ThrottledBy], ...]] = (
    ("KeyRangeThroughputExceeded", "key range"),
    ("MaxOnDemandThroughputExceeded", "table"),
    ("ProvisionedThroughputExceeded", "table"),
    ("AccountLimitExceeded", "account"),
)
"""The ends of the names of throttling reasons (DynamoDB API Reference, ThrottlingReason)."""

_NONE: Final = "None"


def error_code(error: aws.ClientError) -> str:
    """An error's code; empty if the answer has none."""
    said: Any = error.response.get("Error")
    return str(said.get("Code", "")) if isinstance(said, dict) else ""


def limit_of(error: aws.ClientError) -> ThrottledBy:
    """What throttled a request, by the first reason that we know."""
    response: dict[str, Any] = dict(error.response)
    # The service's model writes the name in both ways.
    listed = response.get("ThrottlingReasons") or response.get("throttlingReasons")
    for reason in listed if isinstance(listed, list) else ():
        name = str(reason.get("reason")) if isinstance(reason, dict) else ""
        for end, limit in _LIMITS:
            if name.endswith(end):
                return limit
    return "unknown"


def cancelled_by(error: aws.ClientError) -> list[dict[str, Any]]:
    """Why a transaction was cancelled: one reason for each item, in the request's order."""
    reasons: Any = error.response.get("CancellationReasons")
    return [reason if isinstance(reason, dict) else {} for reason in reasons] if isinstance(reasons, list) else []


def telling_reason(error: aws.ClientError, *, first: str) -> tuple[str, str] | None:
    """Code and message of a reason that a transaction was cancelled for; None if it has none.

    Args:
        error: The cancellation.
        first: The code that is told before any other.
    """
    reasons = [reason for reason in cancelled_by(error) if code_of(reason) != _NONE]
    for reason in sorted(reasons, key=lambda reason: code_of(reason) != first):
        return code_of(reason), " ".join(str(reason.get("Message") or "without a message").split())
    return None


def code_of(reason: dict[str, Any]) -> str:
    """A reason's code: ``None``, as text, for an item that nothing was wrong with."""
    return str(reason.get("Code") or _NONE)
