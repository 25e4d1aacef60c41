"""A key and its parents after a charge of them all. Values in, values out.

A transaction does not show the items that it wrote. What it made of an item as last seen is computed here: a hint for
the next charge, whose condition decides.
"""

from __future__ import annotations

from dataclasses import replace

from ddb_lease._protocol.rates.messages import Charge, LimitCharge
from ddb_lease._protocol.rates.records import KeyState, LimitState


def after(charge: Charge, state: KeyState | None) -> KeyState:
    """The item after a charge that happened, if it was before as it was seen last."""
    before = state or KeyState(rev=charge.rev)
    limits = dict(before.limits)
    for part in charge.limits:
        found = _limit_after(part, before.limits.get(part.name), due=charge.due)
        if found is not None:
            limits[part.name] = found
    holds = dict(before.holds)
    if charge.hold is not None:
        holds[charge.process] = charge.hold
    lanes = {**before.lanes, charge.lane: charge.attempt}
    return replace(before, limits=limits, rev=charge.rev, holds=holds, lanes=lanes)


def after_others(charge: Charge, planned: KeyState | None, known: KeyState | None) -> KeyState:
    """The same where the item may have been seen since, with this charge or without it: what is certain.

    To add the charge to what was seen since might count it twice, and permits would be denied that can be had.

    Args:
        charge: The charge that happened.
        planned: The item by which it was planned.
        known: The item as last seen by now.
    """
    least = after(charge, planned)
    # If the item was forgotten since, what it showed still counts: the charge has its hold and its override's `rev`.
    # Without those limits, nobody would settle them, or know what the override allows.
    if known is None or known == planned:
        return least
    limits = {name: _later(least.limits.get(name), known.limits.get(name)) for name in {*least.limits, *known.limits}}
    holds = dict(known.holds)
    found = holds.get(charge.process)
    if charge.hold is not None and (found.attempt if found else None) == charge.hold_before:
        holds[charge.process] = charge.hold
    return replace(known, limits=limits, holds=holds)


def _later(least: LimitState | None, known: LimitState | None) -> LimitState:
    if least is None or known is None:
        return known or least or LimitState(tat=0, reach=0)
    tat = max(least.tat, known.tat)
    return LimitState(tat=tat, held=known.held, reach=tat + known.held)


def _limit_after(part: LimitCharge, found: LimitState | None, *, due: int) -> LimitState | None:
    held = (0 if found is None else found.held) + part.reserved
    match part.branch:
        case "idle":
            tat = due + part.charged
        case "busy":
            tat = (due if found is None else found.tat) + part.charged
        case "cut":
            tat = (max(part.cut, due) if part.charged + part.reserved else part.cut) + part.charged
        case "kept":
            return found
    return LimitState(tat=tat, held=held, reach=tat + held)
