"""Upkeep: the procedures that fill a bucket ahead of its first use, and free what has expired, for plain tokens.

Invariants:

- It makes no request of its own kind. A slot is freed by a claim, whose condition is that nothing runs on it, and a
  release of that very claim: so what is renewed, or leased anew meanwhile, is never touched.
- Slots are minted leased, like all, and released at once.
- Nothing here is needed for safety, nor for a slot to come back: acquirers mint and claim by themselves.
"""

from __future__ import annotations

import logging

from ddb_lease._operations.acquire import Attempt, Stop
from ddb_lease._operations.release import send_release
from ddb_lease._operations.status import read_whole
from ddb_lease._protocol.decisions import ClaimSlot, CreateBucket, TakeSlots, is_idle
from ddb_lease._protocol.messages import Answer, Look, Pause, Seen
from ddb_lease._protocol.outcomes import Busy, Outcome, Unavailable
from ddb_lease._protocol.records import MAX_TOKENS, PER_TRANSACTION, Counter, Grant, Slot, View
from ddb_lease._protocol.retry import BUSY_SECONDS, Operation, full_jitter
from ddb_lease.errors import StoreUnavailable

_log = logging.getLogger("ddb_lease")

PAGE_SECONDS = 10.0
"""How long to try for each page of a bucket while the service does not answer."""

ROUNDS = 5
"""How often in a row a bucket is read again that is no fuller than before, because others change it too."""

RELEASE_TRIES = 6
"""How often each release is sent while it fails; after that the slot comes back by expiry."""

RELEASE_SECONDS = 5.0
"""How long the releases after one claim are tried while they fail."""


class Upkeep(Attempt):
    """Claims slots to give them back; the arguments are those of an `Attempt`.

    Attributes:
        freed: How many expired leases `sweep` has ended so far.
    """

    freed = 0

    def sweep(self) -> Operation[None]:
        """Free every slot in circulation whose lease has expired, one after another.

        Raises:
            StoreUnavailable: The service does not answer; what was freed until then is.
            StoreRejected: The service refuses for good.
        """
        state = self._state
        counter, slots = yield from read_whole(state, seconds=PAGE_SECONDS)
        if counter is None:
            return
        state.adopt(counter, sure=True)
        try:
            yield from self._be_sure_of_the_time()
        except Stop as stop:
            raise self._failed(stop.outcome) from stop
        for slot in slots.values():
            leased = slot.lease is not None and not slot.retired and slot.number < counter.max_tokens
            if leased and is_idle(slot, expired_before=state.time.expired_before_ms()):
                yield from self._free(slot)

    def fill(self) -> Operation[None]:
        """Make the bucket where it is missing, and mint each of its slots that does not exist.

        Retired slots stay so: they are brought back when they are needed.

        Raises:
            StoreUnavailable: The service does not answer, or others change the bucket all the time; may be repeated.
            StoreRejected: The service refuses for good.
        """
        rounds, least = 0, MAX_TOKENS + 1
        while rounds < ROUNDS:
            try:
                missing = yield from self._fill_once()
            except Stop as stop:
                if isinstance(stop.outcome, Unavailable):
                    raise self._failed(stop.outcome) from stop
                missing = least
            if not missing:
                return
            # As long as it fills, by whomever, it is gone on with.
            rounds, least = (0, missing) if missing < least else (rounds + 1, least)
            yield Pause(seconds=full_jitter(BUSY_SECONDS, rounds + 1, self._state.chance))
        raise StoreUnavailable(f"bucket {self._state.bucket!r} is not filled: others change it at the same time")

    def _fill_once(self) -> Operation[int]:
        """Mint what is missing; returns how many slots were, if that did not come about for all, else 0."""
        state = self._state
        counter, slots = yield from read_whole(state, seconds=PAGE_SECONDS)
        if counter is None:
            state.hints.forget()
            nothing = View(counter=None, slots={}, covered=range(0))
            yield from self._create(nothing, CreateBucket(fresh=not slots))
            return MAX_TOKENS  # read what there is by now
        state.adopt(counter, sure=True)
        missing = [number for number in range(counter.max_tokens) if number not in slots]
        state.chance.shuffle(missing)  # others may be at it too: not all for the same ones
        for first in range(0, len(missing), PER_TRANSACTION):
            seen = yield from self._counter()
            if seen is None:
                return len(missing)
            # The bucket may have shrunk since it was read.
            numbers = [n for n in missing[first : first + PER_TRANSACTION] if n < seen.max_tokens]
            if numbers and not (yield from self._mint_all(numbers, seen)):
                return len(missing)
        return 0

    def _counter(self) -> Operation[Counter | None]:
        answer: Answer | None = yield Look(limit=1, consistent=True)
        if not isinstance(answer, Seen):
            return None
        return answer.view.counter

    def _mint_all(self, numbers: list[int], counter: Counter) -> Operation[bool]:
        step = TakeSlots(
            claims=(),
            mints=tuple(numbers),
            seen_max=counter.max_tokens,
            re_mint=counter.minted > counter.max_tokens - len(numbers),
        )
        won = yield from self._take_together(step)
        return isinstance(won, Grant) and (yield from self._hand_back(won))

    def _free(self, slot: Slot) -> Operation[None]:
        try:
            won = yield from self._claim(ClaimSlot(slot=slot.number, fence=slot.fence))
        except Stop as stop:
            if isinstance(stop.outcome, (Busy, Unavailable)):
                raise self._failed(stop.outcome) from stop
            return  # won too late, and given back: it is not this call that may count it
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
        self._open.remove(grant)
        if len(done) < len(grant.slots):
            _log.warning("bucket %r: %d slots come back by expiry", state.bucket, len(grant.slots) - len(done))
        return len(done) == len(grant.slots)

    def _failed(self, outcome: Outcome) -> StoreUnavailable:
        cause = outcome.cause if isinstance(outcome, (Busy, Unavailable)) else outcome
        return StoreUnavailable(f"bucket {self._state.bucket!r}: {cause}")
