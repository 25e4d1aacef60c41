"""What both kinds of middleware make of their settings and of a request, but for how a request is read and answered.

Invariants: it sends nothing and waits for nothing. It keeps nothing of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from ddb_lease._numbers import checked_timeout, shown
from ddb_lease._protocol.rates.validation import SINGLE
from ddb_lease._runtime.arguments import require_callback
from ddb_lease._runtime.callables import with_article
from ddb_lease.adapters._http import Outcome, as_key, checked_policy_name, is_below, never, outcome_of, unavailable
from ddb_lease.errors import ConfigurationError, StoreUnavailable, TooManyPermits
from ddb_lease.models import Decision, Seconds

Request = TypeVar("Request")
"""An ASGI scope, or a WSGI environment."""

Cost = int | Mapping[str, int]
"""How many permits a request costs; of a limiter with several limits, how many of each."""

_PLAIN: Final = "Give a plain function."

_MAKERS: Final = {"by_header": 'by_header("x-api-key")', "by_client_address": "by_client_address()"}
"""Functions of the adapters that return a `key`, and how they are called."""


class Rules(Generic[Request]):
    """What a middleware does with requests, by its settings.

    Args:
        limiter: A `RateLimiter`, or one of its keys.
        kinds: What limiters and keys of the middleware's API are.
        key: Whose permits a request takes; None: the limiter's own.
        cost: How many.
        exempt: Which requests take none.
        path_of: A request's path.
        under: Parents of each key.
        wait: Seconds.
        policy_name: Of the limit without a name.
        fields: Whether clients are told of the limits.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Attributes:
        wait: Seconds that a request waits for its permits.
    """

    def __init__(
        self,
        *,
        limiter: Any,  # noqa: ANN401 - of either API; checked here
        kinds: tuple[type, type],
        key: Callable[[Request], str | None] | None,
        cost: Cost | Callable[[Request], Cost],
        exempt: Callable[[Request], bool] | Sequence[str],
        path_of: Callable[[Request], str],
        under: Sequence[Any],
        wait: Seconds,
        policy_name: str,
        fields: bool,
    ) -> None:
        _require_limiter(limiter, kinds, keys=key is not None)
        if under and key is None:
            raise ConfigurationError("under is for keys: give a key as well")
        _require_made(key)
        require_callback(key, what="key", gets="the request", coroutines=_PLAIN)
        if callable(cost):
            require_callback(cost, what="cost", gets="the request", coroutines=_PLAIN)
        if callable(exempt):
            require_callback(exempt, what="exempt", gets="the request", coroutines=_PLAIN)
        seconds = checked_timeout(wait, what="wait")
        if seconds is None:
            raise ConfigurationError("wait must be a number of seconds: no client waits for ever")
        self.wait = seconds
        self._limiter = limiter
        self._key = key
        self._cost = cost
        self._exempt = exempt if callable(exempt) else _checked_prefixes(exempt)
        self._path_of = path_of
        self._under = under
        self._policy = checked_policy_name(policy_name)
        self._fields = fields
        if not callable(cost):
            limiter.wait_time(**_arguments(dict.fromkeys(_by_limit(cost), 1)))  # refuses limits that there are not
        self._keyless = limiter
        if under:  # refuses what can be nobody's parents
            self._keyless = limiter.key("-", under=under)._as_whole()  # noqa: SLF001 - a view of ours

    def is_exempt(self, request: Request) -> bool:
        """Whether the request takes no permits and is not told of the limits."""
        exempt = self._exempt
        if callable(exempt):
            return bool(exempt(request))
        return bool(exempt) and is_below(self._path_of(request), exempt)

    def cost_of(self, request: Request) -> Mapping[str, int]:
        """How many permits the request takes, by limit; nothing: it takes none.

        Raises:
            ConfigurationError: The user's function has returned nothing of the kind.
        """
        cost = self._cost
        return _by_limit(cost(request) if callable(cost) else cost)

    def limiter_for(self, request: Request) -> Any:  # noqa: ANN401 - of either API
        """The limiter, or the key of it, whose permits the request takes. Without a key, it takes the limiter's.

        Raises:
            ConfigurationError: The user's function has returned no text.
        """
        if self._key is None:
            return self._limiter
        found: object = self._key(request)
        if found is not None and not isinstance(found, str):
            raise ConfigurationError(f"key must return a string or None, not {_kind(found)}")
        key = as_key(found)
        return self._keyless if key is None else self._limiter.key(key, under=self._under)

    @staticmethod
    def arguments(wanted: Mapping[str, int]) -> Mapping[str, int]:
        """How a limiter's method is asked for these permits."""
        return _arguments(wanted)

    def outcome(self, decision: Decision, wanted: Mapping[str, int]) -> Outcome:
        """What becomes of a request that was decided."""
        return outcome_of(decision, wanted, policy=self._policy, fields=self._fields)

    def failed(self, error: StoreUnavailable | TooManyPermits, wanted: Mapping[str, int]) -> Outcome:
        """What becomes of a request that could not be decided, or never can be admitted."""
        if isinstance(error, TooManyPermits):
            return never(wanted, policy=self._policy)
        return unavailable(wanted, policy=self._policy)


def _require_limiter(limiter: object, kinds: tuple[type, type], *, keys: bool) -> None:
    if not isinstance(limiter, kinds):
        home = kinds[0].__module__.rpartition(".")[0]
        raise ConfigurationError(f"limiter must be a RateLimiter of {home}, or a key of one, not {shown(limiter)}")
    if isinstance(limiter, kinds[1]) and keys:
        raise ConfigurationError("the limiter is a key, and has none of its own: give key=None, or its RateLimiter")


def _require_made(key: object) -> None:
    """Refuse a function that returns a key: it would be called with each request, as with its settings."""
    call = _MAKERS.get(getattr(key, "__name__", ""))
    if call is not None and str(getattr(key, "__module__", "")).startswith("ddb_lease.adapters."):
        raise ConfigurationError(f"key must be what {getattr(key, '__name__', '')} returns: write key={call}")


def _kind(value: object) -> str:
    """What a function has returned, without what it holds: that may be the request, with a client's secrets."""
    return with_article(type(value).__qualname__)


def _by_limit(cost: object) -> Mapping[str, int]:
    permits = {SINGLE: cost} if isinstance(cost, int) else cost
    if isinstance(cost, bool) or not isinstance(permits, Mapping):
        raise ConfigurationError(f"cost must be a whole number, or one for each limit, not {_kind(cost)}")
    for count in permits.values():
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ConfigurationError(f"cost must be a whole number from 0 up, not {_number(count)}")
    return {name: count for name, count in permits.items() if count}


def named(value: object) -> str:
    """What was given for a name: shown if it is text, and else only its kind, as it may be a whole request."""
    return shown(value) if isinstance(value, str) else _kind(value)


def _number(value: object) -> str:
    return shown(value) if isinstance(value, int | float) else _kind(value)


def _arguments(wanted: Mapping[str, int]) -> Mapping[str, int]:
    return {"n": wanted[SINGLE]} if len(wanted) == 1 and SINGLE in wanted else wanted


def _checked_prefixes(prefixes: object) -> tuple[str, ...]:
    if isinstance(prefixes, str) or not isinstance(prefixes, Sequence):
        raise ConfigurationError(f"exempt must be a function or a list of paths, not {shown(prefixes)}")
    for prefix in prefixes:
        if not isinstance(prefix, str) or not prefix.startswith("/") or not prefix.strip("/"):
            raise ConfigurationError(f"exempt must have paths such as '/health', and not {shown(prefix)}")
    return tuple(prefix.rstrip("/") for prefix in prefixes)
