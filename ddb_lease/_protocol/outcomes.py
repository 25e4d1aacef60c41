"""How one try at a slot, or at permits, can end.

Invariants: values only. `retry` decides by them whether, and when, there is another try.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ddb_lease._protocol.records import Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Every slot in sight is leased.

    Attributes:
        expires_in: Seconds until the first lease expires; None: not known.
        look_in: Seconds until this process looks next; None: not settled.
    """

    expires_in: float | None
    look_in: float | None = None


@dataclass(frozen=True, slots=True)
class LostRace:
    """A slot was there, and another took it: contended, not full."""


@dataclass(frozen=True, slots=True)
class OutOfTurn:
    """Others of this process wait in front of us: they look, we sleep."""


@dataclass(frozen=True, slots=True)
class GaveWay:
    """This process has had its turn (see `turns`): others get a chance for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The permits are ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """The rate does not allow it yet.

    Attributes:
        retry_in: Seconds until it does, unless others are faster.
        spread: Others were, at the last such moment: over how many seconds to spread the next try.
    """

    retry_in: float
    spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """A conflict, or throttling: the service is there, and asks for patience."""

    cause: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """No answer, or none that can be used."""

    cause: Exception


Outcome: TypeAlias = Grant | Full | LostRace | OutOfTurn | GaveWay | Busy | Unavailable

Admission: TypeAlias = Admitted | Denied | LostRace | OutOfTurn | Busy | Unavailable
"""How one try at permits can end."""
