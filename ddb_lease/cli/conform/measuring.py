"""What no single answer shows: how far the service's clocks lie apart, and what requests that collide are answered.

Invariants: each measurement is a number of requests that is known beforehand. Threads end when they are told to, or
when their requests are sent; none outlives the call.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from ddb_lease._protocol.messages import Grow, Look, Request
from ddb_lease._state.offset import Interval
from ddb_lease._state.service_time import Clock
from ddb_lease.cli.conform.probing import left_in
from ddb_lease.cli.conform.samples import counter, mint
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.client import Client
from ddb_lease.dynamodb.raw import RawAnswer, put_items, send_raw
from ddb_lease.errors import StoreUnavailable
from ddb_lease.models import Timing

R = TypeVar("R")

DATES: Final = 2_000
DATES_SECONDS: Final = 20.0
"""A `Date` is cut to a second: only answers around the turn of a second narrow what is known, so several must pass."""

CONNECTIONS: Final = 8
MINTS: Final = 240
UPDATES: Final = 80

_PASSING: Final = (
    "ok",
    "TransactionConflict",
    "TransactionInProgress",
    "Throttl",
    "ProvisionedThroughputExceeded",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measurement, in words; and whether it lies within what the protocol assumes."""

    name: str
    request: str
    expected: str
    seen: str
    as_expected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What many Dates say together.

    Attributes:
        width: Seconds between the bounds on the offset that all of them allow; negative if they contradict each other:
            then the clocks behind them differ by at least so much.
        agreeing: The most answers that agree with one another.
        answers: How many there are.
    """

    width: float
    agreeing: int
    answers: int


def agreement(samples: Sequence[Interval]) -> Agreement:
    """Intersect the bounds of many answers. Pure."""
    now = max(sample.at for sample in samples)
    widened = [sample.widened(now) for sample in samples]
    width = min(sample.high for sample in widened) - max(sample.low for sample in widened)
    # At each bound, how many intervals are open: the most at any point agree with one another.
    edges = sorted([(s.low, 0) for s in widened] + [(s.high, 1) for s in widened])
    most = running = 0
    for _, closes in edges:
        running += -1 if closes else 1
        most = max(most, running)
    return Agreement(width=width, agreeing=most, answers=len(samples))


def measure_dates(clients: Sequence[Client], table: str, clock: Clock, sleep: Callable[[float], object]) -> Measurement:
    """Ask for `DATES` Dates, on as many connections at once as there are clients.

    Args:
        clients: Each has connections of its own.
        table: Any table.
        clock: The clock to compare with.
        sleep: Waits so many seconds.
    """
    address = BucketAddress(table=table, bucket="dates")
    each = DATES // len(clients)
    look = Look(limit=1, consistent=False, counter=False)

    def ask(client: Client, stop: threading.Event) -> list[Interval]:
        samples = []
        for _ in range(each):
            if stop.is_set():
                break
            sent = clock.steady()
            try:
                date = send_raw(client, look, address).date
            except StoreUnavailable:
                date = None  # an answer that is lost tells nothing about the time
            received = clock.steady()
            if date is not None:
                samples.append(Interval.told(date, sent=sent, received=received))
            sleep(max(0.0, DATES_SECONDS / each - (received - sent)))
        return samples

    by_connection = at_once([functools.partial(ask, client) for client in clients])
    samples = [sample for some in by_connection for sample in some]
    skew = Timing().front_end_skew
    expected = f"no two contradict each other by more than {skew:g} s"
    name = f"{each * len(clients)} Dates on {len(clients)} connections"
    if not samples:
        return Measurement(name=name, request="Look", expected=expected, seen="no answer has a Date", as_expected=False)
    found = agreement(samples)
    if found.width >= 0:
        seen = f"all {found.answers} agree; together they bound the time within {found.width:.3f} s"
    else:
        left_out = found.answers - found.agreeing
        seen = (
            f"they contradict each other by {-found.width:.3f} s; {left_out} of {found.answers} disagree with the rest"
        )
    return Measurement(name=name, request="Look", expected=expected, seen=seen, as_expected=found.width >= -skew)


def measure_conflicts(clients: Sequence[Client], table: str, token: Callable[[], str]) -> Measurement:
    """Let transactions and updates of one counter collide, and count the answers; then count what was written.

    Args:
        clients: Each sends its requests one after the other, all at once.
        table: The table.
        token: A new request token at each call; from several threads.
    """
    address = BucketAddress(table=table, bucket="conflicts")
    put_items(clients[0], table, [address.key("counter") | counter(max_tokens=MINTS, minted=0)])
    minting, updating = clients[: len(clients) * 3 // 4], clients[len(clients) * 3 // 4 :]

    def send(client: Client, requests: Sequence[Request], stop: threading.Event) -> list[RawAnswer]:
        return [send_raw(client, request, address) for request in requests if not stop.is_set()]

    works = []
    for place, client in enumerate(minting):
        mints: list[Request] = [mint(token(), slot) for slot in range(place, MINTS, len(minting))]
        works.append(functools.partial(send, client, mints))
    for client in updating:
        # Refused, as the counter is never at that revision, if nothing else answers first.
        updates: list[Request] = [Grow(rev=0, max_tokens=1)] * (UPDATES // len(updating))
        works.append(functools.partial(send, client, updates))
    answers = at_once(works)
    return _judged(
        [raw for some in answers[: len(minting)] for raw in some],
        [raw for some in answers[len(minting) :] for raw in some],
        left_in(clients[0], address),
    )


def _judged(
    mints: Sequence[RawAnswer], updates: Sequence[RawAnswer], left: dict[str, dict[str, dict[str, str]]]
) -> Measurement:
    """Whether each answer is one that the protocol expects, and what was written is what was answered. Pure."""
    minted = sum(raw.code is None for raw in mints)
    slots = sum(sort.startswith("slot#") for sort in left)
    counted = int(left["counter"]["minted"]["N"])
    adds_up = minted == slots == counted
    expected_of_updates = (*_PASSING, "ConditionalCheckFailed")
    strange = [_word(raw) for raw in mints if not _is(raw, _PASSING)]
    strange += [_word(raw) for raw in updates if not _is(raw, expected_of_updates)]
    tally = "; ".join(
        f"{len(raws)} {what}: {', '.join(f'{count} {word}' for word, count in Counter(map(_word, raws)).most_common())}"
        for what, raws in (("transactions", mints), ("updates", updates))
    )
    written = "what was written adds up" if adds_up else f"{minted} were ok, {slots} slots exist, {counted} are counted"
    return Measurement(
        name="transactions and updates that collide",
        request="Mint, Grow",
        expected="each is ok, refused by its condition, TransactionConflict or throttled; what was written adds up",
        seen=f"{tally}; {written}",
        as_expected=adds_up and not strange,
    )


def _word(raw: RawAnswer) -> str:
    """An answer in a word: a cancelled transaction's first reason."""
    reasons = raw.response.get("CancellationReasons") or ()
    return next((str(r["Code"]) for r in reasons if r.get("Code", "None") != "None"), raw.code or "ok")


def _is(raw: RawAnswer, words: Sequence[str]) -> bool:
    return _word(raw).startswith(tuple(words))


def at_once(works: Sequence[Callable[[threading.Event], R]]) -> list[R]:
    """Do all of it at once, each on a thread; if one fails, or this thread is interrupted, the others end early."""
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=len(works)) as pool:
        futures = [pool.submit(work, stop) for work in works]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise
