"""A handler of AWS Lambda under a lease that fits its invocation: nothing renews it, and a frozen sandbox holds nothing."""

import contextlib
import datetime as dt
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, LeaseBucket, LeaseLost, LossReason, Timing, local
from ddb_lease.testing import TestEnvironment
from tests.conftest import QUICK, TABLE

CONTRACT = True
NOT_ON = ("embedded", "ministack")  # the engine does not matter: a handler sends what a bucket sends
ROOT = Path(__file__).parent.parent
LONG = 60.0


@pytest.fixture
def environment(engine, session, table):
    with TestEnvironment(table=TABLE, session=session, endpoint_url=engine.endpoint_url) as environment:
        yield environment


class Context:
    """What Lambda gives a handler, for an invocation of so many seconds from now."""

    def __init__(self, environment, seconds):
        self._steady = environment.clock.steady
        self._ends_at = self._steady() + seconds

    def get_remaining_time_in_millis(self):
        return int((self._ends_at - self._steady()) * 1000)


@pytest.fixture
def context(environment):
    return lambda seconds=30: Context(environment, seconds)


@pytest.fixture
def bucket(environment, bucket_name):
    return LeaseBucket(bucket_name, max_tokens=1, lease_seconds=60, **environment.connect())


@pytest.fixture
def other(environment, bucket_name):
    """Somebody else's."""
    return environment.bucket(bucket_name)


@pytest.mark.parametrize("seconds", [0.5, 3, 30, 900])
def test_the_lease_is_as_long_as_the_invocation_may_take_and_the_margin_longer(bucket, other, context, seconds):
    @bucket.handler(margin=5)
    def handler(lease, event, _context):
        assert event == "event"
        (held,) = other.status().leases
        assert held.lease_id == lease.id
        assert lease.remaining >= seconds, "it is believed for as long as the handler may run"
        return held.remaining_seconds

    assert handler("event", context(seconds)) == pytest.approx(seconds + 5, abs=1.5)
    assert other.status().leases == (), "its end releases it"


def test_a_handler_need_not_take_the_lease(bucket, other, context):
    @bucket.handler()
    def handler(event, context):
        """What it does."""
        assert other.try_acquire() is None
        return event, context.get_remaining_time_in_millis()

    assert handler("event", context(2)) == ("event", 2000)
    assert handler.__doc__ == "What it does."
    assert handler.__name__ == "handler"


def test_nothing_renews_it_and_no_thread_is_started(engine, session, table, bucket_name):
    """On real time, with the process's own heartbeat."""
    where = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
    code_before = set(threading.enumerate())
    with LeaseBucket(bucket_name, max_tokens=1, lease_seconds=1.5, timing=QUICK, **where) as bucket:

        @bucket.handler(margin=3)
        def handler(lease, _event, _context):
            for _ in range(3):
                time.sleep(0.25)  # a third of the bucket's lease has passed, and what is late would be noticed
                lease.check()
            return {thread.name for thread in set(threading.enumerate()) - code_before}

        class Given:
            def get_remaining_time_in_millis(self):
                return 30_000

        names = handler(None, Given())
    assert not [name for name in names if name.startswith("ddb-lease")]


def test_it_costs_two_writes(new_bucket, context):
    bucket = new_bucket(max_tokens=1, lease_seconds=30)

    @bucket.handler()
    def handler(_event, _context):
        """Nothing to do."""

    handler(None, context())
    bucket.tap.clear()
    handler(None, context())
    assert bucket.tap.count() == {"Claim": 1, "Release": 1}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, AcquireTimeout])
def test_an_error_releases_it_and_passes(bucket, other, context, error):
    @bucket.handler(on_busy=lambda event, context: pytest.fail("it is not busy"))
    def handler(_event, _context):
        raise error("the handler's own")

    with pytest.raises(error, match="the handler's own"):
        handler(None, context())
    assert other.try_acquire() is not None


def test_who_finds_no_slot_raises_or_says_what_the_result_is(bucket, other, context):
    held = other.acquire()

    def handler(_event, _context):
        pytest.fail("no slot was had")

    with pytest.raises(AcquireTimeout):
        bucket.handler()(handler)(None, context())
    busy = bucket.handler(on_busy=lambda event, context: (event, context.get_remaining_time_in_millis() > 0))
    assert busy(handler)("event", context()) == ("event", True)
    assert held.held


@pytest.mark.parametrize(("timeout", "waits"), [(4, 4), (dt.timedelta(seconds=4), 4), (None, 9.5), (100, 9.5)])
def test_it_waits_for_a_slot_but_never_longer_than_the_invocation(bucket, other, environment, context, timeout, waits):
    other.acquire()
    began = environment.clock.steady()
    with pytest.raises(AcquireTimeout):
        bucket.handler(timeout=timeout)(lambda _event, _context: None)(None, context(10))
    assert environment.clock.steady() - began == pytest.approx(waits, abs=1.0)


def test_who_does_not_wait_is_not_told_of_a_wait(bucket, other, context):
    other.acquire()
    with pytest.raises(AcquireTimeout) as raised:
        bucket.handler()(lambda _event, _context: None)(None, context())
    assert "10 s" not in str(raised.value)


def test_a_release_without_an_answer_takes_no_more_time_than_the_invocation_has(bucket, environment, context):
    with contextlib.ExitStack() as outage:

        @bucket.handler()
        def handler(_event, context):
            outage.enter_context(environment.outage())
            return context

        given = handler(None, context(0.6))
    assert given.get_remaining_time_in_millis() > 0


def test_after_a_wait_the_lease_is_so_much_shorter(bucket, other, environment, context):
    held = other.acquire()

    @bucket.handler(margin=5, timeout=None)
    def handler(lease, _event, context):
        (seen,) = other.status().leases
        assert seen.lease_id == lease.id
        return context.get_remaining_time_in_millis() / 1000, seen.remaining_seconds

    environment.lose(held, reason="unreachable")
    left, until_expiry = handler(None, context(100))
    assert left < 98, "it waited until the other lease had expired"
    assert until_expiry == pytest.approx(left + 5, abs=1.0)


# Frozen.


@pytest.mark.parametrize("seconds", [5, 86_400])
@pytest.mark.parametrize("freeze", ["stand_still", "suspend"])
def test_after_a_thaw_nothing_goes_by_the_old_time(bucket, other, environment, context, freeze, seconds):
    @bucket.handler(margin=5)
    def handler(lease, _event, _context):
        (held,) = other.status().leases
        assert held.lease_id == lease.id
        return held.remaining_seconds, lease.fence

    _, before = handler(None, context())
    getattr(environment, freeze)(seconds)
    assert other.status().leases == ()
    remaining, after = handler(None, context())
    assert remaining == pytest.approx(35, abs=2.0)
    assert after > before


def test_who_slept_past_the_end_of_its_lease_learns_it_from_check(bucket, other, environment, context):
    @bucket.handler(margin=5)
    def handler(lease, _event, _context):
        environment.suspend(60)
        assert lease.lost is LossReason.SUSPENDED
        assert other.try_acquire() is not None
        lease.check()

    with pytest.raises(LeaseLost):
        handler(None, context())


# Mistakes.


@pytest.fixture
def unsent(monkeypatch):
    """A bucket that sends nothing."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    return lambda **settings: LeaseBucket("imports", max_tokens=1, **settings)


def test_what_would_run_later_is_refused(unsent):
    bucket = unsent()

    async def later(event, context):
        """Nobody awaits it."""

    def by_and_by(event, context):
        yield

    with pytest.raises(ConfigurationError, match="Lambda calls plain functions"):
        bucket.handler()(later)
    with pytest.raises(ConfigurationError, match="generator function"):
        bucket.handler()(by_and_by)
    with pytest.raises(ConfigurationError, match="parentheses"):
        bucket.handler(margin=later)
    with pytest.raises(ConfigurationError, match=r"write `def swapped\(lease, ...\)`"):

        @bucket.handler()
        def swapped(event, context, lease):
            """The lease comes first."""


@pytest.mark.parametrize("margin", [0, -1, 3.3, 901, "5", None])
def test_a_margin_that_cannot_work_is_refused(unsent, margin):
    with pytest.raises(ConfigurationError, match="margin"):
        unsent().handler(margin=margin)


def test_the_margin_follows_the_timing(unsent):
    roomy = unsent(timing=Timing(grace=8))
    with pytest.raises(ConfigurationError, match=r"from 9\.36"):
        roomy.handler(margin=5)
    roomy.handler(margin=10)


@pytest.mark.parametrize("left", [None, "30", 900_001, True])
def test_a_context_that_is_none_is_refused_before_anything_is_sent(unsent, left):
    class Strange:
        def get_remaining_time_in_millis(self):
            return left

    handler = unsent().handler()(lambda event, context: None)
    with pytest.raises(ConfigurationError, match="remaining time"):
        handler(None, Strange())
    with pytest.raises(ConfigurationError, match="get_remaining_time_in_millis"):
        handler(None, object())


# AWS's own runtime client.

FUNCTION = """
import os, threading, time
from ddb_lease import LeaseBucket, Timing, local

bucket = LeaseBucket("imports", max_tokens=1, timing=Timing(front_end_skew=0.1, grace=0.1), **local.connect())

@bucket.handler(margin=1)
def handler(lease, event, context):
    if event == "fail":
        raise ValueError("the handler's own")
    if event == "hang":
        print("hangs", flush=True)
        time.sleep(600)
    ours = [thread.name for thread in threading.enumerate() if thread.name.startswith("ddb-lease")]
    return [event, lease.slot, lease.fence, round(lease.remaining), ours]
"""


class Runtime:
    """The service's side of the runtime API: hands out invocations, and takes results (AWS, "Using the Lambda runtime API
    for custom runtimes").
    """

    def __init__(self):
        events, results = self.events, self.results = queue.Queue(), queue.Queue()
        version = "/2018-06-01/runtime"

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                assert self.path == f"{version}/invocation/next"
                event, seconds = events.get()
                self._answer(200, json.dumps(event), {
                    "Lambda-Runtime-Aws-Request-Id": "request",
                    "Lambda-Runtime-Deadline-Ms": str(int((time.time() + seconds) * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:imports",
                })  # fmt: skip

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                results.put((self.path.removeprefix(f"{version}/invocation/request/"), body))
                self._answer(202, "{}", {})

            def _answer(self, code, body, headers):
                self.send_response(code)
                for name, value in (
                    {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
                ).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def invoke(self, event, seconds=30):
        self.events.put((event, seconds))

    def result(self):
        return self.results.get(timeout=LONG)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def runtime():
    runtime = Runtime()
    yield runtime
    runtime.close()


def test_it_runs_in_awss_own_runtime_client(tmp_path, runtime, monkeypatch):
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path / "engine"))
    where = local.connect(create=True)
    (tmp_path / "function.py").write_text(FUNCTION)
    host, port = runtime.server.server_address[:2]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "LAMBDA_TASK_ROOT": str(tmp_path),
        "AWS_LAMBDA_RUNTIME_API": f"{host}:{port}",
        "AWS_LAMBDA_FUNCTION_NAME": "imports",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_LOG_GROUP_NAME": "group",
        "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
        "DDB_LEASE_LOCAL_DIR": str(tmp_path / "engine"),
    }
    with contextlib.ExitStack() as stack:
        stack.callback(local.stop)
        other = stack.enter_context(LeaseBucket("imports", max_tokens=1, **where))
        line = [sys.executable, "-m", "awslambdaric", "function.handler"]
        sandbox = stack.enter_context(
            subprocess.Popen(line, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(sandbox.kill)
        runtime.invoke("first", seconds=300)  # the sandbox may take long to start
        path, result = runtime.result()
        assert path == "response", result
        event, slot, fence, remaining, ours = result
        assert (event, slot, ours) == ("first", 0, [])
        assert 270 <= remaining <= 301
        assert other.status().free == 1

        runtime.invoke("fail")
        path, error = runtime.result()
        assert (path, error["errorType"]) == ("error", "ValueError")
        assert other.status().free == 1, "an error releases the lease"

        sandbox.send_signal(signal.SIGSTOP)  # frozen between two invocations
        held = other.acquire(timeout=LONG)
        sandbox.send_signal(signal.SIGCONT)
        runtime.invoke("busy")
        path, error = runtime.result()
        assert (path, error["errorType"]) == ("error", "AcquireTimeout")
        held.release()

        runtime.invoke("second")
        _, (_, _, later, *_) = runtime.result()
        assert later > fence

        runtime.invoke("hang", seconds=5)
        assert any("hangs" in said for said in sandbox.stdout)
        sandbox.kill()  # as Lambda does at the timeout
        assert other.try_acquire() is None
        other.acquire(timeout=LONG)
