"""A limiter whose service does not answer, in both APIs: what each setting decides, what is logged, what is refused."""

import functools
import logging
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from ddb_lease import (
    AcquireTimeout,
    ConfigurationError,
    Limit,
    RateLimiter,
    StoreRejected,
    StoreUnavailable,
    client_config,
)
from ddb_lease._protocol.rates.messages import Charge, ChargeTogether, Settle
from ddb_lease._runtime.runtime import Runtime
from scripts.harness.inside import core_of
from scripts.harness.simulated_engine import Simulated
from tests.apis import Loop
from tests.pages import blocks
from tests.rate_apis import APIS, limiter_of
from tests.support import (
    LOST,
    REJECTED,
    THROTTLED,
    UNSENT,
    SimulatedClients,
    SteppingWakeup,
    Tap,
    every_lock_held,
)

PAGE = (Path(__file__).parents[1] / "docs" / "rates.md").read_text()
HOUR = 3600.0
BUDGET = 1.0
BUSY_MACHINE = 10.0
"""Seconds on top of a budget; a defect takes for ever."""


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
    """Makes limiters of one rate: twenty permits, and one more each three minutes; a tenth of it for this process."""
    made = []

    def limiter(**settings):
        tap = Tap()
        settings = {"rate": 20, "per": HOUR} | settings
        if "limits" in settings:
            settings = {name: value for name, value in settings.items() if name not in {"rate", "per"}}
        if "client" not in settings:
            settings |= {"session": service.session(), "endpoint_url": service.endpoint_url}
        name, ports = settings.pop("name", "api"), settings.pop("ports", {})
        one = limiter_of(request.param, loop, name, runtime=Runtime(wrap=tap.around, **ports), **settings)
        one.tap = tap
        made.append(one)
        return one

    yield limiter
    for one in made:
        one.close()


def in_an_outage(limiter):
    """After a use, no request is answered; returns the limiter when it knows that."""
    limiter.acquire(timeout=5)
    begin_outage(limiter)
    return limiter


def begin_outage(limiter):
    limiter.tap.everything_fails = UNSENT
    until = time.monotonic() + BUSY_MACHINE
    while not core_of(limiter).state.contact.down:
        limiter.key("another").try_acquire()
        assert time.monotonic() < until


# What each setting decides.


@pytest.mark.parametrize(("mode", "allowed"), [("allow", True), ("deny", False)])
def test_allow_admits_everybody_and_deny_nobody(make, mode, allowed):
    limiter = in_an_outage(make(on_unavailable=mode))
    assert [limiter.key("k").try_acquire(20) for _ in range(3)] == [allowed] * 3
    decision = limiter.key("k").check(3)
    assert (decision.allowed, decision.decided_by, decision.tightest) == (allowed, mode, "permits")
    assert decision.remaining == (20 if allowed else 0)
    if allowed:
        limiter.acquire(timeout=60)
    else:
        for timeout in (60, None):
            with pytest.raises(AcquireTimeout, match=r"no permit of rate 'api' available: .*on_unavailable='deny'"):
                limiter.acquire(timeout=timeout)
        assert decision.retry_after <= 1.0


def test_local_admits_its_share_of_each_key(make):
    limiter = in_an_outage(make(on_unavailable="local"))
    for key in ("a", "b"):
        assert [limiter.key(key).try_acquire() for _ in range(3)] == [True, True, False]
    limiter.key("c").acquire(2, timeout=1)
    with pytest.raises(AcquireTimeout):
        limiter.key("c").acquire(timeout=0.5)
    decision = limiter.key("c").check()
    assert (decision.allowed, decision.decided_by, decision.remaining) == (False, "local", 0)
    assert HOUR / 2 - 60 < decision.retry_after <= HOUR / 2
    assert decision.reset_after == pytest.approx(HOUR, abs=60)
    assert not limiter.key("d").try_acquire(3), "more than its burst"


def test_local_has_its_share_of_several_limits(make):
    limiter = make(
        on_unavailable="local",
        local_share=0.5,
        limits={"requests": Limit(4, per=HOUR), "tokens": Limit(100, per=HOUR)},
    )
    limiter.acquire(requests=1, tokens=1, timeout=5)
    limiter.tap.everything_fails = UNSENT
    while not core_of(limiter).state.contact.down:
        limiter.key("another").try_acquire(requests=1)
    assert limiter.key("k").try_acquire(requests=1, tokens=40)
    decision = limiter.key("k").check(requests=1, tokens=20)
    assert (decision.allowed, decision.tightest, decision.remaining) == (False, "tokens", 10)
    assert limiter.key("k").try_acquire(requests=1, tokens=10)


# Under parents.


def under_a_parent(make, **settings):
    """A limiter, and keys of it under a key of another one; both were used. Only the first says what decides."""
    orgs, teams = make(name="orgs"), make(name="teams", **settings)
    keys = [teams.key(name, under=[orgs.key("acme")]) for name in ("red", "blue")]
    for key in keys:
        key.acquire(timeout=5)
    for each in (orgs, teams):
        each.tap.everything_fails = UNSENT
    return orgs, teams, keys


@pytest.mark.parametrize(("mode", "allowed"), [("allow", True), ("deny", False), ("local", True)])
def test_under_parents_the_keys_own_limiter_decides_within_its_budget(make, mode, allowed):
    orgs, teams, (red, blue) = under_a_parent(make, on_unavailable=mode, local_share=0.5)
    for key in (red, blue):
        decision = key.check()
        assert (decision.allowed, decision.decided_by) == (allowed, mode)
    if allowed:
        reservation = blue.reserve(timeout=5)
        assert reservation.settle(0) is False, "nothing is held in the table"
    else:
        with pytest.raises(AcquireTimeout):
            blue.acquire(timeout=60)
    for each in (orgs, teams):
        each.tap.everything_fails = None
        each.tap.clear()
    until = time.monotonic() + BUSY_MACHINE
    while mode == "local" and red.check().decided_by != "table":
        assert time.monotonic() < until
    assert not orgs.tap.of(Settle) + teams.tap.of(Settle)


def test_under_a_parent_that_was_never_reached_it_is_decided_within_the_budget_too(make):
    orgs, teams = make(name="orgs"), make(name="teams", on_unavailable="deny")
    teams.acquire(timeout=5)
    orgs.tap.everything_fails = UNSENT
    began = time.monotonic()
    with pytest.raises(AcquireTimeout, match="on_unavailable='deny'"):
        teams.key("red", under=[orgs]).acquire(timeout=3 * BUSY_MACHINE)
    assert time.monotonic() - began < BUDGET + BUSY_MACHINE
    assert not [request for request in teams.tap.sent if isinstance(request, ChargeTogether)]


@pytest.mark.parametrize("parent", ["raise", "local"])
def test_local_has_a_share_of_each_parent_too(make, parent):
    orgs = make(name="orgs", on_unavailable=parent)
    teams = make(name="teams", on_unavailable="local")
    red, blue = (teams.key(name, under=[orgs.key("acme")]) for name in ("red", "blue"))
    red.acquire(timeout=5)
    for each in (orgs, teams):
        each.tap.everything_fails = UNSENT
    until = time.monotonic() + BUSY_MACHINE
    while not core_of(teams).state.contact.down:
        teams.key("another").try_acquire()
        assert time.monotonic() < until
    assert [key.try_acquire() for key in (red, blue, red, blue)] == [True, True, False, False], "two of the parent"
    assert teams.key("blue").try_acquire(), "of itself it has one more"
    if parent == "local":
        assert orgs.key("other").try_acquire(2)
        assert not orgs.key("acme").try_acquire(), "used up by its keys"


def test_raise_with_a_budget_raises_within_it_and_then_at_once(make):
    limiter = make(on_unavailable="raise", budget=BUDGET)
    limiter.acquire(timeout=5)
    limiter.tap.everything_fails = LOST
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="the answer is lost"):
        limiter.acquire()
    assert time.monotonic() - began < BUDGET + BUSY_MACHINE
    while not core_of(limiter).state.contact.down:
        with pytest.raises(StoreUnavailable):
            limiter.acquire()
    sent = len(limiter.tap.sent)
    for _ in range(20):
        with pytest.raises(StoreUnavailable, match="the answer is lost"):
            limiter.key("k").try_acquire()
    assert len(limiter.tap.sent) <= sent + 3 * (1 + time.monotonic() - began)


@pytest.mark.parametrize("mode", ["allow", "deny", "local"])
def test_a_service_that_was_never_reached_is_decided_for_too(make, mode):
    limiter = make(on_unavailable=mode)
    limiter.tap.everything_fails = UNSENT
    began = time.monotonic()
    found = [limiter.try_acquire(), limiter.check().allowed, limiter.key("k").try_acquire()]
    assert found == {"allow": [True] * 3, "deny": [False] * 3, "local": [True] * 3}[mode]
    assert time.monotonic() - began < 3 * BUDGET + BUSY_MACHINE
    while not core_of(limiter).state.contact.down:
        limiter.try_acquire()
    limiter.tap.everything_fails = None
    while core_of(limiter).state.contact.down:
        limiter.try_acquire()
        assert time.monotonic() - began < 10 * BUSY_MACHINE
    assert limiter.key("new").check().decided_by == "table"


@pytest.mark.parametrize("mode", ["allow", "deny", "local"])
def test_what_the_service_refuses_for_good_is_raised_always(make, mode):
    limiter = make(on_unavailable=mode)
    limiter.tap.everything_fails = REJECTED
    for _ in range(2):
        with pytest.raises(StoreRejected, match="permission is missing"):
            limiter.try_acquire()
        with pytest.raises(StoreRejected, match="permission is missing"):
            limiter.acquire(timeout=5)


def test_a_request_that_is_throttled_for_its_budget_is_decided_for_and_others_are_not(make):
    limiter = make(on_unavailable="allow")
    limiter.acquire(timeout=5)
    for _ in range(50):
        limiter.tap.inject(Charge, answer=THROTTLED, commits=False)
    assert limiter.key("hot").check().decided_by == "allow"
    limiter.tap.faults.clear()
    assert limiter.key("cold").check().decided_by == "table"


def test_what_this_process_remembers_is_denied_as_ever(make):
    limiter = make(on_unavailable="allow")
    limiter.acquire(20, timeout=5)
    assert not limiter.try_acquire()
    begin_outage(limiter)
    assert not limiter.try_acquire()
    assert limiter.check().decided_by == "table"


def test_a_decorated_function_runs_by_the_setting(make, loop, request):
    limiter = in_an_outage(make(on_unavailable="allow"))
    if request.node.callspec.params["make"] == "asyncio":

        @limiter.limited(timeout=5)
        async def work():
            return "done"

        assert loop.run(work()) == "done"
    else:

        @limiter.limited(timeout=5)
        def work():
            return "done"

        assert work() == "done"


def test_reading_and_steering_raise_as_ever(make):
    limiter = in_an_outage(make(on_unavailable="allow"))
    for ask in (limiter.status, limiter.policy, lambda: limiter.set_policy(Limit(1))):
        with pytest.raises(StoreUnavailable):
            ask()


def test_a_closed_limiter_decides_nothing(make):
    limiter = in_an_outage(make(on_unavailable="allow"))
    limiter.close()
    with pytest.raises(ConfigurationError, match="closed"):
        limiter.try_acquire()


@pytest.mark.parametrize("make", ["threads"], indirect=True)
def test_a_forked_child_of_a_process_in_an_outage_waits_for_no_lock_of_its_parent(make, in_thread):
    limiter = in_an_outage(make(on_unavailable="local", on_event=lambda _: None))
    core = core_of(limiter)
    with every_lock_held(core.state, core.state.rate_time, core.state.time, core.reporter):
        core.after_fork_in_child()
        decision = in_thread(lambda: limiter.key("k").check()).result(20)
    assert (decision.allowed, decision.decided_by) == (True, "local")


# Behind others.


@pytest.mark.parametrize("asks", ["try_acquire", "check"])
def test_behind_one_that_waits_for_its_answer_a_try_is_denied_and_a_check_raises(make, in_thread, asks):
    environment = SimulatedClients(make)  # here it only moves the clock
    ports = {"clock": environment.clock, "wakeup": lambda: SteppingWakeup(environment), "skips_time": True}
    limiter = make(ports=ports)
    key = limiter.key("k")
    assert key.try_acquire()
    asked, answer = threading.Event(), threading.Event()
    limiter.tap.inject(Charge, before=lambda _: asked.set() or answer.wait(60))
    in_front = in_thread(key.acquire)
    try:
        assert asked.wait(60)
        if asks == "try_acquire":
            assert key.try_acquire() is False, "at once they cannot be had"
        else:
            with pytest.raises(StoreUnavailable, match="the service did not answer in time those of this process"):
                key.check()
    finally:
        answer.set()
    in_front.result(60)


# And back; and what is logged.


@pytest.mark.parametrize("mode", ["allow", "deny", "local"])
def test_the_table_decides_again_and_the_log_says_each_once(make, mode, caplog):
    with caplog.at_level(logging.INFO, logger="ddb_lease"):
        limiter = in_an_outage(make(on_unavailable=mode))
        for _ in range(5):
            limiter.key("k").try_acquire()
        limiter.tap.everything_fails = None
        until = time.monotonic() + BUSY_MACHINE
        while limiter.key("new").check().decided_by != "table":
            assert time.monotonic() < until
            time.sleep(0.05)
        assert limiter.key("newer").check().decided_by == "table"
    said = [record.getMessage() for record in caplog.records if "DynamoDB" in record.getMessage()]
    began, ended = said
    assert "rate 'api': no answer from DynamoDB for " in began
    assert f"; meanwhile on_unavailable={mode!r} decides" in began
    assert began.endswith("with 0.1 of the rate") is (mode == "local")
    assert "DynamoDB answers again" in ended


def test_without_an_outage_there_is_nothing_to_see(make, caplog):
    limiter = make(on_unavailable="local")
    with caplog.at_level(logging.INFO, logger="ddb_lease"):
        limiter.acquire(timeout=5)
        assert [limiter.key("k").try_acquire() for _ in range(21)] == [True] * 20 + [False]
        assert limiter.key("k").check().decided_by == "table"
    assert not caplog.records
    assert limiter.tap.count()["Charge"] <= 25


def test_the_pages_example_runs(service, capsys):
    (example,) = (block.text for block in blocks("docs/rates.md", "python") if "decided_by" in block.text)
    where = {"session": service.session(), "endpoint_url": service.endpoint_url}
    made = {"RateLimiter": functools.partial(RateLimiter, **where)}
    exec(example, made)
    made["logins"].close()
    assert capsys.readouterr().out == "True table\n"


# Settings.


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"on_unavailable": "ignore"}, "on_unavailable must be one of 'raise', 'allow', 'deny', 'local'"),
        ({"on_unavailable": None}, "on_unavailable"),
        ({"on_unavailable": "deny", "budget": 0.5}, "budget must be from 1 to 30 seconds"),
        ({"budget": 31}, "budget"),
        ({"budget": "1"}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"on_unavailable": "local", "local_share": 0}, "local_share must be a number from 0.000001 to 1"),
        ({"local_share": 1.1}, "local_share"),
        ({"local_share": True}, "local_share"),
        ({"local_share": float("nan")}, "local_share"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(make, settings, what):
    with pytest.raises(ConfigurationError, match=what):
        make(**settings)


@pytest.mark.parametrize("budget", [1, 2.5, timedelta(seconds=3)])
def test_a_request_takes_half_of_the_budget_at_most(make, budget, service, monkeypatch):
    configs, session = [], service.session()
    client = session.client
    session.client = lambda name, *, config, **how: configs.append(config) or client(name, config=config, **how)
    monkeypatch.setattr(service, "session", lambda: session)
    limiter = make(on_unavailable="deny", budget=budget)
    assert limiter.try_acquire()
    seconds = core_of(limiter).state.contact.budget
    (config,) = configs
    assert config.connect_timeout + config.read_timeout == pytest.approx(seconds / 2)


def test_a_client_that_waits_for_longer_than_the_budget_is_refused(make, service):
    slow = service.session().client("dynamodb", config=client_config(60))
    with pytest.raises(ConfigurationError, match=r"client_config\(2.5\)"):
        make(on_unavailable="deny", client=slow)
    quick = service.session().client("dynamodb", config=client_config(2.5))
    assert make(on_unavailable="deny", client=quick).try_acquire()
