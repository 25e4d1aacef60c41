"""What the requests promise the table: every condition, and every effect, of section 4."""

from tests.guards.guard import Chapter, Guard

_ROOM = "dynamodb/expressions.py"


def _always(condition: str) -> str:
    # Still evaluated, so that no value is left unused, which DynamoDB would refuse; and true of any item, and of none.
    return f'f"({{{condition}}} OR attribute_exists(#pk) OR attribute_not_exists(#pk))"'


def _half(name: str, conditions: str, half: str, *, noticed_by: tuple[str, ...]) -> Guard:
    constant = f"{conditions}: Final = "
    whole = _CONDITIONS[conditions]
    return Guard(
        name=name,
        room=_ROOM,
        code=f"{constant}{whole}",
        without=f"{constant}{whole.replace(half, _always(half))}",
        noticed_by=noticed_by,
    )


_CONDITIONS = {
    "CLAIM": "_all(_exists, _in_circulation, _fence_rises, _free_or_expired)",
    "RENEW": "_all(_still_mine, _never_shorter)",
    "RELEASE": "_still_mine",
    "MINT_SLOT": "_does_not_exist",
    "BRING_BACK_SLOT": "_all(_exists, _is_retired)",
    "RETIRE_SLOT": "_all(_exists, _in_circulation)",
    "MINT_COUNTER": "_all(_number_allowed, _room_left)",
    "RE_MINT_COUNTER": "_all(_number_allowed, _drifted)",
    "RETIRE_COUNTER": "_as_seen",
    "CREATE_COUNTER": "_does_not_exist",
}


def _edge(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room=_ROOM, code=f"Final = {code}", without=f"Final = {without}", noticed_by=noticed_by)


def _effect(name: str, code: str, without: str, *, noticed_by: tuple[str, ...]) -> Guard:
    return Guard(name=name, room=_ROOM, code=code, without=without, noticed_by=noticed_by)


CONDITIONS = Chapter(
    title="Conditions of the requests",
    guards=(
        _half(
            "a claim makes no slot",
            "CLAIM",
            "_exists",
            noticed_by=("tests/dynamodb/test_answers.py::test_what_is_defence_in_depth_stands_there_all_the_same",),
        ),
        _half(
            "a claim takes no retired slot",
            "CLAIM",
            "_in_circulation",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_retired_slot_is_not_claimed",),
        ),
        _half(
            "a claim raises the fence",
            "CLAIM",
            "_fence_rises",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_fence_that_does_not_rise_claims_nothing",),
        ),
        _half(
            "a claim takes no running lease",
            "CLAIM",
            "_free_or_expired",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_running_lease_is_not_claimed_over",),
        ),
        _half(
            "a renewal is of our own lease",
            "RENEW",
            "_still_mine",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_lease_of_another_is_not_touched_by",),
        ),
        _half(
            "a renewal never shortens",
            "RENEW",
            "_never_shorter",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_renewal_never_shortens_a_lease",),
        ),
        _half(
            "a release is of the lease meant",
            "RELEASE",
            "_still_mine",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_slot_without_an_item_is_not_made_by",),
        ),
        _half(
            "a mint overwrites no slot",
            "MINT_SLOT",
            "_does_not_exist",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_a_slot_that_exists_is_not_minted_over",),
        ),
        _half(
            "a mint stays below max_tokens",
            "MINT_COUNTER",
            "_number_allowed",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_no_slot_at_or_above_max_tokens_is_minted",),
        ),
        _half(
            "a mint needs room in the count",
            "MINT_COUNTER",
            "_room_left",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_nothing_is_minted_once_all_are_counted",),
        ),
        _half(
            "a re-mint stays below max_tokens",
            "RE_MINT_COUNTER",
            "_number_allowed",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_no_slot_at_or_above_max_tokens_is_minted",),
        ),
        _half(
            "a re-mint needs a count that is full",
            "RE_MINT_COUNTER",
            "_drifted",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_nothing_is_re_minted_while_there_is_room_to_count",
            ),
        ),
        _half(
            "bringing back makes no slot",
            "BRING_BACK_SLOT",
            "_exists",
            noticed_by=("tests/dynamodb/test_answers.py::test_what_is_defence_in_depth_stands_there_all_the_same",),
        ),
        _half(
            "only what is retired is brought back",
            "BRING_BACK_SLOT",
            "_is_retired",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_a_slot_in_circulation_is_not_brought_back_again",
            ),
        ),
        _half(
            "a retirement makes no slot",
            "RETIRE_SLOT",
            "_exists",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_all_slots_are_retired_or_none",),
        ),
        _half(
            "what is retired is not retired again",
            "RETIRE_SLOT",
            "_in_circulation",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_all_slots_are_retired_or_none",),
        ),
        _half(
            "a retirement goes by the counter as seen",
            "RETIRE_COUNTER",
            "_as_seen",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_nothing_is_retired_where_the_counter_is_not_as_seen",
            ),
        ),
        _half(
            "a creation overwrites no counter",
            "CREATE_COUNTER",
            "_does_not_exist",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_a_bucket_is_not_created_over_another",),
        ),
        _effect(
            "a creation overwrites no slot",
            "free, MINT_SLOT) for n in range",
            'free, f"({MINT_SLOT} OR attribute_exists(#pk))") for n in range',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_a_bucket_is_not_created_over_a_slot",),
        ),
    ),
)

EDGES = Chapter(
    title="Their edges",
    guards=(
        _edge(
            "the same fence does not claim twice",
            '"#fence < :fence"',
            '"#fence <= :fence"',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_fence_that_does_not_rise_claims_nothing",),
        ),
        _effect(
            "a lease is over after its expiry, not at it",
            "#expires_at < :expired_before",
            "#expires_at <= :expired_before",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_running_lease_is_not_claimed_over",),
        ),
        _effect(
            "a free slot can be claimed",
            "attribute_not_exists(#lease_id) OR #expires_at",
            "#expires_at",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_free_slot_is_claimed_with_all_that_a_lease_is",),
        ),
        _effect(
            "an expired lease can be claimed over",
            " OR #expires_at < :expired_before",
            " OR (#expires_at < :expired_before AND attribute_not_exists(#sk))",
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_claim_leaves_nothing_of_the_expired_lease_before_it",
            ),
        ),
        _edge(
            "a renewal to the same expiry succeeds",
            '"#expires_at <= :expires_at"',
            '"#expires_at < :expires_at"',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_renewal_to_the_same_expiry_is_fine",),
        ),
        _edge(
            "slot numbers end below max_tokens",
            '"#max_tokens > :slot"',
            '"#max_tokens >= :slot"',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_no_slot_at_or_above_max_tokens_is_minted",),
        ),
        _edge(
            "the last room is minted once",
            '"#minted < #max_tokens"',
            '"#minted <= #max_tokens"',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_nothing_is_minted_once_all_are_counted",),
        ),
        _edge(
            "a count that is just full can hide drift",
            '"#minted >= #max_tokens"',
            '"#minted > #max_tokens"',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_a_slot_that_exists_is_not_minted_over",),
        ),
        _edge(
            "the counter is exactly as seen",
            '"#rev = :rev"',
            '"#rev >= :rev"',
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_nothing_is_retired_where_the_counter_is_not_as_seen",
            ),
        ),
    ),
)

EFFECTS = Chapter(
    title="Effects of the requests",
    guards=(
        _effect(
            "a renewal moves the expiry",
            "SET #expires_at = :expires_at, #ttl = :ttl",
            "SET #ttl = :ttl",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_renewal_moves_the_expiry_and_nothing_else",),
        ),
        _effect(
            "a renewal moves the TTL",
            "SET #expires_at = :expires_at, #ttl = :ttl",
            "SET #expires_at = :expires_at, #elsewhere = :ttl",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_renewal_moves_the_expiry_and_nothing_else",),
        ),
        _effect(
            "a release keeps the fence",
            '#data, #revoked"  # #fence stays',
            '#data, #revoked, #fence"',
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_lease_on_a_retired_slot_may_be_renewed_and_released",
            ),
        ),
        _effect(
            "a release frees the slot",
            "REMOVE #lease_id, #owner",
            "REMOVE #owner",
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_lease_on_a_retired_slot_may_be_renewed_and_released",
            ),
        ),
        _effect(
            "a release drops the owner",
            "REMOVE #lease_id, #owner,",
            "REMOVE #lease_id,",
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_lease_on_a_retired_slot_may_be_renewed_and_released",
            ),
        ),
        _effect(
            "a release drops when it was acquired",
            "#acquired_at, #expires_at, #data, #revoked",
            "#expires_at, #data, #revoked",
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_lease_on_a_retired_slot_may_be_renewed_and_released",
            ),
        ),
        _effect(
            "a release drops the expiry",
            "#acquired_at, #expires_at, #data, #revoked",
            "#acquired_at, #data, #revoked",
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_lease_on_a_retired_slot_may_be_renewed_and_released",
            ),
        ),
        _effect(
            "a release drops the data",
            "#data, #revoked",
            "#revoked",
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_release_drops_all_of_the_lease_and_keeps_the_fence",
            ),
        ),
        _effect(
            "a release drops the mark of a revocation",
            "#data, #revoked",
            "#data",
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_release_drops_all_of_the_lease_and_keeps_the_fence",
            ),
        ),
        _effect(
            "a release moves the TTL",
            'f"SET #ttl = :ttl {_DROP_LEASE}"',
            'f"SET #elsewhere = :ttl {_DROP_LEASE}"',
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_lease_on_a_retired_slot_may_be_renewed_and_released",
            ),
        ),
        _effect(
            "a mint counts",
            "SET #minted = #minted + :one, #rev",
            "SET #rev",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_minting_makes_a_leased_slot_and_counts_it",),
        ),
        _effect(
            "a mint raises rev",
            "#minted + :one, #rev = #rev + :one",
            "#minted + :one",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_minting_makes_a_leased_slot_and_counts_it",),
        ),
        _effect(
            "a re-mint ends the drift",
            "SET #minted = #max_tokens, #rev = #rev + :one",
            "SET #rev = #rev + :one",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_re_minting_fills_what_was_counted_but_is_gone_and_counts_nothing_new",
            ),
        ),
        _effect(
            "a re-mint raises rev",
            "SET #minted = #max_tokens, #rev = #rev + :one",
            "SET #minted = #max_tokens, #elsewhere = #rev + :one",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_re_minting_fills_what_was_counted_but_is_gone_and_counts_nothing_new",
            ),
        ),
        _effect(
            "what is brought back circulates",
            "SET #ttl = if_not_exists(#ttl, :ttl) REMOVE #retired",
            "SET #ttl = if_not_exists(#ttl, :ttl)",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_bringing_back_ends_a_retirement_and_counts_it",),
        ),
        _effect(
            "bringing back leaves the TTL as it is",
            "SET #ttl = if_not_exists(#ttl, :ttl) REMOVE #retired",
            "SET #ttl = :ttl REMOVE #retired",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_bringing_back_ends_a_retirement_and_counts_it",),
        ),
        _effect(
            "what is retired does not circulate",
            "SET #retired = :yes, ",
            "SET #elsewhere = :yes, ",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_retiring_takes_slots_out_and_lets_their_leases_run",
            ),
        ),
        _effect(
            "a retirement leaves the TTL as it is",
            ":yes, #ttl = if_not_exists(#ttl, :ttl)",
            ":yes, #ttl = :ttl",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_retiring_takes_slots_out_and_lets_their_leases_run",
            ),
        ),
        _effect(
            "a retirement sets the bound",
            "SET #max_tokens = :max_tokens, #minted = :minted",
            "SET #elsewhere = :max_tokens, #minted = :minted",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_retiring_takes_slots_out_and_lets_their_leases_run",
            ),
        ),
        _effect(
            "a retirement counts",
            "#max_tokens = :max_tokens, #minted = :minted",
            "#max_tokens = :max_tokens, #elsewhere = :minted",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_retiring_takes_slots_out_and_lets_their_leases_run",
            ),
        ),
        _effect(
            "a retirement raises rev",
            "SET #max_tokens = :max_tokens, #minted = :minted, #rev = #rev + :one",
            "SET #max_tokens = :max_tokens, #minted = :minted",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_retiring_takes_slots_out_and_lets_their_leases_run",
            ),
        ),
        _effect(
            "a claim writes its fence",
            '"fence": number(fence),',
            '"fence": number(0),',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_free_slot_is_claimed_with_all_that_a_lease_is",),
        ),
        _effect(
            "a lease's item has a TTL",
            '"ttl": number(ttl),\n        "lease_id"',
            '"lease_id"',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_free_slot_is_claimed_with_all_that_a_lease_is",),
        ),
        _effect(
            "a free slot is created with a TTL",
            '{"fence": number(request.fence), "ttl": number(request.ttl)}',
            '{"fence": number(request.fence)}',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_creating_makes_the_counter_and_free_slots",),
        ),
        _effect(
            "a free slot is created with a fence",
            '{"fence": number(request.fence), "ttl": number(request.ttl)}',
            '{"ttl": number(request.ttl)}',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_creating_makes_the_counter_and_free_slots",),
        ),
        _effect(
            "data travels with the lease",
            "    if lease.data:\n",
            "    if not lease.data:\n",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_free_slot_is_claimed_with_all_that_a_lease_is",),
        ),
        _effect(
            "a creation counts its slots",
            '"minted": number(request.minted)',
            '"minted": number(0)',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_creating_makes_the_counter_and_free_slots",),
        ),
        _effect(
            "rev starts at the time of creation",
            '"rev": number(request.rev)',
            '"rev": number(0)',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_creating_makes_the_counter_and_free_slots",),
        ),
        _effect(
            "a failed condition brings the item back",
            '{"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}',
            '{"ReturnValuesOnConditionCheckFailure": "NONE"}',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_retired_slot_is_not_claimed",),
        ),
        _effect(
            "a renewal's answer shows a revocation",
            '"ReturnValues": "ALL_NEW"',
            '"ReturnValues": "NONE"',
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_renewal_shows_the_mark_of_a_revocation_and_keeps_it",
            ),
        ),
        _effect(
            "a look that must be consistent is",
            '"ConsistentRead": request.consistent',
            '"ConsistentRead": False',
            noticed_by=("tests/dynamodb/test_answers.py::test_a_look_is_as_consistent_as_was_asked_for",),
        ),
        _effect(
            "a look that need not be consistent is not",
            '"ConsistentRead": request.consistent',
            '"ConsistentRead": True',
            noticed_by=("tests/dynamodb/test_answers.py::test_a_look_is_as_consistent_as_was_asked_for",),
        ),
        _effect(
            "a look is of its window only",
            '"Limit": request.limit,',
            '"Limit": 1_000,',
            noticed_by=("tests/operations/test_status.py::test_a_status_waits_for_its_pages_and_joins_them",),
        ),
        _effect(
            "the counter takes no slot's place in a look",
            'call["Limit"] += 1',
            'call["Limit"] += 0',
            noticed_by=("tests/operations/test_status.py::test_a_status_waits_for_its_pages_and_joins_them",),
        ),
        _effect(
            "a transaction carries its own token",
            '"ClientRequestToken": token',
            '"ClientRequestToken": token[:0] + "0" * 32',
            noticed_by=(
                "tests/dynamodb/test_answers.py::test_a_transaction_carries_the_token_of_its_attempt_and_no_other",
            ),
        ),
        _effect(
            "the counter comes last in a transaction",
            "[*slots, counter]",
            "[counter, *slots]",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_a_slot_that_exists_is_not_minted_over",),
        ),
        _effect(
            "a creation makes the slots it counts",
            "for n in range(request.slots)",
            "for n in range(min(1, request.slots))",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_creating_makes_the_counter_and_free_slots",),
        ),
        Guard(
            name="sort keys sort by number",
            room="dynamodb/items.py",
            code='f"slot#{number:05d}"',
            without='f"slot#{number:d}"',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_free_slot_is_claimed_with_all_that_a_lease_is",),
        ),
        Guard(
            name="an item of foreign shape spoils no look",
            room="dynamodb/items.py",
            code="    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError):\n        pass",
            without="    except ZeroDivisionError:\n        pass",
            noticed_by=("tests/dynamodb/test_answers.py::test_a_slot_of_foreign_shape_is_marked_and_spoils_no_look",),
        ),
        Guard(
            name="an item of foreign shape is marked",
            room="dynamodb/items.py",
            code=', retired="retired" in item, foreign=True)',
            without=', retired="retired" in item)',
            noticed_by=("tests/dynamodb/test_answers.py::test_a_slot_of_foreign_shape_is_marked_and_spoils_no_look",),
        ),
    ),
)
