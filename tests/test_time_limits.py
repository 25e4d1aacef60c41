"""A hanging test fails its run in bounded time, and the output shows where it hung."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

HANGS = {
    "test_sleeps": ("6", "Failed: Timeout"),
    "test_swallows_whatever_ends_it": ("2", "most recent call first"),
    "test_waits_for_a_child_as_it_ends": ("2", "most recent call first"),
}
"""Each with its time limit, and what the output says. After twice the limit the process ends: the first has to have failed
by then."""


@pytest.mark.parametrize("test", HANGS)
def test_a_test_that_hangs_fails_the_run_and_says_where(test):
    limit, said = HANGS[test]
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--timeout",
        limit,
        f"tests/hanging.py::{test}",
    ]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    told = done.stdout + done.stderr
    assert done.returncode == 1
    assert said in told
    assert f"in {test}" in told or f" {test} " in told
