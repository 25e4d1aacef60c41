"""`ddb-lease run` as a real process: the command runs only under a lease, and the lease lives only with the command."""

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ddb_lease import AcquireTimeout
from ddb_lease._protocol.messages import Claim
from ddb_lease.cli.run import acquired_lease
from tests.cli import fork_server
from tests.support import CONFLICT, LOST, UNSENT, Table, recorded_engine

ROOT = Path(__file__).resolve().parents[2]
LONG = 60.0  # more than any command needs; a bound for failure, never an expectation
TABLE = "ddb-lease"
LEASE = 6.0  # seconds: so short that its end may be waited for, and a request has 0.6 s, which a loaded machine keeps

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel kills with PR_SET_PDEATHSIG on Linux only")


def until(condition, what="the condition", bound=LONG):
    end = time.monotonic() + bound
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come true"
        time.sleep(0.02)
    return found


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return sys.platform != "linux"


class Cli:
    """`ddb-lease run` in an environment of its own; whatever it leaves behind ends with the test."""

    def __init__(self, folder, *, before=()):
        self.folder = folder
        self.before = before
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "DDB_LEASE_LOCAL_DIR": str(folder / "engine"),
            "AWS_CONFIG_FILE": str(folder / "no-such-file"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-such-file"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def __call__(self, *words, **how):
        """Run any command line to its end."""
        how = {"capture_output": True, "text": True, "timeout": LONG} | how
        if "input" not in how:
            how.setdefault("stdin", subprocess.DEVNULL)
        where = {"env": self.environment, "cwd": self.folder}
        if self.before:
            line = [*self.before, sys.executable, "-m", "ddb_lease.cli", *words]
            return subprocess.run(line, check=False, **where, **how)
        return fork_server.run(words, **where, **how)

    def popen(self, *words):
        return subprocess.Popen(
            [*self.before, sys.executable, "-m", "ddb_lease.cli", *words],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def run_line(bucket, job, *, options="", lease=LEASE, max_tokens=1):
    own = ["run", bucket, "--local", "--short-leases", "--max-tokens", str(max_tokens), "--lease", f"{lease}s"]
    own += shlex.split(options)
    return [*own, "--", *(["sh", "-c", job] if isinstance(job, str) else job)]


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    """A private engine."""
    cli = Cli(tmp_path_factory.mktemp("run"))
    try:
        assert cli("local", "start").returncode == 0
        assert cli("create-table", "--local").returncode == 0
        yield cli
    finally:
        cli("local", "stop", "--yes")


@pytest.fixture(scope="module")
def client(cli):
    engine = recorded_engine(cli.folder / "engine")
    client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
    yield client
    client.close()


@pytest.fixture
def table(client, bucket_name):
    return Table(client, TABLE, bucket_name)


@pytest.fixture
def run(cli, bucket_name):
    """Run a job in this test's bucket to its end."""
    return lambda job, *, options="", lease=LEASE, **how: cli(
        *run_line(bucket_name, job, options=options, lease=lease), **how
    )


@pytest.fixture
def start(cli, bucket_name):
    """Start a job in this test's bucket."""
    with contextlib.ExitStack() as stack:

        def start(job, **how):
            process = cli.popen(*run_line(bucket_name, job, **how))
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def leased(table):
    return {number: slot for number, slot in table.slots().items() if "lease_id" in slot}


def first_line(process):
    """What the job says first: by then it runs."""
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return line.strip()


def says(process, text):
    """Read its standard error up to the line that has this text; the library's log may have lines of its own there."""
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"it does not say {text!r}")


READY = "echo ready; exec sleep 600"

WAITED = re.compile(
    r"^ddb-lease: (?:waiting (?:for|to lead) .*|(?:slots? [\d, ]+ of|leading) \S+ after \S+)\n", re.MULTILINE
)


def but_the_wait(said):
    """Standard error without the lines on a wait: on a loaded machine any acquire may take the second that is told."""
    return WAITED.sub("", said)


# The command's own end.


@pytest.mark.parametrize("code", [0, 255])
def test_the_commands_exit_code_passes_through_and_the_slot_is_free(run, table, code):
    done = run(f"exit {code}")
    assert (done.returncode, done.stdout, but_the_wait(done.stderr)) == (code, "", "")
    assert not leased(table)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_death_by_a_signal_is_told_as_a_shell_tells_it(run, table, signum):
    done = run(f"ulimit -c 0; kill -{int(signum)} $$")
    assert (done.returncode, but_the_wait(done.stderr)) == (128 + signum, "")
    assert not leased(table)


def test_a_command_that_does_not_exist_is_127_and_leaves_nothing_leased(run, table):
    done = run(["no-such-command-anywhere", "x"])
    assert done.returncode == 127
    assert done.stderr == "ddb-lease: no-such-command-anywhere: No such file or directory\n"
    assert not leased(table)


def test_a_command_that_cannot_be_run_is_126_and_leaves_nothing_leased(run, table, tmp_path):
    (tmp_path / "text").write_text("no program")
    done = run([str(tmp_path / "text")])
    assert done.returncode == 126
    assert re.fullmatch(r"ddb-lease: .*text: Permission denied\n", done.stderr)
    assert not leased(table)


# What the command finds.


def test_the_command_finds_its_lease_in_its_environment(start, table, bucket_name):
    process = start('echo "$DDB_LEASE_BUCKET $DDB_LEASE_SLOT $DDB_LEASE_FENCE $DDB_LEASE_ID"; exec sleep 600')
    bucket, slot, fence, lease_id = first_line(process).split()
    assert bucket == bucket_name
    item = table.get(int(slot))
    assert (int(fence), lease_id) == (item["fence"], item["lease_id"])
    process.terminate()
    assert process.wait(LONG) == 143


def test_a_command_may_have_several_slots(start, table):
    process = start(
        'echo "$DDB_LEASE_SLOT $DDB_LEASE_SLOTS $DDB_LEASE_ID"; exec sleep 600', max_tokens=3, options="--count 2"
    )
    slot, slots, lease_id = first_line(process).split()
    held = [int(number) for number in slots.split(",")]
    assert int(slot) == held[0]
    assert {number: item["lease_id"] for number, item in leased(table).items()} == dict.fromkeys(held, lease_id)
    process.terminate()
    assert process.wait(LONG) == 143
    assert not leased(table)


def test_more_slots_than_the_bucket_has_are_refused(run, table):
    done = run(["true"], options="--count 3")
    assert done.returncode == 2
    assert "max_tokens=1" in done.stderr
    assert not table.all()


def test_the_command_finds_our_environment_directory_and_arguments(cli, bucket_name):
    job = [
        sys.executable,
        "-c",
        "import os, sys; print(os.getcwd(), os.environ['HOME'], sys.argv[1:])",
        "a b",
        "--",
        "",
    ]
    done = cli(*run_line(bucket_name, job))
    assert done.stdout == f"{cli.folder} {cli.folder} ['a b', '--', '']\n"


def test_standard_input_is_the_commands(run):
    assert run(["cat"], input="through and through\n").stdout == "through and through\n"


def test_standard_output_and_error_are_the_commands(run):
    done = run("echo out; echo err >&2")
    assert (done.stdout, but_the_wait(done.stderr)) == ("out\n", "err\n")


def test_data_is_attached_and_shown(start, cli, bucket_name):
    process = start(READY, options="--data job=nightly --data part=3")
    first_line(process)
    shown = cli("status", bucket_name, "--local").stdout
    assert "1 of 1 leased, 0 free" in shown
    assert shown.rstrip().endswith("job=nightly part=3")
    assert f":{process.pid} " in shown
    process.terminate()
    process.wait(LONG)


@pytest.mark.parametrize("options", ["--grace 200ms", ""], ids=["grace given", "grace by default"])
def test_of_an_existing_bucket_the_stored_settings_rule_and_it_is_said_once(cli, bucket_name, table, options):
    cli(*run_line(bucket_name, "true", max_tokens=1))
    done = cli(*run_line(bucket_name, "true", max_tokens=5, lease=30, options=options))
    assert done.returncode == 0, done.stderr
    tokens, lease = but_the_wait(done.stderr).splitlines()
    assert tokens == (
        f"ddb-lease: bucket {bucket_name!r} has max_tokens=1, and that counts, not the 5 of --max-tokens; to change that: "
        f"ddb-lease resize {bucket_name} 5 --table ddb-lease --local"
    )
    assert lease.startswith(
        f"ddb-lease: bucket {bucket_name!r} has leases of {LEASE:g}s, and that counts, not the 30s of --lease"
    )
    assert table.get("counter")["max_tokens"] == 1
    command = shlex.split(tokens.partition("to change that: ddb-lease ")[2])
    assert cli(*command).returncode == 0
    assert table.get("counter")["max_tokens"] == 5


def test_a_bucket_may_be_made_to_serve_in_order_and_another_says_how_to_make_it_one(cli, bucket_name, table):
    assert but_the_wait(cli(*run_line(bucket_name, "true", options="--fifo")).stderr) == ""
    assert table.get("counter")["order"] == "fifo"
    assert cli("configure", bucket_name, "--order", "any", "--local").returncode == 0
    assert but_the_wait(cli(*run_line(bucket_name, "true", options="--fifo")).stderr) == (
        f"ddb-lease: bucket {bucket_name!r} has order=any, and that counts, not --fifo; to change that: "
        f"ddb-lease configure {bucket_name} --order fifo --table ddb-lease --local\n"
    )
    assert but_the_wait(cli(*run_line(bucket_name, "true", options="--priority 5")).stderr) == (
        f"ddb-lease: bucket {bucket_name!r} has order=any, and a --priority does nothing there; to change that: "
        f"ddb-lease configure {bucket_name} --order fifo --table ddb-lease --local\n"
    )


def test_a_priority_that_cannot_be_is_told(cli, bucket_name):
    done = cli(*run_line(bucket_name, "true", options="--fifo --priority 10"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--priority: '10' is not a whole number from 0 to 9" in done.stderr


def test_of_settings_that_were_not_typed_nothing_is_said(cli, bucket_name):
    cli(*run_line(bucket_name, "true", max_tokens=3))
    for typed in ([], ["--max-tokens", "3"], ["--grace", "100ms"]):
        done = cli("run", bucket_name, "--local", "--short-leases", *typed, "--", "true")
        assert (done.returncode, done.stdout, but_the_wait(done.stderr)) == (0, "", "")


def test_a_bucket_is_made_only_if_it_was_said_how_many_tokens_it_is_to_have(cli, bucket_name):
    done = cli("run", bucket_name, "--local", "--", "true")
    assert (done.returncode, done.stdout) == (66, "")
    assert "does not exist in table 'ddb-lease'; to make it, say how many tokens it is to have: --max-tokens N; " in (
        done.stderr
    )
    assert cli("status", bucket_name, "--local").returncode == 66


def test_a_grace_is_held_against_the_stored_lease(cli, bucket_name):
    cli(*run_line(bucket_name, "true", lease=10))
    done = cli("run", bucket_name, "--local", "--grace", "9s", "--", "true")
    assert (done.returncode, done.stderr) == (
        2,
        "ddb-lease: --grace 9s is too long for a lease of 10s: it may be 2.3s at most\n",
    )


def test_the_owner_may_be_named(start, cli, bucket_name):
    first_line(start(READY, options="--owner ann"))
    (lease,) = json.loads(cli("status", bucket_name, "--local", "--json").stdout)["leases"]
    assert lease["owner"] == "ann"


# Waiting.


def test_no_slot_in_time_is_75_or_the_code_that_was_asked_for_and_nothing_is_run(start, run, tmp_path):
    holder = start(READY, lease=30)
    first_line(holder)
    late, full = r"no slot of bucket '\S+' came free in 0\.3 s", r"bucket '\S+' is full"
    for options, code, told in (("--timeout 300ms", 75, late), ("--timeout 0 --no-slot-code 9", 9, full)):
        for _ in range(3):  # who holds it is asked for a second at most
            done = run(f"touch {tmp_path}/ran", options=options, lease=30)
            assert done.returncode == code
            if "held by" in but_the_wait(done.stderr):
                break
        said = rf"ddb-lease: {told}: held by \S+:{holder.pid} \(for \S+s\)\n"
        assert re.fullmatch(said, but_the_wait(done.stderr))
    assert not (tmp_path / "ran").exists()
    assert holder.poll() is None
    holder.terminate()
    assert holder.wait(LONG) == 143


@pytest.mark.parametrize("options", ["", "--timeout 1500ms"])
def test_who_skips_where_it_is_full_ends_with_0_and_says_nothing(start, run, tmp_path, options):
    holder = start(READY)
    first_line(holder)
    done = run(f"touch {tmp_path}/ran", options=f"--skip-if-full {options}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "ran").exists()
    assert holder.poll() is None
    holder.terminate()
    assert holder.wait(LONG) == 143
    done = run("echo ran; exit 3", options=f"--skip-if-full {options}")
    assert (done.returncode, done.stdout, done.stderr) == (3, "ran\n", "")


def skipping(**others):
    asked = {"skip_if_full": True, "timeout": None, "count": 1, "data": {"a": 1}, "priority": 0, "hold_at_least": None}
    return argparse.Namespace(**asked | others)


@pytest.mark.parametrize("answer", [LOST, UNSENT, CONFLICT], ids=["lost", "unsent", "conflict"])
@pytest.mark.parametrize("timeout", [None, 0.0])
def test_who_skips_where_it_is_full_does_not_skip_what_is_only_disturbed(environment, answer, timeout):
    bucket = environment.bucket(max_tokens=1, lease_seconds=8)
    bucket.tap.inject(Claim, commits=False, answer=answer)
    bucket.tap.inject(Claim, commits=True, after=lambda _: environment.clock.pass_time(7.9))  # too late to rely on
    lease = acquired_lease(bucket, skipping(timeout=timeout))
    assert (lease.held, lease.data) == (True, {"a": 1})
    with pytest.raises(AcquireTimeout):
        acquired_lease(environment.bucket(max_tokens=1, lease_seconds=8), skipping(timeout=timeout))


@pytest.mark.parametrize("priority", [0, 5])
@pytest.mark.parametrize("timeout", [None, 0.0])
def test_who_skips_waits_for_nothing_whatever_his_priority(environment, timeout, priority):
    asked = skipping(timeout=timeout, priority=priority)
    with environment.bucket(max_tokens=1, order="fifo") as holder, environment.bucket(max_tokens=1) as bucket:
        acquired_lease(holder, asked)
        environment.pauses.clear()
        with pytest.raises(AcquireTimeout):
            acquired_lease(bucket, asked)
        assert not environment.pauses


def test_who_skips_has_no_code_for_it(run, table):
    done = run("true", options="--skip-if-full --no-slot-code 9")
    assert (done.returncode, done.stderr) == (
        2,
        "ddb-lease: --skip-if-full exits with 0 if no slot is free: leave out --no-slot-code\n",
    )
    assert not table.all()


def test_a_waiter_runs_when_the_holder_has_ended(start):
    holder = start(READY)
    first_line(holder)
    waiter = start("echo mine")
    assert waiter.poll() is None
    holder.terminate()
    assert first_line(waiter) == "mine"
    assert waiter.wait(LONG) == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_waiting_ends_it_and_leaves_nothing_leased(start, table, signum, tmp_path):
    holder = start(READY)
    first_line(holder)
    held = leased(table)
    waiter = start(f"touch {tmp_path}/ran", options="--quiet")
    # It waits once it has its handlers and has looked; an earlier signal would also end it, by default.
    # (HUP and QUIT show it: Python itself catches INT, from its first moment on.)
    until(lambda: catches(waiter.pid, signal.SIGHUP) and catches(waiter.pid, signal.SIGQUIT), "the waiter's handlers")
    time.sleep(0.3)
    waiter.send_signal(signum)
    out, err = waiter.communicate(timeout=LONG)
    assert waiter.returncode == 128 + signum
    assert (out, err) == ("", "")
    assert leased(table).keys() == held.keys()
    assert [s["lease_id"] for s in leased(table).values()] == [s["lease_id"] for s in held.values()]
    holder.terminate()
    holder.wait(LONG)
    assert not leased(table)
    assert not (tmp_path / "ran").exists()


def catches(pid, signum):
    """Whether a process has a handler of its own for a signal."""
    if sys.platform != "linux":
        time.sleep(2.0)
        return True
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text()).group(1)
    return bool(int(caught, 16) >> (signum - 1) & 1)


# Running.


def test_sigterm_while_running_is_passed_on_and_the_commands_code_counts(start, table):
    # Written past `print`, which is not reentrant: the signal may come while the first one is still returning.
    job = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'told\\n'), os._exit(7)))\n"
        "os.write(1, b'ready\\n')\n"
        "time.sleep(600)"
    )
    process = start([sys.executable, "-c", job])
    first_line(process)
    until(lambda: catches(process.pid, signal.SIGWINCH), "the handlers that pass signals on")
    process.terminate()
    out, err = process.communicate(timeout=LONG)
    assert (out, but_the_wait(err), process.returncode) == ("told\n", "", 7)
    assert not leased(table)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_other_signals_are_passed_on_too(start, table, signum):
    process = start("ulimit -c 0; echo ready; exec sleep 600")
    first_line(process)
    until(lambda: catches(process.pid, signal.SIGWINCH), "the handlers that pass signals on")
    process.send_signal(signum)
    assert process.wait(LONG) == 128 + signum
    assert not leased(table)


SIGNAL_AFTER_START = """
import os, pathlib, signal, sys, time
from ddb_lease.cli import run
from ddb_lease.cli.main import main

start = run.SupervisedCommand.start
ready = pathlib.Path(sys.argv.pop(1))

def signalled(*args, **kwargs):
    command = start(*args, **kwargs)
    while not ready.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    return command

run.SupervisedCommand.start = staticmethod(signalled)
sys.exit(main(sys.argv[1:]))
"""


def test_a_signal_right_after_the_commands_start_gives_no_slot_back_while_the_command_lives(
    cli, table, bucket_name, tmp_path
):
    # Invariant: the command runs only while the lease is held. The signal is passed on; this command obeys it slowly.
    ready = tmp_path / "pid"
    job = f"trap 'sleep 1; exit 7' TERM; echo $$ > {ready}.new; mv {ready}.new {ready}; while :; do sleep 0.05; done"
    line = run_line(bucket_name, job, lease=60, options="--grace 3s")
    process = subprocess.Popen(
        [sys.executable, "-c", SIGNAL_AFTER_START, str(ready), *line],
        env=cli.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            until(lambda: ready.exists() or process.poll() is not None)
            until(lambda: not leased(table))
            alive = lives(int(ready.read_text()))
            process.communicate(timeout=LONG)
        finally:
            process.kill()  # or leaving the block would wait for ever; the watchdog ends the command
    assert not alive, "the slot is free, and the command runs on"
    assert process.returncode == 7


RELEASE_UNDER_SIGNAL = """
import os, signal, sys, time
from ddb_lease._runtime import lease_end as lease
from ddb_lease.cli.main import main

send_release = lease.send_release

def slow(*args, **kwargs):
    time.sleep(0.5)  # the other process that releases it needs some time, as on a real network
    return send_release(*args, **kwargs)

def signalled(*args, **kwargs):
    lease.send_release = slow
    os.kill(os.getpid(), signal.SIGTERM)
    return send_release(*args, **kwargs)

lease.send_release = signalled
sys.exit(main(sys.argv[1:]))
"""


LOST_BEFORE_THE_COMMAND = """
import sys
from ddb_lease import Lease
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.cli.main import main

slept, steady, check = [0.0], SystemClock.steady, Lease.check
SystemClock.steady = staticmethod(lambda: steady() + slept[0])

def lost_meanwhile(lease):
    slept[0] = 3600.0  # as if the process had slept
    check(lease)

Lease.check = lost_meanwhile
sys.exit(main(sys.argv[1:]))
"""


def test_a_lease_that_is_lost_before_the_command_starts_is_told_as_lost(cli, table, bucket_name):
    line = [sys.executable, "-c", LOST_BEFORE_THE_COMMAND, *run_line(bucket_name, "echo ran", lease=600)]
    done = subprocess.run(
        line, env=cli.environment, capture_output=True, text=True, timeout=LONG, stdin=subprocess.DEVNULL, check=False
    )
    assert done.stdout == ""
    assert done.returncode == 76, done.stderr
    assert re.search(r"is not held any more: .*; the command was not started\n", done.stderr)
    assert not leased(table)


def test_a_signal_that_comes_with_the_release_does_not_keep_the_slot(cli, table, bucket_name):
    # Invariant: between winning the slot and releasing it, no signal ends the process without the release.
    line = [sys.executable, "-c", RELEASE_UNDER_SIGNAL, *run_line(bucket_name, "echo ran", lease=600)]
    done = subprocess.run(
        line, env=cli.environment, capture_output=True, text=True, timeout=LONG, stdin=subprocess.DEVNULL, check=False
    )
    assert done.stdout == "ran\n"
    assert done.returncode in {0, 143}, done.stderr
    assert not leased(table)


IGNORES_TERM = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


def test_a_command_that_ignores_term_is_killed_after_a_grace_in_which_its_lease_is_renewed(start, table):
    process = start(IGNORES_TERM, options="--kill-after 6s")  # three intervals of its renewal
    first_line(process)
    until(lambda: catches(process.pid, signal.SIGWINCH), "the handlers that pass signals on")
    (slot,) = leased(table)
    process.terminate()
    begun = time.monotonic()
    assert "TERM was passed on, and the command still runs; KILL follows in" in process.stderr.readline()
    asked = table.get(slot)
    until(lambda: table.get(slot).get("expires_at", 0) > asked["expires_at"], "a renewal")
    assert table.get(slot)["lease_id"] == asked["lease_id"]
    assert process.stderr.readline() == "ddb-lease: the command did not end in time after TERM: KILL\n"
    assert process.wait(LONG) == 128 + signal.SIGKILL
    assert time.monotonic() - begun >= 6.0
    assert not leased(table)


def test_a_second_term_means_at_once(start, table):
    process = start(IGNORES_TERM, options="--kill-after 1h")
    first_line(process)
    until(lambda: catches(process.pid, signal.SIGWINCH), "the handlers that pass signals on")
    process.terminate()
    assert "or on a second TERM" in process.stderr.readline()
    process.terminate()
    assert process.wait(LONG) == 128 + signal.SIGKILL
    assert not leased(table)


def test_kill_after_never_leaves_the_end_to_the_command(start):
    process = start(
        "trap 'sleep 2; exit 5' TERM; echo ready; while :; do sleep 0.05; done", options="--kill-after never"
    )
    first_line(process)
    until(lambda: catches(process.pid, signal.SIGWINCH), "the handlers that pass signals on")
    process.terminate()
    said = process.stderr.read()  # the shell's own word may come before it
    assert "no KILL follows" in said
    assert process.wait(LONG) == 5


@linux_only
def test_a_daemon_that_the_command_made_ends_before_its_lost_lease_is_had_by_another(start, table):
    process = start("(setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.05; done' &); exec sleep 600")
    daemon = int(first_line(process))
    (slot,) = leased(table)
    table.set(slot, revoked="2026-01-01")
    until(lambda: not leased(table), "the release")
    alive = lives(daemon)
    assert process.wait(LONG) == 76
    assert not alive, "the slot is free, and the daemon runs on"


# A command that may not be signalled: we are an unprivileged user, it became root, as with sudo.


@pytest.fixture(scope="module")
def unprivileged():
    """A command line of an unprivileged user, and a program by which it becomes root."""
    setpriv = shutil.which("setpriv")
    if sys.platform != "linux" or os.geteuid() != 0 or setpriv is None:
        pytest.skip("only root can make a program that raises privileges")
    folder = Path(tempfile.mkdtemp(prefix="ddb-lease-"))
    folder.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    raises = folder / "as-root"
    shutil.copy(setpriv, raises)
    raises.chmod(0o4755)
    cli = Cli(home, before=[setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"])
    try:
        for becomes in ([], [raises, "--reuid=0"]):
            line = [*cli.before, *becomes, sys.executable, "-c", "import ddb_lease.cli"]
            check = subprocess.run(line, env=cli.environment, cwd=folder, capture_output=True, check=False)
            if check.returncode:
                pytest.skip(f"an unprivileged user cannot use this interpreter or package: {check.stderr!r}")
        assert cli("create-table", "--local").returncode == 0
        yield cli, [str(raises), "--reuid=0"]
    finally:
        cli("local", "stop")
        shutil.rmtree(folder)


@linux_only
@pytest.mark.parametrize("why", ["revoked", "TERM"])
def test_a_command_that_may_not_be_signalled_keeps_its_slot_while_it_lives_and_that_is_told(
    unprivileged, tmp_path, bucket_name, why
):
    cli, as_root = unprivileged
    flag = tmp_path / "flag"
    flag.touch()
    job = [*as_root, "sh", "-c", f"echo $$; while [ -e {flag} ]; do sleep 0.05; done; exit 3"]
    process = cli.popen(*run_line(bucket_name, job, lease=8.0))
    try:
        pid = int(first_line(process))
        status = json.loads(cli("status", bucket_name, "--local", "--json").stdout)
        lease = status["leases"][0]
        if why == "revoked":
            assert cli("revoke", bucket_name, lease["lease_id"], "--local").returncode == 0
        else:
            until(lambda: catches(process.pid, signal.SIGWINCH), "the handlers that pass signals on")
            process.terminate()
        says(process, f"ddb-lease: cannot signal process {pid} (sh)")
        if why == "revoked":
            says(process, "was lost (revoked), and the command cannot be ended: it still runs")
        else:
            says(process, "TERM was passed on, and the command still runs")
            time.sleep(8.5)  # by then the lease would have expired, if it were not renewed
        now = json.loads(cli("status", bucket_name, "--local", "--json").stdout)["leases"]
        assert [one["lease_id"] for one in now] == [lease["lease_id"]], "not given back"
        assert now[0]["expired"] is False or why == "revoked"
        assert lives(pid)
        flag.unlink()
        assert process.wait(LONG) == (76 if why == "revoked" else 3)
        if why == "revoked":
            assert "was lost (revoked); the command has ended by itself meanwhile" in process.stderr.read()
        assert not json.loads(cli("status", bucket_name, "--local", "--json").stdout)["leases"]
    finally:
        flag.unlink(missing_ok=True)
        process.kill()
        process.communicate()


def test_a_lease_shorter_than_its_job_is_renewed_throughout(start, table):
    process = start("echo ready; sleep 10; echo done")
    first_line(process)
    (slot,) = leased(table)
    first = table.get(slot)
    seen = []

    def is_done():
        now = table.get(slot)
        if "lease_id" in now:
            seen.append((now["lease_id"], now["fence"], now["expires_at"]))
        return process.poll() is not None

    until(is_done)
    assert process.returncode == 0
    assert process.stdout.read() == "done\n"
    assert but_the_wait(process.stderr.read()) == ""
    assert {(lease_id, fence) for lease_id, fence, _ in seen} == {(first["lease_id"], first["fence"])}
    expiries = [first["expires_at"], *(expires_at for *_, expires_at in seen)]
    assert expiries == sorted(expiries)
    assert len(set(expiries)) >= 4, "ten seconds, and a renewal at each third of six"
    # The last renewal comes after 8 s at the earliest; the first expiry may lie up to a second too far off, as the
    # service's time was known to a second only.
    assert expiries[-1] - expiries[0] > 1_000 * LEASE
    assert not leased(table)


def test_what_the_command_leaves_behind_ends_before_the_slot_is_free(start, table):
    process = start("sleep 600 & echo $!; sleep 0.2; exit 4")
    left_behind = int(first_line(process))
    assert process.wait(LONG) == 4
    assert not lives(left_behind)
    assert not leased(table)


def test_as_many_run_at_once_as_there_are_tokens_and_no_more(start, table):
    jobs = [start("echo $DDB_LEASE_SLOT; exec sleep 600", max_tokens=2, lease=30) for _ in range(2)]
    assert {first_line(job) for job in jobs} == {"0", "1"}
    one_too_many = start("echo $DDB_LEASE_SLOT", max_tokens=2, options="--timeout 1s", lease=30)
    assert one_too_many.wait(LONG) == 75
    assert one_too_many.stdout.read() == ""
    assert len(leased(table)) == 2
    for job in jobs:
        job.terminate()
    assert [job.wait(LONG) for job in jobs] == [143, 143]
    assert not leased(table)


# Losing the lease.


@pytest.mark.parametrize(("options", "code"), [("", 76), ("--lost-code 33", 33)])
def test_a_lost_lease_ends_the_command_and_is_told(start, table, bucket_name, options, code):
    process = start("sleep 600 & echo $!; wait", options=options)
    grandchild = int(first_line(process))
    (slot,) = leased(table)
    table.delete(slot)
    assert process.wait(LONG) == code
    said = [
        line for line in but_the_wait(process.stderr.read()).splitlines() if line.startswith("ddb-lease: ")
    ]  # the shell speaks too
    assert said == [f"ddb-lease: the lease on slot {slot} of '{bucket_name}' was lost (gone); the command was ended"]
    assert not lives(grandchild)


def test_a_lease_that_another_took_is_left_alone(start, table):
    process = start(READY)
    first_line(process)
    (slot,) = leased(table)
    table.set(slot, lease_id=f"{slot}-another", fence=table.get(slot)["fence"] + 1)
    assert process.wait(LONG) == 76
    assert "was lost (taken)" in process.stderr.read()
    assert table.get(slot)["lease_id"] == f"{slot}-another"


def test_a_revoked_lease_ends_the_command_and_gives_the_slot_back(start, table):
    process = start(READY)
    first_line(process)
    (slot,) = leased(table)
    table.set(slot, revoked="2026-01-01")
    assert process.wait(LONG) == 76
    assert "was lost (revoked)" in process.stderr.read()
    item = table.get(slot)
    assert "lease_id" not in item
    assert "revoked" not in item


def test_a_command_that_ignores_term_is_killed_when_the_lease_is_lost(start, table):
    process = start("trap '' TERM; echo $$; while :; do sleep 0.05; done")
    pid = int(first_line(process))
    (slot,) = leased(table)
    table.delete(slot)
    assert process.wait(LONG) == 76
    assert not lives(pid)


# Dying.


@linux_only
def test_when_ddb_lease_is_killed_its_command_and_all_below_end_before_the_slot_is_had_by_another(start, table):
    holder = start("sleep 600 & echo $$ $!; wait")
    child, grandchild = map(int, first_line(holder).split())
    (slot,) = leased(table)
    holder.kill()
    holder.wait(LONG)
    # The next one notes, the moment it runs, whether any of them is alive.
    probe = f"for p in {child} {grandchild}; do kill -0 $p 2>/dev/null && grep -q 'State:.[^ZX]' /proc/$p/status; done"
    waiter = start(f"if {probe}; then echo alive; else echo dead $DDB_LEASE_SLOT; fi")
    assert first_line(waiter) == f"dead {slot}"
    assert waiter.wait(LONG) == 0
    assert not lives(child)
    assert not lives(grandchild)


@linux_only
def test_when_ddb_lease_is_stopped_its_command_ends_before_the_lease_expires(start, table):
    process = start("echo $$; exec sleep 600")
    pid = int(first_line(process))
    (slot,) = leased(table)
    process.send_signal(signal.SIGSTOP)
    try:
        until(lambda: not lives(pid), "the end of the command")
        assert time.time() * 1000 < table.get(slot)["expires_at"] + 5_000, "a bound for a loaded machine"
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.wait(LONG) == 76
    assert re.search(r"was lost \((suspended|unreachable)\)", process.stderr.read())


def test_when_the_service_is_gone_for_good_the_command_ends_by_its_deadline(tmp_path):
    cli = Cli(tmp_path)
    process = None
    try:
        assert cli("create-table", "--local").returncode == 0
        process = cli.popen(*run_line("b", "echo $$; exec sleep 600"))
        pid = int(first_line(process))
        assert cli("local", "stop", "--yes").returncode == 0
        stopped = time.monotonic()
        until(lambda: not lives(pid), "the end of the command")
        assert time.monotonic() - stopped < LEASE + 5.0, "a bound for a loaded machine"
        _, said = process.communicate(timeout=LONG)
        assert process.returncode == 76
        *outage, loss = but_the_wait(said).splitlines()
        assert len(outage) <= 1, "the outage may be told before; nothing after"
        assert re.search(
            r"slot 0 of 'b' was lost \(unreachable\): .*Connection refused.*; the command was ended$", loss
        )
    finally:
        if process is not None:
            process.kill()
            process.communicate()
        cli("local", "stop", "--yes")


KEEPS_ITS_HANDLERS = """
import signal, sys
from ddb_lease.cli.main import main
numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
for number in numbers[:2]:
    signal.signal(number, lambda *_: None)
before = [signal.getsignal(number) for number in numbers]
code = main(sys.argv[1:])
print(code, [signal.getsignal(number) for number in numbers] == before)
"""


@pytest.mark.parametrize(("job", "options", "code"), [("exit 3", "", 3), ("true", "--count 3", 2)])
def test_afterwards_signals_are_handled_as_before(cli, bucket_name, job, options, code):
    done = subprocess.run(
        [sys.executable, "-c", KEEPS_ITS_HANDLERS, *run_line(bucket_name, job, options=options)],
        env=cli.environment,
        cwd=cli.folder,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == [f"{code} True"], done.stderr


# Held at least.


def test_of_two_crons_at_once_one_runs_and_a_later_one_finds_it_closed(cli, start, run, table, bucket_name):
    both = [start("echo ran", options="--hold-at-least 1h --timeout 0s --quiet", lease=30) for _ in range(2)]
    told = [process.communicate(timeout=LONG) for process in both]
    assert sorted((process.returncode, out) for process, (out, _) in zip(both, told, strict=True)) == [
        (0, "ran\n"),
        (75, ""),
    ]
    late = run("echo ran", options="--hold-at-least 1h --timeout 0s", lease=30)
    assert (late.returncode, late.stdout) == (75, "")
    assert re.search(r"slot 0 is closed until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", late.stderr)
    [slot] = leased(table).values()
    assert slot["expires_at"] - slot["acquired_at"] == 3_600_000
    opened = cli("release", bucket_name, slot["lease_id"], "--local")
    assert opened.returncode == 0, opened.stderr
    assert run("echo ran", options="--timeout 0s", lease=30).stdout == "ran\n"


def test_a_cron_that_is_killed_keeps_its_slot_closed(start, run, table):
    process = start(READY, options="--hold-at-least 1h", lease=30)
    first_line(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(LONG)
    [slot] = leased(table).values()
    assert slot["expires_at"] - slot["acquired_at"] == 3_600_000
    assert run("echo ran", options="--timeout 0s", lease=30).returncode == 75
