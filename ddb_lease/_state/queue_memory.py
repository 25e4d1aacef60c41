"""What one waiter of an ordered bucket remembers: how the queue moves, what others showed, which slots were free when.

Invariants: no I/O, no clock: times come in as arguments, in seconds of the steady clock. One acquire uses it; `Others`
and `FreeFor` may be shared by the acquires of a process that do not wait, on several threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ddb_lease._protocol.queueing import NEAR_SECONDS, Signs, between, longest_sleep
from ddb_lease._protocol.records import Slot, View
from ddb_lease._protocol.tickets import Ticket

FEWEST = 3
"""Tickets that must have gone to tell a pace."""


class Pace:
    """How quickly a queue moves, as one waiter in it sees: since it came, and of late."""

    def __init__(self) -> None:
        self._ahead: Sequence[Ticket] | None = None
        self._began = self._since = self._noted = 0.0
        self._moved = self._moved_since = 0
        self._lately: float | None = None
        self._since_first: float | None = None

    def note(self, ahead: Sequence[Ticket], now: float) -> bool:
        """These were before it at that time, as far as it saw; returns whether any of those seen before has gone."""
        before, self._ahead = self._ahead, tuple(ahead)
        noted, self._noted = self._noted, now
        if before is None:
            self._began = self._since = now
            return False
        gone = _gone(before, ahead)
        if gone > 1:  # that was quick, perhaps: it need not have been so before
            self._since, self._moved_since = noted, 0
        self._moved += gone
        self._moved_since += gone
        if self._moved >= FEWEST:
            self._since_first = (now - self._began) / self._moved
        if self._moved_since >= FEWEST or gone > 1:
            self._lately = (now - self._since) / self._moved_since
            self._since, self._moved_since = now, 0
        elif self._lately is not None:  # it has come to rest
            self._lately = max(self._lately, (now - self._since) / (self._moved_since + 1))
        return gone > 0

    @property
    def seconds(self) -> float | None:
        """Seconds for which the queue needs to move by one, at its quicker pace; None if it has hardly moved yet."""
        if self._lately is None or self._since_first is None:
            return self._since_first
        return min(self._lately, self._since_first)


def _gone(before: Sequence[Ticket], ahead: Sequence[Ticket]) -> int:
    """How many tickets have left the queue; where all that were seen have, about how many."""
    there = {ticket.name for ticket in ahead}
    gone = sum(ticket.name not in there for ticket in before)
    if gone < len(before) or not ahead or len(before) < FEWEST:  # all that are left were seen, or few were
        return gone
    return gone + max(0, between(before, ahead[0]) - 1) if ahead[0].priority == before[-1].priority else gone


@dataclass(slots=True)
class _Track:
    """One other waiter: when its ticket was last seen refreshed, and until when it was seen at which places."""

    expires_at: int
    refreshed: float
    sleeps: list[tuple[float, float]] = field(default_factory=list)
    """How long it may sleep from a look at a place where it was, and until when it may have looked there."""
    here: float | None = None
    """How long it may sleep from a look at the place at which it was seen last."""


class Others:
    """The waiters before one's own, as looks have shown them."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def note(self, ahead: Sequence[Ticket], now: float, *, max_tokens: int) -> dict[str, Signs]:
        """These are before it at that time; returns what was seen of each, by name."""
        tracks = {ticket.name: self._track(ticket, now) for ticket in ahead}
        self._tracks = tracks  # never changed: other threads may read it
        wanted, signs = 0, {}
        for place, ticket in enumerate(ahead, start=1):
            track = tracks[ticket.name]
            wanted += ticket.count
            sleep = longest_sleep(place, near=wanted <= max_tokens)
            if track.here is not None:  # it may have looked at that place until just now
                track.sleeps.append((track.here, now))
            # It has woken up since, if it looked there long ago.
            track.sleeps = [(most, until) for most, until in track.sleeps if until + most > now and most > sleep]
            asleep = max([sleep, *(most for most, _ in track.sleeps)])
            track.here = sleep
            signs[ticket.name] = Signs(asleep=asleep, still=now - track.refreshed)
        return signs

    def _track(self, ticket: Ticket, now: float) -> _Track:
        track = self._tracks.get(ticket.name)
        if track is None:
            return _Track(ticket.expires_at, now, sleeps=[(NEAR_SECONDS, now)])  # it may have stood anywhere before
        if track.expires_at != ticket.expires_at:
            track.expires_at, track.refreshed = ticket.expires_at, now
        return track


class FreeFor:
    """For how long slots have been seen free."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float, float]] = {}
        self._slots: dict[int, Slot] = {}

    def note(self, view: View, free: Sequence[int], now: float) -> dict[int, float]:
        """A look showed these as free; returns for how long each slot has been so, those of other windows too.

        Of those, up to the last look that showed them: somebody may have had them since.
        """
        kept = {n: seen for n, seen in list(self._seen.items()) if n not in view.covered}
        for n in free:
            fence = view.slots[n].fence if n in view.slots else -1
            before = self._seen.get(n)
            kept[n] = (fence, before[1] if before is not None and before[0] == fence else now, now)
        self._seen = kept
        self._slots = {n: slot for n, slot in list(self._slots.items()) if n in kept and n not in view.covered}
        self._slots |= {n: view.slots[n] for n in free if n in view.slots}
        return {n: last - since for n, (_, since, last) in kept.items()}

    def slot(self, number: int) -> Slot | None:
        """A free slot as it was seen; None if it has no item."""
        return self._slots.get(number)

    def forget(self, numbers: Iterable[int]) -> None:
        """These are not free any more."""
        for number in numbers:
            self._seen.pop(number, None)
            self._slots.pop(number, None)
