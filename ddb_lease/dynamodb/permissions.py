"""The permissions of each role on the table; this is the only place that lists them.

Invariants: tests compare the policies that `ddb-lease template` prints, and the page that explains them, with these
lists, and these lists with the requests that are sent. IAM has no action for a transaction: each item in it needs the
permission for its own kind (a TransactWriteItems that puts and updates: PutItem and UpdateItem; a TransactGetItems:
GetItem). Nor has IAM one for a batch of PartiQL: each statement needs its verb's action.
"""

from __future__ import annotations

from typing import Any, Final

ROLES: Final[dict[str, tuple[str, ...]]] = {
    "worker": ("PutItem", "UpdateItem", "PartiQLUpdate", "Query"),
    "operator": ("GetItem", "UpdateItem", "Query"),
    "reader": ("Query",),
    "deployer": ("CreateTable", "DescribeTable", "DescribeTimeToLive", "UpdateTimeToLive"),
}
"""The DynamoDB actions of each role, all on the table itself and on nothing else."""

OPTIONAL: Final[dict[str, tuple[str, ...]]] = {"deployer": ("DescribeGlobalTable", "UpdateTable")}
"""Actions that a role does without. The first, on the global table of that name, recognises one of version 2017.11.29,
of which few are left. The second sets deletion protection or a cap on a table that exists, if that is asked for."""


def actions(role: str) -> list[str]:
    """The role's actions, as IAM spells them."""
    return [f"dynamodb:{name}" for name in ROLES[role]]


def policy(role: str, *, arn: str) -> dict[str, Any]:
    """The role's policy document, for the one table that has this ARN."""
    statement = {"Sid": role.capitalize(), "Effect": "Allow", "Action": actions(role), "Resource": arn}
    return {"Version": "2012-10-17", "Statement": [statement]}
