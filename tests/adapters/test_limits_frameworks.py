"""Flask-Limiter and slowapi on the storage: several processes, one embedded engine, exact counts."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import create_table
from scripts.harness.engines import embedded
from tests.adapters.limits_programs import APPS

AWS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
EACH = pytest.mark.parametrize("framework", APPS)
STRATEGIES = pytest.mark.parametrize("strategy", ["fixed-window", "sliding-window-counter"])
LIMIT = 40


@pytest.fixture(scope="module")
def uri():
    """Of a table on an engine of its own."""
    with embedded() as engine:
        settings = ConnectionSettings(session=engine.session(), endpoint_url=engine.endpoint_url)
        create_table("limits", connection=settings, clock=SystemClock())
        yield f"dynamodb:///limits?endpoint_url={engine.endpoint_url}&timeout=30"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)


def test_processes_let_in_together_exactly_what_the_limit_says(uri):
    # A year: no window ends meanwhile. Four children of each application, forked after its first visit, share one key.
    of = {"flask": "fixed-window", "slowapi": "sliding-window-counter"}
    with ExitStack() as stack:
        programs = [
            stack.enter_context(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "tests.adapters.limits_programs", framework),
                        *(f"{uri}&name={framework}", f"{LIMIT}/year", "15", "4", strategy),
                    ],
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | AWS,
                )
            )
            for framework, strategy in of.items()
        ]
        found = [json.loads(program.stdout.read()) for program in programs]
    assert found == [{"200": LIMIT, "429": 61 - LIMIT}] * 2


@EACH
@STRATEGIES
def test_an_application_tells_its_visitors_what_is_left(uri, framework, strategy):
    visit = APPS[framework](f"{uri}&name={framework}-{strategy}", "3/day", strategy=strategy)
    found = [visit() for _ in range(4)]
    assert [status for status, _ in found] == [200, 200, 200, 429]
    assert [headers["x-ratelimit-remaining"] for _, headers in found] == ["2", "1", "0", "0"]
    reset = float(found[0][1]["x-ratelimit-reset"])
    assert 0 < reset - time.time() <= 86_402
    assert float(found[3][1]["retry-after"]) > 0


@EACH
def test_a_moving_window_is_refused_before_the_application_starts(uri, framework):
    with pytest.raises(NotImplementedError, match="has no moving window.*'sliding-window-counter' or 'fixed-window'"):
        APPS[framework](uri, "3/day", strategy="moving-window")


@EACH
def test_an_application_falls_back_to_its_memory_while_the_service_is_away(framework):
    away = "dynamodb:///limits?endpoint_url=http://127.0.0.1:1&timeout=0.5"
    visit = APPS[framework](away, "2/day", in_memory_fallback_enabled=True)
    assert [visit()[0] for _ in range(4)] == [200, 200, 429, 429]
