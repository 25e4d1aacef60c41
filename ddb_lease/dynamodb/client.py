"""The client: how boto3 is set up for leases.

Invariants:

- botocore never retries (`total_max_attempts` is 1); `_protocol.retry` does. botocore's own retries would delay a
  throttled heartbeat for seconds, and its defaults changed between releases.
- Connect and read timeouts stay well under a third of the lease; botocore's default of 60 s would use up a whole lease.
- Who brings neither a session nor a client shares both with all others of the process: see `shared`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from botocore import exceptions as aws

from ddb_lease._state.bucket_state import require_quick_answers
from ddb_lease.dynamodb.endpoint import Endpoint, endpoint_of
from ddb_lease.dynamodb.given import require_client, require_endpoint_url, require_session
from ddb_lease.dynamodb.shared import SHARED
from ddb_lease.dynamodb.signing import hook
from ddb_lease.errors import ConfigurationError

if TYPE_CHECKING:
    from boto3.session import Session as Boto3Session
    from botocore.config import Config
    from types_boto3_dynamodb.client import DynamoDBClient

    Session: TypeAlias = Boto3Session
    Client: TypeAlias = DynamoDBClient
else:
    # The published stubs are for type checkers: nobody needs them installed to run this.
    Session = Client = Any

_LONGEST: Final = 3.0
"""Seconds; a normal answer takes some milliseconds, so waiting longer only delays the next try."""

_SHORTEST: Final = 0.25
"""Seconds; a TLS handshake across continents takes about as much."""

_CONNECTIONS: Final = 50
"""Connections kept open; with botocore's default of 10, more than 10 threads would reconnect for each call."""

_SHARED_CONNECTIONS: Final = 250
"""The same for a client that all buckets of a process share. Each is opened when it is needed."""


def timeout_for(lease_seconds: float) -> float:
    """Seconds allowed for connecting, and for each read: a tenth of the lease, within bounds."""
    return max(_SHORTEST, min(_LONGEST, lease_seconds / 10))


def client_config(lease_seconds: float = 60.0) -> Config:
    """The botocore configuration for a client of your own that you pass to a `LeaseBucket`.

    It turns off botocore's retries, and sets timeouts and a number of connections that suit leases.

    Args:
        lease_seconds: Length of the shortest lease that the client will serve.

    Example:
        >>> import boto3
        >>> from ddb_lease import client_config
        >>> client = boto3.client("dynamodb", region_name="eu-west-1", config=client_config(60))
    """
    return _config(lease_seconds, connections=_CONNECTIONS)


def _config(lease_seconds: float, *, connections: int) -> Config:
    # Here, and not with this module: it brings urllib3, and takes as long to import as all of ours.
    from botocore.config import Config  # noqa: PLC0415

    seconds = timeout_for(lease_seconds)
    return Config(
        connect_timeout=seconds,
        read_timeout=seconds,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=connections,
        tcp_keepalive=True,
        # Our tests check requests against the service model; checking each call takes a tenth of its time.
        parameter_validation=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """How to reach DynamoDB: by a session, a client, or boto3's defaults.

    Attributes:
        session: A `boto3.Session`; None means the process's one, with the usual AWS variables and files.
        client: A ready DynamoDB client, instead of a session; see `client_config`.
        endpoint_url: An endpoint other than the service's own.
    """

    session: Session | None = None
    client: Client | None = None
    endpoint_url: str | None = None

    def __post_init__(self) -> None:
        require_endpoint_url(self.endpoint_url)
        if self.session is not None:
            require_session(self.session)
        if self.client is None:
            return
        if self.session is not None or self.endpoint_url is not None:
            raise ConfigurationError("give a client, or a session and endpoint_url, not both")
        require_client(self.client)
        _require_single_attempt(self.client)

    @property
    def endpoint(self) -> Endpoint:
        """Where requests go, for messages."""
        return endpoint_of(self.session, self.endpoint_url)

    @property
    def answer_seconds(self) -> float:
        """How long the user's own client waits for an answer; 0 if the client is made here, to fit the lease."""
        if self.client is None:
            return 0.0
        config = self.client.meta.config
        return float(max(getattr(config, "connect_timeout", 0) or 0, getattr(config, "read_timeout", 0) or 0))

    def call_seconds(self, lease_seconds: float) -> float:
        """How long a request takes at most by its timeouts: to connect, and to read. Reads may trickle for longer."""
        if self.client is None:
            return 2 * timeout_for(lease_seconds)
        config = self.client.meta.config
        return float((getattr(config, "connect_timeout", 0) or 0) + (getattr(config, "read_timeout", 0) or 0))

    def connect(self, lease_seconds: float, *, user: object = None) -> Client:
        """A client fit for leases of this length; the user's own if one was given.

        Args:
            lease_seconds: The length.
            user: Who will `disconnect` it; None for nobody in particular.

        Raises:
            ConfigurationError: No region, no such profile, an endpoint that is not a URL; or the user's own client
                waits longer for an answer than such a lease allows. Nothing was sent.
        """
        if self.client is not None:
            require_quick_answers(self.answer_seconds, lease_seconds)
            hook(self.client)
            return self.client
        try:
            if self.session is not None:
                return self._client_of(self.session, client_config(lease_seconds))
            return SHARED.lend(
                (self.endpoint_url, timeout_for(lease_seconds)),
                user=user,
                new_session=new_session,
                new_client=lambda own: self._client_of(own, _config(lease_seconds, connections=_SHARED_CONNECTIONS)),
            )
        except aws.NoRegionError as error:
            raise ConfigurationError(
                "no AWS region is set: set AWS_DEFAULT_REGION, or one in the profile, or give session= with one; for "
                "this machine's engine give **ddb_lease.local.connect()"
            ) from error
        except (aws.BotoCoreError, ValueError) as error:
            raise ConfigurationError(f"cannot set up a DynamoDB client: {error}") from error

    def disconnect(self, client: Client, *, user: object) -> None:
        """Close a client's connections, unless it is the user's own, or others use it too."""
        if self.client is None and (self.session is not None or SHARED.give_back(client, user=user)):
            # If a connection does not close, it is dropped anyway.
            with contextlib.suppress(Exception):
                client.close()

    def reconnect(self, client: Client, lease_seconds: float, *, user: object) -> Client:
        """A new client instead of one that found no credentials, as it would never look for them again."""
        if self.client is None and self.session is None:
            SHARED.forget(client)
        return self.connect(lease_seconds, user=user)

    def _client_of(self, session: Session, config: Config) -> Client:
        client = session.client("dynamodb", endpoint_url=self.endpoint_url, config=config)
        hook(client)
        return client


def new_session(*, profile: str | None = None, region: str | None = None) -> Session:
    """A boto3 session with the usual AWS variables and files.

    Args:
        profile: A profile of the AWS configuration; None for the usual one.
        region: A region; None for the usual one.

    Raises:
        ConfigurationError: There is no such profile.
    """
    # Imported here, not with this module: what boto3 imports for S3 takes longer than all of our modules.
    import boto3  # noqa: PLC0415

    try:
        return boto3.Session(profile_name=profile, region_name=region)
    except aws.BotoCoreError as error:
        raise ConfigurationError(f"{error}: see `aws configure list-profiles`") from error


def _require_single_attempt(client: Client) -> None:
    retries = getattr(client.meta.config, "retries", None) or {}
    attempts = retries.get("total_max_attempts")
    if attempts is None and "max_attempts" in retries:
        attempts = retries["max_attempts"] + 1
    if attempts != 1:
        raise ConfigurationError(
            "this client retries by itself, which can delay heartbeats until the lease is lost: pass a session "
            "instead, or make the client with config=ddb_lease.client_config(lease_seconds)"
        )
