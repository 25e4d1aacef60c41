"""A rate whose service is really gone: refused, hanging or throttled by a proxy, in both APIs, by the clock on the wall."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from ddb_lease import RateLimiter, StoreUnavailable, aio
from ddb_lease._protocol.rates.contact import PROBE_SECONDS
from tests.apis import Loop
from tests.conftest import TABLE
from tests.faults import proxy as faults
from tests.faults.proxy import every
from tests.rate_apis import APIS, limiter_of

BUDGET = 4.0
SLACK = 3.0
"""Seconds that a busy machine may take more."""
HOUR = 3600.0


@pytest.fixture(scope="module")
def loop():
    made = Loop()
    yield made
    made.close()


@pytest.fixture(params=APIS)
def make(request, proxy, session, bucket_name, table, loop):
    """Makes a limiter that reaches its engine through the proxy."""
    made = []

    def limiter(**settings):
        where = {"session": session, "endpoint_url": proxy.endpoint_url, "table": TABLE}
        one = limiter_of(request.param, loop, bucket_name, **(where | {"budget": BUDGET} | settings))
        made.append(one)
        return one

    yield limiter
    for one in made:
        one.close()


def timed(call):
    began = time.monotonic()
    found = call()
    return found, time.monotonic() - began


def until_the_table_decides(key, seconds):
    until = time.monotonic() + seconds
    while key.check().decided_by != "table":
        assert time.monotonic() < until
        time.sleep(0.05)


def refused(proxy):
    proxy.refuse()


def hanging(proxy):
    proxy.decide = every(faults.answered_late(60.0))


def throttled(proxy):
    proxy.decide = every(faults.THROTTLED)


def resetting(proxy):
    proxy.decide = every(faults.RESET)


@pytest.mark.parametrize("gone", [refused, hanging, throttled, resetting])
def test_every_decision_is_made_within_its_budget_and_the_table_decides_again_after(make, proxy, gone):
    limiter = make(rate=40, per=HOUR, on_unavailable="local")
    until_the_table_decides(limiter.key("warm"), 60)  # the first decision takes several requests
    assert limiter.key("a").check().decided_by == "table"
    gone(proxy)
    found = [timed(limiter.key(f"k{number}").check) for number in range(4)]
    found += [timed(limiter.key("a").check) for _ in range(6)]
    assert {decision.decided_by for decision, _ in found} == {"local"}
    assert [decision.allowed for decision, _ in found] == [True] * 8 + [False] * 2, "four permits of forty for each key"
    assert max(took for _, took in found) <= BUDGET + SLACK
    if gone is not throttled:
        at_once = [took for _, took in found if took < SLACK / 4]
        assert len(at_once) >= len(found) - 4, "in an outage only a probe waits"
    proxy.heal()
    until_the_table_decides(limiter.key("back"), PROBE_SECONDS + BUDGET + 10)
    assert limiter.key("a").status().available <= 39


def test_a_crowd_in_an_outage_sends_a_request_or_two_a_second_and_waits_for_none(proxy, session, bucket_name, table):
    limiter = RateLimiter(
        bucket_name,
        rate=100,
        session=session,
        endpoint_url=proxy.endpoint_url,
        table=TABLE,
        on_unavailable="allow",
        budget=BUDGET,
    )
    with limiter:
        limiter.acquire(timeout=5)
        hanging(proxy)
        while limiter.check().decided_by == "table":
            pass
        met, began, slow, count = proxy.count(faults.answered_late(60.0).name), time.monotonic(), [], []

        def ask(number):
            while time.monotonic() - began < 3.0:
                decision, took = timed(limiter.key(f"k{number}").check)
                assert decision.allowed
                count.append(1)
                slow.extend([took] if took > SLACK / 4 else [])
                time.sleep(0.005)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        took = time.monotonic() - began
        assert len(count) > 300
        assert len(slow) <= took / PROBE_SECONDS + 1
        assert proxy.count(faults.answered_late(60.0).name) - met <= 2 * (took / PROBE_SECONDS + 1)


@pytest.mark.parametrize("known", [True, False], ids=["later", "as it begins"])
def test_tasks_in_an_outage_do_not_wait_for_one_another(proxy, session, bucket_name, table, known):
    async def main():
        async with aio.RateLimiter(
            bucket_name,
            rate=100,
            session=session,
            endpoint_url=proxy.endpoint_url,
            table=TABLE,
            on_unavailable="allow",
            budget=BUDGET,
        ) as limiter:
            await limiter.acquire(timeout=5)
            hanging(proxy)
            if known:
                while (await limiter.check()).decided_by == "table":
                    pass
            began = time.monotonic()
            found = await asyncio.gather(*(limiter.key(str(number)).check() for number in range(300)))
            # As it begins, there are more requests than threads: those that get none in time are not sent.
            return time.monotonic() - began, {decision.decided_by for decision in found}

    took, by = asyncio.run(main())
    assert by == {"allow"}
    assert took <= BUDGET + 2 * SLACK


def test_an_acquire_that_waits_through_an_outage_is_served_by_the_table_after_it(make, proxy):
    limiter = make(rate=40, per=HOUR, on_unavailable="local")
    limiter.key("a").acquire(timeout=5)
    refused(proxy)
    while limiter.key("b").check().decided_by == "table":
        pass
    healing, began = threading.Timer(1.5, proxy.heal), time.monotonic()
    healing.start()
    try:
        limiter.key("large").acquire(20, timeout=60)  # more than its share's burst
        took = time.monotonic() - began
    finally:
        healing.join()
    assert 1.0 <= took <= 1.5 + PROBE_SECONDS + BUDGET + 10
    assert limiter.key("large").status().available <= 20, "the table has it"


def test_without_a_setting_an_outage_is_waited_out_as_ever(make, proxy):
    limiter = make(rate=40, per=HOUR, budget=None)
    limiter.acquire(timeout=5)
    refused(proxy)
    with pytest.raises(StoreUnavailable):
        limiter.try_acquire()
    healing = threading.Timer(1.5, proxy.heal)
    healing.start()
    limiter.acquire(timeout=30)
    healing.join()
