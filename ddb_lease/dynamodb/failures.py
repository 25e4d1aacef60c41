"""Failures: exceptions of a botocore call that are no answer of DynamoDB, as the protocol's values.

Invariants:

- One question sorts them: was the request sent? `Unsent`: certainly not, and a later try may succeed. `Rejected`:
  certainly not, and no later try will succeed before a person has changed something. `Unknown`: perhaps, as after a
  read timeout or a connection that was reset. What is in neither list below is `Unknown`.
- Where credentials come from is the process's environment, which has its own outages (a metadata service that is
  busy, a token that is being refreshed). What may pass is `Unsent`.
- An exception that neither the network nor an answer can cause was raised by this process, as by a tracing library or
  an event handler. It is `Unknown`, as the handler may have run after the sending, and marked as raised here.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from types import TracebackType
from typing import Final

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from ddb_lease._protocol.messages import Answer, Rejected, Unknown, Unsent
from ddb_lease.dynamodb.endpoint import AWS, Endpoint
from ddb_lease.errors import StoreRejected


def _named(*names: str) -> tuple[type[Exception], ...]:
    # Some exist only in newer versions of botocore than the oldest that we work with.
    return tuple(getattr(aws, name) for name in names if hasattr(aws, name))


CERTAIN: Final = _named(
    # Nothing was found, or it makes no sense.
    "NoCredentialsError",
    "PartialCredentialsError",
    "UnknownCredentialError",
    "NoAuthTokenError",
    "UnknownTokenProviderError",
    "NoRegionError",
    "UnknownRegionError",
    "ProfileNotFound",
    "ConfigNotFound",
    "ConfigParseError",
    "InvalidConfigError",
    "InvalidIMDSEndpointError",
    "InvalidIMDSEndpointModeError",
    "InvalidProxiesConfigError",
    "InvalidEndpointConfigurationError",
    "BaseEndpointResolverError",
    "EndpointProviderError",
    "InvalidHostLabelError",
    "UnknownSignatureVersionError",
    "UnsupportedSignatureVersionError",
    "MissingDependencyException",
    # A person must log in again.
    "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
    "RefreshWithMFAUnsupportedError",
    "LoginRefreshRequired",
    "LoginTokenLoadError",
    "LoginAuthorizationCodeError",
    "LoginInsufficientPermissions",
    # The token of an SSO session has expired, and a refresh has been tried already.
    "TokenRetrievalError",
)
"""Setups that cannot work: trying again does not help."""

PASSING: Final = _named(
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "ProxyConnectionError",
    # A provider of credentials failed this time: a metadata service, a process, a role.
    "CredentialRetrievalError",
    "MetadataRetrievalError",
    "SSOError",
    "LoginError",
)
"""Nothing was sent, and a later try may succeed. Subclasses that are certain are listed in `CERTAIN`."""

_BY_NETWORK: Final = (aws.BotoCoreError, OSError, http.client.HTTPException, ResponseParserError)
"""What a network, or an answer that is not DynamoDB's, makes botocore raise."""

_READING: Final = (
    *("botocore.parsers", "botocore.httpsession", "botocore.awsrequest", "urllib3.", "http.client", "ssl"),
    *("ddb_lease.dynamodb.json_protocol", "ddb_lease.dynamodb.pool"),
)
"""Modules that read an answer, or talk to the network: what they raise, an answer may have caused."""

_CREDENTIALS: Final = ("botocore.credentials", "botocore.tokens")
"""Modules that fetch credentials, before a request is signed."""


def read_exception(error: Exception, endpoint: Endpoint = AWS) -> Answer:
    """The answer in an exception that is no response of the service; `endpoint` is where the request was to go."""
    if isinstance(error, CERTAIN):
        return Rejected(error=refusal(error), unauthenticated=True)
    if isinstance(error, PASSING) and not _after_connecting(error):
        return Unsent(cause=with_reason(error, endpoint))
    if while_fetching_credentials(error):
        return Unsent(cause=error)
    return Unknown(cause=error, raised_here=_raised_here(error))


def _after_connecting(error: Exception) -> bool:
    """Whether a proxy hung up: perhaps on the request. urllib3 says the same of a proxy that it could not reach."""
    below = getattr(getattr(error, "kwargs", {}).get("error"), "original_error", None)
    by_proxy = isinstance(error, aws.ProxyConnectionError)
    return by_proxy and isinstance(below, (ConnectionError, TimeoutError, http.client.HTTPException))


def refusal(error: Exception) -> StoreRejected:
    """The error for a setup that cannot work, with what to do about it."""
    refused = StoreRejected(f"{error}".rstrip(".") + ": check credentials, profile and region")
    refused.__cause__ = error
    return refused


def with_reason(error: Exception, endpoint: Endpoint) -> Exception:
    """Add what the system said (refused, no such host, too many open files): botocore names the address only.

    And what it means at this endpoint that nobody listens there.
    """
    below = getattr(error, "kwargs", {}).get("error")
    said = next((e.strerror for e in _chain(below) if isinstance(e, OSError) and e.strerror), None)
    gone = endpoint.gone if isinstance(error, aws.EndpointConnectionError) else ""
    more = [text for text in (said, gone) if text and text not in str(error)]
    if more:
        error.args = (": ".join([str(error), *more]),)
    return error


def while_fetching_credentials(error: BaseException) -> bool:
    """Whether an exception came up while botocore fetched credentials: the request was not even signed."""
    return any(name in _CREDENTIALS for name in _modules(error.__traceback__))


def _raised_here(error: Exception) -> bool:
    if isinstance(error, _BY_NETWORK) or error.__traceback__ is None:
        return False
    return not any(name.startswith(_READING) for name in _modules(error.__traceback__))


def _modules(traceback: TracebackType | None) -> Iterator[str]:
    """The modules that an exception passed through."""
    while traceback is not None:
        yield str(traceback.tb_frame.f_globals.get("__name__", ""))
        traceback = traceback.tb_next


def _chain(error: object) -> Iterator[BaseException]:
    """An exception and those that led to it; at most a few."""
    for _ in range(8):
        if not isinstance(error, BaseException):
            return
        yield error
        error = error.__cause__ or error.__context__
