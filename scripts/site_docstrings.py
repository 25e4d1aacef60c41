"""What the API pages need from the docstrings: their examples as code.

Our docstrings say "Example:", one each. The parser knows the section "Examples:" only, and takes the other for prose.
"""

from __future__ import annotations

import re

import griffe


class Examples(griffe.Extension):
    """Calls the section what the parser calls it."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Called for each object that is found."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
