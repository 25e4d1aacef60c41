"""The proof as a page of the docs: what is said by hand, and the tables that are computed."""

from __future__ import annotations

import functools
from pathlib import Path

from tests.proof.clients import LEMMAS
from tests.proof.leases import LEASES
from tests.proof.limits import RATES
from tests.proof.theory import Theory

THEORIES = (LEASES, RATES)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "proof.md"
BEGIN = "<!-- The tables below are written by `scripts/prove --table`. -->\n"
_COLUMNS = "| requests | item | part | what breaks |\n|---|---|---|---|\n"

Key = tuple[str, str, str]
"""An alteration: its request, the item, the part."""


class Unexplained(Exception):
    """An alteration breaks nothing, and no reason is known; or an assumption is not needed."""


def keys(theory: Theory) -> list[Key]:
    """All alterations, without trying them."""
    return [(one.request, one.where, one.what) for one in theory.alterations()]


@functools.cache
def results(theory: Theory) -> dict[Key, str]:
    """What becomes of each alteration.

    Raises:
        Unexplained: See there.
    """
    found = {}
    for one in theory.alterations():
        failure, reason = theory.with_altered(one), theory.reason(one)
        if failure is None and reason is None:
            raise Unexplained(f"{theory.name}: {one.request}, {one.where}, {one.what}: nothing breaks")
        if failure is not None and reason is not None:
            raise Unexplained(f"{theory.name}: {one.request}, {one.where}, {one.what}: breaks {failure.broken}")
        found[one.request, one.where, one.what] = failure.broken if failure else f"*nothing*: {reason}"
    return found


def _alterations(theory: Theory) -> str:
    rows: dict[tuple[str, str, str], list[str]] = {}
    for (request, where, what), result in results(theory).items():
        rows.setdefault((where, what, result), []).append(request)
    lines = [
        f"| {'; '.join(requests)} | {where} | {what} | {result} |\n" for (where, what, result), requests in rows.items()
    ]
    return f"\n### {theory.name}: parts of requests\n\n{_COLUMNS}{''.join(sorted(lines))}"


def _assumptions(theory: Theory) -> str:
    lines = []
    for assumption in theory.assumptions():
        failure = theory.without(assumption)
        if failure is None:
            raise Unexplained(f"{theory.name}: nothing breaks without {assumption!r}")
        lines.append(f"| {assumption} | {failure.broken} | {failure.step} |\n")
    head = "| assumption | what breaks without it | by this step, for one |\n|---|---|---|\n"
    return f"\n### {theory.name}: assumptions\n\n{head}{''.join(lines)}"


def _steps(theory: Theory) -> str:
    setting, state = theory.setting(), theory.state()
    names = dict.fromkeys(step.name for step in theory.parts[0].steps(state, setting))
    clauses = [f"- {name}\n" for name in theory.parts[0].invariant(state)]
    promises = dict.fromkeys(
        name for part in theory.parts for step in part.steps(state, setting) for name in step.promises
    )
    promised = "".join(f"- {name}\n" for name in promises)
    head = f"\n### {theory.name}: the invariant, and what each step promises\n\n"
    return (
        f"{head}{''.join(clauses)}\nOf the steps themselves:\n\n{promised}\n{len(names)} steps: {'; '.join(names)}.\n"
    )


def _lemmas() -> str:
    lines = []
    for lemma in LEMMAS:
        given = "; ".join(lemma.given) or "nothing"
        lines.append(f"| {lemma.name} | {given} |\n")
    head = "| what clients compute | from what |\n|---|---|\n"
    return f"\n### What the code of clients is shown to compute\n\n{head}{''.join(lines)}"


def tables() -> str:
    """All that is computed."""
    parts = [BEGIN, "\n## The tables\n"]
    for theory in THEORIES:
        parts += [_steps(theory), _assumptions(theory), _alterations(theory)]
    return "".join([*parts, _lemmas()])


def by_hand() -> str:
    """The part of the page that is written by hand."""
    return DOCUMENT.read_text().partition(BEGIN)[0]


def document() -> str:
    """The whole page."""
    return by_hand() + tables()
