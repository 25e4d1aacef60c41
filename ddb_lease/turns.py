"""Turns: when a process that takes the same slots over and over lets others have them.

A waiter of a full bucket writes nothing and looks about once a second, so nobody sees it. Who releases and claims anew
within a round trip would keep such waiters out for ever. So a process takes turns: after a while of uninterrupted use
it keeps quiet before it claims again: for a small share of that while if it seems to be alone, and for about a poll's
time if others were met lately. A process that leaves a slot free by itself for a moment owes nobody anything, nor does
one that knows of another free slot.

Laws of this room: no clock and no chance of its own. Threads share it without a lock: a race makes two drafts of one
pause, and the later one counts.
"""

from __future__ import annotations

import math
from random import Random

from ddb_lease.retry import LONGEST_POLL_SECONDS

TURN_SECONDS = 1.0
"""How long a process goes on without a break, where it has slots back to back. As long as a poll: what all waiters
together need to come round is shorter, the more of them there are."""

TURN_CLAIMS = 8
"""How many slots it has at least, back to back, while it seems to be alone: most of its own waiters wait for no break,
however long each holds a slot."""

SHARE = 0.1
"""The longest break of one who seems to be alone, as a share of its turn: on average it costs a twentieth of its time.
For that, each waiter has as many chances to find the slot free, and to be met from then on."""

MOMENT_SECONDS = 0.1
"""A slot that was free for as long was there for others to take: that counts as a break."""

MET_SECONDS = 30.0
"""For how long others that were met are reckoned with."""


class Turn:
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

    def won(self, now: float, *, spare: bool) -> None:
        """A slot was claimed; `spare`: another one is known to be free."""
        if spare or now - self._released_at > MOMENT_SECONDS:
            self._began, self._claims = now, 0
        self._claims += 1

    def pause(self, now: float, chance: Random) -> float:
        """Seconds to keep quiet before claiming; 0.0 while the turn lasts, and where nobody was kept from anything."""
        if now < self._quiet_until:
            return self._quiet_until - now
        turn = now - self._began
        if now - self._released_at > MOMENT_SECONDS or turn < TURN_SECONDS:
            return 0.0
        longest = LONGEST_POLL_SECONDS
        if now - self._met_at >= MET_SECONDS:
            if self._claims < TURN_CLAIMS:
                return 0.0
            longest = min(longest, SHARE * turn)
        pause = chance.uniform(0.0, longest)
        self._quiet_until = self._began = now + pause
        self._claims = 0
        return pause
