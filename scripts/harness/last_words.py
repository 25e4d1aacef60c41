"""What a test's process says at its very end: in the exit handler that runs after ddb_lease's own.

Invariant: it is imported before anything of ddb_lease, as exit handlers run in reverse order.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable

at_the_very_end: list[Callable[[], object]] = []
"""Called in order, once everything else has ended."""


def _speak() -> None:
    for speak in at_the_very_end:
        speak()


atexit.register(_speak)
