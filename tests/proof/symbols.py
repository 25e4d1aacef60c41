"""Symbols: numbers that stand for any number, and code that is run on them along every way it may take.

Invariants: a symbol computes and compares as an int does. Printed, it becomes a token that stands for it in a text. A
comparison that is not decided by the way so far splits the run: each way is run by itself, with what it supposes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import z3

T = TypeVar("T")
_TOKEN = re.compile(r"«(\d+)»\Z")


class Symbol:
    """A number that is not known."""

    def __init__(self, term: z3.ArithRef, run: Run) -> None:
        self.term = term
        self._run = run

    def __str__(self) -> str:
        return self._run.token(self.term)

    def __format__(self, spec: str) -> str:
        return str(self)

    def __hash__(self) -> int:
        return hash(self.term)

    def __bool__(self) -> bool:
        return self._run.decide(self.term != 0)

    def __add__(self, other: Any) -> Symbol:
        return Symbol(self.term + term_of(other), self._run)

    def __sub__(self, other: Any) -> Symbol:
        return Symbol(self.term - term_of(other), self._run)

    def __rsub__(self, other: Any) -> Symbol:
        return Symbol(term_of(other) - self.term, self._run)

    def __mul__(self, other: Any) -> Symbol:
        return Symbol(self.term * term_of(other), self._run)

    def __truediv__(self, other: Any) -> Symbol:
        return Symbol(self.term / term_of(other), self._run)

    def __floordiv__(self, other: int) -> Symbol:
        return Symbol(self.term / other, self._run)  # of ints, by a positive one: rounds down, as in Python

    def __neg__(self) -> Symbol:
        return Symbol(-self.term, self._run)

    __radd__, __rmul__ = __add__, __mul__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Symbol, int, float)):
            return False
        return self._run.decide(self.term == term_of(other))

    def __lt__(self, other: Any) -> bool:
        return self._run.decide(self.term < term_of(other))

    def __le__(self, other: Any) -> bool:
        return self._run.decide(self.term <= term_of(other))

    def __gt__(self, other: Any) -> bool:
        return self._run.decide(self.term > term_of(other))

    def __ge__(self, other: Any) -> bool:
        return self._run.decide(self.term >= term_of(other))


def term_of(value: Any) -> z3.ArithRef:
    """The term of a symbol, or of a number."""
    if isinstance(value, Symbol):
        return value.term
    return z3.RealVal(repr(value)) if isinstance(value, float) else z3.IntVal(value)


@dataclass
class Run:
    """One way through the code.

    Attributes:
        supposed: What the way supposes of the symbols.
    """

    _prefix: list[bool] = field(default_factory=list)
    _given: tuple[z3.BoolRef, ...] = ()
    _taken: list[bool] = field(default_factory=list)
    _known: dict[str, bool] = field(default_factory=dict)
    _tokens: list[z3.ArithRef] = field(default_factory=list)
    supposed: list[z3.BoolRef] = field(default_factory=list)

    def symbol(self, name_or_term: str | z3.ArithRef) -> Symbol:
        """A symbol."""
        term = z3.Int(name_or_term) if isinstance(name_or_term, str) else name_or_term
        return Symbol(term, self)

    def token(self, term: z3.ArithRef) -> str:
        """A text that stands for a term."""
        self._tokens.append(term)
        return f"«{len(self._tokens) - 1}»"

    def read(self, text: Any) -> z3.ArithRef:
        """The term that a value of a request stands for: a symbol, a token, or digits."""
        if isinstance(text, Symbol):
            return text.term
        match = _TOKEN.search(text)
        return self._tokens[int(match.group(1))] if match else z3.IntVal(text)

    def decide(self, question: Any) -> bool:
        """Whether it holds on this way."""
        simple = z3.simplify(question)
        if z3.is_true(simple) or z3.is_false(simple):
            return z3.is_true(simple)
        name = simple.sexpr()
        if name not in self._known:
            forced = self._forced(simple)
            if forced is not None:
                self._known[name] = forced
                return forced
            number = len(self._taken)
            answer = self._prefix[number] if number < len(self._prefix) else False
            self._taken.append(answer)
            self._known[name] = answer
            self.supposed.append(simple if answer else z3.Not(simple))
        return self._known[name]

    def _forced(self, question: z3.BoolRef) -> bool | None:
        """The only answer that goes with what is given and supposed; None if both do."""
        if not self._given:
            return None
        solver = z3.SolverFor("QF_UFLIA")
        solver.add(*self._given, *self.supposed)
        if solver.check(question) == z3.unsat:
            return False
        return True if solver.check(z3.Not(question)) == z3.unsat else None

    @property
    def taken(self) -> list[bool]:
        return self._taken


@dataclass(frozen=True)
class Way(Generic[T]):
    """One way through the code: what it supposes, what it returned, and the run, which reads the tokens in it."""

    run: Run
    returned: T

    @property
    def supposed(self) -> list[z3.BoolRef]:
        return self.run.supposed


def ways(code: Callable[[Run], T], *given: z3.BoolRef) -> Iterator[Way[T]]:
    """Every way through the code that is possible with what is given.

    One that raises ValueError is left out: the code refuses to send such a request.
    """
    ahead: list[list[bool]] = [[]]
    while ahead:
        prefix = ahead.pop()
        run = Run(prefix, given)
        try:
            returned = code(run)
        except ValueError:
            pass
        else:
            yield Way(run, returned)
        ahead += [[*run.taken[:number], True] for number in range(len(prefix), len(run.taken))]
