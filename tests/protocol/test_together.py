"""Several buckets, all or none: what order of waiting, trying and giving back does to those who want them.

The shipped moves are driven here against buckets that are counters, in made-up time; who waits polls as the library does.
"""

from __future__ import annotations

import heapq
from random import Random

from ddb_lease._protocol.together import GiveBack, Rest, TryFor, WaitFor, together

ROUND_TRIP = 0.005


class Buckets:
    """Buckets and callers, in made-up time."""

    def __init__(self, seed, **tokens):
        self.free = dict(tokens)
        self.had = {}
        self.failures = 0
        self.idle = 0.0
        self.now = 0.0
        self.chance = Random(seed)
        self._queue = []

    def caller(self, *names, hold=1.0, pause=0.1):
        self._at(self.chance.random(), self._call(names, hold, pause))

    def run(self, seconds):
        while self._queue and self._queue[0][0] < seconds:
            self.now, _, work = heapq.heappop(self._queue)
            self._at(next(work), work)

    def _at(self, after, work):
        heapq.heappush(self._queue, (self.now + after, self.chance.random(), work))

    def _call(self, names, hold, pause):
        while True:
            yield from self._acquire(names)
            self.had[names] = self.had.get(names, 0) + 1
            yield hold * self.chance.uniform(0.5, 1.5)
            for name in names:
                self.free[name] += 1
            yield pause * self.chance.uniform(0.5, 1.5)

    def _acquire(self, names):
        moves, worked, held, since = together(len(names), self.chance), None, [], self.now
        while True:
            try:
                move = moves.send(worked)
            except StopIteration:
                assert sorted(held) == sorted(names)
                return
            worked = True
            match move:
                case WaitFor(place):
                    assert not held, "it waits, and holds something"
                    while not self.free[names[place]]:
                        yield self.chance.uniform(0.5, 1.0)
                    since = self.now
                    self._take(names[place], held)
                case TryFor(place):
                    worked = self.free[names[place]] > 0
                    if worked:
                        self._take(names[place], held)
                    self.failures += not worked
                case GiveBack():
                    self.idle += (self.now - since) * len(held)
                    for name in held:
                        self.free[name] += 1
                    held = []
                case Rest(seconds):
                    yield seconds
            yield ROUND_TRIP

    def _take(self, name, held):
        self.free[name] -= 1
        held.append(name)


def test_one_bucket_is_waited_for_and_that_is_all():
    assert list(together(1, Random(1))) == [WaitFor(0)]


def test_it_waits_for_the_bucket_that_was_full_and_holds_nothing_meanwhile():
    moves = together(3, Random(1))
    assert [next(moves), moves.send(True), moves.send(True), moves.send(False)][:3] == [
        WaitFor(0),
        TryFor(1),
        TryFor(2),
    ]
    assert isinstance(moves.send(True), Rest)
    assert [moves.send(True), moves.send(True), moves.send(True)] == [WaitFor(2), TryFor(0), TryFor(1)]


def test_callers_who_name_the_same_buckets_in_other_orders_neither_block_nor_starve_one_another():
    buckets = Buckets(1, x=1, y=1)
    for _ in range(2):
        buckets.caller("x", "y")
        buckets.caller("y", "x")
    buckets.run(500.0)
    served = buckets.had["x", "y"], buckets.had["y", "x"]
    assert sum(served) > 400, "one at a time, for a second each"
    assert min(served) > 100
    assert buckets.failures < sum(served)


def test_in_a_ring_everybody_is_served():
    names = [f"b{number}" for number in range(5)]
    buckets = Buckets(2, **dict.fromkeys(names, 1))
    for one, other in zip(names, [*names[1:], names[0]], strict=True):
        buckets.caller(one, other, hold=2.0)
    buckets.run(1_000.0)
    assert len(buckets.had) == 5
    assert sum(buckets.had.values()) > 850, "two of the five at a time, mostly"
    assert min(buckets.had.values()) > 100


def test_those_who_wait_for_a_full_bucket_keep_nothing_of_another_from_those_who_can_use_it():
    for order in (("everybody", "noisy"), ("noisy", "everybody")):
        buckets = Buckets(3, noisy=2, quiet=2, everybody=6)
        for _ in range(20):
            buckets.caller(*order, hold=5.0)
        for _ in range(2):
            buckets.caller("everybody", "quiet", hold=5.0)
        buckets.run(500.0)
        assert buckets.had["everybody", "quiet"] > 180, "as if it were alone: two at a time, for five seconds each"
        assert buckets.idle < 10.0


class Longest(Random):
    """Draws the largest number that it may."""

    def uniform(self, a, b):
        return b


def test_rests_grow_with_each_failure_from_a_tenth_of_a_second_to_two():
    moves, rests = together(2, Longest()), []
    move = next(moves)
    while len(rests) < 7:
        if isinstance(move, Rest):
            rests.append(move.seconds)
        move = moves.send(not isinstance(move, TryFor))
    assert rests == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
