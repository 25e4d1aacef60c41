"""Engines to run tests on, each private to the test that asks for it, all on loopback.

`ministack` runs from its own virtual environment, as it pins its own botocore: `DDB_LEASE_MINISTACK` names its
executable, by default `.venv-ministack/bin/ministack` in the repository.
"""

import contextlib
import ctypes
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from ddb_lease.local.app import App
from ddb_lease.local.clock import Clock
from ddb_lease.local.embedded import EmbeddedEngine, serve
from ddb_lease.local.engine import Engine

MINISTACK_VARIABLE = "DDB_LEASE_MINISTACK"

_LOOPBACK = "127.0.0.1"
_START_S = 60.0
_STOP_S = 10.0
_PR_SET_PDEATHSIG = 1


class TestEngine(Protocol):
    """The interface of every engine."""

    __test__ = False

    name: str

    @property
    def endpoint_url(self) -> str:
        """Where it listens; the same after a restart."""

    def session(self) -> Any:
        """A boto3 session whose clients need `endpoint_url=engine.endpoint_url`."""

    def restart(self) -> None:
        """Cut every connection, stop, and come back on the same port with the same tables."""

    def restart_empty(self) -> None:
        """The same, but empty: not even a table."""


class Embedded:
    """The engine of this package, on a thread of the test process."""

    name = "embedded"

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock
        self.app = App(clock=clock, access_key_id=None)  # tests tell their clients apart by it
        self._stack = contextlib.ExitStack()
        self.engine: EmbeddedEngine = self._stack.enter_context(serve(app=self.app))

    @property
    def endpoint_url(self) -> str:
        return self.engine.endpoint_url

    def session(self) -> Any:
        return self.engine.session()

    def restart(self) -> None:
        self._restart(self.app)

    def restart_empty(self) -> None:
        full = self.app
        self._restart(App(clock=self._clock, access_key_id=None))
        full.close()

    def close(self) -> None:
        self._stack.close()
        self.app.close()

    def _restart(self, app: App) -> None:
        port = int(self.endpoint_url.rpartition(":")[2])
        self._stack.close()
        self.app = app
        self.engine = self._stack.enter_context(serve(app=app, port=port))


class Ministack:
    """ministack as a process that cannot outlive this one."""

    name = "ministack"

    def __init__(self, executable: Path, folder: Path) -> None:
        self._executable = executable
        self._folder = folder
        self._port = _free_port()
        self._process = self._launch()

    @property
    def endpoint_url(self) -> str:
        return f"http://{_LOOPBACK}:{self._port}"

    def session(self) -> Any:
        engine = Engine(endpoint_url=self.endpoint_url, pid=0, started_at_ms=0, instance_id="")
        return engine.session()

    def restart(self) -> None:
        self.close()
        self._process = self._launch()

    def restart_empty(self) -> None:
        self.close()
        for saved in self._folder.iterdir():
            shutil.rmtree(saved) if saved.is_dir() else saved.unlink()
        self._process = self._launch()

    def close(self) -> None:
        """End the process; its tables are saved for the next one."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _launch(self) -> "subprocess.Popen[bytes]":
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [str(self._executable)],
                env=self._environment(),
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

    def _environment(self) -> dict[str, str]:
        folder = str(self._folder)
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": folder,
            "TMPDIR": folder,
            "STATE_DIR": folder,
            "PERSIST_STATE": "1",
            "BIND_HOST": _LOOPBACK,  # its default is every interface
            "GATEWAY_PORT": str(self._port),
            "SERVICES": "dynamodb",
            "LOG_LEVEL": "WARNING",
        }

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        deadline_s = time.monotonic() + _START_S
        while not _answers(self._port):
            if process.poll() is not None or time.monotonic() > deadline_s:
                log = (self._folder / "log").read_text(errors="replace")
                raise RuntimeError(f"ministack did not start:\n{log[-2000:]}")
            time.sleep(0.05)


@contextlib.contextmanager
def embedded(*, clock: Clock | None = None) -> Iterator[Embedded]:
    """Run the embedded engine."""
    engine = Embedded(clock=clock)
    try:
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def ministack(executable: Path | str | None = None) -> Iterator[Ministack]:
    """Run ministack; enter it in the main thread (see `_die_with_parent`).

    Args:
        executable: `bin/ministack` of its virtual environment; see the module's head for the default.
    """
    path = ministack_executable() if executable is None else Path(executable)
    if not path.exists():
        raise FileNotFoundError(f"no ministack at {path}: install it in a venv, or set {MINISTACK_VARIABLE}")
    with tempfile.TemporaryDirectory(prefix="ministack-") as folder:
        engine = Ministack(path, Path(folder))
        try:
            yield engine
        finally:
            engine.close()


def ministack_executable() -> Path:
    """Where ministack is expected."""
    default = Path(__file__).resolve().parents[2] / ".venv-ministack" / "bin" / "ministack"
    return Path(os.environ.get(MINISTACK_VARIABLE) or default)


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=2.0)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
