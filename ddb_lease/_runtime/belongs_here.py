"""Objects that belong to one process: they are neither copied nor pickled.

Invariant: a copy of a lease or a bucket would be one more object that renews and releases, and that nobody told of a
fork. So copying raises a `TypeError` that says what to pass instead, in place of whatever pickle finds first.
"""

from __future__ import annotations

from typing import ClassVar, NoReturn, SupportsIndex


class BelongsHere:
    """Refuses `copy.copy`, `copy.deepcopy`, `pickle`, and what builds on them (multiprocessing, cloudpickle)."""

    _instead: ClassVar[str]

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        name = type(self).__name__
        raise TypeError(f"a {name} belongs to its process, and cannot be copied or pickled: {self._instead}")
