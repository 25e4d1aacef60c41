"""What the site's pages need that MkDocs does not do: links out of docs/, pages from the root, descriptions, llms.txt.

The pages are written to be read in the repository too, where a link to a source file, or to the README, works. On the
site such a link leads to the repository; the README's own place is the first page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

FROM_THE_ROOT = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
"""Pages that stand in the repository's root, and what they are called on the site."""

_INSTEAD = FROM_THE_ROOT | {"README.md": "index.md"}
_ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\[([^\]\n]*)\]\((?!https?://|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")
_FENCED = re.compile(r"(^```.*?^```\n)", re.MULTILINE | re.DOTALL)
_RANKS = (  # of pages in the search: what explains a word to its user comes before what proves it to a doubter
    (r"adr/|model|proof|faults|mutants|survivors|conformance|benchmarks", 0.1),
    (r"releasing|contributing|changelog|from-the-seed", 0.1),
    (r"api/|protocol", 0.6),
    (r"howto/\w|operations|concepts|middleware", 1.5),
)
_OWNED = re.compile(
    r'(<h\d id="ddb_lease(?:\.\w+)*\.([A-Z]\w*)\.\w+" class="doc doc-heading">(?:(?!</h\d>).)*?)'
    r'(<span class="doc doc-object-name)',
    re.DOTALL,
)
_described: dict[str, tuple[str, str]] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root."""
    for name, page in FROM_THE_ROOT.items():
        files.append(File.generated(config, page, content=(_ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that leave docs/ into links to the repository, or to the page that stands for them here."""
    source = page.file.src_uri
    folder = "" if source in FROM_THE_ROOT.values() else posixpath.join("docs", posixpath.dirname(source))

    def led(match: re.Match[str]) -> str:
        words, path, anchor = match.groups(default="")
        target = posixpath.normpath(posixpath.join(folder, path))
        inside = target.removeprefix("docs/") if target.startswith("docs/") else None
        if target in _INSTEAD:
            inside, anchor = _INSTEAD[target], anchor if target in FROM_THE_ROOT else ""
        if inside is None or (files.get_file_from_path(inside) is None and not inside.endswith(".md")):
            if not (_ROOT / target).exists():
                return match.group()  # MkDocs says so
            return f"[{words}]({config.repo_url}/blob/main/{target}{anchor})"
        if words == posixpath.basename(path):  # a file's name says nothing here
            words = _title_of(_ROOT / target)
        here = posixpath.relpath(inside, posixpath.dirname(source) or ".")
        return f"[{words}]({here}{anchor})"

    parts = _FENCED.split(markdown)
    led_on = "".join(part if n % 2 else _LINK.sub(led, part) for n, part in enumerate(parts))
    _described[source] = title, sentence = description_of(markdown)
    page.meta.setdefault("description", f"{title}: {sentence}" if sentence else title)
    page.meta.setdefault("search", {"boost": next((rank for what, rank in _RANKS if re.match(what, source)), 1)})
    if source == "index.md":
        page.meta["hide"] = ["navigation"]  # it is alone in its tab
    if source.startswith("api/"):
        page.edit_url = None  # what it says stands in the code
    elif source in FROM_THE_ROOT.values():
        page.edit_url = f"{config.repo_url}/edit/main/{posixpath.basename(source).removesuffix('.md').upper()}.md"
    return led_on


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Say of which class a method is: on a long page, and in the search, its name alone does not tell."""
    if not page.file.src_uri.startswith("api/"):
        return html
    return _OWNED.sub(r'\1<span class="doc-owner">\2.</span>\3', html)


def on_post_page(output: str, **_: object) -> str:
    """Let no page ask the repository's host for its stars: a reader's browser asks this site only."""
    return output.replace(' data-md-component="source"', "")


def on_post_template(output_content: str, **_: object) -> str:
    """The same for the page for what is not found."""
    return on_post_page(output_content)


def _title_of(page: Path) -> str:
    found = re.search(r"^# (.+)$", page.read_text(), re.MULTILINE)
    return found.group(1) if found else page.stem


def description_of(markdown: str) -> tuple[str, str]:
    """A page's title, and its first sentence."""
    title = re.search(r"^# (.+)$", markdown, re.MULTILINE)
    after = _FENCED.sub("", markdown[title.end() :] if title else markdown)
    prose = next((part for part in re.split(r"\n\s*\n", after) if re.match(r"[A-Z`*\[]", part.strip())), "")
    sentence = re.split(r"(?<=[.])\s", " ".join(prose.split()), maxsplit=1)[0]
    return _plain(title.group(1) if title else ""), re.sub(":$", ".", _plain(sentence))


def _plain(text: str) -> str:
    """Without marks: what a search engine shows, and what a program reads."""
    return re.sub(r"\*+|`", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text))


def on_post_build(config: MkDocsConfig) -> None:
    """Write llms.txt: what the project is, and each page with its first sentence."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", "", "## Pages", ""]
    for source, (title, sentence) in sorted(_described.items()):
        if re.match(r"adr/\d", source):
            continue  # the index lists them
        address = re.sub(r"(^|/)(README|index)\.md$", r"\1", source).replace(".md", "/")
        lines.append(f"- [{title}]({(config.site_url or '') + address or './'}): {sentence}")
    (Path(config.site_dir) / "llms.txt").write_text("\n".join(lines) + "\n")
