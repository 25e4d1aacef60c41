"""The judge of orders: known answers. Nothing of the library runs here."""

from scripts.harness.order_judge import overtaken, read_notes
from scripts.harness.referee import note


def test_who_stood_before_another_called_must_be_served_before_it():
    notes = {1: {"calls": 0.0, "stands": 1.0, "served": 9.0}, 2: {"calls": 2.0, "stands": 3.0, "served": 8.0}}
    assert overtaken(notes) == [(1, 2)]
    assert overtaken(notes, dead=frozenset({1})) == []
    assert overtaken({1: notes[1], 2: notes[2] | {"served": 9.5}}) == []


def test_who_was_not_served_was_overtaken_by_all_later_ones_who_were():
    notes = {1: {"calls": 0.0, "stands": 1.0}, 2: {"calls": 2.0, "served": 3.0}, 3: {"calls": 2.0}}
    assert overtaken(notes) == [(1, 2)]


def test_who_called_before_another_stood_may_come_first():
    assert overtaken({1: {"calls": 0.0, "stands": 2.0, "served": 4.0}, 2: {"calls": 1.0, "served": 3.0}}) == []


def test_notes_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "notes"
    assert read_notes(path) == {}
    for what, at in (("calls", 1.0), ("served", 2.0), ("served", 3.0)):
        note(path, job=7, what=what, at=at)
    assert read_notes(path) == {7: {"calls": 1.0, "served": 2.0}}
