"""The table as a page of the docs."""

from __future__ import annotations

from tests.guards.guard import ROOT, Guard
from tests.guards.table import CHAPTERS

DOCUMENT = ROOT / "docs" / "guards.md"

_HEAD = """# Guards that bite

A test that passes with the code under it broken is worth nothing. So every guard of the code is taken out by a tool, one at
a time, in a copy of the repository, and the suite must fail:

```
scripts/mutants                    every guard, on all cores
scripts/mutants belief.py          those of one room
scripts/mutants --search fence     look for the tests that notice
scripts/mutants --table            write this page anew
```

A guard is text that stands once in one room, and what stands there without it (`tests/guards/`). What is left still runs,
and still sends requests that DynamoDB takes: the test notices that a promise is broken, not that the code is. With
all guards in place the same tests pass; `tests/test_guards.py` fails when a guard's text has moved away from the table, or
this page from either.

"""


def document() -> str:
    """The page, whole."""
    parts = [_HEAD, f"{sum(len(chapter.guards) for chapter in CHAPTERS)} guards.\n"]
    for chapter in CHAPTERS:
        parts.append(f"\n## {chapter.title}\n\n| guard | room | noticed by |\n|---|---|---|\n")
        parts += [_row(guard) for guard in chapter.guards]
    return "".join(parts)


def _row(guard: Guard) -> str:
    tests = ", ".join(f"`{_short(test)}`" for test in guard.noticed_by)
    return f"| {guard.name} | `{guard.room}` | {tests} |\n"


def _short(test: str) -> str:
    path, _, function = test.partition("::")
    return function or path
