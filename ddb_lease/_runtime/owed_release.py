"""The release of one lease as this process owes it: what was answered, whether it is settled, when to send it again.

Invariants:

- It sends nothing: time, chance and answers are passed in.
- It is settled when each slot's release was answered, and the claim itself cannot be carried out any more; or when
  there is nothing to release.
- It is due again until it is settled, or until the lease has certainly expired: every renewal was sent before the
  release began, and set the expiry ahead by so much at most. One that the service refuses for good is due then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from ddb_lease._operations.release import SlotRelease
from ddb_lease._protocol.grants import may_still_land
from ddb_lease._protocol.messages import Rejected
from ddb_lease._protocol.records import Grant
from ddb_lease._protocol.retry import full_jitter

OWED_SECONDS = (1.0, 30.0)
"""First bound and cap of the pause before an unanswered release is sent again in the background."""

OVERTAKEN_SECONDS = 0.5
"""The first pause before the release of an unanswered claim is sent again, in case it has overtaken the claim. Each
further one is twice as long, up to the cap above: some ten for a lease of a minute, if nobody else wants the slot."""

_CERTAINLY_SECONDS = 5.0
"""So long after its expiry, by the latest renewal that can have been sent, a lease has certainly expired."""


@dataclass(slots=True, kw_only=True)
class OwedRelease:
    """What became of one lease's release so far.

    Attributes:
        grant: The lease.
        longest_seconds: How far ahead of its sending a renewal may have set the expiry, at most.
        keeps_closed: Whether the slots stay closed until `Grant.closed_until`, if the lease ends before.
        may_land: Whether the claim itself may still be carried out: its answer was not awaited.
        due_at: When to send the release, or send it again, or to see whether what it waits for is over, on the steady
            clock; infinite for never. Whoever has a reason sets it.
        tries: How often it was sent.
        answered: Whether each slot's release was answered.
        refused: Whether the service refused one for good.
        settled: Whether there is nothing left to release.
        freed: Whether any sending ended the lease on any slot.
    """

    grant: Grant
    longest_seconds: float
    keeps_closed: bool
    may_land: bool = False
    due_at: float = math.inf
    tries: int = 0
    answered: bool = False
    refused: bool = False
    settled: bool = False
    freed: bool = False
    _until: float = field(default=math.inf, init=False)
    _unclaimed: bool = field(default=False, init=False)

    def begin(self, now: float) -> None:
        """It is owed from here on."""
        self._until = now + self.longest_seconds + self.grant.margin + _CERTAINLY_SECONDS

    def has_expired(self, now: float) -> bool:
        """Whether the lease has certainly expired: nothing is owed any more."""
        return now >= self._until

    def may_last(self, seconds: float) -> None:
        """What is sent now may set the expiry so far ahead."""
        self.longest_seconds = max(self.longest_seconds, seconds)

    def leave_open(self) -> None:
        """It opens the slots at once, whatever was asked for when they were acquired."""
        self.keeps_closed = False

    def settle(self) -> None:
        """There is nothing to release: the lease is another's, or in no slot."""
        self.settled = True

    def reopen(self) -> None:
        """What another was to release is ours to release again."""
        self.settled = False

    def note(self, outcomes: Sequence[SlotRelease], now: float, *, chance: Random) -> None:
        """It was sent to the end: settle it, or say when it is due again."""
        self.tries += 1
        if [outcome for outcome in outcomes if outcome.ended]:  # as in `LeaseEnd.sending`
            self.freed = self._unclaimed = True
        self.answered = len(outcomes) == len(self.grant.slots) and all(outcome.known for outcome in outcomes)
        if self.answered:
            answers = [outcome.answer for outcome in outcomes]
            self.settled = not (self.may_land and may_still_land(answers, fence=self.grant.fence))
            again_at = now + min(OVERTAKEN_SECONDS * 2.0 ** min(self.tries - 1, 30), OWED_SECONDS[1])
        else:
            again_at = now + full_jitter(OWED_SECONDS, self.tries, chance)
        if self.settled:
            return
        rejected = [outcome.answer for outcome in outcomes if isinstance(outcome.answer, Rejected)]
        self.refused = any(not answer.untimely for answer in rejected)
        self.due_at = self._until if self.refused else min(again_at, self._until)

    def claim_end(self) -> bool:
        """Whether it has ended the lease, and nobody has counted that as its own yet; true once."""
        ended, self._unclaimed = self._unclaimed, False
        return ended
