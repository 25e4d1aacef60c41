"""Offers: a lease that its holder has handed over, and the token that carries it to who adopts it.

Invariants:

- Pure: no I/O, no clock. Times are whole milliseconds since the epoch, by the service's clock.
- A token is printable and safe in a URL. It has no secret but the lease's id. A cut or changed one is recognised by its
  checksum; that is no protection against who can make one, and the table's conditions decide all the same.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass
from typing import Any, Final

from ddb_lease._protocol.grants import slots_of
from ddb_lease.errors import ConfigurationError

_VERSION: Final = "h1"
"""What a token of this form begins with."""

_ANY_VERSION: Final = "h"

_PARTS: Final = 4

_MOST_CHARACTERS: Final = 20_000
"""A token is shorter, whatever the bucket's name: a longer text is not read at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A lease that nobody believes in any more, and that one process may adopt.

    Attributes:
        bucket: The bucket's name.
        lease_id: The lease, which the slots carry until it is adopted.
        slots: Its slots, in rising order.
        fence: Its fence.
        until: When it expires in the table, at the earliest.
    """

    bucket: str
    lease_id: str
    slots: tuple[int, ...]
    fence: int
    until: int


def token_of(offer: Offer) -> str:
    """The offer as a token."""
    content = json.dumps(
        [offer.bucket, offer.lease_id, offer.fence, offer.until], separators=(",", ":"), ensure_ascii=False
    )
    body = f"{_VERSION}.{base64.urlsafe_b64encode(content.encode()).decode().rstrip('=')}"
    return f"{body}.{_checksum(body)}"


def read_token(token: object, *, bucket: str) -> Offer:
    """The offer in a token, which must be for this bucket.

    Raises:
        ConfigurationError: It is no token, is damaged, or is for another bucket.
    """
    if not isinstance(token, str):
        raise ConfigurationError(f"a hand-over's token is a string, not a {type(token).__name__}")
    version, _, rest = token.partition(".")
    if len(token) > _MOST_CHARACTERS or not rest:
        raise ConfigurationError("this is no token of a hand-over: pass what Lease.hand_over returned, as it is")
    if version != _VERSION:
        newer = version.startswith(_ANY_VERSION) and version[1:].isdecimal()
        why = "a newer version of this library made it: upgrade ddb-lease" if newer else "pass what hand_over returned"
        raise ConfigurationError(f"this is no token of a hand-over that can be read here: {why}")
    body, _, checksum = token.rpartition(".")
    offer = _read(body.partition(".")[2]) if checksum == _checksum(body) else None
    if offer is None:
        raise ConfigurationError("the token of a hand-over is damaged: pass what Lease.hand_over returned, uncut")
    if offer.bucket != bucket:
        raise ConfigurationError(f"the token is of bucket {offer.bucket!r}, and this is {bucket!r}")
    return offer


def _read(content: str) -> Offer | None:
    try:
        parts = json.loads(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return _offer(parts) if isinstance(parts, list) and len(parts) == _PARTS else None


def _offer(parts: list[Any]) -> Offer | None:
    bucket, lease_id, fence, until = parts
    numbers = all(isinstance(number, int) and number >= 0 for number in (fence, until))
    slots = slots_of(lease_id) if isinstance(lease_id, str) else None
    if not isinstance(bucket, str) or slots is None or not numbers:
        return None
    return Offer(bucket=bucket, lease_id=lease_id, slots=slots, fence=fence, until=until)


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode(errors='replace')):08x}"
