# functions.py
import json
import os
from pathlib import Path

from ddb_lease import LeaseBucket, UnknownBucket, local

# On AWS the functions have this variable; without it, they use the engine of this machine.
connection = {"table": os.environ["DDB_LEASE_TABLE"]} if "DDB_LEASE_TABLE" in os.environ else local.connect()
bucket = LeaseBucket("warehouse", max_tokens=1, lease_seconds=60, **connection)
LEASE = 3600  # seconds: longer than all tasks after `acquire` may take, with their retries and pauses
MARGIN = 5  # seconds by which the lease must outlast each invocation


class LeaseEnded(Exception):
    """Nothing may be done any more: the state machine does not retry this."""


def acquire(event, context):
    """Lease a slot for the whole execution. AcquireTimeout, if all are taken: the state machine tries again."""
    release(event, context)  # what an earlier try of this task got, if its answer was lost
    with bucket.acquire(timeout=0, data={"execution": event["execution"]}) as lease:
        return {"lease_id": lease.id, "fence": lease.fence, "token": lease.hand_over(within=LEASE)}


def extract(event, context):
    check(event, context)
    return {"rows": len(Path(event["file"]).read_text().splitlines())}


def load(event, context):
    check(event, context)
    store(Path(event["file"] + ".loaded"), rows=event["extracted"]["rows"], fence=event["lease"]["fence"])
    return {"loaded": event["extracted"]["rows"]}


def release(event, context):
    """Free whatever this execution has. It may be run again, and without a lease."""
    return {"released": sum(bucket.release(lease.lease_id) for lease in leases_of(event["execution"]))}


def check(event, context):
    """Raise LeaseEnded unless the lease outlasts this invocation, however long that may take."""
    needed = context.get_remaining_time_in_millis() / 1000 + MARGIN
    for lease in leases_of(event["execution"]):
        ours = lease.lease_id == event["lease"]["lease_id"] and not lease.revoked
        if ours and lease.remaining_seconds > needed:
            return
    raise LeaseEnded(f"no lease for another {needed:.0f} s")


def leases_of(execution):
    """The leases in the table that carry this execution's name: one read."""
    try:
        leases = bucket.status().leases
    except UnknownBucket:  # the first execution ever
        return []
    return [lease for lease in leases if lease.data.get("execution") == execution]


def store(target, *, rows, fence):
    """What the work writes to compares the fence: whoever comes late with a lower one changes nothing."""
    before = json.loads(target.read_text()) if target.exists() else {"fence": 0}
    if fence < before["fence"]:
        raise LeaseEnded(f"fence {fence} is older than {before['fence']}")
    target.write_text(json.dumps({"rows": rows, "fence": fence}))
