"""What an ASGI server receives for a request while something is awaited, kept for the application.

Invariants:

- No message is lost, and their order stays: those that came meanwhile are the first that the application receives, and
  a `receive` that is under way then is finished for it.
- What the server's `receive` raises, the application's does, if it is called so often.
- Of a body, about `MOST_BYTES` are kept. Then nothing is received until the application does: the server makes the
  client wait.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

MOST_BYTES: Final = 65_536

_GONE: Final = frozenset({"http.disconnect", "websocket.disconnect"})


class Inbox:
    """What one request receives.

    Args:
        receive: The server's.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: collections.deque[Message] = collections.deque()
        self._bytes = 0
        self._next: asyncio.Future[Message] | None = None
        self._gone = False
        self._failed = False

    async def during(self, work: Coroutine[Any, Any, Result]) -> Result | None:
        """Await something, unless the client leaves before: then it is cancelled, and has ended on return.

        Returns:
            Its result; None if the client has left.

        Raises:
            BaseException: What it raises. What `receive` raises is for the application.
        """
        working = asyncio.ensure_future(work)
        try:
            while not self._gone:
                self._ask()
                receiving = None if self._failed else self._next
                waiting: set[asyncio.Future[Any]] = {working} if receiving is None else {working, receiving}
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if working in done:
                    return working.result()
                self._keep()
            return None
        finally:
            if not working.done():
                working.cancel()
                await asyncio.wait({working})

    async def receive(self) -> Message:
        """The application's `receive`."""
        if self._kept:
            return self._kept.popleft()
        if self._next is None:
            return await self._receive()
        message, self._next = self._next, None
        return await message

    def close(self) -> None:
        """End a `receive` that nobody has asked for."""
        if self._next is not None:
            if not self._next.cancel() and not self._next.cancelled():
                self._next.exception()  # nobody asked for it
            self._next = None

    def _ask(self) -> None:
        if self._next is None and self._bytes <= MOST_BYTES:  # one that has failed stays the next
            self._next = asyncio.ensure_future(self._receive())

    def _keep(self) -> None:
        if self._next is None:
            return
        if self._next.cancelled() or self._next.exception() is not None:
            self._failed = True  # the application receives it, if it asks
            return
        message, self._next = self._next.result(), None
        self._kept.append(message)
        self._bytes += len(message.get("body") or b"")
        self._gone = message["type"] in _GONE
