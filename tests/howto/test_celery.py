"""The tasks of the page on Celery, in a real worker with a pool of processes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from celery.exceptions import Retry

from ddb_lease import LeaseBucket, local
from ddb_lease.testing import TestEnvironment
from tests.pages import Snippets

SNIPPETS = Snippets("docs/howto/celery.md")

BEFORE = """
import json, os, time
from ddb_lease import local
folder = os.environ["CELERY_TEST_FOLDER"]
connection = local.connect(create=True)

def note(**told):
    with open(folder + "/log", "a") as log:
        log.write(json.dumps(told) + "\\n")
"""
AFTER = """
of_the_page = store, remove_old, deliver

def store(line):
    note(task="load", begun=time.time(), pid=os.getpid())
    of_the_page[0](line)
    time.sleep(0.4)
    note(task="load", ended=time.time(), pid=os.getpid())

def remove_old(directory):
    note(task="tidy")
    of_the_page[1](directory)

def deliver(message):
    note(task="send", at=time.time())
    of_the_page[2](message)

app.conf.update(
    broker_transport_options={
        **{name: folder + "/queue" for name in ("data_folder_in", "data_folder_out")},
        "control_folder": folder + "/control",
    },
    result_backend="file://" + folder + "/results",
    worker_hijack_root_logger=False,
)
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """The page's module."""
    for name in ("queue", "results"):
        (tmp_path / name).mkdir()
    code = "".join(snippet.program(tmp_path / "ran") for snippet in SNIPPETS.of())
    for theirs, ours in (("countdown=5)", "countdown=0.1)"), ("redis://127.0.0.1:6379/0", "filesystem://")):
        assert theirs in code
        code = code.replace(theirs, ours)
    (tmp_path / "tasks.py").write_text(textwrap.dedent(BEFORE) + code + textwrap.dedent(AFTER))
    monkeypatch.setenv("CELERY_TEST_FOLDER", str(tmp_path))
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path / "engine"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    import tasks

    made = (tasks.imports, tasks.tidying, tasks.mail, tasks.invitations)
    try:
        yield tasks
    finally:
        for each in made:
            each.close()
        local.stop()
        del sys.modules["tasks"]


@pytest.fixture
def app(tasks, tmp_path):
    """It, and a worker of three processes that serves it."""
    root = Path(__file__).parent.parent.parent
    with (tmp_path / "worker").open("w") as told:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "3", "-l", "warning"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield tasks
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0, (tmp_path / "worker").read_text()
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


def test_no_more_tasks_at_once_than_tokens_and_none_is_lost(app, tmp_path):
    file = tmp_path / "one line"
    file.write_text("x\n")
    results = [app.load.delay(str(file)) for _ in range(6)] + [app.send.delay("hello") for _ in range(3)]
    for result in results:
        result.get(timeout=120)
    told = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sum("at" in entry for entry in told) == 3
    at_work, most = 0, 0
    for _, change in sorted(
        [(e["begun"], 1) for e in told if "begun" in e] + [(e["ended"], -1) for e in told if "ended" in e]
    ):
        at_work += change
        most = max(most, at_work)
    assert sum("begun" in entry for entry in told) == 6
    assert most <= 2
    assert len({entry["pid"] for entry in told if "begun" in entry}) > 1
    with LeaseBucket("imports", max_tokens=2, **local.connect()) as bucket:
        assert bucket.status().free == 2


def test_a_task_whose_lease_is_lost_begins_again_and_one_that_is_not_needed_is_skipped(tasks, tmp_path, monkeypatch):
    file = tmp_path / "two lines"
    file.write_text("1\n2\n")
    stored = []
    with TestEnvironment(**local.connect()) as environment:
        monkeypatch.setattr(tasks, "imports", environment.bucket(max_tokens=1, lease_seconds=60))

        def store(line):
            stored.append(line.strip())
            if len(stored) == 1:
                environment.lose(environment.leases[0], reason="taken")

        monkeypatch.setattr(tasks, "store", store)
        tasks.load.apply([str(file)])
    assert stored == ["1", "1", "2"]
    with tasks.tidying.acquire(0):
        assert tasks.tidy.apply(["/tmp"]).result == "skipped"
    assert tasks.tidy.apply(["/tmp"]).result == "done"


def test_a_task_that_finds_the_bucket_full_or_no_permit_left_is_tried_again_later(tasks, monkeypatch):
    later = []

    def retry(*, countdown):
        later.append(countdown)
        return Retry()

    for task in (tasks.load, tasks.send):
        monkeypatch.setattr(task, "retry", retry)
    with tasks.imports.acquire(0, count=2):
        tasks.load.apply(["no file is opened"])
    tasks.mail.block(600)
    tasks.send.apply(["hello"])
    full, no_permit = later
    assert full == 0.1
    assert 590 < no_permit <= 600


def test_no_minute_has_more_invitations_than_the_window_and_the_next_one_comes_back_in_time(tasks):
    for number in range(10):
        tasks.invite(number)
    with pytest.raises(Retry) as again:
        tasks.invite(11)
    assert again.value is not None
    assert 0 < tasks.invitations.check().retry_after < 66
