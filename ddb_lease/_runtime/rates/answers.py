"""What a limiter tells its callers: how long to wait, what is left, and why a call timed out.

Invariants:

- It sends nothing, and tells what this process knows: others may have charged since.
- What is left after a denial is less than what was wanted, of one limit at least: see `denied`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ddb_lease._numbers import duration_text
from ddb_lease._protocol.rates.charging import NotBefore, Wanted, earliest_due, limits_of
from ddb_lease._protocol.rates.records import LimitPolicy
from ddb_lease._protocol.rates.shown import shown_limits, shown_standings
from ddb_lease._protocol.rates.standing import shortage, standing
from ddb_lease._protocol.rates.validation import NS, SINGLE
from ddb_lease._runtime.block import ClosingBlock
from ddb_lease._runtime.rates.unavailability import decision_here, in_vain
from ddb_lease._runtime.rates.wish import Verdict
from ddb_lease._state.rates.key_book import last_seen
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease.errors import ConfigurationError, RateTimeout
from ddb_lease.models import Decision, LimitDecision, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """Why permits of a key are not to be had.

    Attributes:
        rate: The rate's name.
        key: The key.
        limit: The limit that comes last; empty if a block does, or if nothing is known.
        seconds: Until they could be had, as far as is known.
        blocked: Seconds until the key's block ends.
    """

    rate: str
    key: str
    limit: str = ""
    seconds: float = 0.0
    blocked: float = 0.0

    @property
    def whose(self) -> str:
        """The rate, and the key."""
        return f"rate {self.rate!r}" + (f", key {self.key!r}" if self.key else "")

    def text(self, *, of: Lack) -> str:
        """The reason, as the end of a message about a call for permits `of` this or another key."""
        own = (self.rate, self.key) == (of.rate, of.key)
        subject = "it" if own else f"{self.whose}{',' if self.key else ''}"
        if self.blocked:
            return f"{subject} is blocked for {duration_text(self.blocked)} more"
        if self.limit and self.limit != SINGLE:
            subject = f"its limit {self.limit!r}" if own else f"limit {self.limit!r} of {subject}"
        return f"{subject} allows that in {duration_text(self.seconds)}"


class RateAnswers:
    """What one limiter tells.

    Args:
        state: Of the limiter.
        block: The limiter's `with` block.
    """

    def __init__(self, state: LimiterState, *, block: ClosingBlock) -> None:
        self._state = state
        self._block = block

    def wait_time(self, key: str, wanted: Wanted) -> float:
        """Seconds until the permits could be had, as far as this process knows."""
        self._block.use()
        state, now = self._state, self._state.rate_time.now_ns()
        with state.lock:
            known, policy = state.book(key).known, state.policy
        if now is None or policy is None:
            return 0.0
        due = earliest_due(policy, known, wanted, now=now)
        return max(0, due.at - now) / NS if isinstance(due, NotBefore) else 0.0

    def decision(self, key: str, wanted: Wanted, *, allowed: Verdict | bool) -> Decision:
        """What this process knows of a key, after it was asked for permits."""
        return denied(self.standing(key, wanted, allowed=allowed), wanted)

    def standing(self, key: str, wanted: Wanted, *, allowed: Verdict | bool) -> Decision:
        """The same, as it is by now: time has passed since it was decided."""
        state, now = self._state, self._state.rate_time.now_ns()
        if isinstance(allowed, Verdict) and allowed.by != "table" and state.contact is not None:
            return decision_here(state, state.contact, key, allowed=allowed.allowed, retry_in=allowed.retry_in)
        retry_in = allowed.retry_in if isinstance(allowed, Verdict) else 0.0
        allowed = bool(allowed)
        policy, known = state.policy, last_seen(state.book(key))
        if now is None or policy is None:
            if allowed:
                raise ConfigurationError("nothing is known of the key: a defect of this library")
            return _nothing_known(state.limits, retry_in)  # its time was over while others asked for the first time
        found = standing(policy, known, now=now)
        limits = shown_standings(found.limits)
        tightest, retry_after = found.tightest, 0.0
        lacks = {} if allowed else shortage(policy, known, wanted, now=now)
        if lacks:
            tightest = max(lacks, key=lambda name: lacks[name])
            retry_after = max(0, lacks[tightest]) / NS
        if not allowed:
            retry_after = max(retry_after, retry_in)  # those that wait in front take what there is
        return Decision(
            allowed=allowed,
            remaining=limits[tightest].remaining,
            retry_after=retry_after,
            reset_after=max(limit.reset_after for limit in limits.values()),
            limits=limits,
            tightest=tightest,
            blocked_seconds=0.0 if known is None else max(0, known.blocked_until - now) / NS,
            settings=shown_limits(limits_of(policy, known)),
        )

    def lack(self, key: str, wanted: Wanted, verdict: Verdict) -> Lack:
        """Why permits were not to be had."""
        state, now = self._state, self._state.rate_time.now_ns()
        policy, known = state.policy, last_seen(state.book(key))
        told = Lack(rate=state.name, key=key, seconds=verdict.retry_in)
        if verdict.by != "table" or now is None or policy is None:
            return told
        blocked = 0 if known is None else max(0, known.blocked_until - now)
        lacks = shortage(policy, known, wanted, now=now)
        limit = max(lacks, key=lambda name: lacks[name], default="")
        longest = max(0, lacks.get(limit, 0)) / NS
        if blocked and longest <= blocked / NS:
            return Lack(rate=state.name, key=key, seconds=max(blocked / NS, verdict.retry_in), blocked=blocked / NS)
        return Lack(
            rate=state.name,
            key=key,
            limit=limit,
            seconds=max(longest, verdict.retry_in),
            blocked=blocked / NS,
        )

    def timed_out(self, key: str, wanted: Wanted, timeout: Seconds | None, *, lack: Lack) -> RateTimeout:
        """The error of a call that timed out; `lack` says why, or that of a parent which lets wait longer."""
        counts = {**wanted.booked, **wanted.reserved}
        parts = [f"{count} {name}" for name, count in sorted(counts.items())]
        if len(parts) == 1 and SINGLE in counts:
            permits = "permit" if counts[SINGLE] == 1 else f"{counts[SINGLE]} permits"
        else:
            permits = f"permits ({', '.join(parts)})"
        vain = in_vain(timeout, self._state.contact)
        own = Lack(rate=self._state.name, key=key)
        reason = f": {lack.text(of=own)}" if lack.seconds and not vain.startswith(":") else ""
        return RateTimeout(
            f"no {permits} of {own.whose}{',' if key and not vain.startswith(':') else ''} available{vain}{reason}",
            rate=lack.rate,
            key=lack.key,
            limit=lack.limit,
            retry_after=lack.seconds,
            blocked_seconds=lack.blocked,
        )


def denied(decision: Decision, wanted: Wanted) -> Decision:
    """A decision; if it denies permits that seem to be there, nobody is told that they are left.

    They have come back since it was decided, or they are kept for callers of this process that wait in front.
    """
    counts = {**wanted.booked, **wanted.reserved}
    shown = {name: decision.limits[name] for name in counts if name in decision.limits}
    if decision.allowed or not shown or any(one.remaining < counts[name] for name, one in shown.items()):
        return decision
    name = min(shown, key=lambda each: (shown[each].remaining - counts[each], each))
    left = counts[name] - 1
    limit = replace(shown[name], remaining=left, retry_after=shown[name].retry_after if left else decision.retry_after)
    return replace(decision, limits={**decision.limits, name: limit}, remaining=left, tightest=name)


def _nothing_known(limits: Mapping[str, LimitPolicy], retry_in: float) -> Decision:
    """The denial of a call whose time was over before anything was known of its key."""
    none_left = LimitDecision(remaining=0, retry_after=retry_in, reset_after=retry_in)
    return Decision(
        allowed=False,
        remaining=0,
        retry_after=retry_in,
        reset_after=retry_in,
        limits=dict.fromkeys(limits, none_left),
        tightest=min(limits),
        settings=shown_limits(limits),
    )
