"""DynamoDB in memory: one table, with the operations, conditions, errors and request tokens that the library uses.

Invariants:

- It runs the library's own requests as boto3 would send them, including expressions. It passes the same suite as the
  real engines (`tests/operations`).
- Nothing happens by itself and nothing takes time: `execute` is one instant. Time comes in as an argument; delays,
  losses and repetitions belong to the network.
- It shows what engines on one machine never do: a Query that shows half of a transaction, an eventually consistent read
  that lags, an item that TTL deletes late or early after it is due, a transaction that is stuck.
- Where recordings of the real service differ from its model, it follows the recordings: a refused statement of a batch
  never carries the item.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from typing import Any, TypeAlias

from botocore.exceptions import ClientError

from scripts.harness import partiql
from scripts.harness.expression_tree import BadExpression
from scripts.harness.expressions import Item, condition, placeholders, update
from scripts.harness.simulated_scan import scan

Key: TypeAlias = tuple[str, str]
Arguments: TypeAlias = dict[str, Any]
Coin: TypeAlias = Callable[[], bool]
"""Decides whether a read shows an item as it was before its last change, if it may."""

TOKEN_SECONDS = 600.0
"""How long the service remembers a request token after its transaction."""

STUCK_SECONDS = 5.0
"""How long a transaction is stuck before the service recovers it."""

TORN_SECONDS = 0.05
"""How long after a transaction a Query may still show half of it."""

LAG_SECONDS = 1.0
"""How long an eventually consistent read may lag."""

_MOST_ITEMS = 100
_MOST_STATEMENTS = 25


def _never() -> bool:
    return False


class Change:
    """One item before and after a committed write, for observers."""

    __slots__ = ("after", "before", "key")

    def __init__(self, key: Key, before: Item | None, after: Item | None) -> None:
        self.key = key
        self.before = before
        self.after = after


class DynamoDB:
    """One table.

    Attributes:
        items: The items by key, in DynamoDB's wire form. Each is replaced as a whole, never altered.
        on_commit: Called with every committed write's changes and its request's arguments (empty if there is none).
    """

    def __init__(
        self, *, on_commit: Callable[[list[Change], Arguments], None] = lambda changes, arguments: None
    ) -> None:
        self.items: dict[Key, Item] = {}
        self.on_commit = on_commit
        self._before: dict[Key, tuple[float, bool, Item | None]] = {}
        self._tokens: dict[str, tuple[float, str]] = {}
        self._stuck: dict[str, _Stuck] = {}
        self._requests = 0

    def execute(
        self, operation: str, arguments: Arguments, *, now: float, date: float | None, coin: Coin = _never
    ) -> Any:
        """Carry out one request.

        Args:
            operation: The boto3 client's method.
            arguments: Its keyword arguments.
            now: The service's time, in seconds since the epoch.
            date: What its ``Date`` header says; None for none.
            coin: Called for each item that a read may show in its earlier state.

        Returns:
            The response, as botocore parses it.

        Raises:
            ClientError: As botocore raises it.
        """
        self._requests += 1
        self.recover(now)
        try:
            if operation == "transact_write_items":
                found = self._transact(arguments, now)
            elif operation == "query":
                found = self._query(arguments, now, coin)
            elif operation == "scan":
                shown = (self._shown(key, now, coin, consistent=False) for key in self.items)
                found = scan((item for item in shown if item is not None), arguments)
            elif operation == "batch_write_item":
                found = self._delete_batch(arguments, now)
            elif operation == "batch_execute_statement":
                require_batch(arguments)
                found = {"Responses": [self.execute_member(one, now) for one in arguments["Statements"]]}
            elif operation == "transact_get_items":
                found = self._transact_get(arguments)
            elif operation == "get_item":
                found = self._get(arguments)
            else:
                found = self._write_one(operation, arguments, now)
        except BadExpression as problem:
            raise self.error(operation, "ValidationException", str(problem), date=date) from problem
        except _Refused as refusal:
            raise self.error(operation, refusal.code, refusal.message, date=date, **refusal.more) from None
        return {**found, "ResponseMetadata": self._metadata(200, date)}

    def execute_member(self, statement: Arguments, now: float) -> dict[str, Any]:
        """Carry out one statement of a batch as a single request; returns its part of the response."""
        try:
            meant, parameters = partiql.read(statement["Statement"]), statement["Parameters"]
            key = _key(meant.key(parameters))
        except BadExpression as problem:
            return {"Error": {"Code": "ValidationError", "Message": str(problem)}}
        if self._is_locked(key):
            return {"Error": {"Code": "TransactionConflict", "Message": _LOCKED}, "TableName": meant.table}
        before = self.items.get(key)
        if before is None or not meant.holds(before, parameters):
            # Never the item, whatever `ReturnValuesOnConditionCheckFailure` says.
            error = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
            return {"Error": error, "TableName": meant.table}
        after = meant.applied(before, parameters)
        self._commit({key: after}, now, arguments=meant.arguments(parameters))
        return {"TableName": meant.table, "Item": after.copy()}

    def stick(self, arguments: Arguments, *, now: float, date: float | None, commits: bool) -> Any:
        """Get stuck amid a transaction: its items are locked until `recover`, which then finishes it or takes it back.

        Args:
            arguments: Those of transact_write_items, with a token.
            now: The service's time.
            date: What its ``Date`` header says.
            commits: Whether it is finished.

        Returns:
            What the client is told: that it is in progress; or its outcome, if it has one.
        """
        operation, token = "transact_write_items", arguments["ClientRequestToken"]
        self._requests += 1
        self.recover(now)
        try:
            if token not in self._stuck:
                if self._repeats(token, arguments, now):
                    return {"ResponseMetadata": self._metadata(200, date)}
                keys = frozenset(self._prepared(arguments))
                self._stuck[token] = _Stuck(now + STUCK_SECONDS, keys, arguments, commits)
        except BadExpression as problem:
            return self.error(operation, "ValidationException", str(problem), date=date)
        except _Refused as refusal:
            return self.error(operation, refusal.code, refusal.message, date=date, **refusal.more)
        return self.error(operation, "TransactionInProgressException", _IN_PROGRESS, date=date)

    def prepare(self, arguments: Arguments) -> Callable[[], None] | None:
        """The first phase of a transaction: what else writes its items meanwhile conflicts with it.

        Returns:
            Ends the phase: what `execute` then carries out is as it was prepared. None if there is nothing to prepare:
            the transaction is refused, or was carried out before.
        """
        token = arguments["ClientRequestToken"]
        if token in self._stuck or token in self._tokens:
            return None
        try:
            keys = frozenset(self._prepared(arguments))
        except (BadExpression, _Refused):
            return None
        prepared = self._stuck[token] = _Stuck(math.inf, keys, arguments, commits=True)

        def end() -> None:
            if self._stuck.get(token) is prepared:
                del self._stuck[token]

        return end

    @property
    def stuck_until(self) -> float:
        """When no transaction is stuck any more, by the service's time; 0 if none is."""
        return max((stuck.until for stuck in self._stuck.values() if stuck.until < math.inf), default=0.0)

    def recover(self, now: float) -> None:
        """Finish, or take back, the transactions that have been stuck for long enough."""
        due = [token for token, stuck in self._stuck.items() if now >= stuck.until]
        for stuck in [self._stuck.pop(token) for token in due]:
            if stuck.commits:
                # Only an edit by hand can have made its conditions fail.
                with contextlib.suppress(_Refused):
                    self._transact(stuck.arguments, now)

    @staticmethod
    def takes_batch(arguments: Arguments) -> bool:
        """Whether a batch is carried out statement by statement; if not, `execute` says why it is refused."""
        try:
            require_batch(arguments)
        except _Refused:
            return False
        return True

    def answered(self, parts: list[dict[str, Any]], *, date: float | None) -> dict[str, Any]:
        """The response to a batch with these parts."""
        return {"Responses": parts, "ResponseMetadata": self._metadata(200, date)}

    def error(
        self, operation: str, code: str, message: str, *, date: float | None, status: int = 400, **more: Any
    ) -> ClientError:
        """An error as botocore raises it; `more` is added to the response."""
        response = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": self._metadata(status, date),
            **more,
        }
        return ClientError(response, operation)

    def expire(self, now: float, *, which: Callable[[Key], bool] = lambda key: True) -> list[Key]:
        """Delete what TTL may delete by now; returns the deleted items."""
        self.recover(now)
        # As documented: a ttl more than five years back is left alone.
        due = [
            key
            for key, item in self.items.items()
            if "N" in item.get("ttl", {}) and now - 5 * 365 * 86_400 < float(item["ttl"]["N"]) < now and which(key)
        ]
        due = [key for key in due if not self._is_locked(key)]
        for key in due:
            self._commit({key: None}, now)
        return due

    def edit(self, key: Key, now: float, item: Item | None) -> None:
        """Write or delete an item by hand."""
        self._commit({key: item}, now)

    def drop(self, which: Callable[[Key], bool]) -> None:
        """Forget items, and what they were before, as if they had never been; nobody is told."""
        for known in (self.items, self._before):
            for key in [key for key in known if which(key)]:
                del known[key]

    def write(self, items: dict[Key, Item], now: float) -> None:
        """An operator's transaction whose conditions hold."""
        self._commit(dict(items), now, transaction=True)

    # Writing.

    def _write_one(self, operation: str, arguments: Arguments, now: float) -> dict[str, Any]:
        key, before, after = self._written(_KINDS[operation], arguments)
        if self._is_locked(key):
            raise _Refused("TransactionConflictException", _LOCKED)
        self._commit({key: after}, now, arguments=arguments)
        wanted = arguments.get("ReturnValues", "NONE")
        if wanted == "ALL_NEW" and after is not None:
            return {"Attributes": after.copy()}
        if wanted == "ALL_OLD" and before is not None:
            return {"Attributes": before.copy()}
        return {}

    def _transact(self, arguments: Arguments, now: float) -> dict[str, Any]:
        token = arguments.get("ClientRequestToken")
        if token in self._stuck:
            raise _Refused("TransactionInProgressException", _IN_PROGRESS)
        if token and self._repeats(token, arguments, now):
            return {}
        self._commit(self._prepared(arguments), now, arguments=arguments, transaction=True)
        if token:
            self._tokens[token] = (now, _body(arguments))
        return {}

    def _repeats(self, token: str, arguments: Arguments, now: float) -> bool:
        """Whether a transaction with this token was carried out already."""
        if token not in self._tokens or now - self._tokens[token][0] >= TOKEN_SECONDS:
            return False
        if self._tokens[token][1] != _body(arguments):
            raise _Refused("IdempotentParameterMismatchException", "the same token with another request")
        return True

    def _is_locked(self, key: Key) -> bool:
        return any(key in stuck.keys for stuck in self._stuck.values())

    def _prepared(self, arguments: Arguments) -> dict[Key, Item | None]:
        """What a transaction would write; nothing is changed yet."""
        parts: list[dict[str, Any]] = arguments["TransactItems"]
        if not 1 <= len(parts) <= _MOST_ITEMS:
            raise _Refused("ValidationException", "a transaction has 1 to 100 items")
        writes: dict[Key, Item | None] = {}
        reasons: list[dict[str, Any]] = []
        for part in parts:
            ((kind, request),) = part.items()
            try:
                key, _, after = self._written(kind, request)
            except _Refused as refusal:
                if refusal.code == "ValidationException" and not refusal.of_key:
                    raise
                code = "ValidationError" if refusal.of_key else "ConditionalCheckFailed"
                reasons.append({"Code": code, "Message": refusal.message, **refusal.more})
                continue
            locked = {"Code": "TransactionConflict", "Message": _LOCKED} if self._is_locked(key) else None
            reasons.append(locked or {"Code": "None"})
            if locked:
                continue
            if key in writes:
                raise _Refused("ValidationException", "a transaction cannot write one item twice")
            writes[key] = after
        if len(writes) < len(parts):
            codes = ", ".join(reason["Code"] for reason in reasons)
            raise _Refused("TransactionCanceledException", f"cancelled, reasons [{codes}]", CancellationReasons=reasons)
        return writes

    def _written(self, kind: str, request: Arguments) -> tuple[Key, Item | None, Item | None]:
        """An item's key, the item, and what a write would make of it; nothing is changed yet."""
        _require_all_used(request)
        key = _key(request["Item"] if kind == "Put" else request["Key"])
        before = self.items.get(key)
        names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
        text = request.get("ConditionExpression")
        if text and not condition(text)(before or {}, names, values):
            shown = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and before is not None
            more = {"Item": before.copy()} if shown else {}
            raise _Refused("ConditionalCheckFailedException", "The conditional request failed", **more)
        if kind == "Put":
            return key, before, dict(request["Item"])
        if kind == "Delete":
            return key, before, None
        after = dict(before) if before else dict(request["Key"])
        update(request["UpdateExpression"])(after, names, values)
        return key, before, after

    def _delete_batch(self, arguments: Arguments, now: float) -> dict[str, Any]:
        for requests in arguments["RequestItems"].values():
            for request in requests:
                self._commit({_key(request["DeleteRequest"]["Key"]): None}, now)
        return {"UnprocessedItems": {}}

    def _commit(
        self,
        writes: dict[Key, Item | None],
        now: float,
        *,
        arguments: Arguments | None = None,
        transaction: bool = False,
    ) -> None:
        changes = []
        for key, after in writes.items():
            before = self.items.get(key)
            self._before[key] = (now, transaction, before)
            if after is None:
                self.items.pop(key, None)
            else:
                self.items[key] = after
            changes.append(Change(key, before, after))
        self.on_commit(changes, arguments or {})

    # Reading.

    def _get(self, arguments: Arguments) -> dict[str, Any]:
        item = self.items.get(_key(arguments["Key"]))
        return {} if item is None else {"Item": item.copy()}

    def _transact_get(self, arguments: Arguments) -> dict[str, Any]:
        parts = [part["Get"] for part in arguments["TransactItems"]]
        if not 1 <= len(parts) <= _MOST_ITEMS:
            raise _Refused("ValidationException", "a transaction has 1 to 100 items")
        locked = [self._is_locked(_key(part["Key"])) for part in parts]
        if any(locked):
            reasons = [{"Code": "TransactionConflict", "Message": _LOCKED} if so else {"Code": "None"} for so in locked]
            raise _Refused("TransactionCanceledException", "cancelled", CancellationReasons=reasons)
        found = []
        for part in parts:
            _require_all_used(part)
            item = self.items.get(_key(part["Key"]))
            shown = None if item is None else _projected(item, part, part.get("ExpressionAttributeNames", {}))
            found.append({} if shown is None else {"Item": shown})
        return {"Responses": found}

    def _query(self, arguments: Arguments, now: float, coin: Coin) -> dict[str, Any]:
        _require_all_used(arguments)
        names, values = arguments.get("ExpressionAttributeNames", {}), arguments["ExpressionAttributeValues"]
        partition, first, last = _range(arguments["KeyConditionExpression"], values)
        start = arguments.get("ExclusiveStartKey")
        after = start["sk"]["S"] if start else None
        limit = arguments.get("Limit", 1_000_000)
        consistent = arguments.get("ConsistentRead", False)
        keys = [key for key in self.items if key[0] == partition and first <= key[1] <= last]
        # What was deleted a moment ago may still be shown.
        keys += [
            key
            for key, (at, _, _) in self._before.items()
            if key not in self.items and key[0] == partition and first <= key[1] <= last and now - at < LAG_SECONDS
        ]
        found: list[Item] = []
        more = False
        backwards = not arguments.get("ScanIndexForward", True)
        for key in sorted(keys, reverse=backwards):
            if after is not None and key[1] <= after:
                continue
            item = self._shown(key, now, coin, consistent=consistent)
            if item is None:
                continue
            if len(found) == limit:
                more = True
                break
            found.append(item)
        answer: dict[str, Any] = {"Items": [_projected(item, arguments, names) for item in found], "Count": len(found)}
        if more or len(found) == limit:
            # DynamoDB stops at the limit without checking whether anything follows.
            answer["LastEvaluatedKey"] = {"pk": found[-1]["pk"], "sk": found[-1]["sk"]}
        return answer

    def _shown(self, key: Key, now: float, coin: Coin, *, consistent: bool) -> Item | None:
        at, transaction, before = self._before.get(key, (float("-inf"), False, None))
        age = now - at
        lags = (transaction and age < TORN_SECONDS) or (not consistent and age < LAG_SECONDS)
        return before if lags and coin() else self.items.get(key)

    def _metadata(self, status: int, date: float | None) -> dict[str, Any]:
        headers = {} if date is None else {"date": http_date(date)}
        return {"RequestId": f"R{self._requests}", "HTTPStatusCode": status, "HTTPHeaders": headers}


class _Stuck:
    """A transaction that is stuck: until when, on which items, what it writes, and whether it will."""

    __slots__ = ("arguments", "commits", "keys", "until")

    def __init__(self, until: float, keys: frozenset[Key], arguments: Arguments, commits: bool) -> None:
        self.until = until
        self.keys = keys
        self.arguments = arguments
        self.commits = commits


class _Refused(Exception):
    of_key = False

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.more = more


class _WrongKey(_Refused):
    """A key of other types than the table's. In a transaction it is the reason of that item."""

    of_key = True

    def __init__(self) -> None:
        super().__init__("ValidationException", "One or more parameter values were invalid: Type mismatch for key")


def require_batch(arguments: Arguments) -> None:
    """Refuse a batch that the service carries out no statement of: of two kinds, or with two for one item."""
    statements: list[Arguments] = arguments["Statements"]
    if not 1 <= len(statements) <= _MOST_STATEMENTS:
        raise _Refused("ValidationException", "a batch has 1 to 25 statements")
    if len({partiql.reads(one["Statement"]) for one in statements}) > 1:
        raise _Refused("ValidationException", "a batch has either read statements or write statements")
    keys = [key for key in map(_key_of, statements) if key is not None]
    if len(set(keys)) < len(keys):
        raise _Refused("ValidationException", "a batch has at most one statement for each item")


def _key_of(statement: Arguments) -> Key | None:
    """The key that a statement names; None if it cannot be read, and will be refused by itself."""
    try:
        return _key(partiql.read(statement["Statement"]).key(statement["Parameters"]))
    except (BadExpression, _Refused):
        return None


_LOCKED = "Transaction is ongoing for the item"
_IN_PROGRESS = "The transaction with the given request token is already in progress"


def _body(arguments: Arguments) -> str:
    return json.dumps(arguments["TransactItems"], sort_keys=True)


_KINDS = {"put_item": "Put", "update_item": "Update", "delete_item": "Delete"}


def http_date(seconds: float) -> str:
    """A ``Date`` header's value: cut to a second."""
    return _header(int(seconds))


@lru_cache(maxsize=4096)
def _header(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _key(source: Item) -> Key:
    try:
        return source["pk"]["S"], source["sk"]["S"]
    except (KeyError, TypeError):
        raise _WrongKey from None


def _range(text: str, values: dict[str, Any]) -> tuple[str, str, str]:
    if text == "#pk = :pk AND #sk BETWEEN :first AND :last":
        return values[":pk"]["S"], values[":first"]["S"], values[":last"]["S"]
    if text == "pk = :b":
        return values[":b"]["S"], "", "\U0010ffff"
    raise BadExpression(f"a key condition that nobody here writes: {text}")


def _projected(item: Item, arguments: Arguments, names: dict[str, str]) -> Item:
    projection = arguments.get("ProjectionExpression")
    if not projection:
        return item.copy()
    wanted = _columns(projection, tuple(names.items()))
    return {name: item[name] for name in wanted if name in item}


@lru_cache(maxsize=64)
def _columns(projection: str, names: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    known = dict(names)
    return tuple(known[part.strip()] for part in projection.split(","))


def _require_all_used(request: Arguments) -> None:
    used = placeholders(
        request.get("ConditionExpression"),
        request.get("UpdateExpression"),
        request.get("ProjectionExpression"),
        request.get("KeyConditionExpression"),
    )
    given = request.get("ExpressionAttributeNames", {}).keys() | request.get("ExpressionAttributeValues", {}).keys()
    if given != used:
        raise _Refused("ValidationException", f"placeholders unused or undefined: {sorted(given ^ used)}")
