"""The items and requests that probes of rates are made of. Pure; all numbers are fixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from ddb_lease._protocol.rates.messages import Branch, Charge, LimitCharge, LimitSettlement, Settle
from ddb_lease._protocol.rates.records import RATES_SCHEMA, Hold, LimitPolicy, Policy
from ddb_lease.cli.conform.samples import LATER
from ddb_lease.dynamodb.items import Wire, number, text
from ddb_lease.dynamodb.rates.items import encode_hold, encode_limits, shard_name, shard_of

KEY: Final = "team-7"
PARENT: Final = "org-52"
"""Another key of the same shard."""
SHARD: Final = shard_name("", shard_of(KEY))
"""What follows the limiter's name in the partition key of `KEY`."""
ITEM: Final = f"rate#{KEY}"
NOW: Final = 1_000
REV: Final = 7

HOLD: Final = Hold(held={"tokens": 9}, until=5_000, attempt="held")
HELD: Final = encode_hold(HOLD)
LIMIT: Final = LimitPolicy(interval=10, burst=10, permits=100_000_000.0, per=1.0)
POLICY: Final = Policy(limits={"requests": LIMIT}, rev=REV)


def key(*, rev: int = REV, **limits: int | tuple[int, int]) -> Wire:
    """A key's item: of each limit `tat`, and `held` where it is not 0."""
    item = {"schema": number(RATES_SCHEMA), "rev": number(rev)}
    for name, state in limits.items():
        tat, held = state if isinstance(state, tuple) else (state, 0)
        item |= limit(name, tat, held)
    return item


def limit(name: str, tat: int, held: int = 0) -> Wire:
    """The attributes of one limit."""
    return {f"tat#{name}": number(tat), f"held#{name}": number(held), f"reach#{name}": number(tat + held)}


def part(branch: Branch = "idle", name: str = "requests", **changes: Any) -> LimitCharge:  # noqa: ANN401 - of a LimitCharge
    """A permit of ten; a hundred may be ahead."""
    return replace(LimitCharge(name=name, branch=branch, charged=10, tolerance=100), **changes)


def charge(*parts: LimitCharge, of: str = KEY, **changes: Any) -> Charge:  # noqa: ANN401 - the fields of a Charge
    """A charge as of 1,000."""
    request = Charge(key=of, limits=parts or (part(),), due=NOW, rev=REV, lane=0, attempt="attempt", ttl=LATER)
    return replace(request, **changes)


CHARGED: Final = {"a0": text("attempt"), "ttl": number(LATER)}
"""What each charge writes, besides the limits."""


def settle(*, idle: bool = False) -> Settle:
    """Four of the nine that process p holds were used."""
    used = LimitSettlement(name="tokens", idle=idle, used=4, held=9)
    return Settle(
        key=KEY, limits=(used,), now=NOW, process="p", hold_before=HOLD.attempt, hold=None, lane=1, attempt="settled"
    )


def policy(rev: int = REV, **limits: LimitPolicy) -> Wire:
    """The policy's item."""
    return {
        "limits": encode_limits(limits or POLICY.limits),
        "rev": number(rev),
        "schema": number(RATES_SCHEMA),
    }
