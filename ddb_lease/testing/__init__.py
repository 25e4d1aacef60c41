"""For tests of code that holds leases: buckets on a clock that the test moves, and every way to lose a lease.

Invariants:

- Nothing is imitated. A lease is lost because its item was deleted, or because no renewal was answered, by the code
  that does it in production, on a real engine. The test controls only the time, and whether requests and answers
  arrive.
- Nothing happens in the background: no thread of ours runs, no second passes by itself. What is due is done before the
  call that made it due returns.
- It loads itself into no test run. Importing it needs neither pytest nor an engine; the fixtures need both.

One line in the topmost ``conftest.py``, ``pytest_plugins = ["ddb_lease.testing"]``, loads the fixtures
`lease_environment` (also by its old name, `lease_stage`), `lease_bucket`, `lease_table`, `lease_engine` and
`lease_session`. Without pytest, make a `TestEnvironment`.

Example:
    >>> from ddb_lease import local
    >>> from ddb_lease.testing import TestEnvironment
    >>> with TestEnvironment(**local.connect()) as environment:
    ...     lease = environment.bucket(lease_seconds=60).acquire()
    ...     environment.advance(3600)  # an hour, at once
    ...     assert lease.held
    ...     environment.lose(lease, reason="unreachable")
    ...     lease.lost
    <LossReason.UNREACHABLE: 'unreachable'>

PYTEST_DONT_REWRITE: pytest would warn of a plugin that is imported before it is loaded.
"""

from __future__ import annotations

from typing import Final

from ddb_lease.testing.clock import MovableClock
from ddb_lease.testing.environment import Stage, TestEnvironment

pytest_plugins: Final = ["ddb_lease.testing.fixtures"]
"""The module in which pytest finds the fixtures."""

__all__ = ["MovableClock", "Stage", "TestEnvironment"]
