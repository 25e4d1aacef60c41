"""A pause ends by a wake, by its time, and by a signal, whichever thread the system hands that to."""

from __future__ import annotations

import os
import queue
import signal
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


# Before Python 3.13, a SimpleQueue waits for ever then.
SLOW_HANDLER = """
import os, signal, threading, time
from ddb_lease._runtime.ports import Wakeup

signal.signal(signal.SIGUSR1, lambda *_: time.sleep(1.0))
threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGUSR1]).start()
Wakeup().METHOD(0.8)
print("over")
"""

INTERPRETER_TAKEN = """
import ctypes, signal, threading, time
from ddb_lease._runtime.ports import Wakeup

signal.signal(signal.SIGUSR1, lambda *_: None)
waiting = threading.Thread(target=Wakeup().METHOD, args=(0.8,), daemon=True)
waiting.start()
time.sleep(0.3)
signal.pthread_kill(waiting.ident, signal.SIGUSR1)
ctypes.PyDLL(None).usleep(900_000)  # with the interpreter's lock: until the wait's time is over
waiting.join(10)
print("hangs" if waiting.is_alive() else "over")
"""


@pytest.mark.parametrize("method", ["pause", "sleep"])
@pytest.mark.parametrize("program", [SLOW_HANDLER, INTERPRETER_TAKEN], ids=["slow handler", "interpreter taken"])
def test_a_wait_whose_time_ends_while_a_signal_is_handled_ends(program, method):
    program = program.replace("METHOD", method)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LONG, check=True)
    assert ran.stdout == "over\n"


def test_a_signal_handler_may_wake_the_thread_that_it_interrupts():
    wakeup, began = Wakeup(), time.monotonic()
    before = signal.signal(signal.SIGUSR1, lambda *_: [wakeup.wake() for _ in range(3)])
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGUSR1])
    timer.start()
    try:
        wakeup.pause(LONG)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began < LONG


def test_no_wake_of_many_threads_is_lost():
    wakeup, wanted, woken = Wakeup(), 2_000, []
    work = queue.SimpleQueue()

    def wake():
        for _ in range(wanted // 4):
            work.put(None)
            wakeup.wake()

    threads = [threading.Thread(target=wake) for _ in range(4)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + LONG
    while len(woken) < wanted and time.monotonic() < until:
        wakeup.pause(LONG)
        while not work.empty():
            woken.append(work.get_nowait())
    for thread in threads:
        thread.join()
    assert len(woken) == wanted


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
