"""The world of a queue: waiters, slots, the network and time, as one transition system.

Invariants:

- Everything that may happen is a step, and the adversary chooses the next. A waiter's look is one step, its claim
  another; between them anything may happen. It looks at most once a tick: always at the queue, and at the slots at least
  where it must.
- Time passes only when every living waiter has looked and no claim is under way, but for naps: so without naps all of
  them look in time. A claim never waits for longer than its waiter's tick.
- A request about a ticket is carried out at once; or, from the scenario's budgets, lost, or carried out without an
  answer, or carried out later, or once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tests.model.checker import Step
from tests.model.waiting import rules
from tests.model.waiting.clauses import Clause, Kept
from tests.model.waiting.properties import Q1, Q2, Q2_LIVING, Q3, Q4, Q5, Q6
from tests.model.waiting.state import (
    DEAD,
    FREE,
    GONE,
    HOLDS,
    NEVER,
    OUT,
    STRANGER,
    WAITS,
    Item,
    Message,
    Plan,
    Scenario,
    Slot,
    State,
    Waiter,
)

PUT, REFRESH, DROP = "put", "refresh", "drop"

Outcome = tuple[str, State, bool, str | None]
"""What became of a request: its name, the state after it, whether it was answered, and what it broke."""


class World:
    """A scenario, with some clauses removed, as a system that can be explored.

    Args:
        scenario: The scenario.
        removed: The clauses to remove.
        watch: What is checked; None: all that the scenario watches.
        curious: Whether waiters may look at the slots where they need not.
    """

    def __init__(
        self,
        scenario: Scenario,
        removed: Iterable[Clause] = (),
        *,
        watch: Iterable[str] | None = None,
        curious: bool = True,
    ) -> None:
        self.scenario = scenario
        self.keep = Kept(removed)
        self._curious = scenario.curious and curious
        self.watch = frozenset(scenario.watch if watch is None else watch)
        self._life = rules.lifetime(scenario.refresh, self.keep)

    # Called by the explorer.

    def initial(self) -> Iterator[State]:
        """The only start."""
        scenario = self.scenario
        waiters, tickets = [], []
        for i, wish in enumerate(scenario.wishes):
            waiter = Waiter()
            if i < scenario.first:
                came, expires = i + wish.ahead, 1 + self._life
                waiter = Waiter(WAITS, came, put_at=0, refresh_at=1 + scenario.refresh, expires=expires, slots_at=0)
                tickets.append(Item(9 - wish.priority, came, i, wish.count, expires))
            waiters.append(waiter)
        yield State(
            now=1,
            slots=tuple(Slot(holder) for holder in scenario.slots),
            tickets=tuple(sorted(tickets)),
            waiters=tuple(waiters),
            deaths=scenario.deaths,
            naps=scenario.naps,
            losses=scenario.losses,
            late=scenario.late,
            deletions=scenario.deletions,
        )

    def steps(self, s: State) -> Iterator[Step]:
        """All that may happen next."""
        for label, after, broken in self._all(s):
            yield label, after, broken if broken in self.watch else None

    def broken_in(self, s: State) -> str | None:
        """The first property that does not hold in this state: Q6."""
        if Q6 not in self.watch:
            return None
        there = {item.name: item for item in s.tickets}
        for i, waiter in enumerate(s.waiters):
            item = there.get(i)
            if waiter.phase in {HOLDS, GONE} and item is not None:
                return Q6
            stands = waiter.phase == WAITS and waiter.put_at > NEVER and not waiter.unsure
            if stands and (item is None or item.expires < s.now):
                return Q6
        return None

    # What happens.

    def _all(self, s: State) -> Iterator[Step]:
        for i, waiter in enumerate(s.waiters):
            yield from self._waiter(s, i, waiter)
        if self.scenario.releases:
            for n, slot in enumerate(s.slots):
                if slot.holder > FREE or slot.holder == STRANGER:
                    yield ("a slot is released", n), released(s, n), None
        yield from self._network(s)
        if s.now < self.scenario.last:
            yield from self._tick(s)

    def _waiter(self, s: State, i: int, waiter: Waiter) -> Iterator[Step]:
        scenario = self.scenario
        if waiter.phase in {OUT, WAITS} and waiter.plan is None and not waiter.looked:
            yield from self.look(s, i)
        if waiter.plan is not None:
            yield from self.claim(s, i, waiter.plan)
        if waiter.phase != WAITS:
            return
        if s.deaths and scenario.wishes[i].mortal:
            dead = waiter._replace(phase=DEAD, plan=None, free=(), looked=0)
            yield ("a waiter dies", f"w{i}"), with_waiter(s, i, dead)._replace(deaths=s.deaths - 1), None
        if scenario.give_up and waiter.plan is None:
            for name, after, broken in self._leave(s, i, GONE):
                yield (f"a waiter gives up, {name}", f"w{i}"), after, broken

    def _network(self, s: State) -> Iterator[Step]:
        for k, message in enumerate(s.net):
            rest = s._replace(net=s.net[:k] + s.net[k + 1 :])
            after, _, broken = self._execute(rest, message)
            yield (f"a late {message.kind} arrives", message.item), after, broken
        if s.deletions:
            for k, item in enumerate(s.tickets):
                after = s._replace(tickets=s.tickets[:k] + s.tickets[k + 1 :], deletions=s.deletions - 1)
                yield ("someone deletes a ticket", item), after, None

    def _tick(self, s: State) -> Iterator[Step]:
        if any(waiter.plan is not None for waiter in s.waiters):
            return
        late = sum(waiter.phase == WAITS and not waiter.looked for waiter in s.waiters)
        if late <= s.naps:
            yield ("a tick",), next_tick(s)._replace(naps=s.naps - late), None

    # A waiter.

    def look(self, s: State, i: int) -> Iterator[Step]:
        """One try, up to its claim; each outcome of its requests."""
        wish, waiter = self.scenario.wishes[i], s.waiters[i]
        own = self._own(s, i)
        stands = rules.standing(s.tickets, own, now=s.now, max_tokens=len(s.slots), keep=self.keep)
        told = f"w{i}, place {stands.place}"
        waiter = waiter._replace(phase=WAITS, looked=1)
        if waiter.slots_at == NEVER:
            waiter = waiter._replace(slots_at=s.now)
        s = with_waiter(s, i, waiter)
        dead = rules.expired(s.tickets, s.now) if self.keep.DEAD_REMOVED and stands.place <= 2 else ()
        for cleared, broken in self._drop_each(s, dead):
            if broken is not None:
                yield ("a look", told), cleared, broken
                continue
            if self._must_look_at_slots(waiter, stands, wish.count, cleared):
                yield from self._at_slots(cleared, i, stands, s.tickets, told)
                continue
            yield from self._stand(cleared, i, s.tickets, f"{told}, not at the slots")
            if self._curious:
                yield from self._at_slots(cleared, i, stands, s.tickets, told)

    def _must_look_at_slots(self, waiter: Waiter, stands: rules.Standing, count: int, s: State) -> bool:
        if rules.may_be_served(stands, count, len(s.slots)):
            return True
        return self.keep.GLANCES and s.now >= waiter.slots_at + rules.glance(stands.place)

    def _at_slots(self, s: State, i: int, stands: rules.Standing, seen: tuple[Item, ...], told: str) -> Iterator[Step]:
        """Look at the slots, and plan a claim of what is left."""
        wish, waiter = self.scenario.wishes[i], s.waiters[i]
        free = {n: (slot.fence, s.now) for n, slot in enumerate(s.slots) if slot.holder == FREE}
        free |= {n: (fence, since) for n, fence, since in waiter.free if free.get(n, (None,))[0] == fence}
        remembered = waiter._replace(
            slots_at=s.now, free=tuple((n, fence, since) for n, (fence, since) in sorted(free.items()))
        )
        share = rules.share(stands, wish.count, {n: s.now - since for n, (_, since) in free.items()}, self.keep)
        if len(share.left) < wish.count:
            yield from self._stand(with_waiter(s, i, remembered), i, seen, told)
            return
        named = {rules.ticket(item): item for item in seen if item.count}
        passed = tuple(named[ticket] for ticket in share.passed_over)
        plan = Plan(
            slots=tuple((n, free[n][0]) for n in sorted(share.left)[: wish.count]),
            passed=passed,
            fair=int(self._fair(s, self._own(s, i), passed, wish.count)),
        )
        planned = with_waiter(s, i, remembered._replace(plan=plan))
        yield ("a waiter plans a claim", told, plan.slots), planned, self._wrongly_passed(s, passed)

    def _own(self, s: State, i: int) -> Item:
        wish, waiter = self.scenario.wishes[i], s.waiters[i]
        arrival = waiter.arrival if waiter.arrival > NEVER else rules.LAST
        return Item(9 - wish.priority if wish.patient else 9, arrival, i, wish.count, waiter.expires)

    def _fair(self, s: State, own: Item, passed: tuple[Item, ...], count: int) -> bool:
        """Whether enough was free for all living waiters before this one, as the table showed them, and for it."""
        before = [
            item
            for item in s.tickets
            if item[:3] < own[:3] and item.count and item.expires >= s.now and s.waiters[item.name].phase == WAITS
        ]
        wanted = sum(item.count for item in before if item not in passed and item.count <= len(s.slots))
        return wanted + count <= sum(slot.holder == FREE for slot in s.slots)

    def _wrongly_passed(self, s: State, passed: tuple[Item, ...]) -> str | None:
        if Q2_LIVING in self.watch and any(s.waiters[item.name].phase == WAITS for item in passed):
            return Q2_LIVING
        dwell = sorted((s.now - slot.since for slot in s.slots if slot.holder == FREE), reverse=True)
        for before, item in enumerate(passed):
            if item.count > len(dwell) or dwell[item.count - 1] < rules.PATIENCE * (before + 1):
                return Q2
        return None

    def claim(self, s: State, i: int, plan: Plan) -> Iterator[Step]:
        """The claim is carried out, or refused."""
        waiter = s.waiters[i]._replace(plan=None)
        if any((s.slots[n].holder, s.slots[n].fence) != (FREE, fence) for n, fence in plan.slots):
            known = {n for n, fence in plan.slots}
            waiter = waiter._replace(free=tuple(seen for seen in waiter.free if seen[0] not in known))
            yield from self._stand(with_waiter(s, i, waiter), i, s.tickets, f"w{i}, whose claim is refused")
            return
        slots = list(s.slots)
        for n, fence in plan.slots:
            slots[n] = Slot(holder=i + 1, fence=fence + 1)
        won = with_waiter(s._replace(slots=tuple(slots)), i, waiter)
        passed = plan.passed if self.keep.PASSED_REMOVED else ()
        for cleared, broken in self._drop_each(won, passed):
            for name, after, worse in self._leave(cleared, i, HOLDS):
                yield (
                    (f"a claim commits, {name}", f"w{i}", plan.slots),
                    after,
                    broken or worse or (None if plan.fair else Q1),
                )

    def _leave(self, s: State, i: int, phase: str) -> Iterator[tuple[str, State, str | None]]:
        waiter = s.waiters[i]
        away = with_waiter(s, i, Waiter(phase, arrival=waiter.arrival))
        unsure = waiter.unsure and not self.keep.LEAVES_UNSURE
        if waiter.put_at == NEVER or unsure or not self.keep.LEAVES:
            yield "no ticket", away, None
            return
        for name, after, _, broken in self._send(away, Message(DROP, self._own(s, i)), tries=3):
            yield name, after, broken

    def _stand(self, s: State, i: int, seen: tuple[Item, ...], told: str) -> Iterator[Step]:
        """Have a ticket, and keep it."""
        if not self.scenario.wishes[i].patient:
            yield ("a passer-by finds nothing", told), with_waiter(s, i, Waiter(GONE)), None
            return
        kind, own, misplaced = self._next_request(s, i, seen)
        if not kind:
            yield ("a look", told), s, None
            return
        waiter = s.waiters[i]
        own = own._replace(expires=max(own.expires, s.now + self._life))
        standing = waiter._replace(
            arrival=own.arrival,
            put_at=s.now if kind == PUT else waiter.put_at,
            refresh_at=s.now + self.scenario.refresh,
            expires=own.expires,
        )
        for name, answered_with, answered, wrong in self._send(with_waiter(s, i, standing), Message(kind, own)):
            after, broken = answered_with, misplaced or wrong
            told_so = f"a look, {name}"
            standing = standing._replace(unsure=0)
            if not answered:
                unsure = int(kind == PUT or waiter.unsure)
                after = with_waiter(after, i, standing._replace(refresh_at=s.now, unsure=unsure))
            else:
                if kind == REFRESH and name.endswith("refused") and self.keep.PUT_AGAIN:
                    told_so += ", put again"  # at once
                    after, _, worse = self._execute(after, Message(PUT, own))
                    broken = broken or worse
                after = with_waiter(after, i, standing)
            yield (told_so, told), after, broken

    def _next_request(self, s: State, i: int, seen: tuple[Item, ...]) -> tuple[str, Item, str | None]:
        """What a waiter sends about its ticket now, if anything; the ticket; and whether its place breaks Q4."""
        wish, waiter, own = self.scenario.wishes[i], s.waiters[i], self._own(s, i)
        if waiter.put_at == NEVER:
            arrival = rules.arrival(seen, before=own.before, now=s.now + wish.ahead, keep=self.keep)
            overtakes = any(item.before == own.before and item.arrival >= arrival for item in seen)
            return PUT, own._replace(arrival=arrival), Q4 if overtakes else None
        if self._is_gone(s, own, seen):
            if not self.keep.OLD_PLACE:
                own = own._replace(arrival=rules.arrival(seen, before=own.before, now=s.now, keep=self.keep))
            return PUT if self.keep.PUT_AGAIN else "", own, Q4 if own.arrival != waiter.arrival else None
        due = s.now >= waiter.refresh_at and self.keep.REFRESHED
        return REFRESH if due else "", own, None

    def _is_gone(self, s: State, own: Item, seen: tuple[Item, ...]) -> bool:
        waiter = s.waiters[own.name]
        return s.now - waiter.put_at >= rules.LAG and all(item.name != own.name or not item.count for item in seen)

    # Requests about tickets.

    def _drop_each(self, s: State, items: tuple[Item, ...]) -> Iterator[tuple[State, str | None]]:
        if not items:
            yield s, None
            return
        for name, after, answered, broken in self._send(s, Message(DROP, items[0])):
            if not answered or broken or name == "":
                yield after, broken
            else:
                yield from self._drop_each(after, items[1:])

    def _send(self, s: State, message: Message, tries: int = 1) -> Iterator[Outcome]:
        """All that may become of a request. One that is tried several times is answered, unless it is late."""
        after, done, broken = self._execute(s, message)
        name = f"{message.kind} {'done' if done else 'refused'}"
        yield name, after, True, broken
        if s.losses and tries == 1:
            yield f"{message.kind} lost", s._replace(losses=s.losses - 1), False, None
            yield f"{name}, not answered", after._replace(losses=s.losses - 1), False, broken
        if s.late:
            copied = after._replace(net=tuple(sorted([*after.net, message])), late=s.late - 1)
            yield f"{name}, to be repeated", copied, True, broken
            delayed = s._replace(net=tuple(sorted([*s.net, message])), late=s.late - 1)
            yield f"{message.kind} late", delayed, False, None

    def _execute(self, s: State, message: Message) -> tuple[State, bool, str | None]:
        """Carry out a request; returns the state, whether its condition held, and what it broke."""
        kind, item = message
        key = item[:3]
        old = next((there for there in s.tickets if there[:3] == key), None)
        rest = tuple(there for there in s.tickets if there[:3] != key)
        allowed = self._conditions()[kind](old, item)
        if not allowed:
            return s, False, None
        if kind == DROP:
            return s._replace(tickets=rest), True, Q5 if old is not None and old.expires > item.expires else None
        if kind == REFRESH:  # an Update
            item = item._replace(count=0 if old is None else old.count)
        shorter = old is not None and item.expires < old.expires
        return s._replace(tickets=tuple(sorted([*rest, item]))), True, Q3 if shorter else None

    def _conditions(self) -> dict[str, Callable[[Item | None, Item], bool]]:
        keep = self.keep
        return {
            PUT: lambda old, _: old is None or not keep.PUT_NEW,
            REFRESH: lambda old, new: (
                not keep.REFRESH_THERE if old is None else old.expires <= new.expires or not keep.REFRESH_NEVER_SHORTER
            ),
            DROP: lambda old, new: old is not None and (old.expires <= new.expires or not keep.DROP_NOT_REFRESHED),
        }


def with_waiter(s: State, i: int, waiter: Waiter) -> State:
    """The state with another waiter in this one's place."""
    return s._replace(waiters=(*s.waiters[:i], waiter, *s.waiters[i + 1 :]))


def released(s: State, n: int) -> State:
    """The state in which a slot was released; its holder, if it was a waiter, is gone."""
    slot = s.slots[n]
    slots = (*s.slots[:n], Slot(FREE, slot.fence, s.now), *s.slots[n + 1 :])
    s = s._replace(slots=slots)
    if slot.holder > FREE and all(other.holder != slot.holder for other in slots):
        s = with_waiter(s, slot.holder - 1, Waiter(GONE))
    return s


def next_tick(s: State) -> State:
    """A tick later, everybody may look again."""
    waiters = tuple(waiter._replace(looked=0) for waiter in s.waiters)
    return s._replace(now=s.now + 1, waiters=waiters)
