"""The queue in an answer: tickets by place, and what is none is passed over."""

import pytest

from ddb_lease._protocol.messages import Unknown
from ddb_lease._protocol.tickets import LookAtQueue, QueueSeen, Ticket
from ddb_lease.dynamodb.answers import read_answer
from ddb_lease.dynamodb.tickets import read_queue, ticket_key

FIRST = Ticket(priority=9, arrival=7, name="00000000000000ff", owner="a", count=1, expires_at=50)
SECOND = Ticket(priority=3, arrival=5, name="00000000000000ab", owner="b", count=99, expires_at=40)
THIRD = Ticket(priority=3, arrival=5, name="00000000000000ac", owner="", count=2, expires_at=-1)
ITEMS = [
    {"sk": {"S": "wait#6#0000000000005#00000000000000ac"}, "count": {"N": "2"}, "expires_at": {"N": "-1"}},
    {
        "sk": {"S": "wait#6#0000000000005#00000000000000ab"},
        "owner": {"S": "b"},
        "count": {"N": "99"},
        "expires_at": {"N": "40"},
    },
    {
        "sk": {"S": "wait#0#0000000000007#00000000000000ff"},
        "owner": {"S": "a"},
        "count": {"N": "1"},
        "expires_at": {"N": "50"},
    },
]


def test_tickets_are_read_whole_and_by_place():
    seen = read_queue({"Items": ITEMS})
    assert seen == QueueSeen(tickets=(FIRST, SECOND, THIRD), more=False)
    assert seen.end is None


def test_a_tickets_key_is_the_one_that_it_is_read_from():
    assert [ticket_key(ticket) for ticket in (THIRD, SECOND, FIRST)] == [item["sk"]["S"] for item in ITEMS]


@pytest.mark.parametrize(
    ("last", "more", "end"),
    [
        ({"pk": {"S": "b"}, "sk": {"S": "wait#6#x"}}, True, "wait#6#x"),
        ({"pk": {"S": "b"}}, True, None),
        ({}, False, None),
        (None, False, None),
        ("?", False, None),
    ],
    ids=str,
)
def test_a_page_that_ends_early_says_where(last, more, end):
    seen = read_queue({"Items": [], "LastEvaluatedKey": last})
    assert (seen.tickets, seen.more, seen.end) == ((), more, end)


@pytest.mark.parametrize(
    "changes",
    [
        {"count": {"N": "0"}},
        {"count": {"N": "100"}},
        {"count": {"S": "1"}},
        {"count": {"N": "x"}},
        {"count": {"N": "NaN"}},
        {"count": None},
        {"count": {}},
        {"expires_at": {"N": "0.5"}},
        {"expires_at": {}},
        {"expires_at": None},
        {"sk": {"N": "1"}},
        {"sk": {"S": "wait#0#000000000007#00000000000000ff"}},
        {"sk": {"S": "wait#10#0000000000007#00000000000000ff"}},
        {"sk": {"S": "wait#0#0000000000007#00000000000000FF"}},
        {"sk": {"S": "wait#0#0000000000007#00000000000000f"}},
        {"sk": {"S": "wait#0#0000000000007#00000000000000ff0"}},
        {"sk": {"S": "wait#0#0000000000007#00000000000000ff\n"}},
        {"sk": {"S": "a wait#0#0000000000007#00000000000000ff"}},
        {"sk": {"S": "wait#٠#0000000000007#00000000000000ff"}},
    ],
    ids=str,
)
def test_what_is_no_ticket_hides_no_other(changes):
    assert read_queue({"Items": [ITEMS[2] | changes, None, "?", ITEMS[1]]}) == QueueSeen(tickets=(SECOND,), more=False)


@pytest.mark.parametrize("response", [{}, {"Items": None}, {"Items": {}}], ids=str)
def test_an_answer_without_a_list_does_not_say_that_nobody_waits(response):
    assert read_queue(response) is None
    answer = read_answer(LookAtQueue(limit=9, consistent=True), response)
    assert isinstance(answer, Unknown)
    assert str(answer.cause) == "the answer to a Query has no list of items"


def test_an_empty_queue_is_an_answer():
    assert read_answer(LookAtQueue(limit=9, consistent=True), {"Items": []}) == QueueSeen(tickets=(), more=False)
