"""Acquiring: the procedure from "I want a slot" to a `Grant`, request by request.

Invariants:

- Procedures are generators: they yield requests and pauses, and are sent answers. Time, chance and memory come in.
  The synchronous API, asyncio and the simulator drive this very code.
- A claim given up with an unknown outcome is released by its lease id before anything else happens; if even that
  fails, it dies by expiry. An interrupt may tear a procedure apart anywhere: its driver's caller then releases what
  the procedure had noted as open.
- A lease is returned only before its own deadline. One that was won too late is released, and the try is repeated.
- The deadline counts from before the first sending of the attempt, never from a resend or from the answer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from dataclasses import replace

from ddb_lease._operations.release import send_release
from ddb_lease._operations.sync_time import TIME_UNKNOWN, ask_while, confirm, never_reached, settle
from ddb_lease._protocol import decisions
from ddb_lease._protocol.decisions import (
    BringBackSlot,
    ClaimSlot,
    CreateBucket,
    MintSlot,
    NothingFree,
    RetireStrays,
    Step,
    TakeSlots,
)
from ddb_lease._protocol.messages import (
    Answer,
    BringBack,
    Claim,
    Conflict,
    Create,
    Done,
    Look,
    Mint,
    Refused,
    Rejected,
    Request,
    Retire,
    Seen,
    Take,
    ThrottledAnswer,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.outcomes import Busy, Full, GaveWay, LostRace, Outcome, OutOfTurn, Unavailable
from ddb_lease._protocol.records import Claimant, Counter, Grant, Slot, View
from ddb_lease._protocol.retry import Operation, acquiring, resending, until_next_look
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.fairness import MOMENT_SECONDS
from ddb_lease._state.hints import Waiter
from ddb_lease._state.service_time import WIDE_SECONDS
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Data

_log = logging.getLogger("ddb_lease")

CLEAN_UP_SECONDS = 1.0
"""How long: who waits with a timeout is not kept much longer by it."""

HEAD_EVERY = 8
"""Of a large bucket, every so many looks one goes to the window with the counter: it may have been resized."""

GUESSES = 2
"""Claims on remembered slots before a look: after two misses, memory is no guide."""

LOOKS = 3
"""Windows of a large bucket that one try looks through before it calls the bucket full."""

AT_ONCE_SECONDS = 0.001
"""What is due within this is done now: it would take as long to wait for it."""

ROOM_SECONDS = 30.0
"""How long it is believed of a counter that others may mint slots of their own."""

STEPS = 6
"""Requests that one try may make upon one look (create, retire, bring back, claim, and two races lost)."""

FAR_AHEAD_SECONDS = 1.0
"""An expiry written by a time so much ahead of what is known by now is given up: its slot would come back late."""

COMPLAIN_SECONDS = 30.0
"""After how long a wait the log says that the bucket is full; then each time that the wait has doubled."""

TRIES_WHEN_UNKNOWN = 6
"""How often one claim is sent in all while its answers are lost; then it is released and tried anew."""

CLEAN_UP_TRIES = 4
"""How often an abandoned claim is tried to be released; after that it dies by expiry."""


def acquire(state: BucketState, attempt: Attempt, *, deadline: float, patient: bool) -> Operation[Outcome]:
    """Win a slot, or several together.

    Args:
        state: The bucket's state.
        attempt: What is wanted, and its tries.
        deadline: When to give up, on the steady clock; `math.inf` for never.
        patient: Whether a full bucket is waited for.

    Returns:
        A `Grant`, or why there is none.

    Raises:
        StoreRejected: The service refuses for good; nothing is held.
        ConfigurationError: The stored lease is too short for this client's margin, or more slots are wanted than the
            bucket has; nothing is held.
    """
    policy = acquiring(
        steady=state.time.steady,
        deadline=deadline,
        chance=state.chance,
        patient=patient,
        give_up=never_reached(state.time, since=state.time.steady()),
    )
    outcome: Outcome = yield from policy(attempt.run)
    return outcome


class Stop(Exception):
    """Ends a try with this outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Attempt:
    """The tries of one acquire; it remembers where in a large bucket the last one looked.

    Args:
        state: The bucket's state.
        owner: Who acquires, for people to read.
        data: What to attach to the lease.
        deadline: When to give up, on the steady clock.
        waiter: The place in the process's waiting line; None to go past it.
        open_grants: Where each grant is noted before it is first sent for, and struck out once it is surely not
            leased. Whatever interrupts the procedure, wherever, the caller finds there what to release.
    """

    def __init__(
        self,
        *,
        state: BucketState,
        owner: str,
        data: Data,
        deadline: float,
        waiter: Waiter | None,
        open_grants: list[Grant],
    ) -> None:
        self._state = state
        self._owner = owner
        self._data = data
        self._deadline = deadline
        self._waiter = waiter
        self._open = open_grants
        self._began = state.time.steady()
        self._complain_after = COMPLAIN_SECONDS
        self._elsewhere = False
        self._looks = 0
        self._resume = 0
        self._windows = 0
        self._window = 0
        self._looked = False
        self._steps = STEPS

    def run(self) -> Operation[Outcome]:
        """One try: up to two guesses from memory, then a look and what it suggests."""
        state = self._state
        state.require_open()
        now = state.time.steady()
        if not state.hints.my_turn(self._waiter, now=now):
            return OutOfTurn()
        pause = 0.0 if self._waiter is None else self._break(now)
        if pause:
            return GaveWay(pause)
        news = state.hints.news
        outcome = yield from self._try()
        now = state.time.steady()
        if isinstance(outcome, Grant):
            state.hints.fairness.won(now)
            if self._elsewhere:
                state.hints.fairness.restart(now)  # the slot that it had before is left for others
        elif isinstance(outcome, Full):
            self._complain()
            if state.hints.news != news:
                return replace(outcome, look_in=0.0)  # a slot was released here, or all were woken, meanwhile
            if outcome.look_in is None:
                # All of this process follow it, whoever of them stands first by then.
                pause = until_next_look(outcome.expires_in, state.chance)
                state.hints.look_at = now + pause
                return replace(outcome, look_in=pause)
        return outcome

    def _break(self, now: float) -> float:
        """Seconds for which this process leaves its slots to others, if it has had its turn."""
        hints = self._state.hints
        self._elsewhere = False
        pause = hints.fairness.quiet_for(now)
        if not pause and hints.free and hints.fairness.over(now):
            counter = hints.counter
            if hints.free > 1:
                self._elsewhere = True  # another slot is free, it seems: it is had, or found to be gone
            elif counter is not None and counter.minted < counter.max_tokens:
                # Others may mint one, unless they have meanwhile.
                if now - hints.looked_at > ROOM_SECONDS:
                    hints.forget_free()
                hints.fairness.restart(now)
            else:
                pause = hints.fairness.draw_break(now, self._state.chance)
                if pause > MOMENT_SECONDS:
                    hints.forget_free()  # others will have them by then: a look is cheaper than claims in vain
        return pause if now + pause < self._deadline else 0.0

    def _try(self) -> Operation[Outcome]:
        try:
            grant = yield from self._guess()
            if grant is not None:
                return grant
            look_in = self._next_look_in()
            if look_in > AT_ONCE_SECONDS:
                return Full(expires_in=None, look_in=look_in)
            outcome: Outcome = Full(expires_in=None)
            for _ in range(LOOKS):
                view, whole = yield from self._look()
                yield from self._learn_time()
                outcome = yield from self._act_upon(view)
                if not isinstance(outcome, Full) or whole:
                    break
        except Stop as stop:
            return stop.outcome
        return outcome

    def _next_look_in(self) -> float:
        """Seconds for which what another waiter of this process saw is good enough; 0.0: look now."""
        if self._waiter is None:
            return 0.0
        now, at = self._state.time.steady(), self._state.hints.look_at
        return max(0.0, at - now) if at < self._deadline else 0.0

    def _complain(self) -> None:
        waited = self._state.time.steady() - self._began
        if waited >= self._complain_after:
            _log.info("bucket %r has been full for %.0f s", self._state.bucket, waited)
            self._complain_after = 2 * waited

    def _guess(self) -> Operation[Grant | None]:
        state = self._state
        for _ in range(GUESSES):
            guess = state.hints.take_free(state.chance, elsewhere=self._elsewhere)
            if guess is None:
                return None
            slot, fence = guess
            try:
                won = yield from self._claim(ClaimSlot(slot=slot, fence=fence))
            except Stop:
                state.hints.look_at = -math.inf  # nor is it known what became of that one
                raise
            if isinstance(won, Grant):
                return won
            state.hints.learn_slot(slot, won.slot, by=self._waiter)
            state.hints.look_at = -math.inf  # what was seen then is no guide any more
            self._meet(won.slot)
        return None

    def _look(self) -> Operation[tuple[View, bool]]:
        """A look, and whether it showed the whole bucket. The next look shows the window after it."""
        counter = self._state.hints.counter
        count = decisions.windows(counter.max_tokens) if counter else 1
        if count != self._windows:
            self._windows, self._window = count, self._state.chance.randrange(count)
        self._looks += 1
        if self._resume:
            start, self._resume = self._resume, 0
        elif self._looks % HEAD_EVERY == 0:
            start = 0
        else:
            start = self._window * decisions.WINDOW
            self._window = (self._window + 1) % count
        # Polls are eventually consistent, at half the price: a condition guards whatever is built on them.
        consistent, self._looked = not self._looked, True
        news = self._state.hints.news
        view, more = yield from self._page(start, consistent=consistent)
        if not consistent and decisions.looks_remade(view, counter):
            consistent = True
            view, more = yield from self._page(start, consistent=True)
        if more and view.covered and len(view.covered) < decisions.WINDOW:
            self._resume = view.covered.stop  # large data filled the page: the next look goes on from there
        if view.counter is not None:
            self._state.adopt(view.counter, sure=consistent)
            self._state.hints.looked_at = self._state.time.steady()
        elif view.counter_looked_for:
            self._state.hints.forget()
        self._state.hints.learn_view(view, by=self._waiter, since=news)
        return view, count == 1 and not more

    def _page(self, start: int, *, consistent: bool) -> Operation[tuple[View, bool]]:
        # One more than a window, so that a bucket of just so many slots is seen to end there.
        answer = yield Look(start=start, limit=decisions.WINDOW + 1, consistent=consistent)
        if not isinstance(answer, Seen):
            raise _failure(answer)
        view = answer.view
        if not answer.more or view.covered:
            return view, answer.more
        # Somebody else's items fill the page between the counter and the slots: ask for the slots alone.
        again = yield Look(start=start, limit=decisions.WINDOW + 1, consistent=True, counter=False)
        if not isinstance(again, Seen):
            raise _failure(again)
        return replace(again.view, counter=view.counter, counter_looked_for=True), again.more

    def _act_upon(self, view: View) -> Operation[Outcome]:
        state = self._state
        for _ in range(self._steps):
            expired_before = state.time.expired_before_ms()
            step = self._choose(view, expired_before)
            match step:
                case NothingFree() if step.next_expiry is not None and not state.time.confirmed:
                    # A single answer cannot tell what has expired (see `clock`): get a second one, then decide.
                    yield from confirm(state.time)
                    if not state.time.confirmed:
                        return Full(expires_in=None)
                case NothingFree():
                    self._meet(*view.slots.values())
                    return Full(expires_in=_until(step.next_expiry, expired_before))
                case ClaimSlot() | MintSlot() | TakeSlots():
                    won = yield from self._win(step)
                    if isinstance(won, Grant):
                        return won
                    view = self._learn(view, step, won)
                case BringBackSlot():
                    view = yield from self._bring_back(view, step)
                case RetireStrays():
                    view = yield from self._retire(step)
                case CreateBucket():
                    view = yield from self._create(view, step)
        return LostRace()

    def _meet(self, *slots: Slot | None) -> None:
        """Note if others hold any of these."""
        state = self._state
        if any(slot and slot.lease and not state.is_ours(slot.lease.lease_id) for slot in slots):
            state.hints.fairness.met_others(state.time.steady())

    def _choose(self, view: View, expired_before: int) -> Step:
        state = self._state
        return decisions.choose(view, counter=state.hints.counter, expired_before=expired_before, chance=state.chance)

    def _win(self, step: ClaimSlot | MintSlot | TakeSlots) -> Operation[Grant | Refused]:
        match step:
            case ClaimSlot():
                return (yield from self._claim(step))
            case MintSlot():
                return (yield from self._mint(step))
            case TakeSlots():
                return (yield from self._take_together(step))

    def _learn(self, view: View, step: ClaimSlot | MintSlot | BringBackSlot | TakeSlots, refused: Refused) -> View:
        state = self._state
        if isinstance(step, TakeSlots):
            for number, slot in refused.found.items():
                state.hints.learn_slot(number, slot, by=self._waiter)
        elif refused.slot_failed:
            state.hints.learn_slot(step.slot, refused.slot, by=self._waiter)
        if refused.counter is not None:
            state.adopt(refused.counter, sure=True)
        elif refused.counter_failed:
            state.hints.forget()  # the counter's item is gone: the bucket must be made anew
        return decisions.learn(view, step, refused)

    def _learn_time(self) -> Operation[None]:
        # A look brings it, unless its answer carries no Date: then two more decide whether none does.
        time = self._state.time
        yield from ask_while(lambda: not time.known, time)
        if not time.known:
            raise Stop(Unavailable(cause=TIME_UNKNOWN))

    def _be_sure_of_the_time(self) -> Operation[None]:
        # By an odd first answer, an expiry might lie far ahead: should we crash amid the claim, its slot would
        # come back late. And what is made has no condition to compare its fence with: it might be below those of a slot
        # that TTL has deleted, or above what the clock will pass for hours.
        time = self._state.time
        yield from confirm(time)
        if not time.confirmed:
            raise Stop(Unavailable(cause=TIME_UNKNOWN))

    def _claim(self, step: ClaimSlot) -> Operation[Grant | Refused]:
        state = self._state
        yield from self._be_sure_of_the_time()
        state.hints.learn_slot(step.slot, None)  # not for another thread to race us for
        grant, now_hi = self._new_grant((step.slot,), step.fence)
        request = Claim(
            slot=step.slot,
            fence=grant.fence,
            lease=_claimant(grant),
            expired_before=state.time.expired_before_ms(),
            ttl=state.ttl(now_hi, expires_at=grant.expires_at, fence=grant.fence),
        )
        return (yield from self._take(request, grant))

    def _mint(self, step: MintSlot) -> Operation[Grant | Refused]:
        state = self._state
        yield from self._be_sure_of_the_time()
        grant, now_hi = self._new_grant((step.slot,), 0)
        request = Mint(
            slot=step.slot,
            fence=grant.fence,
            lease=_claimant(grant),
            ttl=state.ttl(now_hi, expires_at=grant.expires_at, fence=grant.fence),
            re_mint=step.re_mint,
            token=state.token(),
        )
        won = yield from self._take(request, grant)
        if step.re_mint and isinstance(won, Grant):
            _log.info("bucket %r: slot %d was missing and is re-minted", state.bucket, step.slot)
        return won

    def _take_together(self, step: TakeSlots) -> Operation[Grant | Refused]:
        state = self._state
        yield from self._be_sure_of_the_time()
        for claim in step.claims:
            state.hints.learn_slot(claim.slot, None)  # not for another thread to race us for
        numbers = sorted([*(claim.slot for claim in step.claims), *step.mints])
        fence_seen = max((claim.fence for claim in step.claims), default=0)
        grant, now_hi = self._new_grant(tuple(numbers), fence_seen)
        request = Take(
            claims=tuple(sorted(claim.slot for claim in step.claims)),
            mints=tuple(sorted(step.mints)),
            fence=grant.fence,
            lease=_claimant(grant),
            expired_before=state.time.expired_before_ms(),
            ttl=state.ttl(now_hi, expires_at=grant.expires_at, fence=grant.fence),
            seen_max=step.seen_max,
            re_mint=step.re_mint,
            token=state.token(),
        )
        return (yield from self._take(request, grant))

    def _new_grant(self, slots: tuple[int, ...], fence_seen: int) -> tuple[Grant, int]:
        state = self._state
        lease_ms = state.lease_ms()
        # Steady time first: the belief must not begin later than what the expiry is computed from.
        started = state.time.steady()
        _, now_hi = state.time.now_ms()
        if state.time.wider_than(WIDE_SECONDS):
            # An odd answer came in meanwhile, or asking did not help: an expiry written now might lie far ahead.
            raise Stop(Unavailable(cause=TIME_UNKNOWN))
        grant = Grant(
            lease_id=decisions.lease_id_for(slots, state.chance),
            slots=slots,
            fence=decisions.next_fence(fence_seen, now_hi),
            owner=self._owner,
            data=self._data,
            acquired_at=now_hi,
            expires_at=now_hi + lease_ms,
            lease_ms=lease_ms,
            deadline=started + lease_ms / 1000 - state.timing.margin_for(lease_ms / 1000),
        )
        return grant, now_hi

    def _take(self, request: Claim | Mint | Take, grant: Grant) -> Operation[Grant | Refused]:
        """Send a claim or mint until its outcome is known; leave no lease behind if it is given up."""
        uncertain: list[bool] = []
        self._open.append(grant)
        answer = yield from self._settle(request, until=grant.deadline, uncertain=uncertain)
        match answer:
            case Refused() if not _is_own_write(request, answer, grant):
                # A refusal is final even after an unknown sending: a copy that is still under way and commits later
                # is a lease of nobody's, which a release sent now could not reach; it dies by expiry.
                if decisions.is_ours_in_part(answer, grant.lease_id):
                    yield from self._abandon(grant)  # of several slots, somebody has changed one since we took them
                self._open.remove(grant)
                return answer
            case Done() | Refused():
                yield from settle(self._state.time)
                if self._is_sound(grant):
                    return grant
                failure: Exception = Stop(LostRace())
                may_be_leased = True
            case _:
                failure = _failure(answer)
                may_be_leased = bool(uncertain)
        if may_be_leased:
            yield from self._abandon(grant)
        self._open.remove(grant)
        raise failure

    def _is_sound(self, grant: Grant) -> bool:
        """Whether a grant that was won may be handed out."""
        time = self._state.time
        # While answers contradict what was known, our steady clock may have missed time, and the deadline with it.
        if time.doubtful or time.steady() >= grant.deadline:
            return False
        # An expiry that turns out to lie far ahead would keep the slot from everybody else for as long, should we
        # crash; and one that lies too early, by more than the margin, would give it to another while we believe.
        margin, length = self._state.timing.margin_for(grant.lease_ms / 1000), grant.lease_ms / 1000
        started = grant.deadline + margin - length
        written_by, known_by = grant.acquired_at / 1000 - started, time.now_ms()[1] / 1000 - time.steady()
        return known_by - margin <= written_by <= known_by + FAR_AHEAD_SECONDS

    def _settle(
        self, request: Claim | Mint | Take | BringBack | Retire | Create, *, until: float, uncertain: list[bool]
    ) -> Operation[Answer]:
        def once() -> Generator[Request, Answer, Answer]:
            answer = yield request
            if isinstance(answer, Unknown):
                uncertain.append(True)
            return answer

        policy = resending(
            again=lambda answer: isinstance(answer, Unknown),
            steady=self._state.time.steady,
            deadline=min(until, self._deadline),
            chance=self._state.chance,
            tries=TRIES_WHEN_UNKNOWN,
        )
        answer: Answer = yield from policy(once)
        return answer

    def _abandon(self, grant: Grant) -> Operation[None]:
        """Release a claim whose outcome nobody will learn; what this cannot reach dies by expiry."""
        until = self._state.time.steady() + CLEAN_UP_SECONDS
        outcomes = yield from send_release(
            self._state,
            slots=grant.slots,
            lease_id=grant.lease_id,
            fence=grant.fence,
            tries=CLEAN_UP_TRIES,
            deadline=until,
        )
        if len(outcomes) < len(grant.slots) or not all(outcome.known for outcome in outcomes):
            _log.warning(
                "bucket %r: slot %s may stay leased to nobody until its lease expires (%s)",
                self._state.bucket,
                ", ".join(map(str, grant.slots)),
                outcomes[-1].answer,
            )

    def _bring_back(self, view: View, step: BringBackSlot) -> Operation[View]:
        state = self._state
        _, now_hi = state.time.now_ms()
        request = BringBack(
            slot=step.slot,
            # Another's lease may still run on it, renewed since we looked.
            ttl=state.ttl(now_hi + state.lease_ms(), fence=step.fence),
            re_mint=step.re_mint,
            token=state.token(),
        )
        answer = yield from self._settle(request, until=self._deadline, uncertain=[])
        match answer:
            case Done():
                return self._brought_back(view, step)
            case Refused():
                return self._learn(view, step, answer)
            case _:
                raise _failure(answer)

    def _brought_back(self, view: View, step: BringBackSlot) -> View:
        return decisions.brought_back(view, step)

    def _retire(self, step: RetireStrays) -> Operation[View]:
        state, counter = self._state, step.counter
        _log.warning(
            "bucket %r: slots %s lie beyond max_tokens (%d) and are retired",
            state.bucket,
            step.slots,
            counter.max_tokens,
        )
        _, now_hi = state.time.now_ms()
        request = Retire(
            slots=step.slots,
            rev=counter.rev,
            max_tokens=counter.max_tokens,
            minted=decisions.minted_without(step.slots, counter),
            ttl=state.ttl(now_hi + state.lease_ms(), expires_at=step.expires_at, fence=step.fence),
            token=state.token(),
        )
        answer = yield from self._settle(request, until=self._deadline, uncertain=[])
        if not isinstance(answer, (Done, Refused)):
            raise _failure(answer)
        self._looked = False  # done or overtaken, the counter has changed: see it, consistently
        return (yield from self._look())[0]

    def _create(self, view: View, step: CreateBucket) -> Operation[View]:
        state = self._state
        yield from self._be_sure_of_the_time()
        _, now_hi = state.time.now_ms()
        slots, minted = decisions.slots_at_creation(state.wanted, fresh=step.fresh)
        request = Create(
            settings=state.wanted,
            minted=minted,
            rev=now_hi,
            slots=slots,
            fence=now_hi,
            ttl=state.ttl(now_hi, fence=now_hi),
            token=state.token(),
        )
        answer = yield from self._settle(request, until=self._deadline, uncertain=[])
        match answer:
            case Done():
                made = Counter(
                    max_tokens=state.wanted.max_tokens,
                    minted=minted,
                    rev=now_hi,
                    lease_ms=state.wanted.lease_ms,
                )
                _log.info("bucket %r is created: %s", state.bucket, state.wanted)
                state.adopt(made, sure=True)
                free = {n: Slot(number=n, fence=now_hi) for n in range(slots)}
                view = replace(view, counter=made, slots={**view.slots, **free})
                state.hints.learn_view(view, by=self._waiter)
                return view
            case Refused():
                self._looked = False  # somebody was faster: see what they made, consistently
                return (yield from self._look())[0]
            case _:
                raise _failure(answer)


def _is_own_write(request: Claim | Mint | Take, answer: Refused, grant: Grant) -> bool:
    """Whether a condition failed because an earlier sending of the same attempt had worked."""
    if isinstance(request, Take):
        return decisions.are_own_writes(answer, grant)
    return decisions.is_own_write(answer, grant.lease_id)


def _failure(answer: Answer | None) -> Exception:
    """What ends a try whose request did not get through."""
    match answer:
        case Conflict() | ThrottledAnswer():
            return Stop(Busy(cause=answer.cause))
        case Unsent() | Unknown():
            return Stop(Unavailable(cause=answer.cause))
        case Rejected():
            return answer.error
        case _:
            return ConfigurationError(f"an answer that no request of ours has: {answer}")


def _claimant(grant: Grant) -> Claimant:
    return Claimant(
        lease_id=grant.lease_id,
        owner=grant.owner,
        acquired_at=grant.acquired_at,
        expires_at=grant.expires_at,
        data=grant.data,
    )


def _until(expiry: int | None, now_lo: int) -> float | None:
    # Before the service's time is confirmed, `now_lo` is 0, and an expiry says nothing.
    return None if expiry is None or now_lo == 0 else (expiry - now_lo) / 1000
