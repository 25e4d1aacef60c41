"""The watchdog against real processes: it ends what it must, before the deadline."""

import contextlib
import errno
import os
import pty
import re
import runpy
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

import pytest

from ddb_lease.cli import supervisor as supervisor_module
from ddb_lease.cli import watchdog
from ddb_lease.cli.processes import living, look_at, send
from ddb_lease.cli.supervisor import (
    CommandNotExecutable,
    CommandNotFound,
    DeadlineTooClose,
    SupervisedCommand,
    WatchdogFailed,
    pass_on,
    steady_seconds,
)
from ddb_lease.cli.watchdog import Frames, frame

SUPERVISOR = str(Path(__file__).with_name("watchdog_supervisor.py"))
LONG = 30.0  # more than any test needs; a bound for failure, never an expectation
FAR = 60.0  # a deadline that does not come

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are Linux's")

# Writes the steady time to its argument for as long as it lives.
STAMPS = """
import sys, time, signal
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
clock = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC_RAW", time.CLOCK_MONOTONIC)
with open(sys.argv[1], "a", buffering=1) as file:
    while True:
        file.write("%r\\n" % time.clock_gettime(clock))
        time.sleep(0.002)
"""


def until(condition, what="the condition"):
    bound = time.monotonic() + LONG
    while not (found := condition()):
        assert time.monotonic() < bound, f"{what} did not come true"
        time.sleep(0.01)
    return found


def lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        if sys.platform == "linux":
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    return state not in "ZX"


def watchdog_of(pid):
    """The watchdog of a command: it is the command's parent. Linux only."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def numbers_in(path, count):
    """The pids that a job wrote, once it has written them all."""

    def read():
        with contextlib.suppress(FileNotFoundError):
            text = path.read_text()
            if text.endswith("\n") and len(text.split()) >= count:
                return [int(word) for word in text.split()]
        return None

    return until(read, f"{count} numbers in {path}")


@pytest.fixture
def start():
    """Start commands that cannot outlive the test."""
    started = []

    def begin(argv, *, deadline_in=FAR, deadline=None, grace=0.3, **options):
        deadline = steady_seconds() + deadline_in if deadline is None else deadline
        command = SupervisedCommand.start(argv, deadline=deadline, grace=grace, **options)
        started.append(command)
        return command

    yield begin
    for command in started:
        command.end()
        assert command.wait(LONG) is not None


@pytest.fixture
def supervise(tmp_path):
    """Start a supervisor process; gives it with its command's pid and its deadline."""
    running = []

    def begin(*argv, deadline_in=FAR, grace=0.3, mode="hold", **options):
        notes = tmp_path / "notes"
        words = [sys.executable, SUPERVISOR, str(notes), str(deadline_in), str(grace), mode, *argv]
        process = subprocess.Popen(words, start_new_session=True, **options)
        running.append(process)
        until(lambda: notes.exists() or process.poll() is not None, "a supervisor")
        pid, deadline = notes.read_text().split()
        return process, int(pid), float(deadline)

    yield begin
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)  # the watchdog ends the rest
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def ended(command):
    result = command.wait(LONG)
    assert result is not None
    return result


# How a command ends.


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_the_exit_code_passes_through(start, code):
    result = ended(start(["sh", "-c", f"exit {code}"]))
    assert (result.code, result.signal, result.returncode) == (code, None, code)
    assert result.cause == "itself"
    assert not result.ended_by_watchdog


def test_a_death_by_signal_is_told_as_a_shell_does(start):
    result = ended(start(["sh", "-c", "kill -USR1 $$"]))
    assert (result.code, result.signal, result.returncode) == (None, signal.SIGUSR1, 128 + signal.SIGUSR1)


def test_a_command_that_is_not_there_is_127(start):
    with pytest.raises(CommandNotFound) as caught:
        start(["no-such-command-anywhere"])
    assert caught.value.exit_code == 127


def test_a_command_that_may_not_run_is_126(start, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("no program")
    with pytest.raises(CommandNotExecutable) as caught:
        start([str(plain)])
    assert caught.value.exit_code == 126
    plain.chmod(0o755)  # allowed, but of no format that the kernel knows
    with pytest.raises(CommandNotExecutable):
        start([str(plain)])


def test_too_many_arguments_are_126_and_many_pass(start):
    with pytest.raises(CommandNotExecutable, match=os.strerror(errno.E2BIG)):
        start(["true", "x" * 5_000_000])
    words = ["w" * 1000] * 500
    assert ended(start(["sh", "-c", "exit $(( $# == 500 ? 7 : 1 ))", "sh", *words])).code == 7


@pytest.mark.parametrize("argv", [[], [""], ["a\0b"]])
def test_what_cannot_be_passed_on_is_refused(start, argv):
    with pytest.raises(ValueError, match=r"no command|cannot be passed"):
        start(argv)


def test_nothing_starts_when_the_time_left_is_the_grace(start, tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(DeadlineTooClose):
        start(["touch", str(mark)], deadline_in=0.2, grace=0.3)
    assert not mark.exists()


def test_a_watchdog_that_cannot_start_is_told(start, monkeypatch):
    monkeypatch.setattr(supervisor_module.sys, "executable", "/bin/false")
    with pytest.raises(WatchdogFailed):
        start(["true"])
    monkeypatch.setattr(supervisor_module.sys, "executable", "/no/such/python")
    with pytest.raises(WatchdogFailed):
        start(["true"])


def test_a_watchdog_that_says_nothing_has_until_the_deadline_and_no_longer(monkeypatch):
    """On a clock that passes while the supervisor waits for a word, and not otherwise."""
    now, killed = [steady_seconds()], []

    class Poll:
        def register(self, *_):
            """Nothing is told of it."""

        def poll(self, milliseconds):
            now[0] += milliseconds / 1000

    kill, deadline = subprocess.Popen.kill, now[0] + 2.5
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: killed.append(now[0]) or kill(process))
    monkeypatch.setattr(supervisor_module, "watchdog_line", lambda: ["-c", "import time; time.sleep(600)"])
    monkeypatch.setattr(supervisor_module, "steady_seconds", lambda: now[0])
    monkeypatch.setattr(supervisor_module, "select", types.SimpleNamespace(poll=Poll, POLLIN=select.POLLIN))
    with pytest.raises(DeadlineTooClose, match="^true: not started before the deadline$"):
        SupervisedCommand.start(["true"], deadline=deadline, grace=0.3)
    (killed_at,) = killed
    assert deadline <= killed_at < deadline + 0.01


# What the command finds.


def test_arguments_and_environment_arrive_to_the_byte(start, tmp_path):
    out = tmp_path / "out"
    odd = os.fsdecode(b"\xff\xfe") + "ü\n"
    script = 'printf "%s|" "$@" "$ODD" > "$OUT"; env >> "$OUT"'
    env = {"ODD": odd, "OUT": str(out), "PATH": os.environ["PATH"]}
    assert ended(start(["sh", "-c", script, "sh", "", odd], env=env)).code == 0
    words, _, rest = out.read_bytes().rpartition(b"|")
    assert words.split(b"|") == [b"", os.fsencode(odd), os.fsencode(odd)]
    names = {line.partition(b"=")[0] for line in rest.splitlines() if b"=" in line}
    assert names <= {b"ODD", b"OUT", b"PATH", b"PWD", b"SHLVL", b"_", b"OLDPWD"}


@linux_only
@pytest.mark.parametrize("argv", [["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"], ["ls", "/proc/self/fd"]])
def test_the_command_finds_default_signals_and_no_file_of_ours(tmp_path, argv):
    """Run directly: a shell between would empty the mask itself."""
    words = [SUPERVISOR, str(tmp_path / "notes"), str(FAR), "0.3", "hold", *argv]
    spoil = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT): signal.signal(n, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGUSR2])\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    argv = [sys.executable, "-c", spoil, *words]
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=LONG, check=True)
    said = result.stdout.decode().split()
    if "ls" in words:
        assert said == ["0", "1", "2", "3"]  # 3: ls reads the folder
    else:
        libc_own = 0b11 << 31  # signals 32 and 33 are the C library's: nobody may set them
        assert [word if ":" in word else int(word, 16) & ~libc_own for word in said] == ["SigBlk:", 0, "SigIgn:", 0]


@linux_only
def test_nohup_is_kept(tmp_path):
    words = [SUPERVISOR, str(tmp_path / "notes"), str(FAR), "0.3", "hold", "sh", "-c", "kill -HUP $$; exit 3"]
    result = subprocess.run(["nohup", sys.executable, *words], timeout=LONG, check=False)
    assert result.returncode == 3


def test_a_file_that_we_were_given_to_pass_on_is_passed_on(start, tmp_path):
    with (tmp_path / "log").open("w") as log:
        os.set_inheritable(log.fileno(), True)  # as the shell's 3>log
        script = f"import os; os.write({log.fileno()}, b'here')"
        assert ended(start([sys.executable, "-c", script])).code == 0
    assert (tmp_path / "log").read_text() == "here"


# The deadline.


@pytest.mark.parametrize("manner", ["", "deaf"])
def test_an_unfed_command_is_dead_before_its_deadline(start, tmp_path, manner):
    stamps = tmp_path / "stamps"
    argv = [sys.executable, "-c", STAMPS, str(stamps), manner]
    deadline = steady_seconds() + 7.0
    command = start(argv, deadline=deadline, grace=3.5, kill_reserve=2.5)
    result = ended(command)
    assert result.ended_by_watchdog
    assert result.signal == (signal.SIGKILL if manner else signal.SIGTERM)
    last = float(stamps.read_text().split("\n")[-2])
    assert last < result.gone_at
    assert last < deadline


@linux_only
def test_a_stopped_supervisor_does_not_keep_the_command_alive(supervise, tmp_path):
    stamps, pids = tmp_path / "stamps", tmp_path / "pids"
    script = f'"{sys.executable}" -c "$0" "{stamps}" deaf & echo $! > "{pids}"; wait'
    process, pid, deadline = supervise("sh", "-c", script, STAMPS, deadline_in=7.0, grace="3.5,2.5")
    grandchild = numbers_in(pids, 1)[0]
    os.kill(process.pid, signal.SIGSTOP)
    until(lambda: not lives(pid) and not lives(grandchild), "the end of the group")
    assert float(stamps.read_text().split("\n")[-2]) < deadline
    assert lives(process.pid)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(LONG) in (128 + signal.SIGTERM, 128 + signal.SIGKILL)


def test_a_stopped_command_is_ended_too(start):
    command = start(["sh", "-c", "kill -STOP $$; exit 5"], deadline_in=5.0, grace=2.0)
    assert ended(command).signal == signal.SIGTERM


def test_feeding_keeps_it_alive_and_the_last_word_counts(start, tmp_path):
    first = steady_seconds() + 5.0
    command = start(["sleep", "1000"], deadline=first, grace=1.0)
    command.feed(steady_seconds() + FAR)
    until(lambda: steady_seconds() > first, "the first deadline")
    assert command.wait(0.1) is None
    assert lives(command.pid)
    command.feed(steady_seconds() + 0.5)
    assert ended(command).ended_by_watchdog


# The supervisor, or the watchdog, is lost.


@linux_only
@pytest.mark.parametrize("whole_group", [False, True])
def test_a_killed_supervisor_takes_the_whole_group_with_it(supervise, tmp_path, whole_group):
    pids = tmp_path / "pids"
    script = f'trap "" TERM; sleep 1000 & echo $! > "{pids}"; sleep 1000'
    process, pid, _deadline = supervise("sh", "-c", script)
    watchdog = watchdog_of(pid)
    grandchild = numbers_in(pids, 1)[0]
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    until(lambda: not lives(pid) and not lives(grandchild), "the end of the group")
    until(lambda: not lives(watchdog), "the end of the watchdog")


@linux_only
def test_a_killed_watchdog_takes_the_whole_group_with_it(start, tmp_path):
    pids = tmp_path / "pids"
    command = start(["sh", "-c", f'trap "" TERM; sleep 1000 & echo $! > "{pids}"; wait; sleep 1000'])
    grandchild = numbers_in(pids, 1)[0]
    os.kill(watchdog_of(command.pid), signal.SIGKILL)
    result = ended(command)
    assert (result.cause, result.returncode) == ("watchdog died", 137)
    assert not lives(command.pid)
    assert not lives(grandchild)


@linux_only
def test_the_command_dies_with_the_watchdog_though_the_supervisor_hangs(supervise):
    process, pid, _deadline = supervise("sleep", "1000")
    watchdog = watchdog_of(pid)
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(watchdog, signal.SIGKILL)
    until(lambda: not lives(pid), "the end of the command")


@linux_only
def test_a_deaf_watchdog_is_replaced_at_the_deadline(start):
    command = start(["sleep", "1000"], deadline_in=4.0, grace=0.3)
    os.kill(watchdog_of(command.pid), signal.SIGSTOP)
    result = ended(command)
    assert (result.cause, result.signal) == ("deadline", signal.SIGKILL)
    assert not lives(command.pid)


@linux_only
def test_the_watchdog_has_no_ear_for_signals(start):
    command = start(["sleep", "1000"])
    watchdog = watchdog_of(command.pid)
    faults = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"}
    for signum in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        if signum.name not in faults:
            os.kill(watchdog, signum)
    assert command.wait(0.2) is None
    assert lives(watchdog)
    assert watchdog_of(command.pid) == watchdog
    assert lives(command.pid)


# What is left behind.


@linux_only
@pytest.mark.parametrize("manner", ["", 'trap "" TERM;'])
def test_what_a_command_leaves_in_its_group_ends_before_the_exit_is_told(start, tmp_path, manner):
    pids = tmp_path / "pids"
    command = start(["sh", "-c", f'{manner} sleep 1000 & echo $! > "{pids}"; exit 6'])
    result = ended(command)
    assert (result.code, result.cause) == (6, "itself")
    assert not lives(numbers_in(pids, 1)[0])


def test_what_is_left_behind_gets_term_before_kill(start, tmp_path):
    ready, mark = tmp_path / "ready", tmp_path / "mark"
    left = f'trap "echo 1 > {mark}; exit" TERM; echo 1 > {ready}; while :; do sleep 0.01; done'
    command = start(["sh", "-c", f"sh -c '{left}' & while ! [ -s {ready} ]; do sleep 0.01; done"], grace=5.0)
    assert ended(command).code == 0
    assert mark.read_text() == "1\n"


PACED = """
import select
notes, poll = open({notes!r}, "a", buffering=1), select.poll

class Poll:
    def __init__(self):
        self._poll = poll()
        self.register, self.unregister = self._poll.register, self._poll.unregister

    def poll(self, milliseconds):
        notes.write("%d\\n" % milliseconds)
        return self._poll.poll(milliseconds)

select.poll = Poll
"""


@pytest.fixture
def sleeps(tmp_path, monkeypatch):
    """For how many milliseconds the watchdog has slept at most, each time."""
    notes = tmp_path / "sleeps"
    *how, program, home = supervisor_module.watchdog_line()
    noted = [*how, f"{PACED.format(notes=str(notes))}\n{program}", home]
    monkeypatch.setattr(supervisor_module, "watchdog_line", lambda: noted)
    return lambda: [int(word) for word in notes.read_text().split()]


def test_while_the_command_runs_the_watchdog_looks_once_a_second(start, sleeps):
    command = start(["sleep", "1000"])
    until(lambda: command.feed(steady_seconds() + FAR) or len(sleeps()) >= 8, "looks at each word that it is told")
    assert set(sleeps()) == {1000, 1001}


def test_what_the_command_left_behind_is_looked_at_soon_and_then_less_often(start, sleeps, tmp_path):
    left = f'trap "" TERM; echo $$ > {tmp_path}/left; while :; do sleep 0.01; done'
    argv = ["sh", "-c", f"sh -c '{left}' & while ! [ -s {tmp_path}/left ]; do sleep 0.01; done"]
    command = start(argv, deadline_in=10 * FAR, grace=LONG)

    def soon():
        return [pause for pause in sleeps() if pause < 1000]

    until(lambda: len(soon()) >= 7, "seven looks at what is left")
    os.kill(numbers_in(tmp_path / "left", 1)[0], signal.SIGKILL)
    assert ended(command).code == 0
    assert soon()[:7] == [11, 21, 41, 81, 161, 251, 251]


@linux_only
def test_what_left_the_group_is_let_alone_and_does_not_delay(start, tmp_path):
    pids = tmp_path / "pids"
    script = f'setsid sh -c "echo \\$\\$ > {pids}; exec sleep 1000" & '
    script += f"while ! [ -s {pids} ]; do sleep 0.01; done; exit 2"
    command = start(["sh", "-c", script])
    daemon = numbers_in(pids, 1)[0]
    try:
        assert ended(command).code == 2
        assert lives(daemon)
    finally:
        os.kill(daemon, signal.SIGKILL)


DAEMON = """
import os, signal, sys, time
if not os.fork():
    os.setsid()
    if not os.fork():
        if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open(sys.argv[1] + ".new", "w") as file: file.write("%d\\n" % os.getpid())
        os.replace(sys.argv[1] + ".new", sys.argv[1])
        while True: time.sleep(1)
    os._exit(0)
os.wait()
time.sleep(600)
"""
"""Forks twice, with a session of its own in between: its parent is dead, its group and session are others."""


@linux_only
@pytest.mark.parametrize("manner", ["", "deaf"])
@pytest.mark.parametrize("how", ["deadline", "end", "stop"])
def test_a_daemon_ends_with_a_command_that_is_ended(start, tmp_path, how, manner):
    command = start([sys.executable, "-c", DAEMON, str(tmp_path / "pid"), manner], grace=0.5)
    daemon = numbers_in(tmp_path / "pid", 1)[0]
    if how == "deadline":
        command.feed(steady_seconds() + 1.0)
    elif how == "end":
        command.end()
    else:
        command.stop(signal.SIGTERM, 0.5)
    assert ended(command).cause == how
    assert not lives(daemon)


@linux_only
def test_a_daemon_ends_when_the_supervisor_is_killed(supervise, tmp_path):
    process, pid, _deadline = supervise(sys.executable, "-c", DAEMON, str(tmp_path / "pid"), "deaf")
    daemon = numbers_in(tmp_path / "pid", 1)[0]
    process.kill()
    until(lambda: not lives(pid) and not lives(daemon), "the end of both")


@linux_only
def test_of_a_command_whose_supervisor_and_watchdog_are_both_killed_only_itself_ends(supervise, tmp_path):
    """What the page says is not promised, so that it stays true."""
    process, pid, _deadline = supervise("sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/pid; wait")
    watchdog = watchdog_of(pid)
    child = numbers_in(tmp_path / "pid", 1)[0]
    try:
        os.kill(process.pid, signal.SIGSTOP)  # or it would see the watchdog die
        os.kill(watchdog, signal.SIGKILL)
        process.kill()
        until(lambda: not lives(pid), "the end of the command")
        assert lives(child)
    finally:
        os.kill(child, signal.SIGKILL)


@linux_only
def test_a_command_whose_supervisor_and_watchdog_are_both_stopped_ends_when_one_goes_on(supervise):
    process, pid, deadline = supervise("sleep", "1000", deadline_in=4.0)
    watchdog = watchdog_of(pid)
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(watchdog, signal.SIGSTOP)
    until(lambda: steady_seconds() > deadline, "the deadline")
    assert lives(pid)
    os.kill(watchdog, signal.SIGCONT)
    until(lambda: not lives(pid), "the end of the command")
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(LONG) in (128 + signal.SIGTERM, 128 + signal.SIGKILL)


@pytest.fixture
def delegated():
    """A cgroup that was delegated to an unprivileged user; and what runs a program in it, as that user."""
    tops = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line]
    folder = Path(tops[0] if tops else "/none", f"ddb-lease-test-{os.getpid()}")
    setpriv = shutil.which("setpriv")
    try:
        if setpriv is None or os.geteuid() != 0:
            pytest.skip("only root can delegate")
        folder.mkdir()
    except OSError:
        pytest.skip("no cgroup can be made here")
    for path in (folder, folder / "cgroup.procs"):
        os.chown(path, 65534, 65534)
    join = f'echo $$ > "{folder}/cgroup.procs"; exec "$@"'
    yield folder, ["sh", "-c", join, "sh", setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
    (folder / "cgroup.kill").write_text("1")
    until(lambda: "populated 0" in (folder / "cgroup.events").read_text(), "its end")
    for inner in filter(Path.is_dir, folder.iterdir()):
        inner.rmdir()
    folder.rmdir()


@linux_only
@pytest.mark.parametrize("lost", ["command", "watchdog"])
def test_in_a_delegated_cgroup_all_ends_that_the_command_started_whoever_it_runs_as(delegated, lost):
    folder, as_user = delegated
    shared = Path(tempfile.mkdtemp(prefix="ddb-lease-"))
    os.chown(shared, 65534, 65534)
    raises = shared / "as-root"
    shutil.copy(shutil.which("setpriv"), raises)
    raises.chmod(0o4755)
    script = (
        f"{raises} --reuid=0 setsid sleep 1000 & exec {raises} --reuid=0 sh -c \"trap '' TERM; sleep 1000; sleep 1000\""
    )
    words = [*as_user, sys.executable, SUPERVISOR, str(shared / "notes"), str(FAR), "0.5", "hold", "sh", "-c", script]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        if not until(lambda: (shared / "notes").exists() or process.poll() is not None) or process.poll() is not None:
            pytest.skip(f"an unprivileged user cannot use this interpreter: {process.stderr.read()!r}")
        pid = int((shared / "notes").read_text().split()[0])
        watchdog = watchdog_of(pid)
        (inner,) = [path for path in folder.iterdir() if path.is_dir()]

        def as_root():
            numbers = [int(number) for number in (inner / "cgroup.procs").read_text().split()]
            return numbers if [os.stat(f"/proc/{number}").st_uid for number in numbers] == [0, 0, 0] else None

        everyone = until(as_root, "three processes of root")
        os.kill(process.pid if lost == "command" else watchdog, signal.SIGKILL)
        until(lambda: not any(map(lives, everyone)), "their end")
        until(lambda: not inner.exists(), "the end of the cgroup")
        assert pid in everyone
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(shared)


@linux_only
def test_a_signal_by_pidfd_reaches_no_later_process_of_the_number():
    child = subprocess.Popen(["sleep", "1000"])
    try:
        seen = until(lambda: look_at(child.pid), "the process")
        send(seen._replace(started=seen.started - 1), signal.SIGKILL)
        assert child.poll() is None
        send(seen, signal.SIGKILL)
        assert child.wait(LONG) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()


# Being asked to stop.


NEVER_STOPS = 'trap "" TERM; echo 1 > "$0"; while :; do sleep 0.02; done'


def told(command, notices, word):
    until(lambda: command.wait(0.02) is None and any(word in notice for notice in notices), word)


def test_after_a_stop_comes_the_grace_and_then_kill_and_both_are_told(start, tmp_path):
    notices = []
    command = start(["sh", "-c", NEVER_STOPS, str(tmp_path / "a")], on_notice=notices.append)
    numbers_in(tmp_path / "a", 1)
    command.stop(signal.SIGTERM, 4.0)
    result = ended(command)
    assert (result.signal, result.cause) == (signal.SIGKILL, "stop")
    assert [re.sub(r"[\d.]+s", "Ns", notice) for notice in notices] == [
        "TERM was passed on, and the command still runs; KILL follows in Ns, or on a second TERM",
        "the command did not end in time after TERM: KILL",
    ]


def test_a_second_stop_means_at_once_but_one_that_comes_doubled_does_not(start, tmp_path):
    notices = []
    command = start(["sh", "-c", NEVER_STOPS, str(tmp_path / "a")], on_notice=notices.append)
    numbers_in(tmp_path / "a", 1)
    command.stop(signal.SIGTERM, FAR)
    command.stop(signal.SIGTERM, FAR)
    told(command, notices, "still runs")
    command.stop(signal.SIGTERM, FAR)
    assert ended(command).signal == signal.SIGKILL


def test_a_stop_without_a_kill_waits_for_the_command_and_yields_to_the_deadline(start, tmp_path):
    notices = []
    command = start(["sh", "-c", NEVER_STOPS, str(tmp_path / "a")], on_notice=notices.append)
    numbers_in(tmp_path / "a", 1)
    for _ in range(3):
        command.stop(signal.SIGTERM, float("inf"))
        told(command, notices, "no KILL follows")
    assert lives(command.pid)
    command.feed(steady_seconds() + 1.0)
    assert ended(command).ended_by_watchdog


def test_a_command_that_stops_when_it_is_asked_to_is_told_of_in_no_word(start, tmp_path):
    notices = []
    script = 'trap "exit 9" TERM; echo 1 > "$0"; while :; do sleep 0.02; done'
    command = start(["sh", "-c", script, str(tmp_path / "a")], on_notice=notices.append)
    numbers_in(tmp_path / "a", 1)
    command.stop(signal.SIGTERM, FAR)
    assert (ended(command).code, ended(command).cause) == (9, "stop")
    assert not [notice for notice in notices if "KILL:" in notice]


@linux_only
@pytest.mark.parametrize("lack", ["del os.waitid", "sys.modules['ctypes'] = None", "os.readlink = None"])
def test_poorer_systems_lose_no_part_of_the_group(start, tmp_path, monkeypatch, lack):
    """No waitid (macOS before Python 3.13), no prctl, no /proc: the watchdog run with that taken away."""
    lack = lack.replace("= None", "= lambda _path: ''") if "readlink" in lack else lack
    *how, program, home = supervisor_module.watchdog_line()
    poorer = [*how, f"import os, sys; {lack}; {program}", home]
    monkeypatch.setattr(supervisor_module, "watchdog_line", lambda: poorer)
    assert ended(start(["sh", "-c", "exit 3"])).code == 3
    assert ended(start(["sh", "-c", "kill -9 $$"])).signal == signal.SIGKILL
    with pytest.raises(CommandNotFound):
        start(["no-such-command-anywhere"])
    pids = tmp_path / "pids"
    result = ended(start(["sh", "-c", f'trap "" TERM; sleep 1000 & echo $! > "{pids}"; exit 6']))
    assert result.code == 6
    assert not lives(numbers_in(pids, 1)[0])
    deaf = ["sh", "-c", f'trap "" TERM; sleep 1000 & echo $! > "{pids}"; sleep 1000']
    pids.unlink()
    command = start(deaf, grace=2.0, kill_reserve=1.0)
    numbers_in(pids, 1)
    command.feed(steady_seconds() + 2.0)
    result = ended(command)
    assert (result.signal, result.cause) == (signal.SIGKILL, "deadline")
    assert not lives(numbers_in(pids, 1)[0])


@linux_only
def test_orphans_are_reaped_while_the_command_runs(start, tmp_path):
    pids = tmp_path / "pids"
    command = start(["sh", "-c", f'sh -c "sleep 0.05 & echo \\$! > {pids}"; sleep 1000'])
    orphan = numbers_in(pids, 1)[0]
    until(lambda: not Path(f"/proc/{orphan}").exists(), "the reaping of the orphan")
    assert command.wait(0.0) is None


# Asking.


def test_end_is_term_and_then_kill(start, tmp_path):
    spin = 'echo 1 > "$0"; while :; do sleep 0.01; done'
    polite = start(["sh", "-c", 'trap "exit 9" TERM; ' + spin, str(tmp_path / "a")], grace=10.0)
    rude = start(["sh", "-c", 'trap "" TERM; ' + spin, str(tmp_path / "b")])
    numbers_in(tmp_path / "a", 1)
    numbers_in(tmp_path / "b", 1)
    polite.end()
    rude.end()
    assert (ended(polite).code, ended(polite).cause) == (9, "end")
    assert (ended(rude).signal, ended(rude).cause) == (signal.SIGKILL, "end")


def test_a_signal_reaches_the_command(start, tmp_path):
    script = 'trap "exit 8" USR2; echo 1 > "$0"; while :; do sleep 0.01; done'
    command = start(["sh", "-c", script, str(tmp_path / "a")])
    numbers_in(tmp_path / "a", 1)
    command.signal(signal.SIGUSR2)
    assert ended(command).code == 8


def test_nothing_said_after_the_end_does_harm(start):
    command = start(["true"])
    result = ended(command)
    for _ in range(3):
        command.feed(steady_seconds() + FAR)
        command.signal(signal.SIGKILL)
        command.end()
    assert command.wait(0) == result


def test_other_threads_may_end_and_wait_while_one_waits(start):
    command = start(["sleep", "1000"])
    results = []

    def other():
        command.end()
        results.append(command.wait(LONG))

    threads = [threading.Thread(target=other) for _ in range(4)]
    threads[0].start()
    for thread in threads[1:]:
        thread.start()
    results.append(ended(command))
    for thread in threads:
        thread.join(LONG)
    assert len(results) == 5
    assert len(set(results)) == 1


def test_many_feeds_from_many_threads_stay_whole(start):
    command = start(["sleep", "1000"])
    threads = [
        threading.Thread(target=lambda: [command.feed(steady_seconds() + FAR) for _ in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert command.wait(0.1) is None
    command.end()
    assert ended(command).cause == "end"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_the_supervisors_signals_are_the_commands(supervise, signum):
    process, pid, _deadline = supervise("sleep", "1000", mode="feed")
    process.send_signal(signum)
    assert process.wait(LONG) == 128 + signum
    assert not lives(pid)


def test_passing_on_leaves_the_handlers_as_they_were(start):
    before = {number: signal.getsignal(number) for number in supervisor_module.PASSED_ON}
    command = start(["sleep", "1000"])
    with pass_on(command):
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended(command).signal == signal.SIGTERM
    assert {number: signal.getsignal(number) for number in supervisor_module.PASSED_ON} == before


def test_commands_that_end_while_they_are_being_ended(start):
    for pause in range(12):
        command = start(["sleep", str(pause / 1000)], grace=10.0)
        command.end()
        assert ended(command).returncode in (0, 128 + signal.SIGTERM)


# The wire.


def test_frames_survive_any_cut():
    stream = frame("run", 0.1, b"", b"\xff") + frame("end") + frame("deadline", 12345.678901234567)
    whole = [[b"run", b"0.1", b"", b"\xff"], [b"end"], [b"deadline", b"12345.678901234567"]]
    for step in range(1, len(stream) + 1):
        frames = Frames()
        got = [words for at in range(0, len(stream), step) for words in frames.take(stream[at : at + step])]
        assert got == whole


@linux_only
def test_a_zombie_is_not_alive():
    child = subprocess.Popen(["true"], start_new_session=True)
    until(lambda: not lives(child.pid), "its end")
    assert living(child.pid, session=child.pid) is False
    assert living(os.getpgrp(), session=os.getsid(0)) is True
    child.wait()


# The terminal.


class Screen:
    """A terminal with a program in it that leads the session."""

    def __init__(self, *argv):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execvp(argv[0], argv)
        self.text = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def shows(self, text):
        """Wait for the text, and consume the output up to it."""
        bound = time.monotonic() + LONG
        while text not in self.text:
            assert time.monotonic() < bound, f"{text!r} not in {self.text!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.fd, 4096).decode(errors="replace")
                except OSError:  # the other side is closed
                    assert text in self.text, self.text
        self.text = self.text.partition(text)[2]

    def status(self):
        bound = time.monotonic() + LONG
        while time.monotonic() < bound:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.02)[0]:
                with contextlib.suppress(OSError):
                    self.text += os.read(self.fd, 4096).decode(errors="replace")
        raise AssertionError(f"it does not end: {self.text!r}")

    def close(self):
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def screen(tmp_path):
    screens = []

    def show(*argv):
        screens.append(Screen(*argv))
        return screens[-1]

    yield show
    for one in screens:
        one.close()


def supervisor(tmp_path, *argv, deadline_in=FAR, mode="feed"):
    return [sys.executable, SUPERVISOR, str(tmp_path / "notes"), str(deadline_in), "0.3", mode, *argv]


def test_a_command_reads_the_terminal_and_ctrl_c_is_its_own(screen, tmp_path):
    script = 'trap "echo caught; exit 4" INT; echo ready; read line; echo "got $line"; '
    script += "while :; do sleep 0.01; done"
    one = screen(*supervisor(tmp_path, "sh", "-c", script))
    one.shows("ready")
    one.type("hello\n")
    one.shows("got hello")
    one.type("\x03")
    one.shows("caught")
    assert one.status() == 4


def test_ctrl_c_ends_a_command_that_does_not_mind_it(screen, tmp_path):
    one = screen(*supervisor(tmp_path, "cat"))
    one.type("echo\n")
    one.shows("echo\r\necho")
    one.type("\x03")
    assert one.status() == 128 + signal.SIGINT


def test_an_interactive_shell_works_inside(screen, tmp_path):
    one = screen(*supervisor(tmp_path, "sh", "-i"))
    one.type("echo $((6 * 7))\n")
    one.shows("42")
    one.type("sh -c 'echo $((1 + 1))up; exec sleep 1000'\n")
    one.shows("2up")
    one.type("\x03")
    one.shows("^C")
    one.type("echo $((7 * 8)); exit 3\n")
    one.shows("56")
    assert one.status() == 3


@pytest.fixture
def shell(screen, tmp_path):
    """An interactive shell with job control around the supervisor; `run` is typed."""
    one = screen("bash", "--norc", "--noprofile", "-i")
    one.type("PS1='prompt''> '; stty -echo\n")
    one.shows("prompt> ")
    return one


def quoted(words):
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)


def test_ctrl_z_gives_the_prompt_and_fg_the_command_back(shell, tmp_path):
    script = 'echo ready; read line; echo "got $line"; exit 5'
    shell.type(quoted(supervisor(tmp_path, "sh", "-c", script)) + "\n")
    shell.shows("ready")
    shell.type("\x1a")
    shell.shows("Stopped")
    shell.shows("prompt> ")
    shell.type("echo $((6 * 7))\n")
    shell.shows("42")
    shell.type("fg\n")
    shell.type("again\n")
    shell.shows("got again")
    shell.shows("prompt> ")
    shell.type('echo "code $?"\n')
    shell.shows("code 5")


@linux_only
def test_a_command_stopped_from_the_terminal_does_not_outlive_its_deadline(shell, tmp_path):
    shell.type(quoted(supervisor(tmp_path, "sh", "-c", "echo ready; read line", deadline_in=5.0)) + "\n")
    shell.shows("ready")
    until((tmp_path / "notes").exists, "the notes")
    pid = int((tmp_path / "notes").read_text().split()[0])
    shell.type("\x1a")
    shell.shows("prompt> ")
    until(lambda: not lives(pid), "the end of the command")
    shell.type("echo $((6 * 7))\n")  # the prompt is still the shell's
    shell.shows("42")
    shell.type("fg\n")
    shell.shows("prompt> ")
    shell.type('echo "code $?"\n')
    shell.shows(f"code {128 + signal.SIGTERM}")


def test_a_pager_beside_the_command_keeps_the_terminal(shell, tmp_path):
    done = tmp_path / "done"
    writer = f"echo te''xt; while ! [ -e {done} ]; do sleep 0.01; done"
    reader = f'read line; echo $line; read line < /dev/tty; echo "pager got $line"; touch {done}'
    shell.type(quoted(supervisor(tmp_path, "sh", "-c", writer)) + " | sh -c " + quoted([reader]) + "\n")
    shell.shows("text")
    shell.type("key\n")
    shell.shows("pager got key")
    shell.shows("prompt> ")


def test_the_command_is_in_the_foreground_at_once_and_after_fg(shell, tmp_path):
    go = tmp_path / "go"
    ask = "import os; print('fro' + 'nt', os.tcgetpgrp(0) == os.getpgrp())"
    script = f'"{sys.executable}" -c "$0"; while ! [ -e {go} ]; do sleep 0.01; done; "{sys.executable}" -c "$0"'
    shell.type(quoted(supervisor(tmp_path, "sh", "-c", script, ask)) + "\n")
    shell.shows("front True")
    shell.type("\x1a")
    shell.shows("prompt> ")
    shell.type(f"touch {go}; fg\n")
    shell.shows("front True")
    shell.shows("prompt> ")


def test_ctrl_z_where_nobody_could_continue_it_is_a_hiccup(screen, tmp_path):
    one = screen(*supervisor(tmp_path, "sh", "-c", 'echo ready; read line; echo "got $line"; exit 5'))
    one.shows("ready")
    one.type("\x1a")
    one.shows("^Z")
    one.type("on\n")
    one.shows("got on")
    assert one.status() == 5


STOPPED_AT_ONCE = """
import socket, sys
sys.path.insert(0, sys.argv[1])
from ddb_lease.cli.watchdog import Frames, frame

control = socket.socket(fileno=int(sys.argv[2]))
control.recv(65536)
control.sendall({words})
heard, frames = [], Frames()
while [b"resume"] not in heard:
    data = control.recv(65536)
    if not data:
        sys.exit()  # nobody continued it
    heard += frames.take(data)
control.sendall(frame("exited", "code", 5, "itself", 1.0))
"""


@pytest.mark.parametrize(
    "words",
    [
        'frame("started", 1, "group") + frame("stopped", 20)',
        'frame("stopped", 20) + frame("started", 1, "group")',
    ],
    ids=["in one breath", "stopped before its start was seen"],
)
def test_a_command_stopped_as_soon_as_it_started_is_continued(monkeypatch, words):
    program, root = STOPPED_AT_ONCE.format(words=words), str(Path(__file__).resolve().parents[2])
    monkeypatch.setattr(supervisor_module, "watchdog_line", lambda: ["-c", program, root])
    sent = []
    monkeypatch.setattr(os, "killpg", lambda *words: sent.append(words))  # else it would stop these tests
    command = SupervisedCommand.start(["true"], deadline=steady_seconds() + FAR, grace=0.3)
    ended = command.wait(LONG)
    assert ended is not None
    assert ended.code == 5
    assert sent == [(os.getpgrp(), signal.SIGTSTP)]


def test_a_command_in_a_pipe_gets_the_terminal_when_it_asks(shell, tmp_path):
    asker = 'read line < /dev/tty; echo "it got $line"'
    shell.type(quoted(supervisor(tmp_path, "sh", "-c", asker)) + " | cat\n")
    until((tmp_path / "notes").exists, "the command")
    shell.type("key\n")
    shell.shows("it got key")


@linux_only
def test_the_terminal_is_usable_after_a_killed_full_screen_program(shell, tmp_path):
    script = 'trap "" TERM; stty raw -echo; echo ready; while :; do sleep 0.01; done'
    shell.type(quoted(supervisor(tmp_path, "sh", "-c", script, deadline_in=5.0, mode="hold")) + "; stty -a\n")
    shell.shows("ready")
    shell.shows(" icanon")


@pytest.mark.parametrize("platform", ["freebsd14", "linux", "darwin"])
def test_where_no_clock_counts_suspended_time_the_watchdog_reads_the_monotonic_one(monkeypatch, platform):
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC_RAW"):
        monkeypatch.delattr(time, name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    assert runpy.run_path(watchdog.__file__)["steady_seconds"] is time.monotonic
