"""Connections that send a request of ours at once: urllib3's, for botocore's session, with two methods replaced.

urllib3 puts a request together header by header, sends its head and its body one after the other, and makes more of the
answer than we need. That takes as long as all the rest of a request. Here, a request whose headers come as `Headers`
is one `send`, and its answer is read whole.

Invariants:

- Any other request goes the way of botocore's connection, on the same socket: botocore's whole path shares them.
- http.client reads the answers. Each is read to its end before the connection sends again, or the connection is closed.
- Connecting, TLS, proxies, timeouts, and what becomes of a connection after an error, stay urllib3's and botocore's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import urllib3
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
        self._is_ours = lines is not None
        if lines is None:
            super().request(method, url, body, headers, **options)
            return
        if self.sock is not None:
            self.sock.settimeout(self.timeout)
        # It connects first, if need be.
        self.send(f"{method} {url} HTTP/1.1\r\n".encode() + lines + body)

    def getresponse(self) -> urllib3.HTTPResponse:
        if not self._is_ours:
            usual: urllib3.HTTPResponse = super().getresponse()
            return usual
        self._is_ours = False
        self.sock.settimeout(self.timeout)
        answer = self.response_class(self.sock, self.debuglevel, method="POST")
        try:
            answer.begin()
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


class _HTTPPool(AWSHTTPConnectionPool):
    @property
    def ConnectionCls(self) -> type[Any]:  # type: ignore[override] # noqa: N802 - urllib3's name
        theirs = AWSHTTPConnectionPool.ConnectionCls
        return _HTTPConnection if theirs is AWSHTTPConnection else theirs


class _HTTPSPool(AWSHTTPSConnectionPool):
    @property
    def ConnectionCls(self) -> type[Any]:  # type: ignore[override] # noqa: N802 - urllib3's name
        theirs = AWSHTTPSConnectionPool.ConnectionCls
        return _HTTPSConnection if theirs is AWSHTTPSConnection else theirs


_ANSWERS_ARE_URLLIB3S: Final = hasattr(urllib3, "BaseHTTPResponse")
"""Before its version 2, urllib3's pool makes them of http.client's."""

POOL_CLASSES: Final[Mapping[str, type[Any]]] = {"http": _HTTPPool, "https": _HTTPSPool} if _ANSWERS_ARE_URLLIB3S else {}
"""The class of a pool of connections, by scheme. If botocore's have been given other connections, so have they."""
