"""What `scripts/mutants` runs in its environment."""

from __future__ import annotations

import argparse
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.guards.document import DOCUMENT, document
from tests.guards.guard import Guard
from tests.guards.table import CHAPTERS
from tests.guards.trial import Bench, Trial, Verdict, search


def main() -> int:
    """Take guards out, and say what nobody noticed; 1 if there is any such."""
    parser = argparse.ArgumentParser(prog="scripts/mutants")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.table:
        DOCUMENT.write_text(document())
        return 0
    guards = [guard for chapter in CHAPTERS for guard in chapter.guards if _meant(guard, options.words)]
    if not guards:
        print("no such guard", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        benches = [Bench(Path(folder) / str(n)) for n in range(max(1, options.workers))]
        if options.search:
            return _search(benches[0], guards)
        return _try_all(benches, guards)


def _meant(guard: Guard, words: Sequence[str]) -> bool:
    return all(word in f"{guard.room} {guard.name}" for word in words)


def _search(bench: Bench, guards: Sequence[Guard]) -> int:
    for guard in guards:
        found = search(bench, guard)
        print(f"{guard.name}: {guard.room}")
        for test in found:
            print(f"    {test}")
        if not found:
            print("    nothing notices")
    return 0


def _try_all(benches: Sequence[Bench], guards: Sequence[Guard]) -> int:
    began = time.monotonic()
    named = sorted({test for guard in guards for test in guard.noticed_by})
    print(f"with all guards in place: {len(named)} tests ...", flush=True)
    whole = benches[0].run([*named, "-k", "not ministack"], most=10)
    if whole.verdict is not Verdict.SURVIVED:
        print(whole.told)
        print("they must pass before they can prove anything", file=sys.stderr)
        return 2
    unnoticed: list[tuple[Guard, Trial]] = []
    for number, (guard, trial) in enumerate(_trials(benches, guards), start=1):
        if not trial.noticed:
            unnoticed.append((guard, trial))
        test = trial.failed[0] if trial.failed else ""
        print(f"{number:>4} of {len(guards)}  {trial.verdict.value:<9} {guard.name}  {test}", flush=True)
    print(f"{len(guards)} guards taken out in {time.monotonic() - began:.0f} s, {len(unnoticed)} survived")
    for guard, trial in unnoticed:
        print(f"  {trial.verdict.value}: {guard.name} ({guard.room})")
        if trial.verdict is Verdict.BROKEN:
            print(trial.told)
    return 1 if unnoticed else 0


def _trials(benches: Sequence[Bench], guards: Sequence[Guard]) -> Iterator[tuple[Guard, Trial]]:
    done: queue.SimpleQueue[tuple[Guard, Trial] | BaseException] = queue.SimpleQueue()
    free: queue.SimpleQueue[Bench] = queue.SimpleQueue()
    stop = threading.Event()
    for bench in benches:
        free.put(bench)

    def try_one(guard: Guard) -> None:
        if stop.is_set():
            return
        bench = free.get()
        try:
            done.put((guard, bench.without(guard, [*guard.noticed_by, "-k", "not ministack"])))
        except BaseException as error:
            done.put(error)
        finally:
            free.put(bench)

    with ThreadPoolExecutor(len(benches)) as pool:
        try:
            for guard in guards:
                pool.submit(try_one, guard)
            for _ in guards:
                result = done.get()
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            stop.set()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
