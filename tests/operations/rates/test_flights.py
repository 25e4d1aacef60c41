"""One attempt at a charge: what it sends, and that this is never another's."""

import math
from dataclasses import replace

from ddb_lease._operations.rates.flights import FlightSender
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import Charge
from ddb_lease._protocol.rates.validation import SINGLE
from ddb_lease._state.rates.booking import Booking, Flight
from ddb_lease.models import Limit
from tests.operations.rates.rate_world import NS, World

ONE = Wanted(booked={SINGLE: 1})


def a_sender(*others):
    """A world in which the key is known, its process's state, its book, and a sender of a caller that waits."""
    world = World(Limit(10, burst=1), [0, *others])
    world.call(0)
    world.run(world.now + NS)
    state = world.processes[0].state
    booking = Booking(lambda: None, wanted=ONE, began=0.0, deadline=math.inf, patient=True)
    return world, state, state.book(""), FlightSender(state, "", state.book(""), booking)


def flight(attempt, world):
    return Flight(attempt=attempt, batch=(), wanted=ONE, horizon=NS, planned_at=world.now)


def test_what_was_planned_for_one_attempt_is_not_sent_for_another():
    world, state, book, sender = a_sender()
    ours, others = flight("ours", world), flight("others", world)
    sender.plan(ours, state.policy, book.known, now=world.now)
    book.flight = others  # another thread has just planned it
    assert next(sender.send(ours, math.inf), None) is None, "it ends, and sends nothing"
    charge = next(sender.send(others, math.inf))
    assert isinstance(charge, Charge)
    assert charge.attempt == "others"


def test_what_was_planned_is_sent_once_and_planned_anew_by_what_is_known_then():
    world, state, book, sender = a_sender()
    book.flight = ours = flight("ours", world)
    sender.plan(ours, state.policy, book.known, now=world.now)
    planned_at, world.now = world.now, world.now + NS
    operation = sender.send(ours, math.inf)
    assert next(operation).due == planned_at
    assert ours.uncertain, "until its answer comes, it may have been charged"
    operation.close()
    assert next(sender.send(ours, math.inf)).due == world.now


def test_what_another_caller_has_learned_since_it_was_planned_is_what_it_is_sent_by():
    world, state, book, sender = a_sender(0)
    book.flight = ours = flight("ours", world)
    sender.plan(ours, state.policy, book.known, now=world.now)
    world.call(1)  # another process charges, and a caller here sees it
    book.learn(world.items.keys[""], now=world.now, process=state.process)
    (part,) = next(sender.send(ours, math.inf)).limits
    assert part.branch == "busy", "by what it was planned by, nothing was charged"


def test_under_another_policy_it_is_planned_anew():
    world, state, book, sender = a_sender()
    book.flight = ours = flight("ours", world)
    sender.plan(ours, state.policy, book.known, now=world.now)
    state.policy = replace(state.policy, rev=state.policy.rev + 1)  # another caller has read it
    assert next(sender.send(ours, math.inf)).rev == state.policy.rev
