"""Connections that send a request of ours at once: urllib3's, for botocore's session, with two methods replaced.

urllib3 puts a request together header by header, sends its head and its body one after the other, and makes more of the
answer than we need. That takes as long as all the rest of a request. Here, a request whose headers come as `Headers`
is one `send`, and its answer is read whole.

Invariants:

- Any other request goes the way of botocore's connection, on the same socket: botocore's whole path shares them.
- http.client reads the answers. Each is read to its end before the connection sends again, or the connection is closed.
- If a method that we pass over is replaced, as tracing libraries do, every request goes that way too.
- Connecting, TLS, proxies, timeouts, and what becomes of a connection after an error, stay urllib3's and botocore's.
"""

from __future__ import annotations

import http.client
import os
import queue
import threading
import weakref
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

import urllib3
import urllib3.connection
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

from ddb_lease.dynamodb.template import Headers

if TYPE_CHECKING:
    # The published types of botocore's connections contradict those of urllib3's, which they are made of.
    from typing import Any as _Connection
else:
    _Connection = object

_PASSED_OVER: Final = tuple(
    (owner, name, getattr(owner, name))
    for owner in (AWSHTTPConnection, AWSHTTPSConnection, urllib3.connection.HTTPConnection, http.client.HTTPConnection)
    for name in ("request", "putrequest", "putheader", "endheaders", "getresponse")
)
"""What a request of ours does not call."""

_OWN: Final = ("botocore.", "urllib3.", "http.client")


def _is_own(function: object) -> bool:
    # Where the code stands: wrappers copy names.
    return isinstance(function, FunctionType) and str(function.__globals__.get("__name__", "")).startswith(_OWN)


_REPLACED_BEFORE: Final = not all(_is_own(function) for _, _, function in _PASSED_OVER)


def _is_anything_replaced() -> bool:
    return _REPLACED_BEFORE or any(getattr(owner, name) is not function for owner, name, function in _PASSED_OVER)


_FINAL: Final = 200
"""A lower status announces an answer; http.client skips only 100."""


class _AtOnce(_Connection):  # type: ignore[misc] # see above
    """Before a connection class of botocore's: requests of ours, and their answers."""

    _is_ours = False

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,  # noqa: ANN401 - urllib3's
        headers: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401 - urllib3's
    ) -> None:
        lines = headers.lines if isinstance(headers, Headers) else None
        if lines is not None and (_is_anything_replaced() or self.response_class is not type(self).response_class):
            # A request of botocore's was refused early: only its own `request` makes the connection send again.
            lines = None
        self._is_ours = lines is not None
        if lines is None:
            super().request(method, url, body, headers, **options)
            return
        if self.sock is not None:
            self.sock.settimeout(self.timeout)
        # It connects first, if need be.
        self.send(f"{method} {url} HTTP/1.1\r\n".encode() + lines + body)

    @property
    def is_connected(self) -> bool:
        # More came than the last answer. urllib3 asks the socket, which does not know what TLS has read already.
        pending: Callable[[], int] | None = getattr(self.sock, "pending", None)
        if pending is not None and pending():
            return False
        connected: bool = super().is_connected
        return connected

    def getresponse(self) -> urllib3.HTTPResponse:
        if not self._is_ours:
            usual: urllib3.HTTPResponse = super().getresponse()
            if usual.status < _FINAL:
                self.close()  # the answer proper is still to come, and is no later request's
            return usual
        self._is_ours = False
        self.sock.settimeout(self.timeout)
        answer = self.response_class(self.sock, self.debuglevel, method="POST")
        try:
            answer.begin()
            if answer.status < _FINAL:
                raise http.client.BadStatusLine(f"{answer.status} before an answer")
            body = answer.read()
        finally:
            answer.close()  # gives up its hold on the socket; the socket stays
        if answer.will_close:
            self.close()
        return urllib3.HTTPResponse(
            body=body,
            headers=urllib3.HTTPHeaderDict(answer.getheaders()),
            status=answer.status,
            version=answer.version,
            reason=answer.reason,
            preload_content=False,
            decode_content=False,
        )


class _HTTPConnection(_AtOnce, AWSHTTPConnection):  # type: ignore[misc] # see above
    pass


class _HTTPSConnection(_AtOnce, AWSHTTPSConnection):  # type: ignore[misc] # see above
    pass


class _Queue(queue.LifoQueue[Any]):
    """The queue of a pool's connections. A child that was forked while its lock was held may use it all the same."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        _queues.add(self)

    def after_fork_in_child(self) -> None:
        """Make the locks anew: urllib3 empties the queue at the end, and would wait for a thread of the parent."""
        self.mutex = threading.Lock()
        self.not_empty = threading.Condition(self.mutex)
        self.not_full = threading.Condition(self.mutex)
        self.all_tasks_done = threading.Condition(self.mutex)


_queues: weakref.WeakSet[_Queue] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for each in list(_queues):
        each.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class _Class:
    """The class of a pool's connections: ours, while botocore's pool has botocore's. One pool may be given another."""

    def __init__(self, pool: type[Any], theirs: type[Any], ours: type[Any]) -> None:
        self._pool, self._theirs, self._ours = pool, theirs, ours

    def __get__(self, pool: object, owner: object = None) -> type[Any]:
        now: type[Any] = self._pool.ConnectionCls
        return self._ours if now is self._theirs else now


class _HTTPPool(AWSHTTPConnectionPool):
    QueueCls = _Queue
    ConnectionCls = _Class(AWSHTTPConnectionPool, AWSHTTPConnection, _HTTPConnection)


class _HTTPSPool(AWSHTTPSConnectionPool):
    QueueCls = _Queue
    ConnectionCls = _Class(AWSHTTPSConnectionPool, AWSHTTPSConnection, _HTTPSConnection)


_ANSWERS_ARE_URLLIB3S: Final = hasattr(urllib3, "BaseHTTPResponse")
"""Before its version 2, urllib3's pool makes them of http.client's."""

POOL_CLASSES: Final[Mapping[type[Any], type[Any]]] = (
    {AWSHTTPConnectionPool: _HTTPPool, AWSHTTPSConnectionPool: _HTTPSPool} if _ANSWERS_ARE_URLLIB3S else {}
)
"""Our class of a pool of connections, by botocore's. If botocore's have been given other connections, so have they."""
