"""Pages for contributors: every link works, and every decision record is in the index."""

import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from ddb_lease._protocol import messages
from tests.pages import Snippets

SNIPPETS = Snippets("CONTRIBUTING.md")
ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RECORDS = sorted((ROOT / "docs" / "adr").glob("0*.md"))


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text())
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_decision_record_is_in_the_index_once():
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    assert re.findall(r"\]\((0\S+\.md)\)", index) == [record.name for record in RECORDS]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_decision_record_has_all_its_parts(record):
    text = record.read_text()
    assert text.startswith(f"# {record.name[:4]}: ")
    assert re.search(r"^Status: (accepted|superseded by \d{4})", text, flags=re.MULTILINE)
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == [
        "Context",
        "Decision",
        "Consequences",
        "Rejected",
        "Sources",
    ]


def test_the_message_that_contributors_are_shown_is_the_one_that_is_there():
    (example,) = SNIPPETS.of()
    shown = example.run({"dataclass": dataclass})["Revoke"]
    assert shown.__doc__ == messages.Revoke.__doc__
    assert inspect.signature(shown) == inspect.signature(messages.Revoke)
    assert example.block.text == inspect.getsource(messages.Revoke)
