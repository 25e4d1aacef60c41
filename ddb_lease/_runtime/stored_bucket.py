"""The stored settings of a bucket, whose settings the caller does not know: for the command line.

Invariant: it only reads, and says nothing of a difference from settings, as there are none.
"""

from __future__ import annotations

from typing import Final

from ddb_lease._operations.status import read_counter
from ddb_lease._protocol.records import Settings
from ddb_lease._protocol.retry import FIRST_CONTACT_SECONDS
from ddb_lease._runtime.bucket_core import BucketCore
from ddb_lease.dynamodb import Session

_LEAST_SECONDS: Final = 3.0
"""How long it asks at least: a service that is busy answers by then."""


def stored_settings(
    name: str,
    *,
    timeout: float | None = None,
    table: str,
    session: Session | None = None,
    endpoint_url: str | None = None,
) -> Settings | None:
    """The stored tokens and length of a lease of a bucket; None if it does not exist. One consistent Query (1 RCU).

    While the service does not answer, it asks as long as an acquire with this timeout tries to reach a service that has
    never answered.

    Raises:
        ConfigurationError: The name cannot work. Nothing was sent.
        StoreUnavailable: The service did not answer.
        StoreRejected: The service refuses for good.
    """
    core = BucketCore(
        name,
        max_tokens=1,
        lease_seconds=60.0,
        table=table,
        session=session,
        client=None,
        endpoint_url=endpoint_url,
        owner=None,
        timing=None,
        on_event=None,
        runtime=None,
    )
    seconds = FIRST_CONTACT_SECONDS if timeout is None else min(max(timeout, _LEAST_SECONDS), FIRST_CONTACT_SECONDS)
    try:
        counter = core.run(read_counter(core.state, seconds=seconds))
    finally:
        core.close_connections()
    return None if counter is None else counter.settings
