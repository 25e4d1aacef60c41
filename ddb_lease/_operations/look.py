"""Looking: reading the counter and the slots of some windows of a bucket, and remembering what they show.

Invariants:

- A look is of constant size: the cost of an acquire does not grow with the bucket. Of a large bucket each look shows
  the window after that of the last one, from a random one on (see `_state.windows`).
- Each try looks at a poll's windows. A search goes on to those that this process has not searched lately. Windows full
  of this process's own leases are passed over.
- The first look of a try is alone; then twice as many are sent at once as the time before, `MOST_AT_ONCE` at most. So a
  search reads at most twice the windows that it needs.
- Whatever is built on a look is guarded by its own condition. So all but the first are eventually consistent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ddb_lease._protocol import decisions
from ddb_lease._protocol.messages import Answer, AtOnce, Each, Look, Seen
from ddb_lease._protocol.outcomes import Failure, failure_of
from ddb_lease._protocol.records import Counter, View
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.waiters import Waiter
from ddb_lease._state.windows import POLLED

MOST_AT_ONCE = 8
"""Looks under way at once: enough to hide the way to the service behind the time that reading the answers takes."""

COUNTER_EVERY = 3
"""Of a large bucket, every so many times that looks are sent, one of them goes to the window with the counter: the
bucket may have been resized."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to look: from a slot on. `window` is None for the rest of a window, of which large data filled the page."""

    start: int
    window: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a look at a place showed, and when it was sent, on the steady clock."""

    place: Place
    view: View
    at: float


class Looks:
    """The looks of one acquire.

    Args:
        state: The bucket's state.
        waiter: Who looks: not woken by what it sees itself.
    """

    def __init__(self, state: BucketState, *, waiter: Waiter | None) -> None:
        self._state = state
        self._waiter = waiter
        self._consistent = True
        self._times = 0
        self._rests: list[int] = []
        self._looked = 0
        self._most = 1
        self._own: set[int] = set()
        self._tried: set[int] = set()

    def begin(self) -> None:
        """A new try begins."""
        counter = self._state.hints.counter
        self._looked, self._most = 0, 1
        self._own, self._tried = set(), set()
        if counter is not None and counter.max_tokens > decisions.WINDOW:
            # This process knows what it holds itself.
            self._own = decisions.filled_windows(self._state.own_slots(), counter.max_tokens)

    def next_places(self, *, further: bool) -> list[Place]:
        """Where to look next in this try; nowhere if it has looked enough.

        Args:
            further: Whether it goes on to the windows that were not searched lately.
        """
        state, windows = self._state, self._state.hints.windows
        counter = state.hints.counter
        count = decisions.windows(counter.max_tokens) if counter else 1
        if windows.count > 1 and windows.count != count:
            self._own, self._tried = set(), set()  # resized: the windows are others now
        windows.arrange(count, state.chance, tokens=counter.max_tokens if counter else 0)
        most, self._most = self._most, min(2 * self._most, MOST_AT_ONCE)
        self._times += 1
        polled = POLLED - self._looked
        if polled > 0:
            places = self._to_poll(min(most, polled), to_counter=count > 1 and self._times % COUNTER_EVERY == 0)
        else:
            places = []
        if not places and further:
            numbers = windows.unsearched(most, but=self._passed, now=state.time.steady())
            places = [_window(number) for number in numbers]
        if not places and not self._looked:
            places = [_window(0)]  # all is our own: the bucket may have been resized
        self._looked += len(places)
        self._tried.update(place.window for place in places if place.window is not None)
        return places

    @property
    def _passed(self) -> set[int]:
        return self._own | self._tried

    def _to_poll(self, most: int, *, to_counter: bool) -> list[Place]:
        if self._rests:
            rests, self._rests = self._rests[:most], self._rests[most:]
            return [Place(start=start, window=None) for start in rests]
        windows = self._state.hints.windows
        if to_counter and 0 not in self._tried:
            others = windows.in_turn(most - 1, but={0, *self._passed}) if most > 1 else []
            return [_window(number) for number in (0, *others)]
        return [_window(number) for number in windows.in_turn(most, but=self._passed)]

    def look(self, places: Sequence[Place]) -> Operation[tuple[list[Page], Failure | None]]:
        """Look at all of these at once.

        Returns:
            What they showed; and why not all did.

        Raises:
            StoreRejected: The service refuses for good.
            ConfigurationError: This client cannot work with the stored settings.
        """
        hints = self._state.hints
        known, changes, at = hints.counter, hints.changes, self._state.time.steady()
        # Polls are eventually consistent, at half the price: a condition guards whatever is built on them.
        consistent, self._consistent = self._consistent, False
        looks = tuple(_look(place.start, consistent=consistent) for place in places)
        answers = yield from _send(looks)
        pages: list[Page] = []
        failed: Failure | None = None
        for place, look, answer in zip(places, looks, answers, strict=True):
            seen, sure = yield from self._completed(look, answer, known)
            if isinstance(seen, Seen):
                self._learn(seen, changes, at, sure=sure)
                pages.append(Page(place=place, view=seen.view, at=at))
            else:
                failed = failed or seen
                self._give_back(place)
        return pages, failed

    def look_consistently(self) -> Operation[View | Failure]:
        """The counter has just been changed, by us or by others: see what it is now."""
        self._consistent = True
        pages, failed = yield from self.look([_window(0)])
        return pages[0].view if failed is None else failed

    def all_searched(self) -> bool:
        """Whether this process has searched every window lately."""
        return self._state.hints.windows.all_searched(but=self._passed, now=self._state.time.steady())

    def searched(self, page: Page) -> None:
        """It has shown nothing for us."""
        if page.place.window is not None:
            self._state.hints.windows.searched(page.place.window, at=page.at)

    def give_back(self, pages: Sequence[Page]) -> None:
        """These were not searched to the end."""
        for page in pages:
            self._give_back(page.place)

    def _give_back(self, place: Place) -> None:
        if place.window is not None:
            self._state.hints.windows.give_back(place.window)

    def _completed(self, look: Look, answer: Answer, known: Counter | None) -> Operation[tuple[Seen | Failure, bool]]:
        """What a look showed, and whether that is certainly the latest; repeated where it may not be what there is."""
        seen = yield from _with_slots(look, answer)
        if isinstance(seen, Seen) and not look.consistent and decisions.looks_remade(seen.view, known):
            return (yield from read_page(look.start, consistent=True)), True
        return seen, look.consistent

    def _learn(self, seen: Seen, changes: int, at: float, *, sure: bool) -> None:
        hints, view = self._state.hints, seen.view
        if seen.more and view.covered and len(view.covered) < decisions.WINDOW:
            self._rests.append(view.covered.stop)
        if view.counter is not None:
            self._state.adopt(view.counter, sure=sure)
            hints.looked_at = self._state.time.steady()
        elif view.counter_looked_for:
            hints.forget()
        hints.learn_view(view, by=self._waiter, since=changes, at=at)


def read_page(start: int, *, consistent: bool) -> Operation[Seen | Failure]:
    """Read one window, from this slot on; 0 brings the counter too.

    Raises:
        StoreRejected: The service refuses for good.
    """
    look = _look(start, consistent=consistent)
    answer = yield look
    return (yield from _with_slots(look, answer))


def _send(looks: tuple[Look, ...]) -> Operation[Sequence[Answer]]:
    if len(looks) == 1:
        answer = yield looks[0]
        return [answer] if answer is not None else []
    each = yield AtOnce(looks=looks)
    return each.answers if isinstance(each, Each) else []


def _with_slots(look: Look, answer: Answer | None) -> Operation[Seen | Failure]:
    if not isinstance(answer, Seen):
        return failure_of(answer)
    view = answer.view
    if not answer.more or view.covered:
        return answer
    # Somebody else's items fill the page between the counter and the slots: ask for the slots alone.
    again = yield _look(look.start, consistent=True, counter=False)
    if not isinstance(again, Seen):
        return failure_of(again)
    return replace(again, view=replace(again.view, counter=view.counter, counter_looked_for=True))


def _look(start: int, *, consistent: bool, counter: bool = True) -> Look:
    # One more than a window, so that a bucket of just so many slots is seen to end there.
    return Look(start=start, limit=decisions.WINDOW + 1, consistent=consistent, counter=counter)


def _window(number: int) -> Place:
    return Place(start=number * decisions.WINDOW, window=number)
