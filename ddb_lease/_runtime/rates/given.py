"""What users give a limiter, as numbers and limits: checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

from ddb_lease._numbers import positive, shown
from ddb_lease._protocol.rates.records import LimitPolicy
from ddb_lease._protocol.rates.validation import LONGEST_NS, SINGLE
from ddb_lease._state.log import log as _log
from ddb_lease.errors import ConfigurationError, TooManyPermits
from ddb_lease.models import Limit, Seconds


def limits_given(
    rate: float | None, per: Seconds, burst: int | None, limits: Mapping[str, Limit] | None
) -> Mapping[str, Limit]:
    """The limits of a limiter: those by name, or one without a name.

    Raises:
        ConfigurationError: Both were given, or neither.
    """
    if rate is not None and limits is None:
        positive("rate", rate)  # named as the caller knows it
    if (rate is None) == (limits is None):
        raise ConfigurationError("give a rate, or limits by name, as in limits={'requests': Limit(100, per=60)}")
    if limits is not None:
        if per != 1.0 or burst is not None:
            raise ConfigurationError("per and burst belong to each of the limits: Limit(100, per=60, burst=10)")
        return limits
    return {SINGLE: Limit(rate, per=per, burst=burst)}  # type: ignore[arg-type] # it is not None


def checked_count(what: str, n: object, burst: int | None) -> int:
    """A number of permits, checked; `burst` is the most that there can be, None if that is not known.

    Raises:
        ConfigurationError: It is no whole number.
        TooManyPermits: It is too large.
    """
    if _is_count(n) and (burst is None or n <= burst):
        return int(n)
    most = " up" if burst is None else f" to {burst:,} (the burst)"
    said = "1 (the burst)" if burst == 1 else f"a whole number from 1{most}"
    message = f"{what} must be {said}, not {shown(n)}"
    raise TooManyPermits(message) if _is_count(n) else ConfigurationError(message)


def _is_count(n: object) -> TypeGuard[int]:
    return isinstance(n, int) and not isinstance(n, bool) and n >= 1


def checked_prefetch(prefetch: object, limits: Mapping[str, LimitPolicy], *, rate: str) -> int:
    """How many permits to take with one charge, checked. More than a burst is told, as a charge takes no more.

    Raises:
        ConfigurationError: It is no whole number, or too large, or there are several limits.
    """
    if isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 0:
        raise ConfigurationError(f"prefetch must be a whole number from 0 up, not {shown(prefetch)}")
    if prefetch and len(limits) > 1:
        raise ConfigurationError("prefetch is for a limiter with one limit: calls of several take all of them together")
    if prefetch * max(limit.interval for limit in limits.values()) > LONGEST_NS:
        raise ConfigurationError(f"prefetch is too large: {shown(prefetch)} permits of this rate take more than a year")
    most = max(limit.burst for limit in limits.values())
    if prefetch > most:
        _log.warning(
            "rate %r: prefetch=%d takes %d with one charge, as no charge takes more than the burst",
            rate,
            prefetch,
            most,
        )
    return prefetch
