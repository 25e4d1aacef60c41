"""A wrong wall clock: the service refuses signatures more than minutes off, and leases are had and kept all the same."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ddb_lease import LeaseBucket, RateLimiter, StoreRejected, aio, client_config
from ddb_lease._runtime.clock import SystemClock
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.cli import exits
from ddb_lease.cli.conform import running
from ddb_lease.cli.main import main
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import check_table, create_table
from scripts.harness.holders import PATIENCE, session
from scripts.harness.inside import core_of
from tests.conftest import QUICK, TABLE
from tests.faults.proxy import Asked
from tests.faults.service_clock import ServiceClock
from tests.support import eventually, renew_soon, set_botocores_clock

HOUR = 3600.0
DAYS = 3 * 24 * HOUR
LEASE = 5.0
LONG_LEASE = 300.0
"""Seconds: about the shortest that a loaded machine renews."""

BATCH = "BatchExecuteStatement"

# What is tried out is not the engine: one is enough, but the embedded one takes no batches.
one_engine = pytest.mark.parametrize("engine", ["embedded"], indirect=True)
with_batches = pytest.mark.parametrize("engine", ["ministack"], indirect=True)


@pytest.fixture
def service(proxy):
    """The clock of the service behind the proxy."""
    proxy.decide = clock = ServiceClock()
    return clock


@pytest.fixture
def where(engine, table, proxy):
    """How the service is reached."""
    return {"table": TABLE, "session": session(proxy.endpoint_url), "endpoint_url": proxy.endpoint_url}


@pytest.fixture
def client_for(where):
    """Makes clients, through the proxy, whose timeouts fit leases of this length."""
    made = []

    def client(lease_seconds):
        config = client_config(lease_seconds)
        made.append(where["session"].client("dynamodb", endpoint_url=where["endpoint_url"], config=config))
        return made[-1]

    yield client
    for each in made:
        each.close()


@pytest.fixture
def client(client_for):
    """A client of its own, for leases that are soon to be renewed."""
    return client_for(LEASE)


class Wall:
    """This machine's wall clock, for botocore and for us: somebody sets it by `ahead` seconds."""

    def __init__(self, monkeypatch):
        self.ahead = 0.0
        set_botocores_clock(monkeypatch, self.wall)

    steady = SystemClock.steady

    def wall(self):
        return time.time() + self.ahead


@pytest.fixture
def wall(monkeypatch):
    return Wall(monkeypatch)


async def leased_by_asyncio(name, where):
    async with aio.LeaseBucket(name, max_tokens=2, lease_seconds=30, timing=QUICK, **where) as bucket:
        lease = await bucket.acquire(timeout=PATIENCE)
        await lease.renew()
        await bucket.status()
        return await lease.release()


async def limited_by_asyncio(name, where):
    async with aio.RateLimiter(name, rate=10, **where) as limiter:
        await limiter.acquire(timeout=PATIENCE)
        return await limiter.try_acquire()


def leased(name, where):
    with LeaseBucket(name, max_tokens=2, lease_seconds=30, timing=QUICK, **where) as bucket:
        lease = bucket.acquire(timeout=PATIENCE)
        lease.renew()
        bucket.status()
        bucket.resize(3)
        return lease.release()


def leased_at_once(name, where):
    with LeaseBucket(name, max_tokens=2, lease_seconds=30, timing=QUICK, **where) as bucket:
        return bucket.try_acquire(count=2).release()


def limited(name, where):
    with RateLimiter(name, rate=10, burst=5, **where) as limiter:
        limiter.acquire(timeout=PATIENCE)
        return limiter.try_acquire()


def with_a_client_of_the_users(name, where):
    own = where.pop("session").client("dynamodb", endpoint_url=where.pop("endpoint_url"), config=client_config(30))
    return leased(name, where | {"client": own})


def checked(name, where):
    connection = ConnectionSettings(session=where["session"], endpoint_url=where["endpoint_url"])
    assert not create_table(TABLE, connection=connection, clock=SystemClock()).created
    return True


USES = {
    "acquire": leased,
    "try_acquire": leased_at_once,
    "rate": limited,
    "asyncio": lambda name, where: asyncio.run(leased_by_asyncio(name, where)),
    "asyncio rate": lambda name, where: asyncio.run(limited_by_asyncio(name, where)),
    "a client of the user's": with_a_client_of_the_users,
    "create_table": checked,
}


@one_engine
@pytest.mark.parametrize("ahead", [DAYS, -DAYS], ids=["behind", "ahead"])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_with_a_clock_three_days_off_first_use_costs_one_refused_request(
    service, proxy, where, bucket_name, use, ahead
):
    service.ahead = ahead
    assert use(bucket_name, where)
    assert proxy.count("untimely") == 1
    assert proxy.count("scope") == 0
    first, second, *_ = service.asked
    assert first.body == second.body, "the same request, signed anew"


def expiries(table):
    return {number: slot["expires_at"] for number, slot in table.slots().items() if "lease_id" in slot}


def all_renewed(table, before):
    """Whether each lease ends at least the length of a lease later than before."""
    return all(expires_at > before[slot] + 1000 * LEASE for slot, expires_at in expiries(table).items())


@with_batches
@pytest.mark.parametrize("ahead", [10 * HOUR, -10 * HOUR], ids=["forwards", "backwards"])
def test_holders_whose_machines_clock_is_set_keep_their_leases(
    new_bucket, service, proxy, client, wall, table, ahead, caplog
):
    runtime = Runtime(clock=wall)
    bucket = new_bucket(lease_seconds=LEASE, runtime=runtime, client=client)
    one, two = bucket.acquire(timeout=PATIENCE), bucket.acquire(timeout=PATIENCE, count=2)
    for wall.ahead in (ahead, 0.0):
        before = expiries(table)
        eventually(lambda before=before: all_renewed(table, before), within=PATIENCE)
    for lease in (one, two):
        lease.check()
        lease.renew()
        assert lease.release()
    assert proxy.count("accepted", on=BATCH) > 2
    assert proxy.count("untimely") == 0, "three answers have told the service's time before"
    assert sum("wall clock is 10:00:00" in record.getMessage() for record in caplog.records) == 1


def renewed_until(condition, lease, bucket):
    """Let the heartbeat renew again and again. The lease is a long one: if that is slow, it is no reason to renew alone."""

    def renewed():
        renew_soon([lease], core_of(bucket).runtime.heartbeat())
        return condition()

    eventually(renewed, within=PATIENCE)


@with_batches
def test_renewals_alone_and_in_batches_are_signed_again_if_the_clock_is_set_as_they_are_sent(
    new_bucket, service, proxy, client_for, table
):
    bucket = new_bucket(lease_seconds=LONG_LEASE, client=client_for(LONG_LEASE))
    lease = bucket.acquire(timeout=PATIENCE, count=2)
    service.refuses.update({BATCH: 1, "UpdateItem": 1})
    renewed_until(lambda: proxy.count("accepted", on=BATCH) > 1, lease, bucket)
    assert proxy.count("untimely", on=BATCH) == 1
    assert proxy.count("accepted", on="UpdateItem") == 0
    lease.renew()
    assert proxy.count("untimely", on="UpdateItem") == 1
    assert lease.release()


@one_engine
def test_a_function_that_was_frozen_for_hours_starts_again_by_itself(new_bucket, service, proxy, client):
    """Its clocks stood still; the service's did not."""
    bucket = new_bucket(max_tokens=2, client=client)
    with bucket.acquire(timeout=PATIENCE):
        pass
    asked = len(service.asked)
    service.ahead = 9 * HOUR
    with bucket.acquire(timeout=PATIENCE) as lease:
        lease.check()
        assert proxy.count("untimely") == 1
        assert service.asked[asked].body in [later.body for later in service.asked[asked + 1 :]]
    with bucket.acquire(timeout=PATIENCE):
        pass
    assert proxy.count("untimely") == 1


@one_engine
def test_one_odd_date_of_a_refusal_costs_another_refused_request_and_no_more(service, proxy, where, bucket_name):
    service.ahead, service.odd = DAYS, [-5 * HOUR]
    assert leased(bucket_name, where)
    assert proxy.count("untimely") == 2


@one_engine
@pytest.mark.parametrize("use", [leased, leased_at_once, limited], ids=["acquire", "try_acquire", "rate"])
def test_where_no_date_tells_the_time_the_error_names_the_clock_and_not_the_credentials(
    service, proxy, where, bucket_name, use
):
    service.ahead, service.dated = DAYS, False
    with pytest.raises(
        StoreRejected, match="no Date to sign by: set this machine's clock: Signature expired"
    ) as raised:
        use(bucket_name, where)
    assert "credential" not in str(raised.value)
    assert proxy.count("untimely") == 1
    service.ahead = 0.0  # somebody has set it
    assert use(bucket_name, where)


@one_engine
def test_dates_that_do_not_help_end_in_an_error_that_names_the_clock(service, proxy, where, bucket_name):
    service.ahead, service.odd = DAYS, [(number % 4 - 9) * HOUR for number in range(99)]
    with pytest.raises(StoreRejected, match="Date of its answer did not help: set this machine's clock"):
        leased(bucket_name, where)
    assert 4 <= proxy.count("untimely") < 60
    service.odd.clear()
    assert leased(bucket_name, where)


@one_engine
def test_creating_a_table_names_the_clock_where_nothing_helps(service, where):
    service.ahead, service.dated = DAYS, False
    connection = ConnectionSettings(session=where["session"], endpoint_url=where["endpoint_url"])
    with pytest.raises(StoreRejected, match="set this machine's clock"):
        check_table(TABLE, connection=connection, clock=SystemClock())


@with_batches
def test_batches_do_not_rest_and_no_lease_is_lost_for_refusals_without_a_date(
    new_bucket, service, proxy, client_for, table, caplog
):
    bucket = new_bucket(lease_seconds=LONG_LEASE, client=client_for(LONG_LEASE))
    lease = bucket.acquire(timeout=PATIENCE, count=2)
    renewed_until(lambda: proxy.count("accepted", on=BATCH), lease, bucket)
    service.dated = False
    service.refuses[BATCH] = 2
    renewed_until(lambda: proxy.count("untimely", on=BATCH) == 2, lease, bucket)
    accepted = proxy.count("accepted", on=BATCH)
    renewed_until(lambda: proxy.count("accepted", on=BATCH) > accepted + 1, lease, bucket)
    assert proxy.count("accepted", on="UpdateItem") == 0
    assert "one by one" not in caplog.text
    lease.check()
    assert lease.release()


@one_engine
def test_a_users_own_requests_are_signed_as_ever_beside_ours(service, proxy, where, wall, bucket_name):
    """Ours go by the service's time from one client, of the user's; his, at the same moment, by the wall clock."""
    users = where.pop("session")
    client = users.client("dynamodb", endpoint_url=where.pop("endpoint_url"), config=client_config(30))
    theirs = {"TableName": TABLE, "Key": {"pk": {"S": "mine"}, "sk": {"S": "x"}}}
    settings = where | {"timing": QUICK, "runtime": Runtime(clock=wall), "client": client}
    with LeaseBucket(bucket_name, max_tokens=2, **settings) as bucket:
        for _ in range(2):
            bucket.acquire(timeout=PATIENCE).release()
        wall.ahead = HOUR
        at_once = threading.Barrier(8)

        def ours():
            at_once.wait(PATIENCE)
            for _ in range(10):
                bucket.status()

        def his():
            at_once.wait(PATIENCE)
            for _ in range(10):
                with pytest.raises(client.exceptions.ClientError, match="Signature not yet current"):
                    client.get_item(**theirs)

        with ThreadPoolExecutor(8) as threads:
            for done in [threads.submit(job) for job in (ours, his) * 4]:
                done.result(PATIENCE)
        url = client.generate_presigned_url("get_item", Params=theirs)
    assert proxy.count("untimely", on="GetItem") == 40
    assert proxy.count("untimely") == 40
    stamp = url.partition("X-Amz-Date=")[2].partition("&")[0]
    assert abs(service.off(Asked(operation="", key_id="", body={}, stamp=stamp)) - HOUR) < PATIENCE
    other = users.client("dynamodb", endpoint_url=proxy.endpoint_url, config=client_config(30))
    with pytest.raises(other.exceptions.ClientError, match="Signature not yet current"):
        other.get_item(**theirs)


# The command line.

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": os.pathsep.join(sys.path),
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": "us-east-1",
}
STEPPED = """
import sys, time
from pathlib import Path
real = time.time
time.time = lambda: real() + float(Path(sys.argv[1]).read_text() or 0)
import botocore.auth, botocore.compat, datetime
def now(remove_tzinfo=True):
    at = datetime.datetime.fromtimestamp(time.time(), datetime.timezone.utc)
    return at.replace(tzinfo=None) if remove_tzinfo else at
class Shifted(datetime.datetime):
    utcnow = classmethod(lambda cls: now())
if hasattr(botocore.auth, "get_current_datetime"):
    botocore.auth.get_current_datetime = now
else:
    botocore.auth.datetime.datetime = Shifted
from ddb_lease.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
"""The command line, on a machine whose wall clock is off by as many seconds as a file says."""


@one_engine
def test_the_command_line_holds_its_lease_while_the_clock_is_set_and_starts_with_a_wrong_one(
    service, proxy, where, table, tmp_path, bucket_name
):
    off = tmp_path / "off"
    off.write_text(str(DAYS))
    line = [sys.executable, "-c", STEPPED, str(off)]
    words = ["run", bucket_name, "--table", TABLE, "--endpoint-url", proxy.endpoint_url, "--max-tokens", "1"]
    words += ["--lease", "18s", "--", "sleep", "600"]
    running = subprocess.Popen([*line, *words], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: expiries(table) or running.poll() is not None, within=PATIENCE)
        assert proxy.count("untimely") == 1
        off.write_text(str(-DAYS))
        before = expiries(table)
        eventually(lambda: all_renewed(table, before), within=PATIENCE)
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 128 + signal.SIGTERM
    finally:
        running.kill()
        _, said = running.communicate()
    assert proxy.count("untimely") == 1
    assert re.search(r"wall clock is 3 days, 0:00:\d\d ahead of the service's", said)


@one_engine
@pytest.mark.parametrize("dated", [True, False])
def test_conform_is_signed_by_the_services_time_or_names_the_clock(service, proxy, monkeypatch, capsys, dated):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    whole = running.all_probes
    wanted = ("claim a free slot", "claim a slot that does not exist")
    monkeypatch.setattr(running, "all_probes", lambda run: [p for p in whole(run) if p.name in wanted])
    service.ahead, service.dated = DAYS, dated
    code = main(["conform", "--endpoint-url", proxy.endpoint_url, "--yes", "--quick"])
    out, told = capsys.readouterr()
    if dated:
        assert (code, out.splitlines()[-1]) == (0, "2 probes: 2 as expected, 0 different")
        assert "deleted" in told
        assert proxy.count("untimely") == 2, "one before the table is made, one by what makes it"
    else:
        assert code == exits.REJECTED
        assert "set this machine's clock" in told
        assert proxy.count("untimely") == 1


@one_engine
def test_the_command_line_names_the_clock_where_nothing_helps(service, proxy, table, bucket_name, monkeypatch, capsys):
    service.ahead, service.dated = DAYS, False
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert main(["status", bucket_name, "--table", TABLE, "--endpoint-url", proxy.endpoint_url]) == exits.REJECTED
    assert "set this machine's clock" in capsys.readouterr().err
