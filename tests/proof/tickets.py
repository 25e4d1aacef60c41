"""Tickets of an ordered bucket's waiters: the state of one, its invariant, and what may happen to it.

Invariants:

- One ticket is looked at, any one, with all requests to put, refresh and drop it. A request is a number: each has one
  expiry for ever. Whoever notes an expiry, to drop the ticket by it later, is a number too.
- What requests write is not written here: `shipped` takes it from the library.
- A request may be carried out at any time after it was first sent, any number of times, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import z3

from ddb_lease._protocol.tickets import DropTicket, PutTicket, RefreshTicket, Ticket
from ddb_lease.dynamodb.tickets import TICKET_PREFIX
from tests.proof.shipped import Write
from tests.proof.steps import Clauses, Setting, Step
from tests.proof.symbols import Run
from tests.proof.theory import Part, Theory
from tests.proof.translation import ABSENT, MISSING, STRING, Item, any_item, exists, is_number

TICKET = ("pk", "owner", "count", "expires_at", "ttl")

_INTS, _BOOL = z3.IntSort(), z3.BoolSort()
EXPIRY, TTL = z3.Function("expires_at of", _INTS, _INTS), z3.Function("ttl of", _INTS, _INTS)
"""Of a put or a refresh, for ever."""
NOTED, NAMED = z3.Function("expiry noted by", _INTS, _INTS), z3.Function("expiry named by", _INTS, _INTS)
"""Of who drops the ticket, for ever: the expiry that he knows, and the one that his request has."""

COUNT, PRIORITY, ARRIVAL = z3.Ints("count priority arrival")
ACTOR, ONE, DROPPER, ONE_DROPPER = z3.Ints("actor one dropper one_dropper")
NOW, SKEW, RETENTION = z3.Int("now"), z3.Int("front ends' error"), z3.Int("retention")


@dataclass(frozen=True)
class State:
    """What there is at one instant.

    Attributes:
        item: The ticket's item.
        asked: The latest expiry that its waiter has asked for.
        sent: Of a put or a refresh: whether it was sent, and may be carried out from now on.
        refreshed: Of who noted an expiry: whether the ticket that is there was refreshed beyond it, or put with a later
            one, since then.
    """

    item: Item
    asked: Any
    sent: Callable[[Any], Any]
    refreshed: Callable[[Any], Any]

    def but(self, **changes: Any) -> State:
        """This state, with changes."""
        return replace(self, **changes)

    def of(self, field: str, number: Any, value: Any) -> State:
        """This state, with another value for one request or dropper."""
        before = getattr(self, field)
        return replace(self, **{field: lambda asked: z3.If(asked == number, value, before(asked))})

    def written(self, item: Item) -> State:
        """This state, after the actor's put or refresh."""
        return self.but(item=item, refreshed=lambda d: z3.Or(EXPIRY(ACTOR) > NOTED(d), self.refreshed(d)))

    def gone(self, item: Item) -> State:
        """This state, after the ticket was deleted."""
        return self.but(item=item, refreshed=lambda d: z3.BoolVal(False))


def a_state() -> State:
    """A state of which nothing is known."""
    return State(
        item=any_item("ticket.", TICKET),
        asked=z3.Int("latest expiry asked for"),
        sent=z3.Function("sent", _INTS, _BOOL),
        refreshed=z3.Function("refreshed since noted by", _INTS, _BOOL),
    )


def value(item: Item, name: str) -> Any:
    """The number in an attribute."""
    return item.get(name, ABSENT).value


def beginning(s: State) -> list[Any]:
    """There is no ticket, and nothing was sent."""
    return [*(s.item[name].kind == MISSING for name in TICKET), z3.Not(s.sent(ONE)), z3.Not(s.refreshed(ONE_DROPPER))]


# The invariant.


def invariant(s: State) -> Clauses:
    """The invariant, of a request and a dropper of which nothing is known."""
    return {**_of_item(s), **_of_request(s, ONE), **_of_dropper(s, ONE_DROPPER)}


def _of_item(s: State) -> Clauses:
    item = s.item
    typed = [is_number(item, name) for name in ("count", "expires_at", "ttl")]
    owned = item.get("owner", ABSENT).kind == STRING
    return {
        "shape of a ticket": z3.If(
            exists(item), z3.And(owned, *typed), z3.And([item.get(name, ABSENT).kind == MISSING for name in TICKET])
        ),
        "a ticket wants as many slots as its waiter": z3.Implies(exists(item), value(item, "count") == COUNT),
        "a ticket counts no longer than its waiter has asked for": z3.Implies(
            exists(item), value(item, "expires_at") <= s.asked
        ),
        "ttl is not before the expiry and the retention": z3.Implies(
            exists(item), 1000 * value(item, "ttl") >= value(item, "expires_at") + RETENTION
        ),
    }


def _of_request(s: State, a: Any) -> Clauses:
    return {"no request asks for more than its waiter": z3.Implies(s.sent(a), EXPIRY(a) <= s.asked)}


def _of_dropper(s: State, d: Any) -> Clauses:
    return {
        "what was refreshed since its expiry was noted has a later one": z3.Implies(
            s.refreshed(d), z3.And(exists(s.item), value(s.item, "expires_at") > NOTED(d))
        )
    }


def known(s: State, setting: Setting) -> list[Any]:
    """What is known of a state in which the invariant holds, and of what clients make sure of."""
    formulas = [*_of_item(s).values(), SKEW >= 0, RETENTION >= 0]
    for a in (ACTOR, ONE):
        formulas += _of_request(s, a).values()
    for d in (DROPPER, ONE_DROPPER):
        formulas += _of_dropper(s, d).values()
    return formulas


# The requests.


def _ticket(run: Run, expiry: Any) -> Ticket:
    return Ticket(
        priority=run.symbol(PRIORITY),
        arrival=run.symbol(ARRIVAL),
        name="0123456789abcdef",
        owner="owner",
        count=run.symbol(COUNT),
        expires_at=run.symbol(expiry),
    )


def put(run: Run) -> PutTicket:
    return PutTicket(ticket=_ticket(run, EXPIRY(ACTOR)), ttl=run.symbol(TTL(ACTOR)))


def refresh(run: Run) -> RefreshTicket:
    return RefreshTicket(ticket=_ticket(run, EXPIRY(ACTOR)), ttl=run.symbol(TTL(ACTOR)))


def drop(run: Run) -> DropTicket:
    return DropTicket(ticket=_ticket(run, NAMED(DROPPER)))


# What may happen.


def steps(s: State, setting: Setting) -> Iterator[Step[State]]:
    """All that may happen to the ticket."""
    asked_for = z3.And(
        setting.assume("only its waiter puts and refreshes a ticket, as it has asked", s.sent(ACTOR)),
        setting.assume("ttl is the expiry at least, and the retention", 1000 * TTL(ACTOR) >= EXPIRY(ACTOR) + RETENTION),
    )
    before = value(s.item, "expires_at")
    for way in setting.sent("put a ticket", put):
        (write,) = way.returned
        happens, item = write.on(s.item)
        promises = {
            **_apart(write),
            "a put overwrites no ticket": z3.Not(exists(s.item)),
            "what is put counts until its put's expiry": value(item, "expires_at") == EXPIRY(ACTOR),
        }
        yield Step("a ticket is put", [*way.supposed, asked_for, happens], s.written(item), promises)
    for way in setting.sent("refresh a ticket", refresh):
        (write,) = way.returned
        happens, item = write.on(s.item)
        promises = {
            **_apart(write),
            "a refresh makes no ticket": exists(s.item),
            "a refresh shortens no expiry": value(item, "expires_at") >= before,
            "a ticket counts until its refresh's expiry": value(item, "expires_at") == EXPIRY(ACTOR),
        }
        yield Step("a ticket is refreshed", [*way.supposed, asked_for, happens], s.written(item), promises)
    named = "who drops a ticket names the expiry that he noted"
    for way in setting.sent("drop a ticket", drop):
        (write,) = way.returned
        happens, item = write.on(s.item)
        promises = {
            **_apart(write),
            "a drop leaves no ticket": z3.Not(exists(item)),
            "a drop deletes nothing that was refreshed since its expiry was noted": z3.Implies(
                exists(s.item), z3.And(z3.Not(s.refreshed(DROPPER)), before <= NOTED(DROPPER))
            ),
        }
        honest = setting.assume(named, NAMED(DROPPER) == NOTED(DROPPER))
        yield Step("a ticket is dropped", [*way.supposed, honest, happens], s.gone(item), promises)
    if setting.only is None:
        yield from _around(s, setting)


def _around(s: State, setting: Setting) -> Iterator[Step[State]]:
    """Waiters, those who look at the queue, and TTL."""
    later = z3.If(EXPIRY(ACTOR) > s.asked, EXPIRY(ACTOR), s.asked)
    asks = s.but(asked=later).of("sent", ACTOR, z3.BoolVal(True))
    yield Step("a put or a refresh is sent", [z3.Not(s.sent(ACTOR))], asks)
    noted, expiry = s.of("refreshed", DROPPER, z3.BoolVal(False)), value(s.item, "expires_at")
    yield Step("somebody sees the ticket", [exists(s.item), NOTED(DROPPER) == expiry], noted)
    promises = {"what a waiter notes as its own expiry drops its ticket": z3.Implies(exists(s.item), expiry <= s.asked)}
    yield Step("its waiter leaves", [NOTED(DROPPER) == s.asked], noted, promises)
    over = setting.assume("TTL deletes what is past its ttl", 1000 * value(s.item, "ttl") < NOW + SKEW)
    promises = {"TTL deletes no ticket before its expiry and the retention": expiry + RETENTION < NOW + SKEW}
    yield Step("TTL deletes the ticket", [exists(s.item), is_number(s.item, "ttl"), over], s.gone({}), promises)


def _apart(write: Write) -> Clauses:
    return {"what is written is a ticket: no slot, no counter, no item of a rate": z3.BoolVal(is_ticket(write))}


def is_ticket(write: Write) -> bool:
    """Whether a write is to a ticket, by its key."""
    return write.sort.startswith(TICKET_PREFIX)


def foreign(s: State, setting: Setting) -> Iterator[Step[State]]:
    """All requests, to items of which nothing is known but the key."""
    for name, sent_ways in setting.requests().items():
        for way in sent_ways if setting.only in {None, name} else ():
            happens, _ = way.returned[0].on(s.item)
            promise = {"F: no item is changed that has no such expiry": is_number(s.item, "expires_at")}
            yield Step(f"{name}, to an item of any shape", [*way.supposed, exists(s.item), happens], s, promise)


def shown(s: State) -> list[tuple[str, Any, Any]]:
    """A state, for people."""
    rows: list[tuple[str, Any, Any]] = [
        (f"ticket: {name}", s.item.get(name, ABSENT), True) for name in TICKET if name != "pk"
    ]
    rows += [("its waiter's count", COUNT, True), ("latest expiry asked for", s.asked, True)]
    for called, a in (("request", ACTOR), ("one request", ONE)):
        rows += [(f"{called}: number", a, True), (f"{called}: sent", s.sent(a), True)]
        rows += [(f"{called}: {f.name()} it", f(a), True) for f in (EXPIRY, TTL)]
    for called, d in (("dropper", DROPPER), ("one dropper", ONE_DROPPER)):
        rows += [(f"{called}: number", d, True), (f"{called}: refreshed since", s.refreshed(d), True)]
        rows += [(f"{called}: {f.name()} it", f(d), True) for f in (NOTED, NAMED)]
    return [*rows, *((str(term), term, True) for term in (NOW, SKEW, RETENTION))]


TICKETS = Theory(
    name="Tickets",
    state=a_state,
    beginning=beginning,
    parts=(Part(steps, known, invariant), Part(foreign, lambda s, setting: [], lambda s: {})),
    where=lambda write: "ticket",
    alike=lambda write: write.texts,
    also_removed={"ticket": ("owner", "count", "expires_at", "ttl")},
    looked_at=lambda what: True,
    redundant={},
    shown=shown,
)
