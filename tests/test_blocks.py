"""`with` blocks: those of leases guard, those of buckets and limiters only close; and no handle is ever copied."""

import asyncio
import copy
import multiprocessing
import pickle
import re

import pytest

from ddb_lease import ConfigurationError, DynamoDBTokenBucket, LeaseBucket, LeaseLost, RateLimiter, SlidingWindow, aio
from tests.conftest import TABLE

CONTRACT = True
NOT_ON = ("embedded", "ministack")  # how blocks behave does not depend on the engine

KINDS = {
    "bucket": (LeaseBucket, {"max_tokens": 1}),
    "limiter": (RateLimiter, {"rate": 100}),
    "window": (SlidingWindow, {"max_tokens": 5, "period": 60}),
    "aio bucket": (aio.LeaseBucket, {"max_tokens": 1}),
    "aio limiter": (aio.RateLimiter, {"rate": 100}),
}
GUARDS = {
    "bucket": r"`with bucket\.acquire\(\) as lease:`",
    "limiter": r"`limiter\.acquire\(\)` takes a permit",
    "window": r"`window\.acquire\(\)` takes a permit",
    "aio bucket": r"`async with bucket\.lease\(\) as lease:`",
    "aio limiter": r"`await limiter\.acquire\(\)` takes a permit",
}


@pytest.fixture
def made(engine, session, table):
    def make(name):
        kind, settings = KINDS[name]
        return kind(table.bucket, table=TABLE, session=session, endpoint_url=engine.endpoint_url, **settings)

    return make


def is_async(made):
    return type(made).__module__.startswith("ddb_lease.aio")


def block(made, body=lambda: None):
    """Enter its block, run the body, and leave it."""
    if not is_async(made):
        with made as same:
            assert same is made
            body()
        return

    async def main():
        async with made as same:
            assert same is made
            result = body()
            if asyncio.iscoroutine(result):
                await result

    asyncio.run(main())


def use(made):
    """One thing that may be asked of it."""
    return made.acquire(timeout=60)


# Entering what only closes


@pytest.mark.parametrize("name", KINDS)
def test_a_closed_one_cannot_be_entered(made, name):
    it = made(name)
    ran = []
    block(it, lambda: use(it))
    with pytest.raises(ConfigurationError, match=f"is closed: its `with` block closes it at the end. {GUARDS[name]}"):
        block(it, lambda: ran.append("unguarded"))
    assert not ran


@pytest.mark.parametrize("name", KINDS)
def test_an_entered_one_cannot_be_entered_again_and_stays_open(made, name):
    it = made(name)
    ran = []

    def body():
        if is_async(it):
            return abody()
        with pytest.raises(ConfigurationError, match=f"is entered already, .* will close it. {GUARDS[name]}"), it:
            ran.append("unguarded")
        return use(it)

    async def abody():
        with pytest.raises(ConfigurationError, match=f"is entered already, .* will close it. {GUARDS[name]}"):
            async with it:
                ran.append("unguarded")
        await use(it)

    block(it, body)
    assert not ran


@pytest.mark.parametrize("name", KINDS)
def test_a_block_in_which_nothing_is_asked_leaves_a_warning(made, name, caplog):
    block(made(name))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "guards nothing" in record.message
    caplog.clear()
    it = made(name)
    block(it, lambda: use(it))
    assert "guards nothing" not in caplog.text


@pytest.mark.parametrize("name", KINDS)
def test_a_block_whose_body_raises_leaves_no_warning_of_its_own(made, name, caplog):
    def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block(made(name), fails)
    assert caplog.records == []


@pytest.mark.parametrize("ask", ["status", "resize", "repair", "revoke"])
def test_any_question_counts_as_use(made, ask, caplog):
    it = made("bucket")
    it.acquire(timeout=60).release()
    arguments = {"resize": (2,), "revoke": ("0-nobody",)}.get(ask, ())
    block(it, lambda: getattr(it, ask)(*arguments))
    assert caplog.records == []


# Leases


def test_a_lease_cannot_be_entered_within_its_own_block(made):
    bucket = made("bucket")
    ran = []
    with bucket.acquire(timeout=60) as lease:
        with pytest.raises(ConfigurationError, match="is entered already, by a block that releases it"), lease:
            ran.append("would be released too early")
        assert lease.held
    with pytest.raises(LeaseLost, match="released"), lease:
        ran.append("not held")
    assert not ran
    bucket.close()


def test_a_lease_cannot_be_entered_within_its_own_block_in_asyncio(made):
    ran = []

    async def main():
        bucket = made("aio bucket")
        async with bucket.lease(timeout=60) as lease:
            with pytest.raises(ConfigurationError, match="is entered already"):
                async with lease:
                    ran.append("would be released too early")
            assert lease.held
        with pytest.raises(LeaseLost, match="released"):
            async with lease:
                ran.append("not held")
        await bucket.close()

    asyncio.run(main())
    assert not ran


# Blocks that are none


async def enter_async(it):
    async with it:
        pytest.fail("it was entered")


def enter(it):
    with it:
        pytest.fail("it was entered")


async def enter_within_a_task(it):
    enter(it)


NO_BLOCK = r"^an acquire is no block: write `async with bucket\.lease\(\) as lease:`$"
WRITE = {
    "bucket": r"a LeaseBucket of ddb_lease has no `async with`: write `with bucket\.acquire\(\) as lease:`, or use",
    "limiter": r"a RateLimiter of ddb_lease has no `async with`: write `limiter\.acquire\(\)`, or use",
    "window": r"a SlidingWindow of ddb_lease has no `async with`: write `window\.acquire\(\)`, or use ddb_lease\.aio in",
    "aio bucket": r"a LeaseBucket of ddb_lease\.aio has no `with`: write `async with bucket\.lease\(\) as lease:`$",
    "aio limiter": r"a RateLimiter of ddb_lease\.aio has no `with`: write `await limiter\.acquire\(\)`$",
}


@pytest.mark.parametrize("name", KINDS)
def test_the_block_of_the_other_api_is_refused_with_what_to_write(made, name):
    it = made(name)
    with pytest.raises(ConfigurationError, match=WRITE[name]):
        enter(it) if name.startswith("aio") else asyncio.run(enter_async(it))
    block(it, lambda: use(it))  # it was neither entered nor closed


def test_a_lease_that_an_async_block_refuses_is_given_back(made, table):
    with made("bucket") as bucket:
        lease = bucket.acquire(timeout=60)
        with pytest.raises(ConfigurationError, match=r"a Lease of ddb_lease has no `async with`: write `with bucket\."):
            asyncio.run(enter_async(lease))
        assert not lease.held
        bucket.acquire(timeout=60).release()  # there is one token
        with bucket.acquire(timeout=60) as lease:
            with pytest.raises(ConfigurationError):
                asyncio.run(enter_async(lease))
            lease.check()  # it is held by its own block


def test_a_lease_of_asyncio_that_a_plain_block_refuses_is_given_back(made):
    async def main():
        async with made("aio bucket") as bucket:
            lease = await bucket.acquire(timeout=60)
            with pytest.raises(ConfigurationError, match=r"a Lease of ddb_lease\.aio has no `with`: write `async with"):
                enter(lease)
            assert not lease.held
            await (await bucket.acquire(timeout=60)).release()
            async with bucket.lease(timeout=60) as lease:
                with pytest.raises(ConfigurationError):
                    enter(lease)
                lease.check()

    asyncio.run(main())


@pytest.mark.parametrize("ask", ["acquire", "try_acquire"])
@pytest.mark.filterwarnings("error")
def test_an_acquire_of_asyncio_is_no_block_and_nothing_was_sent(made, table, ask):
    async def main():
        async with made("aio bucket") as bucket:
            for entering in (enter_async, enter_within_a_task):
                refused = entering(getattr(bucket, ask)())
                with pytest.raises(ConfigurationError, match=NO_BLOCK):
                    await refused
            assert not table.all()
            lease = await asyncio.create_task(getattr(bucket, ask)())
            await lease.release()

    asyncio.run(main())


def test_a_permit_of_asyncio_is_no_block_either(made):
    async def main():
        async with made("aio limiter") as limiter:
            with pytest.raises(ConfigurationError, match="no block: write `await limiter.acquire"):
                await enter_async(limiter.acquire())
            with pytest.raises(ConfigurationError, match="no block: write `if await limiter.try_acquire"):
                await enter_within_a_task(limiter.try_acquire())
            await limiter.acquire(timeout=60)

    asyncio.run(main())


FORGOTTEN = {
    "aio bucket": "LeaseBucket.try_acquire() was not awaited: write `await` before it, or `async with bucket.lease()",
    "aio limiter": "RateLimiter.try_acquire() was not awaited: write `await` before it, or `if await limiter.try_acq",
}


@pytest.mark.parametrize("name", FORGOTTEN)
def test_what_was_not_awaited_is_neither_true_nor_false_and_python_warns_of_it(made, name):
    async def main():
        async with made(name) as it:
            forgotten = it.try_acquire()
            with pytest.raises(ConfigurationError, match=re.escape(FORGOTTEN[name])):
                assert forgotten
            with pytest.raises(AttributeError, match=re.escape(FORGOTTEN[name])):
                forgotten.slot  # noqa: B018 - it raises
            with pytest.raises(AttributeError, match="no attribute 'nothing'"):
                forgotten.nothing  # noqa: B018 - it raises
            assert repr(forgotten).endswith(".try_acquire(), not awaited>")
            kept = [forgotten]
            del forgotten
            with pytest.warns(RuntimeWarning, match=r"try_acquire' was never awaited"):
                kept.clear()

    asyncio.run(main())


def test_the_block_of_a_lease_says_how_it_is_entered(made, table):
    async def main():
        async with made("aio bucket") as bucket:
            with pytest.raises(ConfigurationError, match=r"no `with`: write `async with bucket\.lease\(\) as lease:`"):
                enter(bucket.lease(timeout=60))
            with pytest.raises(
                ConfigurationError, match=r"is a block: .* without a block, `await bucket\.acquire\(\)`"
            ):
                await bucket.lease(timeout=60)
            with pytest.raises(ConfigurationError, match=r"is a block: .* `@bucket\.leased\(\)`"):
                bucket.lease(timeout=60)(main)
            assert not table.all()
            entered = bucket.lease(timeout=60)
            async with entered as lease:
                with pytest.raises(ConfigurationError, match=r"no `with`: write `async with lease\.guard\(\):`"):
                    enter(lease.guard())
                with pytest.raises(ConfigurationError, match=r"entered already: call bucket\.lease\(\) for each"):
                    await enter_async(entered)
                lease.check()
            with pytest.raises(ConfigurationError, match="entered already"):
                await enter_async(entered)

    asyncio.run(main())


@pytest.mark.parametrize("name", ["bucket", "aio bucket"])
def test_a_bucket_says_that_it_is_no_lease(made, name):
    it = made(name)
    for attribute in ("slot", "fence", "check"):
        with pytest.raises(
            AttributeError, match=f"^a LeaseBucket is no lease, and has no '{attribute}': write `.*lease:`"
        ):
            getattr(it, attribute)
    assert not hasattr(it, "id")
    if not is_async(it):
        with pytest.raises(
            AttributeError, match="^a LeaseBucket of ddb_lease has no 'lease': write `with bucket.acquire"
        ):
            it.lease()
    with pytest.raises(AttributeError, match="^'LeaseBucket' object has no attribute 'aquire'$"):
        it.aquire  # noqa: B018 - it raises
    block(it, lambda: use(it))


@pytest.mark.parametrize("name", ["bucket", "aio bucket"])
def test_of_all_that_a_lease_has_and_a_bucket_has_not_the_bucket_says_so(made, name):
    def check(it, lease):
        names = {each for each in dir(lease) if not each.startswith("_")} - set(dir(it))
        assert {"id", "slot", "slots", "fence", "data", "renew", "lost"} <= names
        for each in names:
            with pytest.raises(AttributeError, match=f"^a LeaseBucket is no lease, and has no '{each}': write `"):
                getattr(it, each)

    async def main():
        async with made(name) as it, it.lease(timeout=60) as lease:
            check(it, lease)

    if name.startswith("aio"):
        asyncio.run(main())
    else:
        with made(name) as it, it.acquire(timeout=60) as lease:
            check(it, lease)


# Copies


COPIES = {
    "copied": copy.copy,
    "copied deeply": lambda it: copy.deepcopy({"in": [it]}),
    **{f"pickled by {protocol}": lambda it, p=protocol: pickle.dumps([it], p) for protocol in range(6)},
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("how", COPIES)
def test_what_belongs_to_a_process_is_not_copied(made, name, how):
    it = made(name)
    says = "belongs to its process, and cannot be copied or pickled: pass its name and settings"
    with pytest.raises(TypeError, match=f"a {type(it).__name__} {says}"):
        COPIES[how](it)
    with pytest.raises(TypeError, match=says):
        COPIES[how](it.acquire if how.startswith("pickled") else it)
    if is_async(it):
        asyncio.run(it.close())
    else:
        it.close()


@pytest.mark.parametrize("how", COPIES)
def test_a_token_bucket_is_not_copied(engine, session, how):
    bucket = DynamoDBTokenBucket("t", 1, 60, session=session, endpoint_url=engine.endpoint_url)
    with pytest.raises(TypeError, match="a token is its id, which any process may release"):
        COPIES[how](bucket)


@pytest.mark.parametrize("how", COPIES)
def test_a_lease_is_not_copied_and_stays_held(made, how):
    bucket = made("bucket")
    with bucket.acquire(timeout=60) as lease:
        with pytest.raises(TypeError, match=r"a Lease belongs to its process, .*: pass its id, .* and its fence"):
            COPIES[how](lease)
        assert lease.held
    bucket.close()


@pytest.mark.parametrize("how", COPIES)
def test_a_lease_of_asyncio_is_not_copied(made, how):
    async def main():
        async with made("aio bucket") as bucket, bucket.lease(timeout=60) as lease:
            with pytest.raises(TypeError, match="pass its id"):
                COPIES[how](lease)

    asyncio.run(main())


def test_a_lease_does_not_travel_to_a_spawned_process(made):
    bucket = made("bucket")
    with bucket.acquire(timeout=60) as lease:
        child = multiprocessing.get_context("spawn").Process(target=print, args=(lease,))
        with pytest.raises(TypeError, match="pass its id"):
            child.start()
        assert lease.held
    bucket.close()
