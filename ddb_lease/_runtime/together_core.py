"""What both APIs' `acquire_all` share: what is wanted, checked; the time that is left; what its leases are together.

Invariants: it sends nothing and drives nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from ddb_lease._numbers import checked_timeout, shown
from ddb_lease._protocol.messages import Pause
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.bucket_arguments import checked_data, require_count
from ddb_lease._runtime.bucket_core import BucketCore, timed_out
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease.errors import AcquireTimeout, ConfigurationError, LossReason
from ddb_lease.models import Data, Seconds


class HasCore(Protocol):
    """A bucket of either API."""

    @property
    def _core(self) -> BucketCore: ...


Bucket = TypeVar("Bucket", bound=HasCore)


class WantedTogether(Generic[Bucket]):
    """The buckets of one `acquire_all`, and its one deadline.

    Args:
        buckets: As the user gave them: buckets, or pairs of a bucket and a count.
        kind: The class that they must be of.
        timeout: As the user gave it.
        data: What to attach to each lease, as the user gave it.

    Attributes:
        parts: Each bucket, and how many of its slots are wanted.
        core: The first one's core: its clock is the one that counts.

    Raises:
        ConfigurationError: They cannot be had together; nothing was sent.
    """

    def __init__(
        self, buckets: Iterable[object], *, kind: type[Bucket], timeout: Seconds | None, data: Data | None = None
    ) -> None:
        self.parts = [_part(given, kind) for given in _listed(buckets)]
        cores = [bucket._core for bucket, _ in self.parts]  # noqa: SLF001 - each API's own class
        for number, core in enumerate(cores):
            if any(_is_same(core, other) for other in cores[:number]):
                raise ConfigurationError(
                    f"bucket {core.name!r} is named twice: give it once, with a count, as in (bucket, 2)"
                )
        for _, count in self.parts:
            checked_data(data, count)
        self.core = cores[0]
        self._timeout = checked_timeout(timeout)
        self._deadline = self.core.deadline(timeout)

    def left(self) -> float | None:
        """Seconds until the deadline; None if there is none."""
        if self._deadline == math.inf:
            return None
        return max(0.0, self._deadline - self.core.state.time.steady())

    def rest(self, seconds: float) -> Operation[None]:
        """A pause, but not beyond the deadline."""
        left = self.left()
        yield Pause(seconds=seconds if left is None else min(seconds, left))

    def require_time(self, place: int) -> None:
        """The bucket at this place could not be had: go on only while there is time.

        Raises:
            AcquireTimeout: There is none. Without this, two callers in each other's way could go on for ever: a try
                may win a free slot at the deadline, too.
        """
        if self.left() == 0.0:
            raise self.timed_out(place)

    def timed_out(self, place: int) -> AcquireTimeout:
        """The error if the bucket at this place could not be had in time."""
        bucket, count = self.parts[place]
        error = timed_out(bucket._core, self._timeout, count)  # noqa: SLF001 - each API's own class
        many = len(self.parts)
        return (
            error
            if many == 1
            else AcquireTimeout(f"{error}; none of the {many} buckets' slots are held", holders=error.holders)
        )


def lost_of(leases: Sequence[HeldLease]) -> LossReason | None:
    """Why the first one that is lost was lost; None if none is."""
    return next((reason for lease in leases if (reason := lease.lost) is not None), None)


def checked_permits(rate: object, kinds: tuple[type, ...]) -> tuple[Any, int] | None:
    """A limiter and how many permits are wanted of it, from what the user gave; None if no rate was given.

    Raises:
        ConfigurationError: It is neither a limiter nor a pair of one and a number, or can never give so many. Nothing
            was sent.
    """
    if rate is None:
        return None
    limiter, permits = rate if isinstance(rate, tuple) and len(rate) == 2 else (rate, 1)  # noqa: PLR2004 - a pair
    if not isinstance(limiter, kinds):
        raise ConfigurationError(
            f"rate must be a limiter, a key of one, or a pair of one and a number of permits, not {shown(rate)}"
        )
    key: Any = getattr(limiter, "_all", limiter)  # a limiter's permits are those of one key
    if key._family is not None:  # noqa: SLF001 - each API's own class
        key._family.wanted(permits, {})  # noqa: SLF001
    else:
        key._core.wanted(permits, {}, key.key)  # noqa: SLF001
    return limiter, permits


def _is_same(one: BucketCore, other: BucketCore) -> bool:
    """Whether both are one bucket in one table, whatever session or client reaches it."""
    return (one.name, *one.whereabouts) == (other.name, *other.whereabouts)


def _listed(buckets: Iterable[object]) -> list[object]:
    try:
        listed = list(buckets)
    except TypeError:
        raise ConfigurationError(f"acquire_all takes several buckets, in a list, not {shown(buckets)}") from None
    if not listed:
        raise ConfigurationError("acquire_all takes a bucket at least")
    return listed


def _part(given: object, kind: type[Bucket]) -> tuple[Bucket, int]:
    bucket, count = given if isinstance(given, tuple) and len(given) == 2 else (given, 1)  # noqa: PLR2004 - a pair
    if not isinstance(bucket, kind):
        raise ConfigurationError(
            f"acquire_all takes {kind.__module__.partition('.bucket')[0]}.{kind.__name__}s, or pairs of one and a "
            f"count, not {shown(given)}"
        )
    require_count(count)
    return bucket, count
