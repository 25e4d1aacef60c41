"""Programs for the tests of exits: processes that end in many ways while they hold leases. Started as `holders` are.

They run on the simulator's DynamoDB inside the process, which costs next to nothing: what is tried out is the end of
the process. Its very last exit handler says what is left in that table.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from scripts.harness import last_words  # first: see there
from scripts.harness.inside import held_of

# isort: split
from ddb_lease import ConfigurationError, LeaseLost, StoreUnavailable, exit_on_sigterm
from ddb_lease._protocol.messages import Reply, Unknown
from scripts.harness.holders import PATIENCE, Job, die_in, main, say
from scripts.harness.simulated_engine import Simulated

ENGINE = Simulated()


def leased() -> int:
    """How many slots carry a lease."""
    return sum("lease_id" in item for item in ENGINE.items())


def say_what_is_left() -> None:
    """At the very end, say how many slots carry a lease."""
    last_words.at_the_very_end.append(lambda: say("left", leases=leased()))


def open_bucket(job: Job, name: str = "", *, wrap: Callable[[Any], Any] = lambda store: store) -> Any:
    """The job's bucket on this process's DynamoDB."""
    return job.open(name, wrap=wrap, via=ENGINE.session())


class Slow:
    """Each request of a kind takes so long, as measured by this process's own clock."""

    def __init__(self, store: Any, kind: str, seconds: float) -> None:
        self._store, self._kind, self._seconds = store, kind, seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def send(self, request: Any) -> Any:
        if type(request).__name__ == self._kind:
            time.sleep(self._seconds)
        return self._store.send(request)


def end_with_many(job: Job) -> None:
    """End while holding many leases, of one bucket or of a bucket each, where each release takes 30 ms."""
    say_what_is_left()

    def slow(store: Any) -> Slow:
        return Slow(store, "Release", 0.03)

    buckets = (
        [open_bucket(job, wrap=slow)]
        if job.how == "one bucket"
        else [open_bucket(job, f"{job.bucket}-{number}", wrap=slow) for number in range(job.leases)]
    )
    kept = [buckets[number % len(buckets)].acquire(timeout=PATIENCE) for number in range(job.leases)]
    say("held", leases=leased(), held=sum(lease.held for lease in kept))


class Dead(Slow):
    """Each request of a kind times out."""

    def send(self, request: Any) -> Any:
        if type(request).__name__ != self._kind:
            return self._store.send(request)
        time.sleep(self._seconds)
        return Reply(answer=Unknown(cause=StoreUnavailable("timed out")), genuine=False, date=None)


def end_beside_dead_buckets(job: Job) -> None:
    """End while holding a lease of a healthy bucket, and many of buckets each of whose releases times out.

    As with Python 3.12 and later, no thread can be started then.
    """
    from ddb_lease._runtime import process

    say_what_is_left()
    dead = [
        open_bucket(job, f"{job.bucket}-{number}", wrap=lambda store: Dead(store, "Release", 1.5))
        for number in range(job.leases)
    ]
    kept = [bucket.acquire(timeout=PATIENCE) for bucket in (*dead, open_bucket(job))]
    say("held", leases=leased(), held=sum(lease.held for lease in kept))
    atexit.register(process.heartbeats().workers.start_no_more)


def interrupt_a_release(job: Job) -> None:
    """Be interrupted in a release that waits for a slow renewal."""
    say_what_is_left()
    bucket = open_bucket(job, wrap=lambda store: Slow(store, "Renew", 3.0))
    lease = bucket.acquire(timeout=PATIENCE)

    def renew() -> None:
        with contextlib.suppress(LeaseLost):  # released meanwhile
            lease.renew()

    threading.Thread(target=renew, daemon=True).start()
    serial = held_of(lease).attempts.serial
    while serial.acquire(blocking=False):
        serial.release()
        time.sleep(0.01)
    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT)).start()
    if job.how == "with":
        with lease:
            say("held")
    else:
        say("held")
        lease.release()


def acquire_too_late(job: Job) -> None:
    """Acquire in an exit handler that runs after ddb_lease's own, from a bucket in use and from a new one."""
    bucket = open_bucket(job)
    bucket.acquire(timeout=PATIENCE)

    def acquire() -> None:
        for each in (bucket, open_bucket(job)):
            try:
                each.acquire(timeout=PATIENCE)
            except ConfigurationError as error:
                say("refused", error=str(error))

    last_words.at_the_very_end.append(acquire)
    say_what_is_left()


# ---- Children of `multiprocessing`, and of pools of processes. Each has a copy of the table, or one of its own.


class Telling(Slow):
    """Says each release that was sent: nobody can look into a child that has ended."""

    def __init__(self, store: Any) -> None:
        super().__init__(store, "", 0.0)

    def send(self, request: Any) -> Any:
        reply = super().send(request)
        if type(request).__name__ == "Release":
            say("released", pid=os.getpid())
        return reply


_kept: list[Any] = []


def hold(settings: dict[str, Any]) -> None:
    """What a child does: acquire, and end without releasing; a thread of it may still work then."""
    job = Job(**settings)
    _kept.append(open_bucket(job, wrap=Telling).acquire(timeout=PATIENCE))
    if job.threads:
        threading.Thread(target=_work_on, args=(_kept[-1],)).start()
        ThreadPoolExecutor(1).submit(int).result()  # idle threads of a pool keep nobody waiting
    say("holds", pid=os.getpid())


def _work_on(lease: Any) -> None:
    time.sleep(1.0)
    say("works on", held=lease.held)


def end_children(job: Job) -> None:
    """Let children end that hold a lease, in one of several ways."""
    way, _, method = job.how.partition(" by ")
    context = multiprocessing.get_context(method)
    settings = asdict(job)
    if way == "a process":
        child = context.Process(target=hold, args=(settings,))
        child.start()
        child.join(PATIENCE)
    elif way == "a pool":
        pool = context.Pool(1)
        pool.apply(hold, (settings,))
        pool.close()
        pool.join()
    elif way == "a task of a pool":
        with context.Pool(1, maxtasksperchild=1) as pool:
            pool.apply(hold, (settings,))
            pool.apply(hold, (settings,))
    else:
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            executor.submit(hold, settings).result()
    say("ended")


def end_as_celery_does(job: Job) -> None:
    """Let a child end as the processes of Celery's pool do: by `os._exit`, after the receivers of one signal.

    Celery itself was tried by hand, with the same result: see docs/processes.md.
    """
    receivers: list[Callable[..., object]] = []
    signals: Any = types.ModuleType("celery.signals")
    signals.worker_process_shutdown = types.SimpleNamespace(connect=lambda receiver, **_: receivers.append(receiver))
    sys.modules["celery.signals"] = signals
    pid = os.fork()
    if pid == 0:
        die_in(PATIENCE)
        hold(asdict(job))
        for receiver in receivers:
            receiver(sender=None, pid=os.getpid(), exitcode=0)
        os._exit(0)
    os.waitpid(pid, 0)
    say("ended")


# ---- Ended by SIGTERM.


def end_by_sigterm(job: Job) -> None:
    """Hold, and be ended by SIGTERM, in one of several ways."""
    say_what_is_left()
    if job.how == "handled already":
        signal.signal(signal.SIGTERM, lambda *_: say("earlier"))
    if job.how == "ignored":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if job.how != "not asked for":
        exit_on_sigterm()
        exit_on_sigterm()  # twice is as good as once
    if job.how == "asyncio":
        asyncio.run(_hold_in_a_task(job))
        return
    bucket = open_bucket(job, wrap=_slow_releases)
    if job.how in {"in a pool", "in a joined thread"}:
        _hold_in_another_thread(bucket, pooled=job.how == "in a pool")
    if job.how == "in a block":
        with bucket.acquire(timeout=PATIENCE):
            _wait_for_the_end()
    _kept.append(bucket.acquire(timeout=PATIENCE))
    _wait_for_the_end()


def _slow_releases(store: Any) -> Slow:
    """Slow enough that a second signal comes amid one."""
    return Slow(store, "Release", 1.0)


def _wait_for_the_end() -> None:
    say("held", leases=leased())
    threading.Event().wait(3.0 if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN else PATIENCE)


def _hold_in_another_thread(bucket: Any, *, pooled: bool) -> None:
    """Hold on a pool's thread, as docs/processes.md shows it, or on one that is joined, as everybody does."""
    stop = threading.Event()

    def work() -> None:
        with bucket.acquire(timeout=PATIENCE) as lease:
            say("held", leases=leased())
            stop.wait(PATIENCE)
            time.sleep(1.0)  # the rest of its work
            say("works on", held=lease.held)

    with ThreadPoolExecutor() if pooled else contextlib.nullcontext() as pool:
        thread = threading.Thread(target=work)
        try:
            if pool is not None:
                pool.submit(work).result()
            else:
                thread.start()
                thread.join()
        finally:
            stop.set()


async def _hold_in_a_task(job: Job) -> None:
    from ddb_lease import aio

    bucket = aio.LeaseBucket(
        job.bucket, max_tokens=1, lease_seconds=600, session=ENGINE.session(), endpoint_url=job.endpoint_url
    )
    async with bucket.lease(timeout=PATIENCE):
        say("held", leases=leased())
        await asyncio.sleep(PATIENCE)


def terminate_a_pool(job: Job) -> None:
    """Leave the block of a pool, which ends its processes by SIGTERM."""
    context = multiprocessing.get_context("fork")
    with context.Pool(1, initializer=exit_on_sigterm) as pool:
        pool.apply(hold, (asdict(job),))
    say("ended")


PROGRAMS = {
    program.__name__: program
    for program in (
        end_with_many,
        end_beside_dead_buckets,
        interrupt_a_release,
        acquire_too_late,
        end_children,
        end_as_celery_does,
        end_by_sigterm,
        terminate_a_pool,
    )
}


if __name__ == "__main__":
    main(PROGRAMS)
