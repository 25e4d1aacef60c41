"""Shared clients: one session and one client for all buckets and limiters of a process that bring none of their own.

Making a session costs a third of a second and ten megabytes, a client a tenth of that.

Invariants:

- There is one session, until the process's settings (its environment variables) change. It has one client for each
  endpoint and each timeout, which depends on how long the leases are.
- A client's connections are closed when the last of its users returns it. A closed client opens new ones as needed.
- A forked child shares neither with its parent: not a socket, and not a lock that a thread of the parent may hold.
- boto3's clients may be used by several threads, a session may not: everything here is done under one lock.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from boto3.session import Session
    from types_boto3_dynamodb.client import DynamoDBClient as Client
else:
    Session = Client = Any

_MOST: Final = 8
"""Clients that are kept for newcomers. The oldest one is then kept only by its users."""

_SETTINGS: Final = ("AWS_", "BOTO_", "HTTP", "NO_PROXY", "REQUESTS_CA_BUNDLE", "HOME")
"""How the names of the variables begin that botocore and its HTTP client read, in capitals."""


@dataclass(eq=False)
class _Lent:
    """A client, and who uses it."""

    client: Client
    users: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)


class SharedClients:
    """The default session of a process, and its clients."""

    def __init__(self) -> None:
        # Reentrant: a signal handler may make a bucket while its own thread makes one.
        self._lock = threading.RLock()
        self._settings = 0
        self._session: Session | None = None
        self._clients: OrderedDict[tuple[object, ...], _Lent] = OrderedDict()

    def lend(
        self,
        key: tuple[object, ...],
        *,
        user: object,
        new_session: Callable[[], Session],
        new_client: Callable[[Session], Client],
    ) -> Client:
        """A client for this endpoint and timeout.

        Args:
            key: What clients differ in.
            user: Who uses it, until it returns it or is no more; None for nobody in particular.
            new_session: Makes the session, if there is none.
            new_client: Makes the client, if there is none.
        """
        with self._lock:
            settings = _settings()
            if self._session is None or settings != self._settings:
                self._clients.clear()
                self._session, self._settings = new_session(), settings
            lent = self._clients.get(key)
            if lent is None:
                lent = self._clients[key] = _Lent(new_client(self._session))
                while len(self._clients) > _MOST:
                    self._clients.popitem(last=False)
            if user is not None:
                lent.users.add(user)
            return lent.client

    def give_back(self, client: Client, *, user: object) -> bool:
        """One user less; returns whether nobody else uses it, so that its connections may be closed."""
        with self._lock:
            lent = self._lent(client)
            if lent is None:
                return False  # it is not kept any more: the last user drops it
            lent.users.discard(user)
            return not lent.users

    def forget(self, client: Client) -> None:
        """Keep this client for no newcomer."""
        with self._lock:
            for key, lent in list(self._clients.items()):
                if lent.client is client:
                    del self._clients[key]

    def after_fork_in_child(self) -> None:
        """In a forked child: start anew. The parent's threads may have held the lock."""
        self._lock = threading.RLock()
        self._session = None
        self._clients = OrderedDict()

    def _lent(self, client: Client) -> _Lent | None:
        return next((lent for lent in self._clients.values() if lent.client is client), None)


def _settings() -> int:
    # A hash of them, as some are secrets.
    return hash(frozenset(item for item in os.environ.items() if item[0].upper().startswith(_SETTINGS)))


SHARED: Final = SharedClients()
"""This process's."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SHARED.after_fork_in_child)
