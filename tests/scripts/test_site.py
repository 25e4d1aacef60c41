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
    return hooks.on_page_markdown(text, SimpleNamespace(file=SimpleNamespace(src_uri=page)), CONFIG, known)


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
    led(hooks, "# Running it\n\n```console\n$ x\n```\n\nWhat [it](a.md) costs. And more.\n", "operations.md")
    led(hooks, "# 0001: Slots\n\nStatus: accepted\n", "adr/0001-slots.md")
    hooks.on_post_build(SimpleNamespace(**vars(CONFIG), site_dir=str(tmp_path)))
    assert (tmp_path / "llms.txt").read_text() == (
        "# x\n\n> y\n\n## Pages\n\n- [Running it](operations): What it costs.\n"
    )


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
