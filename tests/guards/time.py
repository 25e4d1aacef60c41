"""Time: what section 3 promises of clocks, deadlines and margins."""

from tests.guards.guard import Chapter, Guard


def _clock(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="_state/service_time.py", code=code, without=without, noticed_by=noticed_by)


def _timing(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="_protocol/records.py", code=code, without=without, noticed_by=noticed_by)


def _attempt(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="_operations/acquire.py", code=code, without=without, noticed_by=noticed_by)


CLOCKS = Chapter(
    title="Bounds on the service's clock",
    guards=(
        _clock(
            "the steady clock counts suspended time",
            "time.clock_gettime(time.CLOCK_BOOTTIME)",
            "time.clock_gettime(time.CLOCK_MONOTONIC)",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_steady_clock_is_the_one_that_counts_suspended_time",
            ),
        ),
        _clock(
            "the service's time is no later than the answer",
            "low=date - received - drift",
            "low=date - sent - drift",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        _clock(
            "a Date is cut to a second",
            "high=date + 1.0 - sent + drift",
            "high=date - sent + drift",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        _clock(
            "a Date is no earlier than the sending",
            "high=date + 1.0 - sent + drift",
            "high=date + 1.0 - received + drift",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        _clock(
            "the clocks may drift while a request is under way",
            "drift = OSCILLATOR_DRIFT * max(0.0, received - sent)",
            "drift = 0.0",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        _clock(
            "bounds widen with time",
            "grown = OSCILLATOR_DRIFT * max(0.0, now - self.at)",
            "grown = 0.0",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        _clock(
            "bounds never shrink by an answer out of order",
            "max(0.0, now - self.at)",
            "(now - self.at)",
            noticed_by=(
                "tests/state/test_service_time.py::test_an_interval_does_not_shrink_when_an_answer_arrives_out_of_order",
            ),
        ),
        _clock(
            "answers narrow the bounds",
            "low, high = max(self.low, other.low), min(self.high, other.high)",
            "low, high = min(self.low, other.low), max(self.high, other.high)",
            noticed_by=(
                "tests/state/test_service_time.py::test_bounds_narrow_with_each_answer_to_what_all_of_them_allow",
            ),
        ),
        Guard(
            name="two answers stand for the lower bound",
            room="_state/service_time.py",
            code="low, high = max(two.low, low), min(two.high, high)",
            without="low, high = max(one.low, sample.low), min(two.high, high)",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_odd_date_of_whatever_size_leaves_the_truth_within_the_bounds",
            ),
        ),
        Guard(
            name="two answers stand for the upper bound",
            room="_state/service_time.py",
            code="low, high = max(two.low, low), min(two.high, high)",
            without="low, high = max(two.low, low), min(one.high, sample.high)",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_odd_date_of_whatever_size_leaves_the_truth_within_the_bounds",
            ),
        ),
        Guard(
            name="of two answers both may be the odd one",
            room="_state/service_time.py",
            code="low, high = min(one.low, sample.low), max(one.high, sample.high)",
            without="low, high = met.low, met.high",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_odd_date_of_whatever_size_leaves_the_truth_within_the_bounds",
            ),
        ),
        Guard(
            name="one odd answer is not believed",
            room="_state/service_time.py",
            code="(trusted if self.doubt is None else trusted.hull(self.doubt)).widened(now)",
            without="(trusted if self.doubt is None else self.doubt).widened(now)",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_odd_date_neither_makes_a_lease_look_expired_nor_blinds",
            ),
        ),
        Guard(
            name="one odd answer is not ignored",
            room="_state/service_time.py",
            code="(trusted if self.doubt is None else trusted.hull(self.doubt)).widened(now)",
            without="trusted.widened(now)",
            noticed_by=("tests/state/test_service_time.py::test_an_odd_first_answer_steals_nothing_and_is_overruled",),
        ),
        _clock(
            "doubt covers all that was said",
            "doubt = sample if self.doubt is None else self.doubt.widened(now).hull(sample)",
            "doubt = sample",
            noticed_by=(
                "tests/state/test_service_time.py::test_doubt_covers_all_that_was_said_since_the_first_contradiction",
            ),
        ),
        _clock(
            "three answers must agree",
            "AGREEING = 3\n",
            "AGREEING = 2\n",
            noticed_by=(
                "tests/state/test_service_time.py::test_odd_answers_that_contradict_one_another_begin_to_count_anew",
            ),
        ),
        Guard(
            name="they must agree with one another",
            room="_state/service_time.py",
            code="rival = rival or Evidence.of(sample)",
            without="rival = rival or (replace(self.rival, answers=self.rival.answers + 1) if self.rival else Evidence.of(sample))",
            noticed_by=("tests/state/test_service_time.py::test_scattered_odd_dates_never_outvote_what_was_known",),
        ),
        Guard(
            name="they are believed in the end",
            room="_state/service_time.py",
            code="return Offset(rival, overruled=trusted) if overruled else Offset(trusted, rival, doubt)",
            without="return Offset(trusted, rival, doubt)",
            noticed_by=("tests/state/test_service_time.py::test_an_odd_first_answer_steals_nothing_and_is_overruled",),
        ),
        Guard(
            name="what confirms the known ends the doubt",
            room="_state/service_time.py",
            code="if agreed is not None and rival is None:",
            without="if agreed is not None and rival is None and self.doubt is None:",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_odd_date_neither_makes_a_lease_look_expired_nor_blinds",
            ),
        ),
        Guard(
            name="an answer that serves both sides does not end the doubt",
            room="_state/service_time.py",
            code="if agreed is not None and rival is None:",
            without="if agreed is not None:",
            noticed_by=(
                "tests/state/test_service_time.py::test_an_answer_that_fits_what_was_known_and_its_rival_ends_no_doubt",
            ),
        ),
        Guard(
            name="a deadline comes forward where the steady clock stood still",
            room="_state/service_time.py",
            code="return known.high + drift - offset if known.low - drift > offset else 0.0",
            without="return 0.0",
            noticed_by=(
                "tests/state/test_service_time.py::test_a_clock_that_stood_still_brings_deadlines_forward_by_at_least_as_much",
            ),
        ),
        Guard(
            name="by as much as it may have missed",
            room="_state/service_time.py",
            code="return known.high + drift - offset if",
            without="return known.low - drift - offset if",
            noticed_by=(
                "tests/state/test_service_time.py::test_a_clock_that_stood_still_brings_deadlines_forward_by_at_least_as_much",
            ),
        ),
        Guard(
            name="and only where it surely did",
            room="_state/service_time.py",
            code="if known.low - drift > offset else 0.0",
            without="if known.high + drift > offset else 0.0",
            noticed_by=(
                "tests/state/test_service_time.py::test_front_ends_a_second_apart_move_no_deadline_by_more_than_that_however_often_they_take_turns",
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        Guard(
            name="by what answers that agree say",
            room="_state/service_time.py",
            code="if state is None or not state.confirmed:\n            return 0.0\n        known = state.trusted.by_two\n        drift = OSCILLATOR_DRIFT * max(0.0, self._clock.steady() - known.at)",
            without="if state is None or not state.confirmed:\n            return 0.0\n        known = state.bounds(self._clock.steady())\n        drift = 0.0",
            noticed_by=("tests/state/test_service_time.py::test_an_odd_answer_after_a_stall_does_not_make_it_undone",),
        ),
        Guard(
            name="front ends that differ are no missed time",
            room="_state/service_time.py",
            code="if missed > self.front_end_skew:",
            without="if missed > 0.0:",
            noticed_by=(
                "tests/state/test_service_time.py::test_front_ends_that_differ_by_what_the_timing_says_are_no_missed_time",
            ),
        ),
        Guard(
            name="a belief ends earlier where the clock stood still",
            room="_protocol/lease_state.py",
            code="return self._planned - self._late_by(self._offset)\n\n",
            without="return self._planned\n\n",
            noticed_by=(
                "tests/test_lease_holding.py::test_heartbeats_come_forward_with_the_deadlines",
                "tests/state/test_service_time.py::test_while_another_may_claim_the_holder_does_not_believe",
                "tests/protocol/test_lease_state.py::test_a_belief_ends_as_much_earlier_as_the_service_turns_out_to_be_ahead",
            ),
        ),
        Guard(
            name="each renewal is held against its own offset",
            room="_protocol/lease_state.py",
            code="self._planned, self._offset = renewal.deadline, offset",
            without="self._planned = renewal.deadline",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_renewal_written_by_the_time_as_it_is_comes_no_earlier",
            ),
        ),
        Guard(
            name="renewals come forward with the deadline",
            room="_protocol/lease_state.py",
            code="return min(self.renew_at, self._planned) - self._late_by(self._offset)",
            without="return min(self.renew_at, self._planned - self._late_by(self._offset))",
            noticed_by=("tests/test_lease_holding.py::test_heartbeats_come_forward_with_the_deadlines",),
        ),
        Guard(
            name="no renewal is written in doubt while there is time",
            room="lease.py",
            code="return WIDE_SECONDS if left > self._seconds * _ASKING_LEAVES else",
            without="return math.inf if left > self._seconds * _ASKING_LEAVES else",
            noticed_by=(
                "tests/test_lease_holding.py::test_a_renewal_that_cannot_have_doubt_cleared_is_put_off_as_long_as_there_is_time",
            ),
        ),
        Guard(
            name="no renewal lies further ahead than another lease",
            room="lease.py",
            code="else max(WIDE_SECONDS, self._seconds)",
            without="else math.inf",
            noticed_by=(
                "tests/test_lease_holding.py::test_where_time_is_short_a_renewal_does_not_wait_for_that_but_lies_no_further_ahead_than_a_lease",
            ),
        ),
        Guard(
            name="no claim is written in doubt",
            room="_operations/acquire.py",
            code="if state.time.wider_than(WIDE_SECONDS):",
            without="if False:",
            noticed_by=(
                "tests/test_lease_holding.py::test_no_claim_is_sent_while_answers_that_contradict_one_another_are_all_that_can_be_had",
            ),
        ),
        Guard(
            name="two answers overrule a single first one",
            room="_state/service_time.py",
            code="overruled = rival.answers >= min(AGREEING, trusted.answers + 1)",
            without="overruled = rival.answers >= AGREEING",
            noticed_by=(
                "tests/state/test_service_time.py::test_an_odd_first_answer_steals_nothing_and_is_overruled",
                "tests/state/test_service_time.py::test_two_odd_answers_do_not_outvote_two_honest_ones_between_them",
            ),
        ),
        Guard(
            name="front ends differ by what the timing says",
            room="bucket.py",
            code="            front_end_skew=self._timing.front_end_skew,\n",
            without="",
            noticed_by=(
                "tests/test_timing.py::test_a_bucket_takes_the_front_ends_difference_and_the_wall_clocks_from_its_timing",
            ),
        ),
        _clock(
            "heartbeats are told",
            "return after.overruled is not None or (before.doubt is None) != (after.doubt is None)",
            "return False",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_odd_date_neither_makes_a_lease_look_expired_nor_blinds",
            ),
        ),
        _clock(
            "they are told when doubt ends",
            "(before.doubt is None) != (after.doubt is None)",
            "(before.doubt is None and after.doubt is not None)",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_odd_date_neither_makes_a_lease_look_expired_nor_blinds",
            ),
        ),
        Guard(
            name="nothing is known before the first answer",
            room="_state/service_time.py",
            code="return self._offset is not None or self._by_wall",
            without="return True",
            noticed_by=("tests/state/test_service_time.py::test_nothing_is_known_before_the_first_answer",),
        ),
        _clock(
            "one answer without a Date does not make the wall clock trusted",
            "self._dateless >= AGREEING",
            "self._dateless >= 1",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_answer_without_a_date_does_not_make_the_wall_clock_trusted",
            ),
        ),
        Guard(
            name="three of them must come in a row",
            room="_state/service_time.py",
            code="            self._dateless = 0\n",
            without="",
            noticed_by=(
                "tests/state/test_service_time.py::test_answers_without_a_date_make_the_wall_clock_trusted_only_in_a_row",
            ),
        ),
        _clock(
            "the wall clock serves where no answer has a Date",
            "self._dateless += 1\n",
            "self._dateless += 0\n",
            noticed_by=(
                "tests/state/test_service_time.py::test_without_a_date_the_wall_clock_serves_and_one_warning_says_so",
            ),
        ),
        _clock(
            "the wall clock is right within max_clock_skew only, below",
            "math.floor((wall - self.max_clock_skew) * 1000)",
            "math.floor(wall * 1000)",
            noticed_by=(
                "tests/state/test_service_time.py::test_without_a_date_the_wall_clock_serves_and_one_warning_says_so",
            ),
        ),
        _clock(
            "the wall clock is right within max_clock_skew only, above",
            "math.ceil((wall + self.max_clock_skew) * 1000)",
            "math.ceil(wall * 1000)",
            noticed_by=(
                "tests/state/test_service_time.py::test_without_a_date_the_wall_clock_serves_and_one_warning_says_so",
            ),
        ),
        _clock(
            "the fallback is logged",
            "            _log.warning(\n                \"the service's answers carry",
            "            _log.debug(\n                \"the service's answers carry",
            noticed_by=(
                "tests/state/test_service_time.py::test_without_a_date_the_wall_clock_serves_and_one_warning_says_so",
            ),
        ),
        Guard(
            name="a first Date that no other confirms gives way to the wall clock",
            room="_state/service_time.py",
            code="        if self.confirmed:\n            return\n",
            without="        if self._offset is not None:\n            return\n",
            noticed_by=(
                "tests/state/test_service_time.py::test_a_first_date_that_no_other_confirms_blinds_nobody_for_ever",
            ),
        ),
        Guard(
            name="it is then no more the measure",
            room="_state/service_time.py",
            code="            self._offset = None  # a single",
            without="            # a single",
            noticed_by=(
                "tests/state/test_service_time.py::test_a_first_date_that_no_other_confirms_blinds_nobody_for_ever",
            ),
        ),
        Guard(
            name="one Date does not replace the wall clock",
            room="_state/service_time.py",
            code="        if self._candidate.trusted.answers < AGREEING:\n            return False\n",
            without="",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_answer_with_a_date_among_those_without_changes_nothing",
                "tests/state/test_service_time.py::test_dates_that_agree_replace_the_wall_clock",
            ),
        ),
        Guard(
            name="Dates that replace it come in a row",
            room="_state/service_time.py",
            code="        self._candidate = None\n        if self.confirmed:",
            without="        if self.confirmed:",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_answer_with_a_date_among_those_without_changes_nothing",
            ),
        ),
        Guard(
            name="Dates that replace it agree with one another",
            room="_state/service_time.py",
            code="self._candidate = Offset(agreed) if agreed else Offset.first(sample)",
            without="self._candidate = Offset(agreed) if agreed else (replace(self._candidate, trusted=replace(self._candidate.trusted, answers=self._candidate.trusted.answers + 1)) if self._candidate else Offset.first(sample))",
            noticed_by=("tests/state/test_service_time.py::test_dates_that_agree_replace_the_wall_clock",),
        ),
        Guard(
            name="Dates that agree replace the wall clock",
            room="_state/service_time.py",
            code="        self._offset, self._candidate = self._candidate, None\n        return True",
            without="        return True",
            noticed_by=("tests/state/test_service_time.py::test_dates_that_agree_replace_the_wall_clock",),
        ),
        Guard(
            name="wide bounds are to be asked about",
            room="_state/service_time.py",
            code=" or self.wider_than(WIDE_SECONDS)",
            without="",
            noticed_by=("tests/state/test_service_time.py::test_bounds_that_idling_has_widened_are_to_be_asked_about",),
        ),
        Guard(
            name="contradictions are to be asked about",
            room="_state/service_time.py",
            code="return self.doubtful or self.wider_than(",
            without="return self.wider_than(",
            noticed_by=("tests/state/test_service_time.py::test_contradicting_answers_are_to_be_asked_about",),
        ),
        _clock(
            "a lease has expired only below the lower bound",
            "return self.now_ms()[0] if offset is None or offset.confirmed else 0",
            "return self.now_ms()[1] if offset is None or offset.confirmed else 0",
            noticed_by=("tests/state/test_service_time.py::test_the_first_answer_alone_shows_no_lease_as_expired",),
        ),
        _clock(
            "none has before two answers agree",
            "return self.now_ms()[0] if offset is None or offset.confirmed else 0",
            "return self.now_ms()[0]",
            noticed_by=("tests/state/test_service_time.py::test_the_first_answer_alone_shows_no_lease_as_expired",),
        ),
        _clock(
            "the lower bound is rounded down",
            "math.floor((now + bounds.low) * 1000)",
            "math.ceil((now + bounds.low) * 1000)",
            noticed_by=("tests/state/test_service_time.py::test_a_bound_is_not_rounded_beyond_what_it_bounds",),
        ),
        _clock(
            "the upper bound is rounded up",
            "math.ceil((now + bounds.high) * 1000)",
            "math.floor((now + bounds.high) * 1000)",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        _clock(
            "a forked child waits for no lock of its parent's",
            'held the lock."""\n        self._lock = threading.RLock()',
            'held the lock."""\n        self._lock',
            noticed_by=(
                "tests/state/test_service_time.py::test_after_a_fork_the_child_can_observe_though_the_parent_held_the_lock",
            ),
        ),
        Guard(
            name="time is learnt from genuine answers only",
            room="dynamodb/answers.py",
            code="        return False, None  # a proxy",
            without="        pass  # a proxy",
            noticed_by=("tests/dynamodb/test_answers.py::test_what_did_not_come_from_the_service_leaves_it_unknown",),
        ),
        Guard(
            name="the driver learns from genuine answers only",
            room="_runtime/driver.py",
            code="if reply.genuine and self._time.observe(",
            without="if self._time.observe(",
            noticed_by=("tests/runtime/test_driver.py::test_answers_of_others_than_the_service_teach_no_time",),
        ),
        Guard(
            name="the driver takes the time before sending",
            room="_runtime/driver.py",
            code="        sent = self._time.steady()\n        reply = self._sender.send(request)\n",
            without="        reply = self._sender.send(request)\n        sent = self._time.steady()\n",
            noticed_by=(
                "tests/runtime/test_driver.py::test_the_time_of_a_request_is_taken_before_sending_and_after_its_answer",
            ),
        ),
        Guard(
            name="who asked is told of a jump",
            room="_runtime/driver.py",
            code="            self.on_moved()\n",
            without="            pass\n",
            noticed_by=(
                "tests/runtime/test_driver.py::test_who_asked_is_told_when_deadlines_moved_or_doubt_came_up_or_ended",
            ),
        ),
        Guard(
            name="answers that disagree are asked about at once",
            room="bucket.py",
            code="            heartbeats.workers.submit(self._clear_doubt, line=self._driver)",
            without="            pass",
            noticed_by=("tests/test_lease_holding.py::test_answers_that_disagree_are_asked_about_at_once",),
        ),
        Guard(
            name="heartbeats look again when deadlines moved",
            room="bucket.py",
            code="        heartbeats.reconsider_all()",
            without="        pass",
            noticed_by=("tests/test_lease_holding.py::test_heartbeats_come_forward_with_the_deadlines",),
        ),
    ),
)

MARGINS = Chapter(
    title="Deadlines and margins",
    guards=(
        _timing(
            "the margin covers the front ends' difference",
            "return self.front_end_skew + drift + self.grace_for",
            "return drift + self.grace_for",
            noticed_by=("tests/test_timing.py::test_the_margin_is_what_front_ends_oscillators_and_the_callback_need",),
        ),
        _timing(
            "the margin covers both oscillators' drift",
            "drift = 2 * OSCILLATOR_DRIFT * lease_seconds",
            "drift = 0.0",
            noticed_by=("tests/test_timing.py::test_the_margin_is_what_front_ends_oscillators_and_the_callback_need",),
        ),
        _timing(
            "the margin covers the lost-callback's time",
            "return self.front_end_skew + drift + self.grace_for(lease_seconds)",
            "return self.front_end_skew + drift",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew",
            ),
        ),
        _timing(
            "a lease of less than three margins is refused",
            "        if not lease_seconds >= least:",
            "        if not lease_seconds >= least / 3:",
            noticed_by=("tests/test_timing.py::test_a_lease_has_room_for_three_margins_or_is_refused",),
        ),
        _timing(
            "the retention is at least an hour",
            '"retention": 3600',
            '"retention": 0',
            noticed_by=("tests/test_timing.py::test_each_part_has_a_least_and_is_a_number",),
        ),
        _timing(
            "oscillators are trusted within 200 ppm",
            "OSCILLATOR_DRIFT = 200e-6",
            "OSCILLATOR_DRIFT = 20e-6",
            noticed_by=(
                "tests/state/test_service_time.py::test_bounds_widen_by_200_ppm_of_the_time_since_the_last_answer",
            ),
        ),
        _attempt(
            "the first deadline counts from before the sending",
            "        started = state.time.steady()\n        _, now_hi = state.time.now_ms()\n",
            "        _, now_hi = state.time.now_ms()\n        started = state.time.steady() + 0.5\n",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_the_lease_found_after_a_lost_answer_is_believed_no_longer_than_its_first_sending_allows",
            ),
        ),
        _attempt(
            "the first deadline leaves the margin",
            "deadline=started + lease_ms / 1000 - state.timing.margin_for(lease_ms / 1000)",
            "deadline=started + lease_ms / 1000",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_the_lease_found_after_a_lost_answer_is_believed_no_longer_than_its_first_sending_allows",
            ),
        ),
        _attempt(
            "the first expiry counts from the upper bound",
            "expires_at=now_hi + lease_ms,",
            "expires_at=state.time.now_ms()[0] + lease_ms,",
            noticed_by=("tests/test_lease_holding.py::test_a_renewal_moves_expiry_and_ttl",),
        ),
        _attempt(
            "a claim goes by the lower bound",
            "lease=_claimant(grant),\n            expired_before=state.time.expired_before_ms(),\n            ttl=state.ttl(now_hi, expires_at=grant.expires_at, fence=grant.fence),\n        )",
            "lease=_claimant(grant),\n            expired_before=now_hi,\n            ttl=state.ttl(now_hi, expires_at=grant.expires_at, fence=grant.fence),\n        )",
            noticed_by=("tests/test_lease_holding.py::test_a_guess_takes_no_lease_that_may_still_run",),
        ),
        _attempt(
            "no claim before the time is known",
            "                yield from self._learn_time()\n",
            "",
            noticed_by=("tests/test_lease_holding.py::test_a_single_answer_without_a_date_steals_no_lease",),
        ),
        Guard(
            name="doubt is cleared before a claim",
            room="_operations/acquire.py",
            code="        yield from self._be_sure_of_the_time()\n        state.hints",
            without="        state.hints",
            noticed_by=(
                "tests/test_lease_holding.py::test_after_hours_of_idling_the_time_is_asked_for_before_a_claim",
            ),
        ),
        Guard(
            name="doubt is cleared before a mint",
            room="_operations/acquire.py",
            code="        yield from self._be_sure_of_the_time()\n        grant",
            without="        grant",
            noticed_by=("tests/test_lease_holding.py::test_a_mint_waits_until_answers_agree_on_the_time_again",),
        ),
        Guard(
            name="nothing is made by a time that only one answer told",
            room="_operations/acquire.py",
            code="        yield from confirm(time)\n        if not time.confirmed:\n            raise Stop(Unavailable(cause=TIME_UNKNOWN))\n",
            without="        yield from confirm(time)\n",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_nothing_is_made_or_claimed_by_a_time_that_only_one_answer_told",
            ),
        ),
        Guard(
            name="a second answer is asked for before anything is made",
            room="_operations/acquire.py",
            code="        yield from confirm(time)\n        if not time.confirmed:\n",
            without="        if not time.confirmed:\n",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_a_mint_waits_until_a_second_answer_stands_for_the_time",
                "tests/operations/test_acquire_costs.py::test_a_creation_waits_until_a_second_answer_stands_for_the_time",
            ),
        ),
        Guard(
            name="a creation is sure of the time",
            room="_operations/acquire.py",
            code="        yield from self._be_sure_of_the_time()\n        _, now_hi",
            without="        _, now_hi",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_a_creation_waits_until_a_second_answer_stands_for_the_time",
            ),
        ),
        Guard(
            name="doubt is cleared before a renewal",
            room="lease.py",
            code="        if time.unsettled:\n            asking = settle(",
            without="        if False:\n            asking = settle(",
            noticed_by=("tests/test_lease_holding.py::test_a_renewal_waits_until_answers_agree_on_the_time_again",),
        ),
        Guard(
            name="as long as there is time",
            room="lease.py",
            code="settle(time, until=self._time_may_be_asked_until())",
            without="settle(time)",
            noticed_by=(
                "tests/test_lease_holding.py::test_where_time_is_short_a_renewal_does_not_wait_for_that_but_lies_no_further_ahead_than_a_lease",
            ),
        ),
        Guard(
            name="the time is asked for a few times at most",
            room="_operations/sync_time.py",
            code="    for _ in range(times):",
            without="    for _ in range(1_000):",
            noticed_by=("tests/operations/test_sync_time.py::test_it_asks_a_few_times_at_most",),
        ),
        Guard(
            name="and only where something is wanting",
            room="_operations/sync_time.py",
            code="if not wanting() or",
            without="if",
            noticed_by=("tests/operations/test_sync_time.py::test_it_asks_only_while_something_is_wanting",),
        ),
        Guard(
            name="and not beyond its time",
            room="_operations/sync_time.py",
            code=" or time.steady() >= until",
            without="",
            noticed_by=("tests/operations/test_sync_time.py::test_it_asks_no_longer_than_it_may",),
        ),
        Guard(
            name="a first claim waits for a second answer",
            room="_operations/sync_time.py",
            code="lambda: not time.confirmed or time.unsettled",
            without="lambda: time.unsettled",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_the_first_acquire_of_a_client_on_an_old_bucket_looks_and_claims",
            ),
        ),
        Guard(
            name="doubt is cleared before a grant is handed out",
            room="_operations/acquire.py",
            code="                yield from settle(self._state.time)\n",
            without="",
            noticed_by=("tests/test_lease_holding.py::test_a_claim_whose_answer_is_odd_is_kept_once_others_say_so",),
        ),
        _attempt(
            "no grant is handed out in doubt",
            "if time.doubtful or time.steady()",
            "if time.steady()",
            noticed_by=(
                "tests/test_lease_holding.py::test_a_claim_during_which_the_steady_clock_stood_still_is_not_handed_out",
            ),
        ),
        _attempt(
            "no grant is handed out after its own deadline",
            " or time.steady() >= grant.deadline:",
            ":",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew",
            ),
        ),
        Guard(
            name="no expiry far ahead is kept",
            room="_operations/acquire.py",
            code="return known_by - margin <= written_by <= known_by + FAR_AHEAD_SECONDS",
            without="return known_by - margin <= written_by",
            noticed_by=(
                "tests/test_lease_holding.py::test_a_lease_whose_expiry_turns_out_to_lie_far_ahead_is_given_up",
            ),
        ),
        Guard(
            name="no expiry that comes too early is kept",
            room="_operations/acquire.py",
            code="return known_by - margin <= written_by <= known_by + FAR_AHEAD_SECONDS",
            without="return written_by <= known_by + FAR_AHEAD_SECONDS",
            noticed_by=("tests/test_lease_holding.py::test_a_claim_by_a_time_that_turns_out_to_be_early_is_given_up",),
        ),
        _attempt(
            "a full bucket seen before the time is confirmed is looked at again",
            "case NothingFree() if step.next_expiry is not None and not state.time.confirmed:",
            "case NothingFree() if False:",
            noticed_by=("tests/test_lease_holding.py::test_a_newcomer_takes_an_expired_lease_at_once",),
        ),
    ),
)
