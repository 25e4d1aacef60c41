"""Probes of requests about the tickets of an ordered bucket's waiters. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ddb_lease._protocol.tickets import DropTicket, LookAtQueue, PutTicket, RefreshTicket, Ticket
from ddb_lease.cli.conform.probe import Items, Probe
from ddb_lease.cli.conform.samples import LATER, NOW, TTL, counter, free
from ddb_lease.dynamodb.items import Wire, number, slot_key, text
from ddb_lease.dynamodb.tickets import ticket_key

_REFUSED: Final = "ConditionalCheckFailedException"
_SHOWN: Final = f"{_REFUSED} with the item"


def _ticket(arrival: int = NOW, *, priority: int = 0, expires_at: int = NOW + 60_000) -> Ticket:
    return Ticket(
        priority=priority, arrival=arrival, name=f"{arrival % 16:016x}", owner="owner", count=2, expires_at=expires_at
    )


def _item(ticket: Ticket, *, ttl: int = TTL) -> Wire:
    return {
        "owner": text(ticket.owner),
        "count": number(ticket.count),
        "expires_at": number(ticket.expires_at),
        "ttl": number(ttl),
    }


def ticket_probes() -> Iterator[Probe]:
    """All of them."""
    own, later = _ticket(), _ticket(expires_at=NOW + 90_000)
    key = ticket_key(own)
    there: Items = {key: _item(own)}
    yield Probe(
        name="join the queue",
        request=PutTicket(ticket=own, ttl=LATER),
        units=1,
        after={key: _item(own, ttl=LATER)},
    )
    yield Probe(
        name="join the queue with a ticket that is there",
        request=PutTicket(ticket=own, ttl=LATER),
        before=there,
        answer=_SHOWN,
        read="Refused",
    )
    yield Probe(
        name="refresh a ticket",
        request=RefreshTicket(ticket=later, ttl=LATER),
        before=there,
        units=1,
        after={key: {"expires_at": number(later.expires_at), "ttl": number(LATER)}},
    )
    yield Probe(
        name="refresh a ticket that lasts longer",
        request=RefreshTicket(ticket=own, ttl=LATER),
        before={key: _item(later)},
        answer=_SHOWN,
        read="Refused",
    )
    yield Probe(
        name="refresh a ticket that is gone",
        request=RefreshTicket(ticket=own, ttl=LATER),
        answer=_REFUSED,
        read="Refused",
    )
    yield Probe(name="drop a ticket", request=DropTicket(ticket=own), before=there, units=1, after={key: None})
    yield Probe(
        name="drop a ticket that was refreshed since",
        request=DropTicket(ticket=own),
        before={key: _item(later)},
        answer=_SHOWN,
        read="Refused",
    )
    yield Probe(name="drop a ticket that is gone", request=DropTicket(ticket=own), answer=_REFUSED, read="Refused")
    urgent, last = _ticket(NOW + 1, priority=9), _ticket(NOW + 2)
    queue: Items = {
        "counter": counter(),
        slot_key(0): free(),
        "waits": {"x": text("foreign")},
        **{ticket_key(ticket): _item(ticket) for ticket in (own, urgent, last)},
    }
    yield Probe(
        name="look at the queue",
        request=LookAtQueue(limit=2, consistent=False),
        before=queue,
        answer="ok, 2 items, more",
        read="QueueSeen",
        units=0.5,
    )
    yield Probe(
        name="look for the last of one priority",
        request=LookAtQueue(limit=1, consistent=True, last_of=0),
        before=queue,
        answer="ok, 1 item, more",
        read="QueueSeen",
        units=1,
    )
