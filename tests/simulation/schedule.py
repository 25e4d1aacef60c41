"""A schedule as a value: everything that makes one run what it is.

Invariants:

- A seed makes a schedule, and a schedule makes a run: the same one each time, on any machine.
- Small values only: a failing schedule is shrunk by removing parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from ddb_lease._protocol.decisions import WINDOW
from ddb_lease.models import Order
from scripts.harness.network import Fate

ENDINGS = ("release", "release", "release", "twice", "leave", "stranger", "renew", "error", "shared", "status")
"""How a job ends its lease: `release` it, release it `twice`, `leave` it held, have a `stranger` release it by its id,
`renew` by hand and release, raise an `error` inside the ``with`` block, release what a thread `shared` with it renews at
this moment, or ask for the bucket's `status` and release."""

HAND_OVER = "hand over"
"""Another ending, of some jobs of some schedules: hand the lease over, for one or two other processes to adopt it."""

HANDED_OVER = 0.15
"""What part of the schedules has jobs that hand their leases over."""

BY_ID = "by id"
"""Another ending, of some jobs of some schedules: another thread of the holder's process releases the lease by its id."""

ENDED_BY_ID = 0.1
"""What part of the schedules has such jobs."""

SETUPS = ("nothing",) * 8 + ("room", "retired", "stray", "leftover", "dead")
"""The table at the beginning: mostly empty. A counter with `room` to mint, slots that are `retired` (a lease still
runs on one), a `stray` in circulation beyond `max_tokens`, slots `leftover` without a counter, or leases of holders
long `dead`."""

HELD_AT_LEAST = 0.1
"""In what part of the schedules some jobs acquire for a time at least."""

ORDERED = 0.1
"""What part of the schedules has a bucket whose waiters are served in order."""

DEEDS = (
    "crash",
    "crash",
    "freeze",
    "freeze",
    "stand still",
    "stall",
    "interrupt",
    "close",
    "exit",
    "fork",
    "cut",
    "step wall",
    "sweep",
    "shrink",
    "grow",
    "resize twice",
    "repair",
    "reset",
    "edit minted",
    "delete slot",
    "delete counter",
    "revoke",
    "revoke",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One acquire of one thread, of `count` slots together, and what it does with its lease."""

    pause: float
    patient: bool
    timeout: float
    hold: float
    ending: str
    count: int = 1
    acts: bool = False
    """Whether its lost-callback uses the lease and the bucket."""
    priority: int = 0
    at_least: float = 0.0
    """For how many seconds the slot is to go to nobody else; 0.0: not asked for."""


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
        seed: Of the remaining randomness: the processes' own, and latencies.
        jobs: Of each process, of each of its threads.
        odds: How likely a request meets a fault, where `faults` does not say.
        lies: How likely a Date is wrong, beside that.
        faults: The fates of requests by process and ordinal; None: drawn.
        front_ends: By how much each front end's clock is wrong.
        rates: How fast each process's steady clock runs, as a deviation from 1.
        walls: By how much each process's wall clock is wrong: by minutes or more, its first signature is refused.
        wishes: The settings with which each process would create the bucket, if they are not the schedule's own.
        setup: One of `SETUPS`.
        due: Whether TTL may delete what is free, or dead for long, at the beginning.
        window: How many slots a look shows. With few, a small bucket is searched as a large one is.
        order: In which order waiters are served. In an ordered bucket, an operator may change it.
        jump: Hours that pass in the middle, while nobody holds anything; 0 for none. Holders die before; the other
            processes idle.
    """

    seed: int
    max_tokens: int
    lease_seconds: float
    jobs: tuple[tuple[tuple[Job, ...], ...], ...]
    deeds: tuple[Deed, ...]
    odds: float
    latency: float
    front_ends: tuple[float, ...]
    rates: tuple[float, ...]
    walls: tuple[float, ...]
    dated: bool = True
    swept: bool = True
    jump: float = 0.0
    wishes: tuple[tuple[int, float], ...] = ()
    due: bool = False
    lies: float = 0.0
    setup: str = "nothing"
    window: int = WINDOW
    order: Order = "any"
    faults: dict[tuple[str, int], Fate] | None = field(default=None, hash=False)

    @property
    def about(self) -> str:
        """What the processes want, for people."""
        ordered = ", in order" if self.order == "fifo" else ""
        return f"{self.max_tokens} tokens{ordered}, leases of {self.lease_seconds:g} s"


def schedule_for(seed: int) -> Schedule:
    """The schedule of a seed."""
    chance = Random(seed)
    dated = chance.random() > 0.03
    processes = chance.choice((2, 2, 3, 3, 4))
    max_tokens = chance.choice((1, 1, 1, 2, 2, 2, 3, 3, 5))
    lease_seconds = chance.choice((4.0, 4.0, 4.0, 5.0, 5.0, 8.0, 8.0, 20.0 if chance.random() < 0.3 else 4.0))
    calm = chance.random() < 0.15
    jobs = tuple(
        tuple(
            tuple(_job(chance, lease_seconds, max_tokens) for _ in range(chance.choice((1, 1, 2))))
            for _ in range(chance.choice((1, 1, 1, 1, 2)))
        )
        for _ in range(processes)
    )
    span = 2.5 * lease_seconds
    count = 0 if calm else chance.choice((0, 1, 1, 2, 2, 3))
    deeds = [_deed(chance, span, processes) for _ in range(count)]
    setup = chance.choice(SETUPS)
    due = setup != "nothing" and chance.random() < 0.5
    if due:
        deeds.append(Deed(at=chance.uniform(0.0, 3.0), what="sweep", process=0, size=0.0))
    schedule = Schedule(
        seed=seed,
        max_tokens=max_tokens,
        lease_seconds=lease_seconds,
        jobs=jobs,
        deeds=tuple(sorted(deeds, key=lambda deed: deed.at)),
        odds=0.0 if calm else chance.choice((0.05, 0.1, 0.1, 0.2, 0.4)),
        latency=chance.choice((0.002, 0.002, 0.01, 0.1)),
        front_ends=(0.0,) if chance.random() < 0.5 else (0.0, round(chance.uniform(-1.0, 1.0), 3)),
        rates=tuple(chance.uniform(-200e-6, 200e-6) for _ in range(processes)),
        walls=tuple(chance.uniform(-1.0, 1.0) if not dated else chance.uniform(-9e4, 9e4) for _ in range(processes)),
        dated=dated,
        swept=chance.random() < 0.5,
        jump=chance.choice((1.1, 2.0, 30.0)) if chance.random() < 0.03 else 0.0,
        setup=setup,
        due=due,
        lies=0.25 if not calm and Random(f"{seed} lies").random() < 0.1 else 0.0,
        wishes=tuple(_wish(chance, max_tokens, lease_seconds) for _ in range(processes)),
    )
    if chance.random() < 0.1:
        schedule = _crowded(schedule, chance)
    windowed = Random(f"{seed} window")
    schedule = _windowed(schedule, windowed) if windowed.random() < 0.2 else schedule
    holding = Random(f"{seed} hold at least")
    schedule = _holding(schedule, holding) if holding.random() < HELD_AT_LEAST else schedule
    handing = Random(f"{seed} hand over")
    schedule = _handing_over(schedule, handing) if handing.random() < HANDED_OVER else schedule
    ended = Random(f"{seed} by id")
    schedule = _ending_by_id(schedule, ended) if ended.random() < ENDED_BY_ID else schedule
    ordered = Random(f"{seed} order")
    return _ordered(schedule, ordered) if ordered.random() < ORDERED else schedule


def ordered_schedule_for(seed: int) -> Schedule:
    """The schedule of a seed, in a bucket whose waiters are served in order, whatever the seed says of that."""
    schedule = schedule_for(seed)
    return schedule if schedule.order == "fifo" else _ordered(schedule, Random(f"{seed} ordered"))


def _handing_over(schedule: Schedule, chance: Random) -> Schedule:
    """Half of the jobs hand their leases over, some at once."""

    def handing(job: Job) -> Job:
        if chance.random() < 0.5:
            return job
        return replace(job, ending=HAND_OVER, at_least=0.0, hold=job.hold * chance.choice((0.0, 1.0)))

    jobs = tuple(tuple(tuple(handing(job) for job in thread) for thread in threads) for threads in schedule.jobs)
    return replace(schedule, jobs=jobs)


def _ending_by_id(schedule: Schedule, chance: Random) -> Schedule:
    """Half of the jobs have their leases released by their ids, while they work on."""

    def ended(job: Job) -> Job:
        return job if chance.random() < 0.5 else replace(job, ending=BY_ID, at_least=0.0)

    jobs = tuple(tuple(tuple(ended(job) for job in thread) for thread in threads) for threads in schedule.jobs)
    return replace(schedule, jobs=jobs)


def _ordered(schedule: Schedule, chance: Random) -> Schedule:
    """Waiters have an order, and some are urgent; an operator may change the order."""
    jobs = tuple(
        tuple(tuple(replace(job, priority=chance.choice((0, 0, 0, 5, 9))) for job in thread) for thread in threads)
        for threads in schedule.jobs
    )
    deeds = schedule.deeds
    if chance.random() < 0.2:
        at = chance.uniform(0.0, 2.5 * schedule.lease_seconds)
        deed = Deed(at=at, what="reorder", process=chance.randrange(len(jobs)), size=chance.random())
        deeds = tuple(sorted([*deeds, deed], key=lambda deed: deed.at))
    return replace(schedule, jobs=jobs, deeds=deeds, order="fifo")


def _holding(schedule: Schedule, chance: Random) -> Schedule:
    """Half of the jobs acquire for a time at least: shorter than the lease, or longer."""
    lease = schedule.lease_seconds

    def held(job: Job) -> Job:
        return replace(job, at_least=chance.choice((0.0, 0.0, 0.3, 1.5)) * lease * chance.uniform(0.5, 1.0))

    jobs = tuple(tuple(tuple(held(job) for job in thread) for thread in threads) for threads in schedule.jobs)
    return replace(schedule, jobs=jobs)


def _windowed(schedule: Schedule, chance: Random) -> Schedule:
    """More tokens, of which a look shows few: up to eleven windows, so that acquires search them."""
    more = chance.choice((0, 2, 3, 4, 6, 8))
    wishes = tuple((max_tokens + more, lease_seconds) for max_tokens, lease_seconds in schedule.wishes)
    window = chance.choice((1, 1, 2, 2, 3))
    return replace(schedule, max_tokens=schedule.max_tokens + more, wishes=wishes, window=window)


def _crowded(schedule: Schedule, chance: Random) -> Schedule:
    """More threads that hold their leases for longer, so that renewals are due together."""
    lease, max_tokens = schedule.lease_seconds, schedule.max_tokens + chance.choice((2, 3, 5))
    jobs = tuple(
        tuple((replace(_job(chance, lease, max_tokens), hold=lease * chance.uniform(0.5, 2.0)),) for _ in range(3))
        for _ in schedule.jobs
    )
    settings = tuple(_wish(chance, max_tokens, lease) for _ in jobs)
    return replace(schedule, max_tokens=max_tokens, jobs=jobs, wishes=settings)


def _wish(chance: Random, max_tokens: int, lease_seconds: float) -> tuple[int, float]:
    if chance.random() < 0.9:
        return max_tokens, lease_seconds
    return max_tokens + chance.choice((0, 1, 2)), lease_seconds + chance.choice((0.0, 2.0))


def _job(chance: Random, lease: float, max_tokens: int) -> Job:
    return Job(
        pause=chance.choice((0.0, 0.0, 0.01, 0.3)) * chance.random() * lease,
        patient=chance.random() < 0.75,
        timeout=chance.choice((0.0, 0.5, 2.0, 2.0)) * lease,
        hold=chance.choice((0.0, 0.1, 0.3, 0.6, 1.2)) * lease * chance.random(),
        ending=chance.choice(ENDINGS),
        acts=chance.random() < 0.3,
        count=min(chance.choice((1, 1, 1, 1, 2, 3)), max_tokens),
    )


def _deed(chance: Random, span: float, processes: int) -> Deed:
    return Deed(
        at=chance.uniform(0.0, span),
        what=chance.choice(DEEDS),
        process=chance.randrange(processes),
        size=chance.random(),
    )
