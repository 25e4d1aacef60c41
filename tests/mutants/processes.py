"""What a fork, an exit and a closed bucket do, and what a process remembers."""

from tests.mutants.mutant import Chapter, Mutant

_BUCKET_CORE = "_runtime/bucket_core.py"
_CLIENT = "dynamodb/client.py"
_HELD_LEASE = "_runtime/held_lease.py"
_HINTS = "_state/hints.py"
_PROCESS = "_runtime/process.py"
_RENEWER = "_runtime/renewer.py"
_STORE = "dynamodb/store.py"

PROCESSES = Chapter(
    title="Processes: forks, exit, connections, hints",
    mutants=(
        Mutant(
            name="a fork reaches every bucket of the process",
            module=_PROCESS,
            target="_after_fork_in_child",
            code="inhabitant.after_fork_in_child()",
            without="",
            noticed_by=(
                "tests/runtime/test_crashes.py::test_a_forked_child_holds_nothing_releases_nothing_and_can_acquire_by_itself",
            ),
        ),
        Mutant(
            name="a thread whose join SIGTERM interrupts keeps its lease until it ends",
            module="signals.py",
            target="_joined_in",
            code="frame.f_code.co_name != _JOINING",
            without="True",
            noticed_by=("tests/runtime/test_exits.py::test_threads_hold_their_leases_until_they_end_by_sigterm",),
        ),
        Mutant(
            name="a forked child shares no connection",
            module=_STORE,
            target="send",
            code="self._renew_after_fork()",
            without="",
            noticed_by=(
                "tests/dynamodb/test_client.py::test_a_forked_child_makes_a_client_of_its_own_before_its_first_request_and_not_before",
                "tests/dynamodb/test_client.py::test_a_forked_child_drops_the_connections_of_a_client_of_the_users_own",
            ),
        ),
        Mutant(
            name="timeouts stay under a third of a lease",
            module=_CLIENT,
            target="timeout_for",
            code="max(_SHORTEST, min(_LONGEST, lease_seconds / 10))",
            without="60.0",
            noticed_by=(
                "tests/dynamodb/test_client.py::test_timeouts_stay_under_a_third_of_the_lease_where_a_handshake_allows",
            ),
        ),
        Mutant(
            name="what is dropped before its turn and added again amid it is due when the adder said",
            module="_runtime/heartbeat.py",
            target="Heartbeats._beat",
            code="entry is not None",
            without="True",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_what_was_dropped_before_its_beat_and_is_added_amid_it_is_due_when_the_adder_said",
            ),
        ),
        Mutant(
            name="a forked child renews nothing that waited in its parent",
            module=_PROCESS,
            target="_after_fork_in_child",
            code="_heartbeats = None",
            without="",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_a_forked_child_has_a_heartbeat_and_workers_of_its_own_where_nothing_of_its_parents_waits",
            ),
        ),
        Mutant(
            name="a forked child holds nothing",
            module=_HELD_LEASE,
            target="abandon_to_parent",
            code="self._forked = True",
            without="",
            noticed_by=(
                "tests/runtime/test_crashes.py::test_a_forked_child_holds_nothing_releases_nothing_and_can_acquire_by_itself",
            ),
        ),
        Mutant(
            name="an older counter does not replace a newer",
            module=_HINTS,
            target="learn_counter",
            code="sure or known is None or counter.rev >= known.rev",
            without="True",
            noticed_by=("tests/state/test_hints.py::test_the_newest_counter_is_kept_and_other_settings_are_told",),
        ),
        Mutant(
            name="a closed bucket acquires no more",
            module=_BUCKET_CORE,
            target="begin_closing",
            code="self.state.close()",
            without="",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_a_closed_bucket_acquires_no_more_and_holds_nothing",
            ),
        ),
        Mutant(
            name="a forked child forgets its parent's leases",
            module=_BUCKET_CORE,
            target="after_fork_in_child",
            code="lease.abandon_to_parent()",
            without="",
            noticed_by=(
                "tests/runtime/test_crashes.py::test_a_forked_child_holds_nothing_releases_nothing_and_can_acquire_by_itself",
            ),
        ),
        Mutant(
            name="a forked child waits for no probe of its parent's",
            module=_RENEWER,
            target="after_fork_in_child",
            code="self._breaker = self._breaker.after_fork_in_child()",
            without="",
            noticed_by=(
                "tests/runtime/test_renewer.py::test_a_forked_child_hands_renewals_to_its_own_workers_and_waits_for_no_probe_of_its_parents",
            ),
        ),
        Mutant(
            name="a bucket is kept alive while it holds leases",
            module=_BUCKET_CORE,
            target="_lease_context",
            code="LeaseContext(bucket=self, state=self.state, driver=self.driver, heartbeats=self.runtime.heartbeat(), renewer=self._renewer, leases=self.leases, owed=self.owed, runtime=self.runtime, connection=self.connection, reporter=self.reporter, table=self.table)",
            without="LeaseContext(bucket=None, state=self.state, driver=self.driver, heartbeats=self.runtime.heartbeat(), renewer=self._renewer, leases=self.leases, owed=self.owed, runtime=self.runtime, connection=self.connection, reporter=self.reporter, table=self.table)",
            noticed_by=("tests/runtime/test_crashes.py::test_a_process_that_ends_releases_what_it_holds",),
        ),
        Mutant(
            name="what is owed is released at the exit",
            module=_BUCKET_CORE,
            target="BucketCore.at_exit",
            code="{**self.leases, **self.owed}",
            without="{**self.leases}",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_what_is_still_owed_at_the_interpreters_exit_is_sent_once_more",
            ),
        ),
        Mutant(
            name="nothing is leased after the release at the exit",
            module=_BUCKET_CORE,
            target="BucketCore.at_exit",
            code="self.state.close_for_exit()",
            without="",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_after_the_release_at_the_exit_nothing_is_leased_any_more",
            ),
        ),
        Mutant(
            name="a child of multiprocessing releases when it ends",
            module="_runtime/endings.py",
            target="expect",
            code="util.Finalize(None, _after_threads, args=(at_exit,), exitpriority=_LATE)",
            without="",
            noticed_by=("tests/runtime/test_exits.py::test_children_that_end_release_what_they_hold",),
        ),
        Mutant(
            name="a thread that still works keeps its lease",
            module="_runtime/endings.py",
            target="_after_threads",
            code="not others",
            without="True",
            noticed_by=(
                "tests/runtime/test_exits.py::test_a_childs_thread_that_still_works_keeps_its_lease_until_it_ends",
            ),
        ),
    ),
)
