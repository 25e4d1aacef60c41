"""Batch breaker: whether renewals go in batches, or each in a request of its own. A circuit breaker, pure.

Invariants:

- A batch saves requests and is never needed. Whatever this decides, each lease is renewed.
- A state is frozen: an event takes it to the next one. Times are on the steady clock, and come in as arguments.
- Batches rest for `REST_SECONDS` after the service refused one, after the first batch ever got no answer, and when a
  batch got no answer although a single renewal had worked before it was sent.
- A batch that the service refused for its signature or its credentials tells nothing: a single renewal would have been
  refused too.
- One unanswered batch only brings doubt, which the next answered batch clears. In doubt, one single renewal at a time
  (the probe) goes beside the batches. Once a single renewal has worked, all go singly, except for one batch at a time
  (the test), whose outcome decides.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ddb_lease._protocol.messages import Answer, Conflict, Done, Refused, Rejected, ThrottledAnswer, Unknown, Unsent

REST_SECONDS = 600.0
"""How long no batch is sent after the service did not take one."""


class Mode(enum.Enum):
    """How the leases that are due together are to be renewed."""

    BATCH = enum.auto()
    """Together."""
    BATCH_AND_PROBE = enum.auto()
    """Together, except for one that goes by itself, to see whether single renewals work."""
    TEST_BATCH = enum.auto()
    """Together, while all others go singly: this batch decides whether batches rest."""
    SINGLES = enum.auto()
    """Each by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchBreaker:
    """What is known of one bucket's batches.

    Attributes:
        rests_until: No batch is sent before this time.
        proven: Whether any batch was answered.
        answered_at: When the latest of the answered batches was sent.
        doubtful: Whether a batch got no answer, and none that was sent later did.
        singles_work_since: Since when a single renewal is known to have worked in this doubt; infinite where none has.
        probing: Whether a probe is under way.
        testing: Whether a test batch is under way.
    """

    rests_until: float = -math.inf
    proven: bool = False
    answered_at: float = -math.inf
    doubtful: bool = False
    singles_work_since: float = math.inf
    probing: bool = False
    testing: bool = False

    def rests(self, now: float) -> bool:
        """Whether no batch is to be sent."""
        return now < self.rests_until

    def mode(self, now: float) -> Mode:
        """How to renew what is due now."""
        if self.rests(now):
            return Mode.SINGLES
        if self.doubtful and self.singles_work_since < math.inf:
            return Mode.SINGLES if self.testing else Mode.TEST_BATCH
        if self.doubtful and not self.probing:
            return Mode.BATCH_AND_PROBE
        return Mode.BATCH

    def overtook(self, sent: float) -> bool:
        """Whether a batch sent later than this was answered: if this one was not, something in it is at fault."""
        return sent < self.answered_at

    # Events.

    def began(self, mode: Mode) -> BatchBreaker:
        """Leases are about to be renewed in this mode: its probe or its test is under way."""
        return replace(
            self,
            probing=self.probing or mode is Mode.BATCH_AND_PROBE,
            testing=self.testing or mode is Mode.TEST_BATCH,
        )

    def probe_ended(self) -> BatchBreaker:
        """The probe has ended, however it did, or never began."""
        return replace(self, probing=False)

    def test_ended(self) -> BatchBreaker:
        """The test batch has ended, however it did."""
        return replace(self, testing=False)

    def single_worked(self, now: float) -> BatchBreaker:
        """A renewal that was sent by itself has worked."""
        if not self.doubtful or self.singles_work_since < math.inf:
            return self
        return replace(self, singles_work_since=now)

    def batch_ended(self, answers: Sequence[Answer], *, sent: float, now: float) -> BatchBreaker:
        """A batch has ended.

        Args:
            answers: What came of each of its renewals.
            sent: When it was sent.
            now: When its answer was there.
        """
        telling = [answer for answer in answers if not _says_nothing(answer)]
        if any(isinstance(answer, (Done, Refused)) for answer in telling):
            return self.batch_answered(sent)
        if not telling:
            return self
        return self.batch_unanswered(sent, now) if isinstance(telling[0], Unknown) else self.batch_not_taken(now)

    def batch_answered(self, sent: float) -> BatchBreaker:
        """A batch was carried out, or refused renewal by renewal: batches work."""
        return replace(
            self,
            proven=True,
            answered_at=max(self.answered_at, sent),
            doubtful=False,
            singles_work_since=math.inf,
        )

    def batch_unanswered(self, sent: float, now: float) -> BatchBreaker:
        """A batch got no answer: something in it, the service's trouble, or are no batches taken here?"""
        if not self.proven:
            return self.batch_not_taken(now)
        if self.overtook(sent):
            return self  # something in it is at fault; batches work
        if self.doubtful and self.singles_work_since < sent:
            return self.batch_not_taken(now)
        return replace(self, doubtful=True)

    def batch_not_taken(self, now: float) -> BatchBreaker:
        """The service takes no batches: they rest."""
        if self.rests(now):
            return self
        return replace(self, rests_until=now + REST_SECONDS, doubtful=False, singles_work_since=math.inf)

    def after_fork_in_child(self) -> BatchBreaker:
        """In a forked child: a probe or a test that is under way is the parent's."""
        return replace(self, probing=False, testing=False)


def _says_nothing(answer: Answer) -> bool:
    """Whether an answer does not tell whether batches are taken."""
    if isinstance(answer, Rejected):
        return answer.unexamined
    return isinstance(answer, (ThrottledAnswer, Conflict, Unsent))
