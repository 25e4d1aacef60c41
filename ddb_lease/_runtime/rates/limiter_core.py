"""The core of a limiter: what the synchronous and the asyncio API have in common.

Invariants:

- It returns operations, and each API drives them: this module sends nothing and waits for nothing.
- It handles forks, the interpreter's exit and closing; the APIs do not.
- It belongs to one process and one limiter; all threads, and all keys, share it. A key costs its book, and no thread.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from ddb_lease._numbers import checked_timeout
from ddb_lease._operations.rates.booking import is_undecided, take_permits
from ddb_lease._operations.rates.memory import known_denial
from ddb_lease._operations.rates.preparing import just_read
from ddb_lease._operations.rates.without_answer import Beside, decide_here, noting, unanswered
from ddb_lease._operations.sync_time import TIME_UNKNOWN
from ddb_lease._protocol.outcomes import Admission, Admitted, DecidedHere, Denied, reason_text
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.records import LimitPolicy
from ddb_lease._protocol.rates.validation import (
    MOST_PERMITS,
    SINGLE,
    checked_permits,
    limit_policies,
)
from ddb_lease._protocol.retry import TRY_SECONDS, Operation
from ddb_lease._runtime import process
from ddb_lease._runtime.arguments import checked_text, checked_timing, require_callback
from ddb_lease._runtime.block import ClosingBlock
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.rates.answers import RateAnswers
from ddb_lease._runtime.rates.given import checked_count, checked_prefetch
from ddb_lease._runtime.rates.reporter import RateReporter
from ddb_lease._runtime.rates.steering import RateSteering
from ddb_lease._runtime.rates.unavailability import contact_for, meanwhile, timeouts_of
from ddb_lease._runtime.rates.wish import Verdict, Wish
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.shared_time import shared_time
from ddb_lease._state.rates.booking import Booking
from ddb_lease._state.rates.callers import Sleeper
from ddb_lease._state.rates.key_book import KeyBook
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease.dynamodb import ConnectionSettings, Store
from ddb_lease.errors import ConfigurationError, StoreUnavailable
from ddb_lease.models import DecidedBy, Limit, OnUnavailable, Seconds, Timing
from ddb_lease.rate_events import OnRateEvent

_UNDECIDED: Final = StoreUnavailable("the service did not answer in time those of this process that stood in front")


class ForkAware(Protocol):
    """What must be told of forks."""

    def after_fork_in_child(self) -> None:
        """In a forked child: drop what belongs to the parent."""
        ...


class RateLimiterCore:
    """One limiter of one process, without a way to wait: the APIs add that.

    Args:
        name: The limiter's name.
        limits: Its limits; one named `SINGLE` if it has one without a name.
        table: The DynamoDB table.
        connection: How to reach it.
        prefetch: How many permits to take with one charge, at least.
        timing: Retention and clock skews.
        runtime: Clocks, threads and locks.
        on_event: Called with each event; None: there are none.
        on_unavailable: What decides where the service does not answer in time.
        budget: Seconds within which a decision is made, with the service or without.
        local_share: Of the rate, for ``local``.
        fork_aware: What else of this limiter must be told of forks.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Attributes:
        state: What its operations know.
        driver: Carries out requests, on the calling thread.
        block: The `with` block that closes it.
        whereabouts: Its table, endpoint and region: limiters that have these in common can be charged together.
        answers: What it tells its callers.
        steering: What an operator does: the policy, overrides, blocks, status.
        reporter: Reports its events; None if nobody listens.
    """

    def __init__(
        self,
        name: str,
        *,
        limits: Mapping[str, Limit],
        table: str,
        connection: ConnectionSettings,
        prefetch: int,
        timing: Timing | None,
        runtime: Runtime,
        on_event: OnRateEvent | None = None,
        on_unavailable: OnUnavailable = "raise",
        budget: Seconds | None = None,
        local_share: float = 0.1,
        fork_aware: tuple[ForkAware, ...] = (),
    ) -> None:
        self.name = checked_text("a rate's name", name)
        self.table = checked_text("table", table)
        given = limit_policies(limits)
        timing = checked_timing(timing)
        require_callback(on_event, what="on_event", gets="the event", coroutines="Give a plain function, in both APIs.")
        contact = contact_for(on_unavailable, budget, local_share, connection, listens=on_event is not None)
        shared = shared_time(connection, table=self.table, timing=timing, clock=runtime.clock)
        store = Store(
            table=table,
            bucket=self.name,
            connection=connection,
            lease_seconds=timeouts_of(contact),
            signing=shared.signing,
        )
        self.whereabouts = store.whereabouts
        self._store = runtime.wrap(store)
        self.state = LimiterState(
            name=self.name,
            given=given,
            place=connection.endpoint.place(table=self.table),
            prefetch=checked_prefetch(prefetch, given, rate=self.name),
            retention=timing.retention,
            time=shared.time,
            rate_time=shared.rate_time,
            chance=runtime.chance,
            contact=contact,
        )
        self.driver = Driver(
            sender=self._store,
            time=shared.time,
            signing=shared.signing,
            runtime=runtime,
            whose=f"rate {self.name!r}",
            meanwhile=meanwhile(contact),
        )
        self.reporter = None if on_event is None else RateReporter(self.state, on_event, runtime=runtime)
        self.block = ClosingBlock(f"rate {self.name!r}")
        self.answers = RateAnswers(self.state, block=self.block)
        self.steering = RateSteering(self.state, table=self.table, clock=runtime.clock, block=self.block)
        self._clock = runtime.clock
        # The request that is under way, and one for those who wait behind it.
        self._grace = min(TRY_SECONDS, 2 * connection.call_seconds(timeouts_of(contact)))
        self._fork_aware: tuple[ForkAware, ...] = (self.state, shared, self._store, *fork_aware)
        if self.reporter is not None:
            self._fork_aware += (self.reporter,)
        process.register(self)

    def __repr__(self) -> str:
        return f"<RateLimiter {self.name!r} in table {self.table!r}>"

    # What is wanted.

    def wanted(self, n: int, permits: Mapping[str, int], key: str | None = "", *, asks: bool = True) -> Wanted:
        """The permits that a call asks for, checked.

        Args:
            n: As the caller gave it: for a limiter with one unnamed limit.
            permits: By limit, for a limiter with several.
            key: Of which key: an override may allow it more than the policy does, or less. None: that is not known yet.
            asks: Whether the table is asked before they are refused, where what is known of it is old.

        Raises:
            ConfigurationError: They cannot be had, ever, or there is no such limit. Nothing was sent.
        """
        limits = self.state.limits
        single = len(limits) == 1 and SINGLE in limits
        if single and not permits:
            return _single(checked_count("n", n, self._most(key, SINGLE, n, limits, asks=asks)))
        if not permits:
            raise ConfigurationError(f"say how many permits of which limits: {', '.join(limits)}")
        booked = checked_permits(permits, limits)
        if n != 1:
            raise ConfigurationError("n is for a limiter with one limit: name the limits, as in acquire(requests=1)")
        for name, count in booked.items():
            checked_count(name, count, self._most(key, name, count, limits, asks=asks))
        if not booked:
            raise ConfigurationError("no permits are wanted: at least one limit must have one")
        return Wanted(booked=booked)

    # The part of a call that needs no I/O.

    def try_at_once(self, key: str, wanted: Wanted, *, decides: bool = False) -> bool | Wish:
        """What memory answers to a try: taken from the permits in hand, or denied; else what to ask the table for."""
        self.require_open()
        known = self._from_memory(key, wanted)
        if known is not None:
            self._report(key, wanted, allowed=known)
            return known
        began = self._clock.steady()
        return Wish(key=key, wanted=wanted, began=began, deadline=began + TRY_SECONDS, patient=False, decides=decides)

    def wait_for(self, key: str, wanted: Wanted, timeout: Seconds | None, *, decides: bool = False) -> Wish | None:
        """What a call that waits asks the table for; None if the permits were in hand, and are now taken."""
        wish = self.to_hold(key, wanted, timeout, decides=decides)
        if self._from_memory(key, wanted):
            self._report(key, wanted, allowed=True)
            return None
        return wish

    def to_hold(self, key: str, wanted: Wanted, timeout: Seconds | None, *, decides: bool = False) -> Wish:
        """What a call that reserves, and waits for it, asks the table for."""
        self.require_open()
        seconds = checked_timeout(timeout)
        began = self._clock.steady()
        deadline = math.inf if seconds is None else began + seconds
        return Wish(key=key, wanted=wanted, began=began, deadline=deadline, patient=True, decides=decides)

    # Operations, for an API to drive.

    def seconds_left(self, wish: Wish) -> float | None:
        """Seconds within which a call's requests are to be sent; None: it waits for ever."""
        if wish.deadline == math.inf:
            return None
        return wish.deadline - self.state.time.steady() + (self._grace if wish.decides and wish.patient else 0.0)

    @contextlib.contextmanager
    def in_queue(self, wish: Wish, wake: Callable[[], None]) -> Iterator[tuple[Operation[Admission], Booking]]:
        """Stay in the queue while the operation runs, whatever ends it; yields the place in the queue as well.

        Args:
            wish: What to ask the table for.
            wake: Ends the caller's pause, from any thread.
        """
        booking = Booking(
            wake,
            wanted=wish.wanted,
            began=wish.began,
            deadline=wish.deadline,
            patient=wish.patient,
            grace=self._grace if wish.decides and wish.patient else 0.0,
        )
        state, process = self.state, self.state.process
        key_book = state.join(wish.key, booking)
        # An interrupt may come between any two instructions here.
        try:
            operation = take_permits(state, wish.key, key_book, booking, process=process)
            yield self.observed(operation, wish.key, booking), booking
        finally:
            try:
                self._leave(key_book, booking)
            except BaseException:  # interrupted: a place left at the front would block all others
                self._leave(key_book, booking)
                raise

    def verdict(
        self, wish: Wish, outcome: Admission, *, beside: Sequence[Beside] = ()
    ) -> Verdict | Operation[DecidedHere | None]:
        """What a call ends with; or, where the table did not answer, what decides in its place: see `without_answer`.

        Arguments as there, and errors as of `conclude`, which tells what was decided.
        """
        instead = self.without_answer(wish, outcome, beside=beside)
        return self.conclude(wish, outcome) if instead is None else instead

    def without_answer(
        self, wish: Wish, outcome: Admission, *, beside: Sequence[Beside] = ()
    ) -> Operation[DecidedHere | None] | None:
        """What decides in place of the table, if it did not; None: nothing does, and `conclude` tells the outcome.

        If the operation returns None, the service is to be asked again.

        Args:
            wish: What was wanted.
            outcome: What came of it.
            beside: The key's parents.
        """
        state = self.state
        contact = state.contact
        if contact is None or contact.budget is None or contact.on_unavailable == "raise" or state.closed:
            return None
        if self._unanswered(wish, outcome) is None:
            return None
        return decide_here(
            state, contact, wish.key, wish.wanted, deadline=wish.deadline, patient=wish.patient, beside=beside
        )

    def conclude(self, wish: Wish, outcome: Admission) -> Verdict:
        """Whether the permits were taken, and who decided that.

        Raises:
            ConfigurationError: The limiter was closed while we waited. It admits nothing any more.
            StoreUnavailable: The service did not answer.
        """
        state = self.state
        if state.closed:
            raise state.closed_error()
        cause = self._unanswered(wish, outcome)
        if cause is not None:
            raise StoreUnavailable(f"no permit of rate {self.name!r}: {reason_text(cause)}") from cause
        if isinstance(outcome, DecidedHere):
            verdict = Verdict(allowed=outcome.allowed, by=outcome.by, retry_in=outcome.retry_in)
        else:
            retry_in = outcome.retry_in if isinstance(outcome, Denied) else 0.0
            verdict = Verdict(allowed=isinstance(outcome, Admitted), retry_in=retry_in)
        self._report(wish.key, wish.wanted, allowed=verdict.allowed, began=wish.began, by=verdict.by)
        return verdict

    # Closing, fork and exit.

    def close(self) -> None:
        """Close the connections and wake all waiters, which then raise. Permits in hand are forgone."""
        self.state.closed = True
        woken: list[Sleeper] = []
        with self.state.lock:
            for each in self.state.books():
                each.spares = None  # forgone
                woken += each.everybody()
        for caller in woken:
            caller.wake()
        self._store.close()

    def after_fork_in_child(self) -> None:
        """In a forked child: hold none of the parent's permits, and share no lane, lock or connection with it."""
        for part in self._fork_aware:
            part.after_fork_in_child()

    def at_exit(self, deadline: float) -> None:
        """At the interpreter's exit: permits in hand are forgone, and there is nothing to do."""

    # Internals.

    def require_open(self) -> None:
        """Raise if it is closed, and note that it is used."""
        self.block.use()
        if self.state.closed:
            raise self.state.closed_error()

    def _most(
        self, key: str | None, name: str, wanted: object, limits: Mapping[str, LimitPolicy], *, asks: bool
    ) -> int | None:
        """How many permits a call may ask for, by the limits that are known to hold for the key; None: ask the table.

        What others have set may allow more: also before the first use of this process.
        """
        if isinstance(wanted, int) and wanted > MOST_PERMITS:
            return MOST_PERMITS
        if key is None:
            return None
        state = self.state
        own = state.override_of(key, name)
        if own is None and key:
            return None
        most = limits[name].burst if own is None else own.burst
        if not asks or not isinstance(wanted, int) or wanted <= most:
            return most
        book = state.known_book(key)
        return most if book is not None and just_read(state, book) else None

    def _unanswered(self, wish: Wish, outcome: Admission) -> Exception | None:
        """Why the table has not decided; None: it has. A `check` ends with a denial only where something denies it."""
        if isinstance(outcome, Admitted):
            return None
        cause, state = unanswered(outcome, self._trouble(wish)), self.state
        if cause is None and wish.decides and is_undecided(state, state.book(wish.key), wish.wanted, outcome):
            return _UNDECIDED
        return cause

    def _trouble(self, wish: Wish) -> Exception | None:
        """Why others of this process could not ask for a caller."""
        state = self.state
        trouble = state.book(wish.key).trouble
        if trouble is None and not wish.patient and (state.policy is None or state.rate_time.now_ns() is None):
            return TIME_UNKNOWN  # they have asked for long, and not even the policy was answered
        return trouble

    def observed(self, operation: Operation[Admission], key: str, booking: Booking | None) -> Operation[Admission]:
        """The same operation; what comes of its requests is noted, and reported."""
        contact = self.state.contact
        if contact is not None:
            operation = noting(operation, self.state, contact)
        return operation if self.reporter is None else self.reporter.watch(operation, key, booking)

    def _report(
        self, key: str, wanted: Wanted, *, allowed: bool, began: float | None = None, by: DecidedBy = "table"
    ) -> None:
        if self.reporter is not None:
            self.reporter.decided(key, wanted, allowed=allowed, began=began, by=by)

    def _from_memory(self, key: str, wanted: Wanted) -> bool | None:
        state, now = self.state, self.state.rate_time.now_ns()
        if now is None:
            return None
        with state.lock:
            key_book = state.book(key)
            if key_book.spares is not None and key_book.take_now(wanted, now=now):
                if state.pass_gate(key_book, wanted) == 0:
                    return True
                key_book.give_back(wanted, due=now)
                return None
            return False if known_denial(state, key_book, wanted, now=now) is not None else None

    def _leave(self, key_book: KeyBook, booking: Booking) -> None:
        with self.state.lock:
            woken = key_book.leave(booking)
        for other in woken:
            other.wake()


@functools.lru_cache(maxsize=1024)
def _single(n: int) -> Wanted:
    return Wanted(booked={SINGLE: n})
