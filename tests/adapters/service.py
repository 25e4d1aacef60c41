"""A storage for `limits` over a table in memory, on a clock that the test moves: no engine, and no time passes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import boto3
from botocore.exceptions import ClientError

from ddb_lease._protocol.messages import Reply
from ddb_lease._runtime.ports import Wakeup
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.adapters.limits import AsyncDynamoDBStorage, DynamoDBStorage
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import read_answer, read_failure
from ddb_lease.dynamodb.expressions import call_for
from ddb_lease.testing import MovableClock
from scripts.harness.inside import core_of
from scripts.harness.simulated_dynamodb import DynamoDB
from tests.support import UNSENT

SESSION = boto3.Session("key", "secret", region_name="eu-west-1")


class Service:
    """One table.

    Attributes:
        clock: Of the service and of its clients.
        requests: The names of all requests that were sent.
        away: Whether nothing is answered.
    """

    def __init__(self):
        self.clock = MovableClock(wall=1_800_000_000.0)
        self.table = DynamoDB()
        self.requests = []
        self.away = False

    def runtime(self):
        """That of a process of its own."""
        return Runtime(
            clock=self.clock,
            wrap=lambda store: _Sender(self, store),
            wakeup=lambda: _Stepping(self.clock),
            skips_time=True,
        )

    def storage(self, api, uri=None, **options):
        """A storage of a process of its own."""
        runtime = self.runtime()
        kind = DynamoDBStorage if api == "threads" else AsyncDynamoDBStorage
        given = {"session": SESSION} if uri is None else {}
        storage = kind(uri, **given | options, runtime=runtime)
        time = core_of(storage).memory.rate_time
        known = time.now_ns
        # To the nanosecond, once it is known: how well Dates tell it is not the question here.
        time.now_ns = lambda: None if known() is None else round(self.clock.wall() * 1e9)
        return storage

    def pass_time(self, seconds):
        self.clock.pass_time(seconds)


class _Sender:
    def __init__(self, service, store):
        self._service = service
        self._store = store
        self._address = BucketAddress(table="leases", bucket=store.address.bucket)

    def send(self, request):
        service = self._service
        service.requests.append(type(request).__name__)
        if service.away:
            return Reply(answer=UNSENT, genuine=False, date=None)
        now = service.clock.wall()
        method, arguments = call_for(request, self._address)
        try:
            response = service.table.execute(method, arguments, now=now, date=None)
            answer = read_answer(request, response, self._address)
        except ClientError as error:
            answer = read_failure(error, self._address, request)
        return Reply(answer=answer, genuine=True, date=float(int(now)))

    def close(self):
        self._store.close()

    def fit(self, lease_seconds):
        raise AssertionError("there are no leases")

    def after_fork_in_child(self):
        self._store.after_fork_in_child()


class _Stepping(Wakeup):
    def __init__(self, clock):
        super().__init__()
        self._clock = clock

    def pause(self, seconds):
        self._clock.pass_time(seconds)

    sleep = pause


class Waited:
    """An asynchronous storage or strategy, each call of which is waited for."""

    def __init__(self, asynchronous):
        self._asynchronous = asynchronous

    def __getattr__(self, name):
        method = getattr(self._asynchronous, name)
        return lambda *args, **kwargs: asyncio.run(_awaited(method, args, kwargs))


async def _awaited(method, args, kwargs):
    return await method(*args, **kwargs)


def plain(api, thing):
    """The same, with methods that return."""
    return thing if api == "threads" else Waited(thing)


def strategies(api):
    """The strategies of `limits` for this API."""
    import limits.aio.strategies
    import limits.strategies

    module = limits.strategies if api == "threads" else limits.aio.strategies

    def of(name):
        return lambda storage: plain(api, getattr(module, name)(storage))

    return SimpleNamespace(
        fixed=of("FixedWindowRateLimiter"),
        sliding=of("SlidingWindowCounterRateLimiter"),
        moving=module.MovingWindowRateLimiter,
    )
