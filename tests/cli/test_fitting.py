"""Texts and tables fit a number of columns, whatever stands in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease.cli.fitting import columns_of, cut, fitted, shortened, wrapped

WIDE, COMBINED = "\u4e2d\u6587", "e\u0301"


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("host:123", 8, "host:123"),
        ("a-very-long-host-name:4711", 11, "a-ver…:4711"),
        ("abcdef", 2, "a…"),
        ("abcdef", 1, "…"),
        ("abcdef", 0, ""),
        (WIDE * 5, 9, WIDE + "…" + WIDE),
        (COMBINED * 6, 5, COMBINED * 2 + "…" + COMBINED * 2),
    ],
)
def test_a_text_is_shortened_in_its_middle(text, most, short):
    assert shortened(text, most) == short


def test_a_wide_character_takes_two_columns_and_a_combining_one_none():
    assert (columns_of(WIDE), columns_of(COMBINED), columns_of("ab")) == (4, 1, 2)


@given(st.text(max_size=30), st.integers(0, 20))
def test_what_is_shortened_or_cut_never_takes_more(text, most):
    assert columns_of(shortened(text, most)) <= most
    assert columns_of(cut(text, most)) <= most


@given(st.lists(st.tuples(st.text("ab\u4e2d ", max_size=90), st.text("xy", max_size=9)), max_size=5))
def test_no_line_of_a_table_is_wider_than_asked(rows):
    lines = fitted([("OWNER", "AGE"), *rows], right={"AGE"}, squeezed={"OWNER": 8}, width=30)
    assert all(columns_of(line) <= 30 for line in lines)
    assert len(lines) == len(rows) + 1


def test_columns_are_squeezed_in_their_order_and_no_further_than_said():
    rows = [("NAME", "OWNER", "N"), ("n" * 30, "o" * 30, "5")]
    _, line = fitted(rows, right=set(), squeezed={"OWNER": 10, "NAME": 10}, width=50)
    assert line == "n" * 30 + "  " + "ooooooo…ooooooo" + "  5"
    _, line = fitted(rows, right=set(), squeezed={"OWNER": 10, "NAME": 10}, width=30)
    assert [columns_of(part) for part in line.split("  ")] == [15, 10, 1]
    assert fitted(rows, right=set(), squeezed={}, width=None)[1] == "n" * 30 + "  " + "o" * 30 + "  5"


def test_a_text_is_wrapped_at_its_words():
    assert wrapped("four of nine leased, 5 free", 12) == "four of nine\nleased, 5\nfree"
    assert wrapped(f"a {WIDE * 9} b", 9) == f"a\n{WIDE}…{WIDE}\nb"
