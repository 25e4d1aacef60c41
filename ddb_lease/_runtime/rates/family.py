"""A key under its parents: what the synchronous and the asyncio API have in common.

Invariants:

- It returns operations, and each API drives them: each with the driver of the limiter that it belongs to.
- A permit is one of the key and of each parent. All of them are in one table; each item is charged once.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from ddb_lease._numbers import checked_timeout, shown
from ddb_lease._operations.rates.memory import known_denial
from ddb_lease._operations.rates.together import Call, Member, Unprepared, charge_together, prepare
from ddb_lease._operations.rates.without_answer import Beside, noting
from ddb_lease._protocol.outcomes import Admission, Admitted, DecidedHere
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.retry import TRY_SECONDS, Operation
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.rates.answers import denied
from ddb_lease._runtime.rates.limiter_core import RateLimiterCore
from ddb_lease._runtime.rates.reservation_core import ReservationCore, nothing_held, reserved
from ddb_lease._runtime.rates.wish import Verdict, Wish
from ddb_lease.errors import ConfigurationError, RateTimeout
from ddb_lease.models import Decision, Seconds

MOST_PARENTS: Final = 9
"""With the key itself, ten items in a transaction."""

_PARENTS: Final = "keys and limiters, as in under=[orgs.key('acme')]"

Parent = TypeVar("Parent")


@dataclass(frozen=True, slots=True)
class Relative:
    """A key, or one of its parents."""

    core: RateLimiterCore
    key: str


def checked_parents(under: Sequence[Parent], kinds: tuple[type, ...]) -> list[Parent]:
    """The parents that a caller gave, checked.

    Raises:
        ConfigurationError: They are none.
    """
    if not isinstance(under, (list, tuple)):
        raise ConfigurationError(f"under must be a list of {_PARENTS}, not {shown(under)}")
    for parent in under:
        if isinstance(parent, kinds):
            continue
        kind, own = type(parent), kinds[0]
        if kind.__name__ in {each.__name__ for each in kinds}:
            raise ConfigurationError(
                f"the parents of a key of {_api_of(own)} must be of {_api_of(own)} too, and one is a {kind.__name__} "
                f"of {_api_of(kind)}"
            )
        raise ConfigurationError(f"under must be a list of {_PARENTS}, and one of them is {shown(parent)}")
    return list(under)


def _api_of(kind: type) -> str:
    return "ddb_lease.aio" if kind.__module__.startswith("ddb_lease.aio") else "ddb_lease"


def _of(one: Relative, checked: Callable[[Relative], Wanted]) -> Wanted:
    """What is wanted of one member; an error names its rate, as the caller has several."""
    try:
        return checked(one)
    except ConfigurationError as error:
        raise type(error)(f"rate {one.core.name!r}: {error}") from None


class Family:
    """A key and all of its parents, and theirs.

    Args:
        own: The key.
        above: Its parents, and theirs.

    Raises:
        ConfigurationError: They cannot be charged together. Nothing was sent.
    """

    __slots__ = ("members",)

    def __init__(self, own: Relative, above: Sequence[Relative]) -> None:
        members = {(one.core.name, one.key): one for one in above}
        if (own.core.name, own.key) in members:
            raise ConfigurationError(f"the key {shown(own.key)} of {own.core!r} cannot be under itself")
        if len(members) > MOST_PARENTS:
            raise ConfigurationError(f"a key may have {MOST_PARENTS} parents, with theirs, not {len(members)}")
        for one in members.values():
            if one.core.whereabouts != own.core.whereabouts:
                raise ConfigurationError(f"{own.core!r} and {one.core!r} must have the same table and endpoint")
        self.members = (own, *members.values())

    def wanted(self, n: int, permits: Mapping[str, int], *, asks: bool = True) -> tuple[Wanted, ...]:
        """The permits of each member; see `RateLimiterCore.wanted`."""
        return tuple(_of(one, lambda one: one.core.wanted(n, permits, one.key, asks=asks)) for one in self.members)

    def reserved(self, n: int, permits: Mapping[str, int], settle_within: Seconds) -> tuple[Wanted, ...]:
        """The permits to reserve of each member; see `reservation_core.reserved`."""
        return tuple(
            _of(one, lambda one: reserved(one.core, n, permits, settle_within, key=one.key)) for one in self.members
        )

    def denied_by_memory(self, wanted: Sequence[Wanted]) -> bool:
        """Whether memory denies the permits of any member."""
        for one, own in zip(self.members, wanted, strict=True):
            one.core.require_open()
            state, now = one.core.state, one.core.state.rate_time.now_ns()
            if now is None:
                continue
            with state.lock:
                denial = known_denial(state, state.book(one.key), own, now=now)
            if denial is not None:
                if one.core.reporter is not None:
                    one.core.reporter.decided(one.key, own, allowed=False, began=None, by="table")
                return True
        return False

    @contextlib.contextmanager
    def call(self, wanted: Sequence[Wanted], timeout: Seconds | None, *, patient: bool) -> Iterator[Call]:
        """One call. If it ends without `reservations`, nothing that it reserved is used."""
        first = self.members[0].core.state
        began = first.time.steady()
        seconds = checked_timeout(timeout) if patient else TRY_SECONDS
        members = []
        for one, own in zip(self.members, wanted, strict=True):
            one.core.require_open()
            members.append(Member(state=one.core.state, key=one.key, book=one.core.state.book(one.key), wanted=own))
        deadline = math.inf if seconds is None else began + seconds
        call = Call(members=tuple(members), began=began, deadline=deadline, patient=patient)
        try:
            call.join()
            yield call
        except BaseException:  # it got nothing, or was interrupted as the block ended: nobody gets its reservation
            call.handed_over = False
            raise
        finally:
            try:
                call.leave()
            except BaseException:  # interrupted: as above, once more
                call.handed_over = False
                call.leave()
                raise

    def steps(self, call: Call, wake: Callable[[], None]) -> Iterator[Step]:
        """What to drive, one after the other, until one of them ends the call: see `Step.ends`.

        Args:
            call: The call.
            wake: Ends its pause, from any thread.
        """
        call.wake, own = wake, self.members[0].core
        while True:
            for relative, member in zip(self.members, call.members, strict=True):
                preparing = relative.core.observed(prepare(member, call), member.key, None)
                if relative.core is not own and own.state.contact is not None:
                    preparing = noting(preparing, own.state, own.state.contact)  # it decides, in an outage
                yield Step(relative.core.driver, preparing, prepares=True)
            charging: Any = own.observed(charge_together(call), self.members[0].key, None)  # type: ignore[arg-type] # any result
            yield Step(own.driver, charging, prepares=False)

    def verdict(self, call: Call, outcome: Any) -> Verdict | Operation[DecidedHere | None]:  # noqa: ANN401 - as driven
        """What a call ends with, or what decides in place of the table; see `RateLimiterCore.verdict`."""
        beside = [Beside(one.state, one.key, one.wanted) for one in call.members[1:]]
        return self.members[0].core.verdict(self._wish(call), outcome, beside=beside)

    def conclude(self, call: Call, outcome: Any) -> Verdict:  # noqa: ANN401 - as driven
        """Whether the permits were taken, and who decided that; see `RateLimiterCore.conclude`."""
        return self.members[0].core.conclude(self._wish(call), outcome)

    def seconds_left(self, call: Call) -> float | None:
        """Seconds within which a call's requests are to be sent; see `RateLimiterCore.seconds_left`."""
        return self.members[0].core.seconds_left(self._wish(call))

    def _wish(self, call: Call) -> Wish:
        own = call.members[0]
        return Wish(key=own.key, wanted=own.wanted, began=call.began, deadline=call.deadline, patient=call.patient)

    def reservations(self, call: Call) -> tuple[ReservationCore, ...]:
        """What a call that was admitted holds, of each member. From now on, the call gives up none of it."""
        each = zip(self.members, call.members, strict=True)
        held = call.held or [nothing_held(one.core, member.wanted) for one, member in each]
        cores = tuple(ReservationCore(one.core, one.key, own) for one, own in zip(self.members, held, strict=True))
        call.handed_over = True
        return cores

    def wait_time(self, wanted: Sequence[Wanted]) -> float:
        """Seconds until the permits could be had of all members, as far as this process knows."""
        return max(one.core.answers.wait_time(one.key, own) for one, own in zip(self.members, wanted, strict=True))

    def decision(self, wanted: Sequence[Wanted], allowed: Verdict) -> Decision:
        """What this process knows of all members: of each limit, what the one that has least of it says."""
        own = self.members[0]
        if allowed.by != "table":
            return own.core.answers.decision(own.key, wanted[0], allowed=allowed)
        each = [
            one.core.answers.standing(one.key, want, allowed=bool(allowed))
            for one, want in zip(self.members, wanted, strict=True)
        ]
        limits, settings = dict(each[0].limits), dict(each[0].settings)
        for decision in each[1:]:
            for name, one in decision.limits.items():
                found = limits.get(name)
                if found is None or (one.retry_after, -one.remaining) > (found.retry_after, -found.remaining):
                    limits[name], settings[name] = one, decision.settings[name]
        tightest = min(each, key=lambda one: (-one.limits[one.tightest].retry_after, one.remaining))
        decision = Decision(
            allowed=bool(allowed),
            remaining=tightest.remaining,
            retry_after=max(0.0 if allowed else allowed.retry_in, *(one.retry_after for one in each)),
            reset_after=max(one.reset_after for one in each),
            limits=limits,
            tightest=tightest.tightest,
            blocked_seconds=max(one.blocked_seconds for one in each),
            settings=settings,
        )
        return denied(decision, wanted[0])

    def timed_out(self, wanted: Sequence[Wanted], timeout: Seconds | None, verdict: Verdict) -> RateTimeout:
        """The error of a call that timed out; it names the member that lets wait longest."""
        each, by_itself = zip(self.members, wanted, strict=True), replace(verdict, retry_in=0.0)
        lacks = [one.core.answers.lack(one.key, own, by_itself) for one, own in each]
        longest = max(lacks, key=lambda lack: (lack.seconds, lack.blocked))
        longest = replace(longest, seconds=max(longest.seconds, verdict.retry_in))
        own = self.members[0]
        return own.core.answers.timed_out(own.key, wanted[0], timeout, lack=longest)


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a call.

    Attributes:
        driver: Of the limiter that it is sent by.
        operation: What to drive.
        prepares: Whether it only prepares the charge.
    """

    driver: Driver
    operation: Operation[Admission | Unprepared]
    prepares: bool

    def ends(self, outcome: Any) -> bool:  # noqa: ANN401 - an outcome
        """Whether the call is over with this outcome."""
        return not isinstance(outcome, Admitted if self.prepares else Unprepared)
