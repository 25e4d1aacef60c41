"""Functions that are limited by a key of each call, in both APIs."""

import asyncio

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, Limit, aio
from ddb_lease._protocol.rates.messages import Charge
from ddb_lease._runtime.runtime import Runtime
from tests.conftest import TABLE
from tests.support import Tap

CONTRACT = True  # the simulator's DynamoDB too


@pytest.fixture
def limiter(rates):
    """Two permits an hour for each key."""
    limiter = rates(rate=2, per=3600, burst=2)
    limiter.set_policy(Limit(2, per=3600))
    return limiter


@pytest.fixture
def on_a_loop(engine, session, bucket_name, table):
    """The same for asyncio."""
    tap = Tap()
    where = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
    limiter = aio.RateLimiter(bucket_name, rate=2, per=3600, runtime=Runtime(wrap=tap.around), **where)
    limiter.tap = tap
    yield limiter
    asyncio.run(limiter.close())


def test_each_call_takes_the_permits_of_its_key(limiter):
    @limiter.limited(timeout=0, key=lambda user, **_: user)
    def greet(user, *, twice=False):
        """Say hello."""
        return f"hello {user}" * (1 + twice)

    assert [greet("ann"), greet("ann", twice=True), greet(user="bob")] == [
        "hello ann",
        "hello annhello ann",
        "hello bob",
    ]
    with pytest.raises(AcquireTimeout):
        greet("ann")
    assert greet("bob") == "hello bob"
    assert greet.__doc__ == "Say hello."
    assert sorted((key.key, key.available) for key in list(limiter.keys())) == [("ann", 0), ("bob", 0)]


def test_a_key_function_gets_what_a_method_gets(limiter):
    class Crawler:
        def __init__(self, scheme):
            self.scheme = scheme

        @limiter.limited(timeout=0, key=lambda self, host: f"{self.scheme}://{host}")
        def fetch(self, host):
            return host

        @classmethod
        @limiter.limited(timeout=0, key=lambda cls, host: f"{cls.__name__}:{host}")
        def make(cls, host):
            return host

    assert Crawler("https").fetch("example.org") == Crawler.make("example.org") == "example.org"
    assert sorted(key.key for key in list(limiter.keys())) == ["Crawler:example.org", "https://example.org"]


def test_several_limits_are_taken_of_the_key(rates):
    limits = {"requests": Limit(2, per=3600), "tokens": Limit(10, per=3600)}
    llm = rates(rate=None, burst=None, limits=limits)

    @llm.limited(timeout=0, key=str, requests=1, tokens=6)
    def ask(team):
        return team

    assert ask(7) == 7
    with pytest.raises(AcquireTimeout):
        ask(7)
    assert ask(8) == 8


def test_what_the_key_function_raises_is_raised_before_anything_is_taken(limiter):
    @limiter.limited(timeout=0, key=lambda user: user["id"])
    def work(user):
        raise AssertionError("it ran")

    limiter.tap.clear()
    with pytest.raises(KeyError, match="id"):
        work({})
    assert not limiter.tap.sent


@pytest.mark.parametrize("made", [None, 7, "", b"ann", "x" * 513, "\ud800"])
def test_what_is_no_key_is_refused_before_anything_is_taken(limiter, made):
    @limiter.limited(timeout=0, key=lambda: made)
    def work():
        raise AssertionError("it ran")

    limiter.tap.clear()
    with pytest.raises(ConfigurationError, match=r"<lambda> makes the key of a limit: a key m"):
        work()
    assert not limiter.tap.sent


async def coroutine(user):
    return user


def generator(user):
    yield user


def returns_a_coroutine(user):
    return coroutine(user)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("ann", r"the key of RateLimiter.limited is made by a function .*; not 'ann'"),
        (coroutine, r"coroutine is a coroutine function: the key of RateLimiter.limited must be there at once"),
        (generator, r"generator is a generator function"),
    ],
)
def test_a_key_that_cannot_work_is_refused_when_it_decorates(limiter, key, says):
    with pytest.raises(ConfigurationError, match=says):
        limiter.limited(key=key)


def test_a_coroutine_in_place_of_a_key_is_closed(limiter, recwarn):
    @limiter.limited(timeout=0, key=returns_a_coroutine)
    def work(user):
        raise AssertionError("it ran")

    with pytest.raises(ConfigurationError, match="a key must be a string"):
        work("ann")
    assert not recwarn.list


def test_more_than_the_policys_burst_is_only_refused_where_no_override_allows_it(limiter):
    @limiter.limited(timeout=0, n=3, key=str)
    def work(user):
        return user

    with pytest.raises(ConfigurationError, match="from 1 to 2"):
        work("small")
    limiter.key("big").override(Limit(3, per=3600))
    assert work("big") == "big"
    with pytest.raises(ConfigurationError, match="from 1 to 2"):
        limiter.limited(n=3)


def test_a_coroutine_is_limited_by_key_too(on_a_loop):
    @on_a_loop.limited(timeout=0, key=lambda user, **_: user.lower())
    async def greet(user, *, loud=False):
        return user.upper() if loud else user

    async def main():
        assert [await greet("Ann"), await greet("ann", loud=True), await greet("bob")] == ["Ann", "ANN", "bob"]
        with pytest.raises(AcquireTimeout):
            await greet("ann")
        on_a_loop.tap.clear()
        waiting = greet(7)
        with pytest.raises(AttributeError):
            await waiting
        assert not on_a_loop.tap.of(Charge)

    asyncio.run(main())


def test_no_key_is_refused_on_a_loop_too(on_a_loop):
    @on_a_loop.limited(timeout=0, key=returns_a_coroutine)
    async def work(user):
        raise AssertionError("it ran")

    async def main():
        with pytest.raises(ConfigurationError, match="returns_a_coroutine makes the key of a limit"):
            await work("ann")

    asyncio.run(main())
    with pytest.raises(ConfigurationError, match="must be there at once"):
        on_a_loop.limited(key=coroutine)
