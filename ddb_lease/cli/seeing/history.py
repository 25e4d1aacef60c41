"""What timestamped lines tell: who held which slot when, who waited, what was lost and revoked. Pure.

Two kinds of lines are read, in any order and mixed: events of a bucket (`event`: Acquired, Renewed, Released, Lost and
so on), and snapshots as `status --watch --json` prints them. Both have `at` and the bucket's name.

Invariants:

- A line that cannot be read is reported with its number, and ends nothing.
- A lease that both kinds tell of is one. Where they differ, the event is believed: a snapshot knows the end of a lease
  only to within two reads, and says so.
- What is not known is ignored: other events, other fields.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, TypeAlias

from ddb_lease._protocol.closing import is_closed_id
from ddb_lease.cli.seeing.stamps import KEY, seconds_in

Line: TypeAlias = tuple[float, Mapping[str, Any]]
"""A line's time, and the line."""

SHORTEST_WAIT: Final = 0.02
"""Seconds; what is shorter is no wait, but the time of a request."""

_OF_LEASE: Final = ("lease_id", "slot", "age_seconds", "remaining_seconds", "owner", "fence", "revoked")
_OF_SNAPSHOT: Final = ("bucket", "name", "max_tokens", "queue")
_MARKS: Final = {"Throttled": "throttled", "Contended": "contended", "ReMinted": "minted again"}


@dataclass(slots=True)
class Hold:
    """A lease on one slot. Times are seconds since the epoch.

    Attributes:
        end: None while it is not known to have ended; `seen` is when it was last known to be held.
        ending: ``released``, ``lost``, ``expired``, ``gone`` (no longer in a snapshot), or ``open``.
        uncertain: By how many seconds `end` may be off.
    """

    lease_id: str
    slot: int
    owner: str
    start: float
    seen: float
    fence: int | None = None
    end: float | None = None
    ending: str = "open"
    reason: str = ""
    revoked_at: float | None = None
    uncertain: float = 0.0

    @property
    def shown_end(self) -> float:
        """Where it ends in a picture."""
        return max(self.start, self.seen if self.end is None else self.end)


@dataclass(slots=True)
class Wait:
    """A wait; `outcome` is ``served``, ``gone`` or ``open``."""

    owner: str
    start: float
    end: float
    outcome: str = "open"
    count: int = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at one moment."""

    at: float
    kind: str
    text: str


@dataclass(slots=True)
class Outage:
    """A time without answers."""

    start: float
    end: float
    message: str


@dataclass(slots=True)
class BucketHistory:
    """What is known of one bucket."""

    name: str
    max_tokens: int | None = None
    holds: list[Hold] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)

    @property
    def lost(self) -> Counter[str]:
        """Leases that were lost, or ran out unreleased, by reason."""
        found = {hold.lease_id: hold.reason or hold.ending for hold in self.holds if hold.ending in {"lost", "expired"}}
        return Counter(found.values())

    @property
    def revoked(self) -> int:
        """Leases that were revoked."""
        return len({hold.lease_id for hold in self.holds if hold.revoked_at is not None or hold.reason == "revoked"})


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that cannot be read."""

    file: str
    number: int
    why: str


def parsed(file: str, texts: Iterable[str], problems: list[Problem]) -> list[Line]:
    """The lines of a file; those that cannot be read are added to `problems`, empty ones are skipped."""
    lines: list[Line] = []
    texts_seen: dict[Any, Any] = {}
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            problems.append(Problem(file, number, "is not JSON"))
            continue
        try:
            if not isinstance(line, dict):
                raise ValueError("is no JSON object")  # noqa: TRY004 - told like all that is wrong with a line
            if KEY not in line:
                raise ValueError(f"has no {KEY!r}")
            at = seconds_in(line[KEY])
            if not isinstance(_name(line), str):
                raise ValueError("names no bucket")  # noqa: TRY004 - likewise
        except (ValueError, OverflowError) as problem:
            problems.append(Problem(file, number, str(problem)))
            continue
        if isinstance(line.get("leases"), list):
            line = _lean(line, texts_seen)  # a long watch has millions of leases
        lines.append((at, line))
    return lines


def _lean(line: Mapping[str, Any], texts: dict[Any, Any]) -> dict[str, Any]:
    """What is needed of a snapshot, with one copy of each text."""
    leases = [
        tuple(texts.setdefault(one, one) if isinstance(one, str) else one for one in map(lease.get, _OF_LEASE))
        for lease in line["leases"]
        if isinstance(lease, dict)
    ]
    rest = {name: line[name] for name in _OF_SNAPSHOT if name in line}
    return rest | {"leases": leases}


def histories(lines: Sequence[Line]) -> list[BucketHistory]:
    """What the lines tell of each bucket, by name."""
    found: dict[str, _Reader] = {}
    for at, line in sorted(lines, key=lambda line: line[0]):
        name = _name(line)
        if name not in found:
            found[name] = _Reader(name)
        found[name].read(at, line)
    read = [found[name].ended() for name in sorted(found)]
    return [one for one in read if one.max_tokens or one.holds or one.waits or one.marks or one.outages]


def _name(line: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever the line has
    return line.get("bucket", line.get("name", line.get("rate")))


class _Reader:
    """Reads the lines of one bucket, in the order of their times."""

    def __init__(self, name: str) -> None:
        self._bucket = BucketHistory(name)
        self._leases: dict[str, dict[int, Hold]] = {}
        self._shown: dict[tuple[str, int], Hold] = {}  # in the last snapshot, and not ended
        self._waiting: dict[tuple[str, str], Wait] = {}  # in the last snapshot
        self._asking: dict[tuple[str, str], Wait] = {}  # by owner and ticket, from events
        self._last: float | None = None
        self._outage: Outage | None = None

    def read(self, at: float, line: Mapping[str, Any]) -> None:
        """Read one line."""
        event = line.get("event")
        if isinstance(event, str):
            self._event(at, event, line)
        elif "error" in line:
            self._no_answer(at, line)
        elif isinstance(line.get("leases"), list):
            self._snapshot(at, line)

    def ended(self) -> BucketHistory:
        """What all lines tell."""
        bucket = self._bucket
        bucket.holds.sort(key=lambda hold: (hold.slot, hold.start))
        for hold, following in pairwise(bucket.holds):
            if hold.end is None and following.slot == hold.slot:
                # Nobody told its end, but it has one.
                hold.end, hold.ending = following.start, "gone"
                hold.uncertain = max(0.0, following.start - hold.seen)
        bucket.waits.sort(key=lambda wait: wait.start)
        return bucket

    # Events.

    def _event(self, at: float, event: str, line: Mapping[str, Any]) -> None:
        lease_id = str(line.get("lease_id", ""))
        if event == "Acquired":
            self._acquired(at, lease_id, line)
        elif event == "Waiting":
            self._asks(at, line)
        elif event in _MARKS:
            text = " ".join(str(line[name]) for name in ("operation", "reason", "limit", "slot") if name in line)
            self._bucket.marks.append(Mark(at, _MARKS[event], text))
        else:
            for hold in self._leases.get(lease_id, {}).values():
                self._changed(hold, at, event, line)

    def _acquired(self, at: float, lease_id: str, line: Mapping[str, Any]) -> None:
        owner = str(line.get("owner") or "")
        for slot in _whole_numbers(line.get("slots")):
            hold = self._hold(lease_id, slot, owner or lease_id[:12], at)
            hold.start, hold.owner = at, owner or hold.owner
            hold.fence = line.get("fence") if isinstance(line.get("fence"), int) else hold.fence
        waited = line.get("waited_seconds")
        if isinstance(waited, (int, float)) and waited >= SHORTEST_WAIT:
            wait = self._asking.pop((owner, str(line.get("ticket") or "")), None) or self._queued(owner)
            if wait is None:
                wait = Wait(owner or lease_id[:12], at - waited, at)
                self._bucket.waits.append(wait)
            wait.start, wait.end, wait.outcome = at - waited, at, "served"

    def _asks(self, at: float, line: Mapping[str, Any]) -> None:
        owner, waited = str(line.get("owner") or ""), line.get("waited_seconds")
        if not owner or any(key[0] == owner for key in self._waiting):
            return  # a snapshot shows it, too
        key = owner, str(line.get("ticket") or "")
        if key not in self._asking:
            start = at - waited if isinstance(waited, (int, float)) else at
            self._asking[key] = Wait(owner, start, at, count=line["count"] if _is_count(line.get("count")) else 1)
            self._bucket.waits.append(self._asking[key])
        self._asking[key].end = at

    def _asked(self, owner: str, *, by: float) -> Wait | None:
        """Take out the first wait of an owner, as events told it, that had begun by then."""
        key = next((key for key, wait in self._asking.items() if key[0] == owner and wait.start <= by), None)
        return None if key is None else self._asking.pop(key)

    def _queued(self, owner: str) -> Wait | None:
        key = next((key for key in self._waiting if key[0] == owner), None)
        return None if key is None else self._waiting.pop(key)

    def _changed(self, hold: Hold, at: float, event: str, line: Mapping[str, Any]) -> None:
        if event == "Renewed":
            hold.seen = max(hold.seen, at)
        elif event in {"Released", "Lost", "HandedOver"}:
            hold.end, hold.uncertain = at, 0.0
            hold.ending = "lost" if event == "Lost" else "released"
            hold.reason = str(line.get("reason") or "") if event == "Lost" else ""
            if event == "HandedOver":
                hold.reason = "handed over"
            self._shown.pop((hold.lease_id, hold.slot), None)

    def _hold(self, lease_id: str, slot: int, owner: str, start: float) -> Hold:
        slots = self._leases.setdefault(lease_id, {})
        if slot not in slots:
            slots[slot] = Hold(lease_id, slot, owner, start, start)
            self._bucket.holds.append(slots[slot])
        return slots[slot]

    # Snapshots.

    def _snapshot(self, at: float, line: Mapping[str, Any]) -> None:
        bucket, before = self._bucket, self._last
        if isinstance(line.get("max_tokens"), int):
            bucket.max_tokens = line["max_tokens"]
        if self._outage is not None:
            self._outage.end, self._outage = at, None
        shown: dict[tuple[str, int], Hold] = {}
        for lease in line["leases"]:
            hold = self._seen(at, lease)
            if hold is not None and hold.end is None:
                shown[hold.lease_id, hold.slot] = hold
        for key, hold in self._shown.items():
            if key not in shown and hold.end is None:
                self._not_seen(hold, at, shown)
        self._shown, self._last = shown, at
        self._queue(at, at if before is None else before, line.get("queue"))

    def _seen(self, at: float, lease: Sequence[Any]) -> Hold | None:
        lease_id, slot, age, remaining, owner, fence, revoked = lease
        if not isinstance(lease_id, str) or not isinstance(slot, int) or not isinstance(age, (int, float)):
            return None
        owner, closed = str(owner or ""), is_closed_id(lease_id)
        if closed:
            owner = f"closed by {owner}"
        hold = self._hold(lease_id, slot, owner, at if closed else at - age)
        asked = self._asked(owner, by=hold.start)
        if asked is not None:
            asked.end, asked.outcome = hold.start, "served"
        if hold.end is not None:
            return hold  # by an event: the table shows a lost lease until somebody else has the slot
        hold.owner = owner or hold.owner
        if isinstance(fence, int):
            hold.fence = fence
        if revoked and hold.revoked_at is None:
            hold.revoked_at = at
        if isinstance(remaining, (int, float)) and remaining < 0:
            hold.end, hold.ending = max(hold.start, at + remaining), "expired"
        else:
            hold.seen = at
        return hold

    def _not_seen(self, hold: Hold, at: float, shown: Mapping[tuple[str, int], Hold]) -> None:
        """It ended between the last snapshot that shows it and this one, and before its slot's next lease began."""
        after = min([other.start for (_, slot), other in shown.items() if slot == hold.slot], default=at)
        latest = max(hold.seen, min(at, after))
        hold.end, hold.uncertain = (hold.seen + latest) / 2, (latest - hold.seen) / 2
        hold.ending = "gone"

    def _queue(self, at: float, before: float, queue: Any) -> None:  # noqa: ANN401 - whatever the line has
        waiting: dict[tuple[str, str], Wait] = {}
        for waiter in queue if isinstance(queue, list) else []:
            if not isinstance(waiter, dict) or not isinstance(waiter.get("owner"), str):
                continue
            try:
                since = seconds_in(waiter.get("since"))
            except (ValueError, OverflowError):
                continue
            key = (waiter["owner"], str(waiter["since"]))
            wait = self._waiting.pop(key, None)
            if wait is None:
                wait = self._asked(waiter["owner"], by=math.inf)
            if wait is None:
                wait = Wait(waiter["owner"], since, at, count=waiter["count"] if _is_count(waiter.get("count")) else 1)
                self._bucket.waits.append(wait)
            wait.end = at
            waiting[key] = wait
        for (owner, _), wait in self._waiting.items():
            got = [hold.start for hold in self._shown.values() if hold.owner == owner and hold.start >= before - 1]
            wait.outcome = "served" if got else "gone"
            wait.end = max(wait.start, min(got)) if got else (before + at) / 2
        self._waiting = waiting

    def _no_answer(self, at: float, line: Mapping[str, Any]) -> None:
        if line["error"] == "UnknownBucket":
            return  # that is an answer: nobody has used it yet
        if self._outage is None:
            self._outage = Outage(at if self._last is None else self._last, at, "")
            self._bucket.outages.append(self._outage)
        self._outage.end, self._outage.message = at, str(line.get("message") or line["error"])


def _whole_numbers(value: Any) -> list[int]:  # noqa: ANN401 - whatever the line has
    return [one for one in value if _is_count(one)] if isinstance(value, list) else []


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
