"""What operating a bucket promises: growing and shrinking it."""

from tests.mutants.mutant import Chapter, Mutant

_RESIZE = "_operations/resize.py"

OPERATING = Chapter(
    title="Growing and shrinking",
    mutants=(
        Mutant(
            name="a shrink subtracts the retired slots from the count",
            module=_RESIZE,
            target="shrink",
            code="max(0, counter.minted - len(slots))",
            without="counter.minted",
            noticed_by=("tests/operations/test_resize.py::test_a_shrink_retires_from_the_top_and_ends_no_lease",),
        ),
        Mutant(
            name="a shrink that is overtaken stops",
            module=_RESIZE,
            target="shrink",
            code="_require_as_set(counter, top)",
            without="",
            noticed_by=(
                "tests/operations/test_resize.py::test_of_two_resizers_one_stops_and_reports",
                "tests/operations/test_resize.py::test_a_growth_between_two_steps_is_noticed",
            ),
        ),
        Mutant(
            name="the growth of another operator is not taken for ours",
            module=_RESIZE,
            target="grow",
            code="uncertain",
            without="",
            noticed_by=("tests/operations/test_resize.py::test_of_two_resizers_one_stops_and_reports",),
        ),
    ),
)
