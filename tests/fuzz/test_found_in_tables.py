"""Items of any content: parsed or treated as foreign, never a crash, and no lease on a slot that cannot be read."""

import contextlib
import itertools
import uuid
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddb_lease import ConfigurationError, LeaseBucket, StoreRejected
from ddb_lease._protocol.messages import (
    Close,
    Done,
    Grow,
    Look,
    Recount,
    Refused,
    Rejected,
    Revoke,
    Seen,
    SetOrder,
    Take,
)
from ddb_lease._protocol.records import MAX_TOKENS
from ddb_lease.dynamodb.answers import read_answer
from ddb_lease.dynamodb.items import decode, read_counter, read_slot, slot_number
from tests import rates
from tests.conftest import QUICK, TABLE
from tests.strategies import attributes, counter_items, found_items, no_number, slot_items, stored_number
from tests.support import (
    LEASE_MS,
    LONG_AGO,
    TTL,
    bring_back,
    claim,
    claimant,
    create,
    mint,
    new_token,
    put_counter,
    release,
    renew,
    retire,
)

few = settings(max_examples=max(20, settings.default.max_examples // 4))
"""For tests that talk to an engine."""

ANY_NUMBER = st.one_of(stored_number, stored_number, no_number)


def whole(item, name):
    """A whole number that can be reckoned with, or None: read apart from the code under test."""
    value = item.get(name)
    content = value.get("N") if isinstance(value, dict) else None
    with contextlib.suppress(ArithmeticError, TypeError):
        exact = Decimal(content)
        if exact.is_finite() and exact.adjusted() < 37 and exact % 1 == 0:
            return int(exact)
    return None


def malformed(item):
    """Whether we cannot tell if this slot is free, or how to raise its fence."""
    fence = whole(item, "fence")
    if fence is None or fence < 0:
        return True
    leased_oddly = "S" not in item.get("lease_id", {"S": ""}) or whole(item, "expires_at") is None
    return "lease_id" in item and leased_oddly


def sound_counter(item):
    """Whether a bucket can be run by this counter."""
    bounds = {
        "max_tokens": (0, MAX_TOKENS),
        "minted": (-(10**37), 10**37),
        "rev": (-(10**37), 10**37),
        "lease_ms": (1, 365 * 86_400_000),
    }
    numbers = {name: whole(item, name) for name in bounds}
    in_bounds = all(
        number is not None and bounds[name][0] <= number <= bounds[name][1] for name, number in numbers.items()
    )
    return in_bounds and ("schema" not in item or whole(item, "schema") is not None)


# Reading, without an engine


@given(item=slot_items(ANY_NUMBER), number=st.integers(0, MAX_TOKENS - 1))
def test_a_slot_is_read_as_what_it_is_or_as_foreign(item, number):
    slot = read_slot(item, number)
    assert slot.number == number
    assert slot.retired == ("retired" in item)
    if malformed(item):
        assert slot.foreign
        if slot.lease is not None:  # for its holder only: a foreign item is never granted
            assert slot.lease.lease_id == item["lease_id"]["S"]
            assert slot.lease.expires_at == int(item["expires_at"]["N"])
            assert slot.lease.revoked == ("revoked" in item)
    if not slot.foreign:
        assert slot.fence == whole(item, "fence")
        assert (slot.lease is not None) == ("lease_id" in item)
    if slot.lease is not None:
        assert slot.lease.lease_id == item["lease_id"]["S"]
        assert slot.lease.expires_at == whole(item, "expires_at")


@given(item=counter_items(ANY_NUMBER))
def test_a_counter_is_read_as_what_it_is_or_refused(item):
    if sound_counter(item):
        counter = read_counter(item)
        assert (counter.max_tokens, counter.minted) == (whole(item, "max_tokens"), whole(item, "minted"))
    else:
        with pytest.raises(ValueError, match="."):
            read_counter(item)


@pytest.mark.parametrize("name", ["max_tokens", "minted", "rev", "lease_ms", "schema"])
@pytest.mark.parametrize("number", ["1E+125", "-1E+125", "1E+999999999", "NaN", "100001.5", ""])
def test_a_counter_with_a_number_that_cannot_be_reckoned_with_is_refused(name, number):
    item = {"max_tokens": "1", "minted": "1", "rev": "1", "lease_ms": "30000", "schema": "1"} | {name: number}
    with pytest.raises(ValueError, match="."):
        read_counter({key: {"N": value} for key, value in item.items()})


def decoded_as(value, found):
    """Whether this is what the attribute says: read apart from the code under test."""
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return type(found) in {int, float, Decimal} and Decimal(str(found)) == Decimal(content)
        case "NULL":
            return found is None
        case "L":
            return len(found) == len(content) and all(map(decoded_as, content, found))
        case "M":
            return found.keys() == content.keys() and all(decoded_as(content[key], found[key]) for key in content)
        case _:
            return found == content


def numbers_in(value):
    """The text of every number in an attribute."""
    ((kind, content),) = value.items()
    parts = content if kind == "L" else content.values() if kind == "M" else ()
    return [content] if kind == "N" else [number for part in parts for number in numbers_in(part)]


def kept(content):
    """Whether DynamoDB keeps such a number."""
    with contextlib.suppress(ArithmeticError):
        exact = Decimal(content)
        return exact.is_finite() and abs(exact.adjusted()) <= 130
    return False


@given(value=attributes(ANY_NUMBER))
def test_a_value_is_decoded_as_what_it_is_or_refused_for_a_number_that_is_none(value):
    try:
        found = decode(value)
    except (ValueError, ArithmeticError):  # what `read_slot` reckons with
        assert not all(map(kept, numbers_in(value)))
    else:
        assert decoded_as(value, found)


@given(
    items=st.lists(
        st.one_of(
            found_items.filter(lambda item: isinstance(item, dict)),
            slot_items(ANY_NUMBER).map(lambda item: item | {"sk": {"S": "slot#00001"}}),
            counter_items(ANY_NUMBER).map(lambda item: item | {"sk": {"S": "counter"}}),
        ),
        max_size=4,
    ),
    whole=st.booleans(),
)
def test_a_look_shows_any_table_or_says_what_is_wrong_with_its_counter(items, whole):
    answer = read_answer(Look(limit=9, consistent=True, whole=whole), {"Items": items})
    if isinstance(answer, Rejected):
        assert isinstance(answer.error, StoreRejected)
        assert any(key in str(answer.error) for key in ("counter", "newer version"))
    else:
        assert isinstance(answer, Seen)
        assert set(answer.view.slots) == {slot_number(item) for item in items} - {None}


# On an engine


_serial = itertools.count()


class Odd:
    """A bucket of the table whose items are put there by hand, and which is gone afterwards."""

    def __init__(self, client):
        self.client = client
        self.name = f"odd-{next(_serial)}-{uuid.uuid4().hex[:6]}"

    def put(self, sort, item):
        key = {"pk": {"S": self.name}, "sk": {"S": sort}}
        self.client.put_item(TableName=TABLE, Item={**item, **key})

    def items(self):
        query = {"KeyConditionExpression": "pk = :b", "ExpressionAttributeValues": {":b": {"S": self.name}}}
        return {
            item["sk"]["S"]: item for item in self.client.query(TableName=TABLE, ConsistentRead=True, **query)["Items"]
        }

    def bucket(self):
        return LeaseBucket(self.name, max_tokens=2, lease_seconds=30, timing=QUICK, table=TABLE, client=self.client)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sort in self.items():
            self.client.delete_item(TableName=TABLE, Key={"pk": {"S": self.name}, "sk": {"S": sort}})


def plain_counter(**changes):
    numbers = {"max_tokens": 2, "minted": 2, "rev": 7, "lease_ms": LEASE_MS, "schema": 1} | changes
    return {name: {"N": str(number)} for name, number in numbers.items()}


@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
@few
@given(
    slots=st.dictionaries(st.integers(0, 3), slot_items(stored_number), min_size=1),
    strangers=st.dictionaries(
        st.sampled_from(["slot#1", "slot#000001", "slot#x", "slot#0000\u0661", "slot#0000\n", "counter2", "zzz", "!"]),
        st.dictionaries(st.text(min_size=1, max_size=5), attributes(stored_number), max_size=2),
        max_size=2,
    ),
)
def test_no_lease_is_granted_on_a_slot_that_cannot_be_read(engine, client, slots, strangers):
    with Odd(client) as odd:
        odd.put("counter", plain_counter())
        for sort, item in strangers.items():
            odd.put(sort, item)
        for number, item in slots.items():
            odd.put(f"slot#{number:05d}", item)
        before = odd.items()
        with odd.bucket() as bucket:
            leases = [lease for lease in (bucket.try_acquire(), bucket.try_acquire(), bucket.try_acquire()) if lease]
            assert len({lease.slot for lease in leases}) == len(leases) <= 2
            for lease in leases:
                item = slots.get(lease.slot)
                assert lease.slot < 2
                assert item is None or not malformed(item)
                assert item is None or lease.fence > whole(item, "fence")
                assert item is None or "lease_id" not in item or whole(item, "expires_at") < 10**12
            status = bucket.status()
            assert {lease.id for lease in leases} <= {info.lease_id for info in status.leases}
            for lease in leases:
                assert lease.release()
        after = odd.items()
        for sort, item in before.items():
            if sort in strangers or (sort != "counter" and malformed(item)):
                assert after[sort] == item


@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
@few
@given(counter=counter_items(stored_number))
@example(counter=plain_counter(max_tokens=10**6))
@example(counter=plain_counter(max_tokens=0))
@example(counter=plain_counter(lease_ms=1))
@example(counter=plain_counter(lease_ms=10**20))
@example(counter=plain_counter(minted=-3))
@example(counter=plain_counter(rev=10**38 - 1))
def test_no_counter_makes_more_leases_than_it_says(engine, client, counter):
    with Odd(client) as odd:
        odd.put("counter", counter)
        for number in range(3):
            odd.put(f"slot#{number:05d}", {"fence": {"N": "1"}, "ttl": {"N": str(TTL)}})
        before = odd.items()
        with odd.bucket() as bucket:
            leases = []
            try:
                leases += [
                    lease for lease in (bucket.try_acquire(), bucket.try_acquire(), bucket.try_acquire()) if lease
                ]
                bucket.status()
            except (StoreRejected, ConfigurationError):
                assert not leases
                assert odd.items() == before
            else:
                assert sound_counter(counter)
                assert len(leases) <= whole(counter, "max_tokens")


# The conditions alone, without a look before: a stale guess sends such requests.


def number(text):
    return {"N": str(text)}


FREE = {"fence": number(1), "ttl": number(TTL)}
LEASED = FREE | {"lease_id": {"S": "0-other"}, "owner": {"S": "o"}, "expires_at": number(LONG_AGO)}
OTHER_TYPES = {
    "text": {"S": "5"},
    "no text": {"S": ""},
    "nothing": {"NULL": True},
    "yes": {"BOOL": True},
    "bytes": {"B": b"\x00"},
    "a list": {"L": [number(1)]},
    "a map": {"M": {"N": number(1)}},
    "a set": {"NS": ["1"]},
}
SHAPELESS = {
    "no fence": {"ttl": number(TTL)},
    "no fence, an expired lease": {k: v for k, v in LEASED.items() if k != "fence"},
    "a lease without an expiry": {k: v for k, v in LEASED.items() if k != "expires_at"},
    "a lease id of another type, without an expiry": FREE | {"lease_id": number(7)},
    "a fence that is too great": FREE | {"fence": number("9" * 38)},
    "an expiry that is not over": LEASED | {"expires_at": number("9" * 38)},
    "retired by a word": FREE | {"retired": {"S": "no"}},
    "retired by nothing": FREE | {"retired": {"NULL": True}},
}
MISTYPED = {
    f"{name}, {state}: {kind}": item | {name: value}
    for state, item, name in (("free", FREE, "fence"), ("leased", LEASED, "fence"), ("leased", LEASED, "expires_at"))
    for kind, value in OTHER_TYPES.items()
}
REFUSED_BY_CONDITION = SHAPELESS | MISTYPED

compares_types = pytest.mark.parametrize("engine", ["ministack"], indirect=True)
"""DynamoDB holds any comparison of two types for false. The embedded engine does not: moto compares as Python does, and
fails, or takes yes for one."""


def claim_answers(client, store, table, item):
    put_counter(table)
    client.put_item(TableName=TABLE, Item={**item, **table.key(0)})
    before = table.all()
    answer = store.send(claim(fence=100)).answer
    assert table.all() == before
    return answer


@pytest.mark.parametrize("item", SHAPELESS.values(), ids=SHAPELESS)
def test_the_claims_condition_alone_refuses_a_slot_that_lacks_something(client, store, table, item):
    assert isinstance(claim_answers(client, store, table, item), Refused)


@compares_types
@pytest.mark.parametrize("item", MISTYPED.values(), ids=MISTYPED)
def test_the_claims_condition_alone_refuses_a_slot_that_cannot_be_compared(engine, client, store, table, item):
    assert isinstance(claim_answers(client, store, table, item), Refused)


ODD_NUMBERS = {
    "a negative fence": FREE | {"fence": number(-1)},
    "half a fence": FREE | {"fence": number("0.5")},
    "an expired lease of half a millisecond": LEASED | {"expires_at": number("0.5")},
    "an expired lease whose id is no text": LEASED | {"lease_id": {"NULL": True}},
    "a fence beyond reckoning": FREE | {"fence": number("1E+40")},
}


UNREADABLE = {name: item for name, item in (REFUSED_BY_CONDITION | ODD_NUMBERS).items() if "retired" not in item}


@pytest.mark.parametrize("item", UNREADABLE.values(), ids=UNREADABLE)
def test_a_client_grants_nothing_on_a_slot_that_cannot_be_read(client, table, new_bucket, item):
    put_counter(table, max_tokens=1, minted=1)
    client.put_item(TableName=TABLE, Item={**item, **table.key(0)})
    before = table.all()
    bucket = new_bucket()
    assert bucket.try_acquire() is None
    assert bucket.release("0-other") is ("lease_id" in item and item["lease_id"] == {"S": "0-other"})
    assert bucket.status().max_tokens == 1
    assert table.all() == before or "lease_id" in item


@pytest.mark.parametrize("item", REFUSED_BY_CONDITION.values(), ids=REFUSED_BY_CONDITION)
def test_no_mint_puts_a_lease_over_an_item_that_is_there(client, store, table, item):
    put_counter(table, minted=0)
    client.put_item(TableName=TABLE, Item={**item, **table.key(0)})
    before = table.all()
    assert isinstance(store.send(mint(fence=100)).answer, Refused)
    assert table.all() == before


ODD_COUNTERS = {
    f"{name}: {kind}": plain_counter(minted=0) | {name: value}
    for name in ("max_tokens", "minted")
    for kind, value in OTHER_TYPES.items()
} | {f"no {name}": {k: v for k, v in plain_counter(minted=0).items() if k != name} for name in ("max_tokens", "minted")}


@compares_types
@pytest.mark.parametrize("counter", ODD_COUNTERS.values(), ids=ODD_COUNTERS)
@pytest.mark.parametrize("kind", ["mint", "re-mint", "bring back", "bring back by re-mint"])
def test_no_slot_comes_into_circulation_by_a_counter_that_cannot_be_compared(
    engine, client, store, table, counter, kind
):
    client.put_item(TableName=TABLE, Item={**counter, **table.key("counter")})
    if kind.startswith("bring"):
        client.put_item(TableName=TABLE, Item={**FREE, "retired": {"BOOL": True}, **table.key(0)})
        request = bring_back(0, re_mint="re-mint" in kind)
    else:
        request = mint(re_mint="re-mint" in kind)
    before = table.all()
    answer = store.send(request).answer
    assert isinstance(answer, (Refused, Rejected)), answer
    assert table.all() == before


def test_what_is_merely_odd_is_claimed_and_has_our_shape_from_then_on(client, store, table):
    """The other side of the coin: not everything that is strange is a reason to lose a slot for ever."""
    odd = {"owner": number(1), "acquired_at": {"S": "?"}, "data": {"S": "text"}, "revoked": {"NULL": True}}
    client.put_item(TableName=TABLE, Item={**LEASED, **odd, "foreign": number(1), **table.key(0)})
    assert isinstance(store.send(claim(fence=100)).answer, Done)
    assert table.get(0).keys() == {"fence", "ttl", "lease_id", "owner", "acquired_at", "expires_at"}


def test_a_stray_of_foreign_shape_is_not_retired(client, store, table, new_bucket):
    put_counter(table, max_tokens=1, minted=1)
    client.put_item(TableName=TABLE, Item={"fence": {"S": "x"}, **table.key(2)})
    client.put_item(TableName=TABLE, Item={**FREE, **table.key(0)})
    before = table.get(2)
    assert new_bucket().try_acquire().slot == 0
    assert table.get(2) == before


# Items of another program, under our keys: nothing that we can send changes one.


_OURS = ("fence", "minted", "rev", "schema", "tat#requests", "reach#requests")
STRANGERS = {
    "nothing of ours": {"price": number(7), "currency": {"S": "EUR"}},
    "a TTL of its own": {"ttl": number(TTL)},
    "retired, too": {"retired": {"BOOL": True}, "price": number(7)},
    "names of ours, as text": {name: {"S": "5"} for name in (*_OURS, "max_tokens")},
    "names of ours, with nothing in them": {name: {"NULL": True} for name in _OURS},
    "a number of ours each": {"tat#requests": number(500), "max_tokens": number(5), "retired": {"BOOL": True}},
}
WRITES = {
    "claim": lambda: claim(fence=10**15, expired_before=10**15),
    "renew": renew,
    "release": release,
    "close": lambda: Close(slot=0, lease_id="0-mine", closed_id="0-closed-mine", expires_at=1, ttl=1),
    "revoke": lambda: Revoke(slot=0, lease_id="0-mine", by="somebody"),
    "mint": mint,
    "re-mint": lambda: mint(re_mint=True),
    "bring back": bring_back,
    "bring back by re-mint": lambda: bring_back(re_mint=True),
    "retire": lambda: retire(0, rev=5, max_tokens=0, minted=0),
    "create": create,
    "create beside slots": lambda: create(slots=0),
    "grow": lambda: Grow(rev=5, max_tokens=9),
    "recount": lambda: Recount(rev=5, minted=1),
    "set the order": lambda: SetOrder(rev=5, order="fifo"),
    "take": lambda: Take(
        claims=(0,),
        mints=(1,),
        fence=10**15,
        lease=claimant(),
        expired_before=10**15,
        ttl=TTL,
        seen_max=5,
        re_mint=False,
        token=new_token(),
    ),
    "idle charge": lambda: rates.charge(due=10**18),
    "busy charge": lambda: rates.charge(rates.part("busy", tolerance=10**18), due=1),
    "settlement": rates.settlement,
}


def spot(table, sort):
    """The key of an item; "rate" stands for that of a rate's key, in its shard."""
    return rates.KeyTable(table).of("k").key("rate#k") if sort == "rate" else table.key(sort)


def everything(table):
    """All items of the bucket, and those in the shard of the rate's key."""
    return table.all(), rates.KeyTable(table).of("k").all()


@compares_types
@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_no_write_changes_an_item_of_another_program(engine, client, store, table, stranger, write):
    for sort in ("counter", 0, "rate"):
        client.put_item(TableName=TABLE, Item={**stranger, **spot(table, sort)})
    before = everything(table)
    answer = store.send(write()).answer
    assert isinstance(answer, (Refused, Rejected)), answer
    assert everything(table) == before


@pytest.mark.parametrize(
    "sort_and_write",
    [
        ("counter", "create"),
        ("counter", "mint"),
        ("counter", "grow"),
        (0, "retire"),
        (0, "bring back"),
        ("rate", "idle charge"),
        ("rate", "busy charge"),
        ("rate", "settlement"),
    ],
    ids=str,
)
def test_nor_does_one_beside_what_is_ours(client, store, table, sort_and_write):
    """On each engine, and with all else in order: only the shape of this one item stands in the way."""
    sort, write = sort_and_write
    put_counter(table, max_tokens=1, minted=0, rev=5)
    table.set(0, fence=1, ttl=TTL, **({"retired": True} if write == "bring back" else {}))
    if write == "mint":
        table.delete(0)
    stranger = {"price": number(7), "currency": {"S": "EUR"}, "retired": {"BOOL": True}}
    if write == "retire":
        del stranger["retired"]
    client.put_item(TableName=TABLE, Item={**stranger, **spot(table, sort)})
    before = everything(table)
    answer = store.send(WRITES[write]()).answer
    assert isinstance(answer, (Refused, Rejected)), answer
    assert everything(table) == before


@pytest.mark.parametrize("key", ["counter", "policy"])
def test_an_item_of_another_program_is_told_of_as_such(client, table, new_bucket, new_limiter, key):
    client.put_item(TableName=TABLE, Item={"price": number(7), **table.key(key)})
    before = table.all()
    guard = new_bucket() if key == "counter" else new_limiter()
    for ask in (guard.acquire, guard.try_acquire, guard.status):
        with pytest.raises(StoreRejected) as raised:
            ask()
        says = str(raised.value)
        assert f"the item {key!r} (pk {table.bucket!r} in table {TABLE!r}) is not of this library's shape" in says
        assert "choose another name or another table" in says
        assert "delete" not in says
    assert table.all() == before
