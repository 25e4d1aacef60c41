"""The proof as a page of the docs: what is said by hand, and the tables that are computed."""

from __future__ import annotations

import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.proof.clients import LEMMAS
from tests.proof.hits import HITS
from tests.proof.leases import LEASES
from tests.proof.limits import RATES
from tests.proof.theory import Alteration, Theory
from tests.proof.tickets import TICKETS

THEORIES = (LEASES, RATES, TICKETS, HITS)
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


def _tried(theory_number: int, number: int) -> tuple[Key, str]:
    """What becomes of one alteration."""
    theory = THEORIES[theory_number]
    one = _alterations_of(theory_number)[number]
    failure, reason = theory.with_altered(one), theory.reason(one)
    if failure is None and reason is None:
        raise Unexplained(f"{theory.name}: {one.request}, {one.where}, {one.what}: nothing breaks")
    if failure is not None and reason is not None:
        raise Unexplained(f"{theory.name}: {one.request}, {one.where}, {one.what}: breaks {failure.broken}")
    return (one.request, one.where, one.what), failure.broken if failure else f"*nothing*: {reason}"


def _dropped(theory_number: int, assumption: str) -> str:
    """What becomes of the proof without an assumption, as a row."""
    failure = THEORIES[theory_number].without(assumption)
    if failure is None:
        raise Unexplained(f"{THEORIES[theory_number].name}: nothing breaks without {assumption!r}")
    return f"| {assumption} | {failure.broken} | {failure.step} |\n"


@functools.cache
def _alterations_of(theory_number: int) -> list[Alteration]:
    return list(THEORIES[theory_number].alterations())


def _computed(theory_number: int) -> tuple[list[tuple[Key, str]], list[str]]:
    """All results about a theory: one process for each core, which begin with the requests that are read by now."""
    theory, every = THEORIES[theory_number], range(len(_alterations_of(theory_number)))
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        dropped = [pool.submit(_dropped, theory_number, assumption) for assumption in theory.assumptions()]
        tried = pool.map(_tried, [theory_number] * len(every), every, chunksize=8)
        return list(tried), [one.result() for one in dropped]


def _results(theory_number: int) -> str:
    """The two tables of a theory."""
    tried, dropped = _computed(theory_number)
    rows: dict[tuple[str, str, str], list[str]] = {}
    for (request, where, what), result in tried:
        rows.setdefault((where, what, result), []).append(request)
    lines = [
        f"| {'; '.join(requests)} | {where} | {what} | {result} |\n" for (where, what, result), requests in rows.items()
    ]
    name = THEORIES[theory_number].name
    head = "| assumption | what breaks without it | by this step, for one |\n|---|---|---|\n"
    assumptions = f"\n### {name}: assumptions\n\n{head}{''.join(dropped)}"
    return f"{assumptions}\n### {name}: parts of requests\n\n{_COLUMNS}{''.join(sorted(lines))}"


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
    for number, theory in enumerate(THEORIES):
        parts += [_steps(theory), _results(number)]
    return "".join([*parts, _lemmas()])


def by_hand() -> str:
    """The part of the page that is written by hand."""
    return DOCUMENT.read_text().partition(BEGIN)[0]


def document() -> str:
    """The whole page."""
    computed = tables()
    return by_hand() + computed
