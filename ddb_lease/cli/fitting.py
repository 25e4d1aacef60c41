"""Texts and tables that fit a number of terminal columns, whatever others wrote into them. Pure.

Invariant: columns are those that a terminal uses: two for a wide character, none for one that combines.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Final

PLAIN_COLUMNS: Final = 80
"""The width where there is no terminal to ask."""

_ELLIPSIS: Final = "…"
_BETWEEN: Final = 2


def columns_of(text: str) -> int:
    """How many columns a printable text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def shortened(text: str, most: int) -> str:
    """A text of at most so many columns, shortened in the middle: both ends of an owner tell whose it is."""
    if columns_of(text) <= most:
        return text
    tail = (most - 1) // 2
    end = _end(text, tail)
    return _beginning(text, max(0, most - 1 - columns_of(end))) + _ELLIPSIS + end if most > 1 else _ELLIPSIS[:most]


def cut(text: str, most: int) -> str:
    """A text of at most so many columns, cut at its end."""
    return text if columns_of(text) <= most else _beginning(text, most - 1) + _ELLIPSIS[: max(0, most)]


def wrapped(text: str, most: int) -> str:
    """A text in lines of at most so many columns; words that are longer than a line are shortened."""
    lines: list[str] = []
    for word in (shortened(word, most) for word in text.split(" ")):
        if lines and columns_of(lines[-1]) + 1 + columns_of(word) <= most:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def _beginning(text: str, most: int) -> str:
    at = used = 0
    while at < len(text) and used + _columns(text[at]) <= most:
        used += _columns(text[at])
        at += 1
    return text[:at]


def _end(text: str, most: int) -> str:
    at, used = len(text), 0
    while at > 0 and used + _columns(text[at - 1]) <= most:
        used += _columns(text[at - 1])
        at -= 1
    while at < len(text) and not _columns(text[at]):
        at += 1  # what combines with a character that is cut off
    return text[at:]


def fitted(
    rows: Sequence[Sequence[str]], *, right: Collection[str], squeezed: Mapping[str, int], width: int | None
) -> list[str]:
    """Rows as lines with aligned columns, in so many columns altogether.

    Args:
        rows: The first is the head.
        right: The columns that are aligned to the right, by their heads.
        squeezed: The columns that may be shortened, by their heads, in this order; each to so many columns at least.
        width: Columns of a line; None for as many as it takes. The last column is cut if nothing else helps.
    """
    head = rows[0]
    widths = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        excess = sum(widths) + _BETWEEN * (len(widths) - 1) - width
        for name, least in squeezed.items():
            at = head.index(name) if name in head else None
            if at is not None and excess > 0:
                taken = max(0, min(excess, widths[at] - max(least, columns_of(name))))
                widths[at] -= taken
                excess -= taken
    lines = []
    for row in rows:
        cells = [
            _cell(text if name not in squeezed else shortened(text, size), size, to_right=name in right)
            for name, text, size in zip(head, row, widths, strict=True)
        ]
        line = (" " * _BETWEEN).join(cells).rstrip()
        lines.append(line if width is None else cut(line, width))
    return lines


def _cell(text: str, size: int, *, to_right: bool) -> str:
    space = " " * (size - columns_of(text))
    return space + text if to_right else text + space
