"""Attributes and items as values, and back: each limit on both of its sides, and what is of another shape."""

from decimal import Decimal

import pytest

from ddb_lease import ConfigurationError
from ddb_lease._protocol.records import Claimant, Counter, Slot
from ddb_lease.dynamodb.items import (
    decode,
    decode_map,
    encode,
    encode_map,
    is_counter,
    is_meter,
    read_counter,
    read_slot,
    slot_key,
    slot_number,
    string,
    whole,
    wholes,
)

NO_NUMBERS = {
    "nothing": {},
    "null": None,
    "text": {"S": "7"},
    "no text": {"N": None},
    "no number": {"N": "x"},
    "a fraction": {"N": "0.5"},
    "NaN": {"N": "NaN"},
    "infinity": {"N": "Infinity"},
    "38 digits": {"N": "1" + 37 * "0"},
    "what would fill the memory": {"N": "1e999999"},
}
EACH_NO_NUMBER = pytest.mark.parametrize("odd", NO_NUMBERS.values(), ids=NO_NUMBERS)

# Attributes.


@pytest.mark.parametrize(
    ("value", "attribute"),
    [
        ("", {"S": ""}),
        ("x", {"S": "x"}),
        (None, {"NULL": True}),
        (True, {"BOOL": True}),
        (False, {"BOOL": False}),
        (0, {"N": "0"}),
        (-7, {"N": "-7"}),
        (10**37, {"N": "1" + 37 * "0"}),
        (0.1, {"N": "0.1"}),
        (1e125, {"N": "1E+125"}),
        (Decimal("1.50"), {"N": "1.50"}),
        (Decimal("-1e-125"), {"N": "-1E-125"}),
        ([], {"L": []}),
        ([1, ("a", None)], {"L": [{"N": "1"}, {"L": [{"S": "a"}, {"NULL": True}]}]}),
        ({"a": {"b": [False]}}, {"M": {"a": {"M": {"b": {"L": [{"BOOL": False}]}}}}}),
    ],
    ids=repr,
)
def test_a_value_of_data_is_this_attribute(value, attribute):
    assert encode(value) == attribute
    assert encode_map({"k": value}) == {"k": attribute}


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        (int("9" * 38), "9" * 38),
        (-int("9" * 38), "-" + "9" * 38),
        (Decimal("9" * 38 + "e87"), "9." + "9" * 37 + "E+124"),
        (Decimal("1e-125"), "1E-125"),
        (Decimal("1e125"), "1E+125"),
    ],
    ids=str,
)
def test_the_largest_and_smallest_numbers_of_dynamodb_are_stored(number, stored):
    assert encode(number) == {"N": stored}


@pytest.mark.parametrize(
    "number",
    [
        10**38,
        int("1" * 39),
        Decimal("1e126"),
        Decimal("1e-126"),
        1e200,
        float("nan"),
        float("inf"),
        Decimal("-Infinity"),
    ],
    ids=str,
)
def test_a_number_that_dynamodb_cannot_store_is_refused(number):
    with pytest.raises(ConfigurationError, match="a number that DynamoDB cannot store: at most 38 digits, up to 1e125"):
        encode(number)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"x", "data cannot hold a value of type bytes; it can hold what JSON can"),
        ({1}, "data cannot hold a value of type set; it can hold what JSON can"),
        ([object()], "data cannot hold a value of type object; it can hold what JSON can"),
        ({1: "x"}, "data's keys must be strings, not int"),
        ({"": "x"}, "data's keys must have 1 to 65535 bytes"),
        ({"x" * 65_536: 1}, "data's keys must have 1 to 65535 bytes"),
        ({"ä" * 32_768: 1}, "data's keys must have 1 to 65535 bytes"),
        ({"a": [{"\ud800" * 21_846: 1}]}, "data's keys must have 1 to 65535 bytes"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_data_cannot_hold_is_named(value, said):
    with pytest.raises(ConfigurationError) as refused:
        encode(value)
    assert str(refused.value) == said


def test_the_longest_names_are_stored():
    for name in ("x" * 65_535, "ä" * 32_767, "\ud800" * 21_845):
        assert encode_map({name: 1}) == {name: {"N": "1"}}


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"k": inner}], ids=["lists", "maps"])
def test_data_nests_31_levels_of_lists_or_maps(wrap):
    value = "x"
    for _ in range(30):
        value = wrap(value)
    assert "k" in encode_map({"k": value})
    with pytest.raises(ConfigurationError, match="data may nest at most 31 levels of maps and lists, itself included"):
        encode_map({"k": wrap(value)})


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ({"S": "1"}, "1"),
        ({"BOOL": False}, False),
        ({"NULL": True}, None),
        ({"N": "1"}, 1),
        ({"N": "-2.0"}, -2),
        ({"N": "0.1"}, 0.1),
        ({"N": "0.12345678901234567890123"}, Decimal("0.12345678901234567890123")),
        ({"N": "1e163"}, 10**163),
        ({"N": "1e-163"}, 1e-163),
        ({"L": [{"N": "1"}, {"M": {"a": {"S": "b"}}}]}, [1, {"a": "b"}]),
        ({"SS": ["a"]}, ["a"]),
    ],
    ids=str,
)
def test_an_attribute_is_this_value(attribute, value):
    read = decode(attribute)
    assert (read, type(read)) == (value, type(value))
    assert decode_map({"k": attribute}) == {"k": value}


@pytest.mark.parametrize("odd", [{"N": "1e164"}, {"N": "-1e-164"}, {"N": "NaN"}, {}, {"N": "1", "S": "1"}], ids=str)
def test_what_is_no_attribute_of_dynamodbs_is_not_guessed_at(odd):
    with pytest.raises(ValueError, match="a number that DynamoDB cannot store|values to unpack"):
        decode(odd)


@pytest.mark.parametrize(
    ("content", "number"),
    [("0", 0), ("-3", -3), ("4.0", 4), ("9" * 37, 10**37 - 1), ("1e36", 10**36)],
)
def test_a_whole_number_has_at_most_37_digits(content, number):
    assert whole({"n": {"N": content}}, "n") == number


@EACH_NO_NUMBER
def test_what_is_no_whole_number_is_an_error_of_these_kinds(odd):
    with pytest.raises((KeyError, TypeError, ValueError, ArithmeticError)):
        whole({"n": odd}, "n")


def test_a_whole_number_that_is_none_is_named():
    with pytest.raises(KeyError, match="'n'"):
        whole({}, "n")
    with pytest.raises(ValueError, match=r"^n$"):
        whole({"n": {"N": "0.5"}}, "n")


def test_several_whole_numbers_come_in_the_order_asked_for():
    item = {"a": {"N": "1"}, "b": {"N": "2"}, "c": {"N": "3"}}
    assert wholes(item, "c", "a", "b") == (3, 1, 2)


@pytest.mark.parametrize(
    ("item", "text"),
    [({"n": {"S": "x"}}, "x"), ({"n": {"N": "1"}}, ""), ({"n": None}, ""), ({"n": "x"}, ""), ({}, "")],
    ids=str,
)
def test_a_text_that_is_missing_or_none_is_empty(item, text):
    assert string(item, "n") == text


# Slots.


def test_keys_of_slots_have_five_digits():
    assert [slot_key(n) for n in (0, 42, 99_999)] == ["slot#00000", "slot#00042", "slot#99999"]


@pytest.mark.parametrize(
    ("key", "number"),
    [
        ("slot#00000", 0),
        ("slot#00042", 42),
        ("slot#99999", 99_999),
        ("slot#0042", None),
        ("slot#000042", None),
        ("slot#00042\n", None),
        ("a slot#00042", None),
        ("Slot#00042", None),
        ("slot#٠٠٠٤٢", None),
        ("slot#", None),
        ("", None),
    ],
)
def test_only_a_slots_key_has_its_number(key, number):
    assert slot_number({"sk": {"S": key}}) == number


@pytest.mark.parametrize("item", [{}, {"sk": None}, {"sk": {"N": "1"}}, {"pk": {"S": "slot#00042"}}], ids=str)
def test_an_item_without_such_a_key_is_neither_a_slot_nor_the_counter(item):
    assert slot_number(item) is None
    assert not is_counter(item)


def test_the_counter_is_known_by_its_key():
    assert is_counter({"sk": {"S": "counter"}})
    assert not is_counter({"sk": {"S": "counters"}})


LEASED = {"fence": {"N": "10"}, "lease_id": {"S": "3-x"}, "expires_at": {"N": "5"}}
WHOLE = LEASED | {"owner": {"S": "me"}, "acquired_at": {"N": "4"}, "data": {"M": {"a": {"N": "1"}}}}
BY_ITS_HOLDER = Claimant(lease_id="3-x", owner="", acquired_at=0, expires_at=5)


@pytest.mark.parametrize(
    ("item", "slot"),
    [
        ({"fence": {"N": "0"}}, Slot(number=3, fence=0)),
        ({"fence": {"N": "10"}, "retired": {"BOOL": True}}, Slot(number=3, fence=10, retired=True)),
        (LEASED, Slot(number=3, fence=10, lease=BY_ITS_HOLDER)),
        (
            WHOLE,
            Slot(
                number=3,
                fence=10,
                lease=Claimant(lease_id="3-x", owner="me", acquired_at=4, expires_at=5, data={"a": 1}),
            ),
        ),
        (
            LEASED | {"revoked": {"S": "by"}, "retired": {"BOOL": True}},
            Slot(
                number=3,
                fence=10,
                lease=Claimant(lease_id="3-x", owner="", acquired_at=0, expires_at=5, revoked=True),
                retired=True,
            ),
        ),
        ({"fence": {"N": "10"}, "expires_at": {"N": "5"}, "owner": {"S": "me"}}, Slot(number=3, fence=10)),
    ],
    ids=["free", "retired", "with the least of a lease", "whole", "revoked and retired", "left-overs of a lease"],
)
def test_an_item_is_this_slot(item, slot):
    assert read_slot(item, 3) == slot


@EACH_NO_NUMBER
@pytest.mark.parametrize("name", ["fence", "expires_at", "acquired_at"])
def test_a_slot_with_a_number_that_is_none_is_foreign(name, odd):
    seen = None if name == "expires_at" else BY_ITS_HOLDER
    assert read_slot(WHOLE | {name: odd}, 3) == Slot(number=3, fence=0, lease=seen, foreign=True)


@pytest.mark.parametrize(
    ("odd", "seen"),
    [
        ({"fence": {"N": "-1"}}, BY_ITS_HOLDER),
        ({"data": None}, BY_ITS_HOLDER),
        ({"data": {"S": "x"}}, BY_ITS_HOLDER),
        ({"data": {"M": {"a": 5}}}, BY_ITS_HOLDER),
        ({"data": {"M": {"a": {"N": "NaN"}}}}, BY_ITS_HOLDER),
        ({"data": {"M": {"a": {"N": "x"}}}}, BY_ITS_HOLDER),
        ({"lease_id": {"N": "1"}}, None),
        ({"lease_id": None}, None),
        ({"lease_id": {"S": ""}, "fence": {"N": "-1"}}, None),
    ],
    ids=str,
)
def test_a_slot_of_another_shape_is_foreign_and_its_holder_may_recognise_it(odd, seen):
    assert read_slot(WHOLE | odd, 3) == Slot(number=3, fence=0, lease=seen, foreign=True)


def test_a_foreign_slot_still_shows_that_it_is_revoked_or_retired():
    item = LEASED | {"fence": {"S": "x"}, "revoked": {"S": "by"}, "retired": {"BOOL": True}}
    lease = Claimant(lease_id="3-x", owner="", acquired_at=0, expires_at=5, revoked=True)
    assert read_slot(item, 3) == Slot(number=3, fence=0, lease=lease, retired=True, foreign=True)


# The counter.

COUNTER = {"max_tokens": {"N": "5"}, "minted": {"N": "4"}, "rev": {"N": "7"}, "lease_ms": {"N": "30000"}}


@pytest.mark.parametrize(
    ("more", "schema", "order"),
    [
        ({}, 1, "any"),
        ({"schema": {"N": "3"}}, 3, "any"),
        ({"order": {"S": "fifo"}}, 1, "fifo"),
        ({"order": {"S": "lifo"}}, 1, "any"),
    ],
    ids=str,
)
def test_an_item_is_this_counter(more, schema, order):
    assert read_counter(COUNTER | more) == Counter(
        max_tokens=5, minted=4, rev=7, lease_ms=30_000, schema=schema, order=order
    )


@pytest.mark.parametrize(("name", "numbers"), [("max_tokens", (0, 100_000)), ("lease_ms", (1, 31_536_000_000))])
def test_a_counter_may_have_the_least_and_the_most(name, numbers):
    for number in numbers:
        assert getattr(read_counter(COUNTER | {name: {"N": str(number)}}), name) == number


@pytest.mark.parametrize(
    ("name", "number"), [("max_tokens", -1), ("max_tokens", 100_001), ("lease_ms", 0), ("lease_ms", 31_536_000_001)]
)
def test_a_counter_with_less_or_more_is_named(name, number):
    with pytest.raises(ValueError, match=rf"^{name} is {number}$"):
        read_counter(COUNTER | {name: {"N": str(number)}})


@EACH_NO_NUMBER
@pytest.mark.parametrize("name", ["max_tokens", "minted", "rev", "lease_ms", "schema"])
def test_a_counter_with_a_number_that_is_none_is_not_ours(name, odd):
    with pytest.raises(ValueError, match="^attribute "):
        read_counter(COUNTER | {name: odd})


@pytest.mark.parametrize("name", ["max_tokens", "minted", "rev", "lease_ms"])
def test_a_counter_without_a_number_is_not_ours_and_says_which(name):
    item = {other: value for other, value in COUNTER.items() if other != name}
    with pytest.raises(ValueError, match=f"^attribute '{name}'$"):
        read_counter(item)


# What version 1 kept a rate in.

METER = {"sk": {"S": "rate"}, "tat": {"N": "5"}, "burst": {"N": "3"}}


def test_the_item_of_version_1_is_known_by_its_key_and_shape():
    assert is_meter(METER)
    for odd in ({"sk": {"S": "rates"}}, {"sk": {"N": "1"}}, {"burst": {"S": "3"}}, {"burst": None}, {"burst": {}}):
        assert not is_meter(METER | odd)


@EACH_NO_NUMBER
def test_without_its_time_it_is_not(odd):
    assert not is_meter(METER | {"tat": odd})
