"""The oracle: checks N and S1 to S6 of DESIGN.md at every instant, and sees everything.

Invariants:

- It shares no decision with the library: it reads the table's items as they are committed, and asks each holder whether
  it believes, at the same instant of true time.
- It excuses what a hand edit alone broke, and nothing else: each excuse is named where it is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ddb_lease import Lease
from ddb_lease._protocol.closing import closed_id
from scripts.harness.inside import core_of, held_of
from scripts.harness.simulated_dynamodb import Arguments, Change, DynamoDB, Item
from scripts.harness.simulated_process import BUCKET, TIMING, Held, Process
from scripts.harness.world import World

COUNTER = (BUCKET, "counter")
ANSWERS_THAT_TELL = 3
"""After this many answers in a row, a holder knows that its steady clock missed time."""

CLOCK_BOUND_SECONDS = 1.0
"""A Date is cut to a second: an expiry may be this much later than the lease's length says, in addition to the time
that the answer took and the difference of front ends."""


class Violation(Exception):
    """A violated invariant. Its name comes first: N, S1, ..., L4."""

    def __init__(self, law: str, what: str) -> None:
        super().__init__(f"{law}: {what}")
        self.law = law


@dataclass
class Oracle:
    """Sees the table and all processes, and checks them.

    Attributes:
        processes: All that were ever started.
        by_hand: What was edited by hand: "minted", "counter", or a slot's number.
        stirred: Whether something since the last check may have changed beliefs or the table.
        robbed: Leases whose slot was deleted by hand, or that somebody else released by their id, and when: nothing is
            promised until the holder finds out, which takes no longer than the lease.
        revoked: Leases that were marked so, and when: their holder finds out as well.
        handed_over: Leases whose holder was told that it has handed them over: from then on one other may adopt each.
        grants: Leases handed to users.
        takeovers: Claims that took an expired lease's slot.
        adopted: Slots on which a lease that was handed over was adopted.
        kept_closed: Slots that a holder gave back and kept closed.
    """

    world: World
    service: DynamoDB
    processes: list[Process] = field(default_factory=list)
    by_hand: set[object] = field(default_factory=set)
    robbed: dict[str, float] = field(default_factory=dict)
    revoked: dict[str, float] = field(default_factory=dict)
    handed_over: set[str] = field(default_factory=set)
    adopted: int = 0
    editing: bool = False
    stirred: bool = False
    grants: int = 0
    takeovers: int = 0
    kept_closed: int = 0
    mints: int = 0
    re_mints: int = 0
    _fences: dict[int, int] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)
    _strays: set[int] = field(default_factory=set)
    _uncounted: set[int] = field(default_factory=set)
    _promised: dict[int, tuple[str, float]] = field(default_factory=dict)

    # Called by the performance.

    def begin(self) -> None:
        """The table is set up as the schedule says: the library is not to blame for what is wrong there."""
        limit = int(self._counter("max_tokens"))
        self._strays = {slot for slot in self._circulating() if slot >= limit}
        self._uncounted = set(self._strays)
        for key, item in self.service.items.items():
            if key[1].startswith("slot#"):
                self._fences[int(key[1].removeprefix("slot#"))] = int(item["fence"]["N"])

    def granted(self) -> None:
        """A user got a lease."""
        self.grants += 1
        self._believers()

    def promised(self, lease: Lease, at_least: float) -> None:
        """A user got a lease, and its slots go to nobody else for so many seconds after it was acquired."""
        for slot in lease.slots:
            item = self.service.items.get((BUCKET, f"slot#{slot:05d}"))
            if item is not None and _lease_id(item) == lease.id:  # else somebody has ended it already
                self._promised[slot] = lease.id, int(item["acquired_at"]["N"]) / 1000 + at_least

    def committed(self, changes: list[Change], arguments: Arguments) -> None:
        """A write has changed items; `arguments` are its request's, empty if there was no request."""
        self.stirred = True
        meant = arguments.get("ExpressionAttributeValues", {}).get(":lease_id")
        if meant is not None and changes[0].before is not None and _lease_id(changes[0].before) != meant["S"]:
            raise Violation("S5", f"a request of lease {meant['S']} changed {_lease_id(changes[0].before)}")
        self._recounted(changes, arguments)
        made_anew = False
        for change in changes:
            if change.key == COUNTER:
                made_anew = change.before is None
                self._counter_changed(change)
            elif change.key[1].startswith("slot#"):  # tickets decide nothing that must hold
                self._slot_changed(change, arguments)
        self._count(made_anew=made_anew)

    def after_each(self) -> None:
        """Check after each event that may have begun or extended a belief, or changed the table.

        The passing of time alone only ends beliefs.
        """
        if self.stirred:
            self.stirred = False
            self._believers()

    @property
    def uncounted(self) -> bool:
        """Whether former strays circulate, which need not have been counted."""
        return bool(self._uncounted)

    # What must hold.

    def _believers(self) -> None:
        believers = 0
        for process in [process for process in self.processes if process.held]:
            for held in process.held:
                if not held.believes():
                    continue
                if held.told_lost is not None:
                    raise Violation("S2", f"{held.lease.id} is believed in after it was lost")
                self._found_out(held, process)
                if held.lease.id in self.robbed:
                    continue  # somebody ended it on purpose
                believers += sum(self._is_in_circulation(held, slot, process) for slot in held.lease.slots)
        if believers > 1 and believers > self._counter("max_tokens"):
            raise Violation("S1", f"{believers} believers on {self._counter('max_tokens')} tokens")

    def _is_in_circulation(self, held: Held, slot: int, process: Process) -> bool:
        """Whether a belief in a slot counts; the slot must carry the lease."""
        item = self.service.items.get((BUCKET, f"slot#{slot:05d}"))
        if item is not None and _lease_id(item) == held.lease.id:
            return "retired" not in item and slot not in self._strays
        if held.blind and not self._told(process):
            return False  # its steady clock missed time, and no answer could show it yet
        if process.frozen:
            return False  # it does nothing, and finds out before it does anything: checked when it is thawed
        raise Violation(
            "S2",
            f"{process.name} believes in {held.lease.id}, but slot {slot} "
            f"is {'gone' if item is None else f'leased to {_lease_id(item)}'}",
        )

    def _found_out(self, held: Held, process: Process) -> None:
        lease = held.lease
        since = min(self.robbed.get(lease.id, math.inf), self.revoked.get(lease.id, math.inf))
        longest = max(held_of(lease).seconds, held.at_least)
        if self.world.now <= since + longest or process.frozen or (held.blind and not self._told(process)):
            return
        raise Violation(
            "S2", f"{process.name} still believes in {lease.id}, which was ended {self.world.now - since:.1f} s ago"
        )

    @staticmethod
    def _told(process: Process) -> bool:
        # If front ends differ, three answers need not agree.
        return process.dated_answers >= ANSWERS_THAT_TELL and not core_of(process.bucket).state.time.doubtful

    def _slot_changed(self, change: Change, arguments: Arguments) -> None:
        slot = int(change.key[1].removeprefix("slot#"))
        before, after = change.before, change.after
        if self.editing:
            self.by_hand.add(slot)
            self._fences.pop(slot, None)
            if before is not None and "lease_id" in before:
                self.robbed[before["lease_id"]["S"]] = self.world.now
            return
        if after is not None:  # otherwise TTL deleted it
            self._slot_written(slot, before, after, arguments)

    def _slot_written(self, slot: int, before: Item | None, after: Item, arguments: Arguments) -> None:
        old, new = (_lease_id(before) if before else None), _lease_id(after)
        fence = int(after["fence"]["N"])
        if int(after["ttl"]["N"]) * 1000 < fence + TIMING.retention * 1000:
            raise Violation("S3", f"slot {slot}: TTL may delete it before the clock has passed its fence {fence}")
        if old is not None and old != new:
            self._gone.add(old)
            if self.robbed.get(old) == math.inf:
                self.robbed[old] = self.world.now  # somebody was about to end it: now it has ended
        if new is not None and new != old and old is not None and new == closed_id(old):
            self._closed(slot, new, before, after)
        elif new is not None and old not in {None, new} and _is_adoption(arguments):
            self._adopted(slot, new, old, fence, before, after)
        elif new is not None and new != old:
            self._leased(slot, new, fence, before)
        elif before is not None and fence != int(before["fence"]["N"]):
            raise Violation(
                "S3", f"slot {slot}: the fence changed from {before['fence']['N']} to {fence} without a lease"
            )
        if new is not None and new == old and before is not None:
            earlier, later = int(before["expires_at"]["N"]), int(after["expires_at"]["N"])
            if later < earlier:
                raise Violation("S6", f"{new}: expires_at fell from {earlier} to {later}")

    def _leased(self, slot: int, lease_id: str, fence: int, before: Item | None) -> None:
        if slot >= self._counter("max_tokens") and slot not in self._strays:
            raise Violation("S1", f"slot {slot} was leased, of {self._counter('max_tokens')} tokens")
        if lease_id in self._gone and slot not in self.by_hand:
            raise Violation("S5", f"slot {slot}: lease {lease_id} came back after its end")
        if fence <= self._fences.get(slot, -1):
            raise Violation("S3", f"slot {slot}: fence {fence} after {self._fences[slot]}")
        self._fences[slot] = fence
        self._kept_closed(slot, lease_id)
        # If a hand deleted the slot of a claim in flight, its second sending may take the new slot.
        self.robbed.pop(lease_id, None)
        if before is not None and "retired" in before:
            raise Violation("N", f"slot {slot} is retired and was leased all the same")
        old = _lease_id(before) if before else None
        if old is None or before is None:
            return
        self.takeovers += 1
        expired = int(before["expires_at"]["N"])
        earliest = (self.world.now - 1.0) * 1000  # front ends differ by a second at most
        if expired > earliest + 2000:
            raise Violation(
                "S5", f"slot {slot}: {lease_id} took it {expired - self.world.now * 1000:.0f} ms before {old} expired"
            )

    def _adopted(self, slot: int, lease_id: str, giver: str, fence: int, before: Item, after: Item) -> None:
        if giver not in self.handed_over:
            raise Violation("S5", f"slot {slot}: {lease_id} was adopted from {giver}, which nobody has handed over")
        if "revoked" in before:
            raise Violation("S5", f"slot {slot}: {lease_id} was adopted although {giver} was revoked")
        if lease_id in self._gone and slot not in self.by_hand:
            raise Violation("S5", f"slot {slot}: lease {lease_id} came back after its end")
        if fence <= self._fences.get(slot, -1):
            raise Violation("S3", f"slot {slot}: fence {fence} after {self._fences[slot]}")
        if ("retired" in before) != ("retired" in after):
            raise Violation("N", f"slot {slot}: an adoption has brought it back")
        self._fences[slot] = fence
        self.robbed.pop(lease_id, None)
        self.adopted += 1

    def _closed(self, slot: int, lease_id: str, before: Item | None, after: Item) -> None:
        """A holder gave its slot back, and keeps it closed: no lease of anybody's, under the old one's fence."""
        self.kept_closed += 1
        if before is None or before["fence"] != after["fence"]:
            raise Violation("S3", f"slot {slot}: {lease_id} has another fence than the lease that it closed")
        if any(held.lease.id == _lease_id(before) and held.believes() for p in self.processes for held in p.held):
            raise Violation("S2", f"slot {slot} was closed while its lease was believed in")

    def _kept_closed(self, slot: int, lease_id: str) -> None:
        """H: nobody else leases a slot before the time that its last holder asked for, unless somebody opened it."""
        last, until = self._promised.pop(slot, ("", 0.0))
        opened = {last, closed_id(last)} & set(self.robbed) or slot in self.by_hand
        if self.world.now < until - 1.0 and not opened:  # front ends differ by a second at most
            raise Violation(
                "H", f"slot {slot}: {lease_id} leased it {until - self.world.now:.1f} s before {last} allowed that"
            )

    def _counter_changed(self, change: Change) -> None:
        if self.editing:
            self.by_hand.add("minted" if change.after is not None else "counter")
            return
        if change.before is not None and change.after is not None:
            if int(change.after["rev"]["N"]) <= int(change.before["rev"]["N"]):
                raise Violation("S4", "the counter was written without a higher rev")
            if int(change.before["minted"]["N"]) >= int(change.before["max_tokens"]["N"]):
                self.re_mints += 1
            else:
                self.mints += 1

    def _count(self, *, made_anew: bool) -> None:
        counter = self.service.items.get(COUNTER)
        if counter is None:
            return
        circulating = self._circulating()
        limit = int(counter["max_tokens"]["N"])
        strays = {slot for slot in circulating if slot >= limit}
        if made_anew:
            self._strays = strays  # somebody had deleted the counter: it has another bound now
        if not strays <= self._strays:
            raise Violation("N", f"slots {strays} circulate, of {limit} tokens")
        self._strays = strays
        minted = int(counter["minted"]["N"])
        # A stray need not have been counted, nor is it when the bound is raised above it.
        self._uncounted = (self._uncounted | strays) & set(circulating)
        if minted < len(set(circulating) - self._uncounted) and "minted" not in self.by_hand:
            raise Violation("S4", f"minted is {minted}, with {len(circulating)} slots in circulation")

    def _recounted(self, changes: list[Change], arguments: Arguments) -> None:
        """A repair has counted: that undoes what hands did to the count."""
        if not arguments.get("UpdateExpression", "").startswith("SET #minted = :minted,"):
            return
        self.by_hand.discard("minted")
        self._uncounted.clear()
        after = changes[0].after
        counted = {slot for slot in self._circulating() if slot < self._counter("max_tokens")}
        # TTL may have deleted a slot since it was counted.
        if after is None or int(after["minted"]["N"]) < len(counted):
            raise Violation("S4", f"a repair counted {after and after['minted']}, of {len(counted)} slots")

    def _circulating(self) -> list[int]:
        return [
            int(key[1].removeprefix("slot#"))
            for key, item in self.service.items.items()
            if key[1].startswith("slot#") and "retired" not in item
        ]

    def _counter(self, name: str) -> int:
        counter: Any = self.service.items.get(COUNTER)
        return 1_000_000 if counter is None else int(counter[name]["N"])


def _is_adoption(arguments: Arguments) -> bool:
    parts = arguments.get("TransactItems", ({"Update": arguments},))
    return all(":adopter" in part.get("Update", {}).get("ExpressionAttributeValues", {}) for part in parts)


def _lease_id(item: Item) -> str | None:
    return str(item["lease_id"]["S"]) if "lease_id" in item else None
