"""Programs in forks of a warm process start and end as in interpreters of their own."""

import signal
import subprocess
import sys

import pytest

from scripts.harness.warm import ROOT, Forked

LONG = 60.0


def ended(program):
    """What it said, and its exit code."""
    with program.stdin, program.stdout:
        program.stdin.close()
        return program.stdout.read(), program.wait(LONG)


def running(code):
    return Forked("timeit", ["-n1", "-r1", code])


def test_a_fork_has_the_callers_environment_a_session_and_a_group_of_its_own(monkeypatch):
    monkeypatch.setenv("SET_BY_A_TEST", "just now")
    program = running(
        "import os, sys; print(os.environ['SET_BY_A_TEST'], os.getsid(0), os.getpgid(0), os.getcwd(), sys.argv[0])"
    )
    said, code = ended(program)
    assert said.splitlines()[0].startswith(f"just now {program.pid} {program.pid} {ROOT} ")
    assert code == 0


def test_a_fork_reads_and_writes_until_its_input_ends():
    program = Forked("json.tool", ["--compact"])
    program.stdin.write('{"a":\n')
    program.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.05)
    assert program.poll() is None
    program.stdin.write("1}")
    assert ended(program) == ('{"a":1}\n', 0)
    assert program.poll() == program.wait(LONG) == 0


@pytest.mark.parametrize("code", ["import sys; sys.exit(7)", "raise RuntimeError", "import os; os._exit(9)"])
def test_its_exit_code_is_that_of_an_interpreter(code):
    line = [sys.executable, "-m", "timeit", "-n1", "-r1", code]
    assert ended(running(code))[1] == subprocess.run(line, stderr=subprocess.DEVNULL).returncode


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_it_as_it_ends_an_interpreter(signum):
    program = Forked("json.tool", [])  # it waits for its input
    with program.stdin, program.stdout:
        program.send_signal(signum)
        assert program.wait(LONG) == -signum
    program.send_signal(signum)  # to nobody
