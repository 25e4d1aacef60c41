"""One caller's permits, from its place in the queue until they are used; and an attempt at a charge for many callers.

Invariants: no I/O and no clock; the limiter's lock guards both. Who waits where is the key's book's.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ddb_lease._protocol.rates.batching import Place
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import Charge
from ddb_lease._protocol.rates.records import KeyState
from ddb_lease._state.rates.hold_ledger import Held


class Booking:
    """One caller's place in the queue, and then its permits.

    The queue has only a weak reference to it: if an interrupt ends a caller before it leaves, its place disappears.

    Args:
        wake: Ends its owner's pause, from any thread.
        wanted: Its permits.
        began: When its call began, on the steady clock.
        deadline: When it gives up, on the steady clock.
        patient: Whether it waits for permits.
        grace: Seconds after the deadline for which it goes on as one that does not wait, where nothing denies its
            permits.

    Attributes:
        due: When its permits are due; None until they are booked.
        held: If it reserves: what it holds, once it is charged.
        comes_at: When its caller should come to the gate: when they are due, or when the gate told it to come again.
    """

    __slots__ = (
        "__weakref__",
        "began",
        "comes_at",
        "deadline",
        "due",
        "grace",
        "held",
        "patient",
        "wake",
        "wanted",
    )

    def __init__(
        self,
        wake: Callable[[], None],
        *,
        wanted: Wanted,
        began: float,
        deadline: float,
        patient: bool,
        grace: float = 0.0,
    ) -> None:
        self.wake = wake
        self.wanted = wanted
        self.began = began
        self.deadline = deadline
        self.patient = patient
        self.grace = grace
        self.due: int | None = None
        self.held: Held | None = None
        self.comes_at = 0

    def go_on(self, *, now: float) -> None:
        """Go on as one that does not wait, for its grace; its place in the queue stays."""
        self.patient, self.deadline, self.grace = False, now + self.grace, 0.0

    def place(self, *, now: float) -> Place:
        """Its place, as of this time of the steady clock."""
        left = min(self.deadline - now, 1e9) if self.patient else 0.0
        return Place(wanted=self.wanted, left=max(0, round(left * 1e9)), age=max(0, round((now - self.began) * 1e9)))


@dataclass(slots=True, eq=False, kw_only=True)
class Flight:
    """One attempt at a charge, for the callers at the head of the queue.

    Attributes:
        attempt: Its id, for all sendings.
        batch: Whom it books for, and what each of them wants.
        wanted: Their permits together, and those that are prefetched.
        horizon: How far ahead it may book, as of `planned_at`.
        planned_at: The service's time when it was planned.
        sent: All sendings so far.
        uncertain: Whether any of them may have been charged without our knowing.
        refusals: How often it was refused.
        shown: The item, once any answer has shown that one of the sendings was charged.
    """

    attempt: str
    batch: Sequence[tuple[weakref.ref[Booking], Wanted]]
    wanted: Wanted
    horizon: int
    planned_at: int
    sent: list[Charge] = field(default_factory=list)
    uncertain: bool = False
    refusals: int = 0
    shown: KeyState | None = None
