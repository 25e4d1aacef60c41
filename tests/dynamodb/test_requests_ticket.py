"""Requests about tickets: each condition, holding and failing, straight to the table."""

from dataclasses import replace

import pytest

from ddb_lease._protocol.messages import Done, Look, Refused
from ddb_lease._protocol.tickets import DropTicket, LookAtQueue, PutTicket, QueueSeen, RefreshTicket, Ticket
from ddb_lease.dynamodb.tickets import ticket_key
from tests.support import NOW, TTL, put_counter, put_free

CONTRACT = True  # the simulator's DynamoDB too

OWN = Ticket(priority=3, arrival=NOW, name="00000000000000aa", owner="me", count=2, expires_at=NOW + 60_000)
KEY = "wait#6#2000000000000#00000000000000aa"


def answer_to(store, request):
    return store.send(request).answer


def put(store, *tickets):
    for ticket in tickets:
        assert answer_to(store, PutTicket(ticket=ticket, ttl=TTL)) == Done()


def test_a_ticket_is_an_item_whose_key_says_its_place(store, table):
    put(store, OWN)
    assert ticket_key(OWN) == KEY
    assert table.all() == {KEY: {"owner": "me", "count": 2, "expires_at": NOW + 60_000, "ttl": TTL}}


def test_a_ticket_that_is_there_is_not_put_again(store, table):
    put(store, OWN)
    before = table.all()
    assert isinstance(answer_to(store, PutTicket(ticket=replace(OWN, expires_at=1), ttl=1)), Refused)
    assert table.all() == before


def test_a_refreshment_moves_the_expiry_and_never_backwards(store, table):
    put(store, OWN)
    assert answer_to(store, RefreshTicket(ticket=replace(OWN, expires_at=NOW + 70_000), ttl=TTL + 1)) == Done()
    after = {KEY: {"owner": "me", "count": 2, "expires_at": NOW + 70_000, "ttl": TTL + 1}}
    assert table.all() == after
    assert isinstance(answer_to(store, RefreshTicket(ticket=OWN, ttl=TTL)), Refused)
    assert table.all() == after


def test_a_ticket_that_is_gone_is_not_made_by_a_refreshment(store, table):
    assert isinstance(answer_to(store, RefreshTicket(ticket=OWN, ttl=TTL)), Refused)
    assert isinstance(answer_to(store, DropTicket(ticket=OWN)), Refused)
    assert table.all() == {}


@pytest.mark.parametrize(("seen", "dropped"), [(60_000, True), (60_001, True), (59_999, False)])
def test_a_ticket_is_deleted_unless_it_was_refreshed_since_it_was_seen(store, table, seen, dropped):
    put(store, OWN)
    answer = answer_to(store, DropTicket(ticket=replace(OWN, expires_at=NOW + seen)))
    assert isinstance(answer, Done if dropped else Refused)
    assert (table.all() == {}) == dropped


def test_an_item_of_another_shape_is_neither_refreshed_nor_deleted_nor_seen(store, table):
    table.set(KEY, count=1)
    before = table.all()
    assert isinstance(answer_to(store, RefreshTicket(ticket=OWN, ttl=TTL)), Refused)
    assert isinstance(answer_to(store, DropTicket(ticket=OWN)), Refused)
    assert table.all() == before
    assert answer_to(store, LookAtQueue(limit=9, consistent=True)) == QueueSeen(tickets=(), more=False)


def test_a_look_shows_the_queue_in_order_and_nothing_else(store, table):
    tickets = [
        replace(OWN, priority=9, arrival=NOW + 3),
        replace(OWN, priority=9, arrival=NOW + 4),
        OWN,
        replace(OWN, name="00000000000000ab"),
        replace(OWN, priority=0, arrival=1),
    ]
    put_counter(table)
    put_free(table, 0, 1)
    table.set("waiting", x=1)
    table.set("wait#x", x=1)
    table.set("wait#6#2000000000000#00000000000000AA", count=1, expires_at=1)
    table.set("wait#6#2000000000000#00000000000000ac", count=0, expires_at=1)
    put(store, *reversed(tickets))
    assert answer_to(store, LookAtQueue(limit=20, consistent=True)) == QueueSeen(tickets=tuple(tickets), more=False)
    assert answer_to(store, LookAtQueue(limit=2, consistent=True)) == QueueSeen(tickets=tuple(tickets[:2]), more=True)
    first = answer_to(store, LookAtQueue(limit=2, consistent=True))
    rest = answer_to(store, LookAtQueue(limit=20, consistent=True, after=first.end))
    assert rest == QueueSeen(tickets=tuple(tickets[2:]), more=False)
    assert rest.end is None
    seen = answer_to(store, Look(limit=9, consistent=True))
    assert set(seen.view.slots) == {0, 1}
    assert not seen.more, "a look at slots reads no tickets"


@pytest.mark.parametrize(("priority", "last"), [(9, 4), (3, 3), (5, None)])
def test_the_last_of_a_priority_is_found_without_the_others(store, table, priority, last):
    put(store, *(replace(OWN, priority=p, arrival=NOW + n) for p, n in ((9, 3), (9, 4), (3, 0), (3, 3), (0, 9))))
    seen = answer_to(store, LookAtQueue(limit=1, consistent=True, last_of=priority))
    assert [ticket.arrival - NOW for ticket in seen.tickets] == ([] if last is None else [last])
