"""Charging: whether permits can be had, when they are due, and what to write. Values in, values out.

The generic cell rate algorithm (ITU-T I.371, as virtual scheduling) keeps one number for each limit: `tat`, the
theoretical arrival time, until which all permits charged so far are paid for. A permit costs one interval. Permits that
are charged now may be due later: as soon as `tat` is at most the tolerance (`burst` intervals) ahead.

Invariants:

- At the due time e of every permit, ``(tat - e) + held <= tolerance`` for each of its limits, its own charge included.
  Of permits that are due in any time, so at most `rate` * time + `burst`.
- The table decides, by a charge's condition. Here we choose what to send, by the item as last seen, and whether to send
  anything. A refused charge brings the item; it is then proposed anew.
- One limit is charged as of now, and its permits may be due later, up to the horizon: other charges in between move the
  due time, and refuse nothing. Several limits, or several keys, are charged as of one time d, at which all of them are
  used: nothing moves it, so other charges in between may refuse it.
- What is held does not drain with time, so nothing is booked on its end: ``held <= tolerance - amount`` in each branch.
- An attempt that finds its id in the item was charged once already. It takes its due time from the item as it is then,
  which is no earlier than its own; or the end of its horizon, if the item was cut since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ddb_lease._protocol.rates.messages import Charge, ChargeTogether, LimitCharge
from ddb_lease._protocol.rates.records import Hold, KeyState, LimitPolicy, LimitState, Policy
from ddb_lease._protocol.rates.validation import NS

LONGEST_HORIZON = 30 * NS
"""How far ahead a caller may book, or two intervals if they are longer: a crowd that crashes closes a rate so long."""

REMEMBERED = 30 * NS
"""How long a denial is remembered at most: as long as a changed policy may take to be noticed."""

REMEMBERED_BRIEFLY = NS
"""The same where reservations are in use: a settlement may give permits back at any time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Permits of one key, all or nothing.

    Attributes:
        booked: Permits by limit that are charged for good.
        reserved: Permits by limit that are held, and settled later.
        settle_within: How long after their due time reserved permits may be settled, in nanoseconds.
        limits: The limits of which any permits are wanted, in the order of their names.
    """

    booked: Mapping[str, int] = field(default_factory=dict)
    reserved: Mapping[str, int] = field(default_factory=dict)
    settle_within: int = 0
    limits: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        both = (self.booked, self.reserved)
        names = sorted({name for wanted in both for name, count in wanted.items() if count})
        object.__setattr__(self, "limits", tuple(names))  # asked for again and again while permits are booked

    def booked_ns(self, name: str, limit: LimitPolicy) -> int:
        """What the booked permits of a limit cost."""
        return self.booked.get(name, 0) * limit.interval

    def reserved_ns(self, name: str, limit: LimitPolicy) -> int:
        """What the reserved permits of a limit cost."""
        return self.reserved.get(name, 0) * limit.interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Who charges: the same for all sendings of one attempt.

    Attributes:
        key: The key; empty for a limiter without keys.
        id: The attempt's id.
        lane: The lane that records it.
        process: The name of this process's hold.
        settle_by: When the permits reserved now must be settled; unused if none are.
    """

    key: str
    id: str
    lane: int
    process: str = ""
    settle_by: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NotBefore:
    """The permits are due at `at`, beyond the horizon, by the limit that comes last. Nothing is to be sent."""

    at: int
    limit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """Reservations hold so much of a limit that the permits cannot be booked until some are settled.

    Attributes:
        limit: Of which limit.
        until: When the next hold is past its time, and may be swept; None if the item shows no hold.
    """

    limit: str
    until: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverEnough:
    """More permits are wanted than the limit's burst: they can never be had together. 0: there is no such limit."""

    limit: str
    burst: int


@dataclass(frozen=True, slots=True)
class StalePolicy:
    """The item was written under a newer policy: read the policy first."""


Denial: TypeAlias = NotBefore | HeldBack | NeverEnough | StalePolicy


def limits_of(policy: Policy, state: KeyState | None) -> Mapping[str, LimitPolicy]:
    """The limits that hold for a key: the policy's, and its override's where it has one."""
    if state is None or not state.override:
        return policy.limits
    override = state.override
    return {name: override.get(name, limit) for name, limit in policy.limits.items()}


def without_charges(state: KeyState | None) -> KeyState | None:
    """A key as if nothing were charged or held; None if no override says which limits it has.

    A caller whose permits may have come free sends a charge by it, and the table decides. An override stays: by the
    policy alone, permits that the key may have would seem too many.
    """
    if state is None or not state.override_rev:
        return None
    return KeyState(rev=state.rev, override=state.override, override_rev=state.override_rev)


def adopted(policy: Policy, state: KeyState | None) -> KeyState | None:
    """A key's state as the policy takes it: what was charged under an older one is cut at `since` + the tolerance."""
    cuts = _cuts(policy, state)
    if state is None or not cuts:
        return state
    limits = {
        name: LimitState(tat=cuts[name], held=limit.held, reach=cuts[name] + limit.held)
        if name in cuts and limit.tat > cuts[name]
        else limit
        for name, limit in state.limits.items()
    }
    return replace(state, limits=limits)


def horizon_of(timeout: int, wanted: Wanted, limits: Mapping[str, LimitPolicy]) -> int:
    """How far ahead a caller with so much time left may book."""
    intervals = [limits[name].interval for name in wanted.limits if name in limits]
    return max(0, min(timeout, max(LONGEST_HORIZON, 2 * max(intervals, default=0))))


def earliest_due(policy: Policy, state: KeyState | None, wanted: Wanted, *, now: int) -> NotBefore | Denial:
    """When the permits would be due if they were charged now, as `NotBefore`; or why that cannot be said."""
    if state is not None and state.rev > policy.rev:
        return StalePolicy()
    limits, known = limits_of(policy, state), adopted(policy, state)
    due, last = now, ""
    for name in wanted.limits:
        limit = limits.get(name)
        if limit is None:
            return NeverEnough(limit=name, burst=0)
        amount = wanted.booked_ns(name, limit) + wanted.reserved_ns(name, limit)
        if amount > limit.tolerance:
            return NeverEnough(limit=name, burst=limit.burst)
        found = None if known is None else known.limits.get(name)
        if found is None:
            continue
        if found.held > limit.tolerance - amount:
            return HeldBack(limit=name, until=_next_sweep(known, name))
        if found.tat >= now and found.reach + amount - limit.tolerance > due:
            due, last = found.reach + amount - limit.tolerance, name
    if known is not None and known.blocked_until > due:
        due, last = known.blocked_until, last or next(iter(wanted.limits), "")
    return NotBefore(at=due, limit=last)


def propose(
    policy: Policy,
    state: KeyState | None,
    wanted: Wanted,
    *,
    attempt: Attempt,
    now: int,
    horizon: int,
    retention: int,
    slack: int = 0,
) -> Charge | Denial:
    """The charge to send, or why none.

    Args:
        policy: As last read.
        state: The key's item as last seen; None if it was not seen, or does not exist.
        wanted: Permits of limits of the policy; some at least.
        attempt: Who charges.
        now: The service's time.
        horizon: How much later than now the permits may be due.
        retention: Seconds from when all is paid for until DynamoDB may delete the item.
        slack: For several limits whose charge was refused: how much later than necessary it is proposed, within the
            horizon, so that charges in between do not refuse it again.
    """
    earliest = earliest_due(policy, state, wanted, now=now)
    if not isinstance(earliest, NotBefore) or earliest.at > now + horizon:
        return earliest
    if len(wanted.limits) == 1:
        due = now if state is None else max(now, state.blocked_until)
        return _charge(policy, state, wanted, attempt, due=due, horizon=now + horizon - due, retention=retention)
    due = earliest.at if earliest.at == now else min(earliest.at + slack, now + horizon)
    return _charge(policy, state, wanted, attempt, due=due, horizon=0, retention=retention)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWanted:
    """What is wanted of one key among several: a key and its parents, each a limiter's with a policy of its own."""

    policy: Policy
    state: KeyState | None
    wanted: Wanted
    attempt: Attempt


def propose_together(
    keys: Sequence[KeyWanted], *, token: str, now: int, horizon: int, retention: int, slack: int = 0
) -> ChargeTogether | Denial:
    """The charge of a key and its parents to send, or why none; arguments as for `propose`."""
    due = now
    for key in keys:
        earliest = earliest_due(key.policy, key.state, key.wanted, now=now)
        if not isinstance(earliest, NotBefore) or earliest.at > now + horizon:
            return earliest
        due = max(due, earliest.at)
    if due > now:
        due = min(due + slack, now + horizon)
    charges = tuple(
        _charge(key.policy, key.state, key.wanted, key.attempt, due=due, horizon=0, retention=retention) for key in keys
    )
    return ChargeTogether(charges=charges, token=token)


def is_charged(charge: Charge, state: KeyState | None) -> bool:
    """Whether the item that refused a charge shows its attempt: an earlier sending of it was charged."""
    if state is None:
        return False
    hold = state.holds.get(charge.process)
    return state.lanes.get(charge.lane) == charge.attempt or (hold is not None and hold.attempt == charge.attempt)


def due_of(sent: Sequence[Charge], state: KeyState) -> int:
    """When the permits of an attempt are due: all of them.

    Args:
        sent: Each sending that may be the one that was charged: the one that was answered; if the attempt was
            recognised, all of them.
        state: The item after the charge; if the attempt was recognised, the item as it is by then.
    """
    return due_times(sent, state, (0,))[0]


def due_times(sent: Sequence[Charge], state: KeyState, amounts: Sequence[int]) -> tuple[int, ...]:
    """When each waiter's permits are due, for a charge that was made for several waiters.

    Permits of one limit are dealt out in order, as if each waiter had charged by itself. Permits of several limits are
    due together.

    Args:
        sent: As for `due_of`.
        state: As for `due_of`.
        amounts: What the permits of each waiter cost, in order; together the charge's amount. Ignored for several
            limits, apart from their number.
    """
    first = max(charge.due for charge in sent)
    # No sending was charged so that its permits are due after its horizon, whatever others have charged since.
    last = max(charge.due + charge.horizon for charge in sent)
    used = [part for part in sent[-1].limits if part.charged + part.reserved]
    if len(used) != 1:
        return (first,) * len(amounts)
    (part,) = used
    found = state.limits.get(part.name)
    reached = first if found is None else min(found.reach - part.tolerance, last)
    if (state.rev, state.override_rev) != (sent[-1].rev, sent[-1].override_rev):
        reached = last  # it was cut since, by another policy or override: it does not tell any more
    left, dues = sum(amounts), []
    for amount in amounts:
        left -= amount
        dues.append(max(first, reached - left))
    return tuple(dues)


def longest_tolerance(limits: Mapping[str, LimitPolicy]) -> int:
    """In nanoseconds; 0 without limits: a policy may have none if somebody has edited it by hand."""
    return max((limit.tolerance for limit in limits.values()), default=0)


def remembered_until(denial: NotBefore, state: KeyState, limits: Mapping[str, LimitPolicy], *, now: int) -> int:
    """Until when a denial of `try_acquire` holds without asking again.

    It never holds longer than a charge of this process itself could reach: another one may have charged by other
    settings, by mistake, and be corrected. Nor does it hold for long where permits may be given back meanwhile.
    """
    own = longest_tolerance(limits) + LONGEST_HORIZON
    given_back = bool(state.holds) or any(limit.held for limit in state.limits.values())
    return min(denial.at, now + min(own, REMEMBERED_BRIEFLY if given_back else REMEMBERED))


def ttl_of(longest: int, state: KeyState | None, *, due: int, retention: int, until: int = 0) -> int | None:
    """When DynamoDB may delete the item after a write, in seconds; None for never, as an override must stay.

    Args:
        longest: The longest tolerance of the limits that hold for the key.
        state: As last seen.
        due: The latest due time of what is charged.
        retention: Seconds from when all is paid for.
        until: The latest time that the write itself sets, for a hold or a block.
    """
    times = [due + longest, until]
    if state is not None:
        if state.override:
            return None
        times += [limit.reach for limit in state.limits.values()]
        times += [hold.until + longest for hold in state.holds.values()]
        times.append(state.blocked_until)
    return -(-max(times) // NS) + retention


def _charge(
    policy: Policy,
    state: KeyState | None,
    wanted: Wanted,
    attempt: Attempt,
    *,
    due: int,
    horizon: int,
    retention: int,
) -> Charge:
    limits, cuts = limits_of(policy, state), _cuts(policy, state)
    found = {} if state is None else state.limits
    parts = [
        _part(name, limits[name], found.get(name), wanted=wanted, cut=cuts.get(name), due=due)
        for name in sorted({*wanted.limits, *cuts})
    ]
    reserving = any(part.reserved for part in parts)
    longest = longest_tolerance(limits)
    before = state.holds.get(attempt.process) if reserving and state is not None else None
    hold = _hold_after(parts, before, attempt) if reserving else None
    return Charge(
        key=attempt.key,
        limits=tuple(parts),
        due=due,
        horizon=horizon,
        rev=policy.rev,
        adopts=state is not None and state.rev < policy.rev,
        override_rev=0 if state is None else state.override_rev,
        process=attempt.process if reserving else "",
        hold=hold,
        hold_before=None if before is None else before.attempt,
        lane=attempt.lane,
        attempt=attempt.id,
        # What is held may be charged as late as it may be settled, and is then paid for so much later.
        ttl=ttl_of(longest, state, due=due + horizon, retention=retention, until=hold.until + longest if hold else 0),
    )


def _part(
    name: str, limit: LimitPolicy, found: LimitState | None, *, wanted: Wanted, cut: int | None, due: int
) -> LimitCharge:
    part = LimitCharge(
        name=name,
        branch="idle",
        charged=wanted.booked_ns(name, limit),
        reserved=wanted.reserved_ns(name, limit),
        tolerance=limit.tolerance,
    )
    if cut is not None and found is not None and found.tat > cut:
        return replace(part, branch="cut", cut=cut)
    if cut is not None and not part.charged + part.reserved:
        return replace(part, branch="kept", cut=cut)
    return part if found is None or found.tat < due else replace(part, branch="busy")


def _cuts(policy: Policy, state: KeyState | None) -> dict[str, int]:
    """Limits that were changed since the item was written, and where what was charged before is cut."""
    if state is None or state.rev >= policy.rev:
        return {}
    return {
        name: limit.since + limit.tolerance
        for name, limit in policy.limits.items()
        if limit.rev > state.rev and name not in state.override
    }


def _hold_after(parts: Sequence[LimitCharge], before: Hold | None, attempt: Attempt) -> Hold:
    held = {} if before is None else dict(before.held)
    for part in parts:
        if part.reserved:
            held[part.name] = held.get(part.name, 0) + part.reserved
    until = attempt.settle_by if before is None else max(attempt.settle_by, before.until)
    return Hold(held=held, until=until, attempt=attempt.id)


def _next_sweep(state: KeyState | None, name: str) -> int | None:
    holds = () if state is None else state.holds.values()
    return min((hold.until for hold in holds if hold.held.get(name)), default=None)
