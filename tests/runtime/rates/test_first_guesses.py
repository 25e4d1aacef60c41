"""What people write first, as other libraries have it, is refused with what to write here."""

import asyncio
import inspect

import pytest
from boto3 import Session

from ddb_lease import ConfigurationError, Limit, RateLimiter, SlidingWindow, aio

HERE = {
    "session": Session(region_name="eu-west-1", aws_access_key_id="local", aws_secret_access_key="local"),
    "endpoint_url": "http://127.0.0.1:9",
}
SEVERAL = {"requests": Limit(5), "tokens": Limit(9)}
APIS = {"threads": (RateLimiter, SlidingWindow, ""), "asyncio": (aio.RateLimiter, aio.SlidingWindow, "await ")}


@pytest.fixture(params=APIS)
def kinds(request):
    return APIS[request.param]


def said(ask):
    """What a call says, which sends nothing: there is nobody to answer."""

    async def asked():
        result = ask()
        return await result if asyncio.iscoroutine(result) else result

    with pytest.raises(ConfigurationError) as raised:
        asyncio.run(asked())
    return str(raised.value)


@pytest.mark.parametrize("method", ["try_acquire", "acquire", "check", "reserve"])
def test_a_key_is_no_argument_of_a_call(kinds, method):
    for settings in ({"rate": 5}, {"limits": SEVERAL}):
        limiter = kinds[0]("api", **settings, **HERE)
        text = said(lambda limiter=limiter: getattr(limiter, method)(key="alice9"))
        assert text.endswith("; for a key, write limiter.key('alice9').acquire()")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"tokens": 3}, "there are permits; of one limit, write the number alone, as in acquire(3)"),
        ({"blocking": False}, "; `acquire` and `check` take a timeout, and `try_acquire` never waits"),
        ({"timeout": 3}, "; `acquire` and `check` take a timeout, and `try_acquire` never waits"),
        ({"timout": 3}, "; did you mean 'timeout'?"),
        ({"permit": 3}, "; did you mean 'permits'?"),
        ({"under": ["a"]}, "; parents belong to a key: write limiter.key('acme', under=[orgs])"),
        ({"unit": "text"}, "there are permits"),
    ],
)
def test_an_argument_of_other_limiters_is_answered_with_ours(kinds, arguments, hint):
    assert said(lambda: kinds[0]("api", rate=5, **HERE).try_acquire(**arguments)).endswith(hint)


def test_with_several_limits_the_one_that_may_be_meant_is_named(kinds):
    limiter = kinds[0]("api", limits=SEVERAL, **HERE)
    assert said(lambda: limiter.try_acquire(token=3)).endswith("there are requests, tokens; did you mean 'tokens'?")
    assert said(lambda: limiter.try_acquire(images=3)).endswith("there are requests, tokens")


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        *((name, "acquire(timeout=30)") for name in ("wait", "take", "consume", "get", "get_token", "throttle")),
        *((name, "acquire(timeout=30)") for name in ("aacquire", "acquire_async")),
        *((name, "try_acquire()") for name in ("hit", "allow", "allowed", "is_allowed", "test", "has_capacity")),
        *((name, "try_acquire()") for name in ("acquire_nowait", "try_acquire_async")),
    ],
)
def test_a_method_of_other_limiters_is_answered_with_ours(kinds, name, instead):
    limiter, window = kinds[0]("api", rate=5, **HERE), kinds[1]("sign-ups", max_tokens=1, period=60, **HERE)
    called = {"limiter": limiter, "window": window, "key": limiter.key("ann")}
    for what, one in called.items():
        text = f"a {type(one).__name__} has no '{name}': write {kinds[2]}{what}.{instead}"
        with pytest.raises(AttributeError) as raised:
            getattr(one, name)
        assert str(raised.value) == text
        assert not hasattr(one, name)


@pytest.mark.parametrize("name", ["limit", "ratelimit", "rate_limit", "decorate", "wrap", "throttled"])
def test_each_name_of_a_decorator_is_known(kinds, name):
    with pytest.raises(AttributeError, match=rf"has no '{name}': write limiter\.limited\(timeout=30\)$"):
        getattr(kinds[0]("api", rate=5, **HERE), name)


@pytest.mark.parametrize(
    ("named", "ours", "a_windows"),
    [
        *((n, "rate", "max_tokens") for n in ("max_rate", "limit", "max_calls", "calls", "requests", "permits")),
        ("max_tokens", "rate", None),
        *((name, "per", "period") for name in ("time_period", "window", "interval", "seconds")),
        ("period", "per", None),
        *((name, "burst", None) for name in ("capacity", "max_burst", "bucket_size", "size")),
    ],
)
def test_each_name_of_an_argument_is_known(kinds, named, ours, a_windows):
    for kind, meant in ((kinds[0], ours), (kinds[1], a_windows)):
        if meant is not None:
            with pytest.raises(TypeError, match=f"has no argument '{named}'; did you mean '{meant}'\\?"):
                kind("x", **{named: 5})


def test_a_decorator_is_named(kinds):
    limiter, window = kinds[0]("api", rate=5, **HERE), kinds[1]("sign-ups", max_tokens=1, period=60, **HERE)
    with pytest.raises(AttributeError, match=r": write limiter\.limited\(timeout=30\)$"):
        _ = limiter.limit
    with pytest.raises(AttributeError, match=r"key\.acquire\(timeout=30\)$"):  # a key decorates nothing
        _ = limiter.key("ann").limit
    for what, one in {"limiter": limiter, "window": window}.items():
        assert f"to decorate a function write @{what}.limited(timeout=30)" in said(lambda one=one: one(print))
    assert "decorate" not in said(lambda: limiter.key("ann")(print))
    with pytest.raises(AttributeError, match="^'RateLimiter' object has no attribute 'nonsense'$"):
        _ = limiter.nonsense


@pytest.mark.parametrize(
    ("arguments", "named", "hint"),
    [
        ((10, 60), {}, "takes its name, and all else by keyword: write RateLimiter("),
        (("x", 10), {}, "takes its name, and all else by keyword: write RateLimiter("),
        (("x",), {"max_rate": 10}, "has no argument 'max_rate'; did you mean 'rate'? It is made, as in RateLimiter("),
        (("x",), {"time_period": 10, "rate": 5}, "did you mean 'per'?"),
        (("x",), {"rate": 1, "brust": 10}, "did you mean 'burst'?"),
        (("x",), {"rate": 1, "zzz": 10}, "has no argument 'zzz'; it is made, as in RateLimiter("),
    ],
)
def test_arguments_of_other_constructors_are_answered_with_ours(kinds, arguments, named, hint):
    with pytest.raises(TypeError) as raised:
        kinds[0](*arguments, **named)
    assert hint in str(raised.value)


def test_a_windows_arguments_are_named_too(kinds):
    for arguments, named in ((("x", 5, 60), {}), (("x",), {"limit": 5}), (("x",), {"window": 5})):
        with pytest.raises(TypeError, match=r"SlidingWindow\('sign-ups', max_tokens=5, period=3600\)$"):
            kinds[1](*arguments, **named)


def test_constructors_still_show_their_signatures(kinds):
    for kind in kinds[:2]:
        assert next(iter(inspect.signature(kind).parameters)) == "name"
        assert "args" not in inspect.signature(kind).parameters
        assert f"As in {kind.__name__}(" in kind.__init__.__doc__
    assert "The default is the number of one `per`" in RateLimiter.__doc__
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        kinds[0]()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("10/m", "rate=10, per=60"),
        ("10 per minute", "rate=10, per=60"),
        ("2.5/second", "rate=2.5, per=1"),
        ("5/1hour", "rate=5, per=3600"),
        ("100/day", "rate=100, per=86400"),
        ("fast", "rate=10, per=60"),
        ("9" * 40 + "/m", "rate=10, per=60"),
    ],
)
def test_a_rate_as_text_is_answered_with_numbers(kinds, text, written):
    assert said(lambda: kinds[0]("x", rate=text, **HERE)).endswith(f": write {written}")
    assert said(lambda: Limit(text)).endswith(": write " + written.replace("rate", "permits"))


def test_a_prefetch_beyond_the_burst_is_told_once(kinds, caplog):
    kinds[0]("x", rate=5, burst=5, prefetch=5, **HERE)
    assert not caplog.records
    kinds[0]("x", rate=5, burst=1, prefetch=5, **HERE)
    (record,) = caplog.records
    assert record.getMessage() == "rate 'x': prefetch=5 takes 1 with one charge, as no charge takes more than the burst"
