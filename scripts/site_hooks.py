"""What the site's pages need that MkDocs does not do: links out of docs/, pages from the root, and llms.txt.

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
    _described[source] = _description(markdown)
    return led_on


def _title_of(page: Path) -> str:
    found = re.search(r"^# (.+)$", page.read_text(), re.MULTILINE)
    return found.group(1) if found else page.stem


def _description(markdown: str) -> tuple[str, str]:
    """A page's title, and its first sentence."""
    title = re.search(r"^# (.+)$", markdown, re.MULTILINE)
    after = _FENCED.sub("", markdown[title.end() :] if title else markdown)
    prose = next((part for part in re.split(r"\n\s*\n", after) if re.match(r"[A-Z`*]", part.strip())), "")
    sentence = re.split(r"(?<=[.:])\s", " ".join(prose.split()), maxsplit=1)[0]
    return (title.group(1) if title else ""), re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", sentence)


def on_post_build(config: MkDocsConfig) -> None:
    """Write llms.txt: what the project is, and each page with its first sentence."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", "", "## Pages", ""]
    for source, (title, sentence) in sorted(_described.items()):
        if re.match(r"adr/\d", source):
            continue  # the index lists them
        address = f"{config.site_url or ''}{source.removesuffix('.md').removesuffix('README').removesuffix('index')}"
        lines.append(f"- [{title}]({address or './'}): {sentence}")
    (Path(config.site_dir) / "llms.txt").write_text("\n".join(lines) + "\n")
