"""What the options need of the library: its bounds, names and defaults.

Invariant: equal to those of the modules that own them, which take longer to import than all options together. A test
compares each.
"""

from __future__ import annotations

from typing import Final

DEFAULT_TABLE: Final = "ddb-lease"
HIGHEST_PRIORITY: Final = 9
LEADER_SECONDS: Final = 15.0
LONGEST_LEASE_MS: Final = 365 * 86_400_000
MAX_TOKENS: Final = 100_000
ORDERS: Final = ("any", "fifo")
PER_TRANSACTION: Final = 99
ROLES: Final = ("worker", "operator", "reader", "deployer")
