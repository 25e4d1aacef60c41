"""`python -m ddb_lease`: the program `ddb-lease`, where its script is not on the path."""

from __future__ import annotations

from ddb_lease.cli.main import main

if __name__ == "__main__":
    main()
