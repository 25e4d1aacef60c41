"""LangChain's chat models at a limiter's rate."""

import asyncio

import pytest
from langchain_core.language_models import FakeListChatModel

from ddb_lease import ConfigurationError, Limit, RateLimiter, RateTimeout, aio
from ddb_lease.adapters.langchain import LangChainRateLimiter
from tests.adapters.service import SESSION, Service


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def limiter(service):
    return RateLimiter("model", rate=2, per=60, session=SESSION, runtime=service.runtime())


@pytest.fixture
def aio_limiter(service):
    return aio.RateLimiter("model", rate=2, per=60, session=SESSION, runtime=service.runtime())


def model(**arguments):
    return FakeListChatModel(responses=["yes"] * 9, rate_limiter=LangChainRateLimiter(**arguments))


def test_a_model_waits_for_its_permits(service, limiter):
    asked, began = model(limiter=limiter), service.clock.steady()
    answers = [asked.invoke("well?").content for _ in range(4)]
    assert answers == ["yes"] * 4
    assert 59 <= service.clock.steady() - began <= 62, "two at once, and one each half a minute"


def test_a_model_waits_in_asyncio(service, aio_limiter):
    asked, began = model(aio_limiter=aio_limiter), service.clock.steady()

    async def main():
        return [(await asked.ainvoke("well?")).content for _ in range(3)]

    assert asyncio.run(main()) == ["yes"] * 3
    assert 29 <= service.clock.steady() - began <= 32


def test_a_model_is_not_called_without_a_permit_whatever_langchain_makes_of_the_answer(limiter, aio_limiter):
    asked = model(limiter=limiter, aio_limiter=aio_limiter, timeout=1)
    assert [asked.invoke("well?").content for _ in range(2)] == ["yes"] * 2
    with pytest.raises(RateTimeout):
        asked.invoke("well?")
    with pytest.raises(RateTimeout):
        asyncio.run(asked.ainvoke("well?"))


def test_without_blocking_it_is_told_at_once(service, limiter, aio_limiter):
    calls, began = LangChainRateLimiter(limiter, aio_limiter=aio_limiter), service.clock.steady()
    assert [calls.acquire(blocking=False), asyncio.run(calls.aacquire(blocking=False))] == [True, True]
    assert [calls.acquire(blocking=False), asyncio.run(calls.aacquire(blocking=False))] == [False, False]
    assert service.clock.steady() - began < 1


def test_a_call_may_take_permits_of_several_limits_of_a_key(service):
    limits = {"calls": Limit(9, per=60), "tokens": Limit(100, per=60)}
    limiter = RateLimiter("model", limits=limits, session=SESSION, runtime=service.runtime())
    calls = LangChainRateLimiter(limiter.key("team-7"), calls=1, tokens=40)
    assert [calls.acquire(blocking=False) for _ in range(3)] == [True, True, False]


def test_what_is_no_limiter_of_this_api_is_told(limiter, aio_limiter):
    with pytest.raises(ConfigurationError, match="or both"):
        LangChainRateLimiter()
    with pytest.raises(ConfigurationError, match="limiter must be a ddb_lease.RateLimiter"):
        LangChainRateLimiter(aio_limiter)
    with pytest.raises(ConfigurationError, match="aio_limiter must be"):
        LangChainRateLimiter(aio_limiter=limiter)
    with pytest.raises(ConfigurationError, match="this call blocks"):
        model(aio_limiter=aio_limiter).invoke("well?")
    with pytest.raises(ConfigurationError, match="this call needs asyncio"):
        asyncio.run(model(limiter=limiter).ainvoke("well?"))
