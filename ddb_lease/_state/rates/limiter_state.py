"""What one limiter knows in one process: its policy, the books of its keys, time, chance, and whether it is closed.

Invariants:

- It is below the operations, and they read it directly, so no callback is passed down to them. It decides nothing: a
  key's book and its gate say whose permits pass, and when.
- The books of keys are kept while they are in use; of the others, the `MOST_BOOKS` that were used last. What is lost
  with a book is a hint, and permits in hand.
- One lock guards all books. Nothing waits while it is held.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Final

from ddb_lease._protocol.rates.charging import Wanted, limits_of
from ddb_lease._protocol.rates.records import LANES, LimitPolicy, Policy
from ddb_lease._protocol.rates.validation import NS
from ddb_lease._state.rates.booking import Booking
from ddb_lease._state.rates.key_book import KeyBook
from ddb_lease._state.rates.rate_time import RateTime
from ddb_lease._state.rates.service_contact import ServiceContact
from ddb_lease._state.rates.use_gate import UseGate
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.errors import ConfigurationError

MOST_BOOKS: Final = 10_000
"""Keys that one limiter remembers while nobody waits for them."""

POLICY_SECONDS: Final = 30.0
"""After how long the policy is read again: so long a changed one may stay unnoticed where no item shows it."""


@dataclass(slots=True, kw_only=True)
class LimiterState:
    """The state of one limiter in one process.

    Attributes:
        name: Its name in the table.
        given: Its own limits: what it creates the policy from.
        place: The options with which `ddb-lease` reaches its table, for messages.
        prefetch: How many permits to take with one charge, at least, if one limit is charged.
        retention: Seconds that an item stays after all is paid for.
        time: Bounds on the service's time.
        rate_time: The estimate that rates go by.
        chance: A source of randomness that no two processes share.
        contact: Whether the service answers; None if nobody wants to know, and decisions wait for it.
        policy: As last read; None before the first use.
        policy_at: When it was asked for, on the steady clock: what the answer showed may have changed since.
        policy_asking_at: Since when somebody asks for it, on the steady clock; minus infinity if nobody does.
        policy_awaited: How to wake those who wait for that.
        policy_told: Whether a policy that differs from `given` was logged.
        older_told: Whether an item of a version before this one was logged.
        lane: Where this process's attempts are recorded.
        process: The name of this process's holds.
        closed: Whether the limiter is closed. It never opens again.
        lock: Guards the books.
    """

    name: str
    given: Mapping[str, LimitPolicy]
    prefetch: int
    retention: float
    time: ServiceTime
    rate_time: RateTime
    chance: Random
    place: str = ""
    contact: ServiceContact | None = None
    policy: Policy | None = None
    policy_at: float = 0.0
    policy_asking_at: float = -math.inf
    policy_awaited: list[Callable[[], None]] = field(default_factory=list)
    policy_told: bool = False
    older_told: bool = False
    lane: int = 0
    process: str = ""
    closed: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    _books: OrderedDict[str, KeyBook] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._draw_identity()

    @property
    def limits(self) -> Mapping[str, LimitPolicy]:
        """The limits that hold, as far as this process knows: the policy's, or its own before the first use."""
        return self.given if self.policy is None else self.policy.limits

    def book(self, key: str) -> KeyBook:
        """The book of a key."""
        with self.lock:
            book = self._books.get(key)
            if book is None:
                book = self._books[key] = KeyBook()
                self._drop_some()
            else:
                self._books.move_to_end(key)
            return book

    def known_book(self, key: str) -> KeyBook | None:
        """The book of a key, if there is one; it stays where it is in the order of use."""
        return self._books.get(key)

    def override_of(self, key: str, name: str) -> LimitPolicy | None:
        """The limit that a key has of its own, if its item showed one when it was last seen."""
        book = self._books.get(key)
        known = None if book is None else book.known
        return None if known is None else known.override.get(name)

    def join(self, key: str, booking: Booking) -> KeyBook:
        """Join the queue of a key at its end; returns the key's book."""
        with self.lock:
            book = self.book(key)
            book.join(booking)
        return book

    def wait_at_gate(self, book: KeyBook, wanted: Wanted, *, passes: bool = True) -> int:
        """How long permits of a key that are due must still wait, in nanoseconds; 0: they have passed, if they may.

        Args:
            book: The key's. Its gate is made when the first permits come to it.
            wanted: The permits.
            passes: As for `UseGate.wait_ns`.
        """
        gate = book.gate = book.gate or UseGate()
        limits = self.given if self.policy is None else limits_of(self.policy, book.known)
        return gate.wait_ns(wanted, limits, now=round(self.time.steady() * NS), passes=passes)

    def pass_gate(self, book: KeyBook, wanted: Wanted) -> int:
        """The same for permits of one key alone, which pass if they may; how many are used is noted."""
        wait = self.wait_at_gate(book, wanted)
        if wait == 0 and book.pace is not None:
            book.pace.note(max(wanted.booked.values(), default=0), now=self.time.steady())
        return wait

    def use(self, book: KeyBook, booking: Booking, *, now: int) -> tuple[int, list[Booking]]:
        """Let permits that are due pass the gate, in the order of their due times.

        Args:
            book: The key's.
            booking: Whose permits.
            now: The service's time.

        Returns:
            How long they must still wait, in nanoseconds; 0: they are used. And whom to wake then.
        """
        with self.lock:
            wait = 0 if book.booked is None else book.booked.waits_for_others(booking, now=now)
            if wait:
                return wait, []
            wait = self.pass_gate(book, booking.wanted)
            booking.comes_at = now + wait
            return wait, [] if wait else book.used(booking)

    def books(self) -> list[KeyBook]:
        """All books that are kept."""
        with self.lock:
            return list(self._books.values())

    def closed_error(self) -> ConfigurationError:
        """The error of a closed limiter."""
        return ConfigurationError(f"the limiter of rate {self.name!r} is closed")

    def forked_error(self) -> ConfigurationError:
        """The error of a call that goes on in a forked child."""
        return ConfigurationError(
            f"the process was forked amid a call for permits of {self.name!r}: they are its parent's. Repeat it"
        )

    def after_fork_in_child(self) -> None:
        """In a forked child: share no lock, permit, lane or hold with the parent."""
        self.lock = threading.RLock()
        self.policy_awaited, self.policy_asking_at = [], -math.inf
        for book in self._books.values():
            book.after_fork_in_child()
        if self.contact is not None:
            self.contact.after_fork_in_child()
        self._draw_identity()

    def _draw_identity(self) -> None:
        self.lane = self.chance.randrange(LANES)
        self.process = f"{self.chance.getrandbits(64):016x}"

    def _drop_some(self) -> None:
        if len(self._books) > MOST_BOOKS:
            now = self.rate_time.now_ns()
            for key in list(islice(self._books, 16)):
                ledger = self._books[key].ledger
                if ledger is not None and now is not None:
                    ledger.forget_overdue(now=now)
            # Those that are busy are few: the oldest ones are nearly always idle. The others stand aside for a while.
            oldest = [(key, self._books[key].idle) for key in islice(self._books, 16)]
            for key in [key for key, idle in oldest if idle][:2]:
                del self._books[key]
            for key in [key for key, idle in oldest if not idle]:
                self._books.move_to_end(key)
