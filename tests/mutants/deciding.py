"""The protocol's decisions: what to do next, how long to wait, and what a refusal means."""

from tests.mutants.mutant import Chapter, Mutant

_RESEND = "_operations/resend.py"
_DECISIONS = "_protocol/decisions.py"
_RETRY = "_protocol/retry.py"

DECISIONS = Chapter(
    title="Decisions",
    mutants=(
        Mutant(
            name="strays are retired before anything else",
            module=_DECISIONS,
            target="_strays",
            code="not strays",
            without="True",
            noticed_by=("tests/protocol/test_decisions.py::test_strays_are_retired_before_anything_is_claimed",),
        ),
        Mutant(
            name="a slot at max_tokens is a stray",
            module=_DECISIONS,
            target="_strays",
            code="n >= counter.max_tokens",
            without="n > counter.max_tokens",
            noticed_by=("tests/protocol/test_decisions.py::test_strays_are_retired_before_anything_is_claimed",),
        ),
        Mutant(
            name="retired strays keep a TTL beyond the highest fence",
            module=_DECISIONS,
            target="_strays",
            code="max(view.slots[n].fence for n in retired)",
            without="min(view.slots[n].fence for n in retired)",
            noticed_by=("tests/protocol/test_decisions.py::test_strays_are_retired_before_anything_is_claimed",),
        ),
        Mutant(
            name="retired slots are not claimed",
            module=_DECISIONS,
            target="choose",
            code="not slot.retired",
            without="",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_a_claim_goes_before_minting_and_minting_before_bringing_back",
            ),
        ),
        Mutant(
            name="an item of foreign shape is never claimed",
            module=_DECISIONS,
            target="is_idle",
            code="if slot.foreign: return False",
            without="",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_full_tells_the_first_expiry_and_nothing_where_no_lease_is_seen",
            ),
        ),
        Mutant(
            name="a running lease is not idle",
            module=_DECISIONS,
            target="is_idle",
            code="slot.lease is None or slot.lease.expires_at < expired_before",
            without="True",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_what_is_free_or_expired_is_claimed_with_the_fence_seen",
            ),
        ),
        Mutant(
            name="a fence is above the one seen",
            module="_protocol/grants.py",
            target="next_fence",
            code="max(seen + 1, now_hi)",
            without="now_hi",
            noticed_by=("tests/protocol/test_grants.py::test_a_fence_rises_above_the_one_seen_and_with_the_clock",),
        ),
        Mutant(
            name="a fence is above those of slots that TTL deleted",
            module="_protocol/grants.py",
            target="next_fence",
            code="max(seen + 1, now_hi)",
            without="seen + 1",
            noticed_by=("tests/protocol/test_grants.py::test_a_fence_rises_above_the_one_seen_and_with_the_clock",),
        ),
        Mutant(
            name="the TTL outlasts the expiry",
            module="_protocol/grants.py",
            target="ttl_for",
            code="max(now_hi, expires_at or 0, fence)",
            without="max(now_hi, fence)",
            noticed_by=(
                "tests/protocol/test_grants.py::test_ttl_is_whole_seconds_after_the_latest_of_activity_expiry_and_fence",
            ),
        ),
        Mutant(
            name="the TTL outlasts the fence",
            module="_protocol/grants.py",
            target="ttl_for",
            code="max(now_hi, expires_at or 0, fence)",
            without="max(now_hi, expires_at or 0)",
            noticed_by=(
                "tests/protocol/test_grants.py::test_ttl_is_whole_seconds_after_the_latest_of_activity_expiry_and_fence",
            ),
        ),
        Mutant(
            name="the TTL adds the retention",
            module="_protocol/grants.py",
            target="ttl_for",
            code="int(retention_seconds)",
            without="0",
            noticed_by=(
                "tests/protocol/test_grants.py::test_ttl_is_whole_seconds_after_the_latest_of_activity_expiry_and_fence",
            ),
        ),
        Mutant(
            name="a retirement never counts too few slots",
            module=_DECISIONS,
            target="minted_without",
            code="max(counter.minted - len(tuple(strays)), min(counter.minted, counter.max_tokens))",
            without="counter.minted - len(tuple(strays))",
            noticed_by=(
                "tests/protocol/test_decisions.py::test_minted_falls_with_what_is_retired_but_makes_no_room_that_may_not_be_there",
            ),
        ),
        Mutant(
            name="lease ids are new",
            module="_protocol/grants.py",
            target="lease_id_for",
            code="chance.getrandbits(128)",
            without="0",
            noticed_by=("tests/protocol/test_grants.py::test_lease_ids_are_new_every_time_and_carry_128_bits",),
        ),
    ),
)

WAITING = Chapter(
    title="Full, contended, out of time",
    mutants=(
        Mutant(
            name="pauses have full jitter",
            module=_RETRY,
            target="full_jitter",
            code="chance.uniform(0.0, min(cap, first * 2.0 ** min(attempt - 1, 30)))",
            without="min(cap, first * 2.0 ** min(attempt - 1, 30))",
            noticed_by=("tests/protocol/test_retry.py::test_pauses_spread_over_the_whole_of_it",),
        ),
        Mutant(
            name="an acquire keeps its timeout",
            module=_RETRY,
            target="_Within.__call__",
            code="max(0.0, min(self._wait(retry_state), self._deadline - self._steady()))",
            without="self._wait(retry_state)",
            noticed_by=(
                "tests/protocol/test_retry.py::test_sending_again_ends_with_a_try_at_the_deadline_and_none_after_it",
            ),
        ),
        Mutant(
            name="a deadline ends the tries",
            module=_RETRY,
            target="_Until.__call__",
            code="self._steady() >= self._deadline",
            without="False",
            noticed_by=("tests/protocol/test_retry.py::test_a_deadline_that_has_passed_allows_one_try",),
        ),
        Mutant(
            name="without patience a full bucket ends it",
            module=_RETRY,
            target="acquiring",
            code="return patient",
            without="return True",
            noticed_by=("tests/protocol/test_retry.py::test_without_patience_a_full_bucket_ends_it_at_once",),
        ),
    ),
)

AMBIGUITY = Chapter(
    title="Writes whose outcome is not known",
    mutants=(
        Mutant(
            name="a claim refused by our own lease succeeded",
            module="_protocol/grants.py",
            target="is_own_write",
            code="_carries(answer.slot, lease_id)",
            without="False",
            noticed_by=(
                "tests/protocol/test_grants.py::test_an_item_that_carries_the_attempts_own_lease_means_it_worked",
            ),
        ),
        Mutant(
            name="a claim refused by another lease failed",
            module="_protocol/grants.py",
            target="_carries",
            code="slot.lease.lease_id == lease_id",
            without="",
            noticed_by=(
                "tests/protocol/test_grants.py::test_an_item_that_carries_the_attempts_own_lease_means_it_worked",
            ),
        ),
        Mutant(
            name="a release refused after a lost answer may have worked",
            module="_protocol/grants.py",
            target="released",
            code="return uncertain and (freed or was_closed(slot, lease_id))",
            without="return False",
            noticed_by=(
                "tests/protocol/test_grants.py::test_a_refused_release_ended_the_lease_only_if_a_lost_sending_of_it_did",
            ),
        ),
        Mutant(
            name="a release refused at once did nothing",
            module="_protocol/grants.py",
            target="released",
            code="uncertain",
            without="",
            noticed_by=(
                "tests/protocol/test_grants.py::test_a_refused_release_ended_the_lease_only_if_a_lost_sending_of_it_did",
            ),
        ),
        Mutant(
            name="a release did not end a later lease",
            module="_protocol/grants.py",
            target="released",
            code="slot.fence == fence",
            without="",
            noticed_by=(
                "tests/protocol/test_grants.py::test_a_refused_release_ended_the_lease_only_if_a_lost_sending_of_it_did",
            ),
        ),
        Mutant(
            name="several: a take succeeded only if all slots are ours",
            module="_protocol/grants.py",
            target="are_own_writes",
            code="all(_carries(s, grant.lease_id) for s in answer.found.values())",
            without="any(_carries(s, grant.lease_id) for s in answer.found.values())",
            noticed_by=(
                "tests/operations/test_acquire_many.py::test_several_whose_answer_is_lost_are_ours_only_where_all_of_them_are",
            ),
        ),
        Mutant(
            name="a revocation and a look are sent again while they fail",
            module=_RESEND,
            target="resend_until_answered",
            code="UNANSWERED",
            without="()",
            noticed_by=("tests/operations/test_revoke.py::test_a_revocation_survives_what_passes",),
        ),
        Mutant(
            name="a release is sent again while it fails",
            module="_operations/release.py",
            target="_release_one",
            code="UNANSWERED",
            without="()",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_a_release_whose_answer_is_lost_is_sent_again_and_says_that_it_ended_the_lease",
            ),
        ),
        Mutant(
            name="a release remembers that an answer was lost",
            module=_RESEND,
            target="send_until",
            code="uncertain = isinstance(answer, Unknown)",
            without="uncertain = False",
            noticed_by=(
                "tests/operations/test_acquire_recovery.py::test_a_release_whose_answer_is_lost_is_sent_again_and_says_that_it_ended_the_lease",
            ),
        ),
    ),
)
