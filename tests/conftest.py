"""What the tests share: engines, buckets, a tap on their requests, and a clock that tests move."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import itertools
import logging
import os
import re
import signal
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext

import botocore.session
import pytest
from botocore.config import Config
from hypothesis import HealthCheck, settings

from ddb_lease import LeaseBucket, Limit, RateLimiter, Timing, client_config, local
from ddb_lease._runtime.clock import SystemClock
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state import log
from ddb_lease.dynamodb import ConnectionSettings, Store
from ddb_lease.dynamodb.table import create_table
from ddb_lease.testing.simulated_process import Chance
from scripts.harness.inside import core_of
from scripts.harness.simulated_engine import simulated
from tests import apis, pages
from tests.support import DatedTap, SimulatedClients, SteppingWakeup, Table, Tap, store_of

# A shell that starts this suite in the background makes it ignore some signals; commands that tests interrupt would
# inherit that.
for _signum in {
    signal.SIGINT,
    signal.SIGTERM,
    *(getattr(signal, name, signal.SIGINT) for name in ("SIGQUIT", "SIGHUP")),
}:
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, signal.default_int_handler if _signum == signal.SIGINT else signal.SIG_DFL)

# What botocore reads of its own files, it keeps for one session, and the tests make hundreds.
_LOADER = botocore.session.create_loader()
botocore.session.create_loader = lambda *_: _LOADER

TABLE = "leases"
QUICK = Timing(front_end_skew=0.1)
PATIENCE = 60.0
"""Seconds for an answer that should take some milliseconds, on a machine that may be busy."""
_serial = itertools.count()
TERMINAL = pytest.StashKey[int]()

# How hard property tests search: `HYPOTHESIS_PROFILE=deep scripts/test --timeout 0 tests/fuzz`. No deadlines: machines are
# shared, and how long an example takes is not a property of the code.
settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, max_examples=200
)  # the gate: repeatable
settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "deep", deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
os.environ["DDB_LEASE_CONFIG"] = ""  # none of the settings of whoever runs the tests


def pytest_configure(config: pytest.Config) -> None:
    """Find the terminal, for a traceback that nothing may capture; watch over the pages' snippets."""
    config.pluginmanager.register(pages.Watch())
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        config.stash[TERMINAL] = os.dup(2)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported and collected, and let it look through the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep a test from hanging the run, and the run from hanging its caller.

    pytest-timeout fails a test that takes too long, with a traceback of every thread. If that is not enough, because
    something swallows the failure, waits in a `finally`, or never releases the interpreter, a timer that needs no
    interpreter ends the process. It stays set after the last test, in case something hangs at the exit.
    """
    own = item.get_closest_marker("timeout")  # of a search that takes long on purpose
    limit = float((own and own.args[0]) or item.config.getoption("timeout") or item.config.getini("timeout") or 0)
    if limit:
        faulthandler.dump_traceback_later(2 * limit, exit=True, file=item.config.stash[TERMINAL])


ENGINES = ("embedded", "ministack", "dynoxide", "simulated")
ON_DYNOXIDE = (
    "tests.dynamodb.",
    "tests.conformance.",
    "tests.test_guarded_writes",
    *(f"tests.operations.test_{name}" for name in ("acquire_errors", "acquire_many", "acquire_recovery")),
    *(f"tests.operations.test_{name}" for name in ("listing", "resize", "revoke", "status", "sync_time")),
)
"""What dynoxide runs without `--dynoxide-everywhere`: the contract, and operations in which the engine's answers matter
most. The other tests are of waiting, of processes and of this process's memory: one more engine tells little about
them, and the gate's time is limited."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our own options."""
    parser.addoption(
        "--dynoxide-everywhere",
        action="store_true",
        help="run on dynoxide all that runs on ministack, not only the contract's tests and the operations'",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The simulator's DynamoDB runs the modules that set ``CONTRACT``: it must pass what the engines pass.

    Modules that set ``NOT_ON`` need something that the engines named there do not have. What does not run on ministack
    because the engine does not matter does not run on dynoxide either.
    """
    everywhere = config.getoption("dynoxide_everywhere")

    def belongs(item: pytest.Item) -> bool:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        engine, excluded = params.get("engine"), getattr(item.module, "NOT_ON", ())
        if params.get("store") == "botocore" and engine != "ministack":
            return False  # an engine does not know the difference: once is enough
        if params.get("api") == "asyncio" and engine not in item.module.APIS:
            return False
        if engine == "dynoxide":
            wanted = everywhere or item.module.__name__.startswith(ON_DYNOXIDE)
            return wanted and not {"dynoxide", "ministack"} & set(excluded)
        if engine in excluded:
            return False
        return engine != "simulated" or getattr(item.module, "CONTRACT", False)

    items[:] = [item for item in items if belongs(item)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Modules that set ``APIS`` run over the synchronous API, and over that for asyncio on the engines named there."""
    own = any(mark.name == "one_api" for mark in metafunc.definition.iter_markers())
    if "api" in metafunc.fixturenames and hasattr(metafunc.module, "APIS") and not own:
        metafunc.parametrize("api", apis.APIS, indirect=True)


@pytest.fixture
def api(request: pytest.FixtureRequest) -> str:
    """The API of the test's buckets."""
    return getattr(request, "param", "threads")


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[object]:
    """Each engine in turn; all must pass the same suite."""
    if request.param == "simulated":
        with simulated() as running:
            yield running
        return
    from scripts.harness import engines  # importing these takes longer than most runs on the simulator's DynamoDB

    if request.param == "dynoxide" and not engines.dynoxide_executable().exists():
        pytest.skip("dynoxide is not here: scripts/test brings it where npm is at hand")
    with getattr(engines, request.param)() as running:
        create_table(
            TABLE,
            connection=ConnectionSettings(session=running.session(), endpoint_url=running.endpoint_url),
            clock=SystemClock(),
        )
        yield running


@pytest.fixture(scope="session")
def session(engine) -> object:
    """One boto3 session for each engine: making one takes longer than a test."""
    return engine.session()


@pytest.fixture(scope="session")
def client(engine, session) -> object:
    """One client for each engine, fit for leases."""
    return session.client("dynamodb", endpoint_url=engine.endpoint_url, config=client_config(30))


@pytest.fixture(scope="session")
def hands(engine, session) -> object:
    """A client for the tests' own work on the table, with long timeouts: a machine may stand still for seconds."""
    patient = Config(connect_timeout=30, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3})
    return session.client("dynamodb", endpoint_url=engine.endpoint_url, config=patient)


_BUCKET_NAMES = re.compile(r"bucket-\d+-[0-9a-f]{6}(?![0-9a-f])")
"""Those of `bucket_name`, in a text."""


@pytest.fixture
def bucket_name() -> str:
    """A name that no other test has."""
    return f"bucket-{next(_serial)}-{uuid.uuid4().hex[:6]}"


@pytest.fixture
def table(engine, hands, bucket_name) -> Iterator[Table]:
    """Direct access to the table: reads and edits items by hand, as an operator might.

    What a test leaves there is dropped by the engine itself, if that makes the next test cheaper: deleting the items of a
    rate takes dozens of requests.
    """
    # Where a module has an `engine` of its own, pytest may keep the clients of another one.
    assert hands.meta.endpoint_url == engine.endpoint_url
    yield Table(hands, TABLE, bucket_name)
    engine.drop(bucket_name)


@pytest.fixture
def new_bucket(engine, session, bucket_name, table, api) -> Iterator[Callable[..., LeaseBucket]]:
    """Makes clients of this test's bucket; each stands for a process of its own, with a `tap` on its requests."""
    with apis.loop_for(api) as loop, ExitStack() as stack:
        kind = LeaseBucket if loop is None else functools.partial(apis.LeaseBucket, loop=loop)

        def make(name: str = bucket_name, *, tap: Tap | None = None, **arguments) -> LeaseBucket:
            tap = tap or Tap()
            settings = {"max_tokens": 3, "lease_seconds": 30, "timing": QUICK, "table": TABLE} | arguments
            runtime = settings.pop("runtime", None) or Runtime(wrap=tap.around)
            if "client" not in settings:
                settings |= {"session": session, "endpoint_url": engine.endpoint_url}
            bucket = kind(
                name,
                runtime=runtime,
                **settings,
            )
            bucket.tap = tap
            stack.callback(bucket.close)
            return bucket

        yield make


@pytest.fixture
def new_limiter(engine, session, bucket_name, table) -> Iterator[Callable[..., RateLimiter]]:
    """Makes limiters of this test's rate, a hundred a second; each stands for a process of its own, with a `tap`."""
    with ExitStack() as stack:

        def make(name: str = bucket_name, *, tap: Tap | None = None, **arguments) -> RateLimiter:
            tap = tap or Tap()
            settings = {"rate": 100, "burst": 5, "table": TABLE, "session": session} | arguments
            runtime = settings.pop("runtime", None) or Runtime(wrap=tap.around)
            limiter = RateLimiter(name, endpoint_url=engine.endpoint_url, runtime=runtime, **settings)
            limiter.tap = tap
            stack.callback(limiter.close)
            return limiter

        yield make


@pytest.fixture
def rates(environment, new_limiter) -> Callable[..., RateLimiter]:
    """Makes limiters on the environment's clock; once they know the service's time, they know it to the nanosecond."""
    seeds = itertools.count()

    def make(**arguments) -> RateLimiter:
        tap = DatedTap(environment.clock)
        runtime = Runtime(
            clock=environment.clock,
            chance=Chance(next(seeds)),
            wrap=tap.around,
            wakeup=lambda: SteppingWakeup(environment),
        )
        limiter = new_limiter(tap=tap, runtime=runtime, **arguments)
        time = core_of(limiter).state.rate_time
        asks_nothing = time.now_ns
        time.now_ns = lambda: None if asks_nothing() is None else round(environment.clock.wall() * 1e9)
        return limiter

    return make


@pytest.fixture
def limiter(rates) -> RateLimiter:
    """A hundred a second, five at once, on the environment's clock; its policy is stored, and its time is known."""
    limiter = rates()
    limiter.set_policy(Limit(100, burst=5))
    limiter.status()
    limiter.tap.clear()
    return limiter


@pytest.fixture(params=["wire", "botocore"])
def store(request, engine, session, client, bucket_name, table) -> Iterator[Store]:
    """This test's bucket without the library's upper layers: requests are sent as they are, over either path."""
    if request.param == "botocore":
        connection = ConnectionSettings(client=client)
    else:
        connection = ConnectionSettings(session=session, endpoint_url=engine.endpoint_url)
    store = store_of(connection, bucket=bucket_name, table=TABLE)
    yield store
    store.close()


@pytest.fixture
def environment(new_bucket, monkeypatch) -> SimulatedClients:
    """Clients on a clock that the test moves. A slow engine does not matter: their clock stands still meanwhile."""
    monkeypatch.setattr("ddb_lease.dynamodb.client.timeout_for", lambda _: PATIENCE)
    return SimulatedClients(new_bucket)


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], object]], Future]]:
    """Runs something on a thread of its own; tests must make sure that it ends."""
    pool = ThreadPoolExecutor(max_workers=32)
    yield pool.submit
    pool.shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def as_aws(monkeypatch) -> Iterator[dict[str, object]]:
    """An embedded engine with the default table, which a page's program reaches as it would reach AWS.

    It is also the engine of `local.connect`, whose arguments for a bucket it returns.
    """
    with pages.engine() as connection:
        for name, value in {
            "AWS_ENDPOINT_URL_DYNAMODB": connection["endpoint_url"],
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": connection["session"].region_name,
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(local, "connect", lambda **_: connection)
        yield connection


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the user's own AWS settings, and the network, away from the tests."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    nowhere = tmp_path_factory.getbasetemp() / "no-such-file"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Flushed:
    """pytest's `caplog`, whose reader waits until the log's thread has emitted what was said so far.

    A bucket of an earlier test may still have something to say: that its engine, stopped meanwhile, does not answer.
    Records that name another test's bucket are left out.
    """

    def __init__(self, caplog: pytest.LogCaptureFixture, bucket_name: str) -> None:
        self._caplog = caplog
        self._bucket_name = bucket_name

    def __getattr__(self, name: str) -> object:
        assert log.flush(60), "the log's thread hangs"
        return getattr(self._caplog, name)

    @property
    def records(self) -> list[logging.LogRecord]:
        """What was said of this test's bucket, or of none."""
        assert log.flush(60), "the log's thread hangs"
        return [record for record in self._caplog.records if self._is_own(record)]

    @property
    def messages(self) -> list[str]:
        """As pytest's, of these records."""
        return [record.getMessage() for record in self.records]

    @property
    def text(self) -> str:
        """As pytest's, of these records."""
        return "".join(self._caplog.handler.format(record) + "\n" for record in self.records)

    def _is_own(self, record: logging.LogRecord) -> bool:
        named = _BUCKET_NAMES.findall(record.getMessage())
        return not named or self._bucket_name in named

    @contextlib.contextmanager
    def at_level(self, *args, **kwargs) -> Iterator[None]:
        """As pytest's; what is said within is emitted within."""
        with self._caplog.at_level(*args, **kwargs):
            yield
            assert log.flush(60), "the log's thread hangs"


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture, bucket_name: str) -> Flushed:
    """pytest's own; but the library's threads hand what they say to a thread that emits it."""
    assert log.flush(60), "the log's thread hangs"  # what an earlier test left
    return Flushed(caplog, bucket_name)
