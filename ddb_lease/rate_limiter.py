"""A rate limit: what a user imports.

Invariants: it is the synchronous way to drive a `RateLimiterCore`, and decides nothing itself.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import ParamSpec, TypeVar

from ddb_lease._protocol.rates.validation import checked_key
from ddb_lease._runtime.arguments import DEFAULT_TABLE
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.decorators import KeyFunction, Wording, checked_key_function, decorate, require_timeout
from ddb_lease._runtime.mistaken import NotAsync
from ddb_lease._runtime.rates.family import checked_parents
from ddb_lease._runtime.rates.first_guesses import OF_A_LIMITER, FirstGuesses, named_arguments
from ddb_lease._runtime.rates.given import limits_given
from ddb_lease._runtime.rates.limiter_core import RateLimiterCore
from ddb_lease._runtime.rates.reservation_core import SETTLE_WITHIN
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.dynamodb import Client, ConnectionSettings, Session
from ddb_lease.key_limiter import KeyLimiter
from ddb_lease.models import Decision, Limit, OnUnavailable, RateStatus, Seconds, Timing
from ddb_lease.rate_events import OnRateEvent
from ddb_lease.reservation import Reservation

P = ParamSpec("P")
R = TypeVar("R")

_BLOCK = "`limiter.acquire()` takes a permit; make one limiter for the process."

_LIMITED = Wording(
    name="RateLimiter.limited",
    inside="Call `limiter.acquire()` in its body.",
    otherwise="Use `limited` of ddb_lease.aio.RateLimiter.",
    passes_lease=False,
)


class RateLimiter(NotAsync, BelongsHere, FirstGuesses):
    """At most `rate` permits in `per` seconds, and `burst` at once, over all processes that use the name.

    It runs GCRA (ITU-T I.371): a charge is one conditional write to one item, and nothing is read in order to decide.
    `acquire` books: it charges now, and sleeps until its permits are due. Constructing a limiter sends nothing, and
    nothing has to exist before. It is thread-safe. Make one for each process and name: its threads then share one
    queue, one write at a time, and what the process knows of the rate. After a fork the child may use it, and holds
    none of its parent's permits. A rate may have the same name as a bucket; they are independent.

    The promise, for each limit of each key: of the permits that are due in any t seconds, at most ``rate * (t + s) +
    burst``. Here s is how far apart the clocks of those processes lie; `uncertainty_seconds` of `status` says how far
    this one's may be off. One process alone uses at most ``rate * t + burst``. Permits that are booked are due in the
    order of the bookings, over all processes; who cannot book yet, as too much is booked already, has no place in that
    order, and the one who has waited longest is the first who can. ``docs/rates.md`` has the promise in full.

    Not promised: that each permit charged is used. Those booked by a process that dies, or in an attempt whose answer
    is lost for good, are forgone.

    The first use stores the limits as the rate's policy, which rules for all processes from then on: one that was made
    with other limits follows the stored ones, and logs that once. `set_policy` changes it.

    Args:
        name: The rate's name in the table; any non-empty string of up to 2048 bytes.
        rate: Permits in `per` seconds; up to a million a second. It may be less than one.
        per: Seconds, or a timedelta.
        burst: How many permits can be had at once after a quiet time. The default is the number of one `per`, `rate`
            rounded down, and at least one: so up to twice the rate is admitted in the first `per`. With 1, permits come
            one by one. It comes back in ``burst * per / rate`` seconds, which may be a year at most.
        limits: Limits by name instead of `rate`, `per` and `burst`: calls then name the permits, and take all or none.
            Up to ten.
        table: The DynamoDB table; ``ddb-lease create-table`` makes one.
        session: A `boto3.Session`, where boto3's defaults do not fit.
        client: A DynamoDB client instead. Make it with `client_config`, as botocore must not retry by itself.
        endpoint_url: An endpoint other than DynamoDB's own.
        prefetch: Take at least this many permits with one write, for limiters with one limit, and hand them out in this
            process, each when it is due. That divides the cost of a permit by this number. A charge takes no more than
            the burst, so neither does this. Other processes wait for that much longer. Permits that are in hand when
            the process ends, or that nobody wants within a second of their due time, are forgone.
        timing: `retention`, `max_clock_skew` and `front_end_skew` are used.
        on_event: Called with each event, for metrics: see `ddb_lease.rate_events`, which also says on which thread.
        on_unavailable: What decides where the service does not answer within `budget`. ``raise``: `StoreUnavailable`.
            ``allow``: everybody is admitted; nothing is promised then. ``deny``: nobody is. ``local``: this process
            admits `local_share` of the rate by itself, of each key and limit. A rejection always raises.
        budget: Seconds, or a timedelta, for a decision, from 1 to 30: then it is made without the service. In an outage
            one caller a second asks the service, and all others are answered at once. None: with ``raise``, as long as
            each method says; else 1 s. It does not limit how long `acquire` waits for permits.
        local_share: With ``local``, the part of the rate, and of the burst, that one process admits by itself: a tenth
            by default. With p processes, p times as much; a call for more permits than its burst is denied.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Example:
        >>> from ddb_lease import RateLimiter, local
        >>> with RateLimiter("mail", rate=5, per=60, burst=2, **local.connect()) as limiter:
        ...     [limiter.try_acquire() for _ in range(3)]
        [True, True, False]
    """

    _instead = "pass its name and settings, and make one there"
    _block = "`limiter.acquire()`, or use ddb_lease.aio in asyncio"
    _called = "limiter"

    @named_arguments("RateLimiter('mail-api', rate=10, per=60, burst=1)", OF_A_LIMITER)
    def __init__(
        self,
        name: str,
        *,
        rate: float | None = None,
        per: Seconds = 1.0,
        burst: int | None = None,
        limits: Mapping[str, Limit] | None = None,
        table: str = DEFAULT_TABLE,
        session: Session | None = None,
        client: Client | None = None,
        endpoint_url: str | None = None,
        prefetch: int = 0,
        timing: Timing | None = None,
        on_event: OnRateEvent | None = None,
        on_unavailable: OnUnavailable = "raise",
        budget: Seconds | None = None,
        local_share: float = 0.1,
        runtime: Runtime | None = None,
    ) -> None:
        self._runtime = runtime or Runtime()
        self._core = RateLimiterCore(
            name,
            limits=limits_given(rate, per, burst, limits),
            table=table,
            connection=ConnectionSettings(session=session, client=client, endpoint_url=endpoint_url),
            prefetch=prefetch,
            timing=timing,
            runtime=self._runtime,
            on_event=on_event,
            on_unavailable=on_unavailable,
            budget=budget,
            local_share=local_share,
        )
        self._all = KeyLimiter(self._core, self._runtime, "")
        self.name = self._core.name
        self.table = self._core.table

    def __repr__(self) -> str:
        return repr(self._core)

    @property
    def burst(self) -> int:
        """How many permits can be had at once, at most; of several limits, the smallest."""
        return min(limit.burst for limit in self._core.state.limits.values())

    def try_acquire(self, n: int = 1, **permits: int) -> bool:
        """Take n permits if they can be had at once: all or none.

        A denial is remembered: until the time that it gives, the answer is False and nothing is sent, but for 30 s at
        most; for a second at most where reservations may be given back. The answer is also False where other threads of
        this process wait and take all permits that there are.

        Args:
            n: How many, up to `burst`, for a limiter with one unnamed limit.
            **permits: How many of each limit, for a limiter with several.

        Returns:
            Whether the permits were taken.

        Raises:
            ConfigurationError: n is more than `burst` (`TooManyPermits`), or no whole number from 1 up; or there is no
                limit of this name. Mostly nothing was sent. More than a burst is refused by what was read within the
                last second: else the policy and the key are read before (1 RCU each), as they may allow more by now.
            StoreUnavailable: The service did not answer in five tries, of one to six requests each, or its answers do
                not tell its time. Permits that were charged without our knowing are forgone.
            StoreRejected: No table, no permission: trying again will not help.

        Cost: 1 UpdateItem (1 WCU), and one more where others have charged since this process last saw the item and its
            guess was wrong. A denial by the table costs the same; a denial from memory costs nothing. The policy is
            read at the first use (1 RCU) and then every 30 s (0.5 RCU); the first use of all creates it (1 WCU). The
            first time also two Queries of one item, as two answers must agree on the time.
        """
        return self._all.try_acquire(n, **permits)

    def acquire(self, n: int = 1, *, timeout: Seconds | None = None, **permits: int) -> None:
        """Wait for n permits, and take them: all together.

        It books them with one write, which tells when they are due, and sleeps until then. Threads of one process
        queue, first come, first served, and the first one books for all who may book now. Over all processes, permits
        are due in the order of the bookings, so a caller that wants many is not passed by others that take few.

        A booking reaches at most 30 s ahead, or two intervals if they are longer, and never beyond the timeout; for a
        new caller half as far. Who cannot book yet tries again, the earlier the longer it has waited. If it is
        interrupted, its permits go to another caller of this process that wants them within a second of their due time,
        and are else forgone.

        Args:
            n: How many, up to `burst`.
            timeout: Seconds, or a timedelta, to wait at most, besides the time of one request; None waits for ever.
            **permits: How many of each limit, for a limiter with several.

        Raises:
            RateTimeout: The permits cannot be had in time; raised as soon as that is known. It is an `AcquireTimeout`,
                and names the rate, the key and the limit that lets wait longest, how long that takes, and a block.
            ConfigurationError: The arguments cannot work, as in `try_acquire`; or the limiter was closed meanwhile.
            StoreUnavailable: The service did not answer until the timeout; without a timeout, it has never answered
                in 20 s. Permits that were charged without our knowing are forgone.
            StoreRejected: As in `try_acquire`.

        Cost: as `try_acquire`, for all callers of the process that a charge books for together. Who cannot book yet
            sends nothing until its next try.
        """
        self._all.acquire(n, timeout=timeout, **permits)

    def reserve(
        self, n: int = 1, *, timeout: Seconds | None = None, settle_within: Seconds = SETTLE_WITHIN, **permits: int
    ) -> Reservation:
        """Wait for n permits as `acquire` does, and hold them until it is known how many were used.

        Every limit that is named is held. What is held counts as used, and does not come back with time: nothing is
        booked on its end.

        Args:
            n: How many, up to `burst`: as many as may be needed.
            timeout: As in `acquire`.
            settle_within: Seconds, or a timedelta, from 1 s to a day and to `Timing.retention` at most, in which it is
                settled; from when the permits are due. After that all permits count as used. If a process dies, others
                have to do without them so long.
            **permits: How many of each limit, for a limiter with several.

        Returns:
            A `Reservation`, to be used as a block.

        Raises:
            RateTimeout: As in `acquire`, and so are its other errors. Nothing is held. Where reservations of others
                hold all there is, this is known only when the time is over.

        Cost: as `acquire`, one UpdateItem for each reservation; and one to settle it.

        Example:
            >>> from ddb_lease import RateLimiter, local
            >>> with RateLimiter("bytes", rate=1_000_000, **local.connect()) as limiter:
            ...     with limiter.reserve(65_536, timeout=30) as reservation:
            ...         reservation.settle(12_000)
            True
        """
        return self._all.reserve(n, timeout=timeout, settle_within=settle_within, **permits)

    def wait_time(self, n: int = 1, **permits: int) -> float:
        """Seconds until n permits could be had, as far as this process knows: no I/O.

        It is computed from what the item showed last, with all that was booked by then. Others may have charged since.
        It is 0.0 also where nothing is known yet.

        Raises:
            ConfigurationError: n is more than `burst`, or no whole number from 1 up.
        """
        return self._all.wait_time(n, **permits)

    def check(self, n: int = 1, *, timeout: Seconds | None = 0, **permits: int) -> Decision:
        """Take permits if they can be had in time, and tell what is left: at once, as `try_acquire`, or as `acquire`.

        A service that limits its clients answers with it: `allowed`, `remaining`, `retry_after`, `reset_after`, of each
        limit and of the tightest one.

        Args:
            n: How many, up to `burst`.
            timeout: Seconds, or a timedelta, to wait for them at most; 0: they are to be had at once. Where they cannot
                be had in time, the decision says so, as soon as that is known: there is no `RateTimeout`.
                Where nothing known denies them then, as the service takes long to answer, it goes on as with 0, for the
                time of two requests.
            **permits: How many of each limit, for a limiter with several.

        Raises:
            ConfigurationError: As in `try_acquire`; and so are its other errors.

        Cost: that of `try_acquire` or `acquire`, and no more.
        """
        return self._all.check(n, timeout=timeout, **permits)

    def key(self, key: str, *, under: Sequence[KeyLimiter | RateLimiter] = ()) -> KeyLimiter:
        """A view of one key, such as a customer or a host: limits of its own, under this limiter's policy. No I/O.

        Args:
            key: Any string of 1 to 512 bytes.
            under: Its parents: keys of this limiter or of others, or limiters as a whole. Each permit is then one of
                the key, of each parent, and of their own parents: all or none. Each of them must have the limits that a
                call names. All limiters must have the same table. Nine at most. In an outage,
                this limiter decides for its parents too, by its `on_unavailable` and within its `budget`.

        Raises:
            ConfigurationError: The key is empty, or too long; or the parents cannot be charged with it.

        Cost: no I/O here. With parents, `acquire`, `try_acquire`, `check` and `reserve` each take one
            TransactWriteItems, 2 WCU for each item: 4 WCU with one parent. Each of the items is written by all who are
            under it, and transactions on one item conflict: what conflicts is tried again after a pause, up to the
            timeout. There is no order then: who waits may be passed. For a parent that is charged more than some tens
            of times a second, charge the key alone, and give each key its share of the parent's rate.

        Example:
            >>> from ddb_lease import RateLimiter, local
            >>> at = local.connect()
            >>> orgs, teams = RateLimiter("orgs", rate=3, per=60, **at), RateLimiter("teams", rate=2, per=60, **at)
            >>> red, blue = (teams.key(team, under=[orgs.key("acme")]) for team in ("red", "blue"))
            >>> [team.try_acquire() for team in (red, red, red, blue, blue)]
            [True, True, False, True, False]
        """
        checked = checked_parents(under, (RateLimiter, KeyLimiter))
        views = [parent._all if isinstance(parent, RateLimiter) else parent for parent in checked]  # noqa: SLF001 - its own class
        above = [relative for view in views for relative in view._relatives]  # noqa: SLF001 - a view of ours
        return KeyLimiter(self._core, self._runtime, checked_key(key), above)

    def policy(self) -> Mapping[str, Limit]:
        """Read the stored policy, by which all processes limit: the limits by name. One consistent Query (1 RCU).

        A limiter with one unnamed limit has it under ``permits``. Before its first use, a limiter's own limits.

        Raises:
            StoreUnavailable: The service did not answer.
            StoreRejected: The service refuses for good.
        """
        return self._core.driver.run(self._core.steering.policy(), self._runtime.wakeup())

    def set_policy(self, limit: Limit | None = None, /, **limits: Limit | None) -> Mapping[str, Limit]:
        """Change the stored policy, for all processes: the one unnamed limit, or limits by name; None removes one.

        A process follows as soon as it meets an item that was charged under the new policy, and within some 30 s at
        most, and so do its waiters: who has booked more than 5 s ahead books anew where that is due earlier. What was
        charged under the old policy blocks nobody for longer than the new burst takes to come back.

        Returns:
            The policy as it is then.

        Raises:
            ConfigurationError: A limit cannot work, or none would be left. Nothing was changed.
            StoreUnavailable: The service did not answer, or others changed the policy at the same time.
            StoreRejected: The service refuses for good.

        Cost: one Query and one UpdateItem.
        """
        return self._core.driver.run(self._core.steering.set_policy(limit, limits), self._runtime.wakeup())

    def override(self, /, *limit: Limit | None, **limits: Limit | None) -> Mapping[str, Limit]:
        """As `KeyLimiter.override`, for a limiter without keys; mostly `set_policy` is what you want.

        Raises:
            ConfigurationError: As in `KeyLimiter.override`, and so are its other errors.
        """
        return self._all.override(*limit, **limits)

    def block(self, seconds: Seconds) -> None:
        """As `KeyLimiter.block`, for a limiter without keys. Permits of its keys can be had all the same.

        Raises:
            ConfigurationError: As in `KeyLimiter.block`, and so are its other errors.
        """
        self._all.block(seconds)

    def unblock(self) -> None:
        """As `KeyLimiter.unblock`, for a limiter without keys.

        Raises:
            StoreUnavailable: As in `KeyLimiter.unblock`, and so are its other errors.
        """
        self._all.unblock()

    def reset(self) -> None:
        """As `KeyLimiter.reset`, for a limiter without keys. It resets none of its keys.

        Raises:
            StoreUnavailable: As in `KeyLimiter.reset`, and so are its other errors.
        """
        self._all.reset()

    def keys(self) -> Iterator[RateStatus]:
        """Find out who used it lately: every key with an item, in no order; ``key.key`` is its name.

        A key has an item from its first use, override or block until `Timing.retention` (a day) after all that it used
        has come back. TTL deletes it later, up to days. Items of another shape are left out. A key that is used while
        the listing runs may be missing.

        Raises:
            StoreUnavailable: While iterating: the service did not answer.
            StoreRejected: While iterating: the service refuses for good.

        Cost: 64 Queries, eventually consistent, one after the other and as the iterator goes on; one more for each
            1,000 keys of a shard. 0.5 RCU for each 4 KB of items, some 300 bytes each.

        Example:
            >>> from ddb_lease import RateLimiter, local
            >>> with RateLimiter("searches", rate=1, per=60, burst=5, **local.connect()) as limiter:
            ...     _ = limiter.key("ann").try_acquire(4), limiter.key("bob").try_acquire()
            ...     sorted((key.key, key.available) for key in limiter.keys())
            [('ann', 1), ('bob', 4)]
        """
        listing = self._core.steering.listing()
        while listing.more:
            yield from self._core.driver.run(listing.page(), self._runtime.wakeup())

    def status(self) -> RateStatus:
        """Read the rate: what is available, and the limits that hold. One consistent Query of one item (1 RCU).

        One more for the policy if this process has not read it for 30 s; the first time also one, eventually
        consistent, for the time. It writes nothing. Of a rate that was never used, the whole burst is available.

        Raises:
            StoreUnavailable: The service did not answer, or its answers do not tell its time.
            StoreRejected: The service refuses for good, or the item is not of this library's shape.
        """
        return self._all.status()

    def limited(
        self, timeout: Seconds | None = None, *, n: int = 1, key: KeyFunction | None = None, **permits: int
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function to wait for permits before each call.

        The work must begin in the call. So coroutine functions (use `ddb_lease.aio`), generator functions and classes
        are refused, and so is a call that returns a coroutine, a generator, or a block of `contextlib`.

        Args:
            timeout: As in `acquire`, whose errors calls raise.
            n: How many permits a call takes.
            key: A plain function that gets a call's arguments, `self` among them, and returns the key whose permits the
                call takes. What it raises, the call raises, and so it does where it returns no key, with
                `ConfigurationError`: then the function is not called, and no permit is taken.
            **permits: The same by limit, for a limiter with several.

        Raises:
            ConfigurationError: When it decorates: an argument cannot work, or the function cannot be limited. When the
                function is called: it returned work that has not begun; the permits are used.

        Example:
            >>> from ddb_lease import RateLimiter, local
            >>> limiter = RateLimiter("lookups", rate=100, **local.connect())
            >>> @limiter.limited(timeout=10)
            ... def look_up(key):
            ...     return f"value of {key}"
            >>> look_up("k")
            'value of k'
            >>> @limiter.limited(timeout=10, key=lambda user, **_: user)
            ... def greet(user, *, loud=False):
            ...     return f"hello {user}"
            >>> greet("ann")
            'hello ann'
        """
        require_timeout(timeout, wording=_LIMITED)
        of_call = checked_key_function(key, wording=_LIMITED)
        self._core.wanted(n, permits, "" if key is None else None, asks=False)

        @contextlib.contextmanager
        def admitted(key: str = "") -> Iterator[None]:
            (self.key(key) if key else self._all).acquire(n, timeout=timeout, **permits)
            yield

        return functools.partial(decorate, enter=admitted, wording=_LIMITED, key=of_call)

    def close(self) -> None:
        """Close the connections. Waiters get an error, and no permit is admitted any more. Raises nothing.

        Permits that are booked or in hand are forgone. Giving them back would move `tat` back, and break the promise:
        what a bucket has overflowed by then would be given back, too.
        """
        self._core.close()

    def __enter__(self) -> RateLimiter:
        self._core.block.enter(closed=self._core.state.closed, instead=_BLOCK)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._core.block.leave(exc, instead=_BLOCK)
        finally:
            self.close()
