"""An engine stops only when it is idle, and admits no request while it decides."""

from ddb_lease.local.activity import Activity


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
