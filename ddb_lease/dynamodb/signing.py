"""Signing: requests through boto3 that carry the service's time in their signatures, and refusals for the time.

Invariants:

- botocore signs each request, by the wall clock. Where `SigningTime` says so, it is signed anew before it is sent, by
  botocore's own signer with the time replaced: by the same credentials, for the same region and service.
- Only requests that are sent by `call` are signed anew. The hooks are on one client, never on a session; on a client
  of the user's own they leave the user's requests, and signed URLs, as they are.
- Which headers are signed, and how they are written, botocore decides: here a request may be one that we do not know.
  `signature` is for those that we do (ADR 0016). Both take the names of headers and the form of times from there.
- What is signed in another way (bearer tokens, several regions, not at all) stays as botocore made it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from ddb_lease._state.signing_time import SigningTime
from ddb_lease.dynamodb.reasons import error_code
from ddb_lease.dynamodb.signature import AUTHORIZATION, AUTHORIZED, DATE, TOKEN, authorization, stamp

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials
    from botocore.exceptions import ClientError
    from botocore.signers import RequestSigner

_UNTIMELY: Final = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
"""Error codes that say that the time of a signature was refused."""

_SIGNATURE_REFUSED: Final = {"InvalidSignatureException", "SignatureDoesNotMatch"}
"""Error codes that say so if their text does. Else the credentials are refused."""

_ITS_TIME_REFUSED: Final = re.compile(r"signature (expired|not yet current)", re.IGNORECASE)

_SIGNER: Final = "ddb_lease.signer"

_signing: ContextVar[SigningTime | None] = ContextVar("ddb_lease.signing", default=None)
"""Set while a request of ours is under way that is to be signed by another time than the wall clock's."""


def is_untimely(code: str, said: str) -> bool:
    """Whether an error of an AWS service refuses only the time of the signature: the request was not carried out."""
    return code in _UNTIMELY or (code in _SIGNATURE_REFUSED and _ITS_TIME_REFUSED.search(said) is not None)


def refused_as_untimely(error: ClientError) -> bool:
    """Whether an error refuses only the time of the signature: see `is_untimely`."""
    said = error.response.get("Error", {})
    return is_untimely(error_code(error), str(said.get("Message", "")))


def call(
    method: Callable[..., Mapping[str, Any]], arguments: Mapping[str, Any], signing: SigningTime
) -> Mapping[str, Any]:
    """Call a client's method; its request is signed by the time that `signing` says. Returns and raises as it does."""
    if signing.at() is None:
        return method(**arguments)
    before = _signing.set(signing)
    try:
        return method(**arguments)
    finally:
        _signing.reset(before)


def time_of_call() -> float | None:
    """The time by which the request that `call` sends on this thread is signed; None: the wall clock's."""
    signing = _signing.get()
    return None if signing is None else signing.at()


def hook(client: Any) -> None:  # noqa: ANN401 - it may be one of the user's, or what behaves like one
    """Let `call` sign this client's requests. May be repeated; a stand-in without events is left as it is."""
    register = getattr(getattr(getattr(client, "meta", None), "events", None), "register_last", None)
    if register is not None:
        register("before-sign.dynamodb", _note_signer, unique_id=_SIGNER)
        # After the signer itself, and after all that may still change what is signed.
        register("request-created.dynamodb", _sign_anew, unique_id="ddb_lease.signature")


def _note_signer(request: AWSRequest, request_signer: RequestSigner, **_: object) -> None:
    if _signing.get() is not None:
        request.context[_SIGNER] = request_signer


def _sign_anew(request: AWSRequest, **_: object) -> None:
    signer, at = request.context.pop(_SIGNER, None), time_of_call()
    if signer is None or at is None:
        return
    signed = AUTHORIZED.fullmatch(str(request.headers.get(AUTHORIZATION, "")))
    if signed is None:
        return
    region, service = signed["region"], signed["service"]
    credentials = signer.get_auth_instance(service, region, "v4").credentials
    if credentials.access_key == signed["key"]:  # else this request has credentials of its own
        sign(request, credentials, region=region, service=service, at=at)


def sign(request: AWSRequest, credentials: ReadOnlyCredentials, *, region: str, service: str, at: float) -> None:
    """Sign a request (AWS Signature Version 4) by a given time, in place of the signature that it may have.

    Args:
        request: The request; its headers are changed.
        credentials: What to sign with.
        region: The region that it is for.
        service: The service that it is for, as signatures name it.
        at: The time, in seconds since the epoch. Out of the calendar, it leaves the request as it is.
    """
    # Here, and not with this module: it takes long to import, and nearly nobody needs it.
    from botocore.auth import SigV4Auth  # noqa: PLC0415

    try:
        moment = stamp(at)
    except (ValueError, OverflowError, OSError):
        return
    auth = SigV4Auth(credentials, service, region)
    request.context["timestamp"] = moment
    _replace(request, AUTHORIZATION, None)
    _replace(request, "Date", None)
    _replace(request, DATE, moment)
    _replace(request, TOKEN, credentials.token or None)
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    names = auth.signed_headers(auth.headers_to_sign(request))
    _replace(request, AUTHORIZATION, authorization(auth.scope(request), names=names, signature=signature))


def _replace(request: AWSRequest, name: str, value: str | None) -> None:
    # Assigning adds a second header of the name.
    del request.headers[name]
    if value is not None:
        request.headers[name] = value
