"""`scripts/trace` prints the path of an operation, and its figures match the listed path."""

import functools
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KINDS = ("layers", "crossings", "modules", "moves", "functions", "calls", "steps")


@functools.cache
def trace(*arguments):
    """Run it in the environment of the tests, once."""
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "trace", *arguments],
        env=os.environ | {"DDB_LEASE_TRACE_INSIDE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def figures(told, name):
    (found,) = re.findall(name + "".join(rf" +(\d+) {kind}" for kind in KINDS), told)
    return dict(zip(KINDS, map(int, found), strict=True))


def test_each_operation_has_a_line():
    told = trace()
    assert [line.split()[0] for line in told.splitlines()] == ["acquire", "renew", "release", "rate"]


def test_the_figures_are_those_of_the_path_that_is_listed():
    told = trace("acquire", "--list")
    found = figures(told, "acquire")
    lines = [re.match(r"([ \d]{5})([ \d]{5})  +(->|=>|<-) (\S+): (.+)", line) for line in told.splitlines()]
    crossings, moves, hows, passed, functions = zip(*(line.groups() for line in lines if line), strict=True)
    entered = [module for module, how in zip(passed, hows, strict=True) if how != "<-"]
    assert len(entered) == found["calls"]
    assert len(set(entered)) == found["modules"]
    assert len({layer_of(module) for module in entered}) == found["layers"]
    assert [int(number) for number in moves if number.strip()] == list(range(1, found["moves"] + 1))
    assert [int(number) for number in crossings if number.strip()] == list(range(1, found["crossings"] + 1))
    moved = [True, *(one != other for one, other in itertools.pairwise(passed))]
    crossed = [True, *(layer_of(one) != layer_of(other) for one, other in itertools.pairwise(passed))]
    assert [bool(number.strip()) for number in moves] == moved
    assert [bool(number.strip()) for number in crossings] == crossed
    assert 1 < found["layers"] < found["modules"] < found["functions"] < found["calls"] < found["steps"]
    assert found["crossings"] < found["moves"] < found["steps"]
    assert (passed[0], functions[0]) == ("bucket", "LeaseBucket.acquire" if sys.version_info >= (3, 11) else "acquire")
    layers, modules = (line.strip().partition(": ")[2].split(", ") for line in told.splitlines()[-2:])
    assert layers == ["public modules", "_operations", "_protocol", "_runtime", "_state", "dynamodb"]
    assert modules == sorted(set(entered))


def layer_of(module):
    return module.split("/")[0] if "/" in module else ""


@pytest.mark.parametrize("operation", ["acquire", "renew", "release", "rate"])
def test_no_path_is_longer_than_contributing_says(operation):
    most, found = figures((ROOT / "CONTRIBUTING.md").read_text(), operation), figures(trace(), operation)
    kinds = ("layers", "crossings", "modules", "moves")
    assert {kind: found[kind] for kind in kinds if found[kind] > most[kind]} == {}


@pytest.mark.parametrize(
    ("operation", "layers", "crossings"), [("acquire", 10, 100), ("release", 8, 50), ("rate", 8, 80)]
)
def test_no_path_goes_back_and_forth_between_the_layers(operation, layers, crossings):
    found = figures(trace(), operation)
    assert found["layers"] <= layers
    assert found["crossings"] <= crossings
