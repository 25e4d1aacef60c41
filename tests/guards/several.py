"""Several slots: what holds for n slots at once besides what holds for one."""

from tests.guards.guard import Chapter, Guard

SEVERAL = Chapter(
    title="Several slots at once",
    guards=(
        Guard(
            name="several: each claim has a claim's conditions",
            room="dynamodb/expressions.py",
            code="slots = [_put(place, items[n], CLAIM, values) for n in request.claims]",
            without='slots = [_put(place, items[n], _all(_exists, _in_circulation, _fence_rises), {":fence": values[":fence"]}) for n in request.claims]',
            noticed_by=("tests/operations/test_acquire_many.py::test_where_one_cannot_be_had_none_is",),
        ),
        Guard(
            name="several: a mint overwrites no slot",
            room="dynamodb/expressions.py",
            code="slots += [_put(place, items[n], MINT_SLOT) for n in request.mints]",
            without='slots += [_put(place, items[n], "attribute_not_exists(#pk) OR attribute_exists(#pk)") for n in request.mints]',
            noticed_by=("tests/operations/test_acquire_many.py::test_none_is_minted_over_a_slot_that_exists",),
        ),
        Guard(
            name="several: room for all that are minted",
            room="dynamodb/expressions.py",
            code='"#minted <= :room"',
            without='"#minted <= :seen_max AND #minted <> :room"',
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_none_is_minted_where_the_counter_does_not_allow_all",
                "tests/operations/test_acquire_many.py::test_those_that_do_not_exist_are_minted_and_counted",
            ),
        ),
        Guard(
            name="several: max_tokens still allows all numbers",
            room="dynamodb/expressions.py",
            code="TAKE_COUNTER: Final = _all(_all_numbers_allowed, _room_for_all)",
            without='TAKE_COUNTER: Final = _all("#max_tokens <> :seen_max OR #max_tokens = :seen_max", _room_for_all)',
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_none_is_minted_where_the_counter_does_not_allow_all",
            ),
        ),
        Guard(
            name="several: a re-mint goes by max_tokens as seen",
            room="dynamodb/expressions.py",
            code='"#max_tokens = :seen_max"',
            without='"#max_tokens <= :seen_max OR #max_tokens > :seen_max"',
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_none_is_minted_where_the_counter_does_not_allow_all",
            ),
        ),
        Guard(
            name="several: a re-mint needs a count that hides the room",
            room="dynamodb/expressions.py",
            code='"#minted > :room"',
            without='"#minted > :room OR #minted <= :room"',
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_none_is_minted_where_the_counter_does_not_allow_all",
            ),
        ),
        Guard(
            name="several: all that are minted are counted",
            room="dynamodb/expressions.py",
            code='counted | {":many": number(many)}',
            without='counted | {":many": _ONE}',
            noticed_by=("tests/operations/test_acquire_many.py::test_those_that_do_not_exist_are_minted_and_counted",),
        ),
        Guard(
            name="several: ours only where all are",
            room="_protocol/decisions.py",
            code="return len(answer.found) == len(grant.slots) and all(",
            without="return any(",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_several_whose_answer_is_lost_are_ours_only_where_all_of_them_are",
            ),
        ),
        Guard(
            name="several: what is ours in part is given back",
            room="_operations/acquire.py",
            code="if protocol.is_ours_in_part(answer, grant.lease_id):",
            without="if False:",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_several_whose_answer_is_lost_are_ours_only_where_all_of_them_are",
            ),
        ),
        Guard(
            name="several: all are renewed",
            room="lease.py",
            code="ttl=ttl) for slot in self.slots)",
            without="ttl=ttl) for slot in self.slots[:1])",
            noticed_by=("tests/operations/test_acquire_many.py::test_all_are_renewed_together",),
        ),
        Guard(
            name="several: one that is not renewed extends none",
            room="lease.py",
            code="            if not isinstance(answers[-1], Done) or _revoked(answers[-1]):",
            without="            if _revoked(answers[-1]):",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_a_renewal_that_fails_on_one_extends_nothing",
                "tests/operations/test_acquire_many.py::test_losing_one_loses_the_lease_and_the_others_are_given_back",
            ),
        ),
        Guard(
            name="several: the others are given back once one is lost",
            room="lease.py",
            code="reason in {LossReason.TAKEN, LossReason.GONE} and len(self.slots) > 1)",
            without="False)",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_losing_one_loses_the_lease_and_the_others_are_given_back",
            ),
        ),
        Guard(
            name="several: also by the holder's own release",
            room="lease.py",
            code="in {LossReason.TAKEN, LossReason.GONE} and len(self.slots) == 1",
            without="in {LossReason.TAKEN, LossReason.GONE}",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_without_a_callback_the_others_are_given_back_by_the_holder",
            ),
        ),
        Guard(
            name="several: one failing release leaves no other held",
            room="_operations/release.py",
            code="if not ending.known and state.time.steady() >= until:",
            without="if not ending.known:",
            noticed_by=("tests/operations/test_acquire_many.py::test_one_failing_release_leaves_no_other_held",),
        ),
        Guard(
            name="several: an outage does not keep the holder for each slot anew",
            room="_operations/release.py",
            code="if not ending.known and state.time.steady() >= until:",
            without="if False:",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_an_outage_does_not_keep_the_holder_for_each_slot_anew",
            ),
        ),
        Guard(
            name="several: no more than the bucket has",
            room="_operations/acquire_many.py",
            code="if self._count > max_tokens:",
            without="if False:",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_more_than_a_bucket_has_are_refused_before_anything_is_written",
            ),
        ),
        Guard(
            name="several: no more than one transaction takes",
            room="bucket.py",
            code="not 1 <= count <= PER_TRANSACTION",
            without="not 1 <= count",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_a_count_must_be_a_whole_number_that_one_transaction_takes",
            ),
        ),
        Guard(
            name="several: free slots are gathered from all windows",
            room="_operations/acquire_many.py",
            code="known=self._known | here,",
            without="known=here,",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_free_slots_are_gathered_from_all_windows_of_a_large_bucket",
            ),
        ),
        Guard(
            name="several: the wait goes by the expiry that makes them enough",
            room="_protocol/decisions.py",
            code="expiries[wanting - 1] if wanting",
            without="expiries[0] if wanting",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_who_wants_several_waits_for_the_expiry_that_makes_them_enough",
            ),
        ),
        Guard(
            name="several: data fits on all of them",
            room="bucket.py",
            code="most = min(_DATA_BYTES, _TRANSACTION_BYTES // count)",
            without="most = _DATA_BYTES",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_data_that_would_not_fit_on_all_of_them_is_refused",
            ),
        ),
        Guard(
            name="several: who wants fewer than the first looks too",
            room="_state/hints.py",
            code="            if served or waiter.count < least:",
            without="            if served or not first:",
            noticed_by=(
                "tests/state/test_hints.py::test_who_wants_fewer_than_the_first_looks_too_and_only_the_next_who_does",
                "tests/operations/test_acquire_many.py::test_who_wants_one_is_served_while_a_thread_before_it_waits_for_two",
            ),
        ),
        Guard(
            name="several: a line knows how many each wants",
            room="bucket.py",
            code="waiter = Waiter(wake, count)",
            without="waiter = Waiter(wake)",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_who_wants_one_is_served_while_a_thread_before_it_waits_for_two",
            ),
        ),
        Guard(
            name="several: free slots are counted once",
            room="_state/hints.py",
            code="                free -= waiter.count\n",
            without="                pass\n",
            noticed_by=("tests/state/test_hints.py::test_free_slots_wake_those_in_line_whom_they_are_enough_for",),
        ),
        Guard(
            name="several: too many are refused by the counter as it is",
            room="_operations/acquire_many.py",
            code="            counter = yield from self._see_counter()",
            without="            pass",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_a_bucket_that_has_grown_gives_more_than_were_known_of",
            ),
        ),
        Guard(
            name="several: a lease seen long ago is not taken for expired",
            room="_operations/acquire_many.py",
            code="            self._known.pop(number, None)\n",
            without="            self._known[number] = slot\n",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_waiting_for_several_slots_of_a_large_full_bucket_costs_no_writes",
            ),
        ),
    ),
)

REVOKING = Chapter(
    title="Revoking",
    guards=(
        Guard(
            name="a revocation is of the lease meant",
            room="dynamodb/expressions.py",
            code="REVOKE: Final = _still_mine",
            without='REVOKE: Final = "attribute_exists(#lease_id) OR #lease_id = :lease_id"',
            noticed_by=("tests/operations/test_revoke.py::test_another_lease_is_not_marked_nor_is_a_slot_made",),
        ),
        Guard(
            name="a revocation only marks",
            room="dynamodb/expressions.py",
            code='_SET_REVOKE: Final = "SET #revoked = :by"',
            without='_SET_REVOKE: Final = "SET #revoked = :by REMOVE #owner"',
            noticed_by=("tests/operations/test_revoke.py::test_the_lease_meant_is_marked_and_nothing_else_is_changed",),
        ),
        Guard(
            name="all slots of a lease are marked",
            room="_operations/revoke.py",
            code="    for slot in slots:\n",
            without="    for slot in slots[1:]:\n",
            noticed_by=(
                "tests/operations/test_revoke.py::test_a_holder_is_told_within_a_third_of_its_lease_and_gives_its_slots_back",
            ),
        ),
    ),
)
