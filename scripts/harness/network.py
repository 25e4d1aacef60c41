"""The network: what happens to each request on its way to the service and back.

Invariants:

- Anything may happen to every single request. Its fate says whether, when and how often it commits, and what the client
  is told, and when.
- Fates are drawn for each request of each process in turn, or given: a failed schedule is replayed with the same
  fates, and shrunk by removing some.
- The first copy of a request that commits gives the answer. Answers to later copies are dropped.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from types import SimpleNamespace
from typing import Any, Protocol

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from ddb_lease import client_config
from ddb_lease._state.offset import AGREEING
from ddb_lease._state.service_time import Clock
from ddb_lease.dynamodb.signing import time_of_call
from scripts.harness.dates import Dates, Lie
from scripts.harness.simulated_dynamodb import STUCK_SECONDS, Arguments, DynamoDB, http_date
from scripts.harness.world import Actor, World

_URL = "http://simulated"


class Process(Protocol):
    """What the network knows of a process that sends requests: see `simulated_machine.Machine`."""

    name: str
    world: World
    seed: int
    lease_seconds: float
    requests: int
    dateless: int
    lie: Lie | None
    dates: Dates
    cut_until: float
    luck: Random
    clock: Clock

    @property
    def luck_of_reads(self) -> Random:
        """Chance of what its reads show."""
        ...

    def when_running(self, happens: Callable[[], object]) -> None:
        """Let something happen to it now, or when it is thawed."""
        ...


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one request.

    Attributes:
        name: For people; "normal" where nothing is wrong.
        out: Seconds until it reaches the service; None: it never does.
        back: Seconds from there until the client has its answer; None: the answer is lost.
        again: Seconds from the first commit until a second copy arrives; None: there is none.
        instead: An error that the client gets instead of the true answer; made by `_ERRORS`.
        refuse: Whether the service gives that error without carrying out the request.
        stale: Whether a read may show an earlier state.
        date: By how many seconds this answer's Date is wrong; None: it has no Date.
        stalls: Whether the client's timeouts do not end the call: it trickles, or hangs where none applies.
    """

    name: str = "normal"
    out: float | None = 0.002
    back: float | None = 0.002
    again: float | None = None
    instead: str | None = None
    refuse: bool = False
    stale: bool = False
    date: float | None = 0.0
    stalls: bool = False

    def befalls(self, operation: str) -> bool:
        """Whether it can happen to such a request. A shrunk run sends others than the one whose fates it is given."""
        return self.instead != "in-progress" or operation == "transact_write_items"


LATEST_SECONDS = 890.0
"""The latest arrival of a copy of a request: its signature expires after a quarter of an hour."""

SIGNATURE_SECONDS = 900.0
"""By how much a signature's time may be off when it arrives."""

_REFUSALS = {
    "throttled": ("ThrottlingException", 400),
    "throughput": ("ProvisionedThroughputExceededException", 400),
    "limit": ("RequestLimitExceeded", 400),
    "conflict": ("TransactionConflictException", 400),
    "replicated": ("ReplicatedWriteConflictException", 400),
    "expired-token": ("ExpiredTokenException", 400),
    "denied": ("AccessDeniedException", 400),
    "no-table": ("ResourceNotFoundException", 400),
    "unrecognized": ("UnrecognizedClientException", 400),
}
"""Errors that mean: the request was not carried out."""

_REASONS = {
    "throttled": "ThrottlingError",
    "throughput": "ProvisionedThroughputExceeded",
    "conflict": "TransactionConflict",
}
"""The reasons with which a cancelled transaction says the same."""

_PART_TROUBLES = (
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "TransactionConflict",
    "InternalServerError",
    "nothing said",
    "AccessDenied",
)
"""Wrong answers that one statement of a batch may get."""

_PART_VAGUE = {"InternalServerError", "nothing said"}
"""Answers that do not tell whether it was carried out."""

_VAGUE = {
    "internal": ("InternalServerError", 500),
    "unavailable": ("ServiceUnavailable", 503),
}
"""Errors that do not tell whether the request was carried out."""

PERMANENT = frozenset({"denied", "no-table", "unrecognized", "expired-token"})
"""Refusals that the library raises at once."""

READS = frozenset({"query", "get_item", "transact_get_items"})
"""Operations that change nothing."""


_config = functools.cache(client_config)


class Client:
    """What the library uses as its boto3 client: one for each process, with one request in flight for each actor."""

    def __init__(self, network: Network, process: Process, lease_seconds: float) -> None:
        config = _config(lease_seconds)
        self.meta = SimpleNamespace(config=config)
        self.timeout: float = config.read_timeout
        self._network = network
        self._process = process

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        send = functools.partial(self._network.send, self._process, self.timeout, operation)
        setattr(self, operation, send)
        return send

    def close(self) -> None:
        """Nothing is open."""


class Network:
    """Carries every request of every process.

    Attributes:
        front_ends: By how much each front end's clock is wrong, in seconds; every answer comes from one of them.
        dated: Whether answers carry a Date at all.
        odds: How likely each fault is, 0 to 1 in all; 0 once faults are off.
        lies: How likely a Date is wrong, beside that.
        transacting: How long the service takes for a transaction, in seconds: meanwhile, what writes its items
            conflicts with it. 0: no time.
        latency: About how long a request takes in each direction, in seconds.
        conflicts: How many requests conflicted with a transaction.
        latest: When the last copy in flight reaches the service, in true time.
        untimely: Requests whose signature was refused for its time, by process and ordinal: whether the answer has a
            Date.
        told: Called with each request's process, ordinal, operation, arguments and fate, before it is sent.
    """

    def __init__(
        self,
        service: DynamoDB,
        *,
        front_ends: tuple[float, ...],
        dated: bool,
        latency: float,
        odds: float,
        lies: float = 0.0,
        given: dict[tuple[str, int], Fate] | None,
        told: Callable[[Process, int, str, Arguments, Fate], None],
        answered: Callable[[Process, int, str, Any], None],
    ) -> None:
        self.service = service
        self.front_ends = front_ends
        self.dated = dated
        self.odds = odds
        self.lies = lies
        self.fates: dict[tuple[str, int], Fate] = {}
        self.untimely: dict[tuple[str, int], bool] = {}
        self.latest = 0.0
        self.transacting = 0.0
        self.conflicts = 0
        self.latency = latency
        self._given = given
        self._told = told
        self._answered = answered

    def send(self, process: Process, timeout: float, operation: str, **arguments: Any) -> Any:
        """Send one request, on the calling actor's thread; returns or raises what the client gets."""
        world, actor = process.world, process.world.current
        assert actor is not None, "a request from outside the simulation"
        if actor.dead:
            actor.suspend()
        process.requests += 1
        ordinal = process.requests
        fate = self._fate(process, ordinal, operation)
        self._told(process, ordinal, operation, arguments, fate)
        ticket = actor.waiting
        call = _Call(self, process, ordinal, operation, arguments, fate)
        sent = world.now

        def deliver(told: Any) -> None:
            process.when_running(lambda: call.end(actor, told, ticket=ticket, sent=sent))

        if fate.out is None:
            unreachable = fate.name in {"unconnected", "cut"}
            error = (
                (ConnectTimeoutError(endpoint_url=_URL) if ordinal % 2 else EndpointConnectionError(endpoint_url=_URL))
                if unreachable
                else ReadTimeoutError(endpoint_url=_URL)
            )
            world.after(timeout, lambda: deliver(error))
        else:
            gives_up = timeout if fate.back is None or (fate.out > timeout and not fate.stalls) else None
            if gives_up is not None:
                world.after(gives_up, lambda: deliver(ReadTimeoutError(endpoint_url=_URL)))

            def done(told: Any) -> None:
                if gives_up is None and fate.back is not None:
                    world.after(fate.back, lambda: deliver(told))

            world.after(fate.out, lambda: call.arrive(done))
            if fate.again is not None:
                world.after(fate.out + fate.again, call.arrive_again)
            self.latest = max(self.latest, world.now + fate.out + (fate.again or 0.0))
        told = actor.suspend()
        self._answered(process, ordinal, operation, told)
        if isinstance(told, Exception):
            raise told
        return told

    def _fate(self, process: Process, ordinal: int, operation: str) -> Fate:
        key = (process.name, ordinal)
        chance = process.luck
        # Always the same number of draws, so that removing one fate does not change the later ones.
        swift, slow, what, how = chance.random(), chance.random(), chance.random(), chance.random()
        out = self.latency * (0.2 + swift) * (40.0 if slow > 0.98 else 1.0)
        back = self.latency * (0.2 + slow)
        if self.odds == 0.0:
            return Fate(out=out, back=back)
        if self._given is not None:
            given = self._given.get(key)
            if given is None or not given.befalls(operation):
                return Fate(out=out, back=back)
            self.fates[key] = given
            return given
        fate = self._drawn(process, ordinal, Fate(out=out, back=back), (swift, what, how), operation)
        if fate.name != "normal":
            self.fates[key] = fate
        return fate

    def _drawn(
        self, process: Process, ordinal: int, normal: Fate, luck: tuple[float, float, float], operation: str
    ) -> Fate:
        _, what, how = luck
        if process.cut_until > process.world.now:
            process.dateless = 0
            return Fate("cut", out=None)
        if what >= self.odds:
            return self._lie(process, ordinal, normal, luck)
        fate = _draw(what / self.odds, how, normal, chance=process.luck, lease=process.lease_seconds)
        if fate.stale and operation not in READS:
            fate = replace(normal, name="answer lost", back=None)  # a write is never stale
        if fate.instead in _VAGUE and operation == "transact_write_items":
            fate = replace(fate, name="stuck, taken back" if fate.refuse else "stuck, finished", instead="in-progress")
        if fate.name == "no date" and self.dated:
            process.dateless += 1
            return fate if process.dateless < AGREEING else normal  # so many mean a service whose answers have none
        process.dateless = 0
        if fate.name == "odd date" and fate.date is not None:
            process.lie = Lie.after(fate.date, ordinal, how)
        return fate

    def _lie(self, process: Process, ordinal: int, normal: Fate, luck: tuple[float, float, float]) -> Fate:
        """A wrong Date that follows another one; or one of many, in some schedules."""
        swift, what, how = luck
        if process.lie is not None and ordinal >= process.lie.at:
            date, process.lie = process.lie.date, None
        elif (what - self.odds) / (1.0 - self.odds) < self.lies:
            date = (how - 0.5) * (20.0 if swift < 0.8 else 15_000.0)
            process.lie = Lie.after(date, ordinal, how)
        else:
            return normal
        return replace(normal, name="odd date", date=date)


def _draw(what: float, how: float, normal: Fate, *, chance: Random, lease: float) -> Fate:  # noqa: C901, PLR0911, PLR0912 - a table
    """One of the faults; `what` selects it, `how` its size."""
    out, back = normal.out, normal.back
    late = lease * 2.0 * how if how < 0.9 else LATEST_SECONDS * (how - 0.9) * 10
    match int(what * 20):
        case 0:
            return Fate("unconnected", out=None)
        case 1:
            return Fate("lost", out=None)
        case 2 | 3 | 4:
            return Fate("answer lost", out=out, back=None)
        case 5:
            return Fate("late, given up", out=max(late, 4.0), back=None)
        case 6:
            there, back = (min(late, 30.0), back) if int(how * 1_000) % 2 else (out, min(late, 30.0))
            return Fate("stalled", out=there, back=back, stalls=True)
        case 7:
            return Fate("slow there", out=late, back=back)
        case 8 | 9:
            return Fate("slow answer", out=out, back=min(late, 30.0))
        case 10:
            return Fate("twice", out=out, back=back, again=late)
        case 11:
            return Fate("answer lost, twice", out=out, back=None, again=late)
        case 12:
            names = list(_REFUSALS)[:5]
            return Fate("refused", out=out, back=back, instead=names[int(how * len(names))], refuse=True)
        case 13:
            names = list(_REFUSALS)[5:]
            rare = names[int(how / 0.4 * len(names))] if how < 0.4 else "conflict"
            return Fate("refused", out=out, back=back, instead=rare, refuse=True)
        case 14:
            names = list(_VAGUE)
            return Fate("vague, done", out=out, back=back, instead=names[int(how * len(names))])
        case 15:
            names = list(_VAGUE)
            return Fate("vague, not done", out=out, back=back, instead=names[int(how * len(names))], refuse=True)
        case 16:
            return Fate("garbled", out=out, back=back, instead="crc" if how < 0.5 else "stranger")
        case 17:
            return Fate("stale", out=out, back=back, stale=True)
        case 18:
            return Fate("stale", out=out, back=back, stale=True)
        case _ if how < 0.3:
            return Fate("no date", out=out, back=back, date=None)
        case _ if how < 0.65:
            return Fate("odd date", out=out, back=back, date=(how - 0.475) * 60.0)
        case _:
            return Fate("odd date", out=out, back=back, date=(how - 0.825) * 40_000.0)


class _Call:
    """One request in flight."""

    def __init__(
        self, network: Network, process: Process, ordinal: int, operation: str, arguments: Arguments, fate: Fate
    ) -> None:
        self._network = network
        self._process = process
        self._ordinal = ordinal
        self._operation = operation
        self._arguments = arguments
        self._fate = fate
        self._dated = 0.0
        by_service = time_of_call()
        self._signed = process.clock.wall() if by_service is None else by_service

    def end(self, actor: Actor, told: Any, *, ticket: int, sent: float) -> None:
        """The client gets the answer, unless it has given up."""
        if actor.waiting == ticket:
            self._limit_lies(told, took=self._process.world.now - sent)
            actor.wake(told)

    def _limit_lies(self, told: Any, *, took: float) -> None:
        """Correct the Date of an answer that the client is about to get, if too many have been wrong alike."""
        response = told if isinstance(told, dict) else getattr(told, "response", None) or {}
        metadata = response.get("ResponseMetadata", {})
        if not metadata.get("RequestId") or "date" not in metadata["HTTPHeaders"]:
            return  # says nothing about the time
        wrong = self._fate.date or 0.0
        if not self._process.dates.may_tell(wrong, took):
            metadata["HTTPHeaders"]["date"] = http_date(self._dated - wrong)

    def arrive(self, done: Callable[[Any], None]) -> None:
        """It reaches the service; returns what the client will get."""
        fate, date = self._fate, self._date()
        if self._is_untimely():
            self._network.untimely[self._process.name, self._ordinal] = date is not None
            done(self._error("untimely", date))
        elif fate.instead == "in-progress":
            done(self._stuck(date))
        elif fate.refuse and fate.instead:
            done(self._error(fate.instead, date))
        elif self._operation == "batch_execute_statement" and self._network.service.takes_batch(self._arguments):
            self._arrive_in_parts(date, lambda told: done(self._garbled(told, date)))
        elif self._network.transacting and self._operation == "transact_write_items":
            self._transact(date, done)
        else:
            self._carry_out(date, done)

    def _carry_out(self, date: float | None, done: Callable[[Any], None]) -> None:
        told = self._carried_out(date)
        if isinstance(told, Exception) and "TransactionConflict" in str(told):
            self._network.conflicts += 1
        done(self._garbled(told, date))

    def _transact(self, date: float | None, done: Callable[[Any], None]) -> None:
        """A transaction takes its time, in two phases."""
        end = self._network.service.prepare(self._arguments)
        if end is None:
            self._carry_out(date, done)
            return

        def commit() -> None:
            end()
            self._carry_out(date, done)

        self._network.latest = max(self._network.latest, self._process.world.now + self._network.transacting)
        self._process.world.after(self._network.transacting, commit)

    def _stuck(self, date: float | None) -> Any:
        """The service gets stuck amid a transaction; seconds later it finishes it, or takes it back."""
        network, world = self._network, self._process.world
        commits = not self._fate.refuse
        told = network.service.stick(self._arguments, now=world.now, date=date, commits=commits)
        world.after(STUCK_SECONDS, lambda: network.service.recover(world.now))
        network.latest = max(network.latest, world.now + STUCK_SECONDS)
        return told

    def _arrive_in_parts(self, date: float | None, done: Callable[[Any], None]) -> None:
        """A batch is not a transaction: each statement happens at a time of its own, and may be refused alone."""
        network, world = self._network, self._process.world
        chance = Random(f"{self._process.seed} {self._process.name} {self._ordinal} parts")
        statements = self._arguments["Statements"]
        parts: list[dict[str, Any]] = [{} for _ in statements]
        missing = [len(parts)]

        def one(at: int, trouble: str | None, *, carried_out: bool) -> None:
            if carried_out:
                parts[at] = network.service.execute_member(statements[at], world.now)
            if trouble == "nothing said":
                parts[at].pop("Item", None)
            elif trouble:
                parts[at] = {"Error": {"Code": trouble, "Message": trouble}}
            missing[0] -= 1
            if not missing[0]:
                done(network.service.answered(parts, date=date))

        for at in range(len(parts)):
            what, how, later = chance.random(), chance.random(), chance.random()
            trouble = _PART_TROUBLES[int(how * len(_PART_TROUBLES))] if what < min(0.2, network.odds) else None
            carried_out = trouble is None or (trouble in _PART_VAGUE and chance.random() < 0.5)
            happens = functools.partial(one, at, trouble, carried_out=carried_out)
            world.after(later * network.latency, happens)

    def _carried_out(self, date: float | None) -> Any:
        fate, network, world = self._fate, self._network, self._process.world
        coin = (lambda: self._process.luck_of_reads.random() < 0.5) if fate.stale else _never
        try:
            return network.service.execute(self._operation, self._arguments, now=world.now, date=date, coin=coin)
        except ClientError as error:
            return error

    def _garbled(self, told: Any, date: float | None) -> Any:
        """The answer that the client gets, if any."""
        fate = self._fate
        if fate.instead == "crc":
            return ResponseStreamingError(error="bad checksum")
        if fate.instead == "stranger":
            return {
                "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"date": "Thu, 01 Jan 1970 00:00:00 GMT"}}
            }
        if fate.instead:
            return self._error(fate.instead, date)
        return told

    def arrive_again(self) -> None:
        """A second copy reaches the service; nobody waits for its answer."""
        if self._is_untimely():
            return
        with contextlib.suppress(ClientError):
            self._network.service.execute(self._operation, self._arguments, now=self._process.world.now, date=None)

    def _is_untimely(self) -> bool:
        """Whether the service refuses the time of its signature, as of now."""
        return abs(self._signed - self._process.world.now) > SIGNATURE_SECONDS

    def _date(self) -> float | None:
        network, fate = self._network, self._fate
        if fate.date is None or (not network.dated and fate.name != "odd date"):
            return None
        ends = network.front_ends
        off = ends[self._process.luck_of_reads.randrange(len(ends))] if len(ends) > 1 else ends[0]
        self._dated = self._process.world.now + off + fate.date
        return self._dated

    def _error(self, name: str, date: float | None) -> Exception:
        service = self._network.service
        if name in _REASONS and self._operation == "transact_write_items":
            reasons = [{"Code": "None"} for _ in self._arguments["TransactItems"]]
            reasons[-1] = {"Code": _REASONS[name], "Message": name}
            return service.error(
                self._operation, "TransactionCanceledException", name, date=date, CancellationReasons=reasons
            )
        if name == "untimely":
            off = "expired" if self._signed < self._process.world.now else "not yet current"
            return service.error(self._operation, "InvalidSignatureException", f"Signature {off}: ...", date=date)
        code, status = (_REFUSALS | _VAGUE)[name]
        return service.error(self._operation, code, name, date=date, status=status)


def _never() -> bool:
    return False
