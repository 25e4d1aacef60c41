"""What a command says while it waits: one line, as wide as there is room. Pure.

Invariant: what others wrote (an owner) is made safe for a terminal, and is shortened before what matters more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ddb_lease.cli.fitting import columns_of, cut, shortened
from ddb_lease.cli.formatting import printable, shown
from ddb_lease.models import BucketStatus, LeaseInfo

_OWNER: Final = 24
"""Columns of an owner at most."""
_MORE: Final = ", and {} more"
_PLUS: Final = " +{}"
_READABLE: Final = 14
_SHORTEST: Final = 8
"""Columns of an owner at least, where there is little room."""
_FULL: Final = "full"
_NAMED: Final = 5
"""So many holders are named in a line without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One who holds a lease, and since when.

    Attributes:
        owner: Its name.
        seconds: How long it had held it, when that was read.
    """

    owner: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How things stood with a wait when that was read.

    Attributes:
        state: `full`, `place 3 of 7`; empty if there is nothing to say.
        holders: Who holds the bucket's leases, the one that has held longest first.
        waiting: How many wait, in an ordered bucket.
    """

    state: str = ""
    holders: tuple[Holder, ...] = ()
    waiting: int = 0


UNKNOWN: Final = Standing()


def standing(status: BucketStatus, *, owner: str, count: int) -> Standing:
    """How a status shows a wait for `count` slots by this owner."""
    running = {lease.lease_id: lease for lease in status.leases if not lease.expired}
    closed = [lease for lease in running.values() if lease.closed]
    held = [lease for lease in running.values() if not lease.closed]
    holders = sorted((Holder(owner=lease.owner, seconds=lease.age_seconds) for lease in held), key=lambda h: -h.seconds)
    place = next((waiter.place for waiter in status.queue if waiter.owner == owner), None)
    few = f"{status.free} free of {count} wanted" if status.free < count else ""
    state = few if status.free else _full(closed, held)
    if place is not None:
        state = placed(place, status.waiting)
    return Standing(state=state, holders=tuple(holders), waiting=status.waiting)


def _full(closed: list[LeaseInfo], held: list[LeaseInfo]) -> str:
    if not closed:
        return _FULL
    if held:
        return f"full, {len(closed)} kept closed"
    return f"closed for {shown(min(lease.remaining_seconds for lease in closed))} more"


def placed(place: int, waiting: int) -> str:
    """`place 3 of 7`; without the number of those who wait, if that is not known."""
    return f"place {place} of {waiting}" if waiting >= place else f"place {place}"


def waiting(
    subject: str,
    state: str,
    holders: tuple[Holder, ...],
    *,
    waited: float,
    aged: float,
    width: int | None = None,
    to_lead: bool = False,
) -> str:
    """The line of one who waits.

    Args:
        subject: What is waited for.
        state: As in `Standing`.
        holders: As in `Standing`.
        waited: Seconds since the wait began.
        aged: Seconds since the holders were read.
        width: Columns that there are; None for as many as it takes.
        to_lead: Whether it is the leader's place that is waited for.
    """
    if to_lead and state == _FULL:
        state = ""  # it has one place
    parts = ", ".join(part for part in (state, f"waited {shown(int(waited))}" if waited >= 1 else "") if part)
    parts = f": {parts}" if parts else ""
    what = "waiting to lead" if to_lead else "waiting for"
    head = f"{what} {subject}{parts}"
    if width is not None and columns_of(head) > width:
        short = max(_SHORTEST, width - columns_of(head) + columns_of(subject))
        head = cut(f"{what} {shortened(subject, short)}{parts}", width)
    room = None if width is None else width - columns_of(head) - 2
    held = held_by(holders, aged=aged, width=room, to_lead=to_lead)
    return f"{head}; {held}" if held else head


def held_by(holders: tuple[Holder, ...], *, aged: float = 0.0, width: int | None = None, to_lead: bool = False) -> str:
    """`held by A for 36s, B for 2h, and 3 more`: as many as fit; empty if not even one does, or there is none.

    With `to_lead`, `A has led for 36s`. Where there is little room, the times go: `held by A +4`, `A leads`.
    """
    begins, has, leads = ("", " has led", " leads") if to_lead else ("held by ", "", "")
    aged_texts = [(printable(h.owner), f"{has} for {shown(h.seconds + aged)}") for h in holders]
    bare_texts = [(owner, leads) for owner, _ in aged_texts]
    most = _NAMED if width is None else len(holders)
    # Fewer holders before names that nobody can read, and no ages before no holder at all.
    tries = (
        (texts, named, size, more)
        for texts, largest, least, more in (
            (aged_texts, _OWNER, _READABLE, _MORE),
            (aged_texts, _READABLE - 1, _SHORTEST, _MORE),
            (aged_texts, _OWNER, _SHORTEST, _PLUS),
            (bare_texts, _OWNER, _SHORTEST, _PLUS),
        )
        for named in range(min(most, len(texts)), 0, -1)
        for size in range(largest, least - 1, -1)
    )
    for texts, named, size, more in tries:
        left = len(texts) - named
        held = ", ".join(shortened(owner, size) + age for owner, age in texts[:named])
        line = f"{begins}{held}{more.format(left) if left else ''}"
        if width is None or columns_of(line) <= width:
            return line
    return ""
