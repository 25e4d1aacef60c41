"""Rates in an outage: how long a decision waits, who asks the service, what this process admits by itself."""

from tests.mutants.mutant import Chapter, Mutant

_BOOKING = "_operations/rates/booking.py"
_CONTACT = "_protocol/rates/contact.py"
_LOCAL_BOOK = "_state/rates/local_book.py"
_LOCAL_SHARE = "_protocol/rates/local_share.py"
_SERVICE_CONTACT = "_state/rates/service_contact.py"
_WITHOUT_ANSWER = "tests/operations/rates/test_without_answer.py"

OUTAGES = Chapter(
    title="Rates in an outage",
    mutants=(
        Mutant(
            name="a decision waits for its budget at most",
            module=_BOOKING,
            target="_gives_up",
            code="contact.gives_up(since=since, now=now)",
            without="False",
            noticed_by=(f"{_WITHOUT_ANSWER}::test_each_decision_is_made_within_its_budget",),
        ),
        Mutant(
            name="a budget begins with the call",
            module=_BOOKING,
            target="_gives_up",
            code="max(book.failing_since, booking.began)",
            without="-1e9",
            noticed_by=(
                f"{_WITHOUT_ANSWER}::test_a_request_that_is_throttled_for_a_whole_budget_is_decided_here_and_is_no_outage",
            ),
        ),
        Mutant(
            name="in an outage one caller at a time asks",
            module=_CONTACT,
            target="Contact.probed",
            code="now + max(PROBE_SECONDS, budget)",
            without="now",
            noticed_by=("tests/protocol/rates/test_contact.py::test_in_an_outage_one_caller_at_a_time_asks",),
        ),
        Mutant(
            name="a probe sends one request",
            module=_BOOKING,
            target="_Tries._budget_ends",
            code="contact.down",
            without="False",
            noticed_by=(f"{_WITHOUT_ANSWER}::test_in_an_outage_all_but_one_caller_a_second_are_answered_at_once",),
        ),
        Mutant(
            name="the first answer of all ends the outage for its own call",
            module="_operations/rates/preparing.py",
            target="prepare_to_charge",
            code="budget_ends()",
            without="0.0",
            noticed_by=(f"{_WITHOUT_ANSWER}::test_the_first_answer_of_all_ends_an_outage_for_the_call_that_gets_it",),
        ),
        Mutant(
            name="a try does not wait for those in front who wait for others",
            module=_BOOKING,
            target="_Tries._behind_others",
            code="relied if waits else last_seen(book)",
            without="relied",
            noticed_by=(
                "tests/operations/rates/test_settling.py::test_a_try_behind_a_reservation_that_waits_is_denied_at_once",
            ),
        ),
        Mutant(
            name="an answer while a request hangs is no outage",
            module=_CONTACT,
            target="Contact.unanswered",
            code="sent < self.answered_at",
            without="False",
            noticed_by=(
                "tests/protocol/rates/test_contact.py::test_an_outage_begins_when_nothing_that_was_sent_since_the_last_answer_is_answered_for_long",
            ),
        ),
        Mutant(
            name="what may not come from the service says nothing of it",
            module=_SERVICE_CONTACT,
            target="ServiceContact.note",
            code="isinstance(answer, Rejected) or (isinstance(answer, Unknown) and answer.raised_here)",
            without="False",
            noticed_by=(
                "tests/state/rates/test_service_contact.py::test_what_may_not_come_from_the_service_says_nothing",
            ),
        ),
        Mutant(
            name="a share is exact for several limits",
            module=_LOCAL_SHARE,
            target="charged",
            code="max(found.tat, due)",
            without="found.tat",
            noticed_by=(
                "tests/protocol/rates/test_local_share.py::test_after_a_quiet_time_the_burst_is_to_be_had_and_no_more",
            ),
        ),
        Mutant(
            name="a share is rounded to the strict side",
            module=_LOCAL_SHARE,
            target="_part",
            code="-(-limit.interval // part)",
            without="limit.interval // part",
            noticed_by=(
                "tests/protocol/rates/test_local_share.py::test_a_share_is_slower_by_its_factor_and_has_a_smaller_burst_and_one_permit_at_least",
            ),
        ),
        Mutant(
            name="a key that gets an entry of its own begins where the shared one stands",
            module=_LOCAL_BOOK,
            target="LocalBook._entry",
            code="(len(self._keys) < MOST_KEYS, self._shared)",
            without="(len(self._keys) < MOST_KEYS, None)",
            noticed_by=(
                "tests/state/rates/test_local_book.py::test_a_key_that_gets_an_entry_of_its_own_begins_where_the_shared_one_stands",
            ),
        ),
        Mutant(
            name="keys whose permits are not paid for are kept",
            module=_LOCAL_BOOK,
            target="LocalBook._entry",
            code="is_idle(self._keys[old], now=now)",
            without="True",
            noticed_by=(
                "tests/state/rates/test_local_book.py::test_each_key_has_its_share_of_the_burst_and_then_of_the_rate",
            ),
        ),
        Mutant(
            name="a check is denied only where something known denies it",
            module="_runtime/rates/limiter_core.py",
            target="RateLimiterCore._unanswered",
            code="is_undecided(state, state.book(wish.key), wish.wanted, outcome)",
            without="False",
            noticed_by=(
                "tests/runtime/rates/test_limiter_core.py::test_a_check_ends_with_a_denial_only_where_something_known_denies_it",
            ),
        ),
        Mutant(
            name="a task's request that gets no thread in time is not sent",
            module="aio/driver.py",
            target="Driver._carry_out",
            code="within is None",
            without="True",
            noticed_by=("tests/faults/test_rate_outage.py::test_tasks_in_an_outage_do_not_wait_for_one_another",),
        ),
    ),
)
