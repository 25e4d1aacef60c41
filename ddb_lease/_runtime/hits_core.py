"""The storage for `limits` of one process, without a way to wait: the adapters add that.

Invariants:

- It checks what it is given before anything is sent, and decides nothing else.
- Keys of any length and any text are counted: one that DynamoDB would not take is counted under its hash.
- One estimate of the service's time is shared with the limiters of the same connection and table: `shared_time`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from ddb_lease._numbers import checked_timeout, shown
from ddb_lease._operations import hits as operations
from ddb_lease._protocol.hits import LONGEST_SECONDS, MOST_HITS, HitsKey, SlidingNow
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime import process
from ddb_lease._runtime.arguments import checked_text, checked_timing
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.shared_time import shared_time
from ddb_lease._state.hits_memory import HitsMemory
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.store import Store
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Seconds, Timing

if TYPE_CHECKING:
    from ddb_lease._runtime.rates.limiter_core import ForkAware

TIMEOUT: Final = 5.0
"""Seconds for one call, unless set otherwise: a web request waits for it."""

LONGEST_TIMEOUT: Final = 60.0
"""Seconds; nobody waits longer for a page."""

_MOST_BYTES: Final = 900
"""Of a key as it is. DynamoDB's sort keys have 1024 bytes, of which ours take a few."""

_PER_TRY: Final = 5
"""A lease of so many times the timeout has client timeouts of half of it: two tries fit."""

_SHORTEST_LEASE: Final = 10.0
"""Seconds; a user's own client, made with `client_config` for leases from 10 s up, is quick enough."""


class HitsCore:
    """One storage of one process.

    Args:
        name: Its name in the table: storages of one name count together.
        table: The DynamoDB table.
        connection: How to reach it.
        timeout: Seconds for one call.
        timing: Clock skews.
        runtime: Clocks, threads and locks.
        fork_aware: What else must be told of forks.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Attributes:
        driver: Carries out requests, on the calling thread.
        memory: What the process remembers of the hits.
        timeout: Seconds for one call.
    """

    def __init__(
        self,
        name: str,
        *,
        table: str,
        connection: ConnectionSettings,
        timeout: Seconds = TIMEOUT,
        timing: Timing | None = None,
        runtime: Runtime,
        fork_aware: tuple[ForkAware, ...] = (),
    ) -> None:
        self.name = checked_text("a storage's name", name)
        self.table = checked_text("table", table)
        timing = checked_timing(timing)
        seconds = checked_timeout(timeout)
        if seconds is None or not 0 < seconds <= LONGEST_TIMEOUT:
            raise ConfigurationError(
                f"timeout must be more than 0 and up to {LONGEST_TIMEOUT:g} seconds, not {shown(timeout)}"
            )
        self.timeout = seconds
        shared = shared_time(connection, table=self.table, timing=timing, clock=runtime.clock)
        lease_seconds = max(_SHORTEST_LEASE, _PER_TRY * seconds)
        store = Store(
            table=self.table,
            bucket=self.name,
            connection=connection,
            lease_seconds=lease_seconds,
            signing=shared.signing,
        )
        self._store = runtime.wrap(store)
        self.memory = HitsMemory(
            name=self.name, time=shared.time, rate_time=shared.rate_time, chance=runtime.chance, seconds=seconds
        )
        self.driver = Driver(
            sender=self._store,
            time=shared.time,
            signing=shared.signing,
            runtime=runtime,
            whose=f"storage {self.name!r}",
        )
        self._fork_aware: tuple[ForkAware, ...] = (self.memory, shared, self._store, *fork_aware)
        process.register(self)

    # Operations, for an adapter to drive.

    def incr(self, key: str, expiry: float, amount: int) -> Operation[int]:
        """Count hits in a fixed window of so many seconds; returns the hits that it then has."""
        seconds = _whole_seconds(expiry)
        n = _hits("amount", amount, least=0)
        if n == 0:
            return self.get(key)
        return self._incr(key, seconds, n)

    def _incr(self, key: str, seconds: int, n: int) -> Operation[int]:
        window = yield from operations.count_hits(self.memory, _fixed(key), n=n, seconds=seconds)
        return window.count

    def get(self, key: str) -> Operation[int]:
        """How many hits the fixed window has that runs; 0 if none does."""
        window = yield from operations.fixed_window(self.memory, _fixed(key))
        return 0 if window is None else window.count

    def get_expiry(self, key: str) -> Operation[float]:
        """When the fixed window that runs is over, in seconds since the epoch; now, if none runs."""
        ends_at = yield from operations.window_end(self.memory, _fixed(key))
        return ends_at / 1000

    def acquire(self, key: str, limit: int, expiry: float, amount: int) -> Operation[bool]:
        """Count hits in a sliding window if they fit; returns whether they do."""
        n = _hits("amount", amount, least=0)
        most = min(_hits("limit", limit, least=0), MOST_HITS)
        return operations.slide_hits(self.memory, _sliding(key, expiry), n=n, limit=most)

    def window(self, key: str, expiry: float) -> Operation[SlidingNow]:
        """What counts of a sliding window now."""
        return operations.sliding_window(self.memory, _sliding(key, expiry))

    def clear(self, key: str) -> Operation[None]:
        """Forget a key's fixed window."""
        return operations.drop_hits(self.memory, _fixed(key))

    def clear_sliding(self, key: str, expiry: float) -> Operation[None]:
        """Forget a key's sliding window."""
        return operations.drop_hits(self.memory, _sliding(key, expiry))

    def reset(self) -> Operation[int]:
        """Forget all hits of this name; returns of how many items."""
        return operations.drop_all(self.memory)

    def check(self) -> Operation[None]:
        """Ask for something, to see whether the service answers."""
        yield from operations.read_hits(self.memory, HitsKey(key="check"))

    # Closing, fork and exit.

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def after_fork_in_child(self) -> None:
        """In a forked child: share no lock and no connection with the parent."""
        for part in self._fork_aware:
            part.after_fork_in_child()

    def at_exit(self, deadline: float) -> None:
        """At the interpreter's exit there is nothing to do."""


def _fixed(key: str) -> HitsKey:
    return HitsKey(key=_storable(key))


def _sliding(key: str, expiry: float) -> HitsKey:
    return HitsKey(key=_storable(key), length=1000 * _whole_seconds(expiry))


def _storable(key: object) -> str:
    if not isinstance(key, str):
        raise ConfigurationError(f"a key must be a string, not {shown(key)}")
    encoded = key.encode(errors="surrogatepass")
    try:
        key.encode()
    except UnicodeEncodeError:
        plain = False
    else:
        plain = 0 < len(encoded) <= _MOST_BYTES
    return key if plain else f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def _whole_seconds(expiry: object) -> int:
    if not isinstance(expiry, (int, float)) or isinstance(expiry, bool) or not 1 <= expiry <= LONGEST_SECONDS:
        raise ConfigurationError(f"expiry must be 1 to {LONGEST_SECONDS:,} whole seconds, not {shown(expiry)}")
    if expiry != int(expiry):
        raise ConfigurationError(f"expiry must be a whole number of seconds, not {shown(expiry)}")
    return int(expiry)


def _hits(what: str, count: object, *, least: int) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or not least <= count <= MOST_HITS:
        raise ConfigurationError(f"{what} must be a whole number from {least} to {MOST_HITS:,}, not {shown(count)}")
    return count
