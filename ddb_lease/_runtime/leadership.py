"""Leadership: what both APIs of a leader know of it. A leader is the holder of the one token of a bucket.

Invariants:

- The holder of slot 0 leads, and nobody else: however many tokens somebody gives the bucket, there is one leader.
- No I/O, no threads, no asyncio.
"""

from __future__ import annotations

from random import Random
from typing import Final

from ddb_lease._protocol.retry import full_jitter
from ddb_lease.errors import ConfigurationError, LeaseLost
from ddb_lease.models import BucketStatus, LeaseInfo

LEADER_SECONDS: Final = 15.0
"""The length of a leader's lease: a killed leader is followed after so long, plus some 2 s."""

STAND_SECONDS: Final = 30.0
"""How long one acquire waits for the leader's place; after that, one that had no answer says so."""

AWAY_SECONDS: Final = (1.0, 10.0)
"""The pause after the service did not answer: the first one at most, and any at most."""

LOOK_SECONDS: Final = 5.0
"""How often a leader looks whether it still leads, in case nobody woke it: in a forked child, nobody does."""

ASIDE_SECONDS: Final = 5.0
"""How long a leader stands aside that was asked for its place: the others look about once a second."""

RESERVED_SECONDS: Final = 1.0
"""At the interpreter's exit, so much time is left for the release if the callbacks have not returned."""

AWAY_TEXT: Final = "leader %r: the service does not answer, and the election goes on when it does: %s"

CALLBACK_TEXT: Final = "on_lost of leader %r failed"

ENDED_TEXT: Final = "leader %r has ended by an error"


def used_before(name: str) -> ConfigurationError:
    """What a leader says that is to run a second time."""
    return ConfigurationError(f"leader {name!r} has run before: make another one")


def cancelled_by_others(name: str) -> RuntimeError:
    """What a leader raises whose work somebody else has cancelled: it would end without a word otherwise."""
    return RuntimeError(f"on_elected of leader {name!r} was cancelled by something else than this leader")


def is_own_loss(error: BaseException, lease_id: str) -> bool:
    """Whether an error says nothing but that this lease is lost: it, or a group of such errors."""
    if isinstance(error, LeaseLost):
        return error.lease_id == lease_id
    parts = getattr(error, "exceptions", None)  # a group's; that of the backport for Python 3.10, too
    return isinstance(parts, tuple) and bool(parts) and all(is_own_loss(part, lease_id) for part in parts)


def require_work(on_elected: object, *, block: str) -> None:
    """Refuse to lead where nothing would come of it, nor could anybody ask whether it leads.

    Raises:
        ConfigurationError: There is no callback.
    """
    if on_elected is None:
        raise ConfigurationError(
            f"run leads and does nothing without on_elected: give it, or lead in the background, by `{block}`"
        )


def require_one_leader(name: str, *, tokens: int, slot: int) -> None:
    """Refuse a lease that does not make a leader. The caller releases it.

    Args:
        name: The bucket's name.
        tokens: How many tokens it has, as far as that is known.
        slot: The slot that was leased.

    Raises:
        ConfigurationError: The bucket has several tokens, so another holder may lead already.
    """
    if slot == 0 and tokens == 1:
        return
    several = f"has max_tokens={tokens}" if tokens > 1 else "has been resized"
    raise ConfigurationError(
        f"bucket {name!r} {several}, and a leader needs a bucket of one token: give it another name, or resize the "
        "bucket to 1"
    )


def leader_of(status: BucketStatus) -> LeaseInfo | None:
    """Who leads, by what was read; None if nobody does."""
    return next((lease for lease in status.leases if lease.slot == 0 and not lease.expired), None)


def pause_when_away(failures: int, chance: Random) -> float:
    """Seconds until the next try, after so many in a row without an answer."""
    return full_jitter(AWAY_SECONDS, failures, chance)
