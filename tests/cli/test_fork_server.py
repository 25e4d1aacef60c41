"""A command that runs in a fork of the warm process does what it does in a new interpreter."""

import subprocess

import pytest

from tests.cli import fork_server
from tests.cli.test_commands import LONG, environment

WHOLE = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": LONG}


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["--version"], {}),
        (["status", "b"], {}),
        (["status", "b"], {"AWS_REGION": "us-east-1"}),
        (["no-such-command"], {}),
        (["local", "status"], {}),
        (["create-table", "--help"], {"COLUMNS": "60"}),
    ],
    ids=" ".join,
)
def test_a_fork_ends_and_writes_as_a_new_interpreter_does(words, more, tmp_path):
    where = {"env": environment(tmp_path, **more), "cwd": tmp_path}
    forked = fork_server.run(words, **where, **WHOLE)
    new = fork_server.run(words, env=where["env"] | {"PYTHONUNBUFFERED": ""}, cwd=tmp_path, **WHOLE)
    assert len(new.args) > len(forked.args), "one ran in a new interpreter, the other did not"
    assert (forked.returncode, forked.stdout, forked.stderr) == (new.returncode, new.stdout, new.stderr)


def test_one_command_leaves_nothing_to_the_next(tmp_path):
    first = fork_server.run(["status", "b"], env=environment(tmp_path), cwd=tmp_path, **WHOLE)
    region = {"AWS_REGION": "us-east-1"}
    other = fork_server.run(["status", "b"], env=environment(tmp_path, **region), cwd=tmp_path, **WHOLE)
    again = fork_server.run(["status", "b"], env=environment(tmp_path), cwd=tmp_path, **WHOLE)
    assert first.stderr == again.stderr != other.stderr


def test_a_command_that_takes_too_long_is_ended_and_told(tmp_path):
    line = ["limit", "b", "--rate", "1/s", "--local", "--", "sleep", "600"]
    with pytest.raises(subprocess.TimeoutExpired):
        fork_server.run(line, env=environment(tmp_path), cwd=tmp_path, **WHOLE | {"timeout": 8.0})
    fork_server.run(["local", "stop", "--yes"], env=environment(tmp_path), cwd=tmp_path, **WHOLE)
    assert fork_server.run(["--version"], env=environment(tmp_path), cwd=tmp_path, **WHOLE).returncode == 0
