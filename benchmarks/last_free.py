"""How long a claim takes in a large bucket that is nearly full, on an engine.

    python -m benchmarks.last_free
    python -m benchmarks.last_free --slots 10000 --free 10 --engine ministack

Each claim is by a new process that knows nothing of the bucket, and its lease is kept. The time is that of `acquire`,
with the first questions for the service's time; starting the process does not count. The engine runs on the same
machine, and takes longer for a Query than DynamoDB does where others keep its cores busy.
"""

from __future__ import annotations

import argparse
import statistics

from benchmarks.company import OURS, gather, here

CLAIMS = 8


def main() -> None:
    """Fill a bucket but for some slots, claim most of them, and print each claim."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.last_free", description=__doc__.partition("\n")[0])
    parser.add_argument("--slots", type=int, default=100_000, help="(100000)")
    parser.add_argument("--free", type=int, default=10, help="(10)")
    parser.add_argument("--engine", choices=("embedded", "ministack"), default="embedded", help="(embedded)")
    given = parser.parse_args()
    seconds, requests = [], []
    with gather(given.engine, None, {OURS: here()}) as company:
        bucket = company.bucket()
        company.furnish(bucket, slots=given.slots, leased=given.slots - given.free)
        for _ in range(min(CLAIMS, given.free)):
            with company.hired([OURS], tokens=given.slots) as (member,):
                member.ask("open", bucket=bucket, tokens=given.slots, table=company.table(OURS))
                member.ask("count")
                seconds.append(float(member.ask("fill", bucket=bucket, count=1)["acquire"][0]))
                requests.append(sum(member.ask("count")["requests"].values()))
                print(f"{seconds[-1]:.2f} s, {requests[-1]} requests", flush=True)
    print(
        f"{given.free} of {given.slots:,} slots free, {company.engine}: mean {statistics.mean(seconds):.2f} s, "
        f"slowest {max(seconds):.2f} s, {statistics.mean(requests):.0f} requests"
    )


if __name__ == "__main__":
    main()
