"""Probes of what is refused because of the table. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ddb_lease._protocol.messages import Look, RenewEach
from ddb_lease.cli.conform.bucket_probes import Tokens
from ddb_lease.cli.conform.probe import Probe
from ddb_lease.cli.conform.samples import claim, mint, renew
from ddb_lease.dynamodb.expressions import Call

_MISSING: Final = "ResourceNotFoundException"


def table_probes(token: Tokens) -> Iterator[Probe]:
    """What is refused because the table does not exist, or has other keys."""
    nowhere = "-nowhere"
    for name, request in (
        ("look at", Look(limit=10, consistent=False)),
        ("claim in", claim()),
        ("mint in", mint(token())),
    ):
        yield Probe(
            name=f"{name} a table that does not exist", request=request, table=nowhere, answer=_MISSING, read="Rejected"
        )
    yield Probe(
        name="renew in a batch in a table that does not exist",
        request=RenewEach(renewals=(renew(),)),
        table=nowhere,
        answer="ok [ResourceNotFound]",
        read="Each [Rejected]",
    )
    yield Probe(
        name="claim in a table whose keys are numbers",
        request=claim(),
        edit=_with_numbers_as_keys,
        answer="ValidationException",
        read="Rejected",
    )
    yield Probe(
        name="mint in a table whose keys are numbers",
        request=mint(token()),
        edit=_with_numbers_as_keys,
        answer="TransactionCanceledException [2 x ValidationError]",
        read="Rejected",
    )


def _with_numbers_as_keys(call: Call) -> Call:
    """The same call with numbers as keys: our table refuses it, as a table of numbers refuses our calls."""
    operation, arguments = call
    return operation, _numbered(arguments)


def _numbered(value: Any) -> Any:  # noqa: ANN401 - any part of a call
    if isinstance(value, list):
        return [_numbered(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: {"N": "1"} if name == "pk" else _numbered(each) for name, each in value.items()}
