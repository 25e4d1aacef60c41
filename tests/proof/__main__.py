"""Proves everything, tries every alteration, and writes the tables: see `scripts/prove`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.proof.clients import LEMMAS
from tests.proof.document import DOCUMENT, THEORIES, Unexplained, document
from tests.proof.theory import Theory


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/prove", description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.words:
        return _show(arguments.words)
    began = time.monotonic()
    broken = [theory.table(failure) for theory in THEORIES for failure in theory.failures()]
    broken += [
        f"{theory.name}: the invariant does not hold at the beginning"
        for theory in THEORIES
        if theory.beginning_breaks()
    ]
    broken += [f"{theory.name}: {step} can never happen" for theory in THEORIES for step in theory.impossible()]
    broken += [f"{lemma.name}: {model}" for lemma in LEMMAS if (model := lemma.counterexample()) is not None]
    if broken:
        print("\n\n".join(broken))
        return 1
    for theory in THEORIES:
        print(f"{theory.name}: every step keeps the invariant ({time.monotonic() - began:.0f} s)", flush=True)
    try:
        page = document()
    except Unexplained as problem:
        print(problem)
        return 1
    print(f"every altered request and dropped assumption is noticed, or explained ({time.monotonic() - began:.0f} s)")
    if arguments.table:
        DOCUMENT.write_text(page)
    elif DOCUMENT.read_text() != page:
        print("docs/proof.md is not current: scripts/prove --table writes it anew")
        return 1
    return 0


def _show(words: list[str]) -> int:
    """Print the counterexample of every alteration, and without every assumption, whose name has all words."""
    for theory in THEORIES:
        for called, failure in _asked(theory, words):
            print(f"# {called}\n{theory.table(failure) if failure else 'nothing breaks'}\n")
    return 0


def _asked(theory: Theory, words: list[str]):
    for one in theory.alterations():
        called = f"{theory.name}: {one.request}, {one.where}: {one.what}"
        if all(word in called for word in words):
            yield called, theory.with_altered(one)
    for assumption in theory.assumptions():
        called = f"{theory.name}: without the assumption that {assumption}"
        if all(word in called for word in words):
            yield called, theory.without(assumption)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
