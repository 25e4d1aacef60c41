"""`ddb-lease timeline`: the page and the summary, of lines in files."""

import base64
import hashlib
import html.parser
import io
import json
import re
import stat
import sys

import pytest

from ddb_lease.cli import main
from ddb_lease.cli.fitting import columns_of
from ddb_lease.cli.seeing import pages, timeline, timeline_page
from tests.cli.seeing import browser
from tests.cli.seeing.test_history import T, acquired, event, read, row, snapshot

EVIL = "</script><script>alert(1)</script><b onclick='x'>\u2028"
LINES = [
    (T + 1, acquired(1)[1] | {"owner": EVIL, "waited_seconds": 0.9}),
    event(4, "Lost", reason="unreachable"),
    (T + 5, acquired(5, "0-b")[1] | {"owner": "b:2"}),
    event(9, "Released", "0-b"),
    event(7, "Throttled", operation="claim", limit="table"),
    snapshot(10, row(1, "1-c", age=3, owner="c:3", revoked=True), queue=[{"owner": "d:4", "since": T + 6, "count": 1}]),
    (T + 11, {"bucket": "gpus", "error": "StoreUnavailable", "message": EVIL}),
]


class Document(html.parser.HTMLParser):
    """The parts of a page that matter here."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.stack, self.attributes = [], {}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.stack.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.stack and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self.stack:
            tag, attributes = self.stack[-1]
            self.texts.setdefault((tag, attributes.get("id")), []).append(data)

    def text(self, tag, identity=None):
        return "".join(self.texts.get((tag, identity), []))


@pytest.fixture(scope="module")
def page():
    return timeline_page.timeline_page(read(LINES), source="1 file, 7 lines.")


@pytest.fixture(scope="module")
def document(page):
    return Document(page)


def write(folder, lines, name="lines"):
    path = folder / name
    path.write_text("".join(json.dumps({"at": at} | line) + "\n" for at, line in lines))
    return str(path)


def test_a_page_loads_nothing_and_runs_nothing_but_its_own_script(page, document):
    assert document.tags.count("script") == 2, "its data, and its code"
    assert not {"link", "img", "iframe", "object", "base", "form"} & set(document.tags)
    assert [one for one in document.attributes if one[1] in {"src", "href", "action"} or one[1].startswith("on")] == []
    (policy,) = [value for tag, name, value in document.attributes if name == "content" and "default-src" in value]
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    for kind, tag in (("script", "script"), ("style", "style")):
        digest = base64.b64encode(hashlib.sha256(document.text(tag).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://", page)


def test_the_data_of_the_picture_are_those_of_the_lines(document):
    told = json.loads(document.text("script", "told"))
    ((bucket),) = told["buckets"]
    assert (told["start"], told["length"]) == (T + 0.1, 10.9)
    assert [told["owners"].index(name) for name in ("b:2", "c:3", "d:4")] == [1, 3, 2]
    assert told["owners"][0].replace("\ufffd", "\u2028") == EVIL
    assert [(slot, [bar[:4] for bar in bars]) for slot, bars in bucket["slots"]] == [
        (0, [[0.9, 3.9, 0, "lost"], [4.9, 8.9, 1, "released"]]),
        (1, [[6.9, 9.9, 3, "open"]]),
    ]
    assert bucket["waits"] == [[0, 0.9, 0, "served"], [5.9, 9.9, 2, "open"]]
    assert bucket["marks"] == [[6.9, "throttled", "claim table"]]
    assert bucket["outages"][0][:2] == [9.9, 10.9]


def test_the_tables_say_the_same_as_the_picture(document):
    cells = document.texts["td", None]
    assert "3" in cells and "1 unreachable" in cells
    assert "lost (unreachable)" in cells
    assert "held at the end, revoked" in cells
    assert "2026-11-29 13:00:05.000" in cells
    assert any(text.startswith("</script><script>") for text in cells), "as text"
    label = next(value for tag, name, value in document.attributes if (tag, name) == ("canvas", "aria-label"))
    assert label.startswith("Who held which slot when. gpus: 3 leases, 2 waits, lost 1 unreachable, revoked 1.")


def test_a_real_browser_draws_it(page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page)
    dom, console = browser.rendered(path.as_uri())
    # A head, two slots, the number of waiters, and a lane for them: drawn, zoomed by its script, and no error.
    assert 'data-drawn="5"' in dom
    assert re.search(r'id="range"[^>]*>2026-11-29 12:59:59 to 13:00:11 UTC: 11s<', dom)
    assert console == []
    assert "alert(1)</script><b onclick" not in dom.split('id="told"')[0]


def test_a_long_record_keeps_its_tables_short_and_its_picture_whole(monkeypatch):
    monkeypatch.setattr(timeline_page, "MOST_ROWS", 2)
    lines = [line for n in range(5) for line in (acquired(2 * n, f"0-{n}"), event(2 * n + 1, "Lost", f"0-{n}"))]
    document = Document(timeline_page.timeline_page(read(lines), source=""))
    assert "The first 2 of 5 leases" in document.texts["caption", None]
    assert len(json.loads(document.text("script", "told"))["buckets"][0]["slots"][0][1]) == 5


def test_the_command_writes_the_page_and_a_summary(tmp_path, capsys):
    out = tmp_path / "out.html"
    assert main.main(["timeline", write(tmp_path, LINES), "--html", str(out)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert " ".join(said.out.split()) == (
        "gpus: 3 leases; held for 3s (median; longest 4s); 2 waits, 2.5s (median; longest 4s); lost or expired: "
        "1 unreachable; 1 revoked"
    )
    assert all(columns_of(line) <= 80 for line in said.out.splitlines())
    assert out.read_text().startswith("<!doctype html>")
    assert stat.S_IMODE(out.stat().st_mode) & 0o400
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_lines_that_cannot_be_read_are_told_and_the_rest_is_drawn(tmp_path, capsys, monkeypatch):
    text = "".join(json.dumps({"at": at} | line) + "\n" for at, line in LINES)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"nonsense\n{text}" + "{}\n" * 12))
    assert main.main(["timeline", "-"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("gpus: 3 leases")
    told = said.err.splitlines()
    assert told[0] == "ddb-lease: -, line 1: is not JSON; it is left out"
    assert told[1] == "ddb-lease: -, line 9: has no 'at'; it is left out"
    assert told[-1] == "ddb-lease: and 3 more lines that are left out"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{folder}/none"], "cannot read"),
        (["{folder}"], "cannot read"),
        (["{empty}"], "nothing to draw"),
        (["{lines}", "--html", "{folder}/none/out.html"], "cannot write"),
        (["{lines}", "--html", "{folder}"], "cannot write"),
    ],
)
def test_what_cannot_be_read_or_written_is_told_in_one_line(tmp_path, capsys, words, said):
    (tmp_path / "empty").write_text("")
    names = {"folder": tmp_path, "empty": tmp_path / "empty", "lines": write(tmp_path, LINES)}
    assert main.main(["timeline", *(word.format(**names) for word in words)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "lines"]


def test_a_page_that_is_cut_short_leaves_what_was_there(tmp_path, monkeypatch):
    out = tmp_path / "out.html"
    out.write_text("before")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(timeline.os, "replace", interrupted)
    assert main.main(["timeline", write(tmp_path, LINES), "--html", str(out)]) == 130
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lines", "out.html"]


def test_text_of_others_travels_as_data():
    element = pages.data("told", {"owner": EVIL + "<!--&"})
    assert element.count("<") == 2, "its own two tags"
    assert json.loads(element.partition(">")[2].removesuffix("</script>")) == {"owner": EVIL + "<!--&"}
