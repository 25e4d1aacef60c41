"""Hits of the storage for `limits`: a fixed window and a sliding one, what must hold, and what may happen to them.

Invariants:

- One key is looked at, any one, with a limit, any one: one fixed window, and one sliding window.
- What requests write is not written here: `shipped` takes it from the library; and of a fixed window, what to send, too.
- A request may be carried out at any time after it was sent, any number of times, or never.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import z3

from ddb_lease._protocol.hits import (
    KEPT_SECONDS,
    AddHits,
    BeginHits,
    DropHits,
    FixedHits,
    HitsKey,
    SlideBranch,
    SlideHits,
    hit,
)
from ddb_lease.dynamodb.hits import HITS_PREFIX
from tests.proof.shipped import Write
from tests.proof.steps import Clauses, Setting, Step
from tests.proof.symbols import Run
from tests.proof.theory import Part, Theory
from tests.proof.translation import ABSENT, MISSING, Item, any_item, exists, is_number

FIXED = ("pk", "count", "ends_at", "ttl")
SLIDING = ("pk", "count", "previous", "window", "ttl")
LENGTH = 60_000
"""Of the sliding window, in ms. It is part of the item's name, so that an item has one for ever."""
KEPT = 1000 * KEPT_SECONDS

_FIXED_KEY, _SLIDING_KEY = HitsKey(key="k"), HitsKey(key="k", length=LENGTH)
_BRANCHES: tuple[SlideBranch, ...] = ("same", "next", "new")

N, SENT_AT, SECONDS, LIMIT = z3.Ints("n sent_at seconds limit")
NUMBER, MOST_PREVIOUS, MOST, NEW_TTL = z3.Ints("number most_previous most new_ttl")
NOW, SKEW = z3.Int("now"), z3.Int("front ends' error")
WEIGHT = z3.Function("weight, when it was sent, of hits of the window before", z3.IntSort(), z3.IntSort())


@dataclass(frozen=True)
class State:
    """What there is at one instant.

    Attributes:
        fixed: The fixed window's item.
        sliding: The sliding window's item.
        counted: The hits of the fixed window since it began.
        let_in: Those of them that were let in.
    """

    fixed: Item
    sliding: Item
    counted: Any
    let_in: Any

    def but(self, **changes: Any) -> State:
        """This state, with changes."""
        return replace(self, **changes)


def a_state() -> State:
    """A state of which nothing is known."""
    return State(
        fixed=any_item("fixed.", FIXED),
        sliding=any_item("sliding.", SLIDING),
        counted=z3.Int("hits of the window"),
        let_in=z3.Int("hits of the window that were let in"),
    )


def value(item: Item, name: str) -> Any:
    """The number in an attribute."""
    return item.get(name, ABSENT).value


def beginning(s: State) -> list[Any]:
    """There is nothing."""
    none = [s.fixed[name].kind == MISSING for name in FIXED] + [s.sliding[name].kind == MISSING for name in SLIDING]
    return [*none, s.counted == 0, s.let_in == 0, LIMIT >= 0]


# The invariant.


def invariant(s: State) -> Clauses:
    """The invariant."""
    return {
        "shape of a fixed window": _shape(s.fixed, FIXED),
        "shape of a sliding window": _shape(s.sliding, SLIDING),
        "no hit of a fixed window is missed": z3.Implies(exists(s.fixed), value(s.fixed, "count") >= s.counted),
        "no more hits of a fixed window are let in than its limit": s.let_in <= LIMIT,
        "a hit that is let in is counted": z3.And(s.let_in >= 0, s.let_in <= s.counted),
        "a fixed window's ttl is not before its end and an hour": z3.Implies(
            exists(s.fixed), 1000 * value(s.fixed, "ttl") >= value(s.fixed, "ends_at") + KEPT
        ),
        "a sliding window's ttl is not before the next window's end and an hour": z3.Implies(
            exists(s.sliding), 1000 * value(s.sliding, "ttl") >= (value(s.sliding, "window") + 2) * LENGTH + KEPT
        ),
    }


def _shape(item: Item, names: tuple[str, ...]) -> Any:
    numbers = z3.And([is_number(item, name) for name in names if name != "pk"])
    return z3.If(exists(item), numbers, z3.And([item.get(name, ABSENT).kind == MISSING for name in names]))


def known(s: State, setting: Setting) -> list[Any]:
    """What is known of a state in which the invariant holds, and of what clients make sure of."""
    return [*invariant(s).values(), LIMIT >= 0, N >= 0, SKEW >= 0]


# The requests.


def add(run: Run) -> AddHits:
    """What is sent where a window is known that runs."""
    window = FixedHits(count=0, ends_at=run.symbol(SENT_AT) + 1)
    request = hit(_FIXED_KEY, window, n=run.symbol(N), seconds=run.symbol(SECONDS), now=run.symbol(SENT_AT))
    assert isinstance(request, AddHits)
    return request


def begin(run: Run) -> BeginHits:
    """What is sent where none is known."""
    request = hit(_FIXED_KEY, None, n=run.symbol(N), seconds=run.symbol(SECONDS), now=run.symbol(SENT_AT))
    assert isinstance(request, BeginHits)
    return request


def slide(run: Run, branch: SlideBranch) -> SlideHits:
    return SlideHits(
        key=_SLIDING_KEY,
        branch=branch,
        n=run.symbol(N),
        number=run.symbol(NUMBER),
        most_previous=run.symbol(MOST_PREVIOUS),
        most=run.symbol(MOST),
        ttl=run.symbol(NEW_TTL),
    )


# What may happen.


def steps(s: State, setting: Setting) -> Iterator[Step[State]]:
    """All that may happen to the two windows."""
    before, ends_at = value(s.fixed, "count"), value(s.fixed, "ends_at")
    for way in setting.sent("add hits", add):
        (write,) = way.returned
        happens, item = write.on(s.fixed)
        promises = {
            **_apart(write),
            "hits are added to a window that is not over when they are sent": z3.And(
                exists(s.fixed), ends_at > SENT_AT, value(item, "ends_at") == ends_at
            ),
            "what is shown has all hits before, and these": value(item, "count") == before + N,
        }
        yield Step("hits are added", [*way.supposed, happens], _let_in(s, item, s.counted, s.let_in), promises)
    for way in setting.sent("begin a window", begin):
        (write,) = way.returned
        happens, item = write.on(s.fixed)
        promises = {
            **_apart(write),
            "a window begins where none is, or one that is over when this is sent": z3.Implies(
                exists(s.fixed), ends_at <= SENT_AT
            ),
            "a window lasts its length from when its first hit is sent": value(item, "ends_at")
            == SENT_AT + 1000 * SECONDS,
            "what is shown has these hits": value(item, "count") == N,
        }
        yield Step("a window begins", [*way.supposed, happens], _let_in(s, item, 0, 0), promises)
    for branch in _BRANCHES:
        yield from _slides(s, setting, branch)
    for which, key in (("fixed", _FIXED_KEY), ("sliding", _SLIDING_KEY)):
        for way in setting.sent(f"forget hits, {which}", lambda run, key=key: DropHits(key=key)):
            (write,) = way.returned
            happens, item = write.on(getattr(s, which))
            promises = {**_apart(write), "nothing is left of hits that are forgotten": z3.Not(exists(item))}
            after = s.but(fixed=item, counted=z3.IntVal(0), let_in=z3.IntVal(0)) if which == "fixed" else s
            after = after if which == "fixed" else s.but(sliding=item)
            yield Step(f"hits of the {which} window are forgotten", [*way.supposed, happens], after, promises)
    if setting.only is None:
        yield from _around(s, setting)


def _let_in(s: State, item: Item, counted: Any, let_in: Any) -> State:
    """The state after hits were counted in a fixed window, which then had so many; who sent them reads the count."""
    fits = value(item, "count") <= LIMIT
    return s.but(fixed=item, counted=counted + N, let_in=let_in + z3.If(fits, N, 0))


def _slides(s: State, setting: Setting, branch: SlideBranch) -> Iterator[Step[State]]:
    window, count, previous = (value(s.sliding, name) for name in ("window", "count", "previous"))
    room = {"same": MOST + WEIGHT(MOST_PREVIOUS), "next": WEIGHT(MOST_PREVIOUS), "new": WEIGHT(0)}[branch]
    whose = previous if branch == "same" else count
    assumed = [
        setting.assume("hits are sent that fit by what is asked of the item", room + N <= LIMIT),
        setting.assume(
            "more hits of the window before weigh no less",
            z3.Implies(whose <= MOST_PREVIOUS, WEIGHT(whose) <= WEIGHT(MOST_PREVIOUS)),
        ),
        setting.assume(
            "ttl is the end of the next window at least, and an hour", 1000 * NEW_TTL >= (NUMBER + 2) * LENGTH + KEPT
        ),
    ]
    for way in setting.sent(f"slide, {branch}", lambda run: slide(run, branch)):
        (write,) = way.returned
        happens, item = write.on(s.sliding)
        after_window, after_count, after_previous = (value(item, name) for name in ("window", "count", "previous"))
        kept = {
            "same": z3.And(after_window == window, after_previous == previous, after_count == count + N),
            "next": z3.And(after_window == window + 1, after_previous == count, after_count == N),
            "new": z3.And(
                z3.Implies(exists(s.sliding), after_window > window + 1), after_previous == 0, after_count == N
            ),
        }[branch]
        promises = {
            **_apart(write),
            "hits are counted in the window that they are sent for": after_window == NUMBER,
            "no hit is missed of a sliding window, nor of the one before": kept,
            "hits that are let in fit, weighted as when they were sent": after_count + WEIGHT(after_previous) <= LIMIT,
        }
        name = f"hits slide, {branch} window"
        yield Step(name, [*way.supposed, *assumed, happens], s.but(sliding=item), promises)


def _around(s: State, setting: Setting) -> Iterator[Step[State]]:
    """TTL."""
    name = "TTL deletes what is past its ttl"
    for which, counts_until in (
        ("fixed", value(s.fixed, "ends_at")),
        ("sliding", (value(s.sliding, "window") + 2) * LENGTH),
    ):
        item: Item = getattr(s, which)
        over = setting.assume(name, 1000 * value(item, "ttl") < NOW + SKEW)
        promises = {"TTL deletes nothing that counts, nor within an hour": counts_until + KEPT < NOW + SKEW}
        none = s.but(fixed={}, counted=z3.IntVal(0), let_in=z3.IntVal(0)) if which == "fixed" else s.but(sliding={})
        yield Step(f"TTL deletes the {which} window", [exists(item), is_number(item, "ttl"), over], none, promises)


def foreign(s: State, setting: Setting) -> Iterator[Step[State]]:
    """All requests, to items of which nothing is known but the key."""
    ours = {"add hits": "ends_at", "begin a window": "ends_at"}
    for name, sent_ways in setting.requests().items():
        number = "count" if name.startswith("forget") else ours.get(name, "window")
        for way in sent_ways if setting.only in {None, name} else ():
            (write,) = way.returned
            item = s.fixed if where(write) == "fixed window" else s.sliding
            happens, _ = write.on(item)
            promise = {"F: no item is changed that has no such number": is_number(item, number)}
            yield Step(f"{name}, to an item of any shape", [*way.supposed, exists(item), happens], s, promise)


def _apart(write: Write) -> Clauses:
    return {"what is written is hits: no slot, no counter, no ticket, no rate": z3.BoolVal(is_hits(write))}


def is_hits(write: Write) -> bool:
    """Whether a write is to hits, by its key."""
    return write.sort.startswith(HITS_PREFIX)


def where(write: Write) -> str:
    """Which window a write is to."""
    return "fixed window" if write.sort.startswith(f"{HITS_PREFIX}0#") else "sliding window"


def shown(s: State) -> list[tuple[str, Any, Any]]:
    """A state, for people."""
    rows: list[tuple[str, Any, Any]] = []
    for called, item, names in (("fixed", s.fixed, FIXED), ("sliding", s.sliding, SLIDING)):
        rows += [(f"{called}: {name}", item.get(name, ABSENT), True) for name in names if name != "pk"]
    rows += [("hits of the window", s.counted, True), ("hits that were let in", s.let_in, True)]
    terms = (N, SENT_AT, SECONDS, LIMIT, NUMBER, MOST_PREVIOUS, MOST, NEW_TTL, NOW, SKEW)
    return [*rows, *((str(term), term, True) for term in terms)]


HITS = Theory(
    name="Hits",
    state=a_state,
    beginning=beginning,
    parts=(Part(steps, known, invariant), Part(foreign, lambda s, setting: [], lambda s: {})),
    where=where,
    alike=lambda write: write.texts,
    also_removed={"fixed window": FIXED[1:], "sliding window": SLIDING[1:]},
    looked_at=lambda what: True,
    redundant={},
    shown=shown,
)
