"""The synchronous driver: runs an operation against a store, on the calling thread.

Invariants:

- The operation decides. The driver only sends requests, waits, and feeds the answers' dates to `ServiceTime`.
- An interrupt ends a run at any point. The driver's caller cleans up what the operation left open.
- A request whose signature was refused for its time has not happened. It is signed anew and sent again at once: that is
  the rest of one sending, and no retry. The operation gets the last answer only.
- What keeps requests from being answered is logged, as the operation that waits says nothing: see `Telling`.
"""

from __future__ import annotations

import contextvars
import math
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from ddb_lease._operations.sync_time import ask_while
from ddb_lease._protocol.messages import (
    Answer,
    AtOnce,
    Each,
    Effect,
    Look,
    Pause,
    Rejected,
    Reply,
    Request,
    Unsent,
)
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.instrumentation import Observer
from ddb_lease._runtime.parallel import Parallel
from ddb_lease._runtime.ports import Sender, Wakeup
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.telling import Meanwhile, Telling
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.service_time import ServiceTime
from ddb_lease._state.signing_time import SigningTime

Result = TypeVar("Result")

_DOUBT_LOOKS: Final = 10  # three that agree with one another are enough
_DOUBT_SECONDS: Final = 0.1


class Driver:
    """Carries out requests of one bucket, or of one rate.

    Args:
        sender: Sends the requests.
        time: Learns from the answers' dates.
        signing: By which time the sender signs; it learns from refusals.
        runtime: Its heartbeat checks again when deadlines have moved.
        state: The bucket's state: the sender must fit its stored lease length. None for a rate, which has no deadlines.
        whose: Whose requests these are, for the log.
        meanwhile: How it is decided in an outage, for the log; None: requests wait.
    """

    def __init__(
        self,
        *,
        sender: Sender,
        time: ServiceTime,
        signing: SigningTime,
        runtime: Runtime,
        state: BucketState | None = None,
        whose: str = "DynamoDB",
        meanwhile: Meanwhile | None = None,
    ) -> None:
        self._sender = sender
        self._telling = Telling(whose, meanwhile)
        self._time = time
        self._signing = signing
        self._state = state
        self._settings = state and state.settings
        self._runtime = runtime

    def perform(self, request: Request) -> Answer:
        """Send one request once, and learn the time from its answer."""
        refusals = 1
        while True:
            sent = self._time.steady()
            reply = self._sender.send(request)
            received = self._time.steady()
            # Before anything else is sent, as it may be because of this answer.
            again = (
                isinstance(reply.answer, Rejected)
                and reply.answer.untimely
                and self._signing.refused(reply.date, received=received, refusals=refusals)
            )
            if reply.genuine and self._time.observe(sent=sent, received=received, date=reply.date):
                self._look_again()
            if not again:
                break
            refusals += 1
        self._telling.note(request, reply, sent=sent, now=received)
        return reply.answer

    def perform_at_once(self, looks: Sequence[Look], *, observe: Observer | None) -> Each:
        """Send these looks at the same time, and learn the time from each answer.

        The calling thread sends them too: without workers it only takes longer. An interrupt of the calling thread ends
        it at once, and leaves looks under way.

        Args:
            looks: What to send.
            observe: Called with each and its answer, on this thread, when all are answered.
        """
        answers: dict[int, Answer] = {}
        raised: list[BaseException] = []
        caller = threading.get_ident()

        def send(number: int, _go: int) -> bool:
            try:
                answers[number] = self.perform(looks[number])
            except BaseException as error:
                if threading.get_ident() == caller and not isinstance(error, Exception):
                    raise
                raised.append(error)
            return False

        def job(number: int) -> Callable[[int], bool]:
            surroundings = contextvars.copy_context()  # tracing finds the request's parent there
            return lambda go: surroundings.run(send, number, go)

        runtime = self._runtime
        # A wakeup of its own: a wake for the acquire must not get lost here.
        Parallel(
            [job(number) for number in range(len(looks))],
            workers=runtime.heartbeat().workers,
            clock=runtime.clock,
            wakeup=runtime.wakeup(),
            deadline=math.inf,  # each request has its timeouts
        ).run()
        if raised:
            raise raised[0]
        if observe is not None:
            for number, look in enumerate(looks):
                observe(look, answers[number])
        return Each(answers=tuple(answers[number] for number in range(len(looks))))

    def not_sent(self, request: Request, cause: Exception) -> Answer:
        """Note that a request could not even be sent; returns what counts as its answer."""
        now = self._time.steady()
        answer = Unsent(cause=cause)
        self._telling.note(request, Reply(answer=answer, genuine=False, date=None), sent=now, now=now)
        return answer

    def run(self, operation: Operation[Result], wakeup: Wakeup, *, observe: Observer | None = None) -> Result:
        """Run an operation to its end.

        Args:
            operation: What to run.
            wakeup: What to wait on.
            observe: Called with each request and its answer, on this thread.

        Returns:
            The operation's result.

        Raises:
            BaseException: What the operation raises, or what interrupts it. The operation is then not resumed: the
                interrupt may have come in the middle of it.
        """
        try:
            effect = next(operation)
            while True:
                effect = operation.send(self._carry_out(effect, wakeup, observe))
        except StopIteration as stop:
            result: Result = stop.value
            return result

    def _carry_out(self, effect: Effect, wakeup: Wakeup, observe: Observer | None) -> Answer | None:
        if isinstance(effect, Pause):
            if effect.wakeable:
                wakeup.pause(effect.seconds)
            else:
                wakeup.sleep(effect.seconds)
            return None
        if self._state is not None and self._state.settings is not self._settings:
            self._settings = self._state.settings
            self._sender.fit(self._settings.lease_ms / 1000)
        if isinstance(effect, AtOnce):
            return self.perform_at_once(effect.looks, observe=observe)
        answer = self.perform(effect)
        if observe is not None:
            observe(effect, answer)
        return answer

    def _look_again(self) -> None:
        """Tell the heartbeat that deadlines have moved, or that answers disagree on the service's time."""
        if self._state is None:
            return
        heartbeats = self._runtime.heartbeat()
        if self._time.doubtful:
            heartbeats.workers.submit(self._clear_doubt, line=self)
        heartbeats.reconsider_all()

    def _clear_doubt(self) -> None:
        """Answers disagree on the service's time: send reads until they agree."""
        time, state = self._time, self._state
        self.run(
            ask_while(
                lambda: time.doubtful and not (state is not None and state.closed),
                time,
                times=_DOUBT_LOOKS,
                pause=_DOUBT_SECONDS,
            ),
            self._runtime.wakeup(),
        )
