"""The permissions of each role on the table; this is the only place that lists them.

Invariants: tests compare the policies that `ddb-lease template` prints, and the page that explains them, with these
lists, and these lists with the requests that are sent. IAM has no action for a transaction: each item in it needs the
permission for its own kind (a TransactWriteItems that puts and updates: PutItem and UpdateItem; a TransactGetItems:
GetItem). Nor has IAM one for a batch of PartiQL: each statement needs its verb's action.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

ROLES: Final[dict[str, tuple[str, ...]]] = {
    "worker": ("PutItem", "UpdateItem", "DeleteItem", "PartiQLUpdate", "Query"),
    "operator": ("GetItem", "UpdateItem", "Query", "Scan"),
    "reader": ("Query",),
    "deployer": ("CreateTable", "DescribeTable", "DescribeTimeToLive", "UpdateTimeToLive"),
}
"""The DynamoDB actions of each role, all on the table itself and on nothing else. Only commands that list a whole table
(`ls`, `top`, `serve`) scan: buckets have no index of their own, as keeping one would cost every acquire."""

OPTIONAL: Final[dict[str, tuple[str, ...]]] = {"deployer": ("DescribeGlobalTable", "UpdateTable")}
"""Actions that a role does without. The first, on the global table of that name, recognises one of version 2017.11.29,
of which few are left. The second sets deletion protection or a cap on a table that exists, if that is asked for."""

_OF_GLOBAL_TABLES: Final = {"DescribeGlobalTable"}
"""Actions on the global table of the table's name, which has an ARN of its own, without a region."""


def actions(role: str) -> list[str]:
    """The role's actions, as IAM spells them."""
    return [f"dynamodb:{name}" for name in ROLES[role]]


def policy(role: str, *, arn: str, optional: bool = False) -> dict[str, Any]:
    """The role's policy document, for the one table that has this ARN.

    Args:
        role: The role.
        arn: The table's ARN.
        optional: Whether the actions that the role does without are in it, in statements of their own.
    """
    sid = role.capitalize()
    statements = [_statement(sid, ROLES[role], arn)]
    if optional:
        wanted = OPTIONAL.get(role, ())
        here = [name for name in wanted if name not in _OF_GLOBAL_TABLES]
        everywhere = [name for name in wanted if name in _OF_GLOBAL_TABLES]
        if here:
            statements.append(_statement(f"{sid}Optional", here, arn))
        if everywhere:
            statements.append(_statement(f"{sid}OptionalGlobalTable", everywhere, _of_global_table(arn)))
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(sid: str, names: Iterable[str], arn: str) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": [f"dynamodb:{name}" for name in names], "Resource": arn}


def _of_global_table(arn: str) -> str:
    """The ARN of the global table of the same name and account."""
    _, partition, service, _, account, name = arn.split(":", 5)
    return f"arn:{partition}:{service}::{account}:{name.replace('table/', 'global-table/', 1)}"
