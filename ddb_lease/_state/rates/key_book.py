"""The book of one key: what one process knows of it, who waits for it, and the permits that are booked.

Invariants:

- The item as last seen is a hint that saves requests. Others charge meanwhile, so it may allow too much; then the
  condition of a charge fails. It denies too much only where permits were given back, or the item was deleted.
- Callers queue: first come, first served. The first one sends one charge for all who wait, and deals the permits out.
- A permit that is booked has its own due time, and is used by whom it was dealt to. If that caller leaves before, the
  permit goes to another one of this process: it is then a spare.
- A spare that nobody wanted within a second of its due time is forgone. If it were kept, this process could use it
  later, together with others: more than the rate.
- A charge under way (`Flight`) belongs to the book, and not to the caller that sends it. If that caller is gone, the
  next one sends the same attempt again, and so finds out whether it was charged.
- No I/O and no clock: times come in. The limiter's lock guards all of it. It is reentrant, as a signal handler may end
  a wait while its own thread holds it. Nobody is woken while it is held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ddb_lease._protocol.rates.batching import Place
from ddb_lease._protocol.rates.charging import Wanted, is_charged
from ddb_lease._protocol.rates.records import KeyState
from ddb_lease._state.rates.booked_callers import BookedCallers
from ddb_lease._state.rates.booking import Booking, Flight
from ddb_lease._state.rates.booking_queue import BookingQueue
from ddb_lease._state.rates.callers import Callers, Sleeper
from ddb_lease._state.rates.hold_ledger import HoldLedger
from ddb_lease._state.rates.pace import Pace
from ddb_lease._state.rates.remembered_key import Known, Remembered, recalled
from ddb_lease._state.rates.use_gate import UseGate
from ddb_lease._state.spares import Spares

STALE_SECONDS = 15.0
"""If the first in the queue is overdue by this much, the others stop relying on it."""


class KeyBook:
    """The book of one key in one process.

    Attributes:
        known: The item as last seen, without its lanes; None if none was seen, or there is none. Made anew each time.
        kept: The same, as it is kept.
        doubted: The item as last seen, if nothing relies on it any more, as others may have given permits back. What it
            shows is still told.
        known_at: When the item was seen last, by the service's time.
        flight: The charge under way.
        gate: What permits pass when they are used.
        ledger: This process's reservations; None if there never was one.
        callers: Those that charge the key together with others, in no queue; None if there never was one.
        reserving: Charges under way, besides the flight, that reserve: their attempts, and what the hold showed before;
            None if there never was one.
        trouble: Why the last charge failed; None if the table answered it.
        failing_since: When the first of the tries began that have failed since any other outcome, on the steady clock;
            None if the last one did not fail.
        last_size: For how many callers the last charge booked.
        last_end: When the last charge for several callers was answered, on the steady clock.
        outrun_at: When a charge was last refused as another process had charged just before, on the steady clock.
        pace: How fast permits are used here; None until a charge was refused like that.
        booked: Callers whose permits are booked; None or empty if there are none.
        spares: Permits in hand; None or empty if there are none.
    """

    __slots__ = (
        "_expected_at",
        "_last_shown",
        "_queue",
        "booked",
        "callers",
        "doubted",
        "failing_since",
        "flight",
        "gate",
        "kept",
        "known_at",
        "last_end",
        "last_size",
        "ledger",
        "outrun_at",
        "pace",
        "reserving",
        "spares",
        "trouble",
    )

    known = Known()

    def __init__(self) -> None:
        # Nobody waits for most keys: what their books do not need is not made.
        self.kept: Remembered = None
        self.doubted: KeyState | None = None
        self.known_at = 0
        self.flight: Flight | None = None
        self.gate: UseGate | None = None
        self.ledger: HoldLedger | None = None
        self.reserving: dict[str, str | None] | None = None
        self.callers: Callers | None = None
        self.trouble: Exception | None = None
        self.failing_since: float | None = None
        self.last_size = 0
        self.last_end = -math.inf
        self.outrun_at = -math.inf
        self.pace: Pace | None = None
        self.booked: BookedCallers | None = None
        self._last_shown: tuple[Remembered] | None = None  # while `known` is a guess: what was seen before
        self._queue: BookingQueue[Booking] | None = None
        self.spares: Spares | None = None  # most keys have none
        self._expected_at = math.inf

    @property
    def idle(self) -> bool:
        """Whether nobody waits, for a booking or for its permits, and nothing is reserved: the book may be dropped.

        Of a key that is charged together with others, a caller holds the book. Its reservation is looked for here.

        Permits in hand, and a charge that its caller left behind, do not keep it: if nobody asks for the key any more,
        nothing would ever end them.
        """
        if self.callers:
            return False
        return not self._queue and not self.booked and (self.ledger is None or not self.ledger.entries)

    def in_hand(self, *, now: int) -> int:
        """How many spare permits there are, due or not."""
        return 0 if self.spares is None else self.spares.in_hand(now=now)

    # What the item shows.

    def learn(
        self, state: KeyState | None, *, now: int, since: int | None = None, process: str = "", guessed: bool = False
    ) -> None:
        """Keep the item as it was just seen, or as it must be by now.

        Args:
            state: The item.
            now: The service's time.
            since: The same when the request was sent whose answer shows the item. If another answer has come since,
                and this one shows less, it is the older one: nothing was given back.
            process: The name of this process's hold.
            guessed: Whether the item is what this process made of what it saw last. What is seen next may show less,
                and nothing was given back.
        """
        flight = self.flight
        if flight is not None and flight.sent and is_charged(flight.sent[-1], state):
            flight.shown = state  # later ones may not show it: others use its lane too, and this process settles
        if self.ledger is not None:
            self.ledger.saw(state, process=process)
        before, shown = self.known, self._last_shown
        if guessed:
            self._last_shown = shown or (self.kept,)
        else:
            if before is not None and gave_back(before, state):
                if since is not None and since < self.known_at:
                    return
                seen = before if shown is None else recalled(shown[0])
                if seen is not None and gave_back(seen, state):
                    self.gate = None  # it counts what was forgiven
            self._last_shown = None
        self.known, self.known_at, self.doubted = state, now, None

    # The queue.

    def join(self, booking: Booking) -> None:
        """Join the queue at its end."""
        self._queue = self._queue or BookingQueue()
        self._queue.join(booking)

    def leave(self, booking: Booking) -> list[Booking]:
        """Leave, from any place, and hand back permits that were not used; returns whom to wake."""
        self._leave_queue(booking)
        woken = self._no_longer_booked(booking)
        if booking.due is not None:
            self.give_back(booking.wanted, due=booking.due)
            booking.due = None
            if booking.held is not None:
                booking.held.give_up()
        first = self.first()
        return woken if first is None else [first, *woken]

    def everybody(self) -> list[Sleeper]:
        """Those who wait for a booking, those whose permits are booked, and those that charge it with others."""
        return [*self.waiting(), *(self.booked.everybody() if self.booked else ()), *(self.callers or ())]

    def first(self) -> Booking | None:
        """The first of those who wait for a booking."""
        return None if self._queue is None else self._queue.first()

    def awaits(self, booking: Booking | None) -> bool:
        """Whether this one waits for a booking."""
        return booking is not None and self._queue is not None and booking in self._queue

    def waiting(self, most: int | None = None) -> list[Booking]:
        """Those who wait for a booking, in order, at most so many from the front."""
        return [] if self._queue is None else self._queue.waiting(most)

    def places(self, most: int, *, now: float) -> tuple[list[Booking], list[Place]]:
        """Those who wait for a booking, as `waiting`, and their places as of this time of the steady clock."""
        waiting = self.waiting(most)
        return waiting, [booking.place(now=now) for booking in waiting]

    def in_front_of(self, booking: Booking, *, most: int) -> list[Booking]:
        """Those who wait in front of this one, at most so many from the front."""
        waiting = self.waiting(most)
        return waiting[: waiting.index(booking)] if booking in waiting else waiting

    def my_turn(self, booking: Booking, *, now: float) -> bool:
        """Whether this one may send: it is first, or the first is overdue, as on an event loop that is blocked.

        Args:
            booking: In the queue.
            now: On the steady clock.
        """
        if self.first() is booking or now > self._expected_at:
            self._expected_at = now + STALE_SECONDS
            return True
        return False

    def rests(self, booking: Booking, *, until: float) -> None:
        """Note that the first in the queue tries again at this time of the steady clock. It is not overdue before."""
        if self.first() is booking:
            self._expected_at = until + STALE_SECONDS

    # Permits.

    def deal(self, *, now: int, steady: float) -> list[Booking]:
        """Deal spare permits that are due in time to those who wait, in order; returns who got some."""
        dealt: list[Booking] = []
        while self.spares and (booking := self.first()) is not None:
            due = self.spares.take(booking.wanted, now=now, by=now + booking.place(now=steady).left)
            if due is None:
                break
            self._serve(booking, due)
            dealt.append(booking)
        return dealt

    def take_now(self, wanted: Wanted, *, now: int) -> bool:
        """Take spare permits that are due, for a newcomer, if nobody waits."""
        if not self.spares or self.first() is not None:
            return False
        return self.spares.take(wanted, now=now, by=now) is not None

    def used(self, booking: Booking) -> list[Booking]:
        """Note that these permits are used; returns who may use his next."""
        booking.due = None
        return self._no_longer_booked(booking)

    def forgo(self, booking: Booking) -> list[Booking]:
        """Give up permits that are booked: nobody uses them, and their caller waits again; returns whom to wake."""
        woken = self.used(booking)
        if booking.held is not None:
            booking.held.give_up()
            booking.held = None
        self.join(booking)
        return woken

    def give_back(self, wanted: Wanted, *, due: int) -> None:
        """Keep permits that were booked or taken, and that nobody uses yet."""
        self.spares = self.spares or Spares()
        self.spares.put(wanted, due=due)

    def charged(
        self,
        flight: Flight,
        found: KeyState,
        dues: Sequence[int],
        extra: Sequence[tuple[int, int]],
        *,
        since: int,
        now: int,
        steady: float,
        process: str,
    ) -> list[Booking]:
        """Learn what a charge has left, and deal out its permits; returns whom to wake.

        If those for whom it was charged are gone, their permits are for those who wait now.

        Args:
            flight: If it is not under way any more, another caller has dealt it out.
            found: The item after the charge.
            dues: When the permits of each caller of the batch are due.
            extra: When permits that were prefetched are due, and how many of them.
            since: As for `learn`.
            now: The service's time.
            steady: On the steady clock.
            process: As for `learn`.
        """
        self.learn(found, now=now, since=since, process=process)
        woken = []
        if self.flight is flight:
            self.flight, self.trouble = None, None
            self.last_size = len(flight.batch)
            if self.last_size > 1:
                self.last_end = steady
            for (place, wanted), due in zip(flight.batch, dues, strict=True):
                booking = place()
                if booking is not None and self.awaits(booking):
                    self._serve(booking, due)
                    woken.append(booking)
                else:
                    self.give_back(wanted, due=due)
            for due, count in extra:
                self.give_back(Wanted(booked={flight.wanted.limits[0]: count}), due=due)
            woken += self.others()
        return woken + self.deal(now=now, steady=steady)

    def others(self) -> list[Booking]:
        """Whom to wake when a charge was answered, or failed: who is first now, and those who do not wait."""
        waiting = self.waiting()
        return [booking for booking in waiting if booking is waiting[0] or not booking.patient]

    def after_fork_in_child(self) -> None:
        """In a forked child: nobody waits, and permits and attempts are the parent's."""
        self._queue, self.spares, self.booked, self.flight = None, None, None, None
        if self.ledger is not None:
            self.ledger.lose(self.ledger.entries)
            self.ledger = None
        self.reserving = self.callers = None
        self._expected_at = math.inf

    # Internals.

    def _serve(self, booking: Booking, due: int) -> None:
        self.booked = self.booked or BookedCallers()
        self.booked.add(booking, due=due)
        self._leave_queue(booking)

    def _leave_queue(self, booking: Booking) -> None:
        if self._queue is not None and not self._queue.leave(booking):
            self._queue = None
        if self._queue is None:
            self._expected_at = math.inf

    def _no_longer_booked(self, booking: Booking) -> list[Booking]:
        woken = [] if self.booked is None else self.booked.remove(booking)
        self.booked = self.booked or None
        return woken


def last_seen(book: KeyBook) -> KeyState | None:
    """The item of a key as last seen, whether or not anything relies on it."""
    doubted = book.doubted  # read once: another thread may learn the item just now
    return book.known if doubted is None else doubted


def wake(bookings: Sequence[Sleeper], *, but: Sleeper | None = None) -> None:
    """End the pauses of callers, but one's own; no lock is held."""
    for booking in bookings:
        if booking is not but:
            booking.wake()


def gave_back(before: KeyState, after: KeyState | None) -> bool:
    """Whether the item shows less than before: it was reset, deleted, or cut by a changed policy."""
    if after is None or after.rev != before.rev or after.override_rev != before.override_rev:
        return True
    return any(name not in after.limits or after.limits[name].tat < limit.tat for name, limit in before.limits.items())
