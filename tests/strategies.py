"""Hypothesis strategies: values that users may give, that a table may hold, that may come as an answer."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

# Values that users give.

NASTY = (
    "",
    "'",
    '"',
    "#pk",
    ":fence",
    ":lease_id OR attribute_exists(#pk)",
    "x = :x REMOVE #fence",
    "slot#00000",
    "counter",
    "../../etc",
    "a\x00b",
    "\r\n",
    "\x1b[2J",
    "\u202e",
    "\ud800",
    "\udcff",
    "🔒",
    "e\u0301",
    "null",
    "{}",
    "%s%n",
    "x" * 2048,
    "é" * 1025,
    "x" * 70_000,
)
"""Texts that have caused bugs: quotes, placeholders, our own keys, controls, lone surrogates, lengths at a limit."""

any_text = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=30),
    st.text(st.characters(exclude_categories=()), max_size=10),  # lone surrogates too
)

sound_text = st.one_of(
    st.sampled_from([text for text in NASTY if text and not any("\ud800" <= c <= "\udfff" for c in text)]),
    st.text(min_size=1, max_size=30),
).filter(lambda text: len(text.encode()) <= 2048)
"""Text that may name a bucket or an owner."""


def nested(depth: int, *, lists: bool = False) -> Any:
    """A value inside so many containers."""
    value: Any = "leaf"
    for _ in range(depth):
        value = [value] if lists else {"k": value}
    return value


numbers = st.one_of(
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.decimals(),
    st.sampled_from([10**38 - 1, 10**38, -(10**38), 10**200, 2**63, 1e30, 1e125, 1e126, 5e-324, -0.0, True, False]),
    st.sampled_from([Decimal("0.1234567890123456789012345"), Decimal("1E+999999999"), Decimal("sNaN"), Decimal("-0")]),
)

unfit = st.one_of(
    st.binary(max_size=3),
    st.sets(st.integers(), max_size=2),
    st.frozensets(st.text(max_size=2), max_size=2),
    st.complex_numbers(),
    st.builds(object),
)
"""Values that none of our attributes holds."""

values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, any_text, unfit),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(any_text, inner, max_size=3),
    ),
    max_leaves=8,
)

sound_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**37), 10**37),
        st.floats(allow_nan=False, allow_infinity=False, min_value=-1e100, max_value=1e100, allow_subnormal=False)
        # below 1e-125 DynamoDB has no number
        .filter(lambda number: number == 0 or abs(number) > 1e-100),
        st.text(max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(min_size=1, max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)

sound_data = st.dictionaries(st.one_of(sound_text, st.text(min_size=1, max_size=9)), sound_values, max_size=4)
"""Data that must be stored unchanged."""

any_data = st.one_of(
    st.none(),
    sound_data,
    st.dictionaries(st.one_of(any_text, st.integers(), st.none()), values, max_size=4),
    st.builds(lambda n, lists: {"deep": nested(n, lists=lists)}, st.integers(25, 40), st.booleans()),
    values,
)
"""Any value that a caller may pass as data."""


def same(given: Any, back: Any) -> bool:
    """Whether `back`, read from the table, equals the given value: with lists for tuples, and numbers by value."""
    if isinstance(given, (str, bool)) or given is None:
        return type(back) is type(given) and back == given
    if isinstance(given, (int, float, Decimal)):
        exact = given if isinstance(given, Decimal) else Decimal(repr(given))
        return isinstance(back, (int, float, Decimal)) and Decimal(str(back)) == exact
    if isinstance(given, (list, tuple)):
        return isinstance(back, list) and len(given) == len(back) and all(map(same, given, back))
    return isinstance(back, dict) and given.keys() == back.keys() and all(same(given[key], back[key]) for key in given)


# Values in tables.

stored_number = st.one_of(
    st.integers(-5, 5).map(str),
    st.integers(0, 2**48).map(str),
    st.integers(-(10**38) + 1, 10**38 - 1).map(str),
    st.sampled_from(["0", "1.5", "-0.1", "1E+37", "1E+38", "1E+125", "-1E+125", "9.9E+125", "1E-130", "99999", "1000"]),
)
"""Numbers that DynamoDB stores, in its own notation or another."""

no_number = st.sampled_from(
    ["", "x", "NaN", "sNaN", "Infinity", "-Infinity", "1E+999999999", "1e-999999999", "٣", "1_0"]
)
"""Values that no table holds, though an answer may."""


def attributes(number: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A value in DynamoDB's wire form, of any type."""
    scalar = st.one_of(
        number.map(lambda n: {"N": n}),
        number.map(lambda n: {"N": n}),  # twice as often: most values that we read are numbers
        st.one_of(st.text(max_size=5), st.sampled_from(["5", "0-mine", "counter"])).map(lambda s: {"S": s}),
        st.booleans().map(lambda b: {"BOOL": b}),
        st.just({"NULL": True}),
        st.binary(max_size=3).map(lambda b: {"B": b}),
        st.just({"SS": ["a", "b"]}),
        st.just({"NS": ["1", "2"]}),
        st.just({"BS": [b"a"]}),
    )
    return st.recursive(
        scalar,
        lambda inner: st.one_of(
            st.lists(inner, max_size=2).map(lambda parts: {"L": parts}),
            st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=2).map(lambda parts: {"M": parts}),
        ),
        max_leaves=3,
    )


def items(
    sound: dict[str, st.SearchStrategy[dict[str, Any]]], anything: st.SearchStrategy[dict[str, Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    """Items that are nearly of our shape: each attribute is valid, or something else, or missing."""
    each = {name: st.one_of(strategy, strategy, strategy, anything) for name, strategy in sound.items()}
    foreign = st.dictionaries(st.sampled_from(["foreign", "revoked", "max_tokens", "#x"]), anything, max_size=1)
    return st.builds(
        lambda item, more, without: {k: v for k, v in (more | item).items() if k not in without},
        st.fixed_dictionaries(each),
        foreign,
        st.sets(st.sampled_from(sorted(sound)), max_size=3),
    )


def _number(low: int, high: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.integers(low, high).map(lambda n: {"N": str(n)})


_SLOT = {"fence": _number(0, 10**13), "ttl": _number(4 * 10**9, 4 * 10**9 + 9)}
_LEASE = {
    "lease_id": st.sampled_from([{"S": "0-other"}, {"S": "1-other"}, {"S": "x"}]),
    "owner": st.just({"S": "other"}),
    "acquired_at": _number(0, 10**13),
    "expires_at": st.sampled_from([{"N": "1000"}, {"N": "4102444800000"}]),  # long ago, and in 2100
    "data": st.just({"M": {"k": {"N": "1"}}}),
}


def slot_items(number: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """The attributes of slots: free, leased, retired, and invalid ones."""
    anything = attributes(number)
    shapes = [_SLOT, _SLOT | _LEASE, _SLOT | {"retired": st.just({"BOOL": True})}]
    return st.one_of(*(items(shape, anything) for shape in shapes), st.dictionaries(st.text(min_size=1), anything))


def counter_items(number: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """The attributes of counters, and invalid ones."""
    sound = {
        "max_tokens": _number(1, 4),
        "minted": _number(0, 4),
        "rev": _number(0, 10**13),
        "lease_ms": st.just({"N": "30000"}),
        "schema": st.just({"N": "1"}),
    }
    return items(sound, attributes(number))


# Answers.

KNOWN_CODES = (
    "ConditionalCheckFailedException",
    "ConditionalCheckFailed",
    "TransactionCanceledException",
    "TransactionConflictException",
    "TransactionConflict",
    "TransactionInProgressException",
    "ThrottlingException",
    "ThrottlingError",
    "ProvisionedThroughputExceededException",
    "ResourceNotFoundException",
    "AccessDeniedException",
    "ValidationException",
    "InternalServerError",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "RequestTimeTooSkewed",
    "None",
    "",
)

codes = st.one_of(st.sampled_from(KNOWN_CODES), st.text(max_size=8))

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), codes),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)

found_items = st.one_of(
    json_values,
    st.fixed_dictionaries(
        {
            "pk": st.just({"S": "nightly"}),
            "sk": st.sampled_from([{"S": "slot#00001"}, {"S": "counter"}, {"S": "x"}, None]),
        },
        optional={
            name: st.one_of(json_values, attributes(st.one_of(stored_number, no_number)))
            for name in (
                "fence",
                "lease_id",
                "expires_at",
                "max_tokens",
                "minted",
                "rev",
                "lease_ms",
                "data",
                "retired",
            )
        },
    ),
)
"""Items in an answer, or anything in their place."""

reasons = st.one_of(
    json_values,
    st.lists(
        st.one_of(
            st.fixed_dictionaries({"Code": codes}, optional={"Item": found_items, "Message": json_values}), json_values
        ),
        max_size=4,
    ),
)


def as_json(value: Any) -> str:
    """JSON of a value that may hold bytes: these are written as text, as a service might by mistake."""
    return json.dumps(value, default=lambda odd: odd.decode("latin-1"))
