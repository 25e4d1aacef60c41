"""Claim, renew and release: each condition, holding and failing, straight to the table."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from ddb_lease._protocol.messages import Done, Each, Refused, Rejected, Renew, RenewEach
from ddb_lease.dynamodb import expressions
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.expressions import call_for
from tests.conftest import TABLE
from tests.support import (
    LEASE_MS,
    LONG_AGO,
    NOW,
    TTL,
    claim,
    claimant,
    put_free,
    put_leased,
    release,
    renew,
)

CONTRACT = True  # the simulator's DynamoDB too
AS_STRICT = ("simulated", "dynoxide")
"""Engines that refuse what the service refuses of a batch."""

RENEWS = 'UPDATE "leases" SET "ttl" = ? WHERE "pk" = ? AND "sk" = ? RETURNING ALL NEW *'


class InABatch:
    """A store that sends each renewal in a batch, together with another one that fails."""

    def __init__(self, store):
        self.store = store

    def send(self, request):
        if not isinstance(request, Renew):
            return self.store.send(request)
        reply = self.store.send(RenewEach(renewals=(renew("7-nobody", slot=7), request)))
        assert isinstance(reply.answer, Each)
        nobody, answer = reply.answer.answers
        assert nobody == Refused(slot=None)
        assert answer.slot is None or not isinstance(answer, Refused), "a refused statement never brings the item"
        if isinstance(answer, Refused):
            # So who needs to know asks by an update: refused for the same reason, it shows the item.
            return self.store.send(request)
        return replace(reply, answer=answer)


@pytest.fixture(params=["by itself", "in a batch"])
def renewing(request, store, engine):
    """The store, by both ways that a renewal can go."""
    if request.param == "by itself":
        return store
    if engine.name == "embedded":
        pytest.skip("it knows no such PartiQL: see test_what_an_engine_does_not_know_is_no_renewal")
    return InABatch(store)


def answer_to(store, request):
    return store.send(request).answer


def refused_and_unchanged(store, table, request, *, slot=0):
    """Send what must be refused; the table must not notice. Returns the answer."""
    before = table.all()
    answer = answer_to(store, request)
    assert isinstance(answer, Refused)
    assert table.all() == before
    return answer


def test_a_free_slot_is_claimed_with_all_that_a_lease_is(store, table):
    put_free(table, 0, fence=10)
    request = claim("0-mine", fence=11, data={"job": "nightly"})
    assert answer_to(store, request) == Done()
    assert table.get(0) == {
        "fence": 11,
        "ttl": TTL + 1,
        "lease_id": "0-mine",
        "owner": "me",
        "acquired_at": NOW,
        "expires_at": NOW + LEASE_MS,
        "data": {"job": {"S": "nightly"}},
    }


def test_a_claim_leaves_nothing_of_the_expired_lease_before_it(store, table):
    put_leased(table, 0, expires_at=LONG_AGO, data={"M": {"old": {"S": "data"}}}, revoked="by an operator")
    assert answer_to(store, claim()) == Done()
    assert set(table.get(0)) == {"fence", "ttl", "lease_id", "owner", "acquired_at", "expires_at"}


def test_a_slot_without_an_item_is_not_claimed(store, table):
    answer = refused_and_unchanged(store, table, claim())
    assert answer.slot is None


def test_a_retired_slot_is_not_claimed(store, table):
    put_free(table, 0)
    table.set(0, retired=True)
    answer = refused_and_unchanged(store, table, claim())
    assert answer.slot.retired


@pytest.mark.parametrize("fence", [9, 10])
def test_a_fence_that_does_not_rise_claims_nothing(store, table, fence):
    put_free(table, 0, fence=10)
    assert refused_and_unchanged(store, table, claim(fence=fence)).slot.fence == 10


@pytest.mark.parametrize("expired_before", [NOW - 1, NOW])
def test_a_running_lease_is_not_claimed_over(store, table, expired_before):
    put_leased(table, 0, "0-other", expires_at=NOW)
    answer = refused_and_unchanged(store, table, claim(expired_before=expired_before))
    assert answer.slot.lease.lease_id == "0-other"


def test_a_lease_is_claimed_over_once_it_has_surely_expired(store, table):
    put_leased(table, 0, "0-other", expires_at=NOW)
    assert answer_to(store, claim(expired_before=NOW + 1)) == Done()


def test_a_renewal_moves_the_expiry_and_nothing_else(renewing, table):
    put_leased(table, 0, "0-mine")
    before = table.get(0)
    assert isinstance(answer_to(renewing, renew(expires_at=NOW + 50_000)), Done)
    assert table.get(0) == before | {"expires_at": NOW + 50_000, "ttl": TTL + 1}


def test_a_renewal_to_the_same_expiry_is_fine(renewing, table):
    put_leased(table, 0, "0-mine", expires_at=NOW)
    assert isinstance(answer_to(renewing, renew(expires_at=NOW)), Done)


def test_a_renewal_never_shortens_a_lease(renewing, table):
    put_leased(table, 0, "0-mine", expires_at=NOW)
    answer = refused_and_unchanged(renewing, table, renew(expires_at=NOW - 1))
    assert answer.slot.lease.lease_id == "0-mine"


def test_a_renewal_shows_the_mark_of_a_revocation_and_keeps_it(renewing, table):
    put_leased(table, 0, "0-mine", revoked="by an operator")
    assert answer_to(renewing, renew()).slot.lease.revoked
    assert table.get(0)["revoked"] == "by an operator"


def test_a_lease_that_expired_but_was_not_claimed_may_still_be_renewed(renewing, table):
    put_leased(table, 0, "0-mine", expires_at=LONG_AGO)
    assert isinstance(answer_to(renewing, renew()), Done)


def test_a_lease_on_a_retired_slot_may_be_renewed_and_released(renewing, table):
    put_leased(table, 0, "0-mine", retired=True)
    assert isinstance(answer_to(renewing, renew()), Done)
    assert answer_to(renewing, release()) == Done()
    assert table.get(0) == {"fence": 10, "ttl": TTL + 1, "retired": True}


@pytest.mark.parametrize("request_of", [renew, release])
def test_a_slot_without_an_item_is_not_made_by(request_of, renewing, table):
    assert refused_and_unchanged(renewing, table, request_of()).slot is None


@pytest.mark.parametrize("request_of", [renew, release])
def test_a_free_slot_is_not_touched_by(request_of, renewing, table):
    put_free(table, 0)
    assert refused_and_unchanged(renewing, table, request_of()).slot.lease is None


@pytest.mark.parametrize("request_of", [renew, release])
def test_a_lease_of_another_is_not_touched_by(request_of, renewing, table):
    put_leased(table, 0, "0-other", expires_at=LONG_AGO)
    assert refused_and_unchanged(renewing, table, request_of("0-mine")).slot.lease.lease_id == "0-other"


def test_a_release_drops_all_of_the_lease_and_keeps_the_fence(store, table):
    put_leased(table, 0, "0-mine", data={"M": {"a": {"S": "b"}}}, revoked="by an operator")
    assert answer_to(store, release()) == Done()
    assert table.get(0) == {"fence": 10, "ttl": TTL + 1}


def test_a_release_without_knowing_the_time_keeps_the_ttl_that_is_there(store, table):
    put_leased(table, 0, "0-mine")
    assert answer_to(store, release(ttl=None)) == Done()
    assert table.get(0) == {"fence": 10, "ttl": TTL}


def test_only_the_slot_meant_is_touched(renewing, table):
    put_leased(table, 0, "0-mine")
    put_leased(table, 1, "1-other")
    put_free(table, 2)
    untouched = {number: table.get(number) for number in (1, 2)}
    for request in (renew(), release(), claim("0-again")):
        assert isinstance(answer_to(renewing, request), Done)
        assert {number: table.get(number) for number in (1, 2)} == untouched


def test_the_lease_of_a_claim_reads_back_as_it_was_written(renewing, table):
    put_free(table, 0)
    data = {"s": "x", "n": 1, "f": 0.5, "b": True, "none": None, "list": [1, ["a"]], "map": {"k": "v"}}
    request = claim(data=data)
    renewing.send(request)
    answer = answer_to(renewing, renew(expires_at=NOW + LEASE_MS))
    assert answer.slot.lease == claimant(data=data)
    assert answer.slot.fence == request.fence


def test_in_a_batch_each_renewal_stands_by_itself(store, engine, table):
    if engine.name == "embedded":
        pytest.skip("it knows no such PartiQL")
    put_leased(table, 0, "0-mine")
    put_leased(table, 1, "1-other")
    put_leased(table, 3, "3-mine")
    wanted = (renew("0-mine"), renew("1-mine", slot=1), renew("2-mine", slot=2), renew("3-mine", slot=3))
    before = table.get(1)
    first, second, third, fourth = answer_to(store, RenewEach(renewals=wanted)).answers
    assert (first.slot.lease.lease_id, fourth.slot.lease.lease_id) == ("0-mine", "3-mine")
    assert second == third == Refused(slot=None), "nothing tells which of them is there"
    assert {n: table.get(n)["expires_at"] for n in (0, 3)} == {0: wanted[0].expires_at, 3: wanted[3].expires_at}
    assert (table.get(1), table.get(2)) == (before, None)


@pytest.mark.parametrize("told", ["", "?"], ids=["as we ask", "if the item is asked for"])
def test_a_refused_statement_shows_no_item_as_on_the_service(store, engine, table, told, hands):
    if engine.name not in AS_STRICT:
        pytest.skip("these engines show it if they are asked; the service does not, and we do not ask")
    put_leased(table, 0, "0-other")
    _, call = call_for(RenewEach(renewals=(renew("0-mine"),)), BucketAddress(table=TABLE, bucket=table.bucket))
    asked = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"} if told else {}
    (part,) = hands.batch_execute_statement(Statements=[{**call["Statements"][0], **asked}])["Responses"]
    assert part["Error"] == {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}


@pytest.mark.parametrize("set_", ['"expires_at" = ?, "ttl" = ?', '"expires_at" = ? SET "ttl" = ?'])
def test_both_forms_of_set_are_known(store, engine, table, set_, monkeypatch):
    if engine.name == "embedded":
        pytest.skip("it takes no batches")
    if engine.name == "dynoxide" and ", " not in set_:
        pytest.skip("it knows the form with commas only")
    ours = '"expires_at" = ?, "ttl" = ?'
    assert expressions.RENEW_STATEMENT.count(ours) == 1
    monkeypatch.setattr(expressions, "RENEW_STATEMENT", expressions.RENEW_STATEMENT.replace(ours, set_))
    put_leased(table, 0, "0-mine")
    (answer,) = answer_to(store, RenewEach(renewals=(renew("0-mine"),))).answers
    assert isinstance(answer, Done)
    assert {name: table.get(0)[name] for name in ("expires_at", "ttl")} == {
        "expires_at": renew().expires_at,
        "ttl": renew().ttl,
    }


@pytest.mark.parametrize(
    "second",
    [
        {"Statement": RENEWS, "Parameters": [{"N": "1"}, {"S": "b"}, {"S": "slot#00000"}]},
        {"Statement": 'SELECT * FROM "leases" WHERE "pk" = ? AND "sk" = ?', "Parameters": [{"S": "b"}, {"S": "x"}]},
    ],
    ids=["a duplicate", "another kind"],
)
def test_a_batch_with_two_statements_for_an_item_or_of_two_kinds_is_refused_as_a_whole(engine, hands, second):
    if engine.name not in AS_STRICT:
        pytest.skip("these engines are not as strict as the service")
    first = {"Statement": RENEWS, "Parameters": [{"N": "1"}, {"S": "b"}, {"S": "slot#00000"}]}
    with pytest.raises(ClientError) as refused:
        hands.batch_execute_statement(Statements=[first, second])
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_what_an_engine_does_not_know_is_no_renewal(store, engine, table):
    if engine.name != "embedded":
        pytest.skip("it knows the statement")
    put_leased(table, 0, "0-mine")
    before = table.get(0)
    answer = answer_to(store, RenewEach(renewals=(renew("0-mine"), renew("1-mine", slot=1))))
    assert isinstance(answer, Rejected)
    assert table.get(0) == before
