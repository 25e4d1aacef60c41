"""The page on seeing: its recipe writes lines that the timeline reads."""

import json
import os
import shlex
import signal
import subprocess
import types
from pathlib import Path

from ddb_lease import LeaseBucket, LossReason, events
from ddb_lease.cli import main
from tests.cli.test_commands import LONG, command, environment
from tests.pages import Snippets, blocks
from tests.support import eventually

SNIPPETS = Snippets("docs/seeing.md")


def test_the_recipes_lines_make_a_timeline(as_aws, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = types.SimpleNamespace(**SNIPPETS.run({}))
    with recipe.bucket, recipe.bucket.acquire(timeout=60):
        pass
    lines = Path("leases.jsonl")
    assert [json.loads(line)["event"] for line in lines.read_text().splitlines()] == ["Acquired", "Released"]
    lines.unlink()
    of = {"bucket": "gpus", "lease_id": "0-a"}
    recipe.write_line(events.Acquired(**of, slots=(0, 1), fence=3, waited_seconds=1.5, requests=2))
    recipe.write_line(events.Renewed(**of, late_seconds=0.0))
    recipe.write_line(events.Lost(**of, reason=LossReason.TAKEN))
    recipe.write_line(events.Throttled(bucket="gpus", operation="claim"))
    assert main.main(["timeline", "leases.jsonl", "--html", "leases.html"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("gpus: 1 lease; held for 0s")
    assert said.endswith("1 wait, 1.5s (median; longest 1.5s); lost or expired: 1 taken")
    assert recipe.OWNER in Path("leases.html").read_text()


def test_the_consoles_snapshots_make_a_timeline(as_aws, tmp_path):
    (console,) = blocks("docs/seeing.md", "console")
    watch, timeline = (shlex.split(line.removeprefix("$ ddb-lease ")) for line in console.text.splitlines())
    *watched, to, name = watch
    assert to == ">"
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    how = {"env": environment(tmp_path, **aws), "cwd": tmp_path}
    with LeaseBucket("gpus", max_tokens=4, **as_aws) as bucket, bucket.acquire(timeout=LONG):
        lines = tmp_path / name
        with lines.open("w") as file:
            watching = subprocess.Popen(command(watched), stdout=file, **how)
        try:
            eventually(lambda: watching.poll() is not None or "\n" in lines.read_text(), within=LONG)
        finally:
            watching.send_signal(signal.SIGINT)
            watching.wait(timeout=LONG)
    done = subprocess.run(command(timeline), capture_output=True, text=True, timeout=LONG, **how)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gpus: 1 lease"), done.stdout
    assert (tmp_path / "gpus.html").exists()
