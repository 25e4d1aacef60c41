"""How messages name a bucket and its slots: a window is a bucket too, whose users know windows and permits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of one kind of bucket.

    Attributes:
        whole: What its users call it.
        part: What they call one of its slots.
    """

    whole: str
    part: str


BUCKET: Final = Words(whole="bucket", part="slot")
WINDOW: Final = Words(whole="window", part="permit")
