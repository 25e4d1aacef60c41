"""A holder's belief: every way in, every way out, and no way back."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease._protocol.lease_state import PAUSE_SECONDS, Belief, Renewal, State
from ddb_lease._protocol.messages import Conflict, Done, Refused, Rejected, ThrottledAnswer, Unknown, Unsent
from ddb_lease._protocol.records import Claimant, Grant, Slot
from ddb_lease.errors import LossReason

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=300)
LENGTH, MARGIN = 60.0, 4.0
STARTED = 1_000.0
NOW_HI = 1_700_000_000_000  # the service's time at STARTED, as the holder sees it
DEADLINE = STARTED + LENGTH - MARGIN
MINE, ANOTHERS = "3-mine", "3-another"
TROUBLE = OSError("no answer")
UNANSWERED = [
    Unknown(cause=TROUBLE),
    Unsent(cause=TROUBLE),
    ThrottledAnswer(cause=TROUBLE),
    Conflict(cause=TROUBLE),
    Rejected(error=TROUBLE),
]


def grant(**changes):
    values = {
        "lease_id": MINE,
        "slots": (3,),
        "fence": 1,
        "owner": "me",
        "data": {},
        "acquired_at": NOW_HI,
        "expires_at": NOW_HI + 60_000,
        "lease_ms": 60_000,
        "margin": MARGIN,
        "deadline": DEADLINE,
    }
    return Grant(**values | changes)


def slot(lease_id=MINE, *, revoked=False, expires_at=NOW_HI + 60_000):
    lease = Claimant(lease_id=lease_id, owner="", acquired_at=0, expires_at=expires_at, revoked=revoked)
    return Slot(number=3, fence=1, lease=lease if lease_id else None)


@pytest.fixture
def belief():
    return Belief(grant(), chance=random.Random(1))


def begin(belief, now):
    """A renewal begun at `now`, with the service's time going along."""
    renewal = belief.begin_renewal(now, NOW_HI + round((now - STARTED) * 1000))
    assert renewal is not None
    return renewal


def test_a_new_lease_is_held_until_its_deadline_and_no_longer(belief):
    assert belief.state is State.HELD
    assert belief.reason is None
    assert belief.holds(STARTED)
    assert belief.holds(DEADLINE - 0.001)
    assert not belief.holds(DEADLINE)


def held_at_least(**how):
    """A lease of 60 s that was acquired for an hour at least; the hour's margin is the larger one."""
    hour = {"expires_at": NOW_HI + 3_600_000, "hold_ms": 3_600_000, "margin": 2 * MARGIN}
    return Belief(grant(**hour, deadline=STARTED + 3_600 - 2 * MARGIN), chance=random.Random(1), margin=MARGIN, **how)


def test_a_lease_held_at_least_is_believed_in_for_as_long_and_renewed_as_any_other():
    belief = held_at_least()
    assert belief.deadline == STARTED + 3_600 - 2 * MARGIN
    assert STARTED + 18.0 <= belief.renew_at <= STARTED + 20.0
    renewal = begin(belief, STARTED + 19)
    assert renewal.expires_at == NOW_HI + 3_600_000, "it never falls"
    assert renewal.deadline == STARTED + 19 + 60 - MARGIN
    assert belief.end_renewal(renewal, Done(), STARTED + 19.1) is None
    assert belief.deadline == STARTED + 3_600 - 2 * MARGIN, "nor does the belief"
    assert STARTED + 19 + 18.0 <= belief.renew_at <= STARTED + 19 + 20.0
    late = begin(belief, STARTED + 3_590)
    assert late.expires_at == NOW_HI + 3_650_000
    assert belief.end_renewal(late, Done(), STARTED + 3_590.1) is None
    assert belief.deadline == STARTED + 3_650 - MARGIN


def test_a_lease_held_at_least_assumes_no_more_of_the_time_than_any_other():
    assumed = []
    for belief in (
        Belief(grant(), chance=random.Random(1), late_by=lambda offset: assumed.append(offset) or 0.0),
        held_at_least(late_by=lambda offset: assumed.append(offset) or 0.0),
    ):
        assert belief.deadline
    first, second = assumed
    assert second == pytest.approx(first, abs=1e-6)


def test_in_doubt_a_lease_held_at_least_is_renewed_before_an_ordinary_one_would_expire():
    belief = held_at_least()
    assert belief.due_in(STARTED, doubtful=True) < 60 - MARGIN
    assert belief.settle_until < STARTED + 60 - MARGIN


@pytest.mark.parametrize("seed", range(20))
def test_the_first_renewal_is_due_at_a_third_of_the_length_or_up_to_a_tenth_of_it_earlier(seed):
    belief = Belief(grant(), chance=random.Random(seed))
    assert STARTED + 18.0 <= belief.renew_at <= STARTED + 20.0
    assert belief.due_at() == belief.renew_at


def test_leases_taken_together_do_not_renew_together():
    chance = random.Random(1)
    assert len({Belief(grant(), chance=chance).renew_at for _ in range(100)}) == 100


# A renewal that is answered.


def test_a_renewal_writes_the_upper_bound_of_the_services_time_plus_the_length(belief):
    renewal = belief.begin_renewal(1_020.0, NOW_HI + 20_400)
    assert renewal == Renewal(expires_at=NOW_HI + 80_400, deadline=1_020.0 + LENGTH - MARGIN)


def test_the_new_deadline_counts_from_before_the_sending_not_from_the_answer(belief):
    renewal = begin(belief, 1_020.0)
    assert belief.end_renewal(renewal, Done(slot=slot()), 1_050.0) is None
    assert belief.deadline == 1_020.0 + LENGTH - MARGIN
    assert 1_038.0 <= belief.renew_at <= 1_040.0


def test_a_renewal_alone_moves_no_deadline_before_it_is_answered(belief):
    begin(belief, 1_020.0)
    assert belief.deadline == DEADLINE


def test_an_answer_without_an_item_is_a_renewal_all_the_same(belief):
    renewal = begin(belief, 1_020.0)
    assert belief.end_renewal(renewal, Done(slot=None), 1_020.1) is None
    assert belief.deadline == renewal.deadline


def test_an_earlier_renewal_answered_later_takes_nothing_back(belief):
    early, late = begin(belief, 1_020.0), begin(belief, 1_030.0)
    belief.end_renewal(late, Done(slot=slot()), 1_031.0)
    belief.end_renewal(early, Done(slot=slot()), 1_032.0)
    assert belief.deadline == late.deadline


def test_a_superseded_renewal_that_is_refused_with_our_own_lease_changes_no_deadline(belief):
    # The condition `expires_at <= :new` failed, for a later renewal of ours is there already.
    early, late = begin(belief, 1_020.0), begin(belief, 1_030.0)
    belief.end_renewal(late, Done(slot=slot(expires_at=late.expires_at)), 1_031.0)
    assert belief.end_renewal(early, Refused(slot=slot(expires_at=late.expires_at)), 1_032.0) is None
    assert belief.state is State.HELD
    assert belief.deadline == late.deadline


def test_a_renewal_refused_for_a_later_expiry_is_followed_by_one_that_succeeds(belief):
    # An operator may have lengthened the lease by hand: to write an earlier expiry again and again would lose it.
    later = NOW_HI + 500_000
    assert belief.end_renewal(begin(belief, 1_020.0), Refused(slot=slot(expires_at=later)), 1_021.0) is None
    assert belief.renew_at == 1_021.0
    assert begin(belief, 1_021.0).expires_at == later


# A renewal that is not.


@pytest.mark.parametrize("answer", UNANSWERED, ids=lambda a: type(a).__name__)
def test_a_failed_renewal_is_no_lost_lease(belief, answer):
    renewal = begin(belief, 1_020.0)
    assert belief.end_renewal(renewal, answer, 1_021.0) is None
    assert belief.holds(1_021.0)
    assert belief.deadline == DEADLINE
    assert belief.failures == 1
    assert 1_021.0 <= belief.renew_at <= 1_021.1


@REPEATABLE
@given(seed=st.integers(0, 10_000), failures=st.integers(1, 40))
def test_while_renewals_fail_the_pause_grows_to_a_twelfth_of_the_length_and_never_beyond(seed, failures):
    belief = Belief(grant(lease_ms=10**9, deadline=STARTED + 10**6 - MARGIN), chance=random.Random(seed))
    for number in range(1, failures + 1):
        belief.end_renewal(begin(belief, STARTED), Unknown(cause=TROUBLE), STARTED)
        bound = min(10**6 / 12, 0.1 * 2 ** (number - 1))
        assert 0.0 <= belief.renew_at - STARTED <= bound
    assert belief.failures == failures


def test_a_success_ends_a_row_of_failures(belief):
    for _ in range(3):
        belief.end_renewal(begin(belief, 1_020.0), UNANSWERED[0], 1_020.0)
    renewal = begin(belief, 1_025.0)
    belief.end_renewal(renewal, Done(slot=slot()), 1_025.1)
    assert belief.failures == 0
    assert belief.renew_at >= 1_025.0 + 18.0


# Losing.


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Refused(slot=None), LossReason.GONE),
        (Refused(slot=slot(ANOTHERS)), LossReason.TAKEN),
        (Refused(slot=slot(None)), LossReason.TAKEN),
        (Done(slot=slot(revoked=True)), LossReason.REVOKED),
        (Refused(slot=slot(revoked=True)), LossReason.REVOKED),
    ],
    ids=["no item", "another's", "free", "marked", "marked, superseded"],
)
def test_an_answer_that_ends_the_lease_says_why_once_and_for_ever(belief, answer, reason):
    renewal = begin(belief, 1_020.0)
    assert belief.end_renewal(renewal, answer, 1_021.0) is reason
    assert (belief.state, belief.reason) == (State.LOST, reason)
    assert not belief.holds(1_021.0)
    assert belief.end_renewal(renewal, answer, 1_021.0) is None, "lost once"
    assert belief.expire(2_000.0, slept=True) is None
    assert belief.lose(LossReason.UNREACHABLE, 2_000.0) is None
    assert belief.reason is reason


@pytest.mark.parametrize(("slept", "reason"), [(False, LossReason.UNREACHABLE), (True, LossReason.SUSPENDED)])
def test_the_deadline_loses_the_lease_and_tells_sleep_from_silence(belief, slept, reason):
    assert belief.expire(DEADLINE - 0.001, slept=slept) is None
    assert belief.state is State.HELD
    assert belief.expire(DEADLINE, slept=slept) is reason
    assert belief.expire(DEADLINE, slept=slept) is None
    assert belief.reason is reason


def lost_at_deadline(belief, *, slept=False):
    belief.expire(DEADLINE, slept=slept)
    return belief.why_lost()


@pytest.mark.parametrize("answer", UNANSWERED, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("slept", [False, True])
def test_a_loss_by_the_deadline_names_the_last_failure(belief, answer, slept):
    belief.end_renewal(begin(belief, 1_020.0), Unknown(cause=OSError("an earlier one")), 1_021.0)
    belief.end_renewal(begin(belief, 1_050.0), answer, DEADLINE - 3.1)
    assert lost_at_deadline(belief, slept=slept) == "the last renewal failed 3.1 s before: no answer"


def test_a_loss_by_the_deadline_says_so_where_the_last_renewal_was_not_answered(belief):
    assert belief.why_lost() == ""
    belief.tried_at = DEADLINE - 7.0
    assert lost_at_deadline(belief) == "the renewal begun 7.0 s before was not answered"


def test_a_renewal_that_hangs_after_one_that_failed_is_told_with_its_cause(belief):
    belief.end_renewal(begin(belief, 1_020.0), UNANSWERED[0], 1_021.0)
    belief.tried_at = DEADLINE - 7.0
    why = "the renewal begun 7.0 s before was not answered; the one before failed: no answer"
    assert lost_at_deadline(belief) == why


def test_a_loss_without_any_renewal_says_so(belief):
    assert lost_at_deadline(belief, slept=True) == "no renewal was tried"


def test_a_failure_that_was_followed_by_a_success_explains_nothing(belief):
    belief.tried_at = 1_020.0
    belief.end_renewal(begin(belief, 1_020.0), UNANSWERED[0], 1_020.0)
    belief.end_renewal(begin(belief, 1_025.0), Done(slot=slot()), 1_025.1)
    belief.expire(2_000.0, slept=True)
    assert "failed" not in belief.why_lost()


@pytest.mark.parametrize("answer", [Refused(slot=None), Refused(slot=slot(ANOTHERS)), Done(slot=slot(revoked=True))])
def test_a_loss_by_an_answer_needs_no_further_cause(belief, answer):
    belief.end_renewal(begin(belief, 1_020.0), UNANSWERED[0], 1_021.0)
    belief.end_renewal(begin(belief, 1_025.0), answer, 1_025.1)
    assert belief.reason is not None
    assert belief.why_lost() == ""


def test_a_renewal_that_waits_for_the_time_is_told_as_that(belief):
    belief.postpone(DEADLINE - 2.0)
    assert lost_at_deadline(belief) == "the last renewal failed 2.0 s before: the service's time is not certain"


@pytest.mark.parametrize(
    "answer", [Done(slot=slot()), Refused(slot=None), Refused(slot=slot(ANOTHERS)), Done(slot=slot(revoked=True))]
)
def test_an_answer_after_the_deadline_neither_revives_nor_explains(belief, answer):
    renewal = begin(belief, DEADLINE - 1.0)
    assert belief.end_renewal(renewal, answer, DEADLINE) is None
    assert belief.deadline == DEADLINE
    assert not belief.holds(DEADLINE)
    assert belief.expire(DEADLINE, slept=False) is LossReason.UNREACHABLE


def test_nothing_is_renewed_after_the_deadline_a_loss_or_a_release(belief):
    assert belief.begin_renewal(DEADLINE, NOW_HI) is None
    lost, released = (Belief(grant(), chance=random.Random(1)) for _ in range(2))
    lost.lose(LossReason.TAKEN, STARTED)
    released.release()
    assert lost.begin_renewal(STARTED, NOW_HI) is None
    assert released.begin_renewal(STARTED, NOW_HI) is None


# Releasing.


def test_a_release_ends_belief_at_once_and_a_second_one_is_told(belief):
    assert belief.release()
    assert belief.state is State.RELEASED
    assert not belief.holds(STARTED)
    assert not belief.release()


def test_a_lease_released_is_never_lost_and_one_lost_never_released(belief):
    lost = Belief(grant(), chance=random.Random(1))
    belief.release()
    assert belief.expire(DEADLINE + 1, slept=False) is None
    assert belief.lose(LossReason.TAKEN, DEADLINE) is None
    assert belief.reason is None
    lost.lose(LossReason.TAKEN, STARTED)
    assert not lost.release()
    assert (lost.state, lost.reason) == (State.LOST, LossReason.TAKEN)


def test_an_answer_after_the_release_revives_nothing(belief):
    renewal = begin(belief, 1_020.0)
    belief.release()
    assert belief.end_renewal(renewal, Done(slot=slot()), 1_020.1) is None
    assert belief.state is State.RELEASED
    assert belief.deadline == DEADLINE


# Whatever comes, in whatever order.


def test_the_heartbeat_is_due_at_the_deadline_if_no_renewal_is_due_before(belief):
    belief.renew_at = DEADLINE + 10
    assert belief.due_at() == DEADLINE


@REPEATABLE
@given(bounds=st.lists(st.integers(-30_000, 90_000), min_size=1, max_size=20))
def test_the_expiry_never_falls_whatever_the_bounds_on_the_services_time_do(bounds):
    belief = Belief(grant(), chance=random.Random(1))
    highest = grant().expires_at
    for shift in bounds:
        renewal = belief.begin_renewal(STARTED, NOW_HI + shift)
        assert renewal.expires_at == max(highest, NOW_HI + shift + 60_000)
        highest = renewal.expires_at


events = st.one_of(
    st.tuples(st.just("time"), st.floats(0.0, 30.0)),
    st.tuples(st.just("begin"), st.none()),
    st.tuples(
        st.just("answer"),
        st.sampled_from(
            [Done(slot=slot()), Done(slot=None), Refused(slot=slot()), Refused(slot=slot(ANOTHERS)), *UNANSWERED]
        ),
    ),
    st.tuples(st.just("expire"), st.booleans()),
    st.tuples(st.just("release"), st.none()),
)


@settings(REPEATABLE, max_examples=500)
@given(st.lists(events, max_size=40), st.randoms(use_true_random=False))
def test_belief_never_outlasts_the_latest_renewal_that_was_answered_in_time(steps, chance):
    belief = Belief(grant(), chance=random.Random(1))
    now, under_way, allowed, losses, ended = STARTED, [], DEADLINE, 0, False
    for what, detail in steps:
        if what == "time":
            now += detail
        elif what == "begin":
            renewal = belief.begin_renewal(now, NOW_HI + round((now - STARTED) * 1000))
            assert (renewal is not None) == (not ended and now < allowed)
            if renewal:
                under_way.append((now, renewal))
        elif what == "answer" and under_way:
            sent, renewal = under_way.pop(chance.randrange(len(under_way)))
            if isinstance(detail, Done) and not ended and now < allowed:
                allowed = max(allowed, sent + LENGTH - MARGIN)
            losses += belief.end_renewal(renewal, detail, now) is not None
        elif what == "expire":
            losses += belief.expire(now, slept=detail) is not None
        elif what == "release":
            belief.release()
        ended = ended or belief.state is not State.HELD
        assert belief.holds(now) == (not ended and now < allowed)
        assert belief.deadline == allowed
        assert losses == (belief.state is State.LOST)
        assert (belief.reason is not None) == (belief.state is State.LOST)


# If the service's clock turns out to have been ahead of what we computed with.

OFFSET = NOW_HI / 1000 - STARTED  # what the grant was reckoned with


def surely_ahead_of(offset):
    """Answers that agree say that the service's clock is at least this much ahead of the steady one."""
    return lambda reckoned: max(0.0, offset - reckoned)


def test_a_belief_ends_as_much_earlier_as_the_service_turns_out_to_be_ahead():
    plain = Belief(grant(), chance=random.Random(1))
    ahead = Belief(grant(), chance=random.Random(1), late_by=surely_ahead_of(OFFSET + 5.0))
    assert ahead.deadline == pytest.approx(plain.deadline - 5.0)
    assert ahead.due_at() == pytest.approx(plain.due_at() - 5.0)
    assert not ahead.holds(plain.deadline - 4.9)
    assert ahead.expire(plain.deadline - 4.9, slept=False) is LossReason.UNREACHABLE


def test_a_renewal_written_by_the_time_as_it_is_comes_no_earlier():
    late = surely_ahead_of(OFFSET + 5.0)
    belief = Belief(grant(), chance=random.Random(1), late_by=late)
    renewal = belief.begin_renewal(STARTED + 10.0, NOW_HI + 15_000)
    belief.end_renewal(renewal, Done(), STARTED + 10.1)
    assert belief.deadline == pytest.approx(renewal.deadline)
    assert belief.due_at() == pytest.approx(belief.renew_at)


# When the heartbeat looks after it.


def test_a_lease_is_due_when_its_renewal_is_and_at_its_deadline_at_the_latest(belief):
    assert belief.due_in(STARTED, doubtful=False) == belief.renew_at - STARTED
    belief.renew_at = DEADLINE + 10.0
    assert belief.due_in(STARTED, doubtful=False) == DEADLINE - STARTED


def test_a_lease_that_was_just_tried_is_due_after_a_pause(belief):
    belief.renew_at = belief.tried_at = STARTED + 5.0
    assert belief.due_in(STARTED + 5.0, doubtful=False) == pytest.approx(PAUSE_SECONDS)
    belief.tried_at = DEADLINE
    assert belief.due_in(DEADLINE - 0.1, doubtful=False) == pytest.approx(0.1), "the deadline is never passed over"


def test_while_the_time_is_in_doubt_a_renewal_waits_until_a_quarter_of_the_lease_is_left(belief):
    assert belief.due_in(STARTED, doubtful=True) == DEADLINE - LENGTH / 4 - STARTED
    belief.renew_at = DEADLINE - 1.0
    assert belief.due_in(STARTED, doubtful=True) == DEADLINE - 1.0 - STARTED
    assert belief.settle_until == DEADLINE - LENGTH / 6


def test_a_lease_comes_early_unless_it_was_just_tried_failed_or_goes_alone(belief):
    assert belief.may_come_early(STARTED)
    belief.tried_at = STARTED
    assert not belief.may_come_early(STARTED + PAUSE_SECONDS / 2)
    assert belief.may_come_early(STARTED + PAUSE_SECONDS)
    belief.retry_later(STARTED)
    assert not belief.may_come_early(STARTED + PAUSE_SECONDS)


def test_one_that_a_batch_did_not_renew_is_renewed_alone_and_at_once(belief):
    belief.renew_alone(STARTED + 7.0)
    assert belief.alone
    assert belief.renew_at == STARTED + 7.0
    assert not belief.may_come_early(STARTED + 7.0)
