"""What an answer of DynamoDB's says, and what it does not."""

from tests.mutants.mutant import Chapter, Mutant

_ANSWERS = "dynamodb/answers.py"
_CLIENT = "dynamodb/client.py"
_FAILURES = "dynamodb/failures.py"
_TABLE = "dynamodb/table.py"

ANSWERS = Chapter(
    title="What an answer says",
    mutants=(
        Mutant(
            name="a conflict is not a failed condition",
            module=_ANSWERS,
            target="_cancelled",
            code="any(code in _CONFLICT for code in codes)",
            without="False",
            noticed_by=(
                "tests/dynamodb/test_answers.py::test_a_cancelled_transaction_is_what_its_weightiest_reason_says",
            ),
        ),
        Mutant(
            name="a transaction that is in progress is told from a lost answer",
            module=_ANSWERS,
            target="_read_client_error",
            code="code == _IN_PROGRESS",
            without="False",
            noticed_by=(
                "tests/dynamodb/test_answers.py::test_a_transaction_that_is_under_way_is_unknown_and_is_to_be_asked_for_again",
            ),
        ),
        Mutant(
            name="an invalid item counts more than a failed condition",
            module=_ANSWERS,
            target="_cancelled",
            code="_INVALID in codes",
            without="False",
            noticed_by=(
                "tests/dynamodb/test_answers.py::test_a_cancelled_transaction_is_what_its_weightiest_reason_says",
            ),
        ),
        Mutant(
            name="a failed condition counts more than a conflict",
            module=_ANSWERS,
            target="_cancelled",
            code="_FAILED in codes",
            without="_FAILED in codes and not any(code in _CONFLICT for code in codes)",
            noticed_by=(
                "tests/dynamodb/test_answers.py::test_a_cancelled_transaction_is_what_its_weightiest_reason_says",
            ),
        ),
        Mutant(
            name="after an error that is not DynamoDB's the outcome is unknown",
            module=_ANSWERS,
            target="_read_client_error",
            code="not genuine",
            without="",
            noticed_by=("tests/dynamodb/test_answers.py::test_what_did_not_come_from_the_service_leaves_it_unknown",),
        ),
        Mutant(
            name="after a lost answer the outcome is unknown",
            module=_FAILURES,
            target="read_exception",
            code="Unknown(cause=error, raised_here=_raised_here(error))",
            without="Unsent(cause=error)",
            noticed_by=("tests/dynamodb/test_answers.py::test_a_lost_answer_leaves_it_unknown",),
        ),
        Mutant(
            name="a provider of credentials that fails may work the next time",
            module=_FAILURES,
            target="read_exception",
            code="while_fetching_credentials(error)",
            without="False",
            noticed_by=(
                "tests/dynamodb/test_answers.py::test_a_provider_of_credentials_that_fails_may_work_the_next_time",
            ),
        ),
        Mutant(
            name="why the time is not known is told",
            module="_operations/sync_time.py",
            target="without_time",
            code="failed is None",
            without="True",
            noticed_by=(
                "tests/operations/test_sync_time.py::test_before_the_first_answer_a_failure_ends_the_asking_and_is_told",
            ),
        ),
        Mutant(
            name="only DynamoDB's own answers tell the time",
            module=_ANSWERS,
            target="envelope",
            code="return False, None",
            without="return True, None",
            noticed_by=("tests/dynamodb/test_answers.py::test_what_did_not_come_from_the_service_leaves_it_unknown",),
        ),
        Mutant(
            name="a 200 OK that is not DynamoDB's own grants no lease",
            module=_ANSWERS,
            target="read_reply",
            code="not genuine",
            without="False",
            noticed_by=("tests/dynamodb/test_client.py::test_a_200_ok_without_a_request_id_is_no_lease",),
        ),
        Mutant(
            name="a hot key range is told from the account's quota",
            module=_ANSWERS,
            target="_read_client_error",
            code="limit_of(error)",
            without="'unknown'",
            noticed_by=("tests/dynamodb/test_answers.py::test_what_throttles_is_told",),
        ),
        Mutant(
            name="a table that is being changed is usable",
            module=_TABLE,
            target="_USABLE",
            code='("ACTIVE", "UPDATING")',
            without='("ACTIVE",)',
            noticed_by=("tests/dynamodb/test_table.py::test_a_table_that_is_being_changed_is_usable",),
        ),
        Mutant(
            name="whether TTL is on is asked again after a refusal",
            module=_TABLE,
            target="enable_ttl",
            code='error_code(error) == "ValidationException"',
            without="False",
            noticed_by=("tests/dynamodb/test_table.py::test_ttl_that_another_turned_on_meanwhile_is_on",),
        ),
        Mutant(
            name="an old global table is recognised by its version",
            module="dynamodb/global_tables.py",
            target="why_unfit",
            code='described.get("GlobalTableVersion") == OLD',
            without="False",
            noticed_by=("tests/dynamodb/test_table.py::test_what_a_description_tells_of_a_global_table",),
        ),
        Mutant(
            name="an old global table is asked for",
            module=_TABLE,
            target="require_fit",
            code="{} if new else self._describe_global()",
            without="{}",
            noticed_by=("tests/dynamodb/test_table.py::test_a_global_table_of_the_old_kind_will_not_do",),
        ),
        Mutant(
            name="a batch is trusted only where it shows our lease",
            module=_ANSWERS,
            target="_one_of_each",
            code="lease.lease_id == renew.lease_id",
            without="",
            noticed_by=("tests/runtime/test_renewer.py::test_whatever_else_is_said_says_nothing",),
        ),
        Mutant(
            name="a batch is trusted only where it shows the new expiry",
            module=_ANSWERS,
            target="_one_of_each",
            code="lease.expires_at >= renew.expires_at",
            without="",
            noticed_by=("tests/runtime/test_renewer.py::test_whatever_else_is_said_says_nothing",),
        ),
        Mutant(
            name="botocore does not retry",
            module=_CLIENT,
            target="_config",
            code="1",
            without="3",
            noticed_by=("tests/dynamodb/test_client.py::test_a_request_is_sent_once_and_never_again_by_botocore",),
        ),
    ),
)
