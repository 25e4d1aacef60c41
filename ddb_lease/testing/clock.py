"""A clock that stands still until a test moves it."""

from __future__ import annotations


class MovableClock:
    """A clock that tests move: steady and wall time, together or apart.

    For `Runtime.clock`, and for anything else that needs `steady` and `wall`. Moving it wakes nobody and renews
    nothing: `TestEnvironment.advance` does. All values are seconds.

    Args:
        steady: Where the steady clock starts.
        wall: Where the wall clock starts, in seconds since the epoch.

    Example:
        >>> clock = MovableClock(steady=5.0)
        >>> clock.pass_time(2.5)
        >>> clock.steady()
        7.5
    """

    def __init__(self, steady: float = 1_000.0, wall: float = 1_800_000_000.0) -> None:
        self._steady = steady
        self._wall = wall

    def steady(self) -> float:
        """Seconds since some fixed instant."""
        return self._steady

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self._wall

    def pass_time(self, seconds: float) -> None:
        """Time passes, for all clocks."""
        self._steady += seconds
        self._wall += seconds

    def step_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._wall += seconds

    def stand_still(self, seconds: float) -> None:
        """The machine is paused, and its steady clock misses the time; other clocks run on."""
        self._wall += seconds
