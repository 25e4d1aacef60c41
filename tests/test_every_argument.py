"""Every argument gets to where it is checked: what cannot work is refused, by whichever class and method is given it.

Invariants: each setting and each parameter of both APIs is in a table here, with a value that cannot work and what is
said of it. A class or a method that drops an argument on its way to its check would take that value; what is dropped
after it, as by a decorator that checks before it calls, is not seen here.
"""

import asyncio
import inspect
from datetime import timedelta

import pytest

import ddb_lease
from ddb_lease import ConfigurationError, Limit, aio
from tests.test_arguments import SESSION

NOWHERE = {"session": SESSION, "endpoint_url": "http://127.0.0.1:9"}
"""An endpoint at which nobody answers: what is refused is refused before anything is sent."""

LIBRARIES = {"threads": ddb_lease, "asyncio": aio}

NEEDED = {
    "LeaseBucket": {"max_tokens": 1},
    "Leader": {},
    "RateLimiter": {"rate": 1},
    "SlidingWindow": {"max_tokens": 1, "period": 60},
}

SETTINGS = {
    "name": ("", "name must be a non-empty string, not ''"),
    "max_tokens": (0, "max_tokens must be a whole number from 1 to 100,000, not 0"),
    "lease_seconds": (-1, "lease_seconds must be a number of seconds up to a year, not -1"),
    "period": (-1, "period must be a number of seconds up to 300 days, not -1"),
    "rate": (-1, "rate must be a number above 0, not -1"),
    "per": (-1, "per must be a number above 0, not -1"),
    "burst": (-1, "burst must be a whole number from 1 up, not -1"),
    "limits": ({"a b": Limit(1)}, "a limit's name must be a keyword argument: .*; not 'a b'"),
    "table": ("", "table must be a non-empty string, not ''"),
    "session": (5, r"session must be a boto3\.Session, not 5"),
    "client": (5, "client must be a DynamoDB client, not 5"),
    "endpoint_url": (5, "endpoint_url must be a string, not 5"),
    "owner": (5, "owner must be a non-empty string, not 5"),
    "timing": (5, r"timing must be a ddb_lease\.Timing, not 5"),
    "order": ("lifo", "order must be one of 'any', 'fifo', not 'lifo'"),
    "prefetch": (-1, "prefetch must be a whole number from 0 up, not -1"),
    "on_event": (5, "on_event must be a function that takes the event, not 5"),
    "on_unavailable": ("ask", "on_unavailable must be one of 'raise', 'allow', 'deny', 'local', not 'ask'"),
    "budget": (-1, "budget must be from 1 to 30 seconds, not -1"),
    "local_share": (2, r"local_share must be a number from 0\.000001 to 1, not 2"),
    "max_requests": (0, "max_requests must be a whole number from 1 to 1,000, not 0"),
    "on_elected": (5, "on_elected must be a function that takes the lease, not 5"),
    "on_lost": (5, "on_lost must be a function that takes the lease, not 5"),
}
INSTEAD = {"client": {"session", "endpoint_url"}, "limits": {"rate"}}
"""What a setting stands in place of."""

ARGUMENTS = {
    "timeout": (-1, "timeout must be 0 or more seconds, or a timedelta, not -1"),
    "count": (0, "count must be a whole number from 1 to 99, not 0"),
    "data": ({1: 2}, "data's keys must be strings, not int"),
    "on_lost": (5, "on_lost must be a function that takes the lease, not 5"),
    "priority": (10, "priority must be a whole number from 0 to 9, not 10"),
    "hold_at_least": (-1, "hold_at_least must be a number of seconds above 0 .*, not -1"),
    "token": (5, "a hand-over's token is a string, not a int"),
    "lease_id": ("x", "'x' is not a lease id"),
    "max_tokens": (0, "max_tokens must be a whole number from 1 to 100,000, not 0"),
    "order": ("lifo", "order must be one of 'any', 'fifo', not 'lifo'"),
    "n": (0, r"n must be 1 \(the burst\), not 0"),
    "settle_within": (-1, "settle_within must be 0 or more seconds, or a timedelta, not -1"),
    "permits": ({"coins": 1}, "there is no limit 'coins'"),
    "key": (5, "key.* is made by a function|a key must be a string that is not empty, not 5"),
    "under": (5, "under must be a list of keys and limiters, .*, not 5"),
    "limit": (5, "a limit must be a Limit, .*, not 5"),
    "limits": ({"coins": 5}, "a limit must be a Limit, .*, not 5"),
    "seconds": (-1, "a block takes a number of seconds, .*; not -1"),
}
OF_A_KEY = ARGUMENTS | {"n": (0, "n must be a whole number from 1 up, not 0")}
"""A key may have a burst of its own, which is not known before it is asked for."""

ALSO_NEEDED = {"adopt": {"token": "x"}, "key": {"key": "k"}}
NOT_CHECKED_FIRST = {
    ("adopt", "data"),  # the token comes first
    ("join", "timeout"),  # nothing runs that could be waited for
}
METHODS = {
    "LeaseBucket": ("lease", "acquire", "try_acquire", "adopt", "leased", "release", "revoke", "resize", "configure"),
    "RateLimiter": (
        *("try_acquire", "acquire", "reserve", "check", "wait_time", "key", "set_policy"),
        *("override", "block", "limited"),
    ),
    "KeyLimiter": ("try_acquire", "acquire", "reserve", "check", "wait_time", "override", "block"),
    "SlidingWindow": ("acquire", "check", "limited"),
    "Leader": ("join",),
}


def made(library, name, /, **settings):
    replaced = {one for setting in settings for one in INSTEAD.get(setting, ())}
    given = {"name": "b"} | NEEDED[name] | NOWHERE | settings
    return getattr(LIBRARIES[library], name)(**{one: value for one, value in given.items() if one not in replaced})


SETTING_CASES = [
    pytest.param(library, name, setting, id=f"{library}-{name}-{setting}")
    for library, module in LIBRARIES.items()
    for name in NEEDED
    for setting in inspect.signature(getattr(module, name)).parameters
    if setting != "runtime" and (name, setting) != ("Leader", "data")  # which is checked as that of its lease
]


@pytest.mark.parametrize(("library", "name", "setting"), SETTING_CASES)
def test_a_setting_that_cannot_work_is_refused_by_every_class_that_has_it(library, name, setting):
    value, says = SETTINGS[setting]
    with pytest.raises(ConfigurationError, match=says):
        made(library, name, **{setting: value})


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_was_set_can_be_read(library):
    bucket = made(library, "LeaseBucket", table="t", owner="me")
    assert (bucket.name, bucket.table, bucket.owner) == ("b", "t", "me")
    limiter = made(library, "RateLimiter", table="t", limits={"calls": Limit(5), "tokens": Limit(9, burst=3)})
    assert (limiter.name, limiter.table, limiter.burst, limiter.key("k").key) == ("b", "t", 3, "k")
    window = made(library, "SlidingWindow", table="t", period=timedelta(seconds=90))
    assert (window.name, window.table, window.period) == ("b", "t", 90.0)
    leader = made(library, "Leader", table="t")
    assert (leader.name, leader.table, leader.is_leader, leader.fence) == ("b", "t", False, None)


def views(library, name):
    """An object of this class; of a key, one that has parents as well."""
    if name != "KeyLimiter":
        return [made(library, name)]
    limiter = made(library, "RateLimiter")
    return [limiter.key("k"), limiter.key("k", under=[made(library, "RateLimiter", name="above")])]


def public(kind):
    return {name for name, member in vars(kind).items() if inspect.isfunction(member) and not name.startswith("_")}


ARGUMENT_CASES = [
    pytest.param(library, name, method, parameter, id=f"{library}-{name}-{method}-{parameter.name}")
    for library, module in LIBRARIES.items()
    for name, methods in METHODS.items()
    for method in sorted(public(getattr(module, name)) & set(methods))
    for parameter in list(inspect.signature(getattr(getattr(module, name), method)).parameters.values())[1:]
    if (method, parameter.name) not in NOT_CHECKED_FIRST
]


def given(method, parameter):
    """What to call a method with, one of its arguments being wrong."""
    value, _ = ARGUMENTS[parameter.name]
    others = {name: one for name, one in ALSO_NEEDED.get(method, {}).items() if name != parameter.name}
    if parameter.kind is parameter.VAR_KEYWORD:
        return (), others | value
    if parameter.kind in {parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY}:
        return (value,), others
    return (), others | {parameter.name: value}


async def asked(method, args, kwargs):
    """Call it, and do what a caller does with what it returns: await it, enter it, or decorate with it and call."""
    returned = method(*args, **kwargs)
    if method.__name__ in {"leased", "limited"}:

        async def awaited(*_):
            pass

        is_awaited = type(method.__self__).__module__.startswith(aio.__name__)
        returned = returned(awaited if is_awaited else lambda *_: None)()
    if method.__name__ == "lease":  # which is a block, and is told so where it is awaited
        async with returned:
            pass
    elif inspect.isawaitable(returned):
        await returned


@pytest.mark.parametrize(("library", "name", "method", "parameter"), ARGUMENT_CASES)
def test_an_argument_that_cannot_work_is_refused_by_every_method_that_has_it(library, name, method, parameter):
    _, says = (OF_A_KEY if name == "KeyLimiter" else ARGUMENTS)[parameter.name]
    args, kwargs = given(method, parameter)
    for view in views(library, name):
        with pytest.raises(ConfigurationError, match=says):
            asyncio.run(asked(getattr(view, method), args, kwargs))
