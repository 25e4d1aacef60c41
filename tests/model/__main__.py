"""`python -m tests.model`: the scenarios and their states, or what breaks without a clause.

Invariant: what it prints about a search is what the tests assert.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

from tests.model.checker import Counterexample
from tests.model.clauses import Clause
from tests.model.properties import WORDS
from tests.model.scenarios import BREAKS, DEFENCE, SCENARIOS
from tests.model.search import search


def clause_table() -> str:
    """The table of clauses, as in `docs/model.md`."""
    lines = ["| clause | scenario | without it |", "|---|---|---|"]
    for clause in Clause:
        if clause in BREAKS:
            scenario, broken = BREAKS[clause].scenario, BREAKS[clause].broken
            lines.append(f"| {clause.value} | {scenario} | breaks {broken} |")
            continue
        defence = DEFENCE[clause]
        then = f"; with {', '.join(c.value for c in defence.behind)} gone too, breaks {defence.broken} in {defence.scenario}"
        scenarios = "; ".join(defence.scenarios)
        lines.append(
            f"| {clause.value} | {scenarios} | defence in depth: {defence.why}{then if defence.behind else ''} |"
        )
    return "\n".join(lines)


def scenario_row(name: str, states: int) -> str:
    """A scenario's line in `docs/model.md`."""
    return f"| {name} | {SCENARIOS[name].about} | {states:,} |"


def show(counterexample: Counterexample, words: Mapping[str, str] = WORDS) -> None:
    """Print a counterexample as a numbered trace."""
    for number, (what, *details) in enumerate(counterexample.trace, 1):
        print(f"  {number:2}. {what}" + (f": {', '.join(map(str, details))}" if details else ""))
    print(f"  broken: {counterexample.broken}, {words[counterexample.broken]}")


def without(clauses: list[Clause], names: list[str]) -> None:
    """Search scenarios without these clauses, and print what breaks."""
    print("without " + "; ".join(clause.value for clause in clauses))
    for name in names:
        only = BREAKS[clauses[0]].broken if len(clauses) == 1 and clauses[0] in BREAKS else None
        found = search(name, clauses, only=only)
        if found.counterexample is None:
            print(f"{name}: all {found.states:,} states hold")
        else:
            print(f"{name}:")
            show(found.counterexample)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.model", description="An explicit-state model of the protocol."
    )
    parser.add_argument("--without", metavar="CLAUSE", nargs="+", choices=[clause.name for clause in Clause])
    parser.add_argument("--scenario", nargs="+", choices=list(SCENARIOS), help="only these")
    parser.add_argument("--clauses", action="store_true", help="print the table of clauses, searching nothing")
    asked = parser.parse_args()
    if asked.clauses:
        print(clause_table())
        return
    if asked.without:
        clauses = [Clause[name] for name in asked.without]
        first = clauses[0]
        usual = [BREAKS[first].scenario] if first in BREAKS else list(DEFENCE[first].scenarios)
        without(clauses, asked.scenario or usual)
        return
    total, began = 0, time.perf_counter()
    print("| scenario | what | states |")
    print("|---|---|---|")
    for name in asked.scenario or SCENARIOS:
        found = search(name)
        total += found.states
        print(scenario_row(name, found.states), flush=True)
        if found.counterexample is not None:
            show(found.counterexample)
    print(f"\n{total:,} states in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
