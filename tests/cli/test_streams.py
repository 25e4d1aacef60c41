"""Standard streams that are closed, full, unread or without a reader: the exit code is the table's, all the same.

And what a command line cannot do is refused before it takes anything.
"""

import argparse
import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from ddb_lease import ConfigurationError
from ddb_lease.cli import nesting, streams, supervisor
from ddb_lease.cli.main import main, parser
from tests.cli.test_commands import LONG, ROOT, Cli, environment
from tests.support import Table, recorded_engine

DRIVER = str(Path(__file__).with_name("forked_commands.py"))
LOCAL = "--local --max-tokens 1 --lease 30s"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and /proc are Linux's")

LINES = {  # the code; and whether it shows something on standard output
    f"run job {LOCAL} -- sh -c 'exit 7'": (7, False),
    f"run taken {LOCAL} --timeout 0 -- true": (75, False),
    f"LOST run lost {LOCAL} -- true": (76, False),
    f"run job {LOCAL} -- no-such-command-anywhere": (127, False),
    f"run job {LOCAL} -- /": (126, False),
    f"run job {LOCAL}": (2, False),
    "lead leader --local --lease 30s -- sh -c 'exit 7'": (7, False),
    "limit job --local --rate 1000/s -- sh -c 'exit 7'": (7, False),
    "limit used-up --local --rate 1/d --timeout 0 -- true": (75, False),
    "limit job --local --rate 1000/s -- no-such-command-anywhere": (127, False),
    "rate status job --local": (0, True),
    "rate keys unknown --local": (66, False),
    "status taken --local": (0, True),
    "status taken --local --json": (0, True),
    "status unknown --local": (66, False),
    "ls --local": (0, True),
    "top --help": (0, True),
    "serve --help": (0, True),
    "timeline --help": (0, True),
    f"release taken 0-{'00' * 16} --local": (66, False),
    f"revoke taken 0-{'00' * 16} --local": (66, False),
    "resize other 3 --local": (0, True),
    "configure other --order any --local": (0, True),
    "repair other --local": (0, True),
    "reset other --local --yes": (0, True),
    "reset other --local": (2, False),
    "create-table --local": (0, True),
    "create-table --check --local": (0, True),
    "conform --local --quick": (1, True),
    "local start": (0, True),
    "local status": (0, True),
    "local status DDB_LEASE_LOCAL_DIR=none": (1, True),
    "local stop DDB_LEASE_LOCAL_DIR=none": (0, True),
    "template cloudformation": (0, True),
    "template iam --role worker": (0, True),
    "completion bash": (0, True),
    "--help": (0, True),
    "run --help": (0, True),
    "--version": (0, True),
    "no-such-command": (2, False),
}

STREAMS = {  # how a shell writes it; what a command exits with that shows something, and would have succeeded
    "output full": ("exec {job} > /dev/full 2> {err}", 73),
    "output unread, error full": ("{job} 2> /dev/full | (exec <&-; sleep 0.1)", 141),
    "error closed": ("exec {job} > {out} 2>&-", 0),
    "error unread": ("{job} 2>&1 > {out} | (exec <&-; sleep 0.1)", 0),
    "both closed": ("exec {job} >&- 2>&-", 0),
}


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    """A private engine, with a bucket whose only slot is taken, one that is free, and a rate that is used up."""
    cli = Cli(tmp_path_factory.mktemp("streams"))
    try:
        assert cli("create-table --local").returncode == 0
        assert cli("run other --local --max-tokens 2 -- true").returncode == 0
        assert cli("limit used-up --local --rate 1/d -- true").returncode == 0
        holder = subprocess.Popen(
            [sys.executable, "-m", "ddb_lease.cli", *shlex.split(f"run taken {LOCAL} -- sh -c 'echo; sleep 600'")],
            env=environment(cli.folder),
            cwd=cli.folder,
            stdout=subprocess.PIPE,
        )
        holder.stdout.readline()
        yield cli
        holder.terminate()
        holder.communicate(timeout=LONG)
    finally:
        cli("local stop")


@pytest.fixture(scope="module")
def client(cli):
    assert cli("create-table --local").returncode == 0  # it starts the engine
    engine = recorded_engine(cli.folder / "engine")
    client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
    yield client
    client.close()


@pytest.fixture
def table(client, bucket_name):
    return Table(client, "ddb-lease", bucket_name)


def test_every_command_is_among_them():
    (commands,) = [a.choices for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    assert {word for line in LINES for word in line.split()} >= commands.keys()


@linux_only
@pytest.mark.parametrize("how", STREAMS)
def test_the_exit_code_is_the_tables_whatever_the_standard_streams_are(cli, tmp_path, how):
    out, err = tmp_path / "out", tmp_path / "err"
    line, lost = STREAMS[how]
    script = line.format(job='"$0" "$@"', out=out, err=err)
    reader, writer = os.pipe()
    lines = [shlex.split(line) for line in LINES]
    with open(reader) as results:
        done = subprocess.Popen(
            ["bash", "-c", script, sys.executable, DRIVER, str(writer), json.dumps(lines)],
            env=environment(cli.folder),
            cwd=cli.folder,
            stdin=subprocess.DEVNULL,
            pass_fds=[writer],
        )
        os.close(writer)
        codes = dict(zip(LINES, json.loads(results.read()), strict=True))
        done.wait(LONG)
    assert codes == {line: (lost if shows and not code else code) for line, (code, shows) in LINES.items()}
    shown, said = (path.read_text() if path.exists() else "" for path in (out, err))
    assert not re.search("^ddb-lease:|usage: .*error", shown, re.MULTILINE)
    assert "defect" not in said
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    if how == "output full":
        assert said.count("cannot write the output: No space left on device") == sum(
            shows for _, shows in LINES.values()
        )


def begin(cli, line, **how):
    line = [sys.executable, "-m", "ddb_lease.cli", *shlex.split(line)]
    return subprocess.Popen(line, env=environment(cli.folder), cwd=cli.folder, stdin=subprocess.DEVNULL, **how)


@linux_only
def test_an_exit_code_is_not_lost_with_a_terminal_hung_up_or_a_pipe_that_nobody_reads(cli):
    """A whole interpreter, its end included: one that fails to flush would exit with 120."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, b"x" * 4096):
            pass
    os.set_blocking(writer, True)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        jobs = [begin(cli, f"run taken {LOCAL} --timeout 0 -- true", stdout=fd, stderr=fd) for fd in (writer, full)]
        jobs.append(begin(cli, "-vv status taken --local", stdout=full, stderr=writer))
        assert [job.wait(LONG) for job in jobs] == [75, 75, 73]
    finally:
        for fd in (reader, writer, full):
            os.close(fd)


@linux_only
def test_a_closed_standard_error_is_closed_for_the_command_and_no_file_of_ours_takes_its_place(cli):
    script = "readlink /proc/$PPID/fd/2; readlink /proc/self/fd/2; echo none"
    line = f'exec "$0" -m ddb_lease.cli run job {LOCAL} -- sh -c "{script}; ls /proc/self/fd" 2>&-'
    done = subprocess.run(
        ["bash", "-c", line.replace("$PPID", "\\$PPID"), sys.executable],
        env=environment(cli.folder),
        cwd=cli.folder,
        capture_output=True,
        timeout=LONG,
        text=True,
        check=True,
    )
    assert (done.stdout.split(), done.stderr) == (["/dev/null", "none", "0", "1", "2"], ""), "2 is the folder"


# What cannot be done is refused before anything is taken.


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("", 127, "'': No such file or directory"),
        ("no-such-command-anywhere", 127, "no-such-command-anywhere: No such file or directory"),
        ("./missing", 127, "./missing: No such file or directory"),
        ("./plain/file", 127, "./plain/file: Not a directory"),
        ("./folder", 126, "./folder: it is a directory"),
        ("./plain", 126, "./plain: Permission denied"),
    ],
)
@pytest.mark.parametrize("how", ["run {} --max-tokens 1", "limit {} --rate 1/d"])
def test_a_command_that_cannot_be_run_takes_no_slot_and_no_permit(
    cli, table, bucket_name, monkeypatch, capsys, how, command, code, says
):
    (cli.folder / "plain").write_text("no program")
    (cli.folder / "folder").mkdir(exist_ok=True)
    monkeypatch.chdir(cli.folder)
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", environment(cli.folder)["DDB_LEASE_LOCAL_DIR"])
    assert main([*shlex.split(how.format(bucket_name)), "--local", "--", command]) == code
    said = capsys.readouterr()
    assert (said.out, said.err.replace("cannot run ", "")) == ("", f"ddb-lease: {says}\n")
    assert not table.all()


@linux_only
@pytest.mark.parametrize("how", ["run unnamed --max-tokens 1 --quiet", "limit job --rate 1000/s --quiet"])
def test_an_entry_of_the_environment_without_a_name_does_no_harm(cli, how):
    line = [sys.executable, "-m", "ddb_lease.cli", *shlex.split(how), "--local", "--", "sh", "-c", "echo ran $Y"]
    env = environment(cli.folder)
    done = subprocess.run(
        ["env", "=x", "Y=y", *line], env=env, cwd=cli.folder, capture_output=True, text=True, timeout=LONG, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran y\n", "")


def test_it_runs_from_a_zip_archive(cli, tmp_path):
    archive = tmp_path / "ddb-lease.pyz"

    def of_ours(path):
        return path.parts[0] == "ddb_lease" and path.suffix in {"", ".py"} and "__pycache__" not in path.parts

    zipapp.create_archive(ROOT, archive, main="ddb_lease.cli.main:main", filter=of_ours, compressed=True)
    line = [
        sys.executable,
        str(archive),
        *shlex.split(f"run zipped {LOCAL} --quiet -- sh -c 'echo $DDB_LEASE_SLOT; exit 3'"),
    ]
    env = {name: value for name, value in environment(cli.folder).items() if name != "PYTHONPATH"}
    done = subprocess.run(
        line, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=LONG, stdin=subprocess.DEVNULL, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "0\n", "")


def test_a_missing_interpreter_for_the_watchdog_is_told_before_a_slot_is_taken(
    cli, table, bucket_name, monkeypatch, capsys
):
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", environment(cli.folder)["DDB_LEASE_LOCAL_DIR"])
    monkeypatch.setattr(supervisor.sys, "executable", "")
    assert main(["run", bucket_name, "--local", "--max-tokens", "1", "--", "true"]) == 126
    assert "no Python interpreter" in capsys.readouterr().err
    assert not table.all()


# A `run` inside a `run`.


def test_a_run_inside_a_run_of_the_same_bucket_says_that_it_may_wait_for_itself(cli):
    assert cli("create-table --local --table another").returncode == 0
    inner = "run nested {} --local --max-tokens 1 --timeout 100ms -- true"
    said = "this runs inside another `ddb-lease run` that holds 1 slot of 'nested': it may be waiting for itself"
    for where, code, is_said in [("", 75, True), ("--table another", 0, False)]:
        line = f'"{sys.executable}" -m ddb_lease.cli {inner.format(where)}'
        between = f"run between --local --max-tokens 1 -- sh -c {shlex.quote(line)}"
        line = f'"{sys.executable}" -m ddb_lease.cli {between}'
        done = cli(f"run nested {LOCAL} -- sh -c {shlex.quote(line)}")
        assert done.returncode == code, done.stderr
        assert done.stderr.count(said) == is_said


def test_while_it_waits_for_itself_it_says_so(cli):
    line = f'"{sys.executable}" -m ddb_lease.cli run nested {LOCAL} -- true'
    with begin(
        cli, f"run nested {LOCAL} --quiet -- sh -c {shlex.quote(line)}", stderr=subprocess.PIPE, text=True
    ) as job:
        said = job.stderr.readline() + job.stderr.readline()  # in either order
        job.terminate()
        assert "ddb-lease: waiting for nested" in said
        assert "may be waiting for itself" in said
        assert job.wait(LONG) == 143


@pytest.mark.parametrize("value", ["", "[", "5", "[5]", '[["a", "b"]]', "{}"])
def test_a_damaged_variable_is_ignored(value):
    assert nesting.held({nesting.VARIABLE: value}) == []


def test_nobody_is_asked_where_the_question_is_not_shown(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    monkeypatch.setattr(streams, "ask", lambda _: False)
    with pytest.raises(ConfigurationError, match="lost, as standard error does not show it"):
        streams.confirmed("Stop? [y/N] ", refusal=lambda why: f"lost, as {why}")
    monkeypatch.setattr(streams, "ask", lambda _: True)
    assert streams.confirmed("Stop? [y/N] ", refusal=str)
