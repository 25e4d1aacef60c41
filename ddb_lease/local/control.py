"""What a program asks the engine itself: is it the one meant, who holds leases, which leases does it wait for."""

import contextlib
import http.client
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from ddb_lease.local.admission import authorization
from ddb_lease.local.engine import Engine
from ddb_lease.local.errors import EngineError
from ddb_lease.local.messages import ANSWER_S, HEALTH_PATH, LEASES_PATH

_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A lease that somebody holds on the engine."""

    table: str
    bucket: str
    item: str
    """The item's sort key, which names the slot."""
    owner: str
    remaining_s: float
    is_permit: bool = False
    """Whether it is a used permit of a window: nobody holds it, and it ends by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """A bucket in which nothing is granted yet, as leases of an earlier engine run."""

    table: str
    bucket: str
    remaining_s: float
    is_rate: bool = False
    """Whether it is a key of a rate, and what is waited for is its block, or permits that it gave in advance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The leases that an engine knows of."""

    held: tuple[Held, ...]
    awaited: tuple[Awaited, ...]


def instance_id(engine: Engine, *, timeout_s: float) -> str | None:
    """The instance id that the engine's address returns; None if another program answers there.

    Raises:
        OSError, http.client.HTTPException: Nobody answers, or no HTTP.
    """
    document = _ask(engine, "GET", HEALTH_PATH, timeout_s)
    return document.get("instance_id") if isinstance(document, dict) else None


def report(engine: Engine) -> Report:
    """Who holds leases, and which buckets wait for leases of an earlier engine.

    Raises:
        EngineError: The engine does not answer.
    """
    return _report(engine, "GET")


def forget_awaited(engine: Engine) -> Report:
    """Let the engine grant at once what it holds back for leases of an earlier engine. Only if their holders are dead.

    Raises:
        EngineError: The engine does not answer, or could not record it.
    """
    return _report(engine, "POST")


def _report(engine: Engine, method: str) -> Report:
    try:
        document = _ask(engine, method, LEASES_PATH, ANSWER_S)
    except (OSError, http.client.HTTPException) as error:
        raise EngineError(f"the engine at {engine.endpoint_url} does not answer: {error}") from error
    if not isinstance(document, dict):
        raise EngineError(f"the engine at {engine.endpoint_url} does not say who holds leases: see its log")
    awaited = document["awaited"]
    are_rates = document.get("awaited_rates", [False] * len(awaited))  # an engine of an earlier version does not say
    return Report(
        held=tuple(Held(**entry) for entry in document["held"]),
        awaited=tuple(Awaited(**entry, is_rate=is_rate) for entry, is_rate in zip(awaited, are_rates, strict=True)),
    )


def _ask(engine: Engine, method: str, path: str, timeout_s: float) -> object:
    """The document that the engine's address returns; None if that is no success, or no document."""
    address = urlsplit(engine.endpoint_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request(method, path, headers={"Authorization": authorization(engine.access_key_id)})
        response = connection.getresponse()
        body = response.read()
    with contextlib.suppress(ValueError):
        return json.loads(body) if response.status == _OK else None
    return None
