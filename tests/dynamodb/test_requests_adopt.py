"""Handing over and adopting: each condition, holding and failing, straight to the table."""

import pytest

from ddb_lease._protocol.messages import Done, Refused, Renew
from tests.support import LEASE_MS, NOW, TTL, adopt, put_free, put_leased

CONTRACT = True  # the simulator's DynamoDB too
SLOTS = pytest.mark.parametrize("slots", [(0,), (0, 2)], ids=["one slot", "two slots"])


def put_given(table, slots, **more):
    for slot in slots:
        put_leased(table, slot, "0-giver", data={"M": {"old": {"S": "data"}}}, **more)


def refused_and_unchanged(store, table, request):
    before = table.all()
    answer = store.send(request).answer
    assert isinstance(answer, Refused)
    assert table.all() == before
    return answer


@SLOTS
def test_a_lease_that_was_handed_over_becomes_another_with_all_that_a_lease_is(store, table, slots):
    put_given(table, slots)
    assert store.send(adopt(*slots, data={"job": "nightly"})).answer == Done()
    for slot in slots:
        assert table.get(slot) == {
            "fence": 100,
            "ttl": TTL + 1,
            "lease_id": "0-mine",
            "owner": "me",
            "acquired_at": NOW,
            "expires_at": NOW + LEASE_MS,
            "data": {"job": {"S": "nightly"}},
        }


def test_the_givers_data_is_not_kept_and_a_retired_slot_stays_retired(store, table):
    put_given(table, [0], retired=True)
    assert store.send(adopt(0)).answer == Done()
    assert set(table.get(0)) == {"fence", "ttl", "lease_id", "owner", "acquired_at", "expires_at", "retired"}


def test_its_expiry_may_be_earlier_than_the_givers(store, table):
    put_given(table, [0], expires_at=NOW + 10 * LEASE_MS)
    assert store.send(adopt(0)).answer == Done()
    assert table.get(0)["expires_at"] == NOW + LEASE_MS


@SLOTS
@pytest.mark.parametrize("there", [None, "free", "0-other", "0-mine"])
def test_no_other_lease_is_adopted_nor_is_a_slot_made(store, table, slots, there):
    put_given(table, slots)
    table.delete(slots[-1])
    if there == "free":
        put_free(table, slots[-1])
    elif there:
        put_leased(table, slots[-1], there)
    answer = refused_and_unchanged(store, table, adopt(*slots))
    found = answer.slot if len(slots) == 1 else answer.found[slots[-1]]
    assert (found and found.lease and found.lease.lease_id) == (None if there == "free" else there)


@SLOTS
@pytest.mark.parametrize("fence", [9, 10])
def test_a_fence_that_does_not_rise_adopts_nothing(store, table, slots, fence):
    put_given(table, slots)
    answer = refused_and_unchanged(store, table, adopt(*slots, fence=fence))
    assert answer.slot.fence == 10


@SLOTS
def test_a_revoked_lease_is_not_adopted(store, table, slots):
    put_given(table, slots)
    table.set(slots[-1], revoked="an operator")
    assert refused_and_unchanged(store, table, adopt(*slots)).slot.lease.revoked


@SLOTS
def test_a_second_copy_of_it_does_nothing(store, table, slots):
    put_given(table, slots)
    request = adopt(*slots)
    assert store.send(request).answer == Done()
    before = table.all()
    again = store.send(request).answer  # a transaction is answered by its token
    assert again == Done() if len(slots) > 1 else again.slot.lease.lease_id == "0-mine"
    assert table.all() == before


def test_the_renewal_that_hands_over_says_who_did_so(store, table):
    put_leased(table, 0, "0-mine")
    before = table.get(0)
    request = Renew(slot=0, lease_id="0-mine", expires_at=NOW + 50_000, ttl=TTL + 1, owner="me (handed over)")
    answer = store.send(request).answer
    assert answer.slot.lease.owner == "me (handed over)"
    assert table.get(0) == before | {"expires_at": NOW + 50_000, "ttl": TTL + 1, "owner": "me (handed over)"}
