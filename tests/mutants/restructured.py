"""The modules that are being taken apart: acquiring, leases, batches of renewals, buckets, hints.

Each mutant is bound by the name of a function and a short fragment. Where a module is moved, change its constant here; a
function or fragment that is gone is told by `tests/test_mutants.py`.
"""

from tests.mutants.mutant import Chapter, Mutant

ACQUIRE = "_operations/acquire.py"
BUCKET = "_runtime/bucket_core.py"
HINTS = "_state/hints.py"
LEASE = "_runtime/held_lease.py"
RELEASE = "_operations/release.py"
RENEWER = "_runtime/renewer.py"
RESIZE = "_operations/resize.py"

ACQUIRING = Chapter(
    title="Acquiring: deadlines, doubt and lost answers",
    mutants=(
        Mutant(
            name="the first deadline counts from before the sending",
            module=ACQUIRE,
            target="_new_grant",
            code="started = state.time.steady()",
            without="started = state.time.steady() + 0.5",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_the_lease_found_after_a_lost_answer_is_believed_no_longer_than_its_first_sending_allows",
            ),
        ),
        Mutant(
            name="the first deadline leaves the margin",
            module=ACQUIRE,
            target="_new_grant",
            code="started + lease_ms / 1000 - state.timing.margin_for(lease_ms / 1000)",
            without="started + lease_ms / 1000",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_the_lease_found_after_a_lost_answer_is_believed_no_longer_than_its_first_sending_allows",
            ),
        ),
        Mutant(
            name="the first expiry counts from the upper bound",
            module=ACQUIRE,
            target="_new_grant",
            code="now_hi + lease_ms",
            without="state.time.now_ms()[0] + lease_ms",
            noticed_by=("tests/test_lease_holding.py::test_a_renewal_moves_expiry_and_ttl",),
        ),
        Mutant(
            name="a claim goes by the lower bound",
            module=ACQUIRE,
            target="_claim",
            code="state.time.expired_before_ms()",
            without="now_hi",
            noticed_by=("tests/test_lease_holding.py::test_a_guess_takes_no_lease_that_may_still_run",),
        ),
        Mutant(
            name="doubt is cleared before a claim",
            module=ACQUIRE,
            target="_claim",
            code="yield from self._be_sure_of_the_time()",
            without="pass",
            noticed_by=(
                "tests/test_lease_holding.py::test_after_hours_of_idling_the_time_is_asked_for_before_a_claim",
            ),
        ),
        Mutant(
            name="nothing is created by a time that only one answer told",
            module=ACQUIRE,
            target="_be_sure_of_the_time",
            code="not time.confirmed",
            without="False",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_nothing_is_made_or_claimed_by_a_time_that_only_one_answer_told",
            ),
        ),
        Mutant(
            name="no grant is handed out in doubt",
            module=ACQUIRE,
            target="_is_sound",
            code="time.doubtful",
            without="",
            noticed_by=(
                "tests/test_lease_holding.py::test_a_claim_during_which_the_steady_clock_stood_still_is_not_handed_out",
            ),
        ),
        Mutant(
            name="no grant is handed out after its own deadline",
            module=ACQUIRE,
            target="_is_sound",
            code="time.steady() >= grant.deadline",
            without="",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew",
            ),
        ),
        Mutant(
            name="a grant that expires too early is given up",
            module=ACQUIRE,
            target="_is_sound",
            code="known_by - margin <= written_by <= known_by + FAR_AHEAD_SECONDS",
            without="written_by <= known_by + FAR_AHEAD_SECONDS",
            noticed_by=("tests/test_lease_holding.py::test_a_claim_by_a_time_that_turns_out_to_be_early_is_given_up",),
        ),
        Mutant(
            name="a request with an unknown outcome is sent again",
            module=ACQUIRE,
            target="_settle",
            code="lambda answer: isinstance(answer, Unknown)",
            without="lambda answer: False",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquire_survives_a_lost_answer_and_counts_once",
            ),
        ),
        Mutant(
            name="a claim with an unknown outcome is released",
            module=ACQUIRE,
            target="_take",
            code="bool(uncertain)",
            without="False",
            noticed_by=("tests/operations/test_acquire_recovery.py::test_an_acquire_that_gives_up_leaves_no_lease",),
        ),
        Mutant(
            name="a grant given up is released",
            module=ACQUIRE,
            target="_take",
            code="may_be_leased = True",
            without="may_be_leased = False",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew",
            ),
        ),
        Mutant(
            name="a claim is not sent again after its own deadline",
            module=ACQUIRE,
            target="_take",
            code="grant.deadline",
            without="math.inf",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_what_is_sent_again_is_not_sent_after_its_own_deadline",
            ),
        ),
        Mutant(
            name="a claim is noted before it is sent",
            module=ACQUIRE,
            target="_take",
            code="self._open.append(grant)",
            without="",
            noticed_by=("tests/operations/test_acquire_recovery.py::test_an_acquire_that_gives_up_leaves_no_lease",),
        ),
        Mutant(
            name="several: slots that are ours in part are released",
            module=ACQUIRE,
            target="_take",
            code="decisions.is_ours_in_part(answer, grant.lease_id)",
            without="False",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_several_whose_answer_is_lost_are_ours_only_where_all_of_them_are",
            ),
        ),
        Mutant(
            name="a release by id keeps the TTL",
            module=RELEASE,
            target="_release_one",
            code="fence is not None",
            without="",
            noticed_by=("tests/test_lease_holding.py::test_a_release_by_id_keeps_the_ttl_that_the_lease_gave",),
        ),
    ),
)

RENEWING = Chapter(
    title="Renewing, losing, releasing",
    mutants=(
        Mutant(
            name="renewals of one lease are serialised",
            module=LEASE,
            target="_turn",
            code="self.serial.acquire(blocking=False)",
            without="self.serial.acquire(blocking=False) or True",
            noticed_by=(
                "tests/test_lease_serial.py::test_the_heartbeat_does_not_renew_while_a_renewal_by_hand_is_under_way",
            ),
        ),
        Mutant(
            name="a release waits for a renewal under way",
            module=LEASE,
            target="release",
            code="self.serial.acquire(timeout=self.patience())",
            without="self.serial.acquire(blocking=False)",
            noticed_by=("tests/test_lease_serial.py::test_who_does_it_by_hand_waits_for_the_renewal_under_way",),
        ),
        Mutant(
            name="a lease has one renewal under way at a time",
            module=LEASE,
            target="beat",
            code="self._renewing = True",
            without="",
            noticed_by=(
                "tests/test_lease_serial.py::test_one_renewal_is_asked_for_at_a_time_and_the_next_when_it_has_ended",
            ),
        ),
        Mutant(
            name="belief ends before the release is sent",
            module=LEASE,
            target="begin_release",
            code="self._belief.release()",
            without="",
            noticed_by=("tests/test_lease_holding.py::test_a_released_lease_says_so",),
        ),
        Mutant(
            name="a renewal writes the upper bound",
            module=LEASE,
            target="_begin_renewal",
            code="_, now_hi = state.time.now_ms()",
            without="now_hi, _ = state.time.now_ms()",
            noticed_by=(
                "tests/test_lease_serial.py::test_a_renewal_lets_nobody_have_the_slot_before_its_length_is_over",
            ),
        ),
        Mutant(
            name="a revoked slot is released once the callback has returned",
            module=LEASE,
            target="_aftermath",
            code="self._clean_up()",
            without="",
            noticed_by=(
                "tests/test_lease_losing.py::test_the_lost_callback_has_returned_before_the_slot_of_a_revoked_lease_is_free",
            ),
        ),
        Mutant(
            name="a lost lease is not released before its old expiry",
            module=LEASE,
            target="_lose",
            code="self._belief.deadline + self._margin",
            without="self._belief.deadline",
            noticed_by=(
                "tests/test_lease_losing.py::test_a_lease_lost_to_an_outage_is_not_released_before_its_old_expiry",
            ),
        ),
        Mutant(
            name="a forked child holds nothing",
            module=LEASE,
            target="abandon_to_parent",
            code="self._forked = True",
            without="",
            noticed_by=(
                "tests/runtime/test_crashes.py::test_a_forked_child_holds_nothing_releases_nothing_and_can_acquire_by_itself",
            ),
        ),
        Mutant(
            name="a lease is lost by the answer to an UpdateItem and by no batch",
            module=LEASE,
            target="_end_renewal",
            code="any(isinstance(answer, (Refused, Rejected)) for answer in said.answers)",
            without="False",
            noticed_by=("tests/runtime/test_renewer.py::test_a_loss_is_told_by_an_update_and_by_no_batch",),
        ),
        Mutant(
            name="of several slots in a batch a failure extends none",
            module=LEASE,
            target="_of_all",
            code="next(failed, answers[0])",
            without="answers[0]",
            noticed_by=("tests/runtime/test_renewer.py::test_of_several_slots_one_that_failed_extends_none",),
        ),
    ),
)

BATCHES = Chapter(
    title="Batches of renewals",
    mutants=(
        Mutant(
            name="where the service takes no batch, none is sent for a while",
            module=RENEWER,
            target="_unanswered",
            code="self._resting_until = self._state.time.steady() + REST_SECONDS",
            without="",
            noticed_by=(
                "tests/runtime/test_renewer.py::test_where_batches_are_denied_leases_are_renewed_one_by_one_and_none_is_lost",
            ),
        ),
        Mutant(
            name="an outage does not mean that batches are refused",
            module=RENEWER,
            target="_unanswered",
            code="isinstance(answer, Unknown) and self._proven",
            without="False",
            noticed_by=("tests/runtime/test_renewer.py::test_once_a_batch_has_worked_an_outage_ends_no_batches",),
        ),
        Mutant(
            name="throttling, conflicts and no connection say nothing against batches",
            module=RENEWER,
            target="_send_batch",
            code="not isinstance(one, (ThrottledAnswer, Conflict, Unsent))",
            without="",
            noticed_by=("tests/runtime/test_renewer.py::test_what_says_nothing_against_batches_ends_none",),
        ),
        Mutant(
            name="a forked child renews nothing that waited in its parent",
            module=RENEWER,
            target="after_fork_in_child",
            code="self._waiting.clear()",
            without="",
            noticed_by=("tests/runtime/test_renewer.py::test_a_forked_child_renews_nothing_that_waited",),
        ),
    ),
)

PROCESS = Chapter(
    title="What a process remembers, closes and forgets",
    mutants=(
        Mutant(
            name="an older counter does not replace a newer",
            module=HINTS,
            target="learn_counter",
            code="sure or known is None or counter.rev >= known.rev",
            without="True",
            noticed_by=("tests/state/test_hints.py::test_the_newest_counter_is_kept_and_other_settings_are_told",),
        ),
        Mutant(
            name="a closed bucket acquires no more",
            module=BUCKET,
            target="begin_closing",
            code="self.state.close()",
            without="",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_a_closed_bucket_acquires_no_more_and_holds_nothing",
            ),
        ),
        Mutant(
            name="a forked child forgets its parent's leases",
            module=BUCKET,
            target="after_fork_in_child",
            code="lease.abandon_to_parent()",
            without="",
            noticed_by=(
                "tests/runtime/test_crashes.py::test_a_forked_child_holds_nothing_releases_nothing_and_can_acquire_by_itself",
            ),
        ),
    ),
)

OPERATING = Chapter(
    title="Operating and plain tokens",
    mutants=(
        Mutant(
            name="a shrink subtracts the retired slots from the count",
            module=RESIZE,
            target="shrink",
            code="max(0, counter.minted - len(slots))",
            without="counter.minted",
            noticed_by=("tests/operations/test_resize.py::test_a_shrink_retires_from_the_top_and_ends_no_lease",),
        ),
        Mutant(
            name="a shrink that is overtaken stops",
            module=RESIZE,
            target="shrink",
            code="_require_as_set(counter, top)",
            without="",
            noticed_by=(
                "tests/operations/test_resize.py::test_of_two_resizers_one_stops_and_reports",
                "tests/operations/test_resize.py::test_a_growth_between_two_steps_is_noticed",
            ),
        ),
        Mutant(
            name="the growth of another operator is not taken for ours",
            module=RESIZE,
            target="grow",
            code="uncertain",
            without="",
            noticed_by=("tests/operations/test_resize.py::test_of_two_resizers_one_stops_and_reports",),
        ),
    ),
)
