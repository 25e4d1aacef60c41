"""Rates: what a permit costs, beside zae-limiter, and what issue 20 promises of rates, measured."""

from __future__ import annotations

from typing import Any

from benchmarks.company import Company
from benchmarks.parts import Tick
from benchmarks.parts.rates import alone, beside, limits, making, sharing

SECONDS, QUICK_SECONDS = 60.0, 10.0


def run(company: Company, tick: Tick, *, quick: bool = False) -> dict[str, Any]:
    """All measures; `quick`: over ten seconds in place of sixty."""
    seconds = QUICK_SECONDS if quick else SECONDS
    done = 0.0

    def stretch(share: float) -> Tick:
        nonlocal done
        before, done = done, done + share
        return lambda part: tick(before + share * part)

    return {
        **beside.run(company, stretch(0.05)),
        "seconds": seconds,
        "sharing": sharing.share(company, stretch(0.7), seconds=seconds),
        "order": sharing.order(company, stretch(0.06), seconds=min(20.0, seconds)),
        "alone": alone.excess(company, stretch(0.1), seconds=min(20.0, seconds)),
        "threads": alone.threads(company, stretch(0.04), seconds=5.0),
        "denial": alone.denial(company, stretch(0.01)),
        "making": making.run(company, stretch(0.02)),
        "limits": limits.run(company, stretch(0.02)),
    }
