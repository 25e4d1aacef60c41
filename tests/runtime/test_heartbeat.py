"""Heartbeats: what is due is served in time, whatever fails, hangs or raises."""

import contextlib
import functools
import gc
import math
import os
import threading
import time
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease._runtime import heartbeat, process
from ddb_lease._runtime.clock import SystemClock
from ddb_lease._runtime.heartbeat import LATE_SECONDS, NAP_SECONDS, Heartbeats, Naps, Schedule, start_thread
from ddb_lease._runtime.ports import Wakeup
from ddb_lease._runtime.workers import Workers
from ddb_lease.testing.manual_heartbeat import InlineWorkers
from tests.interrupting import interrupted
from tests.support import EndingWakeup, MovableClock

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=200)
LONG = 30.0  # more than any test needs; a bound for failure, never an expectation


class Alone:
    """A group of those that have nothing to do with one another."""

    def ahead(self):
        return 0.0

    def renew(self, leases):
        pass


class Together:
    """A group whose members are best renewed together; notes the members of each `renew`."""

    def __init__(self, ahead):
        self.seconds, self.members, self.sent, self.renewed = ahead, [], [], []

    def patient(self, clock, due, **how):
        member = Patient(clock, due, **how)
        member.group = self
        self.members.append(member)
        return member

    def ahead(self):
        return self.seconds

    def renew(self, leases):
        self.renewed.append(leases)
        self.sent.append([len(member.beats) for member in self.members])


class Patient:
    """Something to be looked after, on a clock that tests move."""

    group = Alone()

    def __init__(self, clock, due, *, every=10.0, raises=None, renews=True):
        self.clock, self.due, self.every, self.raises, self.renews = clock, due, every, raises, renews
        self.beats = []
        self.beaten = threading.Event()

    def due_in(self):
        return self.due - self.clock.steady()

    def beat(self, *, slept):
        self.beats.append((self.clock.steady(), slept))
        self.beaten.set()
        self.due = self.clock.steady() + self.every
        if self.raises:
            raise self.raises
        return self.renews


class ChangedAmidABeat(Patient):
    """Due in two seconds by what another thread does, once, after its beat was over and its due time read."""

    changed = False

    def __init__(self, clock, due, change):
        super().__init__(clock, due)
        self.change = change

    def due_in(self):
        due_in = super().due_in()
        if self.beats and not self.changed:
            self.changed = True
            self.due = self.clock.steady() + 2.0
            self.change(self)
        return due_in


class CountedWakeup(Wakeup):
    """Counts how often it was woken; a pause on it is over at once."""

    wakes = 0

    def pause(self, seconds):
        pass

    def wake(self):
        self.wakes += 1


class EndOfTest(BaseException):
    """Leaves the thread's loop, which survives everything else: its recovery meets it again."""


class PassingWakeup(Wakeup):
    """Pausing passes the time of a clock, and at times more; after so many pauses the thread ends."""

    def __init__(self, clock, *, late=0.0, most):
        super().__init__()
        self.clock, self.late, self.most, self.pauses = clock, late, most, []

    def pause(self, seconds):
        if len(self.pauses) == self.most:
            raise EndOfTest
        self.pauses.append(seconds)
        self.clock.pass_time(seconds + self.late)


class Here:
    """In place of a thread: the test itself runs what it would run, until its wakeup ends it."""

    def __call__(self, run):
        self.run = run
        return self

    def is_alive(self):
        return True

    def until_it_ends(self, beats):
        beats.ensure_running()
        with pytest.raises(EndOfTest):
            self.run()


class Threadless(Heartbeats):
    """Heartbeats whose turns the test takes."""

    started = 0

    def __init__(self, clock, workers):
        self.wakeup = CountedWakeup()
        self.naps = Naps(clock, self.wakeup)
        super().__init__(clock, workers, naps=self.naps)

    def ensure_running(self):
        self.started += 1


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def beats(clock):
    return Threadless(clock, Workers(clock))


# Schedule.


def test_what_is_due_comes_in_order_and_once():
    schedule = Schedule()
    for name, due in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        schedule.put(name, due)
    assert schedule.first() == 1.0
    assert schedule.due(0.9) == []
    assert schedule.due(2.0) == ["a", "b"]
    assert schedule.due(2.0) == []
    assert sorted(schedule.all()) == ["a", "b", "c"], "what was due stays scheduled, to be moved"


def test_moving_counts_the_last_time_only():
    schedule = Schedule()
    schedule.put("a", 1.0)
    schedule.move("a", 5.0)
    assert schedule.due(4.9) == []
    schedule.move("a", 2.0)
    assert schedule.due(9.0) == ["a"]


def test_what_was_dropped_is_neither_due_nor_moved_back_in():
    schedule = Schedule()
    schedule.put("a", 1.0)
    schedule.drop("a")
    schedule.drop("a")
    schedule.move("a", 1.0)
    assert schedule.due(9.0) == []
    assert schedule.all() == []


def test_things_due_at_the_same_time_are_not_compared():
    schedule = Schedule()
    things = [object() for _ in range(5)]
    for thing in things:
        schedule.put(thing, 1.0)
    assert schedule.due(1.0) == things


def test_what_was_moved_meanwhile_is_not_moved_back():
    schedule = Schedule()
    schedule.put("a", 1.0)
    entry = schedule.entry("a")
    schedule.move("a", 2.0, unless_moved_from=entry)
    assert schedule.due(2.0) == ["a"]
    schedule.move("a", 9.0, unless_moved_from=entry)
    assert schedule.due(9.0) == []
    assert schedule.entry("b") is None


def test_an_empty_schedule_has_no_first():
    assert Schedule().first() is None


@REPEATABLE
@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "move", "drop", "due"]), st.integers(0, 4), st.integers(0, 20)), max_size=60
    )
)
def test_a_schedule_says_what_a_plain_dictionary_would(steps):
    schedule, model, told = Schedule(), {}, set()
    for what, who, when in steps:
        if what == "put":
            schedule.put(who, when)
            model[who] = when
            told.discard(who)
        elif what == "move":
            schedule.move(who, when)
            if who in model:
                model[who] = when
                told.discard(who)
        elif what == "drop":
            schedule.drop(who)
            model.pop(who, None)
        else:
            expected = {who for who, due in model.items() if due <= when and who not in told}
            assert set(schedule.due(when)) == expected
            told |= expected
        waiting = [due for who, due in model.items() if who not in told]
        assert set(schedule.all()) == set(model)
        if waiting:
            assert schedule.first() <= min(waiting), "early at most, never late"


@pytest.mark.parametrize("due", [100_000.0, math.inf])
def test_what_was_dropped_is_not_kept_in_memory(due):
    # A process that takes and gives back leases of a day, a few each second, must not keep all of them for hours.
    schedule, alive = Schedule(), []
    for _ in range(2_000):
        thing = type("Thing", (), {})()
        alive.append(weakref.ref(thing))
        schedule.put(thing, 50.0)
        schedule.move(thing, due)
        schedule.drop(thing)
    del thing
    gc.collect()
    schedule.due(60.0)
    assert sum(ref() is not None for ref in alive) < 200


# Turns, on a clock that the test moves.


def test_a_turn_does_what_is_due_and_nothing_else(beats, clock):
    soon, late = Patient(clock, 1_005.0), Patient(clock, 1_008.0)
    beats.add(soon)
    beats.add(late)
    beats.turn(slept=False)
    assert (soon.beats, late.beats) == ([], [])
    clock.pass_time(5.0)
    beats.turn(slept=False)
    assert (len(soon.beats), len(late.beats)) == (1, 0)
    clock.pass_time(3.0)
    beats.turn(slept=False)
    assert (len(soon.beats), len(late.beats)) == (1, 1)


def test_a_lease_that_is_due_soon_is_renewed_with_one_of_its_group_that_is_due(beats, clock):
    group = Together(2.0)
    for patient in (group.patient(clock, 1_005.0), group.patient(clock, 1_007.0), group.patient(clock, 1_007.1)):
        beats.add(patient)
    stranger = Patient(clock, 1_006.0)
    beats.add(stranger)
    clock.pass_time(4.0)
    beats.turn(slept=False)
    assert group.sent == [], "nobody comes early where nobody is due"
    clock.pass_time(1.0)
    beats.turn(slept=False)
    assert group.sent == [[1, 1, 0]], "once all have been looked after"
    assert stranger.beats == []
    clock.pass_time(1.0)
    beats.turn(slept=False)
    assert len(stranger.beats) == 1, "who was passed over is due when it was"
    clock.pass_time(1.1)
    beats.turn(slept=False)
    assert group.sent == [[1, 1, 0], [1, 1, 1]]


def test_a_group_is_handed_those_that_are_to_be_renewed_and_no_others(beats, clock):
    group = Together(0.0)
    due, not_to_be_renewed, broken = (
        group.patient(clock, 1_005.0),
        group.patient(clock, 1_005.0, renews=False),
        group.patient(clock, 1_005.0, raises=OSError("no")),
    )
    for patient in (broken, not_to_be_renewed, due):
        beats.add(patient)
    clock.pass_time(5.0)
    beats.turn(slept=False)
    assert group.renewed == [[due]]
    due.renews = False
    clock.pass_time(10.0)
    beats.turn(slept=False)
    assert len(due.beats) == 2
    assert group.renewed == [[due]]


def test_two_groups_come_early_by_their_own_time(beats, clock):
    patient_group, hasty = Together(3.0), Together(0.0)
    one, other = hasty.patient(clock, 1_005.0), hasty.patient(clock, 1_006.0)
    early = patient_group.patient(clock, 1_006.0)
    for patient in (one, other, early):
        beats.add(patient)
    clock.pass_time(5.0)
    beats.turn(slept=False)
    assert (len(one.beats), len(other.beats), len(early.beats)) == (1, 0, 0)
    clock.pass_time(1.0)
    beats.turn(slept=False)
    assert (len(one.beats), len(other.beats), len(early.beats)) == (1, 1, 1)


@pytest.mark.parametrize("what", ["ahead", "renew"])
def test_a_group_in_trouble_keeps_nobody_from_being_looked_after(beats, clock, what):
    broken, whole = Together(1.0), Together(1.0)
    setattr(broken, what, lambda *_: 1 / 0)
    members = [group.patient(clock, 1_005.0) for group in (broken, whole)]
    for patient in members:
        beats.add(patient)
    clock.pass_time(5.0)
    beats.turn(slept=False)
    assert [len(patient.beats) for patient in members] == [1, 1]
    assert whole.sent == [[1]]
    clock.pass_time(10.0)
    beats.turn(slept=False)
    assert [len(patient.beats) for patient in members] == [2, 2]


def test_after_a_beat_it_is_due_when_it_then_says(beats, clock):
    patient = Patient(clock, 1_005.0, every=7.0)
    beats.add(patient)
    for _ in range(40):
        clock.pass_time(1.0)
        beats.turn(slept=False)
    assert [at for at, _ in patient.beats] == [1_005.0, 1_012.0, 1_019.0, 1_026.0, 1_033.0, 1_040.0]


def test_jobs_that_have_waited_for_long_leave_no_time_to_sleep_and_not_less_than_none(beats):
    beats.workers.relief_in = lambda: -0.3  # the heartbeat itself was held up
    assert beats.nap() == 0.0


def test_a_defect_before_the_nap_keeps_nobody_from_their_turn(clock):
    turns = []

    class Defective(Heartbeats):
        def nap(self):
            raise ValueError("timeouts must be non-negative")

        def turn(self, *, slept):
            turns.append(slept)

    thread, wakeup = Here(), PassingWakeup(clock, most=2)
    thread.until_it_ends(Defective(clock, InlineWorkers(clock), naps=Naps(clock, wakeup), start=thread))
    assert len(turns) == 2
    assert wakeup.pauses == [LATE_SECONDS] * 2


@pytest.mark.parametrize("by", ["reconsider", "reconsider_all"])
def test_a_due_time_that_was_read_too_early_is_read_again(beats, clock, by):

    class Renewing:
        """Asked while its renewal is under way; the renewal fails before the answer is used."""

        seconds, asked, group = 100.0, 0, Alone()

        def due_in(self):
            self.asked += 1
            if self.asked == 2:
                said, self.seconds = self.seconds, 0.5
                beats.reconsider(self)  # a worker's word
                return said
            return self.seconds

        def beat(self, *, slept):
            raise AssertionError

    renewing = Renewing()
    beats.add(renewing)
    beats.reconsider(renewing) if by == "reconsider" else beats.reconsider_all()
    assert beats.due_in() == 0.5


def test_what_is_always_due_does_not_spin(beats, clock):
    patient = Patient(clock, 1_000.0, every=0.0)
    beats.add(patient)
    beats.turn(slept=False)
    beats.turn(slept=False)
    assert len(patient.beats) == 1
    assert beats.nap() > 0.0


def test_sleep_is_told_to_those_that_are_due(beats, clock):
    patient = Patient(clock, 1_000.0)
    beats.add(patient)
    beats.turn(slept=True)
    assert patient.beats == [(1_000.0, True)]


@pytest.mark.parametrize("error", [OSError("no"), SystemExit(), KeyboardInterrupt()], ids=repr)
def test_a_beat_that_raises_harms_no_other_and_is_tried_again(beats, clock, caplog, error):
    broken, sound = Patient(clock, 1_000.0, raises=error), Patient(clock, 1_000.0)
    beats.add(broken)
    beats.add(sound)
    beats.turn(slept=False)
    assert len(sound.beats) == 1
    assert "a heartbeat failed" in caplog.text
    clock.pass_time(10.0)
    beats.turn(slept=False)
    assert (len(broken.beats), len(sound.beats)) == (2, 2)


def test_a_beat_that_raises_is_not_tried_again_at_once(beats, clock):
    broken = Patient(clock, 1_000.0, raises=OSError("no"))
    beats.add(broken)
    beats.turn(slept=False)
    beats.turn(slept=False)
    assert len(broken.beats) == 1


def test_until_the_nap_is_planned_anything_scheduled_wakes_the_thread(beats, clock):
    beating = Patient(clock, 2_000.0)
    beats.add(beating)
    assert beats.wakeup.wakes == 1
    beats.reconsider(beating)
    assert beats.wakeup.wakes == 2
    beats.reconsider_all()
    assert beats.wakeup.wakes == 3


@pytest.mark.parametrize(("due_in", "rings"), [(0.5, 1), (2.0, 0)])
def test_during_a_nap_only_what_is_due_before_its_end_wakes_the_thread(beats, clock, due_in, rings):
    beats.naps.sleep(1.0)
    beats.add(Patient(clock, clock.steady() + due_in))
    assert beats.wakeup.wakes == rings
    beats.reconsider_all()
    assert beats.wakeup.wakes == 2 * rings


def test_one_heartbeat_serves_a_process():
    heartbeats = process.heartbeats()
    assert isinstance(heartbeats, Heartbeats)
    assert process.heartbeats() is heartbeats


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_has_a_heartbeat_and_workers_of_its_own_where_nothing_of_its_parents_waits():
    clock = SystemClock()
    parents, patient = process.heartbeats(), Patient(clock, clock.steady() + 1_000.0)
    parents.add(patient)
    assert patient in parents.scheduled()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            childs = process.heartbeats()
            seen = (childs is not parents, childs.workers is not parents.workers, childs.scheduled())
            os.write(write, repr(seen).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        assert answer.read() == b"(True, True, [])"
    os.waitpid(child, 0)
    assert patient in parents.scheduled()
    parents.drop(patient)


def test_one_that_cannot_say_when_it_is_due_harms_no_other(beats, clock):
    class Speechless(Patient):
        def beat(self, *, slept):
            super().beat(slept=slept)
            self.due = None  # due_in will raise

    broken, sound = Speechless(clock, 1_000.0), Patient(clock, 1_000.0)
    beats.add(broken)
    beats.add(sound)
    for _ in range(3):
        beats.turn(slept=False)
        clock.pass_time(10.0)
    assert len(sound.beats) == 3


def test_what_is_dropped_in_its_own_beat_stays_dropped(beats, clock):
    patient = Patient(clock, 1_000.0)
    patient.beat = lambda *, slept: beats.drop(patient)
    beats.add(patient)
    beats.turn(slept=False)
    assert beats.scheduled() == []


def test_reconsidering_brings_forward_what_has_become_due(beats, clock):
    patients = [Patient(clock, 1_100.0) for _ in range(3)]
    for patient in patients:
        beats.add(patient)
    patients[0].due = 1_000.0
    beats.reconsider(patients[0])
    beats.turn(slept=False)
    assert [len(p.beats) for p in patients] == [1, 0, 0]
    for patient in patients:
        patient.due = 1_000.0
    beats.reconsider_all()
    beats.turn(slept=False)
    assert [len(p.beats) for p in patients] == [2, 1, 1]


def test_reconsidering_brings_nothing_forward_that_is_due_later(beats, clock):
    patients = [Patient(clock, 1_100.0) for _ in range(2)]
    for patient in patients:
        beats.add(patient)
    clock.pass_time(99.0)
    for reconsider in (lambda: beats.reconsider(patients[0]), beats.reconsider_all):
        reconsider()
        beats.turn(slept=False)
        assert [p.beats for p in patients] == [[], []]


def test_what_was_dropped_is_not_reconsidered(beats, clock):
    patient = Patient(clock, 1_000.0)
    beats.add(patient)
    beats.drop(patient)
    beats.reconsider(patient)
    beats.reconsider_all()
    beats.turn(slept=False)
    assert patient.beats == []


def test_no_nap_is_longer_than_a_sleeping_machine_may_go_unnoticed(beats, clock):
    assert beats.nap() == NAP_SECONDS
    beats.add(Patient(clock, 1_500.0))
    assert beats.nap() == NAP_SECONDS
    beats.add(Patient(clock, 1_000.25))
    assert beats.nap() == 0.25
    beats.add(Patient(clock, 900.0))
    assert beats.nap() == 0.0


def test_waking_up_much_later_than_planned_means_that_the_process_was_not_running(beats, clock):
    assert not beats.overslept()
    clock.pass_time(LATE_SECONDS)
    assert not beats.overslept()
    clock.pass_time(0.01)
    assert beats.overslept()


def test_a_worker_that_is_done_before_the_turn_is_over_has_the_last_word(beats, clock):
    patient = ChangedAmidABeat(clock, 1_000.0, beats.reconsider)  # as a worker does that finishes just then
    beats.add(patient)
    beats.turn(slept=False)
    assert patient.changed
    clock.pass_time(2.0)
    beats.turn(slept=False)
    assert len(patient.beats) == 2


def test_what_was_dropped_before_its_beat_and_is_added_amid_it_is_due_when_the_adder_said(beats, clock):
    class Dropping(Patient):
        def beat(self, *, slept):
            beats.drop(patient)  # another thread does
            return super().beat(slept=slept)

    patient = ChangedAmidABeat(clock, 1_000.0, beats.add)
    beats.add(Dropping(clock, 999.0))
    beats.add(patient)
    beats.turn(slept=False)
    assert patient.changed
    clock.pass_time(2.0)
    beats.turn(slept=False)
    assert len(patient.beats) == 2


def test_adding_makes_sure_that_the_thread_runs(beats, clock):
    beats.add(Patient(clock, 2_000.0))
    assert beats.started == 1


# The thread.


# Interrupts: they strike on users' threads.


@pytest.mark.parametrize("step", ["put", "put again", "move", "drop"])
def test_an_interrupt_amid_a_step_leaves_a_schedule_that_serves_all_others(step):
    for strike_at in range(1, 100):
        schedule = Schedule()
        struck, group = step_interrupted(schedule, step, strike_at)
        assert group() is None, "the schedule keeps nothing of what was dropped"
        if not struck:
            break
    assert strike_at > 2


def step_interrupted(schedule, step, strike_at):
    """Whether a step was interrupted, at this point; and the group, if anything still refers to it."""
    group, other, one = Alone(), object(), object()
    schedule.put(other, 5.0, group=group)
    if step != "put":
        schedule.put(one, 3.0, group=group)
    steps = {
        "put": functools.partial(schedule.put, one, 4.0, group=group),
        "put again": functools.partial(schedule.put, one, 4.0, group=group),
        "move": functools.partial(schedule.move, one, 4.0),
        "drop": functools.partial(schedule.drop, one),
    }
    struck = interrupted(strike_at, steps[step]) is not None
    if struck:
        assert other in schedule.due_between(0.0, 10.0, of=group)
        found = schedule.due(10.0)
        assert other in found
        assert one in found or step in {"put", "drop"}, "what was scheduled is still served"
    schedule.drop(one)
    schedule.drop(other)
    assert schedule.all() == []
    assert schedule.due_between(0.0, 10.0, of=group) == []
    kept = weakref.ref(group)
    del group, steps
    return struck, kept


def test_an_interrupt_as_stale_entries_are_removed_leaves_the_order(monkeypatch):
    monkeypatch.setattr(heartbeat, "STALE_ENTRIES", 3)
    for strike_at in range(1, 200):
        schedule, ones = Schedule(), [object() for _ in range(4)]
        for number, one in enumerate(ones):
            schedule.put(one, 20.0 - number)

        def move_all(schedule=schedule, ones=ones):
            for _ in range(3):
                for number, one in enumerate(ones):
                    schedule.move(one, 10.0 - number)

        struck = interrupted(strike_at, move_all)
        for one in ones:
            schedule.move(one, 5.0 - ones.index(one))
        assert schedule.due(2.0) == [ones[3]]
        assert schedule.due(9.0) == [ones[2], ones[1], ones[0]]
        if struck is None:
            break
    assert strike_at > 20


class Looping(Heartbeats):
    """Heartbeats whose thread's loop the test runs itself, for so many pauses; each turn is noted, and may fail."""

    def __init__(self, clock, *, late=0.0, most):
        self.wakeup, self.thread = PassingWakeup(clock, late=late, most=most), Here()
        super().__init__(clock, InlineWorkers(clock), naps=Naps(clock, self.wakeup), start=self.thread)
        self.slept, self.defects = [], []

    def turn(self, *, slept):
        self.slept.append(slept)
        if self.defects:
            raise self.defects.pop()

    def loop(self):
        self.thread.until_it_ends(self)


@pytest.mark.parametrize(("late", "slept"), [(0.0, False), (LATE_SECONDS, False), (LATE_SECONDS + 0.01, True)])
def test_each_turn_is_told_whether_the_nap_before_it_took_longer_than_planned(clock, late, slept):
    beats = Looping(clock, late=late, most=3)
    beats.loop()
    assert beats.wakeup.pauses == [NAP_SECONDS] * 3
    assert beats.slept == [slept] * 3


def test_after_the_clock_has_jumped_anything_scheduled_wakes_the_thread(beats, clock):
    beats.naps.sleep(1.0)
    clock.pass_time(600.0)  # the machine was suspended; its thread sleeps on
    beats.add(Patient(clock, clock.steady() + 30.0))
    assert beats.wakeup.wakes == 1


def test_what_is_scheduled_while_a_nap_is_planned_ends_that_nap(clock):
    rung = []

    class Bell(CountedWakeup):
        def pause(self, seconds):
            rung.append((seconds, self.wakes))
            if len(rung) > 1:
                raise EndOfTest

    class Planning(Heartbeats):
        def nap(self):
            seconds = super().nap()
            self.add(Patient(clock, clock.steady() + 0.9))
            return seconds

    thread, naps = Here(), Naps(clock, Bell())
    naps.sleep(0.5)  # the nap before
    thread.until_it_ends(Planning(clock, InlineWorkers(clock), naps=naps, start=thread))
    assert rung[:2] == [(0.5, 0), (NAP_SECONDS, 1)]


def test_after_a_defect_the_thread_goes_on_by_itself_and_soon(clock):
    beats = Looping(clock, most=3)
    beats.defects.append(AssertionError("a defect"))
    beats.loop()
    assert beats.wakeup.pauses == [NAP_SECONDS, LATE_SECONDS, NAP_SECONDS]
    assert len(beats.slept) == 2


def test_a_thread_that_was_just_started_is_not_late(clock):
    beats = Heartbeats(clock, InlineWorkers(clock), start=Here())
    clock.pass_time(3_600.0)  # no lease was taken for an hour
    assert beats.overslept()
    beats.ensure_running()
    assert not beats.overslept()


def test_one_sleep_takes_all_wakes_before_it(clock):
    naps = Naps(clock)
    for _ in range(3):
        naps.wakeup.wake()
    began = time.monotonic()
    naps.sleep(LONG)
    naps.sleep(0.1)
    assert 0.1 <= time.monotonic() - began < LONG


def heartbeat_threads():
    return [t for t in threading.enumerate() if t.name == "ddb-lease-heartbeat"]


class Running(Heartbeats):
    """Real heartbeats, whose thread ends with the test.

    Attributes:
        threads: Each that was started.
    """

    def __init__(self):
        clock, self.wakeup, self.threads = SystemClock(), EndingWakeup(), []
        super().__init__(clock, Workers(clock), naps=Naps(clock, self.wakeup), start=self.started)

    def started(self, run):
        def until_it_ends():
            with contextlib.suppress(SystemExit):
                run()

        self.threads.append(start_thread(until_it_ends))
        return self.threads[-1]

    def end(self):
        self.wakeup.over = True
        self.wakeup.wake()
        for thread in self.threads:
            thread.join(LONG)
            assert not thread.is_alive()


@pytest.fixture
def running():
    beats = Running()
    yield beats
    beats.end()


def test_the_thread_beats_by_itself_and_wakes_for_what_comes_earlier(running):
    clock = SystemClock()
    late = Patient(clock, clock.steady() + 1_000.0)
    running.add(late)
    soon = Patient(clock, clock.steady() + 0.01)
    running.add(soon)
    assert soon.beaten.wait(LONG)
    assert not late.beats


def test_the_thread_survives_a_beat_that_raises_and_a_defect_of_its_own(running, monkeypatch):
    clock = SystemClock()
    turn, nap, raised = running.turn, running.nap, []

    def turn_with_a_defect(*, slept):
        if "turn" not in raised:
            raised.append("turn")
            raise AssertionError("a defect")
        turn(slept=slept)

    def nap_with_a_defect():
        if "nap" not in raised:
            raised.append("nap")
            raise AssertionError("a defect")
        return nap()

    monkeypatch.setattr(running, "turn", turn_with_a_defect)
    monkeypatch.setattr(running, "nap", nap_with_a_defect)
    broken = Patient(clock, 0.0, every=0.01, raises=SystemExit())
    running.add(broken)
    for _ in range(3):
        assert broken.beaten.wait(LONG)
        broken.beaten.clear()
    assert sorted(raised) == ["nap", "turn"]
    assert [thread.is_alive() for thread in running.threads] == [True]


def test_a_thread_that_is_gone_is_started_again(running):
    running.ensure_running()
    running.end()
    running.wakeup.over = False
    patient = Patient(SystemClock(), 0.0)
    running.add(patient)
    assert patient.beaten.wait(LONG)
    assert [thread.is_alive() for thread in running.threads] == [False, True]


def test_there_is_one_thread_however_often_it_is_asked_for(running):
    before = len(heartbeat_threads())
    for _ in range(5):
        running.ensure_running()
    assert len(heartbeat_threads()) == before + 1
    assert running.threads[0].daemon, "it keeps no interpreter from exiting"
