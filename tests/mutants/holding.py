"""What a holder may believe of its lease."""

from tests.mutants.mutant import Chapter, Mutant

_LEASE_STATE = "_protocol/lease_state.py"

BELIEF = Chapter(
    title="What a holder may believe",
    mutants=(
        Mutant(
            name="belief ends at the deadline",
            module=_LEASE_STATE,
            target="holds",
            code="now < self.deadline",
            without="",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_new_lease_is_held_until_its_deadline_and_no_longer",
            ),
        ),
        Mutant(
            name="belief ends with a release or a loss",
            module=_LEASE_STATE,
            target="holds",
            code="self.state is State.HELD",
            without="",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        Mutant(
            name="a renewal's deadline counts from before its sending",
            module=_LEASE_STATE,
            target="begin_renewal",
            code="now + self._length - self._margin",
            without="now + self._length",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_renewal_writes_the_upper_bound_of_the_services_time_plus_the_length",
            ),
        ),
        Mutant(
            name="nothing is renewed that is not held",
            module=_LEASE_STATE,
            target="begin_renewal",
            code="if not self.holds(now): return None",
            without="",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_nothing_is_renewed_after_the_deadline_a_loss_or_a_release",
            ),
        ),
        Mutant(
            name="the expiry never falls",
            module=_LEASE_STATE,
            target="begin_renewal",
            code="max(self._expires_at, now_hi + round(self._length * 1000))",
            without="now_hi + round(self._length * 1000)",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_renewal_refused_for_a_later_expiry_is_followed_by_one_that_succeeds",
            ),
        ),
        Mutant(
            name="a late answer does not revive a lost lease",
            module=_LEASE_STATE,
            target="end_renewal",
            code="if self.state is not State.HELD or now >= deadline: return None",
            without="if self.state is not State.HELD or now >= deadline: self.state = State.HELD",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        Mutant(
            name="a revoked lease is lost",
            module=_LEASE_STATE,
            target="end_renewal",
            code="_is_revoked(slot)",
            without="None",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        Mutant(
            name="a lease whose slot is gone is lost",
            module=_LEASE_STATE,
            target="end_renewal",
            code="self.lose(LossReason.GONE, now)",
            without="None",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        Mutant(
            name="a lease that another took is lost",
            module=_LEASE_STATE,
            target="end_renewal",
            code="self.lose(LossReason.TAKEN, now)",
            without="None",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_answer_that_ends_the_lease_says_why_once_and_for_ever",
            ),
        ),
        Mutant(
            name="a renewal refused for a later expiry loses nothing",
            module=_LEASE_STATE,
            target="end_renewal",
            code="slot.lease.lease_id == self._lease_id",
            without="not slot.lease.lease_id",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_superseded_renewal_that_is_refused_with_our_own_lease_changes_no_deadline",
            ),
        ),
        Mutant(
            name="a failed renewal does not lose the lease",
            module=_LEASE_STATE,
            target="retry_later",
            code="self.failures += 1",
            without="self.lose(LossReason.UNREACHABLE)",
            noticed_by=("tests/protocol/test_lease_state.py::test_a_failed_renewal_is_no_lost_lease",),
        ),
        Mutant(
            name="a lease is lost at its deadline, not before",
            module=_LEASE_STATE,
            target="expire",
            code="now < self.deadline",
            without="",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_the_deadline_loses_the_lease_and_tells_sleep_from_silence",
            ),
        ),
        Mutant(
            name="the deadline never moves backwards",
            module=_LEASE_STATE,
            target="_extend",
            code="renewal.deadline - self._late_by(offset) >= deadline",
            without="True",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_an_earlier_renewal_answered_later_takes_nothing_back",
            ),
        ),
        Mutant(
            name="the deadline comes forward with the service's clock",
            module=_LEASE_STATE,
            target="Belief.deadline",
            code="self._planned - self._late_by(self._offset)",
            without="self._planned",
            noticed_by=(
                "tests/test_lease_holding.py::test_heartbeats_come_forward_with_the_deadlines",
                "tests/state/test_service_time.py::test_while_another_may_claim_the_holder_does_not_believe",
                "tests/protocol/test_lease_state.py::test_a_belief_ends_as_much_earlier_as_the_service_turns_out_to_be_ahead",
            ),
        ),
        Mutant(
            name="each renewal is compared with its own clock offset",
            module=_LEASE_STATE,
            target="_extend",
            code="self._planned, self._offset = renewal.deadline, offset",
            without="self._planned = renewal.deadline",
            noticed_by=(
                "tests/protocol/test_lease_state.py::test_a_renewal_written_by_the_time_as_it_is_comes_no_earlier",
            ),
        ),
    ),
)
