"""`ddb-lease lead`: a command that runs on one machine at a time, and on another one when that fails.

Invariants:

- Those of `run`, whose parts it uses: the command runs only while the lease is held, and its whole process group is
  dead before anybody else can lead.
- A loss ends the command and not this program, which waits again. The command's own end is this program's.
- Who was told to end does not wait again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from ddb_lease._runtime.leadership import ASIDE_SECONDS, STAND_SECONDS, require_one_leader
from ddb_lease.bucket import LeaseBucket
from ddb_lease.cli import connection
from ddb_lease.cli.asked_bucket import asked_bucket
from ddb_lease.cli.loss_log import LossLog
from ddb_lease.cli.nesting import NestedWarning
from ddb_lease.cli.run import LeasedRun, Signals, check_command
from ddb_lease.cli.settings_notice import SettingsNotice
from ddb_lease.cli.slot_wait import Places, SlotWait
from ddb_lease.cli.streams import say
from ddb_lease.cli.supervisor import CommandNotStarted
from ddb_lease.errors import AcquireTimeout, ConfigurationError, LeaseLost, LossReason, StoreError, StoreUnavailable
from ddb_lease.lease import Lease

Result = TypeVar("Result")

AWAY_SECONDS: Final = 5.0
"""The pause after the service did not answer."""

_ASK_TO_END: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""Signals after which a loss is the end. Others may mean anything to the command: HUP, that it reads its settings."""


def execute(options: argparse.Namespace) -> int:
    """Run the command each time that this process leads.

    Raises:
        Interrupted: A signal came while it waited.
    """
    command = options.command
    if not command:
        raise ConfigurationError("no command: write it after --, as in: ddb-lease lead NAME -- COMMAND")
    try:
        check_command(command[0])
    except CommandNotStarted as error:
        say(str(error))
        return error.exit_code
    with Signals() as signals, SettingsNotice(options), contextlib.ExitStack() as stack:
        # In an outage too: what is stored of the bucket may have to be read.
        bucket = stack.enter_context(_answered(lambda: asked_bucket(options)[0]))
        candidate = _Candidate(bucket, options=options, signals=signals)
        while (code := candidate.lead(command)) is None:
            pass
        return code


def _answered(ask: Callable[[], Result]) -> Result:
    """What it returns, once the service answers: an outage is told once, and waited out."""
    is_told = False
    while True:
        try:
            return ask()
        except StoreUnavailable as error:
            if not is_told:
                say(f"{error}; the wait goes on when the service answers")
            is_told = True
            threading.Event().wait(AWAY_SECONDS)


class _Candidate:
    """This process, which waits to lead."""

    def __init__(self, bucket: LeaseBucket, *, options: argparse.Namespace, signals: Signals) -> None:
        self._bucket = bucket
        self._options = options
        self._signals = signals

    def lead(self, command: list[str]) -> int | None:
        """Wait to be elected, and run the command; returns the exit code, or None if the lease was lost."""
        options = self._options
        slots = SlotWait(self._bucket, tokens=1, count=1, places=Places(), quiet=options.quiet, to_lead=True)
        with NestedWarning(os.environ, place=connection.place(options), bucket=options.bucket), slots:
            lease = self._elected()
            slots.won(lease)
        self._signals.note_only()
        code, run = 0, None
        with contextlib.suppress(LeaseLost), LossLog() as losses, lease:
            run = LeasedRun(lease, options=options, signals=self._signals, losses=losses)
            code = run.run(command)
        if run is not None and not run.was_lost:
            return code
        ends = [signum for signum in _ASK_TO_END if run is not None and signum in run.passed_on]
        if ends:
            return 128 + ends[0]
        self._signals.raise_again()
        if lease.lost is LossReason.REVOKED:
            threading.Event().wait(ASIDE_SECONDS)
        return None

    def _elected(self) -> Lease:
        """Wait for the leader's place."""
        lease = None
        while lease is None:
            with contextlib.suppress(AcquireTimeout):
                lease = _answered(lambda: self._bucket.acquire(STAND_SECONDS, data=dict(self._options.data)))
        tokens = 1
        try:
            with contextlib.suppress(StoreError):  # the slot alone is what counts
                tokens = self._bucket.status().max_tokens
            require_one_leader(self._bucket.name, tokens=tokens, slot=lease.slot)
        except BaseException:
            lease.release()
            raise
        return lease
