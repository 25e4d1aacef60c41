"""What a rate and a window promise."""

from tests.guards.guard import Chapter, Guard
from tests.guards.requests import _always, _effect

_ENVELOPE = "tests/test_rate_envelope.py::"
_RATE = "tests/dynamodb/test_requests_rate.py::"
_LIMITER = "tests/test_rate_limiter.py::"
_WAITING = "tests/test_rate_limiter_waiting.py::"
_WINDOW = "tests/test_sliding_window.py::"

_CONDITIONS = {
    "CHARGE_IDLE": "_all(_paid_for, _not_charged_yet)",
    "CHARGE_BUSY": "_all(_not_paid_for, _within_tolerance, _not_charged_yet)",
}


def _half(name: str, conditions: str, half: str, *, noticed_by: tuple[str, ...]) -> Guard:
    constant, whole = f"{conditions}: Final = ", _CONDITIONS[conditions]
    code, without = f"{constant}{whole}", f"{constant}{whole.replace(half, _always(half))}"
    return Guard(name=name, room="dynamodb/expressions.py", code=code, without=without, noticed_by=noticed_by)


def _in(room: str, name: str, code: str, without: str, *noticed_by: str) -> Guard:
    return Guard(name=name, room=room, code=code, without=without, noticed_by=noticed_by)


RATES = Chapter(
    title="Rates and windows",
    guards=(
        _half(
            "an idle charge forgives nothing that is not paid for",
            "CHARGE_IDLE",
            "_paid_for",
            noticed_by=(f"{_RATE}test_an_idle_charge_is_refused_where_something_is_not_paid_for",),
        ),
        _half(
            "an idle charge happens once",
            "CHARGE_IDLE",
            "_not_charged_yet",
            noticed_by=(f"{_RATE}test_an_attempt_is_charged_once_and_finds_itself",),
        ),
        _half(
            "a busy charge uses no time that has passed unused",
            "CHARGE_BUSY",
            "_not_paid_for",
            noticed_by=(f"{_RATE}test_a_busy_charge_is_refused_where_all_is_paid_for",),
        ),
        _half(
            "a busy charge stays within the tolerance",
            "CHARGE_BUSY",
            "_within_tolerance",
            noticed_by=(f"{_RATE}test_a_busy_charge_is_refused_beyond_the_tolerance",),
        ),
        _half(
            "a busy charge happens once",
            "CHARGE_BUSY",
            "_not_charged_yet",
            noticed_by=(f"{_RATE}test_an_attempt_is_charged_once_and_finds_itself",),
        ),
        _effect(
            "what is paid for to the moment is not idle",
            "(attribute_not_exists(#tat) OR #tat < :now)",
            "(attribute_not_exists(#tat) OR #tat <= :now)",
            noticed_by=(f"{_RATE}test_an_idle_charge_is_refused_where_something_is_not_paid_for",),
        ),
        _effect(
            "the last permit of a burst is admitted",
            '"#tat <= :at_most"',
            '"#tat < :at_most"',
            noticed_by=(f"{_RATE}test_a_busy_charge_comes_on_top",),
        ),
        _effect(
            "a charge is noted in its lane",
            '"#lane = :attempt, #ttl = :ttl,',
            '"#lane = :ttl, #ttl = :ttl,',
            noticed_by=(f"{_RATE}test_each_lane_keeps_its_own_attempt",),
        ),
        _in(
            "gcra.py",
            "a burst is no permit more",
            "earliest = tat + needed - tolerance\n",
            "earliest = tat - tolerance\n",
            f"{_ENVELOPE}test_with_right_clocks_every_decision_is_that_of_a_plain_limiter",
        ),
        _in(
            "gcra.py",
            "an interval is rounded up",
            "interval = math.ceil(seconds * NS / permits)",
            "interval = math.floor(seconds * NS / permits)",
            "tests/protocol/test_gcra.py::test_an_interval_is_rounded_up_once_and_decimals_are_meant_as_written",
        ),
        _in(
            "gcra.py",
            "an attempt that finds itself was admitted",
            "return meter is not None and meter.lanes.get(lane) == attempt",
            "return False",
            f"{_LIMITER}test_an_answer_lost_twice_is_still_charged_once",
        ),
        _in(
            "gcra.py",
            "an attempt of another is none of ours",
            "meter.lanes.get(lane) == attempt",
            "lane in meter.lanes",
            "tests/protocol/test_gcra.py::test_an_attempt_knows_itself_by_its_id_in_its_lane",
        ),
        _in(
            "admission.py",
            "each sending is reckoned for its own time",
            "            now, tolerance = state.now_ns(), state.rate.tolerance_ns\n",
            "            now, tolerance = self.__dict__.setdefault('first', state.now_ns()), state.rate.tolerance_ns\n",
            f"{_WAITING}test_each_sending_is_of_its_own_time",
        ),
        _in(
            "admission.py",
            "nothing is charged before the time is known",
            "        return self.time.confirmed and not self.time.unsettled\n",
            "        return self.time.known\n",
            f"{_WAITING}test_nothing_is_charged_by_a_time_that_answers_do_not_agree_on",
        ),
        _in(
            "admission.py",
            "each sending asks whether the time is sure",
            "            if not state.is_sure():\n                return Unknown",
            "            if False:\n                return Unknown",
            "tests/test_rate_limiter_faults.py::test_one_odd_date_amid_an_attempt_charges_no_other_time",
        ),
        _in(
            "admission.py",
            "what is due now is not too late",
            "late = denied.retry_in > 0 and state",
            "late = state",
            "tests/test_rate_limiter_faults.py::test_without_time_to_wait_what_is_there_is_had",
        ),
        _in(
            "limiter.py",
            "a closed limiter admits nobody by a charge that was under way",
            "        self._require_open()  # closed while",
            "        pass  # closed while",
            "tests/test_rate_limiter_faults.py::test_a_limiter_that_is_closed_during_a_charge_admits_nobody_by_it",
        ),
        _in(
            "limiter.py",
            "who stands behind one that meets an outage is told of it",
            "        if isinstance(outcome, OutOfTurn) and trouble is not None:\n",
            "        if False:\n",
            "tests/test_rate_limiter_faults.py::test_an_outage_is_told_to_the_first_in_line_and_to_those_behind",
        ),
        _in(
            "admission.py",
            "once unknown, an attempt is followed up through other trouble",
            "isinstance(answer, Unknown) or (unanswered and bool(uncertain))",
            "isinstance(answer, Unknown)",
            f"{_WAITING}test_once_unknown_an_attempt_is_followed_up_through_other_trouble",
        ),
        _in(
            "admission.py",
            "an attempt is not followed up for long",
            "min(self._deadline, state.time.steady() + ATTEMPT_SECONDS)",
            "self._deadline",
            f"{_WAITING}test_an_attempt_is_not_followed_up_for_long",
        ),
        _in(
            "admission.py",
            "those who lose permits to others spread out",
            "spread=min(LONGEST_SPREAD_SECONDS, spread)",
            "spread=0.0",
            f"{_WAITING}test_who_loses_permits_to_others_asks_less_and_less_often",
        ),
        _in(
            "admission.py",
            "whoever is not first in line sends nothing",
            "        if not state.permits.my_turn(waiter, now=state.time.steady()):\n",
            "        if False:\n",
            f"{_WAITING}test_waiters_are_served_in_order_and_nobody_passes_them",
        ),
        _in(
            "permits.py",
            "a prefetched permit is handed out when it is due",
            "if self.in_hand < count or self._due(count) > now:",
            "if self.in_hand < count:",
            f"{_WAITING}test_prefetching_under_load_takes_as_few_requests_and_keeps_the_rate",
        ),
        _in(
            "permits.py",
            "nobody passes those who wait for what is in hand",
            "return not self._places() and self.take(count, now=now)",
            "return self.take(count, now=now)",
            f"{_WAITING}test_what_is_in_hand_goes_to_those_who_wait",
        ),
        _in(
            "permits.py",
            "who will not wait is told of a denial",
            "woken = [waiter for waiter in self._places() if not waiter.patient]",
            "woken = []",
            f"{_WAITING}test_who_will_not_wait_is_told_as_soon_as_the_one_in_front_is_denied",
        ),
        _in(
            "permits.py",
            "a forked child holds none of its parent's permits",
            "        self._queue.clear()\n        self._hand.clear()\n",
            "        self._queue.clear()\n",
            f"{_LIMITER}test_a_forked_child_holds_none_of_its_parents_permits",
        ),
        _in(
            "window.py",
            "a permit's slot stays for a whole period",
            "grace=_checked_period(period),",
            "grace=_checked_period(period) - 1.5,",
            f"{_WINDOW}test_never_more_than_its_permits_in_any_period_of_true_time",
        ),
        _in(
            "window.py",
            "a machine that stood still uses no permit that is over",
            "if time.steady() >= began + allowed or delay > allowed:",
            "if time.steady() >= began + allowed:",
            f"{_WINDOW}test_a_machine_that_stood_still_uses_nothing_that_is_over",
        ),
        _in(
            "window.py",
            "a window with a shorter period is refused",
            "if lease_seconds < self.length() - 1e-6:",
            "if False:",
            f"{_WINDOW}test_a_window_with_a_shorter_period_is_refused_and_with_a_longer_one_used",
        ),
        _in(
            "window.py",
            "there is time for an answer",
            "+ ANSWER_SECONDS) / ",
            "+ 0.5) / ",
            f"{_WINDOW}test_an_answer_may_take_most_of_a_second",
        ),
    ),
)
