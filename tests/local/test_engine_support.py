"""The engines that tests run on leave no process behind and reach no network."""

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts.harness.engines import dynoxide, dynoxide_executable, embedded, ministack

ROOT = Path(__file__).resolve().parent.parent.parent


def pid_on_port(port: int) -> int | None:
    """The process that listens on a port of 127.0.0.1, according to the kernel."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[3] == "0A" and row[1] == f"0100007F:{port:04X}"}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue  # the process has ended, or belongs to another user
        if target.removeprefix("socket:[").removesuffix("]") in inodes:
            return int(link.parts[2])
    return None


def has_ended(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
@pytest.mark.parametrize("name", ["ministack", "dynoxide"])
def test_an_engine_of_its_own_process_ends_with_a_test_run_that_is_killed(name):
    if name == "dynoxide" and not dynoxide_executable().exists():
        pytest.skip("dynoxide is not here: scripts/test brings it where npm is at hand")
    code = (
        "import time\n"
        f"from scripts.harness.engines import {name}\n"
        f"with {name}() as engine:\n"
        "    print(engine.endpoint_url, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            port = urlsplit(run.stdout.readline().strip()).port
            assert port is not None
            pid = pid_on_port(port)
            assert pid is not None
        finally:
            run.kill()
    deadline_s = time.monotonic() + 30
    while not has_ended(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_missing_ministack_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="DDB_LEASE_MINISTACK"), ministack(tmp_path / "none"):
        pytest.fail("it ran")


def test_a_missing_dynoxide_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"npm.*DDB_LEASE_DYNOXIDE"), dynoxide(tmp_path / "none"):
        pytest.fail("it ran")


def test_a_restart_cuts_the_connections_and_keeps_the_address():
    with embedded() as engine:
        before = engine.endpoint_url
        client = engine.session().client("dynamodb", endpoint_url=before)
        client.list_tables()
        engine.restart()
        assert engine.endpoint_url == before
        assert client.list_tables()["TableNames"] == []
