"""All Python of docs/limits-storage.md runs, in its order, on the embedded engine."""

import pytest

from tests.adapters.limits_programs import visited
from tests.pages import Snippets

SNIPPETS = Snippets("docs/limits-storage.md")


@pytest.fixture
def world(as_aws):
    """What is defined once the page was read to its end."""
    return SNIPPETS.run({"__name__": "page"})


def test_the_examples_do_what_they_are_there_for(world):
    client = world["app"].test_client()
    assert [client.get("/").status_code for _ in range(6)] == [200] * 5 + [429]
    assert [visited(world["api"])[0] for _ in range(6)] == [200] * 5 + [429]
    assert world["let_in"] == world["let_in_by_asyncio"] == [True, True, False]
    assert world["answer"].content == "yes"
    assert world["fetched"] == [True] * 3
