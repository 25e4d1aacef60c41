"""Records successful transactions by their `ClientRequestToken`.

Invariants: only successes are recorded, for ten minutes. Memory is bounded. No I/O, no clock, no threads.

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
"""How long a token is valid: ten minutes, as in DynamoDB."""

MAX_TOKENS = 50_000
"""The most records kept, about 40 MB; above it the oldest is dropped early. Moto commits fewer in ten minutes."""

# These choose what is reported, not what is done: DynamoDB lets them differ between tries.
_NOT_COMPARED = frozenset({"ClientRequestToken", "ReturnConsumedCapacity", "ReturnItemCollectionMetrics"})

AnswerT = TypeVar("AnswerT")


class Verdict(Enum):
    """The result of a look-up that found no response to repeat."""

    NEW = "new"
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record(Generic[AnswerT]):
    digest: bytes
    answer: AnswerT
    completed_at_s: float


def digest(parameters: Mapping[str, object]) -> bytes:
    """A fingerprint of everything that a transaction does, independent of the order of its keys."""
    compared = {name: value for name, value in parameters.items() if name not in _NOT_COMPARED}
    return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).digest()


class TokenLedger(Generic[AnswerT]):
    """The responses of recent transactions by token. Not thread-safe: the caller holds a lock."""

    def __init__(self, *, max_tokens: int = MAX_TOKENS) -> None:
        self._max_tokens = max_tokens
        # In order of completion, so that expired and oldest records are at the front.
        self._records: OrderedDict[str, _Record[AnswerT]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def look_up(self, token: str, parameters: Mapping[str, object], *, now_s: float) -> AnswerT | Verdict:
        """The recorded response if this same request succeeded before, else a verdict."""
        self._forget_expired(now_s)
        record = self._records.get(token)
        if record is None:
            return Verdict.NEW
        return record.answer if record.digest == digest(parameters) else Verdict.MISMATCH

    def record(self, token: str, parameters: Mapping[str, object], answer: AnswerT, *, now_s: float) -> None:
        """Record a success. Do not record a cancelled transaction: it may be tried again."""
        self._records[token] = _Record(digest=digest(parameters), answer=answer, completed_at_s=now_s)
        while len(self._records) > self._max_tokens:
            self._records.popitem(last=False)

    def _forget_expired(self, now_s: float) -> None:
        while self._records:
            oldest = next(iter(self._records.values()))
            if now_s - oldest.completed_at_s < VALID_S:
                return
            self._records.popitem(last=False)
