"""`python -m tests.model.waiting`: the scenarios of waiting in order, or what breaks without a clause.

Invariant: what it prints about a search is what the tests assert.
"""

from __future__ import annotations

import argparse

from tests.model.__main__ import show
from tests.model.waiting.clauses import Clause
from tests.model.waiting.properties import WORDS
from tests.model.waiting.scenarios import BREAKS, SCENARIOS
from tests.model.waiting.search import search


def clause_table() -> str:
    """The table of clauses, as in `docs/model.md`."""
    rows = [f"| {clause.value} | {BREAKS[clause].scenario} | breaks {BREAKS[clause].broken} |" for clause in Clause]
    return "\n".join(["| clause | scenario | without it |", "|---|---|---|", *rows])


def scenario_row(name: str) -> str:
    """A scenario's line in `docs/model.md`."""
    return f"| {name} | {SCENARIOS[name].about} |"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.model.waiting", description="A model of waiting in order.")
    parser.add_argument("--without", metavar="CLAUSE", nargs="+", choices=[clause.name for clause in Clause])
    parser.add_argument("--scenario", nargs="+", choices=list(SCENARIOS), help="only these")
    parser.add_argument("--larger", action="store_true", help="the larger scenarios, too: minutes")
    parser.add_argument("--clauses", action="store_true", help="print the table of clauses, searching nothing")
    asked = parser.parse_args()
    if asked.clauses:
        print(clause_table())
        return
    clauses = [Clause[name] for name in asked.without or ()]
    usual = [BREAKS[clause].scenario for clause in clauses[:1]]
    usual = usual or [name for name, scenario in SCENARIOS.items() if asked.larger or not scenario.large]
    print("| scenario | what | states, and at rest |")
    print("|---|---|---|")
    for name in asked.scenario or usual:
        found = search(name, clauses, only=BREAKS[clauses[0]].broken if len(clauses) == 1 else None)
        print(f"{scenario_row(name)} {found.states:,}, {found.at_rest:,} |", flush=True)
        if found.counterexample is not None:
            show(found.counterexample, WORDS)


if __name__ == "__main__":
    main()
