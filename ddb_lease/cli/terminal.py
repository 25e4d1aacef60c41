"""The terminal of a command under the watchdog: whose process group is in the foreground, and its modes."""

from __future__ import annotations

import contextlib
import os


class Terminal:
    """The controlling terminal, if there is one: whose group is in the foreground."""

    def __init__(self, home: int) -> None:
        self._home = home  # the supervisor's group
        self._modes: list[object] | None = None
        self.is_open = True
        try:
            self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            self.is_open = False

    def wanted_at_start(self) -> bool:
        """Whether the command should begin in the foreground: it reads a terminal and feeds no pipe.

        In `run ... | less` the terminal is the pager's; the command gets it when it first asks for it.
        """
        import stat  # noqa: PLC0415 - slow to load, and needed on terminals only

        try:
            return self.is_open and os.isatty(0) and not stat.S_ISFIFO(os.fstat(1).st_mode)
        except OSError:  # standard output is closed
            return False

    def hand_over(self, group: int) -> bool:
        """Move the foreground from the supervisor's group to this one; False if it was not there."""
        try:
            if not self.is_open or os.tcgetpgrp(self._fd) != self._home:
                return False
            os.tcsetpgrp(self._fd, group)
        except OSError:
            return False
        return True

    def has_in_front(self, group: int) -> bool:
        """Whether this group is in the foreground."""
        try:
            return self.is_open and os.tcgetpgrp(self._fd) == group
        except OSError:
            return False

    def remember_modes(self) -> None:
        """Remember the terminal modes, which a killed full-screen program would leave broken."""
        import termios  # noqa: PLC0415 - slow to load, and needed on terminals only

        try:
            self._modes = termios.tcgetattr(self._fd)
        except (termios.error, OSError):
            self._modes = None

    def take_back(self, group: int, *, restore_modes: bool = False) -> None:
        """Give the foreground back to the supervisor's group, unless somebody else has taken it.

        A shell that saw the supervisor die or stop has taken it already: it must not lose it again.
        """
        try:
            if not self.is_open:
                return
            front = os.tcgetpgrp(self._fd)
            if front != group:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(front, 0)
                    return  # it exists
            os.tcsetpgrp(self._fd, self._home)
        except OSError:
            return
        if restore_modes and self._modes is not None:
            import termios  # noqa: PLC0415 - slow to load, and needed on terminals only

            try:
                termios.tcsetattr(self._fd, termios.TCSANOW, self._modes)  # type: ignore[arg-type] # its own
            except (termios.error, OSError):
                return
