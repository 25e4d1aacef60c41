"""Items: our values to DynamoDB's typed attributes, and back.

Invariants:

- No item is trusted to have our shape: a slot of another shape becomes a `Slot` marked foreign, never an exception, so
  that one bad item spoils no look.
- `ttl` is whole seconds (DynamoDB demands it); all other times are whole milliseconds, but those of rates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from ddb_lease._protocol.records import LONGEST_LEASE_MS, MAX_TOKENS, SCHEMA, Claimant, Counter, Slot
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Data

Wire = dict[str, Any]
"""An item, or a value, in the form that DynamoDB's low-level API takes."""

COUNTER_KEY: Final = "counter"
METER_KEY: Final = "rate"
"""Of the one item that version 1 kept a rate in."""

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


def numbers(values: Mapping[str, int]) -> Wire:
    """Number attributes, by name."""
    return {name: {"N": str(value)} for name, value in values.items()}


_LEVELS: Final = 31
"""Nested maps and lists, `data` itself included: DynamoDB stores 32 levels, and a scalar is one of them."""

_NAME_BYTES: Final = 65_535
"""DynamoDB's limit for a name, at any depth."""

_DIGITS: Final = 38
_EXPONENT: Final = 125


_WHOLE_DIGITS: Final = 37
"""Digits of a whole number in the protocol: one less than DynamoDB stores, so that the number plus one fits."""


def encode(value: object, levels: int = _LEVELS) -> Wire:
    """A value of a lease's `data` as an attribute, in at most so many levels of maps and lists.

    Raises:
        ConfigurationError: It is not a str, bool, int, float, Decimal, None, list, tuple or mapping with string keys;
            or it is more than DynamoDB can store.
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
        _require_level(levels)
        return {"L": [encode(part, levels - 1) for part in value]}
    if isinstance(value, Mapping):
        return {"M": encode_map(value, levels)}
    raise ConfigurationError(f"data cannot hold a value of type {type(value).__name__}; it can hold what JSON can")


def encode_map(data: Mapping[Any, object], levels: int = _LEVELS) -> Wire:
    """A lease's `data` as a map of attributes.

    Raises:
        ConfigurationError: A key is not a string, or not one that DynamoDB can store, or a value cannot be encoded.
    """
    _require_level(levels)
    for key in data:
        if not isinstance(key, str):
            raise ConfigurationError(f"data's keys must be strings, not {type(key).__name__}")
        if not 0 < len(key.encode(errors="surrogatepass")) <= _NAME_BYTES:
            raise ConfigurationError(f"data's keys must have 1 to {_NAME_BYTES} bytes")
    return {key: encode(value, levels - 1) for key, value in data.items()}


def _require_level(levels: int) -> None:
    if levels < 1:
        raise ConfigurationError(f"data may nest at most {_LEVELS} levels of maps and lists, itself included")


def _digits(value: float | Decimal) -> str:
    # A float is read by its text, as 0.1 means 0.1. An int is not: Python refuses to print thousands of digits.
    exact = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    # The limits are DynamoDB's for a number. The message does not show the number, which may be huge.
    if not (exact.is_finite() and len(exact.as_tuple().digits) <= _DIGITS and abs(exact.adjusted()) <= _EXPONENT):
        raise ConfigurationError(
            f"data holds a number that DynamoDB cannot store: at most {_DIGITS} digits, up to 1e{_EXPONENT}"
        )
    return str(exact)


def decode(value: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever the table holds
    """An attribute as a Python value; a number comes back as int where it is whole, else as float, if that holds it.

    Raises:
        ValueError: It is no attribute, or no number that DynamoDB keeps.
    """
    ((kind, content),) = value.items()
    if kind == "N":
        return _read_number(content)
    if kind == "NULL":
        return None
    if kind == "L":
        return [decode(part) for part in content]
    if kind == "M":
        return {key: decode(part) for key, part in content.items()}
    return content


def _read_number(content: str) -> float | Decimal:
    exact = Decimal(content)
    if not exact.is_finite() or abs(exact.adjusted()) > _DIGITS + _EXPONENT:
        raise ValueError("a number that DynamoDB cannot store")
    if exact == exact.to_integral_value():
        return int(exact)
    near = float(exact)
    return near if Decimal(repr(near)) == exact else exact


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
            max_tokens=whole(item, "max_tokens"),
            minted=whole(item, "minted"),
            rev=whole(item, "rev"),
            lease_ms=whole(item, "lease_ms"),
            schema=whole(item, "schema") if "schema" in item else SCHEMA,
            order="fifo" if string(item, "order") == "fifo" else "any",
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as problem:
        raise ValueError(f"attribute {problem}") from problem
    if not 0 <= counter.max_tokens <= MAX_TOKENS:
        raise ValueError(f"max_tokens is {counter.max_tokens}")
    if not 0 < counter.lease_ms <= LONGEST_LEASE_MS:
        raise ValueError(f"lease_ms is {counter.lease_ms}")
    return counter


def is_meter(item: Wire) -> bool:
    """Whether an item is the one that version 1 kept a rate in: by its key, and by its shape."""
    try:
        whole(item, "tat")
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return False
    return string(item, "sk") == METER_KEY and "N" in (item.get("burst") or {})


def is_counter(item: Wire) -> bool:
    """Whether an item is the bucket's counter, by its sort key."""
    return string(item, "sk") == COUNTER_KEY


def slot_number(item: Wire) -> int | None:
    """The slot number in an item's sort key; None if it is not a slot."""
    match = _SLOT_KEY.match(string(item, "sk"))
    return int(match.group(1)) if match else None


def read_slot(item: Wire, slot: int) -> Slot:
    """A slot from its item; marked foreign if the item does not have our shape. Its holder may still recognise it."""
    try:
        fence = whole(item, "fence")
        if fence >= 0:
            lease = _read_claimant(item) if "lease_id" in item else None
            return Slot(number=slot, fence=fence, lease=lease, retired="retired" in item)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError):
        pass
    return Slot(number=slot, fence=0, lease=_rest_of_claimant(item), retired="retired" in item, foreign=True)


def _read_claimant(item: Wire) -> Claimant:
    return Claimant(
        lease_id=str(item["lease_id"]["S"]),
        owner=string(item, "owner"),
        acquired_at=whole(item, "acquired_at") if "acquired_at" in item else 0,
        expires_at=whole(item, "expires_at"),
        data=decode_map(item["data"]["M"]) if "data" in item else {},
        revoked="revoked" in item,
    )


def _rest_of_claimant(item: Wire) -> Claimant | None:
    """The attributes by which a holder recognises its lease, in a damaged item."""
    lease_id = string(item, "lease_id")
    try:
        expires_at = whole(item, "expires_at")
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not lease_id:
        return None
    return Claimant(lease_id=lease_id, owner="", acquired_at=0, expires_at=expires_at, revoked="revoked" in item)


def string(item: Wire, name: str) -> str:
    """A string attribute; empty if it is missing, or of another type."""
    value = item.get(name)
    return str(value.get("S", "")) if isinstance(value, dict) else ""


def wholes(item: Wire, *names: str) -> tuple[int, ...]:
    """Whole numbers; raises as `whole`."""
    return tuple(whole(item, name) for name in names)


def whole(item: Wire, name: str) -> int:
    """A whole number.

    Raises:
        KeyError, TypeError, ValueError, ArithmeticError: It is missing, or none.
    """
    exact = Decimal(item[name]["N"])
    # Check before making an int: a few characters can denote a number that fills the memory.
    if not exact.is_finite() or exact.adjusted() >= _WHOLE_DIGITS or exact != exact.to_integral_value():
        raise ValueError(name)
    return int(exact)
