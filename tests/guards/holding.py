"""Holding: what section 6 promises of heartbeats, of losing a lease, of forks, exits and interrupts."""

from tests.guards.guard import Chapter, Guard


def _belief(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="_protocol/lease_state.py", code=code, without=without, noticed_by=noticed_by)


def _lease(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="lease.py", code=code, without=without, noticed_by=noticed_by)


def _heartbeat(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="_runtime/heartbeat.py", code=code, without=without, noticed_by=noticed_by)


BELIEF = Chapter(
    title="What a holder may believe",
    guards=(
        _belief(
            "belief ends at the deadline",
            "return self.state is State.HELD and now < self.deadline",
            "return self.state is State.HELD",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_new_lease_is_held_until_its_deadline_and_no_longer",
            ),
        ),
        _belief(
            "belief ends with a release or a loss",
            "return self.state is State.HELD and now < self.deadline",
            "return now < self.deadline",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        _belief(
            "a renewal's deadline counts from before its sending",
            "deadline=now + self._length - self._margin)",
            "deadline=now + self._length)",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_renewal_writes_the_upper_bound_of_the_services_time_plus_the_length",
            ),
        ),
        _belief(
            "nothing is renewed that is not held",
            "        if not self.holds(now):\n            return None\n        # The bounds",
            "        # The bounds",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_nothing_is_renewed_after_the_deadline_a_loss_or_a_release",
            ),
        ),
        _belief(
            "the expiry never falls",
            "self._expires_at = max(self._expires_at, now_hi + round(self._length * 1000))",
            "self._expires_at = now_hi + round(self._length * 1000)",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_renewal_refused_for_a_later_expiry_is_followed_by_one_that_succeeds",
            ),
        ),
        _belief(
            "each renewal writes a new expiry",
            "self._expires_at = max(self._expires_at, now_hi + round(self._length * 1000))",
            "self._expires_at = self._expires_at",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_renewal_writes_the_upper_bound_of_the_services_time_plus_the_length",
            ),
        ),
        _belief(
            "an answer that comes too late revives nothing",
            "            return None  # too late",
            "            self.state = State.HELD  # too late",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        _belief(
            "a success extends the belief",
            "                self._extend(renewal)\n",
            "                self.failures = 0\n",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_the_new_deadline_counts_from_before_the_sending_not_from_the_answer",
            ),
        ),
        _belief(
            "a mark of revocation ends it",
            "return self.lose(LossReason.REVOKED) if slot and slot.lease and slot.lease.revoked else None",
            "return None",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        _belief(
            "a slot that is gone ends it",
            "return self.lose(LossReason.GONE)",
            "return None",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        _belief(
            "another's lease ends it",
            "return self.lose(LossReason.TAKEN)",
            "return None",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        _belief(
            "our own lease, refused for a later expiry, is not lost",
            "            case Refused(slot=slot) if slot and slot.lease and slot.lease.lease_id == self._lease_id:",
            "            case Refused(slot=slot) if slot and slot.lease and not slot.lease.lease_id:",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_superseded_renewal_that_is_refused_with_our_own_lease_changes_no_deadline",
            ),
        ),
        _belief(
            "the next renewal then writes no earlier expiry",
            "                self._expires_at = max(self._expires_at, slot.lease.expires_at)\n",
            "",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_renewal_refused_for_a_later_expiry_is_followed_by_one_that_succeeds",
            ),
        ),
        _belief(
            "and it is sent at once",
            "                self.renew_at = now\n",
            "",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_renewal_refused_for_a_later_expiry_is_followed_by_one_that_succeeds",
            ),
        ),
        _belief(
            "a revocation is seen in a refusal too",
            "return self.lose(LossReason.REVOKED) if slot.lease.revoked else None",
            "return None",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        _belief(
            "a failed renewal is tried again soon",
            "        self.renew_at = now + pause + self._late_by(self._offset)\n",
            "        self.renew_at = now + self._length\n",
            noticed_by=("tests/protocol/test_lease_state.py::test_a_failed_renewal_is_no_lost_lease",),
        ),
        _belief(
            "failures in a row are counted",
            "        self.failures += 1\n",
            "        self.failures = 1\n",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_while_renewals_fail_the_pause_grows_to_a_twelfth_of_the_length_and_never_beyond",
            ),
        ),
        _belief(
            "a failed renewal is no lost lease",
            "        self.failures += 1\n",
            "        self.lose(LossReason.UNREACHABLE)\n        self.failures += 1\n",
            noticed_by=("tests/protocol/test_lease_state.py::test_a_failed_renewal_is_no_lost_lease",),
        ),
        _belief(
            "a lease is lost once",
            "        if self.state is not State.HELD:\n            return None\n        self.state, self.reason",
            "        self.state, self.reason",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        _belief(
            "sleep is told from silence",
            "LossReason.SUSPENDED if slept else LossReason.UNREACHABLE",
            "LossReason.UNREACHABLE",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_the_deadline_loses_the_lease_and_tells_sleep_from_silence",
            ),
        ),
        _belief(
            "a lease is lost at its deadline, not before",
            "if self.state is not State.HELD or now < self.deadline:",
            "if self.state is not State.HELD:",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_the_deadline_loses_the_lease_and_tells_sleep_from_silence",
            ),
        ),
        _belief(
            "a second release is told",
            "        held = self.state is State.HELD\n        if held:",
            "        held = self.state is not State.LOST\n        if held:",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_release_ends_belief_at_once_and_a_second_one_is_told",
            ),
        ),
        _belief(
            "a release does not hide a loss",
            "        if held:\n            self.state = State.RELEASED",
            "        if True:\n            self.state = State.RELEASED",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_lease_released_is_never_lost_and_one_lost_never_released",
            ),
        ),
        _belief(
            "the deadline never moves backwards",
            "if renewal.deadline - self._late_by(offset) >= self.deadline:",
            "if True:",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_earlier_renewal_answered_later_takes_nothing_back",
            ),
        ),
        _belief(
            "a lease is renewed at a third of its length",
            "_RENEWALS_PER_LEASE = 3\n",
            "_RENEWALS_PER_LEASE = 1.5\n",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_the_first_renewal_is_due_at_a_third_of_the_length_or_up_to_a_tenth_of_it_earlier",
            ),
        ),
        _belief(
            "leases taken together do not renew together",
            "self._chance.uniform(1.0 - _EARLIER, 1.0)",
            "1.0",
            noticed_by=("tests/protocol/test_lease_state.py::test_leases_taken_together_do_not_renew_together",),
        ),
        _belief(
            "the heartbeat looks at the deadline too",
            "return min(self.renew_at, self._planned) - self._late_by(self._offset)",
            "return self.renew_at - self._late_by(self._offset)",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_the_heartbeat_is_due_at_the_deadline_if_no_renewal_is_due_before",
            ),
        ),
    ),
)

LEASES = Chapter(
    title="Renewing, losing and releasing",
    guards=(
        _lease(
            "renewals of one lease are serialised",
            "        mine = self._serial.acquire(blocking=False)\n",
            "        mine = self._serial.acquire(blocking=False) or True\n",
            noticed_by=(
                "tests/test_lease_serial.py::test_the_heartbeat_does_not_renew_while_a_renewal_by_hand_is_under_way",
            ),
        ),
        _lease(
            "a renewal by hand waits its turn",
            "        with self._serial:\n            answer = self._renew_once()\n",
            "        answer = self._renew_once()\n",
            noticed_by=("tests/test_lease_serial.py::test_who_does_it_by_hand_waits_for_the_renewal_under_way",),
        ),
        _lease(
            "a release waits for a renewal under way",
            "mine = self._serial.acquire(timeout=self._patience())",
            "mine = self._serial.acquire(blocking=False)",
            noticed_by=("tests/test_lease_serial.py::test_who_does_it_by_hand_waits_for_the_renewal_under_way",),
        ),
        _lease(
            "but not for ever",
            "return min(PATIENCE_SECONDS, self._seconds / 3)",
            "return -1",
            noticed_by=("tests/test_lease_holding.py::test_a_release_does_not_wait_for_ever_for_a_renewal_that_hangs",),
        ),
        _lease(
            "one renewal is under way at a time",
            "                self._renewing = True\n",
            "",
            noticed_by=(
                "tests/test_lease_serial.py::test_one_renewal_is_asked_for_at_a_time_and_the_next_when_it_has_ended",
            ),
        ),
        _lease(
            "the heartbeat looks again once it has ended",
            "            self._renewing = False\n        self._context.heartbeats.reconsider(self)\n",
            "            self._renewing = False\n",
            noticed_by=(
                "tests/test_lease_serial.py::test_one_renewal_is_asked_for_at_a_time_and_the_next_when_it_has_ended",
            ),
        ),
        _lease(
            "belief ends before the release is sent",
            "            self._notice()\n            self._belief.release()\n",
            "            self._notice()\n",
            noticed_by=("tests/test_lease_holding.py::test_a_released_lease_says_so",),
        ),
        _lease(
            "a lease that is another's is not released",
            "        if done or self._answered:\n",
            "        if self._answered:\n",
            noticed_by=("tests/test_lease_serial.py::test_a_lease_that_is_anothers_by_now_is_not_released",),
        ),
        _lease(
            "a second release sends nothing",
            "        if done or self._answered:\n",
            "        if done:\n",
            noticed_by=("tests/test_lease_holding.py::test_a_second_release_says_no_and_sends_nothing",),
        ),
        _lease(
            "an interrupted release is seen to",
            "            self._context.heartbeats.workers.submit(self._release_quietly)\n            raise\n",
            "            raise\n",
            noticed_by=("tests/test_lease_serial.py::test_a_release_that_was_interrupted_is_done_in_the_background",),
        ),
        _lease(
            "a released lease is looked after no more",
            "        self._context.heartbeats.drop(self)\n",
            "",
            noticed_by=("tests/test_lease_serial.py::test_nothing_is_left_of_a_released_lease",),
        ),
        _lease(
            "its bucket forgets it",
            "        self._context.ended(self)\n",
            "",
            noticed_by=("tests/test_lease_serial.py::test_nothing_is_left_of_a_released_lease",),
        ),
        _lease(
            "a release wakes and tells its own process",
            "            state.hints.released(slot, Slot(number=slot, fence=self.fence), now=self._now())\n",
            "            pass\n",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_a_process_claims_first_the_slot_that_it_released_itself",
            ),
        ),
        _lease(
            "check raises once the deadline has passed",
            "        if not self._forked and self._belief.holds(self._now()):\n            if self._context",
            "        if not self._forked and self._belief.state is State.HELD:\n            if self._context",
            noticed_by=("tests/test_lease_losing.py::test_asking_costs_no_request",),
        ),
        _lease(
            "a heartbeat that is gone is started again",
            "                self._context.heartbeats.ensure_running()\n            return\n",
            "                pass\n            return\n",
            noticed_by=("tests/test_lease_holding.py::test_a_heartbeat_that_died_is_started_again",),
        ),
        _lease(
            "who asks is told without a heartbeat",
            "            reason = self._belief.expire(self._now(), slept=self._context.heartbeats.overslept())\n",
            "            reason = None\n",
            noticed_by=(
                "tests/test_lease_losing.py::test_whoever_asks_after_the_deadline_is_told_the_truth_without_a_heartbeat",
            ),
        ),
        _lease(
            "steady time is read before the service's",
            "            renewal = self._belief.begin_renewal(self._tried_at, now_hi)\n",
            "            renewal = self._belief.begin_renewal(self._now() + 0.5, now_hi)\n",
            noticed_by=(
                "tests/test_lease_holding.py::test_a_renewal_is_believed_no_longer_than_from_before_it_was_sent",
            ),
        ),
        _lease(
            "a renewal writes the upper bound",
            "            _, now_hi = state.time.now_ms()\n            if state",
            "            now_hi, _ = state.time.now_ms()\n            if state",
            noticed_by=(
                "tests/test_lease_serial.py::test_a_renewal_lets_nobody_have_the_slot_before_its_length_is_over",
            ),
        ),
        _lease(
            "a defect in a renewal costs no lease",
            "            return Unknown(cause=error)\n        return answer\n",
            "            raise\n        return answer\n",
            noticed_by=("tests/test_lease_serial.py::test_a_defect_while_renewing_by_hand_is_no_loss",),
        ),
        Guard(
            name="in doubt renewals wait, as long as there is time",
            room="lease.py",
            code="                due = max(due, belief.deadline - self._seconds * _DOUBT_LEAVES)\n",
            without="                pass\n",
            noticed_by=(
                "tests/test_lease_serial.py::test_while_answers_disagree_a_renewal_waits_but_not_until_it_is_too_late",
            ),
        ),
        Guard(
            name="but no longer",
            room="lease.py",
            code="due = max(due, belief.deadline - self._seconds * _DOUBT_LEAVES)",
            without="due = math.inf",
            noticed_by=(
                "tests/test_lease_serial.py::test_while_answers_disagree_a_renewal_waits_but_not_until_it_is_too_late",
            ),
        ),
        Guard(
            name="a callback that was set late gives a revoked lease back",
            room="lease.py",
            code="        if self._may_be_ours():\n            self._release_quietly()\n",
            without="",
            noticed_by=(
                "tests/test_lease_losing.py::test_the_slot_of_a_revoked_lease_is_free_after_a_callback_that_was_set_late",
            ),
        ),
        _lease(
            "an urgent renewal does not spin",
            "max(due, self._tried_at + PAUSE_SECONDS)",
            "due",
            noticed_by=("tests/test_lease_serial.py::test_an_urgent_renewal_does_not_spin",),
        ),
        _lease(
            "the heartbeat notices the deadline",
            "            reason = self._belief.expire(now, slept=slept)\n",
            "            reason = None\n",
            noticed_by=("tests/test_lease_holding.py::test_the_lost_callback_comes_on_a_thread_of_its_own_in_time",),
        ),
        _lease(
            "the callback is called",
            "            self._call(callback)\n        self._called_back = True",
            "            pass\n        self._called_back = True",
            noticed_by=("tests/test_lease_holding.py::test_the_lost_callback_comes_on_a_thread_of_its_own_in_time",),
        ),
        _lease(
            "a callback set after the loss is called",
            "            self._owes_call = callback is None\n",
            "            self._owes_call = False\n",
            noticed_by=("tests/test_lease_losing.py::test_a_callback_set_after_the_loss_is_called_at_once_and_once",),
        ),
        _lease(
            "it is called once",
            "            self._owes_call = self._owes_call and callback is None\n",
            "",
            noticed_by=("tests/test_lease_losing.py::test_a_callback_set_after_the_loss_is_called_at_once_and_once",),
        ),
        _lease(
            "a callback that fails harms nothing",
            '            _log.exception("the lost-callback of lease',
            '            raise\n            _log.exception("the lost-callback of lease',
            noticed_by=("tests/test_lease_losing.py::test_a_callback_that_fails_harms_nothing",),
        ),
        _lease(
            "a revoked slot is given back once the callback has returned",
            "        if callback is not None and self._may_be_ours():\n            self._clean_up()",
            "        if callback is not None and self._may_be_ours():\n            pass",
            noticed_by=(
                "tests/test_lease_losing.py::test_the_lost_callback_has_returned_before_the_slot_of_a_revoked_lease_is_free",
            ),
        ),
        _lease(
            "without a callback it is not given back early",
            "        if callback is not None and self._may_be_ours():",
            "        if self._may_be_ours():",
            noticed_by=(
                "tests/test_lease_losing.py::test_a_revoked_lease_without_a_callback_stays_until_its_holder_releases_it",
            ),
        ),
        _lease(
            "nothing is given back before the callback has returned",
            "        if not self._called_back:\n",
            "        if False:\n",
            noticed_by=(
                "tests/test_lease_serial.py::test_a_lost_lease_is_not_given_back_before_its_callback_has_returned",
            ),
        ),
        _lease(
            "what an unseen renewal extended is released",
            "                self._clean_up_at = self._belief.deadline + self._margin\n",
            "                pass\n",
            noticed_by=(
                "tests/test_lease_losing.py::test_a_renewal_answered_after_the_loss_revives_nothing_and_is_released",
            ),
        ),
        _lease(
            "not before the old expiry",
            "self._belief.deadline + self._margin\n",
            "self._belief.deadline\n",
            noticed_by=(
                "tests/test_lease_losing.py::test_a_lease_lost_to_an_outage_is_not_released_before_its_old_expiry",
            ),
        ),
        _lease(
            "a block is not entered with a lost lease",
            "        try:\n            self.check()\n        except BaseException:\n",
            "        try:\n            pass\n        except BaseException:\n",
            noticed_by=("tests/test_lease_holding.py::test_a_block_is_not_entered_with_a_lease_that_is_not_held",),
        ),
        _lease(
            "a lease that was lost before its block is released",
            "                self.release()  # `__exit__`",
            "                pass  # `__exit__`",
            noticed_by=("tests/test_lease_serial.py::test_a_lease_lost_before_its_block_is_given_back",),
        ),
        _lease(
            "a block's own exception is not masked",
            "        except StoreError as error:\n            # The body's",
            "        except ZeroDivisionError as error:\n            # The body's",
            noticed_by=("tests/test_lease_holding.py::test_the_blocks_own_exception_comes_out_as_it_is",),
        ),
        _lease(
            "leaving a block releases",
            "        try:\n            self.release()\n        except StoreError as error:\n            # The body",
            "        try:\n            pass\n        except StoreError as error:\n            # The body",
            noticed_by=("tests/test_lease_holding.py::test_leaving_the_block_releases",),
        ),
        _lease(
            "a forked child releases nothing",
            "        if self._forked:\n            return False\n",
            "",
            noticed_by=(
                "tests/runtime/test_crashes.py::test_a_forked_child_holds_nothing_releases_nothing_and_can_acquire_by_itself",
            ),
        ),
        _lease(
            "a forked child holds nothing",
            "        self._forked = True\n",
            "",
            noticed_by=(
                "tests/runtime/test_crashes.py::test_a_forked_child_holds_nothing_releases_nothing_and_can_acquire_by_itself",
            ),
        ),
        _lease(
            "a lease of the parent's waits for no lock in a forked child",
            "        self._forked = True\n        self._lock = threading.RLock()\n",
            "        self._forked = True\n",
            noticed_by=("tests/test_lease_serial.py::test_in_a_forked_child_a_lease_waits_for_no_lock_of_its_parents",),
        ),
        _lease(
            "at exit a lease is released",
            "                self._send_release(tries=1, seconds=0.0)\n",
            "                pass\n",
            noticed_by=("tests/runtime/test_crashes.py::test_a_forked_child_releases_its_own_leases_when_it_ends",),
        ),
        _lease(
            "a release that is given up ends in bounded time",
            "            deadline=self._now() + seconds,\n",
            "            deadline=math.inf,\n",
            noticed_by=(
                "tests/test_lease_serial.py::test_a_release_that_is_answered_slowly_is_given_up_in_bounded_time",
            ),
        ),
        _lease(
            "a release is tried more than once",
            "RELEASE_TRIES = 6\n",
            "RELEASE_TRIES = 1\n",
            noticed_by=("tests/test_lease_holding.py::test_one_failing_release_does_not_keep_the_others",),
        ),
        Guard(
            name="the callback runs on a thread of its own",
            room="bucket.py",
            code='        threading.Thread(target=job, name="ddb-lease-lost", daemon=True).start()',
            without="        job()",
            noticed_by=("tests/test_lease_holding.py::test_the_lost_callback_comes_on_a_thread_of_its_own_in_time",),
        ),
        Guard(
            name="a lease is looked after from the start",
            room="bucket.py",
            code="        self._heartbeats().add(lease)\n",
            without="",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_a_renewal_whose_answer_is_lost_costs_no_lease",
            ),
        ),
        Guard(
            name="one failing release does not keep the others",
            room="bucket.py",
            code="            except LeaseError as error:\n",
            without="            except ZeroDivisionError as error:\n",
            noticed_by=("tests/operations/test_acquire_errors.py::test_closing_raises_nothing_when_a_release_fails",),
        ),
        Guard(
            name="a release by id through its own bucket ends belief at once",
            room="bucket.py",
            code="        if held is not None:\n            return held.release()\n",
            without="",
            noticed_by=("tests/test_lease_holding.py::test_a_lease_may_be_released_by_its_id_through_its_own_bucket",),
        ),
        Guard(
            name="a closed bucket acquires no more",
            room="bucket.py",
            code="        self._closed = True\n",
            without="",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_a_closed_bucket_acquires_no_more_and_holds_nothing",
            ),
        ),
    ),
)

HEARTBEATS = Chapter(
    title="Heartbeats and workers",
    guards=(
        _heartbeat(
            "a beat that raises harms no other",
            "            except BaseException:  # noqa: BLE001 - one lease",
            "            except ZeroDivisionError:  # noqa: BLE001 - one lease",
            noticed_by=("tests/runtime/test_heartbeat.py::test_a_beat_that_raises_harms_no_other_and_is_tried_again",),
        ),
        Guard(
            name="it is tried again",
            room="_runtime/heartbeat.py",
            code="            self._schedule.move(beating, self._clock.steady() + pause, unless_moved_from=entry)\n",
            without="",
            noticed_by=("tests/runtime/test_heartbeat.py::test_after_a_beat_it_is_due_when_it_then_says",),
        ),
        Guard(
            name="after a while",
            room="_runtime/heartbeat.py",
            code="pause, entry = RECOVERY_SECONDS, ",
            without="pause, entry = 0.0, ",
            noticed_by=("tests/runtime/test_heartbeat.py::test_a_beat_that_raises_is_not_tried_again_at_once",),
        ),
        _heartbeat(
            "what is always due does not spin",
            "pause = max(SHORTEST_SECONDS, beating.due_in())",
            "pause = beating.due_in()",
            noticed_by=("tests/runtime/test_heartbeat.py::test_what_is_always_due_does_not_spin",),
        ),
        _heartbeat(
            "the thread survives a defect of its own",
            "            except BaseException:  # noqa: BLE001 - a heartbeat that",
            "            except ZeroDivisionError:  # noqa: BLE001 - a heartbeat that",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_the_thread_survives_a_beat_that_raises_and_a_defect_of_its_own",
            ),
        ),
        _heartbeat(
            "a thread that is gone is started again",
            "if self._thread is None or not self._thread.is_alive():",
            "if self._thread is None:",
            noticed_by=("tests/runtime/test_heartbeat.py::test_a_thread_that_is_gone_is_started_again",),
        ),
        _heartbeat(
            "there is one thread",
            "if self._thread is None or not self._thread.is_alive():",
            "if True:",
            noticed_by=("tests/runtime/test_heartbeat.py::test_there_is_one_thread_however_often_it_is_asked_for",),
        ),
        _heartbeat(
            "it keeps no interpreter from exiting",
            'target=self._run, name="ddb-lease-heartbeat", daemon=True)',
            'target=self._run, name="ddb-lease-heartbeat")',
            noticed_by=("tests/runtime/test_heartbeat.py::test_there_is_one_thread_however_often_it_is_asked_for",),
        ),
        Guard(
            name="nor do its workers",
            room="_runtime/workers.py",
            code="target=self._work, name=name, daemon=True)",
            without="target=self._work, name=name)",
            noticed_by=("tests/runtime/test_workers.py::test_workers_keep_no_interpreter_from_exiting",),
        ),
        _heartbeat(
            "adding makes sure that it runs",
            "        self.ensure_running()\n        self._ring(due)\n",
            "        self._ring(due)\n",
            noticed_by=("tests/runtime/test_heartbeat.py::test_adding_makes_sure_that_the_thread_runs",),
        ),
        _heartbeat(
            "what comes earlier ends its sleep",
            "        if due < self._asleep_until or",
            "        if",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_during_a_nap_only_what_is_due_before_its_end_rings_the_bell",
            ),
        ),
        _heartbeat(
            "what is brought forward ends its sleep",
            "        self._ring(self._move(beating))\n",
            "        self._move(beating)\n",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_until_the_nap_is_planned_whatever_is_scheduled_rings_the_bell",
            ),
        ),
        _heartbeat(
            "a clock that jumped is noticed by what is scheduled then",
            "due < self._asleep_until or self.overslept():",
            "due < self._asleep_until:",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_after_the_clock_has_jumped_whatever_is_scheduled_rings_the_bell",
            ),
        ),
        _heartbeat(
            "what is scheduled while a nap is planned ends it",
            "                self._asleep_until = math.inf\n",
            "                pass\n",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_what_is_scheduled_while_a_nap_is_planned_ends_that_nap",
            ),
        ),
        _heartbeat(
            "a machine that slept is noticed",
            "return self._clock.steady() - self._planned > LATE_SECONDS",
            "return False",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_waking_up_much_later_than_planned_means_that_the_process_was_not_running",
            ),
        ),
        _heartbeat(
            "a late turn is not taken for sleep",
            "LATE_SECONDS = 0.5\n",
            "LATE_SECONDS = -1.0\n",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_waking_up_much_later_than_planned_means_that_the_process_was_not_running",
            ),
        ),
        Guard(
            name="no nap is longer than a second",
            room="_runtime/heartbeat.py",
            code="return min(NAP_SECONDS, due_in, max(0.0, self.workers.relief_in()))",
            without="return min(due_in, max(0.0, self.workers.relief_in()))",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_no_nap_is_longer_than_a_sleeping_machine_may_go_unnoticed",
            ),
        ),
        Guard(
            name="a heartbeat that was held up sleeps for no negative time",
            room="_runtime/heartbeat.py",
            code="max(0.0, self.workers.relief_in())",
            without="self.workers.relief_in()",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_jobs_that_have_waited_for_long_leave_no_time_to_sleep_and_not_less_than_none",
            ),
        ),
        Guard(
            name="who asked too early when something is due asks again",
            room="_runtime/heartbeat.py",
            code="if self._schedule.move(beating, due, unless_moved_from=entry):",
            without="if self._schedule.move(beating, due):",
            noticed_by=("tests/runtime/test_heartbeat.py::test_who_asked_too_early_when_something_is_due_asks_again",),
        ),
        Guard(
            name="there is a worker left for a line that comes new",
            room="_runtime/workers.py",
            code="return max(1, MOST_WORKERS // (len(self._lines) + 1))",
            without="return MOST_WORKERS",
            noticed_by=(
                "tests/runtime/test_workers.py::test_however_many_lines_are_in_trouble_a_healthy_one_is_served",
            ),
        ),
        Guard(
            name="a worker that was not started is not idle",
            room="_runtime/workers.py",
            code="self._idle -= missing - started",
            without="pass",
            noticed_by=(
                "tests/runtime/test_workers.py::test_an_interrupt_while_a_worker_is_started_leaves_none_that_does_not_exist",
            ),
        ),
        Guard(
            name="a handler of the log ends no worker",
            room="_runtime/workers.py",
            code="    with contextlib.suppress(Exception):  # nor",
            without="    with contextlib.nullcontext():  # nor",
            noticed_by=("tests/runtime/test_workers.py::test_a_handler_of_the_log_that_raises_ends_no_worker",),
        ),
        Guard(
            name="a forked child forgets leases that ended too",
            room="bucket.py",
            code="for lease in list(self._made):",
            without="for lease in list(self._leases.values()):",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_a_forked_child_sends_no_release_for_a_lease_whose_release_failed_in_the_parent",
            ),
        ),
        Guard(
            name="naps are short while jobs wait",
            room="_runtime/heartbeat.py",
            code="return min(NAP_SECONDS, due_in, max(0.0, self.workers.relief_in()))",
            without="return min(NAP_SECONDS, due_in)",
            noticed_by=("tests/runtime/test_workers.py::test_a_job_that_has_waited_gets_a_worker_of_its_own",),
        ),
        _heartbeat(
            "what was dropped is due no more",
            "            self._due.pop(beating, None)\n            group",
            "            group",
            noticed_by=("tests/runtime/test_heartbeat.py::test_what_was_dropped_is_neither_due_nor_moved_back_in",),
        ),
        Guard(
            name="what was dropped is not moved back in",
            room="_runtime/heartbeat.py",
            code="if entry is None or unless_moved_from not in {None, entry}:",
            without="if unless_moved_from not in {None, entry}:",
            noticed_by=("tests/runtime/test_heartbeat.py::test_what_was_dropped_is_neither_due_nor_moved_back_in",),
        ),
        Guard(
            name="a worker has the last word on when its lease is due",
            room="_runtime/heartbeat.py",
            code="if entry is None or unless_moved_from not in {None, entry}:",
            without="if entry is None:",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_what_was_moved_meanwhile_is_not_moved_back",
                "tests/runtime/test_heartbeat.py::test_a_worker_that_is_done_before_the_turn_is_over_has_the_last_word",
            ),
        ),
        _heartbeat(
            "moving counts the last time only",
            "if self._due.get(beating) == (due, serial):",
            "if beating in self._due:",
            noticed_by=("tests/runtime/test_heartbeat.py::test_moving_counts_the_last_time_only",),
        ),
        _heartbeat(
            "things due at the same time are not compared",
            "entry = (due, next(self._serial))",
            "entry = (due, 0)",
            noticed_by=("tests/runtime/test_heartbeat.py::test_things_due_at_the_same_time_are_not_compared",),
        ),
        _heartbeat(
            "what was dropped is not kept in hints",
            "if len(self._heap) > STALE_ENTRIES + 2 * len(self._due):",
            "if False:",
            noticed_by=("tests/runtime/test_heartbeat.py::test_what_was_dropped_is_not_kept_in_memory",),
        ),
        Guard(
            name="a worker survives what its job raises",
            room="_runtime/workers.py",
            code="        except BaseException as error:  # noqa: BLE001 - a worker",
            without="        except ZeroDivisionError as error:  # noqa: BLE001 - a worker",
            noticed_by=("tests/runtime/test_workers.py::test_a_worker_survives_whatever_its_job_raises",),
        ),
        Guard(
            name="a job that has waited gets another worker",
            room="_runtime/workers.py",
            code="limit, self._relieved_at = MOST_WORKERS, self._clock.steady()",
            without="self._relieved_at = self._clock.steady()",
            noticed_by=("tests/runtime/test_workers.py::test_a_job_that_has_waited_gets_a_worker_of_its_own",),
        ),
        Guard(
            name="they are no more than a process can bear",
            room="_runtime/workers.py",
            code="limit, self._relieved_at = MOST_WORKERS, self._clock.steady()",
            without="limit, self._relieved_at = 10_000, self._clock.steady()",
            noticed_by=("tests/runtime/test_workers.py::test_there_are_never_more_workers_than_a_process_can_bear",),
        ),
        Guard(
            name="no worker is started while one is idle",
            room="_runtime/workers.py",
            code="for line in list(self._lines.values())) - self._idle",
            without="for line in list(self._lines.values()))",
            noticed_by=("tests/runtime/test_workers.py::test_no_worker_is_started_while_one_is_idle",),
        ),
        Guard(
            name="workers are few",
            room="_runtime/workers.py",
            code="            limit = self._limit\n",
            without="            limit = MOST_WORKERS\n",
            noticed_by=(
                "tests/runtime/test_workers.py::test_a_job_that_has_waited_gets_a_worker_of_its_own",
                "tests/runtime/test_workers.py::test_as_many_jobs_run_at_once_as_there_may_be_workers",
            ),
        ),
        Guard(
            name="those that helped out end",
            room="_runtime/workers.py",
            code="                    return  # it helped",
            without="                    pass  # it helped",
            noticed_by=("tests/runtime/test_workers.py::test_workers_that_helped_out_are_not_kept",),
        ),
        Guard(
            name="where no thread can be had the others do it",
            room="_runtime/workers.py",
            code="        except RuntimeError:  # no more threads",
            without="        except ZeroDivisionError:  # no more threads",
            noticed_by=("tests/runtime/test_workers.py::test_where_no_thread_can_be_started_the_others_do_it",),
        ),
        _heartbeat(
            "jobs that wait are looked after at each turn",
            "        self.workers.relieve()\n        now",
            "        now",
            noticed_by=(
                "tests/runtime/test_workers.py::test_a_job_that_has_waited_gets_a_worker_at_the_heartbeats_next_turn",
            ),
        ),
        Guard(
            name="a job is done soon",
            room="_runtime/workers.py",
            code="        self._rings.put(None)\n        self.relieve()\n",
            without="        self._rings.put(None)\n",
            noticed_by=("tests/runtime/test_workers.py::test_as_many_jobs_run_at_once_as_there_may_be_workers",),
        ),
        Guard(
            name="one line's trouble leaves workers to the others",
            room="_runtime/workers.py",
            code="return max(0, min(len(self.jobs), min(self.most, share) - self.running))",
            without="return len(self.jobs)",
            noticed_by=("tests/runtime/test_workers.py::test_one_lines_trouble_leaves_workers_to_the_others",),
        ),
        Guard(
            name="what does not hurry never keeps all workers",
            room="_runtime/workers.py",
            code="_Line(self._limit if line is None else MOST_IN_LINE)",
            without="_Line(MOST_IN_LINE)",
            noticed_by=("tests/runtime/test_workers.py::test_what_does_not_hurry_never_keeps_all_workers",),
        ),
        Guard(
            name="lines are served in turn",
            room="_runtime/workers.py",
            code="self._lines[key] = self._lines.pop(key)  #",
            without="pass  #",
            noticed_by=(
                "tests/runtime/test_workers.py::test_lines_are_served_in_turn_and_the_most_urgent_of_a_line_first",
            ),
        ),
        Guard(
            name="the most urgent of a line comes first",
            room="_runtime/workers.py",
            code="_Job(by, next(self._serial)",
            without="_Job(0.0, next(self._serial)",
            noticed_by=(
                "tests/runtime/test_workers.py::test_lines_are_served_in_turn_and_the_most_urgent_of_a_line_first",
            ),
        ),
        Guard(
            name="a line that is done is dropped",
            room="_runtime/workers.py",
            code="                del self._lines[key]\n",
            without="                pass\n",
            noticed_by=(
                "tests/runtime/test_workers.py::test_lines_are_served_in_turn_and_the_most_urgent_of_a_line_first",
            ),
        ),
        Guard(
            name="nothing hurries where no more workers may be started",
            room="_runtime/workers.py",
            code="if self._missing() <= 0 or self._idle + self._busy >= MOST_WORKERS:",
            without="if self._missing() <= 0:",
            noticed_by=("tests/runtime/test_workers.py::test_there_are_never_more_workers_than_a_process_can_bear",),
        ),
        Guard(
            name="a thread that cannot be started is not tried again at once",
            room="_runtime/workers.py",
            code="max(waiting_since, self._relieved_at)",
            without="waiting_since",
            noticed_by=("tests/runtime/test_workers.py::test_where_no_thread_can_be_started_the_others_do_it",),
        ),
    ),
)

PROCESSES = Chapter(
    title="Processes, connections and the line in which threads wait",
    guards=(
        Guard(
            name="a fork is told to who lives here",
            room="_runtime/process.py",
            code="        inhabitant.after_fork_in_child()\n",
            without="        pass\n",
            noticed_by=(
                "tests/runtime/test_crashes.py::test_a_forked_child_holds_nothing_releases_nothing_and_can_acquire_by_itself",
            ),
        ),
        Guard(
            name="a forked child has a heartbeat of its own",
            room="_runtime/process.py",
            code="    _heartbeats = None\n    for",
            without="    for",
            noticed_by=("tests/runtime/test_crashes.py::test_a_child_forked_while_every_lock_is_held_can_acquire",),
        ),
        Guard(
            name="an exit releases what is held",
            room="_runtime/process.py",
            code="        inhabitant.at_exit(deadline)\n",
            without="        pass\n",
            noticed_by=("tests/runtime/test_crashes.py::test_a_forked_child_releases_its_own_leases_when_it_ends",),
        ),
        Guard(
            name="an exit ends in bounded time",
            room="bucket.py",
            code="            if self._runtime.clock.steady() >= deadline:\n",
            without="            if False:\n",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_at_the_interpreters_exit_no_release_is_sent_after_the_time_for_it",
            ),
        ),
        Guard(
            name="one heartbeat serves a process",
            room="_runtime/process.py",
            code="        if _heartbeats is None:\n",
            without="        if True:\n",
            noticed_by=("tests/runtime/test_heartbeat.py::test_one_heartbeat_serves_a_process",),
        ),
        Guard(
            name="a forked child forgets its parent's leases",
            room="bucket.py",
            code="            lease.abandon_to_parent()\n",
            without="            pass\n",
            noticed_by=(
                "tests/runtime/test_crashes.py::test_a_forked_child_holds_nothing_releases_nothing_and_can_acquire_by_itself",
            ),
        ),
        Guard(
            name="a forked child forgets its parent's waiters",
            room="bucket.py",
            code="        self._hints.empty()\n",
            without="",
            noticed_by=("tests/runtime/test_crashes.py::test_a_child_forked_while_every_lock_is_held_can_acquire",),
        ),
        Guard(
            name="a forked child observes the time by itself",
            room="bucket.py",
            code="        self._state.time.after_fork_in_child()\n",
            without="",
            noticed_by=("tests/runtime/test_crashes.py::test_a_child_forked_while_every_lock_is_held_can_acquire",),
        ),
        Guard(
            name="a forked child shares no connection",
            room="dynamodb/store.py",
            code="        if self._forked:\n            self._renew_after_fork()\n",
            without="",
            noticed_by=(
                "tests/dynamodb/test_client.py::test_a_forked_child_makes_a_client_of_its_own_before_its_first_request_and_not_before",
                "tests/dynamodb/test_client.py::test_a_forked_child_drops_the_connections_of_a_client_of_the_users_own",
            ),
        ),
        Guard(
            name="timeouts stay under a third of a lease",
            room="dynamodb/client.py",
            code="return max(_SHORTEST, min(_LONGEST, lease_seconds / 10))",
            without="return 60.0",
            noticed_by=(
                "tests/dynamodb/test_client.py::test_timeouts_stay_under_a_third_of_the_lease_where_a_handshake_allows",
            ),
        ),
        Guard(
            name="a short lease has shorter timeouts",
            room="dynamodb/client.py",
            code="return max(_SHORTEST, min(_LONGEST, lease_seconds / 10))",
            without="return _LONGEST",
            noticed_by=(
                "tests/dynamodb/test_client.py::test_timeouts_stay_under_a_third_of_the_lease_where_a_handshake_allows",
            ),
        ),
        Guard(
            name="a client too slow for the lease is refused",
            room="dynamodb/client.py",
            code="    if longest > lease_seconds / 3:",
            without="    if longest > lease_seconds * 3_000:",
            noticed_by=(
                "tests/dynamodb/test_client.py::test_a_client_that_waits_longer_than_the_lease_allows_is_refused",
            ),
        ),
        Guard(
            name="the user's own client is not closed",
            room="dynamodb/store.py",
            code="        if self._connection.client is None:\n            self._close()\n",
            without="        self._close()\n",
            noticed_by=("tests/dynamodb/test_client.py::test_the_users_own_client_is_not_closed_with_the_bucket",),
        ),
    ),
)
