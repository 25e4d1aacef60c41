"""Fairness among processes: when a process that takes the same slots over and over leaves them to others.

A waiter of a full bucket writes nothing and looks about once a second, so nobody sees it. A process that releases and
claims again within a round trip would keep such waiters out for ever. So a process takes turns: after some time of
uninterrupted use it makes a break before it claims again. The break is a small part of that time if the process seems
to be alone, and about one poll interval if it has met other processes lately. A process that leaves a slot free for a
moment anyway needs no break.

Invariants: it has no clock and no randomness of its own. Threads share it without a lock: in a race two breaks are
drawn, and the later one counts.
"""

from __future__ import annotations

import math
from random import Random

from ddb_lease._protocol.retry import LONGEST_POLL_SECONDS

TURN_SECONDS = 1.0
"""How long a process that claims slots back to back continues without a break. As long as a poll interval: the more
waiters there are, the sooner one of them looks."""

TURN_CLAIMS = 8
"""The least number of back-to-back slots of a process that seems to be alone: so most of its own waiters wait for no
break, however long each holds a slot."""

SHARE = 0.1
"""The longest break of a process that seems to be alone, as a part of its turn: on average a twentieth of its time.
In return each waiter has as good a chance to find the slot free; once one did, this process knows of it."""

MOMENT_SECONDS = 0.1
"""If a slot was free for this long, others could have taken it: that counts as a break."""

MET_SECONDS = 30.0
"""How long we assume that another process is still there after we met it."""


class Fairness:
    """One process's use of one bucket."""

    def __init__(self) -> None:
        self._began = -math.inf
        self._claims = 0
        self._released_at = -math.inf
        self._met_at = -math.inf
        self._quiet_until = -math.inf

    def met_others(self, now: float) -> None:
        """Another process has a lease, or was faster."""
        self._met_at = now

    def released(self, now: float) -> None:
        """A slot was released."""
        self._released_at = now

    def won(self, now: float) -> None:
        """A slot was claimed."""
        if now - self._released_at > MOMENT_SECONDS:
            self.restart(now)
        self._claims += 1

    def restart(self, now: float) -> None:
        """Begin a new turn: the slots were free for others."""
        self._began, self._claims = now, 0

    def quiet_for(self, now: float) -> float:
        """Seconds until the current break ends, for the whole process; 0.0 if there is none."""
        return max(0.0, self._quiet_until - now)

    def owes_break(self, now: float) -> bool:
        """Whether a break lasts, or this process has had its turn."""
        return now < self._quiet_until or self.over(now)

    def over(self, now: float) -> bool:
        """Whether this process has had its turn, if it claims the slot back to back."""
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
