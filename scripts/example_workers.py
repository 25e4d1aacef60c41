"""The example that `scripts/example.py` runs in its environment."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from ddb_lease import DynamoDBTokenBucket

WORKERS, ROUNDS, TOKENS, TOKEN_SECONDS = 6, 3, 2, 4.0
PATIENCE_SECONDS = 1.0
"""So short that some acquisitions time out."""


class Count:
    """The tokens held now, as counted by the workers themselves; only the table knows of others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holding: dict[str, float] = {}
        self._began = time.monotonic()
        self.most = 0

    def enter(self, token_id: str) -> None:
        """A worker holds this token, until it expires at the latest."""
        with self._lock:
            now = time.monotonic()
            self._holding = {token: until for token, until in self._holding.items() if until > now}
            # A second less: the holder of a token stops a margin before its end.
            self._holding[token_id] = now + TOKEN_SECONDS - 1.0
            self.most = max(self.most, len(self._holding))

    def leave(self, token_id: str) -> None:
        """The worker does not hold it any more."""
        with self._lock:
            self._holding.pop(token_id, None)

    def say(self, text: str) -> None:
        """Print a line with the time."""
        with self._lock:
            print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)


def work(number: int, bucket: DynamoDBTokenBucket, count: Count) -> int:
    """One worker: a few rounds of acquire, work, release; returns how often it got nothing."""
    in_vain = 0
    for turn in range(1, ROUNDS + 1):
        token_id, success = bucket.acquire_token(timeout_seconds=PATIENCE_SECONDS)
        if not success or token_id is None:
            in_vain += 1
            count.say(f"worker {number}: no token within {PATIENCE_SECONDS:g} s")
            continue
        count.enter(token_id)
        count.say(f"worker {number}: has token {token_id[:8]}")
        if number == 1 and turn == 1:
            count.say(f"worker {number}: dies with it")  # as if its machine had: it never gives the token back
            return in_vain
        time.sleep(random.uniform(0.2, 0.8))  # noqa: S311 - a pretence of work
        count.leave(token_id)
        bucket.release_token(token_id)
    return in_vain


def play(bucket: DynamoDBTokenBucket) -> bool:
    """Run the example; returns whether all was as promised."""
    count = Count()
    bucket.initialize_bucket()
    count.say(f"{WORKERS} workers on {TOKENS} tokens, which end after {TOKEN_SECONDS:g} s")
    with ThreadPoolExecutor(WORKERS) as pool:
        in_vain = sum(pool.map(lambda number: work(number, bucket, count), range(1, WORKERS + 1)))
    lost, _ = bucket.acquire_token(timeout_seconds=10)
    count.say(f"a token is left behind on purpose: {str(lost)[:8]}")
    time.sleep(TOKEN_SECONDS + 2.5)
    freed = bucket.cleanup_expired_tokens()
    count.say(f"clean-up freed {freed}")
    tokens = [bucket.acquire_token(timeout_seconds=10)[0] for _ in range(TOKENS)]
    count.say(f"in the end all {TOKENS} can be had: {None not in tokens}")
    count.say(f"never more than {count.most} were held; {in_vain} acquisitions timed out")
    bucket.reset_bucket()
    return count.most <= TOKENS and freed >= 1 and None not in tokens


@contextlib.contextmanager
def _bucket(table: str | None) -> Iterator[DynamoDBTokenBucket]:
    if table is not None:
        yield DynamoDBTokenBucket(table, TOKENS, TOKEN_SECONDS, bucket_name=f"example-{uuid.uuid4()}")
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DDB_LEASE_LOCAL_DIR"] = folder  # an engine of its own
        from ddb_lease import local  # noqa: PLC0415 - after that is set

        where = local.connect("tokens", create=True)
        try:
            yield DynamoDBTokenBucket(where.pop("table"), TOKENS, TOKEN_SECONDS, **where)
        finally:
            local.stop()


def main() -> int:
    """Run it where the arguments say."""
    parser = argparse.ArgumentParser(prog="scripts/example.py")
    parser.add_argument("--table")
    with _bucket(parser.parse_args().table) as bucket:
        return 0 if play(bucket) else 1


if __name__ == "__main__":
    sys.exit(main())
