"""The storage for `limits`: the cases of its own test suite, in its strategies; URIs; what it costs; what it refuses."""

import asyncio
import pickle
import threading

import pytest
from limits import RateLimitItemPerHour, RateLimitItemPerMinute, RateLimitItemPerSecond, parse
from limits.errors import StorageError
from limits.storage import storage_from_string

from ddb_lease import ConfigurationError, StoreError, StoreUnavailable
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.adapters.limits import AsyncDynamoDBStorage, DynamoDBStorage
from scripts.harness.inside import core_of
from tests.adapters.service import SESSION, Service, plain, strategies

APIS = {None}  # both, and no engine


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def new_storage(service, api):
    """Makes storages, each of a process of its own; their methods return, in both APIs."""
    return lambda **options: plain(api, service.storage(api, **options))


@pytest.fixture
def storage(new_storage):
    return new_storage()


@pytest.fixture
def fixed(service, api):
    return strategies(api).fixed(service.storage(api))


@pytest.fixture
def sliding(service, api):
    """On a grid of windows: one begins now."""
    assert service.clock.wall() % 3600 == 0
    return strategies(api).sliding(service.storage(api))


# The storage itself.


def test_hits_expire(storage, service):
    assert storage.incr("k", 1) == 1
    service.pass_time(0.999)
    assert storage.get("k") == 1
    service.pass_time(0.001)
    assert storage.get("k") == 0


def test_hits_are_counted_by_the_amount(storage):
    assert storage.incr("k", 60, amount=1) == 1
    assert storage.incr("k", 60, amount=10) == 11
    assert storage.incr("k", 60, amount=0) == 11


def test_keys_are_apart(storage):
    assert [storage.incr(key, 60) for key in ("a", "b", "a", "a/b", "A")] == [1, 1, 2, 1, 1]


def test_storages_of_one_name_count_together_and_others_apart(new_storage):
    one, same, other = new_storage(), new_storage(), new_storage(name="other")
    assert [each.incr("k", 60) for each in (one, same, other)] == [1, 2, 1]
    assert one.reset() == 1
    assert other.get("k") == 1


def test_the_expiry_is_that_of_the_window_that_runs(storage, service):
    now = service.clock.wall()
    assert storage.get_expiry("k") == now
    storage.incr("k", 60)
    service.pass_time(10)
    storage.incr("k", 60)
    assert storage.get_expiry("k") == now + 60
    service.pass_time(50)
    assert storage.get_expiry("k") == now + 60 == service.clock.wall()


def test_a_storage_that_answers_is_healthy(storage, service):
    assert storage.check() is True
    service.away = True
    assert storage.check() is False


def test_all_hits_are_reset_and_counted(storage):
    for number in range(10):
        storage.incr(RateLimitItemPerMinute(10).key_for(str(number)), 60)
        storage.incr(RateLimitItemPerMinute(10, namespace="OTHER").key_for(str(number)), 60)
    assert storage.reset() == 20
    assert storage.reset() == 0


def test_a_key_is_cleared(storage):
    storage.incr("k", 60)
    storage.clear("k")
    storage.clear("k")
    assert storage.get("k") == 0
    assert storage.incr("k", 60) == 1


def test_a_sliding_window_shows_both_windows(storage, service):
    assert storage.get_sliding_window("k", 60) == (0, 0.0, 0, 120.0)
    assert storage.acquire_sliding_window_entry("k", 10, 60, amount=4)
    service.pass_time(15)
    assert storage.get_sliding_window("k", 60) == (0, 0.0, 4, 105.0)
    service.pass_time(60)
    assert storage.get_sliding_window("k", 60) == (4, 45.0, 0, 105.0)
    storage.clear_sliding_window("k", 60)
    assert storage.get_sliding_window("k", 60) == (0, 0.0, 0, 105.0)


def test_windows_of_different_lengths_and_kinds_are_apart(storage):
    assert storage.acquire_sliding_window_entry("k", 1, 60)
    assert storage.acquire_sliding_window_entry("k", 1, 61)
    assert not storage.acquire_sliding_window_entry("k", 1, 60)
    assert storage.incr("k", 60) == 1


ODD_KEYS = ["", "x" * 5000, "x" * 5001, "\udcff", "\ud800", "é" * 600, "a\nb", "#", "hits#0#k", "\x00"]


def test_any_text_is_a_key(storage):
    assert [storage.incr(key, 60) for key in ODD_KEYS] == [1] * len(ODD_KEYS)
    assert [storage.get(key) for key in ODD_KEYS] == [1] * len(ODD_KEYS)
    assert storage.reset() == len(ODD_KEYS)


def test_items_are_small_numbers_in_shards_of_the_name_and_expire(storage, service):
    storage.incr("LIMITER/a/5/1/minute", 60)
    storage.acquire_sliding_window_entry("LIMITER/a/5/1/minute", 5, 60)
    now = int(service.clock.wall())
    found = {
        sort: {name: int(value["N"]) for name, value in item.items() if name not in {"pk", "sk"}}
        for (_, sort), item in service.table.items.items()
    }
    assert found == {
        "hits#0#LIMITER/a/5/1/minute": {"count": 1, "ends_at": 1000 * (now + 60), "ttl": now + 60 + 3600},
        "hits#60000#LIMITER/a/5/1/minute": {
            "count": 1,
            "previous": 0,
            "window": now // 60,
            "ttl": now + 120 + 3600,
        },
    }
    assert {pk.rpartition("#")[0] for pk, _ in service.table.items} == {"limits"}


# Strategies.


def test_a_fixed_window(fixed, service):
    limit, start = RateLimitItemPerSecond(10, 2), service.clock.wall()
    assert all(fixed.hit(limit) for _ in range(10))
    assert not fixed.hit(limit)
    assert fixed.get_window_stats(limit) == (start + 2, 0)
    service.pass_time(2)
    assert fixed.get_window_stats(limit).remaining == 10
    assert fixed.hit(limit)


def test_stats_of_a_fixed_window_without_hits(fixed, service):
    assert fixed.get_window_stats(RateLimitItemPerSecond(10, 2)) == (service.clock.wall(), 10)


def test_hits_of_a_fixed_window_may_cost_more(fixed):
    limit = RateLimitItemPerMinute(10, 2)
    assert not fixed.hit(limit, "k1", cost=11)
    assert fixed.hit(limit, "k2", cost=5)
    assert fixed.get_window_stats(limit, "k2").remaining == 5
    assert not fixed.test(limit, "k2", cost=6)
    assert not fixed.hit(limit, "k2", cost=6)


def test_a_fixed_window_is_tested_without_a_hit(fixed):
    limit = RateLimitItemPerHour(2, 1)
    assert fixed.hit(limit)
    assert fixed.test(limit)
    assert fixed.hit(limit)
    assert not fixed.test(limit)
    assert not fixed.hit(limit)
    fixed.clear(limit)
    assert fixed.test(limit)


def test_a_sliding_window(sliding, service):
    limit = RateLimitItemPerSecond(10, 2)
    assert all(sliding.hit(limit) for _ in range(10))
    assert not sliding.hit(limit)
    assert sliding.get_window_stats(limit).remaining == 0
    sliding.clear(limit)
    assert sliding.get_window_stats(limit).remaining == 10
    assert sliding.hit(limit, cost=10)


def test_a_sliding_window_is_empty_after_two(sliding, service):
    limit = RateLimitItemPerSecond(10, 1)
    assert sliding.get_window_stats(limit).remaining == 10
    assert sliding.hit(limit, cost=10)
    assert not sliding.hit(limit)
    service.pass_time(1)
    assert sliding.get_window_stats(limit).remaining == 0
    service.pass_time(1)
    assert sliding.get_window_stats(limit).remaining == 10


def test_hits_of_the_window_before_weigh_less_as_the_window_moves_on(sliding, service):
    limit = RateLimitItemPerHour(5)
    assert sliding.hit(limit, cost=5)
    service.pass_time(3600)
    # All five count until a fifth of the window has passed, and one less for each fifth.
    for passed, remaining in ((0, 0), (1, 1), (719, 1), (1, 2), (719, 2), (1, 3), (1439, 4), (721, 5)):
        service.pass_time(passed)
        assert sliding.get_window_stats(limit).remaining == remaining, service.clock.wall()
    assert sliding.hit(limit, cost=5)


def test_stats_of_a_sliding_window_without_hits(sliding):
    assert sliding.get_window_stats(RateLimitItemPerSecond(10, 2)).remaining == 10


def test_hits_of_a_sliding_window_may_cost_more(sliding):
    limit = RateLimitItemPerMinute(10, 2)
    assert not sliding.hit(limit, "k1", cost=11)
    assert sliding.hit(limit, "k2", cost=5)
    assert sliding.get_window_stats(limit, "k2").remaining == 5
    assert not sliding.test(limit, "k2", cost=6)
    assert not sliding.hit(limit, "k2", cost=6)
    assert sliding.hit(limit, "k2", cost=5)


def test_a_sliding_window_is_tested_without_a_hit(sliding):
    limit = RateLimitItemPerHour(2, 1)
    assert sliding.hit(limit)
    assert sliding.test(limit)
    assert sliding.hit(limit)
    assert not sliding.test(limit)
    assert not sliding.hit(limit)


def test_a_moving_window_is_refused_in_a_sentence(service, api):
    with pytest.raises(NotImplementedError) as refused:
        strategies(api).moving(service.storage(api))
    assert str(refused.value) == (
        "a dynamodb:// storage has no moving window, as that keeps the time of each hit: use the strategy "
        "'sliding-window-counter' or 'fixed-window', or ddb_lease.RateLimiter, which has no windows at all"
    )


def test_what_is_missing_is_an_attribute_error(service, api):
    with pytest.raises(AttributeError, match="DynamoDBStorage' object has no attribute 'decr'"):
        service.storage(api).decr()


# Costs.


@pytest.fixture
def warm(storage, service):
    """One that knows the time and the window."""
    storage.incr("k", 60)
    service.requests.clear()
    return storage


def test_a_hit_is_one_write(warm, service):
    warm.incr("k", 60)
    assert service.requests == ["AddHits"]


def test_a_new_key_is_one_write(warm, service):
    warm.incr("other", 60)
    assert warm.acquire_sliding_window_entry("other", 1, 60)
    assert service.requests == ["BeginHits", "SlideHits"]


def test_denials_of_a_sliding_window_cost_nothing_for_a_second(warm, service):
    warm.acquire_sliding_window_entry("k", 1, 60)
    service.requests.clear()
    assert not any(warm.acquire_sliding_window_entry("k", 1, 60) for _ in range(9))
    assert not warm.acquire_sliding_window_entry("k", 1, 60, amount=2)
    assert service.requests == []


def test_the_stats_of_a_fixed_window_are_one_read(fixed, service):
    limit = RateLimitItemPerMinute(5)
    fixed.hit(limit)
    service.requests.clear()
    fixed.get_window_stats(limit)
    assert service.requests == ["ReadHits"]


def test_the_first_call_asks_for_the_time(new_storage, service):
    new_storage().incr("k", 60)
    assert service.requests[-1] == "BeginHits"
    assert set(service.requests[:-1]) == {"Look"}
    assert len(service.requests) <= 4


# Failures.

CALLS = {
    "incr": ("k", 60),
    "get": ("k",),
    "get_expiry": ("k",),
    "reset": (),
    "clear": ("k",),
    "acquire_sliding_window_entry": ("k", 1, 60),
    "get_sliding_window": ("k", 60),
    "clear_sliding_window": ("k", 60),
}


@pytest.mark.parametrize("wraps", [True, False])
@pytest.mark.parametrize("method", CALLS)
def test_a_service_that_is_away_is_told_as_limits_wants_it(new_storage, service, method, wraps):
    storage = new_storage(wrap_exceptions=wraps, timeout=2)
    service.away, began = True, service.clock.steady()
    with pytest.raises(StorageError if wraps else StoreUnavailable) as raised:
        getattr(storage, method)(*CALLS[method])
    assert service.clock.steady() - began <= 3.0
    error = raised.value.storage_error if wraps else raised.value
    assert isinstance(error, StoreUnavailable)
    assert str(error).startswith("hits of 'limits': ")
    assert isinstance(pickle.loads(pickle.dumps(error)), StoreError)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("incr", "k", 0), "expiry must be 1 to 1,000,000,000 whole seconds, not 0"),
        (("incr", "k", 1.5), "expiry must be a whole number of seconds, not 1.5"),
        (("incr", "k", 10**10), "expiry must be"),
        (("incr", "k", True), "expiry must be"),
        (("incr", "k", 60, -1), "amount must be a whole number from 0"),
        (("incr", "k", 60, "1"), "amount must be a whole number from 0"),
        (("incr", 7, 60), "a key must be a string, not 7"),
        (("acquire_sliding_window_entry", "k", -1, 60), "limit must be a whole number from 0"),
        (("acquire_sliding_window_entry", "k", 1, 60, -1), "amount must be a whole number from 0"),
    ],
)
def test_what_cannot_be_counted_is_refused_and_not_sent(storage, service, call, told):
    method, *arguments = call
    with pytest.raises(ConfigurationError, match=f"^{told}"):
        getattr(storage, method)(*arguments)
    assert service.requests == []


# URIs and options.


def of_uri(uri, **options):
    storage = storage_from_string(uri, **options)
    storage.close() if isinstance(storage, DynamoDBStorage) else None
    return storage


def noting(stores):
    """An environment in which the stores are kept."""
    return Runtime(wrap=lambda store: stores.append(store) or store)


def test_the_schemes_are_registered():
    assert type(of_uri("dynamodb://eu-west-1")) is DynamoDBStorage
    assert type(of_uri("async+dynamodb://eu-west-1")) is AsyncDynamoDBStorage


def test_a_uri_names_region_table_and_options():
    uri, stores = "dynamodb://eu-west-1/my-table?name=api&timeout=2&endpoint_url=http://127.0.0.1:1/", []
    core = core_of(of_uri(uri, runtime=noting(stores)))
    assert (core.name, core.table) == ("api", "my-table")
    assert core.timeout == 2.0
    assert [store.whereabouts for store in stores] == [("my-table", "http://127.0.0.1:1/", "eu-west-1")]


def test_a_table_may_be_named_by_its_arn():
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/limits"
    assert core_of(of_uri(f"dynamodb://eu-west-1/{arn}")).table == arn


def test_options_win_over_the_uri_and_what_is_left_out_is_usual():
    core = core_of(of_uri("dynamodb:///t?name=a", name="b", session=SESSION))
    assert (core.name, core.table, core.timeout) == ("b", "t", 5.0)
    stores = []
    uri = "dynamodb://eu-west-2/t?profile=nobody"
    core = core_of(of_uri(uri, session=SESSION, table="u", runtime=noting(stores)))
    assert core.table == "u"
    assert [store.whereabouts[::2] for store in stores] == [("u", "eu-west-1")]
    assert core_of(of_uri("dynamodb://local?endpoint_url=http://127.0.0.1:1/", session=SESSION)).name == "limits"
    assert core_of(of_uri("dynamodb://", session=SESSION)).table == "ddb-lease"
    assert repr(of_uri("dynamodb://", session=SESSION)) == "<DynamoDBStorage 'limits' in table 'ddb-lease'>"


@pytest.mark.parametrize(
    ("uri", "options", "told"),
    [
        ("dynamodb://localhost:8000/t", {}, "'localhost:8000' is no region"),
        ("dynamodb://user@eu-west-1/t", {}, "is no region"),
        ("dynamodb://EU/t", {}, "is no region"),
        ("dynamodb:///t?nmae=x", {}, "has the option 'nmae'; there are name, endpoint_url, profile, timeout"),
        ("dynamodb:///t?name=x&name=y", {}, "has the option 'name' twice"),
        ("dynamodb:///t?timeout=soon", {}, "timeout must be a number, not 'soon'"),
        ("dynamodb:///t?timeout=0", {}, "timeout must be more than 0 and up to 60 seconds"),
        ("dynamodb:///t?timeout=nan", {}, "timeout must be"),
        ("dynamodb:///t?name=", {}, "a storage's name must be a non-empty string"),
        ("dynamodb:///t#x", {}, "has a fragment"),
        ("dynamodb:///t", {"region": "eu-west-1", "session": SESSION}, "give a region or a profile, or a session or a"),
        ("dynamodb://shop?name=a", {}, r"'shop' is no region; a table stands after three slashes: dynamodb:///shop\?n"),
        (
            "async+dynamodb://ddb-lease",
            {"session": SESSION},
            "'ddb-lease' is no region; .*: async.dynamodb:///ddb-lease",
        ),
        ("dynamodb:///t?endpoint_url=localhost", {"session": SESSION}, "endpoint"),
        ("dynamodb:///t?profile=nobody", {}, "nobody"),
        ("async+dynamodb://eu-west-1/t?max_requests=0", {}, "max_requests"),
        ("async+dynamodb://eu-west-1/t?max_requests=x", {}, "max_requests must be a number"),
        ("dynamodb:///t", {}, "no AWS region is set"),
    ],
)
def test_a_wrong_uri_is_told(uri, options, told):
    with pytest.raises(ConfigurationError, match=told):
        of_uri(uri, **options)


@pytest.mark.parametrize("kind", [DynamoDBStorage, AsyncDynamoDBStorage])
@pytest.mark.parametrize("uri", ["redis://", "dynamodb", 7])
def test_another_scheme_is_told(kind, uri):
    with pytest.raises(ConfigurationError, match="storage URI"):
        kind(uri)


def test_an_unknown_option_is_told():
    with pytest.raises(TypeError, match="ttl"):
        of_uri("dynamodb://eu-west-1", ttl=5)


# Several at once.


def test_threads_are_each_shown_a_count_of_their_own(service):
    storage = service.storage("threads")
    lock, found = threading.Lock(), []
    execute = service.table.execute

    def one_at_a_time(*args, **kwargs):
        with lock:
            return execute(*args, **kwargs)

    service.table.execute = one_at_a_time
    threads = [
        threading.Thread(target=lambda: found.extend(storage.incr("k", 60) for _ in range(25))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 201))


def test_a_hit_for_which_no_thread_is_free_is_told_in_time(service, monkeypatch):
    asked, answer = threading.Event(), threading.Event()
    execute = service.table.execute

    def hangs(*args, **kwargs):
        asked.set()
        answer.wait(60)
        return execute(*args, **kwargs)

    async def main():
        loop = asyncio.get_running_loop()
        storage = service.storage("asyncio", max_requests=1, timeout=60)
        await storage.incr("warm", 60)
        service.table.execute = hangs
        first = asyncio.ensure_future(storage.incr("k", 60))
        assert await asyncio.to_thread(asked.wait, 60)
        others = asyncio.gather(*(storage.incr(f"k{n}", 60) for n in range(9)), return_exceptions=True)
        await asyncio.sleep(0)  # they wait for the thread
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + 60)
        try:
            told = await asyncio.wait_for(others, 60)
        finally:
            answer.set()
        return await first, {type(other) for other in told}

    assert asyncio.run(main()) == (1, {StoreUnavailable})


def test_a_limit_in_words(fixed, sliding):
    for strategy in (fixed, sliding):
        assert [strategy.hit(parse("2/minute"), "customer-7") for _ in range(3)] == [True, True, False]
