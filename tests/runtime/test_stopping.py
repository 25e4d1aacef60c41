"""For whom a process waits that ends a lease under its holder, and how long."""

import threading

import pytest

from ddb_lease._runtime.stopping import Stopping

GRACE = 3.0


class Holder:
    """What works under a lease, on a clock that the test sets."""

    def __init__(self):
        self.now = 100.0
        self.stopping = Stopping(lambda: self.now, grace=lambda: GRACE)

    def waits(self, **how):
        """How long somebody would wait whom nothing wakes."""
        began, before = self.now, self.now
        for pause in self.stopping.wait(lambda: None, **how):
            self.now += pause.seconds
        waited, self.now = self.now - began, before
        return waited


@pytest.fixture
def holder():
    return Holder()


def test_nobody_waits_for_a_holder_that_was_not_told(holder):
    assert holder.waits() == 0.0


def test_the_grace_begins_once_however_many_end_the_lease(holder):
    holder.stopping.begin()
    holder.now += 2.0
    holder.stopping.begin()
    assert holder.stopping.until == 103.0
    assert holder.waits() == 1.0
    assert holder.waits(most=0.5) == 0.5
    holder.now += 2.0
    assert holder.waits() == 0.0


@pytest.mark.parametrize(("guarded", "waited"), [(True, GRACE), (False, 0.0)], ids=["guarded", "not guarded"])
def test_only_a_guarded_block_is_waited_for_once_the_callback_has_returned(holder, guarded, waited):
    holder.stopping.enter("a block", by=threading.main_thread(), guarded=guarded)
    holder.stopping.begin()
    assert holder.waits() == GRACE
    holder.stopping.called_back()
    assert holder.waits() == waited
    holder.stopping.leave("a block")
    assert holder.waits() == 0.0


@pytest.mark.parametrize("last", ["block", "callback"])
def test_whoever_waits_is_woken_when_the_last_of_them_has_ended(holder, last):
    woken = []
    holder.stopping.enter("a block", by=threading.main_thread(), guarded=True)
    holder.stopping.begin()
    waiting = holder.stopping.wait(lambda: woken.append(last))
    next(waiting)
    ends = [holder.stopping.called_back, lambda: holder.stopping.leave("a block")]
    for end in ends if last == "block" else reversed(ends):
        assert woken == []
        end()
    assert woken == [last]
    assert next(waiting, None) is None


def test_the_callback_itself_waits_for_nothing_of_its_own_lease(holder):
    holder.stopping.begin()
    with holder.stopping.calling():
        assert holder.waits() == 0.0
    assert holder.waits() == GRACE


def test_a_callback_of_another_lease_waits(holder):
    holder.stopping.begin()
    with Holder().stopping.calling():
        assert holder.waits() == GRACE
