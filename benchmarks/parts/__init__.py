"""Parts: one question each. Every part has `run(company, tick)`, which returns plain values for JSON.

`tick` is called with the done share of the part's work, from 0.0 to 1.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Tick: TypeAlias = Callable[[float], None]
