"""Memory of successful transactions, for `ClientRequestToken`.

Laws: only successes are remembered, for ten minutes; memory is bounded; no I/O, no clock, no threads.

Source: TransactWriteItems in the DynamoDB API reference. "A client request token is valid for 10 minutes
after the first request that uses it is completed."
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

VALID_S = 600.0
"""How long a token protects: DynamoDB's ten minutes."""

MAX_TOKENS = 50_000
"""Above this the oldest is forgotten early: about 40 MB, and more than moto can commit in ten minutes."""

# These say what to report, not what to do: DynamoDB lets them differ between the tries.
_NOT_COMPARED = frozenset({"ClientRequestToken", "ReturnConsumedCapacity", "ReturnItemCollectionMetrics"})

AnswerT = TypeVar("AnswerT")


class Verdict(Enum):
    """What a token says about a request, where there is no recorded answer."""

    NEW = "new"
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record(Generic[AnswerT]):
    digest: bytes
    answer: AnswerT
    completed_at_s: float


def digest(parameters: Mapping[str, object]) -> bytes:
    """A fingerprint of everything that a transaction does, blind to the order of its keys."""
    compared = {name: value for name, value in parameters.items() if name not in _NOT_COMPARED}
    return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).digest()


class TokenLedger(Generic[AnswerT]):
    """The answers of recent transactions by token. Not thread-safe: the caller's lock guards it."""

    def __init__(self, *, max_tokens: int = MAX_TOKENS) -> None:
        self._max_tokens = max_tokens
        # In the order of completion, so that the expired and the oldest are at the front.
        self._records: OrderedDict[str, _Record[AnswerT]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def look_up(self, token: str, parameters: Mapping[str, object], *, now_s: float) -> AnswerT | Verdict:
        """The recorded answer if this very request succeeded before, or else what to do with it."""
        self._forget_expired(now_s)
        record = self._records.get(token)
        if record is None:
            return Verdict.NEW
        return record.answer if record.digest == digest(parameters) else Verdict.MISMATCH

    def record(self, token: str, parameters: Mapping[str, object], answer: AnswerT, *, now_s: float) -> None:
        """Remember a success. Cancelled transactions must not be given: they may be tried again."""
        self._records[token] = _Record(digest=digest(parameters), answer=answer, completed_at_s=now_s)
        while len(self._records) > self._max_tokens:
            self._records.popitem(last=False)

    def _forget_expired(self, now_s: float) -> None:
        while self._records:
            oldest = next(iter(self._records.values()))
            if now_s - oldest.completed_at_s < VALID_S:
                return
            self._records.popitem(last=False)
