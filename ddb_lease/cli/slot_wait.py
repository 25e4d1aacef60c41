"""Waiting for slots, as `run` and `lead` say it: how long, which place in the queue, and who holds them.

Invariants:

- The place comes from what the acquire itself sees, and costs nothing. The holders come from `status`: one consistent
  Query (1 RCU for each 4 KB, some 15 slots), and of an ordered bucket one of its queue (0.5 RCU for each 4 KB). It is
  asked after a second of waiting, then each 10 s on a terminal, and when the place changes, as a holder has changed
  then; elsewhere for each line; more seldom where many wait.
  Of a bucket with more than `MOST_TOKENS` tokens it is not asked again, as that takes a Query for each 1,000.
- It decides nothing, and nothing that it meets reaches the acquire: see `waiting`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from ddb_lease.bucket import LeaseBucket
from ddb_lease.cli import wait_text
from ddb_lease.cli.formatting import printable
from ddb_lease.cli.wait_text import UNKNOWN, Standing
from ddb_lease.cli.waiting import Waiting
from ddb_lease.events import Event
from ddb_lease.events import Waiting as Placed
from ddb_lease.lease import Lease

MOST_TOKENS: Final = 1_000
"""So many slots come in one Query."""

PAUSE_PER_WAITER: Final = 0.2
"""Seconds between two questions for each one who waits: some 20 RCU for a queue of 1,000, from each of them."""


class Places:
    """The place in the queue of an ordered bucket, as the acquire sees it."""

    def __init__(self) -> None:
        self.place = 0
        """The first has 1; 0 if there is none, or it is not known."""

    def note(self, event: Event) -> None:
        """An event of the bucket's."""
        if isinstance(event, Placed):
            self.place = event.place


class SlotWait:
    """Around an acquire of `run`.

    Args:
        bucket: The bucket.
        tokens: How many tokens it has, as far as that is known.
        count: How many slots are wanted.
        places: Knows the place in the queue.
        quiet: Whether to say nothing while it waits.
        to_lead: Whether it is an acquire of `lead`.
    """

    def __init__(
        self, bucket: LeaseBucket, *, tokens: int, count: int, places: Places, quiet: bool, to_lead: bool = False
    ) -> None:
        self._bucket = bucket
        self._count = count
        self._places = places
        self._name = printable(bucket.name)
        self._is_large = tokens > MOST_TOKENS
        self._waiting = Waiting(
            self._name,
            look=self._look,
            state=self._state,
            pause=lambda it: PAUSE_PER_WAITER * it.waiting,
            place=lambda: places.place,
            quiet=quiet,
            to_lead=to_lead,
        )
        self._to_lead = to_lead

    def won(self, lease: Lease) -> None:
        """The wait is over."""
        if self._to_lead:
            self._waiting.done(f"leading {self._name}")
            return
        slots = ", ".join(map(str, lease.slots))
        self._waiting.done(f"slot{'s' if len(lease.slots) > 1 else ''} {slots} of {self._name}")

    def holders(self) -> str:
        """What the message of a timeout says of the holders; asks if nobody did so far."""
        standing = self._waiting.standing
        held = wait_text.held_by((self._waiting.ask() if standing is UNKNOWN else standing).holders)
        return f": {held}" if held else ""

    def __enter__(self) -> SlotWait:
        self._waiting.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting.__exit__(exc_type, exc, traceback)

    def _state(self, standing: Standing) -> str:
        place = self._places.place
        return wait_text.placed(place, standing.waiting) if place else standing.state

    def _look(self) -> Standing:
        if self._is_large:
            return UNKNOWN
        status = self._bucket.status()
        self._is_large = status.max_tokens > MOST_TOKENS
        return wait_text.standing(status, owner=self._bucket.owner, count=self._count)
