"""A candidate for leader in a fresh process: `python -m benchmarks.candidate '{"name": ..., "table": ..., ...}'`.

It prints a line when it begins to wait, and one when it is elected.
"""

from __future__ import annotations

import json
import sys

from ddb_lease import Leader, exit_on_sigterm


def main() -> None:
    """Run until it is told to end."""
    setting = json.loads(sys.argv[1])
    exit_on_sigterm()
    leader = Leader(setting.pop("name"), on_elected=lambda _: print("elected", flush=True), **setting)
    leader.current()
    print("waits", flush=True)
    leader.run()


if __name__ == "__main__":
    main()
