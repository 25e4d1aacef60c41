"""The ledger of one limit of one key: which permits were charged, when each is due, and whether that was allowed.

Invariants:

- It shares no code with the library. It knows GCRA as books have it, in whole nanoseconds, and one envelope: of permits
  that are due in any time t at most ``t / interval + burst``, without any slack.
- An epoch ends where the limit is changed, or where something is forgiven: what was charged before comes on top once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

NS = 1_000_000_000


class Violation(Exception):
    """A violated invariant. Its name comes first: R1, ..., L3."""

    def __init__(self, law: str, what: str) -> None:
        super().__init__(f"{law}: {what}")
        self.law = law


@dataclass(frozen=True, slots=True)
class Rule:
    """What one limit admits, as the table has it: from the policy (`rev` and `since`), or from a key's override."""

    interval: int
    burst: int
    rev: int
    since: int

    @property
    def tolerance(self) -> int:
        return self.interval * self.burst

    def likeness(self, charged: Sequence[int], *, held: int, room: int | None) -> tuple[bool, bool]:
        """How well it explains a charge, to be compared with other rules.

        Args:
            charged: What was booked, and what was reserved, each in nanoseconds.
            held: What was held before.
            room: How much the charge's condition allows to be held.

        Returns:
            Whether it allows the charge: whole permits, and no more than it tolerates. And whether it gives this room.
        """
        whole = not any(each % self.interval for each in charged)
        return whole and held + sum(charged) <= self.tolerance, room == self.tolerance - sum(charged)

    @property
    def horizon(self) -> int:
        """How far ahead anybody may book."""
        return max(30 * NS, 2 * self.interval)


def beyond(times: Sequence[int], interval: int) -> int:
    """By how many nanoseconds' worth permits used at these times exceed, at most, what the rate gives in their time.

    The promise is kept if that is at most `burst` intervals, for all windows.
    """
    worst, start = 0, None
    for number, time in enumerate(sorted(times)):
        at = time - number * interval
        start = at if start is None else max(start, at)
        worst = max(worst, interval - at + start)
    return worst


@dataclass(slots=True)
class Ledger:
    """One limit of one key.

    Attributes:
        rule: As of the last charge.
        dues: When each permit charged in this epoch is due.
        epochs: How many epochs there were before this one.
        unordered: Whether something was given back, so that later bookings may be due earlier.
        holds: Whether permits were ever reserved: these count when they are used, and not in `dues`.
    """

    name: str
    rule: Rule | None = None
    dues: list[int] = field(default_factory=list)
    epochs: int = 0
    last: int = 0
    unordered: bool = False
    holds: bool = False

    def under(self, rule: Rule) -> None:
        """A charge goes by this rule: another one begins an epoch."""
        if self.rule is not None and (self.rule.interval, self.rule.burst, self.rule.rev) != (
            rule.interval,
            rule.burst,
            rule.rev,
        ):
            self.forgiven()
        self.rule = rule

    def forgiven(self) -> None:
        """What was charged before comes on top once."""
        if not self.holds:
            self.check()
        self.dues, self.last = [], 0
        self.epochs += 1
        self.unordered = False

    def check(self) -> None:
        """The envelope, over all windows of this epoch."""
        if self.rule is None or not self.dues:
            return
        worst = beyond(self.dues, self.rule.interval)
        if worst > self.rule.tolerance:
            over = (worst - self.rule.tolerance) / self.rule.interval
            raise Violation("R3", f"{self.name}: {over:.3f} permits too many are due in some time")

    def charged(self, *, now: int, reach: int, count: int, booked: int, alone: bool) -> list[int]:
        """So many permits were charged as of `now`; returns when each is due.

        Args:
            now: The time that the charge goes by.
            reach: What it left in the item.
            count: How many permits, booked or reserved.
            booked: How many of them are booked.
            alone: Whether it charged no other limit: then its permits may be due later than `now`.
        """
        rule = self.rule
        assert rule is not None
        late = reach - rule.tolerance
        if not alone and late > now:
            raise Violation("R3", f"{self.name}: due as of {now}, and not paid for before {late}")
        if late > now + rule.horizon:
            raise Violation("R7", f"{self.name}: booked {(late - now) / NS:.1f} s ahead")
        if not self.unordered and late <= self.last:
            raise Violation("R6", f"{self.name}: booked later, and due {(self.last - late) / NS:.3f} s earlier")
        self.last = late
        dues = [max(now, late - left * rule.interval) if alone else now for left in range(count - 1, -1, -1)]
        self.dues += dues[:booked]
        return dues
