"""The shipped requests: what the library's own code makes of symbols, taken apart into single writes.

Invariants: no condition and no effect is written here. They come from `call_for`, on every way through it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import z3

from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.expressions import call_for
from scripts.harness import partiql
from scripts.harness.expression_tree import (
    AllOf,
    Attribute,
    Compare,
    Condition,
    Update,
    Value,
    parse_condition,
    parse_update,
)
from tests.proof.symbols import Run, Way, ways
from tests.proof.translation import PRESENT, Item, Meaning, exists, flat

ADDRESS = BucketAddress(table="leases", bucket="bucket")
CallFor: TypeAlias = Callable[[Any, BucketAddress], tuple[str, dict[str, Any]]]
_SLOT = re.compile(r"slot#(.+)\Z")


@dataclass(frozen=True)
class Write:
    """One write of a request: its condition, and what it leaves.

    Attributes:
        sort: The item's sort key; a symbol's token in it stands for the symbol.
        condition: The condition.
        update: The update; None for a put or a deletion.
        item: What a put leaves, in the wire form; nothing for a deletion.
        names: What the placeholders of names stand for.
        values: The values, in the wire form.
        run: The run that made the request.
        makes: Whether an update makes the item if there is none: PartiQL's does not.
    """

    sort: str
    condition: Condition
    update: Update | None
    item: Mapping[str, Any]
    names: Mapping[str, str]
    values: Mapping[str, Any]
    run: Run
    makes: bool = True

    @property
    def slot(self) -> Any:
        """The number of the slot that it writes; None if it writes another item."""
        found = _SLOT.match(self.sort)
        return None if found is None else self.run.read(found.group(1).lstrip("0") or "0")

    @property
    def texts(self) -> Any:
        """All of it but the item and the values: writes that have the same differ in nothing else."""
        return self.condition, self.update, tuple(self.item), self.slot is None

    def on(self, item: Item) -> tuple[Any, Item]:
        """When it happens to an item, and what it leaves of it."""
        meaning = Meaning(self.names, self.values, self.run)
        holds = meaning.holds(self.condition, item)
        if not self.makes:
            holds = z3.And(exists(item), holds)
        if self.update is None:
            left: Item = {}
            for name, wire in self.item.items():
                left |= {name: PRESENT} if name in {"pk", "sk"} else flat(name, wire, self.run)
            return holds, left
        needs, after = meaning.applied(self.update, item)
        return z3.And(holds, needs), after


Sent: TypeAlias = tuple[Write, ...]
"""The writes of one request: all of them happen at one instant, or none."""


def sent(request: Callable[[Run], Any], maker: CallFor = call_for, *given: z3.BoolRef) -> list[Way[Sent]]:
    """What the library sends for a request, on every way through the code that makes it.

    Args:
        request: Makes the request.
        maker: Makes its call.
        given: What is known of the symbols: ways that it rules out are left out.

    A batch is no transaction: its statements are requests by themselves, and so one way each.
    """
    found = []
    for way in ways(lambda run: maker(request(run), ADDRESS), *given):
        method, arguments = way.returned
        if method == "batch_execute_statement":
            found += [Way(way.run, (_statement(one, way.run),)) for one in arguments["Statements"]]
        elif method == "transact_write_items":
            parts = [next(iter(part.values())) for part in arguments["TransactItems"]]
            found.append(Way(way.run, tuple(_write(part, way.run) for part in parts)))
        else:
            found.append(Way(way.run, (_write(arguments, way.run),)))
    return found


def _write(arguments: Mapping[str, Any], run: Run) -> Write:
    text = arguments.get("UpdateExpression")
    item = arguments.get("Item", {})
    return Write(
        sort=(item or arguments["Key"])["sk"]["S"],
        condition=parse_condition(arguments["ConditionExpression"]),
        update=None if text is None else parse_update(text),
        item=item,
        names=arguments.get("ExpressionAttributeNames", {}),
        values=arguments.get("ExpressionAttributeValues", {}),
        run=run,
    )


def _statement(one: Mapping[str, Any], run: Run) -> Write:
    """A statement, as the update that it is: one that makes no item. Its values have the names of what they are for."""
    meant, parameters = partiql.read(one["Statement"]), one["Parameters"]
    targets = [(f"#{name}", Value(f":new_{name}")) for name in meant.targets]
    terms = [(name, how, Value(f":{name}")) for name, how in meant.terms]
    names = {f"#{name}": name for name in (*meant.targets, *(name for name, _ in meant.terms))}
    values = {
        v.name: given for v, given in zip([v for _, v in targets] + [v for _, _, v in terms], parameters, strict=True)
    }
    return Write(
        sort=meant.key(parameters)["sk"]["S"],
        # The first two terms are the key, and name the item.
        condition=AllOf(tuple(Compare(Attribute((f"#{name}",)), how, value) for name, how, value in terms[2:])),
        update=Update(tuple(targets), ()),
        item={},
        names=names,
        values=values,
        run=run,
        makes=False,
    )
