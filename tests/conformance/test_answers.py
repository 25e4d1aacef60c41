"""The simulator answers every probe as it is recorded: from the service, or from an engine checked closely against it."""

import json

import pytest

from ddb_lease.cli.conform.recording import TABLE, recorded
from scripts.harness.simulated_engine import Simulated
from tests.conformance import page

FILES = sorted(page.ANSWERS.glob("*.json"))
NOT_COMPARED = {"ConsumedCapacity", "Message", "message", "Count", "ScannedCount", "TableName"}
"""Texts for people, capacity that the simulator does not count, and what follows from the rest."""

ONE_TABLE = "in a table that does not exist"
"""The simulator has one table, whatever its name: docs/conformance.md."""


def comparable(value):
    """What the library may go by."""
    if isinstance(value, dict):
        kept = {name: comparable(each) for name, each in value.items() if name not in NOT_COMPARED}
        return {name: each for name, each in kept.items() if each not in ({}, [])}
    return [comparable(each) for each in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def simulated():
    client = Simulated().session().client("dynamodb", config=None)
    told = [recorded(finding, table=page.SIMULATED_TABLE) for finding in page.simulated_findings(client)]
    return {one["probe"]: one for one in told}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_simulator_answers_as_recorded(simulated, file):
    answers = json.loads(file.read_text())["answers"]
    assert {one["probe"] for one in answers} == set(simulated), "the probes have changed: record them anew"
    compared = 0
    for one in answers:
        if one["probe"].endswith((ONE_TABLE, "look at a table that does not exist")):
            continue
        here = simulated[one["probe"]]
        assert comparable(here["answer"]) == comparable(one["answer"]), one["probe"]
        assert (here["operation"], here["status"]) == (one["operation"], one["status"]), one["probe"]
        compared += 1
    assert compared == len(answers) - 5


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recording_names_its_source_and_nobody(file):
    text = file.read_text()
    whole = json.loads(text)
    assert whole["source"].startswith("ddb-lease conform ")
    assert all(one["headers"]["server"] for one in whole["answers"]), "who answered"
    assert TABLE in text and "ddb-lease-conform-" not in text
    assert "127.0.0.1" not in text
    named = (page.PAGE.parent / "conformance.md").read_text()
    assert f"| `{file.name}` |" in named


def test_there_are_recordings():
    assert FILES
