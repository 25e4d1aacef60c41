"""The processes of a command: who lives, who descends from whom, and signals that reach no stranger.

Invariants:
    1. Standard library only, and nothing that is slow to load: the watchdog imports this.
    2. A process that is not our child is signalled by a pidfd that was checked after it was opened (its start time is
       still the one that was seen), so its number cannot have come to mean another process. Where the kernel has no
       pidfds, the check is made right before the signal.
    3. A process that may not be signalled (another user's) counts as alive until it is seen dead.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import namedtuple

TYPE_CHECKING = False  # as in typing, whose import costs as much as the rest of this program
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

Process = namedtuple("Process", "pid parent group session started name")  # noqa: PYI024 - see invariant 1
"""A process that is alive (no zombie). `started` tells it from a later one of the same number."""


def processes() -> list[Process] | None:
    """All living processes; None where /proc cannot tell. One forked during the look may be missing."""
    if not can_see_processes():
        return None
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        process = look_at(int(number))
        if process is not None:
            found.append(process)
    return found


def look_at(pid: int) -> Process | None:
    """This process, if it lives."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            head, _, rest = file.read().rpartition(b")")
        state, parent, group, session, *others = rest.split()
    except (OSError, ValueError):
        return None  # gone while we looked, or hidden from us
    if state in (b"Z", b"X"):
        return None
    name = head.partition(b"(")[2].decode(errors="replace")
    return Process(pid, int(parent), int(group), int(session), int(others[15]), name)


def members(group: int, *, session: int) -> list[Process] | None:
    """The living processes of a process group; None where /proc cannot tell."""
    found = processes()
    return None if found is None else [one for one in found if (one.group, one.session) == (group, session)]


def living(group: int, *, session: int) -> bool | None:
    """Whether a process of the group lives (zombies do not); None where /proc cannot tell.

    A process forked during the look may be missed, unless KILL was sent before.
    """
    found = members(group, session=session)
    return None if found is None else bool(found)


def descendants(root: int) -> list[Process]:
    """The living processes below `root`, wherever they went, if `root` adopts orphans; none where /proc cannot tell."""
    if not os.path.exists(f"/proc/{root}/task/{root}/children"):
        return _descendants_by_parent(root)  # a kernel without this file: look at all processes
    found: list[Process] = []
    at = -1
    while at < len(found):
        for child in children(root if at < 0 else found[at].pid):
            process = look_at(child)
            if process is not None:
                found.append(process)
        at += 1
    return found


def children(pid: int) -> list[int]:
    """The numbers of a process's children, zombies included."""
    numbers: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                numbers += map(int, file.read().split())
    except OSError:
        return numbers  # gone while we looked
    return numbers


def _descendants_by_parent(root: int) -> list[Process]:
    below: dict[int, list[Process]] = {}
    for one in processes() or ():
        below.setdefault(one.parent, []).append(one)
    found, at = list(below.get(root, ())), 0
    while at < len(found):
        found += below.get(found[at].pid, ())
        at += 1
    return found


def can_see_processes() -> bool:
    """Whether /proc shows all processes, and numbers them as we do: it may hide some, or show another namespace."""
    try:
        return os.readlink("/proc/self") == str(os.getpid()) and os.access("/proc/1/stat", os.R_OK)
    except OSError:
        return False


def send_group(group: int, signum: int) -> bool:
    """Send a signal to a process group; False if there is none. Processes of another user do not get it."""
    try:
        os.killpg(group, signum)
    except ProcessLookupError:
        return False
    except PermissionError:
        return sys.platform == "linux"  # macOS answers so for a group of zombies
    return True


def send(process: Process, signum: int) -> None:
    """Send a signal to one process, if it is still the one that was seen, and may be signalled."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # no Linux, or an old one; or it is gone
        pidfd = -1
    try:
        now = look_at(process.pid)
        if now is None or now.started != process.started:
            return
        if pidfd < 0:
            os.kill(process.pid, signum)
        else:
            signal.pidfd_send_signal(pidfd, signum)
    except OSError:
        return  # gone, or another user's
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def denied(found: Iterable[Process]) -> list[Process]:
    """Those of them that we may not signal."""
    refused = []
    for one in found:
        try:
            os.kill(one.pid, 0)
        except PermissionError:
            refused.append(one)
        except OSError:
            continue
    return refused


def load_prctl() -> Callable[[int, int], bool]:
    """Linux's prctl; a function that returns False elsewhere."""
    try:
        if sys.platform != "linux":
            raise ImportError
        import ctypes  # noqa: PLC0415 - not in every build of Python, and needed on Linux only

        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (ImportError, OSError, AttributeError):
        return lambda _option, _value: False
    zero, number = ctypes.c_ulong(0), ctypes.c_ulong
    return lambda option, value: prctl(option, number(value), zero, zero, zero) == 0
