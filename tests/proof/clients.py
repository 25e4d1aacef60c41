"""What clients compute, by the library's own code on symbols: the margin, fences, ttls; from what clocks are assumed.

Invariants: each lemma is one of the assumptions of `slots`, or what it comes from. Times of the service are in ms, of
the steady clock in seconds, as in the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import z3

from ddb_lease._protocol.grants import new_grant, next_fence, ttl_for
from ddb_lease._protocol.rates.charging import ttl_of
from ddb_lease._protocol.rates.records import LimitPolicy
from ddb_lease.models import OSCILLATOR_DRIFT, Timing
from tests.proof.steps import check
from tests.proof.symbols import Run, term_of, ways

TIMING = Timing()
RATE_OF_STEADY = "a steady clock runs by at most 200 ppm too slow"
BOUNDED = "now_lo and now_hi hold the time of a front end, and these differ by at most the skew"


@dataclass(frozen=True)
class Lemma:
    """One thing that clients compute.

    Attributes:
        name: What holds of it.
        given: Assumptions by name.
        holds: On each way through the code: what the way supposes, and what must hold.
    """

    name: str
    given: dict[str, Any]
    holds: Callable[[], Iterator[tuple[list[Any], Any]]]

    def counterexample(self, *, without: str | None = None) -> z3.ModelRef | None:
        """A model in which it does not hold, without one of the assumptions; None if there is none."""
        given = [formula for name, formula in self.given.items() if name != without]
        models = (check([*given, *supposed, z3.Not(goal)], logic="ALL") for supposed, goal in self.holds())
        return next((model for model in models if model is not None), None)


class _NoChance:
    """Draws the same lease id each time: it does not matter here."""

    def getrandbits(self, bits: int) -> int:
        return bits


def _margin() -> Lemma:
    made, now_hi, length = z3.Reals("made now_hi length")
    believed, steady = z3.Reals("believed steady")  # seconds, from the reading of the steady clock
    ends = z3.Real("belief_ends")

    def holds() -> Iterator[tuple[list[Any], Any]]:
        def code(run: Run) -> Any:
            lease = run.symbol(length)
            margin: Any = TIMING.margin_for(lease / 1000)
            grant: Any = new_grant(
                (0,),
                fence_seen=0,
                lease_ms=lease,
                margin=margin,
                owner="",
                data={},
                steady=run.symbol(steady),
                now_hi=run.symbol(now_hi),
                chance=_NoChance(),
            )
            return grant.expires_at, grant.deadline

        for way in ways(code):
            expires_at, deadline = map(term_of, way.returned)
            in_time = believed == deadline - steady
            goal = ends <= expires_at - 1000 * z3.RealVal(repr(TIMING.front_end_skew))
            yield [*way.supposed, in_time], goal

    elapsed = (ends - made) / 1000
    return Lemma(
        name="the holder stops a margin before the expiry, counted from before the first sending",
        given={
            BOUNDED: now_hi >= made,
            RATE_OF_STEADY: elapsed * (1 - z3.RealVal(repr(OSCILLATOR_DRIFT))) <= believed,
            "a lease has a length": length > 0,
        },
        holds=holds,
    )


def _fence() -> Lemma:
    made, now_hi, seen = z3.Ints("made now_hi seen")

    def holds() -> Iterator[tuple[list[Any], Any]]:
        for way in ways(lambda run: next_fence(run.symbol(seen), run.symbol(now_hi))):
            fence = term_of(way.returned)
            yield way.supposed, z3.And(fence >= made, fence > seen)

    return Lemma("a fence is now_hi at least: not below the service's time", {BOUNDED: now_hi >= made}, holds)


def _ttl() -> Lemma:
    now_hi, expiry, fence = z3.Ints("now_hi expiry fence")

    def holds() -> Iterator[tuple[list[Any], Any]]:
        def code(run: Run) -> Any:
            return ttl_for(
                now_hi=run.symbol(now_hi),
                expires_at=run.symbol(expiry),
                fence=run.symbol(fence),
                retention_seconds=TIMING.retention,
            )

        for way in ways(code):
            ttl, retention = 1000 * term_of(way.returned), 1000 * int(TIMING.retention)
            yield way.supposed, z3.And(ttl >= expiry + retention, ttl >= fence + retention)

    return Lemma("ttl is expiry and fence at least, and the retention", {}, holds)


def _rate_ttl() -> Lemma:
    due, interval, until = z3.Ints("due interval until")

    def holds() -> Iterator[tuple[list[Any], Any]]:
        def code(run: Run) -> Any:
            limit = LimitPolicy(interval=run.symbol(interval), burst=3, permits=1.0, per=1.0)
            return ttl_of(limit.tolerance, None, due=run.symbol(due), retention=60, until=run.symbol(until))

        for way in ways(code):
            ttl = 1_000_000_000 * term_of(way.returned)
            yield way.supposed, z3.And(ttl >= due + 3 * interval, ttl >= until)

    return Lemma("a charge's ttl is not before its latest due time and the tolerance", {}, holds)


LEMMAS = (_margin(), _fence(), _ttl(), _rate_ttl())
