"""Test support: a tap on a bucket's requests that counts and injects, the table from below, a clock that tests move."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ddb_lease.driver import Sender
from ddb_lease.messages import Answer, Reply, Request, Unknown


class Injected(Exception):
    """The cause of an injected failure."""


LOST = Unknown(cause=Injected("the answer is lost"))


@dataclass
class Fault:
    """What becomes of one request.

    `commits`: whether it reaches the engine. `answer`: what the client is told instead of the truth.
    """

    kind: type
    answer: Answer | None = None
    commits: bool = True
    before: Callable[[Request], None] | None = None
    after: Callable[[Request], None] | None = None
    raises: BaseException | None = None


@dataclass
class Tap:
    """Stands between a bucket and its store: notes each request, and does to it what the test asked for."""

    sent: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    everything_fails: Answer | None = None
    store: Sender | None = None

    def around(self, store: Sender) -> Tap:
        self.store = store
        self._lock = threading.Lock()
        return self

    def inject(self, kind: type, **how: Any) -> None:
        """The next request of this kind meets this fault; several are met in order."""
        self.faults.append(Fault(kind, **how))

    def count(self) -> dict[str, int]:
        """How many requests of each kind were sent."""
        names = [type(request).__name__ for request in self.sent]
        return {name: names.count(name) for name in sorted(set(names))}

    def clear(self) -> None:
        self.sent.clear()

    def of(self, kind: type) -> list[Any]:
        return [request for request in self.sent if isinstance(request, kind)]

    def send(self, request: Request) -> Reply:
        with self._lock:
            self.sent.append(request)
            fault = next((f for f in self.faults if isinstance(request, f.kind)), None)
            if fault is not None:
                self.faults.remove(fault)
        if fault is None:
            if self.everything_fails is not None:
                return Reply(answer=self.everything_fails, genuine=False, date=None)
            return self.store.send(request)
        return self._meet(fault, request)

    def _meet(self, fault: Fault, request: Request) -> Reply:
        if fault.before:
            fault.before(request)
        reply = self.store.send(request) if fault.commits else None
        if fault.after:
            fault.after(request)
        if fault.raises is not None:
            raise fault.raises
        if fault.answer is not None:
            return Reply(answer=fault.answer, genuine=False, date=None)
        assert reply is not None, "a fault that neither commits nor answers"
        return reply

    def resend(self, request: Request) -> Answer:
        """A late or repeated copy of a request arrives at the engine."""
        return self.store.send(request).answer

    def fit(self, lease_seconds: float) -> None:
        self.store.fit(lease_seconds)

    def close(self) -> None:
        self.store.close()

    def after_fork_in_child(self) -> None:
        self.store.after_fork_in_child()


class Table:
    """A bucket's items from below, in plain Python values."""

    def __init__(self, client: Any, table: str, bucket: str) -> None:
        self.client = client
        self.table = table
        self.bucket = bucket

    def key(self, sort: str | int) -> dict[str, Any]:
        sort = f"slot#{sort:05d}" if isinstance(sort, int) else sort
        return {"pk": {"S": self.bucket}, "sk": {"S": sort}}

    def get(self, sort: str | int) -> dict[str, Any] | None:
        """An item as {name: value}; numbers as int; None where there is none."""
        item = self.client.get_item(TableName=self.table, Key=self.key(sort), ConsistentRead=True).get("Item")
        if item is None:
            return None
        return {
            k: int(v["N"]) if "N" in v else next(iter(v.values())) for k, v in item.items() if k not in {"pk", "sk"}
        }

    def all(self) -> dict[str, dict[str, Any]]:
        """All items of the bucket by sort key."""
        found: dict[str, dict[str, Any]] = {}
        start: dict[str, Any] = {}
        while True:
            page = self.client.query(
                TableName=self.table,
                KeyConditionExpression="pk = :b",
                ExpressionAttributeValues={":b": {"S": self.bucket}},
                ConsistentRead=True,
                **start,
            )
            for item in page["Items"]:
                found[item["sk"]["S"]] = {
                    k: int(v["N"]) if "N" in v else next(iter(v.values()))
                    for k, v in item.items()
                    if k not in {"pk", "sk"}
                }
            if "LastEvaluatedKey" not in page:
                return found
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def slots(self) -> dict[int, dict[str, Any]]:
        """The slots by number."""
        return {int(k.removeprefix("slot#")): v for k, v in self.all().items() if k.startswith("slot#")}

    def set(self, sort: str | int, **attributes: int | str | bool | dict[str, Any]) -> None:
        """Write attributes by hand; a dict is taken as a DynamoDB value."""
        values = {
            f":{name}": value
            if isinstance(value, dict)
            else {"BOOL": value}
            if isinstance(value, bool)
            else {"N": str(value)}
            if isinstance(value, int)
            else {"S": value}
            for name, value in attributes.items()
        }
        self.client.update_item(
            TableName=self.table,
            Key=self.key(sort),
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
            ExpressionAttributeNames={f"#{name}": name for name in attributes},
            ExpressionAttributeValues=values,
        )

    def unset(self, sort: str | int, *names: str) -> None:
        """Remove attributes by hand."""
        self.client.update_item(
            TableName=self.table,
            Key=self.key(sort),
            UpdateExpression="REMOVE " + ", ".join(f"#{name}" for name in names),
            ExpressionAttributeNames={f"#{name}": name for name in names},
        )

    def delete(self, sort: str | int) -> None:
        """Delete an item by hand, or as TTL would."""
        self.client.delete_item(TableName=self.table, Key=self.key(sort))

    def expire(self, slot: int) -> None:
        """Make a lease look as if its holder had died long ago."""
        self.set(slot, expires_at=1_000)


class MovableClock:
    """A clock that tests move: steady and wall time, together or apart."""

    def __init__(self, steady: float = 1_000.0, wall: float = 1_800_000_000.0) -> None:
        self._steady = steady
        self._wall = wall

    def steady(self) -> float:
        return self._steady

    def wall(self) -> float:
        return self._wall

    def pass_time(self, seconds: float) -> None:
        """Time passes, for all clocks."""
        self._steady += seconds
        self._wall += seconds

    def step_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._wall += seconds

    def stand_still(self, seconds: float) -> None:
        """The machine is paused so that its steady clock misses the time; others' clocks go on."""
        self._wall += seconds
