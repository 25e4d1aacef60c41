"""Engines to run tests on, each private to the test that asks for it, all on loopback.

`ministack` runs from its own virtual environment, as it pins its own botocore: `DDB_LEASE_MINISTACK` names its
executable, by default `.venv-ministack/bin/ministack` in the repository. `dynoxide` is a single program from npm:
`DDB_LEASE_DYNOXIDE` names it, by default where `scripts/test` puts it, `.dynoxide/dynoxide` in the repository.
"""

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ddb_lease.local.app import App
from ddb_lease.local.backend import MotoBackend
from ddb_lease.local.clock import Clock
from ddb_lease.local.embedded import EmbeddedEngine, serve
from ddb_lease.local.engine import Engine
from scripts.harness.engine_process import LOOPBACK, EngineProcess, free_port

MINISTACK_VARIABLE = "DDB_LEASE_MINISTACK"
DYNOXIDE_VARIABLE = "DDB_LEASE_DYNOXIDE"

_ROOT = Path(__file__).resolve().parents[2]


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

    def drop(self, prefix: str) -> None:
        """Forget all partitions whose names begin so, if a request costs this engine more the more there are."""


class Embedded:
    """The engine of this package, on a thread of the test process."""

    name = "embedded"

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.app = self._new_app()
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
        self._restart(self._new_app())
        full.close()

    def drop(self, prefix: str) -> None:
        """Forget all partitions whose names begin so: for a query moto sorts every item that there is."""
        with self._lock:
            self._backend.drop_partitions(prefix)

    def close(self) -> None:
        self._stack.close()
        self.app.close()

    def _new_app(self) -> App:
        self._backend = MotoBackend()
        # Tests tell their clients apart by their keys.
        return App(clock=self._clock, access_key_id=None, lock=self._lock, backend=self._backend)

    def _restart(self, app: App) -> None:
        port = int(self.endpoint_url.rpartition(":")[2])
        self._stack.close()
        self.app = app
        self.engine = self._stack.enter_context(serve(app=app, port=port))


class _Server:
    """What engines that are processes have in common."""

    name: str

    def __init__(self, process: EngineProcess, folder: Path) -> None:
        self._process = process
        self._folder = folder

    @property
    def endpoint_url(self) -> str:
        return self._process.endpoint_url

    def session(self) -> Any:
        engine = Engine(endpoint_url=self.endpoint_url, pid=0, started_at_ms=0, instance_id="")
        return engine.session()

    def restart(self) -> None:
        self._process.close()
        self._process.start_again()

    def restart_empty(self) -> None:
        self._process.close()
        for saved in self._folder.iterdir():
            shutil.rmtree(saved) if saved.is_dir() else saved.unlink()
        self._process.start_again()

    def drop(self, prefix: str) -> None:
        """Nothing: it finds a partition by its name."""

    def close(self) -> None:
        """End the process; its tables are saved for the next one."""
        self._process.close()


class Ministack(_Server):
    """ministack as a process that cannot outlive this one."""

    name = "ministack"

    def __init__(self, executable: Path, folder: Path) -> None:
        port = free_port()
        environment = {
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "STATE_DIR": str(folder),
            "PERSIST_STATE": "1",
            "BIND_HOST": LOOPBACK,  # its default is every interface
            "GATEWAY_PORT": str(port),
            "SERVICES": "dynamodb",
            "LOG_LEVEL": "WARNING",
        }
        health = "/_ministack/health"
        process = EngineProcess([str(executable)], folder=folder, port=port, health=health, environment=environment)
        super().__init__(process, folder)


class Dynoxide(_Server):
    """dynoxide as a process that cannot outlive this one; only a `durable` one has its tables after a restart."""

    name = "dynoxide"

    def __init__(self, executable: Path, folder: Path, *, durable: bool) -> None:
        port = free_port()
        command = [str(executable), "serve", "--host", LOOPBACK, "--port", str(port)]
        if durable:
            command += ["--db-path", "tables"]
        environment = {"HOME": str(folder), "TMPDIR": str(folder)}
        super().__init__(EngineProcess(command, folder=folder, port=port, health="/", environment=environment), folder)


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
    """Run ministack; enter it in the main thread.

    Args:
        executable: `bin/ministack` of its virtual environment; see the module's head for the default.
    """
    path = ministack_executable() if executable is None else Path(executable)
    if not path.exists():
        raise FileNotFoundError(f"no ministack at {path}: install it in a venv, or set {MINISTACK_VARIABLE}")
    with (
        tempfile.TemporaryDirectory(prefix="ministack-") as folder,
        contextlib.closing(Ministack(path, Path(folder))) as engine,
    ):
        yield engine


@contextlib.contextmanager
def dynoxide(executable: Path | str | None = None, *, durable: bool = False) -> Iterator[Dynoxide]:
    """Run dynoxide; enter it in the main thread.

    Args:
        executable: The program; see the module's head for the default.
        durable: Whether it keeps its tables in a file, for a restart. A write then takes ten times as long.
    """
    path = dynoxide_executable() if executable is None else Path(executable)
    if not path.exists():
        raise FileNotFoundError(
            f"no dynoxide at {path}: scripts/test puts it there where npm is at hand, or set {DYNOXIDE_VARIABLE}"
        )
    with (
        tempfile.TemporaryDirectory(prefix="dynoxide-") as folder,
        contextlib.closing(Dynoxide(path, Path(folder), durable=durable)) as engine,
    ):
        yield engine


def ministack_executable() -> Path:
    """Where ministack is expected."""
    return Path(os.environ.get(MINISTACK_VARIABLE) or _ROOT / ".venv-ministack" / "bin" / "ministack")


def dynoxide_executable() -> Path:
    """Where dynoxide is expected; it is not there where npm is not at hand, nor on machines that it is not made for."""
    return Path(os.environ.get(DYNOXIDE_VARIABLE) or _ROOT / ".dynoxide" / "dynoxide")
