"""Rates: the decisions of GCRA, lanes, permits in hand; and windows."""

from tests.mutants.mutant import Chapter, Mutant

_ADMIT = "_operations/admit.py"
_SERVICE_TIME = "_state/service_time.py"
_GCRA = "_protocol/gcra.py"
_PERMITS = "_state/permits.py"
_SLIDING_WINDOW = "sliding_window.py"

RATES = Chapter(
    title="Rates and windows",
    mutants=(
        Mutant(
            name="a burst is exactly its permits",
            module=_GCRA,
            target="decide",
            code="max(tat, now) + missing * interval - tolerance",
            without="max(tat, now) - tolerance",
            noticed_by=(
                "tests/test_rate_envelope.py::test_with_right_clocks_every_decision_is_that_of_a_plain_limiter",
            ),
        ),
        Mutant(
            name="an attempt that finds its own id was admitted",
            module=_GCRA,
            target="is_own",
            code="meter is not None and meter.lanes.get(lane) == attempt",
            without="False",
            noticed_by=("tests/test_rate_limiter.py::test_an_answer_lost_twice_is_still_charged_once",),
        ),
        Mutant(
            name="nothing is charged before the time is known",
            module=_SERVICE_TIME,
            target="reliable_ns",
            code="not self._is_confirmed(offset) or offset.doubt is not None or _is_wide(bounds)",
            without="False",
            noticed_by=(
                "tests/test_rate_limiter_waiting.py::test_nothing_is_charged_by_a_time_that_answers_do_not_agree_on",
            ),
        ),
        Mutant(
            name="nothing is charged while answers disagree on the time",
            module=_ADMIT,
            target="_Attempt._send",
            code="reliable is None",
            without="False",
            noticed_by=(
                "tests/test_rate_limiter_faults.py::test_once_answers_disagree_amid_an_attempt_nothing_more_is_charged",
            ),
        ),
        Mutant(
            name="a prefetched permit is handed out when it is due",
            module=_GCRA,
            target="decide",
            code="due <= now",
            without="True",
            noticed_by=(
                "tests/test_rate_limiter_waiting.py::test_prefetching_under_load_takes_as_few_requests_and_keeps_the_rate",
            ),
        ),
        Mutant(
            name="a forked child holds none of its parent's permits",
            module=_PERMITS,
            target="Permits.after_fork_in_child",
            code="self._balance = replace(self._balance, batches=())",
            without="",
            noticed_by=("tests/test_rate_limiter.py::test_a_forked_child_holds_none_of_its_parents_permits",),
        ),
        Mutant(
            name="a machine that stood still uses no permit that has ended",
            module=_SLIDING_WINDOW,
            target="_require_in_time",
            code="delay > allowed",
            without="",
            noticed_by=("tests/test_sliding_window.py::test_a_machine_that_stood_still_uses_nothing_that_is_over",),
        ),
    ),
)
