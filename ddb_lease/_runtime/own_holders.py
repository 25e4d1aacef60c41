"""Who is in the way of an acquire, as the looks that it made anyway have shown; above all this process itself.

Invariants:

- It only observes: no decision depends on it, and it reads only what a look has shown.
- A warning is given where the wait cannot end by itself: all leases that a look showed are this process's own, and the
  waiter acquired one of them, or nobody can release one any more. Threads of a pool that wait for one another are no
  such case. Whatever is ours is named when an acquire times out.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ddb_lease._numbers import duration_text
from ddb_lease._protocol.closing import is_closed_id
from ddb_lease._protocol.messages import Answer, Request, Seen
from ddb_lease._protocol.records import Slot
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.instrumentation import Observer
from ddb_lease._runtime.origin import Origin, lease_text
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.log import log as _log

WARN_SECONDS: Final = 3.0
"""After how long a wait it is said that the process waits for itself."""

_NAMED: Final = 3
"""So many leases of this process are named in a message."""

OLDEST_SECONDS: Final = 10.0
"""What a look showed of other holders is told for so long: others may hold the leases by then."""

_OTHERS_NAMED: Final = 5
"""So many other holders."""


class OwnHolders:
    """Which of the leases on a full bucket are this process's own.

    Args:
        bucket: The bucket's name.
        runtime: Its heartbeat serves the leases of the process.
    """

    def __init__(self, bucket: str, runtime: Runtime) -> None:
        self._bucket = bucket
        self._runtime = runtime
        self._seen: frozenset[str] = frozenset()
        self._seen_all = False
        self._slots: Mapping[int, Slot] = {}
        self._seen_at = -math.inf

    def note(self, seen: Seen) -> None:
        """Note which leases a look showed."""
        self._slots, self._seen_at = seen.view.slots, self._runtime.clock.steady()
        slots = self._slots.values()
        self._seen = frozenset(slot.lease.lease_id for slot in slots if slot.lease is not None)
        self._seen_all = not seen.more

    def ours(self) -> list[HeldLease]:
        """The leases of this process among those last seen, of whichever object."""
        scheduled = self._runtime.heartbeat().scheduled() if self._seen else []
        return [lease for lease in scheduled if isinstance(lease, HeldLease) and lease.id in self._seen and lease.held]

    def waits_for_itself(self, by: weakref.ref[Any]) -> str:
        """What to warn this waiter of; empty if somebody may release a slot."""
        ours = self.ours()
        if not ours or not self._seen_all or len(ours) < len(self._seen):
            return ""
        if not any(lease.dropped or _acquired(lease, by) for lease in ours):
            return ""
        return self._named(ours)

    def in_timeout(self, now_ms: int) -> tuple[str, tuple[str, ...]]:
        """What the error of a timeout says of those who hold the leases, empty if nobody is known; and the owners.

        Args:
            now_ms: The service's time.
        """
        ours = self.ours()
        own = {lease.id for lease in ours}
        leases = {slot.lease.lease_id: slot.lease for slot in self._slots.values() if slot.lease is not None}
        leases = {name: lease for name, lease in leases.items() if not is_closed_id(name)}  # told apart from these
        age = self._runtime.clock.steady() - self._seen_at
        # By then: of a look that is older than a renewal, those who live would seem to be dead, too.
        running = [one for one in leases.values() if age <= OLDEST_SECONDS and one.expires_at >= now_ms - 1000 * age]
        running.sort(key=lambda lease: lease.acquired_at)
        others = [lease for lease in running if lease.lease_id not in own]
        texts = [f"{safe(one.owner)} (for {duration_text(max(0, now_ms - one.acquired_at) / 1000)})" for one in others]
        left = len(texts) - _OTHERS_NAMED
        more = f", and {left} more" if left > 0 else ""
        held = f"held by {', '.join(texts[:_OTHERS_NAMED])}{more}" if texts else ""
        said = [part for part in (self._named(ours) if ours else "", held) if part]
        return "; ".join(said), tuple(lease.owner for lease in running)

    def _named(self, ours: list[HeldLease]) -> str:
        now = self._runtime.clock.steady()
        named = "; ".join(lease_text(lease, now) for lease in ours[:_NAMED]) + "; ..." * (len(ours) > _NAMED)
        what = "it" if len(self._seen) == 1 else f"{len(ours)} of the {len(self._seen)} leases"
        return f"this process holds {what} ({named})"


@dataclass(slots=True, eq=False, kw_only=True)
class SelfWait:
    """Watches one acquire.

    Attributes:
        holders: What its bucket shows.
        bucket: The bucket's name.
        by: The thread or task that waits; None if that is not known, and once it was warned.
        warn_at: When it has waited long enough to be warned, on the steady clock.
        steady: Reads that clock.
        also: Observes too; None for nothing.
    """

    holders: OwnHolders
    bucket: str
    by: weakref.ref[Any] | None
    warn_at: float
    steady: Callable[[], float]
    also: Observer | None

    def observe(self, request: Request, answer: Answer) -> None:
        """Note a look's answer; warn once if the wait has lasted and cannot end by itself."""
        if self.also is not None:
            self.also(request, answer)
        if not isinstance(answer, Seen):
            return
        self.holders.note(answer)
        if self.by is None or self.steady() < self.warn_at:
            return
        said = self.holders.waits_for_itself(self.by)
        if said:
            self.by = None  # once
            _log.warning("bucket %r is full, and %s: this acquire waits for its own process", self.bucket, said)


def safe(text: str) -> str:
    """What others wrote, for a message: no character of it moves a reader's cursor."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _acquired(lease: HeldLease, by: weakref.ref[Any]) -> bool:
    origin = lease.origin
    return isinstance(origin, Origin) and origin.by is not None and by() is not None and origin.by() is by()
