"""Close: each half of its condition, holding and failing, and what it writes, straight to the table."""

import pytest

from ddb_lease._protocol.messages import Close, Done, Refused
from tests.support import NOW, TTL, put_free, put_leased, release, renew

CONTRACT = True  # the simulator's DynamoDB too

CLOSE = Close(slot=0, lease_id="0-mine", closed_id="0-closed-mine", expires_at=NOW + 900_000, ttl=TTL + 900)


def test_the_slot_carries_a_lease_of_nobodys_and_says_who_closed_it(store, table):
    put_leased(table, 0, "0-mine", data={"M": {"job": {"S": "nightly"}}}, revoked="by an operator")
    before = table.get(0)
    assert store.send(CLOSE).answer == Done()
    kept = {name: before[name] for name in ("fence", "owner", "acquired_at")}
    after = {name: value for name, value in table.get(0).items() if name not in {"pk", "sk"}}
    assert after == kept | {"lease_id": "0-closed-mine", "expires_at": NOW + 900_000, "ttl": TTL + 900}


@pytest.mark.parametrize("there", [None, "free", "0-other", "0-closed-mine"])
def test_nothing_else_is_closed_and_no_slot_made(store, table, there):
    if there == "free":
        put_free(table, 0)
    elif there:
        put_leased(table, 0, there)
    before = table.all()
    answer = store.send(CLOSE).answer
    assert isinstance(answer, Refused)
    assert (answer.slot is None) == (there is None)
    assert table.all() == before


def test_a_late_renewal_or_release_of_the_lease_finds_it_closed(store, table):
    put_leased(table, 0, "0-mine")
    store.send(CLOSE)
    before = table.all()
    assert isinstance(store.send(renew("0-mine", expires_at=NOW + 2_000_000)).answer, Refused)
    assert isinstance(store.send(release("0-mine")).answer, Refused)
    assert table.all() == before


def test_a_release_by_the_new_id_opens_it(store, table):
    put_leased(table, 0, "0-mine")
    store.send(CLOSE)
    assert store.send(release("0-closed-mine")).answer == Done()
    assert "lease_id" not in table.get(0)
    assert "owner" not in table.get(0)
