"""What only middleware for ASGI meets: a loop that must not be blocked, clients that leave, websockets, lifespans."""

import asyncio
import contextvars
import threading

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from ddb_lease import aio
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.adapters.asgi import RateLimitMiddleware
from ddb_lease.aio.inbox import MOST_BYTES, Inbox
from ddb_lease.dynamodb import ConnectionSettings
from scripts.harness.inside import core_of
from tests.adapters.clients import ask, items, scope_of
from tests.support import Tap

HOUR = 3600.0
PATIENCE = 60.0


@pytest.fixture
def limiter(service):
    made = []

    def make(name="api", **settings):
        tap = Tap()
        where = {
            "session": service.session(),
            "endpoint_url": service.endpoint_url,
            "runtime": Runtime(wrap=tap.around),
        }
        made.append(aio.RateLimiter(name, **({"rate": 1, "per": HOUR} | settings | where)))
        made[-1].tap = tap
        return made[-1]

    yield make
    for one in made:
        asyncio.run(one.close())


class Client:
    """One connection: what it sends is what the application receives, and its end."""

    def __init__(self, *messages):
        self.sent = []
        self._messages = list(messages)
        self._more = asyncio.Event()
        self.received = 0

    def say(self, message):
        self._messages.append(message)
        self._more.set()

    async def receive(self):
        while not self._messages:
            self._more.clear()
            await self._more.wait()
        self.received += 1
        return self._messages.pop(0)

    async def send(self, message):
        self.sent.append(message)

    def run(self, app, **scope):
        return asyncio.ensure_future(app(scope_of(**scope), self.receive, self.send))


async def ok(scope, receive, send):
    await PlainTextResponse("ok")(scope, receive, send)


async def turns(n=50):
    for _ in range(n):
        await asyncio.sleep(0)


# The loop.


def test_the_loop_goes_on_while_the_service_takes_its_time(limiter):
    asked, answer = threading.Event(), threading.Event()

    def hangs(request):
        asked.set()
        assert answer.wait(PATIENCE)

    async def main():
        permits = limiter(rate=10)
        await permits.status()
        permits.tap.inject(object, before=hangs)
        request = asyncio.ensure_future(ask(RateLimitMiddleware(ok, limiter=permits)))
        beats = 0
        while not asked.is_set() or beats < 100:  # a loop that is blocked never gets here
            await asyncio.sleep(0)
            beats += 1
        assert not request.done()
        answer.set()
        return (await request).status

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == 200


def requests_take_at_most(seconds, monkeypatch):
    """By what limiters know of their clients' timeouts: a call that waits has some more time for two."""
    monkeypatch.setattr(ConnectionSettings, "call_seconds", lambda *_: seconds)


def test_a_request_for_which_no_thread_is_free_is_answered_in_time(limiter, monkeypatch):
    requests_take_at_most(0.0, monkeypatch)
    asked, answer = threading.Event(), threading.Event()

    def hangs(request):
        asked.set()
        answer.wait(PATIENCE)

    async def main():
        permits = limiter(rate=10, max_requests=1)
        await permits.status()
        permits.tap.inject(object, before=hangs)
        first = asyncio.ensure_future(ask(RateLimitMiddleware(ok, limiter=permits, wait=PATIENCE)))
        assert await asyncio.to_thread(asked.wait, PATIENCE)
        app = RateLimitMiddleware(ok, limiter=permits, wait=0.05)
        others = await asyncio.gather(*(ask(app, address=f"192.0.2.{number}") for number in range(8, 16)))
        answer.set()
        return [(await first).status, *(other.status for other in others)]

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == [200] + [503] * 8


def test_other_requests_are_answered_while_one_waits_for_its_permits(limiter):
    async def main():
        permits = limiter()
        app = RateLimitMiddleware(ok, limiter=permits, wait=2 * HOUR)
        assert (await ask(app)).status == 200
        client = Client({"type": "http.request"})
        waiting = client.run(app)
        assert (await ask(app, address="192.0.2.8")).status == 200
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return core_of(permits).state.book("192.0.2.7").waiting()

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == []


def test_a_request_that_another_asked_for_in_vain_is_told_of_the_outage_and_not_of_its_quota(limiter, monkeypatch):
    requests_take_at_most(0.025, monkeypatch)
    answer = threading.Event()

    async def main():
        permits = limiter(rate=5)
        permits.tap.inject(object, before=lambda _: answer.wait(PATIENCE))
        app = RateLimitMiddleware(ok, limiter=permits, wait=0.05)
        first = Client().run(app)
        await turns()
        client = Client()
        await client.run(app)
        answer.set()
        await first
        return client.sent[0]

    denied = asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert denied["status"] == 503
    assert dict(denied["headers"])[b"retry-after"] == b"5"


# A client that leaves while it waits.


def test_a_client_that_leaves_ends_its_wait(limiter):
    async def main():
        permits = limiter(rate=1, per=HOUR)
        called = []
        app = RateLimitMiddleware(lambda *_: called.append(1), limiter=permits, wait=2 * HOUR)
        await permits.key("192.0.2.7").acquire()
        permits.tap.clear()
        client = Client({"type": "http.request", "body": b"x"})
        waiting = client.run(app)
        await turns()
        client.say({"type": "http.disconnect"})
        await asyncio.wait_for(waiting, PATIENCE)
        assert (client.sent, called) == ([], [])
        return core_of(permits).state.book("192.0.2.7").waiting()

    assert asyncio.run(main()) == []


def test_what_a_client_sends_while_it_waits_reaches_the_application_in_order(limiter):
    got, clients = [], []

    async def reads(scope, receive, send):
        more = True
        while more:
            message = await receive()
            got.append(message["body"])
            if len(got) == 2:  # a receive is under way by now, and gets what comes while the application receives
                clients.append(asyncio.ensure_future(says_later(clients[0])))
            more = message.get("more_body", False)
        await ok(scope, receive, send)

    async def says_later(client):
        await turns()
        client.say({"type": "http.request", "body": b"c"})

    async def main():
        permits = limiter(rate=20, per=1, burst=1)
        app = RateLimitMiddleware(reads, limiter=permits, wait=30)
        await permits.key("192.0.2.7").acquire()
        client = Client(*({"type": "http.request", "body": body, "more_body": True} for body in (b"a", b"b")))
        clients.append(client)
        request = client.run(app)
        await asyncio.wait_for(request, PATIENCE)
        return client.sent[0]["status"]

    assert asyncio.run(main()) == 200
    assert got == [b"a", b"b", b"c"]


def test_a_large_body_is_not_kept_in_memory():
    async def main():
        chunk = {"type": "http.request", "body": b"x" * 40_000, "more_body": True}
        client = Client(*[chunk] * 10)
        inbox, go = Inbox(client.receive), asyncio.Event()
        waiting = asyncio.ensure_future(inbox.during(go.wait()))
        await turns()
        assert client.received * 40_000 <= MOST_BYTES + 40_000
        go.set()
        assert await waiting is True
        for _ in range(10):
            assert await inbox.receive() == chunk
        inbox.close()
        return client.received

    assert asyncio.run(main()) == 10


def test_an_application_that_receives_nothing_leaves_no_task_behind(limiter):
    async def main():
        app = RateLimitMiddleware(ok, limiter=limiter(), wait=5)
        await Client().run(app)
        await turns(3)
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1


def test_a_client_that_waits_for_100_continue_is_not_asked_for_its_body(limiter):
    async def main():
        permits = limiter(rate=20, per=1, burst=1)
        await permits.key("192.0.2.7").acquire()
        client = Client({"type": "http.request", "body": b"large"})
        await client.run(RateLimitMiddleware(ok, limiter=permits, wait=30), expect="100-continue")
        return client.received, client.sent[0]["status"]

    assert asyncio.run(main()) == (0, 200)


def test_what_a_wait_raises_is_raised_and_what_receive_raises_is_for_the_application():
    async def fails():
        raise LookupError

    async def main():
        inbox = Inbox(Client().receive)
        with pytest.raises(LookupError):
            await inbox.during(fails())
        inbox.close()
        broken = Inbox(fails)

        async def work():
            await turns()
            return 7

        assert await broken.during(work()) == 7
        with pytest.raises(LookupError):
            await broken.receive()
        unasked = Inbox(fails)
        assert await unasked.during(work()) == 7
        unasked.close()

    asyncio.run(main())


def test_a_message_without_a_body_is_kept_as_it_is():
    async def main():
        message = {"type": "http.request", "body": None}
        inbox = Inbox(Client(message).receive)
        await inbox.during(turns())
        return (await inbox.receive()) is message

    assert asyncio.run(main())


def test_context_variables_that_a_key_sets_are_the_applications(limiter):
    tenant, seen = contextvars.ContextVar("tenant", default=""), []

    async def app(scope, receive, send):
        seen.append(tenant.get())
        await ok(scope, receive, send)

    def key(scope):
        tenant.set("ann")
        return "ann"

    asyncio.run(ask(RateLimitMiddleware(app, limiter=limiter(rate=5), key=key, wait=5)))
    assert seen == ["ann"]


# What an application does.


def test_an_applications_own_error_is_its_own_and_its_permit_is_used(limiter):
    async def broken(scope, receive, send):
        raise LookupError("mine")

    async def main():
        app = RateLimitMiddleware(broken, limiter=limiter())
        with pytest.raises(LookupError, match="mine"):
            await ask(app)
        return (await ask(app)).status

    assert asyncio.run(main()) == 429


def test_a_stream_goes_on_as_it_comes_with_the_fields_at_its_beginning(limiter):
    async def main():
        steps, go = [], asyncio.Event()

        async def parts():
            yield b"first"
            await go.wait()
            yield b"second"

        async def app(scope, receive, send):
            await StreamingResponse(parts())(scope, receive, send)

        client = Client()
        request = client.run(RateLimitMiddleware(app, limiter=limiter()))
        while len(client.sent) < 2:  # noqa: ASYNC110 - what is sent is what it is about
            await asyncio.sleep(0.001)
        steps.append([message.get("body") for message in client.sent])
        go.set()
        await request
        assert b"ratelimit" in dict(client.sent[0]["headers"])
        return steps, b"".join(message.get("body", b"") for message in client.sent)

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == ([[None, b"first"]], b"firstsecond")


def test_the_fields_of_an_application_stay_and_its_messages_are_not_changed(limiter):
    start = {
        "type": "http.response.start",
        "status": 503,
        "headers": [(b"Retry-After", b"7"), (b"RateLimit", b'"own";r=1')],
    }

    async def app(scope, receive, send):
        await send(start)
        await send({"type": "http.response.body"})

    response = asyncio.run(ask(RateLimitMiddleware(app, limiter=limiter())))
    assert response["retry-after"] == "7"
    assert response.all("ratelimit")[0] == '"own";r=1'
    assert len(response.all("ratelimit")) == 2
    assert len(start["headers"]) == 2


def test_a_response_without_headers_has_the_fields(limiter):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    assert items(asyncio.run(ask(RateLimitMiddleware(app, limiter=limiter())))["ratelimit"])["default"]["r"] == 0


def test_around_starlette_and_around_a_mounted_application_of_it(limiter):
    outer, inner = limiter("outer", rate=10), limiter("inner", rate=1)
    mounted = RateLimitMiddleware(Starlette(routes=[Route("/x", ok_view)]), limiter=inner, exempt=["/sub/free"])
    app = Starlette(routes=[Mount("/sub", app=mounted), Route("/", ok_view)])
    app.add_middleware(RateLimitMiddleware, limiter=outer, exempt=["/sub"])

    async def main():
        paths = ["/", "/sub/x", "/sub/x", "/sub/free", "/nowhere"]
        return [((answer := await ask(app, path)).status, len(answer.all("ratelimit"))) for path in paths]

    assert asyncio.run(main()) == [(200, 1), (200, 1), (429, 1), (404, 0), (404, 1)]


async def ok_view(request):
    return PlainTextResponse("ok")


def test_a_lifespan_is_passed_on(limiter):
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["type"], receive, send))

    async def main():
        await RateLimitMiddleware(app, limiter=limiter())({"type": "lifespan"}, ok, turns)

    asyncio.run(main())
    assert seen == [("lifespan", ok, turns)]


# Websockets.


async def echo(websocket):
    await websocket.accept(headers=[(b"x-own", b"1")])
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


def websocket(app, *messages, extensions=None):
    """What one websocket is sent."""

    async def main():
        client = Client({"type": "websocket.connect"}, *messages)
        scope = scope_of(kind="websocket") | {"extensions": extensions or {}, "subprotocols": []}
        await asyncio.wait_for(app(scope, client.receive, client.send), PATIENCE)
        return client.sent

    return asyncio.run(main())


@pytest.mark.parametrize("wait", [0, 0.05])
def test_a_websocket_takes_a_permit_and_a_denied_one_is_closed_before_it_is_accepted(limiter, wait):
    app = RateLimitMiddleware(Starlette(routes=[WebSocketRoute("/", echo)]), limiter=limiter(), wait=wait)
    said = {"type": "websocket.receive", "text": "hello"}
    accepted, echoed, _ = websocket(app, said)
    assert [name for name, _ in accepted["headers"]] == [b"x-own", b"ratelimit-policy", b"ratelimit"]
    assert (accepted["type"], echoed["text"]) == ("websocket.accept", "hello")
    assert websocket(app) == [{"type": "websocket.close", "code": 1013, "reason": "rate limit"}]


def test_a_denied_websocket_is_answered_in_http_where_the_server_can(limiter):
    app = RateLimitMiddleware(Starlette(routes=[WebSocketRoute("/", echo)]), limiter=limiter())
    websocket(app, {"type": "websocket.receive", "text": "hello"})
    start, body = websocket(app, extensions={"websocket.http.response": {}})
    assert (start["type"], start["status"], body["type"]) == (
        "websocket.http.response.start",
        429,
        "websocket.http.response.body",
    )
    assert {b"retry-after", b"ratelimit", b"content-type"} <= {name for name, _ in start["headers"]}


def test_a_websocket_that_is_gone_before_it_is_denied_is_sent_nothing(limiter):
    permits = limiter()

    async def main():
        app = RateLimitMiddleware(ok, limiter=permits)
        await permits.key("192.0.2.7").acquire()
        client = Client({"type": "websocket.disconnect", "code": 1006})
        await app(scope_of(kind="websocket"), client.receive, client.send)
        return client.sent

    assert asyncio.run(main()) == []
