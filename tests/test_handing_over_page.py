"""All Python of docs/handing-over.md runs, in its order, and does what the page says."""

import re
from pathlib import Path

import ddb_lease
from ddb_lease import local

PAGE = (Path(__file__).parent.parent / "docs" / "handing-over.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
NOT_ON = ("ministack", "dynoxide")


def test_the_page_runs_from_its_beginning_to_its_end(engine, session, monkeypatch):
    where = {"table": "leases", "session": session, "endpoint_url": engine.endpoint_url}
    monkeypatch.setattr(local, "connect", lambda **_: where)
    world = {"ddb_lease": ddb_lease}
    for block in BLOCKS:
        exec(block, world)
    assert world["first"].startswith("done on slot")
    assert world["again"] == "dropped: released"
    assert world["stale"] == ["ConditionalCheckFailed", "None"]
    assert len(world["message"]["token"]) < 130
    for name in ("uploads", "workers", "invoices"):
        world[name].close()
