"""The status, and the decorator form."""

import copy
import pickle

import pytest

from ddb_lease import AcquireTimeout, UnknownBucket
from tests.support import LONG_AGO, leases_in, put_counter, put_free, put_leased

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too


def test_a_status_tells_limits_and_every_lease(environment, table):
    bucket = environment.bucket(max_tokens=3, owner="host-a:1")
    lease = bucket.acquire(timeout=5, data={"job": "nightly"})
    environment.clock.pass_time(10)
    status = environment.bucket().status()
    assert (status.name, status.table) == (bucket.name, "leases")
    assert (status.max_tokens, status.lease_seconds) == (3, 30)
    assert (status.minted, status.in_circulation, status.drift, status.free) == (3, 3, 0, 2)
    (info,) = status.leases
    assert (info.lease_id, info.slot, info.fence) == (lease.id, lease.slot, lease.fence)
    assert (info.owner, info.data) == ("host-a:1", {"job": "nightly"})
    assert info.age_seconds == pytest.approx(10, abs=1.1)
    assert info.remaining_seconds == pytest.approx(20, abs=1.1)
    assert not (info.expired or info.revoked or info.retired)


def test_a_status_shows_an_expired_lease_as_such_and_its_slot_as_free(new_bucket, table):
    new_bucket(max_tokens=1).acquire(timeout=5)
    table.expire(0)
    status = new_bucket().status()
    assert status.leases[0].expired
    assert status.leases[0].remaining_seconds < 0
    assert status.free == 1


def test_a_status_shows_marks_of_operators(new_bucket, table):
    put_counter(table, max_tokens=1, minted=1)
    put_leased(table, 0, "0-a", revoked="by an operator")
    put_leased(table, 1, "1-b", retired=True)
    leases = {info.slot: info for info in new_bucket().status().leases}
    assert leases[0].revoked
    assert not leases[0].retired
    assert leases[1].retired


def test_items_of_others_between_the_slots_hide_none_of_them(new_bucket, table, monkeypatch):
    monkeypatch.setattr("ddb_lease._operations.status.PAGE", 4)
    put_counter(table, max_tokens=3, minted=3)
    put_free(table, 0)
    for number in range(9):
        table.set(f"slot#00000-{number}", ours="no")
    put_leased(table, 1, "1-a")
    table.set("slot#00001-x", ours="no")
    put_leased(table, 2, "2-b")
    status = new_bucket().status()
    assert [lease.lease_id for lease in status.leases] == ["1-a", "2-b"]
    assert status.in_circulation == 3


def test_leases_are_listed_by_slot(new_bucket):
    bucket = new_bucket(max_tokens=20)
    for _ in range(10):
        bucket.acquire(timeout=5)
    slots = [info.slot for info in bucket.status().leases]
    assert slots == sorted(slots)
    assert len(slots) == 10


def test_what_a_status_calls_free_can_be_had(new_bucket, table):
    put_counter(table, max_tokens=2, minted=2)
    put_free(table, 0)
    put_leased(table, 1)
    put_leased(table, 2, retired=True)  # a lease that a shrink lets run
    put_leased(table, 3, retired=True)
    bucket = new_bucket()
    free = bucket.status().free
    assert free == 1
    assert [bucket.try_acquire() is not None for _ in range(2)] == [True, False]
    assert bucket.status().free == 0


def test_drift_is_what_is_counted_but_not_there(new_bucket, table):
    put_counter(table, max_tokens=5, minted=5)
    put_free(table, 0, 1)
    table.set(1, retired=True)
    status = new_bucket().status()
    assert (status.minted, status.in_circulation, status.drift) == (5, 1, 4)


def test_a_status_changes_nothing_and_costs_one_read(new_bucket, table):
    put_counter(table, max_tokens=1, minted=9)
    put_leased(table, 5, expires_at=LONG_AGO)
    before = table.all()
    bucket = new_bucket()
    bucket.status()
    assert bucket.tap.count() == {"Look": 1}
    assert bucket.tap.sent[0].consistent
    assert table.all() == before


def test_a_bucket_that_does_not_exist_has_no_status(new_bucket):
    bucket = new_bucket()
    with pytest.raises(UnknownBucket, match=bucket.name):
        bucket.status()
    assert bucket.tap.count() == {"Look": 1}


def test_a_bucket_of_more_slots_than_a_page_is_seen_whole(new_bucket, table):
    put_counter(table, max_tokens=100_000, minted=3)
    for slot in (0, 50_000, 99_999):
        put_leased(table, slot, f"{slot}-a")
    assert [info.slot for info in new_bucket().status().leases] == [0, 50_000, 99_999]


def test_a_status_waits_for_its_pages_and_joins_them(new_bucket, table, monkeypatch):
    monkeypatch.setattr("ddb_lease._operations.status.PAGE", 2)
    put_counter(table, max_tokens=5, minted=5)
    for slot in range(5):
        put_leased(table, slot, f"{slot}-a")
    bucket = new_bucket()
    status = bucket.status()
    assert [info.slot for info in status.leases] == [0, 1, 2, 3, 4]
    assert status.max_tokens == 5
    assert bucket.tap.count()["Look"] == 3


# The decorator form


def test_a_decorated_function_runs_under_a_lease_of_its_own_for_each_call(new_bucket, table):
    bucket = new_bucket(max_tokens=1)
    seen = []

    @bucket.leased(timeout=5, data={"job": "report"})
    def report(lease, day, *, loud=False):
        lease.check()
        seen.append((lease.id, bucket.status().leases[0].data))
        return f"{day}{'!' if loud else ''}"

    assert report("Monday", loud=True) == "Monday!"
    assert report("Tuesday") == "Tuesday"
    assert len({lease_id for lease_id, _ in seen}) == 2
    assert [data for _, data in seen] == [{"job": "report"}] * 2
    assert leases_in(table) == {}


def test_a_decorated_function_keeps_its_name_and_its_exceptions(new_bucket, table):
    bucket = new_bucket(max_tokens=1)

    @bucket.leased(timeout=5)
    def fails(lease):
        """It fails."""
        raise ZeroDivisionError(lease.id)

    assert (fails.__name__, fails.__doc__) == ("fails", "It fails.")
    with pytest.raises(ZeroDivisionError):
        fails()
    assert leases_in(table) == {}


def test_a_decorated_function_does_not_run_without_a_lease(new_bucket):
    bucket = new_bucket(max_tokens=1)
    bucket.acquire(timeout=5)

    @bucket.leased(timeout=0)
    def never(lease):
        raise AssertionError(lease)

    with pytest.raises(AcquireTimeout):
        never()


def test_a_status_says_where_its_leases_are_to_whoever_asks_for_its_slots(new_bucket):
    bucket = new_bucket(max_tokens=2)
    lease = bucket.acquire(timeout=5)
    status = bucket.status()
    with pytest.raises(AttributeError, match="has no 'slots': `leases` has a LeaseInfo for each leased slot, `free`"):
        status.slots  # noqa: B018 - it raises
    with pytest.raises(AttributeError, match="^'BucketStatus' object has no attribute 'fre'"):
        status.fre  # noqa: B018 - it raises
    assert copy.deepcopy(status) == pickle.loads(pickle.dumps(status)) == status
    (shown,) = status.leases
    assert (shown.lease_id, status.free) == (lease.id, 1)
    assert 0.0 <= shown.age_seconds < 30
    assert shown.remaining_seconds < status.lease_seconds + 1.5
