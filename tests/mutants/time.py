"""Bounds on the service's clock, and the margins that rest on them."""

from tests.mutants.mutant import Chapter, Mutant

_SYNC_TIME = "_operations/sync_time.py"
_CLOCK = "_runtime/clock.py"
_DRIVER = "_runtime/driver.py"
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
            module=_SERVICE_TIME,
            target="observe",
            code="date - received - drift",
            without="date - sent - drift",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        Mutant(
            name="the upper bound allows for a Date cut to a second",
            module=_SERVICE_TIME,
            target="observe",
            code="date + 1.0 - sent + drift",
            without="date - sent + drift",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        Mutant(
            name="the clocks may drift while a request is under way",
            module=_SERVICE_TIME,
            target="observe",
            code="OSCILLATOR_DRIFT * max(0.0, received - sent)",
            without="0.0",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        Mutant(
            name="bounds widen with time",
            module=_SERVICE_TIME,
            target="Interval.widened",
            code="OSCILLATOR_DRIFT * max(0.0, now - self.at)",
            without="0.0",
            noticed_by=(
                "tests/state/test_service_time.py::test_the_services_time_is_within_the_bounds_for_every_honest_sequence",
            ),
        ),
        Mutant(
            name="two answers stand for the lower bound",
            module=_SERVICE_TIME,
            target="joined",
            code="max(two.low, low), min(two.high, high)",
            without="max(one.low, sample.low), min(two.high, high)",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_odd_date_of_whatever_size_leaves_the_truth_within_the_bounds",
            ),
        ),
        Mutant(
            name="one odd answer is not believed",
            module=_SERVICE_TIME,
            target="Offset.bounds",
            code="trusted.hull(self.doubt)",
            without="self.doubt",
            noticed_by=(
                "tests/state/test_service_time.py::test_one_odd_date_neither_makes_a_lease_look_expired_nor_blinds",
            ),
        ),
        Mutant(
            name="one odd answer is not ignored",
            module=_SERVICE_TIME,
            target="Offset.bounds",
            code="trusted.hull(self.doubt)",
            without="trusted",
            noticed_by=("tests/state/test_service_time.py::test_an_odd_first_answer_steals_nothing_and_is_overruled",),
        ),
        Mutant(
            name="three answers must agree to overrule what was known",
            module=_SERVICE_TIME,
            target="AGREEING",
            code="3",
            without="2",
            noticed_by=(
                "tests/state/test_service_time.py::test_odd_answers_that_contradict_one_another_begin_to_count_anew",
            ),
        ),
        Mutant(
            name="an answer that fits both sides does not end the doubt",
            module=_SERVICE_TIME,
            target="Offset.updated",
            code="rival is None",
            without="",
            noticed_by=(
                "tests/state/test_service_time.py::test_an_answer_that_fits_what_was_known_and_its_rival_ends_no_doubt",
            ),
        ),
        Mutant(
            name="two answers overrule a single first one",
            module=_SERVICE_TIME,
            target="Offset.updated",
            code="min(AGREEING, trusted.answers + 1)",
            without="AGREEING",
            noticed_by=(
                "tests/state/test_service_time.py::test_an_odd_first_answer_steals_nothing_and_is_overruled",
                "tests/state/test_service_time.py::test_two_odd_answers_do_not_outvote_two_honest_ones_between_them",
            ),
        ),
        Mutant(
            name="a deadline comes forward if the steady clock stood still",
            module=_SERVICE_TIME,
            target="late_by",
            code="return known.high + drift - offset if known.low - drift > offset else 0.0",
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
            target="now_ms",
            code="math.ceil((wall + self.max_clock_skew) * 1000)",
            without="math.ceil(wall * 1000)",
            noticed_by=(
                "tests/state/test_service_time.py::test_without_a_date_the_wall_clock_serves_and_one_warning_says_so",
            ),
        ),
        Mutant(
            name="a lease has expired only below the lower bound",
            module=_SERVICE_TIME,
            target="expired_before_ms",
            code="self.now_ms()[0]",
            without="self.now_ms()[1]",
            noticed_by=("tests/state/test_service_time.py::test_the_first_answer_alone_shows_no_lease_as_expired",),
        ),
        Mutant(
            name="no lease has expired before two answers agree",
            module=_SERVICE_TIME,
            target="expired_before_ms",
            code="offset is None or offset.confirmed",
            without="True",
            noticed_by=("tests/state/test_service_time.py::test_the_first_answer_alone_shows_no_lease_as_expired",),
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
