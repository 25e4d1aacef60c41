"""Waiting in order: ordered buckets beside unordered ones, with many waiting processes.

    python -m benchmarks.queues            all cases; some ten minutes
    python -m benchmarks.queues 16-on-8    some of them

On the simulated service of `benchmarks.parts.manners`, without threads and without real time; the code that decides on
each request is the shipped one. Each worker is a process of its own, which acquires, holds, releases, and wants the
next slot at once.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.parts.manners import BUCKET, Carrier, Service, World
from ddb_lease._operations.acquire import AcquireOne, acquire
from ddb_lease._operations.acquire_many import AcquireMany
from ddb_lease._operations.release import send_release
from ddb_lease._operations.slot_writes import SlotWrites
from ddb_lease._protocol.queueing import NEAR_SECONDS
from ddb_lease._protocol.records import Grant, Settings
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.service_time import ServiceTime
from ddb_lease._state.waiters import Waiter
from ddb_lease.models import Order, Timing
from scripts.harness.rate_referee import jain

LEASE_MS = 3_600_000
"""So long that nothing expires: workers do not renew here."""


FOR_EVER = 1_000_000.0
"""Seconds for which slots are held, where only the waiting is counted."""

LOOK_SECONDS = 0.5
"""Two looks of the first of a queue: whoever gets a slot so much later than somebody who came later was overtaken.
Those who get their slots at the same time, each its own, need not get them in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One simulation.

    Attributes:
        name: For people.
        order: The bucket's.
        processes: How many want slots, all the time.
        tokens: The bucket's.
        hold: Seconds for which each holds a slot.
        seconds: Of simulated time that are counted.
        warm: Seconds before that.
        wants: How many slots the first process wants together.
    """

    name: str
    order: Order
    processes: int
    tokens: int
    hold: float
    seconds: float
    warm: float = 30.0
    wants: int = 1


@dataclass
class Shared:
    """What the workers of a simulation note.

    Attributes:
        arrivals: When each grant's acquire was called for, in the order of the grants; with when it was won.
        held: Slot seconds that were held.
    """

    arrivals: list[tuple[float, float]] = field(default_factory=list)
    held: float = 0.0


@dataclass
class Log:
    """What one worker notes."""

    waits: list[float] = field(default_factory=list)


def worker(
    case: Case, world: World, time: ServiceTime, log: Log, shared: Shared, chance: random.Random, count: int
) -> Generator[Any, Any, None]:
    """Acquires, holds and releases, for ever."""
    state = BucketState(
        bucket=BUCKET,
        wanted=Settings(max_tokens=case.tokens, lease_ms=LEASE_MS, order=case.order),
        timing=Timing(),
        time=time,
        chance=chance,
    )
    while True:
        wanted = world.now
        writes = SlotWrites(
            state, owner="host.example:1", data={}, deadline=math.inf, waiter=Waiter(lambda: None, count)
        )
        grant = yield from acquire(AcquireOne(writes) if count == 1 else AcquireMany(writes, count=count), patient=True)
        assert isinstance(grant, Grant)
        state.began(grant.lease_id, grant.slots)
        log.waits.append(world.now - wanted)
        shared.arrivals.append((wanted, world.now))
        held_from = world.now
        yield case.hold * chance.uniform(0.95, 1.05)
        state.ended(grant.lease_id)
        endings = yield from send_release(
            state, slots=grant.slots, lease_id=grant.lease_id, fence=grant.fence, tries=8, deadline=world.now + 30
        )
        shared.held += count * (world.now - held_from)
        for slot in [ending.slot for ending in endings if ending.ended]:
            state.hints.released(slot, fence=grant.fence, now=world.now)


def play(case: Case, *, seed: int = 1) -> dict[str, Any]:
    """One simulation."""
    chance, world, shared = random.Random(f"{seed} {case.name}"), World(), Shared()
    service = Service(world, chance)
    logs = [Log() for _ in range(case.processes)]
    for number, log in enumerate(logs):
        time = ServiceTime(world)
        count = case.wants if number == case.processes - 1 else 1
        job = worker(case, world, time, log, shared, random.Random(chance.random()), count)
        carrier = Carrier(world, service, job, time)
        world.later(chance.uniform(0.05, min(case.warm, 10.0)), carrier.go_on)
    world.run(case.warm)
    service.clear()
    shared.held, before = 0.0, [len(log.waits) for log in logs]
    counted = len(shared.arrivals)
    world.run(case.warm + case.seconds)
    shares = [len(log.waits) - was for log, was in zip(logs, before, strict=True)]
    grants = max(1, sum(shares))
    return {
        "name": case.name,
        "order": case.order,
        "processes": case.processes,
        "tokens": case.tokens,
        "hold_s": case.hold,
        "grants": sum(shares),
        "least": min(shares),
        "jain": jain(shares),
        "use": shared.held / (case.tokens * case.seconds),
        "requests_a_grant": service.requests / grants,
        "writes_a_grant": (service.requests - service.reads) / grants,
        "lost_writes_a_grant": service.wasted / grants,
        "requests_a_second": service.requests / case.seconds,
        "rcu_a_second": service.rcu / case.seconds,
        "throttled_a_second": service.throttled / case.seconds,
        "out_of_order": out_of_order(shared.arrivals[counted:]),
        "overtaken": out_of_order(shared.arrivals[counted:], longer=LOOK_SECONDS),
        "overtaken_by_far": out_of_order(shared.arrivals[counted:], apart=NEAR_SECONDS),
        "wants": case.wants,
        "grants_of_who_wants_several": shares[-1] if case.wants > 1 else None,
    }


def out_of_order(grants: Sequence[tuple[float, float]], *, apart: float = 0.25, longer: float = 0.0) -> int:
    """Grants before that of somebody who came by more than `apart` seconds earlier, and then waited `longer` still."""
    found = 0
    for place, (wanted, won) in enumerate(grants):
        later = grants[place + 1 : place + 200]
        found += any(came < wanted - apart and had > won + longer for came, had in later)
    return found


CASES = (
    Case(name="16-on-8", order="fifo", processes=16, tokens=8, hold=1.0, seconds=120),
    Case(name="16-on-8-any", order="any", processes=16, tokens=8, hold=1.0, seconds=120),
    Case(name="6-of-8", order="fifo", processes=21, tokens=8, hold=1.0, seconds=120, wants=6),
    Case(name="6-of-8-any", order="any", processes=21, tokens=8, hold=1.0, seconds=120, wants=6),
    Case(name="300-on-8", order="fifo", processes=300, tokens=8, hold=1.0, seconds=900, warm=60),
    Case(name="300-on-8-any", order="any", processes=300, tokens=8, hold=1.0, seconds=100, warm=60),
    Case(name="96-on-32", order="fifo", processes=96, tokens=32, hold=120.0, seconds=600, warm=300),
    Case(name="300-on-8-10s", order="fifo", processes=300, tokens=8, hold=10.0, seconds=400, warm=60),
    Case(name="1000-come", order="fifo", processes=1000, tokens=4, hold=10.0, seconds=290, warm=10),
    Case(name="1000-on-4", order="fifo", processes=1000, tokens=4, hold=10.0, seconds=300, warm=300),
    Case(name="1000-on-4-any", order="any", processes=1000, tokens=4, hold=10.0, seconds=60),
    Case(name="1-waits", order="fifo", processes=9, tokens=8, hold=FOR_EVER, seconds=60),
    Case(name="10-wait", order="fifo", processes=18, tokens=8, hold=FOR_EVER, seconds=60),
    Case(name="100-wait", order="fifo", processes=108, tokens=8, hold=FOR_EVER, seconds=60),
)


def main() -> None:
    """Play the cases, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queues", description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of: {', '.join(case.name for case in CASES)}")
    wanted = parser.parse_args().cases
    columns = (
        "name",
        "grants",
        "jain",
        "use",
        "requests_a_grant",
        "writes_a_grant",
        "requests_a_second",
        "rcu_a_second",
    )
    columns += ("out_of_order", "overtaken", "overtaken_by_far")
    print("| " + " | ".join(column.replace("_", " ") for column in columns) + " |")
    print("| --- " * len(columns) + "|")
    for case in CASES:
        if not wanted or case.name in wanted:
            row = play(case)
            cells = [f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name]) for name in columns]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
