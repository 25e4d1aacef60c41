"""Shared time: one estimate of the service's time for all limiters of a process that ask the same service.

Invariants:

- Limiters share it if they go by the same clock, reach the same endpoint by the same session or client, and expect the
  same skews. So a further limiter, or key, sends no request for the time.
- The `MOST` that were used last are kept, also when no limiter uses them: a limiter made for each job knows the time.
- A forked child shares what its parent knew, as its clocks are the same, and no lock.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from ddb_lease._runtime.clock import SystemClock
from ddb_lease._state.rates.rate_time import RateTime
from ddb_lease._state.service_time import Clock, ServiceTime
from ddb_lease._state.signing_time import SigningTime
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.models import Timing

MOST: Final = 8


@dataclass(frozen=True, slots=True)
class SharedTime:
    """What limiters share.

    Attributes:
        time: Bounds on the service's time.
        rate_time: The estimate by them.
        signing: The time to sign by.
        connection: Keeps the session or client: while it exists, its id is nobody else's.
    """

    time: ServiceTime
    rate_time: RateTime
    signing: SigningTime
    connection: ConnectionSettings

    def after_fork_in_child(self) -> None:
        """In a forked child: share no lock with the parent."""
        self.time.after_fork_in_child()
        self.rate_time.after_fork_in_child()


class _Times:
    """The times that this process knows."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._times: OrderedDict[tuple[object, ...], SharedTime] = OrderedDict()

    def get(self, connection: ConnectionSettings, table: str, timing: Timing, clock: Clock) -> SharedTime:
        """The time of this service by this clock."""
        which = (id(connection.session), id(connection.client), connection.endpoint_url, table)
        where = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB"), os.environ.get("AWS_ENDPOINT_URL")
        own = None if isinstance(clock, SystemClock) else clock
        key = (*which, *where, timing.max_clock_skew, timing.front_end_skew, own and id(own))
        with self._lock:
            shared = self._times.pop(key, None)
            if shared is None:
                time = ServiceTime(clock, max_clock_skew=timing.max_clock_skew, front_end_skew=timing.front_end_skew)
                shared = SharedTime(time, RateTime(time), SigningTime(time, clock), connection)
            if own is None:  # another clock is a test's or a simulation's: nothing of it is kept
                self._times[key] = shared
                while len(self._times) > MOST:
                    self._times.popitem(last=False)
            return shared

    def after_fork_in_child(self) -> None:
        """In a forked child: make a new lock, as a thread of the parent may have held the old one."""
        self._lock = threading.RLock()


_TIMES: Final = _Times()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_TIMES.after_fork_in_child)


def shared_time(connection: ConnectionSettings, *, table: str, timing: Timing, clock: Clock) -> SharedTime:
    """The time that limiters of this connection and table share."""
    return _TIMES.get(connection, table, timing, clock)
