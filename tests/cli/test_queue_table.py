"""The queue of an ordered bucket, as `status` prints it."""

from datetime import datetime, timedelta, timezone

from ddb_lease.cli import status as status_command
from ddb_lease.cli.fitting import columns_of
from ddb_lease.cli.queue_table import queue_lines
from ddb_lease.models import Waiter
from tests.cli.test_formatting import lease, status

NOW = datetime(2026, 11, 29, 14, tzinfo=timezone.utc)


def waiter(place, owner="host:1", *, waited=75.0, count=1, priority=5):
    return Waiter(place=place, owner=owner, since=NOW - timedelta(seconds=waited), count=count, priority=priority)


def test_each_waiter_has_a_line_and_the_others_are_counted():
    queued = status(order="fifo", queue=(waiter(1, priority=9), waiter(2, "b:22", waited=-1, count=3)), waiting=1_002)
    assert queue_lines(queued, now=NOW, width=80) == [
        "PLACE  WAITER  WAITS  WANTS  PRIORITY",
        "    1  host:1  1m15s      1         9",
        "    2  b:22       0s      3         5",
        "and 1,000 more",
    ]
    assert queue_lines(status(order="fifo"), now=NOW, width=80) == []


def test_status_shows_the_queue_beneath_the_leases_and_how_many_wait():
    queued = status(lease(), order="fifo", queue=(waiter(1, "\u4e2d" * 60 + "\x1b[2J"),), waiting=1)
    lines = status_command.as_table(queued, width=80).splitlines()
    assert lines[1] == "first come, first served: 1 waiting"
    assert [line.split()[0] for line in lines if line][-2:] == ["PLACE", "1"]
    assert all(columns_of(line) <= 80 for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "waiting" not in status_command.as_table(status(lease()))
    nobody = status_command.as_table(status(order="fifo"))
    assert nobody.endswith("12 slots minted\nfirst come, first served: 0 waiting")
