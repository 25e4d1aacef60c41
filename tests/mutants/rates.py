"""Rates: the time they go by, the gate, permits in hand; and windows."""

from tests.mutants.mutant import Chapter, Mutant

_KEY_BOOK = "_state/key_book.py"
_RATE_TIME = "_state/rate_time.py"
_WINDOW_CORE = "_runtime/window_core.py"
_USE_GATE = "_state/use_gate.py"

RATES = Chapter(
    title="Rates and windows",
    mutants=(
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
            module=_KEY_BOOK,
            target="KeyBook._forgo",
            code="dues and dues[0] + SPARE_NS < now",
            without="False",
            noticed_by=("tests/operations/test_booking.py::test_what_nobody_takes_in_time_is_forgone",),
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
