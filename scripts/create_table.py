#!/usr/bin/env python3
"""Makes the table for leases and tokens, in an environment that it makes itself (.venv).

scripts/create_table.py --local             on this machine's embedded engine
scripts/create_table.py --table my-tokens   on DynamoDB, with the usual AWS variables

What follows goes to `ddb-lease create-table`; see its --help.
"""

import sys

from environment import ensure, package, run

bin_folder = ensure(".venv", *package("local", "test"))
sys.exit(run(bin_folder / "ddb-lease", "create-table", *sys.argv[1:]))
