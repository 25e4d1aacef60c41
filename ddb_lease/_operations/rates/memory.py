"""What memory answers: a denial that a process remembers, and the item that it still relies on.

Invariants: a denial by memory sends nothing, and ends where the item may have changed without our knowing.
"""

from __future__ import annotations

from ddb_lease._protocol.rates.charging import (
    REMEMBERED,
    HeldBack,
    NotBefore,
    Wanted,
    earliest_due,
    limits_of,
    remembered_until,
    without_charges,
)
from ddb_lease._protocol.rates.records import KeyState, Policy
from ddb_lease._protocol.rates.validation import NS
from ddb_lease._state.rates.key_book import KeyBook
from ddb_lease._state.rates.limiter_state import POLICY_SECONDS, LimiterState


def known_denial(state: LimiterState, book: KeyBook, wanted: Wanted, *, now: int) -> NotBefore | HeldBack | None:
    """Why permits cannot be had now, by memory alone; None: ask the table."""
    policy, known = state.policy, book.known
    if policy is None or known is None:
        return None
    denial = earliest_due(policy, known, wanted, now=now)
    if isinstance(denial, NotBefore):
        return denial if denial.at > now and _remembered(policy, known, book.known_at, denial, now) else None
    return None


def nothing_denies(state: LimiterState, book: KeyBook, wanted: Wanted) -> bool:
    """Whether nothing that is known of a key, and still relied on, denies the permits now."""
    policy, now = state.policy, state.rate_time.now_ns()
    if policy is None or now is None:
        return True
    with state.lock:
        due = earliest_due(policy, known_to_rely_on(policy, book, wanted, now=now), wanted, now=now)
    return not isinstance(due, HeldBack) and not (isinstance(due, NotBefore) and due.at > now)


def known_to_rely_on(policy: Policy, book: KeyBook, wanted: Wanted, *, now: int) -> KeyState | None:
    """The item as last seen, where that is still to be relied on; what is left of it where only the table can tell."""
    known = book.known
    if known is None:
        return None
    denial = earliest_due(policy, known, wanted, now=now)
    if isinstance(denial, NotBefore) and denial.at > now and not _remembered(policy, known, book.known_at, denial, now):
        return without_charges(known)
    return known


def looks_in(state: LimiterState, book: KeyBook) -> float:
    """Seconds until what is remembered of the policy and of a key is too old to be waited by; it may be negative."""
    now, steady = state.rate_time.now_ns(), state.time.steady()
    policy_in = POLICY_SECONDS - (steady - state.policy_at)
    return policy_in if now is None else min(policy_in, (REMEMBERED - (now - book.known_at)) / NS)


def _remembered(policy: Policy, known: KeyState, known_at: int, denial: NotBefore, now: int) -> bool:
    return now < remembered_until(denial, known, limits_of(policy, known), now=known_at)
