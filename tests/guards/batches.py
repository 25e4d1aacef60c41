"""Batches of renewals: what keeps an economy from costing a lease."""

from tests.guards.guard import Chapter, Guard

_HERE = "tests/runtime/test_renewer.py::test_"


def _renewing(name: str, code: str, without: str, *noticed_by: str) -> Guard:
    return Guard(
        name=name,
        room="_runtime/renewer.py",
        code=code,
        without=without,
        noticed_by=tuple(_HERE + n for n in noticed_by),
    )


BATCHES = Chapter(
    title="Batches of renewals",
    guards=(
        Guard(
            name="batch: only the holder's lease is renewed",
            room="dynamodb/expressions.py",
            code='AND "lease_id" = ? ',
            without='AND "pk" >= ? ',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_lease_of_another_is_not_touched_by",),
        ),
        Guard(
            name="batch: a renewal never shortens a lease",
            room="dynamodb/expressions.py",
            code='AND "expires_at" <= ? ',
            without='AND "fence" <= ? ',
            noticed_by=("tests/dynamodb/test_requests_slot.py::test_a_renewal_never_shortens_a_lease",),
        ),
        Guard(
            name="batch: renewed is what shows our lease",
            room="dynamodb/answers.py",
            code="if lease and lease.lease_id == renew.lease_id and lease",
            without="if lease and lease",
            noticed_by=(_HERE + "whatever_else_is_said_says_nothing",),
        ),
        Guard(
            name="batch: renewed is what shows the new expiry",
            room="dynamodb/answers.py",
            code=" and lease.expires_at >= renew.expires_at",
            without="",
            noticed_by=(_HERE + "whatever_else_is_said_says_nothing",),
        ),
        Guard(
            name="batch: an answer for each",
            room="dynamodb/answers.py",
            code=" or len(parts) != len(request.renewals)",
            without="",
            noticed_by=(_HERE + "fewer_or_more_answers_than_renewals_are_no_answer",),
        ),
        Guard(
            name="batch: a loss is told by an update",
            room="lease.py",
            code="        refused = any(isinstance(answer, (Refused, Rejected)) for answer in said.answers)\n",
            without="        refused = False\n",
            noticed_by=(_HERE + "a_loss_is_told_by_an_update_and_by_no_batch",),
        ),
        Guard(
            name="batch: who was refused asks by itself",
            room="lease.py",
            code="            self._alone = refused or said.alone\n",
            without="            self._alone = said.alone\n",
            noticed_by=(_HERE + "two_that_are_lost_are_told_so_each_by_an_update",),
        ),
        Guard(
            name="batch: and soon",
            room="lease.py",
            code="                self._belief.hurry(self._now())\n",
            without="                self._belief.renew_at += 9.0\n",
            noticed_by=(_HERE + "a_loss_is_told_by_an_update_and_by_no_batch",),
        ),
        Guard(
            name="batch: only until it is renewed",
            room="lease.py",
            code="                self._alone = False\n",
            without="                pass\n",
            noticed_by=(_HERE + "one_that_was_refused_is_in_a_batch_again_once_it_is_renewed",),
        ),
        Guard(
            name="batch: of several slots a failure extends none",
            room="lease.py",
            code="or next(failed, answers[0])",
            without="or answers[0]",
            noticed_by=(_HERE + "of_several_slots_one_that_failed_extends_none",),
        ),
        Guard(
            name="batch: of several slots a revocation counts",
            room="lease.py",
            code="next(filter(_revoked, answers), None) or ",
            without="",
            noticed_by=(
                _HERE + "a_revocation_of_one_slot_of_several_is_seen_in_a_batch",
                _HERE + "a_revocation_counts_beside_a_failure",
            ),
        ),
        Guard(
            name="batch: nobody comes early after a failure",
            room="lease.py",
            code="        if self._alone or self._belief.failures or now",
            without="        if now",
            noticed_by=(_HERE + "one_that_failed_comes_early_with_nobody",),
        ),
        Guard(
            name="batch: nor just after a try",
            room="lease.py",
            code=" or now < self._tried_at + PAUSE_SECONDS",
            without="",
            noticed_by=(_HERE + "one_that_was_just_tried_comes_early_with_nobody",),
        ),
        _renewing(
            "batch: no more than DynamoDB takes",
            "                    room -= due.slots\n",
            "",
            "a_batch_holds_no_more_than_dynamodb_takes",
        ),
        _renewing(
            "batch: nor of one lease's slots",
            "requests[first : first + PER_BATCH]",
            "requests[first:]",
            "the_slots_of_one_lease_are_renewed_together",
        ),
        _renewing(
            "batch: of more slots than it takes the first failure ends it",
            "            if not all(isinstance(answer, Done) for answer, _ in answers):",
            "            if False:",
            "of_more_slots_than_a_batch_takes_the_first_failure_ends_it",
        ),
        _renewing(
            "batch: the most urgent first",
            "(due.by, next(self._serial), due))",
            "(0.0, next(self._serial), due))",
            "the_most_urgent_are_sent_first",
        ),
        _renewing(
            "batch: jobs belong to the bucket's line",
            "submit(job, line=self._driver, by",
            "submit(job, line=None, by",
            "jobs_that_wait_belong_to_the_buckets_line_and_the_most_urgent_come_first",
        ),
        _renewing(
            "batch: and are done by urgency",
            "else dues[0].by)",
            "else dues[-1].by)",
            "jobs_that_wait_belong_to_the_buckets_line_and_the_most_urgent_come_first",
        ),
        _renewing(
            "batch: what no worker takes is due again",
            "                due.dropped()\n",
            "                pass\n",
            "what_cannot_be_handed_to_a_worker_is_due_again",
        ),
        Guard(
            name="batch: a user's code is called at the end",
            room="lease.py",
            code="        yield ()  # so much",
            without="        # so much",
            noticed_by=(
                _HERE + "users_code_is_called_when_all_of_a_batch_have_taken_note",
                _HERE + "a_lost_callback_that_takes_its_time_costs_no_other_its_lease",
            ),
        ),
        _renewing(
            "batch: doubt is cleared once for all",
            "        batch = self._settle_time(batch)\n",
            "",
            "doubt_about_the_time_is_cleared_once_for_all",
        ),
        _renewing(
            "batch: who has no time to ask keeps nobody from asking",
            "        patient = [due for due in batch if due.until > now]\n",
            "        patient = list(batch)\n",
            "one_that_has_no_time_to_ask_keeps_no_other_from_asking",
        ),
        _renewing(
            "batch: where none is taken, none is sent",
            "        self._resting_until = self._state.time.steady() + REST_SECONDS\n",
            "",
            "where_batches_are_denied_leases_are_renewed_one_by_one_and_none_is_lost",
        ),
        _renewing(
            "batch: but not for ever",
            "        return self._state.time.steady() < self._resting_until",
            "        return self._resting_until > 0.0",
            "after_a_while_batches_are_tried_again",
        ),
        _renewing(
            "batch: an outage is no refusal",
            "        if isinstance(answer, Unknown) and self._proven:",
            "        if False:",
            "once_a_batch_has_worked_an_outage_ends_no_batches",
        ),
        _renewing(
            "batch: one that another overtook says nothing of the others",
            "            if at_fault:\n                return\n",
            "",
            "what_was_in_a_batch_that_a_later_one_overtook_is_tried_by_itself",
        ),
        _renewing(
            "batch: its leases are tried by themselves",
            "        return [(one, at_fault and isinstance(one, Unknown)) for one in answers]",
            "        return [(one, False) for one in answers]",
            "what_was_in_a_batch_that_a_later_one_overtook_is_tried_by_itself",
        ),
        _renewing(
            "batch: in doubt a single one is sent to observe",
            "            if self._doubtful and not self._probing:",
            "            if False:",
            "while_no_batch_is_answered_one_renewal_is_sent_by_itself_to_see",
        ),
        _renewing(
            "batch: one of them at a time",
            "                self._probing = True\n",
            "",
            "one_such_is_under_way_at_a_time",
        ),
        _renewing(
            "batch: before all that waits",
            "[probe], first=True)",
            "[probe])",
            "one_such_is_under_way_at_a_time",
        ),
        _renewing(
            "batch: once it has worked, one batch at a time",
            "        if self._rests() or (alone_works and self._testing):",
            "        if self._rests():",
            "once_that_one_has_worked_all_are_but_for_one_batch_at_a_time",
        ),
        _renewing(
            "batch: where that fails, batches rest",
            "            if not (self._doubtful and self._worked_alone < sent):",
            "            if True:",
            "where_single_renewals_work_and_batches_do_not_there_are_none_for_a_while",
        ),
        _renewing(
            "batch: only one sent after it worked tells",
            "self._worked_alone < sent):",
            "self._worked_alone < math.inf):",
            "a_batch_that_was_sent_before_a_single_one_worked_says_nothing_of_batches",
        ),
        _renewing(
            "batch: what worked before the doubt tells nothing",
            "        if self._doubtful and self._worked_alone == math.inf:",
            "        if True:",
            "a_single_renewal_that_worked_before_says_nothing_of_batches",
        ),
        _renewing(
            "batch: an answer ends the doubt",
            "            self._proven, self._doubtful = True, False\n",
            "            self._proven = True\n",
            "while_no_batch_is_answered_one_renewal_is_sent_by_itself_to_see",
        ),
        _renewing(
            "batch: what waits when batches end is sent one by one",
            "        if self._rests() or (alone",
            "        if (alone",
            "what_waits_as_a_batch_while_batches_end_is_sent_one_by_one",
        ),
        _renewing(
            "batch: nor are throttling, conflicts, and no connection",
            "        telling = [one for one in answers if not isinstance(one, (Throttled, Conflict, Unsent))]\n",
            "        telling = list(answers)\n",
            "what_says_nothing_against_batches_ends_none",
        ),
        _renewing(
            "batch: while none is sent, nobody comes early",
            "        if self._rests():\n            return 0.0\n",
            "",
            "while_batches_rest_nobody_comes_early",
        ),
        _renewing(
            "batch: early by a part of the lease",
            "self._state.lease_ms() / 1000 * AHEAD)",
            "self._state.lease_ms() / 1000)",
            "one_that_is_due_soon_comes_along_but_not_one_that_is_due_later",
        ),
        _renewing(
            "batch: and no more than a second",
            "        return min(MOST_AHEAD_SECONDS, self",
            "        return (self",
            "long_leases_come_along_by_no_more_than_a_second",
        ),
        _renewing(
            "batch: a defect while sending costs no lease",
            "            answer = Unknown(cause=error)\n",
            "            raise\n",
            "a_defect_while_sending_costs_no_lease",
        ),
        _renewing(
            "batch: one in trouble keeps no other",
            "    except Exception:  # noqa: BLE001 - one lease's trouble is not the others'\n        _log.exception(\"renewing a",
            '    except ImportError:\n        _log.exception("renewing a',
            "one_in_trouble_keeps_no_other_from_being_renewed",
        ),
        _renewing(
            "batch: a forked child renews nothing of its parent's",
            "        self._waiting.clear()",
            "        pass",
            "a_forked_child_renews_nothing_that_waited",
        ),
        Guard(
            name="batch: one of the same group comes along",
            room="_runtime/heartbeat.py",
            code="                due += self._schedule.due_between(now, now + ahead, of=group)\n",
            without="                pass\n",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_who_is_due_soon_is_looked_after_with_one_of_its_group_that_is_due",
            ),
        ),
        Guard(
            name="batch: none of another",
            room="_runtime/heartbeat.py",
            code="            members = self._members.get(of, ())\n",
            without="            members = list(self._due)\n",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_who_is_due_soon_is_looked_after_with_one_of_its_group_that_is_due",
            ),
        ),
        Guard(
            name="batch: a group in trouble keeps nobody from being looked after",
            room="_runtime/heartbeat.py",
            code="    except BaseException:  # noqa: BLE001 - it comes early for economy's sake only\n",
            without="    except ImportError:\n",
            noticed_by=(
                "tests/runtime/test_heartbeat.py::test_a_group_in_trouble_keeps_nobody_from_being_looked_after",
            ),
        ),
    ),
)
