"""Belief: until when a holder may believe in its lease, and when to renew it. A pure state machine.

Invariants:

- Steady time, answers and random numbers come in; only values go out. It knows no threads and sends no requests.
  Whether a write succeeded, the table decides.
- The holder believes until `deadline`, no longer: steady time before the latest successful attempt was first sent,
  plus the lease's length, minus the margin; earlier if the service's clock turns out to have been ahead of what the
  attempt assumed.
- A failed renewal is not a lost lease. A lease is lost once, for ever and for one reason; a later answer revives
  nothing.
- A lease that was acquired for longer than its length is believed in for as long: that is what the table says. It is
  renewed as any other, so that its holder learns of a revocation.
- The expiry that renewals write never falls, whatever the bounds on the service's time do.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ddb_lease._protocol.messages import Answer, Conflict, Done, Refused, Rejected, ThrottledAnswer, Unknown, Unsent
from ddb_lease._protocol.outcomes import reason_text
from ddb_lease._protocol.records import Grant, Slot
from ddb_lease._protocol.retry import full_jitter
from ddb_lease.errors import LossReason

_RENEWALS_PER_LEASE = 3
"""A lease is renewed at a third of its length: two renewals may fail before it is in danger."""

_EARLIER = 0.1
"""Renewals are due up to this fraction earlier, so that leases taken together do not renew together for ever."""

_RETRIES_PER_LEASE = 12
"""While renewals fail, the pause between them is at most the lease's length divided by this."""

_FIRST_RETRY_SECONDS = 0.1

PAUSE_SECONDS = 0.2
"""The least time between two renewals by the heartbeat, however urgent."""

_DOUBT_LEAVES = 1 / 4
"""While answers contradict one another, a renewal waits until this part of the lease is left before the deadline."""

_ASKING_LEAVES = 1 / 6
"""A renewal asks for the service's time, where that is in doubt, until this part of the lease is left."""


def _never_late(_offset: float) -> float:
    return 0.0


def _reckoned(expires_at: int, deadline: float, margin: float) -> float:
    """The offset of the service's clock from the steady clock up to which an attempt's deadline is safe."""
    return expires_at / 1000 - margin - deadline


class State(enum.Enum):
    """The state of a lease, as its holder knows it."""

    HELD = enum.auto()
    RELEASED = enum.auto()
    LOST = enum.auto()
    HANDED_OVER = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """One attempt to renew: the expiry that it writes, and the deadline if it succeeds."""

    expires_at: int
    deadline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a renewal failed.

    Attributes:
        at: When this was known, on the steady clock.
        cause: Why, for people.
    """

    at: float
    cause: str


def _trouble(answer: Answer, now: float) -> Trouble | None:
    match answer:
        case Rejected():
            return Trouble(at=now, cause=reason_text(answer.error))
        case Unknown() | Unsent() | Conflict() | ThrottledAnswer():
            return Trouble(at=now, cause=reason_text(answer.cause))
        case _:
            return None


def _is_revoked(slot: Slot | None) -> bool:
    return slot is not None and slot.lease is not None and slot.lease.revoked


class Belief:
    """One lease's state, as its holder knows it. Not thread-safe: the lease that owns it locks.

    Attributes:
        state: Held, released, lost, or handed over.
        reason: Why it was lost; None while it was not.
        renew_at: When the next renewal is planned, on the steady clock; it moves forward with the deadline.
        failures: Renewals in a row without a usable answer.
        alone: Whether the next renewal is to be sent in a request of its own, and in no batch.
        tried_at: When a renewal was last begun, on the steady clock.
        trouble: Why the last renewal failed; None if it worked, or if there was none.
        handed_over_by: The renewal by which it is handed over.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        chance: Random,
        late_by: Callable[[float], float] = _never_late,
        margin: float | None = None,
    ) -> None:
        self.state = State.HELD
        self.reason: LossReason | None = None
        self.failures = 0
        self.alone = False
        self.tried_at = -math.inf
        self.trouble: Trouble | None = None
        self.handed_over_by: Renewal | None = None
        self._lost_at = math.inf
        self._why = ""
        self._length = grant.lease_ms / 1000
        self._lease_id = grant.lease_id
        self._margin = grant.margin if margin is None else margin
        self._chance = chance
        self._late_by = late_by
        self._expires_at = grant.expires_at
        self._planned = grant.deadline
        self._offset = _reckoned(grant.expires_at, grant.deadline, grant.margin)
        # Of a lease that was acquired for longer than its length, renewals go at the pace of any other.
        self._paced = (
            grant.deadline + grant.margin - max(grant.lease_ms, grant.hold_ms) / 1000 + self._length - self._margin
        )
        self.renew_at = self._next_renewal(self._paced)

    @property
    def deadline(self) -> float:
        """Until when the holder may believe, on the steady clock."""
        return self._planned - self._late_by(self._offset)

    def holds(self, now: float) -> bool:
        """Whether the holder may believe in the lease at steady time `now`."""
        return self.state is State.HELD and now < self.deadline

    def begin_renewal(self, now: float, now_hi: int) -> Renewal | None:
        """A renewal to send now; None if the lease is not held any more.

        Args:
            now: Steady time, read before `now_hi`.
            now_hi: Upper bound of the service's time, in ms.
        """
        if not self.holds(now):
            return None
        # The bounds narrow with more answers, so `now_hi` may fall; the expiry must not.
        self._expires_at = max(self._expires_at, now_hi + round(self._length * 1000))
        return Renewal(expires_at=self._expires_at, deadline=now + self._length - self._margin)

    def end_renewal(self, renewal: Renewal, answer: Answer, now: float) -> LossReason | None:
        """Apply a renewal's answer; returns the reason if the answer shows that the lease is lost."""
        deadline = self.deadline
        if self.state is State.HELD:
            self.trouble = _trouble(answer, now)
        if self.state is not State.HELD or now >= deadline:
            return None  # too late: `expire` gives the reason, and an extension is released
        match answer:
            case Done(slot=slot):
                self._extend(renewal, deadline)
                return self.lose(LossReason.REVOKED, now) if _is_revoked(slot) else None
            case Refused(slot=None):
                return self.lose(LossReason.GONE, now)
            case Refused(slot=slot) if slot and slot.lease and slot.lease.lease_id == self._lease_id:
                # The table has a later expiry already (a copy of ours arrived out of order, or an operator changed it):
                # the next renewal writes no earlier one, and succeeds.
                self._expires_at = max(self._expires_at, slot.lease.expires_at)
                self.renew_at = now
                return self.lose(LossReason.REVOKED, now) if slot.lease.revoked else None
            case Refused():
                return self.lose(LossReason.TAKEN, now)
            case _:
                self.retry_later(now)
                return None

    def retry_later(self, now: float) -> None:
        """A renewal failed, or could not be sent: plan the next one after a pause."""
        self.failures += 1
        longest = self._length / _RETRIES_PER_LEASE
        pause = full_jitter((_FIRST_RETRY_SECONDS, longest), self.failures, self._chance)
        self.renew_at = now + pause + self._late_by(self._offset)

    def postpone(self, now: float) -> None:
        """A renewal could not be sent, as the service's time is not certain enough: plan the next one."""
        known = self.trouble
        self.trouble = Trouble(at=now, cause=known.cause if known else "the service's time is not certain")
        self.retry_later(now)

    def renew_alone(self, now: float) -> None:
        """The next renewal comes at once and by itself: a batch's answer was none to rely on."""
        self.alone, self.renew_at = True, now

    def expire(self, now: float, *, slept: bool) -> LossReason | None:
        """Lose the lease if its deadline has passed; `slept` says that this process was suspended meanwhile."""
        if self.state is not State.HELD or now < self.deadline:
            return None
        return self.lose(LossReason.SUSPENDED if slept else LossReason.UNREACHABLE, now)

    def lose(self, reason: LossReason, now: float, *, why: str = "") -> LossReason | None:
        """Lose the lease for this reason, if it is still held; `why` says more, for people."""
        if self.state is not State.HELD:
            return None
        self.state, self.reason, self._lost_at, self._why = State.LOST, reason, now, why
        return reason

    def why_lost(self) -> str:
        """What is known about why renewals failed, or who ended the lease, for people; empty if there is nothing."""
        if self.reason not in {LossReason.UNREACHABLE, LossReason.SUSPENDED}:
            return self._why
        trouble = self.trouble
        if trouble is not None and trouble.at >= self.tried_at:
            return f"the last renewal failed {max(0.0, self._lost_at - trouble.at):.1f} s before: {trouble.cause}"
        if self.tried_at == -math.inf:
            return "no renewal was tried"
        tried = f"the renewal begun {max(0.0, self._lost_at - self.tried_at):.1f} s before was not answered"
        return tried if trouble is None else f"{tried}; the one before failed: {trouble.cause}"

    def begin_hand_over(self, now: float, now_hi: int, within_ms: int) -> Renewal | None:
        """A renewal to send now, after which the lease is handed over; None if the lease is not held any more.

        Args:
            now: Steady time, read before `now_hi`.
            now_hi: Upper bound of the service's time, in ms.
            within_ms: How long it must not expire at least.
        """
        if not self.holds(now):
            return None
        return Renewal(expires_at=max(self._expires_at, now_hi + within_ms), deadline=self.deadline)

    def end_hand_over(self, renewal: Renewal, answer: Answer, now: float) -> LossReason | None:
        """Apply its answer: stop believing if it worked; returns the reason if it shows that the lease is lost.

        Anything else leaves the lease held: what is not answered moves no deadline, whether it was carried out or not.
        """
        if not isinstance(answer, Done) or _is_revoked(answer.slot):
            if isinstance(answer, Unknown) and self.state is State.HELD:
                self._expires_at = max(self._expires_at, renewal.expires_at)  # the table may have it already
            if isinstance(answer, (Done, Refused)):
                return self.end_renewal(renewal, answer, now)
            return None
        if self.holds(now):
            self.handed_over_by = renewal  # first: whoever is interrupted after the next line must take it back
            self.state = State.HANDED_OVER
        return None

    def take_back(self) -> bool:
        """What was handed over has reached nobody: it is to be released. Returns whether it was handed over."""
        handed_over = self.state is State.HANDED_OVER
        if handed_over:
            self.state = State.RELEASED
        return handed_over

    def release(self) -> bool:
        """Stop believing, because the holder releases the lease; returns whether it was held until now."""
        held = self.state is State.HELD
        if held:
            self.state = State.RELEASED
        return held

    def due_at(self) -> float:
        """When the heartbeat must handle this lease next, on the steady clock."""
        return min(self.renew_at, self._planned) - self._late_by(self._offset)

    def due_in(self, now: float, *, doubtful: bool) -> float:
        """Seconds until the heartbeat must look after this lease while it is held.

        Args:
            now: Steady time.
            doubtful: Whether answers contradict one another on the service's time. The bounds are wide then, and an
                expiry once written never falls: the renewal waits for the doubt to be cleared while there is time.
        """
        late = self._late_by(self._offset)
        deadline = self._planned - late
        paced = min(deadline, self._paced - late)
        due = max(min(self.renew_at, self._planned) - late, self.tried_at + PAUSE_SECONDS)
        if doubtful:
            due = max(due, paced - self._length * _DOUBT_LEAVES)
        return min(due, deadline) - now

    def may_come_early(self, now: float) -> bool:
        """Whether it may be renewed before it is due, to share a request: not where the last try failed."""
        return not self.alone and not self.failures and now >= self.tried_at + PAUSE_SECONDS

    @property
    def settle_until(self) -> float:
        """Until when a renewal waits for doubt about the service's time to be cleared, on the steady clock."""
        paced = self._paced - self._late_by(self._offset)
        return min(self.deadline, paced) - self._length * _ASKING_LEAVES

    def _extend(self, renewal: Renewal, deadline: float) -> None:
        # Never backwards: an earlier attempt may be answered later.
        offset = _reckoned(renewal.expires_at, renewal.deadline, self._margin)
        if renewal.deadline - self._late_by(offset) >= deadline:
            self._planned, self._offset = renewal.deadline, offset
        self.failures = 0
        self._paced = max(self._paced, renewal.deadline)
        self.renew_at = self._next_renewal(renewal.deadline)

    def _next_renewal(self, deadline: float) -> float:
        began = deadline - self._length + self._margin
        return began + self._length / _RENEWALS_PER_LEASE * self._chance.uniform(1.0 - _EARLIER, 1.0)
