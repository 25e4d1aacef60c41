"""Where a command connects to: table, region, profile, endpoint, or the embedded engine."""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from ddb_lease.bucket import LeaseBucket
from ddb_lease.cli.streams import say
from ddb_lease.dynamodb import ConnectionSettings, Session, new_session
from ddb_lease.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ddb_lease.local import Engine

TELL_SECONDS: Final = 1.0
"""An engine that starts sooner is not told of."""


def arguments(options: argparse.Namespace, *, make_table: bool = True) -> dict[str, Any]:
    """Keyword arguments of `LeaseBucket` that say where to connect. The embedded engine makes its default table.

    Raises:
        StoreRejected: The embedded engine has no such table.
        ConfigurationError: The options contradict one another, or name an unknown profile.
        EngineError: The embedded engine cannot be started.
    """
    if options.local:
        if options.endpoint_url or options.profile or options.region:
            raise ConfigurationError(
                "--local means this machine's engine: leave out --endpoint-url, --profile and --region"
            )
        from ddb_lease.local.connection import reach  # noqa: PLC0415 - imported only where the engine is asked for

        engine = started_engine(quiet=getattr(options, "quiet", False) or getattr(options, "skip_if_full", False))
        if make_table:
            return reach(options.table, bucket=getattr(options, "bucket", None) or getattr(options, "name", None))
        return {"table": options.table, "session": engine.session(), "endpoint_url": engine.endpoint_url}
    # boto3 itself reads AWS_DEFAULT_REGION only; other AWS tools, and their users, know AWS_REGION too.
    region = options.region or os.environ.get("AWS_REGION")
    session = session_in_region(profile=options.profile, region=region)
    return {"table": options.table, "session": session, "endpoint_url": options.endpoint_url}


def started_engine(*, quiet: bool = False) -> Engine:
    """This user's engine; if it has to be started, and that takes long, it is said.

    Raises:
        EngineError: It cannot be started.
    """
    from ddb_lease import local  # noqa: PLC0415 - as above

    engine = local.find()
    if engine is not None:
        return engine
    with contextlib.nullcontext() if quiet else _told_if_slow():
        return local.start()


@contextlib.contextmanager
def _told_if_slow() -> Iterator[None]:
    text = "starting the embedded engine of this machine, as none is running; that takes some seconds"
    timer = threading.Timer(TELL_SECONDS, say, (text,))
    timer.daemon = True
    with contextlib.suppress(RuntimeError):  # no thread to be had: it starts in silence
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def session_in_region(*, profile: str | None, region: str | None) -> Session:
    """A session of boto3's that has a region.

    Raises:
        ConfigurationError: There is no such profile, or no region.
    """
    session = new_session(profile=profile, region=region)
    if session.region_name is None:
        raise ConfigurationError(
            "no AWS region is set: set AWS_DEFAULT_REGION, or one in the profile, or give --region; for this machine's "
            "engine give --local"
        )
    return session


def place(options: argparse.Namespace) -> str:
    """Where the table is, as one text. Equal texts mean the same table, unless credentials in variables differ."""
    if options.local:
        return f"local {options.table}"
    endpoint = options.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") or os.environ.get("AWS_ENDPOINT_URL")
    region = options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    profile = options.profile or os.environ.get("AWS_PROFILE")
    return " ".join(word or "-" for word in (endpoint, region, profile, options.table))


def settings(options: argparse.Namespace) -> ConnectionSettings:
    """The same for commands that need no bucket."""
    where = arguments(options, make_table=False)
    return ConnectionSettings(session=where["session"], endpoint_url=where["endpoint_url"])


def words(options: argparse.Namespace) -> list[str]:
    """The options that lead another command to the same place: another shell's variables may lead elsewhere."""
    given = {
        "--table": options.table,
        "--region": options.region,
        "--profile": options.profile,
        "--endpoint-url": options.endpoint_url,
    }
    return [word for name, value in given.items() if value for word in (name, value)] + ["--local"] * options.local


def bucket(options: argparse.Namespace, *, max_tokens: int) -> LeaseBucket:
    """The bucket that a command names, for one that acquires nothing."""
    return LeaseBucket(options.bucket, max_tokens=max_tokens, **arguments(options))
