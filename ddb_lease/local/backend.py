"""Moto's DynamoDB, called directly. Beside `undo` and `ranges`, the only module that knows moto.

Invariants: no network, no clock, no threads, no lock: the caller makes one call at a time. Each backend has its own
account in moto, so that several can run in one process without seeing each other's tables.

Moto's `mock_aws` resets every account when it starts: do not use it in a process that has a backend.
"""

import io
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from moto.core.model_instances import model_data
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import create_backend_app

from ddb_lease.local.messages import HttpRequest, HttpResponse, json_response
from ddb_lease.local.ranges import Ranges
from ddb_lease.local.undo import Undo, find
from ddb_lease.local.writes import Write

_OK = 200

_READS = frozenset(
    {"Query", "GetItem", "TransactGetItems", "BatchGetItem", "Scan", "DescribeTable", "DescribeTimeToLive"}
)

FIVE_YEARS_S = 5 * 365 * 86_400
"""DynamoDB keeps an item whose TTL is further back, so that a wrong unit does not empty a table."""

# Moto's headers that we drop: the server or the app sets these itself, and CORS would admit web pages.
_DROPPED_HEADERS = frozenset({"connection", "content-length", "date", "server", "x-amzn-requestid"})
_CORS_PREFIX = "access-control-"


class MotoBackend:
    """DynamoDB's tables and operations, in memory."""

    def __init__(self) -> None:
        self._account = f"{secrets.randbelow(10**12):012d}"
        self._wsgi = create_backend_app("dynamodb")
        self._ranges = Ranges()

    def call(self, request: HttpRequest, region: str = "", written: Sequence[Write] = ()) -> HttpResponse:
        """Execute one request and return the complete response.

        Args:
            request: What to execute.
            region: The region that it is signed for.
            written: The items that it writes or checks. A transaction costs what they cost, however large the table is.

        Raises:
            Exception: Moto failed without a response. It may have written a part of the request, but not of a
                transaction.
        """
        if request.operation == "Query":
            answer = self._ranges.answer(self._tables(region), request.body)
            return self._call(request) if answer is None else json_response(_OK, answer)
        if request.operation not in _READS:
            self._ranges.forget()
        if request.operation != "TransactWriteItems":
            return self._call(request)
        tables = self._tables(region)
        before = Undo(
            [(tables[write.table], write.names) for write in written if write.table in tables], tables=tables.values()
        )
        succeeded = False
        try:
            with before.without_copies():
                response = self._call(request)
            succeeded = response.status == _OK
            return response
        finally:
            if not succeeded:
                before.undo()

    def _call(self, request: HttpRequest) -> HttpResponse:
        started: list[tuple[str, list[tuple[str, str]]]] = []
        written: list[bytes] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], _exc_info: object = None
        ) -> Callable[[bytes], object]:
            started.append((status, headers))
            return written.append

        chunks = self._wsgi(self._environ(request), start_response)
        try:
            body = b"".join((*written, *chunks))
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
            _forget_instances()
        status, headers = started[-1]
        kept = tuple((name, value) for name, value in headers if _is_kept(name))
        return HttpResponse(status=int(status.split()[0]), headers=kept, body=body)

    def item(
        self, region: str, write: Write, names: Sequence[str], prefixes: tuple[str, ...] = ()
    ) -> Mapping[str, Any]:
        """These attributes of an item, in DynamoDB's JSON; empty if there is no such item.

        Args:
            region: Where it is.
            write: Which item.
            names: The attributes.
            prefixes: How the names of further ones begin.
        """
        table = self._tables(region).get(write.table)
        item = None if table is None else find(table, write.names)
        attributes = {} if item is None else item.attrs
        return {name: _json(value) for name, value in attributes.items() if name in names or name.startswith(prefixes)}

    def delete_expired(self, now_s: float) -> int:
        """Delete the items that DynamoDB's TTL would have deleted by now; the number of items deleted."""
        deleted = 0
        self._ranges.forget()
        for table in self._all_tables():
            if table.ttl.get("TimeToLiveStatus") != "ENABLED":
                continue
            attribute = table.ttl["AttributeName"]
            for item in table.all_items():
                if _is_expired(item.attrs.get(attribute), now_s):
                    table.delete_item(item.hash_key, item.range_key)
                    deleted += 1
        return deleted

    def drop_partitions(self, prefix: str) -> None:
        """Forget all items whose partition keys begin so: a query costs more the more items there are."""
        self._ranges.forget()
        for table in self._all_tables():
            for key in [key for key in table.items if str(key.value).startswith(prefix)]:
                del table.items[key]

    def close(self) -> None:
        """Drop all tables."""
        dynamodb_backends.pop(self._account, None)

    def _tables(self, region: str) -> Mapping[str, Table]:
        known = dynamodb_backends[self._account]
        return known[region].tables if region in known else {}

    def _all_tables(self) -> Iterator[Any]:
        for region in dynamodb_backends[self._account].values():
            yield from region.tables.values()

    def _environ(self, request: HttpRequest) -> dict[str, Any]:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": request.path,
            "QUERY_STRING": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(request.body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in request.headers.items():
            environ["HTTP_" + name.upper().replace("-", "_")] = value
        # Set last, so that no client can choose the account of another engine.
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self._account
        return environ


def _forget_instances() -> None:
    # For its dashboard, moto keeps every item object that it ever made, so the memory would fill.
    for model in model_data["dynamodb"].values():
        tracked = getattr(model, "instances_tracked", None)  # `instances` in moto 5.1.0
        (getattr(model, "instances") if tracked is None else tracked).clear()  # noqa: B009 - the name depends on moto's version


def _is_kept(header: str) -> bool:
    name = header.lower()
    return name not in _DROPPED_HEADERS and not name.startswith(_CORS_PREFIX)


def _json(attribute: DynamoType) -> dict[str, Any]:
    """An attribute in DynamoDB's JSON; lists are shown as they are kept."""
    value = attribute.value
    if attribute.type == "M":
        value = {name: _json(part) for name, part in value.items()}
    return {attribute.type: value}


def _is_expired(attribute: DynamoType | None, now_s: float) -> bool:
    if attribute is None or attribute.type != "N":
        return False
    expires_at_s = Decimal(attribute.value)
    return Decimal(now_s) - FIVE_YEARS_S <= expires_at_s < Decimal(now_s)
