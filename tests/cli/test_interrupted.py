"""A signal that comes while modules are imported ends ddb-lease as any other does, whatever Python makes of it."""

import os
import signal

import pytest

from ddb_lease.cli import main
from ddb_lease.cli.interrupted import Interrupted, signal_behind
from ddb_lease.errors import ConfigurationError


@pytest.fixture
def importing():
    """Makes what imports a module whose classes are just being made as a signal comes."""

    def make(signum, *, told_as=None):
        class Field:
            def __set_name__(self, owner, name):
                os.kill(os.getpid(), signum)

        def run(*_, **__):
            try:
                type("Imported", (), {"field": Field()})
            except RuntimeError as error:  # before Python 3.12, the signal's own error otherwise
                if told_as is None:
                    raise
                raise told_as("the module could not be imported") from error

        return run

    return make


@pytest.mark.parametrize("told_as", [None, ConfigurationError])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("command", ["run", "lead"])
def test_one_who_waits_ends_by_it(importing, monkeypatch, capsys, command, signum, told_as):
    monkeypatch.setattr(f"ddb_lease.cli.{command}.asked_bucket", importing(signum, told_as=told_as))
    assert main.main([command, "b", "--local", "--", "true"]) == 128 + signum
    assert capsys.readouterr().err == ""


def test_every_other_command_ends_by_an_interrupt(importing, monkeypatch, capsys):
    monkeypatch.setattr("ddb_lease.cli.status.execute", importing(signal.SIGINT))
    assert main.main(["status", "b", "--local"]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == ""


def test_only_what_came_of_a_signal_is_taken_for_one():
    one, other = ValueError(), KeyError()
    one.__cause__, other.__context__ = other, one  # as libraries have been seen to make
    assert signal_behind(one) is None
    other.__context__ = Interrupted(signal.SIGTERM)
    assert signal_behind(one) == signal.SIGTERM
    assert signal_behind(KeyboardInterrupt()) == signal.SIGINT
    assert signal_behind(None) is None
