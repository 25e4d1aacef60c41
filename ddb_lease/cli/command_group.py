"""What a command consists of, for the watchdog: its process group, and what left that group.

Invariants:
    1. The leader stays unreaped until nothing lives any more, where the watchdog can do that: until then its number,
       which is the group's, cannot come to mean somebody else's group.
    2. Strays are the processes that left the group (setsid, a shell's jobs). Orphans come to the watchdog where it
       adopts them (Linux), so its descendants are exactly the command's. Elsewhere there are none that we know of.
"""

from __future__ import annotations

import os
import signal
import sys

from ddb_lease.cli.cgroup import make_cgroup
from ddb_lease.cli.processes import can_see_processes, denied, descendants, living, members, send, send_group

TYPE_CHECKING = False  # see processes, invariant 1
if TYPE_CHECKING:
    from ddb_lease.cli.processes import Process


class CommandGroup:
    """The command's processes; `leader` is 0 while there is none."""

    def __init__(self, *, session: int, adopts: bool) -> None:
        self._session, self._adopts = session, adopts
        self.leader = 0  # pid of the command, and number of its group
        self.is_reaped = False  # invariant 1
        self.cgroup = make_cgroup() if sys.platform == "linux" else None

    def send(self, signum: int, *, strays: bool) -> None:
        """Send a signal to all of it that we may signal; KILL, with strays, to all that is in its cgroup."""
        unpinned = self.is_reaped and not send_group(self.leader, 0)
        if self.leader and not unpinned:
            send_group(self.leader, signum)
        for stray in self.strays() if strays else ():
            send(stray, signum)
        if strays and signum == signal.SIGKILL and self.cgroup is not None:
            self.cgroup.kill()

    @property
    def reach(self) -> str:
        """What of it can be ended for sure: the folder of its cgroup, all its "descendants", or its "group"."""
        if self.cgroup is not None:
            return self.cgroup.folder
        return "descendants" if self._adopts and can_see_processes() else "group"

    def strays(self) -> list[Process]:
        """Those that live outside the group."""
        if not self._adopts:
            return []
        return [one for one in descendants(os.getpid()) if one.group != self.leader]

    def out_of_reach(self, *, strays: bool, has_ended: bool) -> str:
        """The processes that our signals do not reach, for people; empty if there are none."""
        group = members(self.leader, session=self._session) if not self._adopts else descendants(os.getpid())
        if group:
            return named(denied(one for one in group if strays or one.group == self.leader))
        return "" if has_ended or _may_signal(self.leader) else str(self.leader)

    def is_gone(self, *, strays: bool) -> bool:
        """Whether nothing of it lives; with or without strays. The leader must have ended."""
        if self.is_reaped:
            return not send_group(self.leader, 0) and not (strays and self.strays())
        if self._has_living(strays=strays):
            return False
        send_group(self.leader, signal.SIGKILL)  # a fork may have slipped past the look; now none can
        return not self._has_living(strays=strays)

    def reap(self) -> None:
        """Give its number up, and its cgroup."""
        if self.cgroup is not None:
            self.cgroup.remove()
        if not self.is_reaped:
            os.waitpid(self.leader, 0)
            self.is_reaped = True

    def _has_living(self, *, strays: bool) -> bool:
        if self._adopts:
            try:
                # The command's descendants are ours: if we have no children, nothing lives.
                with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
                    if file.read().split() == [b"%d" % self.leader]:
                        return False
            except OSError:
                pass  # a kernel without this file: search /proc
        return living(self.leader, session=self._session) is not False or (strays and bool(self.strays()))


def named(found: list[Process]) -> str:
    """Processes for people."""
    return ", ".join(f"{one.pid} ({one.name})" for one in found)


def _may_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except OSError:
        return True
    return True
