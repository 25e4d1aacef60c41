"""A single client: what one acquire, one renewal, one release and one look at a full bucket cost."""

from __future__ import annotations

from typing import Any

from benchmarks.company import DLM, KINDS, LOCK, RAW, Company, Member
from benchmarks.figures import quantile, ratio, summary
from benchmarks.parts import Tick

ROUNDS = 60
CYCLES = 5
TOKENS = 10
OPERATIONS = ("acquire", "renew", "release")
_CHECKED = 5


def run(company: Company, tick: Tick, *, rounds: int = ROUNDS) -> dict[str, Any]:
    """Interleaved rounds of all contenders, then a full bucket, then the meter's check."""
    bucket = company.bucket()
    with company.hired(KINDS, tokens=TOKENS) as members:
        for member in members:
            member.ask("open", bucket=bucket)
            member.ask("cycles", bucket=bucket, times=2)  # creates, and learns the time
        counts = _counted(members, bucket)
        for member in members:
            member.ask("record", on=False)
        taken: dict[str, dict[str, list[float]]] = {member.kind: {} for member in members}
        medians: dict[str, dict[str, list[float]]] = {member.kind: {} for member in members}
        for number in range(rounds):
            # The order rotates, so that none always comes after the same one.
            for member in members[number % len(members) :] + members[: number % len(members)]:
                for operation, seconds in member.ask("cycles", bucket=bucket, times=CYCLES).items():
                    if seconds:
                        taken[member.kind].setdefault(operation, []).extend(seconds)
                        medians[member.kind].setdefault(operation, []).append(quantile(seconds, 0.5))
            tick(0.8 * (number + 1) / rounds)
        for member in members:
            member.ask("record", on=True)
        checked = {member.kind: _check(member, bucket) for member in members}
    rows = [
        {
            "contender": kind,
            "operation": operation,
            **summary(operations[operation]),
            "to_floor": ratio(medians[kind][operation], medians[RAW][operation]),
            "cpu_to_floor": ratio(medians[kind][f"{operation} cpu"], medians[RAW][f"{operation} cpu"]),
            **counts[kind][operation],
        }
        for kind, operations in taken.items()
        for operation in OPERATIONS
        if operation in operations
    ]
    bare = {**summary(taken[RAW]["bare"]), "to_floor": ratio(medians[RAW]["bare"], medians[RAW]["acquire"])}
    full = _full(company)
    tick(1.0)
    return {"rows": rows, "bare_put_item": bare, "full": full, "checked": checked}


def _counted(members: list[Member], bucket: str) -> dict[str, dict[str, Any]]:
    """Requests and capacity of each operation: differences between counts around it."""
    counts: dict[str, dict[str, Any]] = {}
    for member in members:
        member.ask("count")
        member.ask("cycles", bucket=bucket, times=10)
        whole = member.ask("count")
        # As many acquires alone; then the releases.
        held = 1 if member.kind == LOCK else TOKENS
        if member.kind in {RAW, DLM}:
            # Only one can be held at a time: the kind of request tells acquire and release apart.
            counts[member.kind] = _by_kind(whole, 10)
            continue
        member.ask("fill", bucket=bucket, count=held)
        acquired = member.ask("count")
        member.ask("drop", bucket=bucket)
        released = member.ask("count")
        counts[member.kind] = {"acquire": _each(acquired, held), "release": _each(released, held)}
        rest = {key: whole[key] / 10 - acquired[key] / held - released[key] / held for key in ("wcu", "rcu")}
        sent = sum(whole["requests"].values()) / 10
        sent -= (sum(acquired["requests"].values()) + sum(released["requests"].values())) / held
        counts[member.kind]["renew"] = {"requests": sent, **rest}
    return counts


def _each(count: dict[str, Any], times: int) -> dict[str, Any]:
    return {
        "requests": sum(count["requests"].values()) / times,
        "wcu": count["wcu"] / times,
        "rcu": count["rcu"] / times,
    }


def _by_kind(count: dict[str, Any], times: int) -> dict[str, Any]:
    one = {"requests": 1.0, "wcu": 1.0, "rcu": 0.0}
    expected = {"acquire": one, "release": one, "renew": one}
    if sum(count["requests"].values()) % times or count["rcu"]:
        raise RuntimeError(f"not one write for each operation: {count}")
    return expected


def _check(member: Member, bucket: str) -> dict[str, float] | None:
    """The units of the same requests by the rules and as the engine reports them; None if it reports nothing."""
    count = member.ask("check", bucket=bucket, times=_CHECKED)
    return {"by_rules": count["wcu"] + count["rcu"], "reported": count["consumed"]} if count["consumed"] else None


def _full(company: Company) -> list[dict[str, Any]]:
    """The cost of `try_acquire` on a full bucket that others hold."""
    rows = []
    for kind in KINDS[1:]:
        bucket = company.bucket()
        tokens = 1 if kind == LOCK else TOKENS
        with company.hired([kind, kind], tokens=tokens) as (holder, other):
            for member in (holder, other):
                member.ask("open", bucket=bucket)
            holder.ask("fill", bucket=bucket, count=tokens)
            other.ask("tries", bucket=bucket, times=2)  # the first ones learn the time
            other.ask("count")
            times = 40
            seconds = other.ask("tries", bucket=bucket, times=times)["try_acquire"]
            count = other.ask("count")
        reads = sum(n for operation, n in count["requests"].items() if operation in {"Query", "GetItem"})
        rows.append(
            {
                "contender": kind,
                **summary(seconds),
                "reads": reads / times,
                "writes": (sum(count["requests"].values()) - reads) / times,
                "wcu": count["wcu"] / times,
                "rcu": count["rcu"] / times,
            }
        )
    return rows
