"""What a change of the code is tried on, in portions.

Invariants:

- The tests that can be seen to run a changed line come first, those of its module before others, the quickest first.
- Of its module's tests, none that may notice it is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.mutants.mirror import API_TESTS, layer_tests, mirrored_tests
from tests.mutants.reach import Reach

_OTHER_ENGINES: Final = ("ministack", "dynoxide")

_OF_ALL: Final = "tests/test_figures.py"
"""The test of every module's numbers: no coverage shows that it reads a line."""


def portions(path: Path, line: int, reach: Reach) -> Iterator[list[str]]:
    """What a change of a line is tried on, one after another. No test that may notice it is left out of the module's."""
    own, seen = mirrored_tests(path), reach.seen_at(path, line)
    known = {test.partition("::")[0] for test in (*reach.seconds, *reach.left_out)}
    yield [test for test in seen if _is_of(test, own)]
    yield [_OF_ALL]
    not_measured = [each for each in own if not any(_is_of(file, (each,)) for file in known)]
    yield _whole(not_measured)
    left_out = [test for test in reach.left_out if not any(engine in test for engine in _OTHER_ENGINES)]
    yield [test for test in left_out if _is_of(test, own)]
    yield [test for test in seen if not _is_of(test, own)]
    yield [test for test in reach.unseen() if _is_of(test, (*own, *API_TESTS))]
    others = [
        each for each in layer_tests(path) if each not in own and not any(_is_of(file, (each,)) for file in known)
    ]
    yield _whole(others, but=own)


def _whole(files: Sequence[str], *, but: Sequence[str] = ()) -> list[str]:
    """All tests of these files and folders, on no other engine than the embedded one."""
    ignored = [f"--ignore={each}" for each in but]
    return [*files, *ignored, "-k", " and ".join(f"not {engine}" for engine in _OTHER_ENGINES)] if files else []


def _is_of(test: str, files: Sequence[str]) -> bool:
    """Whether a test, or a file of tests, is among these files and folders."""
    file = test.partition("::")[0]
    return any(file == each or file.startswith(f"{each}/") for each in files)
