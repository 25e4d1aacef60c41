"""The connections of botocore's HTTP session to one endpoint, used without the session's own work on each request.

They are made, counted and closed by the session: its proxies, certificates, timeouts and socket options apply.

Invariants:

- They belong to the session: who closes the client closes them.
- `post` is one attempt. It raises what the session's `send` raises, so that failures are sorted as elsewhere.
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import urllib3.exceptions as below
from botocore import exceptions as aws
from botocore.httpsession import URLLib3Session, mask_proxy_url
from urllib3.util.retry import Retry

from ddb_lease.dynamodb.internals import connections_of

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

_ONCE: Final = Retry(total=False)


class Pool:
    """One endpoint's connections.

    Args:
        session: The client's `URLLib3Session`.
        url: Where requests go.

    Attributes:
        url: The same.
    """

    def __init__(self, session: URLLib3Session, url: str) -> None:
        self.url = url
        self._session = session
        self._open()

    def post(self, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request; returns the answer's status, headers and body.

        Raises:
            HTTPClientError: There is none. Its subclasses say why.
        """
        try:
            try:
                response = self._send(headers, body)
            except below.ClosedPoolError:  # the client was closed, which may be used again: nothing was sent
                self._open()
                response = self._send(headers, body)
        except below.SSLError as error:
            raise aws.SSLError(endpoint_url=self.url, error=error) from error
        except (below.NewConnectionError, socket.gaierror) as error:
            raise aws.EndpointConnectionError(endpoint_url=self.url, error=error) from error
        except below.ProxyError as error:
            raise aws.ProxyConnectionError(proxy_url=mask_proxy_url(self._proxy or ""), error=error) from error
        except below.ConnectTimeoutError as error:
            raise aws.ConnectTimeoutError(endpoint_url=self.url, error=error) from error
        except below.ReadTimeoutError as error:
            raise aws.ReadTimeoutError(endpoint_url=self.url, error=error) from error
        except below.ProtocolError as error:
            raise aws.ConnectionClosedError(endpoint_url=self.url, error=error) from error
        except Exception as error:
            raise aws.HTTPClientError(error=error) from error
        return response.status, response.headers, response.data or b""  # None where there is no body

    def _send(self, headers: Mapping[str, str], body: bytes) -> BaseHTTPResponse:
        connections = self._connections() or self._open()
        if self._proxy is not None:
            headers = dict(headers)  # urllib3 may have more to say to a proxy
        response: BaseHTTPResponse = connections.urlopen(
            "POST",
            self._target,
            body=body,
            headers=headers,
            retries=_ONCE,
            redirect=False,
            assert_same_host=False,
            decode_content=False,
        )
        return response

    def _open(self) -> HTTPConnectionPool:
        connections, self._target, self._proxy = connections_of(self._session, self.url)
        # Weakly: once the session drops them, as it does when the client is closed, they are closed with their sockets.
        self._connections = weakref.ref(connections)
        return connections
