"""What `ddb-lease top` draws: a picture as lines of a terminal, what matters first. Imports rich; no I/O.

Invariants:

- It fills the width and height that it is given, and no more: what does not fit is counted.
- Colour is never the only sign, as there may be none, or none that the reader can tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Final

from rich.text import Text

from ddb_lease._protocol.listing import BucketListing, RateListing
from ddb_lease.cli import rate_output
from ddb_lease.cli.fitting import columns_of, cut, shortened
from ddb_lease.cli.formatting import printable, shown
from ddb_lease.cli.seeing.ls import by_pressure, cost_of
from ddb_lease.cli.seeing.watching import Picture
from ddb_lease.models import LeaseInfo, Waiter

_LATE: Final = 3  # intervals
_WIDE: Final = 70
_NARROW: Final = 50
_TALL: Final = 10
_HOLDERS: Final = 8
"""Holders of a bucket among several; of one alone, as many as there is room for."""

_BAR, _FREE, _PLAIN_BAR, _PLAIN_FREE = "█", "░", "#", "."
_USED, _SOFT, _BAD, _WAIT = "bright_blue", "dim", "bold bright_red", "bold bright_magenta"
_FULL, _FULL_BAR = "bold", "yellow"


def drawn(picture: Picture, *, width: int, height: int, interval: float, plain: bool = False) -> Text:
    """The picture in so many columns and rows.

    Args:
        picture: What was seen.
        width: Columns.
        height: Rows.
        interval: Seconds between two looks.
        plain: Without characters beyond ASCII.
    """
    lines = [_crop(line, width) for line in _lines(picture, width, height, interval, plain=plain)]
    if len(lines) > height:
        left = len(lines) - height + 1
        lines = [*lines[: height - 1], Text(cut(f"and {left} more lines", width), style=_SOFT)]
    return Text("\n").join(lines)


def _lines(picture: Picture, width: int, height: int, interval: float, *, plain: bool) -> Iterator[Text]:
    listing = picture.listing
    age, late = picture.age_seconds, picture.age_seconds > _LATE * interval + 1
    cost = f", {cost_of(listing)}" if listing.read_units is not None else ""
    head = Text().append(printable(listing.table), style="bold")
    head.append(f"  {'now' if age < interval + 1 else shown(age) + ' ago'}, every {interval:g}s{cost}", style=_SOFT)
    ends = "q ends"
    space = width - columns_of(head.plain) - len(ends)
    yield head.append(" " * space + ends, style=_SOFT) if space > 1 else head
    if picture.error or late:
        said = picture.error or "nothing new has come"
        yield Text(cut(f"{said}", width), style=_BAD)
        yield Text(cut(f"the picture below is {shown(age)} old", width), style=_BAD)
    yield Text("")
    buckets = by_pressure(listing.buckets)
    if not buckets and not listing.rates:
        yield Text("no bucket and no rate is here yet", style=_SOFT)
    alone = len(buckets) == 1 and not listing.rates
    counts = max((len(_count(bucket)) for bucket in buckets), default=0)
    if buckets and height >= _TALL:
        yield _heads(width, counts, waiting=any(bucket.order == "fifo" for bucket in buckets))
    for bucket in buckets:
        yield _bucket(bucket, width, counts, plain=plain)
        most = height if alone else 0 if listing.read_units is not None else _HOLDERS
        yield from _inside(bucket, width, most)
    if listing.rates:
        yield Text("")
    for rate in listing.rates:
        yield _rate(rate, width, plain=plain)


def _count(bucket: BucketListing) -> str:
    return f"{bucket.used} of {bucket.max_tokens}"


def _heads(width: int, counts: int, *, waiting: bool) -> Text:
    bar = " " * (_bar_columns(width) + 1) if width >= _NARROW else ""
    waits = " WAITING" if waiting else "        "
    text = f"{_left('BUCKET', _name_columns(width)).plain}{'LEASED':>{counts}} {bar}{waits}"
    return Text(f"{text}  OLDEST HOLDER" if width >= _WIDE else text.rstrip(), style=_SOFT)


def _name_columns(width: int) -> int:
    return max(10, width // 4)


def _bar_columns(width: int) -> int:
    return max(8, width // 5)


def _bucket(bucket: BucketListing, width: int, counts: int, *, plain: bool) -> Text:
    """Its name, how full it is, who waits, and its oldest holder, as far as there is room."""
    full = bucket.used >= bucket.max_tokens
    text = _left(printable(bucket.name), _name_columns(width), style="bold")
    text.append(f"{_count(bucket):>{counts}} ", style=_FULL if full else "")
    if width >= _NARROW:
        text.append_text(_bar(bucket.used, bucket.max_tokens, _bar_columns(width), full=full, plain=plain)).append(" ")
    text.append(f"{bucket.waiting or '':>8}", style=_WAIT)
    oldest = bucket.oldest
    if bucket.kind == "window":
        text.append("  a window", style=_SOFT)
    elif oldest is not None and width >= _WIDE:
        age = f", {shown(oldest.age_seconds)}"
        room = width - columns_of(text.plain) - len(age) - 2
        text.append(f"  {shortened(printable(oldest.owner), max(1, room))}{age}", style=_SOFT)
    return text


def _inside(bucket: BucketListing, width: int, most: int) -> Iterator[Text]:
    """Its holders and its queue."""
    leases = sorted(bucket.leases, key=lambda lease: (lease.expired, -lease.age_seconds))
    for lease in leases[:most]:
        yield _holder(lease, width)
    if most and len(leases) > most:
        yield Text(f"       and {len(leases) - most} more", style=_SOFT)
    for waiter in bucket.queue[:most]:
        yield _waiter(waiter, width)
    if most and bucket.waiting > min(most, len(bucket.queue)):
        yield Text(f"       and {bucket.waiting - min(most, len(bucket.queue))} more wait", style=_SOFT)


def _holder(lease: LeaseInfo, width: int) -> Text:
    left = "expired" if lease.expired else f"{shown(lease.remaining_seconds)} left"
    words = (("revoked", lease.revoked), ("retired", lease.retired), ("closed", lease.closed))
    marks = "".join(f", {word}" for word, on in words if on)
    end = f"{shown(lease.age_seconds):>8}  {left}{marks}"
    text = Text(f"{lease.slot:>6} ")
    text.append_text(_left(printable(lease.owner), max(8, width - 7 - len(end) - 1)))
    return text.append(end, style=_BAD if lease.expired or lease.revoked else _SOFT)


def _waiter(waiter: Waiter, width: int) -> Text:
    waited = shown(max(0.0, (datetime.now(timezone.utc) - waiter.since).total_seconds()))
    wants = f", wants {waiter.count}" if waiter.count > 1 else ""
    end = f"waits {waited}{wants}, priority {waiter.priority}"
    text = Text().append(f"{waiter.place:>5}. ", style=_WAIT)
    text.append_text(_left(printable(waiter.owner), max(8, width - 7 - len(end) - 1), style=""))
    return text.append(end, style=_SOFT)


def _rate(rate: RateListing, width: int, *, plain: bool) -> Text:
    text = _left(printable(rate.name), _name_columns(width), style="bold")
    burst = min((limit.burst or 1 for limit in rate.limits.values()), default=1)
    notes = [printable(rate_output.limits_text(rate.limits))]
    if rate.available is not None:
        none = rate.available == 0
        text.append(f"{rate.available} of {burst} left ", style=_FULL if none else "")
        if width >= _NARROW:
            text.append_text(_bar(rate.available, burst, _bar_columns(width), full=none, plain=plain))
    else:
        notes.insert(0, f"{rate.keys:,} keys")
    if rate.blocked:
        text.append(f" {rate.blocked:,} blocked" if rate.keys else " blocked", style=_BAD)
    return text.append(f"  {'; '.join(notes)}", style=_SOFT)


def _bar(part: int, whole: int, columns: int, *, full: bool, plain: bool) -> Text:
    filled = min(columns, -(-part * columns // max(1, whole)))
    bar, free = (_PLAIN_BAR, _PLAIN_FREE) if plain else (_BAR, _FREE)
    return (
        Text().append(bar * filled, style=_FULL_BAR if full else _USED).append(free * (columns - filled), style=_SOFT)
    )


def _left(text: str, columns: int, *, style: str = "") -> Text:
    short = shortened(text, columns - 1)
    return Text().append(short + " " * (columns - columns_of(short)), style=style)


def _crop(line: Text, width: int) -> Text:
    line.no_wrap = True
    if columns_of(line.plain) > width:
        line.truncate(width, overflow="ellipsis")
    return line


def lines_of(text: Text) -> Sequence[str]:
    """The lines of a drawing, without its colours."""
    return text.plain.split("\n")
