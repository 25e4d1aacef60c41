"""How a lease is renewed, by itself and in batches, and how it ends."""

from tests.mutants.mutant import Chapter, Mutant

_ATTEMPTS = "_runtime/attempts.py"
_BATCH_BREAKER = "_protocol/batch_breaker.py"
_EVENT_CALLS = "_runtime/event_calls.py"
_HELD_LEASE = "_runtime/held_lease.py"
_LEASE_END = "_runtime/lease_end.py"
_LOG = "_state/log.py"
_LOSS = "_runtime/loss.py"
_RELEASE = "_operations/release.py"
_RENEWER = "_runtime/renewer.py"
_WORKERS = "_runtime/workers.py"

RENEWING = Chapter(
    title="Renewing, losing, releasing",
    mutants=(
        Mutant(
            name="renewals of one lease are serialised",
            module=_ATTEMPTS,
            target="take_at_once",
            code="serial.acquire(blocking=False)",
            without="serial.acquire(blocking=False) or True",
            noticed_by=(
                "tests/test_lease_serial.py::test_the_heartbeat_does_not_renew_while_a_renewal_by_hand_is_under_way",
            ),
        ),
        Mutant(
            name="a release waits for a renewal under way",
            module=_ATTEMPTS,
            target="take_serial",
            code="serial.acquire(timeout=seconds)",
            without="serial.acquire(blocking=False)",
            noticed_by=("tests/test_lease_serial.py::test_who_does_it_by_hand_waits_for_the_renewal_under_way",),
        ),
        Mutant(
            name="a lease has one renewal under way at a time",
            module=_ATTEMPTS,
            target="Attempts.ask",
            code="if now < self._give_up_at(late, late.moved_at): return False",
            without="",
            noticed_by=(
                "tests/runtime/test_attempts.py::test_it_is_given_up_no_earlier_than_its_timeouts_allow",
                "tests/runtime/test_attempts.py::test_one_that_waits_for_a_worker_is_not_given_up",
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
            module=_ATTEMPTS,
            target="Attempts.plan",
            code="belief.begin_renewal(now, known.latest_ms)",
            without="belief.begin_renewal(now, state.time.now_ms()[0])",
            noticed_by=(
                "tests/test_lease_serial.py::test_a_renewal_lets_nobody_have_the_slot_before_its_length_is_over",
            ),
        ),
        Mutant(
            name="a revoked slot is released once the callback has returned",
            module=_LOSS,
            target="_follow",
            code="self._end.send_quietly()",
            without="",
            noticed_by=(
                "tests/test_lease_losing.py::test_the_lost_callback_has_returned_before_the_slot_of_a_revoked_lease_is_free",
            ),
        ),
        Mutant(
            name="a lost lease is not released before its old expiry",
            module=_LOSS,
            target="announce",
            code="self._belief.deadline + self._grant.margin",
            without="self._belief.deadline",
            noticed_by=(
                "tests/test_lease_losing.py::test_a_lease_lost_to_an_outage_is_not_released_before_its_old_expiry",
            ),
        ),
        Mutant(
            name="a lease is lost by the answer to an UpdateItem and by no batch",
            module=_ATTEMPTS,
            target="Attempts.apply",
            code="_is_for_itself(said)",
            without="False",
            noticed_by=("tests/runtime/test_renewer.py::test_a_loss_is_told_by_an_update_and_by_no_batch",),
        ),
        Mutant(
            name="what a batch refused is renewed first by itself",
            module=_ATTEMPTS,
            target="Attempts.plan",
            code="sorted(self.slots, key=lambda slot: slot not in self._refused) if self._refused else self.slots",
            without="self.slots",
            noticed_by=(
                "tests/runtime/test_renewer.py::test_of_several_slots_the_one_that_a_batch_refused_is_renewed_first_by_itself",
            ),
        ),
        Mutant(
            name="a batch has one renewal of a slot",
            module=_RENEWER,
            target="take_batch",
            code="not slots.isdisjoint(attempt.slots)",
            without="",
            noticed_by=(
                "tests/runtime/test_renewer.py::test_two_leases_of_one_slot_keep_no_batch_from_being_carried_out",
            ),
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
            code="fence is None",
            without="False",
            noticed_by=("tests/test_lease_holding.py::test_a_release_by_id_keeps_the_ttl_that_the_lease_gave",),
        ),
        Mutant(
            name="a lost-callback that is set late is called once",
            module=_LOSS,
            target="on_lost",
            code="self._owes_call and callback is None",
            without="self._owes_call",
            noticed_by=("tests/test_lease_losing.py::test_a_callback_set_after_the_loss_is_called_at_once_and_once",),
        ),
        Mutant(
            name="a slot is given back only after the lost-callback has returned",
            module=_LOSS,
            target="clean_up",
            code="self._called_back",
            without="True",
            noticed_by=(
                "tests/test_lease_serial.py::test_a_lost_lease_is_not_given_back_before_its_callback_has_returned",
            ),
        ),
        Mutant(
            name="without a lost-callback a revoked slot is not given back",
            module=_LOSS,
            target="_follow",
            code="callback is not None and self._may_be_ours()",
            without="self._may_be_ours()",
            noticed_by=(
                "tests/test_lease_losing.py::test_a_revoked_lease_without_a_callback_stays_until_its_holder_releases_it",
            ),
        ),
        Mutant(
            name="several: the slots that were not lost are given back",
            module=_LOSS,
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
            target="send_later",
            code="self._context.heartbeats.workers.submit(self.send_quietly, line=self._context.state)",
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
                "tests/operations/test_acquire_errors.py::test_a_release_that_was_given_up_is_sent_again_within_half_a_minute_however_long_the_lease",
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
            module=_LOSS,
            target="_follow",
            code="self._end.call_watchers()",
            without="",
            noticed_by=("tests/test_lease_losing.py::test_watchers_are_told_of_a_loss_before_its_callback_is_called",),
        ),
    ),
)

TROUBLES = Chapter(
    title="Trouble inside the process",
    mutants=(
        Mutant(
            name="a renewal that hangs is given up",
            module=_ATTEMPTS,
            target="_give_up_at",
            code="give_up_at = moved_at + self._longest",
            without="give_up_at = math.inf",
            noticed_by=(
                "tests/runtime/test_attempts.py::test_a_renewal_that_hangs_is_given_up_and_the_lease_renewed_anew",
                "tests/faults/test_trickles.py::test_a_renewal_whose_answer_trickles_costs_no_lease_of_its_batch",
            ),
        ),
        Mutant(
            name="an attempt that was given up keeps its lock",
            module=_ATTEMPTS,
            target="Attempts._give_up",
            code="self.serial = self._context.runtime.lock()",
            without="",
            noticed_by=("tests/runtime/test_attempts.py::test_a_release_waits_for_no_attempt_that_was_given_up",),
        ),
        Mutant(
            name="a late failure of what was given up tells nothing",
            module=_ATTEMPTS,
            target="Attempts.apply",
            code="late and not _telling(answer, in_batch=answers.in_batch)",
            without="False",
            noticed_by=("tests/runtime/test_attempts.py::test_a_late_failure_of_what_was_given_up_tells_nothing",),
        ),
        Mutant(
            name="a loss that a late answer tells is a loss",
            module=_ATTEMPTS,
            target="_telling",
            code="(isinstance(answer, Refused) and not in_batch)",
            without="False",
            noticed_by=("tests/runtime/test_attempts.py::test_a_loss_that_a_late_answer_tells_is_a_loss",),
        ),
        Mutant(
            name="a batch that hangs counts as unanswered",
            module=_RENEWER,
            target="gave_up",
            code="self._note_batch([Unknown(cause=hangs)], batch.sent)",
            without="",
            noticed_by=("tests/runtime/test_attempts.py::test_a_batch_that_hangs_counts_once_as_unanswered",),
        ),
        Mutant(
            name="a lock that hangs is passed by",
            module=_ATTEMPTS,
            target="take_at_once",
            code="now < self._busy_since + self._longest or not self.belief.holds(now)",
            without="True",
            noticed_by=(
                "tests/runtime/test_attempts.py::test_a_renewal_by_hand_that_hangs_keeps_nobody_from_renewing",
            ),
        ),
        Mutant(
            name="a read of the time that hangs leaves time for another",
            module=_ATTEMPTS,
            target="_give_up_at",
            code="min(give_up_at, max(moved_at + self._longest / 4, halfway))",
            without="give_up_at",
            noticed_by=(
                "tests/runtime/test_attempts.py::test_a_look_at_the_time_that_hangs_holds_no_lease_of_its_batch",
            ),
        ),
        Mutant(
            name="a thread of the library's own calls no log handler",
            module=_LOG,
            target="Log._log",
            code="not in_background()",
            without="",
            noticed_by=(
                "tests/state/test_log.py::test_a_thread_of_the_library_hands_over_what_it_says_with_its_time_and_name",
            ),
        ),
        Mutant(
            name="what may hold a lock is logged by another thread",
            module=_LOG,
            target="Log._log",
            code="self._at_once",
            without="",
            noticed_by=("tests/state/test_log.py::test_what_may_hold_a_lock_is_queued_on_any_thread",),
        ),
        Mutant(
            name="what a log handler raises reaches no caller",
            module=_LOG,
            target="Log._log",
            code="_queue.note_failure(failure)",
            without="raise",
            noticed_by=(
                "tests/state/test_log.py::test_what_a_handler_raises_on_a_users_thread_reaches_no_caller_but_an_interrupt_does",
            ),
        ),
        Mutant(
            name="the log's queue is bounded",
            module=_LOG,
            target="LogQueue.put",
            code="self._records.qsize() >= MOST_QUEUED",
            without="False",
            noticed_by=(
                "tests/state/test_log.py::test_a_handler_that_hangs_delays_nobody_and_what_does_not_fit_is_counted",
            ),
        ),
        Mutant(
            name="a loss is announced although its announcement was interrupted",
            module=_HELD_LEASE,
            target="HeldLease.beat",
            code="reason = self._loss_unannounced()",
            without="reason = None",
            noticed_by=(
                "tests/test_lease_losing.py::test_a_loss_whose_announcement_was_interrupted_is_announced_once_by_whoever_notices",
            ),
        ),
        Mutant(
            name="a loss is announced once, whoever notices",
            module=_LOSS,
            target="_follow",
            code="if followed: return",
            without="",
            noticed_by=(
                "tests/test_lease_losing.py::test_a_loss_whose_announcement_was_interrupted_is_announced_once_by_whoever_notices",
            ),
        ),
        Mutant(
            name="a thread of the library's own does not wait for on_event",
            module=_EVENT_CALLS,
            target="EventCalls.tell",
            code="in_background()",
            without="",
            noticed_by=(
                "tests/runtime/test_events.py::test_events_come_on_the_threads_that_are_promised_and_with_no_lock_held",
                "tests/runtime/test_troubles.py::test_an_on_event_that_hangs_delays_no_renewal_and_no_lost_callback",
            ),
        ),
        Mutant(
            name="an event comes after those that wait",
            module=_EVENT_CALLS,
            target="EventCalls.tell",
            code="self._queued",
            without="",
            noticed_by=(
                "tests/runtime/test_troubles.py::test_an_on_event_that_hangs_delays_no_renewal_and_no_lost_callback",
            ),
        ),
        Mutant(
            name="a line whose first job waits gets a worker",
            module=_WORKERS,
            target="_startable_threads",
            code="max(more, first - self._idle)",
            without="more",
            noticed_by=(
                "tests/runtime/test_workers.py::test_a_line_whose_first_job_waits_gets_a_worker_whatever_the_others_do",
            ),
        ),
        Mutant(
            name="a job that hangs for long is written off",
            module=_WORKERS,
            target="_write_off",
            code="",
            without="",
            noticed_by=(
                "tests/runtime/test_workers.py::test_a_job_that_hangs_for_long_counts_no_more_against_its_line_nor_against_the_limit",
            ),
        ),
        Mutant(
            name="a lease has its threads before it is held",
            module="_runtime/heartbeat.py",
            target="Heartbeats.ensure_running",
            code="self.callbacks.ensure_one()",
            without="",
            noticed_by=(
                "tests/runtime/test_troubles.py::test_where_no_thread_is_to_be_had_later_leases_are_renewed_and_losses_told_off_the_heartbeat",
            ),
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
            target="_says_nothing",
            code="isinstance(answer, (ThrottledAnswer, Conflict, Unsent))",
            without="False",
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
            module=_ATTEMPTS,
            target="Attempts.apply",
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
