"""Rates for tests: requests by hand, and a key's item in the table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ddb_lease._protocol.rates.messages import Branch, Charge, LimitCharge, LimitSettlement, Settle
from ddb_lease._protocol.rates.records import Hold, KeyState, LimitPolicy, LimitState, Policy
from ddb_lease.dynamodb.rates.items import shard_name, shard_of
from tests.support import TTL, Table

REQUESTS = LimitPolicy(interval=10, burst=10, permits=1e8, per=1.0)
TOKENS = LimitPolicy(interval=1, burst=50, permits=1e9, per=1.0)
POLICY = Policy(limits={"requests": REQUESTS, "tokens": TOKENS}, rev=7)
HOLD = Hold(held={"tokens": 9}, until=5_000, attempt="held")


def part(branch: Branch = "idle", *, name: str = "requests", charged: int = 10, **changes: Any) -> LimitCharge:
    """A permit of ten; a hundred may be ahead."""
    return replace(LimitCharge(name=name, branch=branch, charged=charged, tolerance=100), **changes)


def charge(*parts: LimitCharge, attempt: str = "mine", key: str = "k", due: int = 1_000, **changes: Any) -> Charge:
    """A charge as of 1,000 under the policy's revision 7."""
    request = Charge(key=key, limits=parts or (part(),), due=due, rev=7, lane=0, attempt=attempt, ttl=TTL)
    return replace(request, **changes)


def settlement(*parts: LimitSettlement, attempt: str = "settled", now: int = 1_000, **changes: Any) -> Settle:
    """A settlement of all that `HOLD` holds, by process p."""
    parts = parts or (LimitSettlement(name="tokens", idle=True, used=4, held=9),)
    request = Settle(
        key="k", limits=parts, now=now, process="p", hold_before="held", hold=None, lane=1, attempt=attempt
    )
    return replace(request, **changes)


def limit(tat: int, held: int = 0) -> LimitState:
    """A limit's state as the library writes it."""
    return LimitState(tat=tat, held=held, reach=tat + held)


def key_state(**changes: Any) -> KeyState:
    """A key that was written under the policy's revision 7."""
    return replace(KeyState(rev=7), **changes)


class KeyTable:
    """Keys' items in the table, in plain Python values."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._made: set[tuple[str, str]] = set()

    def of(self, key: str = "k") -> Table:
        """The shard that a key is in."""
        return Table(self._table.client, self._table.table, shard_name(self._table.bucket, shard_of(key)))

    def get(self, key: str = "k") -> dict[str, Any] | None:
        return self.of(key).get(f"rate#{key}")

    def set(self, key: str = "k", **attributes: Any) -> None:
        self._table.client.put_item(
            TableName=self._table.table,
            Item=self.of(key).key(f"rate#{key}")
            | {
                name: value
                if isinstance(value, dict)
                else {"N": str(value)}
                if isinstance(value, int)
                else {"S": value}
                for name, value in attributes.items()
            },
        )

    def put(self, key: str = "k", **limits: tuple[int, int]) -> None:
        """An item of our shape: of each limit, `tat` and `held`."""
        self.set(key, **ours(**limits))


def ours(**limits: tuple[int, int]) -> dict[str, Any]:
    """The attributes of an item of our shape."""
    found: dict[str, Any] = {"schema": 2, "rev": 7}
    for name, (tat, held) in limits.items():
        found |= {f"tat#{name}": tat, f"held#{name}": held, f"reach#{name}": tat + held}
    return found
