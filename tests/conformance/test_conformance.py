"""`ddb-lease conform` on every engine: what differs from the service's known answers is what the page lists.

The probes expect what the service answers, also where an engine answers otherwise. So this holds the simulator, on which
the protocol is searched for errors, to the service.
"""

import pytest

from tests.conformance import page

CONTRACT = True  # the simulator's DynamoDB too


@pytest.fixture
def found(engine, client, monkeypatch):
    """The outcome of every probe."""
    if engine.name == "simulated":
        return page.on_simulator(engine, client)
    for name, value in page.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    code, found = page.on_engine(engine.endpoint_url)
    assert code == (1 if any(not one["as_expected"] for one in found) else 0)
    assert all(one["request_id"] for one in found)
    return found


def test_an_engine_differs_from_the_service_only_where_the_page_says_so(engine, found, hands):
    told = page.differences(found)
    name = page.NAMES[engine.name]
    assert page.section(name) == told, f"`python -m tests.conformance` writes docs/conformance.md; of {name}:\n{told}"
    if engine.name != "simulated":
        assert not [table for table in hands.list_tables()["TableNames"] if table.startswith("ddb-lease-conform-")]


def test_the_page_lists_every_probe_and_what_the_service_answers():
    told = page.known(page.expected_answers())
    assert page.section("all probes") == told, "`python -m tests.conformance` writes docs/conformance.md"
    names = [one["probe"] for one in page.expected_answers()]
    assert len(names) == len(set(names))
