"""Where a command connects to, as far as the other tests do not show it."""

import argparse
import threading

import pytest

from ddb_lease import local
from ddb_lease.cli import connection

LONG = 60.0


@pytest.fixture
def said(monkeypatch):
    texts = []
    monkeypatch.setattr(connection, "say", texts.append)
    return texts


def test_an_engine_that_takes_long_to_start_is_told_of(monkeypatch, said):
    told = threading.Event()
    monkeypatch.setattr(connection, "say", lambda text: (said.append(text), told.set()))
    monkeypatch.setattr(connection, "TELL_SECONDS", 0.001)
    monkeypatch.setattr(local, "find", lambda: None)
    monkeypatch.setattr(local, "start", lambda: told.wait(LONG))
    assert connection.started_engine()
    assert said == ["starting the embedded engine of this machine, as none is running; that takes some seconds"]


def test_one_that_runs_or_starts_at_once_is_not(monkeypatch, said):
    timers = []

    class Timer(threading.Timer):
        def cancel(self):
            timers.append(self)
            super().cancel()

    monkeypatch.setattr(threading, "Timer", Timer)
    monkeypatch.setattr(connection, "TELL_SECONDS", LONG)
    monkeypatch.setattr(local, "find", lambda: "engine")
    assert (connection.started_engine(), timers) == ("engine", [])
    monkeypatch.setattr(local, "find", lambda: None)
    monkeypatch.setattr(local, "start", lambda: "engine")
    assert connection.started_engine() == "engine"
    for timer in timers:
        timer.join(LONG / 2)
    assert [timer.is_alive() for timer in timers] == [False]
    assert said == []


@pytest.mark.parametrize("quiet", ["quiet", "skip_if_full"])
def test_a_quiet_command_does_not_tell(monkeypatch, said, quiet):
    engine = argparse.Namespace(session=lambda: None, endpoint_url="http://127.0.0.1:1")
    monkeypatch.setattr(threading, "Timer", None)
    monkeypatch.setattr(local, "find", lambda: None)
    monkeypatch.setattr(local, "start", lambda: engine)
    options = argparse.Namespace(local=True, endpoint_url=None, profile=None, region=None, table="t", **{quiet: True})
    assert connection.arguments(options, make_table=False)["endpoint_url"] == engine.endpoint_url
