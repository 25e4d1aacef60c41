"""The table as a page of the docs."""

from __future__ import annotations

from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.table import CHAPTERS

DOCUMENT = ROOT / "docs" / "mutants.md"

_HEAD = """# Mutants

A test that passes when the code under it is broken is worth nothing. So a tool breaks the code on purpose, one promise
at a time, in a copy of the repository, and the suite must fail:

```console
$ scripts/mutants                   # every mutant, one on each core at a time
$ scripts/mutants lease_state       # those of one module
$ scripts/mutants --search fence    # search for the tests that notice
$ scripts/mutants --table           # write this page anew
```

A mutant (`tests/mutants/`) is bound to a named function, method or constant, and replaces or drops one expression or
statement in it. Both are compared as syntax trees, so the code may be formatted and moved freely. What is left still
runs, and still sends requests that DynamoDB takes: the test notices that a promise is broken, not that the code does
not work. Without any mutant the same tests pass. `tests/test_mutants.py` fails when a mutant does not fit the code any
more, or this page does not fit the table.

The halves of the requests' conditions, their edges and effects are not here, where [the proof](proof.md) fails without
them: it leaves out every one. These are the promises by name. What a random sample of all other changes leaves alive is
in [survivors.md](survivors.md).

"""


def document() -> str:
    """The whole page."""
    parts = [_HEAD, f"{sum(len(chapter.mutants) for chapter in CHAPTERS)} mutants.\n"]
    for chapter in CHAPTERS:
        parts.append(f"\n## {chapter.title}\n\n| promise | where | noticed by |\n|---|---|---|\n")
        parts += [_row(mutant) for mutant in chapter.mutants]
    return "".join(parts)


def _row(mutant: Mutant) -> str:
    tests = ", ".join(f"`{_short(test)}`" for test in mutant.noticed_by)
    return f"| {mutant.name} | `{mutant.module}` `{mutant.target}` | {tests} |\n"


def _short(test: str) -> str:
    path, _, function = test.partition("::")
    return function or path
