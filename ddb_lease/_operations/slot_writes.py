"""Slot writes: claim, mint, take several, adopt, bring back, retire, create. Operations that lease are made of these.

Invariants:

- Each is a *settled write*: it is sent until its outcome is known. Where an earlier sending had worked, it is
  recognised as ours. What is given up with an unknown outcome is released by its lease id before anything else
  happens; if even that fails, it dies by expiry.
- The time is made sure of first, as every write carries times.
- A grant is noted in `open_grants` before it is first sent for. An interrupt may strike anywhere: whoever drives the
  operation then finds there what to release.
- A grant is returned only before its own deadline, which counts from before its first sending, never from a resend or
  from the answer. One that was won too late is released.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field, replace

from ddb_lease._operations.release import send_release
from ddb_lease._operations.resend import UNKNOWN, send_until
from ddb_lease._operations.sync_time import ask_patiently, confirm, make_certain, without_time
from ddb_lease._protocol import decisions, grants
from ddb_lease._protocol.messages import (
    Adopt,
    Answer,
    BringBack,
    Claim,
    Create,
    Done,
    Mint,
    Refused,
    Request,
    Retire,
    Take,
)
from ddb_lease._protocol.outcomes import Busy, Failure, GivenBack, Unavailable, failure_of
from ddb_lease._protocol.records import Claimant, Counter, Grant, Slot, View
from ddb_lease._protocol.retry import Operation
from ddb_lease._protocol.steps import (
    AdoptLease,
    BringBackSlot,
    ClaimSlot,
    CreateBucket,
    MintSlot,
    RetireStrays,
    TakeSlots,
)
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.log import log as _log
from ddb_lease._state.service_time import Reading
from ddb_lease._state.waiters import Waiter
from ddb_lease.models import Data

TRIES_WHEN_UNKNOWN = 6
"""How often one write is sent in all while its answers are lost; a claim is then released, and tried anew."""

CLEAN_UP_TRIES = 4
"""How often the release of an abandoned grant is sent; after that the grant dies by expiry."""

CLEAN_UP_SECONDS = 1.0
"""How long that is tried: an acquire with a timeout returns not much later than it."""


@dataclass(eq=False)
class SlotWrites:
    """The writes of one acquire, or of one run of maintenance.

    Each raises `StoreRejected` if the service refuses for good.

    Attributes:
        state: The bucket's state.
        owner: Who acquires, for people to read.
        data: What to attach to the lease.
        deadline: When to give up, on the steady clock; `math.inf` for never.
        waiter: The place in this process's queue; None where none is taken.
        until: When the lease is to expire, on the steady clock; None: after the length that the bucket has.
        hold_ms: For how long the slots go to nobody else at least; see `Grant`.
        open_grants: What may be leased: noted before it is first sent for, and struck out once it is surely not leased.
        unanswered: The ids of those of them whose request has no answer yet: it may still be under way.
        abandoned: Whether one of them was given up and released.
    """

    state: BucketState
    _: KW_ONLY
    owner: str
    data: Data
    deadline: float
    waiter: Waiter | None = None
    until: float | None = None
    hold_ms: int = 0
    open_grants: list[Grant] = field(default_factory=list, init=False)
    unanswered: set[str] = field(default_factory=set, init=False)
    abandoned: bool = field(default=False, init=False)

    def win(  # noqa: C901 - from the time that it needs to its verification: a function of its own costs each claim
        self, step: ClaimSlot | MintSlot | TakeSlots | AdoptLease
    ) -> Operation[Grant | Refused | GivenBack | Busy | Unavailable]:
        """Lease one slot, or several together; or adopt a lease of one or several.

        Returns:
            The grant, which stays in `open_grants`; `Refused` where others were faster; or why it failed, with nothing
            leased as far as this could be made sure of.
        """
        state = self.state
        now = state.time.read()
        failed: Answer | None = None
        # An acquire whose time turns out to be odd is tried anew; an adoption would give back what it cannot get again.
        adopting = isinstance(step, AdoptLease)
        if now is None or not _is_settled(now) or (adopting and not now.certain):
            failed = yield from make_certain(state.time) if adopting else confirm(state.time)
            now = state.time.read()
        if now is None or not now.confirmed or (adopting and not now.certain):
            # After an odd first answer, the expiry might lie far ahead: if we crashed amid the claim, the slot would
            # come back late. And a new slot's fence, which no condition compares, might be below those of a slot that
            # TTL has deleted, or above what the clock will pass for hours.
            return without_time(failed)
        slots, claimed, fence_seen = _slots(step)
        for number in claimed:
            state.hints.learn_slot(number, None)  # not for another thread to race us for
        if now.wide:
            # An odd answer came in meanwhile, or asking did not help: an expiry written now might lie far ahead.
            return without_time(failed)
        if adopting:
            now = replace(now, high_ms=now.latest_ms)  # as a renewal: nothing that is learnt later speaks against it
        grant = self._new_grant(slots, fence_seen, now)
        request = self._request(step, grant, now)
        self.unanswered.add(grant.lease_id)
        self.open_grants.append(grant)
        answer, uncertain = yield from self._send(request, until=grant.deadline)
        self.unanswered.discard(grant.lease_id)
        if isinstance(answer, Refused) and not _is_own_write(request, answer, grant):
            # A refusal is final even after an unknown sending: a copy that is still under way and commits later
            # is a lease of nobody's, which a release sent now could not reach; it dies by expiry.
            if grants.is_ours_in_part(answer, grant.lease_id):
                yield from self.abandon(grant)  # of several slots, somebody has changed one since we took them
            self.open_grants.remove(grant)
            return answer
        won = isinstance(answer, (Done, Refused))
        if won and (yield from self._is_sound(grant, ahead=math.inf if adopting else grants.FAR_AHEAD_SECONDS)):
            if isinstance(step, MintSlot) and step.re_mint:
                _log.info("%s: slot %d was missing and is re-minted", state.called, step.slot)
            return grant
        if won or uncertain:
            yield from self.abandon(grant)
        self.open_grants.remove(grant)
        return GivenBack() if won else failure_of(answer)

    def abandon(self, grant: Grant) -> Operation[None]:
        """Release a grant that may be leased; what this cannot reach dies by expiry."""
        self.abandoned = True
        state = self.state
        outcomes = yield from send_release(
            state,
            slots=grant.slots,
            lease_id=grant.lease_id,
            fence=grant.fence,
            tries=CLEAN_UP_TRIES,
            deadline=state.time.steady() + CLEAN_UP_SECONDS,
        )
        if len(outcomes) < len(grant.slots) or not all(outcome.known for outcome in outcomes):
            _log.warning(
                "%s: slot %s may stay leased to nobody until its lease expires (%s)",
                state.called,
                ", ".join(map(str, grant.slots)),
                outcomes[-1].answer,
            )

    def bring_back(self, step: BringBackSlot) -> Operation[Done | Refused | Failure]:
        """Bring a retired slot back into circulation."""
        state = self.state
        _, now_hi = state.time.now_ms()
        request = BringBack(
            slot=step.slot,
            # Another's lease may still run on it, renewed since we looked.
            ttl=state.ttl(now_hi + state.lease_ms(), fence=step.fence),
            re_mint=step.re_mint,
            token=state.token(),
        )
        return (yield from self._write(request))

    def retire(self, step: RetireStrays) -> Operation[Done | Refused | Failure]:
        """Retire slots beyond `max_tokens`. `Refused`: somebody has changed the counter meanwhile."""
        state, counter = self.state, step.counter
        _log.warning(
            "%s: slots %s lie beyond max_tokens (%d) and are retired",
            state.called,
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
        return (yield from self._write(request))

    def create(self, view: View, step: CreateBucket) -> Operation[View | Refused | Failure]:
        """Make the bucket with the settings of this client.

        Returns:
            The view, with what was made; `Refused` where somebody was faster; or why it failed.
        """
        state = self.state
        failed = yield from confirm(state.time)
        if not state.time.confirmed:
            return without_time(failed)  # as in `win`
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
        answer = yield from self._write(request)
        if not isinstance(answer, Done):
            return answer
        wanted = state.wanted
        _log.info(
            "%s is created: max_tokens=%d, lease_seconds=%g", state.called, wanted.max_tokens, wanted.lease_ms / 1000
        )
        made = Counter(
            max_tokens=wanted.max_tokens,
            minted=minted,
            rev=now_hi,
            lease_ms=wanted.lease_ms,
            order=wanted.order or "any",
        )
        state.adopt(made, sure=True)
        free = {number: Slot(number=number, fence=now_hi) for number in range(slots)}
        view = replace(view, counter=made, slots={**view.slots, **free})
        state.hints.learn_view(view, by=self.waiter, at=state.time.steady())
        return view

    def _new_grant(self, slots: tuple[int, ...], fence_seen: int, now: Reading) -> Grant:
        """A grant to ask for now."""
        lease_ms = self._lease_ms(now)
        return grants.new_grant(
            slots,
            fence_seen=fence_seen,
            lease_ms=lease_ms,
            margin=self.state.timing.margin_for(max(lease_ms, self.hold_ms) / 1000),
            hold_ms=self.hold_ms,
            owner=self.owner,
            data=self.data,
            steady=now.steady,
            now_hi=now.high_ms,
            chance=self.state.chance,
        )

    def _lease_ms(self, now: Reading) -> int:
        """The bucket's length; or what is left until the given end, so that a wait makes the lease no longer."""
        return self.state.lease_ms() if self.until is None else grants.ms_until(self.until, now.steady)

    def _request(
        self, step: ClaimSlot | MintSlot | TakeSlots | AdoptLease, grant: Grant, now: Reading
    ) -> Claim | Mint | Take | Adopt:
        state = self.state
        lease = Claimant(
            lease_id=grant.lease_id,
            owner=grant.owner,
            acquired_at=grant.acquired_at,
            expires_at=grant.expires_at,
            data=grant.data,
        )
        ttl = grants.ttl_for(
            now_hi=now.high_ms, expires_at=grant.expires_at, fence=grant.fence, retention_seconds=state.timing.retention
        )
        expired_before = now.expired_before_ms  # 0 before three answers agree: what two tell is enough for a free slot
        match step:
            case ClaimSlot():
                return Claim(slot=step.slot, fence=grant.fence, lease=lease, expired_before=expired_before, ttl=ttl)
            case MintSlot():
                return Mint(
                    slot=step.slot, fence=grant.fence, lease=lease, ttl=ttl, re_mint=step.re_mint, token=state.token()
                )
            case TakeSlots():
                return Take(
                    claims=tuple(sorted(claim.slot for claim in step.claims)),
                    mints=tuple(sorted(step.mints)),
                    fence=grant.fence,
                    lease=lease,
                    expired_before=expired_before,
                    ttl=ttl,
                    seen_max=step.seen_max,
                    re_mint=step.re_mint,
                    token=state.token(),
                )
            case AdoptLease():
                return Adopt(
                    slots=step.slots, giver=step.giver, fence=grant.fence, lease=lease, ttl=ttl, token=state.token()
                )

    def _is_sound(self, grant: Grant, *, ahead: float) -> Operation[bool]:
        """Whether a grant that was just won may be handed out."""
        time = self.state.time

        def verified() -> bool:
            now = time.read()
            return now is not None and _verifies(now, grant, ahead=ahead)

        if verified():  # as a rule: its own answer is the third
            return True
        yield from ask_patiently(lambda: not verified(), time, until=grant.deadline)
        return verified()

    def _write(self, request: Request) -> Operation[Done | Refused | Failure]:
        answer, _ = yield from self._send(request, until=self.deadline)
        return answer if isinstance(answer, (Done, Refused)) else failure_of(answer)

    def _send(self, request: Request, *, until: float) -> Operation[tuple[Answer, bool]]:
        # No generator of its own: it hands out the loop.
        return send_until(
            request,
            again=UNKNOWN,
            time=self.state.time,
            chance=self.state.chance,
            tries=TRIES_WHEN_UNKNOWN,
            deadline=min(until, self.deadline),
        )


def _is_settled(now: Reading) -> bool:
    return now.confirmed and not now.doubtful and not now.wide


def _verifies(now: Reading, grant: Grant, *, ahead: float) -> bool:
    """Whether the time as known after the answer shows that a grant may be handed out."""
    # While answers contradict what was known, our steady clock may have missed time, and the deadline with it.
    if not now.certain or now.doubtful or now.wide:
        return False
    return grants.is_sound(grant, steady=now.steady, now_hi=now.high_ms, latest=now.latest_ms, ahead=ahead)


def _slots(step: ClaimSlot | MintSlot | TakeSlots | AdoptLease) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """All slots in rising order; those that are claimed; the highest fence seen on these, 0 where there are none."""
    match step:
        case ClaimSlot():
            return (step.slot,), (step.slot,), step.fence
        case MintSlot():
            return (step.slot,), (), 0
        case TakeSlots():
            claimed = tuple(claim.slot for claim in step.claims)
            fence_seen = max((claim.fence for claim in step.claims), default=0)
            return tuple(sorted(claimed + step.mints)), claimed, fence_seen
        case AdoptLease():
            return step.slots, (), step.fence


def _is_own_write(request: Claim | Mint | Take | Adopt, answer: Refused, grant: Grant) -> bool:
    """Whether a condition failed because an earlier sending of the same attempt had worked."""
    if isinstance(request, Take) or (isinstance(request, Adopt) and len(request.slots) > 1):
        return grants.are_own_writes(answer, grant)
    return grants.is_own_write(answer, grant.lease_id)
