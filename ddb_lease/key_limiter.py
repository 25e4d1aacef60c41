"""One key of a rate limiter: a light view.

Invariants: it is the synchronous way to drive a `RateLimiterCore` for one key, and decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ddb_lease._numbers import checked_timeout
from ddb_lease._operations.rates.together import Call
from ddb_lease._protocol.outcomes import Admitted
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.rates.family import Family, Relative
from ddb_lease._runtime.rates.first_guesses import FirstGuesses
from ddb_lease._runtime.rates.interrupts import handing_over, interrupted
from ddb_lease._runtime.rates.limiter_core import RateLimiterCore
from ddb_lease._runtime.rates.reservation_core import SETTLE_WITHIN, ReservationCore, reserved
from ddb_lease._runtime.rates.wish import Verdict, Wish
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.rates.hold_ledger import Held
from ddb_lease.errors import RateTimeout
from ddb_lease.models import Decision, Limit, RateStatus, Seconds
from ddb_lease.reservation import Reservation

Result = TypeVar("Result")


class KeyLimiter(FirstGuesses):
    """One key of a `RateLimiter`, such as one customer of many: limits of its own, under the limiter's policy.

    `RateLimiter.key` makes it. It holds no thread, connection or memory to speak of: make as many as you like, whenever
    you need one. All views of one key share what the process knows of it. It is thread-safe.

    Attributes:
        key: The key.

    Example:
        >>> from ddb_lease import Limit, RateLimiter, local
        >>> limits = {"requests": Limit(2, per=60), "tokens": Limit(1_000, per=60)}
        >>> with RateLimiter("llm", limits=limits, **local.connect()) as api:
        ...     team = api.key("team-7")
        ...     [team.try_acquire(requests=1, tokens=600), team.try_acquire(requests=1, tokens=600)]
        [True, False]
    """

    _called = "key"

    __slots__ = ("_core", "_family", "_runtime", "key")

    def __init__(self, core: RateLimiterCore, runtime: Runtime, key: str, above: Sequence[Relative] = ()) -> None:
        self._core = core
        self._runtime = runtime
        self.key = key
        self._family = Family(Relative(core, key), above) if above else None

    @property
    def _relatives(self) -> tuple[Relative, ...]:
        """The key, and its parents."""
        return (Relative(self._core, self.key),) if self._family is None else self._family.members

    def _as_whole(self) -> KeyLimiter:
        """The limiter itself, under the parents of this key."""
        above = [one for one in self._relatives[1:] if (one.core.name, one.key) != (self._core.name, "")]
        return KeyLimiter(self._core, self._runtime, "", above)

    def __repr__(self) -> str:
        return f"<key {self.key!r} of {self._core!r}>"

    def try_acquire(self, n: int = 1, **permits: int) -> bool:
        """Take permits of this key if they can be had at once; as `RateLimiter.try_acquire`."""
        if self._family is not None:
            return self._try_all(self._family, self._family.wanted(n, permits)).allowed
        return self._try(self._core.wanted(n, permits, self.key)).allowed

    def acquire(self, n: int = 1, *, timeout: Seconds | None = None, **permits: int) -> None:
        """Wait for permits of this key, and take them; as `RateLimiter.acquire`.

        Args:
            n: How many, up to the burst.
            timeout: Seconds, or a timedelta, to wait at most; None waits for ever.
            **permits: How many of each limit, for a limiter with several.
        """
        if self._family is not None:
            self._take_all(self._family, self._family.wanted(n, permits), timeout)
            return
        wanted = self._core.wanted(n, permits, self.key)
        verdict = self._wait(wanted, timeout)
        if not verdict:
            raise self._timed_out(wanted, timeout, verdict)

    def reserve(
        self, n: int = 1, *, timeout: Seconds | None = None, settle_within: Seconds = SETTLE_WITHIN, **permits: int
    ) -> Reservation:
        """Wait for permits of this key, and hold them until it is known how many were used; as `RateLimiter.reserve`.

        Args:
            n: How many, up to the burst.
            timeout: Seconds, or a timedelta, to wait at most; None waits for ever.
            settle_within: Seconds, or a timedelta, after which all permits count as used.
            **permits: How many of each limit, for a limiter with several.
        """
        if self._family is not None:
            return self._hold_all(self._family, self._family.reserved(n, permits, settle_within), timeout)
        wanted = reserved(self._core, n, permits, settle_within, key=self.key)
        wish = self._core.to_hold(self.key, wanted, timeout)
        held: list[Held] = []
        with handing_over(self._core.state, held):
            verdict = self._ask(wish, held)
            if not verdict:
                raise self._timed_out(wanted, timeout, verdict)
            return Reservation([ReservationCore.booked(self._core, wish, held)], self._runtime)

    def check(self, n: int = 1, *, timeout: Seconds | None = 0, **permits: int) -> Decision:
        """Take permits of this key if they can be had in time, and tell what is left; as `RateLimiter.check`.

        Args:
            n: How many, up to the burst.
            timeout: Seconds, or a timedelta, to wait for them at most; 0: they are to be had at once.
            **permits: How many of each limit, for a limiter with several.
        """
        patient = checked_timeout(timeout) != 0
        if self._family is not None:
            family, each = self._family, self._family.wanted(n, permits)
            return family.decision(
                each, (self._wait_all(family, each, timeout) if patient else self._try_all(family, each))
            )
        wanted = self._core.wanted(n, permits, self.key)
        verdict = self._wait(wanted, timeout, decides=True) if patient else self._try(wanted, decides=True)
        return self._core.answers.decision(self.key, wanted, allowed=verdict)

    def wait_time(self, n: int = 1, **permits: int) -> float:
        """Seconds until permits of this key could be had, as far as this process knows; no I/O."""
        if self._family is not None:
            return self._family.wait_time(self._family.wanted(n, permits, asks=False))
        return self._core.answers.wait_time(self.key, self._core.wanted(n, permits, self.key, asks=False))

    def status(self) -> RateStatus:
        """Read the key: what is available, the limits that hold, whether it is blocked; as `RateLimiter.status`."""
        return self._run(self._core.steering.status(self.key))

    def override(self, /, *limit: Limit | None, **limits: Limit | None) -> Mapping[str, Limit]:
        """Let limits of this key differ from the policy, for all processes: ``team.override(tokens=Limit(500_000))``.

        What is not named stays as it is. None removes a limit from the override, after which the policy's holds again;
        ``override(None)`` removes all of it. The item of a key with an override is kept until the override is removed.

        A process follows with the next answer that it gets about the key. Until then it goes by what it remembers: a
        denial for 30 s at most, and permits that it has booked or prefetched. Who waits asks again within some 30 s,
        and who has booked more than 5 s ahead books anew where that is due earlier. What was charged before blocks
        nobody for longer than the new burst takes to come back.

        Args:
            *limit: A `Limit`, for a limiter with one unnamed limit; or None.
            **limits: Limits by name.

        Returns:
            The limits that hold for the key then, by name.

        Raises:
            ConfigurationError: A limit cannot work, or the policy has none of this name. Nothing was changed.
            StoreUnavailable: The service did not answer, or others changed the key at the same time, again and again.
                The override is as before or as wanted; may be repeated.
            StoreRejected: The service refuses for good. Nothing was changed.

        Cost: one consistent Query (1 RCU) and one UpdateItem (1 WCU); no write if it is so already. The policy is
            read before if this process has not read it for 30 s, and created by the first use.

        Example:
            >>> from ddb_lease import Limit, RateLimiter, local
            >>> with RateLimiter("api", rate=1, per=60, **local.connect()) as limiter:
            ...     limits = limiter.key("customer-7").override(Limit(2, per=60))
            ...     [limiter.key("customer-7").try_acquire() for _ in range(3)]
            [True, True, False]
        """
        return self._run(self._core.steering.override(self.key, limit, limits))

    def block(self, seconds: Seconds) -> None:
        """Let nobody have permits of this key for so long from now on. It replaces a block that there is.

        Permits that were booked before, or that a process has in hand by `prefetch`, may still be used. A caller that
        waits and has not booked goes on waiting, up to its timeout.

        Args:
            seconds: How long: seconds, or a timedelta; a year at most.

        Raises:
            ConfigurationError: It is no such time. Nothing was sent.
            StoreUnavailable: As `override`; the key may be blocked.
            StoreRejected: The service refuses for good. Nothing was changed.

        Cost: as `override`.
        """
        self._run(self._core.steering.block(self.key, seconds))

    def unblock(self) -> None:
        """End a block of this key; without one, nothing is changed. Errors and cost as `override`.

        A process that was told of the block may deny for up to 30 s more, from memory.
        """
        self._run(self._core.steering.unblock(self.key))

    def reset(self) -> None:
        """Forgive this key all that was charged, and end its block: its whole burst can be had again.

        Reservations that run are forgotten, and settling them later changes nothing. Permits that were booked may still
        be used, so for a moment the key may exceed its limits. The override stays. Other processes may deny for up to
        30 s more, from memory; their waiters follow within some 30 s, as in `override`. Errors and cost as `override`.
        """
        self._run(self._core.steering.reset(self.key))

    def _run(self, operation: Operation[Result]) -> Result:
        return self._core.driver.run(operation, self._runtime.wakeup())

    def _try(self, wanted: Wanted, *, decides: bool = False) -> Verdict:
        known = self._core.try_at_once(self.key, wanted, decides=decides)
        return self._ask(known) if isinstance(known, Wish) else Verdict(allowed=known)

    def _wait(self, wanted: Wanted, timeout: Seconds | None, *, decides: bool = False) -> Verdict:
        wish = self._core.wait_for(self.key, wanted, timeout, decides=decides)
        return Verdict(allowed=True) if wish is None else self._ask(wish)

    def _ask(self, wish: Wish, held: list[Held] | None = None) -> Verdict:
        while True:
            wakeup = self._runtime.wakeup()
            with self._core.in_queue(wish, wakeup.wake) as (operation, booking):
                try:
                    outcome = self._core.driver.run(operation, wakeup)
                    if held is not None and booking.held is not None and isinstance(outcome, Admitted):
                        held.append(booking.held)
                except BaseException:
                    interrupted(self._core.state, self.key, booking)
                    raise
            verdict = self._core.verdict(wish, outcome)
            if isinstance(verdict, Verdict):
                return verdict
            decided = self._core.driver.run(verdict, wakeup)
            if decided is not None:
                return self._core.conclude(wish, decided)

    def _timed_out(self, wanted: Wanted, timeout: Seconds | None, verdict: Verdict) -> RateTimeout:
        answers = self._core.answers
        return answers.timed_out(self.key, wanted, timeout, lack=answers.lack(self.key, wanted, verdict))

    def _try_all(self, family: Family, wanted: Sequence[Wanted]) -> Verdict:
        if family.denied_by_memory(wanted):
            return Verdict(allowed=False)
        with family.call(wanted, None, patient=False) as call:
            return self._ask_all(family, call)

    def _wait_all(self, family: Family, wanted: Sequence[Wanted], timeout: Seconds | None) -> Verdict:
        with family.call(wanted, timeout, patient=True) as call:
            return self._ask_all(family, call)

    def _take_all(self, family: Family, wanted: Sequence[Wanted], timeout: Seconds | None) -> None:
        verdict = self._wait_all(family, wanted, timeout)
        if not verdict:
            raise family.timed_out(wanted, timeout, verdict)

    def _hold_all(self, family: Family, wanted: Sequence[Wanted], timeout: Seconds | None) -> Reservation:
        with family.call(wanted, timeout, patient=True) as call:
            verdict = self._ask_all(family, call)
            if not verdict:
                raise family.timed_out(wanted, timeout, verdict)
            return Reservation(family.reservations(call), self._runtime)

    def _ask_all(self, family: Family, call: Call) -> Verdict:
        while True:
            wakeup = self._runtime.wakeup()
            outcome: Any = None
            for step in family.steps(call, wakeup.wake):
                outcome = step.driver.run(step.operation, wakeup)
                if step.ends(outcome):
                    break
            verdict = family.verdict(call, outcome)
            if isinstance(verdict, Verdict):
                return verdict
            decided = self._core.driver.run(verdict, wakeup)
            if decided is not None:
                return family.conclude(call, decided)
