"""What a thread pauses on."""

import queue
import threading
import time

import pytest

from ddb_lease._runtime import ports
from ddb_lease._runtime.ports import Wakeup


def test_a_pause_ends_when_it_is_woken_or_was_before():
    wakeup = Wakeup()
    wakeup.wake()
    wakeup.wake()
    began = time.monotonic()
    wakeup.pause(60)
    threading.Timer(0.05, wakeup.wake).start()
    wakeup.pause(60)
    assert time.monotonic() - began < 30
    began = time.monotonic()
    wakeup.pause(0.05)  # no wake is left over
    assert time.monotonic() - began >= 0.05


def test_a_wake_counts_for_a_pause_without_length():
    wakeup = Wakeup()
    wakeup.wake()
    wakeup.pause(0)
    began = time.monotonic()
    wakeup.pause(0.05)
    assert time.monotonic() - began >= 0.05


def test_a_long_pause_lets_a_signal_in_each_second_that_the_wait_has_missed(monkeypatch):
    timeouts = []

    class Silent:
        def get(self, timeout):
            timeouts.append(timeout)
            if len(timeouts) == 3:
                raise KeyboardInterrupt  # as Python does, once the wait has ended
            raise queue.Empty

        def get_nowait(self):
            raise queue.Empty

    wakeup = Wakeup()
    monkeypatch.setattr(wakeup, "_rings", Silent())
    with pytest.raises(KeyboardInterrupt):
        wakeup.pause(3_600)
    assert timeouts == [ports.SLICE_SECONDS] * 3 == [1.0] * 3
