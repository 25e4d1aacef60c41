"""A leader: elected, told, lost, elected again; and what becomes of its place when it stops, fails or dies."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, Leader, LeaseLost, StoreRejected, Timing, events, local
from ddb_lease._runtime import leadership
from ddb_lease._runtime.acquiring import acquire_held
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease.testing import TestEnvironment
from scripts.harness.inside import core_of
from tests.conftest import TABLE
from tests.pages import Snippets
from tests.support import eventually

SNIPPETS = Snippets("docs/leader.md", "docs/lambda.md")
NOT_ON = ("ministack",)  # the engine does not matter: a leader sends what a bucket sends
ROOT = Path(__file__).parent.parent
LONG = 60.0


@pytest.fixture
def environment(engine, session, table):
    with TestEnvironment(table=TABLE, session=session, endpoint_url=engine.endpoint_url) as environment:
        yield environment


class Story:
    """What the callbacks of one leader were told, in order."""

    def __init__(self):
        self.told = []
        self.leader = None
        self.leases = []

    def elected(self, lease):
        self.leases.append(lease)
        self.told.append("elected")

    def lost(self, lease):
        assert lease is self.leases[-1]
        self.told.append(str(lease.lost))


@pytest.fixture
def story():
    return Story()


@pytest.fixture
def lead(environment, bucket_name, story):
    """Makes this test's leader; `then` is what it does when it is elected, once a call."""

    def make(*then, **settings):
        steps = iter(then)

        def on_elected(lease):
            story.elected(lease)
            next(steps)(lease)

        settings = {"on_elected": on_elected, "on_lost": story.lost} | settings
        story.leader = Leader(bucket_name, **settings, **environment.connect())
        return story.leader

    return make


def nothing(_lease):
    """It returns early."""


def test_a_leader_is_told_that_it_leads_and_that_it_does_not_any_more(lead, story, environment, bucket_name):
    def work(lease):
        assert leader.is_leader
        assert leader.fence == lease.fence
        assert leader.pause(5)
        lease.check()
        leader.stop()
        assert not leader.is_leader
        assert leader.fence is None
        assert not leader.pause(5)
        assert lease.held, "the place is given away when the work has ended"

    leader = lead(work)
    assert not leader.is_leader
    leader.run()
    assert story.told == ["elected", "None"]
    assert environment.bucket(bucket_name).try_acquire() is not None, "the place is free at once"


def test_it_leads_on_when_on_elected_has_returned(lead, story, environment):
    renewals = []

    def count(event):
        if isinstance(event, events.Renewed):
            renewals.append(environment.clock.steady())
            if len(renewals) == 12:
                leader.stop()

    leader = lead(nothing, on_event=count)
    began = environment.clock.steady()
    leader.run()
    assert story.told == ["elected", "None"]
    assert renewals[-1] - began > 3 * leadership.LEADER_SECONDS


@pytest.mark.parametrize("reason", ["taken", "gone", "revoked", "unreachable", "suspended"])
def test_after_a_loss_it_stands_for_election_again(lead, story, environment, reason):
    def be_lost(lease):
        environment.advance(10)
        environment.lose(lease, reason=reason)
        assert story.told == ["elected", reason], "it was told before anybody else can lead"
        assert not leader.is_leader
        lease.check()  # raises: that is no error of the user's

    leader = lead(be_lost, lambda _: leader.stop())
    leader.run()
    assert story.told == ["elected", reason, "elected", "None"]
    first, second = story.leases
    assert second.fence > first.fence


def test_the_lost_callback_is_called_once_even_if_it_stops_the_leader(lead, story, environment):
    def stop_too(lease):
        story.lost(lease)
        leader.stop()

    leader = lead(lambda lease: environment.lose(lease, reason="taken"), on_lost=stop_too)
    leader.run()
    assert story.told == ["elected", "taken"]


def test_a_loss_ends_its_pause(lead, story, environment, table):
    def be_lost(_lease):
        table.delete(0)
        began = environment.clock.steady()
        assert not leader.pause(3000)
        assert environment.clock.steady() - began < 15

    leader = lead(be_lost, lambda _: leader.stop())
    leader.run()
    assert story.told == ["elected", "gone", "elected", "None"]


def test_a_revoked_place_is_free_only_when_the_work_has_ended(lead, story, environment, bucket_name):
    follower = environment.bucket(bucket_name)

    def work(lease):
        environment.lose(lease, reason="revoked")
        assert story.told == ["elected", "revoked"]
        assert follower.try_acquire() is None, "on_elected has not returned"
        leader.stop()

    leader = lead(work)
    leader.run()
    assert follower.try_acquire() is not None


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_an_error_in_on_elected_gives_the_place_up_and_is_raised(lead, story, environment, bucket_name, error):
    def fail(_lease):
        raise error

    leader = lead(fail)
    with pytest.raises(error):
        leader.run()
    assert story.told == ["elected", "None"], "what it had begun is stopped"
    assert not leader.is_leader
    assert environment.bucket(bucket_name).try_acquire() is not None


def test_an_error_in_on_lost_is_logged_and_changes_nothing(lead, environment, caplog):
    def fail(_lease):
        raise ZeroDivisionError

    leader = lead(lambda lease: environment.lose(lease, reason="taken"), lambda _: leader.stop(), on_lost=fail)
    leader.run()
    assert sum("on_lost of leader" in message for message in caplog.messages) == 2


def test_what_other_leases_lose_is_an_error_of_on_elected(lead, environment):
    bucket = environment.bucket()

    def fail(_lease):
        other = bucket.acquire()
        other.release()
        other.check()

    with pytest.raises(LeaseLost):
        lead(fail).run()


class Group(Exception):
    """An ExceptionGroup, which Python 3.10 has not."""

    def __init__(self, *exceptions):
        self.exceptions = exceptions


def test_a_group_of_nothing_but_its_loss_is_that_loss(lead, story, environment):
    def fail_in_parts(lease):
        environment.lose(lease, reason="taken")
        with pytest.raises(LeaseLost) as lost:
            lease.check()
        raise Group(lost.value, Group(lost.value))

    leader = lead(fail_in_parts, lambda _: leader.stop())
    leader.run()
    assert story.told == ["elected", "taken", "elected", "None"]
    for others in ([], [ZeroDivisionError()]):
        assert not leadership.is_own_loss(Group(*others), story.leases[0].id)


def test_a_join_in_on_lost_does_not_wait_for_itself(lead, story):
    def stop_and_join(lease):
        story.lost(lease)
        leader.stop()
        joined.append(leader.join())

    joined = []
    leader = lead(lambda _: leader.stop(), on_lost=stop_and_join)
    leader.run()
    assert joined == [False]
    assert story.told == ["elected", "None"]


def test_an_interrupt_right_after_the_election_gives_the_place_up(lead, environment, bucket_name, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ddb_lease.leader.Tenure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            lead(nothing).run()
    eventually(lambda: environment.bucket(bucket_name).status().free == 1, within=LONG)


def test_a_stop_that_strikes_while_the_tenure_begins_is_heard(lead, environment, monkeypatch):
    """As a signal handler's: on the same thread, between two of its steps."""

    def held(self):
        if sys._getframe(1).f_code.co_name == "begin":
            leader.stop()
        return original.fget(self)

    original = HeldLease.held
    monkeypatch.setattr(HeldLease, "held", property(held))
    told = []

    def work(_lease):
        environment.advance(1)
        eventually(lambda: told, within=LONG)  # on_lost ends what on_elected has begun

    leader = lead(on_elected=work, on_lost=told.append)
    leader.run()
    assert len(told) == 1


def test_a_loop_of_an_earlier_election_ends(lead, story, environment):
    def be_lost(lease):
        assert leader.pause(0, lease=lease)
        environment.lose(lease, reason="taken")

    def lead_again(lease):
        first, second = story.leases
        assert (leader.pause(0, lease=first), leader.pause(0, lease=second), leader.pause(0)) == (False, True, True)
        leader.stop()

    leader = lead(be_lost, lead_again)
    leader.run()
    assert story.told == ["elected", "taken", "elected", "None"]


def test_a_leader_runs_once(lead):
    leader = lead(lambda _: leader.stop())
    leader.run()
    for again in (leader.run, leader.start):
        with pytest.raises(ConfigurationError, match="has run before"):
            again()


def test_one_that_was_stopped_before_it_ran_does_not_run(lead, story):
    leader = lead(nothing)
    leader.stop()
    leader.run()
    assert story.told == []
    with pytest.raises(ConfigurationError, match="has run before"):
        leader.run()


def test_whoever_is_stopped_while_it_waits_is_not_elected(lead, story, environment, bucket_name):
    holder = environment.bucket(bucket_name).acquire()
    leader = lead(nothing)
    stopping = threading.Thread(target=lambda: (eventually(lambda: "follows" in repr(leader)), leader.stop()))
    stopping.start()
    leader.run()
    stopping.join(LONG)
    assert story.told == []
    assert holder.held


def test_an_outage_is_waited_out_and_told_once(lead, story, environment, caplog, monkeypatch):
    with contextlib.ExitStack() as outage:
        outage.enter_context(environment.outage())

        def pause(failures, _chance):
            if failures == 3:
                outage.close()
            return 1.0

        monkeypatch.setattr("ddb_lease.leader.pause_when_away", pause)
        leader = lead(lambda _: leader.stop())
        leader.run()
    assert story.told == ["elected", "None"]
    assert sum("the service does not answer" in message for message in caplog.messages) == 1


def test_it_stands_for_half_a_minute_at_a_time_so_that_an_outage_amid_a_wait_is_told(lead, story, monkeypatch):
    stood = []

    def acquire(core, seconds, **more):
        stood.append(seconds)
        if len(stood) < 3:
            raise AcquireTimeout("another one leads")
        return acquire_held(core, seconds, **more)

    monkeypatch.setattr("ddb_lease.leader.acquire_held", acquire)
    leader = lead(lambda _: leader.stop())
    leader.run()
    assert stood == [30.0, 30.0, 30.0]
    assert story.told == ["elected", "None"]


def test_it_shows_what_it_does(lead, environment, bucket_name, monkeypatch):
    shown = []
    with contextlib.ExitStack() as outage:
        outage.enter_context(environment.outage())

        def pause(failures, _chance):
            shown.append((failures, repr(leader)))
            if failures == 3:
                outage.close()
            return 1.0

        def work(_lease):
            shown.append(repr(leader))
            leader.stop()
            shown.append(repr(leader))

        monkeypatch.setattr("ddb_lease.leader.pause_when_away", pause)
        leader = lead(work)
        shown.append(repr(leader))
        leader.run()
    follows = f"<Leader {bucket_name!r} follows>"
    assert shown == [
        f"<Leader {bucket_name!r} new>",
        *[(1, follows), (2, follows), (3, follows)],
        f"<Leader {bucket_name!r} leads>",
        f"<Leader {bucket_name!r} stopped>",
    ]


def test_in_the_background_a_thread_that_keeps_no_process_alive_leads(lead, bucket_name):
    with lead(nothing) as leader:
        (thread,) = [one for one in threading.enumerate() if one.name == f"ddb-lease-leader-{bucket_name}"]
        assert thread.daemon
        assert not leader.join(0), "it leads on"
    assert leader.join(0)
    assert not thread.is_alive()


def test_a_bucket_of_several_tokens_makes_no_leader(lead, story, environment, bucket_name, caplog):
    several = environment.bucket(bucket_name, max_tokens=4)
    several.acquire().release()
    with pytest.raises(ConfigurationError, match="max_tokens=4"):
        lead(nothing).run()
    assert caplog.messages == [], "the error says it"
    assert story.told == []
    assert several.status().free == 4, "nothing is held"


def test_a_bucket_that_grew_meanwhile_has_no_second_leader(lead, story, environment, bucket_name):
    bucket = environment.bucket(bucket_name)

    def grow(lease):
        bucket.resize(2)
        with pytest.raises(ConfigurationError, match="a leader needs a bucket of one token"):
            Leader(bucket_name, on_elected=nothing, **environment.connect()).run()
        lease.check()
        leader.stop()

    leader = lead(grow)
    leader.run()


def test_a_slot_of_a_bucket_that_grew_unseen_makes_no_leader():
    leadership.require_one_leader("scheduler", tokens=1, slot=0)
    with pytest.raises(ConfigurationError, match="has been resized"):
        leadership.require_one_leader("scheduler", tokens=1, slot=1)


def test_who_was_asked_for_the_place_stands_aside_for_others(lead, story, environment):
    def be_revoked(lease):
        environment.lose(lease, reason="revoked")
        times.append(environment.clock.steady())

    times = []
    leader = lead(be_revoked, lambda _: (times.append(environment.clock.steady()), leader.stop()))
    leader.run()
    assert times[1] - times[0] >= leadership.ASIDE_SECONDS


def test_everybody_can_read_who_leads(lead, environment, bucket_name):
    follower = Leader(bucket_name, **environment.connect())
    assert follower.current() is None, "there is no such bucket"

    def work(lease):
        seen = follower.current()
        assert seen.lease_id == lease.id
        assert seen.data == {"url": "http://10.0.0.7"}
        assert seen.owner == "ann"
        leader.stop()

    leader = lead(work, data={"url": "http://10.0.0.7"}, owner="ann")
    leader.run()
    assert follower.current() is None, "nobody leads"


def test_who_has_expired_does_not_lead(environment, bucket_name):
    environment.bucket(bucket_name).acquire()
    follower = Leader(bucket_name, **environment.connect())
    with environment.outage():
        environment.advance(300)
    assert follower.current() is None


@pytest.mark.parametrize("callback", ["on_elected", "on_lost"])
def test_callbacks_that_would_not_run_are_refused(callback):
    async def late(_lease):
        """Nobody awaits it."""

    with pytest.raises(ConfigurationError, match="coroutine function"):
        Leader("scheduler", **{callback: late})
    with pytest.raises(ConfigurationError, match="is called with the lease"):
        Leader("scheduler", **{callback: lambda: None})


def test_who_runs_without_work_is_refused(environment, bucket_name):
    leader = Leader(bucket_name, on_lost=nothing, **environment.connect())
    with pytest.raises(ConfigurationError, match="does nothing without on_elected: .* by `with leader:`"):
        leader.run()
    with leader:
        assert not leader.pause(0), "it may still lead in the background"


def test_a_pause_needs_a_time(environment, bucket_name):
    with pytest.raises(ConfigurationError):
        Leader(bucket_name, **environment.connect()).pause(None)


# In the background, on real time.


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An engine in a process of its own, which the leaders of other processes reach too."""
    folder = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDB_LEASE_LOCAL_DIR", str(folder))
        where = local.connect(create=True)
        yield where | {"folder": folder}
        local.stop()


SHORT = {"lease_seconds": 6, "timing": Timing(front_end_skew=0.1)}


def arguments(place):
    return {name: value for name, value in place.items() if name != "folder"} | SHORT


def test_in_the_background_it_leads_until_its_block_ends(place):
    told = []
    with Leader(
        "block", on_elected=lambda _: told.append("elected"), on_lost=told.append, **arguments(place)
    ) as leader:
        eventually(lambda: leader.is_leader and told, within=LONG)
    assert not leader.is_leader
    assert len(told) == 2
    assert leader.join()
    assert leader.current() is None


def test_an_error_in_the_background_is_logged_once_and_raised_by_join(place, caplog):
    def fail(_lease):
        raise ZeroDivisionError

    leader = Leader("failing", on_elected=fail, **arguments(place))
    leader.start()
    with pytest.raises(ZeroDivisionError):
        leader.join(LONG)
    assert sum("has ended by an error" in message for message in caplog.messages) == 1
    assert leader.join(), "it is told once"
    assert leader.current() is None
    with pytest.raises(OSError, match="mine"), Leader("failing", on_elected=fail, **arguments(place)):
        raise OSError("mine")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_while_on_lost_stops_the_work_is_raised_when_that_has_ended(place):
    struck = threading.Event()
    told = []

    def strike(*_):
        struck.set()
        raise KeyboardInterrupt

    def stop_the_work(lease):
        os.kill(os.getpid(), signal.SIGINT)
        struck.wait(LONG)
        told.append(threading.Event().wait(0.2) or lease.held)

    leader = Leader("interrupted", on_elected=lambda _: leader.stop(), on_lost=stop_the_work, **arguments(place))
    before = signal.signal(signal.SIGINT, strike)
    try:
        with pytest.raises(KeyboardInterrupt):
            leader.run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == [True]
    assert leader.current() is None


def test_the_exit_ends_the_tenure_before_it_releases(place):
    told = []
    leader = Leader("exit", on_elected=nothing, on_lost=lambda lease: told.append(lease.held), **arguments(place))
    thread = threading.Thread(target=leader.run, daemon=True)
    thread.start()
    eventually(lambda: leader.is_leader, within=LONG)
    core_of(leader).at_exit(core_of(leader).runtime.clock.steady() + LONG)
    thread.join(LONG)
    assert told == [True]
    assert not thread.is_alive()
    assert leader.current() is None


def test_a_table_that_does_not_exist_is_not_waited_for(place):
    with pytest.raises(StoreRejected):
        Leader("scheduler", on_elected=nothing, **arguments(place) | {"table": "no-such-table"}).run()


@pytest.mark.parametrize(("page", "said"), [("leader", {"elected", "fence"}), ("lambda", set())])
@pytest.mark.usefixtures("place")
def test_the_examples_of_the_page_run(page, said, capsys):
    context = types.SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000)
    for snippet in SNIPPETS.of(f"docs/{page}.md"):
        names = snippet.run({"__name__": "example"})
        if page == "lambda":
            assert names["handler"]("a.csv", context)["imported"] == "a.csv"
            with names["bucket"].acquire(timeout=LONG):
                assert names["handler"]("b.csv", context) == {"skipped": "another import runs"}
            names["bucket"].close()
    assert said <= set(re.findall(r"\w+", capsys.readouterr().out))


PROGRAM = """
import sys, threading, time
from ddb_lease import Leader, Timing, exit_on_sigterm, local

def say(word):
    print(word, flush=True)

def busy(lease):
    say("elected")
    if {busy}:
        until = time.monotonic() + 7.5
        while time.monotonic() < until:  # longer than the lease, and without a break
            sum(range(1000))
        lease.check()
        say("held")

leader = Leader(
    "processes", on_elected=busy, on_lost=lambda lease: say("over" if lease.held else "late"), lease_seconds=6,
    timing=Timing(front_end_skew=0.1), **local.connect(),
)
exit_on_sigterm()
{run}
"""


@pytest.fixture
def start(place):
    """Starts a process that is a candidate."""
    started = []

    def start(run="leader.run()", *, busy=False):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(run=run, busy=busy)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DDB_LEASE_LOCAL_DIR": str(place["folder"])},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_killed_leader_is_followed_when_its_lease_has_expired_and_a_stopped_one_at_once(start, place):
    first = start(busy=True)
    assert first.stdout.readline() == "elected\n"
    assert first.stdout.readline() == "held\n", "work that never pauses loses no leadership"
    second = Leader("processes", **arguments(place))
    with second:
        assert not second.is_leader
        first.kill()
        eventually(lambda: second.is_leader, within=LONG)
        third = start()
        assert second.current().owner == core_of(second).owner
    assert third.stdout.readline() == "elected\n"
    third.send_signal(signal.SIGTERM)
    assert third.stdout.readline() == "over\n"
    assert third.wait(LONG) == 143
    assert second.current() is None, "it was given up, not left to expire"


def test_a_forked_child_leads_nothing_and_the_interpreters_exit_stops_a_leader_in_the_background(start, place):
    code = """leader.start()
import os
while not leader.is_leader: time.sleep(0.01)
child = os.fork()
if child == 0:
    say(f"child {leader.is_leader} {leader.fence}")
    leader.stop()
    os._exit(0)
os.waitpid(child, 0)
say(f"parent {leader.is_leader}")"""
    said = start(code).communicate(timeout=LONG)[0].splitlines()
    assert said == ["elected", "child False None", "parent True", "over"]
    assert Leader("processes", **arguments(place)).current() is None


ENDS = {
    "a daemon thread, and the interpreter's exit": """
threading.Thread(target=leader.run, daemon=True).start()
while not leader.is_leader: time.sleep(0.01)""",
    "a child of multiprocessing": """
import multiprocessing
def child():
    leader.start()
    while not leader.is_leader: time.sleep(0.01)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()""",
    "a forked child's exit, with multiprocessing imported": """
import multiprocessing.util, os
if os.fork():
    os.wait()
else:
    leader.start()
    while not leader.is_leader: time.sleep(0.01)""",
}


@pytest.mark.parametrize("end", ENDS)
def test_however_the_process_ends_the_place_is_given_away_last(start, place, end):
    assert start(ENDS[end]).communicate(timeout=LONG)[0].splitlines() == ["elected", "over"]
    assert Leader("processes", **arguments(place)).current() is None
