"""Steering a rate as its users see it: the policy, overrides, blocks, resets, status, and who used it lately."""

import logging
from datetime import timedelta

import pytest

from ddb_lease import ConfigurationError, Limit, RateLimiter, StoreUnavailable
from ddb_lease._protocol.messages import Unknown
from ddb_lease._protocol.rates.messages import Block, ChangePolicy, CreatePolicy, ListKeys, Override, Reset
from scripts.harness.inside import core_of
from tests.conftest import TABLE
from tests.rates import KeyTable
from tests.support import LOST, SteppingWakeup

CONTRACT = True  # the simulator's DynamoDB too
SETTINGS = {"requests": Limit(2, per=60.0, burst=2), "tokens": Limit(100, per=60.0, burst=100)}


def admitted(view, n=10):
    return sum(view.try_acquire() for _ in range(n))


@pytest.fixture
def llm(rates):
    """Two limits, whose policy is stored."""
    limiter = rates(rate=None, burst=None, limits=SETTINGS)
    limiter.set_policy(requests=SETTINGS["requests"])
    limiter.tap.clear()
    return limiter


# Overrides


def test_an_override_holds_for_its_key_and_no_other(limiter):
    assert limiter.key("big").override(Limit(100, burst=8)) == {"permits": Limit(100.0, per=1.0, burst=8)}
    assert [admitted(limiter.key(key)) for key in ("big", "small")] == [8, 5]


def test_an_override_holds_in_other_processes_too(limiter, rates):
    other = rates()
    assert other.key("k").try_acquire()
    limiter.key("k").override(Limit(100, burst=2))
    assert admitted(other.key("k")) < 4


def test_none_removes_an_override(limiter):
    key = limiter.key("k")
    key.override(Limit(100, burst=8))
    assert key.override(None) == {"permits": Limit(100.0, per=1.0, burst=5)}
    assert admitted(key) == 5


def test_an_override_is_changed_limit_by_limit(llm):
    team = llm.key("team")
    team.override(tokens=Limit(500, per=60))
    held = team.override(requests=Limit(7, per=60))
    assert held == {"requests": Limit(7.0, per=60.0, burst=7), "tokens": Limit(500.0, per=60.0, burst=500)}
    assert team.override(tokens=None) == held | {"tokens": Limit(100.0, per=60.0, burst=100)}
    assert team.status().override == {"requests": Limit(7.0, per=60.0, burst=7)}
    assert team.status().settings == team.override(requests=Limit(7, per=60))


def test_an_override_that_is_so_already_writes_nothing(llm):
    team = llm.key("team")
    team.override(tokens=Limit(500, per=60))
    llm.tap.clear()
    team.override(tokens=Limit(500, per=60))
    assert llm.tap.count() == {"ReadKey": 1}
    llm.key("nobody").override(None)
    assert llm.tap.count() == {"ReadKey": 2}


def test_an_override_costs_a_read_and_a_write(llm):
    llm.key("team").override(tokens=Limit(500, per=60))
    assert llm.tap.count() == {"ReadKey": 1, "Override": 1}


@pytest.mark.parametrize(
    ("whole", "limits", "says"),
    [
        ((), {}, "give a Limit, None, or limits by name"),
        ((None,), {"tokens": Limit(1)}, "give a Limit, None, or limits by name"),
        ((Limit(1), Limit(2)), {}, "give a Limit, None, or limits by name"),
        ((), {"token": Limit(1)}, "has no limit 'token': it has requests, tokens"),
        ((Limit(1),), {}, "has no limit 'permits': it has requests, tokens"),
        ((), {"tokens": 5}, "a limit must be a Limit"),
        ((), {"tokens": Limit(10**7)}, "permits may be up to 1,000,000 a second"),
    ],
)
def test_an_override_that_cannot_work_is_refused(llm, whole, limits, says):
    with pytest.raises(ConfigurationError, match=says):
        llm.key("team").override(*whole, **limits)
    assert not llm.tap.of(Override)


def test_an_override_may_be_the_first_use_of_a_limiter(rates, table):
    rates().key("k").override(Limit(100, burst=2))
    other = rates()
    assert [admitted(other.key(key)) for key in ("k", "l")] == [2, 5]


def test_what_was_charged_before_blocks_a_key_no_longer_than_its_new_burst_takes(rates, environment):
    limiter = rates(rate=1, per=3600, burst=5)
    assert admitted(limiter.key("k")) == 5
    limiter.key("k").override(Limit(100, burst=5))
    environment.clock.pass_time(0.051)
    assert admitted(limiter.key("k")) == 5


# Blocks


def test_nothing_of_a_blocked_key_can_be_had_until_its_time(limiter, environment):
    key = limiter.key("k")
    key.block(600)
    assert [admitted(key), admitted(limiter.key("other"))] == [0, 5]
    decision = key.check()
    assert (decision.allowed, decision.remaining) == (False, 0)
    assert decision.retry_after == pytest.approx(600, abs=0.1)
    environment.clock.pass_time(599)
    assert not key.try_acquire()
    environment.clock.pass_time(2)
    assert admitted(key) == 5


def test_a_block_holds_in_other_processes_and_replaces_another(limiter, rates, environment):
    limiter.key("k").block(timedelta(hours=1))
    limiter.key("k").block(10)
    other = rates()
    assert admitted(other.key("k")) == 0
    environment.clock.pass_time(11)
    assert admitted(other.key("k")) == 5


def test_unblocking_ends_a_block_and_is_nothing_without_one(limiter):
    key = limiter.key("k")
    key.unblock()
    assert not limiter.tap.of(Block)
    key.block(600)
    key.unblock()
    limiter.tap.clear()
    key.unblock()
    assert limiter.tap.count() == {"ReadKey": 1}
    assert admitted(key) == 5


def test_a_block_keeps_an_override(limiter):
    key = limiter.key("k")
    key.override(Limit(100, burst=8))
    key.block(600)
    key.unblock()
    assert admitted(key) == 8


@pytest.mark.parametrize("seconds", [0, -1, True, "1m", None, float("nan"), float("inf"), 366 * 86_400])
def test_a_block_that_is_no_time_is_refused(limiter, seconds):
    with pytest.raises(ConfigurationError, match="a block takes a number of seconds, up to a year"):
        limiter.key("k").block(seconds)
    assert not limiter.tap.sent


# Resets


def test_a_reset_gives_the_whole_burst_back_and_ends_a_block(rates):
    limiter = rates(rate=5, per=3600)
    key = limiter.key("k")
    assert admitted(key) == 5
    key.block(600)
    key.reset()
    assert admitted(key) == 5


def test_a_reset_keeps_the_override_and_without_an_item_writes_nothing(limiter):
    key = limiter.key("k")
    key.reset()
    assert not limiter.tap.of(Reset)
    key.override(Limit(1, per=60, burst=8))
    assert admitted(key) == 8
    key.reset()
    assert admitted(key) == 8


def test_a_limiter_without_keys_is_steered_itself(rates):
    limiter = rates(rate=5, per=3600)
    assert admitted(limiter) == 5
    limiter.reset()
    assert admitted(limiter) == 5
    limiter.override(Limit(100, burst=7))
    limiter.reset()
    assert (admitted(limiter), admitted(limiter.key("k"))) == (7, 5)
    limiter.block(60)
    assert limiter.status().blocked_seconds == pytest.approx(60, abs=0.1)
    limiter.unblock()
    assert limiter.status().blocked_seconds == 0


# Where answers are lost, and where others are faster


@pytest.mark.parametrize(
    ("kind", "steer"),
    [
        (Override, lambda key: key.override(Limit(100, burst=8))),
        (Block, lambda key: key.block(600)),
        (Reset, lambda key: key.reset()),
    ],
)
@pytest.mark.parametrize("commits", [True, False])
def test_a_lost_answer_is_asked_for_again(limiter, kind, steer, commits):
    key = limiter.key("k")
    assert key.try_acquire()
    limiter.tap.inject(kind, commits=commits, answer=LOST)
    steer(key)
    status = key.status()
    shows = {
        Override: status.override == {"permits": Limit(100.0, per=1.0, burst=8)},
        Block: status.blocked_seconds > 590,
        Reset: status.available == 5,
    }
    assert shows[kind]


def test_an_override_that_another_one_overtook_is_computed_anew(llm, rates):
    other = rates(rate=None, burst=None, limits=SETTINGS)
    llm.tap.inject(Override, before=lambda _: other.key("team").override(requests=Limit(9, per=60)), commits=True)
    found = llm.key("team").override(tokens=Limit(500, per=60))
    assert (found["requests"].burst, found["tokens"].burst) == (9, 500)


def test_an_outage_is_told(limiter):
    limiter.tap.everything_fails = LOST
    for steer in (
        lambda: limiter.key("k").override(Limit(1)),
        lambda: limiter.key("k").block(5),
        lambda: limiter.key("k").unblock(),
        lambda: limiter.key("k").reset(),
        lambda: limiter.key("k").status(),
        lambda: list(limiter.keys()),
        limiter.policy,
        lambda: limiter.set_policy(Limit(1)),
    ):
        with pytest.raises(StoreUnavailable):
            steer()


def test_a_closed_limiter_is_not_steered(limiter):
    limiter.close()
    for steer in (lambda: limiter.key("k").block(5), limiter.policy, lambda: next(limiter.keys())):
        with pytest.raises(ConfigurationError, match="is closed"):
            steer()


# The policy


def test_the_policy_is_changed_for_all_processes(limiter, rates):
    other = rates()
    assert other.try_acquire()
    assert limiter.set_policy(Limit(50, burst=2)) == {"permits": Limit(50.0, per=1.0, burst=2)}
    assert limiter.policy() == other.policy() == {"permits": Limit(50.0, per=1.0, burst=2)}
    assert limiter.status().stored is None


def test_a_policy_may_be_set_before_the_first_use_by_one_write(rates):
    limiter = rates()
    limiter.set_policy(Limit(50, burst=2))
    assert (len(limiter.tap.of(CreatePolicy)), len(limiter.tap.of(ChangePolicy))) == (1, 0)
    assert rates().policy() == {"permits": Limit(50.0, per=1.0, burst=2)}


def test_a_lost_answer_of_a_policy_change_is_asked_for_again(limiter):
    limiter.tap.inject(ChangePolicy, commits=True, answer=LOST)
    assert limiter.set_policy(Limit(50, burst=2))["permits"].burst == 2
    assert limiter.policy()["permits"].burst == 2


def test_an_unnamed_limit_is_no_change_of_named_ones(llm):
    with pytest.raises(ConfigurationError, match="name the limits to change: there are requests, tokens"):
        llm.set_policy(Limit(5))
    with pytest.raises(ConfigurationError, match="1 to 10 limits, not 0"):
        llm.set_policy(requests=None, tokens=None)
    assert llm.policy() == SETTINGS


def test_who_changes_the_policy_is_not_warned_of_it(limiter, rates, caplog):
    with caplog.at_level(logging.WARNING, "ddb_lease"):
        limiter.set_policy(Limit(50, burst=2))
        assert limiter.try_acquire()
        limiter.policy()
        changing = rates(rate=7)
        changing.set_policy(Limit(7, burst=5))
        assert changing.try_acquire()
    assert caplog.messages == []


@pytest.fixture
def place(engine, session):
    """How a command reaches the tests' table; a session of the package's own engine says --local."""
    own = getattr(session, "ddb_lease_endpoint", None) is not None
    return f"--table {TABLE} " + ("--local" if own else f"--endpoint-url {engine.endpoint_url}")


def test_a_process_with_other_limits_is_warned_once_with_both_and_the_command(rates, place, bucket_name, caplog):
    rates().set_policy(Limit(100, burst=5))
    other = rates(rate=2.5, per=60, burst=3)
    with caplog.at_level(logging.WARNING, "ddb_lease"):
        assert other.try_acquire()
        other.policy()
        other.status()
    (said,) = caplog.messages
    assert said == (
        f"rate {bucket_name!r}: the stored policy rules, and it differs from the limits given here: 100 in 1 s, burst "
        f"5, and not 2.5 in 60 s, burst 3. To change it: limiter.set_policy(...), or `ddb-lease rate set {bucket_name} "
        f"--rate 2.5/60s --burst 3 {place}`"
    )


def test_the_command_names_every_limit_that_differs(rates, place, bucket_name, caplog):
    limits = SETTINGS | {"words": Limit(5)}
    rates(rate=None, burst=None, limits=limits).set_policy(tokens=SETTINGS["tokens"])
    other = rates(rate=None, burst=None, limits=limits | {"requests": Limit(3, per=60), "words": Limit(5, burst=9)})
    with caplog.at_level(logging.WARNING, "ddb_lease"):
        other.policy()
    (said,) = caplog.messages
    assert "requests: 2 in 60 s, burst 2, and not 3 in 60 s, burst 3; words: 5 in 1 s, burst 5, and not 5 in 1 " in said
    command = f"rate set {bucket_name} --limit requests=3/60s,burst=3 --limit words=5/1s,burst=9"
    assert said.endswith(f", or `ddb-lease {command} {place}`")


def test_where_the_limits_have_other_names_the_advice_is_to_look(rates, place, bucket_name, caplog):
    rates(rate=None, burst=None, limits=SETTINGS).set_policy(tokens=SETTINGS["tokens"])
    limits = {"requests": Limit(3, per=60), "words": Limit(5, burst=9)}
    other = rates(rate=None, burst=None, limits=limits)
    with caplog.at_level(logging.WARNING, "ddb_lease"):
        other.policy()
    (said,) = caplog.messages
    assert "requests: 2 in 60 s, burst 2, and not 3 in 60 s, burst 3; " in said
    assert "tokens: 100 in 60 s, burst 100, and not no limit; words: no limit, and not 5 in 1 s, burst 9. " in said
    command = f"ddb-lease rate status {bucket_name} {place}"
    assert said.endswith(
        f". The limits have other names: look with `{command}`, and give this process the limits that are stored"
    )
    assert "rate set" not in said


# Status, and who used it


def test_status_of_a_rate_that_was_never_used_writes_nothing(rates):
    limiter = rates()
    status = limiter.key("k").status()
    assert (status.key, status.available, status.settings) == ("k", 5, {"permits": Limit(100.0, per=1.0, burst=5)})
    assert (status.override, status.blocked_seconds, status.stored) == ({}, 0.0, None)
    assert list(limiter.keys()) == []
    assert limiter.policy() == {"permits": Limit(100.0, per=1.0, burst=5)}
    assert not {"CreatePolicy", "ChangePolicy", "Charge"} & set(limiter.tap.count())
    assert rates(rate=7).policy() == {"permits": Limit(7.0, per=1.0, burst=5)}


def test_keys_are_those_that_were_used_each_once(limiter):
    names = [f"customer-{n}" for n in range(40)] + ["Ä#/", "rate#", "x" * 512]
    for name in names:
        assert limiter.key(name).try_acquire()
    assert limiter.try_acquire()  # of no key
    limiter.key("blocked").block(60)
    limiter.tap.clear()
    found = {key.key: key for key in list(limiter.keys())}
    assert sorted(found) == sorted([*names, "blocked"])
    assert limiter.tap.count() == {"ListKeys": 64}
    assert found["blocked"].blocked_seconds == pytest.approx(60, abs=0.1)
    assert (found["customer-0"].available, found["customer-0"].limits["permits"].remaining) == (4, 4)


def test_keys_come_page_by_page_and_as_they_are_asked_for(limiter, monkeypatch):
    monkeypatch.setattr("ddb_lease._operations.rates.steer.PAGE", 2)
    names = [f"k{n}" for n in range(200)]
    for name in names:
        limiter.key(name).try_acquire()
    limiter.tap.clear()
    listing = limiter.keys()
    assert not limiter.tap.sent
    first = next(listing)
    assert len(limiter.tap.of(ListKeys)) < 10
    assert sorted([first.key, *(key.key for key in listing)]) == sorted(names)
    assert len(limiter.tap.of(ListKeys)) > 100


def test_listing_keys_remembers_none_of_them(limiter, rates):
    assert limiter.key("k").try_acquire()
    other = rates()
    assert [key.key for key in list(other.keys())] == ["k"]
    assert core_of(other).state.known_book("k") is None


def test_an_item_of_another_shape_hides_no_key(limiter, table):
    for name in ("a", "b"):
        assert limiter.key(name).try_acquire()
    KeyTable(table).set("a", schema=2, rev="no number")
    assert [key.key for key in list(limiter.keys())] == ["b"]


def test_status_of_a_key_shows_what_holds_for_it(limiter):
    key = limiter.key("k")
    assert admitted(key) == 5
    key.override(Limit(100, burst=8))
    status = key.status()
    assert (status.key, status.burst, status.stored) == ("k", 5, None)
    assert status.settings == status.override == {"permits": Limit(100.0, per=1.0, burst=8)}
    assert status.available == 3


def test_limiters_in_one_table_list_their_own_keys(limiter, engine, session, bucket_name):
    assert limiter.key("mine").try_acquire()
    where = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
    with RateLimiter(f"{bucket_name}#0", rate=1, **where) as other:
        assert list(other.keys()) == []


def test_an_answer_that_never_comes_leaves_the_listing_where_it_was(limiter, environment):
    names = [f"k{n}" for n in range(20)]
    for name in names:
        limiter.key(name).try_acquire()
    listing = core_of(limiter).steering.listing()
    run = core_of(limiter).driver.run
    found = [key.key for _ in range(10) for key in run(listing.page(), SteppingWakeup(environment))]
    limiter.tap.everything_fails = Unknown(cause=TimeoutError())
    with pytest.raises(StoreUnavailable):
        run(listing.page(), SteppingWakeup(environment))
    limiter.tap.everything_fails = None
    while listing.more:
        found += [key.key for key in run(listing.page(), SteppingWakeup(environment))]
    assert sorted(found) == sorted(names)


# More than the policy's burst


def test_more_than_the_policys_burst_can_be_had_where_a_key_has_an_override(limiter, rates):
    limiter.key("big").override(Limit(100, burst=8))
    other = rates()
    assert other.key("big").try_acquire(8), "a process that has not seen the override"
    assert not other.key("big").try_acquire(8)
    with pytest.raises(ConfigurationError, match=r"n must be a whole number from 1 to 8 \(the burst\)"):
        other.key("big").try_acquire(9)


def test_an_override_that_was_raised_since_is_read_before_more_is_refused(limiter, rates, environment):
    limiter.key("big").override(Limit(100, burst=8))
    other = rates()
    assert other.key("big").try_acquire(8)
    limiter.key("big").override(Limit(100, burst=20))
    environment.clock.pass_time(40)
    assert other.key("big").try_acquire(20)


def test_more_than_a_burst_of_a_key_is_refused_after_a_read_and_then_from_memory(limiter):
    key = limiter.key("k")
    for _ in range(3):
        with pytest.raises(ConfigurationError, match=r"from 1 to 5 \(the burst of the stored policy's limit 'permits'"):
            key.try_acquire(6)
    assert limiter.tap.count() == {"ReadKey": 1}
    assert key.try_acquire(5)


@pytest.mark.parametrize("under", [False, True], ids=["alone", "under a parent"])
def test_a_larger_override_is_found_before_a_call_is_refused(rates, bucket_name, environment, under):
    steering, other = rates(), rates()
    above = [rates(name=f"{bucket_name}-above", burst=20)] if under else []
    key = other.key("big", under=above)
    for burst in (8, 10):
        with pytest.raises(ConfigurationError, match="from 1 to"):
            key.try_acquire(burst)
        steering.key("big").override(Limit(100, burst=burst))
        environment.clock.pass_time(1.5)
        other.tap.clear()
        assert key.try_acquire(burst)
        assert other.tap.count().keys() <= {"ReadKey", "ReadPolicy", "Charge", "ChargeTogether"}
        assert other.tap.count()["ReadKey"] <= 1


def test_a_larger_policy_is_found_before_a_call_is_refused(rates, environment):
    steering, other = rates(), rates()
    assert other.try_acquire()
    with pytest.raises(ConfigurationError, match=r"from 1 to 5 \(the burst\)"):
        other.try_acquire(8)
    steering.set_policy(Limit(100, burst=8))
    environment.clock.pass_time(1.5)
    with pytest.raises(ConfigurationError, match=r"from 1 to 5 \(the burst\)"):
        other.wait_time(8)  # it asks nobody
    assert other.try_acquire(8)
    with pytest.raises(ConfigurationError, match="from 1 to 8"):
        other.try_acquire(9)


@pytest.mark.parametrize("under", [False, True], ids=["alone", "under a parent"])
@pytest.mark.parametrize(
    ("lately", "reads"),
    [
        (lambda _: None, {"ReadPolicy": 1, "ReadKey": 1}),
        (lambda limiter: limiter.policy(), {"ReadKey": 1}),
        (lambda limiter: limiter.key("k").try_acquire(), {"ReadPolicy": 1}),
    ],
    ids=["nothing", "the policy", "the key"],
)
def test_what_was_read_lately_is_not_read_again_before_a_call_is_refused(
    rates, bucket_name, environment, under, lately, reads
):
    limiter = rates()
    key = limiter.key("k", under=[rates(name=f"{bucket_name}-above", burst=20)] if under else ())
    assert key.try_acquire()
    environment.clock.pass_time(1.5)
    lately(limiter)
    limiter.tap.clear()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="from 1 to 5"):
            key.try_acquire(6)
    assert limiter.tap.count() == reads


@pytest.mark.parametrize("under", [False, True], ids=["alone", "under a parent"])
def test_what_is_too_many_is_named_by_its_limit(rates, bucket_name, under):
    settings = {"rate": None, "burst": None, "limits": SETTINGS}
    above = [rates(name=f"{bucket_name}-above", **settings).key("a")] if under else []
    key = rates(**settings).key("k", under=above)
    said = r"tokens must be a whole number from 1 to 100 \(the burst of the stored policy's limit 'tokens'"
    with pytest.raises(ConfigurationError, match=said):
        key.try_acquire(tokens=101)


def test_a_mistyped_argument_is_named(rates):
    for limiter in (rates(), rates(name="several", rate=None, burst=None, limits=SETTINGS)):
        names = ", ".join(sorted(limiter.policy()))
        for use in (limiter, limiter.key("k")):
            with pytest.raises(
                ConfigurationError, match=rf"^there is no limit 'timout': there are {names}; did you mean 'timeout'\?$"
            ):
                use.acquire(5, timout=3)
    with pytest.raises(ConfigurationError, match="n is for a limiter with one limit: name the limits"):
        limiter.acquire(5, tokens=3)


def test_a_waiter_for_more_than_the_policys_burst_is_served(limiter, rates, environment):
    limiter.key("big").override(Limit(100, burst=8))
    other = rates()
    for _ in range(3):
        other.key("big").acquire(8, timeout=10)
        environment.clock.pass_time(2)  # what is remembered of the key is old by now
    limiter.key("big").override(Limit(100, burst=4))
    environment.clock.pass_time(40)
    with pytest.raises(ConfigurationError, match="from 1 to 4"):
        other.key("big").acquire(8, timeout=10)


def test_a_smaller_override_refuses_what_the_policy_would_allow(limiter):
    limiter.key("small").override(Limit(100, burst=2))
    with pytest.raises(ConfigurationError, match=r"from 1 to 2 \(the burst\)"):
        limiter.key("small").try_acquire(3)
    assert limiter.key("small").try_acquire(2)


# Items of a version before this one


def test_an_item_of_an_older_version_is_told_once_with_what_to_do(rates, table, bucket_name, caplog):
    table.set("rate", tat=4_102_444_800_000_000_000, interval=1, tolerance=5, rate=100, per=1, burst=5, ttl=1)
    with caplog.at_level(logging.WARNING, "ddb_lease"):
        limiter = rates()
        assert limiter.try_acquire()
        limiter.policy()
        limiter.status()
    (said,) = caplog.messages
    assert said.startswith(f"rate {bucket_name!r}: the table also has an item in which a version before this one keeps")
    assert "(sort key 'rate')" in said
    assert "up to twice the rate. Stop them;" in said
    assert table.get("rate")["tat"] == 4_102_444_800_000_000_000, "never written to"
