"""What a user gives as a session or a client: is it one?

Invariants:

- Only what is surely something else is refused: tests and tracing libraries give objects that merely behave like a
  client. It imports neither boto3 nor botocore, as both take long.
- Each refusal says what was given, and what to pass in its place.
"""

from __future__ import annotations

from typing import Any, Final

from ddb_lease._numbers import shown
from ddb_lease.errors import ConfigurationError

_ASYNC_PACKAGES: Final = {"aiobotocore", "aioboto3", "types_aiobotocore"}
_MAKE_A_CLIENT: Final = 'boto3.client("dynamodb", config=ddb_lease.client_config())'


def require_client(client: Any) -> None:  # noqa: ANN401 - anything may be given
    """Refuse what is no DynamoDB client.

    Raises:
        ConfigurationError: It is a resource, a session, another service's client, or something else.
    """
    _require_synchronous("client", client)
    if _is_session(client):
        raise ConfigurationError("client is a session: pass it as session=")
    meta = getattr(client, "meta", None)
    if isinstance(client, type) or meta is None:
        raise ConfigurationError(f"client must be a DynamoDB client, not {shown(client)}: pass {_MAKE_A_CLIENT}")
    if _is_resource(client):
        raise ConfigurationError(
            f"client is a boto3 resource, {shown(client)}: pass a session, or a client such as {_MAKE_A_CLIENT}"
        )
    service = _service_of(client)
    if service not in {None, "dynamodb"}:
        raise ConfigurationError(f"client is a client of {service}, not of DynamoDB: pass {_MAKE_A_CLIENT}")


def require_session(session: Any) -> None:  # noqa: ANN401 - anything may be given
    """Refuse what is no boto3 session.

    Raises:
        ConfigurationError: It is a client, a resource, a session of botocore, the name of a profile, or something else.
    """
    _require_synchronous("session", session)
    if isinstance(session, type):
        raise ConfigurationError(f"session is the class {session.__name__}: make a session, as in boto3.Session()")
    if isinstance(session, str):
        raise ConfigurationError(
            f"session must be a boto3.Session, not {shown(session)}: for a profile of that name, pass "
            "boto3.Session(profile_name=...)"
        )
    if callable(getattr(session, "create_client", None)):
        raise ConfigurationError(
            "session is a session of botocore: wrap it, as in boto3.Session(botocore_session=session)"
        )
    if _is_resource(session):
        raise ConfigurationError(f"session must be a boto3.Session, not the resource {shown(session)}")
    if _service_of(session) is not None:
        instead = "pass it as client=" if _service_of(session) == "dynamodb" else "pass a boto3.Session"
        raise ConfigurationError(f"session is a client of {_service_of(session)}, not a session: {instead}")
    if not callable(getattr(session, "client", None)):
        raise ConfigurationError(f"session must be a boto3.Session, not {shown(session)}")


def require_endpoint_url(endpoint_url: object) -> None:
    """Refuse an endpoint that is no text; whether it is a URL, botocore says.

    Raises:
        ConfigurationError: It is not a string.
    """
    if endpoint_url is not None and not isinstance(endpoint_url, str):
        raise ConfigurationError(f"endpoint_url must be a string, not {shown(endpoint_url)}")


def _is_resource(given: object) -> bool:
    return getattr(getattr(given, "meta", None), "client", None) is not None and hasattr(given.meta, "resource_model")  # type: ignore[attr-defined] # just looked at


def _is_session(given: object) -> bool:
    makes_clients = callable(getattr(given, "client", None)) or callable(getattr(given, "create_client", None))
    return makes_clients and getattr(given, "meta", None) is None


def _service_of(given: object) -> str | None:
    """The service that a client of botocore is for; None for all else."""
    model = getattr(getattr(given, "meta", None), "service_model", None)
    name = getattr(model, "service_name", None)
    return name if isinstance(name, str) else None


def _require_synchronous(what: str, given: object) -> None:
    packages = {kind.__module__.partition(".")[0] for kind in type(given).__mro__}
    if packages & _ASYNC_PACKAGES:
        raise ConfigurationError(
            f"{what} is of {', '.join(sorted(packages & _ASYNC_PACKAGES))}, whose methods must be awaited: pass one of "
            "boto3, to ddb_lease.aio too, which sends its requests on threads"
        )
