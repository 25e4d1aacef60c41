"""A charge against every state of a rate's item: what it writes, what is refused, what is returned."""

import pytest

from ddb_lease._protocol.messages import Charged, Metered, ReadMeter, Rejected, Uncharged
from ddb_lease._protocol.records import Meter
from tests.support import TTL, charge

CONTRACT = True  # the simulator's DynamoDB too


def sent(store, request):
    return store.send(request).answer


def meter(tat, **more):
    """A rate's item: what marks it as ours."""
    return {"tat": tat, "burst": 5} | more


def test_the_first_charge_makes_the_item(store, table):
    assert sent(store, charge("an id", lane=3)) == Charged(tat=1_010)
    assert table.get("rate") == {"tat": 1_010, "a3": "an id", "rate": 100, "per": 1, "burst": 5, "ttl": TTL + 1}


def test_an_idle_charge_counts_from_now(store, table):
    table.set("rate", **meter(999))
    assert sent(store, charge()) == Charged(tat=1_010)


@pytest.mark.parametrize("tat", [1_000, 1_001, 5_000])
def test_an_idle_charge_is_refused_where_something_is_not_paid_for(store, table, tat):
    table.set("rate", **meter(tat, a1="other"))
    assert sent(store, charge()) == Uncharged(meter=Meter(tat=tat, lanes={1: "other"}))
    assert table.get("rate") == meter(tat, a1="other")


@pytest.mark.parametrize("tat", [1_000, 1_001, 1_090])
def test_a_busy_charge_comes_on_top(store, table, tat):
    table.set("rate", **meter(tat))
    assert sent(store, charge(idle=False)) == Charged(tat=tat + 10)
    assert table.get("rate")["tat"] == tat + 10


def test_a_busy_charge_is_refused_where_all_is_paid_for(store, table):
    table.set("rate", **meter(999))
    assert sent(store, charge(idle=False)) == Uncharged(meter=Meter(tat=999))
    table.delete("rate")
    assert sent(store, charge(idle=False)) == Uncharged(meter=None)
    assert table.get("rate") is None


def test_a_busy_charge_is_refused_beyond_the_tolerance(store, table):
    table.set("rate", **meter(1_091))
    assert sent(store, charge(idle=False)) == Uncharged(meter=Meter(tat=1_091))
    assert table.get("rate") == meter(1_091)


@pytest.mark.parametrize("idle", [True, False])
def test_an_attempt_is_charged_once_and_finds_itself(store, table, idle):
    table.set("rate", **meter(500 if idle else 1_050))
    sent(store, charge(idle=idle))
    before = table.get("rate")
    again = charge(idle=before["tat"] < 1_020, now=1_020)
    for request in (charge(idle=idle), charge(idle=not idle), again, charge(now=2_000)):
        assert sent(store, request).meter.lanes == {0: "mine"}
    assert table.get("rate") == before


def test_each_lane_keeps_its_own_attempt(store, table):
    for lane in range(8):
        assert isinstance(sent(store, charge(f"id-{lane}", idle=lane == 0, lane=lane)), Charged)
    assert sent(store, ReadMeter()).meter == Meter(
        tat=1_080, lanes={lane: f"id-{lane}" for lane in range(8)}, settings=(100.0, 1.0, 5)
    )
    sent(store, charge("newer", idle=False, lane=2))
    assert sent(store, ReadMeter()).meter.lanes[2] == "newer"


def test_nanoseconds_are_added_exactly(store, table):
    now = 1_795_470_755_123_456_789
    sent(store, charge("first", now=now, taken=1))
    assert sent(store, charge("second", idle=False, now=now, taken=333_333_334)) == Charged(tat=now + 333_333_335)
    assert table.get("rate")["tat"] == now + 333_333_335


def test_a_late_copy_never_moves_it_back(store, table):
    sent(store, charge("late"))
    sent(store, charge("newer", now=9_000))
    before = table.get("rate")["tat"]
    for copy in (charge("late"), charge("late", idle=False)):
        sent(store, copy)
        assert table.get("rate")["tat"] >= before


FOREIGN = {
    "nothing of ours": {"price": 7, "currency": "EUR"},
    "a name of ours, as text": {"tat": "soon", "burst": 5},
    "another name of ours, as text": {"tat": 500, "burst": "5"},
    "one name of ours": {"tat": 500},
    "another name of ours": {"burst": 5},
    "a TTL": {"ttl": TTL},
    "an attempt": {"a0": "mine"},
}


@pytest.mark.parametrize("item", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("idle", [True, False])
def test_an_item_of_another_shape_is_never_written_to(store, table, item, idle):
    table.set("rate", **item)
    for request in (charge(idle=idle), charge(idle=idle, now=1, at_most=10**18), charge(idle=idle, now=10**18)):
        answer = sent(store, request)
        assert isinstance(answer, Rejected)
        says = str(answer.error)
        assert f"'rate' (pk {table.bucket!r} in table 'leases')" in says
        assert "choose another name" in says
        assert "delete" not in says
    assert isinstance(sent(store, ReadMeter()), Rejected)
    assert table.get("rate") == item


def test_a_rate_that_was_never_used_has_no_meter(store):
    assert sent(store, ReadMeter()) == Metered(meter=None)


def test_an_item_stays_within_one_write_unit(store, hands, table):
    for lane in range(8):
        sent(store, charge("f" * 16, idle=lane == 0, lane=lane, now=1_795_470_755_123_456_789, at_most=10**19))
    item = hands.get_item(TableName=table.table, Key=table.key("rate"))["Item"]
    assert len(item) == 2 + 8 + 5
    assert sum(len(name) + len(next(iter(value.values()))) for name, value in item.items()) < 400
