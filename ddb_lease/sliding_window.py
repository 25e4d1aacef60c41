"""A sliding window: what a user imports. At most N permits in any T seconds, exactly.

Invariants:

- A permit is a lease that nobody holds, renews or releases: its slot is free when the lease expires, which is at least
  a whole period after the permit was used. It is a type of its own, without `release`: releasing a used permit would
  break the window.
- The proof is that of leases. A grant is returned before the holder's deadline, and nobody else can hold its slot until
  the grace has passed after that: here the grace is the period. The lease is longer than that by the possible
  difference of clocks, and by the time that an answer may take.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

from ddb_lease._numbers import as_seconds, checked_timeout, shown
from ddb_lease._protocol.records import Grant
from ddb_lease._runtime import process
from ddb_lease._runtime.arguments import DEFAULT_TABLE, checked_timing
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.bucket_core import BucketCore
from ddb_lease._runtime.decorators import Wording, decorate, require_timeout
from ddb_lease._runtime.holds_nothing import HoldsNothing
from ddb_lease._runtime.mistaken import NotAsync
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.words import WINDOW
from ddb_lease.dynamodb import Client, Session
from ddb_lease.errors import AcquireTimeout, ConfigurationError, StoreUnavailable
from ddb_lease.models import OSCILLATOR_DRIFT, PERMIT_KEY, BucketStatus, Seconds, Timing

P = ParamSpec("P")
R = TypeVar("R")

_BLOCK = "`window.acquire()` takes a permit; make one window for the process."

_LIMITED = Wording(
    name="SlidingWindow.limited",
    inside="Call `window.acquire()` in its body.",
    otherwise="Call `await asyncio.to_thread(window.acquire)` in its body: windows have no asyncio API.",
    passes_lease=False,
)

ANSWER_SECONDS: Final = 1.0
"""How long a claim may take until its permit is returned. If it takes longer, the permit is not used: its slot is
released at once, and we try again."""

LONGEST_PERIOD: Final = 300 * 86_400.0
"""Seconds; it and the additions must fit into a lease of a year."""

_PERMIT: Final = {PERMIT_KEY: "permit"}
"""Attached to each permit, so that an operator does not take it for a lease that somebody holds."""

_TRY_SECONDS: Final = 10.0
_TRIES: Final = 3


class SlidingWindow(NotAsync, BelongsHere):
    """At most `max_tokens` permits in any `period` seconds, over all processes that use the name.

    It is exact, where `RateLimiter` is quick: of any `max_tokens` + 1 permits, the last is returned at least `period`
    after the first, by true time, whatever the machines' clocks show. The time that counts is when `acquire` returns,
    not what its caller does later. All permits may come at once. Making a window sends nothing; the first acquire
    creates it in the table. Thread-safe. Use one object for each process and name.

    The price: each permit has an item of its own, and comes back late, some 2 to 4 s after the period (the front ends'
    clocks may differ, an answer may take time, and we know only to a second or two when a lease has expired). So use it
    for few permits and long periods: not for more than a thousand permits, or for periods of a few seconds.

    It is a bucket of leases that nobody releases. A `LeaseBucket` of the same name would take permits away; releasing
    one of its leases by hand would give a permit back too early.

    Args:
        name: The window's name in the table; any non-empty string of up to 2048 bytes.
        max_tokens: How many permits there are in any `period`, 1 to 100,000. If the window exists, the stored number
            applies.
        period: Seconds, or a timedelta; 300 days at most. If the window exists with a shorter period, it is refused; a
            longer stored period is used.
        table: The DynamoDB table; ``ddb-lease create-table`` makes one.
        session: A `boto3.Session`, where boto3's defaults do not fit.
        client: A DynamoDB client instead. Make it with `client_config`, as botocore must not retry by itself.
        endpoint_url: An endpoint other than DynamoDB's own.
        owner: A name for the holder, shown by `status`; ``host:pid`` by default.
        timing: `front_end_skew`, `retention` and `max_clock_skew` are used.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Example:
        >>> from ddb_lease import SlidingWindow, local
        >>> with SlidingWindow("sign-ups", max_tokens=2, period=60, **local.connect()) as window:
        ...     [window.try_acquire() for _ in range(3)]
        [True, True, False]
    """

    _instead = "pass its name and settings, and make one there"
    _block = "`window.acquire()`, or in asyncio `await asyncio.to_thread(window.acquire)`"

    def __init__(
        self,
        name: str,
        *,
        max_tokens: int,
        period: Seconds,
        table: str = DEFAULT_TABLE,
        session: Session | None = None,
        client: Client | None = None,
        endpoint_url: str | None = None,
        owner: str | None = None,
        timing: Timing | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        given = checked_timing(timing)
        whole = _WholePeriod(
            front_end_skew=given.front_end_skew,
            grace=_checked_period(period),
            retention=given.retention,
            max_clock_skew=given.max_clock_skew,
        )
        self.period = whole.grace_for(0.0)
        self._core = BucketCore(
            name,
            max_tokens=max_tokens,
            lease_seconds=whole.length(),
            table=table,
            session=session,
            client=client,
            endpoint_url=endpoint_url,
            owner=owner,
            timing=whole,
            on_event=None,
            runtime=runtime,
            words=WINDOW,
        )
        self._hooks = HoldsNothing(self._core)  # its slots outlive the process, and may be used until its end
        process.register(self._hooks)
        self.name = self._core.name
        self.table = self._core.table

    def __repr__(self) -> str:
        return f"<SlidingWindow {self.name!r} in table {self.table!r}>"

    def try_acquire(self) -> bool:
        """Take a permit if one is available now.

        In a window of more than 128 permits, it looks at up to three times 128: there False means "none found quickly".

        Returns:
            Whether it took one.

        Raises:
            StoreUnavailable: The service did not answer in five tries, of one to six requests each. A permit may be
                lost for a period.
            StoreRejected: No table, no permission: trying again will not help.
            ConfigurationError: The window exists with a shorter period.

        Cost: as `LeaseBucket.try_acquire`: 1 PutItem (1 WCU), or one Query if no permit can be had (three if there are
        more than 128).
        """
        return self._use(self._core.deadline(_TRY_SECONDS), patient=False)

    def acquire(self, *, timeout: Seconds | None = None) -> None:
        """Wait for a permit, and take it.

        Threads of one process wait in a queue, first come, first served; among processes there is no order.

        Args:
            timeout: Seconds, or a timedelta, to wait at most, besides one request's time; None waits for ever.

        Raises:
            AcquireTimeout: None was available in time.
            StoreUnavailable: The service did not answer until the timeout; without a timeout, it has never answered
                in 20 s. A permit may be lost for a period.
            StoreRejected: As in `try_acquire`.
            ConfigurationError: `timeout` is not a timeout, or as in `try_acquire`.

        Cost: as `LeaseBucket.acquire`; waiters write nothing, and read about once a second for the whole process.
        """
        if not self._use(self._core.deadline(timeout), patient=True):
            raise AcquireTimeout(f"no permit of window {self.name!r} available within {checked_timeout(timeout):g} s")

    def limited(self, timeout: Seconds | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function to wait for a permit before each call; `timeout` and errors as in `acquire`.

        It refuses what `RateLimiter.limited` refuses.
        """
        require_timeout(timeout, wording=_LIMITED)

        @contextlib.contextmanager
        def admitted() -> Iterator[None]:
            self.acquire(timeout=timeout)
            yield

        return functools.partial(decorate, enter=admitted, wording=_LIMITED)

    def status(self) -> BucketStatus:
        """Read the window: its permits are `free`, those used are its leases. 1 Query for each 1,000 slots or MB.

        Raises:
            UnknownBucket: It does not exist (yet): the first acquire creates it.
            StoreUnavailable: The service did not answer.
            StoreRejected: The service refuses for good.
        """
        return self._core.run(self._core.status())

    def close(self) -> None:
        """Close the connections; it admits nothing any more. Raises nothing, and gives no permit back."""
        self._core.begin_closing()  # nothing is held, so there is nothing to release
        self._core.close_connections()

    def __enter__(self) -> SlidingWindow:
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

    def _use(self, deadline: float, *, patient: bool) -> bool:
        """Win a slot, and let it expire; False if none came free in time."""
        for _ in range(_TRIES):
            with contextlib.suppress(_TooLate):
                return self._use_once(deadline, patient=patient)
        raise StoreUnavailable(f"no permit of window {self.name!r}: answers take longer than {ANSWER_SECONDS:g} s")

    def _use_once(self, deadline: float, *, patient: bool) -> bool:
        core = self._core
        wakeup = core.runtime.wakeup()
        pending = core.begin_acquire(deadline, _PERMIT, count=1, patient=patient, wake=wakeup.wake)
        # An interrupt may come between any two instructions here: all of them are inside this block.
        try:
            outcome = core.driver.run(pending.operation, wakeup, observe=pending.observe)
            grant = core.conclude(pending, outcome)
            if grant is None:
                return False
            self._require_in_time(grant)
            if core.state.closed:  # closed just now
                raise core.state.closed_error()
            return True
        except BaseException:
            core.abandon(pending)
            raise

    def _require_in_time(self, grant: Grant) -> None:
        # The deadline is computed on our steady clock; if that stood still since, answers show it.
        time, length = self._core.state.time, grant.lease_ms / 1000
        allowed = length - grant.margin
        began = grant.deadline - allowed
        # If the stored period is longer than ours, the answer may not take the extra time.
        allowed = min(allowed, ANSWER_SECONDS)
        delay = (time.now_ms()[1] - grant.acquired_at) / 1000
        if time.steady() >= began + allowed or delay > allowed:
            raise _TooLate


def _checked_period(period: object) -> float:
    seconds = as_seconds(period)
    if 0 < seconds <= LONGEST_PERIOD:
        return seconds
    raise ConfigurationError(f"period must be a number of seconds up to 300 days, not {shown(period)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _WholePeriod(Timing):
    """The time budget of a permit: its grace is the period, and it needs no time for a heartbeat."""

    def length(self) -> float:
        """Seconds for which a slot is leased: the period, the difference of clocks, and the time of an answer."""
        seconds = (self.grace_for(0.0) + self.front_end_skew + ANSWER_SECONDS) / (1 - 2 * OSCILLATOR_DRIFT)
        return math.ceil(seconds * 1000) / 1000  # rounding to the table's milliseconds must not shorten it

    def require_room(self, lease_seconds: float) -> None:
        """Refuse slots whose lease is too short for this period.

        Raises:
            ConfigurationError: They would be free before the period is over.
        """
        if lease_seconds < self.length() - 1e-6:
            raise ConfigurationError(
                f"the window exists with slots of {lease_seconds:g} s, and a period of {self.grace:g} s needs "
                f"{self.length():g} s"
            )


class _TooLate(Exception):
    """A permit came after its time: it was not used, so what may be leased is released."""
