"""The time of signatures: by which one a request is signed, and what a refusal for it is not."""

from tests.mutants.mutant import Chapter, Mutant

_DECISION = "_protocol/signing.py"
_BREAKER = "_protocol/batch_breaker.py"
_ATTEMPTS = "_runtime/attempts.py"
_DRIVER = "_runtime/driver.py"
_OWED = "_runtime/owed_release.py"
_TIME = "_state/signing_time.py"
_SIGNING = "dynamodb/signing.py"
_DECISIONS = "tests/protocol/test_signing.py::"
_THREE_TIMES = "test_two_odd_dates_of_refusals_in_a_row_are_withstood_and_no_request_is_sent_for_ever"
_STATE = "tests/state/test_signing_time.py::"
_SIGNED = "tests/dynamodb/test_signing.py::"
_SENT = "tests/runtime/test_driver.py::"

SIGNATURES = Chapter(
    title="The time of signatures",
    mutants=(
        Mutant(
            name="where the wall clock is off, the service's time signs",
            module=_DECISION,
            target="time_to_sign_by",
            code="abs(wall - time) <= TOLERATED_SECONDS",
            without="True",
            noticed_by=(f"{_DECISIONS}test_where_the_wall_clock_is_off_the_services_time_signs",),
        ),
        Mutant(
            name="a refusal outweighs what answers agreed on before",
            module=_DECISION,
            target="time_to_sign_by",
            code="agreed if told is None else told",
            without="told if agreed is None else agreed",
            noticed_by=(f"{_DECISIONS}test_the_last_refusal_outweighs_what_answers_agreed_on_before",),
        ),
        Mutant(
            name="two odd Dates of refusals in a row are withstood",
            module=_DECISION,
            target="MOST_REPEATS",
            code="3",
            without="2",
            noticed_by=(
                f"{_DECISIONS}{_THREE_TIMES}",
                f"{_SENT}test_a_request_refused_for_its_time_is_sent_again_until_two_odd_dates_are_behind_it",
            ),
        ),
        Mutant(
            name="a request is not signed for ever",
            module=_DECISION,
            target="worth_another_signature",
            code="refusals <= MOST_REPEATS",
            without="refusals <= 2 * MOST_REPEATS",
            noticed_by=(f"{_DECISIONS}{_THREE_TIMES}",),
        ),
        Mutant(
            name="what a refusal said rules until three answers agree",
            module=_TIME,
            target="SigningTime.at",
            code="agreed is not None",
            without="",
            noticed_by=(f"{_STATE}test_one_refusal_is_enough_from_the_first_request_on",),
        ),
        Mutant(
            name="what a refusal said rules while answers contradict one another",
            module=_TIME,
            target="SigningTime.at",
            code="not self._time.doubtful",
            without="",
            noticed_by=(f"{_STATE}test_a_machine_that_stood_still_signs_rightly_after_one_refusal",),
        ),
        Mutant(
            name="no single answer overrules the wall clock for signatures",
            module="_state/service_time.py",
            target="ServiceTime.agreed_now",
            code="state.trusted.answers < AGREEING",
            without="False",
            noticed_by=(
                f"{_STATE}test_fewer_answers_than_three_do_not_overrule_a_clock_by_which_requests_are_accepted",
            ),
        ),
        Mutant(
            name="a refusal without a Date is not sent again",
            module=_TIME,
            target="SigningTime.refused",
            code="date is None",
            without="False",
            noticed_by=(
                f"{_STATE}test_a_refusal_without_a_date_is_not_worth_another_signature_and_teaches_nothing",
                f"{_SENT}test_where_no_date_helps_the_refusal_is_the_answer",
            ),
        ),
        Mutant(
            name="only a refusal for the time is sent again",
            module=_DRIVER,
            target="Driver.perform",
            code="reply.answer.untimely",
            without="",
            noticed_by=(f"{_SENT}test_other_refusals_are_not_sent_again",),
        ),
        Mutant(
            name="another signature refused is a refusal of the credentials",
            module=_SIGNING,
            target="is_untimely",
            code="_ITS_TIME_REFUSED.search(said) is not None",
            without="True",
            noticed_by=(f"{_SIGNED}test_which_refusals_are_for_the_time",),
        ),
        Mutant(
            name="what was signed by other credentials is not signed by ours",
            module=_SIGNING,
            target="_sign_anew",
            code="credentials.access_key == signed['key']",
            without="True",
            noticed_by=(f"{_SIGNED}test_what_is_signed_with_other_credentials_or_not_at_all_is_left_as_it_is",),
        ),
        Mutant(
            name="after our request, the thread signs by the wall clock again",
            module=_SIGNING,
            target="call",
            code="_signing.reset(before)",
            without="",
            noticed_by=(f"{_SIGNED}test_only_what_is_called_through_us_is_signed_by_the_services_time",),
        ),
        Mutant(
            name="batches do not rest for a signature or its credentials",
            module=_BREAKER,
            target="_says_nothing",
            code="answer.unexamined",
            without="False",
            noticed_by=("tests/protocol/test_batch_breaker.py::test_what_a_batchs_answers_tell",),
        ),
        Mutant(
            name="no lease leaves its batch for a signature or its credentials",
            module=_ATTEMPTS,
            target="_is_for_itself",
            code="not answer.unexamined",
            without="",
            noticed_by=(
                "tests/runtime/test_renewer.py::test_where_only_a_batchs_signature_is_refused_batches_go_on_and_no_lease_leaves_its_batch",
            ),
        ),
        Mutant(
            name="a release refused for the time of its signature is sent again",
            module=_OWED,
            target="OwedRelease.note",
            code="not answer.untimely",
            without="True",
            noticed_by=(
                "tests/test_lease_serial.py::test_a_release_refused_for_the_time_of_its_signature_is_sent_again_until_it_works",
            ),
        ),
    ),
)
