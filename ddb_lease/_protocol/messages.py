"""The requests that the protocol sends, and the answers it can get.

Invariants:

- Values only. A request says what must hold and what to write, in the protocol's words; `ddb_lease.dynamodb` turns it
  into an expression. A simulator returns the same answers.
- A request is one attempt. A resend sends the same value: same lease id, same expiry, same token. Only a charge is
  computed anew for each sending, as a permit belongs to the time it is sent for; its attempt's id stays the same.
- A bucket's name and table belong to the store that a request is sent to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ddb_lease._protocol.hits import HitsAnswer, HitsRequest
from ddb_lease._protocol.listing import ListPage, PageIs
from ddb_lease._protocol.rates.messages import RateAnswer, RateRequest
from ddb_lease._protocol.records import Claimant, Counter, Settings, Slot, View
from ddb_lease._protocol.tickets import QueueSeen, TicketRequest
from ddb_lease.events import ThrottledBy
from ddb_lease.models import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Read the counter and slots: one Query, one page.

    Attributes:
        start: The first slot wanted; 0 brings the counter too, unless `counter` is False.
        limit: How many slots at most.
        consistent: Strongly consistent (1 RCU per 4 KB), or eventually (half of it).
        whole: With the data of each lease, for people; else only what decisions need, and who holds it since when.
    """

    start: int = 0
    limit: int
    consistent: bool
    whole: bool = False
    counter: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Lease a slot in circulation that is free or whose lease expired before `expired_before`: one PutItem."""

    slot: int
    fence: int
    lease: Claimant
    expired_before: int
    ttl: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mint:
    """Bring a slot that does not exist into circulation, leased: slot and counter in one TransactWriteItems.

    `re_mint` is the form for a bucket that drift makes look full: it requires `minted >= max_tokens` and sets `minted`
    to `max_tokens`; the plain form requires `minted < max_tokens` and adds one.
    """

    slot: int
    fence: int
    lease: Claimant
    ttl: int
    re_mint: bool
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Lease several slots together, all or nothing: one TransactWriteItems, with the counter where some are minted.

    Attributes:
        claims: Slots in circulation that are free, or whose lease expired before `expired_before`.
        mints: Slots that do not exist; all below `seen_max`.
        seen_max: What `max_tokens` must be, at least, and by how much `minted` is bounded; see `re_mint`.
        re_mint: Plain: `minted <= seen_max - m` and `max_tokens >= seen_max`, for m slots minted; adds m. If drift
            makes the bucket look full: `minted > seen_max - m` and `max_tokens = seen_max`; sets `minted` to
            `max_tokens`.
    """

    claims: tuple[int, ...]
    mints: tuple[int, ...]
    fence: int
    lease: Claimant
    expired_before: int
    ttl: int
    seen_max: int
    re_mint: bool
    token: str

    def __post_init__(self) -> None:
        # The counter's condition bounds `seen_max` only: a mint of a number beyond it must never be sent.
        if any(number >= self.seen_max for number in self.mints):
            raise ValueError(f"slots {self.mints} are not all below {self.seen_max}")

    @property
    def slots(self) -> tuple[int, ...]:
        """All of them, in the order of the transaction."""
        return self.claims + self.mints


@dataclass(frozen=True, slots=True, kw_only=True)
class BringBack:
    """Bring a retired slot back into circulation; a lease that still runs on it stays. `re_mint` as in `Mint`.

    `ttl` is for a slot without one, which only an edit by hand leaves; any other slot keeps its own.
    """

    slot: int
    ttl: int
    re_mint: bool
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Take slots out of circulation, leases running on: one TransactWriteItems.

    The slots lie at or above `max_tokens`, or will once it is lowered; then they are all such slots in circulation. The
    counter must be as seen (`rev`), and is set to `max_tokens` and `minted`. Without slots, only the counter is
    lowered. `ttl` as in `BringBack`.
    """

    slots: tuple[int, ...]
    rev: int
    max_tokens: int
    minted: int
    ttl: int
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make the counter, which must not exist, and the first `slots` slots, free: one TransactWriteItems."""

    settings: Settings
    minted: int
    rev: int
    slots: int
    fence: int
    ttl: int
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Move the expiry of our lease, never backwards: one UpdateItem.

    `owner` is set in a renewal that hands the lease over: what people then read. It is never sent in a batch.
    """

    slot: int
    lease_id: str
    expires_at: int
    ttl: int
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewEach:
    """Send several renewals together: one BatchExecuteStatement of at most `PER_BATCH`.

    It is not a transaction: each renewal has the conditions and the price of an UpdateItem, and succeeds or fails by
    itself.
    """

    renewals: tuple[Renew, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Make a lease that was handed over one of our own: one UpdateItem; for several slots, one TransactWriteItems.

    Attributes:
        slots: All slots of the lease, in rising order. A retired one stays retired.
        giver: The id of the lease that was handed over. It must not be revoked.
        fence: Must be above that of each slot.
        token: For a transaction.
    """

    slots: tuple[int, ...]
    giver: str
    fence: int
    lease: Claimant
    ttl: int
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Drop our lease, keep the fence: one UpdateItem.

    Attributes:
        ttl: None if the service's time or the fence is not known: the item then keeps the TTL of its lease, which is
            later anyway.
    """

    slot: int
    lease_id: str
    ttl: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Give our lease back, and keep the slot closed until `expires_at`: one UpdateItem.

    The slot then carries another lease, `closed_id`, which nobody holds: see `closing`. Its owner stays, for people.
    """

    slot: int
    lease_id: str
    closed_id: str
    expires_at: int
    ttl: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoke:
    """Mark this lease as revoked: one UpdateItem. `by` says who asks, for people."""

    slot: int
    lease_id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Read slots, and the counter, at one instant: one TransactGetItems of at most 100 items."""

    slots: tuple[int, ...]
    counter: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Grow:
    """Raise `max_tokens`; the counter must be as seen (`rev`): one UpdateItem."""

    rev: int
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """Set `minted` to what was counted; the counter must be as seen (`rev`): one UpdateItem."""

    rev: int
    minted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOrder:
    """Set the order in which waiters are served; the counter must be as seen (`rev`): one UpdateItem."""

    rev: int
    order: Order


Request: TypeAlias = (
    Look
    | Claim
    | Mint
    | Take
    | BringBack
    | Retire
    | Create
    | Renew
    | RenewEach
    | Adopt
    | Release
    | Close
    | Revoke
    | Snapshot
    | Grow
    | Recount
    | SetOrder
    | TicketRequest
    | HitsRequest
    | ListPage
    | RateRequest
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """It happened. `slot` is the item after a renewal."""

    slot: Slot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Each:
    """The answers of the renewals in a batch, or of looks that were sent at once, in their order."""

    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A look's answer. `more` says that slots beyond `view.covered` may exist."""

    view: View
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A snapshot's answer: the items at one instant; None for a missing item."""

    counter: Counter | None
    slots: Mapping[int, Slot | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A condition failed: nothing was written by this sending.

    Attributes:
        slot: The item that the failed slot condition found; None if there is no item, or the condition held.
        slot_failed: Whether a condition on a slot failed.
        counter: The counter that its failed condition found; None if there is none, or the condition held.
        counter_failed: Whether the condition on the counter failed.
        found: For several slots taken together: what each failed condition found; None for a missing item.
    """

    slot: Slot | None = None
    slot_failed: bool = True
    counter: Counter | None = None
    counter_failed: bool = False
    found: Mapping[int, Slot | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Another transaction was under way on the item: it did not happen. Neither full nor lost."""

    cause: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottledAnswer:
    """DynamoDB throttled the request: it did not happen.

    Attributes:
        cause: What was raised.
        limit: What throttles it, for people: no decision depends on it.
    """

    cause: Exception
    limit: ThrottledBy = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """There was no connection: it did not happen."""

    cause: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The answer is lost or unclear: it may have happened, and may still happen later.

    Attributes:
        cause: What was raised.
        raised_here: Whether this process raised it, before or after sending: no network, and no answer, can cause it.
        in_progress: Whether the service says that the transaction with this token is still under way. It may be stuck;
            until the service recovers it, all others conflict with it. The same request, sent again, asks for its
            outcome.
    """

    cause: Exception
    raised_here: bool = False
    in_progress: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """It cannot succeed with this setup: it did not happen.

    Attributes:
        error: Ready to be raised.
        untimely: Whether only the time of its signature was refused. That says nothing about the request, nor about
            others like it.
        unauthenticated: Whether only the sender's credentials were refused, as they have expired or are not known, or
            there are none. That says as little.
    """

    error: Exception
    untimely: bool = False
    unauthenticated: bool = False

    @property
    def unexamined(self) -> bool:
        """Whether it was refused for its signature or its sender alone: other requests would have been, too."""
        return self.untimely or self.unauthenticated


Answer: TypeAlias = (
    Done
    | Each
    | Seen
    | Shown
    | QueueSeen
    | PageIs
    | Refused
    | RateAnswer
    | HitsAnswer
    | Conflict
    | ThrottledAnswer
    | Unsent
    | Unknown
    | Rejected
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, with what its envelope says about the service's clock.

    Attributes:
        genuine: Whether the service itself answered (a request id was there).
        date: The ``Date`` header in seconds since the epoch, if it could be read.
    """

    answer: Answer
    genuine: bool
    date: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AtOnce:
    """Not a request: send each of these looks once, all at the same time. Answered by `Each`.

    Only reads are sent like this: an interrupt may leave any of them under way.
    """

    looks: tuple[Look, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Not a request: wait this many seconds.

    Attributes:
        wakeable: Whether the waiting line may end it early. It must not end a backoff: waiters that ended one another's
            backoff would not back off.
    """

    seconds: float
    wakeable: bool = False


Effect: TypeAlias = Request | AtOnce | Pause
"""What an operation yields. It is sent an `Answer` to a request or to several, and None after a pause."""
