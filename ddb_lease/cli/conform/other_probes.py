"""Probes of rates, and of what is refused because of the table. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ddb_lease._protocol.messages import Look, ReadMeter, RenewEach
from ddb_lease.cli.conform.bucket_probes import Tokens
from ddb_lease.cli.conform.probe import Probe
from ddb_lease.cli.conform.samples import CHARGED, charge, claim, meter, mint, renew
from ddb_lease.dynamodb.expressions import Call
from ddb_lease.dynamodb.items import number, text

_REFUSED: Final = "ConditionalCheckFailedException"
_MISSING: Final = "ResourceNotFoundException"


def rate_probes() -> Iterator[Probe]:
    """Every charge, and the read of a rate's item."""
    shown = "ok, shows the item"
    first = CHARGED | {"tat": number(1_010)}
    yield Probe(
        name="the first charge",
        request=charge(idle=True),
        answer=shown,
        read="Charged",
        units=1,
        after={"rate": first},
    )
    yield Probe(
        name="charge a rate that is paid for",
        request=charge(idle=True),
        before={"rate": meter(999)},
        answer=shown,
        read="Charged",
        units=1,
        after={"rate": first},
    )
    yield Probe(
        name="charge on top of what is not paid for",
        request=charge(idle=False),
        before={"rate": meter(1_090)},
        answer=shown,
        read="Charged",
        units=1,
        after={"rate": CHARGED | {"tat": number(1_100)}},
    )
    refused = {
        "charge as if paid for what is not": (True, meter(1_000)),
        "charge beyond the tolerance": (False, meter(1_091)),
        "charge on top where all is paid for": (False, meter(999)),
        "charge an attempt again": (False, meter(1_050, a0=text("attempt"))),
    }
    for name, (idle, item) in refused.items():
        yield Probe(
            name=name,
            request=charge(idle=idle),
            before={"rate": item},
            answer=f"{_REFUSED} with the item",
            read="Uncharged",
        )
    yield Probe(
        name="charge an item of another shape",
        request=charge(idle=True),
        before={"rate": {"x": text("foreign")}},
        answer=f"{_REFUSED} with the item",
        read="Rejected",
    )
    yield Probe(name="charge on top of nothing", request=charge(idle=False), answer=_REFUSED, read="Uncharged")
    yield Probe(
        name="read a rate", request=ReadMeter(), before={"rate": meter(1)}, answer="ok, 1 item", read="Metered", units=1
    )
    yield Probe(name="read a rate that does not exist", request=ReadMeter(), answer="ok, 0 items", read="Metered")


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
