"""Telling: what is logged about the requests of one bucket, or of one rate.

Invariants:

- An outage is told when it begins and when it ends; each kind of failure that this process raised itself is told once,
  at once. The many failures in between say nothing.
- One failure among answers is no outage: it begins with a request that was sent after the last answer, and lasts for a
  while without any.
- `Outage` decides nothing for a request. Threads share it without a lock: each step is atomic, and a race costs a
  moment's delay at most.
- It shows no value of a request or an answer: these are the user's data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ddb_lease._protocol.messages import Rejected, Reply, Request, ThrottledAnswer, Unknown, Unsent
from ddb_lease._protocol.outcomes import reason_text
from ddb_lease._state.log import queued as _log
from ddb_lease.events import ThrottledBy

TOLD_AFTER_SECONDS: Final = 1.0
"""How long nothing is answered before it is told: a few tries."""

_MOST_KINDS: Final = 8
"""Kinds of failures raised here that are told of one bucket: enough to find the fault, no matter how often it comes."""


_ADVICE: Final[dict[ThrottledBy, str]] = {
    "key range": " (one key range is hot: many leases or permits a second in one bucket or key)",
    "table": " (the cap or the provisioned capacity of the table is reached)",
    "account": " (the account's quota in this region is reached)",
    "unknown": "",
}
"""What to add where a request is throttled: what throttles it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An outage that was told has ended, after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Nothing has been answered for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Meanwhile:
    """How it is decided in an outage.

    Attributes:
        text: What to add to the message.
        after: How long nothing is answered before it is told, in seconds.
    """

    text: str
    after: float


class Outage:
    """Notes failures and answers.

    Args:
        told_after: How long nothing is answered before it is told, in seconds.
    """

    def __init__(self, told_after: float = TOLD_AFTER_SECONDS) -> None:
        self._told_after = told_after
        self._answered_at = -math.inf
        self._since: float | None = None
        # One of the two holds one entry: who takes it out tells.
        self._untold: list[None] = [None]
        self._told: list[float] = []

    def failed(self, *, sent: float, now: float) -> Begun | None:
        """A request had no usable answer; returns what is to be told, if it is."""
        if sent < self._answered_at:
            return None  # others were answered meanwhile
        since = self._since
        if since is None:
            self._since = since = sent
        if now - since < self._told_after or not self._untold:
            return None
        try:
            self._untold.pop()
        except IndexError:
            return None  # another thread tells
        self._told.append(since)
        return Begun(seconds=now - since)

    def answered(self, now: float) -> Ended | None:
        """A request was answered; returns what is to be told, if it is."""
        self._answered_at = max(self._answered_at, now)  # threads may come in another order
        if self._since is None and not self._told:  # one may be told just as another thread ends it
            return None
        self._since = None
        try:
            began = self._told.pop()
        except IndexError:
            return None
        self._untold.append(None)
        return Ended(seconds=now - began)


class Telling:
    """Notes each request and its answer, and logs what a person should know.

    Args:
        whose: Whose requests these are: ``bucket 'nightly'``.
        meanwhile: How it is decided in an outage; None: requests wait.
    """

    def __init__(self, whose: str, meanwhile: Meanwhile | None = None) -> None:
        self._whose = whose
        self._meanwhile = "" if meanwhile is None else meanwhile.text
        self._outage = Outage(TOLD_AFTER_SECONDS if meanwhile is None else meanwhile.after)
        self._kinds: set[type[Exception]] = set()

    def note(self, request: Request, reply: Reply, *, sent: float, now: float) -> None:
        """Note what came of a request.

        Args:
            request: What was sent.
            reply: What came back.
            sent: When it was sent, on the steady clock.
            now: When it came back, on the steady clock.
        """
        answer = reply.answer
        if _log.shows_debug():
            _log.debug("%s: %s, %s, %.0f ms", self._whose, _name(request), _name(answer), (now - sent) * 1000)
        match answer:
            case Unknown(raised_here=True):
                self._raised_here(request, answer.cause)
            case Unknown() | Unsent() | ThrottledAnswer():
                begun = self._outage.failed(sent=sent, now=now)
                if begun is not None:
                    cause = reason_text(answer.cause)
                    if isinstance(answer, ThrottledAnswer):
                        cause += _ADVICE[answer.limit]
                    _log.warning(
                        "%s: no answer from DynamoDB for %.1f s, trying again: %s%s",
                        self._whose,
                        begun.seconds,
                        cause,
                        self._meanwhile,
                    )
            case Rejected() if not reply.genuine:
                pass  # nobody knows whether the service answers
            case _:
                ended = self._outage.answered(now)
                if ended is not None:
                    _log.info("%s: DynamoDB answers again, after %.1f s", self._whose, ended.seconds)

    def _raised_here(self, request: Request, cause: Exception) -> None:
        kind = type(cause)
        if kind in self._kinds or len(self._kinds) >= _MOST_KINDS:
            return
        self._kinds.add(kind)
        _log.error(
            "%s: %s failed within this process, not on the network: %s; later failures of this kind are not logged",
            self._whose,
            _name(request),
            reason_text(cause),
            exc_info=cause,
        )


def _name(value: object) -> str:
    return type(value).__name__
