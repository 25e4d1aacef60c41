"""Reservations: what is settled, once, and what is swept; keys that are charged with their parents."""

from tests.mutants.mutant import Chapter, Mutant

_LEDGER = "_state/rates/hold_ledger.py"
_SETTLING = "_operations/rates/settling.py"
_TOGETHER = "_operations/rates/together.py"
_CORE = "_runtime/rates/reservation_core.py"
_TESTS = "tests/operations/rates/test_settling.py"
_PARENTS = "tests/operations/rates/test_together.py"
_FAULTS = "tests/test_parents_faults.py"
_PROPOSED = "tests/protocol/rates/test_charging.py"
_UNIT = "tests/state/rates/test_hold_ledger.py"

RESERVATIONS = Chapter(
    title="Reservations, and keys under parents",
    mutants=(
        Mutant(
            name="a settlement that the item shows is not made again",
            module=_LEDGER,
            target="HoldLedger.saw",
            code="settlement.happened(state)",
            without="False",
            noticed_by=(
                f"{_TESTS}::test_each_settlement_counts_once_whatever_becomes_of_its_answer",
                f"{_TESTS}::test_a_settlement_whose_sender_is_gone_is_finished_by_the_next_one",
            ),
        ),
        Mutant(
            name="what was seen of a hold never goes back",
            module=_LEDGER,
            target="HoldLedger.saw",
            code="hold.attempt in self._overwritten",
            without="False",
            noticed_by=(f"{_UNIT}::test_an_answer_that_comes_late_does_not_undo_what_was_seen_since",),
        ),
        Mutant(
            name="a reservation that was swept is over, if its process holds others since",
            module=_LEDGER,
            target="HoldLedger.add",
            code="all((base is None or base in self._starts for base in bases))",
            without="False",
            noticed_by=(f"{_UNIT}::test_a_hold_that_is_made_anew_ends_all_older_reservations",),
        ),
        Mutant(
            name="a settlement is not sent upon what a charge has made anew that was given up",
            module=_SETTLING,
            target="_Sending._is_made_anew",
            code="self._ledger.starts_with(hold.attempt)",
            without="False",
            noticed_by=(
                f"{_TESTS}::test_a_settlement_that_nobody_knows_of_is_not_made_of_a_later_reservation_that_nobody_knows_of",
            ),
        ),
        Mutant(
            name="permits that were charged without our knowing do not stay held",
            module=_LEDGER,
            target="HoldLedger.settlement",
            code="not reserving",
            without="False",
            noticed_by=(f"{_TESTS}::test_what_an_attempt_reserved_that_was_given_up_is_settled_in_full",),
        ),
        Mutant(
            name="a reservation that is overdue does not stay held",
            module=_LEDGER,
            target="HoldLedger.settlement",
            code="entry.until < now",
            without="",
            noticed_by=(f"{_TESTS}::test_a_process_that_reserves_on_and_on_does_not_keep_what_it_forgot",),
        ),
        Mutant(
            name="the item is asked before a reservation is given up as swept",
            module=_SETTLING,
            target="_Sending.run",
            code="all(held in checked for held in step.entries)",
            without="",
            noticed_by=(
                f"{_TESTS}::test_a_hold_that_an_older_answer_does_not_show_is_asked_for_before_it_is_given_up",
            ),
        ),
        Mutant(
            name="a hold of a dead process is swept by whoever meets it",
            module=_SETTLING,
            target="_sweep",
            code="not known.holds",
            without="True",
            noticed_by=(f"{_TESTS}::test_what_a_dead_process_held_is_swept_by_whoever_waits_for_it",),
        ),
        Mutant(
            name="a reservation is settled once",
            module=_CORE,
            target="ReservationCore.checked",
            code="self._noted",
            without="False",
            noticed_by=("tests/test_reservation.py::test_it_is_settled_once",),
        ),
        Mutant(
            name="a transaction that the items show is charged",
            module=_TOGETHER,
            target="_Charging._send_until_known",
            code="any(map(is_charged, request.charges, answer.found))",
            without="False",
            noticed_by=(f"{_PARENTS}::test_a_transaction_whose_token_was_forgotten_is_recognised_by_its_items",),
        ),
        Mutant(
            name="what is guessed of an item that was forgotten has all that the charge was planned by",
            module="_protocol/rates/together.py",
            target="after_others",
            code="after(charge, planned)",
            without="after(charge, known)",
            noticed_by=(
                f"{_PARENTS}::test_no_limit_is_left_held_whatever_is_forgotten_while_a_charge_is_under_way",
                f"{_PARENTS}::test_what_was_seen_of_a_charge_before_its_own_answer_came_is_not_counted_twice",
            ),
        ),
        Mutant(
            name="a charge that is in the ledger is not one that is not known yet",
            module=_TOGETHER,
            target="_Charging._charged",
            code="_forget_reserving(member, charge)",
            without="pass",
            noticed_by=(f"{_PARENTS}::test_whoever_comes_when_a_reservation_is_known_does_not_take_it_for_swept",),
        ),
        Mutant(
            name="an answer that comes late does not end what was reserved since",
            module=_LEDGER,
            target="HoldLedger.add",
            code="attempt not in self._overwritten",
            without="True",
            noticed_by=(
                f"{_PARENTS}::test_who_reserved_first_and_learns_it_last_does_not_end_what_others_reserved_since",
            ),
        ),
        Mutant(
            name="an attempt that any answer has shown is not sent again",
            module="_state/rates/key_book.py",
            target="KeyBook.learn",
            code="is_charged(flight.sent[-1], state)",
            without="False",
            noticed_by=(f"{_TESTS}::test_a_reservation_that_any_answer_has_shown_is_not_made_again",),
        ),
        Mutant(
            name="a hold lasts as long as it did when it was planned",
            module=_TOGETHER,
            target="_addressed",
            code="None if key.state is None else key.state.holds.get(charge.process)",
            without="None if member.book.known is None else member.book.known.holds.get(charge.process)",
            noticed_by=(f"{_PARENTS}::test_a_hold_is_never_shortened_whatever_others_forget_meanwhile",),
        ),
        Mutant(
            name="a hold that cannot be swept is left for later",
            module=_TOGETHER,
            target="_plan_one",
            code="sweeps and _overdue(member.book.known, now)",
            without="_overdue(member.book.known, now)",
            noticed_by=(f"{_PARENTS}::test_a_hold_that_cannot_be_swept_keeps_nobody_from_charging",),
        ),
        Mutant(
            name="a charge that was given up is looked for",
            module=_TOGETHER,
            target="_forget_sending",
            code="charge.hold is not None and not known",
            without="False",
            noticed_by=(f"{_PARENTS}::test_a_reservation_that_was_cancelled_under_way_is_settled_by_the_next_call",),
        ),
        Mutant(
            name="numbers that come after it was settled in full do not count",
            module=_LEDGER,
            target="HoldLedger.over",
            code="counted and held not in settlement.in_full",
            without="counted",
            noticed_by=(f"{_FAULTS}::test_numbers_that_come_after_it_was_settled_in_full_do_not_count",),
        ),
        Mutant(
            name="permits that were booked before a fork are the parent's",
            module="_operations/rates/preparing.py",
            target="require_usable",
            code="process != state.process",
            without="False",
            noticed_by=(f"{_FAULTS}::test_a_call_that_is_doubled_by_a_signal_handlers_fork_has_its_permits_once",),
        ),
        Mutant(
            name="a waiter for what is held remembers the override",
            module="_protocol/rates/charging.py",
            target="without_charges",
            code="state is None or not state.override_rev",
            without="True",
            noticed_by=(f"{_TESTS}::test_a_waiter_for_what_is_held_does_not_forget_the_override_that_allows_it",),
        ),
        Mutant(
            name="what is held keeps the item until it is paid for",
            module="_protocol/rates/charging.py",
            target="_charge",
            code="hold.until + longest",
            without="hold.until",
            noticed_by=(
                f"{_PROPOSED}::test_what_is_held_keeps_the_item_until_it_is_paid_for_however_late_it_is_settled",
            ),
        ),
        Mutant(
            name="permits of a key and its parents pass all gates at one moment",
            module=_TOGETHER,
            target="_pass",
            code="(False, True)",
            without="(True,)",
            noticed_by=(f"{_PARENTS}::test_permits_pass_the_gates_of_all_members_at_one_moment",),
        ),
        Mutant(
            name="a settlement that is over is not sent again",
            module=_SETTLING,
            target="_Sending._ask",
            code="self._ledger.under_way is not step",
            without="False",
            noticed_by=(
                f"{_TESTS}::test_a_settlement_that_another_caller_of_a_parent_found_to_be_over_is_not_sent_again",
            ),
        ),
        Mutant(
            name="a settlement is over once its hold is made anew, whatever it was of",
            module=_LEDGER,
            target="HoldLedger.made_anew",
            code="self.under_way = None",
            without="",
            noticed_by=(f"{_UNIT}::test_a_settlement_of_what_nobody_held_is_over_once_the_hold_is_made_anew",),
        ),
        Mutant(
            name="what is being reserved is not taken for something that nobody holds",
            module=_SETTLING,
            target="reserves",
            code="bool(book.reserving)",
            without="False",
            noticed_by=(
                f"{_PARENTS}::test_what_is_reserved_at_this_moment_is_not_taken_for_something_that_nobody_holds",
            ),
        ),
        Mutant(
            name="a key and its parents are used when the last of them is due",
            module=_TOGETHER,
            target="_until_used",
            code="due - now",
            without="0",
            noticed_by=(f"{_PARENTS}::test_a_waiter_books_and_sleeps_until_the_last_of_them_is_due",),
        ),
        Mutant(
            name="one item is not charged twice by one transaction",
            module="_runtime/rates/family.py",
            target="Family.__init__",
            code="(own.core.name, own.key) in members",
            without="False",
            noticed_by=("tests/test_parents.py::test_what_cannot_work_is_refused_and_nothing_is_sent",),
        ),
    ),
)
