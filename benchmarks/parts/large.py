"""Large buckets: what it costs to find the last free slots, to fill a bucket, and to wait for a full one.

On the simulated service of `manners`, without threads and without real time; the code that decides on each request is
the shipped one. Seconds are of simulated time, so they have the service's latencies and all pauses in them, and not the
processor time that reading an answer takes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Generator, Sequence
from typing import Any

from benchmarks.company import Company
from benchmarks.figures import quantile
from benchmarks.parts import Tick
from benchmarks.parts.manners import BEGIN, BUCKET, TRANSACTION_SECONDS, WRITE_SECONDS, Carrier, Service, World
from ddb_lease._operations.acquire import AcquireOne, acquire
from ddb_lease._operations.slot_writes import SlotWrites
from ddb_lease._protocol.records import Grant, Settings
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.service_time import ServiceTime
from ddb_lease._state.waiters import Waiter
from ddb_lease.models import Timing

LAST_FREE = ((1_000, 10), (10_000, 10), (10_000, 1), (100_000, 10))
"""Slots, and how many of them are free."""

CLAIMS = 8
"""By a new process each; the slot is then free again."""

FILLS = ((700, 1), (700, 4), (5_000, 1))
"""Tokens, and the processes that take them all."""

WAITS = (100, 1_000, 10_000)
"""Tokens of a full bucket that one process waits for."""

WAITING_SECONDS = 120.0
LEASE_MS = 60_000

Job = Generator[Any, Any, None]


def run(
    company: Company,  # noqa: ARG001 - nothing is sent to the engine
    tick: Tick,
    *,
    last_free: Sequence[tuple[int, int]] = LAST_FREE,
    claims: int = CLAIMS,
    fills: Sequence[tuple[int, int]] = FILLS,
    waits: Sequence[int] = WAITS,
) -> dict[str, Any]:
    """One after the other."""
    found = []
    for slots, free in last_free:
        found.append(find(slots, free, claims))
        tick(0.7 * len(found) / len(last_free))
    filled = [fill(tokens, processes) for tokens, processes in fills]
    tick(0.9)
    waited = [wait(tokens) for tokens in waits]
    tick(1.0)
    return {"last_free": found, "fill": filled, "wait": waited}


def find(slots: int, free: int, claims: int) -> dict[str, Any]:
    """Claims of the last free slots, each by a process that knows nothing of the bucket."""
    chance = random.Random(f"find {slots} {free}")
    world = World()
    service = Service(world, chance)
    _furnish(service, slots, leased=slots - free, chance=chance)
    seconds: list[float] = []
    looks: list[int] = []
    rcu: list[float] = []
    for number in range(claims):
        process = _Process(world, service, slots, seed=f"{slots} {free} {number}")
        service.clear()
        began = world.now
        grants: list[Grant] = []
        process.start(_acquire(process, 1, grants))
        _run_until(world, lambda grants=grants: bool(grants))
        seconds.append(world.now - began)
        looks.append(service.reads)
        rcu.append(service.rcu)
        (slot,) = grants[0].slots
        service.put(_items([slot], leased=set()))  # free again, for the next process
    return {
        "slots": slots,
        "free": free,
        "looks": sum(looks) / claims,
        "most_looks": max(looks),
        "rcu": sum(rcu) / claims,
        "seconds": sum(seconds) / claims,
        "p50_s": quantile(seconds, 0.5),
        "most_s": max(seconds),
    }


def fill(tokens: int, processes: int) -> dict[str, Any]:
    """Processes that take all tokens of a new bucket, each one after another, and hold them."""
    chance = random.Random(f"fill {tokens} {processes}")
    world = World()
    service = Service(world, chance)
    grants: list[Grant] = []
    for number in range(processes):
        share = tokens * (number + 1) // processes - tokens * number // processes
        process = _Process(world, service, tokens, seed=f"fill {tokens} {processes} {number}")
        process.start(_acquire(process, share, grants))
    _run_until(world, lambda: len(grants) == tokens)
    minted = max(0, tokens - 99)
    # Mints wait for one another, as each writes the counter; claims do not.
    least = minted * TRANSACTION_SECONDS + (tokens - minted) * WRITE_SECONDS / processes
    return {
        "tokens": tokens,
        "processes": processes,
        "requests_a_claim": service.requests / tokens,
        "looks_a_claim": service.reads / tokens,
        "rcu_a_claim": service.rcu / tokens,
        "seconds": world.now,
        "to_claims_alone": world.now / least,
    }


def wait(tokens: int) -> dict[str, Any]:
    """One process that waits for a full bucket; what it reads in its first seconds is told apart."""
    chance = random.Random(f"wait {tokens}")
    world = World()
    service = Service(world, chance)
    _furnish(service, tokens, leased=tokens, chance=chance)
    process = _Process(world, service, tokens, seed=f"wait {tokens}")
    process.start(_acquire(process, 1, []))
    world.run(10.0)
    first_reads, first_rcu = service.reads, service.rcu
    service.clear()
    world.run(10.0 + WAITING_SECONDS)
    return {
        "tokens": tokens,
        "first_looks": first_reads,
        "first_rcu": first_rcu,
        "looks_a_second": service.reads / WAITING_SECONDS,
        "rcu_a_second": service.rcu / WAITING_SECONDS,
    }


class _Process:
    """One process of the bucket's users."""

    def __init__(self, world: World, service: Service, tokens: int, *, seed: str) -> None:
        self.time = ServiceTime(world)
        self.state = BucketState(
            bucket=BUCKET,
            wanted=Settings(max_tokens=tokens, lease_ms=LEASE_MS),
            timing=Timing(),
            time=self.time,
            chance=random.Random(seed),
        )
        self._world = world
        self._service = service

    def start(self, job: Job) -> None:
        """Start a thread of it."""
        carrier = Carrier(self._world, self._service, job, self.time)
        self._world.later(0.0, carrier.begin)


def _acquire(process: _Process, count: int, grants: list[Grant]) -> Job:
    state = process.state
    for _ in range(count):
        waiter = Waiter(lambda: None)
        writes = SlotWrites(state, owner="host.example:1", data={}, deadline=math.inf, waiter=waiter)
        grant = yield from acquire(AcquireOne(writes), patient=True)
        assert isinstance(grant, Grant)
        state.began(grant.lease_id, grant.slots)
        grants.append(grant)


def _run_until(world: World, done: Any) -> None:
    while not done():
        world.step()


def _furnish(service: Service, slots: int, *, leased: int, chance: random.Random) -> None:
    now = int(BEGIN) * 1000
    numbers = {"max_tokens": slots, "minted": slots, "rev": now, "lease_ms": LEASE_MS, "schema": 1}
    counter = {"pk": {"S": BUCKET}, "sk": {"S": "counter"}} | {name: {"N": str(n)} for name, n in numbers.items()}
    service.put({(BUCKET, "counter"): counter})
    service.put(_items(range(slots), leased=set(chance.sample(range(slots), leased))))


def _items(numbers: Sequence[int], *, leased: set[int]) -> dict[tuple[str, str], dict[str, Any]]:
    now = int(BEGIN) * 1000
    free = {"pk": {"S": BUCKET}, "fence": {"N": str(now)}, "ttl": {"N": str(now // 1000 + 86_400)}}
    lease = {
        "owner": {"S": "other.example:1"},
        "acquired_at": {"N": str(now)},
        "expires_at": {"N": str(now + 36_000_000)},
    }
    items = {}
    for number in numbers:
        item = {**free, "sk": {"S": f"slot#{number:05d}"}}
        if number in leased:
            item |= {"lease_id": {"S": f"{number}-someoneelse"}, **lease}
        items[BUCKET, f"slot#{number:05d}"] = item
    return items
