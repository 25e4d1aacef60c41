"""The types that a user's type checker sees. Checked by `scripts/check`, and never run.

- `assert_type` states what a name or a call is; a wider or a narrower type fails the check.
- A line with `type: ignore[...]` must not type-check: mypy reports an ignore that it does not need.
- `test_public_surface.py` fails if a public name does not occur here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from pyrate_limiter import RateItem

import ddb_lease
from ddb_lease import aio, events, local, rate_events, testing
from ddb_lease.adapters import asgi, langchain, limits, pyrate, wsgi

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.config import Config
    from typing_extensions import assert_never, assert_type  # in typing from Python 3.11 on


def bucket_and_lease() -> None:
    bucket = ddb_lease.LeaseBucket(
        "reports",
        max_tokens=4,
        lease_seconds=60,
        table="ddb-lease",
        endpoint_url=None,
        owner="me",
        timing=ddb_lease.Timing(front_end_skew=0.5),
        on_event=None,
    )
    ddb_lease.LeaseBucket("reports", 4)  # type: ignore[call-arg]
    ddb_lease.LeaseBucket("reports")  # type: ignore[call-arg]
    assert_type(bucket.name, str)
    assert_type(bucket.table, str)
    assert_type(bucket.owner, str)
    assert_type(bucket.acquire(), ddb_lease.Lease)
    assert_type(bucket.acquire(10, count=2, data={"job": 17}, on_lost=print), ddb_lease.Lease)
    assert_type(bucket.try_acquire(count=2), ddb_lease.Lease | None)
    assert_type(bucket.acquire(hold_at_least=840), ddb_lease.Lease)
    assert_type(bucket.try_acquire(hold_at_least=timedelta(minutes=14)), ddb_lease.Lease | None)
    bucket.acquire(hold_at_least="14m")  # type: ignore[arg-type]
    bucket.acquire(10, 2)  # type: ignore[call-arg]
    bucket.try_acquire().release()  # type: ignore[union-attr]
    assert_type(bucket.release("0-x"), bool)
    assert_type(bucket.revoke("0-x"), bool)
    assert_type(bucket.resize(3), ddb_lease.Resized)
    assert_type(bucket.configure(order="fifo"), ddb_lease.Configured)
    bucket.configure(order="lifo")  # type: ignore[arg-type]
    assert_type(bucket.repair(), ddb_lease.Repaired)
    assert_type(bucket.reset(), int)
    assert_type(bucket.status(), ddb_lease.BucketStatus)
    as_context: AbstractContextManager[ddb_lease.LeaseBucket] = bucket
    with as_context, bucket as itself, bucket.acquire() as lease:
        assert_type(itself, ddb_lease.LeaseBucket)
        assert_type(lease, ddb_lease.Lease)
        assert_type(lease.id, str)
        assert_type(lease.slot, int)
        assert_type(lease.slots, tuple[int, ...])
        assert_type(lease.fence, int)
        assert_type(lease.owner, str)
        assert_type(lease.data, Mapping[str, Any])
        assert_type(lease.grace, float)
        assert_type(lease.held, bool)
        assert_type(lease.remaining, float)
        assert_type(lease.lost, ddb_lease.LossReason | None)
        assert_type(lease.release(), bool)
        lease.on_lost = lambda lost: assert_type(lost, ddb_lease.Lease)
        lease.held = False  # type: ignore[misc]
        lease.check()
        lease.renew()
        assert_type(lease.conditions(), list[dict[str, Any]])
        assert_type(lease.conditions(plain=True), list[dict[str, Any]])
        token = lease.hand_over(within=timedelta(seconds=30))
        assert_type(token, str)
        assert_type(bucket.adopt(token, data={"a": 1}, on_lost=lambda lost: lost.id), ddb_lease.Lease)
        lease.hand_over(30)  # type: ignore[call-arg]


def leading() -> None:
    def work(lease: ddb_lease.Lease) -> None: ...

    leader = ddb_lease.Leader("scheduler", on_elected=work, on_lost=work, lease_seconds=15, data={"url": "x"})
    ddb_lease.Leader("scheduler", work)  # type: ignore[call-arg]
    assert_type(leader.name, str)
    assert_type(leader.table, str)
    assert_type(leader.is_leader, bool)
    assert_type(leader.fence, int | None)
    assert_type(leader.current(), ddb_lease.LeaseInfo | None)
    assert_type(leader.pause(5), bool)
    assert_type(leader.pause(timedelta(seconds=5), lease=None), bool)
    assert_type(leader.join(timedelta(seconds=5)), bool)
    leader.start()
    leader.stop()
    with leader as itself:
        assert_type(itself, ddb_lease.Leader)
    leader.run()


async def leading_asynchronously() -> None:
    async def work(lease: aio.Lease) -> None: ...

    leader = aio.Leader("scheduler", on_elected=work, on_lost=work)
    assert_type(leader.is_leader, bool)
    assert_type(leader.fence, int | None)
    assert_type(await leader.current(), ddb_lease.LeaseInfo | None)
    assert_type(await leader.join(5), bool)
    leader.start()
    leader.stop()
    async with leader as itself:
        assert_type(itself, aio.Leader)
    await leader.run()


def several_at_once() -> None:
    bucket = ddb_lease.LeaseBucket("reports", max_tokens=1)
    limiter = ddb_lease.RateLimiter("mail", rate=5)
    leases = ddb_lease.acquire_all([bucket, (bucket, 2)], timeout=10, rate=limiter, data={"job": 17}, on_lost=print)
    assert_type(leases, ddb_lease.Leases)
    ddb_lease.acquire_all([bucket], rate=(limiter.key("a"), 3))
    ddb_lease.acquire_all([limiter])  # type: ignore[list-item]
    ddb_lease.acquire_all(bucket)  # type: ignore[arg-type]
    with leases as itself:
        assert_type(itself, ddb_lease.Leases)
        assert_type(leases.leases, tuple[ddb_lease.Lease, ...])
        for lease in leases:
            assert_type(lease, ddb_lease.Lease)
        assert_type(leases.held, bool)
        assert_type(leases.remaining, float)
        assert_type(leases.lost, ddb_lease.LossReason | None)
        assert_type(leases.release(), bool)
        leases.check()


async def several_at_once_in_asyncio() -> None:
    bucket = aio.LeaseBucket("reports", max_tokens=1)
    leases = await aio.acquire_all([bucket, (bucket, 2)], timeout=10)
    assert_type(leases, aio.Leases)
    await bucket.acquire(hold_at_least=840)
    await bucket.try_acquire(hold_at_least=840)
    async with leases as itself:
        assert_type(itself, aio.Leases)
        assert_type(leases.leases, tuple[aio.Lease, ...])
        assert_type(leases.reason, ddb_lease.LossReason | None)
        assert_type(await leases.release(), bool)


def decorated() -> None:
    bucket = ddb_lease.LeaseBucket("reports", max_tokens=1)
    limiter = ddb_lease.RateLimiter("mail", rate=5)
    window = ddb_lease.SlidingWindow("sign-ups", max_tokens=5, period=3600)

    @bucket.handler(margin=5, timeout=timedelta(seconds=3), data={"a": 1}, on_busy=lambda event, context: "busy")
    def handler(lease: ddb_lease.Lease, event: str, context: object) -> str:
        return event

    assert_type(handler, Callable[[Any, Any], Any])
    bucket.handler(5)  # type: ignore[call-arg]

    @bucket.leased(timeout=60, count=1)
    def report(lease: ddb_lease.Lease, day: str, *, pages: int = 1) -> list[str]:
        return [f"{day} on slot {lease.slot}"] * pages

    assert_type(report("Monday", pages=2), list[str])
    report()  # type: ignore[call-arg]
    report("Monday", pages="2")  # type: ignore[arg-type]

    @limiter.limited(timeout=1, key=lambda user, **_: user)
    def greet(user: str, *, loud: bool = False) -> str:
        return user

    assert_type(greet("ann", loud=True), str)
    limiter.limited(key="ann")  # type: ignore[arg-type]

    class Job:
        @bucket.leased(timeout=timedelta(minutes=1))
        def run(self, lease: ddb_lease.Lease, day: str) -> int:
            return lease.slot + len(day)

    assert_type(Job().run("Monday"), int)
    Job().run(17)  # type: ignore[arg-type]
    bucket.acquire(timedelta(seconds=5)).release()

    @bucket.leased()  # type: ignore[arg-type]
    def without_lease(day: str) -> str:
        return day

    @limiter.limited(timeout=1, n=2)
    def send(to: str) -> int:
        return len(to)

    @window.limited()
    def sign_up(name: str) -> bool:
        return bool(name)

    assert_type(send("me"), int)
    assert_type(sign_up("me"), bool)
    send(17)  # type: ignore[arg-type]


def rates() -> None:
    limiter = ddb_lease.RateLimiter("mail", rate=5, per=60, burst=2, prefetch=0)
    assert_type(limiter.name, str)
    assert_type(limiter.burst, int)
    assert_type(limiter.try_acquire(2), bool)
    assert_type(limiter.wait_time(2), float)
    limiter.acquire(2, timeout=1)
    limiter.acquire(2, 1)  # type: ignore[call-arg]
    status = limiter.status()
    assert_type(status, ddb_lease.RateStatus)
    assert_type(status.available, int)
    assert_type(status.wait_seconds, float)
    assert_type(status.stored, tuple[float, float, int] | None)
    with limiter as same:
        assert_type(same, ddb_lease.RateLimiter)
    decision = limiter.check(2, timeout=1)
    assert_type(decision.settings, Mapping[str, ddb_lease.Limit])
    assert_type(decision, ddb_lease.Decision)
    assert_type(decision.limits, Mapping[str, ddb_lease.LimitDecision])

    window = ddb_lease.SlidingWindow("sign-ups", max_tokens=5, period=3600)
    assert_type(window.try_acquire(), bool)
    window.acquire(timeout=1)
    assert_type(window.check(timeout=timedelta(seconds=1)), ddb_lease.WindowDecision)
    assert_type(window.check().retry_after, float)
    window.check(2)  # type: ignore[call-arg]
    assert_type(window.status(), ddb_lease.BucketStatus)

    tokens = ddb_lease.DynamoDBTokenBucket("tokens", max_tokens=10, token_timeout_seconds=300)
    assert_type(tokens.acquire_token(timeout_seconds=1), tuple[str | None, bool])
    assert_type(tokens.release_token("x"), bool)
    assert_type(tokens.cleanup_expired_tokens(), int)


def keys_of_rates() -> None:
    api = ddb_lease.RateLimiter("llm", limits={"requests": ddb_lease.Limit(100, per=60), "tokens": ddb_lease.Limit(9)})
    team = api.key("team-7")
    assert_type(team, ddb_lease.KeyLimiter)
    assert_type(team.try_acquire(requests=1, tokens=9), bool)
    assert_type(team.override(tokens=ddb_lease.Limit(18, burst=3)), Mapping[str, ddb_lease.Limit])
    team.override(None)
    team.override(tokens=5)  # type: ignore[arg-type]
    team.block(timedelta(minutes=1))
    team.block(None)  # type: ignore[arg-type]
    team.unblock()
    team.reset()
    assert_type(team.status(), ddb_lease.RateStatus)
    assert_type(api.policy(), Mapping[str, ddb_lease.Limit])
    assert_type(api.set_policy(tokens=None), Mapping[str, ddb_lease.Limit])
    assert_type(list(api.keys()), list[ddb_lease.RateStatus])
    with team.reserve(requests=1, tokens=9, timeout=1) as reservation:
        assert_type(reservation, ddb_lease.Reservation)
        reservation.settle(tokens=5)


def values(
    status: ddb_lease.BucketStatus, info: ddb_lease.LeaseInfo, done: ddb_lease.Resized, repaired: ddb_lease.Repaired
) -> None:
    assert_type(status.leases, tuple[ddb_lease.LeaseInfo, ...])
    assert_type(status.free, int)
    assert_type(status.queue, tuple[ddb_lease.Waiter, ...])
    assert_type(status.waiting, int)
    assert_type(status.drift, int)
    assert_type(status.lease_seconds, float)
    assert_type(info.remaining_seconds, float)
    assert_type(info.expired, bool)
    assert_type(info.data, Mapping[str, Any])
    assert_type((done.before, done.after, done.retired, done.running), tuple[int, int, int, int])
    assert_type((repaired.before, repaired.after, repaired.retired), tuple[int, int, int])
    status.max_tokens = 2  # type: ignore[misc]
    ddb_lease.Resized(1, 2, 3, 4)  # type: ignore[call-arg]
    timing = ddb_lease.Timing(retention=3600, front_end_skew=1)
    assert_type(timing.margin_for(60), float)
    assert_type(ddb_lease.client_config(lease_seconds=60), Config)


def failures(bucket: ddb_lease.LeaseBucket) -> None:
    try:
        bucket.acquire(1).check()
    except ddb_lease.LeaseLost as lost:
        assert_type(lost.reason, ddb_lease.LossReason)
        assert_type(lost.lease_id, str)
    except ddb_lease.Overtaken as overtaken:
        assert_type(overtaken.max_tokens, int)
    except ddb_lease.RateTimeout as in_vain:
        assert_type((in_vain.rate, in_vain.key, in_vain.limit), tuple[str, str, str])
        assert_type((in_vain.retry_after, in_vain.blocked_seconds), tuple[float, float])
    except ddb_lease.AcquireTimeout as too_late:
        assert_type((too_late.place, too_late.holders), tuple[int | None, tuple[str, ...]])
    a_timeout: type[TimeoutError] = ddb_lease.AcquireTimeout
    a_value_error: type[ValueError] = ddb_lease.ConfigurationError
    its_child: type[ddb_lease.ConfigurationError] = ddb_lease.TooManyPermits
    a_lookup_error: type[LookupError] = ddb_lease.UnknownBucket
    of_the_store: list[type[ddb_lease.StoreError]] = [ddb_lease.StoreRejected, ddb_lease.StoreUnavailable]
    of_ours: list[type[ddb_lease.LeaseError]] = [ddb_lease.EngineError, ddb_lease.StoreError]
    print(a_timeout, a_value_error, its_child, a_lookup_error, of_the_store, of_ours)


def every_event(event: events.Event) -> str:
    """If a new kind is added, the type checker tells a user who handles all kinds."""
    match event:
        case events.Acquired():
            assert_type(event.slots, tuple[int, ...])
            assert_type(event.waited_seconds, float)
        case events.Renewed():
            assert_type(event.late_seconds, float)
        case events.Released():
            assert_type(event.freed, bool)
        case events.Lost():
            assert_type(event.reason, ddb_lease.LossReason)
        case events.HandedOver():
            assert_type(event.lease_id, str)
        case events.Contended():
            assert_type(event.reason, Literal["taken", "conflict"])
        case events.Throttled():
            assert_type(event.operation, str)
            assert_type(event.limit, events.ThrottledBy)
        case events.ReMinted():
            assert_type(event.slot, int)
        case events.Waiting():
            assert_type((event.place, event.exact), tuple[int, bool])
            assert_type((event.count, event.priority, event.ticket), tuple[int, int, str])
        case _:
            assert_never(event)
    return event.bucket


def an_observer() -> events.OnEvent:
    seen: list[events.Event] = []
    ddb_lease.LeaseBucket("reports", max_tokens=1, on_event=seen.append)
    ddb_lease.LeaseBucket("reports", max_tokens=1, on_event=len)  # type: ignore[arg-type]
    return every_event


def every_rate_event(event: rate_events.RateEvent) -> str:
    assert_type(event.rate, str)
    assert_type(event.key, str)
    match event:
        case rate_events.Admitted() | rate_events.Reserved():
            assert_type(event.permits, Mapping[str, int])
            assert_type(event.decided_by, Literal["table", "allow", "deny", "local"])
        case rate_events.Denied():
            assert_type(event.retry_after, float)
        case rate_events.Booked():
            assert_type(event.due_in_seconds, float)
        case rate_events.Settled():
            assert_type(event.used, Mapping[str, int])
        case rate_events.PolicyChanged():
            assert_type(event.limits, Mapping[str, ddb_lease.Limit])
        case rate_events.RateThrottled():
            assert_type(event.limit, events.ThrottledBy)
        case rate_events.Unavailable():
            assert_type(event.on_unavailable, Literal["raise", "allow", "deny", "local"])
        case rate_events.Available():
            assert_type(event.seconds, float)
        case _:
            assert_never(event)
    return event.rate


def a_rates_observer() -> rate_events.OnRateEvent:
    seen: list[rate_events.RateEvent] = []
    ddb_lease.RateLimiter("mail", rate=5, on_event=seen.append, on_unavailable="local", budget=2, local_share=0.5)
    ddb_lease.RateLimiter("mail", rate=5, on_unavailable="ignore")  # type: ignore[arg-type]
    aio.RateLimiter("mail", rate=5, on_event=seen.append, on_unavailable="deny", budget=timedelta(seconds=1))
    ddb_lease.SlidingWindow("sign-ups", max_tokens=1, period=60, on_event=seen.append)
    aio.SlidingWindow("sign-ups", max_tokens=1, period=60, on_event=seen.append)
    return seen.append


async def on_a_loop() -> None:
    async with aio.LeaseBucket("reports", max_tokens=4) as bucket:
        assert_type(bucket, aio.LeaseBucket)
        assert_type(await bucket.acquire(timeout=1), aio.Lease)
        assert_type(await bucket.try_acquire(), aio.Lease | None)
        assert_type(await bucket.release("0-x"), bool)
        assert_type(await bucket.resize(3), ddb_lease.Resized)
        assert_type(await bucket.configure(order="any"), ddb_lease.Configured)
        assert_type(await bucket.status(), ddb_lease.BucketStatus)
        bucket.acquire().release()  # type: ignore[attr-defined]
        as_context: AbstractAsyncContextManager[aio.Lease] = bucket.lease(timeout=1)
        async with as_context, bucket.lease(timeout=1) as lease:
            assert_type(lease, aio.Lease)
            assert_type(lease.reason, ddb_lease.LossReason | None)
            assert_type(await lease.lost(), ddb_lease.LossReason)
            assert_type(await lease.release(), bool)
            assert_type(lease.conditions(plain=True), list[dict[str, Any]])
            token = await lease.hand_over(within=30)
            assert_type(token, str)
            assert_type(await bucket.adopt(token, on_lost=print), aio.Lease)

        @bucket.leased(timeout=60)
        async def report(lease: aio.Lease, day: str) -> list[str]:
            return [f"{day} on slot {lease.slot}"]

        class Job:
            @bucket.leased()
            async def run(self, lease: aio.Lease, day: str) -> int:
                return lease.slot + len(day)

        assert_type(await Job().run("Monday"), int)

        as_function: Callable[[str], Coroutine[Any, Any, list[str]]] = report
        assert_type(await as_function("Monday"), list[str])
        await report(17)  # type: ignore[arg-type]

    async with aio.RateLimiter("mail", rate=5) as limiter:
        assert_type(await limiter.try_acquire(2), bool)
        assert_type(limiter.wait_time(), float)
        assert_type(await limiter.status(), ddb_lease.RateStatus)
        key = limiter.key("team-7")
        assert_type(key, aio.KeyLimiter)
        assert_type(await key.override(ddb_lease.Limit(5)), Mapping[str, ddb_lease.Limit])
        await key.block(60)
        await key.reset()
        assert_type(await key.reserve(5, timeout=1), aio.Reservation)
        async for used in limiter.keys():
            assert_type(used, ddb_lease.RateStatus)

    async with aio.SlidingWindow("sign-ups", max_tokens=5, period=3600) as window:
        assert_type(await window.try_acquire(), bool)
        await window.acquire(timeout=1)
        assert_type(await window.check(timeout=1), ddb_lease.WindowDecision)
        assert_type(await window.status(), ddb_lease.BucketStatus)
        window.release()  # type: ignore[attr-defined]


def local_engine() -> None:
    engine = local.start(timeout=10)
    assert_type(engine, local.Engine)
    assert_type(engine.endpoint_url, str)
    session: Session = engine.session()
    assert_type(local.find(), local.Engine | None)
    assert_type(local.stop(), bool)
    assert_type(local.connect("t", create=True), dict[str, Any])
    assert_type(local.EngineError("x"), ddb_lease.EngineError)
    ddb_lease.LeaseBucket("reports", max_tokens=1, session=session, **local.connect())


def test_kit() -> None:
    assert_type(testing.Stage(**local.connect()), testing.TestEnvironment)
    with testing.TestEnvironment(**local.connect()) as stage:
        assert_type(stage.clock, testing.MovableClock)
        assert_type(stage.bucket(max_tokens=2), ddb_lease.LeaseBucket)
        assert_type(stage.leases, list[ddb_lease.Lease])
        stage.advance(60)
        stage.lose(stage.leases[0], reason=ddb_lease.LossReason.TAKEN)
        with stage.outage(answers_only=True):
            pass


def limiters_of_other_libraries() -> None:
    storage = limits.DynamoDBStorage("dynamodb:///limits", name="api", timeout=timedelta(seconds=2))
    assert_type(storage.incr("k", 60), int)
    assert_type(storage.acquire_sliding_window_entry("k", 5, 60, amount=2), bool)
    assert_type(storage.get_sliding_window("k", 60), tuple[int, float, int, float])
    limits.DynamoDBStorage("dynamodb:///limits", True, "api")  # type: ignore[call-arg]
    awaited = limits.AsyncDynamoDBStorage("async+dynamodb:///limits", max_requests=4)
    incr: Coroutine[Any, Any, int] = awaited.incr("k", 60)
    blocking = ddb_lease.RateLimiter("model", rate=5)
    calls = langchain.LangChainRateLimiter(blocking, aio_limiter=aio.RateLimiter("model", rate=5), timeout=9)
    assert_type(calls.acquire(blocking=False), bool)
    langchain.LangChainRateLimiter(aio.RateLimiter("model", rate=5))  # type: ignore[arg-type]
    bucket = pyrate.DynamoDBBucket("api", [], key="customer-7", table="ddb-lease")
    assert_type(bucket.count(), int)
    put: Coroutine[Any, Any, bool] = pyrate.AsyncDynamoDBBucket("api", []).put(RateItem("customer-7", 0))
    print(incr, put)


def process_ends() -> None:
    ddb_lease.exit_on_sigterm()
    ddb_lease.exit_on_sigterm(code=0)
    ddb_lease.exit_on_sigterm(0)  # type: ignore[call-arg]


def middleware(
    app: Callable[[Any, Any], list[bytes]], asgi_app: Callable[[Any, Any, Any], Coroutine[Any, Any, None]]
) -> None:
    blocking, awaited = ddb_lease.RateLimiter("api", rate=5), aio.RateLimiter("api", rate=5)
    wsgi.RateLimitMiddleware(app, limiter=blocking, key=wsgi.by_header("x-api-key"), exempt=["/health"], wait=1)
    wsgi.RateLimitMiddleware(app, limiter=blocking.key("all"), key=None, cost=lambda environ: {"requests": 1})
    wsgi.RateLimitMiddleware(app, limiter=awaited)  # type: ignore[arg-type]
    by_address = asgi.by_client_address(trusted_proxies=1, ipv6_prefix=56)
    asgi.RateLimitMiddleware(asgi_app, limiter=awaited, key=by_address, under=[awaited.key("all")])
    asgi.RateLimitMiddleware(asgi_app, limiter=awaited, key=asgi.by_header("x-api-key", digest=True), cost=2)
    asgi.RateLimitMiddleware(asgi_app, limiter=blocking)  # type: ignore[arg-type]
    asgi.RateLimitMiddleware(asgi_app, awaited)  # type: ignore[call-arg]
    assert_type(wsgi.by_client_address()({}), str | None)
