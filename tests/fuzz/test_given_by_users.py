"""Names, owners and data of any kind: refused before sending, or stored unchanged, and never part of an expression."""

import contextlib
import enum
import itertools
import uuid
from datetime import datetime, timezone

import botocore.session
import pytest
from botocore.config import Config
from botocore.validate import ParamValidator
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddb_lease import ConfigurationError, LeaseBucket
from ddb_lease._protocol.messages import Look
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.expressions import call_for
from ddb_lease.dynamodb.items import decode_map
from tests.strategies import any_data, any_text, nested, same, sound_data, sound_text
from tests.support import bring_back, claim, claimant, create, mint, release, renew, retire

few = settings(max_examples=max(20, settings.default.max_examples // 3))
"""For tests that talk to an engine."""

SHAPES = botocore.session.get_session().get_service_model("dynamodb")
METHODS = {
    "query": "Query",
    "put_item": "PutItem",
    "update_item": "UpdateItem",
    "transact_write_items": "TransactWriteItems",
}
VALUES = {"Item", "Key", "ExpressionAttributeValues"}
"""The parts of a request that hold values; all else is fixed, except the table's name and the request's token."""


def fits_the_service(call):
    """Whether a call is one that DynamoDB's own model describes."""
    method, arguments = call
    report = ParamValidator().validate(arguments, SHAPES.operation_model(METHODS[method]).input_shape)
    return report.generate_report()


def skeleton(value, key=None):
    """A request without its values: what an injection would have to change."""
    if key in VALUES:
        return sorted(value)
    if key == "ClientRequestToken":
        return "a token"
    if isinstance(value, dict):
        return {name: skeleton(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [skeleton(part) for part in value]
    return value


# Without an engine: what is asked of DynamoDB.


def requests(owner, data, lease_id):
    """Every request there is, with what users give in it."""
    lease = claimant(lease_id, owner=owner, data=data)
    return [
        claim(lease_id, owner=owner, data=data),
        *(mint_with(lease, re_mint=re_mint) for re_mint in (False, True)),
        renew(lease_id),
        release(lease_id),
        release(lease_id, ttl=None),
        bring_back(0),
        bring_back(0, re_mint=True),
        retire(4, 5, rev=1, max_tokens=3, minted=3),
        create(),
        Look(limit=9, consistent=True),
        Look(limit=9, consistent=False, whole=True),
    ]


def mint_with(lease, *, re_mint):
    request = mint(re_mint=re_mint)
    return type(request)(
        slot=request.slot, fence=request.fence, lease=lease, ttl=request.ttl, re_mint=re_mint, token=request.token
    )


PLAIN = BucketAddress(table="leases", bucket="plain")


@given(
    name=sound_text,
    owner=sound_text,
    data=sound_data.filter(bool),
    lease_id=sound_text,
)
def test_what_users_give_is_a_value_and_never_part_of_an_expression(name, owner, data, lease_id):
    place = BucketAddress(table="leases", bucket=name)
    plain = requests("plain", {"plain": "plain"}, "0-plain")
    for request, harmless in zip(requests(owner, data, lease_id), plain, strict=True):
        method, arguments = call_for(request, place)
        assert not fits_the_service((method, arguments))
        assert (method, skeleton(arguments)) == (call_for(harmless, PLAIN)[0], skeleton(call_for(harmless, PLAIN)[1]))


@pytest.mark.parametrize("lists", [False, True])
def test_data_may_nest_31_levels_itself_included(lists):
    deepest = {"k": nested(30, lists=lists)}
    _, arguments = call_for(claim(data=deepest), PLAIN)
    assert decode_map(arguments["Item"]["data"]["M"]) == deepest
    with pytest.raises(ConfigurationError, match="at most 31 levels"):
        call_for(claim(data={"k": nested(31, lists=lists)}), PLAIN)


class Service:
    """A client whose service has one bucket with one free slot, and lets itself be claimed: it notes what is asked."""

    def __init__(self):
        self.calls = []
        self.meta = self
        self.config = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})

    def __getattr__(self, method):
        if method not in METHODS:
            raise AttributeError(method)
        return lambda **arguments: self._answer(method, arguments)

    def _answer(self, method, arguments):
        self.calls.append((method, arguments))
        date = datetime.now(timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
        items = [
            {k: {"N": str(v)} for k, v in {"max_tokens": 1, "minted": 1, "rev": 1, "lease_ms": 30_000}.items()}
            | {"sk": {"S": "counter"}},
            {"sk": {"S": "slot#00000"}, "fence": {"N": "1"}},
        ]
        metadata = {"RequestId": "r", "HTTPStatusCode": 200, "HTTPHeaders": {"date": date}}
        return {"Items": items, "ResponseMetadata": metadata}

    def close(self):
        pass


@given(name=any_text, owner=any_text, data=any_data)
@example(name="n", owner="o", data={"k": nested(30)})
@example(name="n", owner="o", data={"k": nested(31, lists=True)})
@example(name="n", owner="o", data=[])
@example(name="n", owner="o", data=0)
def test_anything_is_refused_before_it_is_sent_or_kept_as_it_is(name, owner, data):
    service = Service()
    try:
        bucket = LeaseBucket(name, max_tokens=1, lease_seconds=30, owner=owner, client=service)
        lease = bucket.try_acquire(data=data)
    except ConfigurationError:
        assert service.calls == []
        return
    (item,) = [arguments["Item"] for method, arguments in service.calls if method == "put_item"]
    assert not any(fits_the_service(call) for call in service.calls)
    assert item["pk"] == {"S": name}
    assert item["owner"]["S"] == (owner or bucket.owner)
    assert same({} if data is None else data, decode_map(item.get("data", {"M": {}})["M"]))
    assert deepest(item.get("data", {"S": ""})) <= 32
    assert lease.release()
    bucket.close()


class Whole(enum.IntEnum):
    """An integer whose text is none on older versions of Python."""

    SEVEN = 7


def loop():
    """A list that holds itself."""
    endless = []
    endless.append(endless)
    return endless


WITHOUT_END = {
    "nested without end": lambda: nested(100_000),
    "nested in lists without end": lambda: nested(100_000, lists=True),
    "a loop": loop,
    "more digits than Python writes": lambda: 10**5000,
    "fewer than none": lambda: -(10**5000),
    "no key": lambda: {"": 1},
    "a key that is too long": lambda: {"k" * 65_536: 1},
    "a key that is too long in bytes": lambda: {"é" * 32_768: 1},
    "31 containers": lambda: nested(31),
}


@pytest.mark.parametrize("make", WITHOUT_END.values(), ids=WITHOUT_END)
def test_data_without_end_is_refused_in_few_words(make):
    service = Service()
    bucket = LeaseBucket("n", max_tokens=1, client=service)
    with pytest.raises(ConfigurationError, match="data") as raised:
        bucket.try_acquire(data={"k": make()})
    assert len(str(raised.value)) < 200
    assert service.calls == []


def test_a_number_that_goes_by_a_name_is_kept_as_a_number():
    service = Service()
    LeaseBucket("n", max_tokens=1, client=service).try_acquire(data={"k": Whole.SEVEN})
    (claimed,) = [arguments["Item"] for _, arguments in service.calls if "Item" in arguments]
    assert claimed["data"] == {"M": {"k": {"N": "7"}}}


def deepest(value):
    """Levels of an attribute as DynamoDB counts them: a scalar is one."""
    ((kind, content),) = value.items()
    inner = content if kind == "L" else content.values() if kind == "M" else ()
    return 1 + max(map(deepest, inner), default=0)


@given(lease_id=st.one_of(any_text, any_text.map(lambda text: f"0-{text}"), st.none(), st.integers(), st.binary()))
@example(lease_id="0-\ud800")
@example(lease_id="0-" + "x" * 10_000)
@example(lease_id="²-x")
def test_no_lease_id_is_sent_that_is_none(lease_id):
    service = Service()
    bucket = LeaseBucket("n", max_tokens=1, client=service)
    try:
        bucket.release(lease_id)
    except ConfigurationError:
        assert service.calls == []
    else:
        ((method, arguments),) = service.calls
        assert method == "update_item"
        assert arguments["ExpressionAttributeValues"][":lease_id"] == {"S": lease_id}
        lease_id.encode()


@pytest.mark.parametrize("table", ["", None, 7, b"leases", "\ud800", "t" * 2_049], ids=ascii)
def test_what_can_be_no_tables_name_is_refused_before_anything_is_sent(table):
    with pytest.raises(ConfigurationError, match="table"):
        LeaseBucket("n", max_tokens=1, table=table, client=Service())


# On an engine.


@pytest.fixture(scope="module")
def neighbour(client):
    """Another bucket of the table, with one lease: nothing that happens to other buckets may change it."""
    name = f"neighbour-{uuid.uuid4().hex[:6]}"
    key = {"pk": {"S": name}}
    client.put_item(TableName="leases", Item=key | {"sk": {"S": "counter"}, "max_tokens": {"N": "1"}})
    client.put_item(TableName="leases", Item=key | {"sk": {"S": "slot#00000"}, "fence": {"N": "1"}})
    yield lambda: items_of(client, name)
    for sort in ("counter", "slot#00000"):
        client.delete_item(TableName="leases", Key=key | {"sk": {"S": sort}})


def items_of(client, bucket):
    """A bucket's items, as they are."""
    query = {"KeyConditionExpression": "pk = :b", "ExpressionAttributeValues": {":b": {"S": bucket}}}
    return {item["sk"]["S"]: item for item in client.query(TableName="leases", ConsistentRead=True, **query)["Items"]}


_serial = itertools.count()


@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
@few
@given(name=sound_text, owner=sound_text, data=sound_data)
def test_a_lease_shows_what_was_given_and_no_other_item_changes(engine, client, neighbour, name, owner, data):
    name = f"{name[:1000].encode()[:1000].decode(errors='ignore')}{next(_serial)}"
    before = neighbour()
    with contextlib.ExitStack() as stack:
        stack.callback(delete_bucket, client, name)
        bucket = stack.enter_context(
            LeaseBucket(name, max_tokens=2, lease_seconds=30, table="leases", owner=owner, client=client)
        )
        with bucket.try_acquire(data=data) as lease:
            lease.renew()
            items = items_of(client, name)
            (info,) = bucket.status().leases
            assert (info.lease_id, info.owner, info.slot) == (lease.id, owner, lease.slot)
            assert same(data, info.data)
            expected = {"pk", "sk", "fence", "ttl", "lease_id", "owner", "acquired_at", "expires_at"}
            assert items[f"slot#{lease.slot:05d}"].keys() == expected | ({"data"} if data else set())
        assert items_of(client, name).keys() == {"counter", "slot#00000", "slot#00001"}
        assert all(
            item.keys() == {"pk", "sk", "fence", "ttl"} for sort, item in items_of(client, name).items() if "#" in sort
        )
        assert neighbour() == before


def delete_bucket(client, name):
    for sort in items_of(client, name):
        client.delete_item(TableName="leases", Key={"pk": {"S": name}, "sk": {"S": sort}})


@pytest.mark.parametrize("data", [{"k": nested(30)}, {"k": nested(30, lists=True)}, {"k" * 65_535: 1}])
def test_the_deepest_and_longest_data_that_is_taken_can_be_kept(new_bucket, data):
    bucket = new_bucket(max_tokens=1)
    with bucket.acquire(timeout=5, data=data):
        assert bucket.status().leases[0].data == data


def test_the_scripted_service_is_enough_for_a_whole_acquire():
    """Else the tests on it would show less than they say."""
    service = Service()
    with LeaseBucket("n", max_tokens=1, client=service) as bucket:
        assert bucket.acquire(timeout=5).release()
    assert [method for method, _ in service.calls] == ["query", "query", "put_item", "update_item"]
