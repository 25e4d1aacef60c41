"""A soak amid troubles: processes whose own code and connection do everything wrong, beside a bucket that must lose nothing.

Invariants:

- Two kinds of processes: see `sufferers`. Their connections to the sick buckets are a `slow_wire`.
- The verdict comes from the holders' notes (`referee`), from what sufferers report, and from the table when all is over.
  Counts of troubles and of losses on sick buckets are figures, not verdicts.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from ddb_lease import LeaseError
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import create_table
from scripts.harness.holders import TABLE, Holder, Job, leases_to_be_had, session, started
from scripts.harness.referee import Log, now
from scripts.harness.slow_wire import SlowWire
from scripts.harness.sufferers import (
    HEALTHY,
    PATIENCE,
    SICK,
    SICK_SECONDS,
    TOKENS,
    Figures,
    open_sick,
    perish,
    serve,
    suffer,
)

A_DAY = 86_400.0
"""Seconds: the longest life of an engine; it ends with us."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to soak: how long, by which seed, and with how many processes of each kind."""

    seconds: float
    seed: int
    sufferers: int = 2
    victims: int = 2
    threads: int = 2
    """Of a sufferer, on each sick bucket."""


@contextlib.contextmanager
def embedded_engine() -> Iterator[str]:
    """Run an embedded engine in a process of its own, with an empty table; returns its endpoint's URL."""
    with started(serve, Job(endpoint_url="", bucket="", seconds=A_DAY)) as (engine,):
        endpoint_url = engine.expect("serving")["endpoint_url"]
        create_table(
            TABLE,
            connection=ConnectionSettings(session=session(endpoint_url), endpoint_url=endpoint_url),
            clock=SystemClock(),
        )
        yield endpoint_url


def soak(
    endpoint_url: str, table: str, folder: Path, plan: Plan, watch: Callable[[float, Figures], None] = lambda *_: None
) -> Figures:
    """Run it, and judge it.

    Args:
        endpoint_url: The engine.
        table: An existing table, empty.
        folder: For the notes.
        plan: What to soak.
        watch: Called now and then, with the seconds that have passed and the figures so far.

    Returns:
        The figures; as promised if there are no violations.
    """
    chance = Random(plan.seed)
    with SlowWire(endpoint_url, Random(f"{plan.seed} wire")) as wire:
        job = Job(
            endpoint_url=endpoint_url, bucket=HEALTHY, log=str(folder / "notes"), table=table, tokens=plan.sufferers,
            seconds=plan.seconds, threads=plan.threads, rounds=plan.seed, how=wire.endpoint_url,
        )  # fmt: skip
        crowd = _Crowd(job, plan, chance)
        with contextlib.closing(crowd), Probe(job) as probe:
            crowd.run(lambda seconds, so_far: watch(seconds, probe.add_to(so_far)))
            figures = probe.add_to(crowd.figures())
        for trouble, count in wire.met.items():
            figures.troubles[f"an answer {trouble}"] = count
    figures.violations += _judged(job, folder)
    return figures


class Probe:
    """Asks the engine for an item, again and again: how long does it take where nothing is wrong?

    If a healthy lease is lost while the engine itself does not answer, the machine is too busy for the soak.
    """

    def __init__(self, job: Job) -> None:
        self._client = session(job.endpoint_url).client("dynamodb", endpoint_url=job.endpoint_url)
        self._table = job.table
        self._asked_at: float | None = None
        self._slowest = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def add_to(self, figures: Figures) -> Figures:
        """The same figures, with the slowest answer so far."""
        asked_at = self._asked_at
        waiting = 0.0 if asked_at is None else now() - asked_at
        figures.slowest_answer = max(figures.slowest_answer, self._slowest, waiting)
        return figures

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(PATIENCE)

    def _ask(self) -> None:
        while not self._ended.wait(0.3):
            self._asked_at = began = now()
            with contextlib.suppress(Exception):
                self._client.get_item(TableName=self._table, Key={"pk": {"S": "probe"}, "sk": {"S": "probe"}})
            self._asked_at, self._slowest = None, max(self._slowest, now() - began)


class _Crowd:
    """The processes of a soak, and what happens to them."""

    def __init__(self, job: Job, plan: Plan, chance: Random) -> None:
        self._job = job
        via = session(job.endpoint_url)
        self._buckets = [open_sick(name, job, via) for name in SICK]
        self._plan = plan
        self._chance = chance
        self._met: Counter[str] = Counter()
        self._violations: list[str] = []
        self._latest: dict[int, Figures] = {}
        self._victims: list[Holder] = []
        self._born = 0
        self._sufferers = [Holder(suffer, replace(job, number=number)) for number in range(plan.sufferers)]

    def run(self, watch: Callable[[float, Figures], None]) -> None:
        """From the moment when all are ready until they are done."""
        for holder in self._sufferers:
            holder.expect("ready")
        began = now()
        while now() < began + self._plan.seconds:
            time.sleep(self._chance.uniform(0.1, 1.0))
            self._torment()
            self._listen()
            watch(now() - began, self.figures())
        for victim in self._victims:
            victim.end()
        waits_until = now() + 3 * PATIENCE
        while now() < waits_until and not all(holder.process.poll() is not None for holder in self._sufferers):
            time.sleep(0.2)
            self._listen()
        self._listen()
        for number, holder in enumerate(self._sufferers):
            code = holder.process.poll()
            if code != 0:
                self._violations.append(f"sufferer {number} " + ("is stuck" if code is None else f"ended with {code}"))

    def figures(self) -> Figures:
        """The figures so far, of all."""
        total = Figures(troubles=dict(self._met), violations=list(self._violations))
        for latest in self._latest.values():
            total.add(latest)
        return total

    def close(self) -> None:
        """End all of them."""
        for holder in (*self._sufferers, *self._victims):
            holder.end()
        for bucket in self._buckets:
            bucket.close()

    def _torment(self) -> None:
        """Kill, stop and continue victims, and let new ones be born."""
        alive = [victim for victim in self._victims if victim.process.poll() is None]
        for victim in [victim for victim in self._victims if victim not in alive]:
            self._hear(victim)
            victim.end()
            code = victim.process.returncode
            self._met["a process ended with its leases"] += code == 0
            if code not in {0, -signal.SIGKILL}:
                self._violations.append(f"a victim ended with {code}")
        self._victims = alive
        drawn = self._chance.random()
        if len(alive) < self._plan.victims:
            lives = self._chance.uniform(3.0, 20.0)
            self._born += 1
            born = replace(self._job, number=1_000 + self._born, seconds=lives, rounds=self._plan.seed + self._born)
            self._victims.append(Holder(perish, born))
        elif drawn < 0.05:
            self._met["killed"] += 1
            self._chance.choice(alive).signal(signal.SIGKILL)
        elif drawn < 0.1:
            self._met["stopped and continued"] += 1
            stopped = self._chance.choice(alive)
            stopped.signal(signal.SIGSTOP)
            time.sleep(self._chance.uniform(0.1, 2.0 * SICK_SECONDS))
            stopped.signal(signal.SIGCONT)
        elif drawn < 0.3:
            self._revoke()

    def _revoke(self) -> None:
        """Revoke a lease of a sick bucket, so that its holder's callback is called."""
        with contextlib.suppress(LeaseError):
            bucket = self._chance.choice(self._buckets)
            leases = [lease for lease in bucket.status().leases if not lease.expired]
            if leases:
                self._met["revoked"] += bucket.revoke(self._chance.choice(leases).lease_id)

    def _listen(self) -> None:
        for number, holder in enumerate(self._sufferers):
            for said in holder.heard():
                if said["said"] in {"figures", "done"}:
                    self._latest[number] = Figures(**said["figures"])
        for victim in self._victims:
            self._hear(victim)

    def _hear(self, victim: Holder) -> None:
        self._violations += [said["what"] for said in victim.heard() if said["said"] == "violation"]


def _judged(job: Job, folder: Path) -> Iterator[str]:
    """What the notes and the table say against it."""
    for name in (HEALTHY, *SICK):
        log = Log(folder / f"notes-{name}")
        tokens = TOKENS if name in SICK else job.tokens
        yield from (f"{name}: {complaint}" for complaint in log.complaints(tokens))
        if not log.spans():
            yield f"{name}: nobody held anything"
    for name in SICK:
        with open_sick(name, job, session(job.endpoint_url)) as bucket:
            patient_until, had = now() + PATIENCE, -1
            while had != TOKENS and now() < patient_until:
                time.sleep(0.5)  # what was killed a moment ago dies by expiry
                had = leases_to_be_had(bucket, TOKENS)
            if had != TOKENS:
                yield f"{name}: at rest {had} leases can be had, of {TOKENS}"
