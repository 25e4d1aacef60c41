"""All code in the README runs."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ddb_lease import events, local

README = (Path(__file__).parent.parent / "README.md").read_text()
LIBRARY, RATES, ON_A_LOOP, EMBEDDED, MORE = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)

ON_ASYNCIO = (Path(__file__).parent.parent / "docs" / "asyncio.md").read_text()
(IN_ORDER,) = [one for one in re.findall(r"```python\n(.*?)```", ON_ASYNCIO, flags=re.DOTALL) if 'order="fifo"' in one]


@pytest.fixture
def engine_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path))
    yield
    local.stop()


def test_the_library_examples_run_in_their_order(engine_of_its_own):
    world = {"work": [1, 2, 3], "process": [].append}
    exec(EMBEDDED, world)  # the README's own bucket, on the embedded engine ...
    on_aws = re.search(r"^bucket = .*\n", LIBRARY, flags=re.MULTILINE).group()
    assert 'LeaseBucket("nightly-report", max_tokens=4, lease_seconds=60, table="ddb-lease")' in on_aws
    exec(LIBRARY.replace(on_aws, ""), world)  # ... stands in for the one on AWS
    exec(MORE, world)
    world["report"]("Monday")
    assert world["lease"].lost is None
    assert world["bucket"].status().max_tokens == 4
    world["bucket"].close()


def test_the_examples_of_rates_and_of_asyncio_run(engine_of_its_own, capsys):
    exec(RATES, {})
    available, wait = capsys.readouterr().out.split()
    assert 190 <= int(available) <= 200
    assert float(wait) == 0.0
    world = {}
    exec(ON_A_LOOP, world)
    assert world["slot"] in range(4)


def test_the_example_of_waiting_in_order_on_a_loop_runs(engine_of_its_own, capsys):
    world, ran = {"local": local}, []

    async def job(slots):
        ran.append(slots)

    exec(IN_ORDER.replace("on_event=tell)", "on_event=tell, **local.connect())"), world)
    asyncio.run(world["train"](job))
    assert [len(slots) for slots in ran] == [2]
    world["tell"](events.Waiting(bucket="gpus", place=3, exact=True, waited_seconds=1.0))
    assert capsys.readouterr().out == "place 3 in the queue of gpus\n"


def test_the_run_command_runs_word_for_word(engine_of_its_own):
    (line,) = re.findall(r"^\$ (ddb-lease run demo .*)$", README, flags=re.MULTILINE)
    command = line.replace("ddb-lease", f"{sys.executable} -m ddb_lease.cli", 1).replace("sleep 5", "sleep 0")
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) in {(0, "on slot 0"), (0, "on slot 1")}, done.stderr


def test_every_linked_page_is_there():
    for page in re.findall(r"\]\((\S+?\.md)\)", README):
        assert (Path(__file__).parent.parent / page).exists(), page


@pytest.mark.parametrize("line", re.findall(r"^\$ (ddb-lease .*?)(?:\s{2,}#.*)?$", README, flags=re.MULTILINE))
def test_every_command_is_one_that_the_parser_takes(line):
    import shlex

    from ddb_lease.cli import main

    own, _ = main.split_command(shlex.split(line)[1:])
    assert main.parser().parse_args(own).execute
