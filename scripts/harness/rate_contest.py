"""Contests for one rate: real processes that want all of it, amid troubles or in peace, and what a referee says of them.

Invariants:

- Users are processes of their own (`rate_users`), and all their requests pass one proxy, which counts them.
- The seed draws what happens and when, but not to the moment: the machine has its say.
- A contest has three stretches: all begin; troubles, if there are any; calm, of which order, shares, requests and the
  whole rate are judged. The envelope is judged of all of it.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from scripts.harness.counting_wire import CountingWire
from scripts.harness.engines import TestEngine
from scripts.harness.holders import PATIENCE, TABLE, Holder
from scripts.harness.rate_referee import (
    NS,
    Allowed,
    Call,
    as_returned,
    forgone,
    jain,
    overtaken,
    read_calls,
    read_uncertainty,
    served_by,
    within,
    worst_window,
)
from scripts.harness.rate_users import RateJob, use

TROUBLE = (0.15, 0.55)
"""From when to when there are troubles, in shares of the whole."""
CALM, CALM_IN_PEACE = 0.65, 0.25
"""Where the calm stretch begins: after troubles, or as soon as the burst is used up."""
FAIR, REQUESTS = 0.97, 1.05
"""The least Jain's index, and the most requests a permit, in calm."""
LOSING = 0.3
"""How likely a request is not answered amid troubles."""
STOPPED = (1.0, 2.5)
"""For how long a process is stopped, in seconds."""
ROUND = 20.0
"""Amid troubles that last long, one process is killed and one stopped in each of so many seconds."""
SLACK = 0.75
"""Seconds by which calls may differ from their order, for requests and threads; what the machine was seen to stall for
comes on top."""
STEP = 0.02
"""Seconds between two looks at the clock, which show such a stall."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A contest.

    Attributes:
        counts: How many permits each caller of a process wants at a time.
        hows: The ways of the processes, in turn; see `RateJob.how`.
        share: The rate of each key under the rate, as a part of it.
        troubles: Whether anything goes wrong.
    """

    name: str
    processes: int
    rate: float
    burst: int
    per: float = 1.0
    counts: tuple[int, ...] = (1, 1, 1)
    hows: tuple[str, ...] = ("threads", "aio")
    share: float = 1.0
    seconds: float
    seed: int = 1
    troubles: bool = False

    @property
    def calm(self) -> float:
        """When the calm stretch begins, in seconds."""
        return (CALM if self.troubles else CALM_IN_PEACE) * self.seconds

    @property
    def allowed(self) -> Allowed:
        return Allowed(permits=self.rate, per=self.per, burst=self.burst)


@dataclass
class Contest:
    """What was noted of a contest.

    Attributes:
        calls: All calls of all users.
        apart: By how many seconds the users' clocks may lie apart, as they stated; 0.0 for one process.
        calm_since: When the calm stretch began, in nanoseconds.
        until: When it ended.
        requests: Requests in the calm stretch.
        stalled: The longest stall of the machine that this process saw, in seconds: its own, or the engine's.
        met: How often each trouble was met.
        broken: What users raised, and those that did not end.
    """

    calls: list[Call] = field(default_factory=list)
    apart: float = 0.0
    calm_since: int = 0
    until: int = 0
    requests: int = 0
    stalled: float = 0.0
    met: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def calm(self) -> list[Call]:
        """Calls that began in the calm stretch; those that starve end after it."""
        return [call for call in self.calls if self.calm_since <= call.wanted <= self.until]

    @property
    def calm_shares(self) -> list[int]:
        """The permits in the calm stretch of each process that was there when it began."""
        there = {call.process for call in self.calls if call.wanted < self.calm_since}
        shares = served_by(within(self.calls, self.calm_since, self.until))
        alive = {call.process for call in self.calls if call.ended >= self.calm_since}
        return [shares.get(process, 0) for process in sorted(there & alive)]


@dataclass(frozen=True, slots=True)
class Fact:
    """Whether a promise was kept, with its figure."""

    kept: bool
    said: str


# ---- Holding one.


def hold_rate_contest(engine: TestEngine, folder: Path, plan: Plan) -> Contest:
    """Hold a contest on an engine that has the table; users' notes go into the folder."""
    chance, contest = Random(plan.seed), Contest()
    with CountingWire(engine.endpoint_url, chance) as wire, ExitStack() as stack:
        crowd = _Crowd(plan, folder, wire.endpoint_url, chance)
        stack.callback(crowd.end)
        crowd.begin()
        begin = time.monotonic()
        events = sorted(_events(plan, crowd, wire, engine, contest, chance), key=lambda event: event[0])
        for at, happens in events:
            while (now := time.monotonic()) < begin + at:
                time.sleep(STEP)
                contest.stalled = max(contest.stalled, time.monotonic() - now - STEP)
                crowd.welcome()
            began = time.monotonic()
            happens()
            begin += time.monotonic() - began  # a restart takes its time: what follows is later, not shorter
        contest.broken += crowd.finish()
        contest.met |= wire.met
        contest.met |= crowd.met
    for number in range(crowd.born):
        contest.calls += read_calls(folder / str(number), number)
    if plan.processes > 1:
        contest.apart = 2 * max(read_uncertainty(folder / str(number)) for number in range(crowd.born))
    return contest


def _events(
    plan: Plan, crowd: _Crowd, wire: CountingWire, engine: TestEngine, contest: Contest, chance: Random
) -> Iterator[tuple[float, Callable[[], object]]]:
    """What happens, and how many seconds after the beginning."""
    begins, ends = (share * plan.seconds for share in TROUBLE)
    before: list[int] = []

    def lose(likely: float) -> None:
        wire.losing = likely

    def restart() -> None:
        engine.restart()
        crowd.met["engine restarts"] = crowd.met.get("engine restarts", 0) + 1

    def calm() -> None:
        contest.calm_since = time.monotonic_ns()
        before.append(sum(wire.requests.values()))
        wire.slowest = 0.0

    def over() -> None:
        contest.until = time.monotonic_ns()
        contest.requests = sum(wire.requests.values()) - before[0]
        contest.stalled = max(contest.stalled, wire.slowest)

    yield plan.calm, calm
    yield plan.seconds, over
    if not plan.troubles:
        return
    yield begins, lambda: lose(LOSING)
    yield ends, lambda: lose(0.0)
    for _ in range(max(1, int((ends - begins) / ROUND))):
        yield chance.uniform(begins, ends), crowd.kill_one
        yield chance.uniform(begins, ends), restart
        stopped, seconds = chance.uniform(begins, ends), chance.uniform(*STOPPED)
        yield stopped, crowd.stop_one
        yield min(stopped + seconds, plan.calm), crowd.let_go_on


class _Crowd:
    """The users of a contest: those that work, those that start in the place of a killed one, and the stopped."""

    def __init__(self, plan: Plan, folder: Path, endpoint_url: str, chance: Random) -> None:
        self._plan = plan
        self._folder = folder
        self._endpoint_url = endpoint_url
        self._chance = chance
        self._working: list[Holder] = []
        self._starting: list[Holder] = []
        self._stopped: list[Holder] = []
        self.born = 0
        self.met: dict[str, int] = {}

    def begin(self) -> None:
        """Start all, and let them begin together."""
        users = [self._bear() for _ in range(self._plan.processes)]
        self._working = users
        for user in users:
            user.expect("ready")
        for user in users:
            user.tell()

    def welcome(self) -> None:
        """Let those begin that are ready to take a killed one's place."""
        for user in list(self._starting):
            if user.heard():
                user.tell()
                self._starting.remove(user)
                self._working.append(user)

    def kill_one(self) -> None:
        """Kill a user amid its waits, and start another one."""
        victim = self._chance.choice(self._working)
        self._working.remove(victim)
        victim.signal(signal.SIGKILL)
        victim.end()
        self._count("kills")
        self._starting.append(self._bear())

    def stop_one(self) -> None:
        """Stop a user until `let_go_on`."""
        victim = self._chance.choice(self._working)
        victim.signal(signal.SIGSTOP)
        self._stopped.append(victim)
        self._count("stops")

    def let_go_on(self) -> None:
        """Let the user go on that was stopped first."""
        user = self._stopped.pop(0)
        if user.process.poll() is None:
            user.signal(signal.SIGCONT)

    def finish(self) -> list[str]:
        """Let all end; returns what went wrong."""
        broken: list[str] = [
            f"a user ended with {user.process.poll()}" for user in self._starting if user.process.poll()
        ]
        for user in self._working:
            with contextlib.suppress(BrokenPipeError):  # it has ended: told below
                user.tell("over")
        for user in self._working:
            try:
                broken += user.expect("done", within=PATIENCE)["troubles"]
                if code := user.wait():
                    broken.append(f"a user ended with {code}")
            except AssertionError as error:
                broken.append(str(error))
        return broken

    def end(self) -> None:
        """Make sure that none is left."""
        for user in [*self._working, *self._starting]:
            user.end()

    def _count(self, what: str) -> None:
        self.met[what] = self.met.get(what, 0) + 1

    def _bear(self) -> Holder:
        number, plan = self.born, self._plan
        self.born += 1
        job = RateJob(
            endpoint_url=self._endpoint_url,
            name=plan.name,
            notes=str(self._folder / str(number)),
            number=number,
            rate=plan.rate,
            per=plan.per,
            burst=plan.burst,
            counts=plan.counts,
            seconds=plan.seconds,
            how=plan.hows[number % len(plan.hows)],
            share=plan.share,
            table=TABLE,
        )
        return Holder(use, job)


# ---- Judging it.


def judge(plan: Plan, contest: Contest) -> dict[str, Fact]:
    """What a contest shows, promise by promise."""
    allowed = plan.allowed
    passed = (contest.until - contest.calm_since) / NS
    used = sum(served_by(within(contest.calls, contest.calm_since, contest.until)).values())
    callers = plan.processes * len(plan.counts)
    window = worst_window(contest.calls, allowed, apart=contest.apart)
    returned = worst_window(as_returned(contest.calls), allowed, apart=contest.apart)
    slack = SLACK + 2 * contest.stalled
    behind = overtaken(contest.calm if plan.troubles else contest.calls, slack=slack)
    fairness = jain(contest.calm_shares)
    missing = forgone(contest.calls, allowed, since=contest.calm_since, until=contest.until)
    # A call that has begun may be granted a moment after the end, and the burst comes on top at the beginning.
    edge = max(plan.counts) * len(plan.counts) + 0.1 * float(allowed.a_nanosecond) * NS * passed
    return {
        "noted": Fact(
            bool(window) and not contest.broken,
            f"{sum(served_by(contest.calls).values())} permits used, {len(contest.broken)} users in trouble",
        ),
        "envelope": Fact(
            window is not None and window.excess <= 0,
            f"in the worst window, {window} (clocks {contest.apart:.3f} s apart at most; "
            f"{float(returned.excess) if returned else 0.0:.2f} by the returns of calls)",
        ),
        "order": Fact(
            not behind,
            f"{len(behind)} calls were overtaken by more than {slack:.2f} s"
            + (f"; the worst: {behind[0]}" if behind else ""),
        ),
        "fairness": Fact(
            fairness >= FAIR, f"Jain's index in calm {fairness:.3f}, of {', '.join(map(str, contest.calm_shares))}"
        ),
        "requests": Fact(
            contest.requests <= REQUESTS * used + callers,
            f"{contest.requests / max(1, used):.2f} requests a permit in calm, of {used} permits",
        ),
        "whole rate": Fact(missing <= edge, f"{max(0.0, missing):.1f} permits of {used + missing:.0f} forgone in calm"),
    }


def shown(plan: Plan, contest: Contest, facts: dict[str, Fact]) -> str:
    """The verdict for people."""
    lines = [f"{plan.processes} processes at {plan.rate:g} in {plan.per:g} s, seed {plan.seed}"]
    if contest.met:
        lines.append("  met: " + ", ".join(f"{count} {name}" for name, count in sorted(contest.met.items())))
    lines += [f"  {'yes' if fact.kept else 'NO '}  {name}: {fact.said}" for name, fact in facts.items()]
    lines += [f"       {line}" for trouble in contest.broken[:3] for line in trouble.splitlines()[-3:]]
    return "\n".join(lines)
