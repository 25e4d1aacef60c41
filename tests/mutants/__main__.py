"""What `scripts/mutants` runs in its environment."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.document import DOCUMENT, document
from tests.mutants.mutant import Mutant
from tests.mutants.table import CHAPTERS
from tests.mutants.trial import Copy, Trial, Verdict, in_copies, search


def main() -> int:
    """Try mutants out, and print those that no test noticed; 1 if there are any."""
    parser = argparse.ArgumentParser(prog="scripts/mutants")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.table:
        DOCUMENT.write_text(document())
        return 0
    mutants = [mutant for chapter in CHAPTERS for mutant in chapter.mutants if _matches(mutant, options.words)]
    if not mutants:
        print("no such mutant", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        copies = [Copy(Path(folder) / str(n)) for n in range(max(1, options.workers))]
        if options.search:
            return _search(copies[0], mutants)
        return _try_all(copies, mutants)


def _try_one(copy: Copy, mutant: Mutant) -> Trial:
    return copy.try_out(mutant, [*mutant.noticed_by, "-k", "not ministack and not dynoxide"])


def _matches(mutant: Mutant, words: Sequence[str]) -> bool:
    return all(word in f"{mutant.module} {mutant.target} {mutant.name}" for word in words)


def _search(copy: Copy, mutants: Sequence[Mutant]) -> int:
    for mutant in mutants:
        found = search(copy, mutant)
        print(f"{mutant.name}: {mutant.module}")
        for test in found:
            print(f"    {test}")
        if not found:
            print("    nothing notices")
    return 0


def _try_all(copies: Sequence[Copy], mutants: Sequence[Mutant]) -> int:
    began = time.monotonic()
    named = sorted({test for mutant in mutants for test in mutant.noticed_by})
    print(f"without any mutant: {len(named)} tests ...", flush=True)
    sound = copies[0].run([*named, "-k", "not ministack and not dynoxide"], most=10)
    if sound.verdict is not Verdict.SURVIVED:
        print(sound.output)
        print("these tests must pass before a mutant can fail them", file=sys.stderr)
        return 2
    unnoticed: list[tuple[Mutant, Trial]] = []
    for number, (mutant, trial) in enumerate(in_copies(copies, mutants, _try_one), start=1):
        if not trial.noticed:
            unnoticed.append((mutant, trial))
        test = trial.failed[0] if trial.failed else ""
        print(f"{number:>4} of {len(mutants)}  {trial.verdict.value:<9} {mutant.name}  {test}", flush=True)
    print(f"{len(mutants)} mutants tried in {time.monotonic() - began:.0f} s, {len(unnoticed)} survived")
    for mutant, trial in unnoticed:
        print(f"  {trial.verdict.value}: {mutant.name} ({mutant.module})")
        if trial.verdict is Verdict.BROKEN:
            print(trial.output)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
