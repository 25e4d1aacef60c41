"""The block of `aio.LeaseBucket.lease`: acquires, guards and releases a lease.

Invariants:

- Nothing is acquired before the block is entered. One that was not entered holds nothing.
- However the block ends, the lease is released: after the guard has said whether it was lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from ddb_lease._runtime.mistaken import NotSync
from ddb_lease.aio.guard import Guard
from ddb_lease.aio.lease import Lease
from ddb_lease.errors import ConfigurationError


class LeaseBlock(NotSync, AbstractAsyncContextManager[Lease]):
    """What `aio.LeaseBucket.lease` returns, to be entered once.

    Args:
        acquire: Acquires its lease.
    """

    _block = "`async with bucket.lease() as lease:`"

    def __init__(self, acquire: Callable[[], Awaitable[Lease]]) -> None:
        self._acquire = acquire
        self._entered = False
        self._lease: Lease | None = None
        self._guard: Guard | None = None

    async def __aenter__(self) -> Lease:
        if self._entered:
            raise ConfigurationError("this block was entered already: call bucket.lease() for each block")
        self._entered = True  # before anything is waited for: another task may come meanwhile
        self._lease = lease = await self._acquire()
        await lease.__aenter__()
        self._guard = guard = lease.guard()
        try:
            await guard.__aenter__()
        except BaseException as error:
            await lease.__aexit__(type(error), error, error.__traceback__)
            raise
        return lease

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lease is None or self._guard is None:  # it was not entered
            return
        try:
            await self._guard.__aexit__(exc_type, exc, traceback)
        finally:
            await self._lease.__aexit__(exc_type, exc, traceback)

    if not TYPE_CHECKING:

        def __await__(self) -> NoReturn:
            raise ConfigurationError(
                f"bucket.lease() is a block: write {self._block}; for a lease without a block, `await bucket.acquire()`"
            )

        def __call__(self, *_: object) -> NoReturn:
            raise ConfigurationError(
                f"bucket.lease() is a block: write {self._block}; to decorate a function, `@bucket.leased()`"
            )
