"""The core of a sliding window: what the synchronous and the asyncio API have in common.

Invariants:

- A permit is a lease that nobody holds, renews or releases: its slot is free when the lease expires, which is at least
  a whole period after the permit was used.
- The proof is that of leases. A grant is returned before the holder's deadline, and nobody else can hold its slot until
  the grace has passed after that: here the grace is the period. The lease is longer than that by the possible
  difference of clocks, and by the time that an answer may take.
- It drives nothing: each API drives the acquire, and abandons it where this module raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

from ddb_lease._numbers import as_seconds, checked_timeout, duration_text, shown
from ddb_lease._protocol.outcomes import Outcome
from ddb_lease._protocol.rates.validation import SINGLE
from ddb_lease._protocol.records import Grant
from ddb_lease._runtime.arguments import checked_timing, require_callback
from ddb_lease._runtime.bucket_core import BucketCore, PendingAcquire
from ddb_lease._runtime.instrumentation import both
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.window_reporter import Ended, WindowReporter, unreported
from ddb_lease._state.used_permits import UsedPermits
from ddb_lease._state.words import WINDOW
from ddb_lease.dynamodb import Client, Session
from ddb_lease.errors import ConfigurationError, RateTimeout, StoreUnavailable
from ddb_lease.models import OSCILLATOR_DRIFT, PERMIT_KEY, Seconds, Timing, WindowDecision
from ddb_lease.rate_events import OnRateEvent

ANSWER_SECONDS: Final = 1.0
"""How long a claim may take until its permit is returned. If it takes longer, the permit is not used: its slot is
released at once, and we try again."""

LONGEST_PERIOD: Final = 300 * 86_400.0
"""Seconds; it and the additions must fit into a lease of a year."""

TRIES: Final = 3
"""How often a permit may come too late until the caller is told."""

AGAIN_SECONDS: Final = 1.0
"""After how long to ask again where nothing is known of the permits in use."""

_PERMIT: Final = {PERMIT_KEY: "permit"}
"""Attached to each permit, so that an operator does not take it for a lease that somebody holds."""


class TooLate(Exception):
    """A permit came after its time: it was not used, so what may be leased is released."""


class WindowCore:
    """One window of one process; the arguments are those of `SlidingWindow`.

    Attributes:
        bucket: The bucket whose slots are the permits.
        period: Seconds.
        reporter: Reports its events; None if nobody listens.
    """

    def __init__(
        self,
        name: str,
        *,
        max_tokens: int,
        period: Seconds,
        table: str,
        session: Session | None,
        client: Client | None,
        endpoint_url: str | None,
        owner: str | None,
        timing: Timing | None,
        runtime: Runtime | None,
        on_event: OnRateEvent | None = None,
    ) -> None:
        require_callback(on_event, what="on_event", gets="the event", coroutines="Give a plain function, in both APIs.")
        given = checked_timing(timing)
        whole = _WholePeriod(
            front_end_skew=given.front_end_skew,
            grace=_checked_period(period),
            retention=given.retention,
            max_clock_skew=given.max_clock_skew,
        )
        self.period = whole.grace_for(0.0)
        self.bucket = BucketCore(
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
        self._in_use = UsedPermits(self.bucket.state.time)
        self.reporter = None
        if on_event is not None:
            self.reporter = WindowReporter(self.bucket.name, on_event, runtime=self.bucket.runtime)

    def begin(self, deadline: float, *, patient: bool, wake: Callable[[], None]) -> PendingAcquire:
        """Begin to win a slot."""
        pending = self.bucket.begin_acquire(deadline, _PERMIT, count=1, patient=patient, wake=wake)
        observe = both(self._in_use.observe, pending.observe)
        return replace(pending, observe=observe if self.reporter is None else self.reporter.observing(observe))

    def reporting(self) -> AbstractContextManager[Ended]:
        """A block for one call, which is to call what it gives with how the call ended."""
        return unreported() if self.reporter is None else self.reporter.reporting()

    def used(self, pending: PendingAcquire, outcome: Outcome) -> WindowDecision:
        """Whether a slot was won in time, which is then left to expire; else when to ask again.

        Raises:
            TooLate: It was won too late.
            StoreUnavailable: The service did not answer.
            ConfigurationError: The window was closed meanwhile.
        """
        grant = self.bucket.conclude(pending, outcome)
        if grant is None:
            seconds = self._in_use.first_back_in()
            return WindowDecision(allowed=False, retry_after=AGAIN_SECONDS if seconds is None else seconds)
        self._require_in_time(grant)
        if self.bucket.state.closed:  # closed just now
            raise self.bucket.state.closed_error()
        self._in_use.used(grant)
        return WindowDecision(allowed=True, retry_after=0.0)

    def too_slow(self) -> StoreUnavailable:
        """The error where permits came too late, again and again."""
        return StoreUnavailable(
            f"no permit of window {self.bucket.name!r}: answers take longer than {ANSWER_SECONDS:g} s"
        )

    def timed_out(self, timeout: Seconds | None, decision: WindowDecision) -> RateTimeout:
        """The error of a call that timed out, as decided."""
        name, back_in = self.bucket.name, self._in_use.first_back_in()
        said = f": the first one comes back in {duration_text(back_in)}" if back_in else ""
        return RateTimeout(
            f"no permit of window {name!r} available within {checked_timeout(timeout):g} s{said}",
            rate=name,
            limit=SINGLE,
            retry_after=decision.retry_after,
        )

    def _require_in_time(self, grant: Grant) -> None:
        # The deadline is computed on our steady clock; if that stood still since, answers show it.
        time, length = self.bucket.state.time, grant.lease_ms / 1000
        allowed = length - grant.margin
        began = grant.deadline - allowed
        # If the stored period is longer than ours, the answer may not take the extra time.
        allowed = min(allowed, ANSWER_SECONDS)
        delay = (time.now_ms()[1] - grant.acquired_at) / 1000
        if time.steady() >= began + allowed or delay > allowed:
            raise TooLate


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
