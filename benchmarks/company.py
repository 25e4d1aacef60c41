"""The company: contenders in their own processes, an engine, and its tables.

Invariants: a contender has its own environment if its requirements conflict with ours; it ends with us.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.harness.engines import embedded, ministack

ROOT = Path(__file__).resolve().parent.parent
OURS, RAW, NAIVE, DLM, LOCK = "ours", "raw", "naive", "dlm", "lock"
RATE, ZAE = "rate", "zae"
KINDS = (RAW, OURS, NAIVE, DLM, LOCK)
TITLES = {
    RAW: "boto3, one call",
    OURS: "ddb_lease",
    NAIVE: "naive counter",
    DLM: "dynamo-dlm 2.1.0",
    LOCK: "python_dynamodb_lock 0.9.1",
    RATE: "ddb_lease.RateLimiter",
    ZAE: "zae-limiter 0.17.0",
}
_KEYS = {
    RAW: (("pk", "S"), ("sk", "S")),
    OURS: (("pk", "S"), ("sk", "S")),
    NAIVE: (("pk", "S"), ("sk", "S")),
    RATE: (("pk", "S"), ("sk", "S")),
    ZAE: (("pk", "S"), ("sk", "S")),  # not used: it creates its own table
    DLM: (("resource_id", "S"), ("concurrency_id", "N")),
    LOCK: (("lock_key", "S"), ("sort_key", "S")),
}
_BATCH = 25


class ContenderFailed(Exception):
    """A contender failed to carry out a command."""


class Member:
    """One contender's process."""

    def __init__(self, kind: str, python: Path, settings: dict[str, Any], environment: dict[str, str]) -> None:
        self.kind = kind
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.contender", kind, json.dumps(settings)],
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if kind in {DLM, LOCK, ZAE} else None,
            text=True,
        )

    def tell(self, do: str, **what: Any) -> None:
        """Send a command, without waiting for its answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `hear` reports it
            self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
            self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The answer to the next command."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process ended"}
        if "error" in answer:
            raise ContenderFailed(f"{TITLES[self.kind]}: {answer['error']}")
        return answer

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Send a command, and wait for its answer."""
        self.tell(do, **what)
        return self.hear()

    def kill(self) -> None:
        """Kill it with SIGKILL, as if its machine had died."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """End it, without releasing its tokens."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@dataclass
class Company:
    """An engine with tables, and the running contenders.

    Attributes:
        engine: The engine's name.
        endpoint_url: Where it listens.
        client: A plain client, for requests that are not measured.
        pythons: The interpreter for each kind of contender.
    """

    engine: str
    endpoint_url: str
    client: Any
    pythons: dict[str, Path]
    environment: dict[str, str]
    tables: dict[str, str] = field(default_factory=dict)
    _up: list[Member] = field(default_factory=list)
    _buckets: int = 0
    _full: list[str] = field(default_factory=list)

    def there(self, kinds: Sequence[str]) -> list[str]:
        """Those of some kinds of contenders that have an environment here."""
        return [kind for kind in kinds if kind in self.pythons]

    def hire(self, kind: str, *, tokens: int, lease_seconds: float = 60.0, **more: Any) -> Member:
        """Start a contender; see `Setting` for more of its settings."""
        settings = {
            "endpoint_url": self.endpoint_url,
            "table": self.table(kind),
            "tokens": tokens,
            "lease_seconds": lease_seconds,
            **more,
        }
        member = Member(kind, self.pythons[kind], settings, self.environment)
        self._up.append(member)
        return member

    @contextlib.contextmanager
    def hired(self, kinds: Sequence[str], **settings: Any) -> Iterator[list[Member]]:
        """Start some contenders, and end them."""
        members = [self.hire(kind, **settings) for kind in kinds]
        try:
            yield members
        finally:
            for member in members:
                self.dismiss(member)

    def dismiss(self, member: Member) -> None:
        """End a contender."""
        member.end()
        if member in self._up:
            self._up.remove(member)

    def bucket(self) -> str:
        """A new bucket name."""
        self._buckets += 1
        return f"bench-{self._buckets}"

    def table(self, kind: str) -> str:
        """The table for a kind of contender, created at its first use."""
        keys = _KEYS[kind]
        name = self.tables.get(kind) or self.tables.get(RAW if keys == _KEYS[RAW] else kind)
        if name is None:
            name = self.tables[RAW if keys == _KEYS[RAW] else kind] = f"bench-{kind}-{random.getrandbits(32):08x}"
            (partition, kind_of_partition), (sort, kind_of_sort) = keys
            self.client.create_table(
                TableName=name,
                KeySchema=[
                    {"AttributeName": partition, "KeyType": "HASH"},
                    {"AttributeName": sort, "KeyType": "RANGE"},
                ],
                AttributeDefinitions=[
                    {"AttributeName": partition, "AttributeType": kind_of_partition},
                    {"AttributeName": sort, "AttributeType": kind_of_sort},
                ],
                BillingMode="PAY_PER_REQUEST",
            )
            self.client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
        return name

    def fresh_table(self) -> str:
        """Another table for ours: the engines' Query is slower the more other items there are."""
        self._full.append(self.tables.pop(RAW, ""))
        return self.table(OURS)

    def furnish(self, bucket: str, *, slots: int, leased: int, lease_seconds: float = 60.0) -> None:
        """Put a bucket of ours as it would be after some use: all slots minted, some leased for an hour."""
        table, now = self.table(OURS), time.time_ns() // 1_000_000
        ttl = {"N": str(now // 1000 + 86_400)}
        counter = {
            "pk": {"S": bucket},
            "sk": {"S": "counter"},
            "max_tokens": {"N": str(slots)},
            "minted": {"N": str(slots)},
            "rev": {"N": str(now)},
            "lease_ms": {"N": str(int(lease_seconds * 1000))},
            "schema": {"N": "1"},
        }
        taken = set(random.Random(slots).sample(range(slots), leased))
        items = [counter]
        for number in range(slots):
            item = {"pk": {"S": bucket}, "sk": {"S": f"slot#{number:05d}"}, "fence": {"N": str(now)}, "ttl": ttl}
            if number in taken:
                item |= {
                    "lease_id": {"S": f"{number}-someoneelse"},
                    "owner": {"S": "other.example:1"},
                    "acquired_at": {"N": str(now)},
                    "expires_at": {"N": str(now + 3_600_000)},
                }
            items.append(item)
        for start in range(0, len(items), _BATCH):
            puts = [{"PutRequest": {"Item": item}} for item in items[start : start + _BATCH]]
            answer = self.client.batch_write_item(RequestItems={table: puts})
            while answer.get("UnprocessedItems"):  # a real service may leave some for later
                time.sleep(0.1)
                answer = self.client.batch_write_item(RequestItems=answer["UnprocessedItems"])

    def close(self) -> None:
        """End all contenders, and delete the tables."""
        for member in list(self._up):
            self.dismiss(member)
        for name in filter(None, [*self.tables.values(), *self._full]):
            with contextlib.suppress(Exception):
                self.client.delete_table(TableName=name)


@contextlib.contextmanager
def gather(engine: str, endpoint_url: str | None, pythons: dict[str, Path]) -> Iterator[Company]:
    """Start an engine, or use the one at `endpoint_url` with the caller's own credentials."""
    with contextlib.ExitStack() as stack:
        environment = {"PYTHONPATH": str(ROOT)}
        if endpoint_url is None:
            running = stack.enter_context(ministack() if engine == "ministack" else embedded())
            endpoint_url = running.endpoint_url
            client = running.session().client("dynamodb", endpoint_url=endpoint_url)
            environment |= _blind_environment()
        else:
            import boto3  # noqa: PLC0415 - only here are the caller's own settings wanted

            engine, client = endpoint_url, boto3.client("dynamodb", endpoint_url=endpoint_url)
        environment["AWS_ENDPOINT_URL_DYNAMODB"] = endpoint_url  # the only way for dynamo-dlm
        company = Company(
            engine=engine, endpoint_url=endpoint_url, client=client, pythons=pythons, environment=environment
        )
        try:
            yield company
        finally:
            company.close()


def _blind_environment() -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


def here() -> Path:
    """This interpreter."""
    return Path(sys.executable)
