"""Blocks that people try, and that guard nothing here: each is an error that says what to write.

Python's own errors name a method that is missing. Type checkers see none of these methods, so they refuse such a block
before it runs.

Invariant: a block that is refused holds nothing. What an acquire has won for it is released.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, NoReturn

from ddb_lease.errors import ConfigurationError

OF_A_LEASE: Final = {
    *(
        "slot",
        "slots",
        "fence",
        "id",
        "data",
        "grace",
        "held",
        "remaining",
        "lost",
        "on_lost",
        "check",
        "reason",
        "waited",
        "renew",
        "guard",
        "hand_over",
        "conditions",
    )
}
"""What a lease has, and neither a bucket nor a coroutine that acquires one."""


class NoLease:
    """A bucket, which has nothing of a lease: `with bucket as lease:` binds the bucket."""

    _block: ClassVar[str]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            kind = type(self).__name__
            if name in OF_A_LEASE:
                raise AttributeError(f"a {kind} is no lease, and has no {name!r}: write {self._block}")
            if name == "lease":  # asyncio's buckets have it
                raise AttributeError(f"a {kind} of ddb_lease has no {name!r}: write {self._block}")
            raise AttributeError(f"{kind!r} object has no attribute {name!r}", name=name, obj=self)


class NotAsync:
    """Something of the synchronous API, which refuses `async with`."""

    _block: ClassVar[str]

    if not TYPE_CHECKING:

        async def __aenter__(self) -> NoReturn:
            self._give_up()
            raise ConfigurationError(f"a {type(self).__name__} of ddb_lease has no `async with`: write {self._block}")

        async def __aexit__(self, *_: object) -> None:
            """Python looks it up before it enters."""

    def _give_up(self) -> None:
        """Release what was acquired for the block."""


class NotSync:
    """Something of the asyncio API, which refuses `with`."""

    _block: ClassVar[str]

    if not TYPE_CHECKING:

        def __enter__(self) -> NoReturn:
            self._give_up()
            raise ConfigurationError(f"a {type(self).__name__} of ddb_lease.aio has no `with`: write {self._block}")

        def __exit__(self, *_: object) -> None:
            """Python looks it up before it enters."""

    def _give_up(self) -> None:
        """Release what was acquired for the block."""
