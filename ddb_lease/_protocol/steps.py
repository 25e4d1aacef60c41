"""What an acquirer may do next: the steps that `decisions` chooses from.

Invariants: values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ddb_lease._protocol.records import Counter


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSlot:
    """Claim this slot, whose fence was last seen as `fence`."""

    slot: int
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MintSlot:
    """Mint this slot, which has no item, and lease it in the same transaction."""

    slot: int
    re_mint: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BringBackSlot:
    """Bring this retired slot back, then claim it."""

    slot: int
    fence: int
    re_mint: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireStrays:
    """Retire these slots, which are in circulation although they lie at or above `max_tokens`.

    `fence` is the highest of their fences, and `expires_at` the latest expiry of a lease on them.
    """

    slots: tuple[int, ...]
    fence: int
    expires_at: int | None
    counter: Counter


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBucket:
    """There is no counter: create it. `fresh` says that certainly no slot is left over from before."""

    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingFree:
    """Every slot in the view is leased; the first lease expires at `next_expiry` (ms; None: no lease)."""

    next_expiry: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeSlots:
    """Lease several slots together: `claims` are there, `mints` have no item.

    Attributes:
        seen_max: The counter's `max_tokens` as seen; all numbers minted are below it.
        re_mint: Whether `minted` leaves no space for them, because of drift.
    """

    claims: tuple[ClaimSlot, ...]
    mints: tuple[int, ...]
    seen_max: int
    re_mint: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptLease:
    """Adopt the lease of this id, which was handed over, on all of its slots; `fence` is its fence."""

    slots: tuple[int, ...]
    giver: str
    fence: int


Step: TypeAlias = ClaimSlot | MintSlot | BringBackSlot | RetireStrays | CreateBucket | NothingFree | TakeSlots
