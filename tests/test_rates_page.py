"""All Python of docs/rates.md runs, in its order; and there is an example for each use that people come with."""

import functools

import pytest

import ddb_lease
from scripts.harness.simulated_engine import Simulated
from tests.pages import Snippets

SNIPPETS = Snippets("docs/rates.md")


@pytest.fixture
def world(monkeypatch, capsys):
    """What is defined once the page was read to its end."""
    service = Simulated()
    where = {"session": service.session(), "endpoint_url": service.endpoint_url}
    monkeypatch.setattr(ddb_lease, "RateLimiter", functools.partial(ddb_lease.RateLimiter, **where))
    world = SNIPPETS.run({})
    yield world
    for name in ("limiter", "customers", "llm", "hosts", "orgs", "teams", "logins"):
        world[name].close()


def test_the_page_runs_from_its_beginning_to_its_end(world, capsys):
    assert world["answer_tokens"] == 700
    assert world["reservation"].settled
    assert world["decision"].allowed


def test_each_use_has_an_example_that_does_what_it_is_there_for(world):
    # An API's quota: 100 a second, 200 at once.
    assert [world["limiter"].try_acquire(190) for _ in range(2)] == [True, False]
    # Per customer: each has a rate of its own.
    customers = world["customers"]
    assert [customers.key(name).check(20).allowed for name in ("ann", "bob", "ann")] == [True, True, False]
    # An LLM's tokens and requests.
    left = world["llm"].key("team-8")
    left.acquire(requests=1, tokens=50_000, timeout=5)
    assert left.check(tokens=50_000).tightest == "tokens"
    # A crawler: one page of each host, whatever the order.
    fetch = world["fetch"]
    assert [fetch(f"http://{host}.example/") for host in "ab"] == [
        "the page http://a.example/",
        "the page http://b.example/",
    ]
    assert not world["hosts"].key("a.example").try_acquire()
    assert world["order"]("ann", items=[]) == "0 for ann"
