"""Rates: the time they go by, the gate, permits in hand; and windows."""

from tests.mutants.mutant import Chapter, Mutant

_DECORATORS = "_runtime/decorators.py"
_SPARES = "_state/spares.py"
_ANSWERS = "tests/runtime/rates/test_answers.py"
_BOOKED = "tests/operations/rates/test_booking.py"
_CHARGING = "_protocol/rates/charging.py"
_EXPRESSIONS = "dynamodb/rates/expressions.py"
_KEY_BOOK = "_state/rates/key_book.py"
_POLICY = "_operations/rates/policy.py"
_RATE_STEERING = "_runtime/rates/steering.py"
_RATE_TIME = "_state/rates/rate_time.py"
_WINDOW_CORE = "_runtime/window_core.py"
_STEER = "_operations/rates/steer.py"
_USE_GATE = "_state/rates/use_gate.py"

_SIMULATED = ("tests/test_rate_simulation.py::test_no_schedule_breaks_an_invariant",)

RATES = Chapter(
    title="Rates and windows",
    mutants=(
        Mutant(
            name="what was denied is not told to be left",
            module="_runtime/rates/answers.py",
            target="denied",
            code="decision.allowed or not shown or any(one.remaining < counts[name] for name, one in shown.items())",
            without="True",
            noticed_by=(
                "tests/test_key_limiter.py::test_a_denial_tells_of_no_permit_that_came_back_since_it_was_decided",
                "tests/test_key_limiter.py::test_a_denial_tells_of_no_permit_that_is_kept_for_who_waits_in_front",
            ),
        ),
        Mutant(
            name="a window tells when the first of its permits in use is back",
            module="_state/used_permits.py",
            target="UsedPermits.first_back_in",
            code="min(ends)",
            without="max(ends)",
            noticed_by=("tests/test_sliding_window.py::test_the_first_of_those_that_are_still_in_use_is_told_of",),
        ),
        Mutant(
            name="a key that is held, overridden or blocked is remembered whole",
            module="_state/rates/remembered_key.py",
            target="remembered",
            code="state.holds or state.override or state.override_rev or state.blocked_until",
            without="False",
            noticed_by=(
                "tests/state/rates/test_remembered_key.py::test_what_is_remembered_comes_back_without_the_lanes",
            ),
        ),
        Mutant(
            name="a key of which something is held is remembered whole",
            module="_state/rates/remembered_key.py",
            target="remembered",
            code="limit.held == 0",
            without="",
            noticed_by=(
                "tests/state/rates/test_remembered_key.py::test_what_is_remembered_comes_back_without_the_lanes",
            ),
        ),
        Mutant(
            name="an odd answer does not move the time that rates go by",
            module=_RATE_TIME,
            target="Estimate.moved",
            code="if bounds is None: return Estimate(offset, now)",
            without="if bounds is None: bounds = Interval(offset - 1.0, offset - 0.5, now)",
            noticed_by=("tests/state/rates/test_rate_time.py::test_answers_that_contradict_one_another_move_nothing",),
        ),
        Mutant(
            name="the time that rates go by never jumps down",
            module=_RATE_TIME,
            target="Estimate.moved",
            code="offset - SLOWER * elapsed",
            without="bounds.high",
            noticed_by=("tests/state/rates/test_rate_time.py::test_the_estimate_is_monotone_and_its_speed_is_bounded",),
        ),
        Mutant(
            name="permits pass the gate when they are used",
            module=_USE_GATE,
            target="UseGate.wait_ns",
            code="earliest > now",
            without="False",
            noticed_by=(
                "tests/operations/rates/test_booking.py::test_one_process_alone_never_exceeds_its_rate_at_the_times_of_use",
            ),
        ),
        Mutant(
            name="a spare permit is forgone after a second",
            module=_SPARES,
            target="Spares._forgo",
            code="entries[0][0] + SPARE_NS < now",
            without="False",
            noticed_by=("tests/operations/rates/test_booking.py::test_what_nobody_takes_in_time_is_forgone",),
        ),
        Mutant(
            name="a process that has not seen a key's override reads the key before it refuses",
            module="_operations/rates/preparing.py",
            target="just_read",
            code="key_is_new and state.time.steady() - state.policy_at < JUST_READ_SECONDS",
            without="True",
            noticed_by=(
                "tests/test_rate_steering.py::test_more_than_the_policys_burst_can_be_had_where_a_key_has_an_override",
            ),
        ),
        Mutant(
            name="a waiter that has booked far ahead looks twice a minute",
            module="_operations/rates/using.py",
            target="until_used",
            code="again_in if again_in > 0 else LOOK_AGAIN_SECONDS",
            without="1e9",
            noticed_by=(f"{_BOOKED}::test_whoever_waits_far_ahead_has_its_permits_within_half_a_minute_of_a_change",),
        ),
        Mutant(
            name="a waiter that has booked reads its key again",
            module="_operations/rates/using.py",
            target="_look",
            code="state.rate_time.known_now_ns() - book.known_at >= REMEMBERED",
            without="False",
            noticed_by=(f"{_BOOKED}::test_whoever_waits_far_ahead_has_its_permits_within_half_a_minute_of_a_change",),
        ),
        Mutant(
            name="who has booked keeps its place under a slower policy",
            module="_operations/rates/using.py",
            target="_forgone",
            code="due.at + GAIN_NS >= booking.due",
            without="False",
            noticed_by=(f"{_BOOKED}::test_a_slower_policy_takes_no_place_from_whoever_has_booked",),
        ),
        Mutant(
            name="a newer policy wakes all who wait",
            module="_operations/rates/policy.py",
            target="learn_policy",
            code="before is not None and policy.rev > before.rev",
            without="False",
            noticed_by=(f"{_BOOKED}::test_a_process_that_learns_of_a_faster_policy_frees_all_its_waiters_at_once",),
        ),
        Mutant(
            name="callers of any keys share one question for the policy",
            module="_operations/rates/policy.py",
            target="ensure_policy",
            code="wake is not None and _is_asked(state)",
            without="False",
            noticed_by=(
                f"{_BOOKED}::test_callers_of_any_keys_share_one_question_for_the_policy_at_first_and_after_idling",
            ),
        ),
        Mutant(
            name="a caller that waits for permits tries again once what it knows is old",
            module="_protocol/retry.py",
            target="_OutcomePause.__call__",
            code="LONGEST_DENIAL_SECONDS if self._looks_in is None else self._looks_in()",
            without="LONGEST_DENIAL_SECONDS",
            noticed_by=(f"{_BOOKED}::test_whoever_waits_and_has_not_booked_meets_a_change_within_half_a_minute",),
        ),
        Mutant(
            name="a call in vain under parents names the one that lets wait longest",
            module="_runtime/rates/family.py",
            target="Family.timed_out",
            code="max(lacks, key=lambda lack: (lack.seconds, lack.blocked))",
            without="lacks[0]",
            noticed_by=(f"{_ANSWERS}::test_under_parents_the_one_that_lets_wait_longest_is_named",),
        ),
        Mutant(
            name="a call in vain says that its key is blocked",
            module="_runtime/rates/answers.py",
            target="RateAnswers.lack",
            code="blocked and longest <= blocked / NS",
            without="False",
            noticed_by=(f"{_ANSWERS}::test_a_call_of_a_blocked_key_says_so",),
        ),
        Mutant(
            name="who waits under parents reads a policy that is old",
            module="_operations/rates/together.py",
            target="_plan_one",
            code="state.time.steady() - state.policy_at >= POLICY_SECONDS + MEANWHILE_SECONDS",
            without="False",
            noticed_by=(
                "tests/operations/rates/test_together.py::test_a_waiter_that_has_not_booked_meets_a_faster_policy_within_half_a_minute",
            ),
        ),
        Mutant(
            name="looking at a key creates no policy",
            module=_STEER,
            target="look_at_key",
            code="_look_at_policy(state, deadline)",
            without="_ready(state, deadline)",
            noticed_by=("tests/test_rate_steering.py::test_status_of_a_rate_that_was_never_used_writes_nothing",),
        ),
        Mutant(
            name="who sets the policy has it as its own",
            module=_STEER,
            target="set_policy",
            code="state.given = policy.limits",
            without="pass",
            noticed_by=("tests/test_rate_steering.py::test_who_changes_the_policy_is_not_warned_of_it",),
        ),
        Mutant(
            name="an override is changed limit by limit",
            module=_RATE_STEERING,
            target="RateSteering.override",
            code="{**before, **changes} if changes else {}",
            without="changes",
            noticed_by=("tests/test_rate_steering.py::test_an_override_is_changed_limit_by_limit",),
        ),
        Mutant(
            name="an item of an older version is told of",
            module=_POLICY,
            target="tell_if_older",
            code="answer.older",
            without="False",
            noticed_by=("tests/test_rate_steering.py::test_an_item_of_an_older_version_is_told_once_with_what_to_do",),
        ),
        Mutant(
            name="what is no key is refused before a permit is taken",
            module=_DECORATORS,
            target="checked_key_function",
            code="return checked_key(made)",
            without="return made",
            noticed_by=("tests/test_limited_by_key.py::test_what_is_no_key_is_refused_before_anything_is_taken",),
        ),
        Mutant(
            name="a charge stays within the burst, and within its horizon",
            module=_EXPRESSIONS,
            target="CHARGE",
            code="_within_reach",
            without='"(" + _within_reach + " OR #schema = :schema)"',
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="a charge takes a limit for idle only once all is paid for",
            module=_EXPRESSIONS,
            target="CHARGE",
            code="_paid_for",
            without="",
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="nobody charges by an older policy than the key was charged by",
            module=_EXPRESSIONS,
            target="_charge_texts",
            code="_new_or_of_this_policy",
            without="_new_or_ours",
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="no charge reaches into a block, in any simulated schedule",
            module=_EXPRESSIONS,
            target="_charge_texts",
            code="_not_blocked",
            without='f"({_not_blocked} OR #rev = :rev)"',
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="permits that are booked ahead are used when they are due",
            module=_CHARGING,
            target="due_times",
            code="dues.append(max(first, reached - left))",
            without="dues.append(first)",
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="nobody books far ahead",
            module=_CHARGING,
            target="LONGEST_HORIZON",
            code="30 * NS",
            without="300 * NS",
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="a changed policy is followed within 30 seconds",
            module="_state/rates/limiter_state.py",
            target="POLICY_SECONDS",
            code="30.0",
            without="300.0",
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="a permit in hand is dealt out once",
            module=_SPARES,
            target="Spares.take",
            code="left + entries[number + 1 :]",
            without="entries",
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="one process alone stays within its rate in any simulated schedule",
            module=_USE_GATE,
            target="UseGate.wait_ns",
            code="earliest - now",
            without="0",
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="a hold is changed only as it was seen, in any simulated schedule",
            module=_EXPRESSIONS,
            target="_settle_texts",
            code="_hold_as_known",
            without='f"({_hold_as_known} OR #schema = :schema)"',
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="a hold that is past its time is swept, in any simulated schedule",
            module="_protocol/rates/settling.py",
            target="sweep",
            code="hold.until + SWEPT_AFTER < now",
            without="False",
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="no hold is swept before its time, in any simulated schedule",
            module="_protocol/rates/settling.py",
            target="sweep",
            code="hold.until + SWEPT_AFTER < now",
            without="hold.until - 4 * NS < now",
            noticed_by=_SIMULATED,
        ),
        Mutant(
            name="an answer that was overtaken gives nothing back",
            module=_KEY_BOOK,
            target="KeyBook.learn",
            code="since is not None and since < self.known_at",
            without="False",
            noticed_by=("tests/state/rates/test_key_book.py::test_an_answer_that_was_overtaken_shows_an_older_item",),
        ),
        Mutant(
            name="an item that shows less than was guessed was forgiven nothing",
            module=_KEY_BOOK,
            target="KeyBook.learn",
            code="before if shown is None else recalled(shown[0])",
            without="before",
            noticed_by=(
                "tests/state/rates/test_key_book.py::test_an_item_that_shows_less_than_was_guessed_was_forgiven_nothing",
            ),
        ),
        Mutant(
            name="a policy is as old as the question that was answered with it",
            module="_operations/rates/policy.py",
            target="learn_policy",
            code="max(state.policy_at, asked)",
            without="state.time.steady()",
            noticed_by=(
                "tests/operations/rates/test_booking.py::test_a_policy_is_as_old_as_the_question_that_was_answered_with_it",
            ),
        ),
        Mutant(
            name="nobody goes on by a policy that is old, while one asks",
            module="_operations/rates/policy.py",
            target="_will_do",
            code="max(old, asking)",
            without="asking",
            noticed_by=(
                "tests/operations/rates/test_booking.py::test_after_hours_of_idling_nobody_goes_on_by_the_old_policy_while_one_asks",
            ),
        ),
        Mutant(
            name="permits found out about after a cut are due at the end of their horizon",
            module=_CHARGING,
            target="due_times",
            code="if (state.rev, state.override_rev) != (sent[-1].rev, sent[-1].override_rev): reached = last",
            without="",
            noticed_by=(
                "tests/protocol/rates/test_charging.py::test_an_attempt_that_is_recognised_after_a_cut_is_due_at_the_end_of_its_horizon",
            ),
        ),
        Mutant(
            name="a policy that was made anew below its keys is raised",
            module="_operations/rates/policy.py",
            target="_stored",
            code="answer.policy.rev < shown",
            without="False",
            noticed_by=(
                "tests/operations/rates/test_booking.py::test_a_policy_that_was_deleted_and_made_anew_by_a_clock_that_is_behind_closes_nothing",
            ),
        ),
        Mutant(
            name="a permit in hand goes to callers that are in time for it",
            module=_KEY_BOOK,
            target="KeyBook.deal",
            code="now + booking.place(now=steady).left",
            without="now + 10**12",
            noticed_by=(
                "tests/operations/rates/test_booking.py::test_permits_in_hand_that_are_due_after_a_callers_deadline_are_not_for_it",
            ),
        ),
        Mutant(
            name="what is prefetched is within the horizon",
            module="_protocol/rates/batching.py",
            target="_with_prefetch",
            code="max(0, longest - wait) // limit.interval",
            without="longest // limit.interval",
            noticed_by=("tests/operations/rates/test_booking.py::test_what_is_prefetched_is_within_the_horizon_too",),
        ),
        Mutant(
            name="a machine that stood still uses no permit that has ended",
            module=_WINDOW_CORE,
            target="_require_in_time",
            code="delay > allowed",
            without="",
            noticed_by=("tests/test_sliding_window.py::test_a_machine_that_stood_still_uses_nothing_that_is_over",),
        ),
    ),
)
