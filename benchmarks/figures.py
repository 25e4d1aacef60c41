"""Figures: statistics of many measurements."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile (nearest rank); NaN if there are no values."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, p95 and p99 in milliseconds, and of how many."""
    return {
        "rounds": len(seconds),
        "median_ms": quantile(seconds, 0.5) * 1e3,
        "p95_ms": quantile(seconds, 0.95) * 1e3,
        "p99_ms": quantile(seconds, 0.99) * 1e3,
    }


def ratio(ours: Sequence[float], floor: Sequence[float]) -> float:
    """The median of the ratios of adjacent rounds: a slow drift of the machine affects both alike."""
    return statistics.median(a / b for a, b in zip(ours, floor, strict=True))
