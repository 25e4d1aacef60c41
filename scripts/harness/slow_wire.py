"""A TCP proxy to an engine on which answers may hang, trickle, or never come.

Invariants:

- What happens to a piece of an answer is drawn from one seeded source; requests are passed on as they are.
- It holds back nothing for ever: what hangs goes on after `LONGEST` seconds, or when the wire closes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from random import Random

LOOPBACK = "127.0.0.1"
LONGEST = 12.0
"""Seconds: longer than any timeout of a client of short leases."""
TRICKLE = 0.3
"""Seconds between two bytes that trickle: shorter than a read timeout, which such an answer never meets."""
OFTEN = {"hangs": 0.02, "trickles": 0.02, "is cut": 0.02}
"""How likely each trouble is for a piece of an answer, mostly all of it."""


class SlowWire:
    """Connects clients to an engine, badly.

    Attributes:
        endpoint_url: Where clients connect.
        met: How often each trouble was met.
    """

    def __init__(self, endpoint_url: str, chance: Random) -> None:
        self._target = (LOOPBACK, int(endpoint_url.rpartition(":")[2]))
        self._listener = socket.create_server((LOOPBACK, 0))
        self.endpoint_url = f"http://{LOOPBACK}:{self._listener.getsockname()[1]}"
        self.met: Counter[str] = Counter()
        self._chance = chance
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._ends: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> SlowWire:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with self._lock:
            ends = [self._listener, *self._ends]
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(self._target)
                with self._lock:
                    self._ends |= {near, far}
                threading.Thread(target=self._ask, args=(near, far), daemon=True).start()
                threading.Thread(target=self._answer, args=(far, near), daemon=True).start()

    def _ask(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                far.sendall(data)
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_WR)

    def _answer(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                self._pass_on(data, near)
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._ends -= {near, far}
        for end in (near, far):
            end.close()

    def _pass_on(self, data: bytes, near: socket.socket) -> None:
        with self._lock:
            drawn, seconds = self._chance.random(), self._chance.uniform(0.5, LONGEST)
        for trouble, likely in OFTEN.items():
            if drawn < likely:
                self.met[trouble] += 1
                break
            drawn -= likely
        else:
            return near.sendall(data)
        if trouble == "is cut":
            return near.shutdown(socket.SHUT_RDWR)
        if trouble == "hangs":
            self._closing.wait(seconds)
            return near.sendall(data)
        sent = 0
        for sent in range(int(seconds / TRICKLE)):
            near.sendall(data[sent : sent + 1])
            if self._closing.wait(TRICKLE):
                break
        return near.sendall(data[sent + 1 :])
