"""The second part of a run: faults are off, calls end, all processes die, and a new one gets the whole rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.harness.inside import core_of
from scripts.harness.simulated_limiter import LimiterProcess
from tests.simulation.rates.ledger import NS, Rule, Violation
from tests.simulation.rates.oracle import HELD, POLICY, REACH, holds_of, number_of, rules_of

if TYPE_CHECKING:
    from tests.simulation.rates.performance import Performance

LONGEST_CALL = 75.0
"""A call without faults takes no longer: its timeout of 40 s, and an attempt that had begun to be sent again."""

USUALLY_OFF = 2.0
"""A clock is ahead by a second, as a Date is cut to one, and by another where front ends differ."""

WAVES = 3
"""How often the whole burst is had, after it was had at once."""


def play(performance: Performance) -> None:
    """L1 and L2; and what must hold of all that was."""
    calls_end(performance)
    oracle, schedule = performance.oracle, performance.schedule
    oracle.check()
    oracle.check_each_alone()
    stood = any(deed.what == "stand still" for deed in schedule.deeds)
    if not schedule.odds + schedule.lies + schedule.jump + stood and schedule.faults is None and schedule.dated:
        oracle.check_clocks(schedule.front_ends, latency=schedule.latency)
    if schedule.calm:
        # Due permits wait a quarter of a second for those that were due before; spares live for a second.
        oracle.check_all_together(0.3 + 20 * schedule.latency + (1.0 if schedule.prefetch else 0.0))
    _all_die(performance)
    began = performance.world.now
    try:
        _whole_rate(performance, "last")
    except Violation:
        if oracle.late_at <= began:
            raise
        performance.note("finale", "a request of the dead arrived meanwhile: then only what follows counts")
    if performance.network.latest > performance.world.now:
        performance.note("epilogue", "what was still under way arrives; then the same once more")
        _all_die(performance)
        performance.world.run(performance.network.latest + 0.001)
        _whole_rate(performance, "very last")
    oracle.check()


def calls_end(performance: Performance) -> None:
    """Faults are off: every call ends, and every transaction that is stuck."""
    performance.closing = True
    performance.network.odds = performance.network.lies = 0.0
    performance.network.front_ends = performance.network.front_ends[:1]
    performance.note("finale", "faults are off, and calls end")
    for process in performance.processes:
        process.cut_until = 0.0
        process.thaw()
    performance.world.run(performance.world.now + LONGEST_CALL, stop=lambda: not performance.busy())
    waiting = performance.busy()
    if waiting:
        raise Violation("L1", f"{', '.join(waiting)} never ends")
    performance.world.run(max(performance.world.now, performance.service.stuck_until + 0.001))


def _all_die(performance: Performance) -> None:
    for process in performance.processes:
        process.crash()


def _whole_rate(performance: Performance, name: str) -> None:
    """A new process gets each limit's burst at once, and then again as fast as its rate allows."""
    _sweep(performance, f"{name} but one")
    _pay(performance)
    last = performance.start(name, 0, prefetch=0)  # a permit in hand and others in the table are not had together
    failed: list[Violation] = []
    done: list[bool] = []

    def take() -> None:
        try:
            for key, rules in _limits_in_use(performance).items():
                _have_all(performance, last, key, rules)
        except Violation as violation:
            failed.append(violation)
        done.append(True)

    last.act("thread", take)
    performance.world.run(performance.world.now + 20_000.0, stop=lambda: bool(done))
    if failed:
        raise failed[0]
    if not done:
        raise Violation("L1", f"{name} waits for ever")


def _sweep(performance: Performance, name: str) -> None:
    """Holds of the dead are swept by whoever charges the key after their time, each with a charge at most."""
    world, service = performance.world, performance.service
    holds = {key[1]: holds_of(item) for key, item in service.items.items() if holds_of(item)}
    if not holds or POLICY not in service.items:
        return  # without a policy, nobody has anything to charge by
    last = max(hold["until"] for each in holds.values() for hold in each.values())
    if last > world.now * NS + performance.oracle.ahead + (performance.schedule.settle_within + 40.0) * NS:
        raise Violation("R9", f"permits are held until {last / NS - world.now:.1f} s from now")
    _all_die(performance)
    world.run(max(world.now, last / NS + 2.0 + performance.oracle.behind / NS) + 0.1)
    sweeper, done = performance.start(name, 0, prefetch=0), []

    def charge() -> None:
        for sort, each in holds.items():
            key = sort.removeprefix("rate#")
            for limit, rule in list(_limits_in_use(performance).get(key, {}).items())[:1]:
                for _ in range(len(each) + 1):  # the first one finds out that there are any
                    performance.acquire(sweeper, key, {limit: 1}, 40.0 + 2 * rule.interval / NS)
        done.append(True)

    sweeper.act("thread", charge)
    world.run(world.now + 1_000.0, stop=lambda: bool(done))
    left = [key for key, item in service.items.items() if holds_of(item)]
    if left or not done:
        raise Violation("R9", f"holds of {', '.join(sort for _, sort in left)} are past their time, and never swept")


def _have_all(performance: Performance, last: LimiterProcess, key: str, rules: dict[str, Rule]) -> None:
    latency = performance.schedule.latency
    policy = rules_of(performance.service.items[POLICY]["limits"])
    for limit, rule in rules.items():
        # One call cannot ask for more, whatever the key's override.
        most = min(core_of(last.limiter).state.limits[limit].burst, policy[limit].burst)
        left = rule.burst
        while left:
            if not performance.acquire(last, key, {limit: min(left, most)}, None, act="try"):
                raise Violation("L2", f"{rule.burst} {limit} of {key!r} cannot be had at once, but all but {left}")
            left -= min(left, most)
        began, wave = performance.world.now, min(rule.burst, most)
        seconds = wave * rule.interval / NS
        for _ in range(WAVES):
            if not performance.acquire(last, key, {limit: wave}, seconds + USUALLY_OFF + 1.0):
                raise Violation("L2", f"{wave} {limit} of {key!r} cannot be had in {seconds:.3f} s")
        took = performance.world.now - began
        if took > WAVES * seconds * 1.001 + USUALLY_OFF + 1.0 + 100 * latency:
            raise Violation("L2", f"{wave} {limit} of {key!r}, {WAVES} times, took {took:.3f} s")


def _pay(performance: Performance) -> None:
    """Wait until all is paid for; that may not take longer than anybody may book."""
    world, oracle = performance.world, performance.oracle
    world.run(world.now + 100 * performance.schedule.latency)
    until = world.now
    for key, rules in _limits_in_use(performance).items():
        item = next(item for at, item in performance.service.items.items() if at[1] == f"rate#{key}")
        for limit, rule in rules.items():
            reach = number_of(item, REACH + limit) or 0
            # What is held comes on top, and so does a debt: each reservation may use half as much again.
            longest = (rule.horizon + rule.tolerance) * (20 if oracle.ledgers[key, limit].holds else 1) + oracle.ahead
            if reach > world.now * NS + longest and performance.oracle.ledgers[key, limit].rule == rule:
                raise Violation("L2", f"{limit} of {key!r} is closed for {reach / NS - world.now:.1f} s")
            until = max(until, reach / NS)
        until = max(until, (number_of(item, "blocked_until") or 0) / NS)
    world.run(until + 1.0)


def _limits_in_use(performance: Performance) -> dict[str, dict[str, Rule]]:
    """By key, the limits that were charged, as they are now."""
    items = performance.service.items
    if POLICY not in items:
        return {}
    policy, found = rules_of(items[POLICY]["limits"]), {}
    for (_, sort), item in sorted(items.items()):
        if sort.startswith("rate#"):
            override = rules_of(item["override"]) if "override" in item else {}
            found[sort.removeprefix("rate#")] = {
                name: override.get(name, rule) for name, rule in policy.items() if HELD + name in item
            }
    return found
