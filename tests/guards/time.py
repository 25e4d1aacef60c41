"""Time: what section 3 promises of clocks, deadlines and margins."""

from tests.guards.guard import Chapter, Guard


def _clock(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="clock.py", code=code, without=without, noticed_by=noticed_by)


def _timing(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="model.py", code=code, without=without, noticed_by=noticed_by)


def _attempt(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="acquisition.py", code=code, without=without, noticed_by=noticed_by)


CLOCKS = Chapter(
    title="Bounds on the service's clock",
    guards=(
        _clock(
            "the steady clock counts suspended time",
            "time.clock_gettime(time.CLOCK_BOOTTIME)",
            "time.clock_gettime(time.CLOCK_MONOTONIC)",
            noticed_by=("tests/test_clock.py::test_the_steady_clock_is_the_one_that_counts_suspended_time",),
        ),
        _clock(
            "the service's time is no later than the answer",
            "low=date - received - drift",
            "low=date - sent - drift",
            noticed_by=("tests/test_clock.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",),
        ),
        _clock(
            "a Date is cut to a second",
            "high=date + 1.0 - sent + drift",
            "high=date - sent + drift",
            noticed_by=("tests/test_clock.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",),
        ),
        _clock(
            "a Date is no earlier than the sending",
            "high=date + 1.0 - sent + drift",
            "high=date + 1.0 - received + drift",
            noticed_by=("tests/test_clock.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",),
        ),
        _clock(
            "the clocks may drift while a request is under way",
            "drift = OSCILLATOR_DRIFT * max(0.0, received - sent)",
            "drift = 0.0",
            noticed_by=("tests/test_clock.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",),
        ),
        _clock(
            "bounds widen with time",
            "grown = OSCILLATOR_DRIFT * max(0.0, now - self.at)",
            "grown = 0.0",
            noticed_by=("tests/test_clock.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",),
        ),
        _clock(
            "bounds never shrink by an answer out of order",
            "max(0.0, now - self.at)",
            "(now - self.at)",
            noticed_by=("tests/test_clock.py::test_an_interval_does_not_shrink_when_an_answer_arrives_out_of_order",),
        ),
        _clock(
            "answers narrow the bounds",
            "low, high = max(self.low, other.low), min(self.high, other.high)",
            "low, high = min(self.low, other.low), max(self.high, other.high)",
            noticed_by=("tests/test_clock.py::test_bounds_narrow_with_each_answer_to_what_all_of_them_allow",),
        ),
        _clock(
            "one odd answer is not believed",
            "self.trusted.hull(self.doubt)).widened(now)",
            "self.doubt).widened(now)",
            noticed_by=("tests/test_clock.py::test_one_odd_date_neither_makes_a_lease_look_expired_nor_blinds",),
        ),
        _clock(
            "one odd answer is not ignored",
            "(self.trusted if self.doubt is None else self.trusted.hull(self.doubt)).widened(now)",
            "self.trusted.widened(now)",
            noticed_by=("tests/test_clock.py::test_an_odd_first_answer_steals_nothing_and_is_overruled",),
        ),
        _clock(
            "doubt covers all that was said",
            "doubt = sample if self.doubt is None else self.doubt.widened(now).hull(sample)",
            "doubt = sample",
            noticed_by=("tests/test_clock.py::test_doubt_covers_all_that_was_said_since_the_first_contradiction",),
        ),
        _clock(
            "three answers must agree",
            "AGREEING = 3\n",
            "AGREEING = 2\n",
            noticed_by=("tests/test_clock.py::test_odd_answers_that_contradict_one_another_begin_to_count_anew",),
        ),
        _clock(
            "they must agree with one another",
            "agreeing=self.agreeing + 1 if supports else 1",
            "agreeing=self.agreeing + 1",
            noticed_by=("tests/test_clock.py::test_scattered_odd_dates_never_outvote_what_was_known",),
        ),
        _clock(
            "they are believed in the end",
            "if contested.agreeing < AGREEING or contested.rival is None:",
            "if True:",
            noticed_by=("tests/test_clock.py::test_an_odd_first_answer_steals_nothing_and_is_overruled",),
        ),
        _clock(
            "what confirms the known ends the doubt",
            "if agreed is not None and supports is None:",
            "if agreed is not None and supports is None and self.doubt is None:",
            noticed_by=("tests/test_clock.py::test_one_odd_date_neither_makes_a_lease_look_expired_nor_blinds",),
        ),
        _clock(
            "an answer that serves both sides does not end the doubt",
            "if agreed is not None and supports is None:",
            "if agreed is not None:",
            noticed_by=("tests/test_clock.py::test_an_answer_that_fits_what_was_known_and_its_rival_ends_no_doubt",),
        ),
        _clock(
            "a clock that stood still brings deadlines forward",
            "jump = max(0.0, moved.high - trusted.low) if moved.low > top else 0.0",
            "jump = 0.0",
            noticed_by=(
                "tests/test_clock.py::test_a_clock_that_stood_still_brings_deadlines_forward_by_at_least_as_much",
            ),
        ),
        _clock(
            "by as much as it may have missed",
            "jump = max(0.0, moved.high - trusted.low)",
            "jump = max(0.0, moved.low - trusted.high)",
            noticed_by=(
                "tests/test_clock.py::test_a_clock_that_stood_still_brings_deadlines_forward_by_at_least_as_much",
            ),
        ),
        _clock(
            "front ends that differ bring none forward twice",
            "if moved.low > top else 0.0",
            "if moved.low > trusted.high else 0.0",
            noticed_by=("tests/test_clock.py::test_front_ends_a_second_apart_move_deadlines_by_a_bounded_time",),
        ),
        _clock(
            "a wide first answer hides no later stall",
            "return min(max(top, trusted.high), trusted.high + FRONT_ENDS_DIFFER)",
            "return max(top, trusted.high)",
            noticed_by=("tests/test_clock.py::test_a_slow_first_answer_does_not_hide_a_later_stall",),
        ),
        _clock(
            "deadlines come forward by the jump",
            "self._jumped += jump",
            "self._jumped += 0.0",
            noticed_by=(
                "tests/test_clock.py::test_a_clock_that_stood_still_brings_deadlines_forward_by_at_least_as_much",
            ),
        ),
        _clock(
            "they are measured with it",
            "return self._clock.steady() + self._jumped",
            "return self._clock.steady()",
            noticed_by=(
                "tests/test_clock.py::test_a_clock_that_stood_still_brings_deadlines_forward_by_at_least_as_much",
            ),
        ),
        _clock(
            "a request is timed without it",
            'not for deadlines."""\n        return self._clock.steady()',
            'not for deadlines."""\n        return self.steady()',
            noticed_by=("tests/test_clock.py::test_an_odd_first_answer_steals_nothing_and_is_overruled",),
        ),
        _clock(
            "heartbeats are told",
            "moved = jump > 0 or (before.doubt is None) != (self._offset.doubt is None)",
            "moved = False",
            noticed_by=("tests/test_clock.py::test_one_odd_date_neither_makes_a_lease_look_expired_nor_blinds",),
        ),
        _clock(
            "they are told when doubt ends",
            "!= (self._offset.doubt is None)",
            "and (self._offset.doubt is not None)",
            noticed_by=("tests/test_clock.py::test_one_odd_date_neither_makes_a_lease_look_expired_nor_blinds",),
        ),
        _clock(
            "nothing is known before the first answer",
            "return self._offset is not None or self._without_dates",
            "return True",
            noticed_by=("tests/test_clock.py::test_nothing_is_known_before_the_first_answer",),
        ),
        _clock(
            "one answer without a Date does not make the wall clock trusted",
            "self._dateless >= AGREEING",
            "self._dateless >= 1",
            noticed_by=("tests/test_clock.py::test_one_answer_without_a_date_does_not_make_the_wall_clock_trusted",),
        ),
        _clock(
            "the wall clock serves where no answer has a Date",
            "self._dateless += 1\n",
            "self._dateless += 0\n",
            noticed_by=("tests/test_clock.py::test_without_a_date_the_wall_clock_serves_and_one_warning_says_so",),
        ),
        _clock(
            "the wall clock is right within max_clock_skew only, below",
            "math.floor((wall - self.max_clock_skew) * 1000)",
            "math.floor(wall * 1000)",
            noticed_by=("tests/test_clock.py::test_without_a_date_the_wall_clock_serves_and_one_warning_says_so",),
        ),
        _clock(
            "the wall clock is right within max_clock_skew only, above",
            "math.ceil((wall + self.max_clock_skew) * 1000)",
            "math.ceil(wall * 1000)",
            noticed_by=("tests/test_clock.py::test_without_a_date_the_wall_clock_serves_and_one_warning_says_so",),
        ),
        _clock(
            "the fallback is logged",
            "            _log.warning(\n                \"the service's answers carry",
            "            _log.debug(\n                \"the service's answers carry",
            noticed_by=("tests/test_clock.py::test_without_a_date_the_wall_clock_serves_and_one_warning_says_so",),
        ),
        _clock(
            "a lease has expired only below the lower bound",
            "return self.now_ms()[0] if offset is None or offset.confirmed else 0",
            "return self.now_ms()[1] if offset is None or offset.confirmed else 0",
            noticed_by=("tests/test_clock.py::test_the_first_answer_alone_shows_no_lease_as_expired",),
        ),
        _clock(
            "none has before two answers agree",
            "return self.now_ms()[0] if offset is None or offset.confirmed else 0",
            "return self.now_ms()[0]",
            noticed_by=("tests/test_clock.py::test_the_first_answer_alone_shows_no_lease_as_expired",),
        ),
        _clock(
            "the lower bound is rounded down",
            "math.floor((now + bounds.low) * 1000)",
            "math.ceil((now + bounds.low) * 1000)",
            noticed_by=("tests/test_clock.py::test_a_bound_is_not_rounded_beyond_what_it_bounds",),
        ),
        _clock(
            "the upper bound is rounded up",
            "math.ceil((now + bounds.high) * 1000)",
            "math.floor((now + bounds.high) * 1000)",
            noticed_by=("tests/test_clock.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",),
        ),
        _clock(
            "a forked child waits for no lock of its parent's",
            'held the lock."""\n        self._lock = threading.RLock()',
            'held the lock."""\n        self._lock',
            noticed_by=(
                "tests/test_clock.py::test_after_a_fork_the_child_can_observe_though_the_parent_held_the_lock",
            ),
        ),
        Guard(
            name="time is learnt from genuine answers only",
            room="dynamodb/answers.py",
            code="        return False, None  # a proxy",
            without="        pass  # a proxy",
            noticed_by=("tests/test_answers.py::test_what_did_not_come_from_the_service_leaves_it_unknown",),
        ),
        Guard(
            name="the driver learns from genuine answers only",
            room="driver.py",
            code="if reply.genuine and self._time.observe(",
            without="if self._time.observe(",
            noticed_by=("tests/test_driver.py::test_answers_of_others_than_the_service_teach_no_time",),
        ),
        Guard(
            name="the driver takes the time before sending",
            room="driver.py",
            code="        sent = self._time.stopwatch()\n        reply = self._sender.send(request)\n",
            without="        reply = self._sender.send(request)\n        sent = self._time.stopwatch()\n",
            noticed_by=(
                "tests/test_driver.py::test_the_time_of_a_request_is_taken_before_sending_and_after_its_answer",
            ),
        ),
        Guard(
            name="who asked is told of a jump",
            room="driver.py",
            code="            self.on_moved()\n",
            without="            pass\n",
            noticed_by=("tests/test_driver.py::test_who_asked_is_told_when_deadlines_moved_or_doubt_came_up_or_ended",),
        ),
        Guard(
            name="answers that disagree are asked about at once",
            room="bucket.py",
            code="            heartbeats.workers.submit(self._clear_doubt)",
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
            noticed_by=("tests/test_clock.py::test_while_another_may_claim_the_holder_does_not_believe",),
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
                "tests/test_operations_recovery.py::test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew",
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
            noticed_by=("tests/test_clock.py::test_bounds_widen_by_200_ppm_of_the_time_since_the_last_answer",),
        ),
        _attempt(
            "the first deadline counts from before the sending",
            "        started = scene.time.steady()\n        _, now_hi = scene.time.now_ms()\n",
            "        _, now_hi = scene.time.now_ms()\n        started = scene.time.steady() + 0.5\n",
            noticed_by=(
                "tests/test_operations_recovery.py::test_the_lease_found_after_a_lost_answer_is_believed_no_longer_than_its_first_sending_allows",
            ),
        ),
        _attempt(
            "the first deadline leaves the margin",
            "deadline=started + lease_ms / 1000 - scene.timing.margin_for(lease_ms / 1000)",
            "deadline=started + lease_ms / 1000",
            noticed_by=(
                "tests/test_operations_recovery.py::test_the_lease_found_after_a_lost_answer_is_believed_no_longer_than_its_first_sending_allows",
            ),
        ),
        _attempt(
            "the first expiry counts from the upper bound",
            "expires_at=now_hi + lease_ms,",
            "expires_at=scene.time.now_ms()[0] + lease_ms,",
            noticed_by=("tests/test_lease_holding.py::test_a_renewal_moves_expiry_and_ttl",),
        ),
        _attempt(
            "a claim goes by the lower bound",
            "expired_before=scene.time.expired_before_ms(),\n            ttl",
            "expired_before=now_hi,\n            ttl",
            noticed_by=("tests/test_lease_holding.py::test_a_guess_takes_no_lease_that_may_still_run",),
        ),
        _attempt(
            "no claim before the time is known",
            "                yield from self._learn_time()\n",
            "",
            noticed_by=("tests/test_lease_holding.py::test_a_single_answer_without_a_date_steals_no_lease",),
        ),
        _attempt(
            "no guess before the time is known",
            "scene.memory.take_free(scene.chance) if scene.time.known else None",
            "scene.memory.take_free(scene.chance)",
            noticed_by=("tests/test_lease_holding.py::test_no_slot_is_guessed_before_the_time_is_known",),
        ),
        _attempt(
            "doubt is cleared before a claim",
            "        scene = self._scene\n        yield from self._clear_doubt()\n        scene.memory.learn_slot(step.slot, None)",
            "        scene = self._scene\n        scene.memory.learn_slot(step.slot, None)",
            noticed_by=("tests/test_lease_holding.py::test_a_claim_waits_until_answers_agree_on_the_time_again",),
        ),
        _attempt(
            "doubt is cleared before a mint",
            "        scene = self._scene\n        yield from self._clear_doubt()\n        grant, now_hi = self._new_grant(step.slot, 0)",
            "        scene = self._scene\n        grant, now_hi = self._new_grant(step.slot, 0)",
            noticed_by=("tests/test_lease_holding.py::test_a_mint_waits_until_answers_agree_on_the_time_again",),
        ),
        _attempt(
            "doubt is cleared before a grant is handed out",
            "            case Done() | Refused():\n                yield from self._clear_doubt()\n",
            "            case Done() | Refused():\n",
            noticed_by=("tests/test_lease_holding.py::test_a_claim_whose_answer_is_odd_is_kept_once_others_say_so",),
        ),
        _attempt(
            "no grant is handed out before the time is confirmed",
            "if not time.confirmed or time.doubtful",
            "if time.doubtful",
            noticed_by=("tests/test_lease_holding.py::test_a_claim_by_a_time_that_only_one_answer_told_is_given_up",),
        ),
        _attempt(
            "no grant is handed out in doubt",
            "if not time.confirmed or time.doubtful or",
            "if not time.confirmed or",
            noticed_by=(
                "tests/test_lease_holding.py::test_a_claim_during_which_the_steady_clock_stood_still_is_not_handed_out",
            ),
        ),
        _attempt(
            "no grant is handed out after its own deadline",
            " or time.steady() >= grant.deadline:",
            ":",
            noticed_by=(
                "tests/test_operations_recovery.py::test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew",
            ),
        ),
        _attempt(
            "no expiry far ahead is kept",
            "return grant.expires_at <= time.now_ms()[1] + grant.lease_ms + FAR_AHEAD_MS",
            "return True",
            noticed_by=(
                "tests/test_lease_holding.py::test_a_lease_whose_expiry_turns_out_to_lie_far_ahead_is_given_up",
            ),
        ),
        _attempt(
            "a full bucket seen before the time is confirmed is looked at again",
            "case NothingFree() if step.next_expiry is not None and not scene.time.confirmed:",
            "case NothingFree() if False:",
            noticed_by=("tests/test_lease_holding.py::test_a_newcomer_takes_an_expired_lease_at_once",),
        ),
    ),
)
