"""How one try at a slot, or at permits, can end.

Invariants: values only. `retry` decides from them whether and when to try again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ddb_lease._protocol.messages import Answer, Conflict, Rejected, ThrottledAnswer, Unknown, Unsent
from ddb_lease._protocol.records import Grant
from ddb_lease.errors import ConfigurationError, LeaseError


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Every slot in the view is leased.

    Attributes:
        expires_in: Seconds until the first lease expires; None: not known.
        look_in: Seconds until this process looks next; None: not settled.
    """

    expires_in: float | None
    look_in: float | None = None


@dataclass(frozen=True, slots=True)
class LostRace:
    """A slot was free, and another client took it: contended, not full."""


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A slot was won, but too late to rely on the lease, or with the time in doubt: it is given back."""


@dataclass(frozen=True, slots=True)
class OutOfTurn:
    """Other waiters of this process are ahead of us: they look, we sleep."""


@dataclass(frozen=True, slots=True)
class GaveWay:
    """This process has had its turn (see `_state.fairness`): it pauses so many seconds for others."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The permits are ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """The permits are charged for us, and due at `due`, in nanoseconds since the epoch."""

    due: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedHere:
    """The service did not answer in time, and this process decided by itself.

    Attributes:
        allowed: Whether the permits may be used, now.
        by: The setting that decided.
        retry_in: If they may not: seconds until it is worth asking again.
    """

    allowed: bool
    by: Literal["allow", "deny", "local"]
    retry_in: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """The rate does not allow it yet.

    Attributes:
        retry_in: Seconds until it does, unless others are faster.
        spread: Seconds over which to spread the next try, if others were faster the last time.
    """

    retry_in: float
    spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """A conflict, or throttling: the service answers, and wants us to slow down."""

    cause: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """No usable answer.

    Attributes:
        cause: What was raised.
        raised_here: Whether this process raised it: see `Unknown`.
    """

    cause: Exception
    raised_here: bool = False


Failure: TypeAlias = LostRace | GivenBack | Busy | Unavailable
"""Why one write brought nothing. Another try may."""

Outcome: TypeAlias = Grant | Full | OutOfTurn | GaveWay | Failure
"""How one try at a slot can end."""

Admission: TypeAlias = Admitted | Booked | DecidedHere | Denied | LostRace | OutOfTurn | Busy | Unavailable
"""How one try at permits can end."""


def reason_text(error: Exception) -> str:
    """An error in one line, as a part of a message. Where its text alone does not say enough, with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, (LeaseError, OSError)) or type(error).__module__ == "botocore.exceptions":
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def failure_of(answer: Answer | None) -> Busy | Unavailable:
    """Why a request did not get through, by its last answer.

    Raises:
        StoreRejected: The service refuses for good.
        ConfigurationError: This is no answer to any request of ours.
    """
    match answer:
        case Conflict() | ThrottledAnswer():
            return Busy(cause=answer.cause)
        case Unsent():
            return Unavailable(cause=answer.cause)
        case Unknown():
            return Unavailable(cause=answer.cause, raised_here=answer.raised_here)
        case Rejected():
            raise answer.error
        case _:
            raise ConfigurationError(f"unexpected answer: {answer}")
