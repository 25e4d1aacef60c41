"""One attempt at a charge: what it sends, and that this is never another's."""

import math

from ddb_lease._operations.rates.flights import FlightSender
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import Charge
from ddb_lease._protocol.rates.validation import SINGLE
from ddb_lease._state.rates.booking import Booking, Flight
from ddb_lease.models import Limit
from tests.operations.rates.rate_world import NS, World

ONE = Wanted(booked={SINGLE: 1})


def flight(attempt, world):
    return Flight(attempt=attempt, batch=(), wanted=ONE, horizon=NS, planned_at=world.now)


def sent(operation):
    """What an operation sends first; None if it ends without sending anything."""
    return next(operation, None)


def test_what_was_planned_for_one_attempt_is_not_sent_for_another():
    world = World(Limit(10, burst=5), [0])
    world.call(0)
    state = world.processes[0].state
    book = state.book("")
    booking = Booking(lambda: None, wanted=ONE, began=0.0, deadline=math.inf, patient=True)
    sender = FlightSender(state, "", book, booking)
    ours, others = flight("ours", world), flight("others", world)
    sender.plan(ours, state.policy, book.known, now=world.now)
    book.flight = others  # another thread has just planned it
    assert sent(sender.send(ours, math.inf)) is None
    charge = sent(sender.send(others, math.inf))
    assert isinstance(charge, Charge)
    assert charge.attempt == "others"


def test_what_was_planned_is_sent_once_and_planned_anew_by_what_is_known_then():
    world = World(Limit(10, burst=5), [0])
    world.call(0)
    state = world.processes[0].state
    book = state.book("")
    sender = FlightSender(
        state, "", book, Booking(lambda: None, wanted=ONE, began=0.0, deadline=math.inf, patient=True)
    )
    book.flight = ours = flight("ours", world)
    sender.plan(ours, state.policy, book.known, now=world.now)
    planned_at, world.now = world.now, world.now + NS
    operation = sender.send(ours, math.inf)
    assert next(operation).due == planned_at
    assert ours.uncertain, "until its answer comes, it may have been charged"
    operation.close()
    again = sender.send(ours, math.inf)
    assert next(again).due == world.now


def test_what_another_caller_has_learned_since_it_was_planned_is_what_it_is_sent_by():
    world = World(Limit(10, burst=1), [0, 0])
    world.call(0)
    world.run(world.now + NS)
    state = world.processes[0].state
    book = state.book("")
    sender = FlightSender(
        state, "", book, Booking(lambda: None, wanted=ONE, began=0.0, deadline=math.inf, patient=True)
    )
    book.flight = ours = flight("ours", world)
    sender.plan(ours, state.policy, book.known, now=world.now)
    world.call(1)  # another process charges, and a caller here sees it
    book.learn(world.items.keys[""], now=world.now, process=state.process)
    (part,) = next(sender.send(ours, math.inf)).limits
    assert part.branch == "busy", "by what it was planned by, nothing was charged"
