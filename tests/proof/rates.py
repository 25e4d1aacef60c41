"""Rates: the state of one limit of one key, its invariant, and what may happen, from which the envelope follows.

Invariants:

- One limit of one key is looked at, any one; and one process's hold, any one's.
- The envelope is that of a window from any instant on, `START`. Amounts are nanoseconds: a permit costs an interval.
- What requests write is not written here, nor when permits are due: `shipped` and `charging.due_of` say so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import z3

from ddb_lease._protocol.rates.charging import due_of, due_times
from ddb_lease._protocol.rates.messages import (
    Block,
    Branch,
    ChangePolicy,
    Charge,
    ChargeTogether,
    CreatePolicy,
    LimitCharge,
    LimitSettlement,
    Override,
    Reset,
    Settle,
)
from ddb_lease._protocol.rates.records import RATES_SCHEMA, Hold, KeyState, LimitPolicy, LimitState, Policy
from tests.proof.shipped import CallFor, Sent, Write, sent
from tests.proof.steps import Clauses, Setting, Step
from tests.proof.symbols import Run, Way, term_of, ways
from tests.proof.translation import ABSENT, MISSING, NUMBER, OTHER, STRING, Item, any_item, exists, has, is_number

LIMIT = ("tat#x", "held#x", "reach#x")
ANOTHER = ("tat#y", "held#y", "reach#y")
HOLD = ("hold#p", "hold#p.attempt", "hold#p.until", "hold#p.held", "hold#p.held.x")
KEY = ("pk", "schema", "rev", "ttl", "a0", "override", "override_rev", "blocked_until", *LIMIT, *ANOTHER, *HOLD)
POLICY = ("pk", "schema", "rev", "limits")
NS = 1_000_000_000

_INTS, _BOOL = z3.IntSort(), z3.BoolSort()
TOLERANCE = z3.Function("tolerance of the limit under rev and override_rev", _INTS, _INTS, _INTS)
BEFORE = z3.Function("hold changed by", _INTS, _INTS)
"""The attempt that the process's hold must show, for an attempt that changes it."""
AMOUNT = z3.Function("held after", _INTS, _INTS)
"""What the process holds of the limit after an attempt."""
OVERRIDDEN = z3.Function("overridden under override_rev", _INTS, _BOOL)

START = z3.Int("start of the window")
ACTOR, ONE = z3.Ints("actor one")
DUE, HORIZON, CHARGED, RESERVED, CUT, NEW_REV, OVERRIDE_REV, NEW_TTL = z3.Ints(
    "due horizon charged reserved cut new_rev override_rev new_ttl"
)
NOW, USED, SETTLED, UNTIL, NEW_OVERRIDE_REV, REACHED = z3.Ints("now used settled until new_override_rev reach_after")
LATER_WAITERS = z3.Int("permits of later waiters")
SEEN_HELD, LAST_USE, REV_SEEN = z3.Ints("held_as_seen last_use_of_what_is_held rev_as_seen")
FIRST, CHANGED = z3.Bool("the process holds nothing"), z3.Bool("the limit was changed since")


@dataclass(frozen=True)
class State:
    """What there is at one instant.

    Attributes:
        item: The key's item.
        policy: The policy's item.
        counted: What permits cost that were booked and are due in the window, or were settled in it, since the limit
            or its override was last changed.
        others: What all other processes hold of the limit.
        forgotten: When TTL last deleted the key.
        done: Of an attempt: whether it was carried out.
        over: Whether the hold that it left was changed or removed since.
    """

    item: Item
    policy: Item
    counted: Any
    others: Any
    forgotten: Any
    done: Callable[[Any], Any]
    over: Callable[[Any], Any]

    def but(self, **changes: Any) -> State:
        """This state, with changes."""
        return replace(self, **changes)

    def of(self, field: str, number: Any) -> State:
        """This state, with one attempt more of which something is true."""
        before = getattr(self, field)
        return replace(self, **{field: lambda asked: z3.Or(asked == number, before(asked))})


def a_state() -> State:
    """A state of which nothing is known."""
    return State(
        item=any_item("key.", KEY),
        policy=any_item("policy.", POLICY),
        counted=z3.Int("counted"),
        others=z3.Int("held by others"),
        forgotten=z3.Int("forgotten"),
        done=z3.Function("done", _INTS, _BOOL),
        over=z3.Function("over", _INTS, _BOOL),
    )


def value(item: Item, name: str) -> Any:
    """The number in an attribute; 0 if there is none."""
    found = item.get(name, ABSENT)
    return z3.If(found.kind == NUMBER, found.value, 0)


def limited(s: State) -> Any:
    """Whether the limit was ever charged."""
    return has(s.item, "tat#x")


def holds(s: State) -> Any:
    """Whether the process holds anything of the key."""
    return has(s.item, "hold#p")


def holder(s: State) -> Any:
    """The attempt that its hold shows."""
    return s.item.get("hold#p.attempt", ABSENT).value


# The invariant.


def invariant(s: State) -> Clauses:
    """The invariant, of an attempt of which nothing is known."""
    return {**_of_items(s), **_of_attempt(s, ONE)}


def _of_items(s: State) -> Clauses:
    item = s.item
    tat, held, reach = (value(item, name) for name in LIMIT)
    paid = z3.If(limited(s), tat, s.forgotten)
    ours = [is_number(item, "schema"), value(item, "schema") == RATES_SCHEMA, is_number(item, "rev")]
    optional = [
        z3.Or(item.get(name, ABSENT).kind == MISSING, is_number(item, name))
        for name in ("ttl", "override_rev", "blocked_until", "hold#p.held.x")
    ]
    whole = [
        z3.Or(z3.And([is_number(item, n) for n in names]), z3.Not(z3.Or([has(item, n) for n in names])))
        for names in (LIMIT, ANOTHER)
    ]
    hold = z3.If(
        holds(s),
        z3.And(item.get("hold#p", ABSENT).kind == OTHER, item.get("hold#p.attempt", ABSENT).kind == STRING),
        z3.And([item.get(name, ABSENT).kind == MISSING for name in HOLD]),
    )
    return {
        "shape of a key": z3.If(
            exists(item),
            z3.And([*ours, *optional, *whole, hold, value(item, "override_rev") >= 0]),
            z3.And([item.get(name, ABSENT).kind == MISSING for name in KEY]),
        ),
        "reach is tat + held": z3.Implies(limited(s), reach == tat + held),
        "what is held is what the processes hold": z3.And(
            held == value(item, "hold#p.held.x") + s.others, s.others >= 0, value(item, "hold#p.held.x") >= 0
        ),
        "what is counted in the window is paid for after its start": z3.And(
            s.counted >= 0,
            z3.Implies(s.counted > 0, s.counted <= paid - START),
            z3.Implies(z3.And(s.counted > 0, limited(s)), tat >= s.forgotten),
        ),
        "an item has an override, or a ttl": z3.Implies(
            exists(item),
            z3.And(
                has(item, "override") == OVERRIDDEN(value(item, "override_rev")),
                has(item, "override") != is_number(item, "ttl"),
            ),
        ),
        "ttl is not before all is paid for": z3.Implies(
            z3.And(limited(s), is_number(item, "ttl")), NS * value(item, "ttl") >= reach
        ),
    }


def _of_attempt(s: State, a: Any) -> Clauses:
    shows = z3.And(holds(s), holder(s) == a)
    return {
        "a hold that was changed or removed does not come back": z3.Implies(
            shows, z3.And(s.done(a), z3.Not(s.over(a)))
        ),
        "a hold is as its attempt left it": z3.Implies(shows, value(s.item, "hold#p.held.x") == AMOUNT(a)),
        "an attempt ends the hold that it changes": z3.Implies(z3.And(s.done(a), BEFORE(a) > 0), s.over(BEFORE(a))),
        "nothing is over that was not carried out": z3.Implies(s.over(a), s.done(a)),
    }


def known(s: State, setting: Setting) -> list[Any]:
    """What is known of a state in which the invariant holds, and of what clients make sure of."""
    formulas = [*_of_items(s).values(), ACTOR > 0, ONE > 0]
    for a in (ACTOR, ONE, holder(s), BEFORE(ACTOR)):
        formulas += _of_attempt(s, a).values()
    positive = [CHARGED, RESERVED, HORIZON, USED, SETTLED, OVERRIDE_REV, NEW_REV, DUE, CUT, NOW, START]
    formulas.append(z3.Not(OVERRIDDEN(0)))
    return [*formulas, *(number >= 0 for number in positive)]


# The requests.


def _charge(run: Run, branch: Branch, *, adopts: bool, overridden: bool, stays: bool, several: bool = False) -> Charge:
    reserved: Any = run.symbol(RESERVED) if branch != "kept" else 0
    charged: Any = run.symbol(CHARGED) if branch != "kept" else 0
    override_rev: Any = run.symbol(OVERRIDE_REV) if overridden else 0
    own = LimitCharge(
        name="x",
        branch=branch,
        charged=charged,
        reserved=reserved,
        tolerance=run.symbol(TOLERANCE(NEW_REV, term_of(override_rev))),
        cut=run.symbol(CUT),
    )
    other = LimitCharge(name="y", branch="busy", charged=run.symbol("charged_y"), tolerance=run.symbol("tolerance_y"))
    reserving = bool(reserved > 0)
    first = reserving and run.decide(FIRST)
    hold = Hold(held={"x": run.symbol(AMOUNT(ACTOR))}, until=run.symbol(UNTIL), attempt=run.symbol(ACTOR))
    return Charge(
        key="k",
        limits=(own, other) if several else (own,),
        due=run.symbol(DUE),
        horizon=0 if several or branch == "kept" or not (charged + reserved > 0) else run.symbol(HORIZON),
        rev=run.symbol(NEW_REV),
        adopts=adopts,
        override_rev=override_rev,
        process="p" if reserving else "",
        hold=hold if reserving else None,
        hold_before=None if first or not reserving else run.symbol(BEFORE(ACTOR)),
        lane=0,
        attempt=run.symbol(ACTOR),
        ttl=None if stays else run.symbol(NEW_TTL),
    )


CHARGES: dict[str, dict[str, Any]] = {
    "charge, idle": {"branch": "idle", "adopts": False, "overridden": False, "stays": False},
    "charge, busy": {"branch": "busy", "adopts": False, "overridden": True, "stays": True},
    "charge, idle, by a newer policy": {"branch": "idle", "adopts": True, "overridden": True, "stays": True},
    "charge, busy, by a newer policy": {"branch": "busy", "adopts": True, "overridden": False, "stays": False},
    "charge, cut": {"branch": "cut", "adopts": True, "overridden": False, "stays": False},
    "charge, kept": {"branch": "kept", "adopts": True, "overridden": True, "stays": True},
    "charge, idle, with another limit": {
        "branch": "idle",
        "adopts": False,
        "overridden": False,
        "stays": False,
        "several": True,
    },
    "charge, busy, with another limit": {
        "branch": "busy",
        "adopts": False,
        "overridden": False,
        "stays": False,
        "several": True,
    },
}


def _together(run: Run) -> ChargeTogether:
    one = replace(_charge(run, "busy", adopts=False, overridden=False, stays=False), horizon=0)
    return ChargeTogether(charges=(one, replace(one, key="parent", limiter="parents")), token="token")


def _settle(run: Run, *, idle: bool) -> Settle:
    rest = Hold(held={"x": run.symbol(AMOUNT(ACTOR))}, until=run.symbol(UNTIL), attempt=run.symbol(ACTOR))
    ends = run.decide(AMOUNT(ACTOR) == 0)
    return Settle(
        key="k",
        limits=(LimitSettlement(name="x", idle=idle, used=run.symbol(USED), held=run.symbol(SETTLED)),),
        now=run.symbol(NOW),
        process="p",
        hold_before=run.symbol(BEFORE(ACTOR)),
        hold=None if ends else rest,
        lane=0,
        attempt=run.symbol(ACTOR),
        ttl=None if run.symbol(USED) <= run.symbol(SETTLED) else run.symbol(NEW_TTL),
    )


def _limit(run: Run) -> LimitPolicy:
    return LimitPolicy(interval=run.symbol("interval"), burst=run.symbol("burst"), permits=2.0, per=1.0)


def _override(run: Run, *, ends: bool, cuts: bool) -> Override:
    return Override(
        key="k",
        limits={} if ends else {"x": _limit(run)},
        cuts={"x": run.symbol(CUT)} if cuts else {},
        override_rev=run.symbol(OVERRIDE_REV),
        override_rev_after=run.symbol(NEW_OVERRIDE_REV),
        rev=run.symbol(NEW_REV),
        ttl=run.symbol(NEW_TTL) if ends else None,
    )


def _block(run: Run, *, stays: bool) -> Block:
    return Block(
        key="k",
        until=run.symbol(UNTIL),
        rev=run.symbol(NEW_REV),
        override_rev=run.symbol(OVERRIDE_REV),
        ttl=None if stays else run.symbol(NEW_TTL),
    )


def _reset(run: Run, *, seen: bool) -> Reset:
    """The hold that is looked at is among those that were seen, or is not; and so is the other limit."""
    held: Any = run.symbol(SEEN_HELD)
    hold = Hold(held={}, until=0, attempt=run.symbol(BEFORE(ACTOR)))
    state = KeyState(limits={"x": LimitState(tat=0, held=held, reach=0)}, rev=0, holds={"p": hold} if seen else {})
    return Reset(key="k", seen=state, others=("y",))


def _policy(run: Run) -> Policy:
    return Policy(limits={"x": _limit(run)}, rev=run.symbol(NEW_REV))


def _create_policy(run: Run) -> CreatePolicy:
    return CreatePolicy(policy=_policy(run))


def _change_policy(run: Run) -> ChangePolicy:
    return ChangePolicy(policy=_policy(run), rev_before=run.symbol(REV_SEEN))


def _charged(request: Callable[[Run], Any], maker: CallFor) -> list[Way[Sent]]:
    return sent(request, maker, *_AMOUNTS)


def _charged_some(request: Callable[[Run], Any], maker: CallFor) -> list[Way[Sent]]:
    return sent(request, maker, *_AMOUNTS, CHARGED + RESERVED > 0, z3.Int("charged_y") > 0)


_AMOUNTS = (*(amount >= 0 for amount in (CHARGED, RESERVED, HORIZON)), OVERRIDE_REV > 0)


# What may happen.


def steps(s: State, setting: Setting) -> Iterator[Step[State]]:
    """All that may happen to the key and the policy."""
    for name, shape in CHARGES.items():
        request = _maker(name)
        # Only a limit that is cut or kept may be written without any permits.
        build = _charged if shape["branch"] in {"cut", "kept"} else _charged_some
        for way in setting.sent(name, request, build=build):
            yield _charges(s, name, way, _dues(request), shape, setting)
    shape = {"branch": "busy", "adopts": False}
    for way in setting.sent("charge together", _together, build=_charged_some):
        yield _charges(s, "charge together", way, _dues(_first_together), shape, setting)
    for idle in (True, False):
        name = "settle, idle" if idle else "settle, busy"
        for way in setting.sent(name, lambda run, i=idle: _settle(run, idle=i)):
            yield _settles(s, name, way, setting)
    yield from _steering(s, setting)
    if setting.only is None:
        yield from _around(s, setting)


@functools.cache
def _maker(name: str) -> Callable[[Run], Charge]:
    return lambda run: _charge(run, **CHARGES[name])


def _first_together(run: Run) -> Charge:
    return _together(run).charges[0]


def _charges(
    s: State, name: str, way: Way[Sent], dues: tuple[Any, Any], shape: dict[str, Any], setting: Setting
) -> Step[State]:
    at, first = dues
    happens, item = way.returned[0].on(s.item)
    held, held_after = value(s.item, "held#x"), value(item, "held#x")
    tat, tat_after, reach_after = value(s.item, "tat#x"), value(item, "tat#x"), value(item, "reach#x")
    uses = CHARGED + RESERVED > 0
    tolerance = TOLERANCE(value(item, "rev"), value(item, "override_rev"))
    changed = (
        z3.BoolVal(True) if shape["branch"] in {"cut", "kept"} else CHANGED if shape["adopts"] else z3.BoolVal(False)
    )
    changed = z3.And(changed, value(s.item, "rev") < NEW_REV)
    later = DUE + (0 if shape.get("several") or name == "charge together" else HORIZON)
    facts = [
        setting.assume(
            "nobody asks for more than the burst",
            TOLERANCE(NEW_REV, OVERRIDE_REV if shape.get("overridden") else 0) >= CHARGED + RESERVED,
        ),
        setting.assume("nothing is charged as of a time before TTL deleted the key", s.forgotten <= DUE),
        setting.assume(
            "a charge's ttl is not before its latest due time and the tolerance",
            z3.If(uses, later + TOLERANCE(NEW_REV, value(s.item, "override_rev")), reach_after) <= NS * NEW_TTL,
        ),
        setting.assume(
            "a copy of a charge arrives while its lane shows it",
            z3.Implies(s.done(ACTOR), z3.And(s.item["a0"].kind == STRING, s.item["a0"].value == ACTOR)),
        ),
        setting.assume(
            "a reservation adds to its process's hold what it reserves",
            AMOUNT(ACTOR) == RESERVED + z3.If(z3.And(holds(s), z3.Not(FIRST)), AMOUNT(BEFORE(ACTOR)), 0),
        ),
        z3.If(FIRST, BEFORE(ACTOR) == 0, BEFORE(ACTOR) > 0) if _reserves(way) else BEFORE(ACTOR) == 0,
    ]
    overridden = OVERRIDDEN(OVERRIDE_REV if shape.get("overridden") else 0)
    facts.append(
        setting.assume(
            "who writes knows by override_rev whether there is an override", overridden == shape.get("stays", False)
        )
    )
    if shape["branch"] == "kept":
        facts += [CHARGED == 0, RESERVED == 0]
    base = z3.If(changed, 0, s.counted)
    after = s.but(item=item, counted=base + z3.If(at >= START, CHARGED, 0)).of("done", ACTOR)
    if _reserves(way):
        after = after.of("over", BEFORE(ACTOR))
    promises = {
        "E: what is used from the window's start to this due time is within the envelope": z3.Implies(
            z3.And(uses, at >= START), after.counted + held_after <= (at - START) + tolerance
        ),
        "E: and so is what the first of several waiters use, who share the charge": z3.Implies(
            z3.And(uses, RESERVED == 0, LATER_WAITERS >= 0, LATER_WAITERS <= CHARGED, first >= START),
            base + CHARGED - LATER_WAITERS + held_after <= (first - START) + tolerance,
        ),
        "no charge reaches into a block": value(s.item, "blocked_until") <= at,
        "no charge goes by an older policy than the key was charged by": z3.Implies(
            exists(s.item), value(item, "rev") >= value(s.item, "rev")
        ),
        "an attempt is charged once": z3.Not(s.done(ACTOR)),
        "an attempt is recorded in its lane": z3.And(item["a0"].kind == STRING, item["a0"].value == ACTOR),
        "a charge leaves alone what it is not about": _unchanged(s, item, *_not_about(shape, reserving=_reserves(way))),
        "a charge costs no more than it says": z3.And(
            tat_after <= z3.If(z3.And(limited(s), tat > DUE), tat, DUE) + CHARGED, held_after == held + RESERVED
        ),
    }
    if shape["branch"] in {"cut", "kept"}:
        start = z3.If(z3.And(DUE > CUT, uses), DUE, CUT)
        promises["a new policy blocks nobody for longer than its cut"] = tat_after <= start + CHARGED
    when = [*way.supposed, *facts, reach_after == REACHED, happens]
    return Step(f"{name}, is carried out", when, after, promises)


def _not_about(shape: dict[str, Any], *, reserving: bool) -> tuple[str, ...]:
    steering = ("override", "override_rev", "blocked_until")
    return (*steering, *(() if shape.get("several") else ANOTHER), *(() if reserving else HOLD))


def _unchanged(s: State, after: Item, *names: str) -> Any:
    def same(name: str) -> Any:
        a, b = s.item.get(name, ABSENT), after.get(name, ABSENT)
        return z3.And(a.kind == b.kind, z3.Or(a.kind == MISSING, a.value == b.value))

    return z3.And([same(name) for name in names])


def _reserves(way: Way[Sent]) -> bool:
    return "hold#p" in way.returned[0].names.values()


@functools.cache
def _dues(request: Callable[[Run], Charge]) -> tuple[Any, Any]:
    """When all permits are due, and when those of the first waiters are, by the library's own code after the charge."""

    def code(run: Run) -> Any:
        charge = request(run)
        found = LimitState(tat=0, held=0, reach=run.symbol(REACHED))
        limits = {part.name: found for part in charge.limits}
        state = KeyState(limits=limits, rev=charge.rev, override_rev=charge.override_rev)
        amounts = (run.symbol(CHARGED + RESERVED - LATER_WAITERS), run.symbol(LATER_WAITERS))
        return due_of((charge,), state), due_times((charge,), state, amounts)[0]

    (first, *others) = ways(code, *_AMOUNTS)
    dues = [term_of(due) for due in first.returned]
    for other in others:
        each = zip(other.returned, dues, strict=True)
        dues = [z3.If(z3.And(other.supposed), term_of(due), due_before) for due, due_before in each]
    return dues[0], dues[1]


def _settles(s: State, name: str, way: Way[Sent], setting: Setting) -> Step[State]:
    """A settlement, by the process itself or by a sweep: they are the same request."""
    happens, item = way.returned[0].on(s.item)
    after = (
        s.but(item=item, counted=s.counted + z3.If(NOW >= START, USED, 0)).of("done", ACTOR).of("over", BEFORE(ACTOR))
    )
    facts = [
        BEFORE(ACTOR) > 0,
        BEFORE(ACTOR) != ACTOR,
        setting.assume("nothing is charged as of a time before TTL deleted the key", s.forgotten <= NOW),
        setting.assume(
            "a settlement takes from its process's hold what it settles",
            z3.And(AMOUNT(ACTOR) == AMOUNT(BEFORE(ACTOR)) - SETTLED, AMOUNT(ACTOR) >= 0),
        ),
        setting.assume(
            "a settlement comes within the retention, or sets the ttl",
            z3.If(
                USED > SETTLED,
                NS * NEW_TTL,
                z3.If(is_number(s.item, "ttl"), NS * value(s.item, "ttl"), value(item, "reach#x")),
            )
            >= value(item, "reach#x"),
        ),
    ]
    promises = {
        "a reservation is settled once": z3.Not(s.done(ACTOR)),
        "a settlement leaves alone what it is not about": _unchanged(
            s, item, "schema", "rev", "override", "override_rev", "blocked_until", *ANOTHER
        ),
        "what is used is paid from now on": value(item, "tat#x") >= NOW + USED,
        "an attempt is recorded in its lane": z3.And(item["a0"].kind == STRING, item["a0"].value == ACTOR),
    }
    return Step(f"{name}, is carried out", [*way.supposed, *facts, happens], after, promises)


def _steering(s: State, setting: Setting) -> Iterator[Step[State]]:
    rest = setting.assume("an operator's ttl is not before all is paid for", value(s.item, "reach#x") <= NS * NEW_TTL)
    for ends, cuts in ((False, True), (False, False), (True, False)):
        name = "end an override" if ends else "override, and cut" if cuts else "override"
        for way in setting.sent(name, lambda run, e=ends, c=cuts: _override(run, ends=e, cuts=c)):
            happens, item = way.returned[0].on(s.item)
            newer = setting.assume(
                "an override has a new override_rev", z3.And(NEW_OVERRIDE_REV > OVERRIDE_REV, NEW_OVERRIDE_REV > 0)
            )
            promises = {
                "an override replaces the one that was seen": z3.And(
                    value(s.item, "override_rev") == OVERRIDE_REV,
                    value(item, "override_rev") > value(s.item, "override_rev"),
                ),
                "an override takes nothing that was not beyond its cut": value(item, "tat#x") <= value(s.item, "tat#x"),
                "an override leaves alone what it is not about": _unchanged(
                    s, item, "a0", "blocked_until", "held#x", *ANOTHER, *HOLD
                ),
                "an override stands in the item until it is ended": has(item, "override") != ends,
                "an operator's change does not change the item's policy": z3.Implies(
                    exists(s.item), value(item, "rev") == value(s.item, "rev")
                ),
            }
            as_written = OVERRIDDEN(NEW_OVERRIDE_REV) != ends
            yield Step(
                f"{name}, is carried out",
                [*way.supposed, newer, rest, as_written, happens],
                s.but(item=item, counted=z3.IntVal(0)),
                promises,
            )
    for stays in (False, True):
        name = "block, with an override" if stays else "block"
        build = _charged if stays else sent
        for way in setting.sent(name, lambda run, t=stays: _block(run, stays=t), build=build):
            happens, item = way.returned[0].on(s.item)
            promises = {
                "a block stands in the item": z3.And(
                    is_number(item, "blocked_until"), value(item, "blocked_until") == UNTIL
                ),
                "a block leaves alone what it is not about": _unchanged(
                    s, item, "a0", "override", "override_rev", *LIMIT, *ANOTHER, *HOLD
                ),
                "a block is not deleted before its end": z3.Or(
                    has(item, "override"), z3.And(is_number(item, "ttl"), NS * value(item, "ttl") >= UNTIL)
                ),
                "a block knows whether there is an override": value(s.item, "override_rev") == OVERRIDE_REV,
                "an operator's change does not change the item's policy": z3.Implies(
                    exists(s.item), value(item, "rev") == value(s.item, "rev")
                ),
            }
            knows = setting.assume(
                "who writes knows by override_rev whether there is an override", OVERRIDDEN(OVERRIDE_REV) == stays
            )
            lasts = setting.assume("a block's ttl is not before its end", NS * NEW_TTL >= UNTIL)
            yield Step(
                f"{name}, is carried out", [*way.supposed, rest, knows, lasts, happens], s.but(item=item), promises
            )
    yield from _resets(s, setting)
    yield from _policies(s, setting)


def _resets(s: State, setting: Setting) -> Iterator[Step[State]]:
    for seen in (True, False):
        name = "reset" if seen else "reset, where the hold was not seen"
        for way in setting.sent(name, lambda run, f=seen: _reset(run, seen=f)):
            happens, item = way.returned[0].on(s.item)
            own = value(s.item, "hold#p.held.x")
            seen_of_others = SEEN_HELD - AMOUNT(BEFORE(ACTOR)) if seen else SEEN_HELD
            # What was read as held is what the holds that were read are of, and each of them is as it was read.
            others = [SEEN_HELD >= 0, s.others >= seen_of_others]
            after = s.but(item=item, counted=z3.IntVal(0), others=z3.IntVal(0))
            after = after.of("over", BEFORE(ACTOR)) if seen else after
            promises = {
                "a reset misses no hold": z3.And(
                    s.others == seen_of_others, z3.Not(holds(after)) if seen else own == 0
                ),
                "a reset ends a block": z3.Not(has(item, "blocked_until")),
                "a reset forgives all": z3.Not(z3.Or([has(item, part) for part in (*LIMIT, *ANOTHER)])),
                "a reset leaves alone what it is not about": _unchanged(
                    s, item, "schema", "rev", "a0", "override", "override_rev"
                ),
            }
            yield Step(f"{name}, is carried out", [*way.supposed, *others, BEFORE(ACTOR) > 0, happens], after, promises)


def _policies(s: State, setting: Setting) -> Iterator[Step[State]]:
    for name, request in (("create the policy", _create_policy), ("change the policy", _change_policy)):
        for way in setting.sent(name, request):
            happens, policy = way.returned[0].on(s.policy)
            newer = setting.assume("a changed policy has a higher rev", REV_SEEN < NEW_REV)
            promises = {
                "no two policies have one rev": z3.Implies(
                    exists(s.policy), value(policy, "rev") > value(s.policy, "rev")
                ),
                "the policy is as it was sent": z3.And(
                    is_number(policy, "rev"),
                    value(policy, "rev") == NEW_REV,
                    has(policy, "limits"),
                    value(policy, "schema") == RATES_SCHEMA,
                ),
            }
            shape = z3.Implies(
                exists(s.policy), z3.And(is_number(s.policy, "rev"), value(s.policy, "schema") == RATES_SCHEMA)
            )
            yield Step(
                f"{name}, is carried out", [*way.supposed, newer, shape, happens], s.but(policy=policy), promises
            )


def _around(s: State, setting: Setting) -> Iterator[Step[State]]:
    held = value(s.item, "held#x")
    deleted = z3.If(s.forgotten > NOW, s.forgotten, NOW)
    used = s.counted + z3.If(LAST_USE >= START, held, 0)
    gone = s.but(item={}, counted=used, others=z3.IntVal(0), forgotten=deleted).of(
        "over", z3.If(holds(s), holder(s), 0)
    )
    ttl = NS * value(s.item, "ttl")
    over = [
        setting.assume("TTL deletes what is past its ttl", ttl < NOW),
        setting.assume("a ttl is later than the time of a hold by what is held", LAST_USE + held <= ttl),
    ]
    yield Step("TTL deletes the key", [exists(s.item), is_number(s.item, "ttl"), *over], gone)


def foreign(s: State, setting: Setting) -> Iterator[Step[State]]:
    """All requests, to items of which nothing is known: another program's, perhaps."""
    for name, sent_ways in setting.requests().items():
        for way in sent_ways if setting.only in {None, name} else ():
            item = s.policy if where(way.returned[0]) == "policy" else s.item
            shape = z3.And(is_number(item, "schema"), value(item, "schema") == RATES_SCHEMA)
            happens, _ = way.returned[0].on(item)
            promise = {"F: no item of another program is changed": shape}
            yield Step(f"{name}, to an item of any shape", [*way.supposed, exists(item), happens], s, promise)


def where(write: Write) -> str:
    """What a write is to."""
    return "policy" if write.sort == "policy" else "key"


def shown(s: State) -> list[tuple[str, Any, Any]]:
    """A state, for people."""
    rows: list[tuple[str, Any, Any]] = [
        (f"key: {name}", s.item.get(name, ABSENT), True) for name in KEY if name != "pk"
    ]
    rows += [(f"policy: {name}", s.policy.get(name, ABSENT), exists(s.policy)) for name in POLICY if name != "pk"]
    rows += [("counted in the window", s.counted, True), ("start of the window", START, True)]
    rows += [("held by others", s.others, True), ("deleted by TTL at", s.forgotten, True)]
    request = (DUE, HORIZON, CHARGED, RESERVED, CUT, NEW_REV, OVERRIDE_REV, NEW_TTL, NOW, USED, SETTLED, UNTIL)
    rows += [(f"request: {term}", term, True) for term in request]
    for called, a in (("attempt", ACTOR), ("one attempt", ONE)):
        rows += [(f"{called}: number", a, True), (f"{called}: changes the hold of", BEFORE(a), True)]
        rows += [(f"{called}: done", s.done(a), True), (f"{called}: over", s.over(a), True)]
    return rows


def beginning(s: State) -> list[Any]:
    """Nothing is there, and nothing was sent."""
    empty = [s.item[name].kind == MISSING for name in KEY] + [s.policy[name].kind == MISSING for name in POLICY]
    return [*empty, z3.Not(s.done(ONE)), z3.Not(s.over(ONE)), s.counted == 0, s.others == 0]
