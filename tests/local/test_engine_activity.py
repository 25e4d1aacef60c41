"""An engine stops only when it is idle, and admits no request while it decides."""

from ddb_lease.local.activity import Activity
from ddb_lease.local.app import App
from ddb_lease.local.embedded import serve
from ddb_lease.local.server import may_idle_away
from tests.local.tables import make_ordered_table


class FakeClock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_it_closes_after_the_idle_time_and_not_before():
    clock = FakeClock()
    activity = Activity(clock)
    clock.now_s = 29.9
    assert not activity.close_if_idle(30)
    clock.now_s = 30
    assert activity.close_if_idle(30)


def test_a_request_restarts_the_idle_time():
    clock = FakeClock()
    activity = Activity(clock)
    clock.now_s = 29
    assert activity.enter()
    activity.leave()
    clock.now_s = 58
    assert not activity.close_if_idle(30)
    clock.now_s = 59
    assert activity.close_if_idle(30)


def test_a_long_request_keeps_it_open_and_its_end_restarts_the_idle_time():
    clock = FakeClock()
    activity = Activity(clock)
    activity.enter()
    clock.now_s = 1000
    assert not activity.close_if_idle(30)
    activity.leave()
    assert not activity.close_if_idle(30)


def test_a_request_after_the_decision_is_not_admitted():
    activity = Activity(FakeClock())
    assert activity.close_if_idle(0)
    assert not activity.enter()


def test_closing_waits_for_the_requests_in_progress():
    activity = Activity(FakeClock())
    activity.enter()
    assert not activity.close(timeout_s=0)
    activity.leave()
    assert activity.close(timeout_s=0)


def test_an_engine_does_not_idle_away_while_a_lease_runs():
    """The holder of a lease of a day asks once in eight hours."""
    activity, clock = Activity(FakeClock()), FakeClock()
    clock.now_s = 1_800_000_000.0
    with serve(app=App(clock=clock)) as engine:
        client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
        make_ordered_table(client, "t")
        expires_at = {"N": str(int((clock.now_s + 86_400) * 1000))}
        slot = {"pk": {"S": "b"}, "sk": {"S": "slot#00000"}, "lease_id": {"S": "x"}, "expires_at": expires_at}
        client.put_item(TableName="t", Item=slot)
        assert not may_idle_away(engine.app, activity, 0)
        assert activity.enter()
        activity.leave()
        clock.now_s += 86_401
        assert may_idle_away(engine.app, activity, 0)
        assert not activity.enter()
