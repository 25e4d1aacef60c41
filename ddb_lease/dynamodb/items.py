"""Items: our values to DynamoDB's typed attributes, and back.

Laws of this room:

- Nothing that stands in the table is trusted to be of our shape: what is not, comes back as a `Slot` marked
  foreign, never as an exception, so that one bad item spoils no look.
- `ttl` is whole seconds (DynamoDB demands it), all other times are whole milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from ddb_lease.errors import ConfigurationError
from ddb_lease.model import SCHEMA, Claimant, Counter, Data, Slot

Wire = dict[str, Any]
"""An item, or a value, in the form that DynamoDB's low-level API takes."""

COUNTER_KEY: Final = "counter"
_SLOT_KEY: Final = re.compile(r"slot#(\d{5})\Z", re.ASCII)


def slot_key(number: int) -> str:
    """The sort key of a slot: five digits, so that keys sort by number."""
    return f"slot#{number:05d}"


def text(value: str) -> Wire:
    """A string attribute."""
    return {"S": value}


def number(value: int) -> Wire:
    """A number attribute."""
    return {"N": str(value)}


def encode(value: object) -> Wire:
    """A value of a lease's `data` as an attribute.

    Raises:
        ConfigurationError: It is none of: str, bool, int, float, Decimal, None, list, tuple, mapping with string keys.
    """
    if isinstance(value, str):
        return {"S": value}
    if value is None:
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, (int, float, Decimal)):
        return {"N": _digits(value)}
    if isinstance(value, (list, tuple)):
        return {"L": [encode(part) for part in value]}
    if isinstance(value, Mapping):
        return {"M": encode_map(value)}
    raise ConfigurationError(f"data cannot hold a {type(value).__name__}; it takes what JSON takes")


def encode_map(data: Mapping[Any, object]) -> Wire:
    """A lease's `data` as a map of attributes.

    Raises:
        ConfigurationError: A key is no string, or a value cannot be encoded.
    """
    for key in data:
        if not isinstance(key, str):
            raise ConfigurationError(f"data's keys must be strings, not {type(key).__name__}")
    return {key: encode(value) for key, value in data.items()}


_DIGITS: Final = 38
_EXPONENT: Final = 125


def _digits(value: float | Decimal) -> str:
    # float by way of str: 0.1 is meant as 0.1. The limits are DynamoDB's for a number.
    exact = value if isinstance(value, Decimal) else Decimal(str(value))
    fits = exact.is_finite() and len(exact.as_tuple().digits) <= _DIGITS and abs(exact.adjusted()) <= _EXPONENT
    if not fits:
        raise ConfigurationError(f"data cannot hold the number {value}: DynamoDB keeps 38 digits, up to 1e125")
    return str(exact)


def decode(value: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever the table holds
    """An attribute as a Python value; numbers come back as int where they are whole, else as float."""
    ((kind, content),) = value.items()
    if kind == "N":
        exact = Decimal(content)
        return int(exact) if exact == exact.to_integral_value() else float(exact)
    if kind == "NULL":
        return None
    if kind == "L":
        return [decode(part) for part in content]
    if kind == "M":
        return {key: decode(part) for key, part in content.items()}
    return content


def decode_map(data: Mapping[str, Any]) -> Data:
    """A lease's `data` as Python values."""
    return {key: decode(value) for key, value in data.items()}


def read_counter(item: Wire) -> Counter:
    """The counter from its item.

    Raises:
        ValueError: It is not of our shape.
    """
    try:
        counter = Counter(
            max_tokens=_whole(item, "max_tokens"),
            minted=_whole(item, "minted"),
            rev=_whole(item, "rev"),
            lease_ms=_whole(item, "lease_ms"),
            schema=_whole(item, "schema") if "schema" in item else SCHEMA,
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as problem:
        raise ValueError(f"attribute {problem}") from problem
    if counter.max_tokens < 0 or counter.lease_ms <= 0:
        raise ValueError("max_tokens or lease_ms is negative")
    return counter


def slot_number(item: Wire) -> int | None:
    """Which slot an item is by its sort key; None where it is none."""
    match = _SLOT_KEY.match(str(item.get("sk", {}).get("S", "")))
    return int(match.group(1)) if match else None


def read_slot(item: Wire, slot: int) -> Slot:
    """A slot from its item; marked foreign where the item is not of our shape."""
    try:
        return Slot(
            number=slot,
            fence=_whole(item, "fence"),
            lease=_read_claimant(item) if "lease_id" in item else None,
            retired="retired" in item,
        )
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError):
        return Slot(number=slot, fence=0, retired="retired" in item, foreign=True)


def _read_claimant(item: Wire) -> Claimant:
    return Claimant(
        lease_id=item["lease_id"]["S"],
        owner=str(item.get("owner", {}).get("S", "")),
        acquired_at=_whole(item, "acquired_at") if "acquired_at" in item else 0,
        expires_at=_whole(item, "expires_at"),
        data=decode_map(item["data"]["M"]) if "data" in item else {},
        revoked="revoked" in item,
    )


def _whole(item: Wire, name: str) -> int:
    exact = Decimal(item[name]["N"])
    if exact != exact.to_integral_value():
        raise ValueError(name)
    return int(exact)
