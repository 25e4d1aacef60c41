"""Arguments that are not what they should be: refused when they are given, in words, whatever they are."""

import asyncio
import functools
import inspect
import re
import threading
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock

import boto3
import pytest
from boto3 import Session

from ddb_lease import (
    ConfigurationError,
    DynamoDBTokenBucket,
    LeaseBucket,
    LossReason,
    RateLimiter,
    SlidingWindow,
    Timing,
    aio,
    client_config,
)
from ddb_lease._runtime.callables import name_of
from scripts.harness.inside import core_of, held_of
from tests.conftest import TABLE
from tests.support import eventually

CONTRACT = True
NOT_ON = ("embedded", "ministack")  # what is refused here does not depend on the engine

SESSION = Session(region_name="eu-west-1", aws_access_key_id="local", aws_secret_access_key="local")
HERE = {"session": SESSION}


class Unprintable:
    def __repr__(self):
        raise ZeroDivisionError


NO_TIMES = [
    "5",
    Decimal(5),
    True,
    -1,
    -0.001,
    float("nan"),
    10**400,
    10**5000,
    timedelta(seconds=-1),
    [5],
    Unprintable(),
]
NO_NUMBERS = [*NO_TIMES, None, 0, float("inf"), -float("inf"), b"5", 5j]


def names(value):
    return f"{type(value).__name__}-{str(value)[:12] if not isinstance(value, (Unprintable, int)) else ''}"


def acquiring(made):
    """How each class acquires, by a timeout; what is wrong with the timeout is said before anything is sent."""
    if isinstance(made, aio.LeaseBucket | aio.RateLimiter):
        return lambda timeout: asyncio.run(made.acquire(timeout=timeout))
    if isinstance(made, DynamoDBTokenBucket):
        return made.acquire_token
    return lambda timeout: made.acquire(timeout=timeout)


def everything():
    nowhere = {**HERE, "endpoint_url": "http://127.0.0.1:9"}
    return {
        "LeaseBucket": LeaseBucket("b", max_tokens=1, **nowhere),
        "RateLimiter": RateLimiter("b", rate=1, **nowhere),
        "SlidingWindow": SlidingWindow("b", max_tokens=1, period=60, **nowhere),
        "DynamoDBTokenBucket": DynamoDBTokenBucket("t", 1, 60, **nowhere),
        "aio.LeaseBucket": aio.LeaseBucket("b", max_tokens=1, **nowhere),
        "aio.RateLimiter": aio.RateLimiter("b", rate=1, **nowhere),
    }


# Times and numbers


@pytest.mark.parametrize("wrong", NO_TIMES, ids=names)
def test_a_timeout_that_is_no_time_is_refused_everywhere(wrong):
    for name, made in everything().items():
        with pytest.raises(ConfigurationError, match="must be 0 or more seconds, or a timedelta, not "):
            acquiring(made)(wrong)
        if hasattr(made, "leased"):
            with pytest.raises(ConfigurationError, match="must be 0 or more seconds"):
                made.leased(wrong)
        assert name


@pytest.mark.parametrize("timeout", [timedelta(milliseconds=20), 0.02, Fraction(1, 50)], ids=str)
def test_a_timeout_may_be_a_timedelta_or_any_number_of_seconds(new_bucket, new_limiter, timeout):
    new_bucket(max_tokens=1).acquire(timeout=timedelta(minutes=1))
    with pytest.raises(TimeoutError, match=r"came free in 0\.02 s"):
        new_bucket(max_tokens=1).acquire(timeout=timeout)
    limiter = new_limiter(rate=1, per=timedelta(hours=1), burst=1)
    assert limiter.try_acquire()
    with pytest.raises(TimeoutError, match=r"within 0\.02 s"):
        limiter.acquire(timeout=timeout)


def test_waiting_for_ever_may_be_said_as_infinity(new_bucket):
    assert new_bucket().acquire(timeout=float("inf")).held


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=names)
def test_lengths_rates_and_periods_that_are_none_are_refused(wrong):
    makes = {
        "lease_seconds": lambda: LeaseBucket("b", max_tokens=1, lease_seconds=wrong, **HERE),
        "period": lambda: SlidingWindow("b", max_tokens=1, period=wrong, **HERE),
        "per": lambda: RateLimiter("b", rate=1, per=wrong, **HERE),
        "rate": lambda: RateLimiter("b", rate=wrong, **HERE),
        "front_end_skew": lambda: Timing(front_end_skew=wrong),
    }
    if wrong == 0:
        del makes["front_end_skew"]
    for name, make in makes.items():
        with pytest.raises(ConfigurationError, match=name if name != "rate" else "rate|burst"):
            make()


def test_lengths_may_be_timedeltas():
    assert SlidingWindow("b", max_tokens=1, period=timedelta(hours=1), **HERE).period == 3600.0
    limiter = RateLimiter("b", rate=Fraction(5), per=timedelta(minutes=1), **HERE)
    assert (core_of(limiter).state.given["permits"].per, limiter.burst) == (60.0, 5)
    assert (
        core_of(LeaseBucket("b", max_tokens=1, lease_seconds=timedelta(minutes=2), **HERE)).state.lease_ms() == 120_000
    )
    assert Timing(grace=timedelta(seconds=1)) == Timing(grace=1.0)


@pytest.mark.parametrize("wrong", [1.0, "1", True, Decimal(1), None, 10**5000, Unprintable()], ids=names)
def test_counts_that_are_none_are_refused(wrong):
    for make in (
        lambda: LeaseBucket("b", max_tokens=wrong, **HERE),
        lambda: LeaseBucket("b", max_tokens=1, **HERE).try_acquire(count=wrong),
        lambda: RateLimiter("b", rate=1, **HERE).try_acquire(wrong),
        lambda: RateLimiter("b", rate=1, prefetch=wrong, **HERE),
        lambda: aio.LeaseBucket("b", max_tokens=1, max_requests=wrong, **HERE),
        lambda: aio.RateLimiter("b", rate=1, max_requests=wrong, **HERE),
        lambda: RateLimiter("b", rate=1, burst=0 if wrong is None else wrong, **HERE),
    ):
        with pytest.raises(ConfigurationError):
            make()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (5, "must be a non-empty string, not 5"),
        ("", "must be a non-empty string, not ''"),
        (b"b", "must be a non-empty string, not b'b'"),
        ("\ud800", "cannot be encoded as UTF-8"),
        ("é" * 1025, "may have 2048 bytes, not 2050"),
    ],
)
def test_a_name_that_is_none_is_refused_and_shown(wrong, said):
    for what, make in {
        "a bucket's name": lambda: LeaseBucket(wrong, max_tokens=1, **HERE),
        "a rate's name": lambda: RateLimiter(wrong, rate=1, **HERE),
        "a window's name": lambda: SlidingWindow(wrong, max_tokens=1, period=60, **HERE),
        "table": lambda: LeaseBucket("b", max_tokens=1, **HERE | {"table": wrong}),
    }.items():
        with pytest.raises(ConfigurationError, match=f"^{what}.*{re.escape(said)}"):
            make()


@pytest.mark.parametrize("wrong", [5, "5", {"grace": 1}, Unprintable()], ids=names)
def test_a_timing_that_is_none_is_refused(wrong):
    for make in (
        lambda: LeaseBucket("b", max_tokens=1, timing=wrong, **HERE),
        lambda: RateLimiter("b", rate=1, timing=wrong, **HERE),
        lambda: SlidingWindow("b", max_tokens=1, period=60, timing=wrong, **HERE),
    ):
        with pytest.raises(ConfigurationError, match=r"timing must be a ddb_lease\.Timing"):
            make()


# Callbacks


class Stopper:
    async def stop(self, lease): ...

    async def __call__(self, lease): ...


async def stop(lease): ...


def stop_in_parts(lease):
    yield


async def stop_in_async_parts(lease):
    yield


NO_CALLBACKS = {
    "text": ("stop", "must be a function"),
    "no argument": (threading.Event().set, "does not take just that"),
    "too many": (lambda lease, reason: 0, "does not take just that"),
    "a generator": (stop_in_parts, "is a generator function"),
    "an async generator": (stop_in_async_parts, "is an async generator function"),
}
COROUTINES = {"a function": stop, "a method": Stopper().stop, "an object": Stopper(), "a mock": AsyncMock()}


REFUSALS = [pytest.param(*refusal, id=name) for name, refusal in NO_CALLBACKS.items()]


@pytest.mark.parametrize(("callback", "says"), REFUSALS)
def test_a_callback_that_could_not_be_called_is_refused_when_it_is_given(new_bucket, callback, says):
    bucket = new_bucket()
    with pytest.raises(ConfigurationError, match=f"on_lost.*{says}"):
        bucket.acquire(timeout=5, on_lost=callback)
    with pytest.raises(ConfigurationError, match=f"on_lost.*{says}"):
        bucket.try_acquire(on_lost=callback)
    assert bucket.tap.sent == []
    lease = bucket.acquire(timeout=5, on_lost=print)
    with pytest.raises(ConfigurationError, match=f"on_lost.*{says}"):
        lease.on_lost = callback
    assert lease.on_lost is print
    for kind in (LeaseBucket, aio.LeaseBucket):
        with pytest.raises(ConfigurationError, match=f"on_event.*{says}"):
            kind("b", max_tokens=1, on_event=callback, **HERE)


@pytest.mark.parametrize("callback", COROUTINES.values(), ids=COROUTINES)
def test_a_coroutine_function_is_no_callback_where_nobody_awaits_it(new_bucket, callback):
    bucket = new_bucket()
    with pytest.raises(ConfigurationError, match=r"is a coroutine function, .*ddb_lease\.aio"):
        bucket.acquire(timeout=5, on_lost=callback)
    assert bucket.tap.sent == []
    lease = bucket.acquire(timeout=5)
    with pytest.raises(ConfigurationError, match=r"is a coroutine function, .*ddb_lease\.aio"):
        lease.on_lost = callback
    for kind in (LeaseBucket, aio.LeaseBucket):
        with pytest.raises(ConfigurationError, match="on_event: .* is a coroutine function"):
            kind("b", max_tokens=1, on_event=callback, **HERE)


@pytest.mark.parametrize(
    "callback", [*COROUTINES.values(), print, Mock(), functools.partial(lambda it, lease: it(lease), stop)], ids=name_of
)
def test_asyncio_takes_coroutine_functions_and_plain_ones(engine, table, callback):
    async def main():
        how = {"session": engine.session(), "endpoint_url": engine.endpoint_url, "table": TABLE}
        async with aio.LeaseBucket(table.bucket, max_tokens=1, **how) as bucket:
            lease = await bucket.acquire(timeout=30, on_lost=callback)
            lease.on_lost = callback
            assert lease.on_lost is callback

    asyncio.run(main())


@pytest.mark.parametrize(("callback", "says"), REFUSALS)
def test_asyncio_refuses_what_could_not_be_called_too(engine, table, callback, says):
    async def main():
        how = {"session": engine.session(), "endpoint_url": engine.endpoint_url, "table": TABLE}
        async with aio.LeaseBucket(table.bucket, max_tokens=1, **how) as bucket:
            with pytest.raises(ConfigurationError, match=f"on_lost.*{says}"):
                await bucket.acquire(timeout=30, on_lost=callback)
            lease = await bucket.acquire(timeout=30)
            with pytest.raises(ConfigurationError, match=f"on_lost.*{says}"):
                lease.on_lost = callback
            assert lease.on_lost is None

    asyncio.run(main())


def test_a_plain_callback_that_returns_a_coroutine_is_told_when_it_is_called(environment, caplog):
    bucket = environment.bucket()
    made = []
    lease = bucket.acquire(timeout=5, on_lost=lambda lease: made.append(stop(lease)) or made[0])
    held_of(lease).loss.announce(LossReason.UNREACHABLE)
    eventually(lambda: "returned a coroutine, and nobody awaits it" in caplog.text)
    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED


# Sessions and clients


@pytest.fixture(scope="module")
def clients():
    where = {"region_name": "eu-west-1", "aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return SimpleNamespace(
        dynamodb=SESSION.client("dynamodb", config=client_config(60)),
        s3=SESSION.client("s3"),
        resource=boto3.resource("dynamodb", **where),
        table=boto3.resource("dynamodb", **where).Table("t"),
    )


def kinds():
    return (
        lambda **how: LeaseBucket("b", max_tokens=1, **how),
        lambda **how: RateLimiter("b", rate=1, **how),
        lambda **how: SlidingWindow("b", max_tokens=1, period=60, **how),
        lambda **how: DynamoDBTokenBucket("t", 1, 60, **how),
        lambda **how: aio.LeaseBucket("b", max_tokens=1, **how),
        lambda **how: aio.RateLimiter("b", rate=1, **how),
    )


AsyncClient = type("DynamoDB", (), {"__module__": "aiobotocore.client", "meta": None})
AsyncSession = type("Session", (), {"__module__": "aioboto3.session", "client": print})


@pytest.mark.parametrize(
    ("choose", "says"),
    [
        (lambda it: it.resource, r"client is a boto3 resource, dynamodb\.ServiceResource.*: pass a session"),
        (lambda it: it.table, r"client is a boto3 resource, dynamodb\.Table"),
        (lambda it: it.s3, "client is a client of s3, not of DynamoDB"),
        (lambda it: SESSION, "client is a session: pass it as session="),
        (lambda it: SESSION._session, "client is a session"),
        (lambda it: boto3, "client is a session"),
        (lambda it: "dynamodb", "client must be a DynamoDB client, not 'dynamodb'"),
        (lambda it: type(it.dynamodb), "client must be a DynamoDB client, not <class"),
        (lambda it: AsyncClient(), "client is of aiobotocore, whose methods must be awaited"),
    ],
    ids=["resource", "table", "s3", "session", "botocore", "boto3", "text", "class", "aiobotocore"],
)
def test_a_client_that_is_none_is_refused(clients, choose, says):
    for kind in kinds():
        with pytest.raises(ConfigurationError, match=says):
            kind(client=choose(clients))


@pytest.mark.parametrize(
    ("choose", "says"),
    [
        (lambda it: it.dynamodb, "session is a client of dynamodb, not a session: pass it as client="),
        (lambda it: it.s3, r"session is a client of s3, not a session: pass a boto3\.Session"),
        (lambda it: it.resource, r"session must be a boto3\.Session, not the resource"),
        (lambda it: SESSION._session, r"boto3\.Session\(botocore_session=session\)"),
        (lambda it: "production", r"boto3\.Session\(profile_name=\.\.\.\)"),
        (lambda it: Session, r"session is the class Session"),
        (lambda it: 17, r"session must be a boto3\.Session, not 17"),
        (lambda it: AsyncSession(), "session is of aioboto3"),
    ],
    ids=["client", "s3", "resource", "botocore", "text", "class", "number", "aioboto3"],
)
def test_a_session_that_is_none_is_refused(clients, choose, says):
    for kind in kinds():
        with pytest.raises(ConfigurationError, match=says):
            kind(session=choose(clients))


def test_an_endpoint_that_is_no_text_is_refused():
    for kind in kinds():
        with pytest.raises(ConfigurationError, match="endpoint_url must be a string, not 8000"):
            kind(session=SESSION, endpoint_url=8000)


def test_a_client_and_a_session_of_ones_own_are_taken(clients):
    for kind in kinds():
        kind(client=clients.dynamodb)
        kind(session=SESSION)
