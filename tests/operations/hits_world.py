"""Processes that count hits of one key, the table behind the library's own expressions, and all that happens between.

Time jumps from one event to the next; each process's clock is off by so much; requests and answers are late or lost, and
requests arrive twice.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field
from random import Random

from botocore.exceptions import ClientError

from ddb_lease._protocol.messages import Pause
from ddb_lease._state.hits_memory import HitsMemory
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import read_answer, read_failure
from ddb_lease.dynamodb.expressions import call_for
from scripts.harness.simulated_dynamodb import DynamoDB
from tests.operations.rates.rate_world import NS, PATIENCE_NS, START, Fate, Told
from tests.support import LOST

WHERE = BucketAddress(table="leases", bucket="limits")
MS = NS // 1000


@dataclass(eq=False)
class Call:
    """One call of a process; times are true ones, in ns."""

    process: int
    n: int
    began: int
    over_at: int | None = None
    result: object = None
    raised: Exception | None = None
    sent: list = field(default_factory=list)


class World:
    """Attributes:
    written: Each change of an item: (when, the request, the item before, the item after).
    """

    def __init__(self, errors, *, fates=(), seed=0):
        self.now = START
        self.requests = []
        self.calls = []
        self.written = []
        self.memories = [self._memory(error, 100 * seed + number) for number, error in enumerate(errors)]
        self._table = DynamoDB(on_commit=self._committed)
        self._fates = iter(fates)
        self._queue = []
        self._serial = itertools.count()
        self._carried_out = None

    def _memory(self, error, seed):
        told = Told(self, error)
        return HitsMemory(name="limits", time=told, rate_time=told, chance=Random(seed), seconds=10.0)

    def at(self, when, happens):
        heapq.heappush(self._queue, (max(when, self.now), next(self._serial), happens))

    def run(self, until=math.inf):
        while self._queue and self._queue[0][0] <= until:
            self.now, _, happens = heapq.heappop(self._queue)
            happens()
        if until < math.inf:
            self.now = max(self.now, until)

    def count(self):
        """How many requests of each kind were sent."""
        names = [type(request).__name__ for request in self.requests]
        return {name: names.count(name) for name in sorted(set(names))}

    def call(self, process, operation, *args, n=1, **kwargs):
        """Have a process do something, now."""
        call = Call(process=process, n=n, began=self.now)
        self.calls.append(call)
        running = operation(self.memories[process], *args, n=n, **kwargs)

        def go(answer):
            try:
                effect = running.send(answer)
            except StopIteration as stop:
                call.result, call.over_at = stop.value, self.now
                return
            except Exception as error:
                call.raised, call.over_at = error, self.now
                return
            if isinstance(effect, Pause):
                self.at(self.now + max(1, math.ceil(effect.seconds * NS)), lambda: go(None))
                return
            call.sent.append(effect)
            self._send(effect, go)

        go(None)
        return call

    def done(self, process, operation, *args, **kwargs):
        """The same, with all that follows; returns its result."""
        call = self.call(process, operation, *args, **kwargs)
        self.run()
        if call.raised is not None:
            raise call.raised
        return call.result

    def _send(self, request, answered):
        fate = next(self._fates, Fate())
        self.requests.append(request)

        def arrive(*, first):
            answer = self._execute(request)
            if first and fate.back is not None:
                self.at(self.now + fate.back, lambda: answered(answer))

        if fate.out is not None:
            self.at(self.now + fate.out, lambda: arrive(first=True))
            if fate.again is not None:
                self.at(self.now + fate.out + fate.again, lambda: arrive(first=False))
        if fate.out is None or fate.back is None:
            self.at(self.now + PATIENCE_NS, lambda: answered(LOST))

    def _execute(self, request):
        method, arguments = call_for(request, WHERE)
        self._carried_out = request
        try:
            return read_answer(request, self._table.execute(method, arguments, now=self.now / NS, date=None), WHERE)
        except ClientError as error:
            return read_failure(error, WHERE, request)

    def _committed(self, changes, arguments):
        (change,) = changes
        self.written.append((self.now, self._carried_out, _plain(change.before), _plain(change.after)))


def _plain(item):
    return item and {name: int(value["N"]) for name, value in item.items() if "N" in value}
