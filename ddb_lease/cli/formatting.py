"""Reading durations, rates and pairs from the command line, and writing text and seconds for people. Pure."""

from __future__ import annotations

import argparse
import math
import re
import textwrap
from collections.abc import Callable, Collection, Sequence
from typing import Final

from ddb_lease._numbers import duration_text

_UNITS: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_PLAIN: Final = re.compile(rf"{_NUMBER}\Z", re.ASCII)
# Each unit once, the larger ones first: what is in another order is a slip of the fingers.
_DURATION: Final = re.compile(
    r"(?=\d)" + r"\s*".join(rf"(?:{_NUMBER}\s*{unit}(?![a-z]))?" for unit in _UNITS if unit) + r"\Z", re.ASCII
)
_SIGNED: Final = re.compile(r"[+-]\s*\d", re.ASCII)
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*((?:\d+(?:\.\d+)?\s*)?(?:ms|s|m|h|d))\Z", re.ASCII)
_LIMIT: Final = re.compile(r"([^=,\s]+)=([^=,]+?)(?:\s*,\s*burst\s*=\s*([^=,\s]+))?\Z", re.ASCII)
_BURST: Final = re.compile(r"\d{1,15}\Z", re.ASCII)
_DURATIONS: Final = "90, 250ms, 30s, 1m30s, 10m, 2h or 1d"
shown: Final = duration_text


def duration(text: str) -> float:
    """Seconds from `90`, `30s`, `10m`, `1m30s`, `2h`, `1d`, `250ms`.

    Raises:
        argparse.ArgumentTypeError: The text is none of these.
    """
    text = text.strip()
    if _SIGNED.match(text) and text.startswith("-"):
        raise argparse.ArgumentTypeError(f"{text!r} is negative; a duration is 0 or more, as in {_DURATIONS}")
    plain = _PLAIN.match(text)
    parts = None if plain else _DURATION.match(text)
    seconds = math.inf
    if plain:
        seconds = float(plain.group(1))
    elif parts:
        given = zip(parts.groups(), _UNITS.values(), strict=False)
        seconds = sum(float(number) * unit for number, unit in given if number)
    if math.isinf(seconds):  # a number with too many digits becomes infinite, and is refused too
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write {_DURATIONS}")
    return seconds


def rate(text: str) -> tuple[float, float]:
    """Permits and seconds from `100/s`, `10/m`, `5/h`, `3/2.5s`.

    Raises:
        argparse.ArgumentTypeError: The text is none of these.
    """
    match = _RATE.match(text.strip())
    try:
        permits = float(match.group(1)) if match else 0.0
        per = match.group(2) if match else ""
        seconds = duration(per if per[:1].isdigit() else f"1{per}")
    except argparse.ArgumentTypeError:
        permits = seconds = 0.0
    if not (0 < permits < math.inf and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate; write 100/s, 10/m, 5/h or 3/2.5s")
    return permits, seconds


def limit(text: str) -> tuple[str, tuple[float, float], int | None]:
    """A limit's name, its rate, and its burst, from `tokens=90000/m` or `tokens=90000/m,burst=500`.

    Raises:
        argparse.ArgumentTypeError: The text is none of these.
    """
    match = _LIMIT.match(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a limit; write tokens=90000/m or tokens=90000/m,burst=500")
    name, of, burst = match.groups()
    if burst is not None and not _BURST.match(burst):
        raise argparse.ArgumentTypeError(f"{text!r}: the burst must be a whole number from 1 up, not {burst}")
    return name, rate(of), None if burst is None else int(burst)


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers from `least` to `most`, or up; it raises ArgumentTypeError for all else."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            to = "up" if most is None else f"to {most:,}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} {to}")
        return number

    return read


def pair(text: str) -> tuple[str, str]:
    """Key and value from `KEY=VALUE`.

    Raises:
        argparse.ArgumentTypeError: There is no `=`, or nothing before it.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key, value


def exit_code(text: str) -> int:
    """An exit code from 0 to 255.

    Raises:
        argparse.ArgumentTypeError: The text is not such a number.
    """
    if not text.isascii() or not text.isdigit() or int(text) > 255:  # noqa: PLR2004 - what a process can exit with
        raise argparse.ArgumentTypeError(f"{text!r} is not an exit code (0 to 255)")
    return int(text)


def paragraph(text: str) -> str:
    """Wrap a text for a help page whose layout argparse leaves alone."""
    return textwrap.fill(text, width=79)


def printable(text: str) -> str:
    """Make a text safe for a terminal: what others wrote must not move the reader's cursor."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def table(rows: Sequence[Sequence[str]], *, right: Collection[str]) -> list[str]:
    """Rows as lines with aligned columns.

    Args:
        rows: The first is the head.
        right: The columns that are aligned to the right, by their heads.
    """
    head = rows[0]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
