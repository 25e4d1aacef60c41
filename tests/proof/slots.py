"""Leases: the state, its invariant, and what may happen, from which N and S1 to S6 follow.

Invariants:

- One slot is looked at, any one, with the counter and all attempts to lease that slot. An attempt is a lease id: every
  attempt has a new one. A lease of several slots is an attempt on each of them.
- What requests write is not written here: `shipped` takes it from the library. Here is what clients do around them, and
  what DynamoDB and the clocks do; each as an assumption with a name.
- A request may be carried out at any time after it was first sent, any number of times, or never. A client that
  crashes takes no more steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import z3

from ddb_lease._protocol.messages import (
    Adopt,
    BringBack,
    Claim,
    Close,
    Create,
    Grow,
    Mint,
    Recount,
    Release,
    Renew,
    RenewEach,
    Retire,
    Revoke,
    SetOrder,
    Take,
)
from ddb_lease._protocol.records import PER_TRANSACTION, Claimant, Settings
from tests.proof.lifting import lifted
from tests.proof.shipped import Sent, Write
from tests.proof.steps import Clauses, Setting, Step
from tests.proof.symbols import Run, Way
from tests.proof.translation import ABSENT, MISSING, NUMBER, STRING, Attr, Item, any_item, exists, has, is_number

SLOT = ("pk", "fence", "ttl", "lease_id", "owner", "acquired_at", "expires_at", "data", "revoked", "retired")
LEASE = ("lease_id", "owner", "acquired_at", "expires_at", "data", "revoked")
COUNTER = ("pk", "max_tokens", "minted", "rev", "order")
NUMBERS = ("max_tokens", "minted", "rev")
S4 = "S4: minted is not below the number of slots in circulation"
D = "D: minted is exact where nothing was deleted or edited"
BY_COUNTING = frozenset({S4, D})

_INTS, _BOOL = z3.IntSort(), z3.BoolSort()


def _number_of(name: str) -> Any:
    return z3.Function(name, _INTS, _INTS)


# Of an attempt, for ever: its number is its lease id.
FENCE, EXPIRY, BEFORE = _number_of("fence of"), _number_of("expires_at of"), _number_of("expired_before of")
TTL, MADE = _number_of("ttl of"), _number_of("made at")
GIVER = _number_of("adopts the lease of")
# Of an operator's plan, for ever.
REV, SEEN_MAX, SEEN_MINTED = _number_of("rev seen by"), _number_of("max seen by"), _number_of("minted seen by")
NEW_MAX, NEW_MINTED, KIND, MANY = (
    _number_of("max of"),
    _number_of("minted of"),
    _number_of("kind of"),
    _number_of("slots of"),
)
LISTED = z3.Function("lists the slot", _INTS, _BOOL)
SHRINK, GROW, RECOUNT = range(3)

N = z3.Int("slot number")
T0 = z3.Int("time")
SKEW, RETENTION, LIFE = z3.Int("front ends' error"), z3.Int("retention"), z3.Int("life of a request")
ACTOR, ONE, OTHER, PLAN, ONE_PLAN = z3.Ints("actor one other plan one_plan")
SLOTS_MINTED = z3.Int("slots minted together")
SEEN = z3.Int("seen_max")
"""What a take of several slots goes by."""
_ANOTHER = z3.Int("another slot's number")
CLOSING = z3.Int("closing")
"""The lease, of nobody's, that keeps a slot closed: its id is made of that of the lease that was given back."""
NEW_EXPIRY, NEW_TTL, NEW_TIME, HEARD, HAND = z3.Ints("new_expiry new_ttl new_time heard hand")


@dataclass(frozen=True)
class State:
    """What there is at one instant.

    Attributes:
        slot: The slot's item.
        counter: The counter's item.
        time: The service's time, in ms.
        highest: The highest fence that any lease of the slot has had.
        circulating: How many slots are in circulation, all of them.
        edited: Whether somebody set `minted` by hand, and nobody has repaired it since.
        drifted: Whether `minted` may be above the number of slots: TTL deleted one, or `edited`.
        sent: Of an attempt: whether its request was made, and may be carried out from now on.
        had: Whether it has leased the slot.
        ended: Whether its lease was released.
        leaving: Whether its release was sent, or it was handed over.
        until: The expiry of its lease in the table, as last written.
        believes: Until when its holder believes, in the service's time; not after now if it does not.
        planned: Of a plan: whether the counter was read for it.
        read: Whether the slot was read for it.
        found: Whether the slot was in circulation then.
    """

    slot: Item
    counter: Item
    time: Any
    highest: Any
    circulating: Any
    edited: Any
    drifted: Any
    sent: Callable[[Any], Any]
    had: Callable[[Any], Any]
    ended: Callable[[Any], Any]
    leaving: Callable[[Any], Any]
    until: Callable[[Any], Any]
    believes: Callable[[Any], Any]
    planned: Callable[[Any], Any]
    read: Callable[[Any], Any]
    found: Callable[[Any], Any]

    def but(self, **changes: Any) -> State:
        """This state, with changes."""
        return replace(self, **changes)

    def of(self, field: str, number: Any, value: Any) -> State:
        """This state, with another value for one attempt or plan."""
        before = getattr(self, field)
        return replace(self, **{field: lambda asked: z3.If(asked == number, value, before(asked))})


def a_state() -> State:
    """A state of which nothing is known."""
    attempts = {name: z3.Function(name, _INTS, _BOOL) for name in ("sent", "had", "ended", "leaving")}
    plans = {name: z3.Function(name, _INTS, _BOOL) for name in ("planned", "read", "found")}
    return State(
        slot=any_item("slot.", SLOT),
        counter=any_item("counter.", COUNTER),
        time=T0,
        highest=z3.Int("highest fence"),
        circulating=z3.Int("slots in circulation"),
        edited=z3.Bool("edited"),
        drifted=z3.Bool("drifted"),
        until=_number_of("until"),
        believes=_number_of("believes until"),
        **attempts,
        **plans,
    )


def leased(s: State) -> Any:
    """Whether the slot carries a lease."""
    return has(s.slot, "lease_id")


def lease_id(s: State) -> Any:
    """The id of that lease."""
    return s.slot.get("lease_id", ABSENT).value


def carries(s: State, attempt: Any) -> Any:
    """Whether it carries this one."""
    return z3.And(leased(s), lease_id(s) == attempt)


def circulates(s: State) -> Any:
    """Whether the slot is in circulation."""
    return z3.And(exists(s.slot), z3.Not(has(s.slot, "retired")))


def value(item: Item, name: str) -> Any:
    """The number in an attribute."""
    return item.get(name, ABSENT).value


# The invariant.


def invariant(s: State) -> Clauses:
    """The invariant, of two attempts and a plan of which nothing is known."""
    pair = z3.And(s.believes(ONE) > s.time, s.believes(OTHER) > s.time)
    return {
        **_of_tables(s),
        **_of_attempt(s, ONE),
        "S2: at most one believes in the slot, and its item carries the lease": z3.And(
            z3.Implies(pair, ONE == OTHER),
            z3.Implies(s.believes(ONE) > s.time, z3.And(exists(s.slot), carries(s, ONE))),
        ),
        **_of_plan(s, ONE_PLAN),
    }


def _of_tables(s: State) -> Clauses:
    slot, counter = s.slot, s.counter
    fence, expiry, ttl = value(slot, "fence"), value(slot, "expires_at"), 1000 * value(slot, "ttl")
    minted = value(counter, "minted")
    return {
        "shape of a slot": z3.If(
            exists(slot),
            z3.And(
                is_number(slot, "fence"),
                is_number(slot, "ttl"),
                z3.Implies(
                    leased(s), z3.And(slot.get("lease_id", ABSENT).kind == STRING, is_number(slot, "expires_at"))
                ),
            ),
            z3.And([slot.get(name, ABSENT).kind == MISSING for name in SLOT]),
        ),
        "shape of the counter": z3.If(
            exists(counter),
            z3.And([is_number(counter, name) for name in NUMBERS]),
            z3.And([counter.get(name, ABSENT).kind == MISSING for name in COUNTER]),
        ),
        "N: a slot in circulation is below max_tokens": z3.Implies(
            circulates(s), z3.And(exists(counter), N >= 0, value(counter, "max_tokens") > N)
        ),
        "S3: the item's fence is not below any that a lease had": z3.Implies(exists(slot), fence >= s.highest),
        "S3: what TTL has deleted had a fence that the clock has passed": z3.Implies(
            z3.Not(exists(slot)), s.highest + RETENTION < s.time + SKEW
        ),
        "TTL: not before the clock has passed fence and expiry": z3.Implies(
            exists(slot), z3.And(ttl >= fence + RETENTION, z3.Implies(leased(s), ttl >= expiry + RETENTION))
        ),
        S4: z3.Implies(z3.And(exists(counter), z3.Not(s.edited)), minted >= s.circulating),
        D: z3.And(
            z3.Implies(s.edited, s.drifted),
            z3.Implies(z3.And(exists(counter), z3.Not(s.drifted)), minted == s.circulating),
        ),
        "no slot without a counter": z3.Implies(z3.Not(exists(counter)), s.circulating == 0),
    }


def _of_attempt(s: State, a: Any) -> Clauses:
    runs = z3.And(s.had(a), z3.Not(s.ended(a)), s.time <= s.until(a) - SKEW)
    return {
        "an attempt has had what it asked for, and ends what it had": z3.And(
            z3.Implies(s.had(a), s.sent(a)),
            z3.Implies(s.leaving(a), s.sent(a)),
            z3.Implies(s.ended(a), z3.And(s.had(a), s.leaving(a))),
            z3.Implies(s.sent(a), MADE(a) <= s.time),
        ),
        "S3: no lease had a higher fence than the highest": z3.Implies(s.had(a), FENCE(a) <= s.highest),
        "S6: a lease's expiry is never below its first": z3.Implies(s.had(a), s.until(a) >= EXPIRY(a)),
        "S5: the lease in the item is as its attempt left it": z3.Implies(
            carries(s, a),
            z3.And(
                s.had(a),
                z3.Not(s.ended(a)),
                value(s.slot, "expires_at") == s.until(a),
                value(s.slot, "fence") == FENCE(a),
            ),
        ),
        "S2: a lease that runs is in the item": z3.Implies(runs, z3.And(exists(s.slot), carries(s, a))),
        "S2: who believes has it, and no longer than the table says": z3.Implies(
            s.believes(a) > s.time, z3.And(s.had(a), z3.Not(s.leaving(a)), s.believes(a) <= s.until(a) - SKEW)
        ),
    }


def _of_plan(s: State, m: Any) -> Clauses:
    counter = s.counter
    current = z3.And(s.planned(m), value(counter, "rev") == REV(m))
    return {
        "rev never falls": z3.Implies(s.planned(m), z3.And(exists(counter), REV(m) <= value(counter, "rev"))),
        "while rev is as seen, so is the counter": z3.Implies(
            current,
            z3.And(
                value(counter, "max_tokens") == SEEN_MAX(m),
                z3.Or(s.edited, value(counter, "minted") == SEEN_MINTED(m)),
            ),
        ),
        "while rev is as seen, a shrink lists all slots at its new bound": z3.Implies(
            z3.And(current, KIND(m) == SHRINK, circulates(s), NEW_MAX(m) <= N), LISTED(m)
        ),
        "while rev is as seen, a repair has counted all slots it has read": z3.Implies(
            z3.And(current, KIND(m) == RECOUNT, s.read(m), circulates(s)), s.found(m)
        ),
    }


def counted(s: State) -> list[Any]:
    """What counting tells where N holds of every slot: numbers are distinct, so there are at most `max_tokens`."""
    most = value(s.counter, "max_tokens")
    return [
        s.circulating >= 0,
        z3.Implies(circulates(s), s.circulating >= 1),
        z3.Implies(exists(s.counter), s.circulating <= most),
        z3.Implies(z3.And(exists(s.counter), z3.Not(circulates(s)), most > N), s.circulating <= most - 1),
    ]


def known(s: State, setting: Setting) -> list[Any]:
    """What is known of a state in which the invariant holds, and of all attempts and plans that a step may concern."""
    formulas = [*_of_tables(s).values(), *counted(s), N >= 0, SKEW >= 0, LIFE >= 0]
    formulas.append(
        setting.assume("a slot is kept for longer than a request can be under way", RETENTION >= LIFE + 2 * SKEW)
    )
    for a in (ACTOR, ONE, OTHER, lease_id(s)):
        formulas += [*_of_attempt(s, a).values(), *_facts(s, a, setting)]
    for m in (PLAN, ONE_PLAN):
        formulas += [*_of_plan(s, m).values(), *_plan_facts(s, m, setting)]
    return [*formulas, ACTOR > 0, ONE > 0, OTHER > 0]


def _facts(s: State, a: Any, setting: Setting) -> list[Any]:
    """What clients make sure of before they first send an attempt's request. It never changes."""
    return [
        z3.Implies(s.sent(a), fact)
        for fact in (
            setting.assume("expired_before is now_lo: not above the service's time", BEFORE(a) <= MADE(a) + SKEW),
            setting.assume("a fence is now_hi at least: not below the service's time", FENCE(a) >= MADE(a)),
            setting.assume("ttl is the expiry at least, and the retention", 1000 * TTL(a) >= EXPIRY(a) + RETENTION),
            setting.assume("ttl is the fence at least, and the retention", 1000 * TTL(a) >= FENCE(a) + RETENTION),
        )
    ]


def _plan_facts(s: State, m: Any, setting: Setting) -> list[Any]:
    shrunk = z3.If(SEEN_MINTED(m) >= MANY(m), SEEN_MINTED(m) - MANY(m), 0)
    facts = [
        z3.Implies(KIND(m) == GROW, setting.assume("a growth does not lower max_tokens", NEW_MAX(m) >= SEEN_MAX(m))),
        z3.Implies(
            KIND(m) == SHRINK,
            z3.And(
                NEW_MAX(m) <= SEEN_MAX(m),
                MANY(m) >= 0,
                z3.Implies(LISTED(m), MANY(m) >= 1),
                setting.assume("a shrink takes from minted what it retires", NEW_MINTED(m) == shrunk),
            ),
        ),
    ]
    return [z3.Implies(s.planned(m), fact) for fact in facts]


# The requests.


def _lease(run: Run) -> Claimant:
    return Claimant(
        lease_id=run.symbol(ACTOR),
        owner="owner",
        acquired_at=run.symbol(MADE(ACTOR)),
        expires_at=run.symbol(EXPIRY(ACTOR)),
    )


def claim(run: Run) -> Claim:
    return Claim(
        slot=run.symbol(N),
        fence=run.symbol(FENCE(ACTOR)),
        lease=_lease(run),
        expired_before=run.symbol(BEFORE(ACTOR)),
        ttl=run.symbol(TTL(ACTOR)),
    )


def mint(run: Run, *, re_mint: bool) -> Mint:
    return Mint(
        slot=run.symbol(N),
        fence=run.symbol(FENCE(ACTOR)),
        lease=_lease(run),
        ttl=run.symbol(TTL(ACTOR)),
        re_mint=re_mint,
        token="token",
    )


def take(run: Run, *, mints: int, re_mint: bool) -> Take:
    """One slot that is claimed; and so many that are minted, the slot that is looked at among them."""
    return Take(
        claims=(run.symbol(z3.Int("slot claimed")),),
        mints=(run.symbol(N), *(run.symbol(z3.Int("slot beside it")) for _ in range(mints - 1)))[:mints],
        fence=run.symbol(FENCE(ACTOR)),
        lease=_lease(run),
        expired_before=run.symbol(BEFORE(ACTOR)),
        ttl=run.symbol(TTL(ACTOR)),
        seen_max=run.symbol(SEEN),
        re_mint=re_mint,
        token="token",
    )


def take_claims(run: Run) -> Take:
    """Several slots that are all claimed, the slot that is looked at among them."""
    return replace(take(run, mints=0, re_mint=False), claims=(run.symbol(N), run.symbol(z3.Int("slot beside it"))))


def renew(run: Run) -> Renew:
    return Renew(
        slot=run.symbol(N), lease_id=run.symbol(ACTOR), expires_at=run.symbol(NEW_EXPIRY), ttl=run.symbol(NEW_TTL)
    )


def renew_each(run: Run) -> RenewEach:
    return RenewEach(renewals=(renew(run),))


def hand_over(run: Run) -> Renew:
    """The renewal after which a lease is handed over."""
    return replace(renew(run), owner="owner (handed over)")


def adopt(run: Run) -> Adopt:
    return Adopt(
        slots=(run.symbol(N),),
        giver=run.symbol(GIVER(ACTOR)),
        fence=run.symbol(FENCE(ACTOR)),
        lease=_lease(run),
        ttl=run.symbol(TTL(ACTOR)),
        token="token",
    )


def adopt_several(run: Run) -> Adopt:
    """A lease of several slots, the slot that is looked at among them."""
    return replace(adopt(run), slots=(run.symbol(N), run.symbol(z3.Int("slot beside it"))))


def release(run: Run, *, dated: bool) -> Release:
    return Release(slot=run.symbol(N), lease_id=run.symbol(ACTOR), ttl=run.symbol(NEW_TTL) if dated else None)


def close(run: Run) -> Close:
    return Close(
        slot=run.symbol(N),
        lease_id=run.symbol(ACTOR),
        closed_id=run.symbol(CLOSING),
        expires_at=run.symbol(NEW_EXPIRY),
        ttl=run.symbol(NEW_TTL),
    )


def revoke(run: Run) -> Revoke:
    return Revoke(slot=run.symbol(N), lease_id=run.symbol(ACTOR), by="somebody")


def bring_back(run: Run, *, re_mint: bool) -> BringBack:
    return BringBack(slot=run.symbol(N), ttl=run.symbol(NEW_TTL), re_mint=re_mint, token="token")


def retire(run: Run) -> Retire:
    return Retire(
        slots=(run.symbol(N),),
        rev=run.symbol(REV(PLAN)),
        max_tokens=run.symbol(NEW_MAX(PLAN)),
        minted=run.symbol(NEW_MINTED(PLAN)),
        ttl=run.symbol(NEW_TTL),
        token="token",
    )


def grow(run: Run) -> Grow:
    return Grow(rev=run.symbol(REV(PLAN)), max_tokens=run.symbol(NEW_MAX(PLAN)))


def recount(run: Run) -> Recount:
    return Recount(rev=run.symbol(REV(PLAN)), minted=run.symbol(NEW_MINTED(PLAN)))


def set_order(run: Run) -> SetOrder:
    return SetOrder(rev=run.symbol(REV(PLAN)), order="fifo")


def create(run: Run) -> Create:
    """A counter and two slots; the numbers of its slots are 0 and 1, and stand for any below their number."""
    return Create(
        settings=Settings(max_tokens=run.symbol(NEW_MAX(PLAN)), lease_ms=run.symbol("lease_ms")),
        minted=run.symbol(NEW_MINTED(PLAN)),
        rev=run.symbol(FENCE(ACTOR)),
        slots=2,
        fence=run.symbol(FENCE(ACTOR)),
        ttl=run.symbol(TTL(ACTOR)),
        token="token",
    )


# What may happen.


def steps(s: State, setting: Setting) -> Iterator[Step[State]]:
    """All that may happen, to the slot and beside it."""
    yield from _acquisitions(s, setting)
    yield from _adoptions(s, setting)
    yield from _holding(s, setting)
    yield from _operators(s, setting)
    if setting.only is None:
        yield from _reading(s, setting)
        yield from _around(s, setting)


def _acquisitions(s: State, setting: Setting) -> Iterator[Step[State]]:
    for way in setting.sent("claim", claim):
        yield _acquired(s, "a claim is carried out", way, way.returned[0], minted=0, setting=setting)
    for re_mint in (False, True):
        name = "re-mint" if re_mint else "mint"
        for way in setting.sent(name, lambda run, r=re_mint: mint(run, re_mint=r)):
            slot, counter = way.returned
            yield _acquired(s, f"a {name} is carried out", way, slot, counter, minted=1, setting=setting)
            yield _counted(s, f"a {name} of another slot is carried out", way, counter, many=1)
    for way in setting.sent("take, claims", take_claims):
        yield _acquired(
            s, "a take is carried out, by which the slot is claimed", way, way.returned[0], minted=0, setting=setting
        )
    for re_mint in (False, True):
        name = "re-mint" if re_mint else "mint"
        asked = f"take, {name}"
        many = SLOTS_MINTED
        for way in setting.sent(asked, lambda run, m=1, r=re_mint: take(run, mints=m, re_mint=r), build=_lifted_take):
            claimed, slot, counter = way.returned
            mine = replace(claimed, sort=slot.sort)  # any slot claimed is as good
            yield _acquired(
                s, f"a take is carried out that {name}s the slot", way, slot, counter, minted=many, setting=setting
            )
            yield _acquired(
                s,
                f"a take is carried out that {name}s others and claims the slot",
                way,
                mine,
                counter,
                minted=many,
                others=True,
                setting=setting,
            )
            yield _counted(s, f"a take of other slots is carried out that {name}s", way, counter, many=many)


def _adoptions(s: State, setting: Setting) -> Iterator[Step[State]]:
    giver = GIVER(ACTOR)
    for name, request in (("adopt", adopt), ("adopt, several", adopt_several)):
        for way in setting.sent(name, request):
            happens, slot = way.returned[0].on(s.slot)
            after = (
                s.but(slot=slot, highest=FENCE(ACTOR))
                .of("had", ACTOR, z3.BoolVal(True))
                .of("until", ACTOR, EXPIRY(ACTOR))
                .of("ended", giver, z3.BoolVal(True))
            )
            given = setting.assume("who hands a lease over has stopped believing", s.leaving(giver))
            promises = {
                "S3: each lease has a higher fence than all before": FENCE(ACTOR) > s.highest,
                "S5: no lease is taken but the one that was handed over": z3.And(exists(s.slot), carries(s, giver)),
                "S5: nothing of the lease before is left": z3.Not(z3.Or(has(slot, "revoked"), has(slot, "data"))),
                "S4: the slot stays where it was": circulates(s) == circulates(after),
                "the item says whose lease it is, since when and until when": z3.And(
                    [has(slot, name) for name in ("lease_id", "owner", "acquired_at", "expires_at")]
                ),
            }
            yield Step(
                f"a lease that was handed over is adopted ({name})",
                [*way.supposed, s.sent(ACTOR), giver > 0, given, happens],
                after,
                promises,
            )


def _lifted_take(request: Callable[..., Any], maker: Any) -> list[Way[Sent]]:
    return lifted(request, maker, many=SLOTS_MINTED, most=PER_TRANSACTION)


def _acquired(
    s: State,
    name: str,
    way: Way[Sent],
    write: Write,
    counter: Write | None = None,
    *,
    minted: Any,
    others: bool = False,
    setting: Setting,
) -> Step[State]:
    """A claim or mint of the slot by the actor; `minted` slots enter circulation, it among them unless `others` do."""
    assert write.slot.eq(N)
    happens, slot = write.on(s.slot)
    counts, after_counter = (z3.BoolVal(True), s.counter) if counter is None else counter.on(s.counter)
    after = (
        s.but(slot=slot, counter=after_counter, highest=FENCE(ACTOR), circulating=s.circulating + minted)
        .of("had", ACTOR, z3.BoolVal(True))
        .of("until", ACTOR, EXPIRY(ACTOR))
    )
    enters = counter is not None and not others
    when = [*way.supposed, s.sent(ACTOR), happens, counts, *_many(s, way, minted)]
    if enters:
        in_time = s.time <= MADE(ACTOR) + LIFE
        when.append(setting.assume("no request is carried out after its life", in_time))
    there = (
        "S4: as many slots enter circulation as are counted" if enters else "S1: only a slot in circulation is claimed"
    )
    promises = {
        "S1: no slot at or above max_tokens is leased": value(after_counter, "max_tokens") > N,
        "S3: each lease has a higher fence than all before": FENCE(ACTOR) > s.highest,
        "S2: no lease that may run is taken": z3.Implies(leased(s), value(s.slot, "expires_at") < s.time + SKEW),
        "S5: nothing of the lease before is left": z3.Not(has(slot, "revoked")),
        there: z3.And(circulates(after), z3.Not(circulates(s)) if enters else circulates(s)),
        "the item says whose lease it is, since when and until when": z3.And(
            [has(slot, name) for name in ("lease_id", "owner", "acquired_at", "expires_at")]
        ),
    }
    return Step(name, when, after, promises, counted(after))


def _many(s: State, way: Way[Sent], many: Any) -> list[Any]:
    """What counting tells where so many slots below a bound are not in circulation, and the bound is not above max."""
    if many is not SLOTS_MINTED:
        return []
    most = value(s.counter, "max_tokens")
    return [many >= 1, many <= PER_TRANSACTION, z3.Implies(most >= SEEN, s.circulating + many <= most)]


def _counted(s: State, name: str, way: Way[Sent], counter: Write, *, many: Any) -> Step[State]:
    """The same, of other slots than the one that is looked at."""
    counts, after_counter = counter.on(s.counter)
    after = s.but(counter=after_counter, circulating=s.circulating + many)
    others = z3.substitute(z3.And(counts, *way.supposed), (N, _ANOTHER))
    after = after.but(counter={k: _of_another(v) for k, v in after_counter.items()})
    room = (
        []
        if many is SLOTS_MINTED
        else [
            z3.Implies(
                value(s.counter, "max_tokens") > _ANOTHER,
                s.circulating + 1 <= value(s.counter, "max_tokens"),
            )
        ]
    )
    return Step(name, [others, *_many(s, way, many), *room], after, {}, counted(after))


def _of_another(attribute: Any) -> Any:
    return Attr(*(z3.substitute(part, (N, _ANOTHER)) if isinstance(part, z3.ExprRef) else part for part in attribute))


def _unchanged(s: State, after: State, *names: str) -> Any:
    def same(name: str) -> Any:
        a, b = s.slot.get(name, ABSENT), after.slot.get(name, ABSENT)
        return z3.And(a.kind == b.kind, z3.Or(a.kind == MISSING, a.value == b.value))

    return z3.And([same(name) for name in names])


def _own(s: State, after: State, *changed: str) -> Clauses:
    """S5: a request by a lease's id changes no other lease, and of its own no more than it says; and makes no item."""
    rest = [name for name in LEASE if name not in changed]
    return {
        "S5: no other lease is changed, and no item made": z3.And(
            exists(s.slot), carries(s, ACTOR), _unchanged(s, after, *rest)
        ),
        "S4: the slot stays where it was": circulates(s) == circulates(after),
    }


def _holding(s: State, setting: Setting) -> Iterator[Step[State]]:
    later = z3.And(
        setting.assume(
            "a renewal's ttl is its expiry at least, and the retention", 1000 * NEW_TTL >= NEW_EXPIRY + RETENTION
        ),
        setting.assume(
            "a renewal's ttl is the fence at least, and the retention", FENCE(ACTOR) + RETENTION <= 1000 * NEW_TTL
        ),
    )
    for name, request in (("renew", renew), ("renew, in a batch", renew_each), ("renew, to hand over", hand_over)):
        for way in setting.sent(name, request):
            happens, slot = way.returned[0].on(s.slot)
            after = s.but(slot=slot).of("until", ACTOR, NEW_EXPIRY)
            promises = {
                "S6: an expiry never falls": value(s.slot, "expires_at") <= NEW_EXPIRY,
                **_own(s, after, "expires_at", *(("owner",) if request is hand_over else ())),
            }
            if request is hand_over:
                promises["a lease that is handed over says who did so"] = has(slot, "owner")
            yield Step(f"a renewal is carried out ({name})", [s.sent(ACTOR), later, happens], after, promises)
    for dated in (True, False):
        name = "release" if dated else "release, without a ttl"
        for way in setting.sent(name, lambda run, d=dated: release(run, dated=d)):
            happens, slot = way.returned[0].on(s.slot)
            after = s.but(slot=slot).of("ended", ACTOR, z3.BoolVal(True))
            fresh = setting.assume(
                "a release's ttl is the fence at least, and the retention", FENCE(ACTOR) + RETENTION <= 1000 * NEW_TTL
            )
            promises = {
                **_own(s, after, *LEASE),
                "S5: a release leaves nothing of the lease": z3.Not(z3.Or([has(slot, part) for part in LEASE])),
            }
            yield Step(f"a {name} is carried out", [s.leaving(ACTOR), fresh, happens], after, promises)
    yield from _closings(s, setting)
    for way in setting.sent("revoke", revoke):
        happens, slot = way.returned[0].on(s.slot)
        after = s.but(slot=slot)
        promises = {**_own(s, after, "revoked"), "a revocation sets the mark": has(slot, "revoked")}
        yield Step("a revocation is carried out", [happens], after, promises)


def _closings(s: State, setting: Setting) -> Iterator[Step[State]]:
    """A lease is given back, and its slot kept closed: from then on it is as if another attempt had leased it.

    So S2, "a lease that runs is in the item", says of it that nobody else has the slot before its expiry.
    """
    of_the_lease = z3.And(
        FENCE(CLOSING) == FENCE(ACTOR), MADE(CLOSING) == MADE(ACTOR), BEFORE(CLOSING) == BEFORE(ACTOR), CLOSING > 0
    )
    written = z3.And(EXPIRY(CLOSING) == NEW_EXPIRY, TTL(CLOSING) == NEW_TTL)
    fresh = setting.assume("no other lease has the id under which a slot is closed", z3.Not(s.sent(CLOSING)))
    later = z3.And(
        setting.assume(
            "a close's ttl is its expiry at least, and the retention", 1000 * NEW_TTL >= NEW_EXPIRY + RETENTION
        ),
        setting.assume(
            "a close's ttl is the fence at least, and the retention", FENCE(ACTOR) + RETENTION <= 1000 * NEW_TTL
        ),
    )
    for way in setting.sent("close", close):
        happens, slot = way.returned[0].on(s.slot)
        after = s.but(slot=slot).of("ended", ACTOR, z3.BoolVal(True)).of("until", CLOSING, NEW_EXPIRY)
        for field in (
            "sent",
            "had",
            "leaving",
        ):  # leaving: nobody ever believes in it, and whoever knows its id may end it
            after = after.of(field, CLOSING, z3.BoolVal(True))
        promises = {
            **_own(s, after, "lease_id", "expires_at", "data", "revoked"),
            "a closed slot carries the lease of nobody's": carries(after, CLOSING),
            "S5: nothing of the lease but its owner and its time is left": z3.Not(
                z3.Or(has(slot, "data"), has(slot, "revoked"))
            ),
        }
        yield Step(
            "a close is carried out", [s.leaving(ACTOR), fresh, of_the_lease, written, later, happens], after, promises
        )


def _operators(s: State, setting: Setting) -> Iterator[Step[State]]:
    for re_mint in (False, True):
        name = "bring back, as a re-mint" if re_mint else "bring back"
        for way in setting.sent(name, lambda run, r=re_mint: bring_back(run, re_mint=r)):
            happens, slot = way.returned[0].on(s.slot)
            counts, counter = way.returned[1].on(s.counter)
            after = s.but(slot=slot, counter=counter, circulating=s.circulating + 1)
            promises = {
                "S5: a lease that still runs stays": z3.And(exists(s.slot), _unchanged(s, after, *LEASE)),
                "S4: as many slots enter circulation as are counted": z3.And(z3.Not(circulates(s)), circulates(after)),
            }
            yield Step(
                f"the slot is brought back ({name})", [*way.supposed, happens, counts], after, promises, counted(after)
            )
    ours = z3.And(s.planned(PLAN), KIND(PLAN) == SHRINK)

    def resized(counter: Item) -> Clauses:
        return {
            "R: max_tokens is as the plan saw it": value(s.counter, "max_tokens") == SEEN_MAX(PLAN),
            "R: max_tokens is as the plan wants it": value(counter, "max_tokens") == NEW_MAX(PLAN),
        }

    for way in setting.sent("retire", retire):
        happens, slot = way.returned[0].on(s.slot)
        counts, counter = way.returned[1].on(s.counter)
        after = s.but(slot=slot, counter=counter, circulating=s.circulating - MANY(PLAN))
        there = s.circulating >= MANY(PLAN)  # each of them is, by its own condition
        promises = {
            **resized(counter),
            "S5: a lease that still runs stays": z3.And(exists(s.slot), _unchanged(s, after, *LEASE)),
            "S4: as many slots leave circulation as are counted": z3.And(circulates(s), z3.Not(circulates(after))),
        }
        yield Step(
            "a shrink retires the slot", [ours, LISTED(PLAN), happens, counts, there], after, promises, counted(after)
        )
        after = s.but(counter=counter, circulating=s.circulating - MANY(PLAN))
        yield Step(
            "a shrink retires other slots, or none",
            [ours, z3.Not(LISTED(PLAN)), counts, there],
            after,
            resized(counter),
            counted(after),
        )
    for way in setting.sent("grow", grow):
        happens, counter = way.returned[0].on(s.counter)
        after = s.but(counter=counter)
        yield Step(
            "max_tokens grows", [s.planned(PLAN), KIND(PLAN) == GROW, happens], after, resized(counter), counted(after)
        )
    for way in setting.sent("set the order", set_order):
        happens, counter = way.returned[0].on(s.counter)
        after = s.but(counter=counter)
        promises = {
            "R: the counter is as it was seen, and says that it was written": z3.And(
                value(s.counter, "rev") == REV(PLAN), value(counter, "rev") > REV(PLAN)
            ),
            "the order is as it was asked for": counter.get("order", ABSENT).kind == STRING,
        }
        yield Step("the order is set", [happens], after, promises, counted(after))
    for way in setting.sent("recount", recount):
        happens, counter = way.returned[0].on(s.counter)
        after = s.but(counter=counter, edited=z3.BoolVal(False), drifted=z3.BoolVal(True))
        whole = z3.Implies(value(s.counter, "max_tokens") > N, s.read(PLAN))
        promises = {"S4: what is in circulation was counted": z3.Implies(circulates(s), s.found(PLAN))}
        # Each slot in circulation was counted, says the promise: so it counted as many at least.
        enough = NEW_MINTED(PLAN) >= s.circulating
        when = [s.planned(PLAN), KIND(PLAN) == RECOUNT, whole, happens, enough]
        yield Step("a repair sets minted", when, after, promises, counted(after))
    yield from _creations(s, setting)


def _creations(s: State, setting: Setting) -> Iterator[Step[State]]:
    """The bucket is made. Without its slots, it is made over slots that are left: there are none, we assume."""
    for way in setting.sent("create", create):
        first, second, made = way.returned
        assert (first.slot, second.slot, first.texts) == (z3.IntVal(0), z3.IntVal(1), second.texts)
        counts, counter = made.on(s.counter)
        happens, slot = first.on(s.slot)
        below = [NEW_MAX(PLAN) >= MANY(PLAN), MANY(PLAN) >= 0, NEW_MINTED(PLAN) == MANY(PLAN)]
        dated = z3.And(
            setting.assume("no request is carried out after its life", s.time <= MADE(ACTOR) + LIFE),
            setting.assume("a fence is now_hi at least: not below the service's time", FENCE(ACTOR) >= MADE(ACTOR)),
            setting.assume(
                "ttl is the fence at least, and the retention", 1000 * TTL(ACTOR) >= FENCE(ACTOR) + RETENTION
            ),
        )
        after = s.but(slot=slot, counter=counter, circulating=MANY(PLAN), drifted=s.edited)
        promises = {
            "S3: a fence never falls": FENCE(ACTOR) >= s.highest,
            "S5: no lease is overwritten, and no counter": z3.Not(z3.Or(exists(s.slot), exists(s.counter))),
            "the counter says all of its settings": z3.And(has(counter, "lease_ms"), has(counter, "schema")),
        }
        when = [*way.supposed, *below, dated, counts]
        yield Step(
            "the bucket is made, with the slot", [*when, happens, MANY(PLAN) > N], after, promises, counted(after)
        )
        after = s.but(counter=counter, circulating=MANY(PLAN), drifted=s.edited)
        yield Step("the bucket is made, without the slot", when, after, {}, counted(after))


def _reading(s: State, setting: Setting) -> Iterator[Step[State]]:
    rev, most, minted = (value(s.counter, name) for name in ("rev", "max_tokens", "minted"))
    new = [z3.Not(s.planned(PLAN)), exists(s.counter)]
    seen = [REV(PLAN) == rev, SEEN_MAX(PLAN) == most, SEEN_MINTED(PLAN) == minted]
    after = s.of("planned", PLAN, z3.BoolVal(True))
    lists = z3.Implies(z3.And(circulates(s), NEW_MAX(PLAN) <= N), LISTED(PLAN))
    at_once = setting.assume("a shrink is planned from one instant, not from a Query", lists)
    yield Step("a shrink is planned", [*new, *seen, at_once, KIND(PLAN) == SHRINK], after)
    yield Step("a growth is planned", [*new, *seen, KIND(PLAN) == GROW], after)
    anew = after.of("read", PLAN, z3.BoolVal(False))
    counter_first = setting.keeps("a repair reads the counter first")
    yield Step("a repair reads the counter", [*new, *seen, KIND(PLAN) == RECOUNT], anew if counter_first else after)
    after = s.of("read", PLAN, z3.BoolVal(True)).of("found", PLAN, circulates(s))
    yield Step("a repair reads the slot", [s.planned(PLAN)] if counter_first else [], after)


def _around(s: State, setting: Setting) -> Iterator[Step[State]]:
    """Clients, clocks, TTL, and hands."""
    yield Step(
        "time passes", [setting.assume("the service's time does not go back", s.time <= NEW_TIME)], s.but(time=NEW_TIME)
    )
    new = [z3.Not(s.sent(ACTOR)), MADE(ACTOR) == s.time]
    yield Step("an attempt is made, and sent", new, s.of("sent", ACTOR, z3.BoolVal(True)))
    heard = s.of("believes", ACTOR, HEARD)
    had = setting.assume("who believes was told of success, or was shown its own lease id", s.had(ACTOR))
    staying = setting.assume("a lease that is being released is believed in no more", z3.Not(s.leaving(ACTOR)))
    margin = "the holder stops a margin before the expiry, counted from before the first sending"
    in_time = setting.assume(margin, HEARD <= NEW_EXPIRY - SKEW)
    own = setting.assume("a retry with a new expiry has a new lease id", EXPIRY(ACTOR) == NEW_EXPIRY)
    yield Step("a holder hears of its lease", [s.sent(ACTOR), had, staying, in_time, own], heard)
    answered = setting.assume("a renewal counts once it is answered", s.until(ACTOR) >= NEW_EXPIRY)
    yield Step("a holder hears of a renewal", [s.believes(ACTOR) > s.time, in_time, answered], heard)
    yield Step("a holder lets go, or has lost the lease", [], s.of("believes", ACTOR, s.time))
    first = setting.assume("who releases has stopped believing", s.believes(ACTOR) <= s.time)
    yield Step("a release is sent", [s.sent(ACTOR), first], s.of("leaving", ACTOR, z3.BoolVal(True)))
    over = setting.assume("TTL deletes what is past its ttl", 1000 * value(s.slot, "ttl") < s.time + SKEW)
    gone = s.but(
        slot={}, circulating=s.circulating - z3.If(circulates(s), 1, 0), drifted=z3.Or(s.drifted, circulates(s))
    )
    yield Step("TTL deletes the slot", [exists(s.slot), is_number(s.slot, "ttl"), over], gone, {}, counted(gone))
    fewer = s.but(circulating=s.circulating - 1, drifted=z3.BoolVal(True))
    others = s.circulating - 1 >= z3.If(circulates(s), 1, 0)
    yield Step("TTL deletes another slot", [others], fewer, {}, counted(fewer))
    edited = s.but(
        counter=s.counter | {"minted": Attr(NUMBER, HAND)},
        edited=z3.BoolVal(True),
        drifted=z3.BoolVal(True),
    )
    yield Step("somebody sets minted by hand", [exists(s.counter)], edited, {}, counted(edited))


def foreign(s: State, setting: Setting) -> Iterator[Step[State]]:
    """All requests, to items of which nothing is known: another program's, perhaps."""
    ours = z3.Or(is_number(s.slot, "fence"), z3.And(s.slot["lease_id"].kind == STRING, lease_id(s) == ACTOR))
    counts = z3.Or(is_number(s.counter, "rev"), is_number(s.counter, "max_tokens"))
    for name, ways in setting.requests().items():
        for way in ways if setting.only in {None, name} else ():
            for write in way.returned:
                item, shape = (s.slot, ours) if write.slot is not None else (s.counter, counts)
                happens, _ = write.on(item)
                promise = {"F: no item of another program is changed": shape}
                yield Step(f"{name}, to an item of any shape", [exists(item), happens], s, promise)


def shown(s: State) -> list[tuple[str, Any, Any]]:
    """A state, for people; of attempts those that were sent, and of plans those that were made."""
    rows: list[tuple[str, Any, Any]] = [("time", s.time, True), ("slot number", N, True)]
    rows += [(f"slot: {name}", s.slot.get(name, ABSENT), True) for name in SLOT if name not in {"pk", "data"}]
    rows += [(f"counter: {name}", s.counter.get(name, ABSENT), True) for name in COUNTER if name != "pk"]
    rows += [("slots in circulation", s.circulating, True), ("highest fence of a lease", s.highest, True)]
    rows.append(("minted was edited", s.edited, True))
    for called, a in (("attempt", ACTOR), ("one attempt", ONE), ("other attempt", OTHER)):
        matters = z3.Or(s.sent(a), carries(s, a))
        rows.append((f"{called}: lease id", a, matters))
        rows += [
            (f"{called}: {name}", getattr(s, name)(a), matters)
            for name in ("sent", "had", "ended", "leaving", "until", "believes")
        ]
        rows += [(f"{called}: {f.name()} it", f(a), matters) for f in (FENCE, EXPIRY, BEFORE, MADE)]
    for called, m in (("plan", PLAN), ("one plan", ONE_PLAN)):
        rows += [(f"{called}: {name}", getattr(s, name)(m), s.planned(m)) for name in ("planned", "read", "found")]
        rows += [
            (f"{called}: {f.name()} it", f(m), s.planned(m)) for f in (REV, SEEN_MAX, SEEN_MINTED, NEW_MAX, NEW_MINTED)
        ]
        rows.append((f"{called}: lists the slot", LISTED(m), s.planned(m)))
    return [*rows, *((name, term, True) for name, term in (("front ends' error", SKEW), ("retention", RETENTION)))]


def beginning(s: State) -> list[Any]:
    """Nothing is there, and nothing was sent."""
    nothing = [z3.Not(f(ONE)) for f in (s.sent, s.had, s.ended, s.leaving)] + [
        z3.Not(f(ONE_PLAN)) for f in (s.planned, s.read)
    ]
    nobody = [f(a) <= s.time for f in (s.believes,) for a in (ONE, OTHER)]
    empty = [s.slot[name].kind == MISSING for name in SLOT] + [s.counter[name].kind == MISSING for name in COUNTER]
    return [
        *nothing,
        *nobody,
        *empty,
        s.circulating == 0,
        z3.Not(s.edited),
        z3.Not(s.drifted),
        SKEW >= 0,
        s.highest + RETENTION < s.time,
    ]
