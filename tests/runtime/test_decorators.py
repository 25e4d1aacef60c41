"""Decorating: a body runs under what guards it, or does not run, or its caller gets an error."""

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import subprocess
import sys
import typing
from unittest.mock import AsyncMock, Mock

import pytest
from boto3 import Session

from ddb_lease import ConfigurationError, LeaseBucket, RateLimiter, SlidingWindow, aio
from ddb_lease._runtime.callables import Kind, kind_of, name_of
from ddb_lease._runtime.decorators import Wording, decorate, decorate_async

WORDING = Wording(name="Bucket.leased", inside="Write it inside.", otherwise="Use the other one.", passes_lease=True)
LIMITING = Wording(name="Limiter.limited", inside="Write it inside.", otherwise="Use the other.", passes_lease=False)


class Recorder:
    """Stands for a bucket: what is entered around a call, and a log of it."""

    def __init__(self):
        self.log = []

    @contextlib.contextmanager
    def enter(self):
        self.log.append("acquired")
        try:
            yield "the lease"
        finally:
            self.log.append("released")

    @contextlib.asynccontextmanager
    async def aenter(self):
        with self.enter() as lease:
            yield lease

    def leased(self, function):
        return decorate(function, self.enter, wording=WORDING)

    def limited(self, function):
        return decorate(function, self.enter, wording=LIMITING)

    def aleased(self, function):
        return decorate_async(function, self.aenter, wording=WORDING)

    def alimited(self, function):
        return decorate_async(function, self.aenter, wording=LIMITING)


@pytest.fixture
def recorder():
    return Recorder()


def plain(lease, day):
    return f"{day} under {lease}"


async def coroutine(lease, day):
    await asyncio.sleep(0)
    return f"{day} under {lease}"


def generator(lease):
    yield lease


async def async_generator(lease):
    yield lease


class Methods:
    """A class whose methods are decorated, in every form."""

    def method(self, lease, day):
        return self, lease, day

    async def coroutine_method(self, lease, day):
        return self, lease, day

    def generator_method(self, lease):
        yield lease


class Callable:
    def __call__(self, lease, day):
        return lease, day


class AsyncCallable:
    async def __call__(self, lease, day):
        return lease, day


# What kind of function it is


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (plain, Kind.PLAIN),
        (print, Kind.PLAIN),
        (Callable(), Kind.PLAIN),
        (Mock(), Kind.PLAIN),
        (Methods().method, Kind.PLAIN),
        (coroutine, Kind.COROUTINE),
        (functools.partial(functools.partial(coroutine, day="M"), "l"), Kind.COROUTINE),
        (Methods().coroutine_method, Kind.COROUTINE),
        (functools.partial(Methods().coroutine_method, "l"), Kind.COROUTINE),
        (AsyncCallable(), Kind.COROUTINE),
        (functools.partial(AsyncCallable(), "l"), Kind.COROUTINE),
        (AsyncMock(), Kind.COROUTINE),
        (generator, Kind.GENERATOR),
        (Methods().generator_method, Kind.GENERATOR),
        (functools.partial(generator, "l"), Kind.GENERATOR),
        (async_generator, Kind.ASYNC_GENERATOR),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else name_of(value),
)
def test_the_kind_of_a_callable_shows_through_partials_methods_and_objects(function, kind):
    assert kind_of(function) is kind


def test_a_function_that_is_marked_as_a_coroutine_function_is_one():
    def marked(lease):
        return coroutine(lease, "Monday")

    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(marked)
    else:
        marked._is_coroutine = asyncio.coroutines._is_coroutine
    assert kind_of(marked) is Kind.COROUTINE


# Refused when it is decorated


REFUSED = [
    (coroutine, "coroutine is a coroutine function: .* not its body. Use the other"),
    (generator, "generator is a generator function: .* Write it inside"),
    (async_generator, "async_generator is an async generator function"),
    (AsyncCallable(), "an AsyncCallable is a coroutine function"),
    (functools.partial(coroutine, day="Monday"), "coroutine is a coroutine function"),
    (Methods, "making of a Methods: decorate its methods"),
    (17, "decorates a function, not an int"),
    (property(plain), "not a property"),
]


@pytest.mark.parametrize(("function", "says"), REFUSED, ids=[says[:30] for _, says in REFUSED])
@pytest.mark.parametrize("how", ["leased", "limited"])
def test_a_body_that_would_run_later_is_refused_at_once(recorder, how, function, says):
    with pytest.raises(ConfigurationError, match=says):
        getattr(recorder, how)(function)
    assert recorder.log == []


@pytest.mark.parametrize("function", [plain, Callable(), generator, async_generator, Methods, 17], ids=name_of)
@pytest.mark.parametrize("how", ["aleased", "alimited"])
def test_what_cannot_be_awaited_is_refused_at_once_on_the_other_api(recorder, how, function):
    with pytest.raises(ConfigurationError):
        getattr(recorder, how)(function)
    assert recorder.log == []


@pytest.mark.parametrize(
    "function",
    [lambda: 1, lambda *, lease: 1, lambda **kwargs: 1, lambda day, lease: 1, lambda self: 1],
    ids=["nothing", "keyword-only", "keywords", "second", "self alone"],
)
def test_a_function_without_a_place_for_the_lease_is_refused(recorder, function):
    with pytest.raises(ConfigurationError, match="passes the lease as the first argument, after self or cls"):
        recorder.leased(function)


# What only the call shows


def lazily(what):
    """A plain function whose work would be done later; nothing shows that before it is called."""
    return lambda *_: what()


LATER = {
    "a coroutine": lazily(lambda: coroutine("l", "Monday")),
    "a generator": lazily(lambda: generator("l")),
    "an async generator": lazily(lambda: async_generator("l")),
    "a block": lazily(lambda: contextlib.contextmanager(generator)("l")),
    "an async block": lazily(lambda: contextlib.asynccontextmanager(async_generator)("l")),
}


@pytest.mark.parametrize("what", LATER)
@pytest.mark.parametrize("how", ["leased", "limited"])
def test_work_that_a_plain_function_leaves_for_later_is_an_error_of_the_call(recorder, how, what):
    decorated = getattr(recorder, how)(LATER[what])
    with pytest.raises(ConfigurationError, match="whose work .* does not guard"):
        decorated()
    assert recorder.log == ["acquired", "released"]


def test_a_wrapper_that_hides_a_coroutine_function_is_noticed_by_its_call(recorder):
    @functools.wraps(coroutine)
    def wrapper(*args):
        return coroutine(*args)

    with pytest.raises(ConfigurationError, match="coroutine returned a coroutine, .* Use the other"):
        recorder.leased(wrapper)("Monday")


def test_a_wrapper_that_runs_a_coroutine_to_its_end_is_a_plain_function(recorder):
    @functools.wraps(coroutine)
    def wrapper(*args):
        return asyncio.run(coroutine(*args))

    assert recorder.leased(wrapper)("Monday") == "Monday under the lease"


def test_a_lease_is_held_until_a_future_is_done_and_a_limiter_only_lets_it_begin(recorder):
    pending = concurrent.futures.Future()
    with pytest.raises(ConfigurationError, match="returned a Future"):
        recorder.leased(lambda lease: pending)()
    assert recorder.limited(lambda: pending)() is pending
    pending.set_result(None)
    assert recorder.leased(lambda lease: pending)() is pending


def test_an_awaitable_is_not_done(recorder):
    class Later:
        def __await__(self):
            yield

    with pytest.raises(ConfigurationError, match="returned a Later"):
        recorder.leased(lambda lease: Later())()


def test_a_coroutine_function_must_not_leave_work_for_later_either(recorder):
    async def starts(lease):
        return asyncio.get_running_loop().create_future()

    async def makes():
        return coroutine("l", "Monday")

    with pytest.raises(ConfigurationError, match="returned a Future"):
        asyncio.run(recorder.aleased(starts)())
    with pytest.raises(ConfigurationError, match="returned a coroutine"):
        asyncio.run(recorder.alimited(makes)())


def test_a_wrapper_of_a_coroutine_function_must_return_what_can_be_awaited(recorder):
    @functools.wraps(coroutine)
    def passes_on(*args):
        return coroutine(*args)

    @functools.wraps(coroutine)
    def forgets(*args):
        return args

    assert asyncio.run(recorder.aleased(passes_on)("Monday")) == "Monday under the lease"
    with pytest.raises(ConfigurationError, match="returned a tuple, which cannot be awaited. Use the other one"):
        asyncio.run(recorder.aleased(forgets)("Monday"))
    assert recorder.log == ["acquired", "released"] * 2


# Right


def test_a_function_runs_within_what_is_entered_and_gets_the_lease_first(recorder):
    @recorder.leased
    def work(lease, day, *, loud=False):
        recorder.log.append((lease, day, loud))
        return "done"

    assert work("Monday", loud=True) == "done"
    assert recorder.log == ["acquired", ("the lease", "Monday", True), "released"]


def test_a_coroutine_function_runs_within_what_is_entered(recorder):
    async def work(lease, day):
        await asyncio.sleep(0)
        recorder.log.append((lease, day))

    decorated = recorder.aleased(work)
    assert inspect.iscoroutinefunction(decorated)
    asyncio.run(decorated("Monday"))
    assert recorder.log == ["acquired", ("the lease", "Monday"), "released"]


def test_methods_classmethods_and_staticmethods_get_the_lease_after_their_object(recorder):
    class Jobs:
        @recorder.leased
        def method(self, lease, day):
            return type(self), lease, day

        @recorder.leased
        @classmethod
        def above(kind, lease, day):  # noqa: N804 - by any name
            return kind, lease, day

        @classmethod
        @recorder.leased
        def below(cls, lease, day):
            return cls, lease, day

        @recorder.leased
        @staticmethod
        def alone(lease, day):
            return Jobs, lease, day

        @recorder.aleased
        async def awaited(self, lease, day):
            return type(self), lease, day

        @recorder.aleased
        @classmethod
        async def awaited_above(cls, lease, day):
            return cls, lease, day

    for make in (Jobs().method, Jobs.above, Jobs().above, Jobs.below, Jobs.alone, Jobs().alone):
        assert make("Monday") == (Jobs, "the lease", "Monday")
    for make in (Jobs().awaited, Jobs.awaited_above):
        assert asyncio.run(make("Monday")) == (Jobs, "the lease", "Monday")


def test_coroutine_methods_get_the_lease_after_their_object_by_whatever_name(recorder):
    class Jobs:
        @recorder.aleased
        @classmethod
        async def of_the_class(kind, lease, day):  # noqa: N804 - by any name
            return kind, lease, day

        @recorder.aleased
        @staticmethod
        async def alone(lease, day):
            return Jobs, lease, day

    for make in (Jobs.of_the_class, Jobs().of_the_class, Jobs.alone, Jobs().alone):
        assert asyncio.run(make("Monday")) == (Jobs, "the lease", "Monday")


@pytest.mark.parametrize(
    ("form", "before"),
    [(lambda function: function, ["its object"]), (classmethod, ["its class"]), (staticmethod, [])],
    ids=["method", "classmethod", "staticmethod"],
)
@pytest.mark.parametrize("awaited", [False, True], ids=["plain", "awaited"])
def test_a_key_is_made_of_what_a_method_of_any_form_is_called_with(form, before, awaited):
    keys = []

    @contextlib.contextmanager
    def enter(key):
        keys.append(key)
        yield

    @contextlib.asynccontextmanager
    async def aenter(key):
        keys.append(key)
        yield

    def body(*args, **kwargs):
        return args, kwargs

    async def abody(*args, **kwargs):
        return args, kwargs

    def key(*args, **kwargs):
        return len(args), kwargs

    class Jobs:
        if awaited:
            work = decorate_async(form(abody), aenter, wording=LIMITING, key=key)
        else:
            work = decorate(form(body), enter, wording=LIMITING, key=key)

    jobs = Jobs()
    made = jobs.work("Monday", hour=7)
    given, named = asyncio.run(made) if awaited else made
    own = {"its object": jobs, "its class": Jobs}
    assert given == (*(own[one] for one in before), "Monday")
    assert named == {"hour": 7}
    assert keys == [(len(given), {"hour": 7})]


def test_other_callables_get_the_lease_first(recorder):
    assert recorder.leased(Callable())("Monday") == ("the lease", "Monday")
    assert recorder.leased(functools.partial(plain, day="Monday"))() == "Monday under the lease"
    assert recorder.leased(lambda *args: args)("Monday") == ("the lease", "Monday")
    assert recorder.leased(repr)() == "'the lease'"
    jobs = Methods()
    assert recorder.leased(jobs.method)("Monday") == (jobs, "the lease", "Monday")
    mock = Mock(return_value="done")
    assert recorder.leased(mock)("Monday") == "done"
    mock.assert_called_once_with("the lease", "Monday")


def test_two_decorators_pass_a_lease_each_in_their_order(recorder):
    other = Recorder()

    @other.leased
    @recorder.leased
    def both(gpu, licence, day):
        return gpu, licence, day

    assert both("Monday") == ("the lease", "the lease", "Monday")
    assert list(inspect.signature(both).parameters) == ["day"]
    assert recorder.log == other.log == ["acquired", "released"]


def test_a_call_without_its_object_is_refused_before_anything_is_acquired(recorder):
    with pytest.raises(TypeError, match=r"method\(\) missing 1 required positional argument: 'self'"):
        recorder.leased(Methods.method)()
    assert recorder.log == []


def test_a_limited_function_keeps_its_arguments(recorder):
    limited = recorder.limited(lambda self, lease: (self, lease))
    assert limited(1, 2) == (1, 2)
    assert list(inspect.signature(limited).parameters) == ["self", "lease"]


# What frameworks read


class Report:
    pages: int


@pytest.mark.parametrize("how", ["leased", "aleased"])
def test_the_signature_and_the_annotations_are_those_that_callers_use(recorder, how):
    def work(lease: Recorder, day: str, *, pages: int = 1) -> Report:
        """Words."""

    async def awaited(lease: Recorder, day: str, *, pages: int = 1) -> Report:
        """Words."""

    function = work if how == "leased" else awaited
    decorated = getattr(recorder, how)(function)
    assert str(inspect.signature(decorated)).startswith("(day: str, *, pages: int = 1) -> ")
    assert typing.get_type_hints(decorated) == {"day": str, "pages": int, "return": Report}
    assert decorated.__doc__ == "Words."
    assert inspect.unwrap(decorated) is function
    assert "lease" not in inspect.getfullargspec(decorated).args


def test_annotations_in_text_are_resolved_where_they_can_be(recorder):
    world = {"__name__": "elsewhere"}
    exec(
        "from __future__ import annotations\n"
        "class Item: ...\n"
        "def known(lease: Item, item: Item) -> Item: ...\n"
        "def unknown(lease: Nowhere, item: Item) -> Item: ...\n",
        world,
    )
    known = inspect.signature(recorder.leased(world["known"]))
    assert known.parameters["item"].annotation is world["Item"]
    unknown = recorder.leased(world["unknown"])
    assert inspect.signature(unknown).parameters["item"].annotation == "Item"
    assert typing.get_type_hints(unknown) == {"item": world["Item"], "return": world["Item"]}, "as FastAPI reads them"


def test_a_method_and_a_bound_task_show_self_and_not_the_lease(recorder):
    decorated = recorder.leased(Methods.method)
    assert list(inspect.signature(decorated).parameters) == ["self", "day"]
    assert list(inspect.signature(recorder.leased(Methods().method)).parameters) == ["day"]


PYTEST = """
import pytest
from tests.runtime.test_decorators import Recorder

recorder = Recorder()

@pytest.fixture
@recorder.leased
def report(lease, tmp_path):
    return f"{tmp_path} under {lease}"

@recorder.leased
def test_a_report(lease, report):
    assert report.endswith("under the lease")
    assert lease == "the lease"

class TestInAClass:
    @recorder.leased
    def test_a_report(self, lease, report):
        assert report.endswith("under the lease")
"""


def test_pytest_finds_fixtures_and_not_the_lease(tmp_path, request):
    (tmp_path / "test_it.py").write_text(PYTEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        cwd=request.config.rootpath,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


# The public decorators


SETTINGS = {"session": Session(region_name="eu-west-1")}


@pytest.fixture
def everything():
    return {
        "LeaseBucket.leased": LeaseBucket("jobs", max_tokens=1, **SETTINGS).leased,
        "RateLimiter.limited": RateLimiter("mail", rate=5, **SETTINGS).limited,
        "SlidingWindow.limited": SlidingWindow("sign-ups", max_tokens=5, period=60, **SETTINGS).limited,
        "aio.LeaseBucket.leased": aio.LeaseBucket("jobs", max_tokens=1, **SETTINGS).leased,
        "aio.RateLimiter.limited": aio.RateLimiter("mail", rate=5, **SETTINGS).limited,
        "aio.SlidingWindow.limited": aio.SlidingWindow("sign-ups", max_tokens=5, period=60, **SETTINGS).limited,
    }


INSTEAD = {
    "LeaseBucket.leased": r"Use `leased` of ddb_lease\.aio\.LeaseBucket",
    "RateLimiter.limited": r"Use `limited` of ddb_lease\.aio\.RateLimiter",
    "SlidingWindow.limited": r"Use `limited` of ddb_lease\.aio\.SlidingWindow",
    "aio.LeaseBucket.leased": r"Write `async def`, or use `leased` of ddb_lease\.LeaseBucket",
    "aio.RateLimiter.limited": r"Write `async def`, or use `limited` of ddb_lease\.RateLimiter",
    "aio.SlidingWindow.limited": r"Write `async def`, or use `limited` of ddb_lease\.SlidingWindow",
}


@pytest.mark.parametrize("name", INSTEAD)
def test_each_decorator_says_what_to_use_instead(everything, name):
    with pytest.raises(ConfigurationError, match=INSTEAD[name]):
        everything[name]()(plain if name.startswith("aio") else coroutine)
    with pytest.raises(ConfigurationError, match=r"in (its|the) body"):
        everything[name]()(async_generator)


@pytest.mark.parametrize("name", INSTEAD)
def test_a_decorator_without_parentheses_is_refused(everything, name):
    with pytest.raises(ConfigurationError, match=f"{name} needs parentheses"):
        everything[name](coroutine)


@pytest.mark.parametrize("name", INSTEAD)
def test_a_decorators_arguments_are_checked_when_it_decorates(everything, name):
    with pytest.raises(ConfigurationError, match="timeout must be"):
        everything[name]("5")
    if name.endswith("leased"):
        with pytest.raises(ConfigurationError, match="count must be"):
            everything[name](count=0)
