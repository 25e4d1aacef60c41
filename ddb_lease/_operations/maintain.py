"""Maintenance: filling a bucket ahead of its first use, and freeing what has expired, for plain tokens.

Invariants:

- It has no requests of its own. A slot is freed by a claim, on the condition that nothing runs on it, and by a release
  of that very claim: so a lease that is renewed, or begun anew meanwhile, is never touched.
- Slots are minted leased, as all are, and released at once.
- Neither safety nor liveness needs any of this: acquirers mint, and claim expired slots, by themselves.
"""

from __future__ import annotations

import logging

from ddb_lease._operations.look import Looks
from ddb_lease._operations.release import send_release
from ddb_lease._operations.slot_writes import SlotWrites
from ddb_lease._operations.status import read_whole
from ddb_lease._operations.sync_time import TIME_UNKNOWN, confirm
from ddb_lease._protocol.decisions import is_idle
from ddb_lease._protocol.messages import Look, Pause, Refused, Seen
from ddb_lease._protocol.outcomes import Busy, Failure, Unavailable
from ddb_lease._protocol.records import MAX_TOKENS, PER_TRANSACTION, Counter, Grant, Slot, View
from ddb_lease._protocol.retry import BUSY_SECONDS, Operation, full_jitter
from ddb_lease._protocol.steps import ClaimSlot, CreateBucket, TakeSlots
from ddb_lease.errors import StoreUnavailable

_log = logging.getLogger("ddb_lease")

PAGE_SECONDS = 10.0
"""How long each page of a bucket is asked for again while the service does not answer."""

ROUNDS = 5
"""How often in a row a bucket that is no fuller than before is read again, as others change it too."""

RELEASE_TRIES = 6
"""How often each release is sent while it fails; after that the slot comes back by expiry."""

RELEASE_SECONDS = 5.0
"""How long the releases after one claim are tried while they fail."""


class Maintenance:
    """Claims slots to give them back.

    Args:
        writes: Its writes.

    Attributes:
        writes: As above.
        freed: How many expired leases `sweep` has ended so far.
    """

    def __init__(self, writes: SlotWrites) -> None:
        self.freed = 0
        self.writes = writes
        self._state = writes.state
        self._looks = Looks(writes.state, waiter=None)

    def sweep(self) -> Operation[None]:
        """Free every slot in circulation whose lease has expired, one after another.

        Raises:
            StoreUnavailable: The service does not answer; what was freed until then stays free.
            StoreRejected: The service refuses for good.
        """
        state = self._state
        counter, slots = yield from read_whole(state, seconds=PAGE_SECONDS)
        if counter is None:
            return
        state.adopt(counter, sure=True)
        yield from confirm(state.time)
        if not state.time.confirmed:
            raise self._unavailable(TIME_UNKNOWN) from TIME_UNKNOWN
        for slot in slots.values():
            leased = slot.lease is not None and not slot.retired and slot.number < counter.max_tokens
            if leased and is_idle(slot, expired_before=state.time.expired_before_ms()):
                yield from self._free(slot)

    def fill(self) -> Operation[None]:
        """Create the bucket if it is missing, and mint each of its slots that does not exist.

        Retired slots stay so: they are brought back when they are needed.

        Raises:
            StoreUnavailable: The service does not answer, or other clients keep changing the bucket; may be repeated.
            StoreRejected: The service refuses for good.
        """
        rounds, least = 0, MAX_TOKENS + 1
        while rounds < ROUNDS:
            filled = yield from self._fill_once()
            if isinstance(filled, Unavailable):
                raise self._unavailable(filled.cause) from filled.cause
            missing = filled if isinstance(filled, int) else least
            if not missing:
                return
            # As long as the bucket fills, by anyone's work, this goes on.
            rounds, least = (0, missing) if missing < least else (rounds + 1, least)
            yield Pause(seconds=full_jitter(BUSY_SECONDS, rounds + 1, self._state.chance))
        raise StoreUnavailable(f"bucket {self._state.bucket!r} is not filled: others change it at the same time")

    def _fill_once(self) -> Operation[int | Failure]:
        """Mint what is missing; returns how many slots were, if not all of them could be minted, else 0."""
        state = self._state
        counter, slots = yield from read_whole(state, seconds=PAGE_SECONDS)
        if counter is None:
            failure = yield from self._create(fresh=not slots)
            return failure or MAX_TOKENS  # read what there is by now
        state.adopt(counter, sure=True)
        missing = [number for number in range(counter.max_tokens) if number not in slots]
        state.chance.shuffle(missing)  # others may be at it too: not all for the same ones
        for first in range(0, len(missing), PER_TRANSACTION):
            seen = yield from self._counter()
            if seen is None:
                return len(missing)
            # The bucket may have shrunk since it was read.
            numbers = [n for n in missing[first : first + PER_TRANSACTION] if n < seen.max_tokens]
            if not numbers:
                continue
            won = yield from self._mint_all(numbers, seen)
            if isinstance(won, Refused):
                return len(missing)
            if not isinstance(won, Grant):
                return won
            if not (yield from self._hand_back(won)):
                return len(missing)
        return 0

    def _create(self, *, fresh: bool) -> Operation[Failure | None]:
        self._state.hints.forget()
        nothing = View(counter=None, slots={}, covered=range(0))
        made: View | Refused | Seen | Failure = yield from self.writes.create(nothing, CreateBucket(fresh=fresh))
        if isinstance(made, Refused):
            made = yield from self._looks.look_consistently()  # somebody was faster: learn what they made
        return None if isinstance(made, (View, Seen)) else made

    def _counter(self) -> Operation[Counter | None]:
        answer = yield Look(limit=1, consistent=True)
        return answer.view.counter if isinstance(answer, Seen) else None

    def _mint_all(self, numbers: list[int], counter: Counter) -> Operation[Grant | Refused | Failure]:
        step = TakeSlots(
            claims=(),
            mints=tuple(numbers),
            seen_max=counter.max_tokens,
            re_mint=counter.minted > counter.max_tokens - len(numbers),
        )
        return self.writes.win(step)

    def _free(self, slot: Slot) -> Operation[None]:
        won = yield from self.writes.win(ClaimSlot(slot=slot.number, fence=slot.fence))
        if isinstance(won, (Busy, Unavailable)):
            raise self._unavailable(won.cause) from won.cause
        # One that was won too late, and given back, is not for this call to count.
        if isinstance(won, Grant) and (yield from self._hand_back(won)):
            self.freed += 1

    def _hand_back(self, grant: Grant) -> Operation[bool]:
        """Release what was just won, slot by slot; returns whether all of it is free."""
        state = self._state
        outcomes = yield from send_release(
            state,
            slots=grant.slots,
            lease_id=grant.lease_id,
            fence=grant.fence,
            tries=RELEASE_TRIES,
            deadline=state.time.steady() + RELEASE_SECONDS,
        )
        done = [outcome.slot for outcome in outcomes if outcome.known]
        for number in done:
            state.hints.learn_slot(number, Slot(number=number, fence=grant.fence))
        self.writes.open_grants.remove(grant)
        if len(done) < len(grant.slots):
            _log.warning("bucket %r: %d slots come back by expiry", state.bucket, len(grant.slots) - len(done))
        return len(done) == len(grant.slots)

    def _unavailable(self, cause: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"bucket {self._state.bucket!r}: {cause}")
