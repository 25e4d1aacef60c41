"""The leases that the engine has granted, on disk, so that no successor grants them again while they run.

Invariants:

* A change is written before its request is answered: whoever believes in a lease has it here. It is not synced. A
  killed process loses nothing that it wrote, and a machine that goes down takes the holders with it.
* The tables are in memory and end with the engine. What is here are the times until which they bind: a successor
  refuses writes to a bucket until the last of its predecessor's leases has ended.
* Of a file of an earlier boot nothing is left to wait for: all holders were processes of this machine.
* If a change cannot be written, no write is executed until it could.

Not thread-safe: the caller holds a lock.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ddb_lease.local.clock import Clock, elapsed_s
from ddb_lease.local.folder import Folder
from ddb_lease.local.place import open_private
from ddb_lease.local.writes import RATE_KEY

NAME = "leases.journal"

# A rewrite costs as much as some appended lines for each entry that it keeps.
_LINES_PER_REWRITE = 2000


class Place(NamedTuple):
    """An item's address."""

    region: str
    table: str
    bucket: str
    item: str

    @property
    def whole(self) -> "Place":
        """What is not granted while this item binds: all of a bucket, but one key alone of a rate."""
        return self if self.item.startswith(RATE_KEY) else self._replace(item="")

    @property
    def shown(self) -> str:
        """A bucket's name, or a rate's with the key, for people."""
        if not self.item.startswith(RATE_KEY):
            return self.bucket
        rate, key = self.bucket.rpartition("#")[0], self.item.removeprefix(RATE_KEY)
        return f"{rate}, key {key!r}" if key else rate


Entries = dict[Place, int]
"""Until when each item binds, in milliseconds since the epoch by the engine's clock."""


class Journal:
    """What binds this engine, and what binds it on behalf of its predecessor.

    Args:
        folder: Where it is kept; None keeps it in memory only, for an engine that nobody else finds.
        clock: The engine's clock.

    Raises:
        EngineError, OSError: The file cannot be read or written.
    """

    def __init__(self, folder: Folder | None, *, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._running: Entries = {}
        self._awaited: Entries = {} if folder is None else load(folder, clock=clock)
        self._lines = 0
        self._is_complete = False
        self.complete()

    def complete(self) -> None:
        """Write what could not be written before. Call it before each write of an item.

        Raises:
            EngineError, OSError: That is not possible now.
        """
        if not self._is_complete and self._folder is not None:
            self._rewrite(self._folder)
        self._is_complete = True

    def note(self, changes: Mapping[Place, int]) -> None:
        """Record until when items bind now; 0 if not at all. Returns once that is on disk.

        Raises:
            EngineError, OSError: It is not; the change is remembered, and `complete` tries again.
        """
        changed = {place: until for place, until in changes.items() if self._running.get(place, 0) != until}
        if not changed:
            return
        for place, until_ms in changed.items():
            if until_ms:
                self._running[place] = until_ms
            else:
                del self._running[place]
        if self._folder is None:
            return
        self._is_complete = False
        self._lines += len(changed)
        if self._lines > _LINES_PER_REWRITE + 2 * len(self._running):
            self._rewrite(self._folder)
        else:
            with open_private(self._folder.path / NAME, "ab") as file:
                file.write(_lines(changed))
        self._is_complete = True

    def running(self) -> Entries:
        """What binds this engine still."""
        return _later(self._running, self._now_ms())

    def awaited(self) -> Entries:
        """What bound an earlier engine, and still does: nobody may be granted it anew."""
        self._awaited = _later(self._awaited, self._now_ms())
        return self._awaited

    def forget_awaited(self) -> None:
        """Wait for nobody: the holders are surely dead."""
        self._awaited = {}
        self._is_complete = False
        self.complete()

    def _rewrite(self, folder: Folder) -> None:
        kept = {**self.awaited(), **self.running()}
        self._running = self.running()
        folder.replace(NAME, _head(self._clock) + _lines(kept))
        self._lines = 0

    def _now_ms(self) -> float:
        return self._clock() * 1000


def load(folder: Folder, *, clock: Clock) -> Entries:
    """What binds according to the file, by this clock; nothing if there is no file, or one of an earlier boot."""
    try:
        with open_private(folder.path / NAME, "rb") as file:
            head, *lines = file.read().split(b"\n")
    except FileNotFoundError:
        return {}
    facts = _document(head)
    if not isinstance(facts, dict) or facts.get("boot") != _boot():
        return {}
    # The wall clock may have been stepped between the two engines: their times are compared by the steady clock.
    shift_ms = round((_offset_s(clock) - float(facts["offset_s"])) * 1000) if _boot() else 0
    entries: Entries = {}
    for line in lines:
        match _document(line):
            case [str(region), str(table), str(bucket), str(item), int(until_ms)]:
                entries[Place(region, table, bucket, item)] = until_ms + shift_ms if until_ms else 0
            case _:
                pass  # cut short by the end of its writer, and so never answered for
    return _later(entries, clock() * 1000)


def by_bucket(entries: Entries) -> Entries:
    """The last time for each bucket, and for each key of a rate."""
    last: Entries = {}
    for place, until_ms in entries.items():
        last[place.whole] = max(last.get(place.whole, 0), until_ms)
    return last


def _later(entries: Entries, now_ms: float) -> Entries:
    return {place: until_ms for place, until_ms in entries.items() if until_ms >= now_ms}


def _head(clock: Clock) -> bytes:
    return json.dumps({"boot": _boot(), "offset_s": _offset_s(clock)}).encode()


def _lines(entries: Mapping[Place, int]) -> bytes:
    # Each begins a line, so that one that was cut short spoils no other.
    return b"".join(b"\n" + json.dumps([*place, until_ms]).encode() for place, until_ms in entries.items())


def _document(line: bytes) -> object:
    with contextlib.suppress(ValueError):
        return json.loads(line)
    return None


def _offset_s(clock: Clock) -> float:
    return clock() - elapsed_s()


def _boot() -> str:
    """This run of the machine; empty where the system does not tell, and then clocks are compared as they are."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
