"""Handing a lease over, and adopting it."""

from tests.mutants.mutant import Chapter, Mutant

_LEASE_STATE = "_protocol/lease_state.py"
_OFFERS = "_protocol/offers.py"
_ADOPT = "_operations/adopt.py"
_HELD_LEASE = "_runtime/held_lease.py"
_HANDING_OVER = "_runtime/handing_over.py"
_TESTS = "tests/operations/test_adopt.py::test_"

HANDING_OVER = Chapter(
    title="Handing over and adopting",
    mutants=(
        Mutant(
            name="whoever hands over stops believing",
            module=_LEASE_STATE,
            target="end_hand_over",
            code="self.state = State.HANDED_OVER",
            without="",
            noticed_by=(f"{_TESTS}the_giver_holds_nothing_any_more_and_has_lost_nothing",),
        ),
        Mutant(
            name="a hand-over that is not answered hands nothing over",
            module=_LEASE_STATE,
            target="end_hand_over",
            code="not isinstance(answer, Done) or _is_revoked(answer.slot)",
            without="False",
            noticed_by=(f"{_TESTS}a_hand_over_that_is_not_answered_leaves_the_lease_held_and_renewed",),
        ),
        Mutant(
            name="a lease that was revoked is not handed over",
            module=_LEASE_STATE,
            target="end_hand_over",
            code="_is_revoked(answer.slot)",
            without="False",
            noticed_by=(f"{_TESTS}a_lease_that_turns_out_to_be_lost_is_not_handed_over",),
        ),
        Mutant(
            name="a lease that was released meanwhile is not handed over",
            module=_LEASE_STATE,
            target="end_hand_over",
            code="if self.holds(now): self.state = State.HANDED_OVER",
            without="self.state = State.HANDED_OVER",
            noticed_by=(f"{_TESTS}a_release_during_the_hand_over_wins",),
        ),
        Mutant(
            name="a lease that is handed over does not expire within the time asked for",
            module=_LEASE_STATE,
            target="begin_hand_over",
            code="max(self._expires_at, now_hi + within_ms)",
            without="self._expires_at",
            noticed_by=(f"{_TESTS}the_slot_stays_leased_for_the_time_that_was_asked_for_and_then_comes_free",),
        ),
        Mutant(
            name="what was handed over is the adopter's to release",
            module=_HELD_LEASE,
            target="begin_release",
            code="if self.belief.state is State.HANDED_OVER: return False",
            without="",
            noticed_by=(f"{_TESTS}nothing_is_released_from_the_very_instant_at_which_it_is_handed_over",),
        ),
        Mutant(
            name="a lease is handed over once",
            module=_HANDING_OVER,
            target="apply",
            code="held and self.belief.state is State.HANDED_OVER",
            without="self.belief.state is State.HANDED_OVER",
            noticed_by=(f"{_TESTS}two_that_hand_it_over_at_once_get_one_token",),
        ),
        Mutant(
            name="a hand-over that the table refuses for a later expiry is tried again",
            module=_HELD_LEASE,
            target="hand_over",
            code="isinstance(answer, Refused) and self.held",
            without="False",
            noticed_by=(f"{_TESTS}a_hand_over_of_less_time_than_one_that_was_lost_before_works_too",),
        ),
        Mutant(
            name="a damaged token is recognised",
            module=_OFFERS,
            target="read_token",
            code="checksum == _checksum(body)",
            without="checksum",
            noticed_by=("tests/protocol/test_offers.py::test_a_changed_token_is_refused",),
        ),
        Mutant(
            name="a token is for one bucket",
            module=_OFFERS,
            target="read_token",
            code="offer.bucket != bucket",
            without="False",
            noticed_by=("tests/protocol/test_offers.py::test_a_token_of_another_bucket_names_both",),
        ),
        Mutant(
            name="nothing is adopted after its time",
            module=_ADOPT,
            target="_prepared",
            code="late > 0",
            without="False",
            noticed_by=(f"{_TESTS}the_slot_stays_leased_for_the_time_that_was_asked_for_and_then_comes_free",),
        ),
        Mutant(
            name="a revoked lease that cannot be adopted is given back",
            module=_ADOPT,
            target="_explained",
            code="yield from _give_back(state, offer)",
            without="",
            noticed_by=(f"{_TESTS}a_revoked_one_is_not_adopted_but_given_back",),
        ),
        Mutant(
            name="after an adoption that was given up there is no other try",
            module=_ADOPT,
            target="adopt",
            code="writes.abandoned or state.time.steady() >= writes.deadline",
            without="state.time.steady() >= writes.deadline",
            noticed_by=(f"{_TESTS}an_adoption_that_is_never_answered_leaves_nothing_held",),
        ),
        Mutant(
            name="an adoption follows the stored length of a lease",
            module=_ADOPT,
            target="_prepared",
            code="state.adopt(answer.view.counter, sure=True)",
            without="",
            noticed_by=(f"{_TESTS}the_stored_length_is_the_adopters",),
        ),
        Mutant(
            name="nothing is adopted before three answers agree on the time",
            module="_operations/slot_writes.py",
            target="win",
            code="isinstance(step, AdoptLease)",
            without="False",
            noticed_by=(f"{_TESTS}a_short_lease_is_adopted_wherever_in_a_second_the_answers_come",),
        ),
        Mutant(
            name="nothing that is learnt after an adoption speaks against its expiry",
            module="_operations/slot_writes.py",
            target="win",
            code="if adopting: now = replace(now, high_ms=now.latest_ms)",
            without="",
            noticed_by=(f"{_TESTS}a_short_lease_is_adopted_wherever_in_a_second_the_answers_come",),
        ),
        Mutant(
            name="an adoption is not given back for an expiry that lies ahead",
            module="_operations/slot_writes.py",
            target="win",
            code="math.inf if adopting else grants.FAR_AHEAD_SECONDS",
            without="grants.FAR_AHEAD_SECONDS",
            noticed_by=(f"{_TESTS}a_short_lease_is_adopted_wherever_in_a_second_the_answers_come",),
        ),
        Mutant(
            name="a hand-over whose task was cancelled is taken back",
            module="aio/core.py",
            target="hand_over",
            code="handing.add_done_callback(take_back)",
            without="",
            noticed_by=("tests/aio/test_handing_over.py::test_a_cancelled_hand_over_leaves_the_slot_free",),
        ),
        Mutant(
            name="a lease that is not held guards no write",
            module=_HELD_LEASE,
            target="conditions",
            code="self.check()",
            without="",
            noticed_by=(f"{_TESTS}the_giver_holds_nothing_any_more_and_has_lost_nothing",),
        ),
    ),
)
