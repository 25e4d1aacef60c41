"""One goal: what is measured, and the bound that it must keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One goal.

    Attributes:
        measure: What is measured.
        bound: What it must not exceed, or must reach if `at_least`.
        figure: Gets it from the results of the parts; None if the library has no such thing yet.
        unit: Printed after it.
    """

    measure: str
    bound: float
    figure: Callable[[Mapping[str, Any]], float | None]
    unit: str = ""
    at_least: bool = False

    def met(self, figure: float | None) -> bool:
        """Whether a figure meets the goal; a NaN does not, and neither does None."""
        if figure is None:
            return False
        return figure >= self.bound if self.at_least else figure <= self.bound
