"""Short forms of lease ids: what `status` shows, and which lease `release` and `revoke` mean by one. Pure.

Invariants:

- A short form leads to the whole id of a lease that was just read, and the request's condition is that whole id: if
  the slot has changed hands since, nothing is changed.
- One that fits several leases leads to none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ddb_lease.errors import ConfigurationError
from ddb_lease.models import CLOSED_MARK, LeaseInfo

_WHOLE: Final = re.compile(r"[0-9.]+-(?:closed-)?[0-9a-f]{32}", re.ASCII)
_OURS: Final = re.compile(r"([0-9.]+)-((?:closed-)?[0-9a-f]{32})", re.ASCII)
_SHORT: Final = re.compile(r"([0-9]{1,5})-(.+)", re.ASCII | re.DOTALL)
_SHOWN: Final = 8
_LEAST: Final = 4
"""Characters after the dash: fewer are a slip of the hand, or meant as a slot."""


def is_whole(text: str) -> bool:
    """Whether a text is a lease id as this library makes them, and no short form."""
    return _WHOLE.fullmatch(text) is not None


def abbreviated(lease: LeaseInfo) -> str:
    """A lease's id, short: its slot, and the first digits of what makes it unique. A slot has one lease."""
    found = _OURS.fullmatch(lease.lease_id)
    shown = _SHOWN + len(CLOSED_MARK) * lease.closed
    return lease.lease_id if found is None else f"{lease.slot}-{found[2][:shown]}"


def meant_by(text: str, leases: Sequence[LeaseInfo]) -> LeaseInfo | None:
    """The lease that a text means, by its id or the beginning of it; None if there is none.

    Raises:
        ConfigurationError: It is too short, or several leases begin like this.
    """
    exact = next((lease for lease in leases if lease.lease_id == text), None)
    if exact is not None:
        return exact
    if len(text.partition("-")[2]) < _LEAST:
        raise ConfigurationError(
            f"{text!r} is not a lease id, nor enough of one: give what status shows, or a slot's number with --slot"
        )
    found = {lease.lease_id: lease for lease in leases if _begins(lease, text)}
    if len(found) > 1:
        raise ConfigurationError(f"{text!r} may mean {' or '.join(sorted(found))}: give more of the id")
    return next(iter(found.values()), None)


def _begins(lease: LeaseInfo, text: str) -> bool:
    if lease.lease_id.startswith(text):
        return True
    short, whole = _SHORT.fullmatch(text), _OURS.fullmatch(lease.lease_id)
    return short is not None and whole is not None and int(short[1]) == lease.slot and whole[2].startswith(short[2])
