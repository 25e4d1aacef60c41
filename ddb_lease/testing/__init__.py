"""For tests of code that holds leases: buckets on a clock that the test moves, and every way to lose a lease.

Invariants:

- Nothing is imitated. A lease is lost because its item was deleted, or because no renewal came through, and by the
  code that does it in production, on a real engine. Only time, and what becomes of requests, is the test's.
- Nothing happens behind the test's back: no thread of ours runs, no second passes by itself. What is due is done
  before the call that made it due returns.
- It loads itself into no test run, and importing it needs neither pytest nor an engine; the fixtures need both.

The fixtures `lease_stage`, `lease_bucket`, `lease_table` and `lease_engine` come with one line in the topmost
``conftest.py``: ``pytest_plugins = ["ddb_lease.testing"]``. Without pytest, a `Stage` does as well.

Example:
    >>> from ddb_lease import local
    >>> from ddb_lease.testing import Stage
    >>> with Stage(**local.connect()) as stage:
    ...     lease = stage.bucket(lease_seconds=60).acquire()
    ...     stage.advance(3600)  # an hour, at once
    ...     assert lease.held
    ...     stage.lose(lease, reason="unreachable")
    ...     lease.lost
    <LossReason.UNREACHABLE: 'unreachable'>

For pytest, which would warn of a plugin that is imported twice: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from typing import Final

from ddb_lease.testing.clock import MovableClock
from ddb_lease.testing.environment import Stage, TestEnvironment

pytest_plugins: Final = ["ddb_lease.testing.fixtures"]
"""Where pytest, and nobody else, finds the fixtures."""

__all__ = ["MovableClock", "Stage", "TestEnvironment"]
