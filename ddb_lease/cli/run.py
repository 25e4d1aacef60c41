"""`ddb-lease run`: a command under a lease.

Invariants:

- The command runs only while the lease is held, and its whole process group is dead before anyone else can hold the
  slot: the watchdog (see `watchdog`) enforces the last deadline it was fed, whatever happens to this process.
- The grace between TERM and KILL lies inside the lease's margin: TERM comes at the holder's deadline at the latest,
  KILL before the margin is used up.
- Between winning the slot and releasing it, no signal ends this process without the release.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final

from ddb_lease.bucket import LeaseBucket
from ddb_lease.cli import connection, formatting, lookup, nesting
from ddb_lease.cli.asked_bucket import asked_bucket
from ddb_lease.cli.interrupted import Interrupted
from ddb_lease.cli.loss_log import LossLog
from ddb_lease.cli.nesting import NestedWarning
from ddb_lease.cli.settings_notice import SettingsNotice
from ddb_lease.cli.slot_wait import Places, SlotWait
from ddb_lease.cli.streams import say
from ddb_lease.cli.supervisor import (
    CommandNotStarted,
    DeadlineTooClose,
    Exit,
    SupervisedCommand,
    check_watchdog,
    named,
    not_started,
    pass_on,
    steady_seconds,
)
from ddb_lease.errors import AcquireTimeout, ConfigurationError, LeaseLost, LossReason
from ddb_lease.lease import Lease

FEED_SECONDS: Final = 1.0
"""The longest time between two deadlines fed to the watchdog, for long leases; a tenth of the lease for short ones."""

_log = logging.getLogger("ddb_lease")

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def execute(options: argparse.Namespace) -> int:
    """Run the command under a lease.

    Raises:
        Interrupted: A signal came while it waited.
    """
    command = options.command
    if not command:
        raise ConfigurationError("no command: write it after --, as in: ddb-lease run BUCKET --max-tokens 2 -- COMMAND")
    if options.skip_if_full:
        _require_no_code(options)
    try:
        check_command(command[0])
    except CommandNotStarted as error:
        say(str(error))
        return error.exit_code
    with Signals() as signals, SettingsNotice(options), contextlib.ExitStack() as stack:
        places = Places()
        bucket, tokens = asked_bucket(options, on_event=places.note)
        stack.enter_context(bucket)
        quiet = options.quiet or options.skip_if_full
        slots = SlotWait(bucket, tokens=tokens, count=options.count, places=places, quiet=quiet)
        try:
            with NestedWarning(os.environ, place=connection.place(options), bucket=options.bucket) as nested, slots:
                lease = acquired_lease(bucket, options)
                slots.won(lease)
        except AcquireTimeout as error:
            if options.skip_if_full:
                return 0
            nested.warn()
            say(formatting.printable(str(error)) + ("" if error.holders else slots.holders()))
            return int(options.no_slot_code)
        signals.note_only()
        try:
            with LossLog() as losses, lease:
                return LeasedRun(lease, options=options, signals=signals, losses=losses).run(command)
        except LeaseLost as error:
            say(f"{error}; the command was not started")
            return int(options.lost_code)


def acquired_lease(bucket: LeaseBucket, options: argparse.Namespace) -> Lease:
    """The lease to run under.

    Raises:
        AcquireTimeout: No slot is free, or none came free in time.
    """
    data, hold, timeout = dict(options.data), options.hold_at_least, options.timeout
    if options.skip_if_full and not timeout:
        if not options.priority:
            lease = bucket.try_acquire(count=options.count, data=data, hold_at_least=hold)
            if lease is None:
                raise AcquireTimeout(f"bucket {bucket.name!r} is full")
            return lease
        timeout = 0.0  # one try, which a failing request ends; but only it stands before those who wait in order
    return bucket.acquire(timeout, count=options.count, data=data, priority=options.priority, hold_at_least=hold)


def _require_no_code(options: argparse.Namespace) -> None:
    if "no_slot_code" in options.given:
        raise ConfigurationError("--skip-if-full exits with 0 if no slot is free: leave out --no-slot-code")


def check_command(name: str) -> None:
    """Refuse what can be known to fail: it is not worth a slot.

    Raises:
        CommandNotStarted: It would fail.
    """
    trouble = lookup.trouble_with(name, os.environ)
    if trouble is not None:
        raise not_started(trouble, name)
    check_watchdog()


class Signals:
    """Signals that end a process: while we wait they raise `Interrupted`; after `note_only` they are noted.

    So none of them interrupts us between starting the command and being able to pass signals on to it.
    """

    def __init__(self) -> None:
        self.noted: list[int] | None = None
        self._before: dict[int, Any] = {}

    def note_only(self) -> None:
        """From now on, note them."""
        self.noted = []

    def raise_again(self) -> None:
        """From now on they raise again; at once, if one was noted."""
        noted, self.noted = self.noted, None
        if noted:
            raise Interrupted(noted[0])

    def __enter__(self) -> Signals:
        for signum in _ENDING:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.noted is None:
            raise Interrupted(signum)
        self.noted.append(signum)


class LeasedRun:
    """One command under one lease.

    Attributes:
        was_lost: Whether the lease was lost, and the command ended for that.
        passed_on: The signals that the command was sent.
    """

    def __init__(self, lease: Lease, *, options: argparse.Namespace, signals: Signals, losses: LossLog) -> None:
        self._lease = lease
        self._losses = losses
        self._options = options
        self._bucket = options.bucket
        self._signals = signals
        self._grace = lease.grace
        self._lost_code = int(options.lost_code)
        self.was_lost = False
        self.passed_on: list[int] = []
        self._gone = threading.Event()
        self._is_overlap_told = False

    def run(self, argv: list[str]) -> int:
        """Run it to its end, or to the lease's; returns the exit code."""
        try:
            command = SupervisedCommand.start(
                argv, env=self._environment(), deadline=self._deadline(), grace=self._grace, on_notice=_tell
            )
        except DeadlineTooClose as error:
            say(str(error))
            self.was_lost = True
            return self._lost_code
        except CommandNotStarted as error:
            say(str(error))
            return error.exit_code
        noted = [] if self._signals.noted is None else self._signals.noted  # that list: more may come until then
        with pass_on(command, kill_after=self._options.kill_after, noted=noted, seen=self.passed_on):
            noted.clear()  # it has them
            _log.info(
                "the command is process %d; if it must end, it is ended with %s", command.pid, _reached(command.reach)
            )
            self._lease.on_lost = lambda _: self._end(command)
            ended = self._supervise(command)
            self._gone.set()
        return self._code(ended)

    def _environment(self) -> dict[str, str]:
        return named(os.environ) | {
            "DDB_LEASE_BUCKET": self._bucket,
            "DDB_LEASE_SLOT": str(self._lease.slot),
            "DDB_LEASE_SLOTS": ",".join(map(str, self._lease.slots)),
            "DDB_LEASE_FENCE": str(self._lease.fence),
            "DDB_LEASE_ID": self._lease.id,
            nesting.VARIABLE: nesting.with_another(
                os.environ, place=connection.place(self._options), bucket=self._bucket, count=len(self._lease.slots)
            ),
        }

    def _deadline(self) -> float:
        # The margin keeps `grace` seconds for us between the holder's deadline and anyone else's claim. The clock is
        # read first: the deadline may come out early, never late.
        now = steady_seconds()
        return now + self._lease.remaining + self._grace

    def _supervise(self, command: SupervisedCommand) -> Exit:
        while True:
            # `remaining` is short right before a renewal: a quarter of it is soon enough after any.
            ended = command.wait(timeout=min(FEED_SECONDS, max(0.05, self._lease.remaining / 4)))
            if ended is not None:
                return ended
            if self._lease.held:
                command.feed(self._deadline())
            elif command.is_out_of_reach and not self._is_overlap_told:
                self._is_overlap_told = True
                say(
                    f"{self._lost()}, and the command cannot be ended: it still runs, and others may have the slot "
                    "when the lease has expired"
                )

    def _end(self, command: SupervisedCommand) -> None:
        # The lost-callback: a revoked slot is given back when this returns, so not before the command is gone. If it
        # cannot be ended, the slot is free when the lease expires.
        command.end()
        self._gone.wait()

    def _lost(self) -> str:
        slots = ", ".join(map(str, self._lease.slots))
        reason, cause = LossReason.UNREACHABLE, ""  # the watchdog may have ended the command before we noticed
        try:
            self._lease.check()
        except LeaseLost as lost:
            reason, cause = lost.reason, lost.cause
        self._losses.told()
        return f"the lease on slot {slots} of {self._bucket!r} was lost ({reason}){cause and f': {cause}'}"

    def _code(self, ended: Exit) -> int:
        if self._lease.lost is None and not ended.ended_by_watchdog:
            return ended.returncode
        self.was_lost = True
        end = "the command has ended by itself meanwhile" if self._is_overlap_told else "the command was ended"
        say(f"{self._lost()}; {end}")
        return self._lost_code


def _reached(reach: str) -> str:
    if reach.startswith("/"):
        return f"all that it started, whoever that runs as (cgroup {reach})"
    if reach == "descendants":
        return "all its descendants, except those that run as another user"
    return "its process group, except what runs as another user; what has left the group runs on"


def _tell(text: str) -> None:
    if text.startswith("left running"):
        _log.info("%s", text)  # on purpose, most likely
    else:
        say(text)
