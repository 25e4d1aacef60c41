"""A run of `ddb-lease conform`: what it says before, while and after it sends its probes.

Invariants:

- Nothing is sent before a person has seen how much it is, and has agreed; `--yes` and `--local` agree.
- Each outcome is printed as soon as it is known, so that an interrupted run has shown what it found.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any, Final

from ddb_lease._protocol.messages import RenewEach
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.cli import connection, exits, formatting, release
from ddb_lease.cli.conform.measuring import (
    CONNECTIONS,
    DATES,
    MINTS,
    UPDATES,
    Measurement,
    measure_conflicts,
    measure_dates,
)
from ddb_lease.cli.conform.own_table import new_name, own_table
from ddb_lease.cli.conform.probe import Finding, Probe
from ddb_lease.cli.conform.probing import all_probes, findings, requests_of
from ddb_lease.cli.conform.recording import Recording
from ddb_lease.cli.conform.samples import renew
from ddb_lease.cli.streams import confirmed, say, show
from ddb_lease.dynamodb import ConnectionSettings, new_session
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.client import Client
from ddb_lease.dynamodb.raw import patient_client, send_raw
from ddb_lease.dynamodb.timely import TimelySender
from ddb_lease.errors import ConfigurationError

_WITHOUT_PARTIQL: Final = "a batch of a role without PartiQLUpdate"


def execute(options: argparse.Namespace) -> int:
    """Run it, once confirmed; returns the exit code.

    Raises:
        ConfigurationError: The options contradict one another, or nobody can be asked. Nothing was sent.
        StoreRejected: A permission is missing, or there are no credentials.
        StoreUnavailable: The service does not answer.
    """
    if options.local and options.without_partiql:
        raise ConfigurationError("--without-partiql is for the real service: the embedded engine knows no permissions")
    recording = Recording(options.record) if options.record else None
    options.table = new_name()
    settings = connection.settings(options)
    sender = TimelySender(SystemClock())
    client = patient_client(settings, sender)
    probes = all_probes(uuid.uuid4().hex[:12])
    where = _where(options, client)
    plan = _plan(options, probes, where)
    if options.yes or options.local:
        say(plan)
    elif not confirmed(
        f"{plan}\nGo on? [y/N] ", refusal=lambda why: f"conform asks for confirmation, and {why}: give --yes"
    ):
        say("nothing was sent")
        return exits.USAGE
    return _Run(options, settings, client, sender, recording).through(probes)


class _Run:
    """One run: prints each outcome as it is known, and counts."""

    def __init__(
        self,
        options: argparse.Namespace,
        settings: ConnectionSettings,
        client: Client,
        sender: TimelySender,
        recording: Recording | None,
    ) -> None:
        self._options = options
        self._table: str = options.table
        self._settings = settings
        self._client = client
        self._sender = sender
        self._recording = recording
        self._done = self._different = 0

    def through(self, probes: list[Probe]) -> int:
        """All of it; returns the exit code."""
        planned = len(probes) + bool(self._options.without_partiql) + (0 if self._options.quick else 2)
        try:
            with own_table(self._table, connection=self._settings, client=self._client, clock=SystemClock()):
                for finding in findings(self._client, self._table, probes):
                    self._show_finding(finding)
                for measure in self._measurements():
                    self._show_measurement(measure())
        finally:
            if self._recording is not None and self._done:
                self._recording.write(self._about())
            if self._done < planned:
                say(f"ended after {self._done} of {planned} probes")
        if not self._options.json:
            show(f"{self._done} probes: {self._done - self._different} as expected, {self._different} different")
        if self._different:
            say(
                "where engines that imitate DynamoDB differ is listed in docs/conformance.md; if DynamoDB itself does, "
                "please report it, with the file that --record writes"
            )
        return exits.DIFFERENT if self._different else 0

    def _measurements(self) -> Iterator[Callable[[], Measurement]]:
        if self._options.without_partiql:
            yield self._without_partiql
        elif not self._options.json:
            show(f"  --  {_WITHOUT_PARTIQL}: not tried; name one with --without-partiql PROFILE")
        if self._options.quick:
            return
        # Clients of their own, so that each has connections of its own.
        clients = [patient_client(self._settings, self._sender) for _ in range(CONNECTIONS)]
        say(f"asking for {DATES} Dates on {CONNECTIONS} connections, for some 20 s")
        yield functools.partial(measure_dates, clients, self._table, SystemClock(), time.sleep)
        numbers = itertools.count()
        run = uuid.uuid4().hex[:12]
        yield functools.partial(measure_conflicts, clients, self._table, lambda: f"{run}-{next(numbers)}")

    def _without_partiql(self) -> Measurement:
        """What a batch is answered where the role lacks the permission: renewals must then go one by one."""
        session = new_session(profile=self._options.without_partiql, region=self._client.meta.region_name)
        settings = ConnectionSettings(session=session, endpoint_url=self._options.endpoint_url)
        address = BucketAddress(table=self._table, bucket="denied")
        raw = send_raw(patient_client(settings, self._sender), RenewEach(renewals=(renew(),)), address)
        parts = raw.response.get("Responses") or ()
        codes = [raw.code] if raw.code else [str(part.get("Error", {}).get("Code", "ok")) for part in parts]
        denied = bool(codes) and all(code.startswith("AccessDenied") for code in codes)
        return Measurement(
            name=_WITHOUT_PARTIQL,
            request="RenewEach",
            expected="AccessDenied, of the batch or of each statement",
            seen=", ".join(codes),
            as_expected=denied,
        )

    def _show_finding(self, finding: Finding) -> None:
        if self._recording is not None:
            self._recording.add(finding, table=self._table)
        probe = finding.probe
        self._show(
            probe.name,
            f"{type(probe.request).__name__} ({finding.raw.operation})",
            probe.expected,
            finding.seen,
            finding.raw.request_id,
            as_expected=finding.as_expected,
            units={"expected": probe.units, "seen": finding.units},
            only_capacity_differs=finding.only_capacity_differs,
        )

    def _show_measurement(self, found: Measurement) -> None:
        self._show(found.name, found.request, found.expected, found.seen, None, as_expected=found.as_expected)

    def _show(
        self,
        name: str,
        request: str,
        expected: str,
        seen: str,
        request_id: str | None,
        *,
        as_expected: bool,
        **more: object,
    ) -> None:
        self._done += 1
        self._different += not as_expected
        if self._options.json:
            told = {"probe": name, "request": request, "expected": expected, "seen": seen, "request_id": request_id}
            show(json.dumps(told | {"as_expected": as_expected} | more))
            return
        request_id = formatting.printable(request_id or "-")
        seen = formatting.printable(seen)
        if as_expected:
            show(f"  ok  {name}: {request}: {seen} [{request_id}]")
        else:
            show(f"DIFF  {name}: {request} [{request_id}]\n        expected  {expected}\n        seen      {seen}")

    def _about(self) -> dict[str, Any]:
        remote = not (self._options.local or self._options.endpoint_url)
        place = f"DynamoDB in {self._client.meta.region_name}" if remote else "an endpoint that imitates DynamoDB"
        return {
            "source": f"ddb-lease conform of ddb-lease {release.installed()}, {place}",
            "recorded": datetime.fromtimestamp(SystemClock().wall(), timezone.utc).date().isoformat(),
        }


def _where(options: argparse.Namespace, client: Client) -> str:
    if options.local:
        return "the embedded engine"
    if options.endpoint_url:
        return f"the endpoint {formatting.printable(options.endpoint_url)}"
    return f"DynamoDB in {client.meta.region_name}"


def _plan(options: argparse.Namespace, probes: list[Probe], where: str) -> str:
    """What will be sent, how long it takes, and what it costs."""
    requests = requests_of(probes)
    if options.quick:
        more, total, time_taken, price = "", requests, "some seconds", "$0.001"
    else:
        more = f", then asks for {DATES} Dates and lets {MINTS + UPDATES} requests collide"
        total, time_taken, price = requests + DATES + MINTS + UPDATES, "a minute or two", "$0.002"
    cost = "" if options.local else f"; DynamoDB charges less than a cent for them (about {price})"
    return (
        f"makes table {options.table} at {where}, sends {len(probes)} probes ({requests} requests){more}, and deletes "
        f"the table. {total} requests in all, in {time_taken}{cost}"
    )
