"""Finds the engine that a user's processes share, starts it on demand, and stops it.

Invariants: an engine counts as running only if it answers with its own instance id. A second engine is started only
if the kernel says that the first is dead.
"""

import contextlib
import http.client
import importlib.util
import os
import select
import signal
import subprocess
import sys
import time
from enum import Enum

from ddb_lease.local.control import instance_id
from ddb_lease.local.engine import Engine
from ddb_lease.local.errors import MISSING_EXTRA, EngineError
from ddb_lease.local.folder import Folder, locate
from ddb_lease.local.messages import ANSWER_S
from ddb_lease.local.place import open_private

# After SIGKILL, only the kernel's clean-up remains.
_KILLED_S = 5.0


class _Health(Enum):
    ALIVE = "alive"
    GONE = "gone"
    SILENT = "silent"


def find() -> Engine | None:
    """The engine of this user, or None if none runs. Each look-up restarts the engine's idle time.

    Raises:
        EngineError: An engine runs but does not answer, or the folder is unusable.
    """
    return _find(locate())


def start(*, timeout: float = 30.0) -> Engine:
    """Find the engine of this user, or start it. Any number of processes and threads may call this at once.

    The engine outlives this process. It stops by itself after 30 minutes without requests; its tables are
    in its memory and end with it.

    Args:
        timeout: Seconds to wait for the start, whether this process or another one does it.

    Raises:
        EngineError: The engine cannot be started; the message says why. Nothing is left running.
    """
    folder = locate()
    found = _find(folder)
    if found is not None:
        return found
    _require_extra()
    folder.make()
    deadline_s = time.monotonic() + timeout
    with folder.starting(timeout_s=timeout):
        # Look again: another process may have started it while we waited for the lock.
        found = _find(folder)
        return found if found is not None else _spawn(folder, deadline_s)


def stop(*, timeout: float = 10.0) -> bool:
    """Stop the engine of this user, whoever holds leases on it. Its tables are lost.

    The next engine grants nothing in a bucket before the leases that ran there have ended.

    Args:
        timeout: Seconds for the engine to finish its requests; then it is killed.

    Returns:
        True if an engine was running and has stopped.

    Raises:
        EngineError: The folder is unusable.
    """
    folder = locate()
    engine = folder.read()
    # While the lock is held, the recorded pid belongs to the engine and not to some later process.
    if engine is None or not folder.engine_lives() or _health(engine) is _Health.GONE:
        return False
    for number, patience_s in ((signal.SIGTERM, timeout), (signal.SIGKILL, _KILLED_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(engine.pid, number)
        if folder.wait_until_gone(timeout_s=patience_s):
            return True
    return False


def _find(folder: Folder) -> Engine | None:
    engine = folder.read()
    if engine is None:
        return None
    match _health(engine):
        case _Health.ALIVE:
            return engine
        case _Health.GONE:
            return None
        case _Health.SILENT:
            if folder.engine_lives():
                # A second engine would grant the leases that this one has granted.
                raise EngineError(folder.silent_engine())
            return None


def _health(engine: Engine) -> _Health:
    """Ask an engine for its instance id, and ask again until it answers or the time is up."""
    deadline_s = time.monotonic() + ANSWER_S
    while (left_s := deadline_s - time.monotonic()) > 0:
        try:
            return _Health.ALIVE if instance_id(engine, timeout_s=left_s) == engine.instance_id else _Health.GONE
        except ConnectionRefusedError:
            return _Health.GONE
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)  # reset or timed out: it may be stopping, or overloaded
    return _Health.SILENT


def _require_extra() -> None:
    for module in ("moto", "flask", "flask_cors"):
        if importlib.util.find_spec(module) is None:
            raise EngineError(MISSING_EXTRA)


def _spawn(folder: Folder, deadline_s: float) -> Engine:
    """Start the engine and wait until it is ready. The caller holds `start.lock`."""
    receiver, sender = os.pipe()
    with os.fdopen(receiver, "rb", buffering=0) as ready:
        try:
            _launch(folder, ready_fd=sender)
        finally:
            # Now only the engine holds this end: if the engine dies, the read ends.
            os.close(sender)
        can_be_read, _, _ = select.select([ready], [], [], max(0.0, deadline_s - time.monotonic()))
        if not can_be_read:
            # We close our end, so the engine fails when it reports that it is ready, and stops.
            raise EngineError(f"the local engine took too long to start; its log is {folder.log}")
        is_ready = ready.read(1) != b""
    engine = folder.read() if is_ready else None
    if engine is None:
        raise EngineError(f"the local engine did not start: {_last_line(folder)} (its log is {folder.log})")
    return engine


def _launch(folder: Folder, *, ready_fd: int) -> None:
    command = [sys.executable, "-m", "ddb_lease.local.server", "--daemon"]
    command += ["--folder", str(folder.path), "--ready-fd", str(ready_fd)]
    with open_private(folder.log, "wb") as log:
        # This waits only for the parent, which forks and exits: the engine itself leaves our process tree.
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(ready_fd,),
            start_new_session=True,
            check=False,  # the log says what went wrong
        )


def _last_line(folder: Folder) -> str:
    try:
        with open_private(folder.log, "rb") as log:
            lines = log.read().decode(errors="replace").split("\n")
    except (OSError, EngineError):
        lines = []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
