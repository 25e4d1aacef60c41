"""Both kinds of middleware, without a server, on the simulator's DynamoDB."""

import contextlib
import threading
import time

import pytest

from ddb_lease import ConfigurationError, Limit, RateLimiter, StoreRejected, StoreUnavailable, aio
from ddb_lease._protocol.rates.messages import Charge
from ddb_lease.adapters import asgi, wsgi
from scripts.harness.inside import core_of
from tests.adapters.clients import items
from tests.support import REJECTED, UNSENT

HOUR = 3600.0
PATIENCE = 60.0


def charges(limiter):
    return limiter.tap.count().get("Charge", 0)


def test_requests_are_admitted_up_to_the_limit_and_then_denied(make, by):
    get = by.around(make(rate=2, per=HOUR).real)
    first, second, third = get("/a"), get("/b"), get("/c")
    assert [first.status, second.status, third.status] == [200, 200, 429]
    assert by.called == ["/a", "/b"]
    assert (first.body, first.all("set-cookie")) == (b"hello", ["a=1", "b=2"])
    assert [each["ratelimit-policy"] for each in (first, third)] == ['"default";q=2;w=3600'] * 2
    assert [items(each["ratelimit"])["default"]["r"] for each in (first, second, third)] == [1, 0, 0]
    assert 0 < int(third["retry-after"]) <= HOUR / 2 + 60
    assert third.problem["violated-policies"] == ["default"]
    assert int(third["content-length"]) == len(third.body)


def test_no_denial_of_many_threads_says_that_a_permit_is_left(make, by):
    get = by.around(make(rate=40, burst=3).real, key=None)
    enough, answers = threading.Event(), []

    def ask():
        while not enough.is_set():
            answers.append(get())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PATIENCE
    while sum(each.status == 429 for each in answers) < 400 and time.monotonic() < until:
        time.sleep(0.05)
    enough.set()
    for thread in threads:
        thread.join(PATIENCE)
    denied = [each for each in answers if each.status == 429]
    assert len(denied) >= 400
    assert {items(each["ratelimit"])["default"]["r"] for each in denied} == {0}
    assert {each.status for each in answers} == {200, 429}


def test_a_remembered_denial_sends_nothing_and_an_admission_one_charge(make, by):
    limiter = make(rate=2, per=HOUR)
    limiter.status()
    get = by.around(limiter.real)
    assert [get().status for _ in range(5)] == [200, 200, 429, 429, 429]
    assert charges(limiter) == 2
    assert limiter.tap.count() == {"Charge": 2} | {
        name: n for name, n in limiter.tap.count().items() if name != "Charge"
    }
    sent = len(limiter.tap.sent)
    for _ in range(5):
        assert "ratelimit" in get()
    assert len(limiter.tap.sent) == sent


def test_each_address_has_a_limit_of_its_own(make, by):
    get = by.around(make(rate=1, per=HOUR).real)
    answers = [
        get(address=address).status for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2")
    ]
    assert answers == [200, 200, 429, 200, 429]


def test_requests_without_a_key_share_the_limiters_own_limit(make, by):
    limiter = make(rate=1, per=HOUR)
    get = by.around(limiter.real)
    assert [get(address=None).status for _ in range(2)] == [200, 429]
    assert not limiter.try_acquire()


def test_without_keys_all_requests_share_one_limit(make, by):
    get = by.around(make(rate=1, per=HOUR).real, key=None)
    assert [get(address=address).status for address in ("192.0.2.1", "192.0.2.2")] == [200, 429]


def test_a_key_of_a_limiter_limits_all_requests_together(make, by):
    limiter = make(rate=1, per=HOUR)
    get = by.around(limiter.real.key("all"), key=None)
    assert [get(address=address).status for address in ("192.0.2.1", "192.0.2.2")] == [200, 429]
    assert not limiter.key("all").try_acquire()


def test_a_header_may_be_the_key_and_its_digest_too(make, by):
    limiter = make(rate=1, per=HOUR)
    get = by.around(limiter.real, key=by.module.by_header("x-api-key"))
    assert [get(x_api_key=key).status for key in ("a", "b", "a", "", " ")] == [200, 200, 429, 200, 429]
    assert not limiter.key("a").try_acquire()
    secret = by.around(limiter.real, key=by.module.by_header("X-Api-Key", digest=True))
    assert [secret(x_api_key="c").status for _ in range(2)] == [200, 429]
    assert limiter.key("c").try_acquire(), "the table does not know it"


def test_no_client_can_make_a_key_fail(make, by):
    get = by.around(make(rate=1, per=HOUR).real, key=by.module.by_header("x-api-key"))
    assert [get(x_api_key=key).status for key in ("x" * 5_000, "\xff" * 400, "x" * 5_000)] == [200, 200, 429]


def test_behind_proxies_the_address_is_the_one_that_they_saw(make, by):
    key = by.module.by_client_address(trusted_proxies=1)
    get = by.around(make(rate=1, per=HOUR).real, key=key)
    forwarded = ["203.0.113.1", "6.6.6.6, 203.0.113.1", "203.0.113.2"]
    assert [get(x_forwarded_for=value).status for value in forwarded] == [200, 429, 200]
    plain = by.around(make("other", rate=1, per=HOUR).real)
    assert [plain(x_forwarded_for=value).status for value in forwarded] == [200, 429, 429], "no proxy is trusted"


def test_parents_of_keys_limit_all_of_them_together(make, by):
    total = make("total", rate=2, per=HOUR)
    get = by.around(make(rate=5, per=HOUR).real, under=[total.real])
    answers = [get(address=f"192.0.2.{n}") for n in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0]["ratelimit-policy"] == '"default";q=2;w=3600', "the tighter one"


@pytest.mark.parametrize("above", ["another limiter", "the limiter itself", "a key under it"])
def test_requests_without_a_key_are_under_the_parents_too(make, by, above):
    limiter, total = make(rate=5, per=HOUR), make("total", rate=3, per=HOUR)
    parents = {
        "another limiter": [total.real],
        "the limiter itself": [total.real, limiter.real],
        "a key under it": [total.real, make("regions", rate=9, per=HOUR).real.key("eu", under=[limiter.real])],
    }
    get = by.around(limiter.real, key=by.module.by_header("x-key"), under=parents[above])
    assert [get(x_key="ann").status, get().status, get().status] == [200] * 3
    assert [get(x_key="bob").status, get().status] == [429] * 2
    assert total.status().available == 0
    assert limiter.status().available == (3 if above == "another limiter" else 2)


def test_exempt_requests_take_nothing_and_are_told_nothing(make, by):
    limiter = make(rate=1, per=HOUR)
    get = by.around(limiter.real, exempt=["/health", "/static/"])
    for path in ("/health", "/health/live", "/static/a.css"):
        answer = get(path)
        assert (answer.status, "ratelimit" in answer) == (200, False)
    assert get("/live", mount="/health").status == 200
    assert limiter.tap.sent == []
    assert [get("/healthy").status, get("/health/../x").status] == [200, 429]
    quiet = by.around(limiter.real, exempt=lambda request: True)
    assert quiet().status == 200


def test_a_request_may_cost_more_or_nothing(make, by):
    costs = {"/": 1, "/report": 4, "/free": 0, "/huge": 99}
    path_of = {"ByWsgi": lambda environ: environ["PATH_INFO"], "ByAsgi": lambda scope: scope["path"]}[type(by).__name__]
    limiter = make(rate=5, per=HOUR)
    get = by.around(limiter.real, cost=lambda request: costs[path_of(request)])
    assert [get(path).status for path in ("/report", "/report", "/", "/", "/free")] == [200, 429, 200, 429, 200]
    huge = get("/huge")
    assert (huge.status, "retry-after" in huge) == (429, False)
    assert by.called[-1] == "/free"


def test_a_cost_is_measured_by_the_stored_burst(make, by):
    make(rate=50, per=HOUR).acquire()
    get = by.around(make(rate=5, per=HOUR).real, key=None, cost=20)
    assert [get().status for _ in range(3)] == [200, 200, 429]
    get = by.around(make(rate=5, per=HOUR).real, key=None, cost=51)
    assert "retry-after" not in get()


def test_several_limits_are_charged_together_and_each_is_told(make, by):
    limits = {"second": Limit(5, per=HOUR), "day": Limit(2, per=24 * HOUR)}
    get = by.around(make(limits=limits).real, cost={"second": 1, "day": 1})
    answers = [get() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert items(answers[0]["ratelimit-policy"]) == {"day": {"q": 2, "w": 86_400}, "second": {"q": 5, "w": 3600}}
    assert {name: item["r"] for name, item in items(answers[2]["ratelimit"]).items()} == {"day": 0, "second": 3}
    assert answers[2].problem["violated-policies"] == ["day"]


def test_an_override_of_the_key_is_what_it_is_told(make, by):
    limiter = make(rate=1, per=HOUR)
    limiter.key("192.0.2.7").override(Limit(3, per=60))
    assert by.around(limiter.real)()["ratelimit-policy"] == '"default";q=3;w=60'


def test_who_is_blocked_is_told_for_how_long(make, by):
    limiter = make(rate=10)
    limiter.key("192.0.2.7").block(600)
    denied = by.around(limiter.real)()
    assert denied.status == 429
    assert 590 <= int(denied["retry-after"]) <= 605


def test_a_head_request_is_denied_without_a_body(make, by):
    get = by.around(make(rate=1, per=HOUR).real)
    get()
    denied = get(method="HEAD")
    assert (denied.status, denied.body) == (429, b"")
    assert int(denied["content-length"]) > 0


def test_fields_may_be_left_out(make, by):
    get = by.around(make(rate=1, per=HOUR).real, fields=False)
    answers = get(), get()
    assert [answer.status for answer in answers] == [200, 429]
    assert not any(name in answer for answer in answers for name in ("ratelimit", "ratelimit-policy"))
    assert "retry-after" in answers[1]


def test_two_limits_one_behind_the_other_are_both_told(make, by):
    minute, day = make("minute", rate=5, per=60), make("day", rate=1, per=24 * HOUR)
    inner = by.module.RateLimitMiddleware(by.app, limiter=day.real, policy_name="day")
    get = by.around(minute.real, inner, policy_name="minute")
    assert [list(items(value)) for value in get().all("ratelimit")] == [["day"], ["minute"]]
    denied = get()
    assert (denied.status, denied.problem["violated-policies"]) == (429, ["day"])


def test_a_request_waits_for_its_permits_as_long_as_it_may(make, by):
    limiter = make(rate=20, per=1, burst=1)
    get = by.around(limiter.real, wait=30)
    began = time.monotonic()
    assert [get().status for _ in range(4)] == [200] * 4
    assert time.monotonic() - began > 3 / 20 * 0.5
    impatient = by.around(make("slow", rate=1, per=HOUR).real, wait=0.5)
    impatient()
    began = time.monotonic()
    denied = impatient()
    assert (denied.status, by.called) == (429, ["/"] * 5)
    assert int(denied["retry-after"]) > 60, "it is told at once"


def test_a_service_that_answers_later_than_a_request_may_wait_denies_nobody(make, by):
    limiter, answer = make(rate=5, per=HOUR), threading.Event()
    get = by.around(limiter.real, key=None, wait=0.05)
    assert get().status == 200
    limiter.tap.inject(Charge, before=lambda _: answer.wait(PATIENCE))
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(get().status)) for _ in range(4)]
    for thread in threads:
        thread.start()
    until, book = time.monotonic() + PATIENCE, core_of(limiter).state.book("")
    while sum(not one.patient for one in book.waiting()) < 3:  # all but the one that asks have waited long enough
        assert time.monotonic() < until
        time.sleep(0.001)
    answer.set()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 4
    assert get().status == 429
    assert charges(limiter) <= 3


# The service is away.


@pytest.mark.parametrize(
    ("mode", "statuses"), [("raise", [503] * 3), ("deny", [503] * 3), ("allow", [200] * 3), ("local", [200, 200, 503])]
)
def test_what_becomes_of_requests_without_the_service_is_the_limiters_to_decide(make, by, mode, statuses):
    limiter = make(rate=20, per=HOUR, on_unavailable=mode, budget=1)
    limiter.acquire(timeout=PATIENCE)
    limiter.tap.everything_fails = UNSENT
    until = time.monotonic() + PATIENCE
    while not core_of(limiter).state.contact.down:
        with contextlib.suppress(StoreUnavailable):
            limiter.key("another").try_acquire()
        assert time.monotonic() < until
    answers = [by.around(limiter.real)() for _ in range(3)]
    assert [answer.status for answer in answers] == statuses
    for answer in answers:
        if answer.status == 503:
            assert int(answer["retry-after"]) >= 5
            assert answer.problem["type"].endswith("#temporary-reduced-capacity")
            assert answer.problem["violated-policies"] == ["default"]
    limiter.tap.everything_fails = None


def test_a_rejection_is_a_mistake_in_the_setup_and_is_raised(make, by):
    limiter = make(rate=1, on_unavailable="allow")
    limiter.tap.everything_fails = REJECTED
    with pytest.raises(StoreRejected):
        by.around(limiter.real)()


# Settings.


BAD = {
    "key": [3, lambda: "k", "x-api-key"],
    "cost": [0.5, "1", True, -1, {"permits": "1"}, {"requests": 1}, lambda: 1],
    "exempt": ["/health", ["health"], [3], ["/"], 7],
    "wait": [-1, None, "1"],
    "policy_name": ["", "a\r\nb"],
    "under": [["total"], "total"],
    "limiter": [None, "api"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_setting_that_cannot_work_is_refused_when_it_is_given(make, by, name, value):
    settings = {"limiter": make(rate=5).real} | {name: value}
    with pytest.raises(ConfigurationError):
        by.around(**settings)


def test_a_limiter_of_the_other_api_is_refused(by, service):
    where = {"session": service.session(), "endpoint_url": service.endpoint_url}
    kind = {wsgi: aio.RateLimiter, asgi: RateLimiter}[by.module]
    with pytest.raises(ConfigurationError, match="limiter must be a RateLimiter of ddb_lease"):
        by.around(kind("api", rate=1, **where))


def test_a_key_cannot_have_keys_and_parents_need_one(make, by):
    limiter = make(rate=5).real
    with pytest.raises(ConfigurationError, match="key=None"):
        by.around(limiter.key("k"))
    with pytest.raises(ConfigurationError, match="under is for keys"):
        by.around(limiter, key=None, under=[make("total", rate=5).real])


@pytest.mark.parametrize(
    "settings", [{"trusted_proxies": -1}, {"trusted_proxies": True}, {"ipv6_prefix": 0}, {"ipv6_prefix": 129}]
)
def test_proxies_and_prefixes_are_checked(by, settings):
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        by.module.by_client_address(**settings)


@pytest.mark.parametrize("name", ["", "a b", "x:y", None, "é"])
def test_a_fields_name_is_checked(by, name):
    with pytest.raises(ConfigurationError, match="header field"):
        by.module.by_header(name)


@pytest.mark.parametrize("settings", [{"key": lambda request: 3}, {"cost": lambda request: "1"}])
def test_a_function_that_returns_nothing_of_use_is_told_so(make, by, settings):
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        by.around(make(rate=5).real, **settings)()


def test_nothing_is_kept_of_requests(make, by):
    limiter = make(rate=1, per=HOUR)
    get = by.around(limiter.real, key=None, wait=0.01)
    get()
    for _ in range(20):
        assert get().status == 429
    state = core_of(limiter).state
    assert len(list(state.books())) <= 1
    assert state.book("").waiting() == []


def test_threads_may_use_one_middleware_at_once(make, by):
    get = by.around(make(rate=5, per=HOUR).real)
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(get().status)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(statuses) == [200] * 5 + [429] * 3


def test_a_function_that_makes_keys_is_no_key(make, by):
    limiter = make(rate=1).real
    for module in (asgi, wsgi):
        for maker, call in (
            (module.by_header, r'by_header\("x-api-key"\)'),
            (module.by_client_address, r"by_cl.*\(\)"),
        ):
            with pytest.raises(ConfigurationError, match=f"^key must be what by_.* returns: write key={call}$"):
                by.around(limiter, key=maker)


def test_no_message_shows_a_request(make, by):
    limiter = make(rate=1).real
    secret = "the-secret-of-a-client"
    for settings in (
        {"key": lambda request: request},
        {"key": lambda request: by.module.by_header(name=request)},
        {"cost": lambda request: {"permits": [request]}},
        {"cost": lambda request: [request]},
    ):
        with pytest.raises(ConfigurationError) as raised:
            by.around(limiter, **settings)(x_api_key=secret)
        assert secret not in str(raised.value)
        assert len(str(raised.value)) < 150


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (-1, "a whole number from 0 up, not -1"),
        ({"permits": 1.5}, "a whole number from 0 up, not 1.5"),
        ({"permits": ["secret"]}, "a whole number from 0 up, not a list"),
        (["secret"], "one for each limit, not a list"),
    ],
)
def test_what_is_no_cost_is_shown_if_it_is_a_number_and_else_only_its_kind(make, by, cost, said):
    with pytest.raises(ConfigurationError, match=f"cost must be .*{said}$"):
        by.around(make(rate=5).real, cost=lambda request: cost)()
