"""The core of a reservation: what the synchronous and the asyncio API have in common.

Invariants:

- It returns operations, and each API drives them: this module sends nothing and waits for nothing.
- A reservation is settled at most once, and its numbers are checked before anything is noted or sent.
- A reservation that nobody settles is settled in full, by its block's end or by the sweep. So forgetting it is safe.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from ddb_lease._numbers import checked_timeout, shown
from ddb_lease._operations.rates.settling import SECONDS, NotSettled, settle_held
from ddb_lease._protocol.outcomes import OutOfTurn, reason_text
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.settling import Reserved
from ddb_lease._protocol.rates.validation import LONGEST_NS, NS, SINGLE, checked_permits
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.rates.limiter_core import RateLimiterCore
from ddb_lease._runtime.rates.wish import Wish
from ddb_lease._state.log import log as _log
from ddb_lease._state.rates.hold_ledger import Held, HoldLedger, Settler
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Seconds
from ddb_lease.rate_events import Settled

SETTLE_WITHIN: Final = 300.0
"""Seconds until a reservation counts in full, unless the caller says otherwise."""

LEAST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 86_400.0


def reserved(core: RateLimiterCore, n: int, permits: Mapping[str, int], settle_within: Seconds, *, key: str) -> Wanted:
    """The permits that a call reserves, checked.

    Args:
        core: Of the limiter.
        n: As for `RateLimiterCore.wanted`.
        permits: As for `RateLimiterCore.wanted`.
        settle_within: As the caller gave it.
        key: Of which key.

    Raises:
        ConfigurationError: They cannot be had, ever, or the time cannot work. Nothing was sent.
    """
    seconds, kept = checked_timeout(settle_within, what="settle_within"), core.state.retention
    if seconds is None or not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise ConfigurationError(
            f"settle_within must be {LEAST_SECONDS:g} to {MOST_SECONDS:,.0f} s, not {shown(settle_within)}"
        )
    if seconds > kept:  # others that charge the key write its TTL, and need not know of the hold
        raise ConfigurationError(
            f"settle_within must be at most Timing.retention ({kept:,.0f} s), not {shown(settle_within)}"
        )
    return Wanted(reserved=core.wanted(n, permits, key).booked, settle_within=round(seconds * NS))


def nothing_held(core: RateLimiterCore, wanted: Wanted) -> Held:
    """The reservation of a call that the table did not decide: nothing is held there, and nothing is to be settled."""
    limits = core.state.limits
    reserved = {
        name: Reserved(permits=count, interval=limits[name].interval)
        for name, count in wanted.reserved.items()
        if name in limits
    }
    return Held(reserved=reserved, until=0, counted=False)


class ReservationCore:
    """One reservation, without a way to wait.

    Args:
        core: Of the limiter.
        key: Of which key; empty for a limiter without keys.
        held: What is held.
    """

    def __init__(self, core: RateLimiterCore, key: str, held: Held) -> None:
        self._core = core
        self._key = key
        self._held = held
        self._noted = False

    @classmethod
    def booked(cls, core: RateLimiterCore, wish: Wish, held: Sequence[Held]) -> ReservationCore:
        """The reservation that a call has got; without one in the table, if this process decided by itself."""
        return cls(core, wish.key, held[0] if held else nothing_held(core, wish.wanted))

    def __repr__(self) -> str:
        permits = ", ".join(f"{name}={count}" for name, count in self.permits.items())
        state = "settled" if self._noted else "held"
        return f"<Reservation of rate {self._core.name!r}: {permits}, {state}>"

    @property
    def permits(self) -> dict[str, int]:
        """What was reserved, by limit."""
        return {name: one.permits for name, one in self._held.reserved.items()}

    @property
    def settled(self) -> bool:
        """Whether it was settled here."""
        return self._noted

    @property
    def remaining(self) -> float:
        """Seconds until it counts in full."""
        now = self._core.state.rate_time.now_ns()
        if self._noted or self._held.counted is not None or now is None:
            return 0.0
        return max(0, self._held.until - now) / NS

    @property
    def driver(self) -> Driver:
        """Carries out its settlement, on the calling thread."""
        return self._core.driver

    def checked(self, n: int | None, used: Mapping[str, int]) -> dict[str, int]:
        """What was used, by limit, checked.

        Raises:
            ConfigurationError: It was settled before, the limiter is closed, or a number cannot be.
        """
        if self._noted:
            raise ConfigurationError("the reservation is settled already: its first numbers count")
        if self._core.state.closed:
            raise self._core.state.closed_error()
        reserved = self._held.reserved
        if n is not None:
            if used or set(reserved) != {SINGLE}:
                raise ConfigurationError("name the limits, as in settle(tokens=700)")
            used = {SINGLE: n}
        checked = checked_permits(used, reserved)
        counts = {name: checked.get(name, 0) for name in used}
        for name, count in counts.items():
            if count * reserved[name].interval > LONGEST_NS:
                raise ConfigurationError(f"{count:,} {name} would take more than a year to come back")
        return counts

    def deadline(self) -> float:
        """When a settlement that begins now gives up, with those of all parents, on the steady clock."""
        state = self._core.state
        budget = None if state.contact is None else state.contact.budget
        return state.time.steady() + (SECONDS if budget is None else min(SECONDS, budget))

    @contextlib.contextmanager
    def settling(self, wake: Callable[[], None], *, deadline: float) -> Iterator[Operation[NotSettled | None]]:
        """Stay among those who settle while the operation runs, whatever ends it.

        Args:
            wake: Ends the caller's pause, from any thread.
            deadline: When it gives up.
        """
        state = self._core.state
        settler = Settler(wake=wake, held=self._held, deadline=deadline)
        with state.lock:
            book = state.book(self._key)
            ledger = book.ledger
        # An interrupt may come between any two instructions here.
        try:
            if ledger is not None:
                with state.lock:
                    ledger.join(settler)
            yield settle_held(state, self._key, book, settler)
        finally:
            if ledger is not None:
                try:
                    self._leave(ledger, settler)
                except BaseException:  # interrupted: a settler left at the front would block all others
                    self._leave(ledger, settler)
                    raise

    def _leave(self, ledger: HoldLedger, settler: Settler) -> None:
        with self._core.state.lock:
            others = ledger.leave(settler)
        for other in others:
            other.wake()

    def conclude(self, outcome: NotSettled | None) -> bool:
        """Whether the numbers count. If that is not known, the log says why."""
        if self._held.counted is None and outcome is not None:
            cause = getattr(outcome, "cause", None)
            why = "no time was left to send it" if isinstance(outcome, OutOfTurn) else "others were faster"
            _log.warning(
                "rate %r: a reservation is not settled yet, and is settled with the next one, or counts in full: %s",
                self._core.name,
                why if cause is None else reason_text(cause),
            )
        self._report(written=self._held.counted is True)
        return self._held.counted is True

    def failed(self, error: Exception) -> None:
        """Log that a block could not settle it. That must neither mask nor replace the block's outcome."""
        _log.warning("rate %r: a reservation is not settled, and counts in full: %s", self._core.name, error)
        self._report(written=False)

    def _report(self, *, written: bool) -> None:
        reporter, held = self._core.reporter, self._held
        if reporter is not None:
            used = {name: (held.used or {}).get(name, one.permits) for name, one in held.reserved.items()}
            reporter.tell(
                Settled(rate=self._core.name, key=self._key, reserved=self.permits, used=used, written=written)
            )


def note_all(parts: Sequence[ReservationCore], n: int | None, used: Mapping[str, int]) -> None:
    """Note what was used, for a key and its parents. The first of several threads is the one that counts.

    An interrupt may come between any two of them: it is settled once the numbers of all are noted, and not before.

    Raises:
        ConfigurationError: It was settled before, or a number cannot be. Nothing was noted, or sent.
    """
    counts = [part.checked(n, used) for part in parts]
    with parts[0]._core.state.lock:  # noqa: SLF001 - its own class's
        parts[0].checked(None, {})
        for part, own in zip(parts, counts, strict=True):
            if part._held.used is None:  # noqa: SLF001
                part._held.used = own  # noqa: SLF001
        for part in parts:
            part._noted = True  # noqa: SLF001
