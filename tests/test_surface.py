"""The public surface: documented, picklable where needed, and free of import side effects."""

import copy
import dataclasses
import doctest
import functools
import importlib
import inspect
import logging
import operator
import pickle
import pkgutil
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import ddb_lease
from ddb_lease import aio, events, local, testing
from ddb_lease.adapters import asgi, wsgi
from ddb_lease.local import control
from ddb_lease.models import BucketStatus, LeaseInfo, Timing

LONG = 60.0
PACKAGE = Path(ddb_lease.__file__).parent
REFERENCE = Path(__file__).parent.parent / "docs" / "api"
TYPED = Path(__file__).parent / "typing" / "public_surface.py"

PUBLIC = {
    "Lease": "a slot in one's hands",
    "LeaseBucket": "where one gets it",
    "Leader": "one of many processes, at any time",
    "acquire_all": "where one gets several at once",
    "Leases": "what it returns",
    "DynamoDBTokenBucket": "tokens that nobody renews",
    "Timing": "the time budget around it",
    "BucketStatus": "what `status` returns",
    "LeaseInfo": "one lease of it",
    "Configured": "what `configure` did",
    "Waiter": "one process in its queue",
    "Resized": "what `resize` did",
    "Repaired": "what `repair` did",
    "RateLimiter": "a rate, instead of a number at once",
    "SlidingWindow": "a number in any period, exactly",
    "Reservation": "permits of it that are held, and settled later",
    "RateStatus": "what its `status` returns",
    "KeyLimiter": "one key of it",
    "Limit": "one limit of several",
    "Decision": "what `check` returns",
    "LimitDecision": "one limit of it",
    "WindowDecision": "what a window's `check` returns",
    "client_config": "for a client of one's own",
    "exit_on_sigterm": "so that what is held is released then",
    "LeaseError": "root of all that is raised on purpose",
    "ConfigurationError": "nothing was sent",
    "TooManyPermits": "no wait helps",
    "UnknownBucket": "nothing was changed",
    "AcquireTimeout": "nothing is held",
    "RateTimeout": "permits cannot be had in time",
    "Overtaken": "another resize came in between",
    "LeaseLost": "stop working",
    "LossReason": "why",
    "StoreError": "DynamoDB did not do it",
    "StoreUnavailable": "try later",
    "StoreRejected": "retrying will not help",
    "EngineError": "the embedded engine",
}
FOR_ASYNCIO = {
    "Lease": "a slot in a task's hands",
    "LeaseBucket": "where one gets it",
    "Leader": "one of many processes, at any time",
    "acquire_all": "where one gets several at once",
    "Leases": "what it returns",
    "KeyLimiter": "one key of it",
    "RateLimiter": "permits of a rate",
    "Reservation": "permits that are held, and settled later",
    "SlidingWindow": "permits of a window",
}
FOR_WEB_SERVERS = {
    "RateLimitMiddleware": "a limit in front of an application",
    "by_client_address": "a key for it",
    "by_header": "another",
}
FOR_TESTS = {
    "MovableClock": "a clock that tests move",
    "Stage": "the earlier name of TestEnvironment",
    "TestEnvironment": "buckets on it",
}
BUCKETS = (
    ddb_lease.LeaseBucket,
    ddb_lease.Leader,
    ddb_lease.DynamoDBTokenBucket,
    ddb_lease.RateLimiter,
    ddb_lease.SlidingWindow,
    aio.LeaseBucket,
    aio.Leader,
    aio.RateLimiter,
    aio.SlidingWindow,
    asgi.RateLimitMiddleware,
    wsgi.RateLimitMiddleware,
)
EXPORTED = [getattr(ddb_lease, name) for name in ddb_lease.__all__]
ERRORS = [thing for thing in EXPORTED if isinstance(thing, type) and issubclass(thing, Exception)]


def public_things():
    """Every public name, and every method and property that it defines, as (name, object)."""
    exported = [(name, getattr(ddb_lease, name)) for name in ddb_lease.__all__]
    exported += [(name, getattr(testing, name)) for name in testing.__all__]
    exported += [(f"aio.{name}", getattr(aio, name)) for name in aio.__all__]
    exported += [(f"asgi.{name}", getattr(asgi, name)) for name in asgi.__all__]
    exported += [(f"wsgi.{name}", getattr(wsgi, name)) for name in wsgi.__all__]
    for name, thing in exported:
        yield name, thing
        if isinstance(thing, type):
            for member, value in vars(thing).items():
                is_code = inspect.isroutine(value) or isinstance(value, (property, staticmethod, classmethod))
                if is_code and not member.startswith("_"):
                    yield f"{name}.{member}", value


def public_callables():
    for name, thing in public_things():
        if inspect.isfunction(thing) or (isinstance(thing, type) and thing in {*BUCKETS, testing.TestEnvironment}):
            yield name, thing


# Names.


def test_what_is_exported_is_exactly_what_is_documented():
    assert sorted(PUBLIC) == ddb_lease.__all__
    shown = {
        name for name, thing in vars(ddb_lease).items() if not name.startswith("_") and not inspect.ismodule(thing)
    }
    assert shown - {"annotations"} == set(PUBLIC), "nothing else lies about that looks public"


@pytest.mark.parametrize("name", [*ddb_lease.__all__, *(f"aio.{name}" for name in aio.__all__)])
def test_every_public_name_is_in_the_reference_and_in_the_tests_of_types(name):
    """A class is in the reference by its own name; values and errors are there by their modules, whole."""
    directives = set(
        re.findall(r"^::: (\S+)", "".join(page.read_text() for page in REFERENCE.glob("*.md")), re.MULTILINE)
    )
    thing = functools.reduce(getattr, name.split("."), ddb_lease)
    assert {f"ddb_lease.{name}", getattr(thing, "__module__", "ddb_lease.models")} & directives
    assert re.search(rf"\b{re.escape(name)}\b", TYPED.read_text())


def test_every_error_of_the_library_can_be_caught_by_name():
    defined = {
        thing.__name__
        for thing in vars(importlib.import_module("ddb_lease.errors")).values()
        if isinstance(thing, type) and issubclass(thing, ddb_lease.LeaseError)
    }
    assert defined <= set(PUBLIC)


def test_every_error_that_a_docstring_names_is_exported():
    for name, thing in public_things():
        for raised in re.findall(
            r"^ {4}([A-Z]\w+): ", (inspect.getdoc(thing) or "").partition("Raises:")[2], re.MULTILINE
        ):
            assert raised in PUBLIC, f"{name} raises {raised}"


def test_the_embedded_engine_is_one_import_away():
    assert set(local.__all__) == {"Engine", "EngineError", "connect", "find", "start", "stop"}
    assert local.EngineError is ddb_lease.EngineError


def test_what_tests_need_is_one_import_away():
    assert sorted(FOR_TESTS) == testing.__all__
    assert not set(FOR_TESTS) & set(PUBLIC)


def test_what_asyncio_needs_is_one_import_away_and_nothing_else_imports_asyncio():
    assert sorted(FOR_ASYNCIO) == aio.__all__
    assert aio.LeaseBucket is not ddb_lease.LeaseBucket
    assert not {"asyncio", "ddb_lease.aio"} & brought_in_by("ddb_lease.cli.main")


def test_what_web_servers_need_is_one_import_away_and_brings_in_no_framework():
    assert sorted(FOR_WEB_SERVERS) == asgi.__all__ == wsgi.__all__
    frameworks = {"starlette", "fastapi", "flask", "werkzeug", "uvicorn", "gunicorn"}
    assert not frameworks & brought_in_by("ddb_lease.adapters.asgi")
    assert not (frameworks | {"asyncio", "ddb_lease.aio"}) & brought_in_by("ddb_lease.adapters.wsgi")


ASKED_BY_PROCESS = {"after_fork_in_child", "at_exit"}


def parameters(function):
    """What may be given to it: names, how they are given, and what they are by default."""
    of = inspect.signature(function).parameters
    return [(name, p.kind, p.default) for name, p in of.items() if name != "max_requests"]


@pytest.mark.parametrize("name", ["LeaseBucket", "Lease", "RateLimiter", "KeyLimiter", "SlidingWindow"])
def test_both_apis_have_the_same_methods_with_the_same_parameters(name):
    ours, theirs = getattr(aio, name), getattr(ddb_lease, name)
    # What is a property there is awaited here.
    of_the_core = ASKED_BY_PROCESS | {"lost", "handler"}  # Lambda calls plain functions only
    methods = {member for member in vars(theirs) if not member.startswith("_")} - of_the_core
    assert methods <= set(vars(ours))
    for member in methods if name in {"Lease", "KeyLimiter"} else methods | {"__init__"}:
        if not inspect.isfunction(getattr(theirs, member)):
            continue
        assert parameters(getattr(ours, member)) == parameters(getattr(theirs, member)), member


@pytest.mark.parametrize("name", ["acquire_all", "Leader", "Leader.join", "Reservation.settle", "Leases.release"])
def test_both_apis_take_the_same_arguments(name):
    ours, theirs = operator.attrgetter(name)(aio), operator.attrgetter(name)(ddb_lease)
    assert parameters(ours) == parameters(theirs)


TYPES = {"Event", "OnEvent", "ThrottledBy"}
EVENTS = [getattr(events, name) for name in events.__all__ if name not in TYPES]


def test_the_events_are_one_import_away_and_all_there():
    assert set(events.__all__) == {thing.__name__ for thing in EVENTS} | TYPES
    assert set(typing.get_args(events.Event)) == set(EVENTS)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_an_event_is_a_documented_value_that_travels_and_cannot_be_changed(kind):
    fields = [field.name for field in dataclasses.fields(kind)]
    explained = re.findall(r"^ {4}(\w+): ", inspect.getdoc(kind).partition("Attributes:")[2], re.MULTILINE)
    assert fields == explained
    assert fields[0] == "bucket"
    assert "Reported on" in inspect.getdoc(kind), "which thread"
    event = kind(**dict.fromkeys(fields, "x"))
    assert not hasattr(event, "__dict__")
    assert pickle.loads(pickle.dumps(event)) == event
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.bucket = "y"
    with pytest.raises(TypeError):
        kind(*fields)


def test_opentelemetry_is_imported_by_its_own_module_only():
    assert not {"opentelemetry", "ddb_lease.otel"} & brought_in_by("ddb_lease.cli.main")


@pytest.mark.parametrize(
    ("module", "package", "needs", "extra"),
    [
        ("ddb_lease.otel", "opentelemetry", "OpenTelemetry's API", "otel"),
        ("ddb_lease.adapters.limits", "limits", "limits", "limits"),
        ("ddb_lease.adapters.langchain", "langchain_core", "langchain-core", "langchain"),
        ("ddb_lease.adapters.pyrate", "pyrate_limiter", "pyrate-limiter", "pyrate"),
    ],
)
def test_without_its_extra_a_module_says_which_it_needs(module, package, needs, extra):
    code = f"import sys; sys.modules[{package!r}] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: {module} needs {needs}: pip install 'ddb-lease[{extra}]'"
    )


# Docstrings.


@pytest.mark.parametrize(("name", "thing"), list(public_things()), ids=lambda it: it if isinstance(it, str) else "")
def test_every_public_name_method_and_property_has_a_docstring_of_its_own(name, thing):
    text = thing.__doc__ or ""
    assert len(text.split()) >= 3, name
    assert text.split("\n\n")[0].rstrip().endswith((".", ":")), f"{name}: {text[:60]}"
    if dataclasses.is_dataclass(thing):
        assert not text.startswith(f"{name}("), "made by dataclass, not by us"


@pytest.mark.parametrize(("name", "thing"), list(public_callables()), ids=lambda it: it if isinstance(it, str) else "")
def test_every_parameter_is_explained_where_any_is(name, thing):
    text = inspect.getdoc(thing)
    parameters = set(inspect.signature(thing).parameters) - {"self"}
    parameters -= {"runtime"}  # for tests and simulators; its type is not exported
    if "Args:" in text:
        assert (
            set(re.findall(r"^\s{4}(?:\*{1,2})?(\w+): ", text.partition("Args:")[2].partition("\n\n")[0], re.MULTILINE))
            >= parameters
        )
    else:
        assert len(parameters) <= 2, f"{name} takes {parameters} and explains none"


@pytest.mark.parametrize("kind", [ddb_lease.Lease, *BUCKETS, aio.Lease, testing.TestEnvironment], ids=str)
def test_every_method_says_what_it_raises_or_raises_nothing(kind):
    says = {
        member: "Raises" in (inspect.getdoc(value) or "")
        for member, value in vars(kind).items()
        if inspect.isfunction(value) and not member.startswith("_")
    }
    # The process asks for these, or they pass on what the function that they wrap raises.
    for quiet in ASKED_BY_PROCESS | {"leased", "limited", "connect"}:
        says.pop(quiet, None)
    assert all(says.values()), says


def test_all_public_signatures_are_annotated():
    for name, thing in public_callables():
        function = thing.__init__ if isinstance(thing, type) else thing
        for parameter in inspect.signature(function).parameters.values():
            assert parameter.name == "self" or parameter.annotation is not parameter.empty, f"{name}({parameter})"
        assert isinstance(thing, type) or "return" in function.__annotations__, name


def test_everything_after_the_subject_is_keyword_only():
    positional = {
        name: [
            p.name
            for p in inspect.signature(thing).parameters.values()
            if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"
        ]
        for name, thing in public_callables()
    }
    assert positional["LeaseBucket"] == ["name"]
    assert positional["LeaseBucket.acquire"] == positional["aio.LeaseBucket.acquire"] == ["timeout"]
    assert positional["RateLimiter.acquire"] == positional["aio.RateLimiter.acquire"] == ["n"]
    # The interface that its users know: a changed import must do.
    assert positional.pop("DynamoDBTokenBucket") == ["table_name", "max_tokens", "token_timeout_seconds"]
    assert all(len(names) <= 1 for names in positional.values()), positional


# Examples.

EXAMPLES = [
    "ddb_lease",
    "ddb_lease.adapters.asgi",
    "ddb_lease.adapters.wsgi",
    "ddb_lease.aio.bucket",
    "ddb_lease.aio.leader",
    "ddb_lease.aio.lease",
    "ddb_lease.aio.rate_limiter",
    "ddb_lease.aio.reservation",
    "ddb_lease.aio.sliding_window",
    "ddb_lease.aio.together",
    "ddb_lease.bucket",
    "ddb_lease.dynamodb.client",
    "ddb_lease.events",
    "ddb_lease.key_limiter",
    "ddb_lease.leader",
    "ddb_lease.lease",
    "ddb_lease.rate_events",
    "ddb_lease.rate_limiter",
    "ddb_lease.reservation",
    "ddb_lease.local",
    "ddb_lease.local.connection",
    "ddb_lease.local.embedded",
    "ddb_lease.local.engine",
    "ddb_lease.models",
    "ddb_lease.testing",
    "ddb_lease.testing.clock",
    "ddb_lease.testing.environment",
    "ddb_lease.otel",
    "ddb_lease.together",
    "ddb_lease.token_bucket",
    "ddb_lease.signals",
    "ddb_lease.sliding_window",
    "ddb_lease.adapters.langchain",
    "ddb_lease.adapters.limits",
    "ddb_lease.adapters.pyrate",
]


@pytest.fixture
def engine_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path))
    yield
    local.stop()


@pytest.mark.usefixtures("engine_of_its_own")
def test_every_example_in_a_docstring_runs():
    for name in EXAMPLES:
        module = importlib.import_module(name)
        results = doctest.testmod(module)
        assert results.failed == 0, name
        written = len(re.findall(r"^ *>>> ", Path(module.__file__).read_text(), flags=re.MULTILINE))
        assert (results.attempted, getattr(results, "skipped", 0)) == (written, 0), (
            f"not all of {name} is found, or run"
        )
    held = [lease for lease in control.report(local.find()).held if not lease.is_permit]
    assert held == [], "an example leaves a lease behind, which is told at the exit"


def test_no_module_has_an_example_that_is_not_run():
    names = [module.name for module in pkgutil.walk_packages([str(PACKAGE)], "ddb_lease.")]
    sources = {name: importlib.util.find_spec(name).origin for name in names if "__main__" not in name}
    with_examples = {name for name, path in sources.items() if ">>> " in Path(path).read_text()}
    assert with_examples <= set(EXAMPLES)


# Errors and values that travel.


def made(kind):
    if kind is ddb_lease.LeaseLost:
        return kind("lease 3-a is gone", reason=ddb_lease.LossReason.REVOKED, lease_id="3-a")
    if kind is ddb_lease.Overtaken:
        return kind("another resize came in between", max_tokens=5)
    if kind is ddb_lease.AcquireTimeout:
        return kind("nothing came free", place=3, holders=("ann", "bob"))
    if kind is ddb_lease.RateTimeout:
        return kind("no permit", rate="api", key="k", limit="tokens", retry_after=2.5, blocked_seconds=1.0)
    return kind("what happened")


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_survives_a_trip_to_another_process(kind, protocol):
    error = made(kind)
    there = pickle.loads(pickle.dumps(error, protocol))
    assert type(there) is kind
    assert str(there) == str(error)
    assert there.args == error.args
    assert vars(there) == vars(error)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_can_be_copied(kind):
    error = made(kind)
    for there in (copy.copy(error), copy.deepcopy(error)):
        assert (type(there), str(there), vars(there)) == (kind, str(error), vars(error))


def test_a_lost_lease_keeps_its_reason_and_id_on_the_way():
    there = pickle.loads(pickle.dumps(made(ddb_lease.LeaseLost)))
    assert there.reason is ddb_lease.LossReason.REVOKED
    assert there.lease_id == "3-a"


def test_errors_can_be_caught_as_what_pythons_own_code_expects():
    assert issubclass(ddb_lease.ConfigurationError, ValueError)
    assert issubclass(ddb_lease.AcquireTimeout, TimeoutError)
    assert issubclass(ddb_lease.UnknownBucket, LookupError)
    assert issubclass(ddb_lease.EngineError, RuntimeError)
    assert issubclass(ddb_lease.StoreUnavailable, ddb_lease.StoreError)
    assert issubclass(ddb_lease.StoreRejected, ddb_lease.StoreError)
    assert all(issubclass(kind, ddb_lease.LeaseError) for kind in ERRORS)


@pytest.mark.parametrize("reason", ddb_lease.LossReason, ids=lambda reason: reason.name)
def test_a_reason_reads_as_its_word(reason):
    assert str(reason) == reason.value == reason.name.lower()
    assert f"{reason}" == reason.value
    assert reason == reason.value
    assert pickle.loads(pickle.dumps(reason)) is reason


def test_the_reasons_are_those_that_are_documented():
    words = {"taken", "gone", "unreachable", "suspended", "revoked", "released", "forked", "handed_over", "expired"}
    assert {reason.value for reason in ddb_lease.LossReason} == words


LEASE_INFO = LeaseInfo(
    lease_id="0-a",
    slot=0,
    fence=1,
    owner="me",
    data={"k": 1},
    age_seconds=1.0,
    remaining_seconds=-0.1,
    revoked=False,
    retired=False,
)
STATUS = BucketStatus(
    name="b", table="t", max_tokens=2, lease_seconds=60.0, minted=2, in_circulation=1, leases=(LEASE_INFO,)
)


@pytest.mark.parametrize("value", [Timing(grace=1.5), LEASE_INFO, STATUS], ids=lambda v: type(v).__name__)
def test_values_travel_too_and_cannot_be_changed(value):
    assert pickle.loads(pickle.dumps(value)) == value
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, None)


def test_a_status_tells_what_is_free_and_what_has_drifted():
    assert LEASE_INFO.expired
    assert STATUS.free == 2, "an expired lease is as good as free"
    assert dataclasses.replace(STATUS, leases=(dataclasses.replace(LEASE_INFO, remaining_seconds=5.0),)).free == 1
    assert STATUS.drift == 1


# Side effects.


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=LONG,
        cwd=PACKAGE.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = {"moto", "flask", "flask_cors", "werkzeug"}


@functools.cache
def brought_in_by(module):
    """What a new interpreter has imported after it imported this."""
    return set(run_python(f"import sys, {module}\nprint(*sys.modules)").split())


@pytest.mark.parametrize("module", ["ddb_lease", "ddb_lease.local", "ddb_lease.cli.main", "ddb_lease.testing"])
def test_importing_brings_in_no_engine(module):
    found = brought_in_by(module)
    assert module in found
    assert not {name for name in found if name.partition(".")[0] in HEAVY or name == "ddb_lease.local.server"}


@pytest.mark.parametrize("module", ["ddb_lease", "ddb_lease.local", "ddb_lease.cli.main", "ddb_lease.testing"])
def test_importing_brings_in_no_pytest(module):
    assert not {name for name in brought_in_by(module) if "pytest" in name}


def test_only_the_fixtures_need_pytest_and_no_engine():
    found = brought_in_by("ddb_lease.testing.fixtures")
    assert "pytest" in found
    assert "moto" not in found


def test_importing_starts_no_thread_and_prints_nothing():
    out = run_python("import threading, ddb_lease\nassert threading.active_count() == 1, threading.enumerate()")
    assert out == ""


def test_logging_is_left_to_the_application():
    run_python(
        "import logging\n"
        "before = list(logging.root.handlers), logging.root.level\n"
        "import ddb_lease, ddb_lease.local, ddb_lease.cli.main\n"
        "ours = logging.getLogger('ddb_lease')\n"
        "assert (list(logging.root.handlers), logging.root.level) == before\n"
        "assert ours.level == logging.NOTSET and ours.propagate and not ours.disabled\n"
        "assert all(isinstance(h, logging.NullHandler) for h in ours.handlers)\n"
    )
    setting_up = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if re.search(r"basicConfig|setLevel|addHandler|dictConfig", path.read_text())
    ]
    assert setting_up == ["cli/main.py", "local/server.py"], "programs of their own, whose logging is theirs"


def test_all_that_is_logged_goes_by_one_name():
    assert logging.getLogger("ddb_lease").name == "ddb_lease"
    for path in PACKAGE.rglob("*.py"):
        for name in re.findall(r"getLogger\((.*?)\)", path.read_text()):
            assert name in {'"ddb_lease"', "__name__"}, path


def test_types_ship_with_the_package():
    assert (PACKAGE / "py.typed").is_file()
    hints = typing.get_type_hints(ddb_lease.LeaseBucket.try_acquire)
    assert hints["return"] == (ddb_lease.Lease | None)
