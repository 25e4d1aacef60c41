"""Bounds on the service's clock, and the margins that rest on them."""

from tests.mutants.mutant import Chapter, Mutant

_SYNC_TIME = "_operations/sync_time.py"
_CLOCK = "_runtime/clock.py"
_DRIVER = "_runtime/driver.py"
_OFFSET = "_state/offset.py"
_SERVICE_TIME = "_state/service_time.py"
_MODELS = "models.py"

BOUNDS = Chapter(
    title="Bounds on the service's clock",
    mutants=(
        Mutant(
            name="the steady clock counts suspended time",
            module=_CLOCK,
            target="SystemClock.steady",
            code="time.CLOCK_BOOTTIME",
            without="time.CLOCK_MONOTONIC",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_steady_clock_is_the_one_that_counts_suspended_time",
            ),
        ),
        Mutant(
            name="the lower bound counts from when the answer arrived",
            module=_OFFSET,
            target="Interval.told",
            code="date - received - drift",
            without="date - sent - drift",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        Mutant(
            name="a refusal ends the asking for the time",
            module=_SYNC_TIME,
            target="_ask",
            code="_is_refused(answers)",
            without="False",
            noticed_by=("tests/operations/test_sync_time.py::test_later_too_a_refusal_ends_the_asking_and_is_told",),
        ),
        Mutant(
            name="the upper bound allows for a Date cut to a second",
            module=_OFFSET,
            target="Interval.told",
            code="date + 1.0 - sent + drift",
            without="date - sent + drift",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        Mutant(
            name="the clocks may drift while a request is under way",
            module=_OFFSET,
            target="Interval.told",
            code="OSCILLATOR_DRIFT * max(0.0, received - sent)",
            without="0.0",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        Mutant(
            name="bounds widen with time",
            module=_OFFSET,
            target="Evidence.widened",
            code="OSCILLATOR_DRIFT * max(0.0, now - self.at)",
            without="0.0",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        Mutant(
            name="bounds widen while they are read",
            module=_OFFSET,
            target="Evidence.allowed_by",
            code="OSCILLATOR_DRIFT * max(0.0, now - self.at)",
            without="0.0",
            noticed_by=(
                "tests/state/test_service_time.py::test_bounds_widen_by_200_ppm_of_the_time_since_the_last_answer",
            ),
        ),
        Mutant(
            name="two answers stand for a bound that something is written by",
            module=_OFFSET,
            target="Offset.bounds",
            code="2",
            without="1",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_odd_date_of_whatever_size_leaves_the_truth_within_the_bounds",
            ),
        ),
        Mutant(
            name="three answers stand for a bound that another's lease, or a held one, depends on",
            module=_OFFSET,
            target="Offset.strict_bounds",
            code="AGREEING",
            without="2",
            noticed_by=(
                "tests/state/test_service_time.py::test_two_odd_dates_of_five_show_no_lease_as_expired_and_extend_none_in_any_order",
                "tests/state/test_service_time.py::test_an_answer_that_fits_what_was_known_and_its_rival_ends_no_doubt",
            ),
        ),
        Mutant(
            name="one odd answer is not believed",
            module=_OFFSET,
            target="Offset._bounds",
            code="trusted.hull(self.doubt.widened(now))",
            without="self.doubt.widened(now)",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_odd_date_neither_makes_a_lease_look_expired_nor_blinds",
            ),
        ),
        Mutant(
            name="one odd answer is not ignored",
            module=_OFFSET,
            target="Offset._bounds",
            code="trusted.hull(self.doubt.widened(now))",
            without="trusted",
            noticed_by=("tests/state/test_service_time.py::test_an_odd_first_answer_steals_nothing_and_is_overruled",),
        ),
        Mutant(
            name="three answers must agree to be certain",
            module=_OFFSET,
            target="AGREEING",
            code="3",
            without="2",
            noticed_by=(
                "tests/state/test_service_time.py::test_odd_answers_that_contradict_one_another_begin_to_count_anew",
                "tests/state/test_service_time.py::test_two_odd_dates_of_five_show_no_lease_as_expired_and_extend_none_in_any_order",
            ),
        ),
        Mutant(
            name="neither side of a contradiction wins by fewer than three",
            module=_OFFSET,
            target="Offset.updated",
            code="agreed is not None and trusted.certain and not _supports_others(sample, before, trusted)",
            without="agreed is not None and not _supports_others(sample, before, trusted)",
            noticed_by=(
                "tests/state/test_service_time.py::test_of_two_answers_that_a_third_contradicts_neither_side_wins_until_it_has_three",
                "tests/state/test_service_time.py::test_two_odd_dates_of_five_show_no_lease_as_expired_and_extend_none_in_any_order",
            ),
        ),
        Mutant(
            name="an answer that fits both sides does not end the doubt",
            module=_OFFSET,
            target="Offset.updated",
            code="not _supports_others(sample, before, trusted)",
            without="",
            noticed_by=(
                "tests/state/test_service_time.py::test_an_answer_that_fits_what_was_known_and_its_rival_ends_no_doubt",
            ),
        ),
        Mutant(
            name="what was said before a contradiction at first contact counts",
            module=_OFFSET,
            target="Offset.updated",
            code="(*self.recent, sample)",
            without="(sample,)",
            noticed_by=("tests/state/test_service_time.py::test_five_answers_in_any_order_settle_the_time",),
        ),
        Mutant(
            name="a deadline comes forward if the steady clock stood still",
            module=_SERVICE_TIME,
            target="late_by",
            code="return high + drift - offset if low - drift > offset else 0.0",
            without="return 0.0",
            noticed_by=(
                "tests/state/test_service_time.py::test_a_clock_that_stood_still_brings_deadlines_forward_by_at_least_as_much",
            ),
        ),
        Mutant(
            name="one answer without a Date does not make us trust the wall clock",
            module=_SERVICE_TIME,
            target="_note_dateless",
            code="self._dateless >= AGREEING",
            without="self._dateless >= 1",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_answer_without_a_date_does_not_make_the_wall_clock_trusted",
            ),
        ),
        Mutant(
            name="the wall clock is right within max_clock_skew only, above",
            module=_SERVICE_TIME,
            target="_wall_ms",
            code="math.ceil((wall + self.max_clock_skew) * 1000)",
            without="math.ceil(wall * 1000)",
            noticed_by=(
                "tests/state/test_service_time.py::test_without_a_date_the_wall_clock_serves_and_one_warning_says_so",
            ),
        ),
        Mutant(
            name="a lease has expired only below the lower bound",
            module=_SERVICE_TIME,
            target="ServiceTime.expired_before_ms",
            code="_to_ms(offset.strict_bounds(now), now)[0]",
            without="_to_ms(offset.strict_bounds(now), now)[1]",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_first_answer_alone_shows_no_lease_as_expired",
                "tests/state/test_service_time.py::test_two_odd_dates_of_five_show_no_lease_as_expired_and_extend_none_in_any_order",
            ),
        ),
        Mutant(
            name="no lease has expired before three answers agree",
            module=_SERVICE_TIME,
            target="ServiceTime.expired_before_ms",
            code="offset.certain",
            without="True",
            noticed_by=("tests/state/test_service_time.py::test_the_first_answer_alone_shows_no_lease_as_expired",),
        ),
        Mutant(
            name="a lease that is held is extended by the strict bound",
            module=_SERVICE_TIME,
            target="ServiceTime.read",
            code="_to_ms(strict_bounds, now)",
            without="_to_ms(bounds, now)",
            noticed_by=(
                "tests/state/test_service_time.py::test_two_odd_dates_of_five_show_no_lease_as_expired_and_extend_none_in_any_order",
                "tests/state/test_service_time.py::test_an_answer_that_fits_what_was_known_and_its_rival_ends_no_doubt",
            ),
        ),
        Mutant(
            name="a wall clock that says otherwise asks for a third answer",
            module=_SERVICE_TIME,
            target="_is_confirmed",
            code="not self._wall_objects(offset)",
            without="",
            noticed_by=(
                "tests/state/test_service_time.py::test_a_wall_clock_that_says_otherwise_asks_for_a_third_answer_and_can_do_no_more",
            ),
        ),
        Mutant(
            name="the wall clock asks for no more than a third answer",
            module=_SERVICE_TIME,
            target="_is_confirmed",
            code="offset.certain",
            without="",
            noticed_by=(
                "tests/state/test_service_time.py::test_a_wall_clock_that_says_otherwise_asks_for_a_third_answer_and_can_do_no_more",
            ),
        ),
        Mutant(
            name="a forked child gets a new lock for the service's time",
            module=_SERVICE_TIME,
            target="after_fork_in_child",
            code="",
            without="pass",
            noticed_by=(
                "tests/state/test_service_time.py::test_after_a_fork_the_child_can_observe_though_the_parent_held_the_lock",
            ),
        ),
        Mutant(
            name="the driver learns from genuine answers only",
            module=_DRIVER,
            target="perform",
            code="reply.genuine",
            without="",
            noticed_by=("tests/runtime/test_driver.py::test_answers_of_others_than_the_service_teach_no_time",),
        ),
    ),
)

MARGINS = Chapter(
    title="Deadlines and margins",
    mutants=(
        Mutant(
            name="the margin covers the front ends' difference",
            module=_MODELS,
            target="Timing.margin_for",
            code="self.front_end_skew + drift + self.grace_for(lease_seconds)",
            without="drift + self.grace_for(lease_seconds)",
            noticed_by=("tests/test_timing.py::test_the_margin_is_what_front_ends_oscillators_and_the_callback_need",),
        ),
        Mutant(
            name="the margin covers both oscillators' drift",
            module=_MODELS,
            target="Timing.margin_for",
            code="2 * OSCILLATOR_DRIFT * lease_seconds",
            without="0.0",
            noticed_by=("tests/test_timing.py::test_the_margin_is_what_front_ends_oscillators_and_the_callback_need",),
        ),
        Mutant(
            name="the margin covers the lost-callback's time",
            module=_MODELS,
            target="Timing.margin_for",
            code="self.front_end_skew + drift + self.grace_for(lease_seconds)",
            without="self.front_end_skew + drift",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew",
            ),
        ),
        Mutant(
            name="a lease shorter than three margins is refused",
            module=_MODELS,
            target="Timing.require_room",
            code="MARGINS_PER_LEASE * self.margin_for(lease_seconds)",
            without="self.margin_for(lease_seconds)",
            noticed_by=("tests/test_timing.py::test_a_lease_has_room_for_three_margins_or_is_refused",),
        ),
        Mutant(
            name="oscillators may be off by 200 ppm",
            module=_MODELS,
            target="OSCILLATOR_DRIFT",
            code="200e-6",
            without="20e-6",
            noticed_by=(
                "tests/state/test_service_time.py::test_bounds_widen_by_200_ppm_of_the_time_since_the_last_answer",
            ),
        ),
        Mutant(
            name="a first claim waits for a second answer",
            module=_SYNC_TIME,
            target="confirm",
            code="not time.confirmed",
            without="",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_the_first_acquire_of_a_client_on_an_old_bucket_looks_and_claims",
            ),
        ),
    ),
)
