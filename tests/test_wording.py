"""What each class of both APIs says, word for word, to whoever uses it as one of another library."""

import asyncio
import copy
import logging

import pytest

import ddb_lease
from ddb_lease import ConfigurationError, aio
from tests.conftest import TABLE
from tests.test_arguments import SESSION

NOT_ON = ("ministack", "dynoxide")  # what is said does not depend on the engine

NOWHERE = {"session": SESSION, "endpoint_url": "http://127.0.0.1:9"}
SETTINGS = {
    "LeaseBucket": {"max_tokens": 1},
    "Leader": {},
    "RateLimiter": {"rate": 1},
    "SlidingWindow": {"max_tokens": 1, "period": 60},
}
LIBRARIES = {"ddb_lease": ddb_lease, "ddb_lease.aio": aio}


def made(path, **settings):
    library, _, name = path.rpartition(".")
    return getattr(LIBRARIES[library], name)("b", **SETTINGS[name] | NOWHERE | settings)


# Themselves


@pytest.mark.parametrize("name", SETTINGS)
def test_both_apis_show_it_alike(name):
    assert repr(made(f"ddb_lease.aio.{name}")) == repr(made(f"ddb_lease.{name}"))


def test_a_window_shows_its_table_a_leader_what_it_does_and_a_key_its_limiter():
    for library in LIBRARIES:
        limiter = made(f"{library}.RateLimiter")
        assert repr(made(f"{library}.SlidingWindow", table="t")) == "<SlidingWindow 'b' in table 't'>"
        assert repr(made(f"{library}.Leader")) == "<Leader 'b' new>"
        assert repr(limiter.key("k")) == f"<key 'k' of {limiter!r}>"


# Blocks

ENTER = {
    "ddb_lease.LeaseBucket": "`with bucket.acquire() as lease:`, or use ddb_lease.aio in asyncio",
    "ddb_lease.Leader": "`with leader:`, or use ddb_lease.aio in asyncio",
    "ddb_lease.RateLimiter": "`limiter.acquire()`, or use ddb_lease.aio in asyncio",
    "ddb_lease.SlidingWindow": "`window.acquire()`, or use ddb_lease.aio in asyncio",
    "ddb_lease.aio.LeaseBucket": "`async with bucket.lease() as lease:`",
    "ddb_lease.aio.Leader": "`async with leader:`",
    "ddb_lease.aio.RateLimiter": "`await limiter.acquire()`",
    "ddb_lease.aio.SlidingWindow": "`await window.acquire()`",
}


def refused(it):
    """What is said where its block is entered in the way of the other API."""

    def enter():
        with it:
            pytest.fail("it was entered")

    async def enter_async():
        async with it:
            pytest.fail("it was entered")

    awaited = type(it).__module__.startswith("ddb_lease.aio")
    with pytest.raises(ConfigurationError) as error:
        enter() if awaited else asyncio.run(enter_async())
    return str(error.value)


@pytest.mark.parametrize("path", ENTER)
def test_the_block_of_the_other_api_is_refused_word_for_word(path):
    library, _, name = path.rpartition(".")
    other = "with" if library.endswith("aio") else "async with"
    assert refused(made(path)) == f"a {name} of {library} has no `{other}`: write {ENTER[path]}"


INSTEAD = {
    "ddb_lease.LeaseBucket": "`with bucket.acquire() as lease:` holds a lease for a block; make one bucket for the "
    "process.",
    "ddb_lease.RateLimiter": "`limiter.acquire()` takes a permit; make one limiter for the process.",
    "ddb_lease.SlidingWindow": "`window.acquire()` takes a permit; make one window for the process.",
    "ddb_lease.aio.LeaseBucket": "`async with bucket.lease() as lease:` holds a lease for a block; make one bucket for "
    "the process.",
    "ddb_lease.aio.RateLimiter": "`await limiter.acquire()` takes a permit; make one limiter for the process.",
    "ddb_lease.aio.SlidingWindow": "`await window.acquire()` takes a permit; make one window for the process.",
}
CALLED = {"LeaseBucket": "bucket 'b'", "RateLimiter": "rate 'b'", "SlidingWindow": "window 'b'"}


@pytest.mark.parametrize("path", INSTEAD)
def test_a_block_that_guards_nothing_is_told_and_refused_the_second_time_word_for_word(path, caplog):
    it, called = made(path), CALLED[path.rpartition(".")[2]]

    async def enter():
        async with it:
            pass

    def block():
        if path.startswith("ddb_lease.aio"):
            asyncio.run(enter())
        else:
            with it:
                pass

    block()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"a `with` block of {called} ended, and nothing was asked of it there: the block guards nothing, it only "
        f"closes it at the end. {INSTEAD[path]}"
    )
    with pytest.raises(ConfigurationError) as error:
        block()
    assert str(error.value) == f"{called} is closed: its `with` block closes it at the end. {INSTEAD[path]}"


# Copies


@pytest.mark.parametrize("path", ENTER)
def test_what_belongs_to_a_process_says_word_for_word_what_to_pass(path):
    name = path.rpartition(".")[2]
    with pytest.raises(TypeError) as error:
        copy.copy(made(path))
    assert str(error.value) == (
        f"a {name} belongs to its process, and cannot be copied or pickled: pass its name and settings, and make one "
        "there"
    )


def copied(it):
    with pytest.raises(TypeError) as error:
        copy.copy(it)
    return str(error.value).partition(" belongs to its process, and cannot be copied or pickled: ")[::2]


LEASE = "pass its id, which LeaseBucket.release takes, and its fence, with the bucket's name"


def test_what_was_acquired_says_word_for_word_how_it_is_entered_and_passed(engine, session, table):
    at = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
    with (
        ddb_lease.LeaseBucket(table.bucket, max_tokens=1, **at) as bucket,
        ddb_lease.RateLimiter(f"{table.bucket}-rate", rate=1, burst=5, **at) as limiter,
    ):
        with bucket.acquire() as lease:
            assert refused(lease).endswith(": write `with bucket.acquire() as lease:`, or use ddb_lease.aio in asyncio")
            assert copied(lease) == ("a Lease", LEASE)
        with ddb_lease.acquire_all([bucket]) as leases:
            assert refused(leases).endswith(
                ": write `with acquire_all([...]) as leases:`, or use ddb_lease.aio in asyncio"
            )
            assert copied(leases) == ("a Leases", "pass the ids of its leases")
            assert repr(leases) == f"<Leases {leases.leases[0]!r}>"
        reservation = limiter.reserve(2)
        assert refused(reservation).endswith(
            ": write `with limiter.reserve() as reservation:`, or use ddb_lease.aio in asyncio"
        )
        assert copied(reservation) == ("a Reservation", "reserve in the process that does the work")


def test_what_was_awaited_says_word_for_word_how_it_is_entered_and_passed(engine, session, table):
    async def main():
        at = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
        async with (
            aio.LeaseBucket(table.bucket, max_tokens=1, **at) as bucket,
            aio.RateLimiter(f"{table.bucket}-rate", rate=1, burst=5, **at) as limiter,
        ):
            async with bucket.lease() as lease:
                assert refused(lease).endswith(": write `async with bucket.lease() as lease:`")
                assert refused(lease.guard()).endswith(": write `async with lease.guard():`")
                assert copied(lease) == ("a Lease", LEASE)
            assert refused(bucket.lease()).endswith(": write `async with bucket.lease() as lease:`")
            async with await aio.acquire_all([bucket]) as leases:
                assert refused(leases).endswith(": write `async with await acquire_all([...]) as leases:`")
                assert copied(leases) == ("a Leases", "pass the ids of its leases")
                assert repr(leases) == f"<Leases {leases.leases[0]!r}>"
            reservation = await limiter.reserve(2)
            assert refused(reservation).endswith(": write `async with await limiter.reserve() as reservation:`")
            assert copied(reservation) == ("a Reservation", "reserve in the process that does the work")

    asyncio.run(main())


# What was not awaited

BEFORE = "`await limiter.acquire()` before the work"
NOT_AWAITED = {
    "LeaseBucket.acquire": "`async with bucket.lease() as lease:`",
    "LeaseBucket.try_acquire": "`async with bucket.lease() as lease:`",
    "LeaseBucket.adopt": "`async with bucket.lease() as lease:`",
    "RateLimiter.acquire": BEFORE,
    "RateLimiter.try_acquire": "`if await limiter.try_acquire():`",
    "RateLimiter.reserve": "`async with await limiter.reserve() as reservation:`",
    "KeyLimiter.acquire": BEFORE,
    "KeyLimiter.try_acquire": "`if await limiter.try_acquire():`",
    "KeyLimiter.reserve": "`async with await limiter.reserve() as reservation:`",
    "SlidingWindow.acquire": "`await window.acquire()` before the work",
    "SlidingWindow.try_acquire": "`if await window.try_acquire():`",
    "SlidingWindow.check": "`decision = await window.check()`",
}


@pytest.mark.parametrize("path", NOT_AWAITED)
def test_what_was_not_awaited_says_word_for_word_what_to_write(path):
    name, _, method = path.partition(".")
    it = made("ddb_lease.aio.RateLimiter").key("k") if name == "KeyLimiter" else made(f"ddb_lease.aio.{name}")
    arguments = ("token",) if method == "adopt" else ()
    forgotten = getattr(it, method)(*arguments)
    assert repr(forgotten) == f"<{path}(), not awaited>"
    with pytest.raises(ConfigurationError) as error:
        bool(forgotten)
    assert str(error.value) == f"{path}() was not awaited: write `await` before it, or {NOT_AWAITED[path]}"
    with pytest.raises(ConfigurationError) as error, forgotten:
        pytest.fail("it was entered")
    assert str(error.value) == f"an acquire is no block: write {NOT_AWAITED[path]}"


# Decorators

DECORATORS = {
    "ddb_lease.LeaseBucket.leased": (
        "Write `with bucket.acquire() as lease:` around the work in its body, or do all work before it returns.",
        "Use `leased` of ddb_lease.aio.LeaseBucket.",
    ),
    "ddb_lease.RateLimiter.limited": (
        "Call `limiter.acquire()` in its body.",
        "Use `limited` of ddb_lease.aio.RateLimiter.",
    ),
    "ddb_lease.SlidingWindow.limited": (
        "Call `window.acquire()` in its body.",
        "Use `limited` of ddb_lease.aio.SlidingWindow.",
    ),
    "ddb_lease.aio.LeaseBucket.leased": (
        "Write `async with bucket.lease() as lease:` around the work in its body.",
        "Write `async def`, or use `leased` of ddb_lease.LeaseBucket.",
    ),
    "ddb_lease.aio.RateLimiter.limited": (
        "Write `await limiter.acquire()` in its body.",
        "Write `async def`, or use `limited` of ddb_lease.RateLimiter.",
    ),
    "ddb_lease.aio.SlidingWindow.limited": (
        "Write `await window.acquire()` in its body.",
        "Write `async def`, or use `limited` of ddb_lease.SlidingWindow.",
    ),
}


def plain(lease):
    """A plain function."""


async def coroutine(lease):
    """A coroutine function."""


async def parts(lease):
    """An async generator function."""
    yield lease


@pytest.mark.parametrize("path", DECORATORS)
def test_a_function_that_cannot_be_decorated_is_told_word_for_word_what_to_write(path):
    inside, otherwise = DECORATORS[path]
    of, _, method = path.rpartition(".")
    decorate, name = getattr(made(of), method), path.removeprefix("ddb_lease.")

    def said(function):
        with pytest.raises(ConfigurationError) as error:
            decorate()(function)
        return str(error.value)

    if path.startswith("ddb_lease.aio"):
        awaits = f"and {name} awaits what it decorates"
        assert said(plain) == f"plain is a plain function, {awaits}. {otherwise}"
        assert said(parts) == f"parts is an async generator function, {awaits}. {inside}"
    else:
        guards = f"{name} would guard making the"
        assert said(coroutine) == (
            f"coroutine is a coroutine function: {guards} coroutine, and not its body. {otherwise}"
        )
        assert said(parts) == (
            f"parts is an async generator function: {guards} async generator, and not its body. {inside}"
        )
    with pytest.raises(ConfigurationError) as error:
        decorate(plain)
    assert str(error.value) == f"{name} needs parentheses: write `@...{method}()`"
