"""Operating: what holds while a bucket is resized, repaired or reset, and for plain tokens' upkeep."""

from tests.guards.guard import Chapter, Guard

_HERE = "tests/operations/test_resize.py::"


def _work(name: str, code: str, without: str, *noticed_by: str) -> Guard:
    noticed = tuple(test if "::" in test else _HERE + test for test in noticed_by)
    return Guard(name=name, room="_operations/resize.py", code=code, without=without, noticed_by=noticed)


OPERATING = Chapter(
    title="Resizing, repairing, resetting",
    guards=(
        Guard(
            name="a growth goes by the counter as seen",
            room="dynamodb/expressions.py",
            code="GROW: Final = _as_seen",
            without='GROW: Final = "#rev >= :rev"',
            noticed_by=(_HERE + "test_the_counter_is_written_as_it_was_seen_and_only_so",),
        ),
        Guard(
            name="a recount goes by the counter as seen",
            room="dynamodb/expressions.py",
            code="RECOUNT: Final = _as_seen",
            without='RECOUNT: Final = "#rev >= :rev"',
            noticed_by=(_HERE + "test_the_counter_is_written_as_it_was_seen_and_only_so",),
        ),
        Guard(
            name="a growth raises rev",
            room="dynamodb/expressions.py",
            code='"SET #max_tokens = :max_tokens, #rev = #rev + :one"',
            without='"SET #max_tokens = :max_tokens, #rev = :rev + :one - :one"',
            noticed_by=(_HERE + "test_the_counter_is_written_as_it_was_seen_and_only_so",),
        ),
        Guard(
            name="a recount raises rev",
            room="dynamodb/expressions.py",
            code='"SET #minted = :minted, #rev = #rev + :one"',
            without='"SET #minted = :minted, #rev = :rev + :one - :one"',
            noticed_by=(_HERE + "test_the_counter_is_written_as_it_was_seen_and_only_so",),
        ),
        Guard(
            name="a refused growth tells of the counter",
            room="dynamodb/answers.py",
            code="if not isinstance(request, (Grow, Recount)):",
            without="if True:",
            noticed_by=(_HERE + "test_the_counter_is_written_as_it_was_seen_and_only_so",),
        ),
        Guard(
            name="a snapshot that is cut short is no answer",
            room="dynamodb/answers.py",
            code="if not isinstance(responses, list) or len(responses) != len(request.slots) + request.counter:",
            without="if not isinstance(responses, list):",
            noticed_by=("tests/dynamodb/test_answers.py::test_a_snapshot_that_is_not_whole_is_no_answer",),
        ),
        _work(
            "a shrink takes all in its range out",
            "counter, slots = yield from self._snapshot(tuple(range(bottom, top)))",
            "counter, slots = yield from self._snapshot(tuple(range(bottom + 1, top)))",
            "test_a_shrink_retires_from_the_top_and_ends_no_lease",
        ),
        _work(
            "a shrink counts those that leave off",
            "max(0, counter.minted - len(slots))",
            "counter.minted",
            "test_a_shrink_retires_from_the_top_and_ends_no_lease",
        ),
        _work(
            "a count does not fall below nothing",
            "max(0, counter.minted - len(slots))",
            "counter.minted - len(slots)",
            "test_a_drifted_count_never_falls_below_nothing",
        ),
        _work(
            "a shrink begins at the top",
            "bottom = max(max_tokens, top - step)",
            "bottom = max_tokens",
            "test_a_large_shrink_is_a_series_of_complete_ones_from_the_top_down",
        ),
        _work(
            "a shrink goes by the rev that its snapshot showed",
            "            rev=counter.rev,\n            max_tokens=max_tokens,",
            "            rev=counter.rev + 1,\n            max_tokens=max_tokens,",
            "test_minting_in_between_is_seen_and_the_shrink_goes_on",
        ),
        _work(
            "a shrink that is overtaken stops",
            "            _require_as_set(counter, top)\n",
            "",
            "test_of_two_resizers_one_stops_and_reports",
            "test_a_growth_between_two_steps_is_noticed",
        ),
        _work(
            "a growth that is overtaken stops",
            "            _require_as_set(found, as_set)\n",
            "",
            "test_of_two_resizers_one_stops_and_reports",
        ),
        _work(
            "a growth of ours is recognised",
            "            if uncertain and found.max_tokens == max_tokens:\n",
            "            if False:\n",
            "test_a_growth_that_worked_is_recognised_though_its_answer_was_lost_and_others_have_minted_since",
        ),
        _work(
            "another's growth is not taken for ours",
            "            if uncertain and found.max_tokens == max_tokens:\n",
            "            if found.max_tokens == max_tokens:\n",
            "test_of_two_resizers_one_stops_and_reports",
        ),
        _work(
            "a shrink of ours is recognised",
            "            if self._unsure and counter.max_tokens == bottom:\n",
            "            if False:\n",
            "test_a_shrink_that_worked_is_recognised_though_its_answer_was_lost_and_others_have_minted_since",
        ),
        _work(
            "another's shrink is not taken for ours",
            "            if self._unsure and counter.max_tokens == bottom:\n",
            "            if counter.max_tokens == bottom:\n",
            "test_of_two_resizers_one_stops_and_reports",
        ),
        _work(
            "strays are retired before a resize",
            "    yield from work.retire_strays(from_slot=before)\n",
            "",
            "test_strays_beyond_the_old_size_are_retired_first",
        ),
        _work(
            "a repair retires strays",
            "    yield from work.retire_strays(from_slot=counter.max_tokens)\n",
            "",
            "test_a_repair_retires_strays",
        ),
        _work(
            "only strays are retired as such",
            "if slot.number >= counter.max_tokens]",
            "if True]",
            "test_what_is_a_stray_no_more_is_not_retired",
        ),
        _work(
            "retired slots keep their TTL until their leases are over",
            "                expires_at=max((lease.expires_at for lease in leases), default=None),\n",
            "                expires_at=None,\n",
            "test_no_retirement_lets_ttl_delete_a_slot_before_its_lease_and_its_fence_are_over",
        ),
        _work(
            "retired slots keep their TTL until the clock has passed their fence",
            "                fence=max((slot.fence for slot in leaving), default=0),\n",
            "                fence=0,\n",
            "test_no_retirement_lets_ttl_delete_a_slot_before_its_lease_and_its_fence_are_over",
        ),
        _work(
            "a repair counts all slots",
            "            counted += len(_circulating(shown))\n",
            "",
            "test_a_repair_of_a_large_bucket_counts_all_of_it_at_the_rev_of_its_beginning",
        ),
        _work(
            "a repair counts at the rev of its beginning",
            "yield from self._send(Recount(rev=counter.rev, minted=counted))",
            "yield from self._send(Recount(rev=(yield from self.counter()).rev, minted=counted))",
            "test_a_repair_of_a_large_bucket_counts_all_of_it_at_the_rev_of_its_beginning",
        ),
        _work(
            "a repair counts below max_tokens only",
            "counted = sum(slot.number < counter.max_tokens for slot in slots)",
            "counted = len(slots)",
            "test_a_repair_counts_no_stray_that_comes_up_meanwhile",
        ),
        _work(
            "what is foreign is not taken for ours",
            "    return [slot for slot in slots if slot is not None and protocol.circulates(slot)]",
            "    return [slot for slot in slots if slot is not None]",
            "test_what_is_not_ours_is_left_alone",
        ),
        _work(
            "an errand ends in bounded time",
            "        if self._lost_in_a_row >= LOSSES and state.time.steady() >= self._until:",
            "        if False:",
            "test_a_counter_that_never_rests_is_told_in_bounded_time",
        ),
        _work(
            "an errand backs off",
            "        yield Pause(seconds=full_jitter(CONTENDED_SECONDS, self._lost_in_a_row, state.chance))\n",
            "        yield from ()\n",
            "test_a_counter_that_never_rests_is_told_in_bounded_time",
        ),
        Guard(
            name="a resize is looked at by who waits",
            room="bucket.py",
            code="        self._hints.wake_all()  # to look anew\n",
            without="",
            noticed_by=(_HERE + "test_who_waits_in_the_same_process_is_served_by_a_growth",),
        ),
        Guard(
            name="a reset ends leases by the slots they are on",
            room="bucket.py",
            code="tuple(lease.slot for lease in leases), leases[0].fence or None",
            without="slots_of(lease_id) or (), leases[0].fence or None",
            noticed_by=(_HERE + "test_a_reset_ends_leases_of_others_making_on_retired_slots_too",),
        ),
        Guard(
            name="a reset knows what an unanswered release ended",
            room="bucket.py",
            code="tuple(lease.slot for lease in leases), leases[0].fence or None",
            without="tuple(lease.slot for lease in leases), None",
            noticed_by=(_HERE + "test_a_reset_counts_a_lease_whose_release_was_not_answered",),
        ),
        Guard(
            name="a fill goes by the bound as it is",
            room="_operations/maintain.py",
            code="if n < seen.max_tokens]",
            without="if True]",
            noticed_by=(
                "tests/test_token_bucket.py::test_initializing_mints_nothing_beyond_a_bucket_that_shrinks_meanwhile",
            ),
        ),
        Guard(
            name="several: nothing beyond the bound seen is ever sent",
            room="_protocol/messages.py",
            code="if any(number >= self.seen_max for number in self.mints):",
            without="if False:",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_what_lies_beyond_the_bound_that_was_seen_cannot_even_be_asked_for",
            ),
        ),
        Guard(
            name="several: who cannot be served is not woken",
            room="_state/hints.py",
            code="if waiter.count <= len(self._free)]",
            without="if self._free]",
            noticed_by=("tests/state/test_hints.py::test_whom_the_free_slots_are_not_enough_for_is_not_woken",),
        ),
        Guard(
            name="a page that ends at a stranger's item is gone on from",
            room="dynamodb/answers.py",
            code="end = bisect_right(range(MAX_TOKENS), last, key=slot_key) if more else MAX_TOKENS",
            without="end = (int(last[5:]) + 1 if last[5:].isdigit() else 0) if more else MAX_TOKENS",
            noticed_by=("tests/operations/test_status.py::test_items_of_others_between_the_slots_hide_none_of_them",),
        ),
        Guard(
            name="what is for people only decides nothing",
            room="dynamodb/answers.py",
            code="_deciding(item, n) if item",
            without="read_slot(item, n) if item",
            noticed_by=(_HERE + "test_what_is_for_people_only_makes_no_slot_foreign_to_a_repair",),
        ),
        Guard(
            name="a reset repairs",
            room="bucket.py",
            code="        self._run(self._repairing())\n        return ended",
            without="        return ended",
            noticed_by=(_HERE + "test_a_reset_ends_every_lease_and_keeps_settings_and_fences",),
        ),
        Guard(
            name="a sweep frees nothing beyond max_tokens",
            room="_operations/maintain.py",
            code=" and slot.number < counter.max_tokens\n",
            without="\n",
            noticed_by=("tests/test_token_bucket.py::test_cleaning_up_leaves_slots_beyond_the_bucket_alone",),
        ),
        Guard(
            name="filling goes on while it fills",
            room="_operations/maintain.py",
            code="rounds, least = (0, missing) if missing < least else (rounds + 1, least)",
            without="rounds = ROUNDS",
            noticed_by=("tests/test_token_bucket.py::test_many_may_initialize_one_bucket_at_a_time",),
        ),
        Guard(
            name="one thread at a time releases a token",
            room="token_bucket.py",
            code="            if lease_id in self._ending:\n",
            without="            if False:\n",
            noticed_by=(
                "tests/test_token_bucket.py::test_two_threads_that_lose_their_answers_do_not_both_release_one_token",
            ),
        ),
        Guard(
            name="what is kept as a bucket closes is given back",
            room="bucket.py",
            code="        self._require_open()  # closed just now",
            without="        # closed just now",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_a_bucket_closed_as_its_lease_is_handed_out_is_left_with_no_lease",
            ),
        ),
        Guard(
            name="nobody waits for what is foreign",
            room="_protocol/decisions.py",
            code="if slot.lease and not slot.foreign]",
            without="if slot.lease]",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_full_tells_the_first_expiry_and_nothing_where_no_lease_is_seen",
                "tests/protocol/test_decisions.py::test_who_wants_several_waits_for_the_expiry_that_makes_them_enough",
            ),
        ),
        Guard(
            name="a spoilt item still tells its holder",
            room="dynamodb/items.py",
            code="lease=_rest_of_claimant(item), ",
            without="",
            noticed_by=("tests/operations/test_revoke.py::test_a_holder_is_told_though_its_item_is_spoilt",),
        ),
    ),
)
