"""A hanging test fails its run in bounded time, and the output shows where it hung."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

HANGS = {
    "test_sleeps": "Failed: Timeout",
    "test_swallows_whatever_ends_it": "most recent call first",
    "test_waits_for_a_child_as_it_ends": "most recent call first",
}


@pytest.mark.parametrize("test", HANGS)
def test_a_test_that_hangs_fails_the_run_and_says_where(test):
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--timeout",
        "2",
        f"tests/hanging.py::{test}",
    ]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    told = done.stdout + done.stderr
    assert done.returncode == 1
    assert HANGS[test] in told
    assert f"in {test}" in told or f" {test} " in told
