"""`scripts/trace` prints the path of an operation, and its figures match the listed path."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINE = r"{name} +(\d+) modules +(\d+) functions +(\d+) calls +(\d+) moves +(\d+) steps"


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
    (found,) = re.findall(LINE.format(name=name), told)
    return [int(figure) for figure in found]


def test_each_operation_has_a_line():
    told = trace()
    assert [line.split()[0] for line in told.splitlines()] == ["acquire", "renew", "release", "rate"]


def test_the_figures_are_those_of_the_path_that_is_listed():
    told = trace("acquire", "--list")
    modules, functions, calls, moves, steps = figures(told, "acquire")
    lines = [line.split() for line in told.splitlines() if re.match(r"[ \d]{5}  +(->|=>|<-) ", line)]
    entered = [words[-2:] for words in lines if "<-" not in words]
    assert len(entered) == calls
    assert len({module for module, _ in entered}) == modules
    assert [int(words[0]) for words in lines if words[0].isdigit()] == list(range(1, moves + 1))
    assert 1 < modules < functions < calls < steps
    assert entered[0] == ["bucket:", "LeaseBucket.acquire" if sys.version_info >= (3, 11) else "acquire"]
    assert "dynamodb/expressions" in told.splitlines()[-1].strip().split(", ")


@pytest.mark.parametrize(
    ("operation", "most_modules", "most_moves"),
    [("acquire", 47, 155), ("renew", 28, 125), ("release", 35, 107), ("rate", 45, 267)],
)
def test_no_path_is_longer_than_it_was(operation, most_modules, most_moves):
    modules, _, _, moves, _ = figures(trace(), operation)
    assert modules <= most_modules
    assert moves <= most_moves
