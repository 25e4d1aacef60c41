"""What a limiter tells its callers: why a call timed out, and whether a key is blocked, in both APIs."""

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, Limit, RateLimiter, RateTimeout, TooManyPermits
from ddb_lease._runtime.rates.family import Family, Relative
from ddb_lease._runtime.rates.wish import Verdict
from scripts.harness.inside import core_of
from scripts.harness.simulated_engine import Simulated
from tests.apis import Loop
from tests.rate_apis import APIS, limiter_of

HOUR = 3600.0
LIMITS = {"requests": Limit(10, per=HOUR), "tokens": Limit(100, per=HOUR)}


@pytest.fixture(scope="module")
def loop():
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def service():
    return Simulated()


@pytest.fixture(params=APIS)
def make(request, service, loop):
    made = []

    def limiter(name="api", **settings):
        settings |= {"session": service.session(), "endpoint_url": service.endpoint_url}
        made.append(limiter_of(request.param, loop, name, **settings))
        return made[-1]

    yield limiter
    for one in made:
        one.close()


def timeout_of(call, **wanted):
    with pytest.raises(RateTimeout) as raised:
        call(**wanted)
    assert isinstance(raised.value, AcquireTimeout)
    return raised.value


def test_a_call_in_vain_names_the_rate_and_how_long_it_would_take(make):
    limiter = make(rate=60, per=HOUR, burst=2)
    limiter.acquire(2)
    error = timeout_of(limiter.acquire, timeout=2.5)
    assert str(error).startswith("no permit of rate 'api' available within 2.5 s: it allows that in ")
    assert (error.rate, error.key, error.limit, error.blocked_seconds) == ("api", "", "permits", 0.0)
    assert error.retry_after == pytest.approx(60, abs=5)
    assert "no 2 permits of rate 'api' available: " not in str(timeout_of(limiter.acquire, n=2, timeout=0))


@pytest.mark.parametrize("method", ["acquire", "reserve"])
def test_a_call_in_vain_names_the_key_and_the_limit_that_comes_last(make, method):
    team = make(limits=LIMITS).key("team-7")
    team.acquire(requests=10, tokens=99)
    error = timeout_of(getattr(team, method), requests=1, tokens=1, timeout=1)
    assert str(error).startswith(
        "no permits (1 requests, 1 tokens) of rate 'api', key 'team-7', available within 1 s: its limit 'requests' "
        "allows that in "
    )
    assert (error.rate, error.key, error.limit) == ("api", "team-7", "requests")
    assert error.retry_after == pytest.approx(HOUR / 10, abs=5)


def test_a_call_of_a_blocked_key_says_so(make):
    team = make(limits=LIMITS).key("team-7")
    team.block(600)
    error = timeout_of(team.acquire, tokens=1, timeout=1)
    assert str(error).startswith(
        "no permits (1 tokens) of rate 'api', key 'team-7', available within 1 s: it is blocked "
    )
    assert (error.limit, error.blocked_seconds) == ("", pytest.approx(error.retry_after, abs=0.1))
    assert error.retry_after == pytest.approx(600, abs=5)
    decision = team.check(tokens=1)
    assert decision.blocked_seconds == pytest.approx(600, abs=5)
    team.unblock()
    assert team.check(tokens=1).blocked_seconds == 0.0


def test_who_stands_behind_others_is_told_by_when_they_are_served(make, service):
    limiter = make(rate=1, per=100, burst=1)
    limiter.acquire()
    another = make(rate=1, per=100, burst=1)
    assert not another.try_acquire()
    assert timeout_of(another.acquire, timeout=1).retry_after == pytest.approx(100, abs=5)


def test_under_parents_the_one_that_lets_wait_longest_is_named(service):
    where = {"session": service.session(), "endpoint_url": service.endpoint_url}
    with (
        RateLimiter("orgs", rate=10, per=HOUR, **where) as orgs,
        RateLimiter("teams", rate=5, per=60, **where) as teams,
    ):
        red = teams.key("red", under=[orgs.key("acme")])
        orgs.key("acme").acquire(10)
        error = timeout_of(red.acquire, timeout=1)
        assert str(error).startswith(
            "no permit of rate 'teams', key 'red', available within 1 s: rate 'orgs', key 'acme', "
        )
        assert (error.rate, error.key, error.limit) == ("orgs", "acme", "permits")
        assert error.retry_after == pytest.approx(HOUR / 10, abs=5)
        orgs.key("acme").block(4 * HOUR)
        error = timeout_of(red.acquire, timeout=1)
        assert "key 'acme', is blocked for 4h more" in str(error) or "is blocked for 3h59m" in str(error)
        assert (error.rate, error.limit) == ("orgs", "")
        assert red.check().blocked_seconds == pytest.approx(4 * HOUR, abs=5)


def test_a_decision_names_the_limits_that_hold(make):
    team = make(limits=LIMITS).key("team-7")
    assert team.check(tokens=1).settings == {
        name: Limit(one.permits, per=HOUR, burst=one.permits) for name, one in LIMITS.items()
    }
    team.override(tokens=Limit(7, per=60, burst=3))
    assert team.check(requests=1).settings["tokens"] == Limit(7, per=60, burst=3)


def test_under_parents_a_decision_names_the_limits_whose_figures_it_has(make):
    orgs, teams = make("orgs", rate=3, per=HOUR), make("teams", rate=5, per=HOUR)
    decision = teams.key("red", under=[orgs.key("acme")]).check()
    assert (decision.remaining, decision.settings["permits"].burst) == (2, 3)


def test_under_parents_a_denial_says_when_it_is_worth_asking_again(make):
    orgs, teams = make("orgs", rate=3, per=HOUR), make("teams", rate=5, per=HOUR)
    red = teams.key("red", under=[orgs.key("acme")])
    assert red.check().allowed
    family = Family(Relative(core_of(teams), "red"), [Relative(core_of(orgs), "acme")])
    assert family.decision(family.wanted(1, {}), Verdict(allowed=False, retry_in=7.0)).retry_after == 7.0


def test_a_check_waits_as_long_as_it_may_and_then_tells_what_is_left(make):
    limiter = make(rate=20, per=1, burst=2)
    limiter.acquire(2)
    decision = limiter.check(timeout=30)
    assert (decision.allowed, decision.retry_after) == (True, 0.0)
    under = make("orgs", rate=20, per=1, burst=2).key("red", under=[limiter])
    assert under.check(2, timeout=30).allowed


def test_a_check_that_cannot_be_had_in_time_says_so_at_once_and_raises_nothing(make):
    limiter = make(rate=1, per=HOUR, burst=1)
    limiter.acquire()
    key = make("orgs", rate=5, per=HOUR).key("red", under=[limiter])
    for asked in (limiter, key):
        decision = asked.check(timeout=1.5)
        assert (decision.allowed, decision.remaining) == (False, 0)
        assert decision.retry_after == pytest.approx(HOUR, abs=5)
    with pytest.raises(ConfigurationError, match="timeout"):
        limiter.check(timeout=-1)


@pytest.mark.parametrize("method", ["try_acquire", "acquire", "reserve", "check"])
def test_more_than_the_burst_is_an_error_of_its_own(make, method):
    limiter = make(rate=5)
    for asked in (limiter, limiter.key("k"), make("teams", rate=50).key("red", under=[limiter.key("k")])):
        with pytest.raises(TooManyPermits, match="from 1 to 5"):
            getattr(asked, method)(6)
        with pytest.raises(ConfigurationError) as raised:
            getattr(asked, method)(0)
        assert type(raised.value) is ConfigurationError
