"""Plain tokens: the seed's interface, whose tokens nobody renews."""

import contextlib
import gc
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ddb_lease import ConfigurationError, DynamoDBTokenBucket, StoreRejected, StoreUnavailable
from ddb_lease._protocol.messages import Claim, Look, Release, Renew, Take
from ddb_lease._protocol.records import Grant
from ddb_lease._runtime import process
from ddb_lease._runtime.runtime import Runtime
from scripts.harness.inside import core_of
from tests.conftest import QUICK, TABLE
from tests.support import LOST, REJECTED, UNSENT, DatedTap, SteppingWakeup, Tap, every_lock_held, leases_in

SHORT = 4.0
"""Seconds: the time of a token that a test waits out."""


@pytest.fixture
def new_tokens(engine, session, bucket_name, table):
    """Makes clients of this test's bucket; each stands for a process of its own."""
    made = []

    def make(max_tokens=3, token_timeout_seconds=30, *, table_name=TABLE, **arguments):
        tap = Tap()
        settings = {"timing": QUICK, "runtime": Runtime(wrap=tap.around)} | arguments
        bucket = DynamoDBTokenBucket(
            table_name,
            max_tokens,
            token_timeout_seconds,
            bucket_name=bucket_name,
            session=session,
            endpoint_url=engine.endpoint_url,
            **settings,
        )
        bucket.tap = tap
        made.append(bucket)
        return bucket

    yield make
    for bucket in made:
        bucket.close()


@pytest.fixture
def on_a_clock(new_tokens, environment):
    """Makes clients on the environment's clock."""

    def make(**arguments):
        tap = DatedTap(environment.clock)
        runtime = Runtime(clock=environment.clock, wrap=tap.around, wakeup=lambda: SteppingWakeup(environment))
        bucket = new_tokens(runtime=runtime, **arguments)
        bucket.tap = tap
        return bucket

    return make


def test_a_token_is_acquired_and_released(new_tokens, table):
    bucket = new_tokens()
    token_id, success = bucket.acquire_token()
    assert success is True
    assert list(leases_in(table).values()) == [token_id]
    assert bucket.release_token(token_id) is True
    assert leases_in(table) == {}


@pytest.mark.parametrize("size", [3, 150])
def test_all_tokens_are_made_by_initializing_and_none_again(size, new_tokens, table):
    bucket = new_tokens(size)
    bucket.initialize_bucket()
    assert set(table.slots()) == set(range(size))
    assert leases_in(table) == {}
    assert table.get("counter")["minted"] == size
    before = table.all()
    new_tokens(size).initialize_bucket()
    assert table.all() == before


def test_initializing_ends_no_token_and_mints_what_was_deleted(new_tokens, table):
    bucket = new_tokens()
    token_id, _ = bucket.acquire_token()
    held = next(iter(leases_in(table)))
    table.delete((held + 1) % 3)
    new_tokens().initialize_bucket()
    assert leases_in(table) == {held: token_id}
    assert set(table.slots()) == {0, 1, 2}


def test_a_missing_table_is_an_error_of_initializing_and_a_no_of_acquiring(new_tokens, caplog):
    bucket = new_tokens(table_name="no-such-table")
    with pytest.raises(StoreRejected, match="no-such-table"):
        bucket.initialize_bucket()
    assert bucket.acquire_token(1) == (None, False)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_a_full_bucket_is_a_no_after_the_timeout(new_tokens):
    bucket = new_tokens(1)
    assert bucket.acquire_token()[1]
    began = time.monotonic()
    assert bucket.acquire_token(timeout_seconds=0.3) == (None, False)
    assert 0.25 < time.monotonic() - began < 10


def test_a_token_ends_by_itself_and_is_never_renewed(new_tokens):
    bucket = new_tokens(1, SHORT)
    first, _ = bucket.acquire_token()
    second, success = new_tokens(1, SHORT).acquire_token(timeout_seconds=60)
    assert success and second != first
    assert bucket.tap.of(Renew) == []
    assert bucket.release_token(first) is False, "another has its slot"


def test_a_token_outlives_the_bucket_object_that_acquired_it(new_tokens, table):
    bucket = new_tokens()
    token_id, _ = bucket.acquire_token()
    bucket.close()
    assert list(leases_in(table).values()) == [token_id]


def test_a_token_is_released_through_another_bucket_object_and_only_once(new_tokens, table):
    bucket = new_tokens()
    token_id, _ = bucket.acquire_token()
    assert new_tokens().release_token(token_id) is True
    assert leases_in(table) == {}
    assert new_tokens().release_token(token_id) is False
    assert bucket.release_token(token_id) is False


def test_a_token_outlives_its_process_and_is_released_from_another(tmp_path):
    program = (
        "import sys; from ddb_lease import DynamoDBTokenBucket, local; where = local.connect('tokens', create=True)\n"
        "bucket = DynamoDBTokenBucket(where.pop('table'), 1, 60, **where)\n"
        "print(bucket.release_token(sys.argv[1]) if sys.argv[1:] else bucket.acquire_token(20)[0])\n"
    )
    environment = {"DDB_LEASE_LOCAL_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent.parent)}

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout

    try:
        token_id = run("-c", program).strip()
        assert run("-c", program, token_id).strip() == "True"
        assert run("-c", program, token_id).strip() == "False"
    finally:
        run("-m", "ddb_lease.cli", "local", "stop", "--yes")


@pytest.mark.parametrize("token_id", ["", "nonsense", "0-", "7-" + "a" * 32, "0-" + "a" * 5_000, "0-\udcff"])
def test_an_unknown_id_releases_nothing(token_id, new_tokens):
    assert new_tokens().release_token(token_id) is False


def test_wrong_arguments_are_raised(new_tokens):
    bucket = new_tokens()
    for timeout in (-1, float("nan"), None, "30"):
        with pytest.raises(ConfigurationError):
            bucket.acquire_token(timeout)
    with pytest.raises(ConfigurationError):
        bucket.release_token(None)
    with pytest.raises(ConfigurationError):
        new_tokens(0)
    assert bucket.tap.sent == []


@pytest.mark.parametrize("answer", [LOST, UNSENT, REJECTED], ids=["lost", "unsent", "refused"])
def test_a_service_that_fails_is_a_no_and_one_warning(answer, new_tokens, caplog):
    bucket = new_tokens()
    bucket.tap.everything_fails = answer
    assert bucket.acquire_token(timeout_seconds=0.2) == (None, False)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_a_release_or_cleanup_that_fails_is_a_no_and_a_warning(new_tokens, caplog):
    bucket = new_tokens()
    token_id, _ = bucket.acquire_token()
    bucket.tap.everything_fails = REJECTED
    assert bucket.release_token(token_id) is False
    assert bucket.cleanup_expired_tokens() == 0
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2


def test_a_release_whose_first_answer_was_lost_is_told_as_done(new_tokens):
    bucket = new_tokens()
    token_id, _ = bucket.acquire_token()
    bucket.tap.inject(Release, answer=LOST)
    assert bucket.release_token(token_id) is True


def test_an_interrupted_acquire_leaves_nothing_leased(new_tokens, table):
    bucket = new_tokens()
    bucket.tap.inject(Claim, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bucket.acquire_token()
    assert leases_in(table) == {}


def test_cleaning_up_frees_only_what_has_expired(new_tokens, table):
    bucket = new_tokens()
    bucket.acquire_token()
    expired = next(iter(leases_in(table)))
    table.expire(expired)
    running, _ = new_tokens().acquire_token()
    if expired not in leases_in(table) or leases_in(table)[expired] == running:  # it took the expired one's place
        table.set((expired + 1) % 3, lease_id="9-old", owner="x", acquired_at=1, expires_at=1_000)
    assert bucket.cleanup_expired_tokens() == 1
    assert list(leases_in(table).values()) == [running]
    bucket.tap.clear()
    assert bucket.cleanup_expired_tokens() == 0
    assert bucket.tap.of(Claim) == [], "what runs is not even tried for"


def test_an_interrupted_clean_up_leaves_nothing_leased(new_tokens, table):
    bucket = new_tokens(max_tokens=1)
    bucket.acquire_token(5)
    table.expire(0)
    bucket.tap.inject(Claim, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bucket.cleanup_expired_tokens()
    assert leases_in(table) == {}


def test_cleaning_up_a_bucket_that_does_not_exist_frees_nothing(new_tokens):
    assert new_tokens().cleanup_expired_tokens() == 0


@pytest.mark.parametrize("change", ["renewed", "leased anew"])
def test_cleaning_up_frees_nothing_that_came_to_run_meanwhile(change, new_tokens, table):
    bucket = new_tokens(1)
    token_id, _ = bucket.acquire_token()
    until = table.get(0)["expires_at"]
    table.expire(0)
    later = {"expires_at": until} | ({} if change == "renewed" else {"lease_id": "0-another", "fence": until})
    bucket.tap.inject(Claim, before=lambda _: table.set(0, **later))
    assert bucket.cleanup_expired_tokens() == 0
    assert leases_in(table) == {0: later.get("lease_id", token_id)}


def test_resetting_ends_all_tokens(new_tokens, table):
    bucket = new_tokens()
    ids = [bucket.acquire_token()[0] for _ in range(3)]
    new_tokens().reset_bucket()
    assert leases_in(table) == {}
    assert set(table.slots()) == {0, 1, 2}
    assert not any(bucket.release_token(token_id) for token_id in ids)


def test_resetting_a_bucket_that_does_not_exist_makes_it(new_tokens, table):
    new_tokens().reset_bucket()
    assert set(table.slots()) == {0, 1, 2}


def test_sixteen_threads_never_hold_more_than_there_are(new_tokens):
    bucket = new_tokens(3)
    lock, holding, most, done = threading.Lock(), set(), [0], []

    def work():
        token_id, success = bucket.acquire_token(60)
        assert success
        with lock:
            holding.add(token_id)
            most[0] = max(most[0], len(holding))
        time.sleep(0.01)
        with lock:
            holding.remove(token_id)
        assert bucket.release_token(token_id)
        done.append(token_id)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(done)) == 16
    assert 1 <= most[0] <= 3


def test_two_threads_that_lose_their_answers_do_not_both_release_one_token(new_tokens, in_thread):
    bucket, both = new_tokens(), threading.Barrier(2, timeout=2)
    token, _ = bucket.acquire_token(5)

    def meet(_):
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait()  # both are in progress

    for _ in range(2):
        bucket.tap.inject(Release, answer=LOST, after=meet)
    releases = [in_thread(lambda: bucket.release_token(token)) for _ in range(2)]
    assert sorted(release.result(20) for release in releases) == [False, True]
    assert not bucket.release_token(token)


def test_many_may_initialize_one_bucket_at_a_time(new_tokens, table):
    bucket = new_tokens(max_tokens=110)  # 99 are made with it
    for _ in range(7):  # more often than it would try in vain
        bucket.tap.inject(Take, before=lambda request: table.set(request.mints[0], fence=1, ttl=4_000_000_000))
    bucket.initialize_bucket()
    assert set(table.slots()) == set(range(110))


@pytest.mark.parametrize(("in_vain", "fills"), [(5, True), (6, False)])
def test_initializing_is_given_up_where_it_is_in_vain_again_and_again(on_a_clock, table, in_vain, fills):
    bucket = on_a_clock(max_tokens=101)  # 99 are made with it
    for _ in range(in_vain):
        bucket.tap.inject(
            Take,
            before=lambda request: table.set(request.mints[0], fence=1, ttl=4_000_000_000),
            after=lambda request: table.delete(request.mints[0]),
        )
    if fills:
        bucket.initialize_bucket()
    else:
        with pytest.raises(StoreUnavailable, match="is not filled: others change it at the same time"):
            bucket.initialize_bucket()
    assert len(table.slots()) == (101 if fills else 99)


class Longest(random.Random):
    """Each pause is as long as it may be; they are noted."""

    def __init__(self):
        super().__init__(1)
        self.drawn = []

    def uniform(self, a, b):
        self.drawn.append(b)
        return b


def test_initializing_pauses_longer_the_more_often_it_is_in_vain(on_a_clock, table):
    bucket = on_a_clock(max_tokens=101)  # 99 are made with it
    chance = core_of(bucket).state.chance = Longest()
    for _ in range(4):
        bucket.tap.inject(
            Take,
            before=lambda request: table.set(request.mints[0], fence=1, ttl=4_000_000_000),
            after=lambda request: table.delete(request.mints[0]),
        )
    bucket.initialize_bucket()
    assert chance.drawn == [0.05, 0.05, 0.1, 0.2, 0.4]


def test_a_service_that_answers_late_or_not_at_all_ends_initializing_and_cleaning_up(on_a_clock, environment, caplog):
    for call in ("initialize_bucket", "cleanup_expired_tokens"):
        bucket, began = on_a_clock(), environment.clock.steady()
        for _ in range(5):
            bucket.tap.inject(Look, before=lambda _: environment.clock.pass_time(5.2), answer=LOST)
        if call == "initialize_bucket":
            with pytest.raises(StoreUnavailable):
                bucket.initialize_bucket()
        else:
            assert bucket.cleanup_expired_tokens() == 0
            assert "stopped early" in caplog.text
        assert environment.clock.steady() - began == pytest.approx(10.4, abs=0.5), "ten seconds, and a request's time"


def test_initializing_mints_nothing_beyond_a_bucket_that_shrinks_meanwhile(new_tokens, new_bucket, table):
    operator = new_bucket(max_tokens=120)
    operator.acquire(timeout=5).release()
    bucket = new_tokens(max_tokens=120)
    bucket.tap.inject(Look, after=lambda _: operator.resize(110))
    bucket.initialize_bucket()
    slots = table.slots()
    assert {n for n, slot in slots.items() if "retired" not in slot} == set(range(110))
    assert table.get("counter")["minted"] == 110


def test_cleaning_up_leaves_slots_beyond_the_bucket_alone(new_tokens, table):
    bucket = new_tokens(max_tokens=1)
    bucket.initialize_bucket()
    table.set(5, fence=1, ttl=4_000_000_000, lease_id="5-hand", owner="x", acquired_at=1, expires_at=2)
    assert bucket.cleanup_expired_tokens() == 0
    assert table.get(5)["lease_id"] == "5-hand"


def test_a_closed_bucket_resets_nothing(new_tokens, table):
    tokens, others = new_tokens(), new_tokens()
    token_id, _ = others.acquire_token(5)
    tokens.close()
    with pytest.raises(ConfigurationError, match="closed"):
        tokens.reset_bucket()
    assert list(leases_in(table).values()) == [token_id]


def test_in_a_forked_child_no_lock_of_its_parents_is_waited_for(new_tokens, in_thread, monkeypatch):
    registered = []
    monkeypatch.setattr(process, "register", registered.append)
    bucket = new_tokens()
    (hooks,) = registered
    token, _ = bucket.acquire_token(5)
    with every_lock_held(hooks):
        hooks.after_fork_in_child()
        assert in_thread(lambda: bucket.release_token(token)).result(20)
        assert in_thread(lambda: bucket.acquire_token(5)).result(20)[1]


def kept_in_memory(token):
    """Whether anything of this process still knows the grant behind a token."""
    gc.collect()
    return any(type(thing) is Grant and thing.lease_id == token for thing in gc.get_objects())


def test_a_token_is_known_until_long_after_its_end_and_then_forgotten(on_a_clock, environment):
    bucket = on_a_clock(max_tokens=9, token_timeout_seconds=30)
    first, _ = bucket.acquire_token()
    environment.clock.pass_time(50)
    second, _ = bucket.acquire_token()
    assert kept_in_memory(first), "its holder may release it late"
    environment.clock.pass_time(15)
    bucket.acquire_token()
    assert not kept_in_memory(first)
    assert kept_in_memory(second)
