"""What one process knows of one bucket: one value below all operations.

Invariants:

- Operations read it, and tell it what they saw. It sends nothing and calls no callbacks.
- The stored settings apply. A client that cannot work with them is refused each time it sees them, before it stores
  them here; a client that was made with other settings is warned once.
- Safety does not depend on anything here: every request has its own condition.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Final

from ddb_lease._protocol import grants
from ddb_lease._protocol.records import Counter, Settings, Slot
from ddb_lease._state.hints import Hints
from ddb_lease._state.log import log as _log
from ddb_lease._state.queue_memory import FreeFor, Others
from ddb_lease._state.service_time import ServiceTime
from ddb_lease._state.words import BUCKET, WINDOW, Words
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Timing

OTHER_SETTINGS_TEXT: Final = "%s exists with %s: these settings are used, not %s%s"
"""What is logged if a client was made with other settings than those stored, both as `Described`; and what to do."""

PRIORITY_TEXT: Final = "%s has order=%s: a priority counts only among the waiters of one process there"
"""What is logged if a priority is given in an unordered bucket."""

_LATELY: Final = 64
"""How many ended leases we still know as ours: a look that was in flight may still show one."""


@dataclass(frozen=True, slots=True)
class Described:
    """Settings in a log message: readable as a text, and as what they are."""

    settings: Settings
    with_order: bool = False

    def __str__(self) -> str:
        order = f", order={self.settings.order}" if self.with_order else ""
        return f"max_tokens={self.settings.max_tokens}, lease_seconds={self.settings.lease_ms / 1000:g}{order}"


def require_quick_answers(answer_seconds: float, lease_seconds: float) -> None:
    """Refuse a client that waits for an answer longer than a third of the lease.

    Raises:
        ConfigurationError: It does.
    """
    if answer_seconds > lease_seconds / 3:
        raise ConfigurationError(
            f"this client waits up to {answer_seconds:g} s for an answer, longer than a lease of {lease_seconds:g} s "
            "allows: pass a session instead, or make the client with "
            f"config=ddb_lease.client_config({lease_seconds:g})"
        )


class BucketState:
    """One bucket in one process. Shared by its threads.

    Args:
        bucket: The bucket's name.
        wanted: The settings that this client was made with.
        timing: The time budget around a lease.
        time: Bounds on the service's time.
        chance: A source of randomness that no two processes share.
        answer_seconds: How long the user's own client waits for an answer; 0 if the client is ours, as it fits the
            lease.
        words: How messages name it.

    Attributes:
        called: It in messages: ``bucket 'nightly'``.
        hints: What was last seen of the table, and the queue of waiters.
        settings: The stored settings if they are known, else those wanted.
        closed: Whether the bucket was closed in this process.
        leads: Whether it elects a leader: then several tokens are an error, and that is raised, not warned of.
        free_for_tries: In an ordered bucket, which slots the acquires that do not wait have seen free.
        others_for_tries: And what they have seen of the waiters there: they learn from each other who is dead.
    """

    def __init__(
        self,
        *,
        bucket: str,
        wanted: Settings,
        timing: Timing,
        time: ServiceTime,
        chance: Random,
        answer_seconds: float = 0.0,
        words: Words = BUCKET,
    ) -> None:
        self.bucket = bucket
        self.words = words
        self.called = f"{words.whole} {bucket!r}"
        self.wanted = wanted
        self.timing = timing
        self.time = time
        self.chance = chance
        self.hints = Hints()
        self.settings = wanted
        self._answer_seconds = answer_seconds
        self.closed = self.leads = False
        self.free_for_tries = FreeFor()
        self.others_for_tries = Others()
        self._why_closed = "is closed"
        self._held: dict[str, tuple[int, ...]] = {}  # the slots of each lease; each call on it is atomic
        self._lately: deque[str] = deque(maxlen=_LATELY)
        self._warned = False
        self._told_of_priority = False

    # Open or closed.

    def close(self) -> None:
        """Refuse further acquires; wake the waiters so that they notice."""
        self.closed = True
        self.hints.wake_all()

    def close_for_exit(self) -> None:
        """Refuse further acquires, as nobody would release their leases any more. Waiters end with the process."""
        self._why_closed = "gives no more leases: the interpreter is exiting, and has released those that were held"
        self.closed = True

    def closed_error(self) -> ConfigurationError:
        """What an acquire from a closed bucket raises."""
        return ConfigurationError(f"{self.called} {self._why_closed}")

    # Leases of this process.

    def began(self, lease_id: str, slots: tuple[int, ...]) -> None:
        """This process now holds a lease of this id, on these slots."""
        self._held[lease_id] = slots
        self._lately.append(lease_id)

    def ended(self, lease_id: str) -> None:
        """This process does not hold it any more."""
        self._held.pop(lease_id, None)

    def own_slots(self) -> list[int]:
        """The slots on which this process holds leases."""
        return [slot for slots in list(self._held.values()) for slot in slots]

    def is_ours(self, lease_id: str) -> bool:
        """Whether this process holds such a lease, or did so lately."""
        return lease_id in self._held or lease_id in self._lately

    def note_holders(self, *slots: Slot | None) -> None:
        """Note whether other processes hold any of these slots: that decides how long this process pauses for them."""
        if any(slot and slot.lease and not self.is_ours(slot.lease.lease_id) for slot in slots):
            self.hints.fairness.met_others(self.time.steady())

    # The stored settings.

    def adopt(self, counter: Counter, *, sure: bool) -> None:
        """Take note of a counter that was seen.

        Args:
            counter: What was seen.
            sure: Whether it is certainly the latest: from a consistent read, or written by us.

        Raises:
            ConfigurationError: This client cannot work with its settings.
        """
        stored = counter.settings
        if stored != self.settings:
            lease_seconds = stored.lease_ms / 1000
            self.timing.require_room(lease_seconds)
            require_quick_answers(self._answer_seconds, lease_seconds)
            self.settings = stored
        if not self.hints.learn_counter(counter, sure=sure):
            return
        if self.leads and stored.max_tokens > 1:
            return
        if self.wanted.differ(stored) and not self._warned:
            self._warned = True
            with_order = self.wanted.order not in {None, stored.order}
            described = (Described(settings, with_order=with_order) for settings in (stored, self.wanted))
            way_out = "" if self.words is WINDOW else self._way_out(stored)
            _log.warning(OTHER_SETTINGS_TEXT, self.called, *described, way_out)

    def _way_out(self, stored: Settings) -> str:
        """How to have the settings that this client was made with."""
        said, wanted = [], self.wanted
        if stored.max_tokens != wanted.max_tokens:
            tokens = wanted.max_tokens
            said.append(f"to change max_tokens: bucket.resize({tokens}), or ddb-lease resize {self.bucket!r} {tokens}")
        if stored.lease_ms != wanted.lease_ms:
            said.append("a bucket keeps the lease_seconds that it was made with: for others, take another name")
        if wanted.order not in {None, stored.order}:
            said.append(f"to change the order: bucket.configure(order={wanted.order!r})")
        return "".join(f"; {one}" for one in said)

    def note_priority(self) -> None:
        """A waiter has a priority: say once that it does little, if the bucket is known to have no order."""
        counter = self.hints.counter
        if counter is not None and counter.order != "fifo" and not self._told_of_priority:
            self._told_of_priority = True
            _log.warning(PRIORITY_TEXT, self.called, counter.order)

    def settings_changed(self) -> None:
        """This client changed them itself: it needs no warning, and reads the table again."""
        self._warned = True
        self.hints.forget()
        self.hints.wake_all()

    # Values for requests.

    def lease_ms(self) -> int:
        """The length of a lease: the stored setting applies."""
        counter = self.hints.counter
        return counter.lease_ms if counter else self.wanted.lease_ms

    def ttl(self, now_hi: int, *, fence: int, expires_at: int | None = None) -> int:
        """The TTL attribute of a slot written now."""
        retention = self.timing.retention
        return grants.ttl_for(now_hi=now_hi, expires_at=expires_at, fence=fence, retention_seconds=retention)

    def token(self) -> str:
        """A request token: one for each attempt; its resends carry the same one."""
        return f"{self.chance.getrandbits(128):032x}"

    def after_fork_in_child(self) -> None:
        """In a forked child: hold nothing, forget the waiters, and make new locks."""
        self._held = {}
        self.free_for_tries, self.others_for_tries = FreeFor(), Others()
        self.hints.empty()
        self.time.after_fork_in_child()
