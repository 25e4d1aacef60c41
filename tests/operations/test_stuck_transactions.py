"""A transaction that is stuck: we ask for its outcome, with the same token, until the service has recovered it.

The engines here get stuck in none. So a store before them says so: to the same request that it is in progress, to any
other transaction that it conflicts, for as long as the service does.
"""

import math
from dataclasses import dataclass, field

import pytest
from botocore.exceptions import ClientError

from ddb_lease import StoreUnavailable
from ddb_lease._protocol.messages import BringBack, Create, Mint, Release, Reply, Retire, Unknown
from ddb_lease._protocol.retry import RECOVERY_SECONDS
from scripts.harness.simulated_dynamodb import STUCK_SECONDS, DynamoDB
from tests.operations.test_acquire_recovery import ready_for
from tests.support import CONFLICT, THROTTLED, TTL, Injected, leases_in, put_counter, put_free

CONTRACT = True  # the simulator's DynamoDB too

STUCK = Unknown(cause=Injected("the transaction is in progress"), in_progress=True)
TRANSACTIONS = pytest.mark.parametrize("kind", [Mint, BringBack, Create, Retire])
COMMITTED = pytest.mark.parametrize("commits", [True, False], ids=["finished", "taken back"])


@dataclass
class Sticking:
    """A store whose first transaction of a kind is stuck for some seconds, and is then finished, or taken back."""

    store: object
    clock: object
    kind: type
    seconds: float
    commits: bool
    stuck: object = None
    until: float = math.inf
    sent: list[float] = field(default_factory=list)
    also: list[object] = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.store, name)

    def send(self, request):
        now = self.clock.steady()
        transaction = isinstance(request, (Mint, BringBack, Create, Retire))
        if self.stuck is None and isinstance(request, self.kind):
            self.stuck, self.until = request, now + self.seconds
        if request == self.stuck:
            self.sent.append(now)
            if self.also:
                return Reply(answer=self.also.pop(0), genuine=False, date=None)
        if self.stuck is not None and now < self.until and (transaction or isinstance(request, Release)):
            answer = STUCK if request == self.stuck else CONFLICT
            return Reply(answer=answer, genuine=False, date=None)
        if self.stuck is not None and now >= self.until and self.commits:
            self.commits = False
            self.store.send(self.stuck)
        return self.store.send(request)


def sticking(environment, kind, *, seconds=STUCK_SECONDS, commits=True, max_tokens=1):
    bucket = environment.bucket(max_tokens=max_tokens)
    bucket.tap.store = Sticking(bucket.tap.store, environment.clock, kind, seconds, commits)
    return bucket, bucket.tap.store


@TRANSACTIONS
@COMMITTED
def test_a_stuck_transaction_is_asked_for_with_its_token_until_it_is_recovered(environment, table, kind, commits):
    ready_for(kind, table)
    bucket, service = sticking(environment, kind, commits=commits)
    lease = bucket.acquire(timeout=20)
    assert leases_in(table) == {0: lease.id}
    assert {request.token for request in bucket.tap.of(kind)} == {service.stuck.token}
    assert service.sent[-1] - service.sent[0] >= STUCK_SECONDS
    assert len(service.sent) < 30
    assert table.get("counter")["minted"] == 1


def test_throttled_meanwhile_it_is_asked_for_with_its_token_all_the_same(environment, table):
    ready_for(Mint, table)
    bucket, service = sticking(environment, Mint)
    service.also = [STUCK, THROTTLED, CONFLICT, THROTTLED]
    lease = bucket.acquire(timeout=20)
    assert leases_in(table) == {0: lease.id}
    assert len({request.token for request in bucket.tap.of(Mint)}) == 1


def test_it_is_asked_for_six_seconds_at_least_and_then_another_is_tried(environment, table):
    ready_for(Mint, table)
    bucket, service = sticking(environment, Mint, seconds=1_000.0)
    with pytest.raises(StoreUnavailable):
        bucket.try_acquire()
    assert RECOVERY_SECONDS <= service.sent[-1] - service.sent[0] < RECOVERY_SECONDS + 2.0
    assert len({request.token for request in bucket.tap.of(Mint)}) > 1


def test_a_timeout_ends_the_asking(environment, table):
    ready_for(Mint, table)
    bucket, service = sticking(environment, Mint)
    began = environment.clock.steady()
    with pytest.raises(StoreUnavailable):
        bucket.acquire(timeout=2)
    assert service.sent[-1] <= began + 2.0
    assert environment.clock.steady() < began + 4.0


def test_a_resize_waits_for_its_stuck_transaction(environment, table):
    put_counter(table, max_tokens=3, minted=3)
    put_free(table, 0, 1, 2)
    bucket, service = sticking(environment, Retire, max_tokens=3)
    assert bucket.resize(1).retired == 2
    assert len({request.token for request in bucket.tap.of(Retire)}) == 1
    assert service.sent[-1] - service.sent[0] >= STUCK_SECONDS


# The simulator's own.


def a_put(sort, **more):
    item = {"pk": {"S": "b"}, "sk": {"S": sort}, "ttl": {"N": str(TTL)}, **more}
    return {"TableName": "t", "Item": item}


TRANSACTION = {"TransactItems": [{"Put": a_put("x")}, {"Put": a_put("y")}], "ClientRequestToken": "token"}


def code_of(service, operation, arguments, *, now):
    try:
        service.execute(operation, arguments, now=now, date=now)
    except ClientError as error:
        reasons = error.response.get("CancellationReasons", [])
        return [error.response["Error"]["Code"], *(reason["Code"] for reason in reasons)]
    return []


def stuck(*, commits=True):
    service = DynamoDB()
    told = service.stick(TRANSACTION, now=100.0, date=100.0, commits=commits)
    assert told.response["Error"]["Code"] == "TransactionInProgressException"
    return service


@COMMITTED
def test_the_simulator_keeps_a_transaction_stuck_for_five_seconds(commits):
    service = stuck(commits=commits)
    for now in (100.0, 104.9):
        assert code_of(service, "transact_write_items", TRANSACTION, now=now) == ["TransactionInProgressException"]
    assert service.items == {}
    service.recover(105.0)
    assert set(service.items) == ({("b", "x"), ("b", "y")} if commits else set())
    assert code_of(service, "transact_write_items", TRANSACTION, now=105.0) == []
    assert set(service.items) == {("b", "x"), ("b", "y")}


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("put_item", a_put("x"), ["TransactionConflictException"]),
        ("put_item", a_put("z"), []),
        ("get_item", {"TableName": "t", "Key": {"pk": {"S": "b"}, "sk": {"S": "x"}}}, []),
        (
            "transact_write_items",
            {"TransactItems": [{"Put": a_put("z")}, {"Put": a_put("y")}], "ClientRequestToken": "another"},
            ["TransactionCanceledException", "None", "TransactionConflict"],
        ),
        (
            "transact_get_items",
            {"TransactItems": [{"Get": {"TableName": "t", "Key": {"pk": {"S": "b"}, "sk": {"S": "y"}}}}]},
            ["TransactionCanceledException", "TransactionConflict"],
        ),
    ],
    ids=["write", "write beside it", "read", "transaction", "transactional read"],
)
def test_meanwhile_others_conflict_with_it(operation, arguments, code):
    assert code_of(stuck(), operation, arguments, now=101.0) == code
