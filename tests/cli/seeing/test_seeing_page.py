"""The page on seeing: its recipe writes lines that the timeline reads."""

import re
import types
from pathlib import Path

from ddb_lease import LossReason, events
from ddb_lease.cli import main

PAGE = (Path(__file__).parents[3] / "docs" / "seeing.md").read_text()
RECIPE, BUCKET = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_recipes_lines_make_a_timeline(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = types.SimpleNamespace(LeaseBucket=lambda name, **settings: settings["on_event"])
    exec(RECIPE + BUCKET, vars(recipe))
    of = {"bucket": "gpus", "lease_id": "0-a"}
    recipe.bucket(events.Acquired(**of, slots=(0, 1), fence=3, waited_seconds=1.5, requests=2))
    recipe.bucket(events.Renewed(**of, late_seconds=0.0))
    recipe.bucket(events.Lost(**of, reason=LossReason.TAKEN))
    recipe.bucket(events.Throttled(bucket="gpus", operation="claim"))
    assert main.main(["timeline", "leases.jsonl", "--html", "leases.html"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("gpus: 1 lease; held for 0s")
    assert said.endswith("1 wait, 1.5s (median; longest 1.5s); lost or expired: 1 taken")
    assert recipe.OWNER in Path("leases.html").read_text()
