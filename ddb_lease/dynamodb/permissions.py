"""Who may do what to the table: the one place where the permissions of each role are listed.

Invariants: the policies that `ddb-lease template` prints and the page that explains them are both held to these
lists, and these lists to the requests that are really made. IAM has no action for a transaction: each item in it needs
the permission of its own (a TransactWriteItems that puts and updates: PutItem and UpdateItem; a TransactGetItems:
GetItem). Nor has it one for a batch of PartiQL: each statement needs its verb's.
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


def actions(role: str) -> list[str]:
    """What the role may do, as IAM spells it."""
    return [f"dynamodb:{name}" for name in ROLES[role]]


def policy(role: str, *, arn: str) -> dict[str, Any]:
    """The role's policy document, for the one table that has this ARN."""
    statement = {"Sid": role.capitalize(), "Effect": "Allow", "Action": actions(role), "Resource": arn}
    return {"Version": "2012-10-17", "Statement": [statement]}
