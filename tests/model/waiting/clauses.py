"""The clauses of waiting in order: every part that can be removed to see what it is for.

Invariants: one member for each; `scenarios` says what breaks without it, and the tests show it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Clause(enum.Enum):
    """A clause, by what it belongs to."""

    PUT_NEW = "join: there is no such ticket"
    REFRESH_THERE = "stay: the ticket is there"
    REFRESH_NEVER_SHORTER = "stay: expires_at <= :expires_at"
    DROP_NOT_REFRESHED = "remove: expires_at <= the expiry that was seen"

    LEFT_OVER = "turn: only what is left over by those before it"
    STRICT = "turn: if the first wants more slots than are free, nobody behind it takes any"
    PATIENCE = "turn: a waiter is passed over only after slots that it could have had were free for its patience"
    EXPIRED_SKIPPED = "turn: a ticket that has expired does not count"
    GLANCES = "turn: whoever could not be served looks at the slots all the same, now and then"

    ARRIVES_LAST = "ticket: its arrival is later than that of the last one of its priority"
    REFRESHED = "ticket: it is refreshed while its waiter waits"
    LIVES = "ticket: it lasts for three times as long as until it is refreshed"
    PUT_AGAIN = "ticket: if it is gone, its waiter puts it again"
    OLD_PLACE = "ticket: it is put again at its old place"
    LEAVES = "ticket: it is deleted when its waiter is served or gives up"
    LEAVES_UNSURE = "ticket: it is deleted also if nobody told that it was put"
    PASSED_REMOVED = "ticket: whoever takes the slot removes those that were passed over"
    DEAD_REMOVED = "ticket: the first two of the queue remove those that have expired"


class Kept:
    """The clauses that are kept, as plain attributes: quick to read, and a misspelt one raises."""

    def __init__(self, removed: Iterable[Clause] = ()) -> None:
        gone = frozenset(removed)
        for clause in Clause:
            setattr(self, clause.name, clause not in gone)
