"""What the command line says of an error that is its own."""

import subprocess
import sys

import pytest

from ddb_lease.cli import exits

SAID = "ddb-lease: a defect, please report it: LookupError: there is no such page (-vv shows more)\n"

PROGRAM = """
from ddb_lease.cli import completion, main  # it imports little

def with_a_defect(options, *, whole):
    raise LookupError("there is\\nno such page")

completion.execute = with_a_defect
main.main()
"""


def with_a_defect(*words):
    """What a command with a defect says: in a process of its own, whose log is its own too."""
    line = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (exits.DEFECT, "")
    return done.stderr


@pytest.mark.parametrize("words", [[], ["-v"]])
def test_a_defect_is_told_in_one_line(words):
    assert with_a_defect("completion", "bash", *words) == SAID


def test_a_defect_is_told_with_its_traceback_where_details_are_asked_for():
    said = with_a_defect("-vv", "completion", "bash")
    assert said.endswith(SAID)
    assert said.count("Traceback (most recent call last):") == 1
    assert "in with_a_defect\n" in said
