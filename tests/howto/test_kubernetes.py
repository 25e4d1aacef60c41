"""The page on Kubernetes: the program that answers probes, as two processes of which one leads, and the manifests."""

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ddb_lease import local
from scripts.harness.engine_process import LOOPBACK, free_port
from tests.pages import Snippets, blocks

ROOT = Path(__file__).parent.parent.parent
LONG = 240.0
PAGE = "docs/howto/kubernetes.md"
SNIPPETS = Snippets("docs/howto/kubernetes.md")


@pytest.fixture
def replica(tmp_path, monkeypatch):
    """Starts a process of the page's program; returns it, the port of its probes, and the file of what it prints."""
    (program,) = SNIPPETS.of()
    (tmp_path / "scheduler.py").write_text(program.program(tmp_path / "ran"))
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path / "engine"))
    local.start(timeout=LONG)
    local.connect()
    started = []

    def start():
        port = free_port()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PROBES_PORT": str(port)}
        environment.pop("DDB_LEASE_TABLE", None)
        line = [sys.executable, "scheduler.py"]
        told = tmp_path / f"told-{port}"
        with told.open("w") as output:
            started.append(subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=output))
        return started[-1], port, told

    yield start
    for process in started:
        process.kill()
        process.wait()
    local.stop()


def probe(port, path):
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=LONG)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except ConnectionError:  # it does not listen yet
        return None
    finally:
        connection.close()


def wait_until(true):
    until = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_one_of_two_answers_that_it_leads_and_the_other_one_after_it(replica):
    first, port, told = replica()
    wait_until(lambda: probe(port, "/leader") == 200)
    second, other, told_later = replica()
    wait_until(lambda: probe(other, "/live") == 200)
    assert (probe(other, "/leader"), probe(port, "/leader")) == (503, 200)
    first.send_signal(signal.SIGTERM)
    assert first.wait(LONG) == 0
    wait_until(lambda: probe(other, "/leader") == 200)
    wait_until(lambda: "schedules" in told_later.read_text())  # all of its lines have run
    second.send_signal(signal.SIGTERM)
    assert second.wait(LONG) == 0
    fences = [int(file.read_text().split("leads, fence ")[1].split()[0]) for file in (told, told_later)]
    assert fences[0] < fences[1]


def test_the_manifest_asks_the_program_what_it_answers():
    *_, deployment = (yaml.safe_load(block.text) for block in blocks(PAGE, "yaml"))
    spec = deployment["spec"]
    assert deployment["kind"] == "Deployment"
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    (container,) = spec["template"]["spec"]["containers"]
    program = SNIPPETS.of()[0].block.text
    for path in (container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")):
        assert f'self.path == "{path}"' in program
    (port,) = container["ports"]
    assert f'"PROBES_PORT", "{port["containerPort"]}"' in program
    assert spec["template"]["spec"]["automountServiceAccountToken"] is False
