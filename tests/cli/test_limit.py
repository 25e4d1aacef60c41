"""`ddb-lease limit` as a real process: the command takes its place once the rate allows it."""

import argparse
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ddb_lease.cli import connection, exits, limit, main
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
    line = "limit shared --rate 2/h --burst 2 --timeout {} --local -- true"
    # A process whose idea of the time is behind that of the one before waits for as long: up to a second.
    assert [cli(line.format("10s"))[0] for _ in range(2)] == [0, 0]
    code, out, err = cli(line.format("0"))
    assert (code, out) == (75, "")
    said = "ddb-lease: no permit of rate 'shared' available within 0 s: it allows that in "
    assert re.fullmatch(re.escape(said) + r"(30m|29m\d\ds)\n", err)


def test_it_waits_until_the_rate_allows_it(cli):
    line = "limit slow --rate 1/2s --local -- date +%s.%N"
    first, second = (float(cli(line)[1]) for _ in range(2))
    assert second - first > 0.5  # two processes' ideas of the time may be a second apart


def test_several_permits_are_taken_together(cli):
    assert cli("limit many --rate 5/h --burst 5 -n 5 --timeout 0 --local -- true")[0] == 0
    assert cli("limit many --rate 5/h --burst 5 --timeout 0 --local -- true")[0] == 75
    code, _, err = cli("limit many --rate 5/h --burst 5 -n 6 --local -- true")
    which = "the burst of the stored policy's limit 'permits' of rate 'many', or of the key's override"
    assert (code, err) == (2, f"ddb-lease: n must be a whole number from 1 to 5 ({which})\n")


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


@pytest.fixture
def no_program(tmp_path):
    """A command that cannot be told from one that runs, until the kernel is to run it: nothing comes after it here."""
    path = tmp_path / "no-program"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def limited(no_program, monkeypatch):
    """Run the command with a limiter of the test's, up to where it becomes another program; returns its exit code."""

    def run(rate, *, n=1, key=None, timeout=None, quiet=False):
        monkeypatch.setattr(limit, "RateLimiter", lambda *_, **__: contextlib.nullcontext(rate))
        monkeypatch.setattr(connection, "arguments", lambda *_, **__: {})
        own = {"name": "mail", "rate": (1.0, 1.0), "burst": None, "given": {"rate"}, "command": [no_program]}
        return limit.execute(argparse.Namespace(**own, n=n, key=key, timeout=timeout, quiet=quiet))

    return run


@pytest.fixture
def waited(limited, no_program, capsys):
    """What the command says while it waits."""

    def said(rate, **how):
        assert limited(rate, **how) == exits.NO_SUCH_COMMAND
        *lines, last = capsys.readouterr().err.splitlines()
        assert last.startswith(f"ddb-lease: cannot run {no_program}: ")
        return lines

    return said


def test_it_says_when_it_begins_to_wait_and_when_that_is_over(rates, waited):
    """On a clock that passes by itself; what is said of the time that it took is by the real one."""
    limiter = rates(rate=1, per=20, burst=2)
    assert waited(limiter) == []
    began, ended = waited(limiter, n=2, timeout=60)
    assert began == "ddb-lease: waiting for 2 permits of rate 'mail': 20s or longer"
    assert re.fullmatch(r"ddb-lease: got 2 permits of rate 'mail' after \d+(\.\d)?s", ended)
    assert limiter.key("ann").try_acquire(2)
    began, _ = waited(limiter, key="ann")
    assert began == "ddb-lease: waiting for a permit of rate 'mail', key 'ann': 20s or longer"
    assert waited(limiter, quiet=True) == []


def test_a_short_wait_is_not_worth_a_line(rates, waited):
    limiter = rates(rate=1, per=0.9, burst=1)
    assert [waited(limiter) for _ in range(3)] == [[], [], []]


def test_a_wait_that_is_not_begun_is_not_told(cli):
    assert cli("limit hopeless --rate 1/h --local -- true")[0] == 0
    code, _, err = cli("limit hopeless --rate 1/h --timeout 5s --local -- true")
    assert (code, len(err.splitlines())) == (75, 1)


def test_each_key_has_a_rate_of_its_own(cli):
    line = "limit keyed --rate 1/h --timeout 0 --local --key {} -- true"
    assert [cli(line.format(key))[0] for key in ("ann", "bob", "ann")] == [0, 0, 75]
    assert cli("limit keyed --rate 1/h --timeout 0 --local -- true")[0] == 0
    code, _, err = cli(line.format("''"))
    assert (code, err) == (2, "ddb-lease: a key must be a string that is not empty, not ''\n")


def test_a_rate_that_is_not_the_stored_one_is_told_once_with_the_command_that_changes_it(cli):
    assert cli("limit mine --rate 5/h --local -- true")[2] == ""
    code, out, err = cli("limit mine --rate 7/h --local -- echo ran")
    assert (code, out, len(err.splitlines())) == (0, "ran\n", 1)
    assert "the stored policy rules, and it differs from the limits given here: 5 in 3600 s" in err
    command = err.rpartition("`ddb-lease ")[2].rstrip().removesuffix("`")
    assert command == "rate set mine --rate 7/3600s --burst 7 --table ddb-lease --local"
    assert cli(command) == (0, "mine: 7/h, burst 7\n", "")
    assert cli("limit mine --rate 7/h --local -- echo ran") == (0, "ran\n", "")
    assert cli("rate status mine --local")[1].startswith("mine in table ddb-lease: ")


def test_on_a_rate_with_several_limits_the_advice_is_to_look_and_its_command_runs(cli):
    assert cli("create-table --local --table own")[0] == 0
    assert cli("rate set llm --limit requests=60/m --limit tokens=9000/m --local --table own")[0] == 0
    stored = cli("rate status llm --local --table own --json")[1]
    code, out, err = cli("limit llm --rate 1/s --local --table own -- echo ran")
    assert (code, out) == (2, "")
    told, refused = err.splitlines()
    assert refused.startswith("ddb-lease: ")
    assert "requests: 60 in 60 s, burst 60, and not no limit; tokens: 9000 in 60 s, burst 9,000, and not no" in told
    command = told.rpartition("`ddb-lease ")[2].partition("`")[0]
    assert command == "rate status llm --table own --local"
    code, out, err = cli(command)
    assert (code, out.splitlines()[0], err) == (0, "llm in table own: 60 requests available", "")
    assert (
        json.loads(cli("rate status llm --local --table own --json")[1])["settings"] == json.loads(stored)["settings"]
    )


def test_of_limits_with_names_it_is_said_that_the_command_cannot_charge_them(cli):
    assert cli("rate set named --limit requests=60/m --limit tokens=9000/m --local")[0] == 0
    told = (
        "ddb-lease: rate 'named' has limits with names (requests, tokens): limit charges only one without a name; "
        "charge them with the library's RateLimiter\n"
    )
    assert cli("limit named --local -- echo ran") == (2, "", told)


def test_of_a_burst_that_was_not_typed_nothing_is_said(cli):
    assert cli("limit bursty --rate 5/h --burst 9 --local -- true")[0] == 0
    assert cli("limit bursty --rate 5/h --local -- true") == (0, "", "")
    assert "burst 9, and not 5 in 3600 s, burst 7" in cli("limit bursty --rate 5/h --burst 7 --local -- true")[2]
    assert "burst 9, and not 6 in 3600 s, burst 6" in cli("limit bursty --rate 6/h --local -- true")[2]


def test_a_rate_that_is_stored_need_not_be_typed_and_a_mistyped_name_makes_none(cli):
    assert cli("limit known --rate 5/h --local -- true")[0] == 0
    assert cli("limit known --local -- echo ran") == (0, "ran\n", "")
    told = (
        "ddb-lease: rate 'knwon' was never used in table 'ddb-lease'; to make it, say what it allows: --rate RATE; "
        "did you mean known?; `ddb-lease ls --table ddb-lease --local` lists what there is\n"
    )
    assert cli("limit knwon --local -- echo ran") == (66, "", told)


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
        ("limit b --rate 5 --local -- true", "'5' is not a rate; write 100/s, 10/m, 5/h or 3/2.5s"),
        ("limit b --rate 5/s --burst x --local -- true", "'x' is not a whole number from 1 up"),
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
        "--key",
        "--quiet",
        "--table",
        "--region",
        "--profile",
        "--endpoint-url",
        "--local",
    ):
        assert told in page


def test_a_command_that_cannot_be_run_leaves_the_signals_as_they_were(rates, limited):
    before = signal.getsignal(signal.SIGPIPE)
    assert limited(rates(rate=1, per=20)) == exits.NO_SUCH_COMMAND
    assert signal.getsignal(signal.SIGPIPE) == before
