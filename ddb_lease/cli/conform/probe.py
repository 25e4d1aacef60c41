"""A probe: one request against items put there before, and what the service is known to answer. Pure.

Invariants:

- A probe has a bucket of its own, so that no probe sees another's items, and their order does not matter.
- Answers are told in one short text, so that people can compare two of them, and a page can list them. It says what
  decisions rest on: codes, in the order of the items, and whether the item came along as it was.
- Every number and name in a probe is fixed, but the request tokens: the service remembers those for minutes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ddb_lease._protocol.messages import Each, Request
from ddb_lease.dynamodb.expressions import Call
from ddb_lease.dynamodb.items import Wire
from ddb_lease.dynamodb.raw import RawAnswer

Items: TypeAlias = dict[str, Wire]
"""Items of one bucket: sort key -> attributes, without the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One request, and what is expected.

    Attributes:
        name: What it tries, in a few words; no two probes have the same.
        request: The request.
        before: The bucket's items before it.
        first: Requests that are sent before it; their answers do not matter.
        edit: Changes the call, to try what the library never sends.
        table: Appended to the table's name: the probe of a table that does not exist.
        within: Appended to the bucket's name: where the items are, if not under the name itself.
        behind: Of a page of the table: the sort key in the bucket behind which it begins. A Scan goes through a
            bucket's items in the order of their keys, so such a page shows this bucket's, whatever else is there.
        answer: What the service answers, as `told` writes it.
        read: What the library takes it for, as `read_as` writes it.
        units: The capacity that it reports; None where that is not documented.
        after: The items that differ afterwards: sort key -> attributes, or None for one that is gone. Only the
            attributes that differ are named; one that goes is None.
    """

    name: str
    request: Request
    before: Items = field(default_factory=dict)
    first: tuple[Request, ...] = ()
    edit: Callable[[Call], Call] = lambda call: call
    table: str = ""
    within: str = ""
    behind: str = ""
    answer: str = "ok"
    read: str = "Done"
    units: float | None = None
    after: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)

    @property
    def expected(self) -> str:
        """What is expected, in one text."""
        return _joined(self.answer, self.units, self.read)

    @property
    def left(self) -> Items:
        """The items that are expected afterwards."""
        items = {sort: dict(item) for sort, item in self.before.items()}
        for sort, changes in self.after.items():
            if changes is None:
                items.pop(sort, None)
                continue
            item = {**items.get(sort, {}), **changes}
            items[sort] = {name: value for name, value in item.items() if value is not None}
        return items


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A probe's outcome.

    Attributes:
        answer: What was answered, as `told` writes it.
        units: The capacity that was reported, if the probe expects any; None if none was.
        read: What the library took it for, as `read_as` writes it.
        trouble: What is not as expected about the items afterwards; empty if they are.
    """

    probe: Probe
    answer: str
    units: float | None
    read: str
    trouble: str
    raw: RawAnswer

    @property
    def as_expected(self) -> bool:
        """Whether the answer is the known one, and the items are what they should be."""
        return self.seen == self.probe.expected

    @property
    def only_capacity_differs(self) -> bool:
        """Whether all is as expected but the capacity that is reported."""
        same = (self.answer, self.read, self.trouble) == (self.probe.answer, self.probe.read, "")
        return same and self.units != self.probe.units

    @property
    def seen(self) -> str:
        """What was seen, in one text; with what is wrong with the items."""
        seen = _joined(self.answer, self.units, self.read)
        return f"{seen}; {self.trouble}" if self.trouble else seen


def judge(probe: Probe, raw: RawAnswer, left: Items | None) -> Finding:
    """Compare an answer with the known one.

    Args:
        probe: The probe.
        raw: Its answer.
        left: The bucket's items afterwards; None if they were not read.
    """
    return Finding(
        probe=probe,
        answer=told(raw, probe.before),
        units=capacity(raw.response) if probe.units is not None else None,
        read=read_as(raw),
        trouble=_trouble(probe, left),
        raw=raw,
    )


def told(raw: RawAnswer, before: Items) -> str:
    """An answer in a few words."""
    response = raw.response
    if raw.code is not None:
        reasons = response.get("CancellationReasons")
        if isinstance(reasons, list):
            return f"{raw.code} [{_row(_reason(reason, before) for reason in reasons)}]"
        return raw.code + _with_item(response, before)
    if raw.operation in {"query", "scan"}:
        more = ", more" if response.get("LastEvaluatedKey") else ""
        return f"ok, {_counted(len(response.get('Items') or ()), 'item')}{more}"
    if raw.operation == "transact_get_items":
        shown = ("item" if part.get("Item") else "none" for part in response.get("Responses") or ())
        return f"ok [{_row(shown)}]"
    if raw.operation == "batch_execute_statement":
        return f"ok [{_row(_statement(part) for part in response.get('Responses') or ())}]"
    return "ok, shows the item" if response.get("Attributes") else "ok"


def read_as(raw: RawAnswer) -> str:
    """What the library takes an answer for: the names of its answers."""
    if isinstance(raw.read, Each):
        return f"Each [{_row(type(each).__name__ for each in raw.read.answers)}]"
    return type(raw.read).__name__


def capacity(response: Mapping[str, Any]) -> float | None:
    """The capacity units that an answer reports; None if it reports none."""
    reported = response.get("ConsumedCapacity")
    parts = reported if isinstance(reported, list) else [reported] if isinstance(reported, Mapping) else []
    units = [float(part["CapacityUnits"]) for part in parts if "CapacityUnits" in part]
    return sum(units) if units else None


def _joined(answer: str, units: float | None, read: str) -> str:
    costs = "" if units is None else f"; {units:g} {'unit' if units == 1 else 'units'}"
    return f"{answer}{costs}; {read}"


def _reason(reason: Mapping[str, Any], before: Items) -> str:
    return str(reason.get("Code", "None")) + _with_item(reason, before)


def _statement(part: Mapping[str, Any]) -> str:
    error = part.get("Error")
    if error is None:
        return "item" if part.get("Item") else "ok"
    return str(error.get("Code", "")) + (" with the item" if error.get("Item") or part.get("Item") else "")


def _with_item(where: Mapping[str, Any], before: Items) -> str:
    item = where.get("Item")
    if not item:
        return ""
    stripped = {name: value for name, value in item.items() if name not in {"pk", "sk"}}
    return " with the item" if before.get(item.get("sk", {}).get("S", "")) == stripped else " with another item"


def _row(words: Iterable[str]) -> str:
    """Words in order, equal neighbours counted: `None, 3 x item`."""
    counted = [(word, len(list(group))) for word, group in itertools.groupby(words)]
    return ", ".join(word if count == 1 else f"{count} x {word}" for word, count in counted)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _trouble(probe: Probe, left: Items | None) -> str:
    if left is None:
        return ""
    wanted = probe.left
    differ = [sort for sort in sorted(wanted.keys() | left.keys()) if wanted.get(sort) != left.get(sort)]
    if not differ:
        return ""
    first, others = differ[0], len(differ) - 1
    more = f", and {others} more" if others else ""
    return f"{first} {_difference(wanted.get(first), left.get(first))}{more}"


def _difference(wanted: Wire | None, left: Wire | None) -> str:
    if left is None:
        return "is missing"
    if wanted is None:
        return "was made"
    names = [name for name in sorted(wanted.keys() | left.keys()) if wanted.get(name) != left.get(name)]
    return "has " + ", ".join(f"{name} {_value(left.get(name))}, not {_value(wanted.get(name))}" for name in names)


def _value(value: Wire | None) -> str:
    return "no value" if value is None else str(next(iter(value.values())))
