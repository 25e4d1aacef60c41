"""Templates: what stays the same in all requests of one operation, taken from one that botocore prepared.

So the endpoint, its rules (FIPS, dual stack, account endpoints), the user agent and the signed headers are botocore's
own, and none of that is worked out anew for each call.

Invariants:

- A template is made only of a request whose signature it can reproduce. Where it cannot (another signer, a signed
  header that it does not know), there is none.
- What may change from one call to the next is never part of it: time, signature, token, length, and the ids of a call.
- No I/O.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import strptime
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ddb_lease.dynamodb.signature import AUTHORIZATION, AUTHORIZED, DATE, STAMP, TOKEN, Credentials, Scope, Signer

_LENGTH: Final = "Content-Length"
_OF_ONE_CALL: Final = frozenset(
    name.lower()
    for name in (
        *(AUTHORIZATION, DATE, TOKEN, _LENGTH),
        # Each call has its own, or none.
        *("amz-sdk-invocation-id", "amz-sdk-request", "X-Amzn-Trace-Id"),
    )
)
_SIGNED: Final = frozenset({"content-type", "host", "x-amz-target", DATE.lower(), TOKEN.lower()})
"""What we know to sign: another header may be one of a single call, such as a checksum."""

_NAMES_AN_ACCOUNT: Final = re.compile(r"(\d{12})\.")
_BREAK: Final = re.compile(r"[\r\n]")
_PORTS: Final = {"http": 80, "https": 443}


class Headers(dict[str, str]):
    """The headers of one request, and how they are sent.

    Args:
        headers: The headers, by name. Nobody may change them afterwards.
        lines: The same as they are sent, with the empty line at the end.
    """

    __slots__ = ("_lines", "_made")

    def __init__(self, headers: Mapping[str, str], *, lines: bytes) -> None:
        super().__init__(headers)
        self._made = headers
        self._lines = lines

    @property
    def lines(self) -> bytes | None:
        """How they are sent; None if somebody on the way has changed them, as tracing libraries do."""
        return self._lines if self == self._made else None

    def copy(self) -> Headers:
        """Itself: urllib3 takes a copy to leave its caller's headers as they are, and nobody else has these."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The requests of one operation.

    Attributes:
        url: Where they go.
        path: The path in it.
        headers: Their headers that stay the same.
        lines: The same as they are sent, before those that change.
        values: The values of signed headers that stay the same, by name in small letters.
        signed: The names of all signed headers, sorted.
        signer: Signs them.
        account: The account whose endpoint it is; None if the endpoint depends on none.
    """

    url: str
    path: str
    headers: Mapping[str, str]
    lines: str
    values: Mapping[str, str]
    signed: tuple[str, ...]
    signer: Signer
    account: str | None

    def fits(self, credentials: Credentials) -> bool:
        """Whether requests with these credentials go to the same place."""
        return account_of(credentials) == self.account

    def filled_in(self, body: bytes, credentials: Credentials, *, at: float) -> Headers:
        """All headers of one request, signed at this time, in seconds since the epoch.

        Raises:
            ValueError, OverflowError, OSError: The time is out of the calendar, or the credentials fit into no header.
        """
        changing = self.signer.headers(
            path=self.path, fixed=self.values, signed=self.signed, body=body, credentials=credentials, at=at
        )
        changing[_LENGTH] = str(len(body))
        lines = _lines(changing)
        if any(map(_BREAK.search, changing.values())):
            raise ValueError("a line break in the credentials")
        return Headers({**self.headers, **changing}, lines=f"{self.lines}{lines}\r\n".encode("ascii"))


def account_of(credentials: Credentials) -> str | None:
    """The account that the credentials name, as newer versions of botocore know it; its endpoints depend on it."""
    account: str | None = getattr(credentials, "account_id", None)
    return account


def template_of(
    url: str, headers: Iterable[tuple[str, str | bytes]], body: bytes, credentials: Credentials
) -> Template | None:
    """The template of a request that botocore prepared; None if our signature of it would be another than botocore's.

    Args:
        url: Where it goes.
        headers: Its headers.
        body: Its body.
        credentials: What it was signed with.
    """
    texts = {name: value.decode() if isinstance(value, bytes) else value for name, value in headers}
    if not all(value.isascii() for value in texts.values()):
        return None  # botocore sends its bytes as they are
    if any(_BREAK.search(text) for header in texts.items() for text in header):
        return None  # http.client refuses it, or folds the line
    lower = {name.lower(): value for name, value in texts.items()}
    authorized = AUTHORIZED.fullmatch(lower.get(AUTHORIZATION.lower(), ""))
    where = urlsplit(url)
    if authorized is None or where.query or where.path not in {"", "/"}:
        return None
    region, service, names = authorized.group("region", "service", "names")
    kept = {name: value for name, value in texts.items() if name.lower() not in _OF_ONE_CALL}
    values = {name.lower(): " ".join(value.split()) for name, value in kept.items()} | {"host": _host(where)}
    usual = {"Host": values["host"], "Accept-Encoding": "identity"}  # http.client adds them
    account = account_of(credentials)
    named = _NAMES_AN_ACCOUNT.match(where.hostname or "")
    if not _SIGNED.issuperset(names.split(";")) or (named is not None and named[1] != account):
        return None
    signed = tuple(name for name in names.split(";") if name in values or name == DATE.lower())
    template = Template(
        url=url,
        path="/",
        headers=kept,
        lines=_lines({name: value for name, value in usual.items() if name.lower() not in lower} | kept),
        values={name: values[name] for name in signed if name in values},
        signed=signed,
        signer=Signer(Scope(region=region, service=service)),
        account=account,
    )
    try:
        at = timegm(strptime(lower[DATE.lower()], STAMP))
    except (LookupError, ValueError):
        return None
    ours = template.filled_in(body, credentials, at=at)
    return template if ours[AUTHORIZATION] == lower[AUTHORIZATION.lower()] else None


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def _host(where: SplitResult) -> str:
    name = where.hostname or ""
    name = f"[{name}]" if ":" in name else name
    return name if where.port in {None, _PORTS.get(where.scheme)} else f"{name}:{where.port}"
