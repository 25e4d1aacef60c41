"""Many workers on few tokens, judged by the referee; and the referee, tested with planted faults."""

from __future__ import annotations

import pytest

from scripts.harness.holders import Job, hold_contest, leases_to_be_had
from scripts.harness.referee import Log, note
from tests.conftest import TABLE

TOKENS = 3
SECONDS = 4.0


@pytest.fixture
def log(tmp_path) -> Log:
    return Log(tmp_path / "notes")


@pytest.fixture
def job(engine, bucket_name, log) -> Job:
    return Job(
        endpoint_url=engine.endpoint_url,
        bucket=bucket_name,
        table=TABLE,
        log=str(log.path),
        tokens=TOKENS,
        seconds=SECONDS,
    )


@pytest.mark.parametrize(("processes", "threads"), [(1, 16), (8, 1)], ids=["16 threads in one process", "8 processes"])
def test_workers_that_compete_never_hold_too_much(job, log, new_bucket, processes, threads):
    contest = hold_contest(Job(**vars(job) | {"threads": threads}), processes=processes)
    assert not contest.troubles
    assert not log.complaints(TOKENS)
    assert len(log.spans()) == contest.grants > TOKENS
    assert_at_rest(new_bucket())


def assert_at_rest(bucket):
    """Nothing leaked, and nothing is there twice: exactly the tokens there are can be had."""
    assert leases_to_be_had(bucket, TOKENS) == TOKENS
    status = bucket.status()
    assert (status.minted, status.in_circulation, status.free) == (TOKENS, TOKENS, TOKENS)


def test_the_referee_catches_a_store_that_drops_the_condition_of_claims(job, log):
    for _ in range(5):  # it is a race, after all
        hold_contest(Job(**vars(job) | {"how": "broken", "seconds": 2.0}), processes=8)
        if log.overlaps():
            break
    assert any("one slot, two holders" in complaint for complaint in log.complaints(TOKENS))


def test_the_referee_catches_two_clients_on_one_slot_through_a_broken_store(job, log, new_bucket):
    """The same without chance: a claim from memory of a slot that another has taken since."""
    from ddb_lease._runtime.runtime import Runtime
    from scripts.harness.holders import Unconditional, note_held

    careful = new_bucket(max_tokens=1)
    careless = new_bucket(max_tokens=1, runtime=Runtime(wrap=Unconditional))
    careless.acquire(timeout=10).release()
    first = careful.acquire(timeout=10)
    note_held(job, first, worker=1)
    second = careless.acquire(timeout=10)
    note_held(job, second, worker=2)
    note_held(job, first, worker=1)
    assert len(log.overlaps()) == 1


# ---- The referee itself.


def test_holders_in_turn_are_beyond_reproach(log):
    beats(log, job=1, slot=0, fence=1, at=(1.0, 2.0))
    beats(log, job=2, slot=1, fence=1, at=(1.5, 3.0))
    beats(log, job=1, slot=0, fence=2, at=(2.1, 3.0))
    assert not log.complaints(2)
    assert log.most_at_once() == 2
    assert log.fences_rise()


def test_an_empty_log_is_beyond_reproach(log):
    assert not log.complaints(1)
    assert log.most_at_once() == 0


def test_a_planted_overlap_is_found(log):
    beats(log, job=1, slot=0, fence=1, at=(1.0, 2.0))
    beats(log, job=2, slot=0, fence=2, at=(1.9, 3.0))
    assert [(a.job, b.job) for a, b in log.overlaps()] == [(1, 2)]
    assert any("one slot, two holders" in complaint for complaint in log.complaints(3))


def test_a_planted_overlap_within_another_holders_long_time_is_found(log):
    beats(log, job=1, slot=0, fence=1, at=(1.0, 9.0))
    beats(log, job=2, slot=0, fence=2, at=(2.0, 3.0))
    beats(log, job=3, slot=0, fence=3, at=(4.0, 5.0))
    assert [(a.job, b.job) for a, b in log.overlaps()] == [(1, 2), (1, 3)]


def test_two_threads_of_one_process_with_one_fence_are_two_holders(log):
    beats(log, job=1, slot=0, fence=1, at=(1.0, 2.0), pid=7)
    beats(log, job=2, slot=0, fence=1, at=(1.5, 2.5), pid=7)
    assert len(log.overlaps()) == 1


@pytest.mark.parametrize("fence", [4, 5], ids=["falls", "stays"])
def test_a_planted_fence_inversion_is_found(log, fence):
    beats(log, job=1, slot=0, fence=5, at=(1.0, 2.0))
    beats(log, job=2, slot=0, fence=fence, at=(3.0, 4.0))
    assert not log.fences_rise()
    assert not log.overlaps()
    assert any("the fence did not rise" in complaint for complaint in log.complaints(3))


def test_a_planted_fourth_holder_is_found(log):
    for slot in range(4):
        beats(log, job=slot, slot=slot, fence=1, at=(1.0 + slot / 10, 2.0))
    assert log.most_at_once() == 4
    assert "4 held at once, where 3 may" in log.complaints(3)


def test_a_holder_beyond_the_last_slot_is_found_even_alone(log):
    beats(log, job=1, slot=3, fence=1, at=(1.0, 2.0))
    assert any("beyond the last slot" in complaint for complaint in log.complaints(3))


def beats(log, *, job, slot, fence, at, pid=None):
    for moment in at:
        note(log.path, at=moment, job=job, pid=pid or job, slot=slot, fence=fence)
