"""The items and requests that probes are made of. Pure; all numbers are fixed, and far from what TTL deletes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from ddb_lease._protocol.messages import (
    Adopt,
    BringBack,
    Claim,
    Close,
    Create,
    Mint,
    Release,
    Renew,
    Retire,
    Revoke,
    Take,
)
from ddb_lease._protocol.records import Claimant, Settings
from ddb_lease.dynamodb.items import Wire, number, text

NOW: Final = 2_000_000_000_000
"""Milliseconds: what the requests take for the present."""
LONG_AGO: Final = 1_000
LEASE_MS: Final = 30_000
TTL: Final = 4_000_000_000
"""Seconds: decades ahead."""
LATER: Final = TTL + 1
MAX: Final = 3
"""The tokens of a probe's bucket."""

YES: Final[Wire] = {"BOOL": True}


def free(*, fence: int = 10, **more: Wire) -> Wire:
    """A slot in circulation that nobody has leased."""
    return {"fence": number(fence), "ttl": number(TTL), **more}


def leased(lease_id: str = "other", *, expires_at: int = NOW, fence: int = 10, **more: Wire) -> Wire:
    """A leased slot."""
    lease = {"lease_id": text(lease_id), "owner": text("owner"), "acquired_at": number(NOW)}
    return free(fence=fence) | lease | {"expires_at": number(expires_at)} | more


def counter(*, max_tokens: int = MAX, minted: int = MAX, rev: int = 7) -> Wire:
    """A bucket's counter."""
    numbers = {"max_tokens": max_tokens, "minted": minted, "rev": rev, "lease_ms": LEASE_MS, "schema": 1}
    return {name: number(value) for name, value in numbers.items()}


def counted(minted: int, *, rev: int = 8, **more: int) -> Wire:
    """What changes in a counter with each write to it."""
    return {"minted": number(minted), "rev": number(rev)} | {name: number(value) for name, value in more.items()}


def claimant(lease_id: str = "mine", **more: Any) -> Claimant:  # noqa: ANN401 - the fields of a Claimant
    """The lease that the requests ask for."""
    return replace(Claimant(lease_id=lease_id, owner="owner", acquired_at=NOW, expires_at=NOW + LEASE_MS), **more)


MINE: Final = leased("mine", expires_at=NOW + LEASE_MS, fence=100) | {"ttl": number(LATER)}
"""A slot as a claim or a mint leaves it."""


def claim(slot: int = 0, *, fence: int = 100, expired_before: int = NOW, **lease: Any) -> Claim:  # noqa: ANN401 - of a Claimant
    """A claim of a slot."""
    return Claim(slot=slot, fence=fence, lease=claimant(**lease), expired_before=expired_before, ttl=LATER)


def renew(lease_id: str = "mine", *, slot: int = 0, expires_at: int = NOW + LEASE_MS) -> Renew:
    """A renewal."""
    return Renew(slot=slot, lease_id=lease_id, expires_at=expires_at, ttl=LATER)


RENEWED: Final = {"expires_at": number(NOW + LEASE_MS), "ttl": number(LATER)}


def release(lease_id: str = "mine", *, ttl: int | None = LATER) -> Release:
    """A release of slot 0."""
    return Release(slot=0, lease_id=lease_id, ttl=ttl)


def hand_over() -> Renew:
    """The renewal after which a lease on slot 0 is handed over."""
    return replace(renew(), owner="owner (handed over)")


def adopt(token: str, *slots: int, fence: int = 100) -> Adopt:
    """An adoption of the lease `leased` makes."""
    return Adopt(slots=slots, giver="other", fence=fence, lease=claimant(), ttl=LATER, token=token)


RELEASED: Final = dict.fromkeys(("lease_id", "owner", "acquired_at", "expires_at"))


def close(lease_id: str = "mine") -> Close:
    """A release of slot 0 that keeps it closed."""
    return Close(slot=0, lease_id=lease_id, closed_id="closed-mine", expires_at=NOW + LEASE_MS, ttl=LATER)


def revoke(lease_id: str = "mine") -> Revoke:
    """A revocation of a lease on slot 0."""
    return Revoke(slot=0, lease_id=lease_id, by="operator")


def mint(token: str, slot: int = 0, *, re_mint: bool = False, fence: int = 100) -> Mint:
    """A mint."""
    return Mint(slot=slot, fence=fence, lease=claimant(), ttl=LATER, re_mint=re_mint, token=token)


def take(
    token: str, *, claims: tuple[int, ...] = (), mints: tuple[int, ...] = (), seen_max: int = MAX, re_mint: bool = False
) -> Take:
    """Several slots together."""
    return Take(
        claims=claims,
        mints=mints,
        fence=100,
        lease=claimant(),
        expired_before=NOW,
        ttl=LATER,
        seen_max=seen_max,
        re_mint=re_mint,
        token=token,
    )


def bring_back(token: str, *, slot: int = 0, re_mint: bool = False) -> BringBack:
    """A retired slot, back into circulation."""
    return BringBack(slot=slot, ttl=LATER, re_mint=re_mint, token=token)


def retire(token: str, *slots: int, max_tokens: int, rev: int = 7) -> Retire:
    """A shrink."""
    return Retire(slots=slots, rev=rev, max_tokens=max_tokens, minted=max_tokens, ttl=LATER, token=token)


def create(token: str, *, slots: int, max_tokens: int = MAX) -> Create:
    """A new bucket."""
    settings = Settings(max_tokens=max_tokens, lease_ms=LEASE_MS)
    return Create(settings=settings, minted=slots, rev=NOW, slots=slots, fence=50, ttl=TTL, token=token)
