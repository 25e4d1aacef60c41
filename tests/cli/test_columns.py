"""How wide a terminal is, on terminals of this machine; and what is none."""

import contextlib
import fcntl
import io
import os
import pty
import struct
import sys
import termios

import pytest

from ddb_lease.cli.columns import columns, columns_of
from ddb_lease.cli.fitting import PLAIN_COLUMNS


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of so many columns, as a stream, and what COLUMNS says of it."""
    with contextlib.ExitStack() as opened:

        def of(wide, told=None):
            monkeypatch.delenv("COLUMNS", raising=False)
            if told is not None:
                monkeypatch.setenv("COLUMNS", told)
            ours, theirs = pty.openpty()
            opened.callback(os.close, ours)
            fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, wide, 0, 0))
            return opened.enter_context(open(theirs, "w"))

        yield of


def test_a_terminal_is_as_wide_as_it_says(terminal):
    assert [columns_of(terminal(wide)) for wide in (40, 81, 300)] == [40, 81, 300]


@pytest.mark.parametrize("told", ["99", "60", "1"])
def test_fewer_columns_than_the_terminal_has_are_as_many_as_one_likes(terminal, told):
    assert columns_of(terminal(100, told)) == int(told)


@pytest.mark.parametrize("told", ["100", "101", "5000"])
def test_a_terminal_has_no_more_columns_than_it_has(terminal, told):
    assert columns_of(terminal(100, told)) == 100


@pytest.mark.parametrize("told", ["", "0", "-60", "6.5", "60x", "wide", "\u0666\u0660", "6\u00b2"])
def test_what_is_no_number_of_columns_does_not_count(terminal, told):
    assert columns_of(terminal(100, told)) == 100
    assert columns_of(terminal(0, told)) == PLAIN_COLUMNS


def test_of_a_terminal_that_does_not_know_it_is_believed_what_is_said(terminal):
    assert columns_of(terminal(0, "132")) == 132
    assert columns_of(terminal(0)) == PLAIN_COLUMNS


def test_what_is_no_terminal_has_the_columns_of_a_plain_one_whatever_is_said(terminal, tmp_path):
    closed = terminal(100, "60")
    closed.close()
    assert columns_of(closed) == PLAIN_COLUMNS
    assert columns_of(io.StringIO()) == PLAIN_COLUMNS
    reader, writer = os.pipe()
    with open(reader), open(writer, "w") as pipe, open(tmp_path / "file", "w") as file:
        assert [columns_of(pipe), columns_of(file)] == [PLAIN_COLUMNS] * 2


def test_unless_another_stream_is_named_it_is_standard_output_that_counts(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stdout", terminal(50))
    monkeypatch.setattr(sys, "stderr", terminal(70))
    assert columns() == 50
