"""Each operation needs exactly its permissions: the documented policy, against the requests really sent."""

import argparse
import contextlib
import json
import re
import typing
import uuid
from pathlib import Path

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, LeaseBucket, Limit, RateLimiter, UnknownBucket
from ddb_lease._protocol.listing import ListPage
from ddb_lease._protocol.messages import Grow, Recount, Request, Revoke, SetOrder, Snapshot
from ddb_lease._protocol.rates import messages as rates
from ddb_lease._protocol.tickets import PutTicket, RefreshTicket
from ddb_lease._runtime.clock import SystemClock
from ddb_lease._runtime.hits_core import HitsCore
from ddb_lease._runtime.listing import TableReader
from ddb_lease._runtime.ports import Wakeup
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.cli import main
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.permissions import OPTIONAL, ROLES, actions, policy
from ddb_lease.dynamodb.table import create_table
from scripts.harness.inside import core_of
from tests.conftest import QUICK, TABLE
from tests.support import Tap, eventually, put_counter, put_free, put_leased, renew_soon

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
SECTION = re.search(r"^## Permissions\n(.*?)(?=^## )", PAGE, flags=re.MULTILINE | re.DOTALL).group(1)
(CONDITION,) = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", SECTION, flags=re.DOTALL))
ROWS = re.findall(r"^\| (worker|operator|reader|deployer) \| (.*?) \| (.*?) \|$", SECTION, flags=re.MULTILINE)

NUMBERS = dict(zip(("three", "four", "five", "six", "seven"), range(3, 8), strict=True))


def test_every_page_that_counts_a_workers_actions_counts_them_all():
    texts = [page.read_text() for page in sorted((Path(__file__).parents[2] / "docs").rglob("*.md"))]
    counted = [word for text in texts for word in re.findall(r"[Ww]orkers? needs? (\w+) actions", text)]
    assert counted
    assert {NUMBERS[word] for word in counted} == {len(ROLES["worker"])}


IN_TRANSACTION = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}
"""IAM has no action for a transaction: each item in it needs the permission of its own."""


def _renewed(one):
    """The key in a statement of a batch: none of our batches holds anything else."""
    assert one["Statement"].startswith(f'UPDATE "{TABLE}" SET ')
    assert ' WHERE "pk" = ? AND "sk" = ? ' in one["Statement"]
    first = one["Statement"].split(" WHERE ")[0].count("?")
    return {"Key": {"pk": one["Parameters"][first]}}


class Record:
    """What is asked of DynamoDB through a session: the actions that IAM would check, and the partition keys."""

    def __init__(self, session):
        self.actions = set()
        self.partitions = set()
        session.events.register("before-parameter-build.dynamodb", self._note)

    def _note(self, params, model, **_):
        parts = [part for item in params.get("TransactItems", ()) for part in item.items()] or [(model.name, params)]
        if model.name == "BatchExecuteStatement":
            parts = [("PartiQLUpdate", _renewed(one)) for one in params["Statements"]]
        for name, arguments in parts:
            self.actions.add(f"dynamodb:{IN_TRANSACTION.get(name, name)}")
            holder = arguments.get("Key") or arguments.get("Item")
            if holder:
                self.partitions.add(holder["pk"]["S"])
            elif model.name == "Query":
                assert arguments["KeyConditionExpression"].startswith("#pk = :pk AND ")
                assert arguments["ExpressionAttributeNames"]["#pk"] == "pk"
                self.partitions.add(arguments["ExpressionAttributeValues"][":pk"]["S"])

    def clear(self):
        self.actions.clear()
        self.partitions.clear()


@pytest.fixture(scope="module")
def watched(engine):
    """A session, with the record of all that is asked through it."""
    session = engine.session()
    return session, Record(session)


@pytest.fixture
def record(watched):
    watched[1].clear()
    return watched[1]


@pytest.fixture
def watched_session(watched):
    return watched[0]


@pytest.fixture
def watched_bucket(engine, watched_session, table, bucket_name):
    """Makes clients of this test's bucket, or of its rate, all of whose requests are on record."""
    with contextlib.ExitStack() as stack:

        def make(kind=LeaseBucket, **arguments):
            tap = Tap()
            of_kind = {LeaseBucket: {"max_tokens": 1, "lease_seconds": 30}, RateLimiter: {"rate": 5, "per": 10.0}}
            bucket = kind(
                bucket_name,
                **of_kind.get(kind, {}) | arguments,
                timing=QUICK,
                table=TABLE,
                session=watched_session,
                endpoint_url=engine.endpoint_url,
                runtime=Runtime(wrap=tap.around),
            )
            bucket.tap = tap
            stack.callback(bucket.close)
            return bucket

        yield make


# The operations, each in every form that it can take


def acquire_first(bucket, table):
    """The first acquire of all creates the bucket."""
    with bucket(max_tokens=120).acquire(timeout=5):
        pass


def acquire_again(bucket, table):
    """A claim of a slot that circulates."""
    put_counter(table, max_tokens=1, minted=1)
    put_free(table, 0)
    bucket().acquire(timeout=5).release()


def acquire_expired(bucket, table):
    """A claim of a slot whose lease is over."""
    put_counter(table, max_tokens=1, minted=1)
    table.set(0, fence=1, ttl=4_000_000_000, lease_id="0-dead", owner="dead", acquired_at=1, expires_at=1_000)
    bucket().acquire(timeout=5).release()


def mint(bucket, table):
    put_counter(table, max_tokens=1, minted=0)
    bucket().acquire(timeout=5).release()


def re_mint(bucket, table):
    put_counter(table, max_tokens=1, minted=1)
    bucket().acquire(timeout=5).release()


def bring_back(bucket, table):
    put_counter(table, max_tokens=1, minted=0)
    put_free(table, 0)
    table.set(0, retired=True)
    bucket().acquire(timeout=5).release()


def bring_back_by_re_mint(bucket, table):
    put_counter(table, max_tokens=1, minted=1)
    put_free(table, 0)
    table.set(0, retired=True)
    bucket().acquire(timeout=5).release()


def retire_strays(bucket, table):
    put_counter(table, max_tokens=1, minted=3)
    put_free(table, 0, 1, 2)
    bucket().acquire(timeout=5).release()


def create_over_leftovers(bucket, table):
    put_free(table, 0)
    bucket().acquire(timeout=5).release()


def try_a_full_bucket(bucket, table):
    put_counter(table, max_tokens=1, minted=1)
    table.set(0, fence=1, ttl=4_000_000_000, lease_id="0-x", owner="x", acquired_at=1, expires_at=4_102_444_800_000)
    assert bucket().try_acquire() is None


def wait_in_order(bucket, table):
    """A ticket is put and deleted; one that lasts is refreshed, too."""
    put_counter(table, max_tokens=1, minted=1, order="fifo")
    put_leased(table, 0, expires_at=4_102_444_800_000)
    one = bucket()
    with pytest.raises(AcquireTimeout):
        one.acquire(timeout=4)  # after that, no ticket is put any more
    assert {"PutTicket", "DropTicket", "LookAtQueue"} <= one.tap.count().keys()
    core_of(one).run(_once(RefreshTicket(ticket=one.tap.of(PutTicket)[0].ticket, ttl=1)))


def _once(request):
    yield request


def renew(bucket, table):
    with bucket().acquire(timeout=5) as lease:
        lease.renew()


def renew_together(bucket, table):
    one = bucket(max_tokens=2)
    leases = [one.acquire(timeout=5) for _ in range(2)]
    renew_soon(leases, core_of(one).runtime.heartbeat())
    eventually(lambda: "RenewEach" in one.tap.count())


def release_twice(bucket, table):
    lease = bucket().acquire(timeout=5)
    assert (lease.release(), lease.release()) == (True, False)


def hold_at_least(bucket, table):
    lease = bucket().acquire(timeout=5, hold_at_least=60)
    assert lease.release()


def close(bucket, table):
    one = bucket()
    one.acquire(timeout=5)
    one.close()


def decorate(bucket, table):
    bucket().leased(timeout=5)(lambda lease: lease.check())()


def release_by_id(bucket, table):
    put_counter(table, max_tokens=1, minted=1)
    table.set(0, fence=1, ttl=4_000_000_000, lease_id="0-x", owner="x", acquired_at=1, expires_at=4_102_444_800_000)
    assert bucket().release("0-x")


def revoke(bucket, table):
    put_counter(table, max_tokens=1, minted=1)
    table.set(0, fence=1, ttl=4_000_000_000, lease_id="0-x", owner="x", acquired_at=1, expires_at=4_102_444_800_000)
    assert bucket().revoke("0-x")


def hand_over_and_adopt(bucket, table):
    put_counter(table, max_tokens=3, minted=3)
    put_free(table, 0, 1, 2)
    giver, adopter = bucket(), bucket()
    adopter.adopt(giver.acquire(timeout=5).hand_over())
    adopter.adopt(giver.acquire(timeout=5, count=2).hand_over())


class LambdaContext:
    def get_remaining_time_in_millis(self):
        return 30_000


def handle(bucket, table):
    put_counter(table, max_tokens=3, minted=3)
    put_free(table, 0, 1, 2)
    assert bucket().handler()(lambda lease, event, context: lease.held)({}, LambdaContext())


def shrink(bucket, table):
    put_counter(table, max_tokens=3, minted=3)
    put_free(table, 0, 1, 2, 7)
    assert bucket().resize(1).retired == 3


def grow(bucket, table):
    put_counter(table, max_tokens=3, minted=3)
    assert bucket().resize(5).after == 5


def configure(bucket, table):
    put_counter(table)
    assert bucket().configure(order="fifo").after == "fifo"


def repair(bucket, table):
    put_counter(table, max_tokens=200, minted=3)
    put_free(table, 0, 150)
    assert bucket().repair().after == 2


def reset(bucket, table):
    put_counter(table, max_tokens=1, minted=1)
    table.set(0, fence=1, ttl=4_000_000_000, lease_id="0-x", owner="x", acquired_at=1, expires_at=4_102_444_800_000)
    assert bucket().reset() == 1


def acquire_several(bucket, table):
    put_counter(table, max_tokens=3, minted=1)
    put_free(table, 0)
    bucket().acquire(5, count=3).release()


def take_permits(bucket, table):
    limiter = bucket(kind=RateLimiter)
    assert limiter.try_acquire()
    # How many are admitted at once is not the question here: the first Dates may still move what is known of the time.
    while limiter.try_acquire():
        pass
    bucket(kind=RateLimiter).try_acquire()  # by one that knows nothing of the item yet
    limiter.acquire(timeout=30)


def status_of_a_rate(bucket, table):
    assert bucket(kind=RateLimiter).status().available == 5


def look_at_a_rate(bucket, table):
    """Before its first use, too."""
    limiter = bucket(kind=RateLimiter)
    assert limiter.policy() == {"permits": Limit(5.0, per=10.0, burst=5)}
    assert limiter.key("team-7").status().available == 5
    assert list(limiter.keys()) == []


def ask_for_more_than_the_burst_of_a_key(bucket, table):
    with pytest.raises(ConfigurationError):
        bucket(kind=RateLimiter).key("team-7").try_acquire(6)


def reserve_permits(bucket, table):
    with bucket(kind=RateLimiter).key("team-7").reserve(3, timeout=30) as reservation:
        assert reservation.settle(1)


def take_permits_of_a_key_and_its_parent(bucket, table):
    limiter = bucket(kind=RateLimiter)
    team = limiter.key("team-7", under=[limiter.key("org")])
    team.acquire(timeout=30)
    with team.reserve(2, timeout=30) as reservation:
        reservation.settle(1)


def count_hits(bucket, table):
    """In a fixed window and in a sliding one; they are read, and forgotten."""
    counter = bucket(kind=HitCounter)
    assert [counter.run(counter.core.incr("k", 60, 1)) for _ in range(2)] == [1, 2]
    assert counter.run(counter.core.acquire("k", 1, 60, 1))
    assert counter.run(counter.core.get("k")) == 2
    assert counter.run(counter.core.reset()) == 2


class HitCounter:
    """The storage for `limits`, without `limits`."""

    def __init__(self, name, *, table, session, endpoint_url, timing, runtime):
        connection = ConnectionSettings(session=session, endpoint_url=endpoint_url)
        self.core = HitsCore(name, table=table, connection=connection, timing=timing, runtime=runtime, timeout=30)
        self.close = self.core.close

    def run(self, operation):
        return self.core.driver.run(operation, Wakeup())


def steer_a_rate(bucket, table):
    limiter = bucket(kind=RateLimiter)
    limiter.set_policy(Limit(7, per=10.0))
    limiter.set_policy(Limit(5, per=10.0))
    team = limiter.key("team-7")
    team.override(Limit(50, per=10.0))
    team.override(None)
    team.block(60)
    team.unblock()
    team.block(60)
    team.reset()


def status(bucket, table):
    put_counter(table)
    put_free(table, 0)
    assert bucket().status().in_circulation == 1


class Listed:
    """What reads the whole table, made like the others."""

    def __init__(self, name, *, table, session, endpoint_url, runtime, **_):
        connection = ConnectionSettings(session=session, endpoint_url=endpoint_url)
        reader = TableReader(table, connection=connection, runtime=runtime)
        self.read, self.close = reader.read, reader.close


def list_the_table(bucket, table):
    put_counter(table)
    assert table.bucket in {one.name for one in bucket(kind=Listed).read().buckets}


def status_of_nothing(bucket, table):
    with pytest.raises(UnknownBucket):
        bucket().status()


OF = {
    "worker": [
        acquire_first,
        acquire_again,
        acquire_expired,
        mint,
        re_mint,
        bring_back,
        bring_back_by_re_mint,
        retire_strays,
        wait_in_order,
        create_over_leftovers,
        try_a_full_bucket,
        handle,
        hand_over_and_adopt,
        renew,
        renew_together,
        release_twice,
        hold_at_least,
        close,
        decorate,
        acquire_several,
        status,
        take_permits,
        status_of_a_rate,
        look_at_a_rate,
        ask_for_more_than_the_burst_of_a_key,
        reserve_permits,
        take_permits_of_a_key_and_its_parent,
        count_hits,
    ],
    "operator": [
        release_by_id,
        revoke,
        shrink,
        grow,
        configure,
        repair,
        reset,
        status,
        status_of_nothing,
        steer_a_rate,
        look_at_a_rate,
        list_the_table,
    ],
    "reader": [status, status_of_nothing, status_of_a_rate, look_at_a_rate],
}

OPERATORS = {Revoke, Snapshot, Grow, Recount, SetOrder, ListPage}
"""What only an operator sends, of buckets and tables."""

STEERING = {rates.Override, rates.Block, rates.Reset, rates.ChangePolicy}
"""What only an operator sends, of rates."""

LIBRARY = {
    "acquire": acquire_first,
    "try_acquire": try_a_full_bucket,
    "adopt": hand_over_and_adopt,
    "leased": decorate,
    "handler": handle,
    "release": release_by_id,
    "revoke": revoke,
    "resize": shrink,
    "configure": configure,
    "repair": repair,
    "reset": reset,
    "status": status,
    "close": close,
}
"""Every public operation, and one of the above that runs it."""


def within(name, partition):
    """Whether a partition is the name's own, or one of the shards of its keys."""
    return re.fullmatch(rf"{re.escape(name)}(#[0-6]\d)?", partition) is not None


def allowed(role):
    return set(actions(role))


@pytest.mark.parametrize("role", OF)
def test_a_role_may_do_what_it_does_and_nothing_else(role, record, watched_bucket, table):
    sent = set()
    for operation in OF[role]:
        buckets = []

        def make(buckets=buckets, **arguments):
            buckets.append(watched_bucket(**arguments))
            return buckets[-1]

        before = set(record.actions)
        operation(make, table)
        assert record.actions <= allowed(role), (operation.__name__, record.actions - before)
        sent |= {type(request) for bucket in buckets for request in bucket.tap.sent}
        for bucket in buckets:
            bucket.close()
        table.delete_all()
    assert record.actions == allowed(role)
    # What the condition on leading keys rests on.
    assert table.bucket in record.partitions
    assert {name for name in record.partitions if not within(table.bucket, name)} == set()
    if role == "worker":
        assert sent == set(typing.get_args(Request)) - OPERATORS - STEERING, (
            "a kind of request that no operation here sends"
        )
    if role == "operator":
        assert sent >= OPERATORS | STEERING


def test_every_public_operation_is_among_those_tried():
    public = {name for name, value in vars(LeaseBucket).items() if callable(value) and not name.startswith("_")}
    assert public - {"after_fork_in_child", "at_exit"} == set(LIBRARY)  # what `process` asks for is no operation
    assert all(any(operation in tried for tried in OF.values()) for operation in LIBRARY.values())


# Commands


@pytest.fixture
def in_process(engine, watched_session, monkeypatch):
    """Runs a command line here, on the record."""
    monkeypatch.setattr("ddb_lease.cli.connection.new_session", lambda **_: watched_session)

    def run(*arguments):
        return main.main([arguments[0], f"--endpoint-url={engine.endpoint_url}", *arguments[1:]])

    run.engine = engine
    return run


@pytest.fixture
def new_table(client):
    name = f"permissions-{uuid.uuid4().hex[:6]}"
    yield name
    client.delete_table(TableName=name)


def test_the_commands_of_a_worker_and_a_reader_need_no_more(record, in_process, table, bucket_name, tmp_path):
    where = (f"--table={TABLE}", bucket_name)
    assert in_process("run", *where, "--max-tokens=1", "--lease=30s", "--", "true") == 0
    # A command has one lease, and does not wait in order here.
    assert record.actions == allowed("worker") - {"dynamodb:PartiQLUpdate", "dynamodb:DeleteItem"}
    record.clear()
    assert in_process("lead", *where, "--lease=30s", "--", "true") == 0
    assert record.actions <= allowed("worker") - {"dynamodb:PartiQLUpdate", "dynamodb:DeleteItem"}
    assert "dynamodb:PutItem" in record.actions
    record.clear()
    # `limit` becomes its command, if that can be run.
    without_interpreter = tmp_path / "command"
    without_interpreter.write_text("#!/no/such/interpreter\n")
    without_interpreter.chmod(0o755)
    assert in_process("limit", *where, "--rate=5/s", "--", str(without_interpreter)) == 127
    assert record.actions == {"dynamodb:UpdateItem", "dynamodb:Query"}
    record.clear()
    assert in_process("status", *where) == 0
    assert record.actions == allowed("reader")
    assert {name for name in record.partitions if not within(bucket_name, name)} == set()


def test_the_commands_of_rates_need_no_more_than_their_roles_have(record, in_process, table, bucket_name):
    def rate(line):
        what, *more = line.split()
        where = (f"--table={TABLE}", f"--endpoint-url={in_process.engine.endpoint_url}", bucket_name)
        assert main.main(["rate", what, *where, *more]) == 0

    rate("set --rate 5/h")
    rate("override --rate 9/h --key k")
    rate("block --for 5m --key k")
    rate("reset --key k")
    assert record.actions == {"dynamodb:UpdateItem", "dynamodb:Query"} <= allowed("operator")
    record.clear()
    rate("status --key k")
    rate("keys")
    assert record.actions == allowed("reader")
    assert {name for name in record.partitions if not within(bucket_name, name)} == set()


def test_listing_a_table_needs_a_scan_and_nothing_else(record, in_process, table, capsys):
    put_counter(table)
    assert in_process("ls", f"--table={TABLE}", "--json") == 0
    assert record.actions == {"dynamodb:Scan"}
    (found,) = [one for one in json.loads(capsys.readouterr().out)["buckets"] if one["name"] == table.bucket]
    assert (found["used"], found["max_tokens"], found["oldest"]) == (0, 3, None)


def test_making_the_table_needs_what_the_deployer_has(record, in_process, new_table):
    assert in_process("create-table", f"--table={new_table}") == 0
    assert record.actions == allowed("deployer")
    assert in_process("create-table", f"--table={new_table}") == 0
    assert record.actions == allowed("deployer") | {"dynamodb:DescribeGlobalTable"}
    assert in_process("create-table", f"--table={new_table}", "--max-writes=100") == 0
    assert record.actions == allowed("deployer") | {f"dynamodb:{name}" for name in OPTIONAL["deployer"]}
    assert all(f"`dynamodb:{name}`" in SECTION for name in OPTIONAL["deployer"])
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/mine"
    granted = policy("deployer", arn=arn, optional=True)["Statement"]
    assert record.actions == {action for statement in granted for action in statement["Action"]}


def test_the_library_makes_a_table_with_the_same_permissions(record, engine, watched_session, new_table):
    create_table(
        new_table,
        connection=ConnectionSettings(session=watched_session, endpoint_url=engine.endpoint_url),
        clock=SystemClock(),
    )
    assert record.actions == allowed("deployer")


def test_every_command_is_among_those_tried():
    (subparsers,) = [a for a in main.parser()._actions if isinstance(a, argparse._SubParsersAction)]
    assert set(subparsers.choices) == {
        *("run", "lead", "limit", "rate", "status", "release", "revoke", "resize", "configure", "repair", "reset"),
        *("create-table", "ls"),
        *("serve", "top"),  # as ls and status: one reader, again and again
        *("local", "template", "completion", "timeline"),  # these ask nothing of AWS
        "conform",  # has a table of its own: tests/conformance/test_command.py
    }


# The page itself


def test_the_page_says_of_each_role_what_its_policy_grants():
    assert {role for role, _, _ in ROWS} == set(ROLES) == {*OF, "deployer"}
    for role, _, listed in ROWS:
        assert set(re.findall(r"`(.*?)`", listed)) == allowed(role)


@pytest.mark.parametrize("role", ROLES)
def test_each_policy_allows_listed_actions_on_the_one_table(role):
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/mine"
    (statement,) = policy(role, arn=arn)["Statement"]
    assert statement.keys() == {"Sid", "Effect", "Action", "Resource"}
    assert statement["Effect"] == "Allow"
    assert statement["Resource"] == arn
    assert len(allowed(role)) == len(statement["Action"])
    assert all(re.fullmatch(r"dynamodb:[A-Z][A-Za-z]+", action) for action in statement["Action"])


GRANTED = {
    "worker": ["PutItem", "UpdateItem", "DeleteItem", "PartiQLUpdate", "Query"],
    "operator": ["GetItem", "UpdateItem", "Query", "Scan"],
    "reader": ["Query"],
    "deployer": ["CreateTable", "DescribeTable", "DescribeTimeToLive", "UpdateTimeToLive"],
}


@pytest.mark.parametrize(("role", "granted"), GRANTED.items(), ids=GRANTED)
def test_each_policy_is_one_document(role, granted):
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/table/of-mine"
    listed = [f"dynamodb:{name}" for name in granted]
    own = {"Sid": role.capitalize(), "Effect": "Allow", "Action": listed, "Resource": arn}
    assert (set(ROLES), actions(role)) == (set(GRANTED), listed)
    assert policy(role, arn=arn) == {"Version": "2012-10-17", "Statement": [own]}
    more = [
        {"Sid": "DeployerOptional", "Effect": "Allow", "Action": ["dynamodb:UpdateTable"], "Resource": arn},
        {
            "Sid": "DeployerOptionalGlobalTable",
            "Effect": "Allow",
            "Action": ["dynamodb:DescribeGlobalTable"],
            "Resource": "arn:aws:dynamodb::123456789012:global-table/table/of-mine",
        },
    ]
    assert policy(role, arn=arn, optional=True) == {
        "Version": "2012-10-17",
        "Statement": [own, *(more if role == "deployer" else [])],
    }


def test_the_condition_holds_a_role_to_partition_keys_that_are_the_names_of_buckets_and_shards():
    allowed = ["nightly-report", "nightly-report#*"]
    assert {"Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": allowed}}} == CONDITION
    assert 'LeaseBucket("nightly-report"' in (Path(__file__).parents[2] / "README.md").read_text()
