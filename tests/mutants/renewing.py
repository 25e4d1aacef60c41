"""How a lease is renewed, by itself and in batches, and how it ends."""

from tests.mutants.mutant import Chapter, Mutant

_BATCH_BREAKER = "_protocol/batch_breaker.py"
_HELD_LEASE = "_runtime/held_lease.py"
_LEASE_END = "_runtime/lease_end.py"
_RELEASE = "_operations/release.py"
_RENEWER = "_runtime/renewer.py"

RENEWING = Chapter(
    title="Renewing, losing, releasing",
    mutants=(
        Mutant(
            name="renewals of one lease are serialised",
            module=_HELD_LEASE,
            target="begin_renewal",
            code="self.serial.acquire(blocking=False)",
            without="self.serial.acquire(blocking=False) or True",
            noticed_by=(
                "tests/test_lease_serial.py::test_the_heartbeat_does_not_renew_while_a_renewal_by_hand_is_under_way",
            ),
        ),
        Mutant(
            name="a release waits for a renewal under way",
            module=_HELD_LEASE,
            target="HeldLease.release",
            code="self.serial.acquire(timeout=self.patience)",
            without="self.serial.acquire(blocking=False)",
            noticed_by=("tests/test_lease_serial.py::test_who_does_it_by_hand_waits_for_the_renewal_under_way",),
        ),
        Mutant(
            name="a lease has one renewal under way at a time",
            module=_HELD_LEASE,
            target="beat",
            code="self._renewing = self.due_in() <= ahead",
            without="return self.due_in() <= ahead",
            noticed_by=(
                "tests/test_lease_serial.py::test_one_renewal_is_asked_for_at_a_time_and_the_next_when_it_has_ended",
            ),
        ),
        Mutant(
            name="belief ends before the release is sent",
            module=_HELD_LEASE,
            target="begin_release",
            code="self.belief.release()",
            without="",
            noticed_by=("tests/test_lease_holding.py::test_a_released_lease_says_so",),
        ),
        Mutant(
            name="a renewal writes the upper bound",
            module=_HELD_LEASE,
            target="plan_renewal",
            code="_, now_hi = state.time.now_ms()",
            without="now_hi, _ = state.time.now_ms()",
            noticed_by=(
                "tests/test_lease_serial.py::test_a_renewal_lets_nobody_have_the_slot_before_its_length_is_over",
            ),
        ),
        Mutant(
            name="a revoked slot is released once the callback has returned",
            module=_LEASE_END,
            target="_after_loss",
            code="self.release_quietly()",
            without="",
            noticed_by=(
                "tests/test_lease_losing.py::test_the_lost_callback_has_returned_before_the_slot_of_a_revoked_lease_is_free",
            ),
        ),
        Mutant(
            name="a lost lease is not released before its old expiry",
            module=_LEASE_END,
            target="lose",
            code="self._belief.deadline + self._margin",
            without="self._belief.deadline",
            noticed_by=(
                "tests/test_lease_losing.py::test_a_lease_lost_to_an_outage_is_not_released_before_its_old_expiry",
            ),
        ),
        Mutant(
            name="a lease is lost by the answer to an UpdateItem and by no batch",
            module=_HELD_LEASE,
            target="apply",
            code="any(isinstance(each, (Refused, Rejected)) for each in answers.answers)",
            without="False",
            noticed_by=("tests/runtime/test_renewer.py::test_a_loss_is_told_by_an_update_and_by_no_batch",),
        ),
        Mutant(
            name="of several slots in a batch a failure extends none",
            module=_RENEWER,
            target="decisive",
            code="next(failed, self.answers[0])",
            without="self.answers[0]",
            noticed_by=("tests/runtime/test_renewer.py::test_of_several_slots_one_that_failed_extends_none",),
        ),
        Mutant(
            name="a release by id keeps the TTL",
            module=_RELEASE,
            target="_release_one",
            code="fence is not None",
            without="",
            noticed_by=("tests/test_lease_holding.py::test_a_release_by_id_keeps_the_ttl_that_the_lease_gave",),
        ),
        Mutant(
            name="a lost-callback that is set late is called once",
            module=_LEASE_END,
            target="on_lost",
            code="self._owes_call and callback is None",
            without="self._owes_call",
            noticed_by=("tests/test_lease_losing.py::test_a_callback_set_after_the_loss_is_called_at_once_and_once",),
        ),
        Mutant(
            name="a slot is given back only after the lost-callback has returned",
            module=_LEASE_END,
            target="clean_up",
            code="self._called_back",
            without="True",
            noticed_by=(
                "tests/test_lease_serial.py::test_a_lost_lease_is_not_given_back_before_its_callback_has_returned",
            ),
        ),
        Mutant(
            name="without a lost-callback a revoked slot is not given back",
            module=_LEASE_END,
            target="_after_loss",
            code="callback is not None and self._may_be_ours()",
            without="self._may_be_ours()",
            noticed_by=(
                "tests/test_lease_losing.py::test_a_revoked_lease_without_a_callback_stays_until_its_holder_releases_it",
            ),
        ),
        Mutant(
            name="several: the slots that were not lost are given back",
            module=_LEASE_END,
            target="_may_be_ours",
            code="several",
            without="False",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_losing_one_loses_the_lease_and_the_others_are_given_back",
            ),
        ),
        Mutant(
            name="a release that is interrupted is sent by a worker",
            module=_LEASE_END,
            target="hand_over",
            code="self._context.heartbeats.workers.submit(self.release_quietly, line=self._context.state)",
            without="",
            noticed_by=("tests/test_lease_serial.py::test_a_release_that_was_interrupted_is_done_in_the_background",),
        ),
        Mutant(
            name="a release is owed before it is sent",
            module=_HELD_LEASE,
            target="begin_release",
            code="self.end.owe()",
            without="",
            noticed_by=(
                "tests/test_interrupts.py::test_a_second_interrupt_leaves_the_release_to_the_exit_at_the_latest",
            ),
        ),
        Mutant(
            name="an unanswered release is sent again",
            module=_LEASE_END,
            target="finish",
            code="self._context.heartbeats.add(self._scheduled)",
            without="pass",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_what_closing_in_an_outage_could_not_release_is_released_after_it",
            ),
        ),
        Mutant(
            name="a claim that may still arrive is released again",
            module="_protocol/grants.py",
            target="may_still_land",
            code="return True",
            without="return False",
            noticed_by=("tests/test_interrupts.py::test_a_claim_that_arrives_after_its_own_release_is_released_again",),
        ),
        Mutant(
            name="a claim cannot arrive where its fence has been passed",
            module="_protocol/grants.py",
            target="may_still_land",
            code="seen >= fence",
            without="False",
            noticed_by=(
                "tests/test_interrupts.py::test_once_the_slot_has_changed_hands_the_claim_cannot_arrive_and_nothing_is_repeated",
            ),
        ),
        Mutant(
            name="a watcher that comes late is called at once",
            module=_LEASE_END,
            target="LeaseEnd.watch",
            code="if late: watcher()",
            without="",
            noticed_by=("tests/aio/test_guard.py::test_a_loss_is_awaited_and_so_is_a_release",),
        ),
        Mutant(
            name="watchers are told of a loss before its callback is called",
            module=_LEASE_END,
            target="_after_loss",
            code="self._call_watchers()",
            without="",
            noticed_by=("tests/test_lease_losing.py::test_watchers_are_told_of_a_loss_before_its_callback_is_called",),
        ),
    ),
)

BATCHES = Chapter(
    title="Batches of renewals",
    mutants=(
        Mutant(
            name="where the service takes no batch, none is sent for a while",
            module=_BATCH_BREAKER,
            target="batch_not_taken",
            code="now + REST_SECONDS",
            without="self.rests_until",
            noticed_by=(
                "tests/runtime/test_renewer.py::test_where_batches_are_denied_leases_are_renewed_one_by_one_and_none_is_lost",
            ),
        ),
        Mutant(
            name="an outage does not mean that batches are refused",
            module=_BATCH_BREAKER,
            target="batch_unanswered",
            code="not self.proven",
            without="True",
            noticed_by=("tests/runtime/test_renewer.py::test_once_a_batch_has_worked_an_outage_ends_no_batches",),
        ),
        Mutant(
            name="throttling, conflicts and no connection say nothing against batches",
            module=_BATCH_BREAKER,
            target="batch_ended",
            code="not isinstance(answer, (ThrottledAnswer, Conflict, Unsent))",
            without="",
            noticed_by=("tests/runtime/test_renewer.py::test_what_says_nothing_against_batches_ends_none",),
        ),
        Mutant(
            name="after a rest batches are sent again",
            module=_BATCH_BREAKER,
            target="rests",
            code="now < self.rests_until",
            without="self.rests_until > -math.inf",
            noticed_by=(
                "tests/protocol/test_batch_breaker.py::test_after_the_rest_batches_go_again",
                "tests/runtime/test_renewer.py::test_after_a_while_batches_are_tried_again",
            ),
        ),
        Mutant(
            name="a batch that got no answer before any single renewal worked proves nothing",
            module=_BATCH_BREAKER,
            target="batch_unanswered",
            code="self.doubtful and self.singles_work_since < sent",
            without="self.doubtful",
            noticed_by=(
                "tests/protocol/test_batch_breaker.py::test_an_unanswered_batch",
                "tests/runtime/test_renewer.py::test_a_single_renewal_that_worked_before_says_nothing_of_batches",
            ),
        ),
        Mutant(
            name="a batch that was sent before a single renewal worked proves nothing",
            module=_BATCH_BREAKER,
            target="batch_unanswered",
            code="self.singles_work_since < sent",
            without="self.singles_work_since < math.inf",
            noticed_by=(
                "tests/protocol/test_batch_breaker.py::test_an_unanswered_batch",
                "tests/runtime/test_renewer.py::test_a_batch_that_was_sent_before_a_single_one_worked_says_nothing_of_batches",
            ),
        ),
        Mutant(
            name="an overtaken batch says nothing against batches",
            module=_BATCH_BREAKER,
            target="batch_unanswered",
            code="if self.overtook(sent): return self",
            without="",
            noticed_by=("tests/protocol/test_batch_breaker.py::test_an_unanswered_batch",),
        ),
        Mutant(
            name="an answered batch ends the doubt",
            module=_BATCH_BREAKER,
            target="batch_answered",
            code="False",
            without="self.doubtful",
            noticed_by=("tests/protocol/test_batch_breaker.py::test_an_answered_batch_ends_all_doubt",),
        ),
        Mutant(
            name="in doubt one probe is under way at a time",
            module=_BATCH_BREAKER,
            target="mode",
            code="not self.probing",
            without="",
            noticed_by=(
                "tests/protocol/test_batch_breaker.py::test_how_renewals_go",
                "tests/runtime/test_renewer.py::test_one_such_is_under_way_at_a_time",
            ),
        ),
        Mutant(
            name="in doubt one test batch is under way at a time",
            module=_BATCH_BREAKER,
            target="mode",
            code="self.testing",
            without="False",
            noticed_by=(
                "tests/protocol/test_batch_breaker.py::test_how_renewals_go",
                "tests/runtime/test_renewer.py::test_once_that_one_has_worked_all_are_but_for_one_batch_at_a_time",
            ),
        ),
        Mutant(
            name="a lease of a batch that was overtaken is renewed by itself",
            module=_HELD_LEASE,
            target="apply",
            code="answers.overtaken",
            without="False",
            noticed_by=(
                "tests/runtime/test_renewer.py::test_what_was_in_a_batch_that_a_later_one_overtook_is_tried_by_itself",
            ),
        ),
        Mutant(
            name="of several slots in a batch a revocation counts beside a failure",
            module=_RENEWER,
            target="decisive",
            code="next(filter(_revoked, self.answers), None)",
            without="",
            noticed_by=("tests/runtime/test_renewer.py::test_a_revocation_counts_beside_a_failure",),
        ),
        Mutant(
            name="a defect in one lease of a batch costs no other",
            module=_RENEWER,
            target="_apply",
            code='_log.exception("renewing a lease failed (a bug); it will be retried")',
            without="raise",
            noticed_by=("tests/runtime/test_renewer.py::test_one_in_trouble_keeps_no_other_from_being_renewed",),
        ),
    ),
)
