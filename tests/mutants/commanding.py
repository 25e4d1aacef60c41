"""What the command line promises: what was typed counts, and what it says about a wait reaches nothing else."""

from tests.mutants.mutant import Chapter, Mutant

COMMANDS = Chapter(
    title="The command line",
    mutants=(
        Mutant(
            name="what was typed leaves out what contradicts it",
            module="cli/defaults.py",
            target="fill",
            code="levels[dest] < highest",
            without="False",
            noticed_by=("tests/cli/test_defaults.py::test_what_was_typed_leaves_out_what_contradicts_it",),
        ),
        Mutant(
            name="what one call does is only ever typed",
            module="cli/defaults.py",
            target="fill",
            code="actions.keys() - options.given - only_typed_of(leaf)",
            without="actions.keys() - options.given",
            noticed_by=("tests/cli/test_defaults.py::test_what_one_call_does_is_only_ever_typed",),
        ),
        Mutant(
            name="a bucket is made only if it was said how many tokens it is to have",
            module="cli/asked_bucket.py",
            target="asked_bucket",
            code="max_tokens is None or options.grace is not None",
            without="False",
            noticed_by=(
                "tests/cli/test_run.py::test_a_bucket_is_made_only_if_it_was_said_how_many_tokens_it_is_to_have",
            ),
        ),
        Mutant(
            name="of settings that were not typed nothing is said",
            module="cli/settings_notice.py",
            target="different",
            code='"max_tokens" in options.given',
            without="True",
            noticed_by=("tests/cli/test_settings_notice.py::test_only_what_was_typed_is_told_of",),
        ),
        Mutant(
            name="a terminal that hangs does not hold up the end of a wait",
            module="cli/waiting.py",
            target="__exit__",
            code="self._thread.join(LEAVE_SECONDS)",
            without="self._thread.join()",
            noticed_by=("tests/cli/test_waiting.py::test_a_terminal_that_hangs_does_not_hold_up_the_end",),
        ),
        Mutant(
            name="a wait that fails leaves no line on the terminal",
            module="cli/waiting.py",
            target="_say_end",
            code="streams.clear_line()",
            without="",
            noticed_by=("tests/cli/test_waiting.py::test_a_wait_that_fails_leaves_no_line_on_the_terminal",),
        ),
        Mutant(
            name="in an outage a watch keeps the last table",
            module="cli/status.py",
            target="_watch",
            code="isinstance(error, StoreUnavailable)",
            without="False",
            noticed_by=(
                "tests/cli/test_commands.py::test_in_an_outage_a_watch_keeps_the_last_table_and_says_how_old_it_is",
            ),
        ),
    ),
)
