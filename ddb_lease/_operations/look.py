"""Looking: reading the counter and the slots of one window of a bucket, and remembering what they show.

Invariants:

- A look is of constant size: the cost of an acquire does not grow with the bucket. Of a large bucket each look shows
  the window after that of the last one, from a random one on.
- Whatever is built on a look is guarded by its own condition. So all but the first are eventually consistent.
"""

from __future__ import annotations

from dataclasses import replace

from ddb_lease._protocol import decisions
from ddb_lease._protocol.messages import Look, Seen
from ddb_lease._protocol.outcomes import Failure, failure_of
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.waiters import Waiter

COUNTER_EVERY = 8
"""Of a large bucket, every so many looks one goes to the window with the counter: it may have been resized."""


class Looks:
    """The looks of one acquire; it remembers where in a large bucket the last one was.

    Args:
        state: The bucket's state.
        waiter: Who looks: not woken by what it sees itself.
    """

    def __init__(self, state: BucketState, *, waiter: Waiter | None) -> None:
        self._state = state
        self._waiter = waiter
        self._consistent = True
        self._looks = 0
        self._windows = 0
        self._window = 0
        self._resume = 0

    def look(self) -> Operation[Seen | Failure]:
        """Look at the next window.

        Returns:
            What it showed, `more` saying whether there are slots that it did not show; or why there is nothing.

        Raises:
            StoreRejected: The service refuses for good.
            ConfigurationError: This client cannot work with the stored settings.
        """
        hints = self._state.hints
        known = hints.counter
        start, windows = self._next_start()
        # Polls are eventually consistent, at half the price: a condition guards whatever is built on them.
        consistent, self._consistent = self._consistent, False
        changes = hints.changes
        seen = yield from read_page(start, consistent=consistent)
        if isinstance(seen, Seen) and not consistent and decisions.looks_remade(seen.view, known):
            consistent = True
            seen = yield from read_page(start, consistent=True)
        if not isinstance(seen, Seen):
            return seen
        view = seen.view
        if seen.more and view.covered and len(view.covered) < decisions.WINDOW:
            self._resume = view.covered.stop  # large data filled the page: the next look goes on from there
        if view.counter is not None:
            self._state.adopt(view.counter, sure=consistent)
            hints.looked_at = self._state.time.steady()
        elif view.counter_looked_for:
            hints.forget()
        hints.learn_view(view, by=self._waiter, since=changes)
        return replace(seen, more=seen.more or windows > 1)

    def look_consistently(self) -> Operation[Seen | Failure]:
        """The same, strongly consistent: the counter has just been changed, by us or by others."""
        self._consistent = True
        return self.look()

    def _next_start(self) -> tuple[int, int]:
        """The first slot of the next look, and how many windows there are."""
        chance, counter = self._state.chance, self._state.hints.counter
        windows = decisions.windows(counter.max_tokens) if counter else 1
        if windows != self._windows:
            self._windows, self._window = windows, chance.randrange(windows)
        self._looks += 1
        if self._resume:
            start, self._resume = self._resume, 0
        elif self._looks % COUNTER_EVERY == 0:
            start = 0
        else:
            start = self._window * decisions.WINDOW
            self._window = (self._window + 1) % windows
        return start, windows


def read_page(start: int, *, consistent: bool) -> Operation[Seen | Failure]:
    """Read one window, from this slot on; 0 brings the counter too.

    Raises:
        StoreRejected: The service refuses for good.
    """
    # One more than a window, so that a bucket of just so many slots is seen to end there.
    answer = yield Look(start=start, limit=decisions.WINDOW + 1, consistent=consistent)
    if not isinstance(answer, Seen):
        return failure_of(answer)
    view = answer.view
    if not answer.more or view.covered:
        return answer
    # Somebody else's items fill the page between the counter and the slots: ask for the slots alone.
    again = yield Look(start=start, limit=decisions.WINDOW + 1, consistent=True, counter=False)
    if not isinstance(again, Seen):
        return failure_of(again)
    return replace(again, view=replace(again.view, counter=view.counter, counter_looked_for=True))
