"""Tests that hang, for `test_time_limits`: no other run collects this file."""

import contextlib
import time


def test_sleeps():
    time.sleep(600)


def test_swallows_whatever_ends_it():
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(600)


def test_waits_for_a_child_as_it_ends():
    import subprocess

    with subprocess.Popen(["sleep", "20"]):  # on leaving, it waits for the child
        time.sleep(600)
