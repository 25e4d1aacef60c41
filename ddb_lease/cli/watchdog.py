"""The watchdog: a program of its own between `ddb-lease run` (the supervisor) and the command.

It is a dead man's switch. The supervisor feeds it deadlines; whatever happens to the supervisor (killed,
stopped, hung), the command's whole process group is dead before the last deadline that was fed.

Invariants:
    1. Run as `python -I -S -c ... CONTROL SUPERVISOR` (see `supervisor.watchdog_line`); standard library only,
       one thread, nothing imported that is slow to load. `supervisor.py` imports the frames, the clock and
       `living` from here, so that each is written once. As a program of its own, it reads the clock itself.
    2. Times are seconds of the steady clock (`steady_seconds`), which counts suspended time. poll() does
       not, so no sleep is longer than NAP seconds: after a resume the watchdog is at most NAP late.
    3. At deadline - grace: TERM to the group; at deadline - reserve: KILL. With the supervisor gone or on
       `end`: TERM at once, KILL a grace later or at deadline - reserve, whichever comes first. On Linux both go
       to what left the group as well (setsid): orphans come to the watchdog, so it knows them. Where the
       command ends by itself, what left its group is let alone.
    4. `exited` is sent when nothing of what is to be ended lives, and never before, whoever may not signal it.
       The leader stays unreaped until then (where `os.waitid` and /proc exist): its number cannot come to mean
       somebody else's group.
    5. It fails closed: a fault in the watchdog kills the group.
    6. It has no signal interface: signals are ignored, only KILL and STOP reach it. It stands in a process
       group of its own, so `kill -9 -GROUP` of the supervisor leaves it alive, and in the supervisor's
       session, without which it could not hand the terminal over.

Control is one stream socket. A frame is a length (4 bytes, big-endian) and words joined by NUL:
    in   run DEADLINE GRACE RESERVE ARGC ARG... NAME=VALUE...    first, once
         deadline T | signal N | resume | end                    end of file: the supervisor is gone
         stop N SECONDS          send N; KILL so much later (inf: never), or at once when it is said again
    out  started PID REACH | failed ERRNO                        PID is also the process group's number
         stopped N               the supervisor should stop too, then say `resume`; at most one is unanswered
         denied PIDS             these may not be signalled; once
         slow SECONDS            still there after `stop`; so long until KILL
         killed CAUSE            KILL is being sent
         left PIDS               what the command left running outside its group
         exited code|signal N itself|stop|end|deadline GONE_AT   last, the group is gone

Not promised: that processes end which run as another user (they are told of, and waited for), or which left the
group outside Linux; anything but the command itself when watchdog and supervisor are both killed outright; anything
while both are stopped. PR_SET_PDEATHSIG kills the direct child with the watchdog on Linux only, and not through a
set-user-ID program; elsewhere the command outlives a watchdog that is SIGKILLed, until the supervisor sees it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import time

from ddb_lease.cli.command_group import CommandGroup, named
from ddb_lease.cli.processes import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    can_see_processes,
    load_prctl,
    send_group,
)
from ddb_lease.cli.terminal import Terminal

TYPE_CHECKING = False  # as in typing, whose import costs as much as the rest of this program
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

NAP = 1.0  # invariant 2
LOOK_AGAIN = (0.01, 0.25)  # first and longest pause between two looks at a group that is ending
JOB_CONTROL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
FAULTS = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"}  # these we may die of
SLOW = 1.0  # a command that still runs so long after it was asked to stop is told of
SECOND_ASKING = 1.0  # from then on, being asked again to stop means at once; earlier it is the same asking, doubled
WEAK = ("", "itself", "stop")  # causes that a stronger one replaces


def _steady_clock() -> Callable[[], float]:
    name = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC_RAW"}.get(sys.platform, "")
    clock: int | None = getattr(time, name, None)
    return time.monotonic if clock is None else lambda: time.clock_gettime(clock)


steady_seconds = _steady_clock()
"""Seconds of a clock that nobody sets and that counts suspended time."""


def frame(*words: bytes | str | float) -> bytes:
    """Return the words as one frame. A word must not hold a NUL; floats keep their full precision."""
    body = b"\0".join(word if isinstance(word, bytes) else str(word).encode() for word in words)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Turns a stream, however it was cut, back into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def take(self, data: bytes) -> list[list[bytes]]:
        """Add bytes; return the frames that are now whole, each as its words."""
        self._data += data
        frames = []
        while len(self._data) >= 4:  # noqa: PLR2004 - the length's own length
            end = 4 + int.from_bytes(self._data[:4], "big")
            if len(self._data) < end:
                break
            frames.append(bytes(self._data[4:end]).split(b"\0"))
            del self._data[:end]
        return frames


class Watchdog:
    """The loop: what the supervisor said, how the command is, which signals are due and when."""

    def __init__(self, control: int, supervisor: int) -> None:
        self._control, self._supervisor = control, supervisor
        self._frames = Frames()
        self._status: tuple[str, int] | None = None  # the command has ended, and how
        self._deadline = self._grace = self._reserve = 0.0
        self._cause = ""  # why the group is being ended; empty: it is not
        self._kill_by = self._tell_slow_at = self._stopping_since = float("inf")
        self._was_killed = self._is_orphaned = self._is_stop_told = self._is_denied_told = False
        self._pause = LOOK_AGAIN[0]
        self._nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._terminal = Terminal(os.getpgrp())
        self._prctl = load_prctl()
        self._group = CommandGroup(session=os.getsid(0), adopts=self._prctl(PR_SET_CHILD_SUBREAPER, 1))
        self._can_pin = hasattr(os, "waitid") and can_see_processes()
        os.setpgid(0, 0)
        self._wake, wake_end = os.pipe()
        self._exec_report: int | None = None
        for fd in (control, self._wake, wake_end):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def run(self) -> None:
        """Serve until the group is gone, or until it is clear that there will be no command."""
        try:
            while not (self._is_over() or (self._is_orphaned and not self._group.leader)):
                self._poll.poll(self._sleep_ms())
                self._hear()
        except BaseException:
            if self._group.leader and not self._group.is_reaped:
                send_group(self._group.leader, signal.SIGKILL)  # invariant 5
            raise

    # What arrives.

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)  # only there to end the sleep
        if self._exec_report is not None:
            self._hear_exec(self._exec_report)
        while not self._is_orphaned:
            try:
                data = os.read(self._control, 65536)
            except BlockingIOError:
                # A forked copy of the supervisor would keep the socket open after its death.
                self._is_orphaned = os.getppid() != self._supervisor
                break
            except OSError:
                data = b""
            for words in self._frames.take(data):
                self._obey(words[0], words[1:])
            self._is_orphaned = not data
        if self._is_orphaned:
            try:
                self._poll.unregister(self._control)  # or its end of file would spin the loop
            except KeyError:
                return

    def _obey(self, verb: bytes, words: list[bytes]) -> None:
        if verb == b"run":
            self._deadline, self._grace, self._reserve = map(float, words[:3])
            first_env = 4 + int(words[3])
            self._spawn(words[4:first_env], words[first_env:])
        elif verb == b"deadline":
            self._deadline = float(words[0])
        elif verb == b"signal":
            self._send(int(words[0]))
            self._tell_denied()
        elif verb == b"stop":
            self._stop(int(words[0]), float(words[1]))
        elif verb == b"resume":
            self._is_stop_told = False
            self._terminal.hand_over(self._group.leader)
            self._send(signal.SIGCONT)
        elif verb == b"end":
            self._begin_ending("end")
        else:
            raise ValueError(verb)

    def _tell(self, *words: str | float) -> None:
        try:
            os.write(self._control, frame(*words))  # few and small: the socket holds them all
        except OSError:
            return  # the supervisor is gone; the next read says so

    # The command.

    def _spawn(self, argv: list[bytes], env: list[bytes]) -> None:
        if steady_seconds() >= self._deadline - self._grace:
            self._tell("failed", errno.ETIME)
            raise SystemExit(0)
        pairs = (pair.partition(b"=") for pair in env)
        environ = {name: value for name, _, value in pairs}
        at_front = self._terminal.wanted_at_start()
        if self._terminal.is_open:
            self._terminal.remember_modes()
        report, report_end = os.pipe()
        watchdog = os.getpid()
        self._group.leader = os.fork()
        if not self._group.leader:
            self._become(argv, environ, report_end, watchdog, at_front=at_front)
        with contextlib.suppress(OSError):  # it has come as far as exec
            os.setpgid(self._group.leader, self._group.leader)  # the child does it too: whoever comes first
        os.close(report_end)
        os.set_blocking(report, False)
        self._exec_report = report
        self._poll.register(report, select.POLLIN)

    def _become(
        self, argv: list[bytes], env: dict[bytes, bytes], report: int, watchdog: int, *, at_front: bool
    ) -> NoReturn:
        """In the child: become the command. Signals are still ignored, SIGTTOU with them."""
        try:
            os.setpgid(0, 0)
            self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if self._group.cgroup is not None:
                self._group.cgroup.enter()
            if os.getppid() != watchdog:
                os._exit(127)  # the watchdog died before prctl could see it
            if at_front:
                self._terminal.hand_over(os.getpid())
            signal.set_wakeup_fd(-1)
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                if not (number == signal.SIGHUP and self._nohup):  # the user asked for nohup
                    signal.signal(number, signal.SIG_DFL)
            os.execvpe(argv[0], argv, env)  # noqa: S606 - no shell is what is wanted
        except OSError as error:
            os.write(report, str(error.errno).encode())
        except BaseException:  # noqa: BLE001 - nothing may return into the watchdog's code
            os.write(report, str(errno.EINVAL).encode())
        os._exit(127)

    def _hear_exec(self, report: int) -> None:
        """The report pipe closes at exec, or carries the reason why there was none."""
        try:
            reason = os.read(report, 64)
        except BlockingIOError:
            return
        self._poll.unregister(report)
        os.close(report)
        self._exec_report = None
        if not reason:
            self._tell("started", self._group.leader, self._group.reach)
            return
        self._terminal.take_back(self._group.leader)
        self._group.reap()
        self._tell("failed", int(reason))
        raise SystemExit(0)

    # The end of it.

    def _is_over(self) -> bool:
        if not self._group.leader:
            return False
        self._watch_leader()
        now = steady_seconds()
        if self._is_orphaned:
            self._begin_ending("orphaned")
        elif now >= self._deadline - self._grace:
            self._begin_ending("deadline")
        if self._status is not None and self._exec_report is None and self._group.is_gone(strays=self._takes_strays()):
            self._bury(self._status, now)
            return True
        if self._status is not None and not self._cause:
            self._begin_ending("itself")  # what it left behind
        if self._cause and now >= self._kill_at():
            self._send(signal.SIGKILL)
            if self._was_killed:  # and it lives all the same
                self._tell_denied()
            else:
                self._tell("killed", self._cause)
            self._was_killed = True
        elif now >= self._tell_slow_at:
            self._tell_slow_at = float("inf")
            self._tell("slow", self._kill_by - now)
        return False

    def _begin_ending(self, cause: str) -> None:
        """Ask the group to end, for good: KILL follows after the grace."""
        if self._cause not in WEAK or not self._group.leader or self._cause == cause:
            return
        if self._cause == "itself":
            return  # it is being ended already, and the command has told how it ended
        self._cause = cause
        self._kill_by = min(self._kill_by, steady_seconds() + self._grace)
        self._ask(signal.SIGTERM)

    def _stop(self, signum: int, kill_after: float) -> None:
        """The user asks for the end: a grace of his own. The second time, at once."""
        now = steady_seconds()
        if self._cause == "stop" and now >= self._stopping_since + SECOND_ASKING and self._kill_by < float("inf"):
            self._kill_by = now
        elif self._cause or not self._group.leader:
            self._send(signum)
        else:
            self._cause = "stop"
            self._stopping_since, self._tell_slow_at, self._kill_by = now, now + SLOW, now + kill_after
            self._ask(signum)

    def _ask(self, signum: int) -> None:
        self._send(signum)
        self._send(signal.SIGCONT)  # a stopped process cannot take TERM
        if self._group.cgroup is None:  # else KILL will reach it
            self._tell_denied()

    def _kill_at(self) -> float:
        return min(self._kill_by, self._deadline - self._reserve)

    def _sleep_ms(self) -> int:
        if not self._group.leader:
            return int(NAP * 1000)
        due = min(self._deadline - self._grace, self._tell_slow_at) if self._cause in WEAK else float("inf")
        if self._cause:
            due = min(due, self._kill_at())
        pause = NAP
        if self._status is not None or self._was_killed:
            pause, self._pause = self._pause, min(self._pause * 2, LOOK_AGAIN[1])
            due = due if not self._was_killed else float("inf")
        return max(0, int(min(pause, due - steady_seconds()) * 1000) + 1)

    def _send(self, signum: int) -> None:
        self._group.send(signum, strays=self._takes_strays())

    def _takes_strays(self) -> bool:
        """Whether what left the group is to end too: not if the command ends by itself, and has left it on purpose."""
        return self._cause not in {"", "itself"}

    def _tell_denied(self) -> None:
        """Say, once, which processes our signals do not reach."""
        if self._is_denied_told or not self._group.leader:
            return
        names = self._group.out_of_reach(strays=self._takes_strays(), has_ended=self._status is not None)
        if names:
            self._is_denied_told = True
            self._tell("denied", names)

    def _watch_leader(self) -> None:
        """Note how the command ended; reap the orphans that came to us."""
        if not self._can_pin:
            self._watch_and_reap()
            return
        while self._status is None:
            with contextlib.suppress(ChildProcessError):  # a zombie can no longer be stopped
                stop = os.waitid(os.P_PID, self._group.leader, os.WSTOPPED | os.WNOHANG)
                if stop is not None:
                    self._on_stop(stop.si_status)
            end = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if end is None:
                return
            if end.si_pid != self._group.leader:
                os.waitpid(end.si_pid, 0)
            else:
                kind = "code" if end.si_code == os.CLD_EXITED else "signal"
                self._status = (kind, end.si_status)

    def _watch_and_reap(self) -> None:
        """Where the leader cannot stay unreaped: its group's number is safe only while the group has members."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._group.leader and os.WIFSTOPPED(status):
                self._on_stop(os.WSTOPSIG(status))
            elif pid == self._group.leader:
                code = os.waitstatus_to_exitcode(status)
                self._status, self._group.is_reaped = ("code", code) if code >= 0 else ("signal", -code), True

    def _on_stop(self, signum: int) -> None:
        """The command stopped: move it into the foreground if it only lacks that, else tell the supervisor."""
        wants_terminal = signum in (signal.SIGTTIN, signal.SIGTTOU)
        by_terminal = signum in JOB_CONTROL and self._terminal.is_open
        if self._cause or (wants_terminal and self._terminal.hand_over(self._group.leader)):
            self._send(signal.SIGCONT)
        elif (by_terminal or self._terminal.has_in_front(self._group.leader)) and not self._is_stop_told:
            self._is_stop_told = True
            self._terminal.take_back(self._group.leader)
            self._tell("stopped", signum)

    def _bury(self, status: tuple[str, int], now: float) -> None:
        self._terminal.take_back(self._group.leader, restore_modes=status[0] == "signal")
        # Report first, reap second: until the supervisor knows of the end, it may still use the number.
        left = self._group.strays() if self._cause == "itself" else []
        if left:
            self._tell("left", named(left))
        self._tell("exited", *status, self._cause or "itself", now)
        self._group.reap()


def _be_deaf() -> None:
    """Invariant 6, as early as possible. SIGCHLD and SIGCONT keep their meaning."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT}:
        if getattr(number, "name", "") not in FAULTS and number != signal.SIGHUP:
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # SIGCHLD must wake us; the command inherits it


def main() -> None:
    """Run as a program: its last two arguments are CONTROL, a file descriptor, and SUPERVISOR, a process id."""
    control, supervisor = map(int, sys.argv[-2:])
    os.set_inheritable(control, False)
    while os.open(os.devnull, os.O_RDWR) <= 2:  # noqa: PLR2004 - a closed standard stream would be taken by
        pass  # one of our own files, and then be given to the command
    _be_deaf()
    watchdog = Watchdog(control, supervisor)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # only now: the watchdog has noted how it found it
    watchdog.run()
