"""Resizing and repair: the operations that change how many slots there are, and correct a count that drifted.

Invariants:

- Nothing is planned from a Query, which can show half of a transaction. A plan rests on a TransactGetItems of slots
  and counter, and is carried out only while the counter's `rev` is still the same.
- Each step leaves the bucket consistent. After a crash between two steps it has a size in between, and that is all.
- Shrinking ends no lease: leases on retired slots run on and may be renewed. The slots are not leased again.
- An operator that finds `max_tokens` changed since it last set it stops and reports: somebody else resizes.
"""

from __future__ import annotations

from ddb_lease._operations.resend import Answered, answer_of, require_answered, resend_until_answered
from ddb_lease._operations.status import read_whole
from ddb_lease._operations.sync_time import confirm, without_time
from ddb_lease._protocol import decisions
from ddb_lease._protocol.messages import (
    Done,
    Grow,
    Look,
    Pause,
    Recount,
    Refused,
    Request,
    Retire,
    Seen,
    Shown,
    Snapshot,
)
from ddb_lease._protocol.records import MAX_TOKENS, PER_TRANSACTION, Counter, Slot
from ddb_lease._protocol.retry import CONTENDED_SECONDS, Operation, full_jitter
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.log import log as _log
from ddb_lease.errors import Overtaken, StoreUnavailable, UnknownBucket
from ddb_lease.models import Repaired, Resized

STEP_SECONDS = 30.0
"""How long one request is sent again while the service does not answer, and one step is repeated while others change
the counter."""

TRIES = 12
"""How often one request is sent while it fails."""

LOSSES = 8
"""How often in a row a step must also have been overtaken before it is given up: in a large bucket one takes long."""


def resize(state: BucketState, *, max_tokens: int, step: int = PER_TRANSACTION) -> Operation[Resized]:
    """Change how many tokens a bucket has.

    Args:
        state: The bucket's state.
        max_tokens: How many there are to be, at least 1.
        step: How many slots one transaction retires at most.

    Returns:
        What was done.

    Raises:
        UnknownBucket: It does not exist.
        Overtaken: Another resize came in between.
        StoreUnavailable: The service does not answer, or other clients keep changing the counter. The bucket has its
            old size, the new one, or one in between.
        StoreRejected: The service refuses for good; as above.
    """
    work = _Work(state)
    counter = yield from work.counter()
    before = counter.max_tokens
    yield from work.retire_strays(from_slot=before)
    if max_tokens > before:
        yield from work.grow(counter, max_tokens)
    else:
        yield from work.shrink(before, max_tokens, step=step)
    return Resized(before=before, after=max_tokens, retired=work.retired, running=len(work.running))


def repair(state: BucketState) -> Operation[Repaired]:
    """Count the slots in circulation, set `minted` to that, and retire slots at or above `max_tokens`.

    Args:
        state: The bucket's state.

    Returns:
        What was done.

    Raises:
        UnknownBucket: It does not exist.
        StoreUnavailable: The service does not answer, or other clients keep changing the counter. What was done until
            then stays valid.
        StoreRejected: The service refuses for good; as above.
    """
    work = _Work(state)
    counter = yield from work.counter()
    yield from work.retire_strays(from_slot=counter.max_tokens)
    return (yield from work.recount())


class _Work:
    """One resize or repair under way.

    Attributes:
        retired: How many slots it has retired.
        running: The leases that run on, on those slots.
    """

    def __init__(self, state: BucketState) -> None:
        self._state = state
        self.retired = 0
        self.running: set[str] = set()
        self._leaving: tuple[int, set[str]] = (0, set())
        self._unsure = False  # whether a sending of this step may have worked
        self._lost_in_a_row = 0
        self._until = 0.0
        self._step_done()

    def counter(self) -> Operation[Counter]:
        """The counter by a consistent read."""
        seen, _ = yield from self._send(Look(limit=1, consistent=True))
        return self._found(answer_of(Seen, seen).view.counter)

    def retire_strays(self, *, from_slot: int) -> Operation[None]:
        """Retire slots in circulation at or above `max_tokens`: made by hand, or left over from a deleted counter."""
        if from_slot >= MAX_TOKENS:
            return  # there is no number beyond
        _, hints = yield from read_whole(self._state, seconds=STEP_SECONDS, start=from_slot, whole=False)
        seen = [n for n, slot in hints.items() if decisions.circulates(slot)]
        for first in range(0, len(seen), PER_TRANSACTION):
            numbers = tuple(seen[first : first + PER_TRANSACTION])
            done = False
            while not done:
                counter, slots = yield from self._snapshot(numbers)
                strays = [slot for slot in slots if slot.number >= counter.max_tokens]
                if strays:
                    _log.warning(
                        "bucket %r: slots %s lie beyond max_tokens (%d) and are retired",
                        self._state.bucket,
                        [slot.number for slot in strays],
                        counter.max_tokens,
                    )
                minted = decisions.minted_without((slot.number for slot in strays), counter)
                done = yield from self._retire(strays, counter, counter.max_tokens, minted)

    def grow(self, counter: Counter, max_tokens: int) -> Operation[None]:
        """Raise `max_tokens`. Acquirers bring the slots back, or mint them, when they need them."""
        as_set = counter.max_tokens
        while counter.max_tokens != max_tokens:
            answer, uncertain = yield from self._send(Grow(rev=counter.rev, max_tokens=max_tokens))
            if isinstance(answer, Done):
                return
            found = self._found(answer.counter if isinstance(answer, Refused) else None)
            if uncertain and found.max_tokens == max_tokens:
                return  # an earlier sending of ours worked
            _require_as_set(found, as_set)
            counter = found
            yield from self._back_off()

    def shrink(self, top: int, max_tokens: int, *, step: int) -> Operation[None]:
        """Lower `max_tokens` by a series of complete shrinks of at most one step each, from the top down."""
        while top > max_tokens:
            bottom = max(max_tokens, top - step)
            counter, slots = yield from self._snapshot(tuple(range(bottom, top)))
            if self._unsure and counter.max_tokens == bottom:
                self._retired()  # an earlier sending of ours worked
                top = bottom
                continue
            _require_as_set(counter, top)
            if (yield from self._retire(slots, counter, bottom, max(0, counter.minted - len(slots)))):
                top = bottom

    def recount(self) -> Operation[Repaired]:
        """Set `minted` to the number of slots in circulation below `max_tokens`."""
        before: int | None = None
        while True:
            counter, counted = yield from self._count()
            before = counter.minted if before is None else before
            done = Repaired(max_tokens=counter.max_tokens, before=before, after=counted, retired=self.retired)
            if counted == counter.minted:
                return done
            answer, _ = yield from self._send(Recount(rev=counter.rev, minted=counted))
            if isinstance(answer, Done):
                return done
            yield from self._back_off()  # counting again shows whether an earlier sending worked

    def _count(self) -> Operation[tuple[Counter, int]]:
        # The counter comes with the first chunk: a slot minted, brought back or retired after it raises `rev`.
        counter, slots = yield from self._snapshot(tuple(range(PER_TRANSACTION)))
        counted = sum(slot.number < counter.max_tokens for slot in slots)
        for first in range(PER_TRANSACTION, counter.max_tokens, PER_TRANSACTION):
            numbers = tuple(range(first, min(first + PER_TRANSACTION, counter.max_tokens)))
            shown, _ = yield from self._send(Snapshot(slots=numbers, counter=False))
            counted += len(_circulating(answer_of(Shown, shown)))
        return counter, counted

    def _retire(self, leaving: list[Slot], counter: Counter, max_tokens: int, minted: int) -> Operation[bool]:
        """Retire slots and set the counter. Returns whether that is done; if not, the caller looks again."""
        state = self._state
        if not leaving and max_tokens == counter.max_tokens:
            return True
        failed = yield from confirm(state.time)
        if not state.time.confirmed:
            cause = without_time(failed).cause
            raise StoreUnavailable(f"the bucket cannot be changed: {cause}") from cause
        now_lo, now_hi = state.time.now_ms()
        leases = [slot.lease for slot in leaving if slot.lease]
        request = Retire(
            slots=tuple(slot.number for slot in leaving),
            rev=counter.rev,
            max_tokens=max_tokens,
            minted=minted,
            ttl=state.ttl(
                now_hi + counter.lease_ms,
                expires_at=max((lease.expires_at for lease in leases), default=None),
                fence=max((slot.fence for slot in leaving), default=0),
            ),
            token=state.token(),
        )
        self._leaving = len(leaving), {lease.lease_id for lease in leases if lease.expires_at >= now_lo}
        answer, uncertain = yield from self._send(request)
        if isinstance(answer, Done):
            self._retired()
            return True
        self._unsure = self._unsure or uncertain
        yield from self._back_off()
        return False

    def _retired(self) -> None:
        slots, leases = self._leaving
        self.retired += slots
        self.running |= leases
        self._unsure = False
        self._step_done()

    def _snapshot(self, slots: tuple[int, ...]) -> Operation[tuple[Counter, list[Slot]]]:
        """The counter, and which of these slots are in circulation, at one instant."""
        answer, _ = yield from self._send(Snapshot(slots=slots, counter=True))
        shown = answer_of(Shown, answer)
        return self._found(shown.counter), _circulating(shown)

    def _found(self, counter: Counter | None) -> Counter:
        if counter is None:
            raise UnknownBucket(f"bucket {self._state.bucket!r} does not exist; the first acquire creates it")
        return counter

    def _send(self, request: Request) -> Operation[tuple[Answered, bool]]:
        state = self._state
        until = state.time.steady() + STEP_SECONDS
        answer, uncertain = yield from resend_until_answered(
            state.time, state.chance, lambda: request, tries=TRIES, deadline=until
        )
        return require_answered(answer, f"bucket {state.bucket!r}"), uncertain

    def _back_off(self) -> Operation[None]:
        """Somebody was faster: pause before looking again."""
        state = self._state
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= LOSSES and state.time.steady() >= self._until:
            raise StoreUnavailable(f"bucket {state.bucket!r}: other clients keep changing its counter")
        yield Pause(seconds=full_jitter(CONTENDED_SECONDS, self._lost_in_a_row, state.chance))

    def _step_done(self) -> None:
        self._lost_in_a_row = 0
        self._until = self._state.time.steady() + STEP_SECONDS


def _circulating(shown: Shown) -> list[Slot]:
    return [slot for slot in shown.slots.values() if slot is not None and decisions.circulates(slot)]


def _require_as_set(counter: Counter, max_tokens: int) -> None:
    if counter.max_tokens != max_tokens:
        raise Overtaken(
            f"another resize came in between: max_tokens is {counter.max_tokens}, and not {max_tokens} any more",
            max_tokens=counter.max_tokens,
        )
