"""Steering: the stored policy, and what an operator does to one key. Values in, values out.

Invariants:

- A policy, once stored, rules; a process that was made with another says so, and follows.
- `rev` and `override_rev` rise with every change, and start at the time in milliseconds: an item that is deleted and
  made anew is newer than whatever a process remembers.
- A limit that becomes faster, or slower, blocks nobody for longer than its own burst takes to come back: what was
  charged before is cut there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ddb_lease._protocol.rates.charging import limits_of, longest_tolerance, ttl_of
from ddb_lease._protocol.rates.messages import Block, ChangePolicy, CreatePolicy, Override, Reset
from ddb_lease._protocol.rates.records import MOST_LIMITS, KeyState, LimitPolicy, Policy
from ddb_lease.errors import ConfigurationError

_NS_IN_MS = 1_000_000


def create_policy(limits: Mapping[str, LimitPolicy], *, now: int) -> CreatePolicy:
    """The request that stores the first policy."""
    rev = now // _NS_IN_MS
    stored = {name: replace(limit, rev=rev, since=now) for name, limit in limits.items()}
    return CreatePolicy(policy=Policy(limits=stored, rev=rev))


def change_policy(policy: Policy, changes: Mapping[str, LimitPolicy | None], *, now: int) -> ChangePolicy | None:
    """The request that changes limits of the policy; None if they are like that already.

    Args:
        policy: As last read, consistently.
        changes: New limits by name, and limits to change; None removes one.
        now: The service's time.

    Raises:
        ConfigurationError: No limit would be left, or too many. Nothing was sent.
    """
    rev = max(policy.rev + 1, now // _NS_IN_MS)
    limits = dict(policy.limits)
    for name, limit in changes.items():
        if limit is None:
            limits.pop(name, None)
        elif name not in limits or not same(limits[name], limit):
            limits[name] = replace(limit, rev=rev, since=now)
    if limits == policy.limits:
        return None
    if not 0 < len(limits) <= MOST_LIMITS:
        raise ConfigurationError(f"a policy has 1 to {MOST_LIMITS} limits, not {len(limits)}")
    return ChangePolicy(policy=Policy(limits=limits, rev=rev), rev_before=policy.rev)


def raise_policy(policy: Policy, *, above: int) -> ChangePolicy:
    """The request that gives the policy a higher `rev`, and changes no limit."""
    return ChangePolicy(policy=replace(policy, rev=above + 1), rev_before=policy.rev)


def same(one: LimitPolicy, other: LimitPolicy) -> bool:
    """Whether two limits admit the same."""
    return (one.interval, one.burst) == (other.interval, other.burst)


def differing(policy: Policy, limits: Mapping[str, LimitPolicy]) -> tuple[str, ...]:
    """Names of the limits in which a process's own settings differ from the stored policy."""
    names = sorted({*policy.limits, *limits})
    return tuple(
        name
        for name in names
        if name not in limits or name not in policy.limits or not same(policy.limits[name], limits[name])
    )


def override(
    policy: Policy,
    state: KeyState | None,
    limits: Mapping[str, LimitPolicy],
    *,
    key: str,
    now: int,
    retention: int,
) -> Override:
    """The request that sets a key's override as a whole; without limits it removes it.

    Args:
        policy: As last read.
        state: The key's item as just read.
        limits: All limits that are to differ from the policy.
        key: The key.
        now: The service's time.
        retention: As for `charging.propose`.
    """
    before = 0 if state is None else state.override_rev
    after = {name: limits.get(name, limit) for name, limit in policy.limits.items()}
    kept = None if state is None else replace(state, override={})
    known = {} if state is None else state.limits
    touched = set(limits) | (set() if state is None else set(state.override))
    return Override(
        key=key,
        limits=dict(limits),
        cuts={
            name: now + after[name].tolerance
            for name in sorted(touched & set(known) & set(after))
            if known[name].tat > now + after[name].tolerance
        },
        override_rev=before,
        override_rev_after=max(before + 1, now // _NS_IN_MS),
        rev=policy.rev,
        ttl=None if limits else ttl_of(longest_tolerance(after), kept, due=now, retention=retention),
    )


def block(policy: Policy, state: KeyState | None, *, key: str, until: int, now: int, retention: int) -> Block:
    """The request that lets nothing of a key be due before `until`; arguments as for `override`."""
    return Block(
        key=key,
        until=until,
        rev=policy.rev,
        override_rev=0 if state is None else state.override_rev,
        ttl=ttl_of(longest_tolerance(limits_of(policy, state)), state, due=now, until=until, retention=retention),
    )


def reset(policy: Policy, state: KeyState, *, key: str) -> Reset:
    """The request that forgives a key everything; arguments as for `override`."""
    others = tuple(sorted(set(policy.limits) - set(state.limits)))
    return Reset(key=key, seen=state, others=others)
