"""Requests of many slots: from every number of slots that a transaction may have, one request of any number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import z3

from tests.proof.shipped import CallFor, Sent, Write, sent
from tests.proof.symbols import Way


def lifted(request: Callable[..., Any], maker: CallFor, *, many: Any, most: int) -> list[Way[Sent]]:
    """A request of `many` slots, where the library sends the same for 1 to `most`, but for a number that grows evenly.

    Args:
        request: Makes the request, from a run and the number of slots as `m`.
        maker: What makes its call.
        many: The symbol for the number of slots.
        most: The most that there can be.

    Raises:
        AssertionError: The library sends something else for some number of slots.
    """
    ones = sent(lambda run: request(run, m=1), maker)
    found = []
    for number, way in enumerate(ones):
        last = way.returned[-1]
        grown = [sent(lambda run, m=m: request(run, m=m), maker)[number].returned[-1] for m in (2, most)]
        values = {}
        for name, value in last.values.items():
            at = [_number(write, name) for write in (last, *grown)]
            slope = z3.simplify(at[1] - at[0])
            assert z3.is_int_value(slope), f"{name} does not grow evenly"
            assert z3.is_true(z3.simplify(at[2] == at[0] + slope * (most - 1))), f"{name} does not grow evenly"
            term = at[0] if slope.as_long() == 0 else at[0] + slope * (many - 1)
            values[name] = {**value, "N": way.run.token(term)}
        assert all((write.condition, write.update) == (last.condition, last.update) for write in grown)
        found.append(Way(way.run, (*way.returned[:-1], replace(last, values=values))))
    return found


def _number(write: Write, name: str) -> Any:
    return write.run.read(write.values[name]["N"])
