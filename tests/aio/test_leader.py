"""A leader for asyncio: its work is a task, which ends when it does not lead any more."""

import asyncio
import contextlib
import threading
import time

import pytest

from ddb_lease import ConfigurationError, LeaseLost, Timing
from ddb_lease.aio import Leader
from ddb_lease.testing import TestEnvironment
from scripts.harness.inside import core_of
from tests.conftest import TABLE
from tests.support import eventually

NOT_ON = ("ministack",)  # the engine does not matter: a leader sends what a bucket sends
LONG = 60.0


@pytest.fixture
def environment(engine, session, table):
    with TestEnvironment(table=TABLE, session=session, endpoint_url=engine.endpoint_url) as environment:
        yield environment


class Story:
    """What one leader's work and callbacks did, in order."""

    def __init__(self):
        self.told = []
        self.leases = []

    async def elected(self, lease, then=None):
        self.leases.append(lease)
        self.told.append("elected")
        try:
            if then is not None:
                then(lease)
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            self.told.append("cancelled")
            raise

    async def lost(self, lease):
        assert lease is self.leases[-1]
        await asyncio.sleep(0)
        self.told.append(str(lease.reason))


@pytest.fixture
def story():
    return Story()


@pytest.fixture
def lead(environment, bucket_name, story):
    """Makes this test's leader; `then` is what it does when it is elected, once a call."""

    def make(*then, **settings):
        steps = iter(then)
        settings = {"on_elected": lambda lease: story.elected(lease, next(steps)), "on_lost": story.lost} | settings
        return Leader(bucket_name, **settings, **environment.connect())

    return make


def test_it_leads_until_it_is_stopped_and_its_work_is_cancelled(lead, story, environment, bucket_name):
    def work(lease):
        assert leader.is_leader
        assert leader.fence == lease.fence
        leader.stop()
        assert not leader.is_leader
        assert lease.held, "the place is given away when the work has ended"

    leader = lead(work)
    asyncio.run(leader.run())
    assert story.told == ["elected", "cancelled", "None"]
    assert environment.bucket(bucket_name).try_acquire() is not None, "the place is free at once"


def test_it_leads_on_when_on_elected_has_returned(lead):
    async def main():
        async with lead(on_elected=lambda _: None, on_lost=None) as leader:
            while not leader.is_leader:  # noqa: ASYNC110 - a public flag, and nothing to wait on
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert leader.is_leader
            current = await leader.current()
            assert current.fence == leader.fence
        assert await leader.join()
        assert await leader.current() is None

    asyncio.run(main())


@pytest.mark.parametrize("reason", ["taken", "revoked", "unreachable"])
def test_after_a_loss_its_work_is_cancelled_and_it_stands_for_election_again(lead, story, environment, reason):
    leader = lead(lambda lease: environment.lose(lease, reason=reason), lambda _: leader.stop())
    asyncio.run(leader.run())
    assert story.told[0] == "elected"
    assert set(story.told[1:3]) == {reason, "cancelled"}
    assert story.told[3:] == ["elected", "cancelled", "None"]
    assert story.leases[1].fence > story.leases[0].fence


def test_a_revoked_place_is_free_only_when_the_work_has_ended(lead, environment, bucket_name):
    follower = environment.bucket(bucket_name)
    free = []

    async def work(lease):
        environment.lose(lease, reason="revoked")
        try:
            await asyncio.sleep(LONG)
        finally:
            leader.stop()
            await asyncio.sleep(0.05)
            free.append(await asyncio.to_thread(follower.try_acquire))

    leader = lead(on_elected=work, on_lost=None)
    asyncio.run(leader.run())
    assert free == [None]
    assert follower.try_acquire() is not None


def test_an_error_in_its_work_gives_the_place_up_and_is_raised(lead, story, environment, bucket_name):
    def fail(_lease):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(lead(fail).run())
    assert story.told == ["elected", "None"]
    assert environment.bucket(bucket_name).try_acquire() is not None


def test_the_loss_that_its_work_notices_itself_is_no_error(lead, story, environment):
    def check(lease):
        environment.lose(lease, reason="taken")
        lease.check()

    leader = lead(check, lambda _: leader.stop())
    asyncio.run(leader.run())
    assert story.told == ["elected", "taken", "elected", "cancelled", "None"]


def test_an_error_in_on_lost_is_logged_and_changes_nothing(lead, environment, caplog):
    def fail(_lease):
        raise ZeroDivisionError

    leader = lead(lambda lease: environment.lose(lease, reason="taken"), lambda _: leader.stop(), on_lost=fail)
    asyncio.run(leader.run())
    assert sum("on_lost of leader" in message for message in caplog.messages) == 2


def test_cancelling_it_ends_its_work_and_gives_the_place_up(lead, story, environment, bucket_name):
    async def main():
        running = asyncio.create_task(lead(lambda _: None).run())
        while not story.told:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert story.told == ["elected", "cancelled", "None"]
    assert environment.bucket(bucket_name).try_acquire() is not None


def test_whoever_is_stopped_while_it_waits_is_not_elected(lead, story, environment, bucket_name):
    holder = environment.bucket(bucket_name).acquire()

    async def main():
        leader = lead()
        leader.start()
        await asyncio.sleep(0)
        threading.Thread(target=leader.stop).start()
        assert await leader.join(LONG)

    asyncio.run(main())
    assert story.told == []
    assert holder.held


def test_an_outage_is_waited_out_and_told_once(lead, story, environment, caplog, monkeypatch):
    with contextlib.ExitStack() as outage:
        outage.enter_context(environment.outage())

        def pause(failures, _chance):
            if failures == 3:
                outage.close()
            return 1.0

        monkeypatch.setattr("ddb_lease.aio.leader.pause_when_away", pause)
        leader = lead(lambda _: leader.stop())
        asyncio.run(leader.run())
    assert story.told == ["elected", "cancelled", "None"]
    assert sum("the service does not answer" in message for message in caplog.messages) == 1


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

        monkeypatch.setattr("ddb_lease.aio.leader.pause_when_away", pause)
        leader = lead(work)
        shown.append(repr(leader))
        asyncio.run(leader.run())
    follows = f"<Leader {bucket_name!r} follows>"
    assert shown == [
        f"<Leader {bucket_name!r} new>",
        *[(1, follows), (2, follows), (3, follows)],
        f"<Leader {bucket_name!r} leads>",
        f"<Leader {bucket_name!r} stopped>",
    ]


def test_in_the_background_it_is_a_task_of_its_name(lead, bucket_name):
    async def main():
        leader = lead(lambda _: None)
        assert await leader.join(), "there is nothing to wait for"
        async with leader:
            assert f"ddb-lease-leader-{bucket_name}" in {task.get_name() for task in asyncio.all_tasks()}
            assert not await leader.join(0), "it goes on"
        assert await leader.join(0)

    asyncio.run(main())


def test_a_second_cancellation_does_not_give_the_place_away_while_its_work_ends(lead, environment, bucket_name):
    follower = environment.bucket(bucket_name)
    free = []

    async def main():
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def work(_lease):
            begun.set()
            try:
                await asyncio.sleep(LONG)
            finally:
                cancelled.set()
                await asyncio.sleep(0.1)
                free.append(await asyncio.to_thread(follower.try_acquire))

        running = asyncio.create_task(lead(on_elected=work, on_lost=None).run())
        await begun.wait()
        running.cancel()
        await cancelled.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert free == [None]
    assert follower.try_acquire() is not None


def test_a_cancellation_of_somebody_elses_is_an_error_of_its_work(lead, story, environment, bucket_name):
    async def work(_lease):
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="cancelled by something else"):
        asyncio.run(lead(on_elected=work, on_lost=lambda lease: story.told.append(lease.reason)).run())
    assert story.told, "on_lost was called"
    assert environment.bucket(bucket_name).try_acquire() is not None


def test_a_group_of_nothing_but_its_loss_is_that_loss(lead, story, environment):
    class Group(Exception):
        """An ExceptionGroup, which Python 3.10 has not."""

    def check(lease):
        environment.lose(lease, reason="taken")
        try:
            lease.check()
        except LeaseLost as lost:
            group = Group()
            group.exceptions = (lost,)
            raise group from None

    leader = lead(check, lambda _: leader.stop())
    asyncio.run(leader.run())
    assert story.told == ["elected", "taken", "elected", "cancelled", "None"]


def test_a_join_in_on_lost_does_not_wait_for_itself(lead):
    joined = []

    async def stop_and_join(_lease):
        leader.stop()
        joined.append(await leader.join(LONG))

    async def main():
        leader.start()
        joined.append(await leader.join(LONG))

    leader = lead(lambda _: leader.stop(), on_lost=stop_and_join)
    asyncio.run(main())
    assert joined == [False, True]


class Closable(asyncio.SelectorEventLoop):
    """Seems closed when the test says so; in truth it goes on, so that nothing is left of what runs on it."""

    seems_closed = False

    def is_closed(self):
        return self.seems_closed or super().is_closed()

    def call_soon_threadsafe(self, *arguments, **how):
        if self.seems_closed:
            raise RuntimeError("Event loop is closed")
        return super().call_soon_threadsafe(*arguments, **how)


def test_when_its_loop_is_closed_it_does_not_lead_and_a_stop_gives_the_place_up(lead, environment, bucket_name):
    async def main():
        leader.start()
        while not leader.is_leader:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        loop.seems_closed = True
        try:
            assert not leader.is_leader
            assert leader.fence is None
            assert environment.bucket(bucket_name).status().free == 0
            leader.stop()
            assert environment.bucket(bucket_name).status().free == 1
        finally:
            loop.seems_closed = False
            leader.stop()
            assert await leader.join(LONG)

    leader, loop = lead(on_elected=lambda _: None, on_lost=None), Closable()
    try:
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def test_the_exit_ends_its_work_before_it_releases(lead, environment, bucket_name):
    told = []

    async def work(lease):
        try:
            await asyncio.sleep(LONG)
        finally:
            told.append(lease.held)

    leader = lead(on_elected=work, on_lost=lambda lease: told.append(lease.held))
    thread = threading.Thread(target=lambda: asyncio.run(leader.run()), daemon=True)
    thread.start()
    eventually(lambda: leader.is_leader, within=LONG)
    core_of(leader).at_exit(core_of(leader).runtime.clock.steady() + LONG)
    thread.join(LONG)
    assert told == [True, True]
    assert environment.bucket(bucket_name).try_acquire() is not None


def test_one_that_was_stopped_before_it_ran_does_not_run(lead, story):
    leader = lead()
    leader.stop()
    asyncio.run(leader.run())
    assert story.told == []


def test_a_bucket_of_several_tokens_makes_no_leader(lead, story, environment, bucket_name):
    several = environment.bucket(bucket_name, max_tokens=4)
    several.acquire().release()
    with pytest.raises(ConfigurationError, match="max_tokens=4"):
        asyncio.run(lead().run())
    assert story.told == []
    assert several.status().free == 4


def test_a_leader_runs_once(lead):
    leader = lead(lambda _: leader.stop())
    asyncio.run(leader.run())
    with pytest.raises(ConfigurationError, match="has run before"):
        asyncio.run(leader.run())


def test_an_error_in_the_background_is_logged_once_and_raised_by_join(lead, caplog):
    def fail(_lease):
        raise ZeroDivisionError

    async def main():
        leader = lead(on_elected=fail, on_lost=None)
        leader.start()
        with pytest.raises(ZeroDivisionError):
            await leader.join(LONG)
        with pytest.raises(OSError, match="mine"):
            async with lead(on_elected=fail, on_lost=None):
                raise OSError("mine")

    asyncio.run(main())
    assert sum("has ended by an error" in message for message in caplog.messages) in {1, 2}


def test_a_blocked_loop_loses_no_leadership(engine, session, table, bucket_name):
    """On real time: the heartbeat is not on the loop."""
    held = []

    async def work(lease):
        time.sleep(8.0)  # noqa: ASYNC251 - longer than the lease: that is the point
        lease.check()
        held.append(leader.is_leader)
        leader.stop()

    timing = Timing(front_end_skew=0.1)
    where = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
    leader = Leader(bucket_name, on_elected=work, lease_seconds=6, timing=timing, **where)
    asyncio.run(leader.run())
    assert held == [True]
