"""The asyncio API, driven from threads, so that tests of the synchronous API run over both.

A module that sets ``APIS`` gets its buckets from both. Awaited methods run on a loop on a thread of its own, and the
test's thread waits for them; all else belongs to the shared core, and is read directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError as RunCancelled
from typing import Any

from ddb_lease import aio
from ddb_lease._protocol.messages import Reply, Request
from ddb_lease._runtime.ports import Sender
from ddb_lease._runtime.ports import Wakeup as BlockingBell
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.aio.driver import Wakeup
from scripts.harness.inside import async_core_of, core_of, held_of

APIS = ["threads", "asyncio"]


class Loop:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="the test's loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Its result. A cancellation, which takes the place of an interrupt here, is raised as an interrupt."""
        assert threading.current_thread() is not self._thread, "the loop would wait for itself"
        try:
            return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)
        except RunCancelled:
            raise KeyboardInterrupt from None

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end_tasks(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(30)
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    async def _end_tasks(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Lease:
    """An `aio.Lease` with the methods of a synchronous one."""

    def __init__(self, lease: aio.Lease, loop: Loop, *, staged: bool) -> None:
        self._lease, self._loop, self._staged = lease, loop, staged
        self._told: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(held_of(self._lease), name)

    def __setattr__(self, name: str, value: Any) -> None:
        own = name in {"_lease", "_loop", "_staged", "_told", "on_lost"}
        object.__setattr__(self if own else held_of(self._lease), name, value)

    @property
    def _held(self) -> Any:
        return held_of(self._lease)

    def __repr__(self) -> str:
        return repr(self._lease)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lease) and other._lease is self._lease

    def __hash__(self) -> int:
        return hash(self._lease)

    @property
    def lost(self) -> Any:
        return self._lease.reason

    @property
    def on_lost(self) -> Any:
        return self._told

    @on_lost.setter
    def on_lost(self, callback: Any) -> None:
        self._told = callback
        if callback is None:
            self._lease.on_lost = None
        elif self._staged:  # all happens on one thread there, which holds locks: it must not wait for another
            held_of(self._lease).loss.on_lost = lambda: callback(self)
        else:
            self._lease.on_lost = self._tell

    async def _tell(self, lease: aio.Lease) -> None:
        assert lease is self._lease
        await asyncio.to_thread(self._told, self)

    def check(self) -> None:
        self._lease.check()

    def renew(self) -> None:
        self._loop.run(self._lease.renew())

    def release(self) -> bool:
        return self._loop.run(self._lease.release())

    def hand_over(self, **how: Any) -> str:
        return self._loop.run(self._lease.hand_over(**how))

    def conditions(self, **how: Any) -> Any:
        return self._lease.conditions(**how)

    def __enter__(self) -> Lease:
        self._loop.run(self._lease.__aenter__())
        return self

    def __exit__(self, *what: object) -> None:
        self._loop.run(self._lease.__aexit__(*what))


class LeaseBucket:
    """An `aio.LeaseBucket` with the methods of a synchronous one."""

    def __init__(self, name: str, *, loop: Loop, runtime: Runtime, **settings: Any) -> None:
        wrap = runtime.wrap
        shown = dataclasses.replace(runtime, wrap=lambda store: Cancelling(wrap(store)))
        self._loop, self._bucket = loop, aio.LeaseBucket(name, runtime=shown, **settings)
        self._staged = runtime.wakeup is not BlockingBell
        if self._staged:
            async_core_of(self._bucket).new_wakeup = lambda: Staged(runtime.wakeup())

    @property
    def _core(self) -> Any:
        return core_of(self._bucket)

    def __getattr__(self, name: str) -> Any:
        return getattr(core_of(self._bucket), name)

    def acquire(self, timeout: float | None = None, *, on_lost: Any = None, **how: Any) -> Lease:
        return self._handed_out(self._loop.run(self._bucket.acquire(timeout, **how)), on_lost)

    def adopt(self, token: Any, *, on_lost: Any = None, **how: Any) -> Lease:
        return self._handed_out(self._loop.run(self._bucket.adopt(token, **how)), on_lost)

    def try_acquire(self, *, on_lost: Any = None, **how: Any) -> Lease | None:
        return self._handed_out(self._loop.run(self._bucket.try_acquire(**how)), on_lost)

    def _handed_out(self, lease: aio.Lease | None, on_lost: Any) -> Lease | None:
        if lease is None:
            return None
        seen = Lease(lease, self._loop, staged=self._staged)
        if on_lost is not None:
            seen.on_lost = on_lost
        return seen

    def leased(self, *arguments: Any, **how: Any) -> Any:
        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            @self._bucket.leased(*arguments, **how)
            @functools.wraps(function)
            async def beside(lease: aio.Lease, *args: Any, **kwargs: Any) -> Any:
                return await asyncio.to_thread(function, self._handed_out(lease, None), *args, **kwargs)

            return functools.wraps(function)(lambda *args, **kwargs: self._loop.run(beside(*args, **kwargs)))

        return decorate

    def release(self, lease_id: str) -> bool:
        return self._loop.run(self._bucket.release(lease_id))

    def revoke(self, lease_id: str) -> bool:
        return self._loop.run(self._bucket.revoke(lease_id))

    def resize(self, max_tokens: int) -> Any:
        return self._loop.run(self._bucket.resize(max_tokens))

    def configure(self, **how: Any) -> Any:
        return self._loop.run(self._bucket.configure(**how))

    def repair(self) -> Any:
        return self._loop.run(self._bucket.repair())

    def reset(self) -> int:
        return self._loop.run(self._bucket.reset())

    def status(self) -> Any:
        return self._loop.run(self._bucket.status())

    def close(self) -> None:
        self._loop.run(self._bucket.close())

    def __enter__(self) -> LeaseBucket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Staged(Wakeup):
    """A wakeup of the test environment, whose pauses move the clock; not on the loop, as tests wait in a pause."""

    def __init__(self, wakeup: BlockingBell) -> None:
        super().__init__()
        self._wakeup = wakeup

    async def pause(self, seconds: float) -> None:
        await asyncio.to_thread(self._wakeup.pause, seconds)

    async def sleep(self, seconds: float) -> None:
        await asyncio.to_thread(self._wakeup.sleep, seconds)

    def wake(self) -> None:
        self._wakeup.wake()


class Cancelling:
    """A store that raises a task's cancellation in place of a thread's interrupt."""

    def __init__(self, store: Sender) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def send(self, request: Request) -> Reply:
        try:
            return self._store.send(request)
        except KeyboardInterrupt:
            raise asyncio.CancelledError from None


@contextlib.contextmanager
def loop_for(api: str):
    """The loop that this API needs."""
    if api == "threads":
        yield None
        return
    loop = Loop()
    try:
        yield loop
    finally:
        loop.close()
