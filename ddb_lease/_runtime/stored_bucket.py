"""The stored settings of a bucket, whose settings the caller does not know: for the command line.

Invariant: it only reads, and says nothing of a difference from settings, as there are none.
"""

from __future__ import annotations

from typing import Final

from ddb_lease._operations.status import read_counter
from ddb_lease._protocol.records import Settings
from ddb_lease._runtime.bucket_core import BucketCore
from ddb_lease.dynamodb import Session

_SECONDS: Final = 10.0
"""How long it asks while the service does not answer."""


def stored_settings(
    name: str, *, table: str, session: Session | None = None, endpoint_url: str | None = None
) -> Settings | None:
    """The stored tokens and length of a lease of a bucket; None if it does not exist. One consistent Query (1 RCU).

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
    try:
        counter = core.run(read_counter(core.state, seconds=_SECONDS))
    finally:
        core.close_connections()
    return None if counter is None else counter.settings
