"""Leaders, and leases that fit an invocation."""

from tests.mutants.mutant import Chapter, Mutant

_LEADER = "leader.py"
_LEADER_TESTS = "tests/test_leader.py"
_LAMBDA_TESTS = "tests/test_lambda_handler.py"

LEADING = Chapter(
    title="Leaders, and leases that fit an invocation",
    mutants=(
        Mutant(
            name="a slot other than the first makes no leader",
            module="_runtime/leadership.py",
            target="require_one_leader",
            code="slot == 0 and tokens == 1",
            without="tokens == 1",
            noticed_by=(f"{_LEADER_TESTS}::test_a_slot_of_a_bucket_that_grew_unseen_makes_no_leader",),
        ),
        Mutant(
            name="the place is given away only when the lost-callback has returned",
            module=_LEADER,
            target="Tenure.end",
            code="self._core.runtime.heartbeat().call_back(self._ended, line=self._core.driver)",
            without="self._over = True",
            noticed_by=(f"{_LEADER_TESTS}::test_a_leader_is_told_that_it_leads_and_that_it_does_not_any_more",),
        ),
        Mutant(
            name="the lost-callback is called once",
            module=_LEADER,
            target="Tenure._ended",
            code="not self._once.acquire(blocking=False)",
            without="False",
            noticed_by=(f"{_LEADER_TESTS}::test_the_lost_callback_is_called_once_even_if_it_stops_the_leader",),
        ),
        Mutant(
            name="a leader that was asked for its place stands aside",
            module=_LEADER,
            target="_run",
            code="held.lost is LossReason.REVOKED",
            without="False",
            noticed_by=(f"{_LEADER_TESTS}::test_who_was_asked_for_the_place_stands_aside_for_others",),
        ),
        Mutant(
            name="a task's work ends with its leadership",
            module="aio/leader.py",
            target="_lead",
            code="(work, *ends)",
            without="ends",
            noticed_by=("tests/aio/test_leader.py::test_it_leads_until_it_is_stopped_and_its_work_is_cancelled",),
        ),
        Mutant(
            name="the exit ends a tenure before anything is released",
            module="_runtime/bucket_core.py",
            target="BucketCore.at_exit",
            code="self.before_exit is not None",
            without="False",
            noticed_by=(
                f"{_LEADER_TESTS}::test_the_exit_ends_the_tenure_before_it_releases",
                "tests/aio/test_leader.py::test_the_exit_ends_its_work_before_it_releases",
            ),
        ),
        Mutant(
            name="a join in the lost-callback does not wait for itself",
            module=_LEADER,
            target="Tenure.tells_here",
            code="self._telling is threading.current_thread()",
            without="False",
            noticed_by=(f"{_LEADER_TESTS}::test_a_join_in_on_lost_does_not_wait_for_itself",),
        ),
        Mutant(
            name="a loop of an earlier election ends",
            module=_LEADER,
            target="Leader.pause",
            code="lease != tenure.lease",
            without="False",
            noticed_by=(f"{_LEADER_TESTS}::test_a_loop_of_an_earlier_election_ends",),
        ),
        Mutant(
            name="a handler's release takes no more time than the invocation has",
            module="_runtime/held_lease.py",
            target="HeldLease.release",
            code="min(RELEASE_SECONDS, left)",
            without="RELEASE_SECONDS",
            noticed_by=(
                f"{_LAMBDA_TESTS}::test_a_release_without_an_answer_takes_no_more_time_than_the_invocation_has",
            ),
        ),
        Mutant(
            name="a lease that fits an invocation is as long as that",
            module="_operations/slot_writes.py",
            target="_lease_ms",
            code="self.until is None",
            without="True",
            noticed_by=(
                f"{_LAMBDA_TESTS}::test_the_lease_is_as_long_as_the_invocation_may_take_and_the_margin_longer",
            ),
        ),
        Mutant(
            name="a lease that fits an invocation needs no thread",
            module="_runtime/acquiring.py",
            target="acquire_held",
            code="until is None",
            without="True",
            noticed_by=(f"{_LAMBDA_TESTS}::test_nothing_renews_it_and_no_thread_is_started",),
        ),
        Mutant(
            name="a wait is never longer than the invocation",
            module="_runtime/invocations.py",
            target="Fitting.acquire",
            code="min(wanted, most)",
            without="wanted",
            noticed_by=(f"{_LAMBDA_TESTS}::test_it_waits_for_a_slot_but_never_longer_than_the_invocation",),
        ),
    ),
)
