"""What guards promise: a body runs under them, or its caller hears of it."""

from tests.mutants.mutant import Chapter, Mutant

GUARDS = Chapter(
    title="What guards a body",
    mutants=(
        Mutant(
            name="a function whose body would run later is not decorated",
            module="_runtime/decorators.py",
            target="decorate",
            code="kind is not Kind.PLAIN",
            without="False",
            noticed_by=("tests/runtime/test_decorators.py::test_a_body_that_would_run_later_is_refused_at_once",),
        ),
        Mutant(
            name="a call that leaves work for later raises",
            module="_runtime/decorators.py",
            target="decorate",
            code="_require_finished(function, result, wording)",
            without="",
            noticed_by=(
                "tests/runtime/test_decorators.py::test_work_that_a_plain_function_leaves_for_later_is_an_error_of_the_call",
            ),
        ),
        Mutant(
            name="a block that only closes is entered once",
            module="_runtime/block.py",
            target="enter",
            code="not self._entered.acquire(blocking=False)",
            without="False",
            noticed_by=("tests/test_blocks.py::test_an_entered_one_cannot_be_entered_again_and_stays_open",),
        ),
        Mutant(
            name="a lease that a block of the other API refuses is given back",
            module="_runtime/mistaken.py",
            target="__enter__",
            code="self._give_up()",
            without="",
            noticed_by=("tests/test_blocks.py::test_a_lease_of_asyncio_that_a_plain_block_refuses_is_given_back",),
        ),
        Mutant(
            name="a lease that its own block holds is not given back by another one",
            module="lease.py",
            target="_give_up",
            code="not self._entered",
            without="True",
            noticed_by=("tests/test_blocks.py::test_a_lease_that_an_async_block_refuses_is_given_back",),
        ),
        Mutant(
            name="an acquire that is refused as a block never begins",
            module="aio/acquiring.py",
            target="__enter__",
            code="self.close()",
            without="",
            noticed_by=("tests/test_blocks.py::test_an_acquire_of_asyncio_is_no_block_and_nothing_was_sent",),
        ),
        Mutant(
            name="a loss that run tells is not in the log too",
            module="cli/loss_log.py",
            target="filter",
            code="record.msg == LOST_TEXT",
            without="False",
            noticed_by=("tests/cli/test_run.py::test_a_lost_lease_ends_the_command_and_is_told",),
        ),
        Mutant(
            name="used permits are no leases that somebody holds",
            module="cli/setup.py",
            target="_stop",
            code="not lease.is_permit",
            without="True",
            noticed_by=("tests/cli/test_commands.py::test_used_permits_of_a_window_are_no_leases_that_somebody_holds",),
        ),
        Mutant(
            name="what waits for an earlier engine is told once",
            module="local/waiting.py",
            target="news",
            code="_told & new.keys()",
            without="()",
            noticed_by=("tests/local/test_engine_successor.py::test_connecting_tells_what_is_waited_for",),
        ),
        Mutant(
            name="a refused connection to an engine that has ended is no outage",
            module="dynamodb/failures.py",
            target="with_reason",
            code="isinstance(error, aws.EndpointConnectionError)",
            without="False",
            noticed_by=(
                "tests/dynamodb/test_endpoint.py::test_a_program_whose_engine_has_ended_is_told_so_and_what_to_do",
            ),
        ),
        Mutant(
            name="no callback is a coroutine function that nobody awaits",
            module="_runtime/arguments.py",
            target="require_callback",
            code="kind is Kind.COROUTINE and coroutines is not None",
            without="False",
            noticed_by=("tests/test_arguments.py::test_a_coroutine_function_is_no_callback_where_nobody_awaits_it",),
        ),
        Mutant(
            name="a wait that others can end is not taken for one for oneself",
            module="_runtime/own_holders.py",
            target="waits_for_itself",
            code="len(ours) < len(self._seen)",
            without="",
            noticed_by=("tests/test_dropped.py::test_a_wait_that_others_can_end_is_not_warned_of",),
        ),
        Mutant(
            name="a released lease is not watched",
            module="_runtime/held_lease.py",
            target="begin_release",
            code="self.handle = None",
            without="",
            noticed_by=(
                "tests/test_interrupts.py::test_a_decorated_function_that_is_interrupted_at_any_point_leaves_nothing_leased",
            ),
        ),
    ),
)
