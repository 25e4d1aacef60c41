"""Counting hits: what the storage for `limits` does, request by request.

Invariants:

- A hit is one write where the window is as last seen. Where it is not, the refused write shows it as it is, and the
  next one fits, unless others were faster again.
- A hit whose answer was lost is sent again, and may be counted twice. It is never let in without having been counted.
- Time comes first: nothing is written by a time that no answer has told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ddb_lease._operations.resend import UNANSWERED, Answered, answer_of, require_answered, send_until
from ddb_lease._operations.sync_time import TIME_UNKNOWN, confirm, without_time
from ddb_lease._protocol.hits import (
    DropHits,
    FixedHits,
    HitsKey,
    HitsListed,
    HitsRead,
    HitsRefused,
    HitsRequest,
    HitsWritten,
    ListHits,
    ReadHits,
    SlideHits,
    SlidingHits,
    SlidingNow,
    hit,
    slide,
    sliding_now,
)
from ddb_lease._protocol.messages import Pause
from ddb_lease._protocol.outcomes import reason_text
from ddb_lease._protocol.rates.records import SHARDS
from ddb_lease._protocol.retry import CONTENDED_SECONDS, Operation, full_jitter
from ddb_lease._state.hits_memory import HitsMemory
from ddb_lease.errors import StoreUnavailable

SENDINGS: Final = 6
"""How often one request is sent until it is answered."""

AT_ONCE: Final = 3
"""Writes that are refused without a pause between: one shows the window, another that it has just ended or begun."""

PAGE: Final = 1_000
"""Items in one page of a listing: some 100 KB."""


def count_hits(memory: HitsMemory, key: HitsKey, *, n: int, seconds: int) -> Operation[FixedHits]:
    """Count hits in a fixed window, and begin it if none runs; returns the window after it.

    Args:
        memory: What is known.
        key: The key.
        n: How many.
        seconds: How long a window lasts.

    Raises:
        StoreUnavailable: The service did not answer. The hits may have been counted.
        StoreRejected: The service refuses for good.
    """
    deadline = memory.time.steady() + memory.seconds
    yield from _know_the_time(memory, deadline)
    refused = 0
    while True:
        answer = yield from _send(
            memory, lambda: hit(key, memory.fixed(key), n=n, seconds=seconds, now=_now(memory)), deadline
        )
        if isinstance(answer, HitsWritten) and isinstance(answer.hits, FixedHits):
            memory.learn(key, answer.hits)
            return answer.hits
        refused = yield from _refused(memory, key, answer, refused, deadline)


def slide_hits(memory: HitsMemory, key: HitsKey, *, n: int, limit: int) -> Operation[bool]:
    """Count hits in a sliding window if they fit; returns whether they do, and were counted. Errors as `count_hits`.

    Args:
        memory: What is known.
        key: The key.
        n: How many.
        limit: How many any window of this length may have.
    """
    if n > limit:
        return False
    deadline = memory.time.steady() + memory.seconds
    yield from _know_the_time(memory, deadline)
    refused = 0
    while True:
        known, recent = memory.sliding(key)
        request = slide(key, known, n=n, limit=limit, now=_now(memory))
        if request is None:
            if recent:
                return False
            yield from read_hits(memory, key)
            continue
        answer = yield from _send(memory, _anew(memory, request, limit), deadline)
        if isinstance(answer, HitsWritten):
            memory.learn(key, answer.hits)
            return True
        refused = yield from _refused(memory, key, answer, refused, deadline)


def read_hits(memory: HitsMemory, key: HitsKey) -> Operation[FixedHits | SlidingHits | None]:
    """Read an item, and remember it; None if there is none. Errors as `count_hits`; nothing was changed."""
    deadline = memory.time.steady() + memory.seconds
    answer = yield from _send(memory, lambda: ReadHits(key=key), deadline)
    found = answer_of(HitsRead, answer).hits
    memory.learn(key, found)
    return found


def fixed_window(memory: HitsMemory, key: HitsKey) -> Operation[FixedHits | None]:
    """Read a fixed window; None if none runs. Errors as `read_hits`."""
    found = yield from read_hits(memory, key)
    yield from _know_the_time(memory, memory.time.steady() + memory.seconds)
    return found if isinstance(found, FixedHits) and found.runs(_now(memory)) else None


def window_end(memory: HitsMemory, key: HitsKey) -> Operation[int]:
    """When the window that runs is over, in ms; now, if none runs. What is known is not read again: it stays true.

    Errors as `read_hits`.
    """
    known = memory.fixed(key)
    now = memory.now()
    if known is not None and now is not None and known.runs(now):
        return known.ends_at
    read = yield from fixed_window(memory, key)
    return _now(memory) if read is None else read.ends_at


def sliding_window(memory: HitsMemory, key: HitsKey) -> Operation[SlidingNow]:
    """Read what counts of a sliding window now. Errors as `read_hits`."""
    found = yield from read_hits(memory, key)
    yield from _know_the_time(memory, memory.time.steady() + memory.seconds)
    known = found if isinstance(found, SlidingHits) else None
    return sliding_now(known, length=key.length, now=_now(memory))


def drop_hits(memory: HitsMemory, key: HitsKey) -> Operation[None]:
    """Forget the hits of an item. Errors as `count_hits`; the hits may have been forgotten."""
    yield from _send(memory, lambda: DropHits(key=key), memory.time.steady() + memory.seconds)
    memory.learn(key, None)


def drop_all(memory: HitsMemory) -> Operation[int]:
    """Forget all hits of this storage's name; returns of how many items. Errors as `count_hits`; some may be left.

    Cost: 64 Queries at least, and a DeleteItem for each item.
    """
    dropped = 0
    for shard in range(SHARDS):
        page = yield from _page(memory, ListHits(shard=shard, limit=PAGE))
        while True:
            for key in page.keys:
                yield from drop_hits(memory, key)
            dropped += len(page.keys)
            if page.after is None:
                break
            page = yield from _page(memory, ListHits(shard=shard, after=page.after, limit=PAGE))
    memory.forget_all()
    return dropped


def _page(memory: HitsMemory, request: ListHits) -> Operation[HitsListed]:
    answer = yield from _send(memory, lambda: request, memory.time.steady() + memory.seconds)
    return answer_of(HitsListed, answer)


def _anew(memory: HitsMemory, first: SlideHits, limit: int) -> Callable[[], SlideHits]:
    """Makes the request at each sending: by the time as it is then. If the hits fit no more, it is the first again."""

    def make() -> SlideHits:
        known, _ = memory.sliding(first.key)
        return slide(first.key, known, n=first.n, limit=limit, now=_now(memory)) or first

    return make


def _refused(memory: HitsMemory, key: HitsKey, answer: Answered, refused: int, deadline: float) -> Operation[int]:
    """A write was refused: remember what it found, and pause if that goes on; returns how often it was.

    Raises:
        StoreUnavailable: It went on until the deadline.
    """
    if not isinstance(answer, HitsRefused):
        raise StoreUnavailable(f"hits of {memory.name!r}: the answer is of another request")
    memory.learn(key, answer.hits)
    if refused >= AT_ONCE:
        if memory.time.steady() >= deadline:
            raise StoreUnavailable(f"hits of {memory.name!r}: others keep changing the item of key {key.key!r}")
        yield Pause(seconds=full_jitter(CONTENDED_SECONDS, refused, memory.chance))
    return refused + 1


def _send(memory: HitsMemory, make: Callable[[], HitsRequest], deadline: float) -> Operation[Answered]:
    answer, _ = yield from send_until(
        make(),
        anew=make,
        again=UNANSWERED,
        time=memory.time,
        chance=memory.chance,
        tries=SENDINGS,
        deadline=deadline,
    )
    return require_answered(answer, f"hits of {memory.name!r}")


def _know_the_time(memory: HitsMemory, deadline: float) -> Operation[None]:
    if memory.now() is not None:
        return
    failed = yield from confirm(memory.time, until=deadline)
    if memory.now() is None:
        cause = without_time(failed).cause
        raise StoreUnavailable(f"hits of {memory.name!r}: {reason_text(cause)}") from cause


def _now(memory: HitsMemory) -> int:
    now = memory.now()
    if now is None:
        raise StoreUnavailable(str(TIME_UNKNOWN))  # once known, it stays known
    return now
