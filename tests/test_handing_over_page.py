"""All Python of docs/handing-over.md runs, in its order, and does what the page says."""

from ddb_lease import local
from tests.pages import Snippets

SNIPPETS = Snippets("docs/handing-over.md")
NOT_ON = ("ministack", "dynoxide")


def test_the_page_runs_from_its_beginning_to_its_end(engine, session, monkeypatch):
    where = {"table": "leases", "session": session, "endpoint_url": engine.endpoint_url}
    monkeypatch.setattr(local, "connect", lambda **_: where)
    world = SNIPPETS.run({})
    assert world["first"].startswith("done on slot")
    assert world["again"] == "dropped: released"
    assert world["stale"] == ["ConditionalCheckFailed", "None"]
    assert len(world["message"]["token"]) < 130
    for name in ("uploads", "workers", "invoices"):
        world[name].close()
