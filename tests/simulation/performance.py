"""A performance: one schedule, played from beginning to end.

Invariants:

- The first part follows the schedule. Then faults are off, all processes are dead, and a new process must get all there
  is: L1 to L4.
- It returns a record, and never raises: a bug of the library and a violation are both a `Failure`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

from botocore.exceptions import ClientError

from ddb_lease import (
    AcquireTimeout,
    ConfigurationError,
    Lease,
    LeaseLost,
    LossReason,
    Overtaken,
    StoreRejected,
    StoreUnavailable,
    UnknownBucket,
)
from ddb_lease._operations.resize import resize
from ddb_lease._protocol import decisions
from ddb_lease._protocol.queueing import HEAD_SECONDS, NEAR_SECONDS, PATIENCE_SECONDS
from ddb_lease._protocol.records import Grant
from ddb_lease._protocol.signing import MOST_REPEATS
from ddb_lease._runtime.renewer import Renewer
from ddb_lease._state.log import emitted_at_once
from ddb_lease._state.windows import POLLED, lately
from ddb_lease.models import Order
from scripts.harness.inside import core_of, held_of
from scripts.harness.network import PERMANENT, READS, Fate, Network
from scripts.harness.simulated_dynamodb import Arguments, DynamoDB, Item
from scripts.harness.simulated_process import BUCKET, Held, Process
from scripts.harness.world import World
from tests.simulation.oracle import COUNTER, Oracle, Violation
from tests.simulation.schedule import Deed, Job, Schedule

BEGIN = 1_800_000_000.0
EXPECTED = (AcquireTimeout, StoreUnavailable, LeaseLost)
"""Errors that a user must expect, whatever happens to the service."""


MISLED_SECONDS = 21.0
"""By how much two wrong Dates of the smaller kind that agree with each other may be off: see `network`."""


class Mishap(Exception):
    """What a job raises inside its ``with`` block."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong: the violated invariant, or "defect"."""

    law: str
    what: str
    at: float


@dataclass
class Record:
    """The record of one run.

    Attributes:
        faults: The fates that were not normal, by process and ordinal of the request: enough to replay it.
        timeline: What happened, if asked for: (seconds since the beginning, actor, what).
    """

    schedule: Schedule
    failure: Failure | None = None
    requests: int = 0
    events: int = 0
    grants: int = 0
    takeovers: int = 0
    adopted: int = 0
    mints: int = 0
    re_mints: int = 0
    kept_closed: int = 0
    lost: int = 0
    given_up: int = 0
    untimely: int = 0
    seconds: float = 0.0
    faults: dict[tuple[str, int], Fate] = field(default_factory=dict)
    deeds: dict[str, int] = field(default_factory=dict)
    timeline: list[tuple[float, str, str]] = field(default_factory=list)


def play(schedule: Schedule, *, watch: bool = False) -> Record:
    """Play a schedule; with a timeline if `watch`."""
    performance = Performance(schedule, watch=watch)
    with quiet(performance if watch else None), windows_of(schedule.window):
        performance.play()
    return performance.record


@contextmanager
def windows_of(slots: int) -> Iterator[None]:
    """Let a look show so many slots."""
    shipped, decisions.WINDOW = decisions.WINDOW, slots
    try:
        yield
    finally:
        decisions.WINDOW = shipped


class Performance:
    """One run."""

    def __init__(self, schedule: Schedule, *, watch: bool) -> None:
        self.schedule = schedule
        self.record = Record(schedule)
        self._watch = watch
        self.world = World(now=BEGIN)
        self.service = DynamoDB()
        self.oracle = Oracle(self.world, self.service)
        self.service.on_commit = self.oracle.committed
        self.world.after_each = self.check
        self.network = Network(
            self.service,
            front_ends=schedule.front_ends,
            dated=schedule.dated,
            latency=schedule.latency,
            odds=schedule.odds,
            lies=schedule.lies,
            given=schedule.faults,
            told=self._told,
            answered=self._answered,
        )
        self.cast: list[Process] = []
        self._renewers: set[Renewer] = set()
        self._broken: Violation | None = None
        self._generation = 0
        self._working = 0
        self._closing = False
        self._rested_at = BEGIN
        self._operators: set[str] = set()
        self._resizers = 0
        self._written: dict[str, int] = {}
        self._first_sent: dict[str, int] = {}

    @cached_property
    def _chance(self) -> Random:
        return Random(f"{self.schedule.seed} deeds")

    def play(self) -> None:
        """From beginning to end."""
        schedule = self.schedule
        try:
            self.begin()
            for deed in schedule.deeds:
                self.world.at(BEGIN + deed.at, lambda deed=deed: self.befall(deed), apart=True)
            self.world.run(BEGIN + 4.0 * schedule.lease_seconds, stop=self._idle)
            if schedule.jump:
                self._jump(schedule.jump * 3600.0)
            self.finale()
        except Violation as violation:
            self._fail(violation.law, str(violation))
        finally:
            self._collect()
            self.world.close()
            for process in self.oracle.processes:
                process.vanish()

    # The first part.

    def begin(self) -> None:
        """Set up the table, and start every process with its threads."""
        self._set_up()
        for number, threads in enumerate(self.schedule.jobs):
            self.cast.append(self.start(f"p{number + 1}", number))
            for jobs in threads:
                self.work(self.cast[number], jobs)

    def _set_up(self) -> None:
        schedule, now_ms = self.schedule, int(BEGIN) * 1000
        if schedule.setup == "nothing":
            return
        minted, slots = _slots_at_first(schedule)
        for number, item in slots.items():
            key = (BUCKET, f"slot#{number:05d}")
            self.service.items[key] = {"pk": {"S": BUCKET}, "sk": {"S": key[1]}, **item}
        if schedule.setup != "leftover":
            lease_ms = round(schedule.lease_seconds * 1000)
            settings = {"max_tokens": schedule.max_tokens, "minted": minted, "rev": now_ms, "lease_ms": lease_ms}
            numbers = {name: {"N": str(number)} for name, number in (settings | {"schema": 1}).items()}
            order = {"order": {"S": schedule.order}} if schedule.order == "fifo" else {}
            self.service.items[COUNTER] = {"pk": {"S": BUCKET}, "sk": {"S": "counter"}, **numbers, **order}
        self.oracle.begin()

    def start(self, name: str, number: int) -> Process:
        """Start a process, which does nothing yet: it wishes what the schedule says for the process of this number."""
        schedule = self.schedule
        rates, walls = schedule.rates, schedule.walls
        max_tokens, lease_seconds = self._wish(number)
        process = Process(
            name,
            world=self.world,
            network=self.network,
            seed=schedule.seed,
            max_tokens=max_tokens,
            lease_seconds=lease_seconds,
            rate=rates[number % len(rates)],
            wall=walls[number % len(walls)],
            order=None if schedule.order == "any" else schedule.order,
        )
        self.oracle.processes.append(process)
        return process

    def _wish(self, number: int) -> tuple[int, float]:
        schedule = self.schedule
        wishes = schedule.wishes or ((schedule.max_tokens, schedule.lease_seconds),)
        return wishes[number % len(wishes)]

    def work(self, process: Process, jobs: tuple[Job, ...]) -> None:
        """Start a thread that does these jobs."""

        def work() -> None:
            self._working += 1
            try:
                for job in jobs:
                    try:
                        self._one_job(process, job)
                    except KeyboardInterrupt:
                        self._note(process.name, "is interrupted")
            finally:
                self._working -= 1
                self._rested_at = self.world.now

        process.act("thread", work)

    def _one_job(self, process: Process, job: Job) -> None:
        if job.pause:
            process.wait(job.pause)
        lease = self._acquire(process, job)
        if lease is None:
            return
        held = next(held for held in process.held if held.lease is lease)
        sent = process.requests
        try:
            if job.hold:
                process.wait(job.hold / 2)
                lease.check()
                process.wait(job.hold / 2)
            self._end(process, lease, job.ending)
        except (*EXPECTED, StoreRejected) as error:
            self.excuse(error, process, sent)
        if job.ending != "leave" and not held.believes() and held in process.held:
            process.held.remove(held)

    def _end(self, process: Process, lease: Lease, ending: str) -> None:
        match ending:
            case "leave":
                return
            case "stranger":
                self._release_by_stranger(process, lease)
                return
            case "error":
                with contextlib.suppress(Mishap), lease:
                    raise Mishap
                return
            case "hand over":
                self._hand_over(process, lease)
                return
            case "by id":
                self._release_by_id(process, lease)
            case "renew":
                lease.renew()
            case "shared":
                process.act("sharer", lambda: self._renew(process, lease))
                process.wait(0.001)
            case "status":
                with contextlib.suppress(UnknownBucket):
                    process.bucket.status()
        ended = lease.release()
        self._note(process.name, f"released {lease.id}: {ended}")
        if ending == "twice" and lease.release() and ended:
            raise Violation("S5", f"{lease.id} was ended by two releases")

    def _hand_over(self, process: Process, lease: Lease) -> None:
        """Hand it over; then one or two others adopt it, now or as it expires. Which of them gets it is theirs to find."""
        length = held_of(lease).seconds
        if held_of(lease).end.release.keeps_closed:  # refused
            with contextlib.suppress(ConfigurationError):
                lease.hand_over(within=length)
                raise Violation("H", f"{lease.id} was handed over, and is to be held at least")
            lease.release()
            return
        try:
            token = lease.hand_over(within=length * (0.5 + self._chance.random() / 2))
        except StoreUnavailable:
            lease.release()
            raise
        self._note(process.name, f"hands {lease.id} over")
        self.oracle.handed_over.add(lease.id)
        others = [other for other in self.cast if other.alive and not other.frozen]
        for adopter in self._chance.sample(others, min(len(others), self._chance.choice((1, 1, 2)))):
            pause = self._chance.choice((0.0, 0.0, 0.1, 1.2)) * self._chance.random() * length
            hold, ends = self._chance.random() * length, self._chance.random() < 0.7
            adopter.act("adopter", lambda a=adopter, p=pause, h=hold, e=ends: self._adopt(a, token, p, h, ends=e))

    def _adopt(self, process: Process, token: str, pause: float, hold: float, *, ends: bool) -> None:
        self._working += 1
        calls: list[float] = []
        sent = process.requests
        try:
            process.wait(pause)
            lease = process.bucket.adopt(token, on_lost=self._callback(process, calls, acts=False))
            held = self._held(process, lease, calls)
            process.wait(hold)
            lease.check()
            if ends:
                self._note(process.name, f"released {lease.id}: {lease.release()}")
                if held in process.held:
                    process.held.remove(held)
        except (*EXPECTED, StoreRejected) as error:
            self.excuse(error, process, sent)
        except ConfigurationError as error:
            if not core_of(process.bucket).state.closed and "margin" not in str(error):
                raise
        except KeyboardInterrupt:
            self._note(process.name, "is interrupted")
        finally:
            self._working -= 1
            self._rested_at = self.world.now

    def _acquire(self, process: Process, job: Job) -> Lease | None:
        calls: list[float] = []
        on_lost = self._callback(process, calls, acts=job.acts)
        sent = process.requests
        data, at_least = {"job": job.ending}, job.at_least or None
        slots = "a slot" if job.count == 1 else f"{job.count} slots"
        self._note(process.name, f"wants {slots} ({f'within {job.timeout:.3g} s' if job.patient else 'at once'})")
        try:
            if job.patient:
                lease: Lease | None = process.bucket.acquire(
                    job.timeout,
                    count=job.count,
                    data=data,
                    on_lost=on_lost,
                    priority=job.priority,
                    hold_at_least=at_least,
                )
            else:
                lease = process.bucket.try_acquire(count=job.count, data=data, on_lost=on_lost, hold_at_least=at_least)
        except (*EXPECTED, StoreRejected) as error:
            self.excuse(error, process, sent)
            return None
        except ConfigurationError as error:
            fewer = job.count > 1 and job.count > self._tokens_seen_by(process)
            if not core_of(process.bucket).state.closed and not fewer:
                raise
            self._note(process.name, f"gets none: {error}")
            return None
        if lease is None:
            self._note(process.name, "gets none")
            return None
        self._held(process, lease, calls, at_least=job.at_least)
        return lease

    def _held(self, process: Process, lease: Lease, calls: list[float], *, at_least: float = 0.0) -> Held:
        """Note what a user got."""
        held = Held(lease, process, told_lost=calls[0] if calls else None, at_least=at_least)
        # The claim was in flight while the steady clock stood still: nothing in its answer can show that.
        held.blind = self._first_sent.get(lease.id, 0) <= process.sent_when_thawed
        process.held.append(held)
        self._renewers.add(held_of(lease).group)
        self._note(process.name, f"holds {lease.id}, fence {lease.fence}")
        self.oracle.granted()
        if at_least:
            self.oracle.promised(lease, at_least)
        return held

    def _tokens_seen_by(self, process: Process) -> int:
        counter = core_of(process.bucket).state.hints.counter
        return counter.max_tokens if counter else self._wish(self.cast.index(process))[0]

    def excuse(self, error: Exception, process: Process, sent: int) -> None:
        """An error that a user must expect; a rejection only if one of the process's own requests was rejected."""
        since = range(sent + 1, process.requests + 1)
        fates = [self.network.fates.get((process.name, ordinal)) for ordinal in since]
        refused = any(fate and fate.instead in PERMANENT for fate in fates)
        untimely = [self.network.untimely.get((process.name, ordinal)) for ordinal in since]
        # Without a Date there is nothing to sign by; and of many, more may be odd than anybody withstands.
        refused = refused or False in untimely or untimely.count(True) > MOST_REPEATS
        if isinstance(error, StoreRejected) and not refused:
            raise error
        self._note(process.name, f"{type(error).__name__}: {error}")

    def _renew(self, process: Process, lease: Lease) -> None:
        sent = process.requests
        try:
            lease.renew()
        except (*EXPECTED, StoreRejected) as error:
            self.excuse(error, process, sent)

    def _callback(self, process: Process, calls: list[float], *, acts: bool) -> Callable[[Lease], None]:
        def on_lost(lease: Lease) -> None:
            calls.append(self.world.now)
            self.record.lost += 1
            self._note(process.name, f"is told that {lease.id} is lost: {lease.lost}")
            if len(calls) > 1:
                self._broken = Violation("S2", f"{lease.id} was lost twice")
            for held in process.held:
                if held.lease is lease:
                    held.told_lost = self.world.now
            if acts:
                self._act_upon_loss(process, lease)

        return on_lost

    def _act_upon_loss(self, process: Process, lease: Lease) -> None:
        """A careless callback: it uses the lease that it was called for, and the bucket."""
        sent = process.requests
        try:
            lease.release()
            another = process.bucket.try_acquire()
            if another is not None:
                self._note(process.name, f"holds {another.id} in its callback")
                self.oracle.granted()
                another.release()
        except (*EXPECTED, StoreRejected) as error:
            self.excuse(error, process, sent)
        except ConfigurationError:
            if not core_of(process.bucket).state.closed:
                raise

    def _release_by_id(self, process: Process, lease: Lease) -> None:
        """Its own process releases it by its id on another thread: the holder is told before the slot is given back."""
        held = next(held for held in process.held if held.lease is lease)
        gone_on: list[bool] = []

        def release() -> None:
            sent, began = process.requests, self.world.now
            was_held = lease.held  # else its bucket was closed, or its process is exiting: that is its holder's doing
            try:
                ended = process.bucket.release(lease.id)
                self._note(process.name, f"released {lease.id} by its id: {ended}")
                untold = held.told_lost is None and self.world.now < began + lease.grace
                ours = lease.lost is LossReason.RELEASED or (lease.lost is None and was_held and not gone_on)
                if ended and untold and ours:
                    self._broken = Violation("S2", f"{lease.id} was released by its id, and its holder was not told")
            except (*EXPECTED, StoreRejected) as error:
                self.excuse(error, process, sent)
            except KeyboardInterrupt:
                self._note(process.name, "is interrupted")

        process.act("clerk", release)
        process.wait(self._chance.choice((0.0, 0.01, 0.5)) * held_of(lease).seconds)
        lease.check()
        gone_on.append(True)

    def _release_by_stranger(self, process: Process, lease: Lease) -> None:
        others = [other for other in self.cast if other is not process and other.alive and not other.frozen]
        if not others:
            lease.release()
            return
        # On the stranger's own thread; the holder finds out without being told.
        self.oracle.robbed[lease.id] = float("inf")
        stranger = others[0]

        def release() -> None:
            try:
                ended = stranger.bucket.release(lease.id)
                self._note(stranger.name, f"released {lease.id} of {process.name}: {ended}")
                if ended:
                    self.oracle.robbed[lease.id] = self.world.now
            except (StoreUnavailable, StoreRejected) as error:
                self._note(stranger.name, f"{type(error).__name__}: {error}")

        stranger.act("stranger", release)

    # What happens to processes and the table.

    def befall(self, deed: Deed) -> None:
        """Something happens to a process, or to the table."""
        if self._closing:
            return
        process = self.cast[deed.process]
        lease = self.schedule.lease_seconds
        seconds = 2.0 * lease * deed.size
        self._note(process.name, f"-- {deed.what} ({deed.size:.2f})")
        if self._befalls(deed, process, seconds) is not False:
            self.record.deeds[deed.what] = self.record.deeds.get(deed.what, 0) + 1

    def _befalls(self, deed: Deed, process: Process, seconds: float) -> bool | None:  # noqa: C901, PLR0912 - a table
        """Returns False if it affected no process."""
        match deed.what:
            case "crash":
                self._crash(deed.process, after=seconds / 2)
            case "freeze":
                process.freeze(stands=False)
                self.world.after(seconds, lambda: self._thaw(process))
            case "stand still":
                process.freeze(stands=True)
                self.world.after(3.0 + seconds, lambda: self._thaw(process))
            case "stall":
                process.freeze(stands=True)
                self.world.after(0.2 + 2.8 * deed.size, lambda: self._thaw(process))
            case "interrupt":
                return self._interrupt(deed)
            case "close":
                process.act("closer", process.bucket.close)
            case "exit":
                process.act("exit", lambda: self._exit(process, deed.process))
            case "fork":
                self._fork(process, deed.process)
            case "cut":
                process.cut_until = self.world.now + seconds
            case "step wall":
                process.clock.off = (deed.size - 0.5) * (3.0 if not self.schedule.dated else 1e6)
            case "sweep":
                return self._sweep()
            case "shrink" | "grow":
                return self._resize(deed, by=-1 - int(deed.size * 2) if deed.what == "shrink" else 1)
            case "resize twice":
                return self._resize(deed, by=-1) is not False and self._resize(deed, by=1 - int(deed.size * 3))
            case "repair":
                self._operate(deed, "repairs", lambda operator: operator.bucket.repair())
            case "reorder":
                order: Order = "any" if deed.size < 0.5 else "fifo"
                self._operate(deed, f"sets the order: {order}", lambda operator: operator.bucket.configure(order=order))
            case "reset":
                self._operate(deed, "resets", lambda operator: operator.bucket.reset())
            case "edit minted":
                self._edit_minted(int(deed.size * 8) - 3)
            case "delete slot":
                self.delete(f"slot#{int(deed.size * self.schedule.max_tokens):05d}")
            case "delete counter":
                self.delete("counter")
            case "revoke":
                return self.revoke(deed)
            case _:
                raise AssertionError(deed.what)
        return None

    def _interrupt(self, deed: Deed) -> bool:
        order = self.cast[deed.process :] + self.cast[: deed.process]
        for process in order:
            actors = [actor for actor in process.actors if actor.alive and " thread " in actor.name]
            if actors and not process.frozen:
                actors[int(deed.size * 0.999 * len(actors))].wake(error=KeyboardInterrupt())
                return True
        return False

    def revoke(self, deed: Deed) -> bool:
        """Commit a revocation: the mark, on a slot that carries the lease meant."""
        leased = [key for key, item in self.service.items.items() if "lease_id" in item and "revoked" not in item]
        if not leased:
            return False
        key = leased[int(deed.size * 0.999 * len(leased))]
        item = self.service.items[key]
        self._note("operator", f"revokes {item['lease_id']['S']}")
        self.oracle.revoked[item["lease_id"]["S"]] = self.world.now
        self.service.write({key: {**item, "revoked": {"S": "by an operator"}}}, self.world.now)
        return True

    def _thaw(self, process: Process) -> None:
        self.oracle.stirred = True
        process.thaw()

    def _crash(self, number: int, *, after: float) -> None:
        process = self.cast[number]
        process.crash()
        self._generation += 1
        name = f"p{number + 1}.{self._generation}"

        def again() -> None:
            if self._closing:
                return
            self.cast[number] = self.start(name, number)
            for jobs in self.schedule.jobs[number]:
                self.work(self.cast[number], jobs[-1:])

        self.world.after(after, again)

    def _exit(self, process: Process, number: int) -> None:
        core_of(process.bucket).at_exit(process.clock.steady() + 5.0)
        # As an event of its own: an actor cannot end its own process.
        self.world.after(0.0, lambda: process.alive and self._crash(number, after=1.0), apart=True)

    def _fork(self, parent: Process, number: int) -> None:
        if not parent.alive or parent.frozen:
            return
        self._generation += 1
        child = self.start(f"p{number + 1}.{self._generation}", number)
        for held in parent.held:
            # A fork copies the lease, and the child must not take it for its own.
            core = core_of(child.bucket)
            pending = core.begin_acquire(0.0, None, count=1, patient=False, wake=lambda: None)
            copy = core.hold(pending, _grant_of(held.lease), renewed=False)  # its heartbeat does not run yet
            copy.renewed = True
            child.held.append(Held(Lease(copy), child))
        core_of(child.bucket).after_fork_in_child()
        if any(held.believes() for held in child.held):
            raise Violation("S2", "a forked child believes in its parent's lease")
        copies = [held.lease for held in child.held]
        child.held.clear()
        before = child.requests

        def live() -> None:
            for copy in copies:
                if copy.release() or child.requests != before:
                    self._broken = Violation("S5", f"a forked child released its parent's lease {copy.id}")
            for jobs in self.schedule.jobs[number]:
                for job in jobs[:1]:
                    self._one_job(child, job)

        child.act("thread", live)

    def _sweep(self) -> bool:
        deleted = self.service.expire(self.world.now, which=lambda key: self._chance.random() < 0.7)
        if deleted:
            self._note("TTL", f"deletes {', '.join(key[1] for key in deleted)}")
        return bool(deleted)

    def _resize(self, deed: Deed, *, by: int) -> bool:
        """An operator resizes, in steps of a slot or two; if nobody else does, it is not overtaken."""
        counter = self.service.items.get(COUNTER)
        if counter is None:
            return False
        tokens = int(counter["max_tokens"]["N"])
        wanted, step = max(1, tokens + by), 1 + int(deed.size * 20) % 2
        self._resizers += 1

        def work(operator: Process) -> object:
            try:
                core = core_of(operator.bucket)
                done = core.run(resize(core.state, max_tokens=wanted, step=step))
                core.state.settings_changed()
                return done
            except Overtaken as error:
                if self._resizers == 1 and "counter" not in self.oracle.by_hand:
                    raise Violation("L3", f"nobody else resizes: {error}") from error
                return error

        self._operate(deed, f"resizes from {tokens} to {wanted}", work)
        return True

    def _operate(self, deed: Deed, what: str, work: Callable[[Process], object]) -> None:
        """An operator, on a machine of their own, does something to the bucket; one in three crashes midway."""
        self._generation += 1
        operator = self.start(f"op{self._generation}", deed.process)
        self._operators.add(operator.name)
        self._note(operator.name, what)

        def live() -> None:
            self._working += 1
            sent = operator.requests
            try:
                self._note(operator.name, f"has done it: {work(operator)}")
            except UnknownBucket as error:
                self._note(operator.name, f"{error}")
            except (*EXPECTED, StoreRejected) as error:
                self.excuse(error, operator, sent)
            finally:
                self._working -= 1
                self._rested_at = self.world.now

        operator.act("errand", live)
        if int(deed.size * 30) % 3 == 0:
            self.world.after(deed.size * 20 * self.schedule.latency, operator.crash, apart=True)

    def _edit_minted(self, by: int) -> None:
        item = self.service.items.get(COUNTER)
        if item is None:
            return
        minted = max(0, int(item["minted"]["N"]) + by)
        self._note("somebody", f"sets minted to {minted}")
        self.oracle.editing = True
        self.service.edit(COUNTER, self.world.now, {**item, "minted": {"N": str(minted)}})
        self.oracle.editing = False

    def delete(self, sort: str) -> None:
        """Somebody deletes an item by hand."""
        self._note("somebody", f"deletes {sort}")
        self.oracle.editing = True
        self.service.edit((BUCKET, sort), self.world.now, None)
        self.oracle.editing = False

    def _jump(self, seconds: float) -> None:
        for process in self.oracle.processes:
            if (
                process not in self.cast
                or process.frozen
                or core_of(process.bucket).leases
                or core_of(process.bucket).state.closed
            ):
                process.crash()
        self.world.run(self.world.now + seconds)
        if self.schedule.swept:
            self._sweep()
        self._note("time", f"{seconds / 3600:.1f} hours later")
        for number in range(len(self.cast)):
            if not self.cast[number].alive:
                self._generation += 1
                self.cast[number] = self.start(f"p{number + 1}.{self._generation}", number)
            for jobs in self.schedule.jobs[number]:
                self.work(self.cast[number], jobs)
        self.world.run(self.world.now + 2.0 * self.schedule.lease_seconds, stop=self._idle)

    # The second part: faults are off, all processes are dead; a new process must get all there is.

    def finale(self) -> None:
        """L1 to L4."""
        self._closing = True
        self.network.odds = 0.0
        self.network.front_ends = self.network.front_ends[:1]
        if (self._resizers or COUNTER not in self.service.items) and self.network.latest > self.world.now:
            self._note("finale", "a resize, or a counter, may still be under way: first it arrives")
            self._all_die()
            self.world.run(self.network.latest + 0.001)
        self._note("finale", "faults are off, all processes die, and a new one wants all tokens")
        self._all_can_be_had("last")
        if self.network.latest > self.world.now:
            self._note("epilogue", "what was still under way arrives; then the same once more")
            self._all_die()
            self.world.run(self.network.latest + 0.001)
            self._all_can_be_had("very last")

    def _all_die(self) -> None:
        for process in self.oracle.processes:
            process.crash()

    def _all_can_be_had(self, name: str) -> None:
        schedule, oracle, service = self.schedule, self.oracle, self.service
        self._all_die()
        if schedule.swept:
            self._sweep()
        # No process is left to watch the leases of the dead expire.
        self.world.run(self.world.now + 50 * schedule.latency)
        self.world.run(self.world.now + max(0.0, self.rest_ms()) / 1000)
        began, patience = self.world.now, self._patience()
        last = self.start(name, 0)
        leases: list[Lease] = []
        tokens = self._tokens()

        # One thread for each, or one thread that wants them together.
        count = tokens if schedule.seed % 5 == 0 else 1

        def take() -> None:
            lease = last.bucket.acquire(count=count)
            last.held.append(Held(lease, last))
            oracle.granted()
            self._note(name, f"holds {lease.id}")
            leases.append(lease)

        for _ in range(tokens // count):
            last.act("thread", take)
        self.world.run(began + patience, stop=lambda: len(leases) == tokens // count)
        if len(leases) < tokens // count:
            raise Violation("L1", f"{len(leases) * count} of {tokens} tokens could be had in {patience:.1f} s")
        odd = any(fate.name == "odd date" for fate in self.network.fates.values())
        if not odd and schedule.seed % 4 == 0:  # this takes a fifth of a run's time
            # A late claim with a far expiry takes a slot for that long: two faults at once.
            self._full(last, leases)
        counter = service.items[COUNTER]
        strays = self._unseen_strays()
        circulating = self._circulating() - strays
        minted = int(counter["minted"]["N"])
        # Shrinking a bucket with drift keeps the drift, and nobody notices it before a slot is missing again.
        drifted = minted > tokens and (self._resizers > 0 or strays > 0)
        excused = "minted" in oracle.by_hand or drifted or oracle.uncounted
        if circulating != tokens or (minted != tokens and not excused):
            raise Violation("L2", f"minted is {minted}, with {circulating} slots in circulation, of {tokens}")

    def _circulating(self, *, from_slot: int = 0) -> int:
        """How many slots are in circulation, from this one on."""
        first = f"slot#{from_slot:05d}"
        items = self.service.items.items()
        slots = [(key, item) for key, item in items if key[1].startswith("slot#")]
        return sum("retired" not in item for key, item in slots if key[1] >= first)

    def _unseen_strays(self) -> int:
        """How many strays nobody has had to see: acquires look at a large bucket's windows until they have a slot."""
        tokens = self._tokens()
        return self._circulating(from_slot=tokens) if decisions.windows(tokens) > 1 else 0

    def _tokens(self) -> int:
        counter = self.service.items.get(COUNTER)
        return int(counter["max_tokens"]["N"]) if counter else self._wish(0)[0]

    def rest_ms(self) -> float:
        """How long the longest lease in the table still lasts."""
        now_ms = self.world.now * 1000
        rest = max(
            (int(item["expires_at"]["N"]) - now_ms for item in self.service.items.values() if "lease_id" in item),
            default=0.0,
        )
        # A holder that saw a wrong Date and had to renew before other answers corrected it has written a later expiry: by
        # up to a lease's length, plus the error of two wrong Dates that agree.
        misled = {name for (name, _), fate in self.network.fates.items() if fate.name == "odd date"}
        for key, item in self.service.items.items():
            owner = item.get("owner", {}).get("S")
            longest = self._longest_ms() + (1000 * MISLED_SECONDS + self._lease_ms() if owner in misled else 0.0)
            if owner is not None and "lease_id" in item and int(item["expires_at"]["N"]) - now_ms > longest:
                ahead = int(item["expires_at"]["N"]) - now_ms
                raise Violation("L1", f"{key[1]} is leased for {ahead / 1000:.1f} s from now, of {longest / 1000:g} s")
        return rest

    def _longest_ms(self) -> float:
        """How far ahead an expiry may be."""
        schedule = self.schedule
        # An answer that took longer tells the time less exactly; it takes both timeouts at most.
        slow = any(fate.name in {"slow there", "slow answer"} for fate in self.network.fates.values())
        under_way = 2 * max(0.25, self._lease_ms() / 10_000) if slow else 80 * schedule.latency
        by_wall_clock = 0.0 if schedule.dated else 3.5  # it may be wrong by 1.5 s, and 2 s are allowed for
        return self._lease_ms() + 1000 * (2.0 + under_way + by_wall_clock)

    def _lease_ms(self) -> float:
        schedule = self.schedule
        at_least = [job.at_least for threads in schedule.jobs for thread in threads for job in thread]
        return 1000 * max([*at_least, schedule.lease_seconds, *(seconds for _, seconds in schedule.wishes)])

    def _patience(self) -> float:
        # A claim may be in flight; then 2 s until it has certainly expired, a poll, and the requests' own time.
        rest = max(self.rest_ms() / 1000, self.schedule.lease_seconds)
        return rest + 2.0 + 2.5 + self._round() + 100 * self.schedule.latency + self._tickets_of_the_dead()

    def _tickets_of_the_dead(self) -> float:
        """How much longer it takes if waiters are passed over one after another: two polls and a second each.

        The first may have slept for some time, from before its turn.
        """
        tickets = sum(key[1].startswith("wait#") for key in self.service.items)
        each = PATIENCE_SECONDS + 2 * HEAD_SECONDS + 20 * self.schedule.latency
        return tickets * each + NEAR_SECONDS + 1.0 if tickets else 0.0

    def _round(self) -> float:
        """How much longer than to the next poll it may take until a poll comes round to a slot."""
        windows = decisions.windows(self._tokens())
        return lately(windows) if windows > POLLED else 0.0

    def _full(self, last: Process, leases: list[Lease]) -> None:
        """No more than all tokens can be acquired; a waiter for more writes nothing, and gets the first release."""
        seen: list[object] = []
        waiter = self.start(f"waiter after {last.name}", 1)
        waited_from = self.world.now

        def wait() -> None:
            if waiter.bucket.try_acquire() is not None:
                self._broken = Violation("L3", "more than all tokens could be had")
            seen.append("tried")
            lease = waiter.bucket.acquire(30.0)
            seen.append((self.world.now, lease))

        writes, strays = self._writes(waiter), self._unseen_strays()
        waiter.act("thread", wait)
        self.world.run(waited_from + 30.0, stop=lambda: bool(seen))
        self.world.run(self.world.now + 3.0)
        ordered = self.service.items[COUNTER].get("order") == {"S": "fifo"}  # then it puts a ticket
        if not ordered and self._writes(waiter) != writes and not strays:
            raise Violation("L4", f"a waiter of a full bucket wrote {self._writes(waiter) - writes} times")
        if seen != ["tried"]:
            raise Violation("L3", f"a full bucket gave {seen}")
        released: list[float] = []

        def release() -> None:
            leases[0].release()
            released.append(self.world.now)

        last.act("thread", release)
        longest = 2.0 + self._round() + 60 * self.schedule.latency + 1.0
        self.world.run(self.world.now + longest, stop=lambda: len(seen) == 2)
        if len(seen) < 2:
            raise Violation("L4", "a slot stayed free for longer than it takes polls to come round to it")

    def _writes(self, process: Process) -> int:
        return self._written.get(process.name, 0)

    # Watching.

    def _told(self, process: Process, ordinal: int, operation: str, arguments: Arguments, fate: Fate) -> None:
        self.record.requests += 1
        if operation not in READS:
            self._written[process.name] = self._written.get(process.name, 0) + 1
            lease_id = _lease_asked_for(operation, arguments)
            if lease_id is not None:
                self._first_sent.setdefault(lease_id, ordinal)
            if process.name in self._operators:
                self._about_to_end(arguments)
        if self._watch:
            wrong = "" if fate.name == "normal" else f"   [{_describe(fate)}]"
            self._note(process.name, f"#{ordinal} {_readable(operation, arguments)}{wrong}")

    def _about_to_end(self, arguments: Arguments) -> None:
        ended = arguments.get("ExpressionAttributeValues", {}).get(":lease_id")
        if ended is not None:
            self.oracle.robbed.setdefault(ended["S"], float("inf"))

    def _answered(self, process: Process, ordinal: int, operation: str, told: Any) -> None:
        self.oracle.stirred = True
        response = told if isinstance(told, dict) else getattr(told, "response", None) or {}
        metadata = response.get("ResponseMetadata", {})
        if metadata.get("RequestId") and ordinal > process.sent_when_thawed:
            fate = self.network.fates.get((process.name, ordinal))
            odd = fate is not None and fate.date != 0.0
            process.dated_answers = 0 if odd or "date" not in metadata["HTTPHeaders"] else process.dated_answers + 1
        if self._watch:
            self._note(process.name, f"#{ordinal} is answered: {_short(told)}")

    def _note(self, who: str, what: str) -> None:
        if self._watch:
            self.record.timeline.append((self.world.now - BEGIN, who, what))

    def _idle(self) -> bool:
        """Whether all jobs and deeds are done, and leases left held have been renewed once."""
        if self._working:
            return False
        deeds = self.schedule.deeds
        last = max(self._rested_at, BEGIN + deeds[-1].at if deeds else 0.0)
        return self.world.now > last + 0.5 * self.schedule.lease_seconds

    def check(self) -> None:
        """Check the invariants after each event."""
        self.oracle.after_each()
        if self._broken is not None:
            raise self._broken
        if self.world.faults:
            name, error = self.world.faults[0]
            if isinstance(error, Violation):
                raise error
            raise Violation("defect", f"{name}: {type(error).__name__}: {error}") from error

    def _fail(self, law: str, what: str) -> None:
        self.record.failure = Failure(law, what, self.world.now - BEGIN)
        self._note("oracle", what)

    def _collect(self) -> None:
        record, oracle = self.record, self.oracle
        record.faults = dict(self.network.fates) if self.schedule.faults is None else dict(self.schedule.faults)
        record.events = self.world.events
        record.grants, record.takeovers = oracle.grants, oracle.takeovers
        record.adopted = oracle.adopted
        record.mints, record.re_mints = oracle.mints, oracle.re_mints
        record.kept_closed = oracle.kept_closed
        record.given_up = sum(renewer.given_up for renewer in self._renewers)
        record.untimely = len(self.network.untimely)
        record.seconds = self.world.now - BEGIN


def _slots_at_first(schedule: Schedule) -> tuple[int, dict[int, Item]]:
    """`minted`, and the slots by number."""
    tokens, now_ms = schedule.max_tokens, int(BEGIN) * 1000
    fence, later = {"N": str(now_ms - 50_000)}, {"N": str(int(BEGIN) + 3600)}
    free = {"fence": fence, "ttl": later}
    if schedule.due:  # nobody has touched it for an hour
        free = {"fence": {"N": str(now_ms - 3_602_000)}, "ttl": {"N": str(int(BEGIN) - 1)}}

    def leased(slot: int, ends: float) -> Item:
        lease = {"lease_id": {"S": f"{slot}-before"}, "owner": {"S": "before"}, "acquired_at": fence}
        expiry = {"expires_at": {"N": str(now_ms + round(ends * 1000))}}
        return {"fence": fence, "ttl": later, **lease, **expiry}

    slots: dict[int, Item] = dict.fromkeys(range(tokens), free)
    match schedule.setup:
        case "room":
            slots.pop(tokens - 1)
            return tokens - 1, slots
        case "retired":
            slots[tokens - 1] = {**leased(tokens - 1, 3.0), "retired": {"BOOL": True}}
            slots[tokens] = {**free, "retired": {"BOOL": True}}
            return tokens - 1, slots
        case "stray":
            slots[tokens] = leased(tokens, 2.0)
            return tokens + 1, slots
        case "dead" if schedule.due:
            return tokens, {number: {**leased(number, -3_602.0), **free} for number in slots}
        case "dead":
            return tokens, {number: leased(number, -1.5) for number in slots}
        case "leftover":
            slots[0] = leased(0, 1.0)
    return tokens, slots


def _grant_of(lease: Lease) -> Grant:
    # The child's clock restarts: it must believe in nothing, however long the lease would last.
    return Grant(
        lease_id=lease.id,
        slots=lease.slots,
        fence=lease.fence,
        owner=lease.owner,
        data=lease.data,
        acquired_at=0,
        expires_at=10**15,
        lease_ms=10**6,
        margin=1.0,
        deadline=float("inf"),
    )


def _lease_asked_for(operation: str, arguments: Arguments) -> str | None:
    part = arguments
    if operation == "transact_write_items":
        ((_, part),) = arguments["TransactItems"][0].items()
    adopted = part.get("ExpressionAttributeValues", {}).get(":adopter")
    lease_id = part.get("Item", {}).get("lease_id", adopted)
    return None if lease_id is None else str(lease_id["S"])


def _describe(fate: Fate) -> str:
    there = "never arrives" if fate.out is None else f"there in {fate.out:.3f} s"
    back = "" if fate.out is None else ", answer lost" if fate.back is None else f", back in {fate.back:.3f} s"
    again = "" if fate.again is None else f", again {fate.again:.3f} s later"
    instead = "" if fate.instead is None else f", told {fate.instead!r}"
    again += ", whatever the timeouts" if fate.stalls else ""
    date = "" if fate.date == 0.0 else ", no Date" if fate.date is None else f", Date {fate.date:+.0f} s"
    return f"{fate.name}: {there}{back}{again}{instead}{date}"


def _readable(operation: str, arguments: Arguments) -> str:  # noqa: PLR0911 - one for each kind
    if operation == "query":
        what = "look at the queue" if "wait#" in arguments["ExpressionAttributeValues"][":first"]["S"] else "look"
        return what + ("" if arguments.get("ConsistentRead") else " (eventually consistent)")
    if operation == "transact_get_items":
        return "snapshot of " + ", ".join(part["Get"]["Key"]["sk"]["S"] for part in arguments["TransactItems"])
    if operation == "batch_execute_statement":
        read = [one["Parameters"] for one in arguments["Statements"]]  # see `expressions.RENEW_STATEMENT`
        return "renew each: " + ", ".join(f"{p[3]['S']} of {p[4]['S'][:8]} until {_clock(p[0])}" for p in read)
    if operation != "transact_write_items":
        where = (arguments.get("Key") or arguments.get("Item"))["sk"]["S"]
        item = arguments.get("Item")
        if where.startswith("wait#"):
            return f"{operation} {where}"
        if item is not None:
            return f"claim {where} as {_brief(item)}"
        values = arguments["ExpressionAttributeValues"]
        if ":lease_id" not in values:
            numbers = ", ".join(f"{name[1:]} {next(iter(v.values()))}" for name, v in values.items() if name != ":one")
            return f"set the counter: {numbers}"
        expiry = values.get(":expires_at")
        lease = values[":lease_id"]["S"][:8]
        if ":adopter" in values:
            return f"adopt {where} of {lease} as {values[':adopter']['S'][:8]} until {_clock(expiry)}"
        return f"release {where} of {lease}" if expiry is None else f"renew {where} of {lease} until {_clock(expiry)}"
    parts = []
    for part in arguments["TransactItems"]:
        ((kind, request),) = part.items()
        where = (request.get("Key") or request.get("Item"))["sk"]["S"]
        lease = f" as {_brief(request['Item'])}" if "lease_id" in request.get("Item", {}) else ""
        parts.append(f"{kind.lower()} {where}{lease}")
    return "transaction: " + ", ".join(parts)


def _brief(item: dict[str, Any]) -> str:
    return f"{item['lease_id']['S'][:8]}, fence {item['fence']['N'][-6:]}, until {_clock(item['expires_at'])}"


def _clock(value: dict[str, str]) -> str:
    return f"{int(value['N']) / 1000 - BEGIN:.3f}"


def _short(told: Any) -> str:
    if isinstance(told, ClientError):
        item = told.response.get("Item", {})
        reasons = [reason["Code"] for reason in told.response.get("CancellationReasons", ())]
        holder = item.get("lease_id", {}).get("S", "nobody")[:8] if item else ""
        return f"{told.response['Error']['Code']} {reasons or ''}{f' ({holder} has it)' if item else ''}"
    if isinstance(told, Exception):
        return type(told).__name__
    codes = [part["Error"]["Code"] for part in told.get("Responses", ()) if "Error" in part]
    if codes:
        return f"done, but {codes}"
    items = told.get("Items", [part["Item"] for part in told.get("Responses", ()) if "Item" in part])
    if items or "Items" in told:
        return "; ".join(_item(item) for item in items) or "nothing there"
    return "done"


def _item(item: dict[str, Any]) -> str:
    if item["sk"]["S"] == "counter":
        return f"counter {item['minted']['N']} of {item['max_tokens']['N']}"
    if item["sk"]["S"].startswith("wait#"):
        return str(item["sk"]["S"])
    lease = f"{item['lease_id']['S'][:8]} until {_clock(item['expires_at'])}" if "lease_id" in item else "free"
    return f"{item['sk']['S']} {'retired, ' if 'retired' in item else ''}{lease}"


class _Notes(logging.Handler):
    """Puts the library's log into the timeline."""

    def __init__(self, performance: Performance) -> None:
        super().__init__(logging.INFO)
        self._performance = performance

    def emit(self, record: logging.LogRecord) -> None:
        actor = self._performance.world.current
        who = actor.name.split()[0] if actor else "library"
        self._performance.record.timeline.append(
            (self._performance.world.now - BEGIN, who, f"logs: {record.getMessage()}")
        )


@contextmanager
def quiet(watching: Performance | None) -> Iterator[None]:
    """Send the library's log to the timeline, or nowhere."""
    log = logging.getLogger("ddb_lease")
    if watching is None and log.level > logging.CRITICAL:
        yield  # already quiet; setting a level again empties every logger's cache, which is slow
        return
    before = log.level, log.propagate
    handler = _Notes(watching) if watching else None
    log.setLevel(logging.INFO if watching else logging.CRITICAL + 1)
    log.propagate = False
    if handler:
        log.addHandler(handler)
    try:
        with emitted_at_once():
            yield
    finally:
        log.propagate = before[1]
        log.setLevel(before[0])
        if handler:
            log.removeHandler(handler)
