"""What the requests promise the table: every half of every condition, its edges, and what is written."""

from tests.mutants.mutant import Chapter, Mutant

_EXPRESSIONS = "dynamodb/expressions.py"


def _half(name: str, target: str, half: str, *, noticed_by: tuple[str, ...]) -> Mutant:
    """A condition that has lost this half."""
    # Still evaluated, so that no value is left unused, which DynamoDB would refuse; and true of any item, and of none.
    always = f'f"({{{half}}} OR attribute_exists(#pk) OR attribute_not_exists(#pk))"'
    return Mutant(name=name, module=_EXPRESSIONS, target=target, code=half, without=always, noticed_by=noticed_by)


def _text(name: str, target: str, whole: str, part: str, instead: str, *, noticed_by: tuple[str, ...]) -> Mutant:
    """An expression in which a part of the text is another."""
    code, without = repr(whole), repr(whole.replace(part, instead))
    return Mutant(name=name, module=_EXPRESSIONS, target=target, code=code, without=without, noticed_by=noticed_by)


CONDITIONS = Chapter(
    title="Conditions of the requests",
    mutants=(
        _half(
            "a claim never creates a slot",
            "CLAIM",
            "EXISTS",
            noticed_by=("tests/dynamodb/test_answers.py::test_what_is_defence_in_depth_stands_there_all_the_same",),
        ),
        _half(
            "a claim never takes a retired slot",
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
            "a claim never takes a running lease",
            "CLAIM",
            "_free_or_expired",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_running_lease_is_not_claimed_over",),
        ),
        _half(
            "a renewal renews only our own lease",
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
            "a release ends only the lease with its id",
            "RELEASE",
            "_still_mine",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_slot_without_an_item_is_not_made_by",),
        ),
        _half(
            "a revocation marks only the lease with its id",
            "REVOKE",
            "_still_mine",
            noticed_by=("tests/operations/test_revoke.py::test_another_lease_is_not_marked_nor_is_a_slot_made",),
        ),
        _half(
            "a mint never overwrites a slot",
            "MINT_SLOT",
            "DOES_NOT_EXIST",
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
            "bringing back never creates a slot",
            "BRING_BACK_SLOT",
            "EXISTS",
            noticed_by=("tests/dynamodb/test_answers.py::test_what_is_defence_in_depth_stands_there_all_the_same",),
        ),
        _half(
            "only a retired slot is brought back",
            "BRING_BACK_SLOT",
            "_is_retired",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_a_slot_in_circulation_is_not_brought_back_again",
            ),
        ),
        _half(
            "no item of another program is brought back",
            "BRING_BACK_SLOT",
            "_our_slot",
            noticed_by=("tests/fuzz/test_found_in_tables.py::test_nor_does_one_beside_what_is_ours",),
        ),
        _half(
            "a retired slot is not retired again",
            "RETIRE_SLOT",
            "_in_circulation",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_all_slots_are_retired_or_none",),
        ),
        _half(
            "no item of another program is retired",
            "RETIRE_SLOT",
            "_our_slot",
            noticed_by=("tests/fuzz/test_found_in_tables.py::test_nor_does_one_beside_what_is_ours",),
        ),
        _half(
            "a retirement needs the counter unchanged",
            "RETIRE_COUNTER",
            "_as_seen",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_nothing_is_retired_where_the_counter_is_not_as_seen",
            ),
        ),
        _half(
            "a creation never overwrites a counter",
            "CREATE_COUNTER",
            "DOES_NOT_EXIST",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_a_bucket_is_not_created_over_another",),
        ),
        Mutant(
            name="a creation never overwrites a slot",
            module=_EXPRESSIONS,
            target="_create",
            code="MINT_SLOT",
            without='f"({MINT_SLOT} OR attribute_exists(#pk))"',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_a_bucket_is_not_created_over_a_slot",),
        ),
        Mutant(
            name="several: each claim has the condition of a claim",
            module=_EXPRESSIONS,
            target="_take",
            code="CLAIM",
            without='all_of(EXISTS, _in_circulation, _fence_rises, f"({_free_or_expired} OR attribute_exists(#pk))")',
            noticed_by=("tests/operations/test_acquire_many.py::test_where_one_cannot_be_had_none_is",),
        ),
        Mutant(
            name="several: a mint never overwrites a slot",
            module=_EXPRESSIONS,
            target="_take",
            code="MINT_SLOT",
            without='f"({MINT_SLOT} OR attribute_exists(#pk))"',
            noticed_by=("tests/operations/test_acquire_many.py::test_none_is_minted_over_a_slot_that_exists",),
        ),
        _half(
            "several: all minted slots stay below max_tokens",
            "TAKE_COUNTER",
            "_all_numbers_allowed",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_none_is_minted_where_the_counter_does_not_allow_all",
            ),
        ),
        _half(
            "several: the count has room for all minted slots",
            "TAKE_COUNTER",
            "_room_for_all",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_none_is_minted_where_the_counter_does_not_allow_all",
                "tests/operations/test_acquire_many.py::test_those_that_do_not_exist_are_minted_and_counted",
            ),
        ),
        _half(
            "several: a re-mint needs max_tokens unchanged",
            "RE_MINT_TAKE_COUNTER",
            "_max_as_seen",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_none_is_minted_where_the_counter_does_not_allow_all",
            ),
        ),
        _half(
            "several: a re-mint needs a count that is full",
            "RE_MINT_TAKE_COUNTER",
            "_drifted_for_all",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_none_is_minted_where_the_counter_does_not_allow_all",
            ),
        ),
        _half(
            "a growth needs the counter unchanged",
            "GROW",
            "_as_seen",
            noticed_by=("tests/operations/test_resize.py::test_the_counter_is_written_as_it_was_seen_and_only_so",),
        ),
        _half(
            "a recount needs the counter unchanged",
            "RECOUNT",
            "_as_seen",
            noticed_by=("tests/operations/test_resize.py::test_the_counter_is_written_as_it_was_seen_and_only_so",),
        ),
        _text(
            "a batch renews only the lease of its holder",
            "RENEW_STATEMENT",
            'UPDATE {table} SET "expires_at" = ?, "ttl" = ? WHERE "pk" = ? AND "sk" = ? AND "lease_id" = ? AND "expires_at" <= ? RETURNING ALL NEW *',
            '"lease_id" = ? ',
            '"pk" >= ? ',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_lease_of_another_is_not_touched_by",),
        ),
        _text(
            "a batch never shortens a lease",
            "RENEW_STATEMENT",
            'UPDATE {table} SET "expires_at" = ?, "ttl" = ? WHERE "pk" = ? AND "sk" = ? AND "lease_id" = ? AND "expires_at" <= ? RETURNING ALL NEW *',
            '"expires_at" <= ? ',
            '"fence" <= ? ',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_renewal_never_shortens_a_lease",),
        ),
    ),
)

EDGES = Chapter(
    title="Edges of the conditions",
    mutants=(
        Mutant(
            name="a claim with the same fence fails",
            module=_EXPRESSIONS,
            target="_fence_rises",
            code='"#fence < :fence"',
            without='"#fence <= :fence"',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_fence_that_does_not_rise_claims_nothing",),
        ),
        _text(
            "a lease is over after its expiry, not at it",
            "_free_or_expired",
            "(attribute_not_exists(#lease_id) OR #expires_at < :expired_before)",
            "#expires_at < :expired_before",
            "#expires_at <= :expired_before",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_running_lease_is_not_claimed_over",),
        ),
        _text(
            "a free slot can be claimed",
            "_free_or_expired",
            "(attribute_not_exists(#lease_id) OR #expires_at < :expired_before)",
            "attribute_not_exists(#lease_id) OR ",
            "",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_free_slot_is_claimed_with_all_that_a_lease_is",),
        ),
        _text(
            "an expired lease can be claimed over",
            "_free_or_expired",
            "(attribute_not_exists(#lease_id) OR #expires_at < :expired_before)",
            " OR #expires_at < :expired_before",
            " OR (#expires_at < :expired_before AND attribute_not_exists(#sk))",
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_claim_leaves_nothing_of_the_expired_lease_before_it",
            ),
        ),
        Mutant(
            name="a renewal to the same expiry succeeds",
            module=_EXPRESSIONS,
            target="_never_shorter",
            code='"#expires_at <= :expires_at"',
            without='"#expires_at < :expires_at"',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_renewal_to_the_same_expiry_is_fine",),
        ),
        Mutant(
            name="slot numbers end below max_tokens",
            module=_EXPRESSIONS,
            target="_number_allowed",
            code='"#max_tokens > :slot"',
            without='"#max_tokens >= :slot"',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_no_slot_at_or_above_max_tokens_is_minted",),
        ),
        Mutant(
            name="the last slot is minted once",
            module=_EXPRESSIONS,
            target="_room_left",
            code='"#minted < #max_tokens"',
            without='"#minted <= #max_tokens"',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_nothing_is_minted_once_all_are_counted",),
        ),
        Mutant(
            name="a count that is just full allows a re-mint",
            module=_EXPRESSIONS,
            target="_drifted",
            code='"#minted >= #max_tokens"',
            without='"#minted > #max_tokens"',
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_a_slot_that_exists_is_not_minted_over",),
        ),
        Mutant(
            name="an unchanged counter has exactly the same rev",
            module=_EXPRESSIONS,
            target="_as_seen",
            code='"#rev = :rev"',
            without='"#rev >= :rev"',
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_nothing_is_retired_where_the_counter_is_not_as_seen",
            ),
        ),
    ),
)

EFFECTS = Chapter(
    title="Effects of the requests: fences, TTL, counts",
    mutants=(
        _text(
            "a renewal moves the expiry",
            "_SET_RENEW",
            "SET #expires_at = :expires_at, #ttl = :ttl",
            "#expires_at = :expires_at, ",
            "",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_renewal_moves_the_expiry_and_nothing_else",),
        ),
        _text(
            "a release keeps the fence",
            "_DROP_LEASE",
            "REMOVE #lease_id, #owner, #acquired_at, #expires_at, #data, #revoked",
            "#revoked",
            "#revoked, #fence",
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_lease_on_a_retired_slot_may_be_renewed_and_released",
            ),
        ),
        _text(
            "a release frees the slot",
            "_DROP_LEASE",
            "REMOVE #lease_id, #owner, #acquired_at, #expires_at, #data, #revoked",
            "#lease_id, ",
            "",
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_lease_on_a_retired_slot_may_be_renewed_and_released",
            ),
        ),
        Mutant(
            name="a release moves the TTL",
            module=_EXPRESSIONS,
            target="_SET_RELEASE",
            code='f"SET #ttl = :ttl {_DROP_LEASE}"',
            without='f"SET #elsewhere = :ttl {_DROP_LEASE}"',
            noticed_by=(
                "tests/dynamodb/test_requests_slot.py::test_a_lease_on_a_retired_slot_may_be_renewed_and_released",
            ),
        ),
        _text(
            "a mint counts",
            "_SET_MINT",
            "SET #minted = #minted + :one, #rev = #rev + :one",
            "#minted = #minted + :one, ",
            "",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_minting_makes_a_leased_slot_and_counts_it",),
        ),
        _text(
            "a mint raises rev",
            "_SET_MINT",
            "SET #minted = #minted + :one, #rev = #rev + :one",
            ", #rev = #rev + :one",
            "",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_minting_makes_a_leased_slot_and_counts_it",),
        ),
        _text(
            "a retirement leaves the TTL as it is",
            "_SET_RETIRE_SLOT",
            "SET #retired = :yes, #ttl = if_not_exists(#ttl, :ttl)",
            "if_not_exists(#ttl, :ttl)",
            ":ttl",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_retiring_takes_slots_out_and_lets_their_leases_run",
            ),
        ),
        _text(
            "a retirement counts",
            "_SET_RETIRE_COUNTER",
            "SET #max_tokens = :max_tokens, #minted = :minted, #rev = #rev + :one",
            "#minted = :minted",
            "#elsewhere = :minted",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_retiring_takes_slots_out_and_lets_their_leases_run",
            ),
        ),
        _text(
            "a retirement raises rev",
            "_SET_RETIRE_COUNTER",
            "SET #max_tokens = :max_tokens, #minted = :minted, #rev = #rev + :one",
            ", #rev = #rev + :one",
            "",
            noticed_by=(
                "tests/dynamodb/test_requests_counter.py::test_retiring_takes_slots_out_and_lets_their_leases_run",
            ),
        ),
        _text(
            "a recount raises rev",
            "_SET_RECOUNT",
            "SET #minted = :minted, #rev = #rev + :one",
            "#rev = #rev + :one",
            "#rev = :rev + :one - :one",
            noticed_by=("tests/operations/test_resize.py::test_the_counter_is_written_as_it_was_seen_and_only_so",),
        ),
        Mutant(
            name="several: a mint counts all its slots",
            module=_EXPRESSIONS,
            target="_take",
            code='{"N": str(many)}',
            without="_ONE",
            noticed_by=("tests/operations/test_acquire_many.py::test_those_that_do_not_exist_are_minted_and_counted",),
        ),
        Mutant(
            name="a claim writes its fence",
            module=_EXPRESSIONS,
            target="_leased",
            code='{"N": str(fence)}',
            without='{"N": "0"}',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_free_slot_is_claimed_with_all_that_a_lease_is",),
        ),
        Mutant(
            name="a lease's item has a TTL",
            module=_EXPRESSIONS,
            target="_leased",
            code='{"N": str(ttl)}',
            without="",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_free_slot_is_claimed_with_all_that_a_lease_is",),
        ),
        Mutant(
            name="a failed condition returns the item",
            module="dynamodb/placeholders.py",
            target="ON_FAILURE",
            code='"ALL_OLD"',
            without='"NONE"',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_retired_slot_is_not_claimed",),
        ),
    ),
)
