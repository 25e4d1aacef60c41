"""Holders for the tests and for `scripts/soak`: small programs, each in a process of its own, and how to start them.

Start one with `python -m scripts.harness.holders PROGRAM JOB`, where JOB is a `Job` in JSON; other modules run their own
programs the same way. A program reports its progress on standard output, one JSON object a line, and waits for lines
on standard input before it continues. If it lives for too long, it ends itself and prints what every thread was doing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import multiprocessing
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from ddb_lease import AcquireTimeout, Lease, LeaseBucket, LeaseLost, RateLimiter, StoreUnavailable, Timing
from ddb_lease._protocol.messages import Claim, Done, Refused, Reply, Request
from ddb_lease._runtime.ports import Sender
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.local.engine import Engine
from scripts.harness.inside import core_of
from scripts.harness.rate_referee import jain
from scripts.harness.referee import note, now
from scripts.harness.warm import Forked

ROOT = Path(__file__).resolve().parents[2]
TABLE = "leases"
LOOPBACK = "127.0.0.1"
SECOND = "-second"
"""The suffix of the name of a test's second bucket."""
PATIENCE = 60.0
"""Seconds for something that should take a moment, on a machine that may be busy."""
LIFETIME = 120.0
UNANSWERED = {"unreachable", "suspended"}
"""The reasons of a lease that could not be renewed. The second appears if the machine was so busy that the process did
not run for half a second at the deadline. Tests on their own clock tell the two apart."""
WARM = {
    "scripts.harness.handing",
    "scripts.harness.holders",
    "scripts.harness.queuers",
    "scripts.harness.rate_users",
    "tests.faults.programs",
}
"""The modules whose programs may start in forks of a warm process; others try out how an interpreter starts and ends."""
ANSWERS_LOST = "answers lost"
"""The way of a contest in which a release may not know whether it took effect."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The parameters of a program."""

    endpoint_url: str
    bucket: str
    log: str = os.devnull
    table: str = TABLE
    number: int = 0
    tokens: int = 3
    lease_seconds: float = 30.0
    grace: float | None = None
    leases: int = 1
    seconds: float = 0.0
    threads: int = 1
    rounds: int = 1
    how: str = ""
    key_id: str = "local"

    def open(
        self, name: str = "", *, wrap: Callable[[Sender], Sender] = lambda store: store, via: Any = None
    ) -> LeaseBucket:
        """The job's bucket, or another one, for this process; `via` an existing session."""
        return LeaseBucket(
            name or self.bucket,
            max_tokens=self.tokens,
            lease_seconds=self.lease_seconds,
            table=self.table,
            session=via or session(self.endpoint_url, self.key_id),
            endpoint_url=self.endpoint_url,
            owner=f"job-{self.number}",
            timing=Timing(front_end_skew=0.1, grace=self.grace),
            runtime=Runtime(wrap=wrap),
        )

    def limiter(self, via: Any = None) -> RateLimiter:
        """A limiter of the bucket's name, that has permits for all; `via` an existing session."""
        return RateLimiter(
            self.bucket,
            rate=1_000,
            table=self.table,
            session=via or session(self.endpoint_url, self.key_id),
            endpoint_url=self.endpoint_url,
        )


def session(endpoint_url: str, key_id: str = "local") -> Any:
    """A boto3 session with dummy credentials that knows nothing of the user's own settings.

    Engines take any access key; a proxy identifies its clients by it.
    """
    made = Engine(endpoint_url=endpoint_url, pid=0, started_at_ms=0, instance_id="").session()
    made.get_credentials().access_key = key_id
    return made


# ---- Starting them.


class Holder:
    """A running program, as seen by the test that started it."""

    def __init__(self, program: Callable[[Any], None], job: Any) -> None:
        self.name = program.__name__
        arguments = [self.name, json.dumps(asdict(job))]
        self.process: Any = (
            Forked(program.__module__, arguments)
            if program.__module__ in WARM
            else subprocess.Popen(
                [sys.executable, "-m", program.__module__, *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # so that its forks can be ended with it
            )
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def expect(self, what: str, within: float = PATIENCE) -> dict[str, Any]:
        """Wait for its next message, which must be this."""
        try:
            line = self._lines.get(timeout=within)
        except queue.Empty:
            raise AssertionError(f"{self.name} has not said {what!r} in {within:g} s") from None
        assert line is not None, f"{self.name} ended ({self.process.wait()}) before it said {what!r}"
        said: dict[str, Any] = json.loads(line)
        assert said["said"] == what, f"{self.name} said {said}, and not {what!r}"
        return said

    def next(self, within: float = PATIENCE) -> dict[str, Any]:
        """Wait for its next message, whatever that is."""
        line = self._lines.get(timeout=within)
        assert line is not None, f"{self.name} ended ({self.process.wait()}) without a word"
        said: dict[str, Any] = json.loads(line)
        return said

    def heard(self) -> list[dict[str, Any]]:
        """Its messages so far that nobody has waited for, without waiting."""
        said = []
        while not self._lines.empty():
            line = self._lines.get()
            if line is not None:
                said.append(json.loads(line))
        return said

    def tell(self, line: str = "go") -> None:
        """Let it continue."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, within: float = PATIENCE) -> int:
        """Wait for its end; returns its exit code."""
        return self.process.wait(within)

    def end(self) -> None:
        """Make sure that it and its children are gone: the children have its standard output, too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)


@contextlib.contextmanager
def started(program: Callable[[Any], None], *jobs: Any) -> Iterator[list[Holder]]:
    """Start one program for each job; all end with the block."""
    holders: list[Holder] = []
    try:
        for job in jobs:
            holders.append(Holder(program, job))
        yield holders
    finally:
        for holder in holders:
            holder.end()


class Wire:
    """A TCP proxy to an engine that a test can cut, or leave hanging.

    `cut`: nothing listens any more, and open connections are reset. `hang`: clients can connect, but get no answer.
    """

    def __init__(self, endpoint_url: str) -> None:
        self._target = (LOOPBACK, int(endpoint_url.rpartition(":")[2]))
        self._listener = socket.create_server((LOOPBACK, 0))
        self.endpoint_url = f"http://{LOOPBACK}:{self._listener.getsockname()[1]}"
        self._flowing = threading.Event()
        self._flowing.set()
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def hang(self) -> None:
        self._flowing.clear()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._flowing.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        for end in self._ends:
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # cut
            while True:
                near = self._listener.accept()[0]
                self._ends.append(near)
                far = socket.create_connection(self._target)
                self._ends.append(far)
                for source, sink in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pass_on, args=(source, sink), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


# ---- A contest: many workers on a few tokens.


@dataclass
class Tally:
    """The counts of one worker."""

    grants: int = 0
    longest_wait: float = 0.0
    troubles: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Contest:
    """The counts of all workers of a contest."""

    tallies: list[Tally]
    requests: int

    @property
    def grants(self) -> int:
        return sum(tally.grants for tally in self.tallies)

    @property
    def longest_wait(self) -> float:
        return max(tally.longest_wait for tally in self.tallies)

    @property
    def fewest(self) -> int:
        """The fewest grants of any worker."""
        return min(tally.grants for tally in self.tallies)

    @property
    def most(self) -> int:
        """The most grants of any worker."""
        return max(tally.grants for tally in self.tallies)

    @property
    def troubles(self) -> list[str]:
        return [trouble for tally in self.tallies for trouble in tally.troubles]

    @property
    def fairness(self) -> float:
        """Jain's index of the workers' grants."""
        return jain([tally.grants for tally in self.tallies])


def hold_contest(job: Job, *, processes: int, watch: Callable[[], None] = lambda: None) -> Contest:
    """Run `job.threads` workers in each of so many processes for `job.seconds`; `watch` is called now and then."""
    jobs = [Job(**asdict(job) | {"number": number, "key_id": f"key-{number}"}) for number in range(processes)]
    with started(contend, *jobs) as holders:
        for holder in holders:
            holder.expect("ready")
        for holder in holders:
            holder.tell()
        ends = now() + job.seconds
        while now() < ends:
            time.sleep(0.2)
            watch()
        results = [holder.expect("done") for holder in holders]
        for holder in holders:
            holder.wait()
    tallies = [Tally(**tally) for result in results for tally in result["tallies"]]
    return Contest(tallies, sum(result["requests"] for result in results))


def leases_to_be_had(bucket: LeaseBucket, at_most: int) -> int:
    """How many leases can be acquired and held together; tries one more than `at_most`.

    On a busy machine one may be won too late to rely on it, and is given back, or is lost: then all is tried again.
    """
    until = now() + PATIENCE
    while True:
        try:
            return _leases_had(bucket, at_most)
        except (StoreUnavailable, LeaseLost):
            if now() > until:
                raise


def _leases_had(bucket: LeaseBucket, at_most: int) -> int:
    with contextlib.ExitStack() as stack:
        for number in range(at_most + 1):
            lease = bucket.try_acquire()
            if lease is None:
                return number
            stack.enter_context(lease)
        return at_most + 1


class Counting:
    """Counts the requests."""

    def __init__(self, store: Sender) -> None:
        self._store = store
        self.requests = 0
        self._lock = threading.Lock()

    def send(self, request: Request) -> Reply:
        with self._lock:
            self.requests += 1
        return self._store.send(request)

    def fit(self, lease_seconds: float) -> None:
        self._store.fit(lease_seconds)

    def close(self) -> None:
        self._store.close()

    def after_fork_in_child(self) -> None:
        self._store.after_fork_in_child()


class Unconditional(Counting):
    """A broken store: it reports a claim whose condition failed as done."""

    def send(self, request: Request) -> Reply:
        reply = super().send(request)
        if isinstance(request, Claim) and isinstance(reply.answer, Refused):
            return Reply(answer=Done(), genuine=reply.genuine, date=reply.date)
        return reply


# ---- The programs.


def say(what: str, **more: object) -> None:
    """Send a message to the process that started us."""
    os.write(1, (json.dumps({"said": what, **more}) + "\n").encode())


def wait_to_be_told() -> str:
    """The next line from the process that started us; ends this process if that one is gone."""
    line = sys.stdin.readline()
    if not line:
        os._exit(70)
    return line.strip()


def note_held(job: Job, lease: Lease, worker: int | None = None) -> float:
    """Check that the lease is held, and note it with the time before the check; returns that time."""
    at = now()
    lease.check()
    number = job.number if worker is None else worker
    note(job.log, at=at, job=number, pid=os.getpid(), slot=lease.slot, fence=lease.fence)
    return at


def contend(job: Job) -> None:
    """Take, hold and release a token again and again, on several threads."""
    stores: list[Counting] = []

    def wrap(store: Sender) -> Sender:
        stores.append(Unconditional(store) if job.how == "broken" else Counting(store))
        return stores[-1]

    bucket = job.open(wrap=wrap)
    tallies = [Tally() for _ in range(job.threads)]
    say("ready")
    wait_to_be_told()
    ends = now() + job.seconds
    workers = [
        threading.Thread(target=_compete, args=(job, bucket, number, ends, tally))
        for number, tally in enumerate(tallies)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    bucket.close()
    say("done", tallies=[asdict(tally) for tally in tallies], requests=sum(store.requests for store in stores))


def _compete(job: Job, bucket: LeaseBucket, number: int, ends: float, tally: Tally) -> None:
    worker = job.number * job.threads + number
    chance = random.Random()
    while (asked := now()) < ends:
        try:
            _hold_for_a_moment(job, bucket, worker, ends, tally, chance)
        except AcquireTimeout:
            tally.longest_wait = max(tally.longest_wait, now() - asked)
        except Exception:
            tally.troubles.append(traceback.format_exc())


def _hold_for_a_moment(
    job: Job, bucket: LeaseBucket, worker: int, ends: float, tally: Tally, chance: random.Random
) -> None:
    asked = now()
    try:
        lease = bucket.acquire(timeout=max(0.0, ends - asked))
    except StoreUnavailable as error:
        if now() < ends:
            raise
        raise AcquireTimeout("the contest is over") from error  # its last try met a fault, which is no problem
    began = note_held(job, lease, worker)
    tally.grants += 1
    tally.longest_wait = max(tally.longest_wait, began - asked)
    until = began + chance.uniform(0.002, 0.2)
    while now() < until:
        time.sleep(min(0.005, max(0.0, until - now())))
        lease.check()
    note_held(job, lease, worker)
    # If the answer is lost, the second sending may find another holder's lease, and cannot tell if the first worked.
    if not lease.release() and job.how != ANSWERS_LOST:
        tally.troubles.append(f"the release of {lease} changed nothing")


def hold(job: Job) -> None:
    """Take a token and work under it until it is lost: each unit of work is one note, after a `check`."""
    bucket = job.open()
    lost_at: list[float] = []
    lease = bucket.acquire(timeout=PATIENCE, on_lost=lambda _: lost_at.append(time.time()))
    note_held(job, lease)
    say("held", slot=lease.slot, fence=lease.fence, lease_id=lease.id)
    with contextlib.suppress(LeaseLost):
        while True:
            note_held(job, lease)
            time.sleep(0.02)
    while not lost_at:
        time.sleep(0.02)
    say("lost", reason=lease.lost, called_at_ms=lost_at[0] * 1000, times=len(lost_at))
    wait_to_be_told()


def hold_while_children_are_born(job: Job) -> None:
    """Fork while holding: report what the child finds, and what happens to the parent's lease."""
    bucket = job.open()
    lease = bucket.acquire(timeout=PATIENCE)
    say("held", slot=lease.slot, lease_id=lease.id)
    wait_to_be_told()
    say("child", exit_code=give_birth(job.how, lambda: _what_a_child_finds(bucket, lease)))
    say("parent", held=lease.held)
    wait_to_be_told()
    lease.check()
    say("released", released=lease.release())


def _what_a_child_finds(bucket: LeaseBucket, inherited: Lease) -> None:
    reason = ""
    try:
        inherited.check()
    except LeaseLost as error:
        reason = error.reason
    with bucket.acquire(timeout=PATIENCE) as own:
        own.check()
        own.renew()
        said = {"own_slot": own.slot, "own_fence": own.fence}
    say("in child", held=inherited.held, reason=reason, released=inherited.release(), **said)
    # Left held at the child's exit: only the child's own leases may be released there.
    bucket.acquire(timeout=PATIENCE)


def die_in(seconds: float) -> None:
    """End this process if it still lives then, and print where it stands.

    Not with faulthandler's own watchdog: in a forked child no thread would ever release its lock.
    """
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def give_birth(how: str, task: Callable[[], None]) -> int:
    """Run a task in a forked child, which ends like any Python process; returns its exit code.

    Python 3.12 and later warn of forking with threads, which only the child's fork handlers can make safe: ours do.
    """

    def live() -> None:
        die_in(PATIENCE / 2)
        task()

    if how == "multiprocessing":
        child = multiprocessing.get_context("fork").Process(target=live)
        child.start()
        child.join(LIFETIME)
        return -1 if child.exitcode is None else child.exitcode
    pid = os.fork()
    if pid == 0:
        live()
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_amid_requests(job: Job) -> None:
    """Fork again and again while other threads make requests; each child acquires a token and releases it."""
    bucket = job.open()
    lease = bucket.acquire(timeout=PATIENCE)
    stop = threading.Event()

    def make_requests() -> None:
        while not stop.is_set():
            with contextlib.suppress(AcquireTimeout), bucket.acquire(timeout=0.2):
                lease.renew()
                bucket.status()

    threads = [threading.Thread(target=make_requests) for _ in range(job.threads)]
    for thread in threads:
        thread.start()
    codes = [give_birth(job.how, lambda: _use_the_bucket(bucket, lease)) for _ in range(job.rounds)]
    stop.set()
    for thread in threads:
        thread.join()
    say("born", codes=codes, held=lease.held)
    lease.release()


def fork_with_every_lock_held(job: Job) -> None:
    """Fork at the worst instant: another thread holds every lock of the bucket, its lease, a limiter and their clients,
    and those that the library has once for the process."""
    common = session(job.endpoint_url)
    bucket, limiter = job.open(via=common), job.limiter(common)
    lease = bucket.acquire(timeout=PATIENCE)
    limiter.acquire(timeout=PATIENCE)
    taken, forked = threading.Event(), threading.Event()
    held: list[object] = []

    def take_locks() -> None:
        library = [vars(module) for name, module in sys.modules.items() if name.startswith("ddb_lease")]
        held.extend(lock for lock in locks_within([bucket, lease, limiter, library]) if lock.acquire(timeout=1.0))
        taken.set()
        forked.wait()
        for lock in held:
            lock.release()

    thread = threading.Thread(target=take_locks)
    thread.start()
    taken.wait()

    pid = os.fork()
    if pid == 0:
        die_in(PATIENCE / 2)
        limiter.acquire(timeout=PATIENCE)
        job.limiter(common).acquire(timeout=PATIENCE)
        _use_the_bucket(bucket, lease)
        sys.exit(0)
    forked.set()
    thread.join()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    lease.check()
    say("born", codes=[code], locks=len(held), held=lease.release())


def locks_within(roots: list[object]) -> list[Any]:
    """Every lock reachable from these through objects of the library and of its HTTP client."""
    homes = ("ddb_lease", "urllib3", "botocore.client", "botocore.endpoint", "botocore.httpsession", "queue")
    found: dict[int, Any] = {}
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, (type(threading.Lock()), type(threading.RLock()))):
            found[id(thing)] = thing
        elif isinstance(thing, (dict, list, tuple, set)):
            waiting.extend(thing.values() if isinstance(thing, dict) else thing)
        elif type(thing).__module__.startswith(homes) or type(thing).__name__ in {"DynamoDB", "Event", "Condition"}:
            names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
            waiting.extend(getattr(thing, name, None) for name in names)
    return list(found.values())


def _use_the_bucket(bucket: LeaseBucket, inherited: Lease) -> None:
    assert not inherited.held
    with inherited_released(inherited), bucket.acquire(timeout=PATIENCE) as own:
        own.check()
        own.renew()


@contextlib.contextmanager
def inherited_released(inherited: Lease) -> Iterator[None]:
    """A forked child leaves the parent's ``with`` block when it ends, as any forked child may."""
    yield
    assert not inherited.release()


def end_while_holding(job: Job) -> None:
    """Acquire some tokens, and end without releasing them, in one of several ways."""
    bucket = job.open()
    for _ in range(job.leases):
        bucket.acquire(timeout=PATIENCE)
    say("held")
    wait_to_be_told()
    if job.how == "sys.exit":
        sys.exit(7)
    if job.how == "uncaught exception":
        raise RuntimeError("as the test wants it")
    if job.how == "sys.exit in with":
        with bucket.acquire(timeout=PATIENCE):
            sys.exit(7)


def wait_for_a_token(job: Job) -> None:
    """Wait in an acquire until something ends it."""
    bucket = job.open()
    say("waiting")
    bucket.acquire()
    say("held")


def be_interrupted(job: Job) -> None:
    """Be interrupted at some instant of an acquire and release, many times, and check what is left each time.

    The instants are spread evenly over the duration of one round without an interrupt.
    """
    bucket = job.open()
    client = session(job.endpoint_url).client("dynamodb", endpoint_url=job.endpoint_url)
    one_round = {"by hand": _one_round_by_hand, "with": _one_round_with}[job.how]
    signal.signal(signal.SIGALRM, _strike)  # like SIGINT, at a time that we choose
    began = now()
    for _ in range(5):
        one_round(bucket)
    usual = (now() - began) / 5
    interrupted, held, lost = 0, 0, []
    for number in range(job.rounds):
        try:
            signal.setitimer(signal.ITIMER_REAL, usual * (number + 1) / job.rounds)
            one_round(bucket)
            time.sleep(1.0)
        except KeyboardInterrupt:
            interrupted += 1
        known = dict(core_of(bucket).leases)
        held += len(known)
        lost += [lease for lease in _still_leased(job, client, but=set(known)) if lease not in lost]
        for lease in known.values():
            lease.release()
    say("looked", interrupted=interrupted, held=held, lost=lost)
    wait_to_be_told()


_UNGUARDED = (threading.Condition.__enter__.__code__, threading.Condition.__exit__.__code__)


def _strike(_signum: int, frame: FrameType | None) -> None:
    # Python code takes and releases a Condition's lock: an interrupt there leaves it locked for ever, and the next
    # request in urllib3's pool waits for it. No caller can guard against that, so interrupt after it.
    if frame is not None and frame.f_code in _UNGUARDED:
        signal.setitimer(signal.ITIMER_REAL, 0.0001)
        return
    raise KeyboardInterrupt


def _one_round_by_hand(bucket: LeaseBucket) -> None:
    lease = None
    try:
        lease = bucket.acquire(timeout=PATIENCE)
        lease.release()
    except KeyboardInterrupt:
        if lease is not None:
            lease.release()
        raise


def _one_round_with(bucket: LeaseBucket) -> None:
    with bucket.acquire(timeout=PATIENCE):
        pass


def _still_leased(job: Job, client: Any, but: set[str]) -> list[str]:
    """What stays leased without a holder, after some time to clean up that is shorter than a lease."""
    ends = now() + job.lease_seconds / 2
    while (left := _lease_ids(job, client) - but) and now() < ends:
        time.sleep(0.02)
    return sorted(left)


def _lease_ids(job: Job, client: Any) -> set[str]:
    answer = client.query(
        TableName=job.table,
        KeyConditionExpression="pk = :b",
        ExpressionAttributeValues={":b": {"S": job.bucket}},
        ConsistentRead=True,
    )
    return {item["lease_id"]["S"] for item in answer["Items"] if "lease_id" in item}


def hold_many(job: Job) -> None:
    """Acquire all tokens of two buckets in one process, and hold them until told to release them."""
    buckets = [job.open(), job.open(job.bucket + SECOND)]
    leases = [bucket.acquire(timeout=PATIENCE) for bucket in buckets for _ in range(job.tokens)]
    say("held", lease_ids=[lease.id for lease in leases])
    wait_to_be_told()
    say("counted", held=sum(lease.held for lease in leases))
    for bucket in buckets:
        bucket.close()


PROGRAMS: dict[str, Callable[[Job], None]] = {
    program.__name__: program
    for program in (
        contend,
        hold,
        hold_while_children_are_born,
        fork_amid_requests,
        fork_with_every_lock_held,
        end_while_holding,
        wait_for_a_token,
        be_interrupted,
        hold_many,
    )
}


def main(programs: dict[str, Callable[[Any], None]], kind: type = Job) -> None:
    """Run the program named on the command line; its job is of this kind, a dataclass with `seconds`."""
    name, settings = sys.argv[1:]
    job = kind(**json.loads(settings))
    die_in(LIFETIME + job.seconds)
    programs[name](job)


if __name__ == "__main__":
    main(PROGRAMS)
