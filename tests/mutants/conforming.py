"""What `ddb-lease conform` promises: it asks, it tells every difference, and it leaves nothing behind."""

from tests.mutants.mutant import Chapter, Mutant

_OWN = "cli/conform/own_table.py"
_PROBE = "cli/conform/probe.py"
_RUNNING = "cli/conform/running.py"
_MEASURING = "cli/conform/measuring.py"
_DROPPING = "dynamodb/dropping.py"
_OWN_TABLE = "tests/conformance/test_own_table.py"
_COMMAND = "tests/conformance/test_command.py"
_PROBES = "tests/conformance/test_probes.py"

CONFORMING = Chapter(
    title="Trying out the service",
    mutants=(
        Mutant(
            name="a table that is there already is left alone",
            module=_OWN,
            target="own_table",
            code="require_absent(client, name)",
            without="",
            noticed_by=(f"{_OWN_TABLE}::test_a_table_that_is_there_already_is_left_alone",),
        ),
        Mutant(
            name="the first signal is the only one that raises",
            module=_OWN,
            target="Ends._end",
            code="self._raises = False",
            without="",
            noticed_by=(f"{_OWN_TABLE}::test_a_second_signal_raises_nothing",),
        ),
        Mutant(
            name="a signal does not cut the deletion short",
            module=_OWN,
            target="own_table",
            code="ends.raise_no_more()",
            without="pass",
            noticed_by=(f"{_OWN_TABLE}::test_a_signal_at_any_moment_does_not_keep_the_table",),
        ),
        Mutant(
            name="a second signal ends a deletion that does not succeed",
            module=_OWN,
            target="_drop",
            code="ends.count > before",
            without="False",
            noticed_by=(f"{_OWN_TABLE}::test_a_second_signal_ends_a_deletion_that_does_not_succeed",),
        ),
        Mutant(
            name="a deletion that fails masks nothing",
            module=_OWN,
            target="_drop",
            code="return error",
            without="raise",
            noticed_by=(f"{_OWN_TABLE}::test_a_deletion_that_fails_masks_nothing",),
        ),
        Mutant(
            name="a creation that may still arrive is waited for",
            module=_DROPPING,
            target="drop_table",
            code="sure or clock.steady() - begun > _SURELY_MISSING_SECONDS",
            without="True",
            noticed_by=(f"{_OWN_TABLE}::test_a_creation_that_is_interrupted_and_arrives_late_is_deleted_all_the_same",),
        ),
        Mutant(
            name="a deletion ends in time",
            module=_DROPPING,
            target="drop_table",
            code="give_up() or stop_in_time(state)",
            without="give_up() or clock.steady() - begun > 10000",
            noticed_by=(f"{_OWN_TABLE}::test_a_deletion_without_answer_ends_in_time",),
        ),
        Mutant(
            name="nothing is sent before a person has agreed",
            module=_RUNNING,
            target="execute",
            code="options.yes or options.local",
            without="True",
            noticed_by=(f"{_COMMAND}::test_without_a_terminal_it_asks_for_yes_and_sends_nothing",),
        ),
        Mutant(
            name="a difference shows in the exit code",
            module=_RUNNING,
            target="_Run.through",
            code="exits.DIFFERENT if self._different else 0",
            without="0",
            noticed_by=(f"{_COMMAND}::test_a_difference_shows_both_answers_and_the_request_id_and_the_exit_code",),
        ),
        Mutant(
            name="items that are not as they should be are a difference",
            module=_PROBE,
            target="judge",
            code="_trouble(probe, left)",
            without="''",
            noticed_by=(f"{_PROBES}::test_an_answer_a_cost_a_reading_or_an_item_that_differs_is_a_difference",),
        ),
        Mutant(
            name="an item that came along is compared",
            module=_PROBE,
            target="_with_item",
            code="before.get(item.get('sk', {}).get('S', '')) == stripped",
            without="True",
            noticed_by=(f"{_PROBES}::test_an_answer_is_told_by_its_codes_and_items",),
        ),
        Mutant(
            name="Dates that contradict each other are told",
            module=_MEASURING,
            target="measure_dates",
            code="found.width >= -skew",
            without="True",
            noticed_by=(f"{_PROBES}::test_a_front_end_whose_clock_is_off_by_more_than_assumed_is_told",),
        ),
        Mutant(
            name="what is answered but not written is told",
            module=_MEASURING,
            target="_judged",
            code="adds_up and not strange",
            without="not strange",
            noticed_by=(f"{_PROBES}::test_a_transaction_that_is_answered_but_not_carried_out_is_told",),
        ),
    ),
)
