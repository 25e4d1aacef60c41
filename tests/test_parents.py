"""Keys under parents: a permit of the key and of all of its parents, or none."""

import asyncio
import threading

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, Limit, RateLimiter, StoreUnavailable, aio
from ddb_lease._protocol.messages import Conflict
from ddb_lease._protocol.rates.messages import Charge, ChargeTogether, Settle
from tests.conftest import TABLE
from tests.rates import KeyTable
from tests.support import LOST, NO_ANSWERS, Table

CONTRACT = True  # the simulator's DynamoDB too
HOUR = 3_600.0


@pytest.fixture
def orgs(rates, bucket_name):
    """Ten permits an org, and one more each hour."""
    return rates(name=f"{bucket_name}-orgs", rate=10, per=10 * HOUR, burst=10)


@pytest.fixture
def teams(rates):
    """Six permits a team."""
    return rates(rate=6, per=6 * HOUR, burst=6)


@pytest.fixture
def red(teams, orgs):
    return teams.key("red", under=[orgs.key("acme")])


def available(view):
    return view.status().available


# Keys.


def test_each_key_has_limits_of_its_own_and_its_first_use_costs_one_request(teams):
    assert teams.key("a").try_acquire(6)
    teams.tap.clear()
    assert teams.key("b").try_acquire(6)
    assert teams.tap.count() == {"Charge": 1}
    assert not teams.key("a").try_acquire()
    assert teams.try_acquire(6), "the limiter without a key is one more"


def test_views_of_one_key_are_one_key(teams):
    teams.key("a").acquire(4, timeout=5)
    decision = teams.key("a").check(3)
    assert (decision.allowed, decision.remaining) == (False, 2)
    assert "<key 'a' of" in repr(teams.key("a"))


# Under parents.


def test_all_of_them_or_none(red, teams, orgs):
    orgs.key("acme").acquire(7, timeout=5)
    assert not red.try_acquire(4)
    assert red.try_acquire(3)
    assert (available(red), available(orgs.key("acme"))) == (3, 0)
    assert not red.try_acquire()
    assert teams.key("red").try_acquire(), "the key alone"


def test_it_is_one_transaction_and_a_denial_from_memory_is_none(red, teams, orgs):
    assert red.try_acquire()
    teams.tap.clear()
    orgs.tap.clear()
    assert red.try_acquire(5)
    assert not red.try_acquire()
    assert teams.tap.count() == {"ChargeTogether": 1}
    assert orgs.tap.count() == {}


def test_both_items_show_the_same_attempt(red, table, bucket_name):
    assert red.try_acquire(2)
    own = KeyTable(table).get("red")
    parent = KeyTable(Table(table.client, TABLE, f"{bucket_name}-orgs")).get("acme")
    lanes = [{item[f"a{lane}"] for lane in range(8) if f"a{lane}" in item} for item in (own, parent)]
    assert lanes[0] == lanes[1] != set()


def test_a_limiter_as_a_whole_may_be_a_parent_and_parents_have_parents(teams, orgs, rates, bucket_name):
    everything = rates(name=f"{bucket_name}-all", rate=4, per=4 * HOUR, burst=4)
    acme = orgs.key("acme", under=[everything])
    assert teams.key("red", under=[acme]).try_acquire(3)
    assert [available(view) for view in (teams.key("red"), orgs.key("acme"), everything)] == [3, 7, 1]
    assert not teams.key("blue", under=[acme, everything]).try_acquire(2)
    assert teams.key("blue", under=[acme, everything]).try_acquire(1)


def test_a_waiter_sleeps_until_all_of_them_are_due(rates, bucket_name, environment):
    orgs, teams = rates(name=f"{bucket_name}-orgs", rate=1, burst=5), rates(rate=10, burst=5)
    red = teams.key("red", under=[orgs.key("acme")])
    orgs.key("acme").acquire(5)
    began = environment.clock.steady()
    red.acquire(3, timeout=30)
    assert environment.clock.steady() - began == pytest.approx(3, abs=0.05)
    assert red.wait_time(3) == pytest.approx(3, abs=0.05)
    with pytest.raises(AcquireTimeout, match="no 5 permits of rate"):
        red.acquire(5, timeout=1)


def test_a_decision_shows_the_tightest_of_them(red, orgs):
    orgs.key("acme").acquire(8)
    decision = red.check(1)
    assert decision.allowed
    assert decision.remaining == 1
    decision = red.check(2)
    assert not decision.allowed
    assert decision.retry_after == pytest.approx(HOUR, rel=0.01)


def test_several_limits_under_a_parent_that_has_them_all(rates, bucket_name):
    limits = {"requests": Limit(10, per=10 * HOUR), "tokens": Limit(100, per=10 * HOUR)}
    many = {"rate": None, "burst": None, "limits": limits}
    orgs, teams = rates(name=f"{bucket_name}-orgs", **many), rates(**many)
    red, blue = (teams.key(name, under=[orgs.key("acme")]) for name in ("red", "blue"))
    assert red.try_acquire(requests=1, tokens=90)
    assert not blue.try_acquire(requests=1, tokens=20)
    assert blue.try_acquire(requests=9, tokens=10)
    assert not red.try_acquire(requests=1)


def test_a_reservation_is_held_and_settled_for_each(red, teams, orgs):
    acme = orgs.key("acme")
    with red.reserve(5, timeout=30) as reservation:
        assert (available(red), available(acme)) == (1, 5)
        assert reservation.permits == {"permits": 5}
        assert reservation.settle(1)
    assert (available(red), available(acme)) == (5, 9)
    assert [len(each.tap.of(Settle)) for each in (teams, orgs)] == [1, 1]
    with pytest.raises(AcquireTimeout):
        red.reserve(6, timeout=1)
    with red.reserve(5, timeout=30):
        pass
    assert (available(red), available(acme)) == (0, 4)


def test_wrong_numbers_settle_nothing_of_any_of_them(red):
    reservation = red.reserve(5)
    with pytest.raises(ConfigurationError):
        reservation.settle(-1)
    assert not reservation.settled
    assert reservation.settle(0)
    with pytest.raises(ConfigurationError, match="settled already"):
        reservation.settle(0)


@pytest.mark.parametrize("commits", [True, False])
def test_a_transaction_whose_answer_is_lost_counts_once(red, teams, orgs, commits):
    assert red.try_acquire()
    teams.tap.inject(ChargeTogether, answer=LOST, commits=commits)
    assert red.try_acquire(2)
    assert (available(red), available(orgs.key("acme"))) == (3, 7)


def test_conflicts_are_tried_again(red, teams):
    conflict = Conflict(cause=StoreUnavailable("two transactions at once"))
    for _ in range(3):
        teams.tap.inject(ChargeTogether, answer=conflict, commits=False)
    assert red.try_acquire()
    assert len(teams.tap.of(ChargeTogether)) == 4


def test_without_an_answer_it_raises(red, teams, orgs):
    assert red.try_acquire()
    teams.tap.everything_fails = NO_ANSWERS[0]
    with pytest.raises(StoreUnavailable, match="no permit of rate"):
        red.try_acquire()


def test_threads_under_one_parent_get_no_more_than_it_has(new_limiter, bucket_name):
    orgs = new_limiter(f"{bucket_name}-orgs", rate=10, per=10 * HOUR, burst=10)
    teams = new_limiter(rate=6, per=6 * HOUR, burst=6)
    got = []

    def work(number):
        view = teams.key(f"team-{number % 3}", under=[orgs.key("acme")])
        for _ in range(5):
            try:
                view.acquire(timeout=5)
            except (AcquireTimeout, StoreUnavailable):
                return
            got.append(number % 3)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == 10
    assert max(got.count(team) for team in range(3)) <= 6
    assert available(orgs.key("acme")) == 0


def test_what_cannot_work_is_refused_and_nothing_is_sent(teams, orgs, rates, bucket_name):
    acme = orgs.key("acme")
    for wrong in (acme, "acme", ["acme"], None, 3):
        with pytest.raises(ConfigurationError, match="under must be a list of keys and limiters"):
            teams.key("red", under=wrong)
    with pytest.raises(ConfigurationError, match="cannot be under itself"):
        teams.key("red", under=[teams.key("red")])
    with pytest.raises(ConfigurationError, match="9 parents"):
        teams.key("red", under=[orgs.key(f"org-{number}") for number in range(10)])
    elsewhere = rates(name=f"{bucket_name}-elsewhere", table="another")
    with pytest.raises(ConfigurationError, match="must have the same table and endpoint"):
        teams.key("red", under=[elsewhere])
    named = rates(name=f"{bucket_name}-named", rate=None, burst=None, limits={"tokens": Limit(5)})
    under_named = teams.key("red", under=[named])
    said = f"^rate '{named.name}': say how many permits of which limits: tokens$"
    for call in (under_named.try_acquire, under_named.acquire, under_named.check, under_named.reserve):
        with pytest.raises(ConfigurationError, match=said):
            call()
    with pytest.raises(
        ConfigurationError, match=f"^rate '{teams.name}': there is no limit 'tokens': there are permits; of one limit, "
    ):
        under_named.try_acquire(tokens=1)
    assert teams.tap.sent == named.tap.sent == []
    with pytest.raises(ConfigurationError, match="from 1 to 6"):
        teams.key("red", under=[acme]).try_acquire(7)
    teams.close()
    with pytest.raises(ConfigurationError, match="closed"):
        teams.key("red", under=[acme]).try_acquire()


def test_a_parent_of_the_other_api_is_refused_with_what_it_is(engine, session):
    where = {"session": session, "endpoint_url": engine.endpoint_url}
    sync, other = RateLimiter("orgs", rate=1, **where), aio.RateLimiter("orgs", rate=1, **where)
    for limiter, parent, apis in (
        (other, sync, ("ddb_lease.aio", "ddb_lease")),
        (sync, other, ("ddb_lease", "ddb_lease.aio")),
    ):
        own, theirs = apis
        for one in (parent, parent.key("acme")):
            says = f"of a key of {own} must be of {own} too, and one is a {type(one).__name__} of {theirs}$"
            with pytest.raises(ConfigurationError, match=says):
                limiter.key("red", under=[one])
    with pytest.raises(ConfigurationError, match="under must be a list of .*, and one of them is 3"):
        sync.key("red", under=[sync.key("acme"), 3])


def test_a_parent_that_is_closed_admits_nothing(red, orgs):
    orgs.close()
    with pytest.raises(ConfigurationError, match="closed"):
        red.try_acquire()


def test_no_single_charge_is_sent_under_parents(red, teams, orgs):
    red.acquire(timeout=5)
    assert teams.tap.of(Charge) == orgs.tap.of(Charge) == []


def test_for_asyncio_it_is_the_same(engine, session, bucket_name, table):
    settings = {"per": 10 * HOUR, "table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}

    async def main():
        orgs = aio.RateLimiter(f"{bucket_name}-orgs", rate=10, **settings)
        teams = aio.RateLimiter(bucket_name, rate=6, **settings)
        async with orgs, teams:
            red = teams.key("red", under=[orgs.key("acme")])
            await red.acquire(4, timeout=30)
            assert not await red.try_acquire(3)
            assert (await red.check(1)).remaining == 1
            async with await red.reserve(1, timeout=30) as reservation:
                assert await reservation.settle(0)
            assert red.wait_time(2) > 0
            with pytest.raises(AcquireTimeout):
                await red.acquire(3, timeout=0)
            with pytest.raises(ConfigurationError, match="under must be"):
                teams.key("red", under=[RateLimiter])
            return (await orgs.key("acme").status()).available

    assert asyncio.run(main()) == 5
