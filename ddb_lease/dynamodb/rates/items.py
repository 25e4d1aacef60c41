"""Items of rates: a key's item and the policy, as values and back.

Invariants:

- An attribute for each limit and each process's hold stands at the top of the item, not in a map: DynamoDB sets no part
  of a map that does not exist, so the first charge would take two writes.
- An item of another shape is never guessed at: reading it raises. Numbers are whole, and amounts in nanoseconds.
- A key's shard is the same in every process and version.
- The item that version 1 kept a rate in (pk the name, sk `rate`) is never written to, and its `tat` is not taken over:
  up to a burst comes on top once. `ReadPolicy` tells whether it is there. While processes of both versions use a name,
  what they admit adds up, up to twice the rate.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any, Final

from ddb_lease._protocol.rates.records import (
    LANES,
    RATES_SCHEMA,
    SHARDS,
    Hold,
    KeyState,
    LimitPolicy,
    LimitState,
    Policy,
)
from ddb_lease._protocol.rates.validation import LONGEST_NS
from ddb_lease.dynamodb.foreign import as_map
from ddb_lease.dynamodb.items import Wire, encode, number, string, text, whole, wholes

POLICY_KEY: Final = "policy"
RATE_PREFIX: Final = "rate#"
AFTER_RATES: Final = "rate$"
"""The first sort key after all keys of a shard."""

TAT: Final = "tat#"
HELD: Final = "held#"
REACH: Final = "reach#"
HOLD: Final = "hold#"
LANE_NAMES: Final = tuple(f"a{lane}" for lane in range(LANES))
"""The attribute of each lane."""

_MISSHAPEN: Final = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError)


class NewerVersion(ValueError):
    """The item was written by a newer version of this library."""


def shard_of(key: str) -> int:
    """The shard of a key."""
    return zlib.crc32(key.encode()) % SHARDS


def shard_name(limiter: str, shard: int) -> str:
    """The partition key of a shard of a limiter."""
    return f"{limiter}#{shard:02d}"


def partition_of(limiter: str, key: str) -> str:
    """The partition key of a limiter's key."""
    return shard_name(limiter, shard_of(key))


def key_of(item: Wire) -> str | None:
    """The key in an item's sort key; None if it is not a key's."""
    sort = string(item, "sk")
    return sort.removeprefix(RATE_PREFIX) if sort.startswith(RATE_PREFIX) else None


def encode_limits(limits: Mapping[str, LimitPolicy]) -> Wire:
    """Limits as a map, in the policy or in an override."""
    return {
        "M": {
            name: {
                "M": {
                    "interval": number(limit.interval),
                    "burst": number(limit.burst),
                    "permits": _readable(limit.permits),
                    "per": _readable(limit.per),
                    "rev": number(limit.rev),
                    "since": number(limit.since),
                }
            }
            for name, limit in limits.items()
        }
    }


def encode_hold(hold: Hold) -> Wire:
    """A process's hold as a map."""
    held = {name: number(amount) for name, amount in hold.held.items()}
    return {"M": {"held": {"M": held}, "until": number(hold.until), "attempt": text(hold.attempt)}}


def read_state(item: Wire) -> KeyState:
    """A key's state from its item.

    Raises:
        ValueError: It is not of our shape, or of a newer version.
    """
    _require_schema(item)
    try:
        names = sorted(name.removeprefix(TAT) for name in item if name.startswith(TAT))
        return KeyState(
            limits={name: _read_limit_state(item, name) for name in names},
            rev=whole(item, "rev"),
            lanes={lane: string(item, name) for lane, name in enumerate(LANE_NAMES) if name in item},
            holds={
                name.removeprefix(HOLD): _read_hold(item[name]["M"]) for name in sorted(item) if name.startswith(HOLD)
            },
            override=_read_limits(item["override"]) if "override" in item else {},
            override_rev=whole(item, "override_rev") if "override_rev" in item else 0,
            blocked_until=whole(item, "blocked_until") if "blocked_until" in item else 0,
        )
    except _MISSHAPEN as problem:
        raise ValueError(f"attribute {problem}") from problem


def read_policy(item: Wire) -> Policy:
    """The policy from its item.

    Raises:
        ValueError: It is not of our shape, or of a newer version.
    """
    _require_schema(item)
    try:
        return Policy(limits=_read_limits(item["limits"]), rev=whole(item, "rev"), schema=whole(item, "schema"))
    except _MISSHAPEN as problem:
        raise ValueError(f"attribute {problem}") from problem


def _require_schema(item: Wire) -> None:
    try:
        schema = whole(item, "schema")
    except _MISSHAPEN as problem:
        raise ValueError(f"attribute {problem}") from problem
    if schema > RATES_SCHEMA:
        raise NewerVersion(f"schema {schema}")
    if schema < RATES_SCHEMA:
        raise ValueError(f"schema is {schema}")


def _read_limit_state(item: Wire, name: str) -> LimitState:
    tat, held, reach = wholes(item, TAT + name, HELD + name, REACH + name)
    return LimitState(tat=tat, held=held, reach=reach)


def _read_hold(content: Mapping[str, Any]) -> Hold:
    held = {name: whole(content["held"]["M"], name) for name in sorted(content["held"]["M"])}
    return Hold(held=held, until=whole(dict(content), "until"), attempt=str(content["attempt"]["S"]))


def _read_limits(found: Mapping[str, Any]) -> dict[str, LimitPolicy]:
    return {name: _read_limit(as_map(found["M"][name])["M"]) for name in sorted(found["M"])}


def _read_limit(content: Wire) -> LimitPolicy:
    limit = LimitPolicy(
        interval=whole(content, "interval"),
        burst=whole(content, "burst"),
        permits=float(content["permits"]["N"]),
        per=float(content["per"]["N"]),
        rev=whole(content, "rev"),
        since=whole(content, "since"),
    )
    readable = all(math.isfinite(number) and number > 0 for number in (limit.permits, limit.per))
    if not readable or limit.interval < 1 or limit.burst < 1 or limit.tolerance > LONGEST_NS:
        raise ValueError("limits")
    return limit


def _readable(amount: float) -> Wire:
    return encode(int(amount) if amount.is_integer() else amount)  # 100, not 100.0: for people
