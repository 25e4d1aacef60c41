"""What a rate limit is in HTTP: header fields, statuses, problem documents, and the client's address. Values only.

Invariants:

- No I/O, no clock, no limiter: a `Decision` comes in, header fields and a response go out.
- No text of a client's is in a field or a body: keys are in neither, and policies' names are checked when given.
- Fields are those of draft-ietf-httpapi-ratelimit-headers-11 (23 May 2026), in structured fields (RFC 9651). Problem
  documents are RFC 9457's, of the draft's types.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ddb_lease._numbers import as_seconds, shown
from ddb_lease._protocol.rates.validation import SINGLE
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Decision, Limit, LimitDecision

Fields = tuple[tuple[str, str], ...]

TOO_MANY_REQUESTS: Final = "429 Too Many Requests"
SERVICE_UNAVAILABLE: Final = "503 Service Unavailable"

OUTAGE_SECONDS: Final = 5
"""`Retry-After` of a request that is denied without the service: an outage is rarely over within a second."""

_LONGEST_SECONDS: Final = 10**9
"""Of a time in a field; structured fields have integers of 15 digits."""

_KEY_BYTES: Final = 512
"""Of a limiter's key."""

_LONGEST_NAME: Final = 64
"""Of a policy's name: it is in every response twice."""

_IPV6_BITS: Final = 128

_LONGEST_ADDRESS: Final = 80
"""Characters of an address in brackets, with a zone and a port: 45 of an IPv6 address, and some more."""

_TYPES: Final = "https://iana.org/assignments/http-problem-types#"
_QUOTA: Final = ("quota-exceeded", "Request cannot be satisfied as assigned quota has been exceeded")
_CAPACITY: Final = (
    "temporary-reduced-capacity",
    "Request cannot be satisfied due to temporary server capacity constraints",
)
"""Types of problems, and their titles, as the draft registers them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """The response to a request that is denied.

    Attributes:
        status: Code and reason.
        fields: Its header fields, all of them.
        body: A problem document.
    """

    status: str
    fields: Fields
    body: bytes

    @property
    def code(self) -> int:
        """The status code."""
        return int(self.status[:3])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What becomes of a request.

    Attributes:
        fields: To be added to the application's response.
        denial: The response in place of the application's; None: the request is admitted.
    """

    fields: Fields = ()
    denial: Denial | None = None


# Of a decision.


def outcome_of(decision: Decision, wanted: Mapping[str, int], *, policy: str, fields: bool) -> Outcome:
    """What a decision means for the request.

    Args:
        decision: Of the limiter.
        wanted: The permits that the request took or would have taken, by limit.
        policy: What the limit without a name is called.
        fields: Whether clients are told of the limits.
    """
    retry_after = None if decision.allowed else _retry_after(decision)
    short = [name for name, count in wanted.items() if _is_short(decision, name, count)] or [decision.tightest]
    told = _rate_limit_fields(decision, policy=policy, short=short, most=retry_after) if fields else ()
    if retry_after is None:
        return Outcome(fields=told)
    names = [_name_of(limit, policy) for limit in short]
    if decision.decided_by == "table":
        return Outcome(denial=_denial(TOO_MANY_REQUESTS, _QUOTA, names, retry_after=retry_after, fields=told))
    return Outcome(denial=_denial(SERVICE_UNAVAILABLE, _CAPACITY, names, retry_after=retry_after, fields=told))


def never(wanted: Mapping[str, int], *, policy: str) -> Outcome:
    """What becomes of a request that costs more than a burst: it is denied, and no wait helps."""
    names = [_name_of(limit, policy) for limit in wanted]
    return Outcome(denial=_denial(TOO_MANY_REQUESTS, _QUOTA, names, retry_after=None, fields=()))


def unavailable(wanted: Mapping[str, int], *, policy: str) -> Outcome:
    """What becomes of a request that nobody decides, as the service does not answer: it is denied."""
    names = [_name_of(limit, policy) for limit in wanted]
    return Outcome(denial=_denial(SERVICE_UNAVAILABLE, _CAPACITY, names, retry_after=OUTAGE_SECONDS, fields=()))


def checked_policy_name(name: object) -> str:
    """A policy's name, which is a structured field's string.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isascii() and name.isprintable():
        return str(name)
    raise ConfigurationError(f"policy_name must be 1 to {_LONGEST_NAME} printable ASCII characters, not {shown(name)}")


def _retry_after(decision: Decision) -> int:
    seconds = _whole(decision.retry_after)
    return seconds if decision.decided_by == "table" else max(seconds, OUTAGE_SECONDS)


def _is_short(decision: Decision, limit: str, count: int) -> bool:
    standing = decision.limits.get(limit)
    return standing is not None and standing.remaining < count


def _rate_limit_fields(decision: Decision, *, policy: str, short: Sequence[str], most: int | None) -> Fields:
    settings = decision.settings
    if not settings:
        return ()
    policies = ", ".join(_policy_item(_name_of(name, policy), limit) for name, limit in settings.items())
    if decision.decided_by in {"allow", "deny"}:  # nothing is known of what is left
        return (("RateLimit-Policy", policies),)
    limits = ", ".join(
        _limit_item(_name_of(name, policy), standing, settings[name], most=most if name in short else None)
        for name, standing in decision.limits.items()
        if name in settings
    )
    return (("RateLimit-Policy", policies), ("RateLimit", limits))


@functools.lru_cache(maxsize=1024)
def _policy_item(name: str, limit: Limit) -> str:
    """A limit as a quota `q` in a window of `w` whole seconds: as many as its rate admits in the time of its burst."""
    interval = _interval(limit)
    burst = 1 if limit.burst is None else limit.burst
    window = _whole(burst * interval)
    quota = max(burst, math.floor(window / interval + 1e-6))
    return f"{_string(name)};q={quota};w={window}"


def _limit_item(name: str, standing: LimitDecision, limit: Limit, *, most: int | None) -> str:
    """What is left, `r`, for the next `t` seconds.

    If the limit is short, `most` is what `Retry-After` says, and the window ends by then.

    A client that spreads `r` over `t` keeps to the rate: the draft wants the ratio of the two capped (section 6).
    """
    left = standing.remaining
    window = _whole(left * _interval(limit) if left else standing.retry_after)
    return f"{_string(name)};r={left};t={window if most is None else min(window, most)}"


def _interval(limit: Limit) -> float:
    return as_seconds(limit.per) / limit.permits


def _whole(seconds: float) -> int:
    """Whole seconds, rounded up, and one at least."""
    return max(1, math.ceil(min(seconds, _LONGEST_SECONDS) - 1e-6))


def _name_of(limit: str, policy: str) -> str:
    return policy if limit == SINGLE else limit


@functools.lru_cache(maxsize=1024)
def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _denial(
    status: str, problem: tuple[str, str], policies: Sequence[str], *, retry_after: int | None, fields: Fields
) -> Denial:
    kind, title = problem
    if retry_after is None:
        detail = "The request costs more than the quota ever allows."
    else:
        detail = f"Try again in {retry_after} s."
    document = {
        "type": _TYPES + kind,
        "title": title,
        "status": int(status[:3]),
        "detail": detail,
        "violated-policies": sorted(set(policies)),
    }
    body = json.dumps(document).encode()
    own = (("Content-Type", "application/problem+json"), ("Content-Length", str(len(body))))
    retry = () if retry_after is None else (("Retry-After", str(retry_after)),)
    return Denial(status=status, fields=own + retry + fields, body=body)


# Of a request.


def as_key(text: str | None) -> str | None:
    """A text of a client's as a limiter's key: None if it is empty, its SHA-256 if it is too long or no Unicode."""
    if not text:
        return None
    try:
        if len(text.encode()) <= _KEY_BYTES:
            return text
    except UnicodeEncodeError:
        pass
    return digest_of(text)


def digest_of(text: str) -> str:
    """A text's SHA-256, in place of it."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def client_address(peer: str | None, forwarded: str, *, trusted_proxies: int, ipv6_prefix: int) -> str | None:
    """The address of a client, or of its network.

    Args:
        peer: Who has connected.
        forwarded: `X-Forwarded-For`; several of them joined with commas.
        trusted_proxies: How many proxies have appended to it, one after the other.
        ipv6_prefix: How many bits of an IPv6 address are its network.

    Returns:
        It in its usual form; None if nothing is known. A request that has not passed all of the proxies is its peer's.
    """
    if trusted_proxies:
        entries = forwarded.split(",")
        if len(entries) >= trusted_proxies:
            found = _network(entries[-trusted_proxies].strip(), ipv6_prefix)
            if found is not None:
                return found
    return None if not peer else _network(peer, ipv6_prefix) or peer


def _network(text: str, ipv6_prefix: int) -> str | None:
    """An address as a key; None if it is none. What is longer than any address is not remembered."""
    return None if len(text) > _LONGEST_ADDRESS else _known_network(text, ipv6_prefix)


@functools.lru_cache(maxsize=4096)
def _known_network(text: str, ipv6_prefix: int) -> str | None:
    """An address in any of the forms that proxies write, as a key; None if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if ipv6_prefix == _IPV6_BITS:
        return str(address)
    return str(ipaddress.ip_network((int(address), ipv6_prefix), strict=False))


def checked_proxies(trusted_proxies: object, ipv6_prefix: object) -> tuple[int, int]:
    """How an address is found, checked.

    Raises:
        ConfigurationError: It is nothing that can be counted.
    """
    if isinstance(trusted_proxies, bool) or not isinstance(trusted_proxies, int) or trusted_proxies < 0:
        raise ConfigurationError(f"trusted_proxies must be a whole number from 0 up, not {shown(trusted_proxies)}")
    if isinstance(ipv6_prefix, bool) or not isinstance(ipv6_prefix, int) or not 0 < ipv6_prefix <= _IPV6_BITS:
        raise ConfigurationError(f"ipv6_prefix must be a whole number from 1 to 128, not {shown(ipv6_prefix)}")
    return trusted_proxies, ipv6_prefix


def is_below(path: str, prefixes: Sequence[str]) -> bool:
    """Whether a path is one of these, or below one; never one with `..`, which a server might resolve to another."""
    if not any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes):
        return False
    return ".." not in path.split("/")
