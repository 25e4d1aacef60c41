"""The oracle of rates: sees the table and all users, and compares them with a plain limiter.

Invariants:

- It shares no code with the library. It reads items as they are committed, each process's clock as it is at that
  instant, and what users say that they used.
- Times are whole nanoseconds: of the service's clock as a process believes it to be ("told"), or true ones.

What must hold:

    R1  an attempt is charged once, while its lane shows it
    R2  each permit used was charged before, for this process, once, and is due by its clock
    R3  of permits due in any time t, for each limit of each key: at most t / interval + burst, exactly
    R4  the same of permits used by true time, and how far the clocks lie apart
    R5  one process alone: the same by its steady clock, exactly
    R6  permits that must wait are due in the order of their bookings
    R7  nobody books further ahead than allowed, nor into a block
    R8  a changed policy cuts what was charged before, and is followed within 30 s
    R9  what is held is what the holds say; each settlement happens once; no hold is swept before its time
    L1  every call ends
    L2  after faults the whole rate is to be had
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from scripts.harness.simulated_dynamodb import Arguments, Change, DynamoDB, Item
from scripts.harness.simulated_limiter import LIMITER, LimiterProcess
from scripts.harness.world import World
from tests.simulation.rates.ledger import NS, Ledger, Rule, Violation, beyond

POLICY = (LIMITER, "policy")
TAT, HELD, REACH, HOLD = "tat#", "held#", "reach#", "hold#"
FOLLOWED = 30.0
"""Within so many seconds a changed policy is followed by who can read it."""

LAG = 1.5
"""So much longer, where the read that found the older one lagged by a second."""


@dataclass(slots=True)
class Use:
    """Permits that a user had: when by true time, by its own steady clock, and by the time that it was told."""

    process: str
    at: int
    steady: int
    told: int
    count: int


@dataclass
class Oracle:
    """Sees everything, and checks it.

    Attributes:
        ledgers: By key and limit.
        steered: Whether the policy or a key was ever changed by hand: then a process's gate starts anew.
        errors: By process, how far its clock was from the true time, at least and at most.
        senders: By attempt, who made it.
        policies: By revision, the rules of each policy that was stored; of several, if one was deleted and made anew by
            a clock that was behind.
        late_at: When a request of a process that is dead was last carried out.
        permits: By process, key and limit, when each permit that was charged for it is due.
        taken: Likewise, how many of them were used.
        held_permits: As `permits`, of those that are reserved.
    """

    world: World
    service: DynamoDB
    ledgers: dict[tuple[str, str], Ledger] = field(default_factory=dict)
    steered: bool = False
    errors: dict[str, tuple[int, int]] = field(default_factory=dict)
    senders: dict[str, LimiterProcess] = field(default_factory=dict)
    policies: dict[int, list[dict[str, Rule]]] = field(default_factory=dict)
    changed_at: float = 0.0
    late_at: float = 0.0
    charges: int = 0
    booked: int = 0
    again: int = 0
    settlements: int = 0
    sweeps: int = 0
    uses: dict[tuple[str, str], list[Use]] = field(default_factory=lambda: defaultdict(list))
    permits: dict[tuple[str, str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    taken: dict[tuple[str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    _told_most: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _committed: set[tuple[str, str]] = field(default_factory=set)
    _charged_at: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    held_permits: dict[tuple[str, str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    _held_taken: dict[tuple[str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    _held_uses: dict[tuple[str, str], list[Use]] = field(default_factory=lambda: defaultdict(list))

    # What the performance tells.

    def noticed(self, process: LimiterProcess) -> None:
        """A process acts now: see how far its clock is off."""
        told = process.told_ns()
        if told is None:
            return
        off = told - round(self.world.now * NS)
        low, high = self.errors.get(process.name, (off, off))
        self.errors[process.name] = (min(low, off), max(high, off))

    def sends(self, process: LimiterProcess, arguments: Arguments) -> None:
        """A process is about to send a request."""
        self.noticed(process)
        attempt = arguments.get("ExpressionAttributeValues", {}).get(":attempt")
        if attempt is not None and attempt["S"] not in self.senders:
            self.senders[attempt["S"]] = process
        for part in arguments.get("TransactItems", ()):
            attempt = part["Update"]["ExpressionAttributeValues"][":attempt"]["S"]
            self.senders.setdefault(attempt, process)
            self.together.add(attempt)

    def used(self, process: LimiterProcess, key: str, permits: dict[str, int]) -> None:
        """A user has its permits, and uses them at this instant."""
        self.noticed(process)
        told = process.told_ns()
        assert told is not None, "permits without the time"
        for name, count in permits.items():
            _take(process, key, name, count, self.permits, self.taken, self._latest(process, told))
            self.uses[key, name].append(self._use(process, told, count))

    def reserved(self, process: LimiterProcess, key: str, permits: dict[str, int]) -> None:
        """A user holds permits, and may use them from this instant on."""
        self.noticed(process)
        told = process.told_ns()
        assert told is not None, "permits without the time"
        for name, count in permits.items():
            _take(process, key, name, count, self.held_permits, self._held_taken, self._latest(process, told))

    def used_of_held(self, process: LimiterProcess, key: str, permits: dict[str, int]) -> None:
        """A user uses some of the permits that it holds, at this instant."""
        self.noticed(process)
        for name, count in permits.items():
            self._held_uses[key, name].append(self._use(process, process.told_ns() or 0, count))

    def _latest(self, process: LimiterProcess, told: int) -> int:
        """The latest time that a process was told: a clock steps down after wrong answers, and what was due stays due."""
        latest = self._told_most[process.name] = max(told, self._told_most[process.name])
        return latest

    def _use(self, process: LimiterProcess, told: int, count: int) -> Use:
        return Use(process.name, round(self.world.now * NS), round(process.clock.steady() * NS), told, count)

    def committed(self, changes: list[Change], arguments: Arguments) -> None:
        """A write has changed items; `arguments` are its request's, empty if there was none."""
        parts = [part.get("Update", {}) for part in arguments.get("TransactItems", ())]
        for change in changes:
            if change.key == POLICY:
                self._policy_changed(change)
            else:
                mine = [part for part in parts if part["Key"]["sk"]["S"] == change.key[1]]
                self._key_changed(change, mine[0] if mine else arguments)

    @property
    def apart(self) -> int:
        """How far the clocks of those who charged lie apart."""
        return max(0, *(high for _, high in self.errors.values())) - min(0, *(low for low, _ in self.errors.values()))

    @property
    def ahead(self) -> int:
        """How far any clock was ahead."""
        return max((high for _, high in self.errors.values()), default=0)

    @property
    def behind(self) -> int:
        """How far any clock was behind; 0 if all were ahead: that of a new process may be right."""
        return max([0, *(-low for low, _ in self.errors.values())])

    # The end.

    def check(self) -> None:
        """R3 of all ledgers; where permits are held, the same of those that were used, but for the clocks."""
        for (key, name), ledger in self.ledgers.items():
            if not ledger.holds:
                ledger.check()
            elif not self.steered and ledger.rule is not None:
                held = [use.told for use in self._held_uses[key, name] for _ in range(use.count)]
                worst = beyond([*ledger.dues, *held], ledger.rule.interval)
                if worst > ledger.rule.tolerance + self.apart:
                    over = (worst - ledger.rule.tolerance) / ledger.rule.interval
                    raise Violation(
                        "R3", f"{over:.3f} {name} of {key!r} too many were used in some time, some of them held"
                    )

    def check_each_alone(self) -> None:
        """R5. Steering forgives, and then gates start anew."""
        if self.steered:
            return
        for (key, name), uses in self.uses.items():
            rule = self.ledgers[key, name].rule
            assert rule is not None
            for process in {use.process for use in uses}:
                times = [use.steady for use in uses if use.process == process for _ in range(use.count)]
                worst = beyond(times, rule.interval)
                if worst > rule.tolerance:
                    over = (worst - rule.tolerance) / rule.interval
                    raise Violation("R5", f"{process} alone used {over:.3f} {name} of {key!r} too many in some time")

    def check_clocks(self, front_ends: tuple[float, ...], *, latency: float) -> None:
        """R4: where no Date is wrong, and no request takes long, clocks lie no further apart than that explains.

        A Date is cut to a second; a request takes up to fifty times the latency on its way there.
        """
        for name, (low, high) in self.errors.items():
            if low < (min(0.0, *front_ends) - 0.05) * NS or high > (max(0.0, *front_ends) + 1.05 + 50 * latency) * NS:
                raise Violation("R4", f"the clock of {name} was off by {low / NS:.3f} s to {high / NS:.3f} s")

    def check_all_together(self, late: float) -> None:
        """R4, where permits are used at most so many seconds after they are due."""
        for (key, name), uses in self.uses.items():
            rule = self.ledgers[key, name].rule
            assert rule is not None
            worst = beyond([use.at for use in uses for _ in range(use.count)], rule.interval)
            if worst > rule.tolerance + self.apart + round(late * NS):
                over = (worst - rule.tolerance) / rule.interval
                raise Violation("R4", f"{over:.3f} {name} of {key!r} too many were used in some time")

    # The policy.

    def _policy_changed(self, change: Change) -> None:
        if change.after is None:
            return
        rev = int(change.after["rev"]["N"])
        if change.before is not None and rev <= int(change.before["rev"]["N"]):
            raise Violation("R8", f"the policy's rev did not rise to {rev}")
        self.steered = self.steered or bool(self.policies)
        self.policies.setdefault(rev, []).insert(0, rules_of(change.after["limits"]))
        self.changed_at = self.world.now

    def follows(self, process: LimiterProcess, arguments: Arguments, *, excused: bool) -> None:
        """R8: a process sends a new charge under a policy that was changed long ago."""
        values = arguments.get("ExpressionAttributeValues", {})
        stored = self.service.items.get(POLICY)
        if ":due" not in values or stored is None or excused or values[":attempt"]["S"] in self.senders:
            return
        old = self.world.now - self.changed_at
        if int(values[":rev"]["N"]) < int(stored["rev"]["N"]) and old > FOLLOWED + LAG:
            raise Violation("R8", f"{process.name} charges by a policy that was changed {old:.1f} s ago")

    # A key.

    def _key_changed(self, change: Change, arguments: Arguments) -> None:
        key = change.key[1].removeprefix("rate#")
        values = arguments.get("ExpressionAttributeValues", {})
        if change.after is None:
            self._deleted(key, change.before, by_hand=not arguments)
        elif ":due" in values:
            self._charged(key, change.before, change.after, arguments)
        elif ":hold_before" in values:
            self._settled(key, change.before or {}, change.after, arguments)
        else:
            self.steered = True
            self._steered(key, change.before or {}, change.after)
        if change.after is not None:
            _require_sums(key, change.after)

    def _deleted(self, key: str, before: Item | None, *, by_hand: bool) -> None:
        self.steered = True
        if self.editing:  # what was settled shows nowhere any more: a late charge, and a settlement on it, may follow
            self._settlements = defaultdict(int, {one: n for one, n in self._settlements.items() if one[0] != key})
        for of, name in self.ledgers:
            if of != key:
                continue
            left = number_of(before or {}, REACH + name)
            if self.editing:
                self._forgiven(key, name)
            elif left is not None and left > self.world.now * NS:
                raise Violation("R3", f"TTL deleted {key!r}, of which {name} is not paid for yet")
        if not self.editing and any(hold["until"] > self.world.now * NS for hold in holds_of(before or {}).values()):
            raise Violation("R9", f"TTL deleted {key!r}, of which permits are held")

    editing: bool = False
    together: set[str] = field(default_factory=set)
    _settlements: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def _steered(self, key: str, before: Item, after: Item) -> None:
        for (of, name), ledger in self.ledgers.items():
            was, now = number_of(before, TAT + name), number_of(after, TAT + name)
            if of == key and was is not None and now is None:
                self._forgiven(key, name)
            elif of == key and was is not None and now is not None and now < was:
                ledger.forgiven()

    def _forgiven(self, key: str, name: str) -> None:
        """All is forgiven: what is booked may be used at once, as it comes on top."""
        self.ledgers[key, name].forgiven()
        for (_, of, limit), dues in self.permits.items():
            if (of, limit) == (key, name):
                dues[:] = [0] * len(dues)

    def _charged(self, key: str, before: Item | None, after: Item, arguments: Arguments) -> None:
        values, lane = arguments["ExpressionAttributeValues"], arguments["ExpressionAttributeNames"]["#lane"]
        attempt, now = values[":attempt"]["S"], int(values[":due"]["N"])
        if before is not None and before.get(lane) == {"S": attempt}:
            raise Violation("R1", f"attempt {attempt} is charged again, while its lane shows it")
        if before is not None and (number_of(before, "blocked_until") or 0) > now:
            raise Violation("R7", f"{key!r} is blocked, and charged all the same")
        if before is not None and int(before["rev"]["N"]) > int(after["rev"]["N"]):
            raise Violation("R8", f"{key!r} was charged by an older policy than before")
        names = arguments["ExpressionAttributeNames"]
        limits = {name[2:]: of.removeprefix(TAT) for name, of in names.items() if of.startswith(TAT)}
        cuts = {limits[name[2:]] for name in values if name.startswith(":k")}
        rooms = {limits[name[2:]]: int(room["N"]) for name, room in values.items() if name.startswith(":m")}
        parts = self._parts(key, before or {}, after, now, cuts, rooms)
        if not parts:
            raise Violation("R1", f"attempt {attempt} charged nothing")
        self.charges += 1
        first = (attempt, key) not in self._committed
        self._committed.add((attempt, key))
        self.again += not first
        process = self.senders[attempt]
        if not process.alive:
            self.late_at = self.world.now
        self._charged_at[attempt] += 1
        for name, booked, reserved in parts:
            ledger = self.ledgers[key, name]
            ledger.holds = ledger.holds or reserved > 0
            dues = ledger.charged(
                now=now,
                reach=int(after[REACH + name]["N"]),
                count=booked + reserved,
                alone=len(parts) == 1 and attempt not in self.together,
                booked=booked,
            )
            self.booked += dues[-1] > now
            if first:
                permits = self.permits if booked else self.held_permits
                for due in dues:
                    insort(permits[process.name, key, name], due)

    def _settled(self, key: str, before: Item, after: Item, arguments: Arguments) -> None:
        """A settlement: by the process that holds, or by one that sweeps."""
        values, names = arguments["ExpressionAttributeValues"], arguments["ExpressionAttributeNames"]
        attempt, base = values[":attempt"]["S"], values[":hold_before"]["S"]
        whose = names["#hold"].removeprefix(HOLD)
        hold = holds_of(before).get(whose)
        if hold is None or hold["attempt"] != base:
            raise Violation("R9", f"settlement {attempt} changed a hold of {key!r} that is not as it was seen")
        self._settlements[key, attempt] += 1
        # Only a reservation that was charged anew, by a late copy, may be settled anew: the strict side.
        if self._settlements[key, attempt] > max(1, self._charged_at[base]):
            raise Violation("R9", f"settlement {attempt} of {key!r} happened twice")
        process = self.senders[attempt]
        sweeps = whose != process.hold
        self.settlements, self.sweeps = self.settlements + (not sweeps), self.sweeps + sweeps
        if sweeps and hold["until"] > self.world.now * NS + self.ahead:
            raise Violation("R9", f"{process.name} sweeps a hold of {key!r} before its time")
        now = int(values.get(":now", {"N": 0})["N"])
        for name in hold["held"]:
            if TAT + name not in before:
                continue
            self.ledgers[key, name].unordered = True
            fell = int(before[REACH + name]["N"]) - int(after[REACH + name]["N"])
            if fell > 0:
                self.due_earlier(key, name, fell)
            used = int(after[TAT + name]["N"]) - max(int(before[TAT + name]["N"]), now)
            gone = int(before[HELD + name]["N"]) - int(after[HELD + name]["N"])
            if gone < 0 or (sweeps and gone and used != gone):
                raise Violation("R9", f"{process.name} settles {used} of {gone} ns of {name} of {key!r}")

    def due_earlier(self, key: str, name: str, by: int) -> None:
        """What was given back: an attempt that recognises itself takes its due time from the item as it is now."""
        for (_, of, limit), dues in (*self.permits.items(), *self.held_permits.items()):
            if (of, limit) == (key, name):
                dues[:] = [due - by for due in dues]

    def _parts(
        self, key: str, before: Item, after: Item, now: int, cuts: set[str], rooms: dict[str, int]
    ) -> list[tuple[str, int, int]]:
        """Which limits were charged: name, permits booked, permits reserved.

        A sender that had not seen the last charges under an older policy may leave them uncut, which is stricter.
        """
        parts = []
        rev_before, rev = number_of(before, "rev"), int(after["rev"]["N"])
        override = rules_of(before["override"]) if "override" in before else {}
        for name in sorted(attribute.removeprefix(TAT) for attribute in after if attribute.startswith(TAT)):
            tat, held = number_of(before, TAT + name), number_of(before, HELD + name) or 0
            new_tat, new_held = int(after[TAT + name]["N"]), int(after[HELD + name]["N"])
            rules = [override[name]] if name in override else [r[name] for r in self.policies[rev] if name in r]
            # A policy that was deleted, and made anew by a process whose clock is behind, may have the same `rev`.
            each = (new_tat - max(now, tat or 0), new_held - held)
            rule = max(rules, key=lambda rule: rule.likeness(each, held=held, room=rooms.get(name)), default=None)
            if rule is None:
                if (new_tat, new_held) != (tat, held):
                    raise Violation("R8", f"{name} of {key!r} was charged, and there is no such limit any more")
                continue
            ledger = self.ledgers.setdefault((key, name), Ledger(f"{name} of {key!r}"))
            adopts = rev_before is not None and rev_before < rev and name not in override and rule.rev > rev_before
            cut = rule.since + rule.tolerance
            if adopts and tat is not None and tat > cut and (name in cuts or (new_tat, new_held) == (cut, held)):
                ledger.forgiven()
                tat = cut
            if (new_tat, new_held) == (tat, held):
                continue
            ledger.under(rule)
            booked, rest = divmod(new_tat - max(now, tat or 0), rule.interval)
            reserved, more = divmod(new_held - held, rule.interval)
            if rest or more or booked < 0 or reserved < 0 or not booked + reserved:
                raise Violation("R3", f"{name} of {key!r} went from {tat}, {held} to {new_tat}, {new_held} at {now}")
            if held + (booked + reserved) * rule.interval > rule.tolerance:
                raise Violation("R3", f"{name} of {key!r} was charged on the end of what is held")
            parts.append((name, booked, reserved))
        return parts


def _take(
    process: LimiterProcess,
    key: str,
    name: str,
    count: int,
    permits: dict[tuple[str, str, str], list[int]],
    taken: dict[tuple[str, str, str], int],
    told: int,
) -> None:
    mine = (process.name, key, name)
    due = bisect_right(permits[mine], told)
    taken[mine] += count
    if taken[mine] > due:
        charged = f"{due} of {len(permits[mine])} that it was charged for are due"
        raise Violation("R2", f"{process.name} used {taken[mine]} {name} of {key!r}; {charged}")


def holds_of(item: Item) -> dict[str, dict[str, Any]]:
    """The holds of a key's item, by process."""
    return {
        attribute.removeprefix(HOLD): {
            "held": {name: int(amount["N"]) for name, amount in hold["M"]["held"]["M"].items()},
            "until": int(hold["M"]["until"]["N"]),
            "attempt": hold["M"]["attempt"]["S"],
        }
        for attribute, hold in item.items()
        if attribute.startswith(HOLD)
    }


def _require_sums(key: str, item: Item) -> None:
    for attribute in item:
        if attribute.startswith(TAT):
            name = attribute.removeprefix(TAT)
            tat, held, reach = (int(item[prefix + name]["N"]) for prefix in (TAT, HELD, REACH))
            if held < 0 or reach != tat + held:
                raise Violation("R9", f"{name} of {key!r}: tat {tat}, held {held}, reach {reach}")
            holds = sum(hold["held"].get(name, 0) for hold in holds_of(item).values())
            if holds != held:
                raise Violation("R9", f"{name} of {key!r}: {held} is held, and the holds say {holds}")


def rules_of(limits: dict[str, Any]) -> dict[str, Rule]:
    """The rules of a policy's limits, or of an override's, by name."""
    return {
        name: Rule(*(int(limit["M"][field]["N"]) for field in ("interval", "burst", "rev", "since")))
        for name, limit in limits["M"].items()
    }


def number_of(item: Item, name: str) -> int | None:
    """The whole number in an attribute; None if there is none."""
    return int(item[name]["N"]) if name in item else None
