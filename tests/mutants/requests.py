"""What the requests promise the table beyond what `scripts/prove` shows: liveness, exact edges, defence in depth."""

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
            "a claim never takes a running lease",
            "CLAIM",
            "_free_or_expired",
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_running_lease_is_not_claimed_over",),
        ),
        _half(
            "a mint needs room in the count",
            "MINT_COUNTER",
            "_room_left",
            noticed_by=("tests/dynamodb/test_requests_counter.py::test_nothing_is_minted_once_all_are_counted",),
        ),
        _half(
            "bringing back never creates a slot",
            "BRING_BACK_SLOT",
            "EXISTS",
            noticed_by=("tests/dynamodb/test_answers.py::test_what_is_defence_in_depth_stands_there_all_the_same",),
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
    ),
)

EDGES = Chapter(
    title="Edges of the conditions",
    mutants=(
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
    ),
)

EFFECTS = Chapter(
    title="Effects of the requests: fences, TTL, counts",
    mutants=(
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
            "a recount raises rev",
            "_SET_RECOUNT",
            "SET #minted = :minted, #rev = #rev + :one",
            "#rev = #rev + :one",
            "#rev = :rev + :one - :one",
            noticed_by=("tests/operations/test_resize.py::test_the_counter_is_written_as_it_was_seen_and_only_so",),
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
