"""Fairness among processes: when one that takes the same slots over and over lets others have them.

A waiter of a full bucket writes nothing and looks about once a second, so nobody sees it. A process that releases and
claims anew within a round trip would keep such waiters out for ever. So a process takes turns: after a while of
uninterrupted use it makes a break before it claims again. The break is a small share of that while if the process seems
to be alone, and about a poll's time if it has met others lately. A process that leaves a slot free by itself for a
moment owes no break.

Invariants: no clock and no chance of its own. Threads share it without a lock: in a race two breaks are drawn, and the
later one counts.
"""

from __future__ import annotations

import math
from random import Random

from ddb_lease._protocol.retry import LONGEST_POLL_SECONDS

TURN_SECONDS = 1.0
"""How long a process goes on without a break, where it has slots back to back. As long as a poll: the more waiters
there are, the sooner one of them looks."""

TURN_CLAIMS = 8
"""How many slots it has at least, back to back, while it seems to be alone: so most of its own waiters wait for no
break, however long each holds a slot."""

SHARE = 0.1
"""The longest break of a process that seems to be alone, as a share of its turn: on average a twentieth of its time.
In return each waiter has as many chances to find the slot free, and to be met from then on."""

MOMENT_SECONDS = 0.1
"""A slot that was free for as long was there for others to take: that counts as a break."""

MET_SECONDS = 30.0
"""How long others that were met are taken to be still there."""


class Fairness:
    """One process's use of one bucket."""

    def __init__(self) -> None:
        self._began = -math.inf
        self._claims = 0
        self._released_at = -math.inf
        self._met_at = -math.inf
        self._quiet_until = -math.inf

    def met_others(self, now: float) -> None:
        """Somebody else has a lease, or was faster."""
        self._met_at = now

    def released(self, now: float) -> None:
        """A slot was given back."""
        self._released_at = now

    def won(self, now: float) -> None:
        """A slot was claimed."""
        if now - self._released_at > MOMENT_SECONDS:
            self.restart(now)
        self._claims += 1

    def restart(self, now: float) -> None:
        """Begin anew: nobody was kept from anything."""
        self._began, self._claims = now, 0

    def quiet_for(self, now: float) -> float:
        """Seconds that the break under way still lasts, for the whole process; 0.0 where there is none."""
        return max(0.0, self._quiet_until - now)

    def owes_break(self, now: float) -> bool:
        """Whether a break is under way, or this process has had its turn."""
        return now < self._quiet_until or self.over(now)

    def over(self, now: float) -> bool:
        """Whether this process has had its turn, of a slot that it would have back to back."""
        if now - self._released_at > MOMENT_SECONDS or now - self._began < TURN_SECONDS:
            return False
        return self._met(now) or self._claims >= TURN_CLAIMS

    def draw_break(self, now: float, chance: Random) -> float:
        """Begin a break; returns how many seconds it lasts."""
        longest = LONGEST_POLL_SECONDS
        if not self._met(now):
            longest = min(longest, SHARE * (now - self._began))
        pause = chance.uniform(0.0, longest)
        self._quiet_until = now + pause
        self.restart(now + pause)
        return pause

    def _met(self, now: float) -> bool:
        return now - self._met_at < MET_SECONDS
