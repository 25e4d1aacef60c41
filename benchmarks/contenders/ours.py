"""ddb_lease itself."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contenders import Setting
from ddb_lease import AcquireTimeout, Lease, LeaseBucket
from ddb_lease.events import Event, Renewed


class Noting:
    """A session that keeps the clients that are made of it."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.clients: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def client(self, *given: Any, **named: Any) -> Any:
        made = self._session.client(*given, **named)
        self.clients.append(made)
        return made


class Ours:
    """A bucket.

    Attributes:
        clients: Clients whose requests skip botocore's work unless somebody listens to their events.
    """

    def __init__(self, setting: Setting, session: Any) -> None:
        noting = Noting(session)
        self.clients = noting.clients
        self.bucket = LeaseBucket(
            setting.bucket,
            max_tokens=setting.tokens,
            lease_seconds=setting.lease_seconds,
            table=setting.table,
            session=noting,
            endpoint_url=setting.endpoint_url,
            on_event=self._note if setting.watched else None,
        )
        self.renewed: list[float] = []
        """How late each renewal was answered, in seconds, if renewals are watched."""

    def _note(self, event: Event) -> None:
        if isinstance(event, Renewed):
            self.renewed.append(event.late_seconds)

    def acquire(self, timeout: float) -> Lease | None:
        try:
            return self.bucket.acquire(timeout)
        except AcquireTimeout:
            return None

    def renew(self, held: Lease) -> None:
        held.renew()

    def release(self, held: Lease) -> None:
        held.release()

    def give(self) -> dict[str, Any]:
        """Acquire a lease and hand it over: the token, the times that both took, and when it was over."""
        began = time.monotonic()
        lease = self.bucket.acquire(30.0)
        acquired = time.monotonic()
        token = lease.hand_over(within=60.0)
        over = time.monotonic()
        return {"token": token, "acquire": acquired - began, "hand_over": over - acquired, "over": over}

    def adopt(self, token: str) -> dict[str, Any]:
        """Adopt a lease and release it: the time that the first took, and when it was held."""
        began = time.monotonic()
        lease = self.bucket.adopt(token)
        held = time.monotonic()
        lease.release()
        return {"adopt": held - began, "held": held}

    def try_acquire(self) -> Lease | None:
        return self.bucket.try_acquire()


def make(setting: Setting, session: Any) -> Ours:
    return Ours(setting, session)
