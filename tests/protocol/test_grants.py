"""Grants: the parts of a lease, and how it is recognised after a lost answer."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease._protocol import grants
from ddb_lease._protocol.messages import Done, Refused
from ddb_lease._protocol.records import LONGEST_LEASE_MS, MAX_TOKENS, Claimant, Slot

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=500)
NOW = 1_700_000_000_000


def lease(lease_id="0-a"):
    return Claimant(lease_id=lease_id, owner="", acquired_at=0, expires_at=NOW + 1)


def free(number, fence=7):
    return Slot(number=number, fence=fence)


def held(number):
    return Slot(number=number, fence=7, lease=lease())


def new_grant(*, steady=100.0, now_hi=NOW, fence_seen=5):
    return grants.new_grant(
        (2, 4),
        fence_seen=fence_seen,
        lease_ms=30_000,
        margin=2.0,
        owner="host:1",
        data={"job": "x"},
        steady=steady,
        now_hi=now_hi,
        chance=random.Random(1),
    )


# New grants.


def test_a_new_grant_expires_after_its_length_and_is_believed_less_the_margin():
    grant = new_grant()
    assert (grant.acquired_at, grant.expires_at, grant.lease_ms) == (NOW, NOW + 30_000, 30_000)
    assert grant.deadline == 100.0 + 30.0 - 2.0
    assert (grant.owner, grant.data, grant.slots) == ("host:1", {"job": "x"}, (2, 4))
    assert grants.slots_of(grant.lease_id) == (2, 4)


def test_a_new_grant_has_a_fence_above_those_seen_and_not_below_the_clock():
    assert new_grant().fence == NOW
    assert new_grant(fence_seen=NOW + 9).fence == NOW + 10


@pytest.mark.parametrize(
    ("after", "moved_ms", "sound"),
    [
        (1.0, 0, True),
        (27.999, 0, True),
        (28.0, 0, False),  # its own deadline
        (1.0, 2_000, True),  # the service's clock is ahead of what the expiry was written by, by the margin
        (1.0, 2_001, False),
        (1.0, -1_000, True),  # it is behind: the slot would come back late
        (1.0, -1_001, False),
    ],
)
def test_a_grant_is_sound_before_its_deadline_while_its_expiry_agrees_with_the_time(after, moved_ms, sound):
    now_hi = NOW + round(after * 1000) + moved_ms
    assert grants.is_sound(new_grant(), steady=100.0 + after, now_hi=now_hi, latest=now_hi) is sound


def test_a_grant_is_sound_only_if_its_expiry_is_late_enough_by_the_strict_bound_and_early_enough_by_the_other():
    def sound(*, now_hi, latest):
        return grants.is_sound(new_grant(), steady=101.0, now_hi=NOW + 1000 + now_hi, latest=NOW + 1000 + latest)

    assert sound(now_hi=0, latest=2_000)
    assert not sound(now_hi=0, latest=2_001)
    assert sound(now_hi=-1_000, latest=0)
    assert not sound(now_hi=-1_001, latest=0)


# Numbers.


@pytest.mark.parametrize(
    ("seconds", "ms"),
    [
        (0.001, 1),
        (0.0, 1),
        (-5.0, 1),
        (30.0, 30_000),
        (30.0001, 30_001),
        (900.0, 900_000),
        (1e9, LONGEST_LEASE_MS),
    ],
)
def test_a_lease_that_is_to_end_at_a_time_lasts_so_many_ms_rounded_up_and_never_none(seconds, ms):
    assert grants.ms_until(seconds, 0.0) == ms
    assert grants.ms_until(64.0 + 30.0, 64.0) == 30_000, "from now on"


@given(seen=st.integers(0, 2**53), now=st.integers(0, 2**53))
@REPEATABLE
def test_a_fence_rises_above_the_one_seen_and_with_the_clock(seen, now):
    fence = grants.next_fence(seen, now)
    assert fence > seen
    assert fence >= now
    assert fence in {seen + 1, now}


@REPEATABLE
@given(
    now_hi=st.integers(0, 2**45),
    expires_at=st.one_of(st.none(), st.integers(0, 2**45)),
    fence=st.integers(0, 2**45),
    retention=st.floats(3600.0, 1e8),
)
def test_ttl_is_whole_seconds_after_the_latest_of_activity_expiry_and_fence(now_hi, expires_at, fence, retention):
    ttl = grants.ttl_for(now_hi=now_hi, expires_at=expires_at, fence=fence, retention_seconds=retention)
    later = max(now_hi, expires_at or 0, fence)
    assert isinstance(ttl, int)
    assert ttl * 1000 >= later + int(retention) * 1000, "rounded up"
    assert ttl * 1000 - (later + int(retention) * 1000) < 1000


@pytest.mark.parametrize(
    ("now_hi", "expires_at", "ttl"),
    [
        (1_000, None, 3_601),
        (1_001, None, 3_602),
        (1_000, 5_000, 3_605),
        (9_000, 5_000, 3_609),
        (NOW, NOW + 60_000, 1_700_003_660),
    ],
)
def test_ttl_is_seconds_and_never_milliseconds(now_hi, expires_at, ttl):
    assert grants.ttl_for(now_hi=now_hi, expires_at=expires_at, fence=0, retention_seconds=3600.0) == ttl


# Lease ids.


@REPEATABLE
@given(slots=st.lists(st.integers(0, MAX_TOKENS - 1), min_size=1, max_size=99, unique=True), seed=st.integers())
def test_a_lease_id_tells_its_slots(slots, seed):
    lease_id = grants.lease_id_for(tuple(slots), random.Random(seed))
    assert grants.slots_of(lease_id) == tuple(slots)


def test_lease_ids_are_new_every_time_and_carry_128_bits():
    chance = random.Random(1)
    ids = {grants.lease_id_for((4,), chance) for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(one) for one in ids} == {len("4-") + 32}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "4",
        "4-",
        "-abc",
        "x-abc",
        " 4-a",
        "+4-a",
        "-4-a",
        "\u0664-a",
        "123456-a",
        "1.-a",
        ".1-a",
        "1..2-a",
        "1.1-a",
    ],
)
def test_what_is_no_lease_id_tells_no_slot(text):
    assert grants.slots_of(text) is None


@REPEATABLE
@given(st.text())
def test_no_text_breaks_the_reading_of_a_lease_id(text):
    slots = grants.slots_of(text)
    assert slots is None or all(0 <= slot < MAX_TOKENS for slot in slots)


# Answers that were lost.


def test_an_item_that_carries_the_attempts_own_lease_means_it_worked():
    ours = Slot(number=0, fence=1, lease=lease(lease_id="0-ours"))
    assert grants.is_own_write(Refused(slot=ours), "0-ours")
    assert not grants.is_own_write(Refused(slot=ours), "0-other")
    assert not grants.is_own_write(Refused(slot=free(0)), "0-ours")
    assert not grants.is_own_write(Refused(slot=None), "0-ours")


@pytest.mark.parametrize("uncertain", [False, True])
def test_a_release_that_was_done_ended_the_lease(uncertain):
    assert grants.released(Done(), lease_id="3-mine", fence=7, uncertain=uncertain)


@pytest.mark.parametrize(
    ("slot", "fence", "uncertain", "ended"),
    [
        (free(0, fence=7), 7, True, True),
        (free(0, fence=7), 7, False, False),  # a second release, or a stranger's before it
        (free(0, fence=8), 7, True, False),  # somebody had it since
        (held(0), 7, True, False),
        (None, 7, True, False),
        (free(0, fence=7), None, True, False),  # by id alone, the fence is not known
    ],
    ids=["freed by our lost sending", "not ours", "had since", "leased", "no item", "fence unknown"],
)
def test_a_refused_release_ended_the_lease_only_if_a_lost_sending_of_it_did(slot, fence, uncertain, ended):
    assert grants.released(Refused(slot=slot), lease_id="3-mine", fence=fence, uncertain=uncertain) is ended


def test_of_several_slots_all_must_carry_our_lease():
    grant = new_grant()
    ours = Slot(number=2, fence=7, lease=lease(grant.lease_id))
    theirs = free(4)
    assert grants.are_own_writes(Refused(found={2: ours, 4: replace(ours, number=4)}), grant)
    assert not grants.are_own_writes(Refused(found={2: ours, 4: theirs}), grant)
    assert not grants.are_own_writes(Refused(found={2: ours}), grant)
    assert grants.is_ours_in_part(Refused(found={2: ours, 4: theirs}), grant.lease_id)
    assert not grants.is_ours_in_part(Refused(found={2: None, 4: theirs}), grant.lease_id)
