"""Who may ask the engine: programs that know its access key and address it as this machine, and no web page.

Invariants: no I/O, no clock. A refusal says nothing of the tables, and comes before everything else, the engine's own
paths and the lock included.

Signatures are not checked: whoever knows the key can read the file that it is in, and so is the owner.
"""

import hmac

from ddb_lease.local.messages import HttpRequest, HttpResponse, error_response

# A browser sends at least one of these with every request that a page makes; no AWS client does.
_BROWSER_HEADERS = ("origin", "sec-fetch-site")

# A page whose name has been pointed at 127.0.0.1 sends that name. A tunnel or a proxy may have another port.
_OWN_NAMES = frozenset({"127.0.0.1", "localhost"})

_ALGORITHM = "AWS4-HMAC-SHA256"
_CREDENTIAL = "Credential="


def refusal(request: HttpRequest, *, access_key_id: str | None) -> HttpResponse | None:
    """The error for a request that must not reach the tables, or None.

    Args:
        request: With each header once.
        access_key_id: What the request must be signed with; None admits every key.
    """
    if any(name in request.headers for name in _BROWSER_HEADERS):
        return error_response(403, "AccessDeniedException", "requests from web pages are refused")
    if not _is_addressed_to_us(request):
        return error_response(403, "AccessDeniedException", "the Host of a request must be 127.0.0.1 or localhost")
    if access_key_id is not None and not hmac.compare_digest(_key(request).encode(), access_key_id.encode()):
        return error_response(
            403,
            "UnrecognizedClientException",
            "the embedded engine has an access key of its own: use ddb_lease.local.connect(), the session of "
            "ddb_lease.local.start(), or --local",
        )
    return None


def credential(request: HttpRequest) -> list[str]:
    """The parts of the request's credential: access key, date, region, service and a constant; empty if it has none."""
    # AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, SignedHeaders=..., Signature=...
    algorithm, _, parameters = request.headers.get("authorization", "").partition(" ")
    if algorithm != _ALGORITHM:
        return []
    named = [part.strip() for part in parameters.split(",") if part.strip().startswith(_CREDENTIAL)]
    return named[0].removeprefix(_CREDENTIAL).split("/") if len(named) == 1 else []


def authorization(access_key_id: str) -> str:
    """The header by which our own requests, which nobody signs, show the key."""
    return f"{_ALGORITHM} {_CREDENTIAL}{access_key_id}/-/-/-/aws4_request"


def _is_addressed_to_us(request: HttpRequest) -> bool:
    name, _, port = request.headers.get("host", "").partition(":")
    return name.lower() in _OWN_NAMES and (not port or port.isdigit())


def _key(request: HttpRequest) -> str:
    return next(iter(credential(request)), "")
