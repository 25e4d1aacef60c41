"""What is sent to settle a reservation, and to sweep a dead process's."""

from dataclasses import replace

import pytest

from ddb_lease._protocol.rates.charging import Attempt
from ddb_lease._protocol.rates.messages import LimitSettlement
from ddb_lease._protocol.rates.records import Hold
from ddb_lease._protocol.rates.settling import SWEPT_AFTER, Reserved, Swept, settle, sweep
from tests.rates import HOLD, POLICY, key_state, limit, settlement

ATTEMPT = Attempt(key="k", id="settled", lane=1, process="p")
STATE = key_state(limits={"requests": limit(900, 20), "tokens": limit(1_000, 9)}, holds={"p": HOLD})
NINE = {"tokens": Reserved(permits=9, interval=1)}


def settled(state=STATE, reserved=NINE, used=None, *, known=("held",)):
    return settle(POLICY, state, reserved, used or {}, attempt=ATTEMPT, known=known, now=1_000, retention=3_600)


@pytest.mark.parametrize(("used", "charged"), [({"tokens": 4}, 4), ({"tokens": 0}, 0), ({}, 9)])
def test_what_was_used_is_charged_and_all_that_was_held_is_given_back(used, charged):
    assert settled(used=used) == settlement(LimitSettlement(name="tokens", idle=False, used=charged, held=9))


def test_a_part_of_what_a_process_holds_leaves_the_rest():
    found = settled(reserved={"tokens": Reserved(permits=2, interval=3)}, used={"tokens": 1})
    assert found.limits == (LimitSettlement(name="tokens", idle=False, used=3, held=6),)
    assert found.hold == Hold(held={"tokens": 3}, until=5_000, attempt="settled")


def test_a_debt_keeps_the_item_until_it_is_paid():
    second = 10**9
    assert settled(used={"tokens": 9}).ttl is None
    assert settled(used={"tokens": 50 * second}).ttl == 51 + 3_600  # rounded up


def test_limits_that_are_not_settled_stay_held_to_the_last_nanosecond():
    hold = replace(HOLD, held={"requests": 1, **HOLD.held})
    assert settled(replace(STATE, holds={"p": hold})).hold == replace(hold, held={"requests": 1}, attempt="settled")


def test_the_longest_debt_keeps_the_item_and_counts_beside_what_is_still_held():
    second = 10**9
    hold = Hold(held={"requests": 5 * second, "tokens": 30 * second}, until=5_000, attempt="held")
    limits = {"requests": limit(0, 5 * second), "tokens": limit(2 * second, 30 * second)}
    reserved = {name: Reserved(permits=n, interval=second) for name, n in (("requests", 5), ("tokens", 10))}
    found = settled(key_state(limits=limits, holds={"p": hold}), reserved, {"requests": 6, "tokens": 40})
    assert found.ttl == 2 + 40 + (30 - 10) + 3_600


@pytest.mark.parametrize(
    "state",
    [None, key_state(), replace(STATE, holds={"q": HOLD}), replace(STATE, holds={"p": replace(HOLD, attempt="x")})],
)
def test_a_hold_that_is_gone_or_made_anew_was_swept(state):
    assert settled(state) == Swept()


def test_any_change_that_this_process_made_is_known():
    assert settled(known=("older", "held")).hold_before == "held"


def swept(state=STATE, *, now, process="other"):
    attempt = Attempt(key="k", id="sweep", lane=5, process=process)
    return sweep(POLICY, state, attempt=attempt, now=now, retention=3_600)


def test_a_hold_that_is_past_its_time_is_settled_in_full():
    late = 5_001 + SWEPT_AFTER
    assert swept(now=late - 1) is None
    found = swept(now=late)
    assert found.limits == (LimitSettlement(name="tokens", idle=True, used=9, held=9),)
    assert (found.process, found.hold_before, found.hold, found.lane) == ("p", "held", None, 5)
    assert swept(now=late, process="p") is None


def test_what_was_edited_away_keeps_no_hold_for_ever():
    late = 5_001 + SWEPT_AFTER
    assert swept(replace(STATE, limits={}), now=late).limits == ()
    assert swept(replace(STATE, limits={"tokens": limit(0, 4)}), now=late).limits[0].held == 4
    assert swept(replace(STATE, limits={"tokens": limit(0, -4)}), now=late).limits[0].held == 0
