"""The table: making it, and checking whether one is fit for leases.

Invariants: making it again changes only what is wrong, or asked for, and says so. Waiting goes through tenacity, like
everywhere else. No lease depends on this module at run time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from botocore import exceptions as aws
from tenacity import Retrying, retry_if_exception, retry_if_result, wait_random

from ddb_lease._protocol.retry import until
from ddb_lease._state.log import log as _log
from ddb_lease._state.service_time import Clock
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import explain
from ddb_lease.dynamodb.client import ConnectionSettings
from ddb_lease.dynamodb.failures import CERTAIN, refusal, with_reason
from ddb_lease.dynamodb.global_tables import why_unfit
from ddb_lease.dynamodb.reasons import error_code
from ddb_lease.dynamodb.table_options import TableOptions
from ddb_lease.dynamodb.timely import TimelySender
from ddb_lease.errors import ConfigurationError, StoreError, StoreRejected, StoreUnavailable

KEYS: Final = (("pk", "HASH"), ("sk", "RANGE"))
TTL_ATTRIBUTE: Final = "ttl"
_USABLE: Final = ("ACTIVE", "UPDATING")
"""The states in which a table takes reads and writes."""
IN_USE: Final = "ResourceInUseException"
"""Another change of the table is under way."""
_AS_IT_IS: Final = TableOptions()
_LEASE_SECONDS: Final = 60.0  # for the client's timeouts only
_REACH_SECONDS: Final = 10.0
"""So long it is tried to reach a service that has answered nothing yet: from some networks it cannot be."""
POLL_SECONDS: Final = (0.2, 1.5)

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}", re.ASCII)
"""Naming rules of DynamoDB's developer guide. The embedded engine takes any name."""
_ARN: Final = "arn:"

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReport:
    """What `create_table` found and did.

    Attributes:
        created: The table did not exist before.
        ttl_enabled: TTL was off before.
        changed: It existed, and some of the options that were asked for were set.
    """

    table: str
    created: bool
    ttl_enabled: bool
    changed: bool = False


def create_table(
    table: str,
    *,
    connection: ConnectionSettings,
    clock: Clock,
    timeout: float = 120.0,
    options: TableOptions = _AS_IT_IS,
) -> TableReport:
    """Make the table (on-demand billing, TTL on), and wait until it can be used. Safe to repeat.

    Args:
        table: Its name.
        connection: How DynamoDB is reached.
        clock: The clock for the timeout.
        timeout: Seconds to wait for it to become active, and for answers. A service that cannot be reached at all is
            told of after about ten.
        options: Protection against deletion, and a cap on throughput. On a table that exists, what differs is set; that
            needs the permission ``dynamodb:UpdateTable``.

    Raises:
        StoreRejected: It exists with other keys or is a global table; then nothing was changed. Or a permission is
            missing; what comes after was not done.
        StoreUnavailable: It was not active in time, or the service did not answer, or its TTL was changed within the
            last hour; repeat the call.
        ConfigurationError: No region, or a name that DynamoDB does not take.
    """
    maker = _Maker(connection, table, clock, clock.steady() + timeout)
    created = maker.create(options)
    maker.wait_until_active()
    maker.require_fit(new=created)
    ttl_enabled = maker.enable_ttl()
    return TableReport(
        table=table, created=created, ttl_enabled=ttl_enabled, changed=not created and maker.set_options(options)
    )


def check_table(table: str, *, connection: ConnectionSettings, clock: Clock, timeout: float = 30.0) -> bool:
    """Check whether a table is fit for leases. Changes nothing.

    Args:
        table: Its name.
        connection: How DynamoDB is reached.
        clock: The clock for the timeout.
        timeout: Seconds to wait for it to become active, and for answers. A service that cannot be reached at all is
            told of after about ten.

    Returns:
        Whether TTL is on. Without TTL leases are as safe, but unused slots are never deleted.

    Raises:
        StoreRejected: It does not exist, has other keys, is a global table, or a permission is missing.
        StoreUnavailable: It was not active in time, or the service did not answer.
        ConfigurationError: No region, or a name that DynamoDB does not take.
    """
    maker = _Maker(connection, table, clock, clock.steady() + timeout)
    maker.require_there()
    maker.wait_until_active()
    maker.require_fit(new=False)
    return maker.has_ttl()


class _Maker:
    def __init__(self, connection: ConnectionSettings, table: str, clock: Clock, deadline: float) -> None:
        if not (_NAME.fullmatch(table) or table.startswith(_ARN)):
            raise ConfigurationError(
                f"{table!r} is no name of a table: DynamoDB takes 3 to 255 letters, digits, '_', '-' and '.'"
            )
        self._client = connection.connect(_LEASE_SECONDS)
        self._address = BucketAddress(table=table, bucket="", endpoint=connection.endpoint)
        self._clock = clock
        self._deadline = deadline
        self._sender = TimelySender(clock)
        self._answered = False
        self._reach_by = clock.steady() + _REACH_SECONDS

    def create(self, options: TableOptions) -> bool:
        try:
            self._call(
                self._client.create_table,
                KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in KEYS],
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in KEYS],
                BillingMode="PAY_PER_REQUEST",
                **options.request(),
            )
        except aws.ClientError as error:
            if error_code(error) != IN_USE:
                raise self._error(error) from error
            return False
        return True

    def set_options(self, options: TableOptions) -> bool:
        """Set those options that the table does not have; returns whether there were any."""
        lacking = {} if options == _AS_IT_IS else options.lacking(self._describe())
        if not lacking:
            return False
        try:
            self._call(self._client.update_table, IN_USE, **lacking)
        except aws.ClientError as error:
            raise self._error(error) from error
        return True

    def wait_until_active(self) -> None:
        def status() -> str:
            try:
                return str(self._describe()["TableStatus"])
            except aws.ClientError as error:
                # A new table may not be known everywhere yet.
                if error_code(error) != "ResourceNotFoundException":
                    raise self._error(error) from error
                return "CREATING"

        last = self._retrying(retry=retry_if_result(lambda s: s not in _USABLE))(status)
        if last not in _USABLE:
            raise StoreUnavailable(f"table {self._address.table!r} is {last}, not active yet: repeat the command")

    def require_fit(self, *, new: bool) -> None:
        """Refuse a table that leases are unsafe on, or impossible; a new one is no global table yet."""
        found = self._describe()
        self._require_keys(found)
        why = why_unfit(found, {} if new else self._describe_global())
        if why is not None:
            raise StoreRejected(f"table {self._address.table!r} {why}. Choose a --table without replicas")

    def _require_keys(self, found: dict[str, Any]) -> None:
        keys = {key["AttributeName"]: key["KeyType"] for key in found["KeySchema"]}
        types = {a["AttributeName"]: a["AttributeType"] for a in found["AttributeDefinitions"]}
        if keys != dict(KEYS) or any(types.get(name) != "S" for name, _ in KEYS):
            raise StoreRejected(
                f"table {self._address.table!r} exists with other keys ({keys}); leases need pk (hash) and sk (range), "
                "both strings: choose another --table"
            )

    def require_there(self) -> None:
        try:
            self._describe()
        except aws.ClientError as error:
            raise self._error(error) from error

    def _describe_global(self) -> Mapping[str, Any]:
        """The global table of version 2017.11.29 with this name; empty if there is none, or it cannot be asked for."""
        try:
            answer = self._sender.send(self._client.describe_global_table, {"GlobalTableName": self._address.table})
            return dict(answer["GlobalTableDescription"])
        except (aws.BotoCoreError, aws.ClientError, OSError, LookupError) as error:
            if not isinstance(error, aws.ClientError) or error_code(error) != "GlobalTableNotFoundException":
                # Few have the permission, few such tables are left, and not every engine knows the request.
                _log.info(
                    "table %r: whether it is a global table of version 2017.11.29 could not be asked: %s",
                    self._address.table,
                    error,
                )
            return {}

    def has_ttl(self) -> bool:
        try:
            described = self._call(self._client.describe_time_to_live)["TimeToLiveDescription"]
        except aws.ClientError as error:
            raise self._error(error) from error
        if described.get("TimeToLiveStatus") not in {"ENABLED", "ENABLING"}:
            return False
        self._require_ttl_attribute(described.get("AttributeName"))
        return True

    def enable_ttl(self) -> bool:
        if self.has_ttl():
            return False
        try:
            self._call(
                self._client.update_time_to_live,
                IN_USE,
                TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
            )
        except aws.ClientError as error:
            if error_code(error) == "ValidationException":
                # An earlier sending, or another client, may have turned it on meanwhile.
                if self.has_ttl():
                    return False
                if "fixed interval" in str(error):
                    raise StoreUnavailable(
                        f"TTL of table {self._address.table!r} was changed within the last hour, and DynamoDB takes "
                        "one change an hour: repeat in an hour. Leases are as safe without TTL"
                    ) from error
            raise self._error(error) from error
        return True

    def _require_ttl_attribute(self, attribute: str | None) -> None:
        if attribute != TTL_ATTRIBUTE:
            raise StoreRejected(
                f"table {self._address.table!r} has TTL on attribute {attribute!r}, leases need it on "
                f"{TTL_ATTRIBUTE!r}: choose another --table"
            )

    def _describe(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call(self._client.describe_table)["Table"]
        return found

    def _call(self, method: Callable[..., Mapping[str, Any]], *passing: str, **arguments: object) -> Mapping[str, Any]:
        """Call a method on the table; again while the service is in trouble, or answers one of these codes."""
        given = {"TableName": self._address.table, **arguments}

        def passes(error: BaseException) -> bool:
            if isinstance(error, aws.ConnectTimeoutError) and not self._answered:
                return self._clock.steady() < self._reach_by
            return may_pass(error) or (isinstance(error, aws.ClientError) and error_code(error) in passing)

        try:
            return self._retrying(retry=retry_if_exception(passes))(self._send, method, given)
        except aws.ClientError:
            raise
        except CERTAIN as error:
            raise refusal(error) from error
        except aws.ParamValidationError as error:
            raise ConfigurationError(f"table {self._address.table!r}: {error}") from error
        except (aws.BotoCoreError, OSError) as error:
            raise StoreUnavailable(f"DynamoDB does not answer: {with_reason(error, self._address.endpoint)}") from error

    def _send(self, method: Callable[..., Mapping[str, Any]], given: Mapping[str, object]) -> Mapping[str, Any]:
        """Send once, and note that the service has answered, if only to refuse."""
        try:
            answer = self._sender.send(method, given)
        except aws.ClientError:
            self._answered = True
            raise
        self._answered = True
        return answer

    def _retrying(self, *, retry: Any) -> Retrying:  # noqa: ANN401 - any of tenacity's predicates
        return Retrying(
            retry=retry,
            wait=wait_random(*POLL_SECONDS),
            stop=until(self._clock.steady, self._deadline),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )

    def _error(self, error: aws.ClientError) -> StoreError | ConfigurationError:
        code = error_code(error)
        if code == "ValidationException":
            return ConfigurationError(f"table {self._address.table!r}: {error.response['Error'].get('Message', code)}")
        if may_pass(error) or code == IN_USE:
            return StoreUnavailable(explain(error, self._address))
        return StoreRejected(explain(error, self._address))


_SERVER_ERROR: Final = 500
_PASSING: Final = {"ThrottlingException", "LimitExceededException", "RequestLimitExceeded", "InternalServerError"}
_LASTING: Final = (aws.SSLError, aws.ProxyConnectionError)
"""A certificate that is not trusted, or a proxy that is not there: as where nobody listens, waiting does not help."""


def may_pass(error: BaseException) -> bool:
    """Whether a request about a table may succeed if it is sent again, and nothing is changed in between."""
    if isinstance(error, aws.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return error_code(error) in _PASSING or status >= _SERVER_ERROR
    return isinstance(error, (aws.HTTPClientError, OSError)) and not isinstance(error, _LASTING)
