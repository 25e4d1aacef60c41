"""Waiting in order: what one try of an acquire does in a bucket with ``order="fifo"``.

Invariants:

- It looks at the queue first. It looks at slots only where it may be its turn, and claims only what is left over by
  those before it: see `queueing`.
- A waiter has one ticket. It is put when the bucket is full, refreshed while it waits, and deleted when it is served or
  gives up. If it is gone all the same, it is put again at its old place.
- The ticket is noted in the `Waiter` before it is sent for: whoever drives an interrupted acquire finds there what to
  delete. What nobody deletes expires.
- Tickets are hints: no failure of theirs takes a slot that was won, unless the service refuses them for good. Without
  the permission to delete them, the queue would fill with dead ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ddb_lease._operations.resend import UNANSWERED, send_until
from ddb_lease._operations.search import Search, Wanted
from ddb_lease._operations.sync_time import confirm, without_time
from ddb_lease._protocol import queueing
from ddb_lease._protocol.messages import Answer, Done, Refused, Rejected
from ddb_lease._protocol.outcomes import Failure, Full, failure_of
from ddb_lease._protocol.queueing import Share, Signs, Standing
from ddb_lease._protocol.records import Counter, Grant, View
from ddb_lease._protocol.retry import EXPIRY_JITTER_SECONDS, Operation
from ddb_lease._protocol.steps import BringBackSlot, ClaimSlot, MintSlot, Step, TakeSlots
from ddb_lease._protocol.tickets import DropTicket, LookAtQueue, PutTicket, QueueSeen, RefreshTicket, Ticket, numbered
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.queue_memory import FreeFor, Others, Pace

LAST = 10**13 - 1
"""An arrival after all others, of a newcomer that has no ticket yet: a key has 13 digits for it."""

LAG_SECONDS = 2.0
"""How long a ticket may be missing in eventually consistent looks after it was put."""

FIRST = 2
"""So many of the queue look at the slots with each look."""

ALERT_SECONDS = 3.0
ALERT_LOOK_SECONDS = 1.0
"""How long, and how often, a waiter looks that has seen slots come free for others: one may soon for it."""

DROPS = 4
"""Dead tickets that one look removes at most."""

FURTHER_LOOKS = 4
"""Looks at what lies behind dead tickets in one try at most: at 2,000 tickets."""

DROP_TRIES = 3
DROP_SECONDS = 1.0
"""How often, and how long, a deletion is tried."""


class InTurn:
    """What an acquire wants, limited to what is left over by those before it in an ordered bucket.

    Args:
        wanted: What is wanted.
        free: Which slots were free when.

    Attributes:
        standing: Where the acquire stands; None until it has looked at the queue: then it takes nothing.
        signs: What was seen of those before it.
        share: What of the free slots was its to take, as last seen.
        fresh: Whether slots were free that were not at its look before.
    """

    def __init__(self, wanted: Wanted, free: FreeFor) -> None:
        self.writes = wanted.writes
        self.extra_steps = wanted.extra_steps
        self.count = wanted.count
        self.standing: Standing | None = None
        self.signs: Mapping[str, Signs] = {}
        self.fresh = False
        self.share = Share(slots=frozenset())
        self._wanted = wanted
        self._free = free

    def guess(self, *, elsewhere: bool) -> Operation[Grant | Failure | None]:
        """As what it wraps: only an unordered bucket's acquire guesses."""
        return self._wanted.guess(elsewhere=elsewhere)

    def choose(self, view: View, *, expired_before: int) -> Step:
        """The next step upon a look; in an ordered bucket, others' slots are left to them."""
        state = self.writes.state
        counter = state.hints.counter
        if counter is None or counter.order != "fifo" or queueing.has_strays(view, counter.max_tokens):
            return self._wanted.choose(view, expired_before=expired_before)
        free = queueing.free_slots(view, max_tokens=counter.max_tokens, expired_before=expired_before)
        seen = self._free.note(view, free, state.time.steady())
        free_for = {n: seconds for n, seconds in seen.items() if n < counter.max_tokens}
        self.share, self.fresh = Share(slots=frozenset()), 0.0 in free_for.values()
        if self.standing is not None:
            self.share = queueing.share(self.standing.ahead, self.count, free_for, self.signs)
            if not self.standing.exact:  # others stand between those seen and us
                self.share = replace(self.share, slots=frozenset(), left=())
        ours = self.share.slots
        if self.count == 1:  # one that this look shows: what others have shown may be taken by now
            ours = frozenset([n for n in self.share.left if n in free][:1])
        elif ours:
            slots = {n: self._free.slot(n) for n in ours}
            return self._wanted.choose(queueing.ours_alone(slots, view=view), expired_before=expired_before)
        return self._wanted.choose(queueing.only(view, free=free, ours=ours), expired_before=expired_before)

    def note_refused(self, step: ClaimSlot | MintSlot | BringBackSlot | TakeSlots, refused: Refused) -> None:
        """As what it wraps; and what was refused is not free any more."""
        self._free.forget(refused.found)
        self._wanted.note_refused(step, refused)

    def brought_back(self, view: View, step: BringBackSlot) -> View:
        """As what it wraps."""
        return self._wanted.brought_back(view, step)


class Queue:
    """One acquire in an ordered bucket.

    Args:
        wanted: What is wanted.
        patient: Whether it waits.
        arrived: When it came, on the steady clock, if it has waited behind others of its process; else None: now.
    """

    def __init__(self, wanted: Wanted, *, patient: bool, arrived: float | None) -> None:
        state: BucketState = wanted.writes.state
        # One that does not wait sees too little by itself to tell the dead from the living.
        self._turn = InTurn(wanted, FreeFor() if patient else state.free_for_tries)
        self._search = Search(self._turn, patient=patient)
        self._patient = patient
        self._arrived = arrived
        self._writes = wanted.writes
        self._state = state
        self._pace = Pace()
        self._others = Others() if patient else state.others_for_tries
        self._own: Ticket | None = None
        self._put = False
        self._put_at = self._renewed_at = 0.0
        self._refresh_at = 0.0
        self._first: tuple[str, float] | None = None
        self._watches_until = -math.inf
        self._moved = False
        self._slots_at, self._turn_at = -math.inf, math.inf
        self._alert_until = -math.inf

    def run(self, counter: Counter) -> Operation[Grant | Full | Failure]:
        """One try.

        Raises:
            StoreRejected: The service refuses for good.
            ConfigurationError: As `Search.run`.
        """
        time = self._state.time
        if not time.confirmed:
            failed = yield from confirm(time)
            if not time.confirmed:
                return without_time(failed)
        seen = yield from self._see(counter)
        if not isinstance(seen, QueueSeen):
            return seen
        own, now_ms = self._ticket(), time.now_ms()[0]
        standing = self._standing(seen, own, counter)
        self._turn.standing, self._turn.share, self._turn.fresh = standing, Share(slots=frozenset()), False
        self._turn.signs = self._others.note(standing.ahead, time.steady(), max_tokens=counter.max_tokens)
        self._moved |= self._pace.note(standing.ahead, time.steady())
        yield from self._remove_dead(queueing.expired(seen.tickets, now_ms), standing)
        outcome = yield from self._look_at_slots(standing, counter)
        if not isinstance(outcome, Full) or not self._patient:
            return outcome
        failed_to = yield from self._stand(seen, standing)
        if failed_to is not None:
            return failed_to
        if self._own is not None and own.arrival == LAST:  # it knows its place only now
            standing = self._standing(seen, self._own, counter)
        if self._writes.waiter is not None:
            self._writes.waiter.standing = standing
        near = standing.may_be_served(self._turn.count, counter.max_tokens)
        return replace(outcome, look_in=self._next_look_in(standing, outcome.expires_in, near=near))

    def _see(self, counter: Counter) -> Operation[QueueSeen | Failure]:
        """Look at the queue: at its first tickets, and further where these are dead, or no tickets at all."""
        look = LookAtQueue(limit=queueing.SEEN, consistent=not self._put)
        tickets: tuple[Ticket, ...] = ()
        further = FURTHER_LOOKS
        while True:
            answer = yield look
            if not isinstance(answer, QueueSeen):
                return failure_of(answer)
            tickets += answer.tickets
            now_ms = self._state.time.now_ms()[0]
            hidden = queueing.hides_the_living(tickets, now_ms=now_ms, max_tokens=counter.max_tokens)
            if not (further and answer.more and answer.end and hidden):
                return replace(answer, tickets=tickets)
            look = replace(look, limit=queueing.FURTHER, after=answer.end)
            further -= 1

    def _standing(self, seen: QueueSeen, own: Ticket, counter: Counter) -> Standing:
        now_ms = self._state.time.now_ms()[0]
        return queueing.standing(seen.tickets, own, more=seen.more, now_ms=now_ms, max_tokens=counter.max_tokens)

    def _look_at_slots(self, standing: Standing, counter: Counter) -> Operation[Grant | Full | Failure]:
        """Look at the slots if it may be our turn, and claim what is left to us."""
        now = self._state.time.steady()
        if not self._is_worth_a_look(standing, counter, now):
            return Full(expires_in=None)
        self._slots_at, self._moved = now, False
        outcome = yield from self._search.run()
        self._turn_at = now + self._turn.share.turn_in
        if self._turn.fresh:
            self._alert_until = now + ALERT_SECONDS
        if isinstance(outcome, Grant) or not standing.exact:
            yield from self._drop_each(self._turn.share.passed_over)
        return outcome

    def _is_worth_a_look(self, standing: Standing, counter: Counter, now: float) -> bool:
        """Whether to look at the slots: it is among the first, or those before it have moved, or it does now and then.

        Where slots come free, the first of the queue takes one before long: that it has gone tells all others.
        """
        if self._turn.count > counter.max_tokens:
            return True
        since = self._slots_at if standing.exact else max(self._slots_at, self._first_since(standing, now))
        if now >= min(since + queueing.glance(standing.place), self._turn_at):
            return True
        near = standing.may_be_served(self._turn.count, counter.max_tokens)
        return (near and self._moved) or (standing.exact and standing.place <= FIRST)

    def _first_since(self, standing: Standing, now: float) -> float:
        """Since when this waiter, which is far, has seen the same one before all others."""
        first = standing.ahead[0].name if standing.ahead else ""
        if self._first is None or self._first[0] != first:
            # Of a newcomer to a queue that does not move, it looks soon whether all that it sees are dead.
            self._watches_until = now + queueing.glance(standing.place) if self._first is None else -math.inf
            self._first = first, now
        return self._first[1]

    def leave(self) -> Operation[None]:
        """Delete the ticket, if there is one: the waiter is served, or gives up."""
        if self._put and self._own is not None:
            self._put = False
            yield from self._drop(self._own)
            if self._writes.waiter is not None:
                self._writes.waiter.ticket = None

    def _ticket(self) -> Ticket:
        """Our own: put, or where it would stand."""
        if self._own is not None:
            return self._own
        state, waiter = self._state, self._writes.waiter
        arrival, priority = LAST, 0
        if waiter is not None:
            priority = waiter.priority
            if self._arrived is not None:
                arrival = self._now_ms() - round(1000 * (state.time.steady() - self._arrived))
        return Ticket(
            priority=priority,
            arrival=arrival,
            name=f"{state.chance.getrandbits(40):016x}",
            owner=self._writes.owner,
            count=self._turn.count,
        )

    def _now_ms(self) -> int:
        now_lo, now_hi = self._state.time.now_ms()
        return (now_lo + now_hi) // 2

    def _stand(self, seen: QueueSeen, standing: Standing) -> Operation[Failure | None]:
        """Have a ticket, and keep it; returns why that failed."""
        time, waiter = self._state.time, self._writes.waiter
        now = time.steady()
        if now >= self._writes.deadline or waiter is None:
            return None
        request: PutTicket | RefreshTicket
        if not self._put:
            own = self._ticket()
            if own.arrival == LAST:
                last = yield from self._last(seen, own.priority)
                if last is not None and not isinstance(last, Ticket):
                    return last
                arrival = queueing.arrival_after(last, now_ms=self._now_ms())
                number = 1 if last is None else last.number + 1
                own = replace(own, arrival=arrival, name=numbered(own.name, number))
            else:
                own = replace(own, name=numbered(own.name, queueing.number_after(seen.tickets, own)))
            request = self._put_request(own, standing)
        elif self._is_gone(seen, now):
            request = self._put_request(self._own or self._ticket(), standing)
        elif now >= self._refresh_at or (self._holds_up() and now >= self._renewed_at + queueing.SIGN_SECONDS):
            request = RefreshTicket(ticket=self._renewed(standing), ttl=self._ttl())
        else:
            return None
        answer = yield request
        if isinstance(answer, Refused):  # it is not there; or it is, as an earlier put was carried out after all
            ticket = request.ticket
            put = isinstance(request, RefreshTicket)
            answer = yield self._put_request(ticket, standing) if put else RefreshTicket(ticket=ticket, ttl=self._ttl())
        if isinstance(answer, Done):
            return None
        self._refresh_at = now
        return None if isinstance(answer, Refused) else failure_of(answer)

    def _holds_up(self) -> bool:
        """Whether slots are kept for us that are too few: others see by our ticket that we live."""
        share, standing = self._turn.share, self._turn.standing
        first = standing is not None and standing.exact and len(standing.ahead) == len(share.passed_over)
        return first and 0 < len(share.left) < self._turn.count

    def _put_request(self, own: Ticket, standing: Standing) -> PutTicket:
        self._own, self._put, self._put_at = own, True, self._state.time.steady()
        ticket = self._renewed(standing)
        return PutTicket(ticket=ticket, ttl=self._ttl())

    def _renewed(self, standing: Standing) -> Ticket:
        """Our ticket with a new expiry; noted before it is sent."""
        time, waiter = self._state.time, self._writes.waiter
        now = time.steady()
        every = queueing.longest(standing.place, pace=self._pace_at(standing), least=queueing.REFRESH_SECONDS)
        expires_at = time.now_ms()[1] + round(1000 * queueing.LIVES * every)
        own = self._own or self._ticket()
        self._own = replace(own, expires_at=max(own.expires_at + 1, expires_at))  # a refreshment shows
        self._renewed_at, self._refresh_at = now, now + every
        if waiter is not None:
            waiter.ticket = self._own
        return self._own

    def _ttl(self) -> int:
        own = self._own
        return self._state.ttl(self._state.time.now_ms()[1], expires_at=own.expires_at if own else None, fence=0)

    def _last(self, seen: QueueSeen, priority: int) -> Operation[Ticket | Failure | None]:
        """The last ticket of a priority."""
        if seen.more:
            answer = yield LookAtQueue(limit=1, consistent=True, last_of=priority)
            if not isinstance(answer, QueueSeen):
                return failure_of(answer)
            seen = answer
        return next((ticket for ticket in reversed(seen.tickets) if ticket.priority == priority), None)

    def _is_gone(self, seen: QueueSeen, now: float) -> bool:
        """Whether a look that would show our ticket does not."""
        own = self._own
        if own is None or now - self._put_at < LAG_SECONDS:
            return False
        covered = not seen.more or (bool(seen.tickets) and seen.tickets[-1].place > own.place)
        return covered and all(ticket.name != own.name for ticket in seen.tickets)

    def _remove_dead(self, dead: Sequence[Ticket], standing: Standing) -> Operation[None]:
        """Delete expired tickets: the first two of the queue do, and whoever sees none but these."""
        if standing.place <= FIRST or not (standing.exact or standing.ahead):
            yield from self._drop_each(dead[:DROPS])

    def _drop_each(self, tickets: Sequence[Ticket]) -> Operation[None]:
        """Delete others' tickets, until one deletion is not answered: a lease that was won runs meanwhile."""
        for ticket in tickets:
            if not (yield from self._drop(ticket)):
                return

    def _drop(self, ticket: Ticket) -> Operation[bool]:
        """Delete a ticket; returns whether that was answered."""
        answer = yield from drop_ticket(self._state, ticket)
        if isinstance(answer, Rejected) and not answer.unexamined:
            raise answer.error
        return isinstance(answer, (Done, Refused))

    def _pace_at(self, standing: Standing) -> float:
        return queueing.pace_of(standing, seen=self._pace.seconds)

    def _next_look_in(self, standing: Standing, expires_in: float | None, *, near: bool) -> float:
        """Seconds until this waiter looks again."""
        state = self._state
        now = state.time.steady()
        look_in = queueing.next_look(standing.place, pace=self._pace_at(standing), near=near)
        look_in *= state.chance.uniform(0.8, 1.0)  # so that waiters do not all look at once
        if standing.place == 1 and expires_in is not None:
            look_in = min(look_in, max(0.0, expires_in) + state.chance.uniform(0.0, EXPIRY_JITTER_SECONDS))
        look_in = min(look_in, max(queueing.QUICKEST_SECONDS, self._turn_at - now))
        if near and now < self._alert_until:
            look_in = min(look_in, ALERT_LOOK_SECONDS)
        if now < self._watches_until:
            look_in = min(look_in, self._watches_until - now)
        look_in = max(0.0, min(look_in, max(queueing.QUICKEST_SECONDS, self._refresh_at - now)))
        state.hints.rely_until(now + look_in)
        return look_in


def drop_ticket(state: BucketState, ticket: Ticket) -> Operation[Answer]:
    """Delete a ticket, if nobody refreshed it; returns the last answer. If it fails, the ticket expires."""
    answer, _ = yield from send_until(
        DropTicket(ticket=ticket),
        again=UNANSWERED,
        time=state.time,
        chance=state.chance,
        tries=DROP_TRIES,
        deadline=state.time.steady() + DROP_SECONDS,
    )
    return answer
