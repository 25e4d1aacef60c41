"""The clauses: every part of the protocol that can be removed to see what it is for.

Invariants: one member for each clause; its text says which part of the design it is. `scenarios` says what breaks
without it, and the tests show it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Clause(enum.Enum):
    """A clause of the protocol, by the operation that it belongs to."""

    CLAIM_EXISTS = "claim: the slot exists"
    CLAIM_NOT_RETIRED = "claim: the slot is not retired"
    CLAIM_FENCE_RISES = "claim: fence < :fence"
    CLAIM_FREE_OR_EXPIRED = "claim: no lease_id, or expires_at < :now_lo"
    CLAIM_BY_NOW_LO = "claim: what has expired is judged by now_lo, not by now_hi"
    CLAIM_SPARES_REVOKED = "claim: a revoked lease is spared until it is released or expires"
    CLAIM_REPLACES = "claim: PutItem replaces the whole item"

    RENEW_MINE = "renew: lease_id = mine"
    RENEW_NEVER_SHORTER = "renew: expires_at <= :new"

    RELEASE_MINE = "release: lease_id = mine"
    RELEASE_KEEPS_FENCE = "release: keeps the fence"
    RELEASE_DROPS_REVOKED = "release: drops revoked"

    GIVER_STOPS = "hand over: the giver stops believing before anybody has the token"
    ADOPT_GIVERS = "adopt: lease_id = the giver's"
    ADOPT_FENCE_RISES = "adopt: fence < :fence"
    ADOPT_NOT_REVOKED = "adopt: not revoked"
    ADOPT_KEEPS_RETIRED = "adopt: an Update, a retired slot stays retired"

    HOLD_WRITTEN = "hold at least: the claim's expires_at is as late as the time asked for"
    HOLD_CLOSES = "hold at least: who lets go before that closes the slot"
    CLOSE_MINE = "close: lease_id = mine"
    CLOSE_ANOTHER_ID = "close: the slot gets another lease_id"
    CLOSE_UNTIL = "close: expires_at is the end of the time asked for"

    MINT_NEW = "mint: the slot does not exist"
    MINT_ALLOWED = "mint: max_tokens > slot number"
    MINT_ROOM = "mint: minted < max_tokens"
    MINT_COUNTS = "mint: minted + 1"
    MINT_REV = "mint: rev + 1"
    MINT_TOKEN = "mint: one request token for each attempt"
    RE_MINT_DRIFTED = "re-mint: minted >= max_tokens"
    RE_MINT_SETS_MAX = "re-mint: minted = max_tokens"

    BRING_BACK_EXISTS = "bring back: the slot exists"
    BRING_BACK_RETIRED = "bring back: the slot is retired"
    BRING_BACK_ALLOWED = "bring back: max_tokens > slot number"
    BRING_BACK_ROOM = "bring back: minted < max_tokens"
    BRING_BACK_COUNTS = "bring back: minted + 1"
    BRING_BACK_REV = "bring back: rev + 1"
    BRING_BACK_KEEPS_LEASE = "bring back: an Update, a lease that still runs stays"

    SHRINK_REV_SEEN = "shrink: rev as seen"
    SHRINK_OWN_MAX = "shrink: each step's max_tokens is the lowest number that it retires"
    SHRINK_COUNTS = "shrink: minted - k"
    SHRINK_REV = "shrink: rev + 1"
    SHRINK_EXISTS = "shrink: the slots exist"
    SHRINK_CIRCULATES = "shrink: the slots are not retired"
    SHRINK_KEEPS_LEASE = "shrink: Updates, a lease runs on"
    SHRINK_READ = "shrink: planned from a transactional read, not from a Query"
    RESIZER_STOPS = "resize: who finds max_tokens not as set, stops"
    GROW_REV_SEEN = "grow: rev as seen"
    GROW_REV = "grow: rev + 1"

    REPAIR_REV_SEEN = "repair: rev as seen"
    REPAIR_REV = "repair: rev + 1"
    REPAIR_READ = "repair: planned from transactional reads, not from a Query"
    REPAIR_COUNTER_FIRST = "repair: the counter is in the first chunk"
    REPAIR_RETIRES = "repair: slots beyond max_tokens are retired"
    STRAYS_RETIRED = "stray slots: whoever sees one retires it"
    STRAYS_REV_SEEN = "stray slots: rev as seen"
    STRAYS_FLOOR = "stray slots: minted does not fall below what max_tokens allows"

    CREATE_NO_COUNTER = "create: the counter does not exist"
    CREATE_NEW_SLOTS = "create: each slot does not exist"
    CREATE_OVER_REST = "create: over slots left from before, minted = max_tokens"

    TAKE_ROOM = "n slots: minted <= :seen_max - m"
    TAKE_MAX_AS_SEEN = "n slots: max_tokens >= :seen_max"
    TAKE_BELOW_SEEN = "n slots: all numbers minted are below :seen_max"
    TAKE_COUNTS = "n slots: minted + m"
    RE_TAKE_DRIFTED = "n slots, re-mint: minted > :seen_max - m"
    RE_TAKE_MAX_AS_SEEN = "n slots, re-mint: max_tokens = :seen_max"
    RE_TAKE_SETS_MAX = "n slots, re-mint: minted = max_tokens"
    TAKE_ALL_OR_NOTHING = "n slots: all or nothing"
    TAKE_ALL_OURS = "n slots: a failed condition means ours only where all n are ours"
    TAKE_LOSES_ALL = "n slots: losing one loses the lease"

    REVOKE_MEANT = "revoke: lease_id = the lease meant"

    EXPIRY_BY_NOW_HI = "time: expires_at = now_hi + duration"
    MARGIN = "time: the holder stops a margin before the end"
    DEADLINE_BEFORE_SENDING = "time: the deadline counts from before the first sending, not from a resend"
    DEADLINE_NOT_RECEIPT = "time: the deadline counts from before the first sending, not from receipt"
    STEADY_COUNTS_SLEEP = "time: the steady clock counts suspended time"
    JUMP_CORRECTED = "time: where the offset jumps, every deadline comes forward"
    FENCE_BY_CLOCK = "fence: at least now_hi"
    FENCE_ABOVE_SEEN = "fence: above the one seen"
    RETENTION = "TTL: a retention longer than a request can be under way"
    TTL_AFTER_EXPIRY = "TTL: counts from the lease's expiry, where that is later"
    OWN_WRITE = "lost answer: a failed condition means ours only where the item carries our lease_id"
    NEW_ATTEMPT = "lost answer: a retry with a new expiry has a new lease_id"
    LOST_FOR_EVER = "losing: a lost lease is never revived"
    LATE_NOT_RETURNED = "losing: an acquisition answered after its deadline is not returned"


class Kept:
    """The clauses that are kept, as plain attributes: quick to read, and a misspelt one raises."""

    def __init__(self, removed: Iterable[Clause] = ()) -> None:
        gone = frozenset(removed)
        for clause in Clause:
            setattr(self, clause.name, clause not in gone)
