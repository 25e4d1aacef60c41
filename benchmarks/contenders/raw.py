"""The lower bound: the same requests that ddb_lease sends for claim, renewal and release, by a plain boto3 client.

The requests are prepared before the clock starts; only the one call is timed. `bare` puts the same item without a
condition: the time that boto3 and the engine need for any `put_item`.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contenders import Setting
from ddb_lease._protocol.messages import Claim, Look, Release, Renew
from ddb_lease._protocol.records import Claimant
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.expressions import call_for


class Raw:
    def __init__(self, setting: Setting, session: Any) -> None:
        self._client = session.client("dynamodb", endpoint_url=setting.endpoint_url)
        self._address = BucketAddress(table=setting.table, bucket=f"{setting.bucket}-raw")
        self._lease_ms = int(setting.lease_seconds * 1000)
        self._fence = 1
        _, claim = self._claim()
        free = {name: claim["Item"][name] for name in ("pk", "sk", "fence", "ttl")}
        self._client.put_item(TableName=setting.table, Item={**free, "fence": {"N": "1"}})
        self._next: dict[str, Any] = {}

    def prepare(self) -> None:
        """Compute the next round's requests; not timed."""
        self._lease_id, claim = self._claim()
        now = claim["Item"]["expires_at"]["N"]
        renew = Renew(slot=0, lease_id=self._lease_id, expires_at=int(now) + 1, ttl=int(now) // 1000)
        release = Release(slot=0, lease_id=self._lease_id, ttl=int(now) // 1000)
        bare = {"TableName": claim["TableName"], "Item": {**claim["Item"], "sk": {"S": "bare"}}}
        self._next = {
            "acquire": claim,
            "renew": call_for(renew, self._address)[1],
            "release": call_for(release, self._address)[1],
            "bare": bare,
        }

    def acquire(self, timeout: float) -> Any:  # noqa: ARG002 - nobody else is there
        self._client.put_item(**self._next["acquire"])
        return self._lease_id

    def renew(self, held: Any) -> None:  # noqa: ARG002 - as above
        self._client.update_item(**self._next["renew"])

    def release(self, held: Any) -> None:  # noqa: ARG002 - as above
        self._client.update_item(**self._next["release"])

    def bare(self) -> None:
        self._client.put_item(**self._next["bare"])

    def try_acquire(self) -> Any:
        look = Look(limit=129, consistent=True)
        self._client.query(**call_for(look, self._address)[1])

    def _claim(self) -> tuple[str, dict[str, Any]]:
        now = time.time_ns() // 1_000_000
        self._fence = max(self._fence + 1, now)
        lease_id = f"0-{self._fence:026x}"
        lease = Claimant(
            lease_id=lease_id, owner="host.example:12345", acquired_at=now, expires_at=now + self._lease_ms, data={}
        )
        claim = Claim(slot=0, fence=self._fence, lease=lease, expired_before=now, ttl=now // 1000 + 86_400)
        return lease_id, call_for(claim, self._address)[1]


def make(setting: Setting, session: Any) -> Raw:
    return Raw(setting, session)
