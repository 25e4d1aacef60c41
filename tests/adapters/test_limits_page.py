"""All Python of docs/limits-storage.md runs, in its order, on the embedded engine."""

import re
from pathlib import Path

import pytest

from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import create_table
from scripts.harness.engines import embedded
from tests.adapters.limits_programs import visited

PAGE = (Path(__file__).parents[2] / "docs" / "limits-storage.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def world(monkeypatch):
    """What is defined once the page was read to its end."""
    with embedded() as engine:
        create_table(
            "ddb-lease",
            connection=ConnectionSettings(session=engine.session(), endpoint_url=engine.endpoint_url),
            clock=SystemClock(),
        )
        for name, value in {
            "AWS_ENDPOINT_URL_DYNAMODB": engine.endpoint_url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        world = {"__name__": "page"}
        for block in BLOCKS:
            exec(block, world)
        yield world


def test_the_examples_do_what_they_are_there_for(world):
    client = world["app"].test_client()
    assert [client.get("/").status_code for _ in range(6)] == [200] * 5 + [429]
    assert [visited(world["api"])[0] for _ in range(6)] == [200] * 5 + [429]
    assert world["let_in"] == world["let_in_by_asyncio"] == [True, True, False]
    assert world["answer"].content == "yes"
    assert world["fetched"] == [True] * 3
