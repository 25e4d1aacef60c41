"""All code in the README runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ddb_lease import local
from ddb_lease.testing import TestEnvironment
from tests.pages import Snippets
from tests.support import eventually

ROOT = Path(__file__).parent.parent
SNIPPETS = Snippets("README.md")
LIBRARY, RATES, ON_A_LOOP, EMBEDDED, MORE = SNIPPETS.of()
README = (ROOT / "README.md").read_text()


@pytest.fixture
def engine_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path))
    yield
    local.stop()


def test_the_library_examples_run_in_their_order(as_aws):
    world = {}
    LIBRARY.run(world)
    on_aws = world["bucket"]
    assert on_aws.name == "nightly-report"
    assert world["lease"].lost is None
    world["lease"].release()
    EMBEDDED.run(world)
    MORE.run(world)
    world["report"]("Monday")
    assert world["bucket"].status().max_tokens == 4
    for bucket in (on_aws, world["bucket"]):
        bucket.close()


def test_the_callback_of_the_library_example_is_told_of_the_loss(as_aws):
    told = []

    def note(*said):
        told.append(said)
        if said[0] != "stop:":
            environment.lose(environment.leases[0], reason="taken")

    with TestEnvironment(**as_aws) as environment:
        MORE.run({"bucket": environment.bucket("nightly-report", max_tokens=4), "print": note})
        eventually(lambda: ("stop:", "taken") in told, within=60)


def test_the_examples_of_rates_and_of_asyncio_run(as_aws, capsys):
    RATES.run({})["limiter"].close()
    available, wait = capsys.readouterr().out.split()
    assert 190 <= int(available) <= 200
    assert float(wait) == 0.0
    assert ON_A_LOOP.run({})["slot"] in range(4)


def test_the_run_command_runs_word_for_word(engine_of_its_own):
    (line,) = re.findall(r"^\$ (ddb-lease run demo .*)$", README, flags=re.MULTILINE)
    command = line.replace("ddb-lease", f"{sys.executable} -m ddb_lease.cli", 1).replace("sleep 5", "sleep 0")
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) in {(0, "on slot 0"), (0, "on slot 1")}, done.stderr
