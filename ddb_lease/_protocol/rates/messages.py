"""The requests about rates, and the answers that they get.

Invariants:

- As in `_protocol.messages`: values only, one attempt each. A charge and a settlement are computed anew for each
  sending, as they belong to the time at which they are sent; their attempt's id stays the same.
- A limiter's name and table belong to the store that a request is sent to; the key is part of the request.
- No request writes to an item of another shape: each requires that there is no item, or that `schema` and `rev` are
  numbers.
- `ttl` is in seconds; every other time, and every amount, in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ddb_lease._protocol.rates.records import Hold, KeyState, LimitPolicy, Policy

Branch: TypeAlias = Literal["idle", "busy", "cut", "kept"]
"""How a limit is charged; see `LimitCharge`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCharge:
    """One limit's part of a charge: `charged` to `tat`, `reserved` to `held`, and both to `reach`.

    | branch | condition | tat becomes |
    |---|---|---|
    | idle | there is none, or `tat` < due; `held` <= tolerance - charged - reserved | due + charged |
    | busy | `tat` >= due; `reach` <= due + horizon + tolerance - charged - reserved; `held` as above | tat + charged |
    | cut | `tat` > `cut`; `held` as above, and start + `held` <= the bound of `reach` above | start + charged |
    | kept | there is none, or `tat` <= `cut` | unchanged, as `held` and `reach` |

    start is the later of `cut` and due. Cut and kept are for the first charge of a key under a new policy: `cut` is the
    policy's `since` + tolerance, and caps what was charged under the older one. If nothing is charged (and nothing
    reserved) to a limit that is cut, `tat` becomes `cut`, and `held` is not compared.

    Attributes:
        name: The limit.
        charged: n intervals, for n permits that are booked; 0 for cut alone, or for kept.
        reserved: r intervals, for r permits that are reserved.
        tolerance: As the policy or the override has it.
        cut: Only for cut and kept.
    """

    name: str
    branch: Branch
    charged: int = 0
    reserved: int = 0
    tolerance: int = 0
    cut: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Charge permits to limits of a key, all or nothing: one UpdateItem. Answered by `KeyWritten` or `KeyRefused`.

    It further requires that the lane does not show this attempt; that the key is not blocked beyond `due`; that the
    override is as known; and that the item was written under `rev`, or was not written yet. If `adopts`, the item was
    written under an older one, and `limits` has all limits that were changed since.

    Attributes:
        key: The key; empty for a limiter without keys.
        limits: Each as of `due`.
        due: The time as of which all limits are charged: the service's time as the sender believes it, or later if the
            permits are due later.
        horizon: How much later than `due` the permits may be due; see `charging.due_of`. Only if one limit is charged:
            several must be charged as of the time at which all are used.
        rev: The `rev` of the policy.
        adopts: Whether the item's `rev` is older.
        override_rev: The item's; 0 for none.
        process: Whose hold is changed; empty if nothing is reserved.
        hold: The process's hold as this charge leaves it; None if nothing is reserved.
        hold_before: The attempt that the process's hold shows; None: the process has no hold.
        lane: The lane that records the attempt.
        attempt: The attempt's id, the same for all its sendings.
        ttl: None removes it: an override must stay.
        limiter: The name of the key's limiter, if it is not that of the store: for a parent in `ChargeTogether`.
    """

    key: str
    limits: tuple[LimitCharge, ...]
    due: int
    horizon: int = 0
    rev: int
    adopts: bool = False
    override_rev: int = 0
    process: str = ""
    hold: Hold | None = None
    hold_before: str | None = None
    lane: int
    attempt: str
    ttl: int | None
    limiter: str = ""

    def __post_init__(self) -> None:
        used = [part for part in self.limits if part.charged or part.reserved]
        # Limits that are charged as of one time and used at a later one break their envelopes.
        if self.horizon and len(used) != 1:
            raise ValueError("only a charge of one limit may have a horizon")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeTogether:
    """Charge a key and its parents, all or nothing: one TransactWriteItems. Answered by `Done` or `TogetherRefused`.

    All have the same `due` and `attempt`, and no horizon: a transaction does not show the items that it wrote.
    """

    charges: tuple[Charge, ...]
    token: str

    def __post_init__(self) -> None:
        if any(charge.horizon for charge in self.charges) or len({charge.due for charge in self.charges}) != 1:
            raise ValueError("charges together are due together, without a horizon")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettlement:
    """One limit's part of a settlement: `held` falls by `held`, `tat` rises by `used`.

    Idle requires `tat` < now and makes it now + `used`; busy requires `tat` >= now and adds `used`. Both require that
    the limit's `held` is at least `held`.
    """

    name: str
    idle: bool
    used: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Settle reservations of one process: one UpdateItem. Answered by `KeyWritten` or `KeyRefused`.

    It requires that the process's hold shows the attempt `hold_before`; and, to set `ttl`, that there is no override.
    To sweep is to settle in full a hold that is past its time.

    Attributes:
        limits: What was used may be less than what was held, or more: then the excess is a debt.
        now: The service's time as the sender believes it.
        hold: What the process holds after it; None removes the hold.
        ttl: None leaves it as it is.
    """

    key: str
    limits: tuple[LimitSettlement, ...]
    now: int
    process: str
    hold_before: str
    hold: Hold | None
    lane: int
    attempt: str
    ttl: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadKey:
    """Read a key's item, consistently: one Query. Answered by `KeyIs`."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKeys:
    """Read the keys of one shard, eventually consistent: one Query, one page. Answered by `KeysAre`.

    Attributes:
        shard: 0 to `SHARDS` - 1.
        after: The last key of the page before; None for the first page.
        limit: How many keys at most.
    """

    shard: int
    after: str | None = None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Set limits of one key that differ from the policy: one UpdateItem. Answered by `KeyWritten` or `KeyRefused`.

    It requires that the override is as known (`override_rev`), and raises `override_rev` to `override_rev_after`. The
    item then has no TTL, until the override is removed.

    Attributes:
        limits: The override as a whole; empty removes it.
        cuts: Limits whose `tat` is beyond what the override allows, and where to cut it; each requires that it is
            still beyond.
        rev: For an item that does not exist yet.
        ttl: None exactly if there are limits.
    """

    key: str
    limits: Mapping[str, LimitPolicy]
    cuts: Mapping[str, int] = field(default_factory=dict)
    override_rev: int
    override_rev_after: int
    rev: int
    ttl: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Let nothing of a key be due before a time: one UpdateItem. Answered by `KeyWritten` or `KeyRefused`.

    What is booked already stays booked.

    Attributes:
        until: A time that is past ends the block.
        rev: For an item that does not exist yet.
        ttl: None leaves it as it is, for a key with an override.
        override_rev: As known: it says whether there is an override.
    """

    key: str
    until: int
    rev: int
    override_rev: int
    ttl: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Forgive a key everything, and end its block: one UpdateItem. Answered by `KeyWritten` or `KeyRefused`.

    Reservations that run are forgotten: settling them later changes nothing. The override, and the lanes, stay. It
    requires that each limit's `held` is as seen, and that there are no other limits of those in the policy: so no
    reservation is missed.

    Attributes:
        seen: The item as it was read.
        others: Limits of the policy that `seen` does not show.
    """

    key: str
    seen: KeyState
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPolicy:
    """Read the policy: one Query. Answered by `PolicyIs`."""

    consistent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePolicy:
    """Store the first policy, which must not exist: one UpdateItem. Answered by `PolicyIs` or `PolicyRefused`."""

    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePolicy:
    """Change the policy, whose `rev` must be as seen: one UpdateItem. Answered by `PolicyIs` or `PolicyRefused`."""

    policy: Policy
    rev_before: int


RateRequest: TypeAlias = (
    Charge
    | ChargeTogether
    | Settle
    | ReadKey
    | ListKeys
    | Override
    | Block
    | Reset
    | ReadPolicy
    | CreatePolicy
    | ChangePolicy
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWritten:
    """A write to a key's item happened; `state` is the item after it."""

    state: KeyState


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRefused:
    """A condition on a key's item failed, and this sending wrote nothing; `state` is what it found."""

    state: KeyState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TogetherRefused:
    """Conditions of a charge of several keys failed, and this sending wrote nothing.

    Attributes:
        failed: For each charge, in order, whether its condition failed.
        found: For each charge whose condition failed, what it found; None for no item, and where it held.
    """

    failed: tuple[bool, ...]
    found: tuple[KeyState | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIs:
    """What `ReadKey` found; None if there is no item."""

    state: KeyState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysAre:
    """One page of keys, in the order of their names. Items of another shape are left out.

    Attributes:
        keys: Keys and their states.
        after: Where the next page starts; None if this is the last one.
    """

    keys: tuple[tuple[str, KeyState], ...]
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyIs:
    """The policy as it was read, or as it was just written; None if there is none.

    Attributes:
        policy: The policy.
        older: Whether there is an item in which a version before this one keeps the rate. Processes of that version
            charge it, and know of no policy: what both versions admit adds up.
    """

    policy: Policy | None
    older: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRefused:
    """The policy was not as the request required, and was not written; `policy` is what was found."""

    policy: Policy | None


RateAnswer: TypeAlias = KeyWritten | KeyRefused | TogetherRefused | KeyIs | KeysAre | PolicyIs | PolicyRefused
