"""Minting, bringing back, retiring and creating: each condition, holding and failing, straight to the table."""

import pytest
from botocore.exceptions import ClientError

from ddb_lease._protocol.messages import Done, Refused, Rejected
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import read_failure
from ddb_lease.dynamodb.expressions import call_for
from tests.conftest import TABLE
from tests.support import (
    LEASE_MS,
    NOW,
    TTL,
    bring_back,
    create,
    mint,
    put_counter,
    put_free,
    put_leased,
    retire,
)

CONTRACT = True  # the simulator's DynamoDB too

FORMS = pytest.mark.parametrize("re_mint", [False, True], ids=["counting", "re-minting"])


def answer_to(store, request):
    return store.send(request).answer


def refused_and_unchanged(store, table, request):
    before = table.all()
    answer = answer_to(store, request)
    assert isinstance(answer, Refused)
    assert table.all() == before
    return answer


def put_retired(table, slot, **lease):
    put_free(table, slot) if not lease else put_leased(table, slot, **lease)
    table.set(slot, retired=True)


def test_minting_makes_a_leased_slot_and_counts_it(store, table):
    put_counter(table, minted=1, rev=7)
    assert answer_to(store, mint(slot=2, fence=100)) == Done()
    assert table.get(2) == {
        "fence": 100,
        "ttl": TTL + 1,
        "lease_id": "0-mine",
        "owner": "me",
        "acquired_at": NOW,
        "expires_at": NOW + LEASE_MS,
    }
    assert table.get("counter") == {"max_tokens": 3, "minted": 2, "rev": 8, "lease_ms": LEASE_MS, "schema": 1}


def test_re_minting_fills_what_was_counted_but_is_gone_and_counts_nothing_new(store, table):
    put_counter(table, minted=5, rev=7)
    assert answer_to(store, mint(slot=2, re_mint=True)) == Done()
    assert table.get("counter") == {"max_tokens": 3, "minted": 3, "rev": 8, "lease_ms": LEASE_MS, "schema": 1}


@FORMS
@pytest.mark.parametrize("retired", [False, True])
def test_a_slot_that_exists_is_not_minted_over(store, table, re_mint, retired):
    put_counter(table, minted=3 if re_mint else 1)
    put_free(table, 0)
    if retired:
        table.set(0, retired=True)
    answer = refused_and_unchanged(store, table, mint(re_mint=re_mint))
    assert answer.slot_failed
    assert answer.slot.fence == 10
    assert not answer.counter_failed


@FORMS
@pytest.mark.parametrize("slot", [3, 4])
def test_no_slot_at_or_above_max_tokens_is_minted(store, table, re_mint, slot):
    put_counter(table, max_tokens=3, minted=3 if re_mint else 0)
    answer = refused_and_unchanged(store, table, mint(slot=slot, re_mint=re_mint))
    assert not answer.slot_failed
    assert answer.counter_failed
    assert answer.counter.max_tokens == 3


@pytest.mark.parametrize("minted", [3, 4])
def test_nothing_is_minted_once_all_are_counted(store, table, minted):
    put_counter(table, minted=minted)
    assert refused_and_unchanged(store, table, mint()).counter.minted == minted


def test_nothing_is_re_minted_while_there_is_room_to_count(store, table):
    put_counter(table, minted=2)
    assert refused_and_unchanged(store, table, mint(re_mint=True)).counter.minted == 2


@FORMS
def test_nothing_is_minted_without_a_counter(store, table, re_mint):
    answer = refused_and_unchanged(store, table, mint(re_mint=re_mint))
    assert answer.counter_failed
    assert answer.counter is None


@FORMS
def test_bringing_back_ends_a_retirement_and_counts_it(store, table, re_mint):
    put_counter(table, minted=4 if re_mint else 1, rev=7)
    put_retired(table, 0)
    assert answer_to(store, bring_back(re_mint=re_mint)) == Done()
    assert table.get(0) == {"fence": 10, "ttl": TTL}
    counter = table.get("counter")
    assert (counter["minted"], counter["rev"]) == (3 if re_mint else 2, 8)


def test_a_lease_that_still_runs_on_a_slot_brought_back_stays(store, table):
    put_counter(table, minted=1)
    put_retired(table, 0, lease_id="0-other", data={"M": {"a": {"S": "b"}}})
    before = table.get(0)
    assert answer_to(store, bring_back()) == Done()
    after = table.get(0)
    assert "retired" not in after
    assert after == {name: value for name, value in before.items() if name != "retired"}


@FORMS
def test_a_slot_in_circulation_is_not_brought_back_again(store, table, re_mint):
    put_counter(table, minted=3 if re_mint else 1)
    put_free(table, 0)
    assert refused_and_unchanged(store, table, bring_back(re_mint=re_mint)).slot_failed


@FORMS
def test_a_slot_without_an_item_is_not_brought_back(store, table, re_mint):
    put_counter(table, minted=3 if re_mint else 1)
    answer = refused_and_unchanged(store, table, bring_back(re_mint=re_mint))
    assert answer.slot_failed
    assert answer.slot is None


@FORMS
def test_no_slot_at_or_above_max_tokens_is_brought_back(store, table, re_mint):
    put_counter(table, minted=3 if re_mint else 1)
    put_retired(table, 3)
    assert refused_and_unchanged(store, table, bring_back(3, re_mint=re_mint)).counter_failed


@pytest.mark.parametrize(("minted", "re_mint"), [(3, False), (2, True)])
def test_bringing_back_in_the_wrong_form_changes_nothing(store, table, minted, re_mint):
    put_counter(table, minted=minted)
    put_retired(table, 0)
    answer = refused_and_unchanged(store, table, bring_back(re_mint=re_mint))
    assert not answer.slot_failed
    assert answer.counter.minted == minted


def test_retiring_takes_slots_out_and_lets_their_leases_run(store, table):
    put_counter(table, minted=3, rev=7)
    put_leased(table, 1, "1-other")
    put_free(table, 2)
    before = table.get(1)
    assert answer_to(store, retire(1, 2, rev=7, max_tokens=1, minted=1)) == Done()
    assert table.get(1) == before | {"retired": True}
    assert table.get(2) == {"fence": 10, "retired": True, "ttl": TTL}
    assert table.get("counter") == {"max_tokens": 1, "minted": 1, "rev": 8, "lease_ms": LEASE_MS, "schema": 1}


def test_a_slot_that_a_hand_left_without_a_ttl_gets_one(store, table):
    put_counter(table, minted=3, rev=7)
    table.set(2, fence=10)
    store.send(retire(2, rev=7, max_tokens=2, minted=2))
    assert table.get(2) == {"fence": 10, "retired": True, "ttl": TTL + 1}
    table.unset(2, "ttl")
    put_counter(table, minted=2)
    store.send(bring_back(2))
    assert table.get(2) == {"fence": 10, "ttl": TTL + 1}


@pytest.mark.parametrize("rev", [6, 8])
def test_nothing_is_retired_where_the_counter_is_not_as_seen(store, table, rev):
    put_counter(table, rev=7)
    put_free(table, 2)
    assert refused_and_unchanged(store, table, retire(2, rev=rev, max_tokens=2, minted=2)).counter.rev == 7


@pytest.mark.parametrize("there", [False, True], ids=["missing", "retired already"])
def test_all_slots_are_retired_or_none(store, table, there):
    put_counter(table, rev=7)
    put_free(table, 1)
    if there:
        put_retired(table, 2)
    assert refused_and_unchanged(store, table, retire(1, 2, rev=7, max_tokens=1, minted=1)).slot_failed


def test_creating_makes_the_counter_and_free_slots(store, table):
    assert answer_to(store, create(max_tokens=3, minted=3, slots=3)) == Done()
    assert table.get("counter") == {"max_tokens": 3, "minted": 3, "rev": NOW, "lease_ms": LEASE_MS, "schema": 1}
    assert table.slots() == {n: {"fence": 50, "ttl": TTL + 1} for n in range(3)}


def test_creating_fills_a_whole_transaction_for_a_large_bucket(store, table):
    assert answer_to(store, create(max_tokens=500, minted=99, slots=99)) == Done()
    assert len(table.slots()) == 99


def test_a_bucket_is_not_created_over_another(store, table):
    put_counter(table, max_tokens=9)
    answer = refused_and_unchanged(store, table, create())
    assert answer.counter_failed
    assert answer.counter.max_tokens == 9


def test_a_bucket_is_not_created_over_a_slot(store, table):
    put_leased(table, 1)
    answer = refused_and_unchanged(store, table, create())
    assert answer.slot_failed
    assert not answer.counter_failed


def test_creating_the_counter_alone_leaves_old_slots_as_they_are(store, table):
    put_leased(table, 1)
    before = table.get(1)
    assert answer_to(store, create(slots=0, minted=3)) == Done()
    assert table.slots() == {1: before}


def test_a_key_of_a_wrong_type_cancels_a_transaction_and_is_told_with_the_hint_about_keys(engine, hands, table):
    # As on a table whose sort key is a number; there it is our key that has the wrong type.
    method, call = call_for(mint(), BucketAddress(table=TABLE, bucket=table.bucket))
    call["TransactItems"][0]["Put"]["Item"]["sk"] = {"N": "1"}
    with pytest.raises(ClientError) as refused:
        getattr(hands, method)(**call)
    if engine.name == "simulated":  # as the service; the engines refuse the whole request
        assert refused.value.response["Error"]["Code"] == "TransactionCanceledException"
        first, _ = refused.value.response["CancellationReasons"]
        assert first["Code"] == "ValidationError"
    answer = read_failure(refused.value, BucketAddress(table=TABLE, bucket=table.bucket), mint())
    assert isinstance(answer, Rejected)
    assert "keys than pk and sk" in str(answer.error)
    assert table.all() == {}
