"""The page of `ddb-lease timeline`: the picture's data, its legend, and the same as tables. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, Final

from ddb_lease.cli.formatting import printable, shown
from ddb_lease.cli.seeing import pages
from ddb_lease.cli.seeing.history import BucketHistory, Hold
from ddb_lease.cli.seeing.stamps import stamp

MOST_ROWS: Final = 1_000
"""Leases in the table beneath the picture; the picture has all."""

_LEAST_SECONDS: Final = 1.0
_SUMMARY: Final = (
    *("Bucket", "Tokens", "Leases", "Held, median", "Held, longest"),
    *("Waits", "Waited, median", "Waited, longest", "Lost or expired", "Revoked"),
)
_LEASES: Final = ("Bucket", "Slot", "Holder", "From (UTC)", "To (UTC)", "Held", "Ending", "Lease")
_ENDINGS: Final = {"gone": "ended between two reads", "open": "held at the end", "expired": "expired, not released"}


def span(found: Sequence[BucketHistory]) -> tuple[float, float]:
    """When the record begins and ends, in seconds since the epoch."""
    times = [time for bucket in found for time in _times(bucket)]
    return (min(times), max(times)) if times else (0.0, 0.0)


def _times(bucket: BucketHistory) -> Iterable[float]:
    for hold in bucket.holds:
        yield from (hold.start, hold.shown_end)
    for wait in bucket.waits:
        yield from (wait.start, wait.end)
    for outage in bucket.outages:
        yield from (outage.start, outage.end)
    yield from (mark.at for mark in bucket.marks)


def timeline_page(found: Sequence[BucketHistory], *, source: str) -> str:
    """The whole page.

    Args:
        found: What the lines told.
        source: What was read, for people.
    """
    names = ", ".join(printable(bucket.name) for bucket in found[:3]) + (", …" if len(found) > 3 else "")  # noqa: PLR2004
    title = f"Timeline of {names}"
    start, end = span(found)
    told = f"{_clock(start)} to {_clock(end)} UTC, {shown(end - start)}. {source}"
    body = f"""<main>
<header><h1>{pages.escaped(title)}</h1><p class="soft">{pages.escaped(told)}</p></header>
<noscript><p class="bad">The picture needs JavaScript. The tables below say the same.</p></noscript>
<div id="tools" role="toolbar" aria-label="Zoom">
<button id="in" aria-label="Zoom in" title="Zoom in: +">+</button>
<button id="out" aria-label="Zoom out" title="Zoom out: -">&minus;</button>
<button id="all" title="Show all: 0">All</button>
<button id="earlier" aria-label="Earlier" title="Earlier: left arrow">&lsaquo;</button>
<button id="later" aria-label="Later" title="Later: right arrow">&rsaquo;</button>
<span id="range" class="soft"></span>
</div>
<div id="chart" tabindex="0"><canvas role="img" aria-label="{pages.escaped(_aloud(found))}"></canvas>
<div id="spacer"></div></div>
<div id="about" role="status" hidden></div>
{pages.resource("legend.html")}
<section><h2>In numbers</h2>
{pages.table("Times are those of the machines that wrote the lines.", _SUMMARY, summary(found), numbers=_SUMMARY[1:])}
</section>
{_troubles(found)}
{_all_leases(found)}
</main>
{pages.data("told", payload(found))}"""
    return pages.page(title=title, body=body, styles=("common.css", "timeline.css"), script="timeline.js")


def payload(found: Sequence[BucketHistory]) -> dict[str, Any]:
    """The picture's data; times are seconds from its beginning."""
    start, end = span(found)
    owners: dict[str, int] = {}
    everybody = [(hold.start, hold.owner) for bucket in found for hold in bucket.holds]
    everybody += [(wait.start, wait.owner) for bucket in found for wait in bucket.waits]
    for _, owner in sorted(everybody):
        owners.setdefault(owner, len(owners))

    def at(time: float) -> float:
        return round(time - start, 3)

    def of(bucket: BucketHistory) -> dict[str, Any]:
        slots: dict[int, list[Any]] = {}
        for hold in bucket.holds:
            revoked = None if hold.revoked_at is None else at(hold.revoked_at)
            slots.setdefault(hold.slot, []).append(
                [
                    *(at(hold.start), at(hold.shown_end), owners[hold.owner], hold.ending, hold.fence),
                    *(round(hold.uncertain, 3), revoked, printable(hold.reason), printable(_short(hold))),
                ]
            )
        return {
            "name": printable(bucket.name),
            "max": bucket.max_tokens,
            "slots": sorted(slots.items()),
            "waits": [
                [at(one.start), at(max(one.start, one.end)), owners[one.owner], one.outcome] for one in bucket.waits
            ],
            "marks": [[at(one.at), one.kind, printable(one.text)] for one in bucket.marks],
            "outages": [[at(one.start), at(one.end), printable(one.message)] for one in bucket.outages],
        }

    return {
        "start": start,
        "length": round(max(end - start, _LEAST_SECONDS), 3),
        "owners": [printable(owner) for owner in owners],
        "buckets": [of(bucket) for bucket in found],
    }


def summary(found: Sequence[BucketHistory]) -> list[tuple[str, ...]]:
    """A row of figures for each bucket."""
    rows: list[tuple[str, ...]] = []
    for bucket in found:
        held = [hold.shown_end - hold.start for hold in bucket.holds]
        waited = [wait.end - wait.start for wait in bucket.waits]
        lost = ", ".join(f"{number} {printable(reason)}" for reason, number in sorted(bucket.lost.items()))
        rows.append(
            (
                printable(bucket.name),
                "" if bucket.max_tokens is None else str(bucket.max_tokens),
                f"{len({hold.lease_id for hold in bucket.holds}):,}",
                shown(median(held)) if held else "",
                shown(max(held)) if held else "",
                f"{len(waited):,}",
                shown(median(waited)) if waited else "",
                shown(max(waited)) if waited else "",
                lost or "0",
                str(bucket.revoked),
            )
        )
    return rows


def _aloud(found: Sequence[BucketHistory]) -> str:
    parts = [f"{row[0]}: {row[2]} leases, {row[5]} waits, lost {row[8]}, revoked {row[9]}" for row in summary(found)]
    return f"Who held which slot when. {'; '.join(parts[:5])}. The tables below say the same."


def _troubles(found: Sequence[BucketHistory]) -> str:
    rows = [
        (bucket, hold)
        for bucket in found
        for hold in bucket.holds
        if hold.ending in {"lost", "expired"} or hold.revoked_at is not None
    ]
    outages = [(printable(bucket.name), one) for bucket in found for one in bucket.outages]
    if not rows and not outages:
        return "<section><h2>Losses and revocations</h2><p>None.</p></section>"
    parts = [pages.table(_first(rows, "leases"), _LEASES, [_row(*row) for row in rows[:MOST_ROWS]])] if rows else []
    if outages:
        lines = [(name, _clock(one.start), shown(one.end - one.start), printable(one.message)) for name, one in outages]
        head = ("Bucket", "From (UTC)", "For", "Message")
        parts.append(pages.table(_first(outages, "outages"), head, lines[:MOST_ROWS]))
    return f"<section><h2>Losses and revocations</h2>{''.join(parts)}</section>"


def _all_leases(found: Sequence[BucketHistory]) -> str:
    rows = sorted(((hold.start, bucket, hold) for bucket in found for hold in bucket.holds), key=lambda row: row[0])
    text = pages.table(_first(rows, "leases"), _LEASES, [_row(bucket, hold) for _, bucket, hold in rows[:MOST_ROWS]])
    return f"<details><summary>Every lease as a table</summary>{text}</details>"


def _first(rows: Sequence[object], what: str) -> str:
    if len(rows) == 1:
        return f"1 {what.removesuffix('s')}"
    return f"{len(rows):,} {what}" if len(rows) <= MOST_ROWS else f"The first {MOST_ROWS:,} of {len(rows):,} {what}"


def _row(bucket: BucketHistory, hold: Hold) -> tuple[str, ...]:
    ending = _ENDINGS.get(hold.ending, hold.ending) + (f" ({hold.reason})" if hold.reason else "")
    if hold.revoked_at is not None:
        ending += ", revoked"
    return (
        printable(bucket.name),
        str(hold.slot),
        printable(hold.owner),
        _clock(hold.start),
        _clock(hold.shown_end),
        shown(hold.shown_end - hold.start),
        printable(ending),
        printable(_short(hold)),
    )


def _short(hold: Hold) -> str:
    head, dash, tail = hold.lease_id.partition("-")
    return f"{head}{dash}{tail[:8]}"


def _clock(time: float) -> str:
    return stamp(time).replace("T", " ").rstrip("Z")
