"""Signals that end ddb-lease while it waits, and the other errors that Python may make of them."""

from __future__ import annotations

import signal


class Interrupted(BaseException):
    """A signal that ends us before the command runs. Not an Exception: only clean-up code may catch it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def signal_behind(error: BaseException | None) -> int | None:
    """The signal from which an error came; None if it came from none.

    Where a signal comes at the wrong moment, another error is raised in place of the handler's: before Python 3.12 in
    `__set_name__`, of which there are many while modules are imported; or where a library passes on what it has caught.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, Interrupted):
            return error.signum
        if isinstance(error, KeyboardInterrupt):
            return signal.SIGINT
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
