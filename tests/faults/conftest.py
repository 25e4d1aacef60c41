"""What the tests of faults share: the holders' notes, jobs, proxies, and randomness whose seed is printed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from random import Random

import pytest

from scripts.harness.holders import Job
from scripts.harness.referee import Log
from tests.conftest import TABLE
from tests.faults.proxy import Proxy

SEED = "DDB_LEASE_TEST_SEED"
"""The variable that names the seed to repeat."""


@pytest.fixture
def log(tmp_path) -> Log:
    return Log(tmp_path / "notes")


@pytest.fixture
def job(engine, bucket_name, log) -> Callable[..., Job]:
    """Makes jobs on this test's bucket."""

    def make(**settings) -> Job:
        standard = {"endpoint_url": engine.endpoint_url, "bucket": bucket_name, "table": TABLE, "log": str(log.path)}
        return Job(**standard | settings)

    return make


@pytest.fixture
def new_proxy(engine) -> Iterator[Callable[[], Proxy]]:
    """Makes proxies to the engine."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Proxy(engine.endpoint_url))


@pytest.fixture
def proxy(new_proxy) -> Proxy:
    """One proxy to the engine."""
    return new_proxy()


@pytest.fixture
def seed() -> str:
    """The seed of all randomness; pytest shows it if a test fails."""
    seed = os.environ.get(SEED) or os.urandom(4).hex()
    print(f"{SEED}={seed}")
    return seed


@pytest.fixture
def chance(seed) -> Random:
    return Random(seed)
