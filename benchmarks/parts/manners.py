"""The real service's behaviour, which no engine here has: latencies, transaction conflicts, a partition's limits.

An event simulation, without threads and without real time. It runs the shipped operations, request by request, and the
naive bucket's own, which also run on engines. Each worker is a process of its own.

The service, as published or as reported from load tests: 3.5 ms for a single write, 15.7 ms for a transaction, 1,000
write units and 3,000 read units a second for one partition, no burst. A read is assumed to need 3 ms. A transaction
locks its items while it runs: another transaction on them is cancelled meanwhile, a single write is refused. A
cancelled request costs as much as a successful one; a throttled request costs nothing.
"""

from __future__ import annotations

import heapq
import itertools
import math
import multiprocessing
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from botocore.exceptions import ClientError

from benchmarks.company import NAIVE, OURS, Company
from benchmarks.contenders.naive import Naive
from benchmarks.figures import quantile
from benchmarks.parts import Tick
from ddb_lease._operations.acquire import AcquireOne, acquire
from ddb_lease._operations.release import send_release
from ddb_lease._operations.slot_writes import SlotWrites
from ddb_lease._protocol.messages import Answer, AtOnce, Each, Look, Pause, Request
from ddb_lease._protocol.records import Grant, Settings
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.service_time import ServiceTime
from ddb_lease._state.waiters import Waiter
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import envelope, read_answer, read_failure
from ddb_lease.dynamodb.expressions import call_for
from ddb_lease.models import Timing
from scripts.harness.rate_referee import jain
from scripts.harness.simulated_dynamodb import DynamoDB

WRITE_SECONDS, TRANSACTION_SECONDS, READ_SECONDS = 0.0035, 0.0157, 0.003
WCU_A_SECOND, RCU_A_SECOND = 1_000.0, 3_000.0
TOKENS = 64
HOLD_SECONDS = REST_SECONDS = 0.1
WORKERS = (1, 10, 30, 100, 300, 1_000, 10_000)
SECONDS = 5.0
"""Of simulated time. The first two are not counted, as workers still start."""
BEGIN, _WARM = 1_800_000_000.0, 2.0
_ITEM_BYTES = 200
_TABLE = BUCKET = "manners"


class World:
    """Simulated time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Schedule something after so many seconds."""
        heapq.heappush(self._events, (self.now + max(0.0, seconds), next(self._serial), what))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = until

    def step(self) -> None:
        """Let time pass until the next event, and let that happen."""
        self.now, _, what = heapq.heappop(self._events)
        what()

    def steady(self) -> float:
        """The machine's steady clock."""
        return self.now

    def wall(self) -> float:
        """The machine's wall clock; unused."""
        return BEGIN + self.now


class Permits:
    """A limit of units a second, which saves up one second's worth at most."""

    def __init__(self, world: World, units_a_second: float) -> None:
        self._world = world
        self._rate = units_a_second
        self._left, self._at = units_a_second, 0.0

    def take(self, units: float) -> bool:
        """Take units if enough are left; returns whether they were taken."""
        now = self._world.now
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < units:
            return False
        self._left -= units
        return True


class Service:
    """DynamoDB on simulated time, with its limits."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._seen: dict[tuple[bool, str], Any] = {}
        self._read: dict[int, tuple[Any, Answer]] = {}
        self._database = DynamoDB(on_commit=lambda *_: self._forget())
        self._busy: dict[str, int] = {}
        self._writing, self._reading = Permits(world, WCU_A_SECOND), Permits(world, RCU_A_SECOND)
        self.clear()

    def put(self, items: Mapping[tuple[str, str], dict[str, Any]]) -> None:
        """Put items into the table, without a request."""
        self._database.items.update(items)
        self._forget()

    def _forget(self) -> None:
        self._seen.clear()
        self._read.clear()

    def clear(self) -> None:
        """Begin to count."""
        self.requests = self.reads = self.wasted = self.conflicts = self.throttled = 0
        self.wcu = self.rcu = 0.0

    def call(self, method: str, arguments: dict[str, Any], answer: Callable[[Any], None]) -> None:
        """Carry out one request; `answer` gets the response, or the error."""
        seconds = {"transact_write_items": TRANSACTION_SECONDS, "query": READ_SECONDS}.get(method, WRITE_SECONDS)
        seconds *= self._chance.uniform(0.8, 1.2)

        def arrive() -> None:
            self.requests += 1
            keys = _keys(method, arguments)
            if method == "query":
                self._finish(method, arguments, seconds / 2, answer)
                return
            units = float(2 * len(keys) if method == "transact_write_items" else 1)
            if not self._writing.take(units):
                self.throttled += 1
                self._refuse(method, "ThrottlingException", len(keys), "ThrottlingError", seconds / 2, answer)
                return
            self.wcu += units
            if any(self._busy.get(key) for key in keys):
                self.conflicts += 1
                self._refuse(method, "TransactionConflictException", len(keys), "TransactionConflict", 0.002, answer)
            elif method == "transact_write_items":
                for key in keys:
                    self._busy[key] = self._busy.get(key, 0) + 1

                def commit() -> None:
                    for key in keys:
                        self._busy[key] -= 1
                    self._finish(method, arguments, seconds * 0.1, answer)

                self._world.later(seconds * 0.8, commit)
            else:
                self._finish(method, arguments, seconds / 2, answer)

        self._world.later(seconds * (0.1 if method == "transact_write_items" else 0.5), arrive)

    def read(self, request: Request, response: dict[str, Any]) -> Answer:
        """The parsed answer of a response; what all workers see alike is parsed once."""
        items = response.get("Items")
        if items is None:
            return read_answer(request, response)
        if id(items) not in self._read:  # which the entry keeps alive: its id is no other's
            self._read[id(items)] = items, read_answer(request, response)
        return self._read[id(items)][1]

    def _finish(self, method: str, arguments: dict[str, Any], after: float, answer: Callable[[Any], None]) -> None:
        result = self._execute(method, arguments)
        if isinstance(result, ClientError):
            self.wasted += 1
        if method == "query":
            self.reads += 1
            size = result.get("Count", 0) * _ITEM_BYTES if isinstance(result, dict) else 0
            units = max(1, math.ceil(size / 4096)) * (1.0 if arguments.get("ConsistentRead") else 0.5)
            if not self._reading.take(units):
                self.throttled += 1
                self._refuse(method, "ThrottlingException", 1, "", after, answer)
                return
            self.rcu += units
        self._world.later(after, lambda: answer(result))

    def _execute(self, method: str, arguments: dict[str, Any]) -> Any:
        now, key = BEGIN + self._world.now, (False, "")
        if method == "query":
            key = arguments.get("ConsistentRead", False), repr(arguments.get("ExpressionAttributeValues"))
        if method == "query" and key in self._seen:
            # All workers read the same, and see the same until the next write: only the Date is new.
            seen = self._seen[key]
            headers = {"date": formatdate(int(now), usegmt=True)}
            return {**seen, "ResponseMetadata": {**seen["ResponseMetadata"], "HTTPHeaders": headers}}
        try:
            result = self._database.execute(method, arguments, now=now, date=now)
        except ClientError as error:
            return error
        if method == "query":
            self._seen[key] = result
        return result

    def _refuse(
        self, method: str, code: str, items: int, reason: str, after: float, answer: Callable[[Any], None]
    ) -> None:
        more: dict[str, Any] = {}
        if method == "transact_write_items":
            code, more = "TransactionCanceledException", {"CancellationReasons": [{"Code": reason}] * items}
        if method != "query":
            self.wasted += 1
        error = self._database.error(method, code, code, date=BEGIN + self._world.now, **more)
        self._world.later(after, lambda: answer(error))


def _keys(method: str, arguments: dict[str, Any]) -> list[str]:
    if method == "transact_write_items":
        return [_keys("", next(iter(step.values())))[0] for step in arguments["TransactItems"]]
    found = arguments.get("Item") or arguments.get("Key") or {}
    return [found["sk"]["S"]] if found else []


@dataclass
class Log:
    """The counts of one worker."""

    grants: int = 0

    def __post_init__(self) -> None:
        self.waits: list[float] = []


Worker = Generator[Any, Any, None]


def _our_worker(world: World, time: ServiceTime, log: Log, chance: random.Random) -> Worker:
    state = BucketState(
        bucket=BUCKET,
        wanted=Settings(max_tokens=TOKENS, lease_ms=60_000),
        timing=Timing(),
        time=time,
        chance=chance,
    )
    hints = state.hints
    while True:
        wanted = world.now
        waiter = Waiter(lambda: None)
        writes = SlotWrites(state, owner="host.example:1", data={}, deadline=math.inf, waiter=waiter)
        grant = yield from acquire(AcquireOne(writes), patient=True)
        assert isinstance(grant, Grant)
        state.began(grant.lease_id, grant.slots)
        log.grants += 1
        log.waits.append(world.now - wanted)
        yield HOLD_SECONDS * chance.uniform(0.5, 1.5)
        state.ended(grant.lease_id)
        endings = yield from send_release(
            state, slots=grant.slots, lease_id=grant.lease_id, fence=grant.fence, tries=8, deadline=world.now + 30
        )
        for slot in [ending.slot for ending in endings if ending.ended]:
            hints.released(slot, fence=grant.fence, now=world.now)
        yield REST_SECONDS * chance.uniform(0.5, 1.5)


def _naive_worker(naive: Naive, world: World, log: Log, chance: random.Random) -> Worker:
    while True:
        wanted = world.now
        lease_id = yield from naive.acquire(int((BEGIN + world.now) * 1000), patient=True)
        assert lease_id is not None
        log.grants += 1
        log.waits.append(world.now - wanted)
        yield HOLD_SECONDS * chance.uniform(0.5, 1.5)
        yield from naive.release(lease_id)
        yield REST_SECONDS * chance.uniform(0.5, 1.5)


class Carrier:
    """Runs one worker: carries its requests to the service, and time to it."""

    def __init__(self, world: World, service: Service, worker: Worker, time: ServiceTime | None) -> None:
        self._world = world
        self._service = service
        self._worker = worker
        self._time = time
        self._place = BucketAddress(table=_TABLE, bucket=BUCKET)

    def begin(self) -> None:
        """Start the worker."""
        self.go_on()

    def go_on(self, answer: Any = None) -> None:
        """Give the worker an answer, and carry out its next request."""
        try:
            effect = self._worker.send(answer)
        except StopIteration:
            return
        if isinstance(effect, Pause):
            effect = effect.seconds
        if isinstance(effect, float):
            self._world.later(effect, self.go_on)
        elif isinstance(effect, tuple):
            method, arguments = effect
            self._service.call(method, arguments, lambda it: self.go_on(it if isinstance(it, Exception) else None))
        elif isinstance(effect, AtOnce):
            self._send_at_once(effect.looks)
        else:
            self._send(effect, self.go_on)

    def _send_at_once(self, looks: Sequence[Look]) -> None:
        answers: dict[int, Answer] = {}

        def answered(number: int, answer: Answer) -> None:
            answers[number] = answer
            if len(answers) == len(looks):
                self.go_on(Each(answers=tuple(answers[number] for number in range(len(looks)))))

        for number, look in enumerate(looks):
            self._send(look, lambda answer, number=number: answered(number, answer))

    def _send(self, request: Request, then: Callable[[Any], None]) -> None:
        sent = self._world.now
        method, arguments = call_for(request, self._place)

        def answered(response: Any) -> None:
            failed = isinstance(response, Exception)
            genuine, date = envelope(response.response if failed else response)
            if genuine and self._time is not None:
                self._time.observe(sent=sent, received=self._world.now, date=date)
            then(read_failure(response, self._place, request) if failed else self._service.read(request, response))

        self._service.call(method, arguments, answered)


def play(kind: str, workers: int, *, seconds: float = SECONDS, seed: int = 1) -> dict[str, Any]:
    """One simulation."""
    chance, world = random.Random(f"{seed} {kind} {workers}"), World()
    service = Service(world, chance)
    logs = [Log() for _ in range(workers)]
    naive = Naive(_TABLE, BUCKET, TOKENS, 60_000, chance)
    if kind == NAIVE:
        method, arguments = naive.create()
        service.call(method, arguments, lambda _: None)
    time: ServiceTime | None
    for log in logs:
        if kind == OURS:
            time = ServiceTime(world)
            worker = _our_worker(world, time, log, random.Random(chance.random()))
        else:
            time, worker = None, _naive_worker(naive, world, log, chance)
        carrier = Carrier(world, service, worker, time)
        world.later(chance.uniform(0.05, 1.0), carrier.go_on)
    world.run(_WARM)
    service.clear()
    before = [log.grants for log in logs]
    counted = [len(log.waits) for log in logs]
    world.run(seconds)
    shares = [log.grants - was for log, was in zip(logs, before, strict=True)]
    waits = [wait for log, was in zip(logs, counted, strict=True) for wait in log.waits[was:]]
    grants, passed = max(1, sum(shares)), seconds - _WARM
    return {
        "contender": kind,
        "workers": workers,
        "grants_a_second": sum(shares) / passed,
        "requests_a_grant": service.requests / grants,
        "wcu_a_grant": service.wcu / grants,
        "rcu_a_grant": service.rcu / grants,
        "wasted_writes_a_grant": service.wasted / grants,
        "conflicts_a_second": service.conflicts / passed,
        "throttled_a_second": service.throttled / passed,
        "wait_p50_ms": quantile(waits, 0.5) * 1e3,
        "wait_p99_ms": quantile(waits, 0.99) * 1e3,
        "jain": jain(shares),
    }


def run(company: Company, tick: Tick, *, workers: tuple[int, ...] = WORKERS) -> dict[str, Any]:  # noqa: ARG001
    """Ours and naive, with more and more workers; on all cores, as nothing is timed here."""
    tasks = [(kind, count) for count in workers for kind in (OURS, NAIVE)]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        plays = {pool.submit(play, *task): task for task in reversed(tasks)}  # the largest take longest
        for done, _ in enumerate(as_completed(plays), start=1):
            tick(done / len(tasks))
        found = {task: play.result() for play, task in plays.items()}
    return {
        "tokens": TOKENS,
        "hold_seconds": HOLD_SECONDS,
        "rest_seconds": REST_SECONDS,
        "seconds": SECONDS - _WARM,
        "rows": [found[task] for task in tasks],
    }
