"""Where a user's engine has its folder, and how files in it are opened.

Invariants:

* The place depends on the user and the machine, and on one variable of our own. It does not depend on what differs
  between a login, cron, sudo and a service: HOME, TMPDIR and the XDG variables are not read.
* We change the permissions of nothing. A folder that others may enter, or that is not ours, is refused.
* No link is followed at the folder itself or below it.
"""

import contextlib
import hashlib
import os
import platform
import pwd
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ddb_lease.local.errors import EngineError

FOLDER_VARIABLE = "DDB_LEASE_LOCAL_DIR"

_OWNER_ONLY_FILE = 0o600
_OWNER_ONLY_FOLDER = 0o700
_OTHERS = 0o077
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC


def chosen() -> Path:
    """The engine's folder, which need not exist: `engine-` and the machine's number, in the user's state folder.

    The state folder is `DDB_LEASE_LOCAL_DIR` if set. Else it is in the home that the user database names, or
    /tmp/ddb-lease-UID for a user without an entry there. The machine is part of the name, as a home may be shared.
    """
    given = os.environ.get(FOLDER_VARIABLE)
    return (Path(given).absolute() if given else _state_folder()) / f"engine-{_machine()}"


def make(path: Path) -> None:
    """Make the folder, and those above it, for the owner only; nothing happens to those that exist.

    Raises:
        EngineError: It cannot be made, or may not be used (see `opened`).
    """
    try:
        for folder in (*reversed(path.parents), path):
            with contextlib.suppress(FileExistsError):
                if not folder.is_dir():
                    folder.mkdir(mode=_OWNER_ONLY_FOLDER)
        above = path.parent.stat().st_mode
    except OSError as error:
        raise _unusable(path, error) from error
    if above & stat.S_IWOTH and not above & stat.S_ISVTX:
        raise EngineError(f"anybody may replace folders in {path.parent}: {_ADVICE}")
    with opened(path):
        pass


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """The folder's descriptor.

    Raises:
        FileNotFoundError: There is no such folder.
        EngineError: It is a link or a file, belongs to another user, or others may enter it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        facts = os.fstat(descriptor)
        if facts.st_uid != os.geteuid():
            # Another user could direct us to an engine of theirs.
            raise EngineError(f"{path} belongs to another user: {_ADVICE}")
        if facts.st_mode & _OTHERS:
            raise EngineError(f"others may enter {path}: remove it, chmod 700 it, or {_ADVICE}")
        yield descriptor
    finally:
        os.close(descriptor)


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file of the folder that only its owner can read; child processes do not inherit it.

    Raises:
        FileNotFoundError: The folder, or a file to be read, does not exist.
        EngineError: The folder may not be used (see `opened`), or the file is a link or cannot be opened.
    """
    with opened(path.parent) as folder:
        try:
            return open(
                path.name,
                mode,
                opener=lambda name, flags: os.open(name, flags | _NO_LINK, _OWNER_ONLY_FILE, dir_fd=folder),
            )
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unusable(path, error) from error


_ADVICE = f"set {FOLDER_VARIABLE} to a folder of your own"


def _unusable(path: Path, error: OSError) -> EngineError:
    return EngineError(f"the local engine cannot use {path}: {error.strerror or error}; {_ADVICE}")


def _state_folder() -> Path:
    try:
        home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return Path(f"/tmp/ddb-lease-{os.geteuid()}")  # noqa: S108 - whoever may use it is checked when it is opened
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "ddb-lease"
    return home / ".local" / "state" / "ddb-lease"


def _machine() -> str:
    try:
        name = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        name = ""
    return hashlib.sha256((name or platform.node()).encode()).hexdigest()[:8]
