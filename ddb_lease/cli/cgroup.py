"""A cgroup (version 2) of the command's own, where one may be made: the kernel ends all in it, whoever it runs as.

Invariants:
    1. Made only below a cgroup that was delegated to us: one that an unprivileged user may write, or that the service
       manager marked as delegated. Elsewhere its tree belongs to the service manager.
    2. Only ever an addition: what fails here leaves the watchdog with signals.
"""

from __future__ import annotations

import contextlib
import os

_MARKS = ("trusted.delegate", "user.delegate")  # systemd's, for Delegate=yes


class Cgroup:
    """The cgroup in this folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def enter(self) -> None:
        """Move this process into it; what it starts is born there."""
        with contextlib.suppress(OSError):
            _write(f"{self.folder}/cgroup.procs", b"0")

    def kill(self) -> bool:
        """Kill everything in it, at once; whether the kernel did."""
        try:
            _write(f"{self.folder}/cgroup.kill", b"1")
        except OSError:
            return False
        return True

    def is_empty(self) -> bool:
        """Whether nothing lives in it."""
        try:
            with open(f"{self.folder}/cgroup.events", "rb") as file:
                return b"populated 0" in file.read()
        except OSError:
            return True

    def remove(self) -> None:
        """Remove it, unless something was left running in it."""
        with contextlib.suppress(OSError):
            os.rmdir(self.folder)


def make_cgroup() -> Cgroup | None:
    """A new cgroup below our own; None where that is not ours to make, or cannot be killed."""
    try:
        home = _own_folder()
        if home is None or not _is_delegated(home):
            return None
        folder = f"{home}/ddb-lease-{os.getpid()}"
        os.mkdir(folder)
    except OSError:
        return None
    made = Cgroup(folder)
    if not os.access(f"{folder}/cgroup.kill", os.W_OK):  # Linux before 5.14
        made.remove()
        return None
    return made


def _own_folder() -> str | None:
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        paths = [line.rstrip("\n")[3:] for line in file if line.startswith("0::")]
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = [line.split() for line in file if " - cgroup2 " in line]
    if not paths or not mounts:
        return None
    root, mounted_at = mounts[0][3:5]
    if root != "/":
        if not f"{paths[0]}/".startswith(f"{root}/"):
            return None
        paths[0] = paths[0][len(root) :]
    return f"{mounted_at}{paths[0]}".rstrip("/")


def _is_delegated(folder: str) -> bool:
    if not (os.access(folder, os.W_OK) and os.access(f"{folder}/cgroup.procs", os.W_OK)):
        return False
    if os.geteuid() != 0:
        return True
    for mark in _MARKS:
        with contextlib.suppress(OSError):
            if os.getxattr(folder, mark) == b"1":
                return True
    return False


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
