"""Invocations of a function that a platform ends at a known time, freezes in between, and kills: AWS Lambda's.

Invariants:

- The lease is fitted to the invocation: it is believed at least as long as the invocation may run, so nothing renews
  it, and no thread is started for it. If the platform kills the process, it expires by itself.
- A frozen process renews nothing and claims nothing. After the thaw it claims by the time that the service's answers
  show, not by what it knew before.
- No I/O but the acquire's own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from ddb_lease._numbers import as_seconds, checked_timeout, shown
from ddb_lease._protocol.retry import TRY_SECONDS
from ddb_lease._runtime.acquiring import acquire_held
from ddb_lease._runtime.bucket_core import BucketCore
from ddb_lease._runtime.decorators import Wording, decorate
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease.errors import AcquireTimeout, ConfigurationError
from ddb_lease.models import Data, Seconds, Timing

LONGEST_SECONDS: Final = 900.0
"""The longest that an invocation may take (AWS, "Lambda quotas", function timeout)."""

_SPARE_SECONDS: Final = 0.5
"""A wait, and a release that gets no answer, ends so long before the invocation does: it must be able to say so."""

OnBusy = Callable[[Any, Any], object]

_WITHOUT: Final = Wording(
    name="LeaseBucket.handler",
    inside="Do all work before it returns.",
    otherwise="Lambda calls plain functions: call asyncio.run in one.",
    passes_lease=False,
)
_WITH: Final = Wording(
    name="LeaseBucket.handler",
    inside=_WITHOUT.inside,
    otherwise=_WITHOUT.otherwise,
    passes_lease=True,
)


class _Busy(Exception):
    """There was no slot, for `on_busy`; what the handler itself raises is not taken for it."""

    def __init__(self, error: AcquireTimeout) -> None:
        self.error = error


class Fitting:
    """Acquires leases that fit invocations.

    Args:
        core: The bucket.
        margin: Seconds by which a lease outlasts its invocation.
        timeout: Seconds to wait for a slot at most; None: as long as the invocation may take.
        data: What to attach to each lease.

    Raises:
        ConfigurationError: An argument cannot work.
    """

    def __init__(self, core: BucketCore, *, margin: Seconds, timeout: Seconds | None, data: Data | None) -> None:
        self._core = core
        self._margin = _checked_margin(margin, core.state.timing)
        self._timeout = checked_timeout(timeout)
        self._data = data

    def acquire(self, context: object) -> HeldLease:
        """Lease a slot for the invocation that has this context.

        Raises:
            AcquireTimeout: There is none in time. Else as `LeaseBucket.acquire`.
        """
        left = _remaining(context)
        most = max(0.0, left - _SPARE_SECONDS)
        patient = self._timeout != 0
        wanted = TRY_SECONDS if not patient else most if self._timeout is None else self._timeout
        ends_at = self._core.runtime.clock.steady() + left
        until = ends_at + self._margin
        held = acquire_held(self._core, min(wanted, most), data=self._data, patient=patient, until=until)
        held.release_by = ends_at - _SPARE_SECONDS
        return held


def decorate_handler(
    function: Any,  # noqa: ANN401 - anything may be given
    enter: Callable[[object], AbstractContextManager[Any]],
    *,
    on_busy: OnBusy | None,
) -> Callable[[Any, Any], Any]:
    """Decorate a handler; it gets the lease as first argument, if its first parameter has that name.

    Args:
        function: The handler.
        enter: Makes of the invocation's context what is entered around the handler.
        on_busy: Called with event and context in the handler's place, if `enter` raises `AcquireTimeout`.

    Raises:
        ConfigurationError: The function's body would not run in the call.
    """

    def enter_or_tell(context: object) -> AbstractContextManager[Any]:
        try:
            return enter(context)
        except AcquireTimeout as error:
            raise _Busy(error) from None

    wording = _WITH if _wants_lease(function) else _WITHOUT
    guarded = decorate(function, enter_or_tell, wording=wording, key=lambda _event, context: context)

    @functools.wraps(guarded)
    def handler(event: Any, context: Any) -> Any:  # noqa: ANN401 - the platform's
        try:
            return guarded(event, context)
        except _Busy as busy:
            if on_busy is None:
                raise busy.error from None
        return on_busy(event, context)

    return handler


def _wants_lease(function: object) -> bool:
    try:
        names = inspect.signature(function).parameters if callable(function) else ()
    except (ValueError, TypeError):  # some builtins have none
        return False
    return any(name.strip("_") == "lease" for name in names)


def _checked_margin(margin: Seconds, timing: Timing) -> float:
    if callable(margin):
        raise ConfigurationError("LeaseBucket.handler needs parentheses: write `@bucket.handler()`")
    seconds = as_seconds(margin)
    least = timing.margin_for(LONGEST_SECONDS + seconds) if seconds >= 0 else 0.0
    if not least <= seconds <= LONGEST_SECONDS:
        raise ConfigurationError(
            f"margin must be a number of seconds from {least:.3g} (the margin of a lease of {LONGEST_SECONDS:g} s, see "
            f"Timing) to {LONGEST_SECONDS:g}, not {shown(margin)}"
        )
    return seconds


def _remaining(context: object) -> float:
    ask = getattr(context, "get_remaining_time_in_millis", None)
    if not callable(ask):
        raise ConfigurationError(
            "the context of this invocation has no get_remaining_time_in_millis(): pass Lambda's own, or an object "
            "that has it"
        )
    left = ask()
    if isinstance(left, bool) or not isinstance(left, (int, float)) or not left <= LONGEST_SECONDS * 1000:
        raise ConfigurationError(f"the remaining time must be a number of ms up to 900,000, not {shown(left)}")
    return max(0.0, left / 1000)
