"""All Python of docs/middleware.md runs, and each example does what the page says of it."""

import asyncio
import functools
import os
import re
import subprocess

import pytest

import ddb_lease
from ddb_lease import aio
from ddb_lease.adapters.asgi import by_header
from scripts.harness.simulated_engine import Simulated
from tests.adapters.clients import ask, items
from tests.pages import Snippets, blocks

SNIPPETS = Snippets("docs/middleware.md")
EXAMPLES = dict(zip(("fastapi", "starlette", "flask", "routes"), SNIPPETS.of(), strict=True))
(ANSWER,) = blocks("docs/middleware.md", "http")


@pytest.fixture
def example(monkeypatch, request):
    service = Simulated()
    where = {"session": service.session(), "endpoint_url": service.endpoint_url}
    for package in (ddb_lease, aio):
        monkeypatch.setattr(package, "RateLimiter", functools.partial(package.RateLimiter, **where))
    world = {"__name__": __name__}
    EXAMPLES[request.param].run(world)
    yield world
    for name in ("limiter", "customers", "service"):
        if name in world:
            closing = world[name].close()
            if closing is not None:
                asyncio.run(closing)


@pytest.mark.parametrize("example", ["fastapi"], indirect=True)
def test_fastapi(example):
    async def main():
        answers = [await ask(example["app"], path) for path in ["/", "/health"]]
        while answers[-1].status != 429:  # as fast as it goes
            answers.append(await ask(example["app"]))
        return answers

    answers = asyncio.run(main())
    assert (answers[0].status, answers[0].body) == (200, b'{"hello":"world"}')
    assert (answers[1].status, "ratelimit" in answers[1]) == (404, False)
    denied = answers[-1]
    assert denied.status == 429
    for line in ANSWER.text.splitlines()[1:5]:
        name, value = line.split(": ", 1)
        assert denied[name] == value
    assert denied.problem["violated-policies"] == ["default"]


@pytest.mark.parametrize("example", ["starlette"], indirect=True)
def test_starlette(example):
    async def main():
        return [await ask(example["app"], x_api_key=key) for key in ("a", "b")]

    first, second = asyncio.run(main())
    assert (first.status, first.body, second.status) == (200, b"hello", 200)
    assert [items(answer["ratelimit"])["default"]["r"] for answer in (first, second)] == [19, 19]


@pytest.mark.parametrize("example", ["flask"], indirect=True)
def test_flask(example):
    client = example["app"].test_client()
    answers = [client.get("/"), client.get("/export")]
    assert [answer.status_code for answer in answers] == [200, 404]
    day = [items(answer.headers["RateLimit"])["day"]["r"] for answer in answers]
    assert day == [999, 979]
    assert items(answers[0].headers["RateLimit-Policy"]) == {
        "day": {"q": 1000, "w": 86_400},
        "second": {"q": 5, "w": 1},
    }


def test_the_key_to_block_is_the_one_of_a_header_with_a_digest():
    (console,) = blocks("docs/middleware.md", "console")
    line = console.text.splitlines()[0].removeprefix("$ ")
    done = subprocess.run(
        ["sh", "-c", f'{line}\nprintf %s "$KEY"'], env=os.environ | {"API_KEY": "a b"}, capture_output=True, text=True
    )
    key = by_header("x-api-key", digest=True)
    assert done.stdout == key({"type": "http", "headers": [(b"x-api-key", b"a b")]})


@pytest.mark.parametrize("example", ["routes"], indirect=True)
def test_a_route_has_a_limit_of_its_own(example):
    async def main():
        exports = [await ask(example["app"], "/export/all") for _ in range(3)]
        return exports, await ask(example["app"], "/login"), await ask(example["app"], "/other")

    exports, login, other = asyncio.run(main())
    assert [each.status for each in exports] == [404, 404, 429]
    assert exports[-1].problem["violated-policies"] == ["export"]
    assert (login.status, other.status) == (404, 404), "not denied: the page's application has no such routes"


def test_all_examples_say_what_an_outage_does():
    for name, snippet in EXAMPLES.items():
        assert re.search("on_unavailable=|budget=", snippet.block.text), name
