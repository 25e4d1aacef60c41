"""Slots that stay closed for a time at least, and leases of several buckets together."""

from tests.mutants.mutant import Chapter, Mutant

_TESTS = "tests/operations/test_hold_at_least.py::"
_ALL = "tests/test_together.py::"
_AIO = "tests/aio/test_together.py::"
_TOGETHER = "tests/protocol/test_together.py::"

CLOSING = Chapter(
    title="Held at least, and several at once",
    mutants=(
        Mutant(
            name="a lease that is held at least is written for that long",
            module="_protocol/grants.py",
            target="new_grant",
            code="max(lease_ms, hold_ms)",
            without="lease_ms",
            noticed_by=(f"{_TESTS}test_a_crash_keeps_it_closed_until_then",),
        ),
        Mutant(
            name="a release before that closes the slot",
            module="_operations/release.py",
            target="_release_one",
            code="now is None or now.expired_before_ms <= closed_until if closed_until else False",
            without="False",
            noticed_by=(f"{_TESTS}test_a_release_before_closes_the_slot_until_then",),
        ),
        Mutant(
            name="a release after that opens it",
            module="_operations/release.py",
            target="_release_one",
            code="now.expired_before_ms <= closed_until",
            without="closed_until > 0",
            noticed_by=(f"{_TESTS}test_a_release_after_it_is_like_any_other",),
        ),
        Mutant(
            name="a close whose answer was lost is recognised",
            module="_protocol/grants.py",
            target="released",
            code="was_closed(slot, lease_id)",
            without="",
            noticed_by=(f"{_TESTS}test_closing_survives_what_passes",),
        ),
        Mutant(
            name="a slot that this process closed is not taken for free",
            module="_runtime/lease_end.py",
            target="release_operation",
            code="outcome.closed",
            without="False",
            noticed_by=(f"{_TESTS}test_a_release_before_closes_the_slot_until_then",),
        ),
        Mutant(
            name="an acquire that is given up leaves its slot open",
            module="_runtime/bucket_core.py",
            target="give_back_all",
            code="lease.end.keeps_closed = False",
            without="",
            noticed_by=(f"{_TESTS}test_an_acquire_that_is_given_up_leaves_nothing_closed",),
        ),
        Mutant(
            name="a reset opens what its own process holds",
            module="_runtime/bucket_core.py",
            target="end_all",
            code="held.end.keeps_closed = False",
            without="pass",
            noticed_by=(f"{_TESTS}test_a_reset_opens_what_this_process_holds",),
        ),
        Mutant(
            name="revoking a lease of nobody's opens its slot",
            module="_runtime/bucket_core.py",
            target="BucketCore.revoke",
            code="is_closed_id(lease_id)",
            without="False",
            noticed_by=(f"{_TESTS}test_an_operator_opens_it",),
        ),
        Mutant(
            name="a lease that is held at least is renewed as often as any",
            module="_protocol/lease_state.py",
            target="Belief.__init__",
            code="self._next_renewal(self._paced)",
            without="self._next_renewal(grant.deadline)",
            noticed_by=(f"{_TESTS}test_it_is_renewed_at_the_pace_of_any_lease_and_sees_a_revocation",),
        ),
        Mutant(
            name="its first deadline is judged by its own margin",
            module="_protocol/lease_state.py",
            target="Belief.__init__",
            code="_reckoned(grant.expires_at, grant.deadline, grant.margin)",
            without="_reckoned(grant.expires_at, grant.deadline, self._margin)",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_lease_held_at_least_assumes_no_more_of_the_time_than_any_other",
            ),
        ),
        Mutant(
            name="its renewals keep the margin of their own length",
            module="_runtime/held_lease.py",
            target="HeldLease.__init__",
            code="grant.margin if not grant.hold_ms else state.timing.margin_for(seconds)",
            without="grant.margin",
            noticed_by=(f"{_TESTS}test_renewals_keep_the_margin_of_a_lease_however_long_it_is_held_at_least",),
        ),
        Mutant(
            name="who waits for one bucket holds nothing of another",
            module="_protocol/together.py",
            target="together",
            code="yield GiveBack()",
            without="",
            noticed_by=(
                f"{_TOGETHER}test_callers_who_name_the_same_buckets_in_other_orders_neither_block_nor_starve_one_another",
            ),
        ),
        Mutant(
            name="who could not have all rests before it tries again",
            module="_protocol/together.py",
            target="together",
            code="full_jitter(REST_SECONDS, failures, chance)",
            without="0.0",
            noticed_by=(
                f"{_TOGETHER}test_callers_who_name_the_same_buckets_in_other_orders_neither_block_nor_starve_one_another",
            ),
        ),
        Mutant(
            name="the bucket that was full is waited for next",
            module="_protocol/together.py",
            target="together",
            code="first = missing",
            without="",
            noticed_by=(f"{_TOGETHER}test_it_waits_for_the_bucket_that_was_full_and_holds_nothing_meanwhile",),
        ),
        Mutant(
            name="an acquire_all that ends early gives back all",
            module="together.py",
            target="_Together.acquire",
            code="self._give_back()",
            without="",
            noticed_by=(
                f"{_ALL}test_an_error_of_one_releases_the_others",
                f"{_ALL}test_permits_are_taken_last_and_not_at_all_if_they_come_too_late",
            ),
        ),
        Mutant(
            name="a lease is noted before an interrupt can come",
            module="bucket.py",
            target="LeaseBucket._acquire",
            code="had.append(lease)",
            without="pass",
            noticed_by=(f"{_ALL}test_an_error_of_one_releases_the_others",),
        ),
        Mutant(
            name="of several leases the first loss is told, once",
            module="together.py",
            target="_FirstLoss.__call__",
            code="self._told = True",
            without="",
            noticed_by=(f"{_ALL}test_losing_one_is_told_once_and_seen_by_check",),
        ),
        Mutant(
            name="a cancelled acquire_all gives back all",
            module="aio/together.py",
            target="_Together.acquire",
            code="self._release_later()",
            without="",
            noticed_by=(f"{_AIO}test_a_cancellation_at_any_turn_leaves_nothing_leased",),
        ),
    ),
)
