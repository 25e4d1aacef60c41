"""The engine as a process that a user's processes share: started on demand, found again, stopped."""

import contextlib
import http.server
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import ddb_lease.local
from ddb_lease import ConfigurationError, StoreRejected
from ddb_lease.local import Engine, EngineError, connect, discovery, find, start, stop
from ddb_lease.local.folder import Folder, locate
from ddb_lease.local.place import FOLDER_VARIABLE

# Long enough for a busy machine; only a test that fails waits this long.
PATIENCE_S = 120.0


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """A separate folder for each test; its engine is stopped afterwards."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "engine"))
    yield locate().path
    stop()


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition, which another process brings about, becomes true in time."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


def is_dead(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        os.kill(pid, 0)
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return True


def tables(engine: Engine) -> list[str]:
    client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
    with contextlib.closing(client):
        return client.list_tables()["TableNames"]


def run_python(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_before_the_first_start_no_engine_is_found_or_stopped():
    assert find() is None
    assert stop() is False


def test_a_started_engine_is_found_and_answers_until_it_is_stopped():
    engine = start()
    assert find() == engine
    assert start() == engine
    assert tables(engine) == []
    assert stop() is True
    assert find() is None
    assert stop() is False
    assert eventually(lambda: is_dead(engine.pid))


def test_eight_processes_that_start_at_once_share_one_engine():
    code = "import ddb_lease.local as l; print(l.start(timeout=120).instance_id)"
    starters = [run_python(code) for _ in range(8)]
    answers = {starter.communicate(timeout=PATIENCE_S * 2)[0].strip() for starter in starters}
    engine = find()
    assert engine is not None
    assert answers == {engine.instance_id}


def test_threads_that_start_at_once_share_one_engine():
    with ThreadPoolExecutor(8) as pool:
        engines = set(pool.map(lambda _: start(), range(8)))
    assert len(engines) == 1


def test_the_folder_and_its_files_are_for_the_owner_only(folder):
    start()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes) == {"engine.json", "engine.lock", "start.lock", "engine.log", "leases.journal"}
    assert set(modes.values()) == {0o600}


def test_a_killed_engine_is_not_found_and_the_next_start_replaces_it(folder):
    killed = start()
    os.kill(killed.pid, signal.SIGKILL)
    assert Folder(folder).wait_until_gone(timeout_s=PATIENCE_S)
    assert find() is None
    assert stop() is False
    engine = start()
    assert engine.instance_id != killed.instance_id
    assert tables(engine) == []


def test_another_program_on_the_recorded_port_is_not_taken_for_the_engine(folder):
    engine = start()
    # As after a reboot: the pid and the port are those of something else now.
    stale = Engine(endpoint_url=engine.endpoint_url, pid=os.getpid(), started_at_ms=0, instance_id="of-yesterday")
    os.kill(engine.pid, signal.SIGSTOP)  # so that it does not see that its record is gone
    Folder(folder).write(stale)
    os.kill(engine.pid, signal.SIGCONT)
    assert find() is None
    assert stop() is False  # and this process, whose pid is recorded, is alive


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": null}'])
def test_an_unreadable_record_counts_as_none(folder, content):
    locate().make()
    (folder / "engine.json").write_text(content)
    assert find() is None
    assert tables(start()) == []


def test_an_engine_that_is_silent_but_alive_is_not_replaced(monkeypatch):
    engine = start()
    monkeypatch.setattr(discovery, "ANSWER_S", 0.2)
    os.kill(engine.pid, signal.SIGSTOP)
    with pytest.raises(EngineError, match=f"pid {engine.pid} holds .* does not answer"):
        start()
    assert stop(timeout=0.1) is True  # by force
    assert eventually(lambda: is_dead(engine.pid))


def test_an_engine_whose_record_is_gone_stops(folder):
    engine = start()
    (folder / "engine.json").unlink()
    assert eventually(lambda: is_dead(engine.pid))


def test_the_starter_ends_with_its_pipes_closed_while_the_engine_runs_on():
    starter = run_python("import ddb_lease.local as l; l.start(timeout=120)")
    # Returns only when no process holds the other end of standard output.
    assert starter.communicate(timeout=PATIENCE_S) == ("", None)
    engine = find()
    assert engine is not None
    assert os.getsid(engine.pid) not in {os.getsid(0), engine.pid}
    assert engine.pid not in children(os.getpid())


def children(pid: int) -> set[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, check=False)
    return {int(child) for child in listed.stdout.split()}


def test_the_engine_listens_on_loopback_only():
    port = urlsplit(start().endpoint_url).port
    assert port is not None
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    ]
    loopback = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}"
    assert listening == [f"{loopback}:{port:04X}"]


@contextlib.contextmanager
def foreground(*options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "ddb_lease.local.server", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_an_idle_engine_stops_by_itself_and_leaves_no_record(folder):
    locate().make()
    with foreground("--folder", str(folder), "--idle-s", "0.2") as process:
        assert process.wait(PATIENCE_S) == 0
    assert not (folder / "engine.json").exists()
    assert find() is None


def test_the_process_deletes_by_ttl_in_the_background(folder):
    locate().make()
    with foreground("--folder", str(folder), "--sweep-s", "0.05") as process:
        assert process.stdout is not None
        process.stdout.readline()
        engine = start()
        client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
        with contextlib.closing(client):
            client.create_table(
                TableName="things",
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
            ttl = {"Enabled": True, "AttributeName": "expires"}
            client.update_time_to_live(TableName="things", TimeToLiveSpecification=ttl)
            past = {"N": str(int(time.time()) - 10)}
            client.put_item(TableName="things", Item={"id": {"S": "a"}, "expires": past})
            assert eventually(lambda: client.scan(TableName="things")["Count"] == 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_it_prints_only_its_address(folder, number):
    locate().make()
    with foreground("--folder", str(folder)) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        engine = find()
        assert engine is not None
        assert engine.endpoint_url == address
        assert tables(engine) == []
        process.send_signal(number)
        output = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, output) == (0, ("", ""))
    assert list(folder.glob("engine.json*")) == []


def test_a_second_engine_does_not_start_in_the_folder_of_a_running_one(folder, monkeypatch):
    start()
    with pytest.raises(EngineError, match="holds"), Folder(folder).running(timeout_s=0):
        pytest.fail("there are two")


def test_a_failed_start_reports_the_last_line_of_the_log(folder, monkeypatch, tmp_path):
    # A moto that cannot be imported, ahead of the real one.
    (tmp_path / "moto.py").write_text("raise ImportError('this moto is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"did not start: .*this moto is broken"):
        start()
    assert find() is None
    assert not Folder(folder).engine_lives()


def test_a_start_that_takes_too_long_is_given_up_and_leaves_nothing_running(folder):
    with pytest.raises(EngineError, match="took too long"):
        start(timeout=0.0)
    assert eventually(lambda: not Folder(folder).engine_lives())
    assert find() is None


def test_without_the_extra_there_is_one_clear_error(monkeypatch):
    found = discovery.importlib.util.find_spec
    monkeypatch.setattr(discovery.importlib.util, "find_spec", lambda name: None if name == "moto" else found(name))
    with pytest.raises(EngineError, match=r"pip install 'ddb-lease\[local\]'"):
        start()


def test_importing_the_package_imports_neither_moto_nor_flask():
    code = "import sys, ddb_lease.local; print(sorted({'moto', 'flask', 'flask_cors'} & set(sys.modules)))"
    assert run_python(code).communicate(timeout=PATIENCE_S)[0].strip() == "[]"


def test_the_public_names_are_these():
    assert ddb_lease.local.__all__ == ["Engine", "EngineError", "connect", "find", "start", "stop"]
    assert all(getattr(ddb_lease.local, name).__doc__ for name in ddb_lease.local.__all__)


def test_the_record_is_plain_json(folder):
    engine = start()
    record = json.loads((folder / "engine.json").read_text())
    assert record["endpoint_url"] == engine.endpoint_url
    assert set(record) == {"endpoint_url", "pid", "started_at_ms", "instance_id", "access_key_id"}


def recorded(folder, server):
    """A record that leads to this server, whatever that is."""
    url = f"http://127.0.0.1:{server.server_address[1]}"
    Folder(folder).write(Engine(endpoint_url=url, pid=os.getpid(), started_at_ms=0, instance_id="mine"))


@contextlib.contextmanager
def answering(status, body):
    """A server that answers every request so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, b'{"instance_id": "mine"}', True),
        (200, b'{"instance_id": "another"}', False),
        (200, b'"mine"', False),
        (200, b"mine", False),
        (200, b"{}", False),
        (503, b'{"instance_id": "mine"}', False),
    ],
)
def test_an_engine_is_what_answers_with_its_own_id_and_nothing_else(folder, status, body, found):
    locate().make()
    with answering(status, body) as server:
        recorded(folder, server)
        assert (find() is not None) == found
    assert find() is None, "nobody listens there any more"


def test_an_address_that_is_silent_is_asked_again_and_given_up_where_no_engine_lives(folder, monkeypatch):
    locate().make()
    monkeypatch.setattr(discovery, "ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        Folder(folder).write(Engine(endpoint_url=url, pid=os.getpid(), started_at_ms=0, instance_id="mine"))
        began = time.monotonic()
        assert find() is None
        assert time.monotonic() - began >= 0.3
        with Folder(folder).running(timeout_s=0), pytest.raises(EngineError, match=f"pid {os.getpid()} holds"):
            find()


def test_an_answer_that_is_cut_off_is_asked_for_again(folder):
    locate().make()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        Folder(folder).write(Engine(endpoint_url=url, pid=os.getpid(), started_at_ms=0, instance_id="mine"))
        body = b'{"instance_id": "mine"}'

        def answer():
            for answered in (False, True):
                connection, _ = server.accept()
                with connection:
                    connection.recv(10_000)
                    if answered:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        with ThreadPoolExecutor(1) as pool:
            answers = pool.submit(answer)
            assert find() is not None
            answers.result(PATIENCE_S)


def test_waiting_too_long_for_another_starter_raises():
    locate().make()
    with locate().starting(timeout_s=1), pytest.raises(EngineError, match="another process has been starting"):
        start(timeout=0.1)


def test_after_waiting_for_another_starter_its_engine_is_used(folder, monkeypatch):
    place = locate()
    place.make()
    monkeypatch.setattr(discovery.subprocess, "run", lambda *_, **__: pytest.fail("a second engine is started"))
    with ThreadPoolExecutor(1) as pool, answering(200, b'{"instance_id": "mine"}') as server:
        with place.starting(timeout_s=1):
            waiter = pool.submit(start)
            assert eventually(lambda: waits_for(folder / "start.lock"))
            recorded(folder, server)
        assert waiter.result(PATIENCE_S).instance_id == "mine"


def waits_for(lock):
    """Whether this process has the lock's file open twice: it holds it, and waits for it."""
    files = [
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{fd}")
    ]
    return files.count(str(lock)) == 2


def test_a_failed_start_that_said_nothing_is_told_so(folder, monkeypatch):
    monkeypatch.setattr(discovery.sys, "executable", "/bin/true")
    with pytest.raises(EngineError, match="did not start: it wrote nothing"):
        start()


def test_a_mistyped_table_is_an_error_and_only_the_default_one_is_made_unasked():
    assert connect()["table"] == "ddb-lease"
    with pytest.raises(StoreRejected, match=r"create-table --local --table typo.*create=True"):
        connect("typo")
    with pytest.raises(ConfigurationError, match="table ''"):
        connect("")
    engine = start()
    assert tables(engine) == ["ddb-lease"]
    assert connect("mine", create=True)["table"] == "mine"
    assert connect("mine")["table"] == "mine"
    assert tables(engine) == ["ddb-lease", "mine"]
