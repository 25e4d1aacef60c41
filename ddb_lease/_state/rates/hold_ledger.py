"""The ledger of one key's reservations: what this process holds, and what it has to settle.

The item has one hold for each process, so the item cannot tell the reservations of a process apart. The ledger can.

Invariants:

- An entry is in the ledger from the moment at which its charge is known until it is settled, swept or overdue.
- All entries together are never more than the process's hold. If the item has less, the hold was swept and made anew,
  and the oldest entries are over. If it shows more, charges were given up that the table carried out all the same: no
  caller uses those permits, and the next settlement settles them in full.
- One settlement is under way at a time, for every entry that is to be settled. It belongs to the ledger, and not to the
  caller that sends it: if that caller is gone, the next one sends the same attempt again, and so finds out whether it
  happened. So each entry is settled once.
- What is seen never goes back: an answer may come late, and show a hold that this process has changed since.
- No I/O and no clock: times come in. The limiter's lock guards all of it. Nobody is woken while it is held.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ddb_lease._protocol.rates.settling import SWEPT_AFTER, Reserved
from ddb_lease._protocol.rates.validation import NS

if TYPE_CHECKING:
    from ddb_lease._protocol.rates.records import Hold, KeyState

MOST_OVERWRITTEN = 64
"""So many changes of its own are remembered, to tell an old answer from a new one."""


UNDER_WAY = 10 * NS
"""For so long after a charge was given up its request may be under way, by all timeouts of a client."""

LOOKS_AGAIN = 2 * NS
"""After how long the item is read again within that time, if the key is used."""


@dataclass(slots=True, eq=False, kw_only=True)
class Held:
    """One reservation of this process.

    Attributes:
        reserved: Permits by limit, and what each of them cost when they were reserved.
        until: When it must be settled, by the service's time; after that it counts in full.
        used: Permits used, by limit, once that is known; a limit that is missing was used in full.
        counted: Whether `used` counts; None while the reservation is held.
    """

    reserved: Mapping[str, Reserved]
    until: int
    used: Mapping[str, int] | None = None
    counted: bool | None = None

    def give_up(self) -> None:
        """Note that nobody got the permits: none of them is used."""
        if self.used is None:
            self.used = dict.fromkeys(self.reserved, 0)


@dataclass(slots=True, eq=False, kw_only=True)
class Settlement:
    """One attempt at a settlement, for some entries together.

    Attributes:
        attempt: Its id, for all sendings.
        process: Whose hold it changes.
        lane: The lane that records it.
        entries: What it settles.
        held: What they hold together, in nanoseconds by limit.
        used: What of that is charged.
        in_full: Entries whose time was over before anybody told what was used of them: they count in full.
        bases: The attempts that the hold showed, by which its sendings were made.
    """

    attempt: str
    process: str
    lane: int
    entries: tuple[Held, ...]
    held: dict[str, int]
    used: dict[str, int]
    in_full: tuple[Held, ...] = ()
    bases: set[str] = field(default_factory=set)

    def happened(self, state: KeyState) -> bool:
        """Whether the item shows this attempt."""
        hold = state.holds.get(self.process)
        return state.lanes.get(self.lane) == self.attempt or (hold is not None and hold.attempt == self.attempt)


@dataclass(eq=False, kw_only=True)
class Settler:
    """A caller that settles.

    The ledger has only a weak reference to it: if interrupts end a caller before it leaves, its place disappears.

    Attributes:
        wake: Ends its pause, from any thread.
        held: Its reservation.
        deadline: When it gives up, on the steady clock.
    """

    wake: Callable[[], None]
    held: Held
    deadline: float


@dataclass(slots=True, eq=False)
class HoldLedger:
    """The reservations of one key in one process.

    Attributes:
        seen: The item as last seen.
        entries: What is held, the oldest first.
        under_way: The settlement under way.
        unsure_since: When a charge was given up that may be carried out, by the service's time; None: none was, or
            what it holds was looked for. Only the item shows that.
        looks_at: When it is looked for next.
    """

    seen: KeyState | None = None
    entries: list[Held] = field(default_factory=list)
    under_way: Settlement | None = None
    unsure_since: int | None = None
    looks_at: int = 0
    _settlers: list[weakref.ref[Settler]] = field(default_factory=list)
    _overwritten: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_OVERWRITTEN))
    _starts: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_OVERWRITTEN))
    """Charges that were given up, and that have made the hold anew if they were carried out."""

    def saw(self, state: KeyState | None, *, process: str) -> None:
        """Keep the item as it was just seen, and note whether it shows the settlement under way."""
        hold = None if state is None else state.holds.get(process)
        if hold is not None and hold.attempt in self._overwritten:
            return
        self.seen = state
        settlement = self.under_way
        if settlement is not None and state is not None and settlement.happened(state):
            self.over(settlement, counted=True)

    def add(self, held: Held, *, bases: Collection[str | None], attempt: str = "") -> None:
        """Add a reservation.

        Args:
            held: The reservation.
            bases: The attempts that the hold showed, by which the sendings of its charge were made. None: there was no
                hold. If that is all, the charge made the hold anew, and all older reservations were swept. So they were
                if a charge had made it anew that was given up, and this one built upon that.
            attempt: The charge. If others of this process have built upon it, its answer came after theirs. Then their
                reservations are in the ledger by now, and by what the hold has, the oldest ones are over.
        """
        if attempt not in self._overwritten and all(base is None or base in self._starts for base in bases):
            self.made_anew()
        self._overwritten.extend(base for base in bases if base is not None)
        self.entries.append(held)

    def over(self, settlement: Settlement, *, counted: bool) -> None:
        """Note that a settlement happened; or that it cannot, as what it settles is not held any more."""
        for held in settlement.entries:
            held.counted = counted and held not in settlement.in_full
        self._overwritten.extend(settlement.bases if counted else ())
        self.entries = [held for held in self.entries if held.counted is None]
        if self.under_way is settlement:
            self.under_way = None

    def lose(self, entries: list[Held]) -> None:
        """Note that entries were swept: they count in full."""
        for held in entries:
            held.counted = False
        self.entries = [held for held in self.entries if held.counted is None]
        if self.under_way is not None and any(held.counted is False for held in self.under_way.entries):
            self.under_way = None  # nothing that it is based on can come again

    def is_unsure(self, *, now: int) -> bool:
        """Whether to look for what a charge may have left that was given up."""
        return self.unsure_since is not None and now >= self.looks_at

    def looked(self, *, now: int) -> None:
        """Note that the item was read. The charge may have been under way still, so it is read again for a while."""
        self.looks_at = now + LOOKS_AGAIN
        if self.unsure_since is not None and now - self.unsure_since > UNDER_WAY:
            self.unsure_since = None

    def starts_with(self, attempt: str) -> bool:
        """Whether a charge that was given up has made the hold anew, which shows it. It is told once."""
        if attempt not in self._starts:
            return False
        self._starts.remove(attempt)
        return True

    def left_behind(self, attempt: str, *, bases: Collection[str | None], now: int) -> None:
        """Note that a charge that reserves was given up now, and may be carried out; arguments as for `add`."""
        self.unsure_since, self.looks_at = now, now
        if all(base is None or base in self._starts for base in bases):
            self._starts.append(attempt)

    def made_anew(self) -> None:
        """Note that the hold was made anew: all that it held before is settled or swept."""
        self.lose(self.entries)
        self.under_way = None  # also one of what nobody holds, which has no entries

    def forget_overdue(self, *, now: int) -> None:
        """Drop entries that any process may have swept by now."""
        self.lose([held for held in self.entries if held.until + SWEPT_AFTER < now])

    def swept(self, hold: Hold | None) -> list[Held]:
        """The oldest entries that a hold does not have any more, as it was swept, and made anew since."""
        kept = list(self.entries)
        while kept and (hold is None or _exceeds(_sum(kept), hold.held)):
            del kept[0]
        return self.entries[: len(self.entries) - len(kept)]

    def settlement(
        self, hold: Hold, *, process: str, lane: int, attempt: str, reserving: bool, now: int
    ) -> Settlement | None:
        """The settlement to send: the one under way, or a new one; None if nothing is to be settled.

        Args:
            hold: This process's, as last seen.
            process: Its name.
            lane: For a new one: the lane that records it.
            attempt: For a new one: its id.
            reserving: Whether a charge under way reserves: what the hold has beyond the entries may then be that.
            now: The service's time.
        """
        if self.under_way is not None:
            return self.under_way
        # What was used is read once: of a key under parents, it is noted under the lock of the key's own limiter.
        told = {entry: entry.used for entry in self.entries}
        ready = [entry for entry in told if told[entry] is not None or entry.until < now]
        held, used = _sum(ready), _used(ready, told)
        if not reserving:
            entered = _sum(self.entries)
            for name, amount in hold.held.items():
                if amount > entered.get(name, 0):
                    held[name] = held.get(name, 0) + amount - entered.get(name, 0)
                    used[name] = used.get(name, 0) + amount - entered.get(name, 0)
        if not held:
            return None
        self.under_way = Settlement(
            attempt=attempt,
            process=process,
            lane=lane,
            entries=tuple(ready),
            held=held,
            used=used,
            in_full=tuple(entry for entry in ready if told[entry] is None),
        )
        return self.under_way

    # Callers that settle: one sends for all.

    @property
    def settlers(self) -> list[Settler]:
        """Those who settle; the first one sends."""
        return [settler for settler in (place() for place in self._settlers) if settler is not None]

    def join(self, settler: Settler) -> None:
        """Join those who settle."""
        self._settlers.append(weakref.ref(settler))

    def leave(self, settler: Settler) -> list[Settler]:
        """Leave, from any place; returns whom to wake."""
        self._settlers = [place for place in self._settlers if place() not in {None, settler}]
        return self.others(settler)

    def my_turn(self, settler: Settler) -> bool:
        """Whether this one sends."""
        return self.settlers[:1] == [settler]

    def others(self, settler: Settler) -> list[Settler]:
        """Whom to wake once something was settled: those whose reservations are over, and who is first."""
        return [other for n, other in enumerate(self.settlers) if other is not settler and (n == 0 or is_over(other))]


def is_over(settler: Settler) -> bool:
    """Whether a caller has nothing left to do."""
    return settler.held.counted is not None


def covers(hold: Hold, settlement: Settlement) -> bool:
    """Whether a hold still has what a settlement settles."""
    return not _exceeds(settlement.held, hold.held)


def _exceeds(amounts: Mapping[str, int], held: Mapping[str, int]) -> bool:
    return any(amount > held.get(name, 0) for name, amount in amounts.items())


def _sum(entries: list[Held]) -> dict[str, int]:
    total: dict[str, int] = {}
    for entry in entries:
        for name, one in entry.reserved.items():
            total[name] = total.get(name, 0) + one.held
    return total


def _used(entries: list[Held], told: Mapping[Held, Mapping[str, int] | None]) -> dict[str, int]:
    total: dict[str, int] = {}
    for entry in entries:
        used = told[entry]
        for name, one in entry.reserved.items():
            permits = one.permits if used is None else used.get(name, one.permits)
            total[name] = total.get(name, 0) + permits * one.interval
    return total
