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
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ddb_lease.local.engine import Engine
from ddb_lease.local.errors import EngineError

FOLDER_VARIABLE = "DDB_LEASE_LOCAL_DIR"

_RETRY_S = 0.02
_OWNER_ONLY_FILE = 0o600
_OWNER_ONLY_FOLDER = 0o700


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that exists and that only this user can read."""

    path: Path

    @property
    def log(self) -> Path:
        """The file that receives the engine's output."""
        return self.path / "engine.log"

    def read(self) -> Engine | None:
        """The engine that was recorded last; None if there is none or the record cannot be read."""
        try:
            fields = json.loads(self._record.read_text(encoding="utf-8"))
            return Engine(
                endpoint_url=str(fields["endpoint_url"]),
                pid=int(fields["pid"]),
                started_at_ms=int(fields["started_at_ms"]),
                instance_id=str(fields["instance_id"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            # An unreadable record leads to no engine; the next start replaces it.
            return None

    def write(self, engine: Engine) -> None:
        """Record the engine. For the holder of `engine.lock` only."""
        draft = self.path / f"engine.json.{os.getpid()}"
        with open_private(draft, "wb") as file:
            file.write(json.dumps(dataclasses.asdict(engine)).encode())
        # Replaced in one step, so that no reader sees half of it.
        draft.replace(self._record)

    def is_recorded(self, engine: Engine) -> bool:
        """Whether other processes can find this engine."""
        recorded = self.read()
        return recorded is not None and recorded.instance_id == engine.instance_id

    def erase(self, engine: Engine) -> None:
        """Remove the record if it is this engine's. For the holder of `engine.lock` only."""
        if self.is_recorded(engine):
            self._record.unlink(missing_ok=True)

    def engine_lives(self) -> bool:
        """Whether a process holds `engine.lock`: an engine that starts, runs or stops."""
        with open_private(self._engine_lock, "ab") as file:
            if not _try_lock(file.fileno()):
                return True
            fcntl.flock(file, fcntl.LOCK_UN)
            return False

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
        return f"the engine {pid} holds {self.path} but does not answer: stop it or end that process"

    @property
    def _record(self) -> Path:
        return self.path / "engine.json"

    @property
    def _engine_lock(self) -> Path:
        return self.path / "engine.lock"

    def _other_starter(self) -> str:
        return f"another process has been starting the engine in {self.path} for too long"


def locate() -> Folder:
    """The folder of this user, created if it is missing.

    `DDB_LEASE_LOCAL_DIR` if set; else `ddb-lease` in the user's runtime folder, or in the cache folder.

    Raises:
        EngineError: The folder cannot be created, or it belongs to another user.
    """
    path = _path()
    try:
        path.mkdir(mode=_OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        facts = path.stat()
        if facts.st_uid != os.getuid():
            # Another user could direct us to an engine of theirs.
            raise EngineError(f"{path} belongs to another user: set {FOLDER_VARIABLE} to a folder of your own")
        if stat.S_IMODE(facts.st_mode) != _OWNER_ONLY_FOLDER:
            path.chmod(_OWNER_ONLY_FOLDER)
    except OSError as error:
        raise EngineError(f"cannot create the folder of the local engine: {error}; set {FOLDER_VARIABLE}") from error
    return Folder(path)


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file that only its owner can read; child processes do not inherit it."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, _OWNER_ONLY_FILE))


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
    return True


def _path() -> Path:
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ddb-lease"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    cache = os.environ.get("XDG_CACHE_HOME")
    parent = Path(runtime or cache or Path.home() / ".cache")
    return parent / "ddb-lease"
