"""Telling and plain tokens: events that tell the truth and harm nothing, and tokens that nobody renews."""

from tests.guards.guard import Chapter, Guard

_EVENTS, _TOKENS = "tests/runtime/test_events.py::", "tests/test_token_bucket.py::"


def _telling(name: str, code: str, without: str, *noticed_by: str) -> Guard:
    return Guard(
        name=name,
        room="_runtime/instrumentation.py",
        code=code,
        without=without,
        noticed_by=tuple(_EVENTS + test for test in noticed_by),
    )


def _token(name: str, room: str, code: str, without: str, *noticed_by: str) -> Guard:
    return Guard(
        name=name, room=room, code=code, without=without, noticed_by=tuple(_TOKENS + test for test in noticed_by)
    )


TELLING = Chapter(
    title="Events",
    guards=(
        _telling(
            "what on_event raises harms nothing",
            "        except Exception:  # noqa: BLE001 - the user's own; it harms no lease",
            "        except ZeroDivisionError:",
            "test_what_on_event_raises_is_logged_once_and_harms_nothing",
        ),
        _telling(
            "what on_event raises is logged once",
            "            if not self._complained:\n",
            "            if True:\n",
            "test_what_on_event_raises_is_logged_once_and_harms_nothing",
        ),
        _telling(
            "a lease's end is told once",
            "            self._held.remove(event.lease_id)\n        except KeyError:\n            return\n",
            "            self._held.discard(event.lease_id)\n        except KeyError:\n            return\n",
            "test_a_claim_that_was_given_up_before_anyone_had_it_has_no_event",
        ),
        _telling(
            "a claim of ours that worked is no contention",
            "        if slot is not None and not slot.retired and not _is_ours(slot, request)\n",
            "        if slot is not None and not slot.retired\n",
            "test_a_claim_that_an_earlier_sending_had_won_is_none",
        ),
        _telling(
            "throttling is told",
            "        case messages.ThrottledAnswer():\n            return Throttled(",
            "        case messages.ThrottledAnswer() if False:\n            return Throttled(",
            "test_each_answer_that_asks_for_patience_is_told",
        ),
        _telling(
            "what was minted anew is told",
            "        if isinstance(last, (Mint, Take)) and last.re_mint:\n",
            "        if False:\n",
            "test_a_slot_that_was_missing_is_told",
        ),
        Guard(
            name="without on_event no event is made",
            room="bucket.py",
            code="self._reporter = None if on_event is None else EventReporter(self.name, on_event)",
            without="self._reporter = EventReporter(self.name, on_event or (lambda _: None))",
            noticed_by=(_EVENTS + "test_without_on_event_no_event_is_made",),
        ),
    ),
)

TOKENS = Chapter(
    title="Plain tokens",
    guards=(
        _token(
            "a sweep frees what has expired, and nothing else",
            "upkeep.py",
            "if leased and is_idle(slot, expired_before=state.time.expired_before_ms()):",
            "if leased:",
            "test_cleaning_up_frees_only_what_has_expired",
        ),
        _token(
            "a sweep gives back what it claims",
            "upkeep.py",
            "        if isinstance(won, Grant) and (yield from self._hand_back(won)):\n            self.freed += 1",
            "        if isinstance(won, Grant):\n            self.freed += 1",
            "test_cleaning_up_frees_only_what_has_expired",
        ),
        _token(
            "a fill mints what is missing only",
            "upkeep.py",
            "if number not in slots]",
            "if True]",
            "test_initializing_ends_no_token_and_mints_what_was_deleted",
        ),
        _token(
            "a service that fails is a no",
            "tokens.py",
            '        except StoreError as error:\n            _log.warning("token %s was not released',
            '        except ZeroDivisionError as error:\n            _log.warning("token %s was not released',
            "test_a_release_or_cleanup_that_fails_is_a_no_and_a_warning",
        ),
        _token(
            "a release whose answer was lost is told as done",
            "tokens.py",
            "ended = self._end(lease_id, grant.slots, fence=grant.fence)",
            "ended = self._end(lease_id, grant.slots, fence=None)",
            "test_a_release_whose_first_answer_was_lost_is_told_as_done",
        ),
        _token(
            "an upkeep that is interrupted gives back what it claimed",
            "tokens.py",
            "            for grant in open_grants:\n                self._give_back(grant)\n            raise",
            "            raise",
            "test_an_interrupted_clean_up_leaves_nothing_leased",
        ),
    ),
)
