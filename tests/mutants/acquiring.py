"""What an acquisition promises: deadlines, doubt about the time, answers that are lost."""

from tests.mutants.mutant import Chapter, Mutant

_GRANTS = "_protocol/grants.py"
_RESEND = "_operations/resend.py"
_SLOT_WRITES = "_operations/slot_writes.py"

ACQUIRING = Chapter(
    title="Acquiring: deadlines, doubt and lost answers",
    mutants=(
        Mutant(
            name="the first deadline counts from before the sending",
            module=_SLOT_WRITES,
            target="_new_grant",
            code="now.steady",
            without="now.steady + 0.5",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_the_lease_found_after_a_lost_answer_is_believed_no_longer_than_its_first_sending_allows",
            ),
        ),
        Mutant(
            name="the first deadline leaves the margin",
            module=_GRANTS,
            target="new_grant",
            code="steady + first_ms / 1000 - margin",
            without="steady + first_ms / 1000",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_the_lease_found_after_a_lost_answer_is_believed_no_longer_than_its_first_sending_allows",
            ),
        ),
        Mutant(
            name="the first expiry counts from the upper bound",
            module=_SLOT_WRITES,
            target="_new_grant",
            code="now.high_ms",
            without="now.expired_before_ms",
            noticed_by=("tests/test_lease_holding.py::test_a_renewal_moves_expiry_and_ttl",),
        ),
        Mutant(
            name="a stuck transaction is asked for until it is recovered",
            module=_RESEND,
            target="send_until",
            code="recovered_at is not None and time.steady() < recovered_at",
            without="False",
            noticed_by=(
                "tests/operations/test_stuck_transactions.py::test_a_stuck_transaction_is_asked_for_with_its_token_until_it_is_recovered",
            ),
        ),
        Mutant(
            name="a stuck transaction is asked for however it is answered meanwhile",
            module=_RESEND,
            target="send_until",
            code="again if recovered_at is None else UNANSWERED",
            without="again",
            noticed_by=(
                "tests/operations/test_stuck_transactions.py::test_throttled_meanwhile_it_is_asked_for_with_its_token_all_the_same",
            ),
        ),
        Mutant(
            name="a claim goes by the lower bound",
            module=_SLOT_WRITES,
            target="_request",
            code="now.expired_before_ms",
            without="now.high_ms",
            noticed_by=("tests/test_lease_holding.py::test_a_guess_takes_no_lease_that_may_still_run",),
        ),
        Mutant(
            name="doubt is cleared before a claim",
            module=_SLOT_WRITES,
            target="win",
            code="failed = yield from make_certain(state.time) if adopting else confirm(state.time)",
            without="pass",
            noticed_by=(
                "tests/test_lease_holding.py::test_after_hours_of_idling_the_time_is_asked_for_before_a_claim",
            ),
        ),
        Mutant(
            name="nothing is created by a time that only one answer told",
            module=_SLOT_WRITES,
            target="create",
            code="not state.time.confirmed",
            without="False",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_nothing_is_made_or_claimed_by_a_time_that_only_one_answer_told",
            ),
        ),
        Mutant(
            name="no grant is handed out in doubt",
            module=_SLOT_WRITES,
            target="_verifies",
            code="now.doubtful",
            without="",
            noticed_by=(
                "tests/test_lease_holding.py::test_a_claim_is_not_handed_out_in_doubt_even_if_the_bounds_are_narrow",
            ),
        ),
        Mutant(
            name="no grant is handed out before a third answer stands for the time",
            module=_SLOT_WRITES,
            target="_verifies",
            code="not now.certain",
            without="",
            noticed_by=(
                "tests/test_lease_holding.py::test_a_first_claim_whose_answer_tells_no_time_is_kept_once_a_third_answer_does",
            ),
        ),
        Mutant(
            name="a claim takes no lease that only two answers show as expired",
            module=_SLOT_WRITES,
            target="_request",
            code="now.expired_before_ms",
            without="self.state.time.now_ms()[0]",
            noticed_by=("tests/operations/test_odd_dates.py::test_a_claim_by_two_answers_takes_a_free_slot_only",),
        ),
        Mutant(
            name="no grant is handed out after its own deadline",
            module=_GRANTS,
            target="is_sound",
            code="steady >= grant.deadline",
            without="False",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew",
            ),
        ),
        Mutant(
            name="a grant that expires too early is given up",
            module=_GRANTS,
            target="is_sound",
            code="latest / 1000 - steady - grant.margin <= written_by <= now_hi / 1000 - steady + ahead",
            without="written_by <= now_hi / 1000 - steady + ahead",
            noticed_by=("tests/test_lease_holding.py::test_a_claim_by_a_time_that_turns_out_to_be_early_is_given_up",),
        ),
        Mutant(
            name="a request with an unknown outcome is sent again",
            module=_SLOT_WRITES,
            target="_send",
            code="UNKNOWN",
            without="()",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquire_survives_a_lost_answer_and_counts_once",
            ),
        ),
        Mutant(
            name="a claim with an unknown outcome is released",
            module=_SLOT_WRITES,
            target="win",
            code="won or uncertain",
            without="won",
            noticed_by=("tests/operations/test_acquire_recovery.py::test_an_acquire_that_gives_up_leaves_no_lease",),
        ),
        Mutant(
            name="a grant given up is released",
            module=_SLOT_WRITES,
            target="win",
            code="won or uncertain",
            without="uncertain",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew",
            ),
        ),
        Mutant(
            name="a claim is not sent again after its own deadline",
            module=_SLOT_WRITES,
            target="_send",
            code="min(until, self.deadline)",
            without="self.deadline",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_what_is_sent_again_is_not_sent_after_its_own_deadline",
            ),
        ),
        Mutant(
            name="a claim is noted before it is sent",
            module=_SLOT_WRITES,
            target="win",
            code="self.open_grants.append(grant)",
            without="",
            noticed_by=("tests/operations/test_acquire_recovery.py::test_an_acquire_that_gives_up_leaves_no_lease",),
        ),
        Mutant(
            name="several: slots that are ours in part are released",
            module=_SLOT_WRITES,
            target="win",
            code="grants.is_ours_in_part(answer, grant.lease_id)",
            without="False",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_several_whose_answer_is_lost_are_ours_only_where_all_of_them_are",
            ),
        ),
    ),
)
