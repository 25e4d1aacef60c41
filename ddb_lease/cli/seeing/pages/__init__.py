"""Self-contained web pages: styles and scripts of this folder, put into one document that loads nothing.

Invariants:

- A page names no other host, and its policy (CSP) lets it load, frame and send nothing, but what `connect` says. Only
  the scripts and styles that are put in here run, by their hashes.
- What others wrote is escaped as text, or travels as JSON that a script reads as data.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

_HERE: Final = __name__
_IN_SCRIPT: Final = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def resource(name: str) -> str:
    """The text of a file in this folder."""
    return files(_HERE).joinpath(name).read_text(encoding="utf-8")


def data(identity: str, value: object) -> str:
    """A value as an element that a script of the page reads."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).translate(_IN_SCRIPT)
    return f'<script type="application/json" id="{identity}">{text}</script>'


def escaped(text: object) -> str:
    """A text in HTML, also between quotes."""
    return html.escape(str(text), quote=True)


def policy(style: str, script: str, *, connect: str = "'none'") -> str:
    """The page's content security policy."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            f"connect-src {connect}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def page(*, title: str, body: str, styles: Sequence[str], script: str, connect: str = "'none'") -> str:
    """A whole document.

    Args:
        title: Its title, as text.
        body: HTML, in which the text of others is escaped.
        styles: Names of style sheets in this folder.
        script: The name of its script.
        connect: Where its script may send requests: a source of a content security policy.
    """
    style, code = "\n".join(map(resource, styles)), resource(script)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escaped(policy(style, code, connect=connect))}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>{escaped(title)}</title>
<style>{style}</style>
</head>
<body>
{body}
<script>{code}</script>
</body>
</html>
"""


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()) -> str:
    """An HTML table of texts; the columns named in `numbers` are aligned to the right."""
    kinds = [' class="n"' if name in numbers else "" for name in head]
    heads = "".join(f'<th scope="col"{kind}>{escaped(name)}</th>' for name, kind in zip(head, kinds, strict=True))
    lines = (
        "<tr>" + "".join(f"<td{kind}>{escaped(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><caption>{escaped(caption)}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
