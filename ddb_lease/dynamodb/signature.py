"""Signing: AWS Signature Version 4 of one POST request, with a key that is derived once a day.

Source: "Signature Version 4 signing process" in AWS's documentation. botocore's signer does the same; it derives the
key anew for every request, and works out which headers to sign. Here, botocore has done that once (see `template`).

Invariants:

- No I/O and no clock: the time comes in.
- A signature that this makes is the one that botocore makes of the same headers: `template` uses it only where it has
  reproduced one of botocore's own.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final, Protocol

ALGORITHM: Final = "AWS4-HMAC-SHA256"

DATE: Final = "X-Amz-Date"
TOKEN: Final = "X-Amz-Security-Token"  # noqa: S105 - a header
AUTHORIZATION: Final = "Authorization"

STAMP: Final = "%Y%m%dT%H%M%SZ"
"""How signatures write a time."""

_END: Final = "aws4_request"

AUTHORIZED: Final = re.compile(
    rf"{ALGORITHM} Credential=(?P<key>.+)/\d{{8}}/(?P<region>[^/,]+)/(?P<service>[^/,]+)/{_END}, "
    "SignedHeaders=(?P<names>[^,]+), Signature=[0-9a-f]+"
)
"""A value of the header `AUTHORIZATION`."""


class Credentials(Protocol):
    """botocore's frozen credentials."""

    @property
    def access_key(self) -> str:
        """Its public half."""
        ...

    @property
    def secret_key(self) -> str:
        """The secret."""
        ...

    @property
    def token(self) -> str | None:
        """The session's token; None for a user's permanent key."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a signing key is good for, beside its day."""

    region: str
    service: str


class Signer:
    """Signs requests of one scope. Threads share it without a lock: a race derives the same key twice.

    Args:
        scope: The region and the service.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._derived: tuple[str, str, bytes] = ("", "", b"")  # of which secret, for which day, the key

    def headers(
        self,
        *,
        path: str,
        fixed: Mapping[str, str],
        signed: Sequence[str],
        body: bytes,
        credentials: Credentials,
        at: float,
    ) -> dict[str, str]:
        """The headers that sign a request: its time, its signature, and the session's token if there is one.

        Args:
            path: The path of the URL, encoded; there is no query.
            fixed: The values of headers that are signed and stay the same, by name in small letters.
            signed: The names of all signed headers in small letters, sorted, but for the token's.
            body: What is sent.
            credentials: Whose request it is.
            at: When it is signed, in seconds since the epoch. The service refuses a time some minutes off its own.

        Raises:
            ValueError, OverflowError, OSError: The time is out of the calendar.
        """
        date = stamp(at)
        made = {DATE: date}
        values = {**fixed, DATE.lower(): date}
        if credentials.token:
            made[TOKEN] = values[TOKEN.lower()] = credentials.token
            signed = sorted({*signed, TOKEN.lower()})
        names = ";".join(signed)
        canonical = "\n".join(
            (
                "POST",
                path,
                "",
                *(f"{name}:{values[name]}" for name in signed),
                "",
                names,
                hashlib.sha256(body).hexdigest(),
            )
        )
        day = date[:8]
        scope = f"{day}/{self._scope.region}/{self._scope.service}/{_END}"
        to_sign = f"{ALGORITHM}\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = _hmac(self._key(credentials.secret_key, day), to_sign).hex()
        made[AUTHORIZATION] = authorization(f"{credentials.access_key}/{scope}", names=names, signature=signature)
        return made

    def _key(self, secret: str, day: str) -> bytes:
        of, on, key = self._derived
        if (of, on) != (secret, day):
            key = _hmac(_hmac(f"AWS4{secret}".encode(), day), self._scope.region)
            key = _hmac(_hmac(key, self._scope.service), _END)
            self._derived = (secret, day, key)
        return key


def authorization(credential: str, *, names: str, signature: str) -> str:
    """The value of the header `AUTHORIZATION`, as `AUTHORIZED` reads it.

    Args:
        credential: The access key and the scope.
        names: The names of the signed headers.
        signature: The signature, in hexadecimal digits.
    """
    return f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"


def stamp(at: float) -> str:
    """A time as signatures carry it. Its first eight characters are the date in their scope.

    Raises:
        ValueError, OverflowError, OSError: It is out of the calendar.
    """
    return datetime.fromtimestamp(at, timezone.utc).strftime(STAMP)


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
