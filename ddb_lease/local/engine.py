"""A running engine as a value: its address, its process, and a session to talk to it."""

import os
from dataclasses import dataclass, field

import boto3
import botocore.session
from botocore.config import Config

from ddb_lease.dynamodb.endpoint import Endpoint

REGION = "us-east-1"
_DUMMY_SECRET = "local"  # noqa: S105 - no secret: the engine checks no signatures, only who asks


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A running engine. It may have stopped since: `find` tells.

    Example:
        >>> engine = Engine(endpoint_url="http://127.0.0.1:1", pid=1, started_at_ms=0, instance_id="x")
        >>> client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
        >>> client.meta.endpoint_url
        'http://127.0.0.1:1'
    """

    endpoint_url: str
    pid: int
    """The id of the process that the engine runs in."""
    started_at_ms: int
    """The start, in milliseconds since the epoch, by the wall clock."""
    instance_id: str
    """Unique to this run of the engine."""
    access_key_id: str = field(default="local", repr=False)
    """The access key that the engine wants; the owner alone can read it. The secret key may be anything."""

    def session(self) -> boto3.session.Session:
        """A new session with the engine's own credentials that ignores the user's AWS profile and environment.

        Pass `endpoint_url=engine.endpoint_url` to its clients. Without it they would send their requests to AWS,
        which does not know these credentials.
        """
        core = botocore.session.Session(session_vars=_blind_variables())
        # Proxy settings come from the environment as well, and no proxy reaches this machine's loopback.
        core.set_default_client_config(Config(proxies={}))
        return _EngineSession(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=_DUMMY_SECRET,
            region_name=REGION,
            botocore_session=core,
        )


class _EngineSession(boto3.session.Session):
    """A session that tells messages where its requests go."""

    ddb_lease_endpoint = Endpoint(
        options="--local",
        gone="the embedded engine that this program uses has ended, and its tables with it; another one has another "
        "address. Start the program again, or make the bucket or limiter anew with local.connect()",
    )


def _blind_variables() -> dict[str, tuple[None, None, object, object]]:
    """Every setting of botocore with its default, to be read neither from a file nor from the environment."""
    defaults = botocore.session.Session.SESSION_VARIABLES
    blind = {name: (None, None, default, convert) for name, (_, _, default, convert) in defaults.items()}
    for name in ("config_file", "credentials_file"):
        blind[name] = (None, None, os.devnull, None)
    return blind
