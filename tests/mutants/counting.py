"""Hits of the storage for `limits`: what is counted, what is let in, and what is refused."""

from tests.mutants.mutant import Chapter, Mutant

_DECISIONS = "_protocol/hits.py"
_OPERATION = "_operations/hits.py"
_REQUESTS = "dynamodb/hits.py"
_PURE = "tests/protocol/test_hits.py::"
_WORLD = "tests/operations/test_hits.py::"
_CONTRACT = "tests/dynamodb/test_requests_hits.py::"
_STORAGE = "tests/adapters/test_limits.py::"

COUNTING = Chapter(
    title="Hits of limits",
    mutants=(
        Mutant(
            name="no hit is added to a window that is over",
            module=_REQUESTS,
            target="ADD_HITS",
            code="_still_runs",
            without='"(#ends_at > :now OR #ends_at <= :now)"',
            noticed_by=(f"{_CONTRACT}test_no_hits_are_added_to_a_window_that_is_over",),
        ),
        Mutant(
            name="a window that runs is not begun again",
            module=_REQUESTS,
            target="BEGIN_HITS",
            code='f"{DOES_NOT_EXIST} OR {_is_over}"',
            without='"attribute_not_exists(#pk) OR #ends_at <= :now OR #ends_at > :now"',
            noticed_by=(f"{_CONTRACT}test_a_window_that_runs_is_not_begun_again",),
        ),
        Mutant(
            name="hits of a sliding window are counted in the window that they are sent for",
            module=_REQUESTS,
            target="SLIDE_HITS",
            code="_same_window",
            without='"#window >= :window"',
            noticed_by=(f"{_CONTRACT}test_hits_in_the_same_window_are_counted_if_they_fit",),
        ),
        Mutant(
            name="hits are let in only after as many hits before as they were computed for",
            module=_REQUESTS,
            target="SLIDE_HITS",
            code="_previous_as_known",
            without='"(#previous <= :most_previous OR #previous > :most_previous)"',
            noticed_by=(f"{_CONTRACT}test_hits_in_the_same_window_are_counted_if_they_fit",),
        ),
        Mutant(
            name="hits are let in only beside as many others as leave room",
            module=_REQUESTS,
            target="SLIDE_HITS",
            code="_count_fits",
            without='"(#count <= :most OR #count > :most)"',
            noticed_by=(f"{_CONTRACT}test_hits_in_the_same_window_are_counted_if_they_fit",),
        ),
        Mutant(
            name="the next window begins only after as many hits as leave room",
            module=_REQUESTS,
            target="SLIDE_HITS",
            code="_previous_fits",
            without='"(#count <= :most_previous OR #count > :most_previous)"',
            noticed_by=(f"{_CONTRACT}test_the_next_window_begins_with_the_hits_of_the_one_before_if_they_fit",),
        ),
        Mutant(
            name="a sliding window that counts is not begun anew",
            module=_REQUESTS,
            target="SLIDE_HITS",
            code='f"{DOES_NOT_EXIST} OR {_older_window}"',
            without='"attribute_not_exists(#pk) OR #window <= :before"',
            noticed_by=(f"{_CONTRACT}test_a_new_window_begins_where_nothing_counts_any_more",),
        ),
        Mutant(
            name="an item of another shape is not deleted with hits",
            module=_REQUESTS,
            target="DROP_HITS",
            code='"attribute_type(#count, :number)"',
            without='"(attribute_type(#count, :number) OR attribute_exists(#count))"',
            noticed_by=(f"{_CONTRACT}test_an_item_of_another_shape_is_not_written_to",),
        ),
        Mutant(
            name="hits of the window before weigh by what is left, rounded down",
            module=_DECISIONS,
            target="weighted",
            code="previous * left // length",
            without="-(-previous * left // length)",
            noticed_by=(f"{_PURE}test_hits_of_the_same_window_count_whole_and_those_before_by_what_is_left",),
        ),
        Mutant(
            name="a window of a clock that is ahead is not left for an earlier one",
            module=_DECISIONS,
            target="slide",
            code="max(now // length, known.number)",
            without="now // length",
            noticed_by=(f"{_PURE}test_a_window_of_a_clock_that_is_ahead_is_counted_in_as_if_it_began_now",),
        ),
        Mutant(
            name="an item of hits is kept for an hour after it counts",
            module=_DECISIONS,
            target="_ttl",
            code="-(-counts_until // 1000) + KEPT_SECONDS",
            without="-(-counts_until // 1000)",
            noticed_by=(f"{_PURE}test_an_item_is_kept_for_an_hour_after_its_last_whole_or_begun_second",),
        ),
        Mutant(
            name="a refused hit learns from the item that it is shown",
            module=_OPERATION,
            target="_refused",
            code="memory.learn(key, answer.hits)",
            without="",
            noticed_by=(f"{_WORLD}test_a_process_that_does_not_know_the_window_is_shown_it_by_a_refused_write",),
        ),
        Mutant(
            name="a lost answer is not taken for a hit that was counted",
            module=_OPERATION,
            target="_send",
            code="UNANSWERED",
            without="()",
            noticed_by=(f"{_WORLD}test_a_lost_answer_is_counted_again_and_not_missed",),
        ),
        Mutant(
            name="denials are remembered for a second only",
            module="_state/hits_memory.py",
            target="HitsMemory.sliding",
            code="self.time.steady() - at < DENIAL_SECONDS",
            without="True",
            noticed_by=(f"{_WORLD}test_hits_given_back_by_others_are_noticed_after_a_second",),
        ),
        Mutant(
            name="hits are not written by a time that nobody has told",
            module=_OPERATION,
            target="count_hits",
            code="yield from _know_the_time(memory, deadline)",
            without="",
            noticed_by=(f"{_WORLD}test_nothing_is_written_by_a_time_that_nobody_has_told",),
        ),
        Mutant(
            name="a key that DynamoDB would not take is counted all the same",
            module="_runtime/hits_core.py",
            target="_storable",
            code="key if plain else f'sha256:{hashlib.sha256(encoded).hexdigest()}'",
            without="key",
            noticed_by=(f"{_STORAGE}test_any_text_is_a_key",),
        ),
        Mutant(
            name="a moving window is refused in a sentence",
            module="adapters/limits.py",
            target="DynamoDBStorage.__getattr__",
            code="name in _MOVING_WINDOW",
            without="False",
            noticed_by=(f"{_STORAGE}test_a_moving_window_is_refused_in_a_sentence",),
        ),
        Mutant(
            name="limits sees a failure of the storage as one",
            module="adapters/limits.py",
            target="DynamoDBStorage.base_exceptions",
            code="StoreError",
            without="OSError",
            noticed_by=(f"{_STORAGE}test_a_service_that_is_away_is_told_as_limits_wants_it",),
        ),
        Mutant(
            name="pyrate-limiter is told that a weight can never be had",
            module="adapters/pyrate.py",
            target="DynamoDBBucket.put",
            code="_never(self.rates, item)",
            without="None",
            noticed_by=("tests/adapters/test_pyrate.py::test_the_rate_that_never_has_so_much_at_once_is_named",),
        ),
    ),
)
