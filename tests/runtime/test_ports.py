"""A pause ends by a wake, by its time, and by a signal, whichever thread the system hands that to."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from ddb_lease._runtime.ports import Wakeup

LONG = 30.0

# That thread gets the signal: as if it had come between the last instruction of the thread that waits and its wait.
INTERRUPTED = """
import os, signal, sys, threading
from ddb_lease._runtime.ports import Wakeup

waits = threading.Event()

def interrupt():
    waits.wait()
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()

threading.Thread(target=interrupt, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
signal.signal(signal.SIGINT, signal.default_int_handler)
waits.set()
try:
    Wakeup().METHOD(3600)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("method", ["pause", "sleep"])
def test_an_interrupt_that_does_not_end_the_wait_is_handled_soon_all_the_same(method):
    program = INTERRUPTED.replace("METHOD", method)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LONG, check=True)
    assert ran.stdout == "interrupted\n"


def test_a_wake_ends_the_pause_and_one_that_came_before_counts_once():
    wakeup = Wakeup()
    wakeup.wake()
    wakeup.wake()
    began = time.monotonic()
    wakeup.pause(LONG)
    threading.Timer(0.05, wakeup.wake).start()
    wakeup.pause(LONG)
    assert 0.05 <= time.monotonic() - began < LONG
    wakeup.pause(0.01)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 1.2])
def test_a_pause_lasts_as_long_as_it_was_asked_to(seconds):
    began = time.monotonic()
    Wakeup().pause(seconds)
    Wakeup().sleep(seconds)
    assert time.monotonic() - began >= 2 * seconds


def test_a_wake_during_a_sleep_ends_the_next_pause():
    wakeup = Wakeup()
    wakeup.wake()
    wakeup.sleep(0.05)
    began = time.monotonic()
    wakeup.pause(LONG)
    assert time.monotonic() - began < LONG
