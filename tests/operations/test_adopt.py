"""Handing a lease over and adopting it: at most one holder, whatever is lost, late, repeated or interrupted."""

import datetime as dt
import re

import pytest

from ddb_lease import ConfigurationError, LeaseLost, LossReason, StoreRejected, StoreUnavailable
from ddb_lease._protocol.lease_state import State
from ddb_lease._protocol.messages import Adopt, Claim, Look, Refused, Release, Renew
from ddb_lease._protocol.records import Claimant, Slot
from ddb_lease.events import Acquired, HandedOver, Released
from scripts.harness.inside import core_of, held_of
from tests.support import CONFLICT, LOST, REJECTED, THROTTLED, UNSENT, eventually, leases_in

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too
NOT_ON = ("embedded", "ministack", "dynoxide")
"""What an engine does with the requests is tested in tests/dynamodb/test_requests_adopt.py."""
COMMITTED = pytest.mark.parametrize("commits", [True, False], ids=["committed", "not committed"])
COUNTS = pytest.mark.parametrize("count", [1, 3])


@pytest.fixture
def giver(environment):
    return environment.bucket(max_tokens=3)


@pytest.fixture
def adopter(environment):
    return environment.bucket(max_tokens=3)


def refused(adopter, token, reason):
    with pytest.raises(LeaseLost) as raised:
        adopter.adopt(token)
    assert raised.value.reason is reason
    assert core_of(adopter).leases == {}
    return str(raised.value)


@COUNTS
def test_the_adopter_holds_what_the_giver_held(environment, giver, adopter, table, count):
    lease = giver.acquire(5, count=count, data={"old": 1})
    token = lease.hand_over(within=20)
    assert leases_in(table) == dict.fromkeys(lease.slots, lease.id), "nobody else can have it meanwhile"
    mine = adopter.adopt(token, data={"job": 7})
    assert mine.slots == lease.slots
    assert mine.fence > lease.fence
    assert mine.id != lease.id
    assert mine.data == {"job": 7}
    assert leases_in(table) == dict.fromkeys(lease.slots, mine.id)
    environment.run(100, adopter)
    mine.check()
    assert mine.release()
    assert leases_in(table) == {}


def test_the_giver_holds_nothing_any_more_and_has_lost_nothing(giver, table):
    told = []
    with giver.acquire(5, on_lost=lambda lease: told.append(lease.lost)) as lease:
        lease.hand_over(within=60)
        assert not lease.held
        assert lease.lost is None
        assert lease.remaining == 0.0
        assert "handed_over" in repr(lease)
        for attempt in (lease.check, lease.renew, lease.hand_over, lease.conditions):
            with pytest.raises(LeaseLost) as raised:
                attempt()
            assert raised.value.reason is LossReason.HANDED_OVER
        assert not lease.release()
    assert told == []
    assert core_of(giver).leases == core_of(giver).owed == {}
    assert list(leases_in(table).values()) == [lease.id]


def test_nothing_of_the_giver_releases_or_renews_what_it_handed_over(environment, giver, adopter, table):
    lease = giver.acquire(5)
    token = lease.hand_over(within=100)
    giver.tap.clear()
    environment.run(60, giver)
    giver.close()
    core_of(giver).at_exit(environment.clock.steady() + 5)
    core_of(giver).after_fork_in_child()
    del lease
    assert giver.tap.sent == []
    assert adopter.adopt(token).held


@COUNTS
def test_handing_over_costs_an_update_a_slot_and_adopting_one_request(giver, adopter, count):
    adopter.acquire(5).release()
    lease = giver.acquire(5, count=count)
    giver.tap.clear()
    adopter.tap.clear()
    adopter.adopt(lease.hand_over())
    assert giver.tap.count() == {"Renew": count}
    assert adopter.tap.count() == {"Adopt": 1}


def test_a_process_that_does_not_know_the_bucket_looks_first_so_that_three_answers_agree(giver, adopter):
    adopter.adopt(giver.acquire(5).hand_over())
    assert adopter.tap.count() == {"Adopt": 1, "Look": 3}


DATED_AT = [
    (0.01, 0.02, 0.02, 0.02),
    (0.02, 0.95, 0.98, 0.99),
    (0.02, 0.95, 0.98, 1.02),
    (0.45, 0.46, 0.47, 0.48),
    (0.97, 0.98, 0.99, 1.0),
]
"""At which part of a second three looks and an adoption are dated."""


@pytest.mark.one_api
@pytest.mark.parametrize("early", [0.0, 0.3])
@pytest.mark.parametrize("slow", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("dated_at", DATED_AT, ids=str)
def test_a_short_lease_is_adopted_wherever_in_a_second_the_answers_come(environment, dated_at, slow, early):
    """A lease that is given back, as its expiry turns out not to fit, cannot be adopted again."""
    clock = environment.clock
    giver = environment.bucket(max_tokens=1, lease_seconds=3)
    token = giver.acquire(5).hand_over()
    clock.pass_time(2.0 - clock.wall() % 1.0 - early)
    adopter, began = environment.bucket(max_tokens=1, lease_seconds=3), clock.steady() + early
    for at in dated_at[:3]:
        adopter.tap.inject(Look, before=lambda _, at=at: clock.pass_time(began + at - clock.steady()))
    adopter.tap.inject(
        Adopt,
        before=lambda _: clock.pass_time(began + dated_at[3] - clock.steady()),
        after=lambda _: clock.pass_time(slow),
    )
    assert adopter.adopt(token).held


def test_the_stored_length_is_the_adopters(environment, giver):
    token = giver.acquire(5).hand_over()
    other = environment.bucket(max_tokens=3, lease_seconds=300)
    assert 20 < other.adopt(token).remaining < 30


@pytest.mark.parametrize("within", [1, 20, dt.timedelta(minutes=10)])
def test_the_slot_stays_leased_for_the_time_that_was_asked_for_and_then_comes_free(environment, within):
    giver, other = environment.bucket(max_tokens=1), environment.bucket(max_tokens=1)
    token = giver.acquire(5).hand_over(within=within)
    seconds = within.total_seconds() if isinstance(within, dt.timedelta) else within
    environment.clock.pass_time(seconds - 0.01)
    assert other.try_acquire() is None
    environment.clock.pass_time(max(30.0 - seconds, 0.0) + 3)
    assert "its time to be adopted ended" in refused(giver, token, LossReason.EXPIRED)
    assert other.try_acquire() is not None


def test_who_comes_late_is_told_for_how_many_seconds_it_has_been_too_late(environment, giver):
    token = giver.acquire(5).hand_over(within=100)
    environment.clock.pass_time(100 + 10_000)
    said = refused(giver, token, LossReason.EXPIRED)
    late = re.search(r"its time to be adopted ended (\d+\.\d) s ago$", said)
    assert float(late[1]) == pytest.approx(10_000, abs=5)


def test_it_is_shown_as_handed_over_until_it_is_adopted(giver, adopter):
    token = giver.acquire(5).hand_over()
    assert [lease.owner for lease in shown(adopter)] == [f"{core_of(giver).owner} (handed over)"]
    adopter.adopt(token)
    assert [lease.owner for lease in shown(adopter)] == [core_of(adopter).owner]


def shown(bucket):
    return core_of(bucket).run(core_of(bucket).status()).leases


# Who may adopt


def test_a_token_is_good_for_one_adoption(environment, giver, adopter, table):
    token = giver.acquire(5).hand_over()
    mine = adopter.adopt(token)
    third = environment.bucket(max_tokens=3)
    for late in (third, adopter, giver):
        with pytest.raises(LeaseLost, match="another lease by now") as raised:
            late.adopt(token)
        assert raised.value.reason is LossReason.TAKEN
    assert list(leases_in(table).values()) == [mine.id]


@COUNTS
def test_who_comes_second_while_the_first_is_adopting_gets_nothing(environment, giver, adopter, table, count):
    token = giver.acquire(5, count=count).hand_over()
    second = environment.bucket(max_tokens=3)
    won = []
    adopter.tap.inject(Adopt, before=lambda _: won.append(second.adopt(token)))
    refused(adopter, token, LossReason.TAKEN)
    assert set(leases_in(table).values()) == {won[0].id}


@COUNTS
def test_a_released_one_is_not_adopted(giver, adopter, table, count):
    lease = giver.acquire(5, count=count)
    token = lease.hand_over()
    assert core_of(giver).run(core_of(giver).release(lease.id, lease.slots, fence=None))
    refused(adopter, token, LossReason.RELEASED)
    assert leases_in(table) == {}


def test_one_whose_item_is_gone_is_not_adopted(giver, adopter, table):
    lease = giver.acquire(5)
    token = lease.hand_over()
    table.delete(lease.slot)
    refused(adopter, token, LossReason.GONE)


@COUNTS
def test_a_revoked_one_is_not_adopted_but_given_back(giver, adopter, table, count):
    lease = giver.acquire(5, count=count)
    token = lease.hand_over(within=100)
    core_of(adopter).run(core_of(adopter).revoke(lease.id))
    refused(adopter, token, LossReason.REVOKED)
    assert leases_in(table) == {}


def test_one_whose_slot_was_retired_works_on_there(environment, giver, adopter, table):
    leases = [giver.acquire(5) for _ in range(3)]
    lease = next(lease for lease in leases if lease.slot == 2)
    token = lease.hand_over()
    core_of(adopter).run(core_of(adopter).resize(1))
    mine = adopter.adopt(token)
    assert table.get(2)["retired"]
    environment.run(60, adopter)
    mine.check()
    assert mine.release()
    assert "lease_id" not in table.get(2)
    assert table.get(2)["retired"]


def test_one_whose_fence_is_far_ahead_of_the_clock_is_adopted_with_a_higher_one(giver, adopter, table):
    lease = giver.acquire(5)
    token = lease.hand_over()
    ahead = lease.fence + 10**7
    table.set(lease.slot, fence=ahead)
    assert adopter.adopt(token).fence == ahead + 1


# Arguments


@pytest.mark.parametrize("within", [0, -1, 1e12, float("nan"), "30", None, True])
def test_a_time_that_cannot_work_hands_nothing_over(giver, within):
    lease = giver.acquire(5)
    giver.tap.clear()
    with pytest.raises(ConfigurationError):
        lease.hand_over(within=within)
    assert giver.tap.sent == []
    assert lease.held


def test_a_lease_that_holds_its_slot_at_least_is_not_handed_over(giver):
    lease = giver.acquire(5, hold_at_least=100)
    giver.tap.clear()
    with pytest.raises(ConfigurationError, match="hold_at_least"):
        lease.hand_over()
    assert giver.tap.sent == []
    assert lease.held


def test_a_token_that_is_none_sends_nothing(environment, adopter, bucket_name):
    other = environment.bucket(name=f"{bucket_name}-other")
    token = other.acquire(5).hand_over()
    for wrong in (None, 7, "", "x", token[:-1], token, environment):
        with pytest.raises(ConfigurationError):
            adopter.adopt(wrong)
    assert adopter.tap.sent == []
    other.adopt(token).release()


def test_one_whose_item_has_no_fence_any_more_is_not_adopted(giver, adopter, table):
    lease = giver.acquire(5)
    token = lease.hand_over(within=100)
    table.set(lease.slot, fence="none")
    assert "is damaged" in refused(adopter, token, LossReason.GONE)


def stubbornly_refused(lease):
    """A refusal that shows the lease as it was handed over."""
    claimant = Claimant(
        lease_id=lease.id, owner="giver (handed over)", acquired_at=0, expires_at=lease.fence + 10**9, data={}
    )
    return Refused(slot=Slot(number=lease.slot, fence=lease.fence, lease=claimant))


def test_an_adoption_that_is_refused_without_a_reason_ends_in_time(environment, giver, adopter):
    lease = giver.acquire(5)
    token, began = lease.hand_over(within=100), environment.clock.steady()
    for _ in range(500):
        adopter.tap.inject(Adopt, commits=False, answer=stubbornly_refused(lease))
    with pytest.raises(StoreUnavailable, match="time and again"):
        adopter.adopt(token)
    assert environment.clock.steady() - began < 14
    adopter.tap.faults.clear()
    assert adopter.adopt(token).held


def test_an_adoption_ends_when_its_bucket_is_closed(environment, giver, adopter):
    lease = giver.acquire(5)
    token, began = lease.hand_over(within=100), environment.clock.steady()
    adopter.tap.inject(Adopt, commits=False, answer=UNSENT, after=lambda _: core_of(adopter).state.close())
    with pytest.raises(ConfigurationError, match="closed"):
        adopter.adopt(token)
    assert environment.clock.steady() - began < 1
    assert giver.adopt(token).held


def test_a_closed_bucket_adopts_nothing(giver, adopter):
    token = giver.acquire(5).hand_over()
    adopter.close()
    with pytest.raises(ConfigurationError, match="closed"):
        adopter.adopt(token)
    giver.adopt(token).release()


# Handing over, and failing


@pytest.mark.parametrize("answer", [LOST, UNSENT, CONFLICT, THROTTLED], ids=lambda answer: type(answer).__name__)
def test_a_hand_over_that_is_not_answered_leaves_the_lease_held_and_renewed(environment, giver, answer):
    lease = giver.acquire(5)
    began = environment.clock.steady()
    for _ in range(200):
        giver.tap.inject(Renew, commits=answer is LOST, answer=answer)
    with pytest.raises(StoreUnavailable, match="could not be handed over"):
        lease.hand_over(within=200)
    assert environment.clock.steady() - began < 7, "it tries for as long as it waits for a renewal in progress"
    giver.tap.faults.clear()
    assert lease.held
    environment.run(100, giver)
    lease.check()
    assert giver.adopt(lease.hand_over()).held, "the next try works"


@pytest.mark.parametrize("answer", [LOST, UNSENT, CONFLICT, THROTTLED], ids=lambda answer: type(answer).__name__)
@COUNTS
def test_a_hand_over_that_is_not_answered_at_first_is_sent_again(giver, adopter, answer, count):
    lease = giver.acquire(5, count=count)
    giver.tap.inject(Renew, commits=answer is LOST, answer=answer)
    assert adopter.adopt(lease.hand_over()).held
    assert giver.tap.count()["Renew"] == 1 + count


def test_a_hand_over_of_less_time_than_one_that_was_lost_before_works_too(giver, adopter):
    lease = giver.acquire(5)
    for _ in range(200):
        giver.tap.inject(Renew, commits=False, answer=UNSENT, after=giver.tap.resend)
    with pytest.raises(StoreUnavailable):
        lease.hand_over(within=200)
    giver.tap.faults.clear()
    assert adopter.adopt(lease.hand_over(within=1)).held


def test_a_hand_over_that_is_refused_for_good_says_so(giver):
    lease = giver.acquire(5)
    giver.tap.inject(Renew, commits=False, answer=REJECTED)
    with pytest.raises(StoreRejected):
        lease.hand_over()
    assert lease.held


@pytest.mark.parametrize("reason", [LossReason.TAKEN, LossReason.GONE, LossReason.REVOKED, LossReason.UNREACHABLE])
def test_a_lease_that_turns_out_to_be_lost_is_not_handed_over(environment, giver, table, reason):
    lease = giver.acquire(5)
    match reason:
        case LossReason.TAKEN:
            table.set(lease.slot, lease_id="0-other")
        case LossReason.GONE:
            table.delete(lease.slot)
        case LossReason.REVOKED:
            table.set(lease.slot, revoked="an operator")
        case LossReason.UNREACHABLE:
            giver.tap.inject(Renew, after=lambda _: environment.clock.pass_time(40))
    with pytest.raises(LeaseLost) as raised:
        lease.hand_over()
    assert raised.value.reason is lease.lost is reason


def test_a_release_during_the_hand_over_wins(giver, table):
    lease = giver.acquire(5)
    giver.tap.inject(Renew, before=lambda _: held_of(lease).begin_release())
    with pytest.raises(LeaseLost, match="released"):
        lease.hand_over()
    held_of(lease).end.send_quietly()
    assert leases_in(table) == {}


def test_nothing_is_released_from_the_very_instant_at_which_it_is_handed_over(giver):
    held = held_of(giver.acquire(5))
    held.belief.state = State.HANDED_OVER
    assert not held.begin_release()
    assert core_of(giver).owed == {}


@COMMITTED
def test_an_interrupted_hand_over_leaves_the_lease_to_its_block(giver, table, commits):
    giver.tap.inject(Renew, commits=commits, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt), giver.acquire(5) as lease:
        lease.hand_over(within=100)
    assert leases_in(table) == {}


def test_an_interrupt_right_after_it_was_handed_over_leaves_the_slot_free(giver, table, monkeypatch):
    lease = giver.acquire(5)
    belief = held_of(lease).belief
    end_hand_over = belief.end_hand_over

    def interrupted(*what):
        end_hand_over(*what)
        raise KeyboardInterrupt

    monkeypatch.setattr(belief, "end_hand_over", interrupted)
    with pytest.raises(KeyboardInterrupt):
        held_of(lease).hand_over(100)
    assert not lease.held
    eventually(lambda: leases_in(table) == {} and not core_of(giver).owed)


def test_two_that_hand_it_over_at_once_get_one_token(giver, adopter):
    lease, tokens = giver.acquire(5), []
    held_of(lease).patience = 0.05  # the second does not wait for long for the first
    giver.tap.inject(Renew, before=lambda _: tokens.append(held_of(lease).hand_over(30)))
    with pytest.raises(LeaseLost, match="handed_over"):
        lease.hand_over()
    assert len(tokens) == 1
    assert adopter.adopt(tokens[0]).held


def test_what_was_handed_over_to_nobody_is_taken_back_and_released(giver, table):
    lease = giver.acquire(5)
    lease.hand_over(within=100)
    held_of(lease).take_back()
    assert leases_in(table) == {}


@pytest.mark.parametrize("adopted", [True, False])
def test_a_renewal_that_arrives_after_the_hand_over_does_no_harm(environment, giver, adopter, table, adopted):
    lease = giver.acquire(5)
    environment.run(12, giver)
    late = giver.tap.of(Renew)[-1]
    token = lease.hand_over(within=100)
    mine = adopter.adopt(token) if adopted else None
    before = table.all()
    assert isinstance(giver.tap.resend(late), Refused)
    assert table.all() == before
    assert (mine or adopter.adopt(token)).held


# Adopting, and failing


@COUNTS
@COMMITTED
@pytest.mark.parametrize("times", [1, 2])
def test_an_adoption_survives_a_lost_answer(giver, adopter, table, count, commits, times):
    token = giver.acquire(5, count=count).hand_over()
    for _ in range(times):
        adopter.tap.inject(Adopt, commits=commits, answer=LOST)
    mine = adopter.adopt(token)
    assert set(leases_in(table).values()) == {mine.id}
    assert len(set(map(repr, adopter.tap.of(Adopt)))) == 1, "a resend is the same to the last bit"


@pytest.mark.parametrize("answer", [UNSENT, CONFLICT, THROTTLED], ids=lambda answer: type(answer).__name__)
def test_what_passes_is_waited_for(giver, adopter, answer):
    token = giver.acquire(5).hand_over()
    for _ in range(3):
        adopter.tap.inject(Adopt, commits=False, answer=answer)
    assert adopter.adopt(token).held
    assert adopter.tap.of(Release) == []


@pytest.mark.parametrize("answer", [UNSENT, CONFLICT, THROTTLED], ids=lambda answer: type(answer).__name__)
def test_after_ten_seconds_it_is_given_up_and_the_token_is_as_good_as_before(environment, giver, adopter, answer):
    token = giver.acquire(5).hand_over(within=100)
    began = environment.clock.steady()
    for _ in range(200):
        adopter.tap.inject(Adopt, commits=False, answer=answer)
    with pytest.raises(StoreUnavailable, match="is not adopted"):
        adopter.adopt(token)
    assert 9.9 < environment.clock.steady() - began < 14
    adopter.tap.faults.clear()
    assert adopter.adopt(token).held


@COMMITTED
def test_an_adoption_that_is_never_answered_leaves_nothing_held(giver, adopter, table, commits):
    token = giver.acquire(5).hand_over(within=100)
    for _ in range(20):
        adopter.tap.inject(Adopt, commits=commits, answer=LOST)
    with pytest.raises(StoreUnavailable):
        adopter.adopt(token)
    assert core_of(adopter).leases == {}
    adopter.tap.faults.clear()
    if commits:
        assert leases_in(table) == {}, "it is given back"
    else:
        assert adopter.adopt(token).held


def test_an_adoption_that_is_answered_too_late_is_given_back(environment, giver, adopter, table):
    token = giver.acquire(5).hand_over(within=100)
    adopter.tap.inject(Adopt, after=lambda _: environment.clock.pass_time(40))
    with pytest.raises(StoreUnavailable, match="too late"):
        adopter.adopt(token)
    assert leases_in(table) == {}


def test_an_adoption_that_is_refused_for_good_says_so(giver, adopter):
    token = giver.acquire(5).hand_over()
    adopter.tap.inject(Adopt, commits=False, answer=REJECTED)
    with pytest.raises(StoreRejected):
        adopter.adopt(token)


@COMMITTED
def test_an_interrupted_adoption_leaves_no_lease_of_its_own(giver, adopter, table, commits):
    lease = giver.acquire(5)
    token = lease.hand_over(within=100)
    adopter.tap.inject(Adopt, commits=commits, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        adopter.adopt(token)
    assert core_of(adopter).leases == {}
    assert set(leases_in(table).values()) <= {lease.id}
    if commits:
        assert leases_in(table) == {}


# What others see


def test_events_tell_of_both_ends(environment):
    told, theirs = [], []
    giver = environment.bucket(on_event=told.append)
    adopter = environment.bucket(on_event=theirs.append)
    lease = giver.acquire(5)
    token = lease.hand_over()
    mine = adopter.adopt(token)
    mine.release()
    ends = [event for event in told if isinstance(event, (HandedOver, Released))]
    assert ends == [HandedOver(bucket=core_of(giver).name, lease_id=lease.id)]
    assert [type(event) for event in theirs] == [Acquired, Released]
    assert theirs[0].lease_id == mine.id
    assert theirs[0].slots == lease.slots


def test_a_waiter_of_the_givers_process_does_not_claim_what_was_handed_over(environment):
    giver = environment.bucket(max_tokens=1)
    giver.acquire(5).hand_over(within=100)
    giver.tap.clear()
    assert giver.try_acquire() is None
    assert giver.tap.of(Claim) == []
