"""`ddb-lease limit` as a real process: the command takes its place once the rate allows it."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ddb_lease.cli import exits, limit, main
from tests.cli import fork_server

ROOT = Path(__file__).resolve().parents[2]
LONG = 60.0  # more than any command needs; a bound for failure, never an expectation


class Cli:
    """`ddb-lease limit` in an environment of its own."""

    def __init__(self, folder):
        self.folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "DDB_LEASE_LOCAL_DIR": str(folder / "engine"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def popen(self, line):
        return subprocess.Popen(
            [sys.executable, "-m", "ddb_lease.cli", *shlex.split(line)],
            env=self._environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, line):
        """Run a command line to its end: exit code, output, errors."""
        how = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": LONG}
        done = fork_server.run(shlex.split(line), env=self._environment, cwd=self.folder, **how)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    """A private engine."""
    cli = Cli(tmp_path_factory.mktemp("limit"))
    try:
        assert cli("local start")[0] == 0
        yield cli
    finally:
        cli("local stop --yes")


def test_the_command_runs_with_its_own_arguments_output_and_code(cli):
    assert cli("limit out --rate 100/s --local -- sh -c 'echo \"$@\"; exit 7' sh --rate 'a b'") == (
        7,
        "--rate a b\n",
        "",
    )


def test_the_command_takes_the_place_of_the_process(cli):
    process = cli.popen("limit pid --rate 100/s --local -- sh -c 'echo $$; exec sleep 60'")
    try:
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG) == -signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


def test_what_python_ignores_is_not_ignored_in_the_command(cli):
    killed = cli("limit pipe --rate 100/s --local -- sh -c 'kill -PIPE $$; echo survived'")
    assert killed[:2] == (-signal.SIGPIPE, "")


def test_all_share_the_rate_and_a_timeout_exits_with_75(cli):
    line = "limit shared --rate 2/h --burst 2 --timeout 0 --local -- true"
    assert [cli(line)[0] for _ in range(2)] == [0, 0]
    code, out, err = cli(line)
    assert (code, out) == (75, "")
    assert err == "ddb-lease: no permit of rate 'shared' available within 0 s\n"


def test_it_waits_until_the_rate_allows_it(cli):
    line = "limit slow --rate 1/2s --local -- date +%s.%N"
    first, second = (float(cli(line)[1]) for _ in range(2))
    assert second - first > 0.5  # two processes' ideas of the time may be a second apart


def test_several_permits_are_taken_together(cli):
    assert cli("limit many --rate 5/h --burst 5 -n 5 --timeout 0 --local -- true")[0] == 0
    assert cli("limit many --rate 5/h --burst 5 --timeout 0 --local -- true")[0] == 75
    code, _, err = cli("limit many --rate 5/h --burst 5 -n 6 --local -- true")
    assert (code, err) == (2, "ddb-lease: n must be a whole number from 1 to 5 (the burst), not 6\n")


def test_an_interrupt_while_waiting_runs_nothing(cli):
    assert cli("limit stop --rate 1/h --local -- true")[0] == 0
    process = cli.popen("-vv limit stop --rate 1/h --local -- echo ran")
    try:
        # Booked, it waits for most of an hour; what it logs of that charge is the last of its lines.
        assert any("KeyWritten" in line for line in iter(process.stderr.readline, ""))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=LONG)
        assert (process.returncode, out) == (130, "")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [("/no/such/command", 127, "No such file"), ("/", 126, "it is a directory")],
)
def test_a_command_that_cannot_be_run_is_told_as_a_shell_does(cli, command, code, says):
    found, out, err = cli(f"limit bad --rate 100/s --local -- {command}")
    assert (found, out) == (code, "")
    assert err.startswith(f"ddb-lease: cannot run {command}: {says}")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("limit", "NAME"),
        ("limit b --local -- true", "--rate"),
        ("limit b --rate 5 --local -- true", "'5' is not a rate; write 100/s, 10/m, 5/h or 3/2.5s"),
        ("limit b --rate 5/s --burst x --local -- true", "invalid int value"),
        ("limit b --rate 5/s --timeout soon --local -- true", "'soon' is not a duration"),
    ],
)
def test_wrong_arguments_are_refused(line, says, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(shlex.split(line))
    assert ended.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_without_a_command_it_says_how_to_write_one(capsys):
    assert main.main(["limit", "b", "--rate", "5/s", "--local"]) == 2
    assert "-- COMMAND" in capsys.readouterr().err


def test_its_help_page_tells_every_option(capsys):
    with pytest.raises(SystemExit):
        main.main(["limit", "--help"])
    page = capsys.readouterr().out
    for told in (
        "--rate",
        "--burst",
        "-n",
        "--timeout",
        "--table",
        "--region",
        "--profile",
        "--endpoint-url",
        "--local",
    ):
        assert told in page
    assert "exit codes:" in page


def test_a_command_that_cannot_be_run_leaves_the_signals_as_they_were(capsys):
    before = signal.getsignal(signal.SIGPIPE)
    assert limit._become(["no-such-command-anywhere"]) == exits.NO_SUCH_COMMAND
    assert signal.getsignal(signal.SIGPIPE) == before
