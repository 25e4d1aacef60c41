"""The bucket that `run` acquires from: what was typed, else what is stored, else the defaults.

Invariants:

- A bucket is made only where it was said how many tokens it is to have: a mistyped name makes none.
- Without a wish of one's own the stored settings are taken, and nothing is warned of.
- What cannot work is said by its option, before anything is sent if that can be known by then.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Final

from ddb_lease._runtime.stored_bucket import stored_settings
from ddb_lease.bucket import LeaseBucket
from ddb_lease.cli import connection
from ddb_lease.cli.formatting import shown
from ddb_lease.errors import ConfigurationError, UnknownBucket
from ddb_lease.events import OnEvent
from ddb_lease.models import MARGINS_PER_LEASE, Timing

LOCAL_SKEW_SECONDS: Final = 0.1
"""With `--short-leases`: the embedded engine has one clock; the front ends of a service differ by up to a second."""

_GRACE_PART: Final = 0.1
_GRACE_MOST: Final = 5.0


def asked_bucket(options: argparse.Namespace, *, on_event: OnEvent | None = None) -> tuple[LeaseBucket, int]:
    """The bucket, and how many tokens it has as far as that is known.

    Sends a Query if it was not said how many tokens, or if a grace was given: the stored lease counts.

    Raises:
        ConfigurationError: The options cannot work.
        UnknownBucket: It does not exist, and it was not said how many tokens it is to have.
        StoreUnavailable: The service did not answer.
        StoreRejected: The service refuses for good.
    """
    timing = _timing(options)
    if options.max_tokens is not None:
        require_room(timing, options.lease, grace=options.grace if "lease" in options.given else None)
    where = connection.arguments(options)
    max_tokens, lease = options.max_tokens, options.lease
    if max_tokens is None or options.grace is not None:
        stored = stored_settings(options.bucket, timeout=getattr(options, "timeout", None), **where)
        if stored is not None:
            lease = stored.lease_ms / 1000 if "lease" not in options.given else lease
            max_tokens = stored.max_tokens if max_tokens is None else max_tokens
            require_room(timing, stored.lease_ms / 1000, grace=options.grace)
        elif max_tokens is None:
            raise UnknownBucket(
                f"bucket {options.bucket!r} does not exist in table {options.table!r}; to make it, say how many tokens "
                "it is to have: --max-tokens N"
            )
    require_room(timing, lease, grace=options.grace)
    bucket = LeaseBucket(
        options.bucket,
        max_tokens=max_tokens,
        lease_seconds=lease,
        timing=timing,
        owner=options.owner,
        order="fifo" if options.fifo else None,
        on_event=on_event,
        **where,
    )
    return bucket, max_tokens


def require_room(timing: Timing, lease: float, *, grace: float | None) -> None:
    """Refuse a grace that leaves no room in a lease, and a lease that leaves none for the usual one."""
    if grace is None and timing.grace is not None:
        return  # it is checked against the stored length
    if grace is None:
        try:
            timing.require_room(lease)
        except ConfigurationError as error:
            given = shown(timing.grace_for(lease))
            raise ConfigurationError(
                f"{error}. {given} of the margin is the time in which the command ends once the lease is lost: "
                "--grace, a tenth of the lease unless it is given"
            ) from None
        return
    margin = timing.margin_for(lease)
    most = lease / MARGINS_PER_LEASE - (margin - grace)
    if most > 0 and grace > most:
        raise ConfigurationError(
            f"--grace {shown(grace)} is too long for a lease of {shown(lease)}: it may be {shown(_down(most))} at most"
        )


def _down(seconds: float) -> float:
    """Rounded down to what `shown` shows."""
    return int(seconds * 10) / 10 if seconds < 10 else float(int(seconds))  # noqa: PLR2004 - as `duration_text`


def _timing(options: argparse.Namespace) -> Timing:
    # The stored length of the lease applies, so the grace is a fraction of that one, unless it is given.
    timing = Timing(grace=options.grace, grace_part=_GRACE_PART, grace_most=_GRACE_MOST)
    if not options.short_leases:
        return timing
    if not options.local:
        raise ConfigurationError("--short-leases needs --local: the real service's clocks differ too much for them")
    return dataclasses.replace(timing, front_end_skew=LOCAL_SKEW_SECONDS)
