#!/usr/bin/env python3
"""Shows the token interface: workers on a few tokens, some time out, one dies with its token, and clean-up frees it.

scripts/example.py              on its own embedded engine; nothing else is needed
scripts/example.py --table T    on DynamoDB, with the usual AWS variables, in a bucket of its own

Makes its environment (.venv). Exit code 0 only if no more tokens were ever held than there are, and all came back.
"""

import argparse
import sys

from environment import ROOT, ensure, package, run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--local", action="store_true", help="the embedded engine; the default without --table")
    where.add_argument("--table", metavar="T", help="a table of yours")
    options = parser.parse_args()
    python = ensure(".venv", *package("local", "test")) / "python"
    return run(python, ROOT / "scripts" / "example_workers.py", *(["--table", options.table] if options.table else []))


if __name__ == "__main__":
    sys.exit(main())
