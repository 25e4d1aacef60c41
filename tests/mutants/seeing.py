"""What the commands that show promise: exact leases, bounded reads, and pages that nobody else can use."""

from tests.mutants.mutant import Chapter, Mutant

_SHORT = "cli/abbreviations.py"
_SERVE = "cli/seeing/serve.py"
_PAGES = "cli/seeing/pages/__init__.py"
_HISTORY = "cli/seeing/history.py"
_OF_SHORT = "tests/cli/test_abbreviations.py::"
_OF_SERVE = "tests/cli/seeing/test_serve.py::"
_OF_WATCHING = "tests/cli/seeing/test_watching.py::"
_OF_HISTORY = "tests/cli/seeing/test_history.py::"

SEEING = Chapter(
    title="Seeing",
    mutants=(
        Mutant(
            name="a short id that fits two leases leads to none",
            module=_SHORT,
            target="meant_by",
            code="len(found) > 1",
            without="False",
            noticed_by=(f"{_OF_SHORT}test_what_may_mean_two_leases_is_refused_and_names_them",),
        ),
        Mutant(
            name="too little of an id is refused",
            module=_SHORT,
            target="meant_by",
            code="len(text.partition('-')[2]) < _LEAST",
            without="False",
            noticed_by=(f"{_OF_SHORT}test_too_little_is_refused",),
        ),
        Mutant(
            name="a short id is of its own slot",
            module=_SHORT,
            target="_begins",
            code="int(short[1]) == lease.slot",
            without="True",
            noticed_by=(f"{_OF_SHORT}test_a_slots_number_is_no_beginning_of_another_slots_lease",),
        ),
        Mutant(
            name="a listing pauses between pages",
            module="_operations/listing.py",
            target="list_table",
            code="page.read_units / READ_UNITS_A_SECOND",
            without="0.0",
            noticed_by=("tests/operations/test_listing.py::test_pages_come_at_most_a_thousand_units_a_second",),
        ),
        Mutant(
            name="the page's server answers to this machine's names only",
            module=_SERVE,
            target="_answer",
            code="len(hosts) != 1 or not self._is_here(hosts[0])",
            without="False",
            noticed_by=(f"{_OF_SERVE}test_a_page_elsewhere_whose_name_leads_here_gets_nothing",),
        ),
        Mutant(
            name="a second Host header is no way around that",
            module=_SERVE,
            target="_answer",
            code="len(hosts) != 1",
            without="not hosts",
            noticed_by=(f"{_OF_SERVE}test_a_page_elsewhere_whose_name_leads_here_gets_nothing",),
        ),
        Mutant(
            name="who asks after a while gets a new picture",
            module="cli/seeing/watching.py",
            target="_run",
            code="time.monotonic() - self._asked_at > self._idle_after",
            without="False",
            noticed_by=(f"{_OF_WATCHING}test_while_nobody_asks_nothing_is_read_and_who_asks_then_gets_a_new_picture",),
        ),
        Mutant(
            name="text of others does not end a script",
            module=_PAGES,
            target="data",
            code="json.dumps(value, separators=(',', ':'), ensure_ascii=False).translate(_IN_SCRIPT)",
            without="json.dumps(value)",
            noticed_by=("tests/cli/seeing/test_timeline.py::test_text_of_others_travels_as_data",),
        ),
        Mutant(
            name="a snapshot does not bring a lost lease back",
            module=_HISTORY,
            target="_seen",
            code="hold.end is not None",
            without="False",
            noticed_by=(f"{_OF_HISTORY}test_events_are_believed_before_snapshots",),
        ),
        Mutant(
            name="a page is written beside its place",
            module="cli/seeing/timeline.py",
            target="_write",
            code="os.unlink(draft)",
            without="pass",
            noticed_by=("tests/cli/seeing/test_timeline.py::test_a_page_that_is_cut_short_leaves_what_was_there",),
        ),
    ),
)
