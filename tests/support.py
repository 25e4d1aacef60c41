"""Test support: a tap that counts requests and injects faults, access to the table, a clock that tests move."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import itertools
import math
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import botocore.auth
import pytest

from ddb_lease import LeaseBucket
from ddb_lease._protocol.messages import (
    Adopt,
    Answer,
    BringBack,
    Claim,
    Conflict,
    Create,
    Mint,
    Rejected,
    Release,
    Renew,
    RenewEach,
    Reply,
    Request,
    Retire,
    ThrottledAnswer,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.rates import messages as rates
from ddb_lease._protocol.records import Claimant, Settings
from ddb_lease._runtime.clock import SystemClock
from ddb_lease._runtime.ports import Sender, Wakeup
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.service_time import ServiceTime
from ddb_lease._state.signing_time import SigningTime
from ddb_lease.dynamodb import ConnectionSettings, Store
from ddb_lease.errors import StoreRejected
from ddb_lease.local.engine import Engine
from ddb_lease.local.folder import Folder
from ddb_lease.testing import MovableClock
from ddb_lease.testing.manual_heartbeat import ManualHeartbeats
from ddb_lease.testing.simulated_process import Chance
from scripts.harness.holders import locks_within
from scripts.harness.inside import core_of, held_of


class Injected(Exception):
    """The cause of an injected failure."""


LOST = Unknown(cause=Injected("the answer is lost"))
CONFLICT = Conflict(cause=Injected("another transaction is under way"))
THROTTLED = ThrottledAnswer(cause=Injected("too many requests"))
UNSENT = Unsent(cause=Injected("no connection"))
REJECTED = Rejected(error=StoreRejected("permission is missing"))
UNTIMELY = Rejected(error=StoreRejected("set this machine's clock"), untimely=True)
EXPIRED = Rejected(error=StoreRejected("the credentials have run out"), unauthenticated=True)

NO_ANSWERS = (LOST, CONFLICT, THROTTLED, UNSENT)
"""The answers after which a client retries."""

LONG_AGO = 1_000
NOW = 2_000_000_000_000
"""Milliseconds: the present time in requests made by hand."""
TTL = 4_000_000_000
"""Seconds: far from anything that an engine might delete."""
LEASE_MS = 30_000


def store_of(connection: ConnectionSettings, *, bucket: str = "nightly", table: str = "leases") -> Store:
    """A bucket without the library's upper layers: requests are sent as they are."""
    clock = SystemClock()
    signing = SigningTime(ServiceTime(clock), clock)
    return Store(table=table, bucket=bucket, connection=connection, lease_seconds=30, signing=signing)


def set_botocores_clock(patch: pytest.MonkeyPatch, wall: Callable[[], float]) -> None:
    """Let botocore sign by this clock."""

    def now(remove_tzinfo: bool = True) -> dt.datetime:
        at = dt.datetime.fromtimestamp(wall(), dt.timezone.utc)
        return at.replace(tzinfo=None) if remove_tzinfo else at

    signers = [sys.modules[name] for name in ("botocore.auth", "botocore.crt.auth") if name in sys.modules]
    if hasattr(botocore.auth, "get_current_datetime"):
        for module in signers:
            patch.setattr(module, "get_current_datetime", now)
    else:  # an older botocore
        shifted = type("Shifted", (dt.datetime,), {"utcnow": classmethod(lambda cls: now())})
        patch.setattr(botocore.auth.datetime, "datetime", shifted)


@dataclass
class Fault:
    """What happens to one request.

    `commits`: whether it reaches the engine. `answer`: what the client gets instead of the true answer.
    """

    kind: type
    answer: Answer | None = None
    commits: bool = True
    before: Callable[[Request], None] | None = None
    after: Callable[[Request], None] | None = None
    raises: BaseException | None = None


@dataclass
class Tap:
    """Between a bucket and its store: records each request, and injects the faults that the test asked for."""

    sent: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    everything_fails: Answer | None = None
    store: Sender | None = None

    def around(self, store: Sender) -> Tap:
        self.store = store
        self._lock = threading.Lock()
        return self

    def inject(self, kind: type, **how: Any) -> None:
        """Let the next request of this kind meet this fault; several faults are met in order."""
        self.faults.append(Fault(kind, **how))

    def count(self) -> dict[str, int]:
        """How many requests of each kind were sent."""
        names = [type(request).__name__ for request in self.sent]
        return {name: names.count(name) for name in sorted(set(names))}

    def clear(self) -> None:
        self.sent.clear()

    def of(self, kind: type) -> list[Any]:
        """The requests of this kind; including renewals that were sent together."""
        parts = (request.renewals if isinstance(request, RenewEach) else (request,) for request in self.sent)
        return [request for request in itertools.chain.from_iterable(parts) if isinstance(request, kind)]

    def send(self, request: Request) -> Reply:
        with self._lock:
            self.sent.append(request)
            fault = next((f for f in self.faults if isinstance(request, f.kind)), None)
            if fault is not None:
                self.faults.remove(fault)
        if fault is None:
            if self.everything_fails is not None:
                return Reply(answer=self.everything_fails, genuine=False, date=None)
            return self.store.send(request)
        return self._meet(fault, request)

    def _meet(self, fault: Fault, request: Request) -> Reply:
        if fault.before:
            fault.before(request)
        reply = self.store.send(request) if fault.commits else None
        if fault.after:
            fault.after(request)
        if fault.raises is not None:
            raise fault.raises
        if fault.answer is not None:
            return Reply(answer=fault.answer, genuine=False, date=None)
        assert reply is not None, "a fault that neither commits nor answers"
        return reply

    def resend(self, request: Request) -> Answer:
        """A late or repeated copy of a request arrives at the engine."""
        return self.store.send(request).answer

    def fit(self, lease_seconds: float) -> None:
        self.store.fit(lease_seconds)

    def close(self) -> None:
        self.store.close()

    def after_fork_in_child(self) -> None:
        self.store.after_fork_in_child()


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    values = {name: next(iter(value.items())) for name, value in item.items() if name not in {"pk", "sk"}}
    return {name: int(v) if kind == "N" and v.lstrip("-").isdigit() else v for name, (kind, v) in values.items()}


class Table:
    """A bucket's items in the table, in plain Python values."""

    def __init__(self, client: Any, table: str, bucket: str) -> None:
        self.client = client
        self.table = table
        self.bucket = bucket

    def key(self, sort: str | int) -> dict[str, Any]:
        sort = f"slot#{sort:05d}" if isinstance(sort, int) else sort
        return {"pk": {"S": self.bucket}, "sk": {"S": sort}}

    def get(self, sort: str | int) -> dict[str, Any] | None:
        """An item as {name: value}; numbers as int; None if there is none."""
        item = self.client.get_item(TableName=self.table, Key=self.key(sort), ConsistentRead=True).get("Item")
        if item is None:
            return None
        return {
            k: int(v["N"]) if "N" in v else next(iter(v.values())) for k, v in item.items() if k not in {"pk", "sk"}
        }

    def all(self) -> dict[str, dict[str, Any]]:
        """All items of the bucket by sort key."""
        found: dict[str, dict[str, Any]] = {}
        start: dict[str, Any] = {}
        while True:
            page = self.client.query(
                TableName=self.table,
                KeyConditionExpression="pk = :b",
                ExpressionAttributeValues={":b": {"S": self.bucket}},
                ConsistentRead=True,
                **start,
            )
            for item in page["Items"]:
                found[item["sk"]["S"]] = _plain(item)
            if "LastEvaluatedKey" not in page:
                return found
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def slots(self) -> dict[int, dict[str, Any]]:
        """The slots by number."""
        return {int(k.removeprefix("slot#")): v for k, v in self.all().items() if k.startswith("slot#")}

    def set(self, sort: str | int, **attributes: int | str | bool | dict[str, Any]) -> None:
        """Write attributes by hand; a dict is taken as a DynamoDB value."""
        values = {
            f":{name}": value
            if isinstance(value, dict)
            else {"BOOL": value}
            if isinstance(value, bool)
            else {"N": str(value)}
            if isinstance(value, int)
            else {"S": value}
            for name, value in attributes.items()
        }
        self.client.update_item(
            TableName=self.table,
            Key=self.key(sort),
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
            ExpressionAttributeNames={f"#{name}": name for name in attributes},
            ExpressionAttributeValues=values,
        )

    def unset(self, sort: str | int, *names: str) -> None:
        """Remove attributes by hand."""
        self.client.update_item(
            TableName=self.table,
            Key=self.key(sort),
            UpdateExpression="REMOVE " + ", ".join(f"#{name}" for name in names),
            ExpressionAttributeNames={f"#{name}": name for name in names},
        )

    def delete(self, sort: str | int) -> None:
        """Delete an item by hand, or as TTL would."""
        self.client.delete_item(TableName=self.table, Key=self.key(sort))

    def delete_all(self) -> None:
        """Delete the bucket, whatever is in it, and all keys of the rate of its name."""
        sorts = list(self.all())
        if "policy" in sorts:
            for shard in range(64):
                Table(self.client, self.table, f"{self.bucket}#{shard:02d}").delete_all()
        for first in range(0, len(sorts), 25):
            batch = [{"DeleteRequest": {"Key": self.key(sort)}} for sort in sorts[first : first + 25]]
            self.client.batch_write_item(RequestItems={self.table: batch})

    def expire(self, slot: int) -> None:
        """Make a lease look as if its holder had died long ago."""
        self.set(slot, expires_at=1_000)


# Requests by hand, for tests that talk to a store directly.


def claimant(lease_id: str = "0-mine", **changes: Any) -> Claimant:
    """A lease as a request writes it."""
    return replace(Claimant(lease_id=lease_id, owner="me", acquired_at=NOW, expires_at=NOW + LEASE_MS), **changes)


def claim(
    lease_id: str = "0-mine", *, slot: int = 0, fence: int = 100, expired_before: int = NOW, **lease: Any
) -> Claim:
    lease_ = claimant(lease_id, **lease)
    return Claim(slot=slot, fence=fence, lease=lease_, expired_before=expired_before, ttl=TTL + 1)


def mint(lease_id: str = "0-mine", *, slot: int = 0, fence: int = 100, re_mint: bool = False, token: str = "") -> Mint:
    token = token or new_token()
    return Mint(slot=slot, fence=fence, lease=claimant(lease_id), ttl=TTL + 1, re_mint=re_mint, token=token)


def bring_back(slot: int = 0, *, re_mint: bool = False) -> BringBack:
    return BringBack(slot=slot, ttl=TTL + 1, re_mint=re_mint, token=new_token())


def retire(*slots: int, rev: int, max_tokens: int, minted: int) -> Retire:
    return Retire(slots=slots, rev=rev, max_tokens=max_tokens, minted=minted, ttl=TTL + 1, token=new_token())


def create(*, max_tokens: int = 3, minted: int = 3, slots: int = 3) -> Create:
    settings = Settings(max_tokens=max_tokens, lease_ms=LEASE_MS)
    return Create(settings=settings, minted=minted, rev=NOW, slots=slots, fence=50, ttl=TTL + 1, token=new_token())


def renew(lease_id: str = "0-mine", *, slot: int = 0, expires_at: int = NOW + 2 * LEASE_MS) -> Renew:
    return Renew(slot=slot, lease_id=lease_id, expires_at=expires_at, ttl=TTL + 1)


def adopt(*slots: int, giver: str = "0-giver", fence: int = 100, **lease: Any) -> Adopt:
    lease_ = claimant("0-mine", **lease)
    return Adopt(slots=slots, giver=giver, fence=fence, lease=lease_, ttl=TTL + 1, token=new_token())


def release(lease_id: str = "0-mine", *, slot: int = 0, ttl: int | None = TTL + 1) -> Release:
    return Release(slot=slot, lease_id=lease_id, ttl=ttl)


def drained(limiter: Any) -> Any:
    """A limiter with nothing left at once."""
    while limiter.try_acquire():
        pass
    limiter.tap.clear()
    return limiter


def charges(limiter: Any) -> int:
    """How many charges it has sent."""
    return len(limiter.tap.of(rates.Charge))


def wanted(limiter: Any, key: str = "") -> int:
    """How many permits those want who wait for a booking in it, as its state says."""
    waiting = core_of(limiter).state.book(key).waiting()
    return sum(sum(booking.wanted.booked.values()) for booking in waiting)


_tokens = itertools.count()


def new_token() -> str:
    """A request token of this test alone: engines keep them for minutes."""
    return f"{time.time_ns():x}-{next(_tokens)}"


# Tables by hand.


def put_counter(table: Table, **changes: int) -> None:
    """The counter of a bucket of three slots."""
    table.set("counter", **({"max_tokens": 3, "minted": 3, "rev": 7, "lease_ms": LEASE_MS, "schema": 1} | changes))


def put_free(table: Table, *slots: int, fence: int = 10) -> None:
    for slot in slots:
        table.set(slot, fence=fence, ttl=TTL)


def put_leased(
    table: Table, slot: int, lease_id: str = "0-other", *, expires_at: int = NOW + LEASE_MS, **more: Any
) -> None:
    lease = {"lease_id": lease_id, "owner": "other", "acquired_at": NOW, "expires_at": expires_at}
    table.set(slot, fence=10, ttl=TTL, **lease, **more)


def leases_in(table: Table) -> dict[int, str]:
    """The holder of each slot, by the table."""
    return {number: slot["lease_id"] for number, slot in table.slots().items() if "lease_id" in slot}


def eventually(condition: Callable[[], object], *, within: float = 10.0) -> None:
    """Wait until a condition holds that other threads bring about."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


_RLOCK = threading.RLock


class WatchedLock:
    """A reentrant lock that calls `before` each time before it is taken."""

    def __init__(self) -> None:
        self.before: Callable[[], object] = lambda: None
        self._lock = _RLOCK()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self.before()
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)  # what a `Condition` asks it for


@contextlib.contextmanager
def watched_locks() -> Iterator[list[WatchedLock]]:
    """The reentrant locks that are made in this block: all of them are watched."""
    made: list[WatchedLock] = []

    def lock() -> WatchedLock:
        made.append(WatchedLock())
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "RLock", lock)
        yield made


def memory_of(thing: object) -> int:
    """Bytes of an object and of all that it refers to, but for classes, functions and modules."""
    seen: dict[int, object] = {}
    waiting = [thing]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, (type, types.ModuleType, types.FunctionType)):
            seen[id(one)] = one
            waiting += gc.get_referents(one)
    return sum(map(sys.getsizeof, seen.values()))


class EndingWakeup(Wakeup):
    """Ends the thread that pauses on it, as hardly anything can: a heartbeat survives whatever its turns raise."""

    over = False

    def pause(self, seconds: float) -> None:
        if not self.over:
            super().pause(seconds)
        if self.over:
            raise SystemExit


def renew_soon(leases: Iterable[Any], heartbeats: Any) -> None:
    """Let the heartbeat renew these leases early, all at one time: together, where the engine takes batches."""
    for lease in leases:
        held_of(lease).belief.renew_at = 0.0
    heartbeats.reconsider_all()


class Stalling:
    """A store in which each renewal of some leases hangs until it is let go, in whatever batch it is."""

    def __init__(self, bucket: Any, *leases: Any) -> None:
        self.go = threading.Event()
        self.hung = 0
        self._ids = {lease.id for lease in leases}
        self._store = bucket.tap.store
        bucket.tap.store = self

    def send(self, request: Request) -> Reply:
        parts = request.renewals if isinstance(request, RenewEach) else (request,)
        if any(isinstance(part, Renew) and part.lease_id in self._ids for part in parts):
            self.hung += 1
            assert self.go.wait(300.0)
        return self._store.send(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


# A test environment: clients on a clock that the test moves, the service's included; nothing happens in between.


class DatedTap(Tap):
    """A tap that gives each genuine answer a Date by the test's clock."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__()
        self.clock = clock
        self.odd: list[float | None] = []
        """The errors of the Dates of the next answers; None for an answer without one."""

    def send(self, request: Request) -> Reply:
        reply = super().send(request)
        if not reply.genuine:
            return reply
        odd = self.odd.pop(0) if self.odd else 0.0
        return replace(reply, date=None if odd is None else float(math.floor(self.clock.wall())) + odd)


class SteppingWakeup(Wakeup):
    """Pauses by moving the clock."""

    def __init__(self, environment: SimulatedClients) -> None:
        super().__init__()
        self._environment = environment
        self._rung = False

    def wake(self) -> None:
        self._rung = True

    def pause(self, seconds: float) -> None:
        if self._rung:
            self._rung = False
        else:
            self.sleep(seconds)

    def sleep(self, seconds: float) -> None:
        self._environment.pauses.append(seconds)
        self._environment.clock.pass_time(seconds)
        for act in list(self._environment.meanwhile):
            act()


def renewals_only(bucket: Any) -> None:
    """From now on only renewals settle doubt about the time: the bucket's workers do nothing else."""
    bucket.heartbeats.workers.submit = lambda job, **how: job() if "by" in how else None


class SimulatedClients:
    """Makes clients that share one clock; `pauses` lists all their pauses, `meanwhile` is called in each."""

    def __init__(self, new_bucket: Callable[..., LeaseBucket]) -> None:
        self.clock = MovableClock(wall=float(math.floor(time.time())))
        self.pauses: list[float] = []
        self.meanwhile: list[Callable[[], object]] = []
        self._seeds = itertools.count()
        self._new_bucket = new_bucket

    def bucket(self, **arguments: Any) -> LeaseBucket:
        tap = DatedTap(self.clock)
        heartbeats = ManualHeartbeats(self.clock)
        runtime = Runtime(
            clock=self.clock,
            chance=Chance(next(self._seeds)),
            heartbeats=heartbeats,
            wrap=tap.around,
            wakeup=lambda: SteppingWakeup(self),
        )
        bucket = self._new_bucket(tap=tap, runtime=runtime, **arguments)
        bucket.heartbeats = heartbeats
        return bucket

    def run(self, seconds: float, *alive: LeaseBucket, step: float = 0.25) -> None:
        """Let time pass while these clients live."""
        for _ in range(math.ceil(seconds / step)):
            self.clock.pass_time(step)
            for bucket in alive:
                bucket.heartbeats.turn(slept=False)

    def sleep_through(self, seconds: float, bucket: LeaseBucket) -> None:
        """Let time pass while this client's process sleeps; then it wakes up."""
        self.clock.pass_time(seconds)
        bucket.heartbeats.turn(slept=True)

    @property
    def now_ms(self) -> int:
        return round(self.clock.wall() * 1000)


@contextlib.contextmanager
def every_lock_held(*roots: object) -> Iterator[int]:
    """Let another thread hold every lock reachable from these, as at the worst instant of a fork; returns how many."""
    taken, done = threading.Event(), threading.Event()
    locks = locks_within(list(roots))

    def hold() -> None:
        for lock in locks:
            assert lock.acquire(timeout=10)
        taken.set()
        done.wait()
        for lock in locks:
            lock.release()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert taken.wait(10)
        yield len(locks)
    finally:
        done.set()
        holder.join()


def recorded_engine(given: Path) -> Engine:
    """The embedded engine of processes whose `DDB_LEASE_LOCAL_DIR` is this folder."""
    (folder,) = given.glob("engine-*")
    engine = Folder(folder).read()
    assert engine is not None
    return engine


def require_as_listed(listed, found, *, otherwise):
    """Fail where lines are not those of a list in a file; says which came and which went, and how to list them anew."""
    before = listed.read_text().splitlines()
    changed = [f"+ {line}" for line in found if line not in before] + [
        f"- {line}" for line in before if line not in found
    ]
    assert not changed, otherwise
    assert found == before
