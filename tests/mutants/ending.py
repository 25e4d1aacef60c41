"""Leases that their own process ends under their holders: by their ids, in a reset, by a mark, or with their bucket."""

from tests.mutants.mutant import Chapter, Mutant

_ENDING = "_runtime/ending.py"
_OWED = "_runtime/owed_release.py"
_STOPPING = "_runtime/stopping.py"
_HERE = "tests/test_lease_ended_here.py::"
_BLOCKS = "tests/test_lease_ended_in_blocks.py::"
_AIO = "tests/aio/test_ended_here.py::"
_WAITED = "tests/runtime/test_stopping.py::"

ENDING = Chapter(
    title="Ended under their holders",
    mutants=(
        Mutant(
            name="who ends a lease by its id tells its holder first",
            module=_ENDING,
            target="tell_holder",
            code="held.lose(LossReason.RELEASED, why=why)",
            without="",
            noticed_by=(f"{_HERE}test_the_holder_is_told_before_the_slot_is_given_back",),
        ),
        Mutant(
            name="the slot is kept while a holder that was told has its grace",
            module=_ENDING,
            target="tell_holder",
            code="held.end.stopping.begin()",
            without="",
            noticed_by=(f"{_HERE}test_a_callback_of_a_loss_before_has_the_grace_too",),
        ),
        Mutant(
            name="a block that ends its own lease by its id loses nothing",
            module=_ENDING,
            target="tell_holder",
            code="if held.end.stopping.works_here(here): return False",
            without="",
            noticed_by=(
                f"{_BLOCKS}test_a_block_that_ends_its_own_lease_by_its_id_is_its_holder",
                f"{_AIO}test_a_task_that_ends_the_lease_of_its_own_block_is_its_holder",
            ),
        ),
        Mutant(
            name="a guarded block has ended before its slot is given back",
            module=_STOPPING,
            target="_has_stopped",
            code="not any(guarded for _, guarded in self._working())",
            without="",
            noticed_by=(f"{_AIO}test_nobody_has_the_slot_before_the_block_has_ended",),
        ),
        Mutant(
            name="nobody waits for a block that nothing ends",
            module=_STOPPING,
            target="_has_stopped",
            code="any(guarded for _, guarded in self._working())",
            without="self._working()",
            noticed_by=(
                f"{_WAITED}test_only_a_guarded_block_is_waited_for_once_the_callback_has_returned",
                f"{_BLOCKS}test_a_block_of_a_thread_is_told_and_not_waited_for_as_nothing_ends_it",
            ),
        ),
        Mutant(
            name="a lost-callback that ends its lease again does not wait for itself",
            module=_STOPPING,
            target="_has_stopped",
            code="_calling.get() is self",
            without="False",
            noticed_by=(f"{_HERE}test_a_callback_that_ends_the_lease_again_does_not_wait_for_itself",),
        ),
        Mutant(
            name="of two that end a lease by its id, one has ended it",
            module=_OWED,
            target="OwedRelease.claim_end",
            code="ended, self._unclaimed = self._unclaimed, False",
            without="ended = self._unclaimed",
            noticed_by=(
                f"{_HERE}test_of_two_that_release_it_at_once_both_wait_and_one_has_ended_it",
                f"{_AIO}test_of_two_that_release_it_at_once_one_has_ended_it",
            ),
        ),
        Mutant(
            name="closing a bucket tells the blocks of other threads",
            module="bucket.py",
            target="LeaseBucket.close",
            code="tell_blocks(leases, here=threading.current_thread())",
            without="",
            noticed_by=(f"{_BLOCKS}test_a_bucket_that_is_closed_tells_the_blocks_of_other_threads_first",),
        ),
        Mutant(
            name="a holder sees a mark of its own process at once",
            module="_runtime/bucket_core.py",
            target="BucketCore.revoked",
            code="held.lose(LossReason.REVOKED)",
            without="",
            noticed_by=(f"{_HERE}test_a_mark_by_its_own_process_is_noticed_at_once",),
        ),
        Mutant(
            name="a lease whose release is owed is still its process's own",
            module="_runtime/bucket_core.py",
            target="BucketCore.ours",
            code="self.owed.get(lease_id)",
            without="",
            noticed_by=(f"{_HERE}test_a_release_by_id_that_failed_and_is_repeated_keeps_it_closed_too",),
        ),
        Mutant(
            name="a release whose holder was told is sent if whoever waits for it is interrupted",
            module=_ENDING,
            target="release_told",
            code="held.end.send_after_stopping()",
            without="",
            noticed_by=(f"{_HERE}test_an_interrupted_release_is_sent_when_the_grace_is_over",),
        ),
        Mutant(
            name="a release whose holder was told is sent though nobody waits for it",
            module="_runtime/lease_end.py",
            target="expect_release",
            code="self.release.due_at = self.stopping.until + 2 * RELEASE_SECONDS",
            without="",
            noticed_by=(f"{_BLOCKS}test_one_that_nobody_waits_for_after_an_interrupt_is_given_back",),
        ),
        Mutant(
            name="a task that waits for the holder and is cancelled leaves the release to the process",
            module="aio/core.py",
            target="_release_told",
            code="held.end.send_after_stopping()",
            without="",
            noticed_by=(f"{_AIO}test_a_cancelled_release_by_id_is_finished_in_the_background",),
        ),
        Mutant(
            name="a reset that fails for one lease gives the others back",
            module="_runtime/resetting.py",
            target="resetting",
            code="each.held.end.send_after_stopping()",
            without="pass",
            noticed_by=(f"{_HERE}test_a_reset_that_fails_for_one_gives_the_others_back_all_the_same",),
        ),
        Mutant(
            name="closing waits for a holder that was told before it frees the slot",
            module="_runtime/give_back.py",
            target="_release",
            code="wait_for_holder(lease, runtime=runtime, most=left / 2)",
            without="",
            noticed_by=(f"{_BLOCKS}test_a_bucket_that_is_closed_tells_the_blocks_of_other_threads_first",),
        ),
        Mutant(
            name="after an interrupted close the holder that was told has stopped before the slot is free",
            module="_runtime/loss.py",
            target="clean_up",
            code="not self._end.stopping.is_awaited",
            without="True",
            noticed_by=(f"{_BLOCKS}test_an_interrupted_close_frees_no_slot_before_its_holder_has_stopped",),
        ),
        Mutant(
            name="what nothing but time ends is forgotten when it has certainly expired",
            module="_runtime/loss.py",
            target="clean_up",
            code="self._end.release.has_expired(self._context.state.time.steady())",
            without="False",
            noticed_by=(
                "tests/test_interrupts.py::test_a_claim_that_never_arrives_is_released_a_bounded_number_of_times",
            ),
        ),
    ),
)
