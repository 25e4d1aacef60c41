"""Other event loops than asyncio's: told once, in words, and nothing is sent."""

import asyncio

import pytest

from ddb_lease import ConfigurationError, aio
from scripts.harness.inside import core_of

NOT_ON = ("ministack",)  # nothing is sent

CALLS = {
    "acquire": lambda it: it.acquire(),
    "try_acquire": lambda it: it.try_acquire(),
    "status": lambda it: it.status(),
    "release": lambda it: it.release("0-nobody"),
    "revoke": lambda it: it.revoke("0-nobody"),
    "resize": lambda it: it.resize(2),
    "repair": lambda it: it.repair(),
    "reset": lambda it: it.reset(),
    "lease": lambda it: it.lease().__aenter__(),
    "leased": lambda it: it.leased()(nothing)(),
    "limited": lambda it: it.limited()(nothing)(),
}


async def nothing(*_): ...


def driven(work):
    """Drive a coroutine as a loop of another library does: asyncio knows nothing of it."""
    try:
        while True:
            work.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        work.close()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["LeaseBucket", "RateLimiter"])
def test_a_call_under_another_loop_says_what_it_needs(session, kind, call, caplog):
    it = made(session, kind)
    if not hasattr(it, call):
        return
    with pytest.raises(ConfigurationError, match=r"ddb_lease\.aio needs asyncio, .* Under trio") as raised:
        driven(CALLS[call](it))
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert caplog.records == []


@pytest.mark.parametrize("kind", ["LeaseBucket", "RateLimiter"])
def test_a_block_under_another_loop_fails_once_and_can_be_entered_later(session, kind):
    it = made(session, kind)
    ran = []

    async def main():
        async with it:
            ran.append("in the block")

    with pytest.raises(ConfigurationError, match="needs asyncio") as raised:
        driven(main())
    assert raised.value.__context__ is None
    assert not ran
    assert not core_of(it).state.closed


@pytest.mark.parametrize("kind", ["LeaseBucket", "RateLimiter"])
def test_an_unused_one_can_be_closed_anywhere(session, kind):
    it = made(session, kind)
    asyncio.set_event_loop(None)
    driven(it.close())
    assert core_of(it).state.closed
    with pytest.raises(RuntimeError, match="no current event loop|There is no current event loop"):
        asyncio.get_event_loop()


def made(session, kind):
    settings = {"LeaseBucket": {"max_tokens": 1}, "RateLimiter": {"rate": 5}}[kind]
    return getattr(aio, kind)("b", session=session, endpoint_url="http://127.0.0.1:9", **settings)
