"""A process whose log goes to a pipe that nobody reads, for `test_troubles`: what it sees goes to standard output."""

from __future__ import annotations

import json
import logging
import os
import sys

from ddb_lease import LeaseLost
from tests.runtime.troubles import PATIENCE, Process, Told, eventually, outlives


def fill(descriptor: int) -> None:
    """Write until nothing more fits."""
    os.set_blocking(descriptor, False)
    try:
        while True:
            os.write(descriptor, b"." * 4096)
    except BlockingIOError:
        os.set_blocking(descriptor, True)


def main() -> None:
    process, told = Process(), Told()
    sick, healthy = process.bucket(), process.bucket()
    lost, kept = sick.acquire(timeout=PATIENCE), healthy.acquire(timeout=PATIENCE, on_lost=told)
    logging.basicConfig(level=logging.WARNING)
    fill(sys.stderr.fileno())
    process.rob(lost, sick)
    eventually(lambda: not lost.held, within=PATIENCE)
    seen = {"lost": lost.lost}
    try:
        outlives(kept, healthy)
        seen["kept"] = True
    except LeaseLost:
        seen["kept"] = False
    process.rob(kept, healthy)
    seen["told"] = told.called.wait(PATIENCE)
    print(json.dumps(seen), flush=True)
    os._exit(0)  # `logging` waits for its handlers at the exit


if __name__ == "__main__":
    main()
