"""Waiting in order: who may claim what, when a waiter looks, and what becomes of tickets."""

from tests.mutants.mutant import Chapter, Mutant

_DECISIONS = "_protocol/queueing.py"
_OPERATION = "_operations/queue.py"
_MEMORY = "_state/queue_memory.py"
_REQUESTS = "dynamodb/tickets.py"
_PURE = "tests/protocol/test_queueing.py::"
_WAITERS = "tests/operations/test_queue.py::"
_REMEMBERED = "tests/state/test_queue_memory.py::"
_CONTRACT = "tests/dynamodb/test_requests_ticket.py::"

QUEUEING = Chapter(
    title="Waiting in order",
    mutants=(
        Mutant(
            name="a higher priority stands before an earlier arrival",
            module="_protocol/tickets.py",
            target="Ticket.place",
            code="HIGHEST_PRIORITY - self.priority",
            without="0",
            noticed_by=(f"{_PURE}test_tickets_stand_by_priority_then_by_arrival_then_by_name",),
        ),
        Mutant(
            name="an expired ticket counts for nothing",
            module=_DECISIONS,
            target="counting",
            code="ticket.expires_at >= now_ms",
            without="",
            noticed_by=(f"{_PURE}test_an_expired_ticket_counts_for_nothing",),
        ),
        Mutant(
            name="a ticket for more slots than there are counts for nothing",
            module=_DECISIONS,
            target="counting",
            code="ticket.count <= max_tokens",
            without="",
            noticed_by=(f"{_PURE}test_a_ticket_for_more_slots_than_there_are_counts_no_more",),
        ),
        Mutant(
            name="the free slots of those before are theirs",
            module=_DECISIONS,
            target="share",
            code="left[ticket.count:]",
            without="left",
            noticed_by=(
                f"{_PURE}test_the_i_th_of_the_queue_takes_the_i_th_free_slot",
                f"{_PURE}test_a_waiter_for_several_slots_is_waited_for",
            ),
        ),
        Mutant(
            name="a waiter that does not take its slot is passed over",
            module=_DECISIONS,
            target="share",
            code="had >= needed and turn_in == math.inf",
            without="False",
            noticed_by=(f"{_PURE}test_slots_that_were_left_free_for_long_belong_to_the_next",),
        ),
        Mutant(
            name="one who may still sleep is not taken for dead",
            module=_DECISIONS,
            target="share",
            code="seen.asleep + 1.0",
            without="0.0",
            noticed_by=(
                f"{_PURE}test_one_who_may_still_sleep_is_not_taken_for_dead",
                f"{_WAITERS}test_one_who_may_have_come_to_the_head_in_its_sleep_is_left_the_time_to_wake_up",
            ),
        ),
        Mutant(
            name="others may have looked at their last place until they are seen at another",
            module=_MEMORY,
            target="Others.note",
            code="track.here is not None",
            without="False",
            noticed_by=(f"{_REMEMBERED}test_one_may_sleep_as_long_as_at_the_place_at_which_it_may_have_looked_last",),
        ),
        Mutant(
            name="whoever is near looks as often as others count on",
            module=_DECISIONS,
            target="next_look",
            code="longest_sleep(place, near=near)",
            without="longest_sleep(place, near=False)",
            noticed_by=(
                f"{_PURE}test_who_could_be_served_if_all_slots_came_free_sleeps_for_no_longer_than_others_give_it",
            ),
        ),
        Mutant(
            name="one who wants more than is free is passed over when it shows no life",
            module=_DECISIONS,
            target="share",
            code="min([*dwell[:1], seen.still]) if dwell else -math.inf",
            without="-math.inf",
            noticed_by=(
                f"{_PURE}test_one_who_wants_more_than_is_free_is_passed_over_when_it_shows_no_life",
                f"{_WAITERS}test_a_dead_waiter_for_more_than_is_free_is_passed_over_when_it_does_not_stir",
            ),
        ),
        Mutant(
            name="who holds others up shows that it lives",
            module=_OPERATION,
            target="Queue._stand",
            code="self._holds_up()",
            without="False",
            noticed_by=(f"{_WAITERS}test_who_wants_more_than_is_free_shows_that_it_lives_while_it_holds_others_up",),
        ),
        Mutant(
            name="time in which a slot was not looked at does not count as free",
            module=_MEMORY,
            target="FreeFor.note",
            code="last - since",
            without="now - since",
            noticed_by=(f"{_REMEMBERED}test_slots_of_other_windows_are_remembered",),
        ),
        Mutant(
            name="who learns that a bucket has no order any more leaves the queue",
            module="_operations/acquire.py",
            target="_Tries._in_any_order",
            code="self._queue is not None",
            without="False",
            noticed_by=(f"{_WAITERS}test_in_a_bucket_that_has_become_unordered_nobody_keeps_a_ticket",),
        ),
        Mutant(
            name="a status counts a queue to its end",
            module="_operations/status.py",
            target="_waiting",
            code="seen.end if seen.more else None",
            without="None",
            noticed_by=(
                "tests/operations/test_queue_shown.py::test_a_queue_of_more_than_one_page_is_counted_to_its_end",
            ),
        ),
        Mutant(
            name="each that is passed over has its own time",
            module=_DECISIONS,
            target="share",
            code="needed + patience",
            without="patience",
            noticed_by=(f"{_PURE}test_slots_that_were_left_free_for_long_belong_to_the_next",),
        ),
        Mutant(
            name="what lies behind dead tickets is looked at",
            module=_OPERATION,
            target="Queue._see",
            code="further and answer.more and answer.end and hidden",
            without="False",
            noticed_by=(
                f"{_WAITERS}test_slots_are_had_at_once_however_many_expired_tickets_lie_before",
                f"{_WAITERS}test_items_with_tickets_keys_that_are_none_block_nobody",
            ),
        ),
        Mutant(
            name="whoever is far sees in time that all before it are dead",
            module=_OPERATION,
            target="Queue._next_look_in",
            code="now < self._watches_until",
            without="False",
            noticed_by=(
                f"{_WAITERS}test_slots_left_by_more_dead_than_one_look_shows_are_had_before_these_expire",
                f"{_WAITERS}test_who_is_far_takes_no_slot_that_it_sees_free",
            ),
        ),
        Mutant(
            name="whoever is far takes no slot",
            module=_OPERATION,
            target="InTurn.choose",
            code="not self.standing.exact",
            without="False",
            noticed_by=(f"{_WAITERS}test_slots_left_by_more_dead_than_one_look_shows_are_had_before_these_expire",),
        ),
        Mutant(
            name="a lease that was won does not wait for each dead ticket that cannot be deleted",
            module=_OPERATION,
            target="Queue._drop_each",
            code="not (yield from self._drop(ticket))",
            without="(yield from self._drop(ticket)) is None",
            noticed_by=(
                f"{_WAITERS}test_a_lease_that_was_won_does_not_wait_for_each_dead_ticket_that_cannot_be_deleted",
            ),
        ),
        Mutant(
            name="nobody sleeps past its turn",
            module=_DECISIONS,
            target="next_look",
            code="at_pace",
            without="wait",
            noticed_by=(f"{_PURE}test_nobody_sleeps_past_a_quarter_of_the_way",),
        ),
        Mutant(
            name="a newcomer comes after the last one whatever their clocks show",
            module=_DECISIONS,
            target="arrival_after",
            code="max(now_ms, last.arrival + 1)",
            without="now_ms",
            noticed_by=(
                f"{_PURE}test_a_newcomer_comes_after_the_last_one_whatever_their_clocks_show",
                f"{_WAITERS}test_a_newcomer_comes_after_the_last_one_whose_clock_is_ahead",
            ),
        ),
        Mutant(
            name="an ordered bucket's slots are claimed in turn",
            module=_OPERATION,
            target="InTurn.choose",
            code="counter.order != 'fifo'",
            without="True",
            noticed_by=(
                f"{_WAITERS}test_a_slot_is_left_to_those_who_came_before",
                f"{_WAITERS}test_the_order_is_learned_with_the_first_look",
            ),
        ),
        Mutant(
            name="a ticket is refreshed",
            module=_OPERATION,
            target="Queue._stand",
            code="now >= self._refresh_at",
            without="False",
            noticed_by=(f"{_WAITERS}test_a_ticket_is_refreshed_every_twenty_seconds",),
        ),
        Mutant(
            name="a ticket that is gone is put again at its place",
            module=_OPERATION,
            target="Queue._stand",
            code="self._is_gone(seen, now)",
            without="False",
            noticed_by=(f"{_WAITERS}test_a_waiter_whose_ticket_was_removed_keeps_its_place",),
        ),
        Mutant(
            name="who is served or gives up leaves the queue",
            module="_operations/acquire.py",
            target="acquire",
            code="yield from tries.leave()",
            without="",
            noticed_by=(
                f"{_WAITERS}test_who_gives_up_leaves_no_ticket",
                f"{_WAITERS}test_a_waiter_joins_the_queue_is_served_and_leaves_it_with_two_writes",
            ),
        ),
        Mutant(
            name="the ticket of an interrupted acquire is deleted",
            module="_runtime/bucket_core.py",
            target="BucketCore.abandon",
            code="drop_ticket_of(pending.waiter, self)",
            without="",
            noticed_by=(f"{_WAITERS}test_an_interrupted_waiter_leaves_no_ticket",),
        ),
        Mutant(
            name="the ticket of a cancelled acquire is deleted",
            module="aio/core.py",
            target="AsyncBucket._owe",
            code="drop_ticket_of(pending.waiter, self.core)",
            without="",
            noticed_by=(f"{_WAITERS}test_an_interrupted_waiter_leaves_no_ticket",),
        ),
        Mutant(
            name="dead tickets are removed",
            module=_OPERATION,
            target="Queue._remove_dead",
            code="",
            without="yield from ()",
            noticed_by=(
                f"{_WAITERS}test_an_expired_ticket_is_skipped_and_removed",
                f"{_WAITERS}test_where_all_that_is_seen_are_dead_whoever_looks_removes_some",
            ),
        ),
        Mutant(
            name="a ticket is put once",
            module=_REQUESTS,
            target="PUT_TICKET",
            code="DOES_NOT_EXIST",
            without="'attribute_exists(#pk) OR attribute_not_exists(#pk)'",
            noticed_by=(f"{_CONTRACT}test_a_ticket_that_is_there_is_not_put_again",),
        ),
        Mutant(
            name="a refreshed ticket is not deleted by others",
            module=_REQUESTS,
            target="DROP_TICKET",
            code="_not_refreshed_since",
            without="'#expires_at > :expires_at OR #expires_at <= :expires_at'",
            noticed_by=(f"{_CONTRACT}test_a_ticket_is_deleted_unless_it_was_refreshed_since_it_was_seen",),
        ),
        Mutant(
            name="a refreshment never shortens a ticket",
            module=_REQUESTS,
            target="REFRESH_TICKET",
            code="_never_shorter",
            without="'#expires_at > :expires_at OR #expires_at <= :expires_at'",
            noticed_by=(f"{_CONTRACT}test_a_refreshment_moves_the_expiry_and_never_backwards",),
        ),
        Mutant(
            name="the order is set only while the counter is as seen",
            module="dynamodb/expressions.py",
            target="SET_ORDER",
            code="_as_seen",
            without="'#rev = :rev OR #rev <> :rev'",
            noticed_by=("tests/operations/test_configure.py::test_a_counter_that_is_not_as_seen_is_left_alone",),
        ),
    ),
)
