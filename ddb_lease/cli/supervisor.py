"""The supervisor's side of the watchdog: a command that cannot outlive its deadline.

Invariants:
    1. The command is started, signalled and ended through the watchdog (see `watchdog.py`); this side
       only feeds, asks and waits. It kills by itself in one case: the watchdog is dead or deaf.
    2. `feed`, `signal` and `end` take no lock and are one send() of one small frame each, so they may be
       called by any thread and by a signal handler, whatever other threads do.
    3. Any number of threads may wait. Each waiting thread reads; the end of the watchdog is an end of file that
       every one of them sees.
    4. Times are seconds; deadlines are times of `steady_seconds`, the watchdog's clock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from ddb_lease.cli.cgroup import Cgroup
from ddb_lease.cli.formatting import printable, shown
from ddb_lease.cli.lookup import reason
from ddb_lease.cli.lookup import trouble_with as lookup_trouble
from ddb_lease.cli.processes import denied, living, members, send_group
from ddb_lease.cli.watchdog import Frames, frame, steady_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import FrameType

__all__ = [
    "CommandNotExecutable",
    "CommandNotFound",
    "CommandNotStarted",
    "DeadlineTooClose",
    "Exit",
    "SupervisedCommand",
    "WatchdogFailed",
    "check_watchdog",
    "named",
    "not_started",
    "pass_on",
    "steady_seconds",
]

PASSED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,  # the terminal tells its foreground group only, which need not be the command's
)
LOOK = 1.0  # poll() does not count suspended time, so no single wait is longer
HEAD_START = 1.5  # we were suspended or stopped: the watchdog, awake at most 1 s after us, reports first
KILL_RESERVE = 0.2  # between KILL and the deadline: what a loaded machine needs to reap a group
WATCHDOG = "ddb_lease.cli.watchdog"
STOP_PAUSE = 0.1  # see _stop_ourselves

Cause = Literal["itself", "stop", "end", "deadline", "orphaned", "watchdog died"]


class CommandNotStarted(Exception):
    """The command did not start; nothing runs. `exit_code` is what a shell would return."""

    exit_code = 126


class CommandNotFound(CommandNotStarted):
    """There is no such command (127)."""

    exit_code = 127


class CommandNotExecutable(CommandNotStarted):
    """It is there but cannot be run: no permission, unknown format, too many arguments (126)."""


class DeadlineTooClose(CommandNotStarted):
    """The time left is not longer than the grace: the command would be ended at once."""


class WatchdogFailed(CommandNotStarted):
    """The watchdog could not be started or died before the command ran. What it said is on stderr."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How the command ended. By then nothing in its process group is alive.

    Attributes:
        code: Its exit code, or None if a signal ended it.
        signal: The signal that ended it, or None.
        cause: What began the end: the command "itself", `stop()`, `end()`, the "deadline", or the death of the
            watchdog. If the watchdog is lost (dead, or deaf at the deadline) the group is killed from here and
            the command's own status is unknown: it is told as signal 9.
        gone_at: Steady time at which the group was found gone, in seconds.
    """

    code: int | None
    signal: int | None
    cause: Cause
    gone_at: float

    @property
    def returncode(self) -> int:
        """The exit status as a shell tells it: the code, or 128 + the signal's number."""
        return self.code if self.code is not None else 128 + (self.signal or 0)

    @property
    def ended_by_watchdog(self) -> bool:
        """Whether the deadline was enforced: no newer one was fed in time."""
        return self.cause == "deadline"


class SupervisedCommand:
    """A command under a watchdog. Made by `start`.

    Not promised: see the head of `watchdog.py` for what escapes a process group. A watchdog that is itself
    stopped or killed is noticed by `wait` only, so keep waiting.
    """

    def __init__(
        self,
        watchdog: subprocess.Popen[bytes],
        control: socket.socket,
        deadline: float,
        on_notice: Callable[[str], object] | None = None,
    ) -> None:
        self._watchdog, self._control, self._deadline = watchdog, control, deadline
        self._on_notice = on_notice
        self.is_out_of_reach = False
        """Whether there are processes that we may not signal: they end by themselves, or not at all."""
        self.pid = 0
        """The command's process id, and its group's number. Do not signal it from here: use `signal`."""
        self.reach = "group"
        """What of it can be ended: its process "group", all its "descendants", or all in the cgroup of this folder."""
        self._reading = threading.Lock()
        self._frames = Frames()
        self._exit: Exit | None = None
        self._failure = 0
        self._is_watchdog_gone = False
        self._is_stopped = False  # and not yet answered: it may come with the word that it has started
        self._why_replaced: Cause = "watchdog died"
        self._looked_at = steady_seconds()
        self._patient_until = 0.0

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        deadline: float,
        grace: float,
        kill_reserve: float | None = None,
        on_notice: Callable[[str], object] | None = None,
    ) -> SupervisedCommand:
        """Start `argv` (no shell) with this terminal, directory, umask and inheritable files.

        Args:
            argv: The command and its arguments; the command is looked up on the PATH of `env`.
            env: Its whole environment; None for ours.
            deadline: Steady time by which its group must be dead if no newer one is fed.
            grace: Seconds from TERM to KILL; TERM is sent at `deadline - grace`.
            kill_reserve: Seconds between KILL and the deadline; at most half the grace by default, as
                KILL must not come before TERM had a chance.
            on_notice: Called by `wait`, on its thread, with what people should know, a sentence each.

        Raises:
            CommandNotStarted: One of its heirs; nothing runs.
            ValueError: An argument cannot be passed on (NUL, no command, negative times).
        """
        reserve = min(KILL_RESERVE, grace / 2) if kill_reserve is None else kill_reserve
        request = _request(argv, named(os.environ) if env is None else env, deadline, grace, reserve)
        command = cls(*_spawn_watchdog(), deadline, on_notice)
        try:
            command._await_start(request, argv[0])
        except BaseException:
            command._kill_watchdog()  # takes a command that may have begun with it
            command._control.close()
            raise
        return command

    def feed(self, deadline: float) -> None:
        """Tell the watchdog a new deadline; the last one told counts, be it later or earlier.

        Once TERM is sent it is not taken back; a later deadline then leaves the group its whole grace.
        No effect after the end.
        """
        self._deadline = deadline
        self._send("deadline", deadline)

    def signal(self, signum: int) -> None:
        """Send a signal to the command's process group; no effect after the end."""
        self._send("signal", int(signum))

    def stop(self, signum: int, kill_after: float) -> None:
        """Ask the group to end with this signal; KILL follows `kill_after` seconds later (infinite: never).

        Asked again a second later or more, KILL follows at once (unless it is never to follow).
        """
        self._send("stop", int(signum), kill_after)

    def end(self) -> None:
        """End the group: TERM now, KILL after the grace or before the deadline. Returns at once."""
        self._send("end")

    def wait(self, timeout: float | None = None) -> Exit | None:
        """Wait for the end of the whole group; None if `timeout` seconds pass first.

        Stops this process when the command was stopped from the terminal (Ctrl-Z), and continues it when
        this process is continued. If the watchdog dies, or is deaf when the deadline comes, the group is
        killed from here.
        """
        until = None if timeout is None else steady_seconds() + timeout
        while True:
            with self._reading:
                self._look()
                if self._exit is not None:
                    self._control.close()
                    return self._exit
                was_stopped, self._is_stopped = self._is_stopped, False
            if was_stopped:
                _stop_ourselves()
                self._send("resume")
            now = steady_seconds()
            if until is not None and now >= until:
                return None
            self._sleep(min(LOOK, (until or now + LOOK) - now, max(0.0, self._enforce_at() - now)))

    def _enforce_at(self) -> float:
        # A watchdog that has told us whom it cannot end is not deaf. Nor could we.
        return float("inf") if self.is_out_of_reach else max(self._deadline, self._patient_until)

    def _sleep(self, seconds: float) -> None:
        if self._is_watchdog_gone:  # its end of file would not let poll() sleep
            threading.Event().wait(min(seconds, 0.05))
            return
        poll = select.poll()
        with contextlib.suppress(ValueError):  # another thread has seen the end meanwhile, and closed it
            poll.register(self._control, select.POLLIN)
            poll.poll(int(seconds * 1000) + 1)

    def _look(self) -> None:
        """Read what has arrived, and handle a lost watchdog."""
        for words in self._receive():
            self._note(words)
        now = steady_seconds()
        if now - self._looked_at > 2 * LOOK:
            self._patient_until = now + HEAD_START
        self._looked_at = now
        if self._exit is not None:
            self._bury_watchdog()
        elif self._is_watchdog_gone or now >= self._enforce_at():
            self._replace_watchdog()

    def _note(self, words: list[bytes]) -> None:
        verb, *rest = (word.decode() for word in words)
        if verb == "started":
            self.pid, self.reach = int(rest[0]), rest[1]
        elif verb == "failed":
            self._failure = int(rest[0])
        elif verb == "exited":
            kind, number, cause, gone_at = rest[0], int(rest[1]), cast("Cause", rest[2]), float(rest[3])
            code, signum = (number, None) if kind == "code" else (None, number)
            self._exit = Exit(code=code, signal=signum, cause=cause, gone_at=gone_at)
        elif verb == "stopped":
            self._is_stopped = True
        else:
            self.is_out_of_reach |= verb == "denied"
            self._tell(notice(verb, rest[0]))

    def _tell(self, text: str) -> None:
        if self._on_notice is not None:
            self._on_notice(text)

    def _receive(self) -> list[list[bytes]]:
        frames: list[list[bytes]] = []
        while not self._is_watchdog_gone:
            try:
                data = self._control.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:  # reset: it died before it read our frames
                data = b""
            frames += self._frames.take(data)
            self._is_watchdog_gone = not data
        return frames

    def _send(self, *words: str | float) -> None:
        message = frame(*words)
        try:
            sent = self._control.send(message, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return  # deaf: thousands of frames are unread. `wait` kills it at the deadline
        except OSError:
            return  # the watchdog is gone, so there is nothing to tell it
        if sent < len(message):  # the stream is broken: let the watchdog take us for dead
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_WR)

    def _await_start(self, request: bytes, name: str) -> None:
        try:
            self._control.settimeout(max(0.001, self._deadline - steady_seconds()))
            self._control.sendall(request)
        except TimeoutError:
            raise DeadlineTooClose("the watchdog was not ready before the deadline") from None
        except OSError as error:
            raise WatchdogFailed(f"the watchdog died: {error}") from error
        finally:
            self._control.setblocking(False)
        while not self.pid:
            for words in self._receive():
                self._note(words)
            if self._failure:
                raise not_started(self._failure, name)
            if self.pid:
                return
            if self._is_watchdog_gone:
                raise WatchdogFailed(f"the watchdog died, status {self._kill_watchdog()}")
            if steady_seconds() >= self._deadline:
                raise DeadlineTooClose(f"{name}: not started before the deadline")
            self._sleep(max(0.0, min(LOOK, self._deadline - steady_seconds())))

    def _kill_watchdog(self) -> int:
        self._watchdog.kill()  # our own child, not reaped: its number is its own
        return self._watchdog.wait()

    def _bury_watchdog(self) -> None:
        try:
            self._watchdog.wait(LOOK)  # its work is done; it ends by itself
        except subprocess.TimeoutExpired:
            self._kill_watchdog()

    def _replace_watchdog(self) -> None:
        """The watchdog is dead or deaf: be sure that it is dead, then kill the group from here."""
        if not self._is_watchdog_gone:
            self._why_replaced = "deadline"
        self._kill_watchdog()
        for words in self._receive():  # it may have reported the end
            self._note(words)
        self._is_watchdog_gone = True
        if self._exit is not None:
            return
        cgroup = Cgroup(self.reach) if self.reach.startswith("/") else None
        if self._is_group_alive() or (cgroup is not None and not cgroup.is_empty()):
            send_group(self.pid, signal.SIGKILL)
            if cgroup is not None:
                cgroup.kill()
            refused = () if self.is_out_of_reach else denied(members(self.pid, session=os.getsid(0)) or ())
            if refused:
                self.is_out_of_reach = True
                self._tell(notice("denied", ", ".join(f"{one.pid} ({one.name})" for one in refused)))
            return
        if cgroup is not None:
            cgroup.remove()
        now, why = steady_seconds(), self._why_replaced
        self._exit = Exit(code=None, signal=signal.SIGKILL, cause=why, gone_at=now)

    def _is_group_alive(self) -> bool:
        """With the watchdog dead nobody reserves the group's number; the session shows whether it is still ours."""
        seen = living(self.pid, session=os.getsid(0))
        return send_group(self.pid, 0) if seen is None else seen


def notice(verb: str, word: str) -> str:
    """What a frame of the watchdog means, for people."""
    match verb:
        case "denied":
            return (
                f"cannot signal process {printable(word)}: still running as another user. It must end by "
                "itself, and the slot is not given back before that"
            )
        case "slow":
            left = float(word)
            after = "no KILL follows" if left == float("inf") else f"KILL follows in {shown(left)}, or on a second TERM"
            return f"TERM was passed on, and the command still runs; {after}"
        case "killed":
            what = "what the command left behind" if word == "itself" else "the command"
            return f"{what} did not end in time after TERM: KILL"
        case _:
            return f"left running, outside the command's process group: {printable(word)}"


def _request(argv: Sequence[str], env: Mapping[str, str], deadline: float, grace: float, reserve: float) -> bytes:
    words = [os.fsencode(word) for word in argv]
    pairs = [os.fsencode(name) + b"=" + os.fsencode(value) for name, value in env.items()]
    if not words or not words[0]:
        raise ValueError("no command")
    if any(b"\0" in word for word in (*words, *pairs)) or any("=" in name or not name for name in env):
        raise ValueError("an argument or variable cannot be passed on: it contains a NUL byte, or has no valid name")
    if not 0 <= reserve <= grace:
        raise ValueError("kill_reserve must lie between 0 and the grace")
    return frame("run", deadline, grace, reserve, len(words), *words, *pairs)


def named(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without entries that have no name ("=x"): no program can read them, and Python passes none on."""
    return {name: value for name, value in env.items() if name}


def watchdog_line() -> list[str]:
    """How Python runs the watchdog: without site-packages, from where we were imported, a zip archive included."""
    home = os.path.abspath(__file__)
    for _ in __name__.split("."):
        home = os.path.dirname(home)
    # At the end of the path: nothing beside our package must stand in for a module of the standard library.
    return [
        "-I",
        "-S",
        "-c",
        "import sys; sys.path.append(sys.argv[1]); from " + WATCHDOG + " import main; main()",
        home,
    ]


_spawning = threading.Lock()  # a watchdog forked meanwhile would hold a copy of the other's socket


def _spawn_watchdog() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    with _spawning, theirs:
        # Inheritable, and no standard stream even if ours are closed.
        fd = fcntl.fcntl(theirs, fcntl.F_DUPFD, 3)
        try:
            # close_fds: what this process was given to pass on (3>log, a jobserver) is the command's too.
            # Files that Python opened are not inheritable.
            watchdog = subprocess.Popen(
                [sys.executable, *watchdog_line(), str(fd), str(os.getpid())], close_fds=False, env=named(os.environ)
            )
        except OSError as error:
            ours.close()
            raise WatchdogFailed(f"cannot start the watchdog: {error}") from error
        finally:
            os.close(fd)
    return watchdog, ours


def not_started(number: int, name: str) -> CommandNotStarted:
    """The error for a command that exec refuses, or would refuse, with this errno."""
    name = printable(name) or repr(name)
    if number == errno.ETIME:
        return DeadlineTooClose(f"{name}: the time left is not longer than the grace")
    kind = CommandNotFound if number in (errno.ENOENT, errno.ENOTDIR) else CommandNotExecutable
    return kind(f"{name}: {reason(number)}")


def check_watchdog() -> None:
    """Make sure that there is a Python to run the watchdog with.

    Raises:
        WatchdogFailed: There is none.
    """
    if not sys.executable or lookup_trouble(sys.executable, os.environ) is not None:
        raise WatchdogFailed(f"cannot start the watchdog: no Python interpreter at {sys.executable!r}")


def _stop_ourselves() -> None:
    """Stop as the command did, so that the shell gets its prompt back; return when continued.

    TSTP and not STOP: the kernel drops it where nobody could ever continue us (no job-control shell). To
    our whole group, as the terminal would have. The pause lets the stop happen where another thread is to
    take it; and where it was dropped, it keeps a command that reads a terminal it can never have from
    spinning between us and the watchdog.
    """
    before = steady_seconds()
    os.killpg(os.getpgrp(), signal.SIGTSTP)
    if steady_seconds() - before < STOP_PAUSE:
        threading.Event().wait(STOP_PAUSE)


@contextlib.contextmanager
def pass_on(
    command: SupervisedCommand,
    *,
    kill_after: float = float("inf"),
    noted: Iterable[int] = (),
    seen: list[int] | None = None,
) -> Iterator[None]:
    """Within the block, this process's signals (PASSED_ON) are the command's; main thread only.

    TERM asks for its end: KILL follows `kill_after` seconds later. The others may mean anything to it.
    Signals that were ignored (nohup, a script's `&`) stay ignored.

    Args:
        command: The command.
        kill_after: Seconds from TERM to KILL.
        noted: Signals that came before.
        seen: Gets each signal that is passed on.
    """

    def forward(signum: int, _frame: FrameType | None = None) -> None:
        if seen is not None:
            seen.append(signum)
        if signum == signal.SIGTERM:
            command.stop(signum, kill_after)
        else:
            command.signal(signum)

    before = {}
    try:
        for signum in PASSED_ON:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                before[signum] = signal.signal(signum, forward)
        for number in noted:
            forward(number)
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
