"""What each probe sends: the items before it, and its requests, as the client is called.

The answers that are recorded are those to exactly these requests; a request that changes makes them lies. So `sent.txt`
lists them all, and a change of one is made on purpose: ``python -m tests.conformance`` writes the list anew, and records
the answers anew too. ``python -m tests.conformance.sent`` writes the list alone.

The list is short, for people: a number is bare and a text quoted; expressions have names and values in place of their
placeholders; a bucket is `B`. What all calls have alike is left out: the table's name, and that capacity is asked for; so
is the read of the bucket after each probe.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ddb_lease.cli.conform.probing import all_probes, find
from scripts.harness.simulated_engine import Simulated
from tests.conformance.page import SIMULATED_TABLE

LIST = Path(__file__).with_name("sent.txt")
BUCKET = "B"
ALIKE = {"TableName": SIMULATED_TABLE, "ReturnConsumedCapacity": "TOTAL"}
PLACEHOLDER = re.compile(r"[#:]\w+")
KINDS = {"N": str, "S": json.dumps, "BOOL": json.dumps}


class Listening:
    """A client that keeps what it is called with."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            self.calls.append((operation, arguments))
            return getattr(self._client, operation)(**arguments)

        return call


def sent() -> list[str]:
    """The lines of the list."""
    found = []
    for probe in all_probes("run"):
        client = Listening(Simulated().session().client("dynamodb", config=None))
        find(client, SIMULATED_TABLE, probe, bucket=BUCKET)
        lines = [line for operation, arguments in client.calls for line in _told(operation, arguments)]
        if not probe.table:
            read = f'query KeyConditionExpression=(pk = "{BUCKET}{probe.within}") ConsistentRead=true'
            assert lines.pop() == read, "it reads what is left"
        found += [f"{probe.name}:", *(f"  {line}" for line in _shortened(lines))]
    return found


def _told(operation: str, arguments: Mapping[str, Any]) -> Iterator[str]:
    """A call in a line, and one for each part of a transaction or batch."""
    parts = [name for name in ("TransactItems", "Statements") if name in arguments]
    yield operation + _arguments({name: value for name, value in arguments.items() if name not in parts})
    for name in parts:
        for part in arguments[name]:
            for kind, call in part.items() if name == "TransactItems" else (("Statement", part),):
                yield f"  {kind}{_arguments(call)}"


def _arguments(call: Mapping[str, Any]) -> str:
    placeholders = dict(call.get("ExpressionAttributeNames", {}))
    placeholders |= {name: _plain(value) for name, value in call.get("ExpressionAttributeValues", {}).items()}
    used = set()

    def meant(place: re.Match[str]) -> str:
        used.add(place[0])
        return str(placeholders[place[0]])

    told = ""
    for name, value in call.items():
        if name.startswith("ExpressionAttribute") or ALIKE.get(name) == value:
            continue
        if name.endswith("Expression"):
            told += f" {name}=({PLACEHOLDER.sub(meant, value)})"
        else:
            told += f" {name}={_plain(value)}"
    assert used == placeholders.keys(), "DynamoDB refuses what is not used"
    return told


def _plain(value: Any) -> str:
    """A value, with or without DynamoDB's kinds: a number is bare, a text is quoted."""
    if isinstance(value, Mapping):
        kind = next(iter(value), "")
        if len(value) == 1 and kind in KINDS:
            return KINDS[kind](value[kind])
        return "{" + ", ".join(f"{name}: {_plain(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return json.dumps(value)


def _shortened(lines: list[str]) -> Iterator[str]:
    """Lines that differ in their slots only: the first, and how many follow, up to which slot."""
    for _, alike in itertools.groupby(lines, key=lambda line: re.sub(r"slot#\d+", "", line)):
        first, *more = alike
        yield first
        slots = [re.findall(r"slot#(\d+)", line) for line in (first, *more)]
        in_a_row = [int(one[0]) for one in slots if one] == [*range(len(slots))]
        if len(more) > 3 and in_a_row:
            yield f"  ... {len(more)} more like it, up to slot#{slots[-1][0]}"
        else:
            yield from more


def write() -> None:
    """Write the list anew."""
    LIST.write_text("".join(f"{line}\n" for line in sent()))


if __name__ == "__main__":
    write()
