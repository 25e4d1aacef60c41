"""Rates of several limits: the conditions of charges and settlements, due times, holds, cuts."""

from tests.mutants.mutant import Chapter, Mutant

_EXPRESSIONS = "dynamodb/rates/expressions.py"
_CHARGING = "_protocol/rates/charging.py"
_SETTLING = "_protocol/rates/settling.py"
_REQUESTS = "tests/dynamodb/rates/test_expressions.py"
_CASES = "tests/protocol/rates/test_charging.py"
_SETTLED = "tests/protocol/rates/test_settling.py"

LIMITS = Chapter(
    title="Rates of several limits",
    mutants=(
        Mutant(
            name="a limit that is paid for up to its due time is busy",
            module=_EXPRESSIONS,
            target="_paid_for",
            code='"(attribute_not_exists(#t{i}) OR #t{i} < :due)"',
            without='"(attribute_not_exists(#t{i}) OR #t{i} <= :due)"',
            noticed_by=(f"{_REQUESTS}::test_an_idle_charge_is_refused_where_something_is_not_paid_for",),
        ),
        Mutant(
            name="the last permit of a burst is charged",
            module=_EXPRESSIONS,
            target="_within_reach",
            code='"#r{i} <= :x{i}"',
            without='"#r{i} < :x{i}"',
            noticed_by=(f"{_REQUESTS}::test_a_busy_charge_comes_on_top",),
        ),
        Mutant(
            name="a limit that is cut is beyond the cut",
            module=_EXPRESSIONS,
            target="_beyond_the_cut",
            code='"#t{i} > :k{i}"',
            without='"#t{i} >= :k{i}"',
            noticed_by=(
                f"{_REQUESTS}::test_a_limit_is_cut_only_where_it_is_beyond_the_cut_and_kept_only_where_it_is_not",
            ),
        ),
        Mutant(
            name="no more is settled than is held",
            module=_EXPRESSIONS,
            target="_held_as_settled",
            code='"#h{i} >= :h{i}"',
            without='"#h{i} <> :h{i}"',
            noticed_by=(f"{_REQUESTS}::test_nothing_is_settled_that_is_not_held",),
        ),
        Mutant(
            name="several limits are charged as of the time at which they are used",
            module=_CHARGING,
            target="propose",
            code="len(wanted.limits) == 1",
            without="True",
            noticed_by=(f"{_CASES}::test_several_limits_are_charged_as_of_the_time_at_which_the_last_is_due",),
        ),
        Mutant(
            name="what is held is waited for",
            module=_CHARGING,
            target="earliest_due",
            code="found.held > limit.tolerance - amount",
            without="False",
            noticed_by=(f"{_CASES}::test_what_is_held_is_waited_for_until_it_may_be_swept",),
        ),
        Mutant(
            name="a denial is not remembered for long where permits may be given back",
            module=_CHARGING,
            target="remembered_until",
            code="any(limit.held for limit in state.limits.values())",
            without="",
            noticed_by=(f"{_CASES}::test_a_denial_is_remembered_for_as_long_as_it_holds_and_not_for_long",),
        ),
        Mutant(
            name="a slow policy blocks nobody for longer than a burst",
            module=_CHARGING,
            target="_cuts",
            code="limit.rev > state.rev",
            without="False",
            noticed_by=(f"{_CASES}::test_however_slow_a_policy_was_a_key_is_free_a_burst_after_its_change",),
        ),
        Mutant(
            name="the hold of a process that is not late is not swept",
            module=_SETTLING,
            target="sweep",
            code="hold.until + SWEPT_AFTER < now",
            without="True",
            noticed_by=(f"{_SETTLED}::test_a_hold_that_is_past_its_time_is_settled_in_full",),
        ),
        Mutant(
            name="a hold that was swept and made anew is not settled",
            module=_SETTLING,
            target="settle",
            code="hold.attempt not in known",
            without="",
            noticed_by=(f"{_SETTLED}::test_a_hold_that_is_gone_or_made_anew_was_swept",),
        ),
    ),
)
