"""The simulator's DynamoDB as an engine for tests. Apart from `engines`, as importing the others takes a second."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from scripts.harness.simulated_dynamodb import DynamoDB


class Simulated:
    """The simulator's DynamoDB, on real time and without a network."""

    name = "simulated"
    endpoint_url = "http://simulated"

    def __init__(self) -> None:
        self._service = DynamoDB()
        # The simulator runs one thread at a time; tests run several.
        self._lock = threading.Lock()

    def session(self) -> Any:
        """Like the simulator's clients, without the faults."""

        def client(_name: str, *, config: Any, endpoint_url: str = self.endpoint_url, **_: Any) -> _SimulatedClient:
            return _SimulatedClient(self.execute, config, endpoint_url)

        return types.SimpleNamespace(client=client, region_name="us-east-1")

    def items(self) -> list[Any]:
        """All items of the table."""
        with self._lock:
            return list(self._service.items.values())

    def drop(self, prefix: str) -> None:
        """Forget all partitions whose names begin so, as if they had never been."""
        with self._lock:
            self._service.drop(lambda key: key[0].startswith(prefix))

    def execute(self, operation: str, **arguments: Any) -> Any:
        """Carry out one request at once."""
        with self._lock:
            now = time.time()
            return self._service.execute(operation, arguments, now=now, date=now)


class _SimulatedClient:
    def __init__(self, execute: Callable[..., Any], config: Any, endpoint_url: str) -> None:
        self.meta = types.SimpleNamespace(config=config, endpoint_url=endpoint_url)
        self._execute = execute

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return functools.partial(self._execute, operation)

    def close(self) -> None:
        """Nothing is open."""


@contextlib.contextmanager
def simulated() -> Iterator[Simulated]:
    """The simulator's DynamoDB."""
    yield Simulated()
