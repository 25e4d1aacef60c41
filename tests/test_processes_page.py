"""The programs of docs/processes.md run, each as a process, and end as the page says."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ddb_lease import LeaseBucket, local
from tests.pages import Snippets
from tests.support import eventually

SNIPPETS = Snippets("docs/processes.md")
AT_SIGTERM, THREADS = SNIPPETS.of()
ROOT = Path(__file__).parent.parent
LONG = 60.0


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a program of the page."""
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path / "engine"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    started = []

    def start(snippet, then=""):
        script = tmp_path / "program.py"
        script.write_text(snippet.program(tmp_path / "ran") + then)
        started.append(subprocess.Popen([sys.executable, script], env=os.environ, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
    local.stop()


def test_after_the_call_sigterm_unwinds_the_blocks(start):
    waits = "import time\ntry:\n    print('up', flush=True)\n    time.sleep(600)\nfinally:\n    print('unwound')\n"
    process = start(AT_SIGTERM, then=waits)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=LONG)[0] == "unwound\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_threads_that_are_told_to_stop_release_what_they_hold(start):
    with LeaseBucket("imports", max_tokens=4, **local.connect()) as bucket:
        bucket.acquire(timeout=LONG).release()  # from now on it has a status
        process = start(THREADS)
        eventually(lambda: process.poll() is not None or bucket.status().free == 2, within=LONG)
        # A slot is taken in the table before a thread of the program knows, and works.
        eventually(lambda: not any("stop.wait" in line for line in THREADS.missed()), within=LONG)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=LONG) == 128 + signal.SIGTERM
        assert bucket.status().free == 4
