"""Starts programs in forks of one warm process: importing boto3 takes a new interpreter longer than most of them run.

Invariants:

- A fork has the environment, the folder and the standard streams that a new interpreter would have, leads a session of
  its own, runs its module as `python -m` does, and ends as an interpreter ends.
- What a program is told of its own end is the kernel's word: a second fork waits for it, and passes the code on.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Forked:
    """A program in a fork, with what its starter needs of `subprocess.Popen`."""

    def __init__(self, module: str, arguments: list[str]) -> None:
        self.returncode: int | None = None
        self._said = b""
        self._lock = threading.Lock()
        (its_input, stdin), (stdout, its_output), (self._fate, its_fate) = (os.pipe() for _ in range(3))
        request = {"module": module, "arguments": arguments, "environment": dict(os.environ)}
        _server().ask(request, [its_input, its_output, 2, its_fate])
        for fd in (its_input, its_output, its_fate):
            os.close(fd)
        self.stdin = open(stdin, "w")  # noqa: SIM115 - as Popen's
        self.stdout = open(stdout)  # noqa: SIM115
        self.pid = int(self._line(None) or 0)

    def send_signal(self, number: int) -> None:
        """Nothing, if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns its exit code."""
        with self._lock:
            if self.returncode is None:
                line = self._line(timeout)
                if line is None:
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
                self.returncode = int(line)
                os.close(self._fate)
            return self.returncode

    def _line(self, timeout: float | None) -> bytes | None:
        """What is said next of it: its process id, then its exit code; None if nothing is said in time."""
        until = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._said:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not select.select([self._fate], [], [], left)[0]:
                return None
            more = os.read(self._fate, 64)
            if not more:
                raise RuntimeError("a program's fork has ended before it said how")
            self._said += more
        line, _, self._said = self._said.partition(b"\n")
        return line


class _Server:
    """The warm process. It ends when this one does, however that ends."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._owner = os.getpid()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "scripts.harness.warm", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt at the terminal is none of its business
            )
        atexit.register(self._end)

    def ask(self, request: dict[str, Any], streams: list[int]) -> None:
        body = json.dumps(request).encode()
        with self._lock:
            socket.send_fds(self._ours, [b"%16d" % len(body)], streams)
            self._ours.sendall(body)

    def _end(self) -> None:
        if os.getpid() == self._owner:
            self._ours.shutdown(socket.SHUT_RDWR)  # forks have it open too
            self._ours.close()
            self._process.wait()


@functools.cache
def _server() -> _Server:
    return _Server()


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Returns in the fork that is to carry it out; in the server, at the end, with None."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        head, streams, _, _ = socket.recv_fds(connection, 16, 4)
        if not streams:
            return None
        request: dict[str, Any] = json.loads(_exactly(connection, int(head)))
        if os.fork():
            for fd in streams:
                os.close(fd)
            continue
        connection.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        *streams, fate = streams
        program = os.fork()
        if not program:
            os.write(fate, b"%d\n" % os.getpid())  # by itself: a signal that comes amid a fork is lost
            os.close(fate)
            _take_over(request, streams)
            return request
        for fd in streams:
            os.close(fd)
        code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
        os.write(fate, b"%d\n" % code)
        os._exit(0)


def _exactly(connection: socket.socket, length: int) -> bytes:
    body = b""
    while len(body) < length:
        body += connection.recv(length - len(body))
    return body


def _take_over(request: dict[str, Any], streams: list[int]) -> None:
    os.setsid()
    for fd, stream in enumerate(streams):
        os.dup2(stream, fd)
        os.close(stream)
    # As an interpreter makes them. Those of the server are of other kinds: one cannot seek in a pipe.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["environment"])


def _warm_up() -> None:
    import boto3
    import botocore.session

    # What the programs import: not they themselves, as each runs anew, as the main module.
    import ddb_lease.local.engine  # noqa: F401
    import scripts.harness.rate_referee
    import scripts.harness.referee  # noqa: F401

    shared = botocore.session.create_loader()
    botocore.session.create_loader = lambda *_: shared  # it caches what it reads
    boto3.Session(region_name="us-east-1").client("dynamodb", aws_access_key_id="a", aws_secret_access_key="b").close()
    gc.collect()
    gc.freeze()  # what the forks share need not be looked through by each


if __name__ == "__main__":
    _warm_up()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        os.set_inheritable(connection.fileno(), False)
        wanted = _serve(connection)
    if wanted is not None:
        sys.argv = [wanted["module"], *wanted["arguments"]]
        runpy.run_module(wanted["module"], run_name="__main__", alter_sys=True)
