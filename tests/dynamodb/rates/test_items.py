"""Items of rates as values: written as they are, and what is no policy or key of ours is never guessed at."""

import re
from dataclasses import replace

import pytest

from ddb_lease._protocol.rates.records import Hold, KeyState, LimitPolicy, LimitState, Policy
from ddb_lease.dynamodb.rates.items import (
    NewerVersion,
    encode_hold,
    encode_limits,
    key_of,
    partition_of,
    read_policy,
    read_state,
    shard_name,
)
from tests.rates import POLICY, REQUESTS


def item(limit):
    return {"schema": {"N": "2"}, "rev": {"N": "7"}, "limits": encode_limits({"requests": limit})}


def test_a_policy_comes_back_as_it_was_stored():
    assert read_policy(item(REQUESTS)) == replace(POLICY, limits={"requests": REQUESTS})


@pytest.mark.parametrize("edited", [{"permits": 0.0}, {"per": -1.0}, {"interval": 0}, {"burst": 0}, {"burst": 10**17}])
def test_a_limit_that_cannot_work_is_not_of_our_shape(edited):
    with pytest.raises(ValueError, match="limits"):
        read_policy(item(replace(REQUESTS, **edited)))


NO_NUMBERS = [{}, None, {"S": "7"}, {"N": None}, {"N": "x"}, {"N": "0.5"}, {"N": "NaN"}, {"N": "1e99"}]
EACH_NO_NUMBER = pytest.mark.parametrize("odd", NO_NUMBERS, ids=str)


def numbers(**attributes):
    return {name: {"N": str(number)} for name, number in attributes.items()}


def stored(**changes):
    """A policy of one limit as it is stored, by hand."""
    limit = numbers(interval=10, burst=3, permits="100", per="0.5", rev=6, since=8) | changes
    return numbers(schema=2, rev=7) | {"limits": {"M": {"requests": {"M": limit}}}}


LIMIT = LimitPolicy(interval=10, burst=3, permits=100.0, per=0.5, rev=6, since=8)


def test_limits_are_stored_readably():
    assert encode_limits({"requests": LIMIT}) == stored()["limits"]
    assert encode_limits({}) == {"M": {}}


def test_a_stored_policy_is_read_whole():
    assert read_policy(stored()) == Policy(limits={"requests": LIMIT}, rev=7, schema=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"interval": 1, "burst": 1},
        {"interval": 31_536_000_000_000_000, "burst": 1},
        {"interval": 1, "burst": 31_536_000_000_000_000},
        {"permits": 1},
        {"per": 1},
        {"rev": 0, "since": 0},
    ],
    ids=str,
)
def test_the_least_and_the_longest_limits_are_read(changes):
    (limit,) = read_policy(stored(**numbers(**changes))).limits.values()
    assert {name: getattr(limit, name) for name in changes} == changes


@pytest.mark.parametrize(
    "changes",
    [
        {"interval": 0},
        {"burst": 0},
        {"interval": 31_536_000_000_000_001, "burst": 1},
        {"interval": -10, "burst": -3},
        {"permits": 0},
        {"permits": "NaN"},
        {"permits": "Infinity"},
        {"per": 0},
        {"per": "-1"},
        {"per": "Infinity"},
    ],
    ids=str,
)
def test_a_limit_that_was_edited_into_what_cannot_work_is_not_of_our_shape(changes):
    with pytest.raises(ValueError, match="^attribute limits$"):
        read_policy(stored(**numbers(**changes)))


@EACH_NO_NUMBER
@pytest.mark.parametrize("name", ["interval", "burst", "rev", "since"])
def test_a_limit_with_a_number_that_is_none_is_not_of_our_shape(name, odd):
    with pytest.raises(ValueError, match="^attribute "):
        read_policy(stored(**{name: odd}))


@pytest.mark.parametrize("limits", [None, {}, {"L": []}, {"M": None}, {"M": {"requests": None}}], ids=str)
def test_limits_of_another_shape_are_not_ours(limits):
    with pytest.raises(ValueError, match="^attribute "):
        read_policy(stored() | {"limits": limits})


WHOLE = numbers(
    schema=2,
    rev=7,
    **{"tat#requests": 70, "held#requests": 1, "reach#requests": 71, "tat#a": 60, "held#a": 2, "reach#a": 62},
    override_rev=3,
    blocked_until=90,
) | {
    "a0": {"S": "first"},
    "a7": {"S": "last"},
    "hold#p": {"M": {"held": {"M": numbers(requests=1)}, "until": {"N": "80"}, "attempt": {"S": "x"}}},
    "override": stored()["limits"],
    "ttl": {"N": "9"},
}
STATE = KeyState(
    rev=7,
    limits={"requests": LimitState(tat=70, held=1, reach=71), "a": LimitState(tat=60, held=2, reach=62)},
    lanes={0: "first", 7: "last"},
    holds={"p": Hold(held={"requests": 1}, until=80, attempt="x")},
    override={"requests": LIMIT},
    override_rev=3,
    blocked_until=90,
)


def test_a_key_is_read_whole():
    state = read_state(WHOLE)
    assert state == STATE
    assert list(state.limits) == ["a", "requests"], "whatever their order in the item"


def test_a_key_that_nothing_happened_to_has_nothing():
    assert read_state(numbers(schema=2, rev=7)) == KeyState(
        rev=7, limits={}, lanes={}, holds={}, override={}, override_rev=0, blocked_until=0
    )


@EACH_NO_NUMBER
@pytest.mark.parametrize(
    "name",
    ["schema", "rev", "tat#requests", "held#requests", "reach#requests", "override_rev", "blocked_until"],
)
def test_a_key_with_a_number_that_is_none_is_not_of_our_shape(name, odd):
    with pytest.raises(ValueError, match="^attribute ") as refused:
        read_state(WHOLE | {name: odd})
    assert not isinstance(refused.value, NewerVersion)


@pytest.mark.parametrize(
    "odd",
    [
        {"hold#p": None},
        {"hold#p": {"S": "x"}},
        {"hold#p": {"M": {}}},
        {"hold#p": {"M": {"held": {"M": {}}, "until": {"N": "80"}, "attempt": {"N": "1"}}}},
        {"hold#p": {"M": {"held": {"M": {"a": {"S": "1"}}}, "until": {"N": "80"}, "attempt": {"S": "x"}}}},
        {"hold#p": {"M": {"held": {"M": {}}, "until": {"S": "80"}, "attempt": {"S": "x"}}}},
        {"override": None},
        {"override": {"M": {"requests": {"M": {}}}}},
    ],
    ids=str,
)
def test_a_key_with_a_hold_or_an_override_of_another_shape_is_not_ours(odd):
    with pytest.raises(ValueError, match="^attribute "):
        read_state(WHOLE | odd)


def test_a_key_without_a_number_says_which():
    for name in ("schema", "rev", "held#requests"):
        lacking = {other: value for other, value in WHOLE.items() if other != name}
        with pytest.raises(ValueError, match=f"^attribute '{re.escape(name)}'$"):
            read_state(lacking)


@pytest.mark.parametrize("read", [read_state, read_policy])
def test_other_versions_are_told_apart(read):
    with pytest.raises(NewerVersion, match="^schema 3$"):
        read(WHOLE | stored() | numbers(schema=3))
    with pytest.raises(ValueError, match="^schema is 1$") as older:
        read(WHOLE | stored() | numbers(schema=1))
    assert not isinstance(older.value, NewerVersion)


def test_a_hold_is_stored_as_a_map():
    assert encode_hold(Hold(held={"a": 1, "b": 2}, until=80, attempt="x")) == {
        "M": {"held": {"M": {"a": {"N": "1"}, "b": {"N": "2"}}}, "until": {"N": "80"}, "attempt": {"S": "x"}}
    }


def test_shards_have_names_of_two_digits():
    assert (shard_name("api", 3), shard_name("api", 63)) == ("api#03", "api#63")
    assert (partition_of("api", ""), partition_of("api", "team-7")) == ("api#00", "api#60")


@pytest.mark.parametrize(
    ("sort", "key"),
    [("rate#", ""), ("rate#k", "k"), ("rate#rate#k", "rate#k"), ("rate", None), ("a rate#k", None), ("", None)],
)
def test_only_a_keys_item_has_a_key(sort, key):
    assert key_of({"sk": {"S": sort}}) == key
    assert key_of({"sk": {"N": "1"}}) is None
