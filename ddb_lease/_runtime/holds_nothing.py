"""The process's hooks of a bucket whose leases outlive the process: a sliding window's permits, tokens without renewal.

Invariant: at the exit nothing is released but what an interrupted acquire has left; permits can be had until the end.
"""

from __future__ import annotations

from ddb_lease._runtime.bucket_core import BucketCore
from ddb_lease._runtime.give_back import give_back


class HoldsNothing:
    """Registered with `process` in place of the bucket's core.

    Args:
        core: The bucket.
    """

    def __init__(self, core: BucketCore) -> None:
        self._core = core

    def after_fork_in_child(self) -> None:
        """In a forked child: drop what belongs to the parent."""
        self._core.after_fork_in_child()

    def at_exit(self, deadline: float) -> None:
        """At the interpreter's exit: release what interrupted acquires left."""
        give_back(list(self._core.owed.values()), runtime=self._core.runtime, deadline=deadline, goes=1)
