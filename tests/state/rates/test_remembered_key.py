"""What a process remembers of a key: it decides as the item would, and takes little memory."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease._protocol.rates.records import Hold, KeyState, LimitPolicy, LimitState
from ddb_lease._state.rates.remembered_key import recalled, remembered

NOW = 1_795_470_755_123_456_789
PLAIN = KeyState(
    limits={"requests": LimitState(tat=NOW, reach=NOW), "tokens": LimitState(tat=NOW + 1, reach=NOW + 1)}, rev=7
)
NOT_PLAIN = {
    "a hold": {"holds": {"p": Hold(held={"tokens": 9}, until=NOW, attempt="a")}},
    "what is held": {"limits": {"tokens": LimitState(tat=NOW, held=9, reach=NOW + 9)}},
    "an edited reach": {"limits": {"tokens": LimitState(tat=NOW, held=0, reach=NOW + 9)}},
    "an edited hold": {"limits": {"tokens": LimitState(tat=NOW, held=9, reach=NOW)}},
    "an override": {"override": {"tokens": LimitPolicy(interval=1, burst=2, permits=1.0, per=1.0)}, "override_rev": 3},
    "an override that was removed": {"override_rev": 3},
    "a block": {"blocked_until": NOW + 5},
}


@pytest.mark.parametrize("changes", [{}, {"limits": {}}, *NOT_PLAIN.values()], ids=["plain", "no limits", *NOT_PLAIN])
def test_what_is_remembered_comes_back_without_the_lanes(changes):
    state = replace(PLAIN, **changes)
    assert recalled(remembered(replace(state, lanes={3: "an attempt"}))) == state


def test_nothing_is_remembered_as_nothing():
    assert recalled(remembered(None)) is None


@given(st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**20)), st.integers(0, 10**15))
def test_any_plain_item_comes_back_in_its_order(tats, rev):
    state = KeyState(limits={name: LimitState(tat=tat, reach=tat) for name, tat in tats.items()}, rev=rev)
    found = recalled(remembered(state))
    assert found == state
    assert list(found.limits) == list(state.limits)


def test_a_plain_item_takes_no_more_than_its_numbers():
    kept, other = remembered(PLAIN), remembered(replace(PLAIN, lanes={0: "x"}))
    assert isinstance(kept, tuple)
    assert sys.getsizeof(kept) <= 40 + 3 * 8
    assert kept[0] is other[0], "names and revision are shared by all keys"
