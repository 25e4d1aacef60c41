"""The protocol's decisions, from what an acquirer sees."""

import random
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ddb_lease._protocol import decisions
from ddb_lease._protocol.decisions import WINDOW
from ddb_lease._protocol.messages import Refused
from ddb_lease._protocol.records import MAX_TOKENS, PER_TRANSACTION, Claimant, Counter, Settings, Slot, View
from ddb_lease._protocol.steps import BringBackSlot, ClaimSlot, CreateBucket, MintSlot, NothingFree, RetireStrays

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=500)
NOW = 1_700_000_000_000


def counter(max_tokens=3, minted=3):
    return Counter(max_tokens=max_tokens, minted=minted, rev=1, lease_ms=60_000)


def lease(expires_at=NOW + 1, lease_id="0-a"):
    return Claimant(lease_id=lease_id, owner="", acquired_at=0, expires_at=expires_at)


def free(number, fence=7):
    return Slot(number=number, fence=fence)


def held(number, expires_at=NOW + 1):
    return Slot(number=number, fence=7, lease=lease(expires_at))


def retired(number, held_until=None):
    return Slot(number=number, fence=7, retired=True, lease=lease(held_until) if held_until else None)


def foreign(number, held_until=None):
    return Slot(number=number, fence=0, foreign=True, lease=lease(held_until) if held_until else None)


def view(*slots, covered=range(MAX_TOKENS)):
    return View(counter=None, slots={slot.number: slot for slot in slots}, covered=covered)


THREE = counter()


def choose(*slots, counter=THREE, covered=range(MAX_TOKENS), expired_before=NOW, seed=1):
    return decisions.choose(
        view(*slots, covered=covered), counter=counter, expired_before=expired_before, chance=random.Random(seed)
    )


def chosen(*slots, **how):
    """All that may be chosen, over many draws."""
    return {choose(*slots, seed=seed, **how) for seed in range(60)}


# In this order.


def test_a_missing_bucket_is_created_first():
    assert choose(counter=None) == CreateBucket(fresh=True)
    assert choose(free(0), counter=None) == CreateBucket(fresh=False)
    assert choose(free(99), counter=None) == CreateBucket(fresh=False), "a bucket that once was larger"


@pytest.mark.parametrize("covered", [range(512, 640), range(128, MAX_TOKENS), range(129), range(0)])
def test_what_was_not_looked_at_may_be_left_over_from_before(covered):
    assert choose(counter=None, covered=covered) == CreateBucket(fresh=False)


@pytest.mark.parametrize(
    ("seen", "remade"),
    [(None, True), (replace(THREE, rev=4), True), (replace(THREE, rev=5), False), (replace(THREE, rev=6), False)],
)
def test_a_counter_that_is_gone_or_older_than_known_may_have_been_remade(seen, remade):
    looked = replace(view(), counter=seen)
    assert decisions.looks_remade(looked, replace(THREE, rev=5)) == remade
    assert not decisions.looks_remade(replace(looked, counter_looked_for=False, counter=None), replace(THREE, rev=5))
    assert decisions.looks_remade(looked, None) == (seen is None)


def test_strays_are_retired_before_anything_is_claimed():
    step = choose(free(0), held(3), free(7, fence=12))
    assert step == RetireStrays(slots=(3, 7), fence=12, expires_at=NOW + 1, counter=counter())
    assert choose(free(9)).expires_at is None


def test_no_more_strays_are_retired_at_once_than_a_transaction_holds():
    step = choose(*(free(n) for n in range(3, 203)))
    assert step.slots == tuple(range(3, 3 + PER_TRANSACTION))


def test_retired_and_foreign_slots_beyond_the_bound_are_no_strays():
    assert isinstance(choose(free(0), free(1), free(2), retired(3), retired(4, NOW + 9), foreign(5)), ClaimSlot)


def test_what_is_free_or_expired_is_claimed_with_the_fence_seen():
    assert chosen(held(0), free(1, fence=11), held(2, NOW - 1)) == {
        ClaimSlot(slot=1, fence=11),
        ClaimSlot(slot=2, fence=7),
    }


def test_a_lease_that_ends_at_the_very_bound_has_not_expired():
    assert choose(held(0, NOW), counter=counter(1, 1)) == NothingFree(next_expiry=NOW)
    assert choose(held(0, NOW - 1), counter=counter(1, 1)) == ClaimSlot(slot=0, fence=7)


def test_nothing_has_expired_while_the_services_time_is_not_confirmed():
    assert choose(held(0, 1), counter=counter(1, 1), expired_before=0) == NothingFree(next_expiry=1)


def test_a_claim_goes_before_minting_and_minting_before_bringing_back():
    assert chosen(retired(1), free(2)) == {ClaimSlot(slot=2, fence=7)}
    assert chosen(retired(1), held(2)) == {MintSlot(slot=0, re_mint=True)}
    assert chosen(held(0), retired(1), held(2)) == {BringBackSlot(slot=1, fence=7, re_mint=True)}


@pytest.mark.parametrize(("minted", "re_mint"), [(0, False), (2, False), (3, True), (99, True)])
def test_minting_tells_whether_drift_hides_a_free_slot(minted, re_mint):
    assert choose(held(0), held(1), counter=counter(3, minted)) == MintSlot(slot=2, re_mint=re_mint)
    step = choose(held(0), held(1), retired(2), counter=counter(3, minted))
    assert step == BringBackSlot(slot=2, fence=7, re_mint=re_mint)


def test_a_retired_slot_on_which_a_lease_runs_is_not_brought_back():
    assert choose(held(0, NOW + 5), held(1, NOW + 6), retired(2, NOW + 3)) == NothingFree(next_expiry=NOW + 3)
    assert choose(held(0), held(1), retired(2, NOW - 1)) == BringBackSlot(slot=2, fence=7, re_mint=True)


def test_full_tells_the_first_expiry_and_nothing_where_no_lease_is_seen():
    assert choose(held(0, NOW + 30), held(1, NOW + 10), held(2, NOW + 20)) == NothingFree(next_expiry=NOW + 10)
    assert choose(foreign(0), foreign(1), foreign(2)) == NothingFree(next_expiry=None)
    assert choose(foreign(0, NOW - 5), held(1, NOW + 3), held(2, NOW + 4)) == NothingFree(next_expiry=NOW + 3)
    assert choose(counter=counter(0, 0)) == NothingFree(next_expiry=None), "a bucket of no tokens"


def test_foreign_slots_are_neither_claimed_nor_minted_over():
    assert chosen(foreign(0), held(1)) == {MintSlot(slot=2, re_mint=True)}
    assert choose(foreign(0), held(1), held(2)) == NothingFree(next_expiry=NOW + 1)


def test_only_what_the_look_covered_may_be_taken_for_missing():
    assert chosen(held(2), counter=counter(9, 3), covered=range(2, 4)) == {MintSlot(slot=3, re_mint=False)}
    assert choose(held(2), counter=counter(9, 3), covered=range(2, 3)) == NothingFree(next_expiry=NOW + 1)


def test_not_everybody_goes_for_the_same_slot():
    bucket = counter(20, 20)
    assert len(chosen(*(free(n) for n in range(20)), counter=bucket)) > 10
    assert len(chosen(counter=bucket, covered=range(20))) > 10
    assert len(chosen(*(retired(n) for n in range(20)), counter=bucket)) > 10


# For whatever is seen.

slots = st.builds(
    Slot,
    number=st.integers(0, 12),
    fence=st.integers(0, 9),
    lease=st.one_of(st.none(), st.builds(lease, expires_at=st.integers(NOW - 2, NOW + 2))),
    retired=st.booleans(),
    foreign=st.booleans(),
)


@REPEATABLE
@given(
    seen=st.lists(slots, max_size=12, unique_by=lambda slot: slot.number),
    max_tokens=st.integers(0, 12),
    minted=st.integers(0, 15),
    start=st.integers(0, 5),
    length=st.integers(0, 12),
    expired_before=st.sampled_from([0, NOW]),
    seed=st.integers(0, 5),
)
def test_whatever_is_chosen_is_in_range_and_permitted(*, seen, max_tokens, minted, start, length, expired_before, seed):
    covered = range(start, start + length)
    assume(all(slot.number in covered for slot in seen))
    by_number = {slot.number: slot for slot in seen}
    bucket = counter(max_tokens, minted)
    step = choose(*seen, counter=bucket, covered=covered, expired_before=expired_before, seed=seed)

    def is_over(slot):
        return slot.lease is None or slot.lease.expires_at < expired_before

    usable = [s for s in seen if s.number < max_tokens and not s.foreign and is_over(s)]
    strays = {s.number for s in seen if s.number >= max_tokens and not s.retired and not s.foreign}
    missing = {n for n in covered if n < max_tokens and n not in by_number}
    match step:
        case RetireStrays():
            assert set(step.slots) == strays
            assert strays
            return
        case ClaimSlot():
            assert by_number[step.slot] in usable
            assert not by_number[step.slot].retired
            assert step.fence == by_number[step.slot].fence
        case MintSlot():
            assert step.slot in missing
            assert not [s for s in usable if not s.retired]
            assert step.re_mint == (minted >= max_tokens)
        case BringBackSlot():
            assert by_number[step.slot] in usable
            assert by_number[step.slot].retired
            assert not missing
        case NothingFree():
            assert not usable
            assert not missing
    assert not strays


# What a refused step teaches.


def test_a_lost_race_leaves_the_winners_item_in_view():
    seen = view(free(0), free(1))
    for step in (
        ClaimSlot(slot=0, fence=7),
        MintSlot(slot=0, re_mint=False),
        BringBackSlot(slot=0, fence=7, re_mint=True),
    ):
        assert decisions.learn(seen, step, Refused(slot=held(0))).slots == {0: held(0), 1: free(1)}
    assert seen.slots[0] == free(0), "the view that was passed in is as it was"


def test_a_refusal_without_an_item_takes_the_slot_out_of_view_unless_only_the_counter_failed():
    seen, step = view(free(0), free(1)), ClaimSlot(slot=0, fence=7)
    assert decisions.learn(seen, step, Refused(slot=None)).slots == {1: free(1)}
    assert decisions.learn(seen, MintSlot(slot=5, re_mint=False), Refused(slot=None)).slots == seen.slots
    only_counter = Refused(slot_failed=False, counter_failed=True)
    assert decisions.learn(seen, MintSlot(slot=5, re_mint=False), only_counter).slots == seen.slots


@pytest.mark.parametrize(
    "step",
    [
        RetireStrays(slots=(3,), fence=1, expires_at=None, counter=counter()),
        CreateBucket(fresh=True),
        NothingFree(next_expiry=None),
    ],
)
def test_other_steps_teach_nothing_about_slots(step):
    seen = view(free(0))
    assert decisions.learn(seen, step, Refused(slot=held(0))) is seen


def test_a_slot_brought_back_circulates_with_its_fence():
    seen = decisions.brought_back(view(retired(1), held(2)), BringBackSlot(slot=1, fence=7, re_mint=False))
    assert seen.slots == {1: free(1), 2: held(2)}


# Numbers.


def test_a_creation_makes_as_many_slots_as_one_transaction_holds():
    def made(max_tokens, *, fresh=True):
        return decisions.slots_at_creation(Settings(max_tokens=max_tokens, lease_ms=1), fresh=fresh)

    assert made(3) == (3, 3)
    assert made(99) == (99, 99)
    assert made(100) == (99, 99)
    assert made(5, fresh=False) == (0, 5), "slots are left over: as if all had been minted"


@pytest.mark.parametrize(("minted", "left"), [(9, 7), (5, 3), (4, 3), (3, 3), (1, 1), (0, 0)])
def test_minted_falls_with_what_is_retired_but_makes_no_room_that_may_not_be_there(minted, left):
    # A counter created again over old slots has not counted them: too high is drift, too low would mint existing slots.
    assert decisions.minted_without([3, 4], counter(3, minted)) == left


@pytest.mark.parametrize(("max_tokens", "looks"), [(0, 1), (1, 1), (128, 1), (129, 2), (256, 2), (100_000, 782)])
def test_a_bucket_is_seen_once_in_so_many_looks(max_tokens, looks):
    assert decisions.windows(max_tokens) == looks


# Several together


def choose_together(*slots, count, counter=THREE, covered=range(3)):
    seen = view(*slots, covered=covered)
    known = {number: seen.slots.get(number) for number in covered}
    return decisions.choose_together(
        seen, known=known, count=count, counter=counter, expired_before=NOW, chance=random.Random(1)
    )


def test_a_waiter_for_several_waits_for_the_expiry_that_makes_them_enough():
    three = held(0, NOW + 30), held(1, NOW + 10), held(2, NOW + 20)
    assert [choose_together(*three, count=count) for count in (1, 2, 3)] == [
        NothingFree(next_expiry=NOW + 10),
        NothingFree(next_expiry=NOW + 20),
        NothingFree(next_expiry=NOW + 30),
    ]
    assert choose_together(free(0), held(1, NOW + 10), held(2, NOW + 20), count=2) == NothingFree(next_expiry=NOW + 10)
    foreign_one = foreign(0, NOW + 1), held(1, NOW + 10), held(2, NOW + 20)
    assert choose_together(*foreign_one, count=2) == NothingFree(next_expiry=NOW + 20)
    assert choose_together(*foreign_one, count=3) == NothingFree(next_expiry=None)


def test_a_window_is_filled_if_all_of_its_slots_are_in_ones_own_hands():
    own = [*range(WINDOW), *range(WINDOW, 2 * WINDOW - 1), *range(2 * WINDOW, 2 * WINDOW + 10), WINDOW]
    assert decisions.filled_windows(own, 2 * WINDOW + 10) == {0, 2}, "the last one is smaller"
    assert decisions.filled_windows(own, 2 * WINDOW + 11) == {0}
    assert decisions.filled_windows([1, *own, 99_999], WINDOW - 1) == {0}, "what lies beyond the bound does not count"
    assert decisions.filled_windows([], 1_000) == set()
