"""What a key's item is after a charge of several keys, which shows none of them."""

from dataclasses import replace

import pytest

from ddb_lease._protocol.rates.messages import LimitCharge
from ddb_lease._protocol.rates.records import Hold, KeyState
from ddb_lease._protocol.rates.together import after, after_others
from tests.rates import charge, key_state, limit, part

DUE = 1_000
HOLD = Hold(held={"requests": 30}, until=9_000, attempt="mine")
OLDER = Hold(held={"requests": 20}, until=8_000, attempt="older")


@pytest.mark.parametrize(
    ("branch", "found", "expected"),
    [
        (part("idle"), None, limit(1_010)),
        (part("idle"), limit(500, 7), limit(1_010, 7)),
        (part("idle", reserved=30), limit(500, 7), limit(1_010, 37)),
        (part("busy"), limit(1_200, 7), limit(1_210, 7)),
        (part("busy", reserved=30), limit(1_200, 7), limit(1_210, 37)),
        (part("busy"), None, limit(1_010)),
        (part("cut", cut=1_100), limit(9_000, 7), limit(1_110, 7)),
        (part("cut", cut=900), limit(9_000, 7), limit(1_010, 7)),
        (part("cut", cut=900, charged=0, reserved=30), limit(9_000, 7), limit(1_000, 37)),
        (part("cut", cut=900, charged=0), limit(9_000, 7), limit(900, 7)),
        (part("kept", cut=900, charged=0), limit(800, 7), limit(800, 7)),
        (part("kept", cut=900, charged=0), None, None),
    ],
)
def test_a_charge_makes_of_a_limit_what_the_table_makes_of_it(branch: LimitCharge, found, expected):
    before = None if found is None else key_state(limits={"requests": found})
    made = after(charge(branch, due=DUE), before)
    assert made.limits == ({} if expected is None else {"requests": expected})


def test_a_charge_leaves_all_else_as_it_was_and_is_in_its_lane():
    before = KeyState(
        limits={"requests": limit(500), "tokens": limit(700, 3)},
        rev=6,
        lanes={0: "before", 1: "another"},
        holds={"other": OLDER},
        override_rev=4,
        blocked_until=300,
    )
    made = after(charge(part(reserved=30), due=DUE, process="p", hold=HOLD), before)
    assert made == replace(
        before,
        limits={"requests": limit(1_010, 30), "tokens": limit(700, 3)},
        rev=7,
        lanes={0: "mine", 1: "another"},
        holds={"other": OLDER, "p": HOLD},
    )
    assert after(charge(due=DUE), None) == KeyState(limits={"requests": limit(1_010)}, rev=7, lanes={0: "mine"})


PLANNED = key_state(limits={"requests": limit(1_200, 5)})


@pytest.mark.parametrize("known", [None, PLANNED])
def test_where_nothing_was_seen_since_it_is_what_the_charge_made_of_it(known):
    request = charge(part("busy"), due=DUE)
    assert after_others(request, PLANNED, known) == after(request, PLANNED)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (limit(1_205, 9), limit(1_210, 9)),  # charged by others, and perhaps not by this one
        (limit(1_400, 2), limit(1_400, 2)),  # with this one, or by others alone: it is not added again
        (None, limit(1_210, 5)),
    ],
)
def test_what_was_seen_since_holds_and_at_least_the_charge_itself_counts(seen, expected):
    known = key_state(limits={} if seen is None else {"requests": seen}, rev=8, lanes={3: "another"})
    made = after_others(charge(part("busy"), due=DUE), PLANNED, known)
    assert made == replace(known, limits={"requests": expected})


def test_a_limit_that_only_others_have_charged_is_kept():
    known = key_state(limits={"requests": limit(1_300), "tokens": limit(50, 4)})
    made = after_others(charge(part("busy"), due=DUE), PLANNED, known)
    assert made.limits == {"requests": limit(1_300), "tokens": limit(50, 4)}


@pytest.mark.parametrize(
    ("before", "seen", "expected"),
    [
        (None, {}, {"p": HOLD}),
        (None, {"p": OLDER}, {"p": OLDER}),  # changed since
        ("older", {"p": OLDER}, {"p": HOLD}),
        ("older", {}, {}),  # settled since
        ("older", {"p": replace(OLDER, attempt="newer")}, {"p": replace(OLDER, attempt="newer")}),
        (None, {"q": OLDER}, {"p": HOLD, "q": OLDER}),
    ],
)
def test_its_hold_counts_if_the_item_shows_what_was_held_before_it(before, seen, expected):
    request = charge(part("busy", reserved=30), due=DUE, process="p", hold=HOLD, hold_before=before)
    made = after_others(request, PLANNED, key_state(limits={"requests": limit(1_300)}, holds=seen))
    assert made.holds == expected


def test_who_reserves_nothing_leaves_holds_alone():
    made = after_others(charge(part("busy"), due=DUE, process="p"), PLANNED, key_state(holds={"q": OLDER}))
    assert made.holds == {"q": OLDER}
