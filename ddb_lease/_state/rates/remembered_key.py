"""What a process remembers of a key's item: as much as decisions need, in little memory.

Invariants:

- A process may use a hundred thousand keys. Of nearly all, no more is known than how far each limit is charged, so that
  is kept as one tuple, and made a `KeyState` again when it is asked for. Any other state is kept as it is.
- What comes back decides as what was kept would. Only the lanes are dropped: an attempt looks for itself in the answer
  that it gets, and never here.
- A limit that holds nothing has ``reach == tat``, as the library writes it. An item that was edited is kept whole.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from ddb_lease._protocol.rates.records import KeyState, LimitState


class _Shape(NamedTuple):
    """What many keys have in common: the names of the limits that were charged, and the policy's `rev`."""

    names: tuple[str, ...]
    rev: int


Remembered: TypeAlias = KeyState | tuple[Any, ...] | None
"""A key's item as it is kept; a tuple has the `_Shape`, and then each limit's `tat`."""

_NO_LANES: Final[dict[int, str]] = {}


def remembered(state: KeyState | None) -> Remembered:
    """An item, to be kept."""
    if state is None:
        return None
    limits = state.limits
    if not (state.holds or state.override or state.override_rev or state.blocked_until) and all(
        limit.held == 0 and limit.reach == limit.tat for limit in limits.values()
    ):
        return (_shape(tuple(limits), state.rev), *(limit.tat for limit in limits.values()))
    return replace(state, lanes=_NO_LANES)


def recalled(kept: Remembered) -> KeyState | None:
    """An item that was kept."""
    if not isinstance(kept, tuple):
        return kept
    shape: _Shape = kept[0]
    limits = {name: LimitState(tat=tat, reach=tat) for name, tat in zip(shape.names, kept[1:], strict=True)}
    return KeyState(limits=limits, rev=shape.rev)


class _Keeps(Protocol):
    kept: Remembered


class Known:
    """An attribute that is a key's item, of an object that keeps it in `kept`."""

    def __get__(self, keeper: _Keeps, _owner: type) -> KeyState | None:
        return recalled(keeper.kept)

    def __set__(self, keeper: _Keeps, state: KeyState | None) -> None:
        keeper.kept = remembered(state)


@lru_cache(maxsize=256)
def _shape(names: tuple[str, ...], rev: int) -> _Shape:
    return _Shape(names, rev)
