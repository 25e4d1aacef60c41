"""Closed slots: given back by their holder, and kept from everybody until the time that it asked for has passed.

Invariants:

- A closed slot carries a lease that nobody holds, believes in or renews. For a claim it is a lease as any other, so
  clients that know nothing of closing keep to it too.
- Its id is made of the id of the lease that was closed: whoever closed it recognises it after a lost answer, and its
  slots can be read from it, as from any lease id.
"""

from __future__ import annotations

from ddb_lease._protocol.records import Slot
from ddb_lease.models import CLOSED_MARK


def closed_id(lease_id: str) -> str:
    """The id that a slot carries once this lease was given back and the slot is kept closed."""
    slots, dash, rest = lease_id.partition("-")
    return f"{slots}{dash}{CLOSED_MARK}{rest}"


def is_closed_id(lease_id: str) -> bool:
    """Whether it is such an id."""
    return lease_id.partition("-")[2].startswith(CLOSED_MARK)


def was_closed(slot: Slot | None, lease_id: str) -> bool:
    """Whether this slot was closed by the holder of this lease."""
    return slot is not None and slot.lease is not None and slot.lease.lease_id == closed_id(lease_id)


def closed_until(slot: Slot) -> int | None:
    """Until when a slot is closed, in ms; None if it is not."""
    lease = slot.lease
    return lease.expires_at if lease is not None and is_closed_id(lease.lease_id) else None
