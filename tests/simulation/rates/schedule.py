"""A schedule of rates as a value: everything that makes one run what it is.

Invariants: as for the schedules of leases. A seed makes a schedule, and a schedule makes a run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from ddb_lease import Limit
from scripts.harness.network import Fate

ACTS = ("acquire",) * 6 + ("try",) * 3 + ("check",)
"""What a job calls: `acquire`, `try_acquire` or `check`."""

RESERVES = (*ACTS, *("reserve",) * 6)
"""The same in a schedule with reservations: `reserve`, work, and `settle`."""

DEEDS = (
    "crash",
    "crash",
    "freeze",
    "stand still",
    "interrupt",
    "interrupt",
    "close",
    "cut",
    "step wall",
    "set policy",
    "set policy",
    "override",
    "lift override",
    "block",
    "reset",
    "delete key",
    "delete policy",
)
"""What happens to a process, to the policy, to a key, or to the table."""

RATES = ((1, 1.0), (2, 1.0), (5, 1.0), (10, 1.0), (10, 1.0), (50, 1.0), (200, 1.0), (1000, 1.0), (7, 3.0), (20, 60.0))
KEYS = ("", "a", "b")
SINGLE = "permits"
NAMES = ("requests", "tokens", "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Calls of one thread, one after another.

    Attributes:
        act: One of `ACTS`.
        key: The key; empty for the limiter itself.
        permits: By limit, as parts of the burst: 0 is one permit, 1 is the burst.
        timeout: Of each call, in seconds; None for none.
        times: How many calls.
        pause: Before each call, in seconds.
        work: How long what is reserved is worked with, in seconds; longer than `settle_within` for a settlement that
            comes too late, and negative for none.
        used: Which part of what is reserved is used; more than 1 for a debt.
        under: The key's parent.
    """

    act: str
    key: str
    permits: tuple[tuple[str, float], ...]
    timeout: float | None
    times: int
    pause: float
    work: float = 0.0
    used: float = 1.0
    under: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something that happens to a process, or to the table."""

    at: float
    what: str
    process: int
    size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One run.

    Attributes:
        seed: Of the remaining randomness.
        limits: Of each process that might create the policy: name, permits, per, burst.
        jobs: Of each process, of each of its threads.
        odds: How likely a request meets a fault, where `faults` does not say.
        lies: How likely a Date is wrong, beside that.
        faults: The fates of requests by process and ordinal; None: drawn.
        front_ends: By how much each front end's clock is wrong.
        rates: How fast each process's steady clock runs, as a deviation from 1.
        walls: By how much each process's wall clock is wrong.
        dated: Whether answers have a Date at all.
        settle_within: Seconds in which what is reserved is to be settled.
        transacting: How long the service takes for a transaction, in seconds; others that write its items meanwhile
            conflict with it.
        jump: Hours that pass in the middle, and TTL deletes what is due; then the jobs are done once more. 0 for none.
    """

    seed: int
    limits: tuple[tuple[str, float, float, int], ...]
    jobs: tuple[tuple[tuple[Job, ...], ...], ...]
    deeds: tuple[Deed, ...]
    odds: float
    latency: float
    front_ends: tuple[float, ...]
    rates: tuple[float, ...]
    walls: tuple[float, ...]
    prefetch: int = 0
    dated: bool = True
    lies: float = 0.0
    jump: float = 0.0
    settle_within: float = 5.0
    transacting: float = 0.0
    faults: dict[tuple[str, int], Fate] | None = field(default=None, hash=False)

    @property
    def given(self) -> dict[str, Limit]:
        """The limits as a user gives them."""
        return {name: Limit(permits, per=per, burst=burst) for name, permits, per, burst in self.limits}

    @property
    def about(self) -> str:
        """What the processes want, for people."""
        limits = ", ".join(
            f"{permits:g} {name} in {per:g} s (burst {burst})" for name, permits, per, burst in self.limits
        )
        return limits + (f", prefetch {self.prefetch}" if self.prefetch else "")

    @property
    def reserves(self) -> bool:
        """Whether any call reserves."""
        return any(job.act == "reserve" for threads in self.jobs for jobs in threads for job in jobs)

    @property
    def calm(self) -> bool:
        """Whether nothing goes wrong: each request arrives and is answered, and nobody dies, stops or steers."""
        return not self.deeds and not self.odds + self.lies + self.jump + self.transacting and self.faults is None


def schedule_for(seed: int) -> Schedule:
    """The schedule of a seed."""
    chance = Random(f"{seed} rates")
    several = chance.random() < 0.4
    names = NAMES[: chance.choice((2, 2, 3))] if several else (SINGLE,)
    limits = tuple(limit(chance, name) for name in names)
    processes = chance.choice((1, 1, 2, 2, 3, 3, 4))
    keys = KEYS[: chance.choice((1, 1, 1, 2, 3))]
    span = chance.choice((3.0, 8.0, 20.0, 45.0))
    jobs = tuple(
        tuple(
            tuple(_job(chance, names, keys, span) for _ in range(chance.choice((1, 1, 2))))
            for _ in range(chance.choice((1, 1, 1, 2, 2, 4)))
        )
        for _ in range(processes)
    )
    calm = chance.random() < 0.15
    count = 0 if calm else chance.choice((0, 1, 1, 2, 2, 3))
    dated = chance.random() > 0.03
    schedule = Schedule(
        seed=seed,
        limits=limits,
        jobs=jobs,
        deeds=tuple(sorted((_deed(chance, span, processes) for _ in range(count)), key=lambda deed: deed.at)),
        odds=0.0 if calm else chance.choice((0.0, 0.05, 0.1, 0.2, 0.4)),
        latency=chance.choice((0.002, 0.002, 0.01, 0.05)),
        front_ends=(0.0,) if chance.random() < 0.6 else (0.0, round(chance.uniform(-1.0, 1.0), 3)),
        rates=tuple(chance.uniform(-200e-6, 200e-6) for _ in range(processes)),
        walls=tuple(chance.uniform(-1.0, 1.0) if not dated else chance.uniform(-9e4, 9e4) for _ in range(processes)),
        prefetch=0 if several else chance.choice((0, 0, 0, 0, 3, 10)),
        dated=dated,
        lies=0.25 if not calm and chance.random() < 0.05 else 0.0,
        jump=chance.choice((1.1, 2.0, 30.0)) if chance.random() < 0.05 else 0.0,
    )
    if chance.random() < 0.3:
        schedule = _with_reservations(schedule, chance)
    return _with_parents(schedule, chance) if chance.random() < 0.1 else schedule


def limit(chance: Random, name: str) -> tuple[str, float, float, int]:
    """A limit: name, permits, per, burst."""
    permits, per = chance.choice(RATES)
    burst = chance.choice((1, 1, 2, 3, 5, 10, 20, max(1, permits)))
    return name, permits, per, min(burst, 200)


def _with_reservations(schedule: Schedule, chance: Random) -> Schedule:
    """The same, of which many calls reserve."""
    within = chance.choice((1.0, 2.0, 5.0, 20.0))
    jobs = tuple(
        tuple(tuple(_reserving(job, within, chance) for job in thread) for thread in threads)
        for threads in schedule.jobs
    )
    return replace(schedule, jobs=jobs, settle_within=within)


def _reserving(job: Job, within: float, chance: Random) -> Job:
    longest = chance.choice((0.0, 0.01, 0.5, 0.5, 1.5))
    return replace(
        job,
        act=chance.choice(RESERVES),
        work=-1.0 if chance.random() < 0.05 else within * longest * chance.random(),
        used=chance.choice((0.0, 0.1, 0.5, 0.9, 1.0, 1.0, 1.5)),
    )


def _with_parents(schedule: Schedule, chance: Random) -> Schedule:
    """The same, of which many calls are of keys under another one, and some of that one alone."""

    def under(job: Job) -> Job:
        return (
            replace(job, key="", under=None)
            if chance.random() < 0.2
            else replace(job, key=chance.choice(KEYS[1:]), under="")
        )

    jobs = tuple(tuple(tuple(under(job) for job in thread) for thread in threads) for threads in schedule.jobs)
    return replace(schedule, jobs=jobs, transacting=chance.choice((0.0, 0.005, 0.02, 0.1)))


def _job(chance: Random, names: tuple[str, ...], keys: tuple[str, ...], span: float) -> Job:
    some = chance.sample(names, chance.randrange(1, len(names) + 1))
    return Job(
        act=chance.choice(ACTS),
        key=chance.choice(keys),
        permits=tuple((name, chance.choice((0.0, 0.0, 0.0, 0.2, 0.5, 1.0))) for name in sorted(some)),
        timeout=chance.choice((0.0, 0.3, 2.0, 8.0, 20.0, 40.0)),
        times=chance.choice((1, 3, 8, 20, 40)),
        pause=chance.choice((0.0, 0.0, 0.0, 0.01, 0.3, 0.1 * span)) * chance.random(),
    )


def _deed(chance: Random, span: float, processes: int) -> Deed:
    return Deed(
        at=chance.uniform(0.0, span),
        what=chance.choice(DEEDS),
        process=chance.randrange(processes),
        size=chance.random(),
    )
