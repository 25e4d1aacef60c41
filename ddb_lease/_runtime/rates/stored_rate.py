"""The stored limits of a rate whose settings the caller does not know: for the command line.

Invariant: it only reads, and says nothing of a difference from settings, as there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ddb_lease._runtime.rates.limiter_core import RateLimiterCore
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.models import Limit

_ANY: Final = {"permits": Limit(1)}
"""A limiter must have limits; no request shows these."""


def stored_limits(
    name: str, *, table: str, connection: ConnectionSettings, runtime: Runtime | None = None
) -> Mapping[str, Limit] | None:
    """The limits of the stored policy, by name; None if the rate was never used. One consistent Query (1 RCU).

    Raises:
        ConfigurationError: The name cannot work. Nothing was sent.
        StoreUnavailable: The service did not answer.
        StoreRejected: The service refuses for good.
    """
    runtime = runtime or Runtime()
    core = RateLimiterCore(
        name, limits=_ANY, table=table, connection=connection, prefetch=0, timing=None, runtime=runtime
    )
    core.state.policy_told = True
    try:
        return core.driver.run(core.steering.stored_policy(), runtime.wakeup())
    finally:
        core.close()
