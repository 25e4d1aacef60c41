"""A performance: one schedule of rates, played from beginning to end.

Invariants:

- The first part follows the schedule. Then faults are off, calls that wait must end, all processes die, and a new one
  must get the whole rate: L1 and L2.
- It returns a record, and never raises: a bug of the library and a violation are both a `Failure`.
- A step is an event of the simulation: a request arrives, its answer arrives, a pause ends, a mishap happens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ddb_lease import (
    AcquireTimeout,
    ConfigurationError,
    Limit,
    StoreRejected,
    StoreUnavailable,
)
from ddb_lease._operations.rates.steer import change_key
from ddb_lease._protocol.rates import steering
from ddb_lease._protocol.rates.validation import limit_policies
from ddb_lease._protocol.signing import MOST_REPEATS
from scripts.harness.inside import core_of
from scripts.harness.network import PERMANENT, READS, Fate, Network
from scripts.harness.simulated_dynamodb import Arguments, DynamoDB
from scripts.harness.simulated_limiter import RETENTION, LimiterProcess
from scripts.harness.world import World
from tests.simulation.performance import BEGIN, Failure, quiet
from tests.simulation.rates import finale
from tests.simulation.rates.ledger import NS, Violation
from tests.simulation.rates.oracle import POLICY, Oracle
from tests.simulation.rates.schedule import SINGLE, Deed, Job, Schedule, limit

EXPECTED = (AcquireTimeout, StoreUnavailable)
"""Errors that a user must expect, whatever happens to the service."""


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
    permits: int = 0
    reservations: int = 0
    settlements: int = 0
    sweeps: int = 0
    charges: int = 0
    booked: int = 0
    charged_again: int = 0
    timeouts: int = 0
    denials: int = 0
    conflicts: int = 0
    seconds: float = 0.0
    faults: dict[tuple[str, int], Fate] = field(default_factory=dict)
    deeds: dict[str, int] = field(default_factory=dict)
    timeline: list[tuple[float, str, str]] = field(default_factory=list)


def play(schedule: Schedule, *, watch: bool = False) -> Record:
    """Play a schedule; with a timeline if `watch`."""
    performance = Performance(schedule, watch=watch)
    with quiet(performance if watch else None):
        performance.play()
    return performance.record


class Performance:
    """One run."""

    def __init__(self, schedule: Schedule, *, watch: bool = False) -> None:
        self.schedule = schedule
        self.record = Record(schedule)
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
        self.network.transacting = schedule.transacting
        self.cast: list[LimiterProcess] = []
        self.processes: list[LimiterProcess] = []
        self.closing = False
        self._watch = watch
        self._generation = 0
        self._coming = 0
        self._broken: Violation | None = None
        self._chance = Random(f"{schedule.seed} deeds")
        self._rested_at = BEGIN
        self._troubled: dict[str, float] = {}
        self._bursts: dict[str, int] = {}

    def play(self) -> None:
        """From beginning to end."""
        schedule = self.schedule
        try:
            for number, threads in enumerate(schedule.jobs):
                self.cast.append(self.start(f"p{number + 1}", number))
                for jobs in threads:
                    self.work(self.cast[number], jobs)
            for deed in schedule.deeds:
                self.world.at(BEGIN + deed.at, lambda deed=deed: self.befall(deed), apart=True)
            self.world.run(BEGIN + 90.0, stop=self._idle)
            if schedule.jump:
                self._jump(schedule.jump * 3600.0)
            finale.play(self)
        except Violation as violation:
            self._fail(violation.law, str(violation))
        finally:
            self._collect()
            self.world.close()

    def start(self, name: str, number: int, *, prefetch: int | None = None) -> LimiterProcess:
        """A new process; it prefetches as the schedule says, unless told otherwise."""
        schedule = self.schedule
        rates, walls = schedule.rates, schedule.walls
        process = LimiterProcess(
            name,
            world=self.world,
            network=self.network,
            seed=schedule.seed,
            limits=schedule.given,
            prefetch=schedule.prefetch if prefetch is None else prefetch,
            rate=rates[number % len(rates)],
            wall=walls[number % len(walls)],
        )
        self.processes.append(process)
        for of, one in schedule.given.items():
            self._bursts[of] = max(self._bursts.get(of, 0), one.burst or 1)
        return process

    # Users.

    def work(self, process: LimiterProcess, jobs: tuple[Job, ...]) -> None:
        """Start a thread that does these jobs."""

        def work() -> None:
            try:
                for job in (one for one in jobs for _ in range(one.times)):
                    if self.closing or core_of(process.limiter).state.closed:
                        return
                    try:
                        self._call(process, job)
                    except KeyboardInterrupt:
                        self.note(process.name, "is interrupted")
            finally:
                self._rested_at = self.world.now

        process.act("thread", work)

    def _call(self, process: LimiterProcess, job: Job) -> None:
        if job.pause:
            process.wait(job.pause)
        limits = core_of(process.limiter).state.limits
        permits = {name: max(1, round(part * limits[name].burst)) for name, part in job.permits if name in limits}
        if not permits:
            return
        if job.act == "reserve":
            self._reserve(process, job, permits)
            return
        began = self.world.now
        had = self.acquire(
            process, job.key, permits, job.timeout if job.act == "acquire" else None, act=job.act, under=job.under
        )
        took = self.world.now - began
        timeout = 0.0 if job.act != "acquire" else 1e9 if job.timeout is None else job.timeout
        longest = timeout + 1.5 + 300 * self.schedule.latency  # one request in fifty is slow; six in a row are enough
        if self.schedule.reserves and job.act != "acquire":
            longest += 10.0  # behind a reservation that waits until others settle, for all that a try takes at most
        if self.schedule.calm and took > longest:
            raise Violation("L1", f"{process.name}: {job.act} took {took:.3f} s, of {longest:.3f} s ({had})")

    def acquire(
        self,
        process: LimiterProcess,
        key: str,
        permits: dict[str, int],
        timeout: float | None,
        *,
        act: str = "acquire",
        under: str | None = None,
    ) -> bool:
        """Take permits, and tell the oracle at the instant at which they are had."""
        self._say(process, key, permits, timeout, act)
        sent, limiter = process.requests, _view(process, key, under)
        named: dict[str, Any] = {"n": permits[SINGLE]} if set(permits) == {SINGLE} else permits
        try:
            if act == "try":
                had = limiter.try_acquire(**named)
            elif act == "check":
                had = limiter.check(**named).allowed
            else:
                limiter.acquire(timeout=timeout, **named)
                had = True
        except (*EXPECTED, StoreRejected) as error:
            self.excuse(error, process, sent)
            return False
        except ConfigurationError as error:
            self._excuse_misuse(error, process, permits)
            return False
        if had:
            for each in {key, key if under is None else under}:
                self.oracle.used(process, each, permits)
            self.record.permits += sum(permits.values())
        else:
            self.record.denials += 1
        self.note(process.name, f"{'has' if had else 'is denied'} {_shown(permits)} of {key!r}")
        return had

    def _reserve(self, process: LimiterProcess, job: Job, permits: dict[str, int]) -> None:
        """Reserve, use some of it at once and the rest after the work, and settle."""
        self._say(process, job.key, permits, job.timeout, "reserve")
        sent, limiter = process.requests, _view(process, job.key, job.under)
        named: dict[str, Any] = {"n": permits[SINGLE]} if set(permits) == {SINGLE} else permits
        try:
            reservation = limiter.reserve(timeout=job.timeout, settle_within=self.schedule.settle_within, **named)
        except (*EXPECTED, StoreRejected) as error:
            self.excuse(error, process, sent)
            return
        except ConfigurationError as error:
            self._excuse_misuse(error, process, permits)
            return
        keys = {job.key, job.key if job.under is None else job.under}
        for key in keys:
            self.oracle.reserved(process, key, permits)
        self.record.reservations += 1
        self.note(process.name, f"holds {_shown(permits)} of {job.key!r} for {reservation.remaining:.3f} s")
        used = {name: round(job.used * count) for name, count in permits.items()}
        first = {name: min(used[name], count) // 2 for name, count in permits.items()}
        rest = {name: min(used[name], count) - first[name] for name, count in permits.items()}
        for key in keys:
            self.oracle.used_of_held(process, key, first)
        if job.work < 0:
            return  # it is never settled
        process.wait(job.work)
        if reservation.remaining:
            for key in keys:
                self.oracle.used_of_held(process, key, rest)
        sent = process.requests
        try:
            told = reservation.settle(used[SINGLE]) if set(used) == {SINGLE} else reservation.settle(**used)
            self.note(process.name, f"settles {_shown(used)} of {_shown(permits)} of {job.key!r}: {told}")
        except (*EXPECTED, StoreRejected) as error:
            self.excuse(error, process, sent)
        except ConfigurationError as error:
            self._excuse_misuse(error, process, permits)

    def _excuse_misuse(self, error: Exception, process: LimiterProcess, permits: dict[str, int]) -> None:
        """Misuse that is none: the limiter was closed meanwhile, or the policy was changed."""
        possible = all(count <= self._bursts.get(name, 0) for name, count in permits.items())
        if not core_of(process.limiter).state.closed and not (self.oracle.steered and possible):
            raise error
        self.note(process.name, f"ConfigurationError: {error}")

    def excuse(self, error: Exception, process: LimiterProcess, sent: int) -> None:
        """An error that a user must expect; a rejection only if one of the process's own requests was rejected."""
        since = range(sent + 1, process.requests + 1)
        fates = [self.network.fates.get((process.name, ordinal)) for ordinal in since]
        refused = any(fate and fate.instead in PERMANENT for fate in fates)
        untimely = [self.network.untimely.get((process.name, ordinal)) for ordinal in since]
        refused = refused or False in untimely or untimely.count(True) > MOST_REPEATS
        if isinstance(error, StoreRejected) and not refused:
            # Another thread of the process may have sent for both.
            others = any(
                fate.instead in PERMANENT for (name, _), fate in self.network.fates.items() if name == process.name
            )
            if not others:
                raise error
        self.record.timeouts += isinstance(error, AcquireTimeout)
        if self.schedule.calm and not isinstance(error, AcquireTimeout):
            raise error
        self.note(process.name, f"{type(error).__name__}: {error}")

    # What happens to processes and the table.

    def befall(self, deed: Deed) -> None:
        """Something happens."""
        if self.closing:
            return
        process = self.cast[deed.process]
        self.note(process.name, f"-- {deed.what} ({deed.size:.2f})")
        if self._befalls(deed, process) is not False:
            self.record.deeds[deed.what] = self.record.deeds.get(deed.what, 0) + 1

    def _befalls(self, deed: Deed, process: LimiterProcess) -> bool | None:  # noqa: C901 - a table
        """Returns False if it affected nothing."""
        size = deed.size
        match deed.what:
            case "crash":
                self._crash(deed.process, after=4.0 * size)
            case "freeze" | "stand still":
                process.freeze(stands=deed.what == "stand still")
                self._troubled[process.name] = self.world.now + 8.0 * size
                self.world.after(8.0 * size, process.thaw)
            case "interrupt":
                return self._interrupt(deed)
            case "close":
                process.act("closer", process.limiter.close)
                self.world.after(1.0, lambda: self._crash(deed.process, after=0.5), apart=True)
            case "cut":
                process.cut_until = self.world.now + 8.0 * size
            case "step wall":
                process.clock.off = (size - 0.5) * (3.0 if not self.schedule.dated else 1e6)
            case "set policy":
                return self._set_policy(deed)
            case "override" | "lift override" | "block" | "reset":
                return self._steer(deed)
            case "delete key":
                return self._delete_key(deed)
            case "delete policy":
                return self._delete(POLICY)
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

    def _crash(self, number: int, *, after: float) -> None:
        self.cast[number].crash()
        self._generation += 1
        name = f"p{number + 1}.{self._generation}"

        self._coming += 1

        def again() -> None:
            self._coming -= 1
            if self.closing:
                return
            self.cast[number] = self.start(name, number)
            for jobs in self.schedule.jobs[number]:
                self.work(self.cast[number], jobs[-1:])

        self.world.after(after, again)

    def _jump(self, seconds: float) -> None:
        """Hours pass, and TTL deletes what is due; then those that live do their jobs once more."""
        self.world.run(self.world.now + seconds)
        self.record.deeds["sweep"] = len(self.service.expire(self.world.now))
        self.note("time", f"{seconds / 3600:.1f} hours later")
        for process, threads in zip(self.cast, self.schedule.jobs, strict=True):
            for jobs in threads:
                self.work(process, jobs)
        self.world.run(self.world.now + 30.0, stop=self._idle)

    def _operate(self, deed: Deed, what: str, work: Callable[[LimiterProcess], object]) -> None:
        """An operator, on a machine of their own; one in three crashes midway."""
        self._generation += 1
        operator = self.start(f"op{self._generation}", deed.process)
        self.note(operator.name, what)

        def live() -> None:
            sent = operator.requests
            try:
                self.note(operator.name, f"has done it: {work(operator)}")
            except (*EXPECTED, StoreRejected) as error:
                self.excuse(error, operator, sent)

        operator.act("errand", live)
        if int(deed.size * 30) % 3 == 0:
            self.world.after(deed.size * 20 * self.schedule.latency, operator.crash, apart=True)

    def _new_limit(self, name: str) -> Limit:
        _, permits, per, burst = limit(self._chance, name)
        self._bursts[name] = max(self._bursts.get(name, 0), burst)
        return Limit(permits, per=per, burst=burst)

    def _set_policy(self, deed: Deed) -> None:
        self.oracle.steered = True
        names = [name for name, *_ in self.schedule.limits]
        some = self._chance.sample(names, self._chance.randrange(1, len(names) + 1))
        changes = {name: self._new_limit(name) for name in sorted(some)}
        self._operate(deed, f"sets the policy: {changes}", lambda operator: operator.limiter.set_policy(**changes))

    def _steer(self, deed: Deed) -> None:
        key = self._some_key(deed)
        name = self._chance.choice([name for name, *_ in self.schedule.limits])
        limits = limit_policies({name: self._new_limit(name)}) if deed.what == "override" else {}
        until = self.world.now + 6.0 * deed.size

        def make(policy: Any, found: Any, now: int) -> Any:
            match deed.what:
                case "override" | "lift override":
                    return steering.override(policy, found, limits, key=key, now=now, retention=RETENTION)
                case "block":
                    return steering.block(policy, found, key=key, until=round(until * NS), now=now, retention=RETENTION)
                case _:
                    return None if found is None else steering.reset(policy, found, key=key)

        def work(operator: LimiterProcess) -> object:
            core = core_of(operator.limiter)
            operation = change_key(core.state, key, make, deadline=operator.clock.steady() + 10.0)
            return core.driver.run(operation, operator.runtime.wakeup())

        self._operate(deed, f"{deed.what} of {key!r} ({limits})", work)

    def _some_key(self, deed: Deed) -> str:
        keys = sorted({job.key for threads in self.schedule.jobs for jobs in threads for job in jobs})
        return keys[int(deed.size * 0.999 * len(keys))] if keys else ""

    def _delete_key(self, deed: Deed) -> bool:
        wanted = f"rate#{self._some_key(deed)}"
        return any(self._delete(key) for key in list(self.service.items) if key[1] == wanted)

    def _delete(self, key: tuple[str, str]) -> bool:
        if key not in self.service.items:
            return False
        self.note("somebody", f"deletes {key[1]}")
        self.oracle.steered = True
        self.oracle.editing = True
        self.service.edit(key, self.world.now, None)
        self.oracle.editing = False
        return True

    # Watching.

    def _told(self, process: Any, ordinal: int, operation: str, arguments: Arguments, fate: Fate) -> None:
        self.record.requests += 1
        of_policy = operation in READS or arguments.get("Key", {}).get("sk") == {"S": POLICY[1]}
        if of_policy and fate.name != "normal":
            self._troubled[process.name] = self.world.now
        # Before that, it may have been unable to read the policy: then it goes on by the one it knows.
        trouble = self._troubled.get(process.name, 0.0)
        excused = max(trouble, process.thawed_at, process.cut_until) > self.oracle.changed_at - 1.0
        try:
            self.oracle.follows(process, arguments, excused=excused)
        except Violation as violation:  # raised here, the library would take it for a failure to send
            self._broken = violation
        self.oracle.sends(process, arguments)
        if self._watch:
            wrong = "" if fate.name == "normal" else f"   [{fate.name} {fate.instead or ''}{fate.date or ''}]"
            self.note(process.name, f"#{ordinal} {_readable(operation, arguments)}{wrong}")

    def _answered(self, process: Any, ordinal: int, operation: str, told: Any) -> None:
        if self._watch:
            self.note(process.name, f"#{ordinal} is answered: {_short(told)}")

    def _say(self, process: LimiterProcess, key: str, permits: dict[str, int], timeout: float | None, act: str) -> None:
        if self._watch:
            within = "" if timeout is None else f" within {timeout:g} s"
            self.note(process.name, f"wants {_shown(permits)} of {key!r}{within} ({act})")

    def note(self, who: str, what: str) -> None:
        """A line of the timeline."""
        if self._watch:
            self.record.timeline.append((self.world.now - BEGIN, who, what))

    def _idle(self) -> bool:
        deeds = self.schedule.deeds
        last = max(self._rested_at, BEGIN + deeds[-1].at if deeds else 0.0)
        return not self.busy() and not self._coming and self.world.now > last + 1.0

    def busy(self) -> list[str]:
        """Threads that have not ended."""
        return [actor.name for process in self.processes for actor in process.actors if actor.alive]

    def check(self) -> None:
        """After each event."""
        if self._broken is not None:
            raise self._broken
        if self.world.faults:
            name, error = self.world.faults[0]
            if isinstance(error, Violation):
                raise error
            raise Violation("defect", f"{name}: {type(error).__name__}: {error}") from error

    def _fail(self, law: str, what: str) -> None:
        self.record.failure = Failure(law, what, self.world.now - BEGIN)
        self.note("oracle", what)

    def _collect(self) -> None:
        record, oracle = self.record, self.oracle
        record.faults = dict(self.network.fates) if self.schedule.faults is None else dict(self.schedule.faults)
        record.events = self.world.events
        record.charges, record.booked, record.charged_again = oracle.charges, oracle.booked, oracle.again
        record.conflicts = self.network.conflicts
        record.settlements, record.sweeps = oracle.settlements, oracle.sweeps
        record.seconds = self.world.now - BEGIN


def _view(process: LimiterProcess, key: str, under: str | None) -> Any:
    limiter = process.limiter
    if under is None:
        return limiter.key(key) if key else limiter
    return limiter.key(key, under=[limiter.key(under) if under else limiter])


def _shown(permits: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in permits.items())


def _readable(operation: str, arguments: Arguments) -> str:
    if operation == "query":
        first = arguments["ExpressionAttributeValues"][":first"]["S"]
        return f"read {first}" + ("" if arguments.get("ConsistentRead") else " (eventually consistent)")
    where = (arguments.get("Key") or arguments.get("Item") or {}).get("sk", {}).get("S")
    values = arguments.get("ExpressionAttributeValues", {})
    return f"{operation} {where}: " + ", ".join(
        f"{name[1:]} {_amount(value)}" for name, value in values.items() if name != ":schema"
    )


def _amount(value: dict[str, Any]) -> str:
    if "N" not in value:
        return str(next(iter(value.values())))[:60]
    number = int(value["N"])
    return f"{number / NS - BEGIN:.6f}" if number > BEGIN * NS / 2 else str(number)


def _short(told: Any) -> str:
    if isinstance(told, Exception):
        response = getattr(told, "response", None) or {}
        found = response.get("Item")
        return (
            type(told).__name__
            + f" {response.get('Error', {}).get('Code', '')}"
            + (f": {_item(found)}" if found else "")
        )
    items = told.get("Items", [told["Attributes"]] if "Attributes" in told else [])
    return "; ".join(_item(item) for item in items) or "done"


def _item(item: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {_amount(value)}" for name, value in sorted(item.items()) if name not in {"pk", "sk", "schema", "ttl"}
    )
