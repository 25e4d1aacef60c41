"""An engine as a process of its own, on a port of loopback. It cannot outlive this process."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"

_START_S = 60.0
_STOP_S = 10.0
_PR_SET_PDEATHSIG = 1


class EngineProcess:
    """Starts, ends and starts again one command; make and start it in the main thread (see `_die_with_parent`)."""

    def __init__(
        self, command: Sequence[str], *, folder: Path, port: int, health: str, environment: Mapping[str, str]
    ) -> None:
        self._command = list(command)
        self._folder = folder
        self._port = port
        self._health = health
        self._environment = dict(environment)
        self._process = self._launch()

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self._port}"

    def start_again(self) -> None:
        """Start it on the same port, once it has ended."""
        self._process = self._launch()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _launch(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                self._command,
                env={"PATH": os.environ.get("PATH", ""), **self._environment},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - one prctl, no lock is taken
            )
        try:
            self._wait_until_ready(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + _START_S
        while not _answers(self._port, self._health):
            if process.poll() is not None or time.monotonic() > deadline_s:
                log = (self._folder / "log").read_text(errors="replace")
                raise RuntimeError(f"{Path(self._command[0]).name} did not start:\n{log[-2000:]}")
            time.sleep(0.02)


def free_port() -> int:
    """A port of loopback on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> Callable[[], None] | None:
    """Make a child die with us even if we are killed. Linux only; elsewhere only `close` ends it.

    The kernel watches the thread that forks, not the process: so fork on the main thread.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask_for_the_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask_for_the_signal


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2.0)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
