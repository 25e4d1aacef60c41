"""Decisions, ambiguous writes and waiting: what sections 4 and 5 promise of an acquire."""

from tests.guards.guard import Chapter, Guard


def _protocol(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="_protocol/decisions.py", code=code, without=without, noticed_by=noticed_by)


def _attempt(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="_operations/acquire.py", code=code, without=without, noticed_by=noticed_by)


def _answers(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="dynamodb/answers.py", code=code, without=without, noticed_by=noticed_by)


def _turns(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="_state/fairness.py", code=code, without=without, noticed_by=noticed_by)


def _hints(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="_state/hints.py", code=code, without=without, noticed_by=noticed_by)


def _retry(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room="_protocol/retry.py", code=code, without=without, noticed_by=noticed_by)


DECISIONS = Chapter(
    title="Decisions",
    guards=(
        Guard(
            name="a missing bucket is created",
            room="_protocol/decisions.py",
            code="    if counter is None:\n        return _create(view)\n    retire = _strays(view, counter)\n    if retire is not None:\n        return retire\n    numbers",
            without="    if counter is None:\n        return NothingFree(next_expiry=None)\n    retire = _strays(view, counter)\n    if retire is not None:\n        return retire\n    numbers",
            noticed_by=("tests/protocol/test_decisions.py::test_a_missing_bucket_is_created_first",),
        ),
        Guard(
            name="over leftover slots the counter comes alone",
            room="_protocol/decisions.py",
            code="fresh=view.covered == range(MAX_TOKENS) and not view.slots",
            without="fresh=view.covered == range(MAX_TOKENS)",
            noticed_by=("tests/protocol/test_decisions.py::test_a_missing_bucket_is_created_first",),
        ),
        Guard(
            name="a bucket of which a part was seen is not made as if fresh",
            room="_protocol/decisions.py",
            code="fresh=view.covered == range(MAX_TOKENS) and not view.slots",
            without="fresh=not view.slots",
            noticed_by=("tests/protocol/test_decisions.py::test_what_was_not_looked_at_may_be_left_over_from_before",),
        ),
        Guard(
            name="what is retired tells how long the leases on it last",
            room="_protocol/decisions.py",
            code="expires_at=max((lease.expires_at for lease in leases), default=None)",
            without="expires_at=None",
            noticed_by=("tests/protocol/test_decisions.py::test_strays_are_retired_before_anything_is_claimed",),
        ),
        Guard(
            name="a counter older than known may have been remade",
            room="_protocol/decisions.py",
            code="return view.counter is None or (known is not None and view.counter.rev < known.rev)",
            without="return view.counter is None",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_counter_that_is_gone_or_older_than_known_may_have_been_remade",
            ),
        ),
        Guard(
            name="a counter that is gone may be there in truth",
            room="_protocol/decisions.py",
            code="return view.counter is None or (known is not None and view.counter.rev < known.rev)",
            without="return view.counter is not None and known is not None and view.counter.rev < known.rev",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_counter_that_is_gone_or_older_than_known_may_have_been_remade",
            ),
        ),
        _protocol(
            "then all count as minted",
            "return 0, settings.max_tokens",
            "return 0, 0",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_creation_makes_as_many_slots_as_one_transaction_holds",
            ),
        ),
        _protocol(
            "strays are retired before anything else",
            "    if not strays:\n",
            "    if True:\n",
            noticed_by=("tests/protocol/test_decisions.py::test_strays_are_retired_before_anything_is_claimed",),
        ),
        _protocol(
            "a slot at max_tokens is a stray",
            "if n >= counter.max_tokens and circulates(slot)",
            "if n > counter.max_tokens and circulates(slot)",
            noticed_by=("tests/protocol/test_decisions.py::test_strays_are_retired_before_anything_is_claimed",),
        ),
        _protocol(
            "what is retired is no stray",
            "if n >= counter.max_tokens and circulates(slot)",
            "if n >= counter.max_tokens and not slot.foreign",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_retired_and_foreign_slots_beyond_the_bound_are_no_strays",
            ),
        ),
        _protocol(
            "as many strays as a transaction holds",
            "retired = strays[:PER_TRANSACTION]",
            "retired = strays",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_no_more_strays_are_retired_at_once_than_a_transaction_holds",
            ),
        ),
        _protocol(
            "retired strays keep a TTL beyond the highest fence",
            "fence=max(view.slots[n].fence for n in retired)",
            "fence=min(view.slots[n].fence for n in retired)",
            noticed_by=("tests/protocol/test_decisions.py::test_strays_are_retired_before_anything_is_claimed",),
        ),
        _protocol(
            "nothing at or above max_tokens is gone for",
            "min(view.covered.stop, counter.max_tokens)",
            "view.covered.stop",
            noticed_by=("tests/protocol/test_decisions.py::test_a_lease_that_ends_at_the_very_bound_has_not_expired",),
        ),
        _protocol(
            "what the look did not cover is not missing",
            "numbers = range(view.covered.start, min(view.covered.stop, counter.max_tokens))",
            "numbers = range(counter.max_tokens)",
            noticed_by=("tests/protocol/test_decisions.py::test_only_what_the_look_covered_may_be_taken_for_missing",),
        ),
        _protocol(
            "retired slots are not claimed",
            "claimable = [slot for slot in idle if not slot.retired]\n    if claimable",
            "claimable = idle\n    if claimable",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_claim_goes_before_minting_and_minting_before_bringing_back",
            ),
        ),
        _protocol(
            "not everybody goes for the same free slot",
            "slot = chance.choice(claimable)",
            "slot = claimable[0]",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_what_is_free_or_expired_is_claimed_with_the_fence_seen",
            ),
        ),
        _protocol(
            "not everybody mints the same slot",
            "MintSlot(slot=chance.choice(missing)",
            "MintSlot(slot=missing[0]",
            noticed_by=("tests/protocol/test_decisions.py::test_not_everybody_goes_for_the_same_slot",),
        ),
        _protocol(
            "drift that hides the room is told",
            "drifted = counter.minted >= counter.max_tokens",
            "drifted = False",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_claim_goes_before_minting_and_minting_before_bringing_back",
            ),
        ),
        _protocol(
            "room that is there is told",
            "drifted = counter.minted >= counter.max_tokens",
            "drifted = True",
            noticed_by=("tests/protocol/test_decisions.py::test_minting_tells_whether_drift_hides_the_room",),
        ),
        _protocol(
            "what is missing is minted",
            "    if missing:\n",
            "    if missing and not view.slots:\n",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_claim_goes_before_minting_and_minting_before_bringing_back",
            ),
        ),
        _protocol(
            "what is retired and free is brought back",
            "    if idle:\n",
            "    if idle and False:\n",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_claim_goes_before_minting_and_minting_before_bringing_back",
            ),
        ),
        _protocol(
            "items of foreign shape are left alone",
            "    if slot.foreign:\n        return False\n",
            "",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_full_tells_the_first_expiry_and_nothing_where_no_lease_is_seen",
            ),
        ),
        _protocol(
            "a running lease is not idle",
            "return slot.lease is None or slot.lease.expires_at < expired_before",
            "return True",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_what_is_free_or_expired_is_claimed_with_the_fence_seen",
            ),
        ),
        _protocol(
            "an expired lease is idle",
            "return slot.lease is None or slot.lease.expires_at < expired_before",
            "return slot.lease is None",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_what_is_free_or_expired_is_claimed_with_the_fence_seen",
            ),
        ),
        _protocol(
            "a full bucket tells its first expiry",
            "next_expiry=min(_expiries(slots), default=None)",
            "next_expiry=max(_expiries(slots), default=None)",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_retired_slot_on_which_a_lease_runs_is_not_brought_back",
            ),
        ),
        _protocol(
            "a lost race teaches",
            "                slots[step.slot] = answer.slot\n",
            "                pass\n",
            noticed_by=("tests/protocol/test_decisions.py::test_a_lost_race_leaves_the_winners_item_in_view",),
        ),
        _protocol(
            "a slot that is gone is seen to be gone",
            "                slots.pop(step.slot, None)\n",
            "                pass\n",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_refusal_without_an_item_takes_the_slot_out_of_view_unless_only_the_counter_failed",
            ),
        ),
        _protocol(
            "a slot brought back is claimed next",
            "return replace(slot, retired=False)",
            "return slot",
            noticed_by=("tests/protocol/test_decisions.py::test_a_slot_brought_back_circulates_with_its_fence",),
        ),
        _protocol(
            "a fence is above the one seen",
            "return max(seen + 1, now_hi)",
            "return now_hi",
            noticed_by=("tests/protocol/test_decisions.py::test_a_fence_rises_above_the_one_seen_and_with_the_clock",),
        ),
        _protocol(
            "a fence is above all that TTL may have deleted",
            "return max(seen + 1, now_hi)",
            "return seen + 1",
            noticed_by=("tests/protocol/test_decisions.py::test_a_fence_rises_above_the_one_seen_and_with_the_clock",),
        ),
        _protocol(
            "the TTL outlasts the expiry",
            "max(now_hi, expires_at or 0, fence)",
            "max(now_hi, fence)",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_ttl_is_whole_seconds_after_the_latest_of_activity_expiry_and_fence",
            ),
        ),
        _protocol(
            "the TTL outlasts the fence",
            "max(now_hi, expires_at or 0, fence)",
            "max(now_hi, expires_at or 0)",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_ttl_is_whole_seconds_after_the_latest_of_activity_expiry_and_fence",
            ),
        ),
        _protocol(
            "the TTL counts from now",
            "max(now_hi, expires_at or 0, fence)",
            "max(expires_at or 0, fence)",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_ttl_is_whole_seconds_after_the_latest_of_activity_expiry_and_fence",
            ),
        ),
        _protocol(
            "the TTL adds the retention",
            "// 1000) + int(retention_seconds)",
            "// 1000)",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_ttl_is_whole_seconds_after_the_latest_of_activity_expiry_and_fence",
            ),
        ),
        _protocol(
            "the TTL is seconds",
            "-(-max(now_hi, expires_at or 0, fence) // 1000)",
            "max(now_hi, expires_at or 0, fence)",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_ttl_is_whole_seconds_after_the_latest_of_activity_expiry_and_fence",
            ),
        ),
        _protocol(
            "the TTL is rounded up",
            "-(-max(now_hi, expires_at or 0, fence) // 1000)",
            "max(now_hi, expires_at or 0, fence) // 1000",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_ttl_is_whole_seconds_after_the_latest_of_activity_expiry_and_fence",
            ),
        ),
        _protocol(
            "a creation fits one transaction",
            "slots = min(settings.max_tokens, PER_TRANSACTION)",
            "slots = settings.max_tokens",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_creation_makes_as_many_slots_as_one_transaction_holds",
            ),
        ),
        _protocol(
            "a retirement makes no room that may not be there",
            "max(counter.minted - len(tuple(strays)), min(counter.minted, counter.max_tokens))",
            "counter.minted - len(tuple(strays))",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_minted_falls_with_what_is_retired_but_makes_no_room_that_may_not_be_there",
            ),
        ),
        _protocol(
            "a retirement gives the count back",
            "max(counter.minted - len(tuple(strays)), min(counter.minted, counter.max_tokens))",
            "counter.minted",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_minted_falls_with_what_is_retired_but_makes_no_room_that_may_not_be_there",
            ),
        ),
        _protocol(
            "lease ids are new",
            "{chance.getrandbits(128):032x}",
            "{0:032x}",
            noticed_by=("tests/protocol/test_decisions.py::test_lease_ids_are_new_every_time_and_carry_128_bits",),
        ),
        _protocol(
            "a large bucket is seen through windows",
            "return max(1, -(-max_tokens // WINDOW))",
            "return 1",
            noticed_by=("tests/protocol/test_decisions.py::test_a_bucket_is_seen_once_in_so_many_looks",),
        ),
        _protocol(
            "what is no lease id is told",
            "well_formed = dash and tail and all(part.isascii() and part.isdigit() and len(part) <= _DIGITS for part in parts)",
            "well_formed = all(part.isdigit() for part in parts)",
            noticed_by=("tests/protocol/test_decisions.py::test_what_is_no_lease_id_tells_no_slot",),
        ),
    ),
)

AMBIGUITY = Chapter(
    title="Writes whose outcome is not known",
    guards=(
        _protocol(
            "our own lease in the way means that it worked",
            "return _carries(answer.slot, lease_id)",
            "return False",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_an_item_that_carries_the_attempts_own_lease_means_it_worked",
            ),
        ),
        _protocol(
            "another's lease in the way does not",
            "slot.lease is not None and slot.lease.lease_id == lease_id",
            "slot.lease is not None",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_an_item_that_carries_the_attempts_own_lease_means_it_worked",
            ),
        ),
        _protocol(
            "a release refused after a lost answer had worked",
            "return uncertain and slot is not None and slot.lease is None and slot.fence == fence",
            "return False",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_refused_release_ended_the_lease_only_if_a_lost_sending_of_it_did",
            ),
        ),
        _protocol(
            "a release refused at once had not",
            "return uncertain and slot is not None",
            "return slot is not None",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_refused_release_ended_the_lease_only_if_a_lost_sending_of_it_did",
            ),
        ),
        _protocol(
            "a release did not end a later lease",
            "slot.lease is None and slot.fence == fence",
            "slot.lease is None",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_refused_release_ended_the_lease_only_if_a_lost_sending_of_it_did",
            ),
        ),
        _attempt(
            "an unknown outcome is asked for by sending the same again",
            "again=lambda answer: isinstance(answer, Unknown),",
            "again=lambda answer: False,",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquire_survives_a_lost_answer_and_counts_once",
            ),
        ),
        _attempt(
            "what is sent again is the same",
            "            answer = yield request\n",
            "            answer = yield replace(request, token=self._state.token()) if hasattr(request, 'token') else replace(request, ttl=request.ttl + 1)\n",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_a_request_sent_again_is_the_same_to_the_last_bit",
            ),
        ),
        _attempt(
            "a claim of unknown outcome is cleaned up",
            "                may_be_leased = bool(uncertain)\n",
            "                may_be_leased = False\n",
            noticed_by=("tests/operations/test_acquire_recovery.py::test_an_acquire_that_gives_up_leaves_no_lease",),
        ),
        _attempt(
            "a claim surely not made is not",
            "                may_be_leased = bool(uncertain)\n",
            "                may_be_leased = True\n",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_what_was_surely_not_written_is_not_cleaned_up",
            ),
        ),
        _attempt(
            "a grant given up is released",
            "                failure: Exception = Stop(Lost())\n                may_be_leased = True\n",
            "                failure: Exception = Stop(Lost())\n                may_be_leased = False\n",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew",
            ),
        ),
        _attempt(
            "it is sent again within its own deadline only",
            "until=grant.deadline, uncertain=uncertain)",
            "until=float('inf'), uncertain=uncertain)",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_what_is_sent_again_is_not_sent_after_its_own_deadline",
            ),
        ),
        _attempt(
            "an acquire sends nothing again after its timeout",
            "deadline=min(until, self._deadline),",
            "deadline=until,",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_what_is_sent_again_is_not_sent_after_the_timeout",
            ),
        ),
        _attempt(
            "cleaning up ends in bounded time",
            "        until = self._state.time.steady() + CLEAN_UP_SECONDS\n",
            "        until = self._state.time.steady() + 1_000 * CLEAN_UP_SECONDS\n",
            noticed_by=("tests/operations/test_acquire_recovery.py::test_cleaning_up_keeps_nobody_for_long",),
        ),
        _attempt(
            "a claim is noted before it is sent",
            "        self._open.append(grant)\n",
            "",
            noticed_by=("tests/operations/test_acquire_recovery.py::test_an_acquire_that_gives_up_leaves_no_lease",),
        ),
        _attempt(
            "a refused claim is not noted any more",
            "                self._open.remove(grant)\n                return answer\n",
            "                return answer\n",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_a_claim_that_was_refused_is_not_cleaned_up_by_an_interrupt_later",
            ),
        ),
        Guard(
            name="an interrupted acquire gives back what it noted",
            room="bucket.py",
            code="            self._give_back_all(pursuit)\n",
            without="            pass\n",
            noticed_by=("tests/operations/test_acquire_recovery.py::test_an_interrupted_acquire_leaves_no_lease",),
        ),
        Guard(
            name="what was won while the bucket closed is given back",
            room="bucket.py",
            code="        self._require_open()  # closed while",
            without="        # closed while",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_a_bucket_closed_while_an_acquire_is_under_way_is_left_with_no_lease",
            ),
        ),
        Guard(
            name="a release, a revocation and a look are sent again while they fail",
            room="_operations/resend.py",
            code="        again=lambda answer: isinstance(answer, (Unknown, Unsent, Conflict, Throttled)),",
            without="        again=lambda answer: False,",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_a_release_whose_answer_is_lost_is_sent_again_and_says_that_it_ended_the_lease",
                "tests/operations/test_revoke.py::test_a_revocation_survives_what_passes",
            ),
        ),
        Guard(
            name="a release remembers that an answer was lost",
            room="_operations/resend.py",
            code="            uncertain.append(True)",
            without="            pass",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_a_release_whose_answer_is_lost_is_sent_again_and_says_that_it_ended_the_lease",
            ),
        ),
        Guard(
            name="a release by id keeps the TTL",
            room="_operations/release.py",
            code="known = state.time.known and fence is not None",
            without="known = state.time.known",
            noticed_by=("tests/test_lease_holding.py::test_a_release_by_id_keeps_the_ttl_that_the_lease_gave",),
        ),
        Guard(
            name="botocore does not retry",
            room="dynamodb/client.py",
            code='retries={"total_max_attempts": 1, "mode": "standard"}',
            without='retries={"total_max_attempts": 3, "mode": "standard"}',
            noticed_by=("tests/dynamodb/test_client.py::test_a_request_is_sent_once_and_never_again_by_botocore",),
        ),
        Guard(
            name="a client that retries is refused",
            room="dynamodb/client.py",
            code="    if attempts != 1:",
            without="    if attempts == 0:",
            noticed_by=("tests/dynamodb/test_client.py::test_a_client_that_retries_by_itself_is_refused",),
        ),
        _answers(
            "a failed condition is a refusal with its item",
            "return Refused(slot=_slot_in(found))",
            "return Refused(slot=None)",
            noticed_by=("tests/dynamodb/test_answers.py::test_a_failed_condition_brings_the_item_that_made_it_fail",),
        ),
        _answers(
            "a conflict is no refusal",
            "    if any(code in _CONFLICT for code in codes):\n        return Conflict(cause=error)\n",
            "",
            noticed_by=(
                "tests/dynamodb/test_answers.py::test_a_cancelled_transaction_is_what_its_weightiest_reason_says",
            ),
        ),
        _answers(
            "a failed condition weighs more than a conflict",
            "    if _FAILED in codes:\n        return _refused(reasons, codes, error, request)\n    if any(code in _CONFLICT for code in codes):\n        return Conflict(cause=error)\n",
            "    if any(code in _CONFLICT for code in codes):\n        return Conflict(cause=error)\n    if _FAILED in codes:\n        return _refused(reasons, codes, error, request)\n",
            noticed_by=(
                "tests/dynamodb/test_answers.py::test_a_cancelled_transaction_is_what_its_weightiest_reason_says",
            ),
        ),
        _answers(
            "throttling passes",
            "    if code in _THROTTLED:\n        return Throttled(cause=error)\n",
            "",
            noticed_by=("tests/dynamodb/test_answers.py::test_throttling_is_told_apart_from_an_outage",),
        ),
        _answers(
            "a server in trouble may have carried it out",
            "if code in _UNCERTAIN or in_trouble or not genuine:",
            "if code in _UNCERTAIN or not genuine:",
            noticed_by=("tests/dynamodb/test_answers.py::test_a_server_in_trouble_leaves_it_unknown",),
        ),
        _answers(
            "an error of a stranger's may hide that it was carried out",
            "if code in _UNCERTAIN or in_trouble or not genuine:",
            "if code in _UNCERTAIN or in_trouble:",
            noticed_by=("tests/dynamodb/test_answers.py::test_what_did_not_come_from_the_service_leaves_it_unknown",),
        ),
        _answers(
            "a lost answer leaves it unknown",
            "    # Whatever else: botocore's own errors, its parser's on an answer that is none of DynamoDB's, the network's.\n    return Unknown(cause=error)",
            "    return Unsent(cause=error)",
            noticed_by=("tests/dynamodb/test_answers.py::test_a_lost_answer_leaves_it_unknown",),
        ),
        _answers(
            "what was never sent is known not to have happened",
            "    if isinstance(error, _NEVER_SENT):\n        return Unsent(cause=error)\n",
            "",
            noticed_by=("tests/dynamodb/test_answers.py::test_what_never_reached_anybody_is_unsent",),
        ),
        _answers(
            "an answer without items is no empty bucket",
            '    if not isinstance(response.get("Items"), list):',
            '    if response.get("Items", []) is None:',
            noticed_by=(
                "tests/dynamodb/test_answers.py::test_an_answer_to_a_look_without_items_does_not_say_that_there_are_none",
            ),
        ),
        _answers(
            "a page that ends early says nothing of what follows",
            "key=slot_key) if more else MAX_TOKENS",
            "key=slot_key) if False else MAX_TOKENS",
            noticed_by=(
                "tests/dynamodb/test_answers.py::test_a_page_that_ends_early_tells_nothing_of_what_lies_behind_it",
            ),
        ),
        _answers(
            "a newer data model is left alone",
            "    if counter.schema > SCHEMA:",
            "    if counter.schema > SCHEMA + 10:",
            noticed_by=("tests/dynamodb/test_answers.py::test_a_counter_that_is_not_ours_rejects_a_transaction",),
        ),
        Guard(
            name="a stranger's 200 OK is no lease",
            room="dynamodb/store.py",
            code="        if not genuine:\n",
            without="        if not genuine and not response:\n",
            noticed_by=("tests/dynamodb/test_client.py::test_a_200_ok_without_a_request_id_is_no_lease",),
        ),
    ),
)

WAITING = Chapter(
    title="Acquiring and waiting",
    guards=(
        _attempt(
            "two guesses, then a look",
            "GUESSES = 2\n",
            "GUESSES = 3\n",
            noticed_by=("tests/operations/test_acquire_costs.py::test_after_two_misses_a_client_looks",),
        ),
        Guard(
            name="the first look is consistent",
            room="_operations/acquire.py",
            code="consistent, self._looked = not self._looked, True",
            without="consistent, self._looked = False, True",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_polls_are_eventually_consistent_and_only_the_first_look_is_not",
            ),
        ),
        Guard(
            name="polls are eventually consistent",
            room="_operations/acquire.py",
            code="consistent, self._looked = not self._looked, True",
            without="consistent, self._looked = True, True",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_polls_are_eventually_consistent_and_only_the_first_look_is_not",
            ),
        ),
        _attempt(
            "what an overtaken retirement left is seen consistently",
            "        self._looked = False  # done or overtaken",
            "        # done or overtaken",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_what_was_changed_by_another_or_by_us_is_looked_at_consistently",
            ),
        ),
        _attempt(
            "what another created is seen consistently",
            "                self._looked = False  # somebody was faster",
            "                # somebody was faster",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_what_was_changed_by_another_or_by_us_is_looked_at_consistently",
            ),
        ),
        Guard(
            name="a bucket that is gone is forgotten when a look says so",
            room="_operations/acquire.py",
            code="        elif view.counter_looked_for:\n            self._state.hints.forget()\n",
            without="",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_a_bucket_that_a_look_shows_to_be_gone_is_made_anew_at_once",
            ),
        ),
        _attempt(
            "a bucket that is gone is forgotten when a mint says so",
            "            state.hints.forget()  # the counter's",
            "            pass  # the counter's",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_a_bucket_that_a_mint_shows_to_be_gone_is_made_anew_at_once",
            ),
        ),
        Guard(
            name="a refused mint teaches the counter",
            room="_operations/acquire.py",
            code="            state.adopt(refused.counter, True)\n",
            without="            pass\n",
            noticed_by=("tests/operations/test_acquire_costs.py::test_a_mint_that_is_refused_teaches_the_new_bound",),
        ),
        _attempt(
            "two threads of one process do not race for one slot",
            "        state.hints.learn_slot(step.slot, None)  # not",
            "        # not",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_one_process_polls_as_one_however_many_wait_in_it",
            ),
        ),
        _attempt(
            "bringing back keeps the item while a lease may run on it",
            "            ttl=state.ttl(now_hi + state.lease_ms(), fence=step.fence),\n            re_mint",
            "            ttl=state.ttl(now_hi, fence=step.fence),\n            re_mint",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_what_goes_out_of_circulation_or_comes_back_stays_while_a_lease_may_run_on_it",
            ),
        ),
        Guard(
            name="a retirement keeps the item while a lease may run on it",
            room="_operations/acquire.py",
            code="ttl=state.ttl(now_hi + state.lease_ms(), expires_at=step.expires_at, fence=step.fence)",
            without="ttl=state.ttl(now_hi, expires_at=step.expires_at, fence=step.fence)",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_what_goes_out_of_circulation_or_comes_back_stays_while_a_lease_may_run_on_it",
            ),
        ),
        Guard(
            name="and for as long as the lease that was seen on it",
            room="_operations/acquire.py",
            code="ttl=state.ttl(now_hi + state.lease_ms(), expires_at=step.expires_at, fence=step.fence)",
            without="ttl=state.ttl(now_hi + state.lease_ms(), fence=step.fence)",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_what_is_retired_stays_for_as_long_as_the_lease_on_it",
            ),
        ),
        Guard(
            name="the counter of a large bucket is seen now and then",
            room="_operations/acquire.py",
            code="        elif self._looks % HEAD_EVERY == 0:\n",
            without="        elif False:\n",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_who_waits_for_a_large_bucket_finds_out_that_it_was_resized",
            ),
        ),
        Guard(
            name="a page cut short is gone on from",
            room="_operations/acquire.py",
            code="            self._resume = view.covered.stop  #",
            without="            self._resume = 0  #",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_a_page_that_large_data_cut_short_is_gone_on_from",
            ),
        ),
        Guard(
            name="a large bucket is looked at from a random window on",
            room="_operations/acquire.py",
            code="count, self._state.chance.randrange(count)",
            without="count, 0",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_clients_of_a_large_bucket_do_not_all_look_at_the_same_slots",
            ),
        ),
        _attempt(
            "the windows are taken in turn",
            "(self._window + 1) % count",
            "self._window",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_a_try_looks_through_one_window_of_a_large_bucket_after_the_other",
            ),
        ),
        Guard(
            name="foreign items do not hide the slots",
            room="_operations/acquire.py",
            code="        if not answer.more or view.covered:\n",
            without="        if True:\n",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_foreign_items_in_great_number_do_not_hide_the_bucket",
            ),
        ),
        Guard(
            name="a bucket that may have been remade is looked at consistently",
            room="_operations/acquire.py",
            code="        if not consistent and protocol.looks_remade(view, counter):",
            without="        if False:",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_who_waits_sees_that_the_bucket_was_made_anew_with_a_lower_rev",
            ),
        ),
        Guard(
            name="a bucket of a window's size is seen to end there",
            room="_operations/acquire.py",
            code="limit=protocol.WINDOW + 1, consistent=consistent",
            without="limit=protocol.WINDOW, consistent=consistent",
            noticed_by=(
                "tests/operations/test_acquire_costs.py::test_a_full_bucket_of_just_as_many_slots_as_a_window_takes_one_look",
            ),
        ),
        _attempt(
            "an endpoint never reached is given up",
            "return isinstance(outcome, Unavailable) and silent and not state.time.known",
            "return False",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_without_a_timeout_a_service_that_was_never_reached_is_given_up",
            ),
        ),
        _attempt(
            "an outage is waited out",
            "return isinstance(outcome, Unavailable) and silent and not state.time.known",
            "return isinstance(outcome, Unavailable) and silent",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew",
            ),
        ),
        _attempt(
            "who has had its turn gives way before its next acquire",
            "            return GaveWay(pause)\n",
            "            pass\n",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_who_held_a_slot_for_long_and_has_met_others_gives_way_before_its_next_acquire",
            ),
        ),
        _attempt(
            "others are noticed",
            "            state.hints.fairness.met_others(state.time.steady())\n",
            "            pass\n",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_who_held_a_slot_for_long_and_has_met_others_gives_way_before_its_next_acquire",
            ),
        ),
        _attempt(
            "what a break leaves to others is not claimed blindly after it",
            "                    hints.forget_free()  # others",
            "                    pass  # others",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_who_held_a_slot_for_long_and_has_met_others_gives_way_before_its_next_acquire",
            ),
        ),
        _attempt(
            "nobody gives way beyond its timeout",
            "        return pause if now + pause < self._deadline else 0.0\n",
            "        return pause\n",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_who_gives_way_is_no_later_for_it_than_its_timeout",
            ),
        ),
        _attempt(
            "the waiters of one process share their looks",
            "            if look_in > AT_ONCE_SECONDS:\n",
            "            if False:\n",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_of_those_who_wait_in_one_process_the_next_looks_when_the_last_look_has_aged",
            ),
        ),
        _attempt(
            "who cannot wait for the next look looks at once",
            "return max(0.0, at - now) if at < self._deadline else 0.0",
            "return max(0.0, at - now)",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_who_cannot_wait_for_the_next_look_looks_at_once",
            ),
        ),
        _attempt(
            "a look is void once a slot was lost to another",
            "            state.hints.look_at = -math.inf  # what",
            "            pass  # what",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_a_slot_lost_to_another_makes_the_last_look_void",
            ),
        ),
        _attempt(
            "one waiter polls for its process",
            "        if not state.hints.my_turn(self._waiter, now=now):\n            return OutOfTurn()\n",
            "",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_a_newcomer_leaves_a_free_slot_to_those_in_front",
            ),
        ),
        _attempt(
            "nobody waits on for a closed bucket",
            "        state.require_open()\n",
            "",
            noticed_by=("tests/operations/test_acquire_errors.py::test_closing_a_bucket_ends_the_waits_for_it",),
        ),
        _retry(
            "pauses have full jitter",
            "return chance.uniform(0.0, min(cap, first * 2.0 ** min(attempt - 1, 30)))",
            "return min(cap, first * 2.0 ** min(attempt - 1, 30))",
            noticed_by=("tests/protocol/test_retry.py::test_pauses_spread_over_the_whole_of_it",),
        ),
        _retry(
            "pauses grow",
            "first * 2.0 ** min(attempt - 1, 30)",
            "first",
            noticed_by=("tests/protocol/test_retry.py::test_pauses_spread_over_the_whole_of_it",),
        ),
        _retry(
            "pauses have a cap",
            "min(cap, first * 2.0 ** min(attempt - 1, 30))",
            "first * 2.0 ** min(attempt - 1, 30)",
            noticed_by=(
                "tests/protocol/test_retry.py::test_a_pause_lies_between_nothing_and_a_bound_that_doubles_up_to_a_cap",
            ),
        ),
        _retry(
            "polls have full jitter",
            "    poll = chance.uniform(0.0, LONGEST_POLL_SECONDS)\n",
            "    poll = LONGEST_POLL_SECONDS / 2\n",
            noticed_by=(
                "tests/protocol/test_retry.py::test_a_full_bucket_is_polled_once_a_second_on_average_under_full_jitter",
            ),
        ),
        _retry(
            "a known expiry is not slept through",
            "    return min(poll, max(0.0, expires_in) + chance.uniform(0.0, EXPIRY_JITTER_SECONDS))",
            "    return poll",
            noticed_by=(
                "tests/protocol/test_retry.py::test_a_poll_follows_the_first_known_expiry_and_is_never_later_than_an_ordinary_one",
            ),
        ),
        _retry(
            "at a known expiry not everybody jumps at once",
            " + chance.uniform(0.0, EXPIRY_JITTER_SECONDS))",
            ")",
            noticed_by=("tests/protocol/test_retry.py::test_at_a_known_expiry_not_everybody_jumps_at_once",),
        ),
        _retry(
            "an acquire keeps its timeout",
            "return max(0.0, min(self._wait(retry_state), self._deadline - self._steady()))",
            "return self._wait(retry_state)",
            noticed_by=(
                "tests/protocol/test_retry.py::test_sending_again_ends_with_a_try_at_the_deadline_and_none_after_it",
            ),
        ),
        _retry(
            "a deadline ends the tries",
            "        return self._steady() >= self._deadline\n",
            "        return False\n",
            noticed_by=("tests/protocol/test_retry.py::test_a_deadline_that_has_passed_allows_one_try",),
        ),
        _retry(
            "without patience a full bucket ends it",
            "                return patient\n",
            "                return True\n",
            noticed_by=("tests/protocol/test_retry.py::test_without_patience_a_full_bucket_ends_it_at_once",),
        ),
        _retry(
            "a slot that comes free ends a pause",
            "isinstance(state.outcome.result(), _WAITING)\n",
            "False\n",
            noticed_by=(
                "tests/protocol/test_retry.py::test_only_who_waits_for_a_slot_may_be_woken_and_none_that_backs_off",
            ),
        ),
        _retry(
            "backing off is not ended by it",
            "wakeable = state.outcome is not None and isinstance(state.outcome.result(), _WAITING)",
            "wakeable = True",
            noticed_by=(
                "tests/protocol/test_retry.py::test_only_who_waits_for_a_slot_may_be_woken_and_none_that_backs_off",
            ),
        ),
        _turns(
            "a turn ends",
            " or now - self._began < TURN_SECONDS:\n",
            " or now - self._began < math.inf:\n",
            noticed_by=(
                "tests/state/test_fairness.py::test_who_has_a_slot_back_to_back_takes_a_short_break_after_each_turn",
            ),
        ),
        _turns(
            "a slot that was free for a moment is a break",
            "        if now - self._released_at > MOMENT_SECONDS or now - self._began",
            "        if now - self._began",
            noticed_by=(
                "tests/state/test_fairness.py::test_a_slot_that_was_free_for_a_moment_is_a_break_already",
                "tests/state/test_fairness.py::test_a_process_that_has_released_nothing_owes_nobody_a_break",
            ),
        ),
        _turns(
            "the break is the whole process's",
            "        return max(0.0, self._quiet_until - now)\n",
            "        return 0.0\n",
            noticed_by=("tests/state/test_fairness.py::test_the_whole_process_keeps_quiet_until_the_break_is_over",),
        ),
        _turns(
            "alone, one's own waiters are served",
            "        return self._met(now) or self._claims >= TURN_CLAIMS\n",
            "        return True\n",
            noticed_by=(
                "tests/state/test_fairness.py::test_however_long_each_is_held_only_every_so_many_slots_are_kept_back_from_ones_own_waiters",
            ),
        ),
        _attempt(
            "where another slot seems to be free, it is had instead of a break",
            "            if hints.free > 1:\n",
            "            if False:\n",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_where_another_slot_is_free_there_is_no_break_but_it_is_had_instead",
            ),
        ),
        _attempt(
            "a break is drawn where a slot is in hand",
            "if not pause and hints.free and hints.fairness.over(now):",
            "if not pause and hints.fairness.over(now):",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_while_a_sibling_holds_the_slot_no_break_is_drawn",
            ),
        ),
        _attempt(
            "room to mint is looked for again",
            "                    hints.forget_free()\n                hints.fairness.restart(now)\n",
            "                    pass\n                hints.fairness.restart(now)\n",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_room_to_mint_is_looked_for_again_before_it_is_relied_on_for_long",
            ),
        ),
        _attempt(
            "what was released here during a look is taken at once",
            "            if state.hints.news != news:\n",
            "            if False:\n",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_a_slot_released_here_while_a_look_is_under_way_is_taken_at_once",
            ),
        ),
        _hints(
            "a look does not hide what was released here meanwhile",
            "            if kept is not None:\n",
            "            if False:\n",
            noticed_by=(
                "tests/state/test_hints.py::test_a_look_that_was_under_way_does_not_hide_what_was_released_here_meanwhile",
            ),
        ),
        _hints(
            "a free slot is handed to one thread",
            "                fence = self._free.take(number)\n",
            "                fence = self._free._fences[number] + 0\n",
            noticed_by=("tests/state/test_hints.py::test_a_slot_that_was_handed_out_is_not_handed_out_again",),
        ),
        _hints(
            "the slot released last comes first",
            "number = self._own_release if self._own_release in self._free else self._free.draw(chance)",
            "number = self._free.draw(chance)",
            noticed_by=("tests/state/test_hints.py::test_the_slot_that_we_released_ourselves_comes_first",),
        ),
        _hints(
            "not every process guesses the same slot",
            "            place = chance.randrange(len(pool))\n",
            "            place = 0\n",
            noticed_by=("tests/state/test_hints.py::test_free_slots_are_drawn_at_random",),
        ),
        _hints(
            "hints beyond the bound are dropped",
            "                if fence is not None and number < counter.max_tokens:\n",
            "                if fence is not None:\n",
            noticed_by=("tests/state/test_hints.py::test_hints_beyond_a_bucket_that_has_shrunk_are_dropped",),
        ),
        Guard(
            name="an older counter does not replace a newer",
            room="_state/hints.py",
            code="if sure or known is None or counter.rev >= known.rev:",
            without="if True:",
            noticed_by=("tests/state/test_hints.py::test_the_newest_counter_is_kept_and_other_settings_are_told",),
        ),
        Guard(
            name="unless it was seen for sure",
            room="_state/hints.py",
            code="if sure or known is None or counter.rev >= known.rev:",
            without="if known is None or counter.rev >= known.rev:",
            noticed_by=("tests/state/test_hints.py::test_the_newest_counter_is_kept_and_other_settings_are_told",),
        ),
        _hints(
            "a release wakes a waiter of this process",
            "            woken = self._to_be_served()\n        _wake(woken, but=by)\n\n    def take_free",
            "            woken = []\n        _wake(woken, but=by)\n\n    def take_free",
            noticed_by=("tests/state/test_hints.py::test_who_looked_is_not_woken_by_what_it_saw",),
        ),
        _hints(
            "who leaves the line wakes the next",
            "            woken = self._first_in_line()\n        _wake(woken)\n",
            "            woken = []\n        _wake(woken)\n",
            noticed_by=("tests/state/test_hints.py::test_when_the_first_leaves_the_next_is_woken_and_has_its_turn",),
        ),
        _hints(
            "a waiter does not wake itself by what it saw",
            "        if waiter is not but:\n",
            "        if True:\n",
            noticed_by=("tests/state/test_hints.py::test_who_looked_is_not_woken_by_what_it_saw",),
        ),
        _hints(
            "a waiter that is gone holds nobody up",
            "            if not vacant:\n",
            "            if True:\n",
            noticed_by=("tests/state/test_hints.py::test_a_waiter_that_is_gone_without_a_word_holds_nobody_up",),
        ),
        _hints(
            "a first in line that is stuck holds nobody up",
            " or now - self._tried_at > _STALE_SECONDS\n",
            "\n",
            noticed_by=(
                "tests/state/test_hints.py::test_if_the_first_has_not_tried_for_long_the_others_stop_relying_on_it",
            ),
        ),
        Guard(
            name="no waiter stays in line after an interrupt",
            room="bucket.py",
            code="        finally:\n            self._hints.leave(pursuit.waiter)\n",
            without="        finally:\n            pass\n",
            noticed_by=(
                "tests/operations/test_acquire_waiting.py::test_a_waiter_that_times_out_hands_the_poll_to_the_next",
            ),
        ),
        Guard(
            name="a stored lease too short for this client is refused",
            room="bucket.py",
            code="            self._timing.require_room(stored.lease_ms / 1000)\n",
            without="",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_a_stored_lease_too_short_for_this_clients_margin_is_refused",
            ),
        ),
        Guard(
            name="a client that waits too long for the stored lease is refused",
            room="dynamodb/store.py",
            code="if self._connection.client is not None or timeout_for",
            without="if timeout_for",
            noticed_by=(
                "tests/dynamodb/test_client.py::test_a_client_that_waits_longer_than_the_stored_lease_allows_is_refused_each_time",
            ),
        ),
        Guard(
            name="each time",
            room="bucket.py",
            code="            self._store.fit(stored.lease_ms / 1000)\n            self._fitting = stored\n",
            without="            self._fitting = stored\n            self._store.fit(stored.lease_ms / 1000)\n",
            noticed_by=(
                "tests/dynamodb/test_client.py::test_a_client_that_waits_longer_than_the_stored_lease_allows_is_refused_each_time",
            ),
        ),
        Guard(
            name="timeouts fit the stored lease",
            room="bucket.py",
            code="            self._store.fit(stored.lease_ms / 1000)\n",
            without="",
            noticed_by=(
                "tests/dynamodb/test_client.py::test_a_client_that_waits_longer_than_the_stored_lease_allows_is_refused_each_time",
            ),
        ),
        Guard(
            name="the stored length of a lease rules",
            room="_state/bucket_state.py",
            code="return counter.lease_ms if counter else self.wanted.lease_ms",
            without="return self.wanted.lease_ms",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_stored_settings_rule_and_one_warning_names_both",
            ),
        ),
        Guard(
            name="of other settings a warning is given once",
            room="bucket.py",
            code="            self._warned = True\n",
            without="",
            noticed_by=(
                "tests/operations/test_acquire_errors.py::test_a_bucket_that_is_resized_again_and_again_is_nothing_more_to_warn_of",
            ),
        ),
        Guard(
            name="closing wakes who waits",
            room="bucket.py",
            code="        self._closed = True\n        self._hints.wake_all()\n",
            without="        self._closed = True\n",
            noticed_by=("tests/operations/test_acquire_errors.py::test_closing_a_bucket_ends_the_waits_for_it",),
        ),
    ),
)
