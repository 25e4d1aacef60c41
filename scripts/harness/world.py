"""The world: simulated time, and threads of which exactly one runs at a time.

Invariants:

- True time is a number that jumps from one event to the next. Nothing waits for real.
- The shipped code is synchronous, so each simulated thread (`Actor`) is a real one, borrowed from a pool; it runs until
  it suspends itself, and nothing else runs meanwhile. The queue of events alone decides which actor runs next: the same
  schedule gives the same run, on any machine.
- Events happen on the thread of the actor that suspended itself last. Mostly the next event is that actor's own answer,
  and then no thread switch is needed. An event wakes one actor at most, and does so last; an event that does more with
  actors (such as killing some) is scheduled `apart`, and happens on the thread that called `run`.
- An actor is woken with a value or an exception. When a process dies, its actors end: each is interrupted wherever it
  is, and whatever it does while unwinding has no effect.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """The actor's process died: it unwinds, and can do nothing more."""


class World:
    """Simulated time and its events.

    Attributes:
        now: True time, in seconds since the epoch; the service's clocks are near it.
        after_each: Called after each event, to check the invariants.
        faults: Exceptions that escaped from actors: bugs.
    """

    def __init__(self, *, now: float, after_each: Callable[[], None] = lambda: None) -> None:
        self.now = now
        self.after_each = after_each
        self.faults: list[tuple[str, BaseException]] = []
        self.current: Actor | None = None
        self.events = 0
        self._queue: list[tuple[float, int, Callable[[], None], bool]] = []
        self._serial = itertools.count()
        self._actors: list[Actor] = []
        self._baton = threading.Lock()
        self._baton.acquire()
        self._until = now
        self._stop: Callable[[], bool] = lambda: True
        self._done = False
        self._error: BaseException | None = None
        self._next: Actor | None = None  # the actor that the current event has woken
        self._happening = False  # whether an event that is not apart happens now
        self._awaited = False  # whether the actor that runs now was woken by somebody who waits for it

    def at(self, when: float, happens: Callable[[], None], *, apart: bool = False) -> None:
        """Schedule something at a moment of true time; events of the same moment happen in the order of the calls."""
        heapq.heappush(self._queue, (max(when, self.now), next(self._serial), happens, apart))

    def after(self, seconds: float, happens: Callable[[], None], *, apart: bool = False) -> None:
        """Schedule something some seconds from now."""
        self.at(self.now + seconds, happens, apart=apart)

    def run(self, until: float, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until a moment, or until a condition holds."""
        self._until, self._stop, self._done = until, stop, False
        while not self._done:
            hand = self._go_on(here=True)
            if hand is not None:
                hand.lock.release()
                self._baton.acquire()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if not stop():
            self.now = max(self.now, until)

    def _go_on(self, *, here: bool = False) -> _Hand | None:
        """Run events on the calling thread until an actor has to run; returns the thread of that actor.

        None if the thread that called `run` has to continue: all is done, or the next event is one apart. `here` says
        that the caller is that thread.
        """
        queue, until, stop = self._queue, self._until, self._stop
        try:
            while queue and queue[0][0] <= until and not stop():
                if queue[0][3] and not here:
                    return None
                self.now, _, happens, apart = heapq.heappop(queue)
                self.events += 1
                self._happening = not apart
                happens()
                self._happening = False
                if self._next is not None:
                    self.current, self._next = self._next, None
                    return self.current.hand
                self.after_each()
        except BaseException as error:  # it belongs to the caller of `run`
            self._happening, self._next, self._error = False, None, error
        self._done = True
        return None

    def gave_way(self, hand: _Hand) -> bool:
        """The actor that ran on a thread has suspended itself, or ended: find out what comes next.

        Returns whether that same thread continues at once; otherwise it has to wait for its next actor.
        """
        self.current = None
        if self._awaited:
            self._awaited = False
            self._baton.release()
            return False
        following: _Hand | None = None
        try:
            self.after_each()
        except BaseException as error:
            self._error, self._done = error, True
        else:
            following = self._go_on()
        if following is hand:
            return True
        (self._baton if following is None else following.lock).release()
        return False

    def adopt(self, actor: Actor) -> None:
        """Register an actor, so that it ends with the world."""
        self._actors.append(actor)

    def close(self) -> None:
        """End every actor."""
        for actor in list(self._actors):
            actor.kill()

    # Between actors and the loop.

    def forget(self, actor: Actor) -> None:
        """An actor has ended."""
        self._actors.remove(actor)

    def lend(self) -> _Hand:
        """A thread from the pool."""
        hand = _pool.pop() if _pool else _Hand()
        hand.world = self
        return hand

    def switch_to(self, actor: Actor, hand: _Hand) -> None:
        """Run an actor: from the end of this event; outside of events and in one apart, now, until it suspends."""
        if self._happening:
            assert self._next is None, "an event wakes one actor at most"
            self._next = actor
            return
        before, self.current, self._awaited = self.current, actor, True
        hand.lock.release()
        self._baton.acquire()
        self.current = before

    def ended(self, actor: Actor, hand: _Hand) -> None:
        """An actor has done its job: its thread is free."""
        self.forget(actor)
        _pool.append(hand)


class _Hand:
    """A real thread that runs the jobs of actors, one after another, of one world after another."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.actor: Actor | None = None
        self.world: World | None = None
        threading.Thread(target=self._work, name="simulated", daemon=True).start()

    def _work(self) -> None:
        goes_on = False
        while True:
            if not goes_on:
                self.lock.acquire()
            actor, world = self.actor, self.world
            assert actor is not None and world is not None
            actor.live()
            self.actor = self.world = None
            world.ended(actor, self)
            goes_on = world.gave_way(self)
            del actor, world


_pool: list[_Hand] = []
"""Threads that are free. They wait for ever, and do not keep the interpreter from ending."""


class Actor:
    """One simulated thread.

    Attributes:
        waiting: Counts its suspensions, so that a wake that is too late for one does not end the next.
    """

    def __init__(self, world: World, name: str, job: Callable[[], object]) -> None:
        self.name = name
        self.waiting = 0
        self.dead = False
        self.alive = True
        self._world = world
        self._job = job
        self.hand: _Hand | None = None
        self._value: Any = None
        self._error: BaseException | None = None

    def suspend(self) -> Any:
        """Called on the actor's own thread: wait to be woken.

        Returns:
            The value that it is woken with.

        Raises:
            BaseException: The exception that it is woken with.
        """
        if self.dead:
            raise Killed
        hand = self.hand
        assert hand is not None
        if not self._world.gave_way(hand):
            hand.lock.acquire()
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._value

    def wake(self, value: Any = None, *, error: BaseException | None = None) -> None:
        """Run it until it suspends itself again or ends, see `World.switch_to`."""
        if not self.alive:
            return
        self.waiting += 1
        self._value, self._error = value, error
        if self.hand is None:
            if error is not None:
                self.alive = False  # killed before it began
                self._world.forget(self)
                return
            self.hand = self._world.lend()
            self.hand.actor = self
        self._world.switch_to(self, self.hand)

    def kill(self) -> None:
        """Interrupt it for good."""
        self.dead = True
        self.wake(error=Killed())

    def live(self) -> None:
        """Its job, on its thread."""
        try:
            self._job()
        except Killed:
            pass
        except BaseException as error:
            self._world.faults.append((self.name, error))
        self.alive = False
