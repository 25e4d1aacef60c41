"""Steering a limiter: its policy, and what an operator asks of one key or does to it. Both APIs drive it.

Invariants:

- It returns operations, and sends nothing itself.
- What only reads creates nothing: a reader's permissions are enough for it. Before the first use, a limiter's own
  limits stand for the policy.
- An override is changed limit by limit; what is not named stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ddb_lease._numbers import as_seconds, shown
from ddb_lease._operations.rates import steer
from ddb_lease._protocol.rates import steering
from ddb_lease._protocol.rates.charging import limits_of
from ddb_lease._protocol.rates.messages import Block, Override, Reset
from ddb_lease._protocol.rates.records import SHARDS, KeyState, LimitPolicy, Policy
from ddb_lease._protocol.rates.shown import shown_limits, shown_standings
from ddb_lease._protocol.rates.standing import standing
from ddb_lease._protocol.rates.validation import LONGEST_NS, NS, SINGLE, limit_policies, limit_policy
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.block import ClosingBlock
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease._state.service_time import Clock
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Limit, RateStatus, Seconds

STEER_SECONDS: Final = 10.0
"""How long one of these operations, or one page of a listing, goes on while the service does not answer."""


class RateSteering:
    """What an operator does to one limiter.

    Args:
        state: Of the limiter.
        table: The table's name.
        clock: For deadlines.
        block: The limiter's `with` block.
    """

    def __init__(self, state: LimiterState, *, table: str, clock: Clock, block: ClosingBlock) -> None:
        self._state = state
        self._table = table
        self._clock = clock
        self._block = block

    def stored_policy(self) -> Operation[dict[str, Limit] | None]:
        """Read the stored policy; None if the limiter was never used."""
        policy = yield from steer.read_policy(self._state, deadline=self._begin())
        return None if policy is None else shown_limits(policy.limits)

    def policy(self) -> Operation[dict[str, Limit]]:
        """Read the stored policy; this process's own limits if the limiter was never used."""
        stored = yield from self.stored_policy()
        return shown_limits(self._state.given) if stored is None else stored

    def set_policy(self, limit: Limit | None, limits: Mapping[str, Limit | None]) -> Operation[dict[str, Limit]]:
        """Change the stored policy: the unnamed limit, or limits by name; None removes one."""
        deadline = self._begin()
        if (limit is None) == (not limits):
            raise ConfigurationError("give a Limit, or limits by name, as in set_policy(tokens=Limit(100))")
        if limit is not None and SINGLE not in self._state.limits:
            raise ConfigurationError(f"name the limits to change: there are {', '.join(self._state.limits)}")
        changes = {SINGLE: limit_policy(limit)} if limit is not None else _changes(limits)
        policy = yield from steer.set_policy(self._state, changes, deadline=deadline)
        return shown_limits(policy.limits)

    def override(
        self, key: str, whole: Sequence[Limit | None], limits: Mapping[str, Limit | None]
    ) -> Operation[dict[str, Limit]]:
        """Let a key's limits differ from the policy; returns the limits that hold for it then.

        Args:
            key: The key.
            whole: One value: the unnamed limit, or None to remove the whole override.
            limits: Limits by name; None removes one from the override.
        """
        deadline, state = self._begin(), self._state
        if len(whole) + bool(limits) != 1:
            raise ConfigurationError("give a Limit, None, or limits by name, as in override(tokens=Limit(100))")
        given = {SINGLE: one} if whole and (one := whole[0]) is not None else limits
        changes = _changes(given)

        def make(policy: Policy, found: KeyState | None, now: int) -> Override | None:
            for name, limit in changes.items():
                if limit is not None and name not in policy.limits:
                    raise ConfigurationError(
                        f"the stored policy of rate {state.name!r} has no limit {name!r}: it has "
                        f"{', '.join(sorted(policy.limits))}"
                    )
            before = {} if found is None else found.override
            merged = {**before, **changes} if changes else {}
            after = {name: limit for name, limit in merged.items() if limit is not None}
            if _same(before, after):
                return None
            return steering.override(policy, found, after, key=key, now=now, retention=round(state.retention))

        found = yield from steer.change_key(state, key, make, deadline=deadline)
        return shown_limits(state.given if state.policy is None else limits_of(state.policy, found))

    def block(self, key: str, seconds: Seconds) -> Operation[None]:
        """Let nothing of a key be due for so long from now on."""
        deadline, state, length = self._begin(), self._state, _checked_block(seconds)

        def make(policy: Policy, found: KeyState | None, now: int) -> Block:
            return steering.block(policy, found, key=key, until=now + length, now=now, retention=round(state.retention))

        yield from steer.change_key(state, key, make, deadline=deadline)

    def unblock(self, key: str) -> Operation[None]:
        """End a key's block."""
        deadline, state = self._begin(), self._state

        def make(policy: Policy, found: KeyState | None, now: int) -> Block | None:
            if found is None or found.blocked_until <= now:
                return None
            return steering.block(policy, found, key=key, until=0, now=now, retention=round(state.retention))

        yield from steer.change_key(state, key, make, deadline=deadline)

    def reset(self, key: str) -> Operation[None]:
        """Forgive a key all that was charged, and end its block."""

        def make(policy: Policy, found: KeyState | None, _now: int) -> Reset | None:
            if found is None or not (found.limits or found.holds or found.blocked_until):
                return None
            return steering.reset(policy, found, key=key)

        yield from steer.change_key(self._state, key, make, deadline=self._begin())

    def status(self, key: str) -> Operation[RateStatus]:
        """Read a key."""
        state = self._state
        self._block.use()
        found, now = yield from steer.look_at_key(state, key, deadline=self._clock.steady() + STEER_SECONDS)
        with state.lock:
            in_hand = state.book(key).in_hand(now=now)
        return self._status(key, found, now=now, in_hand=in_hand)

    def listing(self) -> KeyListing:
        """A listing of all keys that have an item, from its beginning."""
        return KeyListing(self)

    def page(self, shard: int, after: str | None) -> Operation[tuple[list[RateStatus], str | None]]:
        """Read one page of a listing; returns its keys, and where the next page of the shard starts."""
        state = self._state
        page, now = yield from steer.look_at_keys(state, shard, after, deadline=self._begin())
        with state.lock:
            in_hand = {key: book.in_hand(now=now) for key, _ in page.keys if (book := state.known_book(key))}
        keys = [self._status(key, found, now=now, in_hand=in_hand.get(key, 0)) for key, found in page.keys if key]
        return keys, page.after

    # Internals.

    def _begin(self) -> float:
        """Note the use, and return the deadline."""
        self._block.use()
        if self._state.closed:
            raise self._state.closed_error()
        return self._clock.steady() + STEER_SECONDS

    def _status(self, key: str, found: KeyState | None, *, now: int, in_hand: int) -> RateStatus:
        state = self._state
        policy = state.policy or Policy(limits=state.given, rev=0)
        shows = standing(policy, found, now=now)
        tightest = shows.limits[shows.tightest]
        stored = policy.limits[shows.tightest]
        own = state.given.get(shows.tightest) or stored
        return RateStatus(
            name=state.name,
            table=self._table,
            rate=own.permits,
            per=own.per,
            burst=own.burst,
            available=tightest.remaining,
            wait_seconds=tightest.retry_after / NS,
            in_hand=in_hand,
            stored=None if steering.same(own, stored) else (stored.permits, stored.per, stored.burst),
            uncertainty_seconds=state.rate_time.uncertainty_ns() / NS,
            limits=shown_standings(shows.limits),
            key=key,
            settings=shown_limits(limits_of(policy, found)),
            override=shown_limits({} if found is None else found.override),
            blocked_seconds=0.0 if found is None else max(0, found.blocked_until - now) / NS,
        )


class KeyListing:
    """A listing of a limiter's keys, page by page: 64 shards, one after the other.

    Args:
        steering: Of the limiter.
    """

    def __init__(self, steering: RateSteering) -> None:
        self._steering = steering
        self._shard = 0
        self._after: str | None = None

    @property
    def more(self) -> bool:
        """Whether there is a page to read."""
        return self._shard < SHARDS

    def page(self) -> Operation[list[RateStatus]]:
        """Read the next page: one Query, eventually consistent. Where it fails, it may be read again."""
        keys, self._after = yield from self._steering.page(self._shard, self._after)
        if self._after is None:
            self._shard += 1
        return keys


def _changes(limits: Mapping[str, Limit | None]) -> dict[str, LimitPolicy | None]:
    return {name: None if one is None else limit_policies({name: one})[name] for name, one in limits.items()}


def _same(one: Mapping[str, LimitPolicy], other: Mapping[str, LimitPolicy]) -> bool:
    return one.keys() == other.keys() and all(steering.same(one[name], other[name]) for name in one)


def _checked_block(seconds: object) -> int:
    length = as_seconds(seconds)
    if 0 < length <= LONGEST_NS / NS:
        return round(length * NS)
    raise ConfigurationError(f"a block takes a number of seconds, up to a year, or a timedelta; not {shown(seconds)}")
