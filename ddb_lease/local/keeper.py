"""Keeps what the tables promise, beyond this engine's end.

What a request grants is in the journal before its answer is sent. What an earlier engine granted, and did not live to
see returned, is not granted again while it runs.

Invariants: no I/O but the journal's. Reads are always answered: whoever waits sees the tables as they are. Not
thread-safe: the caller holds a lock.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ddb_lease._numbers import duration_text
from ddb_lease.local.clock import Clock
from ddb_lease.local.journal import Journal, Place, by_bucket
from ddb_lease.local.messages import HttpResponse, error_response
from ddb_lease.local.writes import HOLD, RATE_TIMES, REACH, Write, binds_until_ms, is_permit, text

_BINDING = ("lease_id", "expires_at", *RATE_TIMES)
_TOLD = ("lease_id", "owner", "data")


class Tables(Protocol):
    """The tables, as they are."""

    def item(
        self, region: str, write: Write, names: Sequence[str], prefixes: tuple[str, ...] = ()
    ) -> Mapping[str, Any]:
        """These attributes of an item, in DynamoDB's JSON, and those whose names begin so; empty if there is none."""


class Keeper:
    """See the module.

    Args:
        tables: Where written items are read again.
        journal: Where it is written until when they bind.
        clock: The engine's.
    """

    def __init__(self, tables: Tables, journal: Journal, *, clock: Clock) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock

    def refusal(self, region: str, written: Sequence[Write]) -> HttpResponse | None:
        """The answer to a write that must wait for leases of an earlier engine; None if it may be executed.

        It is a refusal that clients send again until their own deadline.

        Raises:
            EngineError, OSError: The journal cannot be written, so nothing may be executed.
        """
        self._journal.complete()
        last = by_bucket(self._journal.awaited())
        until_ms = max((last.get(_place(region, write).whole, 0) for write in written), default=0)
        if not until_ms:
            return None
        message = (
            "an engine before this one ended while leases of this bucket ran, or permits of this rate were unpaid; "
            f"their holders believe in them for another {duration_text(self._remaining_s(until_ms))}"
        )
        return error_response(400, "ThrottlingException", message)

    def note(self, region: str, written: Sequence[Write]) -> None:
        """Record until when the items that were written bind.

        Raises:
            EngineError, OSError: The journal cannot be written: the request must not be answered with success.
        """
        self._journal.note(
            {
                _place(region, write): binds_until_ms(self._tables.item(region, write, _BINDING, (REACH, HOLD)))
                for write in written
            }
        )

    def binds(self) -> bool:
        """Whether a lease runs, or a rate has given permits that are not paid for yet."""
        return bool(self._journal.running())

    def report(self) -> dict[str, object]:
        """Who holds leases, and which buckets wait for leases of an earlier engine; for people."""
        awaited = sorted(by_bucket(self._journal.awaited()).items())
        return {
            "held": [
                {"table": place.table, "bucket": place.bucket, "item": place.item, "owner": text(item.get("owner"))}
                | {"remaining_s": self._remaining_s(until_ms), "is_permit": is_permit(item)}
                for place, until_ms in sorted(self._journal.running().items())
                if "lease_id" in (item := self._tables.item(place.region, _write(place), _TOLD))
            ],
            "awaited": [
                {"table": whole.table, "bucket": whole.shown, "remaining_s": self._remaining_s(until_ms)}
                for whole, until_ms in awaited
            ],
            # Apart, as programs of earlier versions know no more of an entry.
            "awaited_rates": [bool(whole.item) for whole, _ in awaited],
        }

    def forget_awaited(self) -> None:
        """Wait for no lease of an earlier engine any more."""
        self._journal.forget_awaited()

    def _remaining_s(self, until_ms: int) -> float:
        return max(0.0, until_ms / 1000 - self._clock())


def _place(region: str, write: Write) -> Place:
    return Place(region, write.table, text(write.names.get("pk")), text(write.names.get("sk")))


def _write(place: Place) -> Write:
    return Write(place.table, {"pk": {"S": place.bucket}, "sk": {"S": place.item}})
