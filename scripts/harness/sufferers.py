"""The programs of a soak amid troubles, each run in a process of its own: see `soaking`.

Invariants:

- A *sufferer* holds one lease of the healthy bucket from beginning to end, and works on the sick buckets with several
  threads, amid all troubles of `troubles`. Losing that lease is a violation.
- A *victim* competes for the sick buckets and forks, until it ends, with its leases, or is killed.
- Each notes what it holds for the `referee`, and reports what it counted.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from ddb_lease import AcquireTimeout, Lease, LeaseBucket, LeaseError, Timing
from ddb_lease._protocol.messages import Renew, RenewEach, Reply, Request
from ddb_lease._runtime.ports import Sender
from ddb_lease._runtime.runtime import Runtime
from scripts.harness import engines
from scripts.harness.holders import Job, give_birth, main, say, session
from scripts.harness.referee import note, now
from scripts.harness.troubles import StuckLog, Troubles

HEALTHY = "healthy"
HEALTHY_SECONDS = 15.0
"""The length of the healthy bucket's leases: a busy machine may let an engine, and us, wait for seconds."""
SICK = ("sick-0", "sick-1", "sick-2")
SICK_SECONDS = 4.0
TOKENS = 3
"""Of each sick bucket."""
NOTE_SECONDS = 0.2
MOST_THREADS = 400
"""The most threads of a sufferer: the library bounds its own, and the rest are few."""
PATIENCE = 60.0
"""Seconds for what should take a moment."""


@dataclass
class Figures:
    """What one process, or all of them, saw.

    Attributes:
        renewals: Of the healthy bucket and of the sick ones; those that were sent.
        losses: Of the sick buckets, by reason.
        troubles: Those met, by name.
        worst_lateness: By how many seconds a renewal of a healthy lease came later than at a third of it.
        slowest_answer: The most seconds that the engine took to answer a request that nothing troubles.
        threads: The most in one process.
        memory_mb: The most resident in one process, now; and when it had just begun.
        violations: What must not happen, in words.
    """

    grants: int = 0
    renewals: dict[str, int] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)
    troubles: dict[str, int] = field(default_factory=dict)
    worst_lateness: float = 0.0
    slowest_answer: float = 0.0
    threads: int = 0
    memory_mb: float = 0.0
    memory_at_first_mb: float = 0.0
    violations: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Add another process's figures."""
        self.grants += other.grants
        for name in ("renewals", "losses", "troubles"):
            mine, theirs = getattr(self, name), getattr(other, name)
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        for name in ("worst_lateness", "slowest_answer", "threads", "memory_mb", "memory_at_first_mb"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.violations += other.violations


class _Counting:
    """Counts the renewals that are sent, and remembers what became of the latest requests."""

    def __init__(self, store: Sender, counts: Counter[str], kind: str, latest: deque[str]) -> None:
        self._store = store
        self._counts = counts
        self._kind = kind
        self._latest = latest

    def send(self, request: Request) -> Reply:
        if isinstance(request, Renew):
            self._counts[self._kind] += 1
        elif isinstance(request, RenewEach):
            self._counts[self._kind] += len(request.renewals)
        began = now()
        reply = self._store.send(request)
        what, took = f"{type(request).__name__}: {type(reply.answer).__name__}", now() - began
        self._latest.append(f"{began:.2f} {what} after {took:.2f} s")
        return reply

    def fit(self, lease_seconds: float) -> None:
        self._store.fit(lease_seconds)

    def close(self) -> None:
        self._store.close()

    def after_fork_in_child(self) -> None:
        self._store.after_fork_in_child()


# ---- A process that suffers.


@dataclass
class _Sufferer:
    """One process: its troubles, what it counts, and when it ends."""

    job: Job
    troubles: Troubles
    ends: float
    figures: Figures = field(default_factory=Figures)
    renewals: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    grants: Counter[str] = field(default_factory=Counter)
    requests: dict[bool, deque[str]] = field(
        default_factory=lambda: {sick: deque[str](maxlen=12) for sick in (True, False)}
    )

    def over(self) -> bool:
        return now() >= self.ends

    def open(self, name: str, via: Any, *, sick: bool) -> LeaseBucket:
        """A bucket of this process."""

        def wrap(store: Sender) -> Sender:
            counted = _Counting(store, self.renewals, "sick" if sick else "healthy", self.requests[sick])
            return self.troubles.calls(counted) if sick else counted

        return LeaseBucket(
            name,
            max_tokens=TOKENS if sick else self.job.tokens,
            lease_seconds=SICK_SECONDS if sick else HEALTHY_SECONDS,
            table=self.job.table,
            session=via,
            endpoint_url=self.job.how if sick else self.job.endpoint_url,
            owner=f"sufferer-{self.job.number}",
            timing=Timing(front_end_skew=0.1, grace=0.1),
            on_event=self.troubles.on_event if sick else None,
            runtime=Runtime(wrap=wrap),
        )

    def report(self) -> Figures:
        """All figures by now."""
        figures = self.figures
        figures.grants = sum(self.grants.values())
        figures.renewals, figures.losses = dict(self.renewals), dict(self.losses)
        figures.troubles = dict(self.troubles.met)
        figures.threads = max(figures.threads, threading.active_count())
        figures.memory_mb = _resident_mb()
        figures.memory_at_first_mb = figures.memory_at_first_mb or figures.memory_mb
        return figures


def suffer(job: Job) -> None:
    """Hold a lease of the healthy bucket while everything else goes wrong. `job.how` is where the sick buckets connect."""
    _end_with_parent()
    sufferer = _Sufferer(job, Troubles(Random(f"{job.rounds} {job.number}")), ends=math.inf)
    log = logging.getLogger("ddb_lease")
    log.setLevel(logging.INFO)
    log.propagate = False
    sick_session = sufferer.troubles.session(job.how, f"sick-{job.number}")
    healthy = sufferer.open(HEALTHY, session(job.endpoint_url, f"healthy-{job.number}"), sick=False)
    lease = healthy.acquire(PATIENCE)
    log.addHandler(StuckLog(sufferer.troubles))
    sufferer.ends = now() + job.seconds
    say("ready")
    buckets = [sufferer.open(name, sick_session, sick=True) for name in SICK]
    threads = [threading.Thread(target=_watch, args=(sufferer, healthy, lease))]
    threads += [
        threading.Thread(target=_work, args=(sufferer, bucket, name), daemon=True)
        for name, bucket in zip(SICK, buckets, strict=True)
        for _ in range(job.threads)
    ]
    threads.append(threading.Thread(target=_report_now_and_then, args=(sufferer,)))
    with sufferer.troubles.no_threads(3.0, 20.0):
        for thread in threads:
            thread.start()
        _be_interrupted(sufferer, sick_session)
        for thread in threads:
            thread.join(PATIENCE)
            if thread.is_alive():
                _note_violation(sufferer, f"{thread.name} has not ended in {PATIENCE:g} s:\n{_stack_of(thread)}")
    began = now()
    for bucket in (*buckets, healthy):
        bucket.close()
    if now() - began > PATIENCE:
        _note_violation(sufferer, f"closing took {now() - began:.0f} s")
    say("done", figures=asdict(sufferer.report()))


def _watch(sufferer: _Sufferer, healthy: LeaseBucket, lease: Lease) -> None:
    """Note the healthy lease, and how late its renewals come."""
    room, seen = lease.remaining, ""
    while not sufferer.over():
        at = now()
        try:
            lease.check()
        except Exception as error:  # lost, or whatever else keeps a holder from knowing
            latest = "\n    ".join(sufferer.requests[False])
            _note_violation(
                sufferer,
                f"sufferer {sufferer.job.number} lost its healthy lease at {at:.2f}: {error}\n"
                f"  its bucket's latest requests:\n    {latest}\n  its threads when the renewal was late:\n{seen}",
            )
            return
        _note(sufferer.job, HEALTHY, lease, at, os.getpid())
        late = room - lease.remaining - HEALTHY_SECONDS / 3
        sufferer.figures.worst_lateness = max(sufferer.figures.worst_lateness, late)
        if late < 0.0:
            seen = ""
        elif late > HEALTHY_SECONDS / 4 and not seen:
            threads = [thread for thread in threading.enumerate() if thread.name.startswith("ddb-lease")]
            seen = f"at {now():.2f}\n" + "".join(f"{thread.name}\n{_stack_of(thread)}" for thread in threads)
        time.sleep(NOTE_SECONDS)


def _work(sufferer: _Sufferer, bucket: LeaseBucket, name: str) -> None:
    """Take, hold and give back leases of a sick bucket."""
    troubles = sufferer.troubles
    while not sufferer.over():
        with _noting_violations(sufferer):
            count = 2 if troubles.between(0, 1) < 0.2 else 1
            lease = bucket.acquire(5.0, count=count, on_lost=troubles.on_lost(sufferer.losses))
            sufferer.grants[name] += 1
            _hold(sufferer.job, name, lease, now() + troubles.between(0.0, 1.5 * SICK_SECONDS))
            if troubles.between(0, 1) < 0.3:
                lease.renew()
            lease.release()


@contextlib.contextmanager
def _noting_violations(sufferer: _Sufferer) -> Iterator[None]:
    """Errors that a user must expect end the block; any other is a violation."""
    try:
        yield
    except (LeaseError, AcquireTimeout):
        time.sleep(0.05)
    except RuntimeError as error:
        if "new thread" not in str(error):
            _note_violation(sufferer, traceback.format_exc())
    except Exception:
        _note_violation(sufferer, traceback.format_exc())
        time.sleep(0.5)


def _be_interrupted(sufferer: _Sufferer, via: Any) -> None:
    """On the main thread: acquire, renew, release and close, interrupted at any moment, and renewed by signal handlers."""
    troubles, held, armed = sufferer.troubles, list[Lease](), [False]

    def interrupt(_number: int, _frame: object) -> None:
        if armed[0]:
            armed[0] = False
            troubles.met["interrupt"] += 1
            raise KeyboardInterrupt

    def renew(_number: int, _frame: object) -> None:
        for lease in held[-1:]:
            troubles.met["renewed in a signal handler"] += 1
            with _noting_violations(sufferer):
                lease.renew()

    def pester(main_thread: int) -> None:
        while not sufferer.over():
            time.sleep(troubles.between(0.01, 1.0))
            signal.pthread_kill(main_thread, signal.SIGINT if troubles.between(0, 1) < 0.5 else signal.SIGUSR1)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGUSR1, renew)
    threading.Thread(target=pester, args=(threading.get_ident(),), daemon=True).start()
    while not sufferer.over():
        bucket = sufferer.open(SICK[0], via, sick=True)
        # The outermost: an interrupt may come while another error is handled. It comes once, then it must be armed anew.
        with contextlib.suppress(KeyboardInterrupt), _noting_violations(sufferer):
            armed[0] = True
            while not sufferer.over():
                with bucket.acquire(2.0, on_lost=troubles.on_lost(sufferer.losses)) as lease:
                    held.append(lease)
                    _hold(sufferer.job, SICK[0], lease, now() + troubles.between(0.0, SICK_SECONDS))
                    lease.renew()
                held.clear()
            bucket.close()
            armed[0] = False
        armed[0] = False
        held.clear()
        with _noting_violations(sufferer):
            bucket.close()  # what was interrupted between an acquire and the block that releases is given back
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _report_now_and_then(sufferer: _Sufferer) -> None:
    while not sufferer.over():
        time.sleep(1.0)
        figures = sufferer.report()
        if figures.threads > MOST_THREADS:
            _note_violation(sufferer, f"{figures.threads} threads in one process")
            return
        say("figures", figures=asdict(figures))


# ---- A process that perishes.


def perish(job: Job) -> None:
    """Compete for the sick buckets, fork now and then, and end one day, unless killed before."""
    _end_with_parent()
    chance = Random(f"{job.rounds} victim {job.number}")
    via = session(job.endpoint_url, f"victim-{job.number}")
    logging.getLogger("ddb_lease").addHandler(logging.NullHandler())  # it has much to tell
    say("ready")
    ends = now() + job.seconds
    while now() < ends:
        name = chance.choice(SICK)
        bucket = open_sick(name, job, via)
        with contextlib.suppress(LeaseError, AcquireTimeout):
            lease = bucket.acquire(2.0)
            _hold(job, name, lease, now() + chance.uniform(0.0, SICK_SECONDS))
            if chance.random() < 0.2:
                code = give_birth("fork", lambda lease=lease: _child(lease))
                if code:
                    say(
                        "violation",
                        what=f"a forked child ended with {code}: it held its parent's lease, or released it",
                    )
            _hold(job, name, lease, now() + chance.uniform(0.0, 1.0))
        if chance.random() < 0.5:
            bucket.close()
    sys.exit(0)  # it may hold leases


def _child(lease: Lease) -> None:
    if lease.held or lease.release():
        os._exit(1)


# ---- The engine.


def serve(_job: Job) -> None:
    """An embedded engine in a process of its own, so that nothing else here keeps it from answering."""
    with engines.embedded() as running:
        say("serving", endpoint_url=running.endpoint_url)
        while os.read(0, 4096):
            pass
    os._exit(0)


# ---- All of them.


def _end_with_parent() -> None:
    """End at once when the process that started us is gone: it says nothing, and holds our standard input open."""

    def wait_for_its_end() -> None:
        while os.read(0, 4096):  # not `sys.stdin`, whose lock a daemon thread must not hold at the exit
            pass
        os._exit(70)

    threading.Thread(target=wait_for_its_end, daemon=True).start()


def open_sick(name: str, job: Job, via: Any) -> LeaseBucket:
    """A sick bucket for a process that is not sick itself."""
    return LeaseBucket(
        name,
        max_tokens=TOKENS,
        lease_seconds=SICK_SECONDS,
        table=job.table,
        session=via,
        endpoint_url=job.endpoint_url,
        owner=f"job-{job.number}",
        timing=Timing(front_end_skew=0.1, grace=0.1),
    )


def _hold(job: Job, name: str, lease: Lease, until: float) -> None:
    """Note that it is held, until then."""
    while True:
        at = now()
        lease.check()
        _note(job, name, lease, at, os.getpid())
        if at >= until:
            return
        time.sleep(min(NOTE_SECONDS, max(0.0, until - at)))


def _note(job: Job, name: str, lease: Lease, at: float, pid: int) -> None:
    for slot in lease.slots:
        note(f"{job.log}-{name}", at=at, job=job.number, pid=pid, slot=slot, fence=lease.fence)


def _note_violation(sufferer: _Sufferer, what: str) -> None:
    sufferer.figures.violations.append(what)


def _stack_of(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else ""


def _resident_mb() -> float:
    """Resident memory now; where the system does not say, the most so far."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


PROGRAMS = {"suffer": suffer, "perish": perish, "serve": serve}

if __name__ == "__main__":
    main(PROGRAMS)
