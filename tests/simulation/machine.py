"""The simulator as a Hypothesis state machine: Hypothesis chooses what happens next, and shrinks what fails.

Invariants: only Hypothesis draws here. The oracle checks at every instant of time between two steps, and the finale
checks at the end.
"""

from __future__ import annotations

import contextlib

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ddb_lease._protocol.decisions import WINDOW
from ddb_lease.models import Order
from scripts.harness.network import Fate
from scripts.harness.simulated_process import Process
from tests.simulation.performance import Performance, quiet, windows_of
from tests.simulation.schedule import BY_ID, ENDINGS, HAND_OVER, SETUPS, Deed, Job, Schedule

LEASE = 4.0
_seconds = st.sampled_from([0.001, 0.003, 0.01, 0.1, 0.5, 1.0, 1.3, 2.0, 3.9, 4.5, 8.0])
_at_once = 0.002
_fates = st.one_of(
    st.builds(Fate, st.just("lost"), out=st.none()),
    st.builds(Fate, st.just("unconnected"), out=st.none()),
    st.builds(Fate, st.just("answer lost"), out=_seconds, back=st.none()),
    st.builds(Fate, st.just("slow answer"), out=st.just(_at_once), back=_seconds),
    st.builds(Fate, st.just("stalled"), out=_seconds, back=_seconds, stalls=st.just(True)),
    st.builds(Fate, st.just("slow there"), out=_seconds, back=st.just(_at_once)),
    st.builds(Fate, st.just("twice"), out=st.just(_at_once), back=st.just(_at_once), again=_seconds),
    st.builds(Fate, st.just("answer lost, twice"), out=st.just(_at_once), back=st.none(), again=_seconds),
    st.builds(
        Fate,
        st.just("refused"),
        instead=st.sampled_from(["throttled", "conflict", "throughput", "replicated", "limit", "expired-token"]),
        refuse=st.just(True),
    ),
    st.builds(
        Fate,
        st.just("vague"),
        instead=st.sampled_from(["internal", "unavailable", "crc", "stranger"]),
        refuse=st.just(False),
    ),
    st.builds(Fate, st.just("stale"), stale=st.just(True)),
    st.builds(Fate, st.just("no date"), date=st.none()),
    st.builds(Fate, st.just("odd date"), date=st.sampled_from([-4_000.0, -3.0, -0.6, 0.6, 3.0, 4_000.0])),
)
_processes = st.integers(0, 2)
_jobs = st.builds(
    Job,
    pause=st.just(0.0),
    patient=st.booleans(),
    timeout=st.sampled_from([0.0, 2.0, 9.0]),
    hold=st.sampled_from([0.0, 0.2, 1.5, 20.0]),
    ending=st.sampled_from([*ENDINGS, HAND_OVER, BY_ID]),
    acts=st.booleans(),
    count=st.sampled_from([1, 1, 2]),
    priority=st.sampled_from([0, 0, 5]),
    at_least=st.sampled_from([0.0, 0.0, 1.0, 6.0]),
)


class Leases(RuleBasedStateMachine):
    """Three processes of one bucket, and all that can happen to them."""

    @initialize(
        tokens=st.integers(1, 3),
        setup=st.sampled_from(sorted(set(SETUPS))),
        apart=st.sampled_from([0.0, 0.4, -0.9]),
        seed=st.integers(0, 3),
        due=st.booleans(),
        wishes=st.sampled_from([(), ((2, LEASE), (3, LEASE + 2.0))]),
        window=st.sampled_from([WINDOW, 1]),
        order=st.sampled_from(["any", "fifo"]),
    )
    def begin(
        self,
        *,
        tokens: int,
        setup: str,
        apart: float,
        seed: int,
        due: bool,
        wishes: tuple[tuple[int, float], ...],
        window: int,
        order: Order,
    ) -> None:
        """A bucket, and three processes that want a lease each."""
        schedule = Schedule(
            seed=seed,
            max_tokens=tokens,
            lease_seconds=LEASE,
            jobs=(((),), ((),), ((),)),
            deeds=(),
            odds=1.0,  # faults are given below
            latency=0.002,
            front_ends=(0.0, apart),
            rates=(0.0, 150e-6, -150e-6),
            walls=(0.0, 5e4, -5e4),
            setup=setup,
            due=due,
            wishes=wishes,
            window=window,
            order=order,
            faults={},
        )
        self._silence = contextlib.ExitStack()
        self._silence.enter_context(quiet(None))
        self._silence.enter_context(windows_of(window))
        self.play = Performance(schedule, watch=False)
        self.play.begin()
        self.everybody_wants_a_lease(20.0, "leave")

    @rule(at=_processes, job=_jobs)
    def wants_a_lease(self, at: int, job: Job) -> None:
        """One more thread of a process wants a lease."""
        process = self._process(at)
        if process.alive:
            self.play.work(process, (job,))

    @rule(at=_processes, fate=_fates, later=st.integers(1, 3))
    def a_fault_awaits(self, at: int, fate: Fate, later: int) -> None:
        """One of a process's next requests will meet a fault."""
        process = self._process(at)
        faults = self.play.schedule.faults
        assert faults is not None
        faults[process.name, process.requests + later] = fate

    @rule(seconds=_seconds)
    def time_passes(self, seconds: float) -> None:
        """All that is in progress continues."""
        world = self.play.world
        world.run(world.now + seconds)

    @rule(seconds=st.sampled_from([1.0, LEASE, 2 * LEASE]))
    def much_time_passes(self, seconds: float) -> None:
        """Renewals fall due, leases expire."""
        self.time_passes(seconds)

    @rule(hold=st.sampled_from([0.3, 20.0]), ending=st.sampled_from(["release", "leave"]))
    def everybody_wants_a_lease(self, hold: float, ending: str) -> None:
        """One more thread of each process wants a lease, and waits for it."""
        for at in range(len(self.play.cast)):
            self.wants_a_lease(at, Job(pause=0.0, patient=True, timeout=9.0, hold=hold, ending=ending))

    @rule(
        at=_processes,
        what=st.sampled_from(
            [
                "crash",
                "freeze",
                "stand still",
                "stall",
                "interrupt",
                "close",
                "exit",
                "fork",
                "cut",
                "sweep",
                "shrink",
                "grow",
                "revoke",
                "reorder",
            ]
        ),
        size=st.sampled_from([0.05, 0.3, 0.7, 1.0]),
    )
    def befalls(self, at: int, what: str, size: float) -> None:
        """A mishap, or an operator."""
        self.play.befall(Deed(at=0.0, what=what, process=at, size=size))

    @precondition(lambda self: self._edits < 2)
    @rule(what=st.sampled_from(["edit minted", "delete slot", "delete counter"]), size=st.sampled_from([0.1, 0.5, 0.9]))
    def somebody_edits(self, what: str, size: float) -> None:
        """Somebody edits the table by hand."""
        self._edits += 1
        self.play.befall(Deed(at=0.0, what=what, process=0, size=size))

    @invariant()
    def holds(self) -> None:
        """The oracle checks after each event; here once more, after each step."""
        self.play.oracle.stirred = True
        self.play.check()

    def teardown(self) -> None:
        """Faults are off: a new process must get all that there is."""
        if not hasattr(self, "play"):
            return
        try:
            self.play.finale()
        finally:
            self.play.world.close()
            self._silence.close()

    _silence: contextlib.ExitStack
    play: Performance
    _edits = 0

    def _process(self, at: int) -> Process:
        return self.play.cast[at]
