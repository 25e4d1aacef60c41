"""The site: its links, its list of pages, and its API pages. `scripts/docs` builds it, strictly."""

import importlib.util
import re
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
CONFIG = SimpleNamespace(repo_url="https://forge.example/x", site_name="x", site_description="y", site_url="")


@pytest.fixture
def hooks(monkeypatch):
    """The hooks without MkDocs, which only the site's own environment has."""
    files = types.ModuleType("mkdocs.structure.files")
    files.File = files.Files = SimpleNamespace
    for name, module in {"mkdocs": None, "mkdocs.structure": None, "mkdocs.structure.files": files}.items():
        monkeypatch.setitem(sys.modules, name, module or types.ModuleType(name))
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "scripts" / "site_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def led(hooks, text, page="operations.md"):
    known = SimpleNamespace(get_file_from_path=lambda path: path if (DOCS / path).exists() else None)
    return hooks.on_page_markdown(text, a_page(page), CONFIG, known)


def a_page(source, **meta):
    return SimpleNamespace(
        file=SimpleNamespace(src_uri=source), meta=meta, edit_url="https://forge.example/as-mkdocs-says"
    )


def sources():
    """Each page of the site, and its source."""
    pages = {str(page.relative_to(DOCS)): page.read_text() for page in DOCS.rglob("*.md")}
    return pages | {
        name.lower(): (ROOT / name).read_text() for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
    }


@pytest.mark.parametrize(
    ("page", "link", "becomes"),
    [
        ("operations.md", "[why](protocol.md#time)", "[why](protocol.md#time)"),
        ("operations.md", "[protocol.md](protocol.md#time)", "[The protocol](protocol.md#time)"),
        ("operations.md", "[it](../README.md#rates)", "[it](index.md)"),
        ("operations.md", "[how](../CONTRIBUTING.md#trace-a-request)", "[how](contributing.md#trace-a-request)"),
        ("operations.md", "[x](../tests/support.py)", "[x](https://forge.example/x/blob/main/tests/support.py)"),
        ("adr/README.md", "[one](../protocol.md)", "[one](../protocol.md)"),
        ("contributing.md", "[model](docs/model.md)", "[model](model.md)"),
        ("contributing.md", "[gate](.ci/run)", "[gate](https://forge.example/x/blob/main/.ci/run)"),
        ("operations.md", "[gone](nowhere.md)", "[gone](nowhere.md)"),  # MkDocs complains of it
        ("operations.md", "[there](https://a.example/b.md)", "[there](https://a.example/b.md)"),
    ],
)
def test_a_link_leads_to_the_site_where_it_can_and_else_to_the_repository(hooks, page, link, becomes):
    assert led(hooks, f"# Title\n\nSee {link}.\n", page) == f"# Title\n\nSee {becomes}.\n"


def test_code_is_left_as_it_is(hooks):
    text = "# Title\n\n```python\nx = f[0](../README.md)\n```\n"
    assert led(hooks, text) == text


def test_the_list_for_language_models_has_each_page_with_its_first_sentence(hooks, tmp_path):
    led(
        hooks,
        "# Running it\n\n```console\n$ x\n```\n\nWhat [it](a.md) **really** costs: `x`. And more.\n",
        "operations.md",
    )
    led(hooks, "# How to\n\n[All](a.md) of it:\n\n| a |\n", "howto/index.md")
    led(hooks, "# 0001: Slots\n\nStatus: accepted\n", "adr/0001-slots.md")
    hooks.on_post_build(SimpleNamespace(**vars(CONFIG), site_dir=str(tmp_path)))
    assert (tmp_path / "llms.txt").read_text() == (
        "# x\n\n> y\n\n## Pages\n\n"
        "- [How to](howto/): All of it.\n- [Running it](operations/): What it really costs: x.\n"
    )


def test_a_page_describes_itself_to_a_search_engine_unless_it_says_something_else(hooks):
    page, other = a_page("operations.md"), a_page("rates.md", description="of its own")
    for each in (page, other):
        hooks.on_page_markdown("# Running it\n\nWhat it costs. And more.\n", each, CONFIG, None)
    assert page.meta["description"] == "Running it: What it costs."
    assert other.meta["description"] == "of its own"


@pytest.mark.parametrize(
    ("source", "edited"),
    [
        ("operations.md", "https://forge.example/as-mkdocs-says"),
        ("changelog.md", "https://forge.example/x/edit/main/CHANGELOG.md"),
        ("api/leases.md", None),
    ],
)
def test_a_page_is_edited_where_its_text_stands(hooks, source, edited):
    page = a_page(source)
    hooks.on_page_markdown("# Title\n\nText.\n", page, CONFIG, None)
    assert page.edit_url == edited


def test_what_explains_comes_before_what_proves_in_the_search(hooks):
    ranks = []
    for source in ("howto/cron.md", "leader.md", "api/leases.md", "adr/0007-a-heartbeat-thread.md"):
        page = a_page(source)
        hooks.on_page_markdown("# Title\n\nText.\n", page, CONFIG, None)
        ranks.append(page.meta["search"]["boost"])
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == len(ranks)


def test_no_page_asks_the_repositorys_host_for_anything(hooks):
    link = '<a href="https://forge.example/x" class="md-source" data-md-component="source">'
    for shown in (hooks.on_post_page(link, page=None), hooks.on_post_template(link, template_name="404.html")):
        assert shown == '<a href="https://forge.example/x" class="md-source">'


def test_the_heading_of_a_method_says_its_class(hooks):
    heading = '<h3 id="ddb_lease.aio.Lease.check" class="doc doc-heading"><code></code> <span class="doc doc-object-name">check</span></h3>'
    of_a_class = '<h2 id="ddb_lease.Lease" class="doc doc-heading"><span class="doc doc-object-name">Lease</span></h2>'
    shown = hooks.on_page_content(of_a_class + heading, page=a_page("api/asyncio.md"))
    assert re.sub(r"<[^>]+>", "", shown).split() == ["Lease", "Lease.check"]
    assert hooks.on_page_content(heading, page=a_page("asyncio.md")) == heading


def test_each_page_has_a_title_that_no_other_has_and_a_first_sentence(hooks):
    titles = {}
    for source, text in sources().items():
        title, sentence = hooks.description_of(text)
        assert titles.setdefault(title, source) == source
        assert title, source
        assert len(sentence.split()) > 3 or re.match(r"adr/\d", source), (source, sentence)


def test_each_picture_says_in_words_what_it_shows():
    pictures = [(source, words) for source, text in sources().items() for words in re.findall(r"!\[([^\]]*)\]\(", text)]
    assert pictures
    assert [source for source, words in pictures if len(words.split()) < 3] == []


@pytest.fixture
def docstrings(monkeypatch):
    """What changes the docstrings for the pages, without griffe."""
    griffe = types.ModuleType("griffe")
    griffe.Extension = object
    monkeypatch.setitem(sys.modules, "griffe", griffe)
    spec = importlib.util.spec_from_file_location("site_docstrings", ROOT / "scripts" / "site_docstrings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_docstrings_example_and_its_cost_are_told_from_the_text(docstrings):
    text = "Do.\n\nCost without contention: 1 WCU.\n\nCosts more.\n\nExample:\n    >>> 1\n"
    assert docstrings.sections(text) == (
        "Do.\n\n**Cost without contention:** 1 WCU.\n\nCosts more.\n\nExamples:\n    >>> 1\n"
    )


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("See `Lease.check`.", "See [`Lease.check`][x.Lease.check]."),
        ("See `Lease.check()`.", "See [`Lease.check()`][x.Lease.check]."),
        ("As in `check`.", "As in [`check`][x.Lease.check]."),
        ("As in `data`.", "As in `data`."),  # a parameter
        ("As in `elsewhere` and ``check``.", "As in `elsewhere` and ``check``."),
        ("As in [`check`](y).", "As in [`check`](y)."),
        ("Examples:\n    >>> `check`", "Examples:\n    >>> `check`"),
    ],
)
def test_a_docstrings_names_lead_to_their_entries(docstrings, text, becomes):
    known = {"Lease": "x.Lease", "Lease.check": "x.Lease.check", "Lease.data": "x.Lease.data"}
    assert docstrings.linked(text, known, "Lease", frozenset({"data"})) == becomes


def test_every_page_is_in_the_menu():
    listed = re.findall(r"(?:: |- )([\w/\-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    assert len(listed) == len(set(listed))
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if not re.match(r"0\d", page.name)}
    assert pages | {"changelog.md", "contributing.md", "security.md"} == set(listed)


def test_every_public_class_and_function_is_on_an_api_page():
    import ddb_lease
    from ddb_lease import aio

    listed = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    own = [
        name
        for name in ddb_lease.__all__
        if getattr(ddb_lease, name).__module__ not in {"ddb_lease.models", "ddb_lease.errors"}
    ]
    for name in [f"ddb_lease.{name}" for name in own] + [f"ddb_lease.aio.{name}" for name in aio.__all__]:
        assert f"::: {name}\n" in listed + "\n", name
