"""The referee of rates: judges permits by what their users noted. It shares no code with the library.

A user notes when it called for permits and when the call ended, in nanoseconds of the machine's steady clock, which all
processes of a machine share. Permits count as used at some instant between the two, so a window certainly has those
whose call lies wholly within it. A machine that stalls makes calls longer and never makes more of them fit: a violation
that is found here is one, however busy the machine was.

Whoever wants the stricter count, by the instants at which calls returned, asks for that of `as_returned(calls)`.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What a rate allows: `permits` in `per` seconds, and `burst` at once."""

    permits: float
    per: float = 1.0
    burst: int

    @property
    def a_nanosecond(self) -> Fraction:
        return Fraction(self.permits) / (Fraction(self.per) * NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call for n permits.

    Attributes:
        process: Who called.
        n: How many permits it wanted, all together.
        wanted: When it was called, in nanoseconds.
        ended: When it returned or raised.
        served: Whether it had its permits.
    """

    process: int
    n: int = 1
    wanted: int
    ended: int
    served: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Permits that were used within a window of time, and how many of them a rate does not allow.

    Attributes:
        since: Its first instant, in nanoseconds.
        until: Its last.
        permits: How many were used in it.
        excess: Permits beyond ``rate * (t + s) + burst``; negative where there were fewer.
    """

    since: int
    until: int
    permits: int
    excess: Fraction

    def __str__(self) -> str:
        return f"{self.permits} permits in {(self.until - self.since) / NS:.6f} s: {float(self.excess):.2f} too many"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaken:
    """A call that others overtook: they called later, and were served earlier.

    Attributes:
        call: The call.
        permits: How many permits they had.
    """

    call: Call
    permits: int

    def __str__(self) -> str:
        waited = (self.call.ended - self.call.wanted) / NS
        came = "served" if self.call.served else "not served"
        return (
            f"process {self.call.process} wanted {self.call.n}, was {came} after {waited:.3f} s, "
            f"and {self.permits} permits went to later callers"
        )


# ---- What users noted.


def read_calls(path: Path, process: int) -> list[Call]:
    """The calls that one process noted in its file; none if it has not begun one."""
    lines = path.read_text().splitlines() if path.exists() else []
    noted = [json.loads(line) for line in lines]
    return [
        Call(process=process, n=one["n"], wanted=one["wanted"], ended=one["ended"], served=one["outcome"] == "served")
        for one in noted
        if "outcome" in one
    ]


def read_uncertainty(path: Path) -> float:
    """The most by which a process said that its clock may be off, in seconds; 0.0 if it has not said so."""
    lines = path.read_text().splitlines() if path.exists() else []
    return max((json.loads(line).get("uncertainty", 0.0) for line in lines), default=0.0)


def as_returned(calls: Iterable[Call]) -> list[Call]:
    """The same calls, as if each had been made at the instant at which it ended."""
    return [replace(call, wanted=call.ended) for call in calls]


def served_by(calls: Iterable[Call]) -> dict[int, int]:
    """The permits that each process had."""
    shares: dict[int, int] = {}
    for call in calls:
        shares[call.process] = shares.get(call.process, 0) + (call.n if call.served else 0)
    return shares


def within(calls: Iterable[Call], since: int, until: int) -> list[Call]:
    """The calls that ended in a stretch of time."""
    return [call for call in calls if since <= call.ended <= until]


# ---- The judgement.


def worst_window(calls: Iterable[Call], allowed: Allowed, *, apart: float = 0.0) -> Window | None:
    """The window of time, among all, in which a rate was exceeded by most; None if no permit was used.

    Args:
        calls: What was noted.
        allowed: The rate.
        apart: By how many seconds the clocks of those who send may lie apart: s.

    The arithmetic is exact. It takes n log n steps for n calls: windows are ended at each return, from the first on,
    and of the beginnings a tree knows the best.
    """
    used = sorted((call for call in calls if call.served), key=lambda call: call.ended)
    if not used:
        return None
    rate = allowed.a_nanosecond
    p, q = rate.numerator, rate.denominator
    order = sorted(range(len(used)), key=lambda number: used[number].wanted)
    place = {number: leaf for leaf, number in enumerate(order)}
    beginnings = _Beginnings(len(used))
    most, until = -math.inf, used[0].ended
    for number, call in enumerate(used):
        beginnings.add(place[number], begins=p * call.wanted, permits=q * call.n)
        value = beginnings.best - p * call.ended
        if value > most:
            most, until = value, call.ended
    # Which one it was, at which beginning: once, and backwards, from the window's end.
    inside = sorted((call for call in used if call.ended <= until), key=lambda call: call.wanted, reverse=True)
    permits, best, found = 0, -math.inf, (until, 0)
    for call in inside:
        permits += call.n
        value = q * permits + p * call.wanted
        if value > best:
            best, found = value, (call.wanted, permits)
    since, permits = found
    seconds = Fraction(until - since) + Fraction(apart) * NS
    return Window(since=since, until=until, permits=permits, excess=permits - rate * seconds - allowed.burst)


class _Beginnings:
    """The best beginning of a window, as permits are added: a tree whose leaves are calls, by when they began.

    A node has the permits of its calls, and the most, over its calls, of `begins` plus the permits of those from there
    on.
    """

    def __init__(self, calls: int) -> None:
        self._first = 1 << max(0, calls - 1).bit_length()
        self._permits = [0] * (2 * self._first)
        self._best: list[float] = [-math.inf] * (2 * self._first)

    def add(self, leaf: int, *, begins: int, permits: int) -> None:
        node = self._first + leaf
        self._permits[node], self._best[node] = permits, begins + permits
        node //= 2
        while node:
            left, right = 2 * node, 2 * node + 1
            self._permits[node] = self._permits[left] + self._permits[right]
            earlier = self._best[left]
            # No sum with an infinity: it would round the large whole numbers.
            self._best[node] = (
                self._best[right] if earlier == -math.inf else max(self._best[right], earlier + self._permits[right])
            )
            node //= 2

    @property
    def best(self) -> float:
        return self._best[1]


def overtaken(calls: Iterable[Call], *, slack: float) -> list[Overtaken]:
    """The calls that later callers overtook, and by how many permits, the worst first.

    Args:
        calls: What was noted.
        slack: Seconds. Another one called later, and was served earlier, if it was so by more than this: a request
            takes its time to the table, and a thread its time to wake up.
    """
    slack_ns = int(slack * NS)
    everyone = sorted(calls, key=lambda call: call.wanted)
    began = [call.wanted for call in everyone]
    found = []
    for call in everyone:
        first = bisect.bisect_right(began, call.wanted + slack_ns)
        last = bisect.bisect_left(began, call.ended - slack_ns)
        permits = sum(other.n for other in everyone[first:last] if other.served and other.ended < call.ended - slack_ns)
        if permits:
            found.append(Overtaken(call=call, permits=permits))
    return sorted(found, key=lambda one: -one.permits)


def to_its_place(call: Call, calls: Iterable[Call], allowed: Allowed, *, slack: float) -> float:
    """How long a call waited, relative to its place: to the time that the rate needs for it and all before it.

    Before it are those that called at most `slack` seconds later than it, and had not been served when it called.
    """
    slack_ns = int(slack * NS)
    ahead = sum(
        other.n
        for other in calls
        if other is not call and other.wanted <= call.wanted + slack_ns and other.ended > call.wanted
    )
    due = (ahead + call.n) / allowed.a_nanosecond
    return (call.ended - call.wanted) / float(due)


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index (Jain, Chiu, Hawe, 1984): 1 where all got the same, 1/n where one got all."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else float("nan")


def forgone(calls: Iterable[Call], allowed: Allowed, *, since: int, until: int) -> float:
    """The permits that a rate had for a stretch of time and nobody used, its burst aside; negative where it was used.

    It says something only where somebody wanted permits all the time.
    """
    used = sum(call.n for call in within(calls, since, until) if call.served)
    return float(allowed.a_nanosecond * (until - since)) - used
