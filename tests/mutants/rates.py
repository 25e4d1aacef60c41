"""Rates: the time they go by, the gate, permits in hand; and windows."""

from tests.mutants.mutant import Chapter, Mutant

_SPARES = "_state/spares.py"
_CHARGING = "_protocol/rates/charging.py"
_EXPRESSIONS = "dynamodb/rate_expressions.py"
_KEY_BOOK = "_state/key_book.py"
_RATE_TIME = "_state/rate_time.py"
_WINDOW_CORE = "_runtime/window_core.py"
_USE_GATE = "_state/use_gate.py"

_SIMULATED = ("tests/test_rate_simulation.py::test_no_schedule_breaks_an_invariant",)

RATES = Chapter(
    title="Rates and windows",
    mutants=(
        Mutant(
            name="a key that is held, overridden or blocked is remembered whole",
            module="_state/remembered_key.py",
            target="remembered",
            code="state.holds or state.override or state.override_rev or state.blocked_until",
            without="False",
            noticed_by=("tests/state/test_remembered_key.py::test_what_is_remembered_comes_back_without_the_lanes",),
        ),
        Mutant(
            name="a key of which something is held is remembered whole",
            module="_state/remembered_key.py",
            target="remembered",
            code="limit.held == 0",
            without="",
            noticed_by=("tests/state/test_remembered_key.py::test_what_is_remembered_comes_back_without_the_lanes",),
        ),
        Mutant(
            name="an odd answer does not move the time that rates go by",
            module=_RATE_TIME,
            target="Estimate.moved",
            code="if bounds is None: return Estimate(offset, now)",
            without="if bounds is None: bounds = Interval(offset - 1.0, offset - 0.5, now)",
            noticed_by=("tests/state/test_rate_time.py::test_answers_that_contradict_one_another_move_nothing",),
        ),
        Mutant(
            name="the time that rates go by never jumps down",
            module=_RATE_TIME,
            target="Estimate.moved",
            code="offset - SLOWER * elapsed",
            without="bounds.high",
            noticed_by=("tests/state/test_rate_time.py::test_the_estimate_is_monotone_and_its_speed_is_bounded",),
        ),
        Mutant(
            name="permits pass the gate when they are used",
            module=_USE_GATE,
            target="UseGate.wait_ns",
            code="earliest > now",
            without="False",
            noticed_by=(
                "tests/operations/test_booking.py::test_one_process_alone_never_exceeds_its_rate_at_the_times_of_use",
            ),
        ),
        Mutant(
            name="a spare permit is forgone after a second",
            module=_SPARES,
            target="Spares._forgo",
            code="entries[0][0] + SPARE_NS < now",
            without="False",
            noticed_by=("tests/operations/test_booking.py::test_what_nobody_takes_in_time_is_forgone",),
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
            module="_state/limiter_state.py",
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
            name="who waits behind others is woken when a charge is answered",
            module=_KEY_BOOK,
            target="KeyBook.others",
            code="return [booking for booking in waiting if booking is waiting[0] or not booking.patient]",
            without="return []",
            noticed_by=_SIMULATED,
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
