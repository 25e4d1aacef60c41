"""A rate limit in HTTP: fields of the IETF's draft, statuses, problem documents, addresses. Pure: no I/O."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ddb_lease import ConfigurationError, Decision, Limit, LimitDecision
from ddb_lease.adapters._http import (
    _known_network,
    as_key,
    checked_policy_name,
    client_address,
    digest_of,
    is_below,
    never,
    outcome_of,
)
from tests.adapters.clients import items

HOUR, YEAR = 3600.0, 365 * 86_400.0


def decision(settings, *, allowed=True, by="table", retry_after=0.0, **standings):
    limits = {
        name: LimitDecision(remaining=left, retry_after=retry, reset_after=max(1.0, retry))
        for name, (left, retry) in standings.items()
    }
    tightest = min(limits, key=lambda name: limits[name].remaining)
    return Decision(
        allowed=allowed, remaining=limits[tightest].remaining, retry_after=retry_after, reset_after=1.0, limits=limits,
        tightest=tightest, decided_by=by, settings=settings,
    )  # fmt: skip


def fields_of(limit, left, retry=0.0, **more):
    outcome = outcome_of(
        decision({"permits": limit}, permits=(left, retry), **more), {"permits": 1}, policy="default", fields=True
    )
    return dict(outcome.denial.fields if outcome.denial else outcome.fields)


@pytest.mark.parametrize(
    ("limit", "policy"),
    [
        (Limit(100, per=60, burst=100), '"default";q=100;w=60'),
        (Limit(100, per=60, burst=10), '"default";q=10;w=6'),
        (Limit(5, per=60, burst=2), '"default";q=2;w=24'),
        (Limit(1, per=HOUR, burst=1), '"default";q=1;w=3600'),
        (Limit(0.5, per=1, burst=1), '"default";q=1;w=2'),
        # A window is a whole second at least, and has what the rate admits in it.
        (Limit(1_000, per=1, burst=1), '"default";q=1000;w=1'),
        (Limit(5, per=2, burst=3), '"default";q=5;w=2'),
    ],
)
def test_a_policy_is_the_burst_in_the_time_in_which_it_comes_back(limit, policy):
    assert fields_of(limit, 1)["RateLimit-Policy"] == policy


@pytest.mark.parametrize(
    ("left", "retry", "field"),
    [
        (100, 0.0, '"default";r=100;t=60'),
        (50, 0.0, '"default";r=50;t=30'),
        (1, 0.0, '"default";r=1;t=1'),
        (0, 0.2, '"default";r=0;t=1'),
        (0, 7.2, '"default";r=0;t=8'),
    ],
)
def test_what_is_left_may_be_spread_over_its_window(left, retry, field):
    assert fields_of(Limit(100, per=60, burst=100), left, retry)["RateLimit"] == field


@given(
    permits=st.floats(0.01, 1e6), per=st.floats(1.0, 86_400.0), burst=st.integers(1, 10**6), part=st.floats(0, 1),
    retry=st.floats(0, 3e7), allowed=st.booleans(),
)  # fmt: skip
def test_fields_are_structured_and_ask_for_no_more_than_the_rate(permits, per, burst, part, retry, allowed):
    assume(burst * per / permits <= YEAR)  # as a limiter does
    left = round(burst * part)
    limit = Limit(permits, per=per, burst=burst)
    fields = fields_of(limit, left, retry, allowed=allowed, retry_after=retry)
    (policy,), (standing,) = items(fields["RateLimit-Policy"]).values(), items(fields["RateLimit"]).values()
    assert policy["q"] >= burst >= standing["r"] == left
    assert policy["w"] >= 1
    if policy["q"] > burst:
        assert policy["q"] <= permits / per * policy["w"] * (1 + 1e-6)
    if allowed and left:
        assert standing["r"] <= permits / per * standing["t"] * (1 + 1e-6) + 1e-6
    if not allowed:
        assert standing["t"] <= int(fields["Retry-After"]), "the draft: no earlier than the window's end"
        assert int(fields["Retry-After"]) >= retry - 2e-6, "a float of whole seconds is not rounded up"


def test_each_limit_of_several_has_its_item():
    settings = {"requests": Limit(10, per=60, burst=10), "tokens": Limit(1_000, per=60, burst=1_000)}
    told = decision(settings, requests=(4, 0.0), tokens=(0, 2.5), allowed=False, retry_after=3.1)
    denial = outcome_of(told, {"requests": 1, "tokens": 50}, policy="default", fields=True).denial
    fields = dict(denial.fields)
    assert fields["RateLimit-Policy"] == '"requests";q=10;w=60, "tokens";q=1000;w=60'
    assert fields["RateLimit"] == '"requests";r=4;t=24, "tokens";r=0;t=3'
    assert fields["Retry-After"] == "4"
    assert json.loads(denial.body)["violated-policies"] == ["tokens"]


def test_limits_that_are_not_short_keep_their_window():
    settings = {"second": Limit(1, per=1, burst=1), "day": Limit(1_000, per=86_400, burst=1_000)}
    told = decision(settings, second=(0, 0.9), day=(998, 0.0), allowed=False, retry_after=0.9)
    fields = dict(outcome_of(told, {"second": 1, "day": 1}, policy="default", fields=True).denial.fields)
    assert fields["RateLimit"] == '"second";r=0;t=1, "day";r=998;t=86228'


def test_a_denial_is_a_problem_of_the_drafts_type():
    told = decision({"permits": Limit(1, per=60, burst=1)}, permits=(0, 30.0), allowed=False, retry_after=30.0)
    denial = outcome_of(told, {"permits": 1}, policy="default", fields=True).denial
    assert (denial.code, denial.status) == (429, "429 Too Many Requests")
    assert dict(denial.fields)["Content-Type"] == "application/problem+json"
    assert dict(denial.fields)["Content-Length"] == str(len(denial.body))
    assert json.loads(denial.body) == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": "Try again in 30 s.",
        "violated-policies": ["default"],
    }


@pytest.mark.parametrize(("by", "told_what_is_left"), [("deny", False), ("local", True)])
def test_what_is_denied_without_the_service_is_503_and_asks_for_some_seconds(by, told_what_is_left):
    told = decision({"permits": Limit(1, burst=1)}, permits=(0, 0.4), allowed=False, retry_after=0.4, by=by)
    denial = outcome_of(told, {"permits": 1}, policy="default", fields=True).denial
    assert denial.code == 503
    assert dict(denial.fields)["Retry-After"] == "5"
    assert json.loads(denial.body)["type"].endswith("#temporary-reduced-capacity")
    assert ("RateLimit" in dict(denial.fields)) == told_what_is_left


def test_who_is_admitted_without_the_service_is_told_of_the_policy_alone():
    assert list(fields_of(Limit(1, burst=1), 1, by="allow")) == ["RateLimit-Policy"]


def test_who_is_denied_for_those_in_front_violates_the_tightest_limit():
    told = decision({"permits": Limit(1, burst=5)}, permits=(5, 0.0), allowed=False, retry_after=0.1)
    denial = outcome_of(told, {"permits": 1}, policy="mine", fields=True).denial
    assert json.loads(denial.body)["violated-policies"] == ["mine"]
    assert dict(denial.fields)["Retry-After"] == "1"


def test_without_fields_a_denial_still_says_when_to_come_again():
    told = decision({"permits": Limit(1, burst=1)}, permits=(0, 2.0), allowed=False, retry_after=2.0)
    outcome = outcome_of(told, {"permits": 1}, policy="default", fields=False)
    assert [name for name, _ in outcome.denial.fields] == ["Content-Type", "Content-Length", "Retry-After"]


def test_what_can_never_be_had_has_no_time_to_come_again():
    denial = never({"permits": 10}, policy="default").denial
    assert denial.code == 429
    assert "Retry-After" not in dict(denial.fields)


def test_a_policys_name_is_quoted_and_nothing_else_gets_into_a_field():
    told = decision({"permits": Limit(1, burst=1)}, permits=(1, 0.0))
    fields = dict(outcome_of(told, {"permits": 1}, policy='a"b\\c', fields=True).fields)
    assert fields["RateLimit"] == '"a\\"b\\\\c";r=1;t=1'
    for name in ("", "x\r\nSet-Cookie: a=1", "naïve", "tab\t", "x" * 65, None):
        with pytest.raises(ConfigurationError, match="policy_name"):
            checked_policy_name(name)


# Of a request.


@pytest.mark.parametrize("text", ["k", "é" * 256, "\r\n"])
def test_a_text_is_its_own_key_as_long_as_it_fits(text):
    assert as_key(text) == text


@pytest.mark.parametrize("text", ["k" * 513, "é" * 257, "\ud800"])
def test_a_text_that_cannot_be_a_key_is_replaced_by_its_digest(text):
    assert as_key(text) == digest_of(text)
    assert len(digest_of(text)) == len("sha256:") + 64


@pytest.mark.parametrize("text", [None, ""])
def test_without_a_text_there_is_no_key(text):
    assert as_key(text) is None


@pytest.mark.parametrize(
    ("forwarded", "proxies", "found"),
    [
        ("203.0.113.9", 0, "192.0.2.1"),
        ("203.0.113.9", 1, "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", 1, "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.0.0.1", 2, "203.0.113.9"),
        ("203.0.113.9", 2, "192.0.2.1"),
        ("", 1, "192.0.2.1"),
        ("unknown", 1, "192.0.2.1"),
        ("203.0.113.9:4711", 1, "203.0.113.9"),
        ("[2001:db8:1:2:3::4]:4711", 1, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", 1, "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", 1, "203.0.113.9"),
        ("203.0.113.9\r\nX: y", 1, "192.0.2.1"),
    ],
)
def test_an_address_is_the_one_that_the_last_trusted_proxy_saw(forwarded, proxies, found):
    assert client_address("192.0.2.1", forwarded, trusted_proxies=proxies, ipv6_prefix=64) == found


@pytest.mark.parametrize(
    ("peer", "found"), [(None, None), ("", None), ("testclient", "testclient"), ("fe80::1%eth0", "fe80::1")]
)
def test_a_peer_is_what_the_server_says_it_is(peer, found):
    assert client_address(peer, "", trusted_proxies=0, ipv6_prefix=128) == found


def test_what_is_longer_than_any_address_is_not_remembered():
    _known_network.cache_clear()
    for text in ("f" * 100_000, "[2001:db8::1]:" + "1" * 100, "1.2.3.4:" + "1" * 100):
        assert client_address("192.0.2.1", text, trusted_proxies=1, ipv6_prefix=64) == "192.0.2.1"
    assert _known_network.cache_info().currsize == 1, "the peer"
    longest = "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535"
    assert client_address(None, longest, trusted_proxies=1, ipv6_prefix=64) == "ffff:ffff:ffff:ffff::/64"


@given(st.text(alphabet="0123456789.:[]%, af\r\n/"))
def test_no_forwarded_text_makes_an_address_fail(text):
    assert client_address("192.0.2.1", text, trusted_proxies=1, ipv6_prefix=64)


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("/health", True), ("/health/", True), ("/health/live", True), ("/healthy", False), ("/", False),
        ("/health/../admin", False), ("/admin/health", False), ("/health/..", False), ("/health/..x", True),
    ],
)  # fmt: skip
def test_a_path_is_below_another_by_whole_segments(path, below):
    assert is_below(path, ["/health"]) == below
