"""Processes that charge one key, on clocks that are off, over a network that loses, delays and repeats.

The oracle is a plain count on true time. Time is in whole units, of which an interval has a few: what rounds in practice
is exact here. Booked permits count at the time at which they are due, by their process's clock: an attempt whose answer
was lost, and that recognised itself, may use them later. Reserved ones count at any time from when they are due until
they are settled.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from ddb_lease._protocol.rates import charging, settling
from ddb_lease._protocol.rates.charging import Attempt, Wanted
from ddb_lease._protocol.rates.messages import ChangePolicy, Charge, KeyWritten, Settle
from ddb_lease._protocol.rates.records import KeyState, LimitPolicy, LimitState, Policy
from ddb_lease._protocol.rates.steering import change_policy
from tests.protocol.rates.item import Answer, Item

START = 10_000_000
"""So that a policy's revision, which starts at a time in milliseconds, is more than 0."""

HOLD_FOR = 60
SWEPT_AFTER = 12
MOST_SENDINGS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Permits used: of which limit, under which policy, when by true time."""

    limit: str
    rev: int
    at: int
    permits: int


@dataclass(slots=True)
class Reservation:
    """What a process reserved, and has not settled."""

    reserved: dict[str, settling.Reserved]
    due: int
    until: int
    rev: int


@dataclass(slots=True)
class Process:
    """One client: its clock is off by `error`, and slewed by `slew` a hundred units."""

    name: str
    lane: int
    error: int
    slew: int
    policy: Policy
    seen: KeyState | None = None
    known: set[str] = field(default_factory=set)
    """Attempts that its hold may show."""
    reservations: list[Reservation] = field(default_factory=list)
    dead: bool = False

    def clock(self, true: int) -> int:
        """What it believes the service's time to be."""
        return true + self.error + (true - START) * self.slew // 100

    def true(self, told: int) -> int:
        """When its clock reaches a time."""
        guess = told - self.error
        while self.clock(guess) >= told:
            guess -= 1
        while self.clock(guess) < told:
            guess += 1
        return guess


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a run has in it."""

    limits: int = 2
    reserves: bool = True
    faults: bool = True
    changes: bool = False
    broken: str = ""
    """A rule that is broken: "held", "refund" or "as of now"."""


class World:
    """One run."""

    def __init__(self, chance: Random, setting: Setting) -> None:
        self.chance = chance
        self.setting = setting
        self.now = START
        self.item = Item(compares_held=setting.broken != "held")
        self.uses: list[Use] = []
        self.dues: dict[str, int] = {}
        """Of each attempt that was charged, when its permits were due."""
        names = [f"limit_{n}" for n in range(setting.limits)]
        limits = {name: self._limit() for name in names}
        self.policies = [Policy(limits=limits, rev=1)]
        self.processes = [
            Process(
                name=f"p{number}",
                lane=number,
                error=chance.choice((0, 0, chance.randrange(-4, 5))),
                slew=chance.choice((0, 0, chance.randrange(-2, 3))),
                policy=self.policy,
            )
            for number in range(chance.randrange(1, 5))
        ]
        self._late: list[tuple[int, Charge | Settle]] = []
        self._attempts = 0

    @property
    def policy(self) -> Policy:
        """The stored policy."""
        return self.policies[-1]

    def run(self, steps: int) -> None:
        """Let so many things happen, then end all that is under way."""
        for _ in range(steps):
            self.pass_time(self.chance.choice((0, 0, 1, 1, 2, 3, 5, 12, 40)))
            process = self.chance.choice(self.processes)
            if not process.dead:
                self._act(process)
        for process in self.processes:
            for reservation in process.reservations:
                self._use(process, reservation, {}, last=process.true(reservation.until))

    def excess(self) -> float:
        """By how many permits the uses exceed what is promised, at most, in any time; 0 or less if it is kept."""
        offsets = [p.clock(at) - at for p in self.processes for at in (START, self.now + 2 * HOLD_FOR)]
        apart = max(offsets) - min(offsets)
        return max(
            most_beyond(
                sorted((u.at, u.permits) for u in self.uses if (u.limit, u.rev) == (name, policy.rev)), limit.interval
            )
            - limit.burst
            - apart / limit.interval
            for policy in self.policies
            for name, limit in policy.limits.items()
        )

    # What happens.

    def pass_time(self, by: int) -> None:
        self.now += by
        due = [entry for entry in self._late if entry[0] <= self.now]
        self._late = [entry for entry in self._late if entry[0] > self.now]
        for _, request in due:
            self._carry_out(request)

    def _act(self, process: Process) -> None:
        what = self.chance.random()
        setting = self.setting
        if setting.changes and what < 0.05:
            self._change_policy()
        elif setting.faults and what < 0.08:
            process.dead = True
        elif process.reservations and what < 0.45:
            self._settle(process)
        elif what < 0.55:
            self.sweep(process)
        elif setting.reserves and what < 0.8:
            self._charge(process, reserving=True)
        else:
            self._charge(process, reserving=False)

    def _change_policy(self) -> None:
        name = self.chance.choice(sorted(self.policy.limits))
        request = change_policy(self.policy, {name: self._limit()}, now=self.now)
        if isinstance(request, ChangePolicy):
            self.policies.append(request.policy)

    def _limit(self) -> LimitPolicy:
        interval, burst = self.chance.choice((1, 2, 3, 5, 9)), self.chance.randrange(1, 7)
        return LimitPolicy(interval=interval, burst=burst, permits=1.0, per=1.0)

    def _charge(self, process: Process, *, reserving: bool) -> None:
        limits = process.policy.limits
        names = self.chance.sample(sorted(limits), self.chance.randrange(1, len(limits) + 1))
        permits = {name: self.chance.randrange(1, limits[name].burst + 1) for name in names}
        refunds = self.setting.broken == "refund"
        wanted = Wanted(reserved=permits) if reserving and not refunds else Wanted(booked=permits)
        horizon = self.chance.choice((0, 0, 5, 20))
        attempt = Attempt(key="k", id=self.next_attempt(), lane=process.lane, process=process.name, settle_by=0)
        sent: list[Charge] = []
        for _ in range(MOST_SENDINGS):
            now = process.clock(self.now)
            attempt = replace(attempt, settle_by=now + horizon + HOLD_FOR)
            request = charging.propose(
                process.policy,
                self._believed(process.seen),
                wanted,
                attempt=attempt,
                now=now,
                horizon=horizon,
                retention=0,
                slack=self.chance.choice((0, 0, 1, 3)),
            )
            if isinstance(request, charging.StalePolicy):
                process.policy = self.policy
                if sent:
                    return  # given up: what was charged is forgone
                continue
            if not isinstance(request, Charge):
                return
            if self.setting.broken == "as of now":
                request = _as_of_now(request, now, process.seen)
            sent.append(request)
            if request.hold is not None:
                process.known.add(attempt.id)
            answer = self.send(request)
            if answer is None:
                if self.chance.random() < 0.3:
                    return  # given up
                self.pass_time(self.chance.randrange(4))
                continue
            process.seen = answer.state
            if isinstance(answer, KeyWritten) or charging.is_charged(request, answer.state):
                assert answer.state is not None
                possible = [request] if isinstance(answer, KeyWritten) else sent
                self._admitted(process, wanted, reserving, possible, answer.state, permits)
                return

    def _admitted(
        self,
        process: Process,
        wanted: Wanted,
        reserving: bool,
        sent: list[Charge],
        state: KeyState,
        permits: dict[str, int],
    ) -> None:
        due = charging.due_of(sent, state)
        if self.setting.broken == "as of now":
            due = max(charge.due + charge.horizon for charge in sent)
        limits = process.policy.limits
        rev = process.policy.rev
        if not reserving:
            own = due if self.setting.broken else self.dues[sent[-1].attempt]
            assert due >= own, "due before it was"
            self.uses += [
                Use(limit=name, rev=rev, at=process.true(own), permits=count) for name, count in permits.items()
            ]
            return
        hold = sent[-1].hold
        reserved = {
            name: settling.Reserved(permits=count, interval=limits[name].interval) for name, count in permits.items()
        }
        until = due + HOLD_FOR if hold is None else hold.until
        if any(charge.hold is not None and charge.hold_before is None for charge in sent):
            self._all_swept(process)
        process.reservations.append(Reservation(reserved=reserved, due=due, until=until, rev=rev))
        process.known.add(sent[-1].attempt)

    def _settle(self, process: Process) -> None:
        reservation = self.chance.choice(process.reservations)
        process.reservations.remove(reservation)
        now = process.clock(self.now)
        early = now < reservation.due
        used = {
            name: 0 if early else self.chance.randrange(one.permits + 1) for name, one in reservation.reserved.items()
        }
        self._use(process, reservation, used, last=min(self.now, process.true(reservation.until)))
        if self.setting.broken == "refund":
            self._refund(reservation, used)
            return
        attempt = Attempt(key="k", id=self.next_attempt(), lane=process.lane, process=process.name)
        for _ in range(MOST_SENDINGS):
            request = settling.settle(
                process.policy,
                process.seen,
                reservation.reserved,
                used,
                attempt=attempt,
                known=process.known,
                now=process.clock(self.now),
                retention=0,
            )
            if isinstance(request, settling.Swept):
                self._all_swept(process)
                return
            answer = self.send(request)
            if answer is None:
                self.pass_time(self.chance.randrange(4))
                continue
            process.seen = answer.state
            if isinstance(answer, KeyWritten) or _shows(request, answer.state):
                process.known.add(attempt.id)
                return
        process.known.add(attempt.id)  # whether it happened is not known

    def _all_swept(self, process: Process) -> None:
        """The hold of a process is gone: all that it reserved counts in full."""
        for reservation in process.reservations:
            self._use(process, reservation, {}, last=process.true(reservation.until))
        process.reservations.clear()
        process.known.clear()

    def _refund(self, reservation: Reservation, used: dict[str, int]) -> None:
        """What is unsound: what was not used is given back by moving `tat` back."""
        state = self.item.state
        assert state is not None
        limits = dict(state.limits)
        for name, one in reservation.reserved.items():
            tat = limits[name].tat - (one.permits - used[name]) * one.interval
            limits[name] = LimitState(tat=tat, reach=tat)
        self.item.state = replace(state, limits=limits)

    def _use(self, process: Process, reservation: Reservation, used: dict[str, int], *, last: int) -> None:
        """Use what was reserved, at some time from when it was due until `last`; all of it, where `used` is silent."""
        first = process.true(reservation.due)
        at = self.chance.choice((first, last, self.chance.randrange(first, max(first, last) + 1)))
        at = max(first, min(at, last))
        self.uses += [
            Use(limit=name, rev=reservation.rev, at=at, permits=used.get(name, one.permits))
            for name, one in reservation.reserved.items()
            if used.get(name, one.permits)
        ]

    def sweep(self, process: Process) -> None:
        if process.seen is None:
            return
        attempt = Attempt(key="k", id=self.next_attempt(), lane=process.lane, process=process.name)
        # The true one is two seconds; a unit here is no nanosecond.
        now = process.clock(self.now) - SWEPT_AFTER + settling.SWEPT_AFTER
        request = settling.sweep(process.policy, process.seen, attempt=attempt, now=now, retention=0)
        if request is None:
            return
        told = process.clock(self.now)
        parts = tuple(replace(part, idle=process.seen.limits[part.name].tat < told) for part in request.limits)
        answer = self.send(replace(request, now=told, limits=parts))
        if answer is not None:
            process.seen = answer.state

    # The network.

    def send(self, request: Charge | Settle) -> Answer | None:
        """Send a request; None if its answer is lost, or it is late."""
        fate = self.chance.random() if self.setting.faults else 1.0
        if fate < 0.05:
            return None
        if fate < 0.12:
            self._late.append((self.now + self.chance.randrange(1, 30), request))
            return None
        answer = self._carry_out(request)
        if fate < 0.17:
            self._late.append((self.now + self.chance.randrange(1, 30), request))
        return None if fate < 0.25 else answer

    def _carry_out(self, request: Charge | Settle) -> Answer:
        before = self.item.state
        answer = self.item.execute(request)
        if isinstance(answer, KeyWritten):
            assert answer.state is not None
            if isinstance(request, Settle):
                # Only a reservation that was charged anew, by a late copy, may be settled anew: the strict side.
                commits = self.item.commits
                assert commits[request.attempt] <= commits[request.hold_before], "settled twice"
            else:
                assert before is None or before.lanes.get(request.lane) != request.attempt, "charged twice"
                self.dues.setdefault(request.attempt, charging.due_of([request], answer.state))
            for limit in answer.state.limits.values():
                assert limit.held >= 0
                assert limit.reach == limit.tat + limit.held
            held = {name: limit.held for name, limit in answer.state.limits.items()}
            if self.setting.broken != "refund":
                for hold in answer.state.holds.values():
                    for name, amount in hold.held.items():
                        held[name] -= amount
                assert not any(held.values()), "what is held is what the holds say"
        return answer

    def _believed(self, state: KeyState | None) -> KeyState | None:
        """What a proposal is computed from: the state as it is, unless the rule about what is held is broken."""
        if state is None or self.setting.broken != "held":
            return state
        return replace(state, limits={name: replace(one, held=0) for name, one in state.limits.items()})

    def next_attempt(self) -> str:
        self._attempts += 1
        return f"a{self._attempts}"


def _as_of_now(request: Charge, now: int, state: KeyState | None) -> Charge:
    """What is unsound: all limits are charged as of now, and used when the last of them is due."""
    limits = {} if state is None else state.limits
    parts = tuple(
        replace(part, branch="idle" if part.name not in limits or limits[part.name].tat < now else "busy")
        for part in request.limits
    )
    made = replace(request, limits=parts, due=now)
    object.__setattr__(made, "horizon", request.due + request.horizon - now)  # a message refuses it
    return made


def most_beyond(uses: list[tuple[int, int]], interval: int) -> float:
    """The most permits in any window, beyond what flows in during it."""
    most, best, total = 0.0, None, 0
    for at, permits in uses:
        start = at / interval - total
        best = start if best is None else max(best, start)
        total += permits
        most = max(most, total - at / interval + best)
    return most


def _shows(request: Settle, state: KeyState | None) -> bool:
    """Whether the item that refused a settlement shows its attempt: an earlier sending of it happened."""
    if state is None:
        return False
    hold = state.holds.get(request.process)
    return state.lanes.get(request.lane) == request.attempt or (hold is not None and hold.attempt == request.attempt)
