"""The cost of a month, by the measured counts and the public prices.

    python -m benchmarks.cost --acquires 1e6 --lease-hours 720 --lease-seconds 60 --waiting-hours 100
    python -m benchmarks.cost --permits-per-second 100 --prefetch 10

With leases, what they cost here and with other libraries; with rates, what permits cost that are used all month long.
A charge of a rate is one write for up to `prefetch` permits, one more in a transaction for each of the parents, at
twice the price, and as much again for each denial that no memory answers.

The formula, for each contender: dollars = price of a write unit x (write units of an acquire and its release x acquires
+ write units of a renewal x renewals + write units a waiting second x seconds) + the same with read units. An item is
assumed to be under 1 KB, a bucket under 20 slots; storage and transfer are left out, as they cost only cents.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

WCU_PRICE, RCU_PRICE = 0.625e-6, 0.125e-6
"""Dollars for each request unit, on demand, us-east-1: Amazon DynamoDB's price list since November 2024."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """A contender's capacity units; measured by `scripts/bench single waiting`.

    Attributes:
        cycle_wcu: Of an acquire and its release.
        cycle_rcu: The same, read.
        renewals: Renewals in the length of one lease.
        renewal_wcu: Of each; 0.0 if it does not renew.
        waiting_wcu: Of one process that waits for a full bucket of ten slots, a second.
        waiting_rcu: The same, read.
    """

    cycle_wcu: float
    cycle_rcu: float = 0.0
    renewals: float = 3.0
    renewal_wcu: float = 1.0
    waiting_wcu: float = 0.0
    waiting_rcu: float = 0.0


MEASURED = {
    "ddb_lease": Counts(cycle_wcu=2.0, waiting_rcu=0.5),
    "naive counter": Counts(cycle_wcu=8.0, waiting_wcu=8.0),
    "dynamo-dlm 2.1.0": Counts(cycle_wcu=2.0, renewals=0.0, renewal_wcu=0.0, waiting_wcu=190.0),
    "python_dynamodb_lock 0.9.1": Counts(cycle_wcu=2.0, cycle_rcu=1.0, renewals=6.0, waiting_rcu=1.0),
}
"""dynamo-dlm does not renew, and retries without a pause: it polls as fast as the engine answers.
python_dynamodb_lock renews six times in a lease by its defaults (5 s of 30 s)."""


def dollars(
    counts: Counts, *, acquires: float, lease_hours: float, lease_seconds: float, waiting_hours: float
) -> float:
    """The cost of so much work.

    Args:
        counts: A contender's.
        acquires: How many, each with its release.
        lease_hours: Hours of lease held, over all holders.
        lease_seconds: Length of a lease.
        waiting_hours: Hours that processes wait, over all of them.
    """
    renewals = lease_hours * 3600.0 / lease_seconds * counts.renewals
    waiting = waiting_hours * 3600.0
    wcu = counts.cycle_wcu * acquires + counts.renewal_wcu * renewals + counts.waiting_wcu * waiting
    rcu = counts.cycle_rcu * acquires + counts.waiting_rcu * waiting
    return wcu * WCU_PRICE + rcu * RCU_PRICE


MONTH_SECONDS = 730 * 3600.0
"""Seconds in a month, as AWS counts."""


def dollars_of_permits(
    *,
    permits_per_second: float,
    prefetch: float = 1.0,
    parents: float = 0.0,
    denials_per_second: float = 0.0,
    processes: float = 1.0,
) -> float:
    """The cost of a month of a rate.

    Args:
        permits_per_second: How many are used, over all processes and keys.
        prefetch: How many a charge takes: of the burst, of what is used within a second, and of `prefetch`, the least.
        parents: How many a key has. Nothing is prefetched under parents.
        denials_per_second: How many are answered by the table. Those that a process remembers cost nothing.
        processes: How many use the limiter: each reads the policy every 30 s, eventually consistent.
    """
    units = 2.0 * (parents + 1.0) if parents else 1.0 / max(1.0, prefetch)
    denial = 2.0 * (parents + 1.0) if parents else 1.0
    wcu = MONTH_SECONDS * (permits_per_second * units + denials_per_second * denial)
    return wcu * WCU_PRICE + processes * MONTH_SECONDS / 30.0 * 0.5 * RCU_PRICE


def main(arguments: list[str] | None = None) -> int:
    """Print the costs for given numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--acquires", type=_amount, default=0.0, metavar="N", help="acquires with their releases (0)")
    parser.add_argument("--lease-hours", type=_amount, default=0.0, metavar="H", help="hours of lease held (0)")
    parser.add_argument("--lease-seconds", type=_amount, default=60.0, metavar="S", help="length of a lease (60)")
    parser.add_argument("--waiting-hours", type=_amount, default=0.0, metavar="H", help="hours processes wait (0)")
    rates = parser.add_argument_group("rates, all month long")
    rates.add_argument("--permits-per-second", type=_amount, default=0.0, metavar="R", help="permits used a second (0)")
    rates.add_argument("--prefetch", type=_amount, default=1.0, metavar="K", help="permits that a charge takes (1)")
    rates.add_argument("--parents", type=_amount, default=0.0, metavar="N", help="parents of each key (0)")
    rates.add_argument("--denials-per-second", type=_amount, default=0.0, metavar="D", help="denials by the table (0)")
    rates.add_argument("--processes", type=_amount, default=1.0, metavar="N", help="processes with the limiter (1)")
    given = vars(parser.parse_args(arguments))
    of_rates = {action.dest: given.pop(action.dest) for action in rates._group_actions}
    if not given["lease_seconds"]:
        parser.error("--lease-seconds must be more than 0")
    if of_rates["prefetch"] < 1.0:
        parser.error("--prefetch must be 1 or more")
    used = of_rates["permits_per_second"] or of_rates["denials_per_second"]
    if used:
        print(f"{'permits of a rate, a month':27} {dollars_of_permits(**of_rates):14,.4f} $")
    if not used or any(given[name] for name in ("acquires", "lease_hours", "waiting_hours")):
        for name, counts in MEASURED.items():
            print(f"{name:27} {dollars(counts, **given):14,.4f} $")
    return 0


def _amount(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number, 0 or more, not {text!r}")
    return number


if __name__ == "__main__":
    sys.exit(main())
