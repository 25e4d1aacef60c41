"""A key's item in memory: charges and settlements, carried out as their messages say, without expressions.

It is written from the messages' docstrings, not from `dynamodb`: `tests/dynamodb/rates/test_model.py` holds the two
against each other.
"""

from __future__ import annotations

from dataclasses import replace

from ddb_lease._protocol.rates.messages import Charge, KeyRefused, KeyWritten, LimitCharge, LimitSettlement, Settle
from ddb_lease._protocol.rates.records import KeyState, LimitState

Answer = KeyWritten | KeyRefused


class Item:
    """One key's item.

    Attributes:
        state: None while there is no item.
        compares_held: Whether a charge compares `held` with the tolerance: without it, the envelope breaks.
        commits: How often each attempt was carried out.
    """

    def __init__(self, *, compares_held: bool = True) -> None:
        self.state: KeyState | None = None
        self.compares_held = compares_held
        self.commits: dict[str, int] = {}

    def execute(self, request: Charge | Settle) -> Answer:
        """Carry out one request."""
        after = self._charged(request) if isinstance(request, Charge) else self._settled(request)
        if after is None:
            return KeyRefused(state=self.state)
        self.state = after
        self.commits[request.attempt] = self.commits.get(request.attempt, 0) + 1
        return KeyWritten(state=after)

    def _charged(self, request: Charge) -> KeyState | None:
        before = self.state
        if before is None:
            if request.adopts or request.override_rev or request.hold_before is not None:
                return None
            before = KeyState(rev=request.rev)
        elif (before.rev < request.rev) is not request.adopts or before.rev > request.rev:
            return None
        hold = before.holds.get(request.process)
        if (
            before.blocked_until > request.due
            or before.override_rev != request.override_rev
            or before.lanes.get(request.lane) == request.attempt
            or (request.hold is not None and (hold.attempt if hold else None) != request.hold_before)
        ):
            return None
        limits = dict(before.limits)
        for part in request.limits:
            found = self._limit(part, limits.get(part.name), request)
            if found is None:
                return None
            if part.branch != "kept":
                limits[part.name] = found
        return replace(
            before,
            limits=limits,
            rev=request.rev,
            lanes=before.lanes | {request.lane: request.attempt},
            holds=before.holds if request.hold is None else before.holds | {request.process: request.hold},
        )

    def _limit(self, part: LimitCharge, found: LimitState | None, request: Charge) -> LimitState | None:
        tat, held, reach = (None, 0, 0) if found is None else (found.tat, found.held, found.reach)
        amount = part.charged + part.reserved
        has_room = not self.compares_held or held <= part.tolerance - amount
        end = request.due + request.horizon + part.tolerance
        if part.branch == "idle":
            if (tat is not None and tat >= request.due) or not has_room:
                return None
            after = request.due + part.charged
        elif part.branch == "busy":
            if tat is None or tat < request.due or reach + amount > end or not has_room:
                return None
            after = tat + part.charged
        elif part.branch == "cut":
            start = max(part.cut, request.due) if amount else part.cut
            if tat is None or tat <= part.cut or (amount and (not has_room or start + held + amount > end)):
                return None
            after = start + part.charged
        else:
            return None if tat is not None and tat > part.cut else LimitState(tat=0, reach=0)
        return LimitState(tat=after, held=held + part.reserved, reach=after + held + part.reserved)

    def _settled(self, request: Settle) -> KeyState | None:
        before = self.state
        hold = None if before is None else before.holds.get(request.process)
        if before is None or hold is None or hold.attempt != request.hold_before:
            return None
        if request.ttl is not None and before.override:
            return None
        limits = dict(before.limits)
        for part in request.limits:
            found = _limit_settled(part, limits.get(part.name), request.now)
            if found is None:
                return None
            limits[part.name] = found
        holds = dict(before.holds)
        if request.hold is None:
            del holds[request.process]
        else:
            holds[request.process] = request.hold
        return replace(before, limits=limits, lanes=before.lanes | {request.lane: request.attempt}, holds=holds)


def _limit_settled(part: LimitSettlement, found: LimitState | None, now: int) -> LimitState | None:
    if found is None or found.held < part.held or (found.tat < now) is not part.idle:
        return None
    tat, held = (now if part.idle else found.tat) + part.used, found.held - part.held
    return LimitState(tat=tat, held=held, reach=tat + held)
