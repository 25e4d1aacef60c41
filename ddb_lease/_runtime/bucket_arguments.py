"""Arguments of buckets, checked before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from ddb_lease._numbers import as_seconds, shown
from ddb_lease._protocol.grants import slots_of
from ddb_lease._protocol.records import LONGEST_LEASE_MS, MAX_TOKENS, PER_TRANSACTION, Settings
from ddb_lease._protocol.tickets import HIGHEST_PRIORITY
from ddb_lease._runtime.arguments import checked_text
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.callables import with_article
from ddb_lease.dynamodb.items import encode_map
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import ORDERS, Data, LeaseInfo, Order

_DATA_BYTES: Final = 300_000
_TRANSACTION_BYTES: Final = 3_900_000  # DynamoDB's limit is 4 MB


def checked_lease_id(lease_id: object) -> tuple[int, ...]:
    """The slots that a lease id names.

    Raises:
        ConfigurationError: It is not a lease id.
    """
    if isinstance(lease_id, BelongsHere):
        kind = with_article(type(lease_id).__name__)
        raise ConfigurationError(f"this takes a lease's id, not {kind}: write lease.release(), or pass lease.id")
    if isinstance(lease_id, LeaseInfo):
        raise ConfigurationError("this takes a lease's id, not a LeaseInfo: pass its lease_id")
    slots = slots_of(checked_text("a lease id", lease_id))
    if slots is None:
        raise ConfigurationError(f"{lease_id!r} is not a lease id")
    return slots


def checked_max_tokens(max_tokens: object) -> int:
    """How many tokens a bucket has.

    Raises:
        ConfigurationError: It is no whole number within the limits.
    """
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or not 1 <= max_tokens <= MAX_TOKENS:
        raise ConfigurationError(f"max_tokens must be a whole number from 1 to {MAX_TOKENS:,}, not {shown(max_tokens)}")
    return max_tokens


def checked_order(order: Order) -> Order:
    """In which order a bucket serves its waiters.

    Raises:
        ConfigurationError: It is no such order.
    """
    if order not in ORDERS:
        raise ConfigurationError(f"order must be one of {', '.join(map(repr, ORDERS))}, not {shown(order)}")
    return order


def checked_settings(max_tokens: object, lease_seconds: object, order: Order | None) -> Settings:
    """A bucket's settings.

    Raises:
        ConfigurationError: One of them cannot work.
    """
    max_tokens = checked_max_tokens(max_tokens)
    longest = LONGEST_LEASE_MS / 1000
    seconds = as_seconds(lease_seconds)
    if not 0 < seconds <= longest:
        raise ConfigurationError(f"lease_seconds must be a number of seconds up to a year, not {shown(lease_seconds)}")
    if order is not None:
        checked_order(order)
    return Settings(max_tokens=max_tokens, lease_ms=round(seconds * 1000), order=order)


def require_count(count: object) -> None:
    """Check how many slots are wanted together.

    Raises:
        ConfigurationError: It is not a whole number that fits into one transaction.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= PER_TRANSACTION:
        raise ConfigurationError(f"count must be a whole number from 1 to {PER_TRANSACTION}, not {shown(count)}")


def require_priority(priority: object) -> None:
    """Check a priority.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= HIGHEST_PRIORITY:
        raise ConfigurationError(f"priority must be a whole number from 0 to {HIGHEST_PRIORITY}, not {shown(priority)}")


def checked_wish(count: int, data: object, priority: object) -> Data:
    """What an acquire wants; returns what to attach to its lease.

    Raises:
        ConfigurationError: One of them cannot work.
    """
    require_count(count)
    require_priority(priority)
    return checked_data(data, count)


def checked_data(data: object, count: int) -> Data:
    """What to attach to a lease of so many slots.

    Raises:
        ConfigurationError: It cannot be attached.
    """
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise ConfigurationError(f"data must be a mapping, not a {type(data).__name__}")
    try:
        size = len(json.dumps(encode_map(data), ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        raise ConfigurationError("data holds a string that cannot be encoded as UTF-8") from error
    most = min(_DATA_BYTES, _TRANSACTION_BYTES // count)  # each slot carries a copy
    if size > most:
        raise ConfigurationError(f"data is too large ({size:,} bytes; at most {most:,})")
    return dict(data)
