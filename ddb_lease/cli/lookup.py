"""Whether a command can be run, as far as that can be told without running it.

Invariant: never stricter than exec. What it refuses, exec refuses too, for the reason given.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping


def trouble_with(command: str, env: Mapping[str, str]) -> int | None:
    """The errno with which running `command` would fail; None if nothing speaks against it. PATH is that of `env`.

    Not seen: a file of no format that the kernel knows, a script whose interpreter is missing, too many arguments.
    """
    if not command:
        return errno.ENOENT
    if os.path.dirname(command):
        return _trouble(command)
    found = errno.ENOENT
    for folder in os.get_exec_path(env):
        trouble = _trouble(os.path.join(folder, command))
        if trouble is None:
            return None
        if trouble not in {errno.ENOENT, errno.ENOTDIR}:
            found = trouble  # exec goes on to the next folder, and tells this in the end
    return found


def reason(number: int) -> str:
    """The reason for people."""
    return "it is a directory" if number == errno.EISDIR else os.strerror(number)


def _trouble(path: str) -> int | None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.errno
    except ValueError:  # a NUL byte
        return errno.ENOENT
    if stat.S_ISDIR(mode):
        return errno.EISDIR
    return None if os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids) else errno.EACCES
