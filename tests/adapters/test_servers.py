"""Real servers: eight processes of uvicorn and gunicorn share one rate, and a referee judges what their clients saw."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import urllib3

from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import create_table
from scripts.harness import engines
from scripts.harness.engine_process import LOOPBACK, free_port
from scripts.harness.holders import TABLE
from scripts.harness.rate_referee import Allowed, Call, worst_window
from tests.adapters.clients import items
from tests.adapters.served import BURST, RATE, command

PATIENCE = 60.0
SECONDS = 2.5
"""How long clients call: the burst, and some permits more."""
SERVERS = {
    "uvicorn": {"server": "uvicorn", "workers": 2},
    "gunicorn": {"server": "gunicorn", "workers": 2},
    "preload": {"server": "gunicorn", "workers": 4, "preload": True},
}


@dataclass
class Servers:
    """What runs, and who was seen there.

    Attributes:
        ports: By name.
        pids: Of the workers, by name.
        apart: By how many seconds the workers' clocks may lie apart.
    """

    ports: dict[str, int] = field(default_factory=dict)
    pids: dict[str, set[int]] = field(default_factory=dict)
    apart: float = 0.0

    def url(self, name, path="/"):
        return f"http://{LOOPBACK}:{self.ports[name]}{path}"


@pytest.fixture(scope="module")
def servers():
    with engines.embedded() as engine, contextlib.ExitStack() as stack:
        where = ConnectionSettings(session=engine.session(), endpoint_url=engine.endpoint_url)
        create_table(TABLE, connection=where, clock=SystemClock())
        made = Servers()
        for name, how in SERVERS.items():
            made.ports[name] = free_port()
            environment = os.environ | {"SERVED_ENDPOINT": engine.endpoint_url, "SERVED_RATE": "served"}
            environment |= {"SERVED_BEFORE_FORK": "1"} if how.get("preload") else {}
            process = subprocess.Popen(
                [sys.executable, *command(port=made.ports[name], **how)],
                cwd=Path(__file__).parents[2],
                env=environment,
                start_new_session=True,
            )
            stack.callback(end, process)
        for name, how in SERVERS.items():
            meet(made, name, how["workers"])
        yield made


def end(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)


def meet(servers, name, workers):
    """Wait until each worker has answered."""
    pids, off, lock = set(), [], threading.Lock()
    until = time.monotonic() + PATIENCE

    def ask():
        with urllib3.PoolManager(retries=False, timeout=PATIENCE, headers={"connection": "close"}) as http:
            while len(pids) < workers and time.monotonic() < until:
                try:
                    found = http.request("GET", servers.url(name, "/who")).json()
                except urllib3.exceptions.HTTPError:  # it does not listen yet
                    time.sleep(0.05)
                    continue
                with lock:
                    pids.add(found["pid"])
                    off.append(found["off"])

    run_all([ask] * (2 * workers))
    assert len(pids) == workers, (name, pids)
    servers.pids[name] = pids
    servers.apart = max(servers.apart, 2 * max(off))


def run_all(functions):
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


def test_eight_processes_keep_to_one_rate_however_they_were_started(servers):
    calls, answers, lock = [], [], threading.Lock()
    until = time.monotonic() + SECONDS

    def enough():
        with lock:
            seen = [answer.status for _, answer in answers]
        return 429 in seen and seen.count(200) >= BURST

    def goes_on():
        return time.monotonic() < until or (not enough() and time.monotonic() < until + PATIENCE)

    def client(name):
        with urllib3.PoolManager(retries=False, timeout=PATIENCE, headers={"x-api-key": "shared"}) as http:
            while goes_on():
                wanted = time.monotonic_ns()
                answer = http.request("GET", servers.url(name))
                ended = time.monotonic_ns()
                with lock:
                    answers.append((name, answer))
                    calls.append(Call(process=0, wanted=wanted, ended=ended, served=answer.status == 200))
                time.sleep(0.01)

    run_all([lambda name=name: client(name) for name in SERVERS for _ in range(3)])
    assert {answer.status for _, answer in answers} == {200, 429}
    served = [(name, answer.json()["pid"]) for name, answer in answers if answer.status == 200]
    assert len(served) >= BURST
    assert {pid for _, pid in served} <= set.union(*servers.pids.values())
    window = worst_window(calls, Allowed(permits=RATE, burst=BURST), apart=servers.apart)
    assert window.excess <= 0, f"{window}; clocks {servers.apart:.3f} s apart at most"
    for _, answer in answers:
        assert answer.headers["ratelimit-policy"] == f'"default";q={BURST};w=4'
        assert set(items(answer.headers["ratelimit"])["default"]) == {"r", "t"}
        if answer.status == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["violated-policies"] == ["default"]


@pytest.mark.parametrize("name", SERVERS)
def test_a_connection_goes_on_after_a_denial_whose_body_nobody_read(servers, name):
    key = {"x-api-key": f"uploads to {name}"}
    with urllib3.PoolManager(num_pools=1, maxsize=1, retries=1, timeout=PATIENCE, headers=key) as http:
        until = time.monotonic() + PATIENCE
        while (denied := http.request("POST", servers.url(name, "/all"), body=b"x" * 1_000)).status != 429:
            assert denied.json()["bytes"] == 1_000
            assert time.monotonic() < until
        assert http.request("GET", servers.url(name, "/who")).status == 200
        head = http.request("HEAD", servers.url(name), headers={"x-api-key": f"heads to {name}"})
        assert (head.status, head.data, "ratelimit" in head.headers) == (200, b"", True)


def handshake(port, path, key):
    """The head of the answer to a websocket's handshake."""
    with socket.create_connection((LOOPBACK, port), PATIENCE) as connection:
        fields = [
            f"GET {path} HTTP/1.1", f"Host: {LOOPBACK}", "Connection: Upgrade", "Upgrade: websocket",
            "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"X-Api-Key: {key}", "", "",
        ]  # fmt: skip
        connection.sendall("\r\n".join(fields).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096) or b"\r\n\r\n"
        return head.decode("latin-1").partition("\r\n\r\n")[0].lower()


def test_a_websocket_is_limited_when_it_is_opened(servers):
    for key in itertools.count():
        began = time.monotonic()
        first, second = (handshake(servers.ports["uvicorn"], "/all", f"websockets {key}") for _ in range(2))
        if second.startswith("http/1.1 429 ") or time.monotonic() - began < 2.0:  # after that, it may be back
            break
    assert first.startswith("http/1.1 101 ")
    assert second.startswith("http/1.1 429 ")
    assert f'ratelimit-policy: "default";q={BURST};w=4' in first
    assert "retry-after: " in second
