"""Probes of what is refused because of the table, and of reading a page of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ddb_lease._protocol.listing import ListPage
from ddb_lease._protocol.messages import Look, RenewEach
from ddb_lease.cli.conform.bucket_probes import Tokens
from ddb_lease.cli.conform.probe import Items, Probe
from ddb_lease.cli.conform.samples import claim, counter, free, leased, mint, renew
from ddb_lease.dynamodb.expressions import Call
from ddb_lease.dynamodb.items import slot_key, text

_MISSING: Final = "ResourceNotFoundException"


def table_probes(token: Tokens) -> Iterator[Probe]:
    """What is refused because the table does not exist, or has other keys."""
    nowhere = "-nowhere"
    for name, request in (
        ("look at", Look(limit=10, consistent=False)),
        ("claim in", claim()),
        ("mint in", mint(token())),
        ("list in", ListPage(limit=10)),
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


def listing_probes() -> Iterator[Probe]:
    """A page of the table, for people: of what it reads it shows what is leased, and what is no slot."""
    there: Items = {
        "counter": counter(),
        slot_key(0): free(),
        slot_key(1): leased(),
        slot_key(2): free(),
        "waits": {"x": text("foreign")},
    }
    yield Probe(
        name="list a page of the table",
        request=ListPage(limit=3),
        before=there,
        behind="counter",
        answer="ok, 1 item, more",
        read="PageIs",
        units=0.5,
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
