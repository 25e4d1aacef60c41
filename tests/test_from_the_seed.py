"""All code on the page for users of the seed runs, and so does its example."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ddb_lease import DynamoDBTokenBucket, LeaseBucket, local
from tests.pages import Snippets

ROOT = Path(__file__).parent.parent
SNIPPETS = Snippets("docs/from-the-seed.md")
SEED, LEASES = SNIPPETS.of()


@pytest.fixture
def where(tmp_path, monkeypatch):
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path))
    yield local.connect("tokens", create=True)
    local.stop()


@pytest.mark.parametrize(("text", "kind"), [(SEED, DynamoDBTokenBucket), (LEASES, LeaseBucket)], ids=["seed", "leases"])
def test_the_pages_code_runs_unchanged_but_for_where_the_table_is(where, text, kind, monkeypatch):
    made = []

    def here(*args, **kwargs):
        more = {name: value for name, value in where.items() if name != "table"}
        made.append(kind(*args, **kwargs, **more))
        return made[-1]

    monkeypatch.setattr(f"ddb_lease.{kind.__name__}", here)
    worked = []
    text.run({"table_name": where["table"], "work": lambda: worked.append(True)})
    assert worked == [True]
    for bucket in made:
        bucket.close()


def test_the_example_keeps_what_it_promises():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "example_workers.py"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dies with it" in done.stdout
    assert re.search(r"clean-up freed [1-9]", done.stdout)
