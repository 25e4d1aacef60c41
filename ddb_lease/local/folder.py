"""The folder through which a user's processes find the one engine that they share.

Invariants:

* The engine holds `engine.lock` as long as it lives, and the kernel releases the lock when the engine dies, however
  it dies. So there is at most one engine per folder, and a pid alone is never trusted.
* A starter holds `start.lock`, so that processes that start at the same time start one engine, not many.
* `engine.json` says where the engine is. Only the holder of `engine.lock` writes or removes it. It is replaced as a
  whole, and may be stale.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ddb_lease.local import place
from ddb_lease.local.engine import Engine
from ddb_lease.local.errors import EngineError
from ddb_lease.local.place import open_private

_RETRY_S = 0.02


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder, which may not exist yet. What is in it is opened as `place` says, and raises `EngineError`."""

    path: Path

    @property
    def log(self) -> Path:
        """The file that receives the engine's output."""
        return self.path / "engine.log"

    def make(self) -> None:
        """Make the folder, if it is missing."""
        place.make(self.path)

    def read(self) -> Engine | None:
        """The engine that was recorded last; None if there is none or the record cannot be read."""
        try:
            with open_private(self._record, "rb") as file:
                fields = json.loads(file.read())
            return Engine(
                endpoint_url=str(fields["endpoint_url"]),
                pid=int(fields["pid"]),
                started_at_ms=int(fields["started_at_ms"]),
                instance_id=str(fields["instance_id"]),
                access_key_id=str(fields["access_key_id"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            # An unreadable record leads to no engine; the next start replaces it.
            return None

    def write(self, engine: Engine) -> None:
        """Record the engine. For the holder of `engine.lock` only."""
        self.replace(self._record.name, json.dumps(dataclasses.asdict(engine)).encode())

    def replace(self, name: str, content: bytes) -> None:
        """Write a file in one step, so that no reader sees half of it."""
        draft = f"{name}.{os.getpid()}"
        with open_private(self.path / draft, "wb") as file:
            file.write(content)
        with place.opened(self.path) as folder:
            os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)

    def is_recorded(self, engine: Engine) -> bool:
        """Whether other processes can find this engine."""
        recorded = self.read()
        return recorded is not None and recorded.instance_id == engine.instance_id

    def erase(self, engine: Engine) -> None:
        """Remove the record if it is this engine's. For the holder of `engine.lock` only."""
        if self.is_recorded(engine):
            with contextlib.suppress(FileNotFoundError), place.opened(self.path) as folder:
                os.unlink(self._record.name, dir_fd=folder)

    def engine_lives(self) -> bool:
        """Whether a process holds `engine.lock`: an engine that starts, runs or stops."""
        try:
            with open_private(self._engine_lock, "rb") as file:
                if not _try_lock(file.fileno()):
                    return True
                fcntl.flock(file, fcntl.LOCK_UN)
                return False
        except FileNotFoundError:
            return False  # no engine has been here

    def wait_until_gone(self, *, timeout_s: float) -> bool:
        """Wait until no process holds `engine.lock`; False if that took too long."""
        deadline_s = time.monotonic() + timeout_s
        while self.engine_lives():
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_RETRY_S)
        return True

    @contextlib.contextmanager
    def running(self, *, timeout_s: float) -> Iterator[None]:
        """Hold `engine.lock`, as the only engine of the folder."""
        with _locked(self._engine_lock, timeout_s=timeout_s, failure=self.silent_engine):
            yield

    @contextlib.contextmanager
    def starting(self, *, timeout_s: float) -> Iterator[None]:
        """Hold `start.lock`, as the only starter."""
        with _locked(self.path / "start.lock", timeout_s=timeout_s, failure=self._other_starter):
            yield

    def silent_engine(self) -> str:
        """The message about an engine that holds the folder but does not answer."""
        recorded = self.read()
        pid = "of unknown pid" if recorded is None else f"of pid {recorded.pid}"
        return f"the engine {pid} holds {self.path} but does not answer: ddb-lease local stop --yes ends it"

    @property
    def _record(self) -> Path:
        return self.path / "engine.json"

    @property
    def _engine_lock(self) -> Path:
        return self.path / "engine.lock"

    def _other_starter(self) -> str:
        return f"another process has been starting the engine in {self.path} for too long"


def locate() -> Folder:
    """The folder of this user (see `place.chosen`), which need not exist."""
    return Folder(place.chosen())


@contextlib.contextmanager
def _locked(path: Path, *, timeout_s: float, failure: Callable[[], str]) -> Iterator[None]:
    deadline_s = time.monotonic() + timeout_s
    with open_private(path, "ab") as file:
        while not _try_lock(file.fileno()):
            if time.monotonic() >= deadline_s:
                raise EngineError(failure())
            time.sleep(_RETRY_S)
        try:
            yield
        finally:
            # Unlocked explicitly: closing does not release the lock while a forked child has the file open.
            fcntl.flock(file, fcntl.LOCK_UN)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise EngineError(f"the local engine's folder must be on a file system with locks: {error}") from error
    return True
