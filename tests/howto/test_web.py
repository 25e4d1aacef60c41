"""The page on FastAPI and Flask: its files, served by real servers with two workers each."""

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ddb_lease import LeaseBucket, RateLimiter, local
from scripts.harness.engine_process import LOOPBACK, free_port
from tests.pages import Snippets

ROOT = Path(__file__).parent.parent.parent
LONG = 240.0
SNIPPETS = Snippets("docs/howto/web.md")
PAGE = (ROOT / "docs" / "howto" / "web.md").read_text()
COMMANDS = re.findall(r"^\$ ((?:uvicorn|gunicorn|flask) .*)$", PAGE, flags=re.MULTILINE)
SERVERS = {line.split()[0]: line for line in COMMANDS}


class Client:
    def __init__(self, port):
        self._port = port

    def get(self, path, **headers):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=LONG)
        try:
            connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read())
        finally:
            connection.close()


def command(line, port):
    """A line of the page as this machine runs it: its own Python, and a port that is free."""
    program, *rest = shlex.split(line)
    rest = [word.replace("localhost:8000", f"{LOOPBACK}:{port}") for word in rest]
    if "8000" in rest:
        rest[rest.index("8000")] = str(port)
    more = {"uvicorn": ["--port", str(port)], "gunicorn": ["--no-control-socket"], "flask": []}[program]
    return [sys.executable, "-m", program, *rest, *more]


@pytest.fixture(scope="module")
def engine_folder(tmp_path_factory):
    """Of an engine that the servers find."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("engine")
        patch.setenv("DDB_LEASE_LOCAL_DIR", str(folder))
        local.start(timeout=LONG)
        yield folder
        local.stop()


@pytest.fixture(params=SERVERS)
def client(request, tmp_path, engine_folder):
    """A client of the server that a line of the page starts, in a folder with the page's files."""
    for snippet in SNIPPETS.of():
        file = snippet.block.text.splitlines()[0].removeprefix("# ")
        (tmp_path / file).write_text(snippet.program(tmp_path / f"{file}.ran"))
    with RateLimiter("web-api", rate=10, per=60, burst=5, **local.connect()) as limiter:
        for key in ("customer 1", "customer 2", LOOPBACK):  # the server before this one had its permits
            limiter.key(key).reset()
    port = free_port()
    with (tmp_path / "told").open("w") as told:
        server = subprocess.Popen(
            command(SERVERS[request.param], port),
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        client = Client(port)
        until = time.monotonic() + LONG
        while True:
            try:
                assert client.get("/health")[0] == 200
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "told").read_text()
                assert time.monotonic() < until
                time.sleep(0.1)
        yield client
        server.send_signal(signal.SIGTERM)
        server.wait(LONG)
        assert "Traceback" not in (tmp_path / "told").read_text()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


QUICK = 0.25
"""Seconds: a request that takes longer may be decided by its process alone, and charged all the same."""


def until(client, path, wanted, **headers):
    """The first answer that is wanted: on a busy machine the engine may be too slow now and then, which is a 503."""
    deadline = time.monotonic() + LONG
    while not wanted(answer := client.get(path, **headers)):
        assert time.monotonic() < deadline, answer
        time.sleep(0.2)
    return answer


def burst(client, deadline):
    """What is admitted until a request is denied, the denial, and how long the slowest request took."""
    admitted, slowest = [], 0.0
    while True:
        began = time.monotonic()
        assert began < deadline
        answer = client.get("/", X_API_Key="secret-1")
        slowest = max(slowest, time.monotonic() - began)
        if answer[0] == 429:
            return admitted, answer, slowest
        if answer[0] == 200:
            admitted.append(answer)


def test_each_customer_has_a_limit_and_one_export_runs_at_a_time(client):
    deadline = time.monotonic() + LONG
    admitted, denied, slowest = burst(client, deadline)
    while len(admitted) < 5 and slowest >= QUICK:
        time.sleep(31)  # until all are back
        admitted, denied, slowest = burst(client, deadline)
    assert len(admitted) >= 5
    assert admitted[0][1]["RateLimit-Policy"] == '"default";q=5;w=30'
    assert 1 <= int(denied[1]["Retry-After"]) <= 8  # 6 s, a second by which clocks may differ, and rounded up
    for headers in ({"X_API_Key": "secret-2"}, {"X_API_Key": "guessed"}, {}):
        until(client, "/", lambda answer: answer[0] == 200, **headers)
    with RateLimiter("web-api", rate=10, per=60, burst=5, **local.connect()) as limiter:
        statuses = limiter.keys()
        used = {status.key for status in statuses}
    assert used == {"customer 1", "customer 2", LOOPBACK}, "a key that is made up is none"

    by = {"X_API_Key": "secret-2"}
    with ThreadPoolExecutor(1) as pool, LeaseBucket("web-exports", max_tokens=1, **local.connect()) as exports:
        with exports.acquire(timeout=LONG):
            busy = until(client, "/export", lambda answer: answer[2].get("detail") == "all exports are in use", **by)
        assert (busy[0], busy[1]["Retry-After"]) == (503, "5")
        done = until(client, "/export?seconds=0.1", lambda answer: answer[0] == 200, **by)
        assert done[2] == {"exported": True, "slot": 0}
        assert exports.status().free == 1

        working = pool.submit(client.get, "/export?seconds=600", **by)
        while not (leases := exports.status().leases):
            assert time.monotonic() < deadline + LONG
            if working.done():  # denied
                working = pool.submit(client.get, "/export?seconds=600", **by)
            time.sleep(0.2)
        exports.revoke(leases[0].lease_id)
        assert working.result()[::2] == (503, {"detail": "try again"}), "a lost lease ends the work"
