"""Operators and running commands, on both engines: the order of events, and the holder of the slot meanwhile."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.cli import fork_server
from tests.cli.test_commands import DUMMY, LONG, command, environment
from tests.conftest import TABLE

JOB = """
import signal, sys, time
began = time.monotonic()
def ended(*_):
    time.sleep(0.3)  # as one that puts its things away
    with open(sys.argv[1], "a") as file:
        print(began, time.monotonic(), file=file)
    sys.exit()
signal.signal(signal.SIGTERM, ended)
time.sleep(float(sys.argv[2]))
ended()
"""


class Place:
    """The target of a test's commands: one bucket, on one engine."""

    def __init__(self, folder, engine, name):
        self.folder, self.engine, self.name = folder, engine, name
        self.log = folder / "log"
        self.jobs = []

    def words(self, what, *more):
        return [what, f"--endpoint-url={self.engine.endpoint_url}", f"--table={TABLE}", self.name, *more]

    def run(self, what, *more):
        own = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": LONG}
        return fork_server.run(self.words(what, *more), **self.how(), **own)

    def __call__(self, what, *more):
        """Run a command to its end; what it says."""
        done = self.run(what, *more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def job(self, seconds, *options):
        """Start a job that writes when it began and ended."""
        own = self.words("run", *options, "--lease=9s", "--", sys.executable, "-c", JOB, str(self.log), str(seconds))
        self.jobs.append(subprocess.Popen(command(own), **self.how(), stderr=subprocess.PIPE, text=True))
        return self.jobs[-1]

    def how(self):
        return {"env": environment(self.folder, **DUMMY), "cwd": self.folder}

    def leases(self, count):
        """The leases, once there are so many."""
        deadline = time.monotonic() + LONG
        while time.monotonic() < deadline:
            done = self.run("status", "--json")
            leases = json.loads(done.stdout)["leases"] if done.returncode == 0 else []
            if len(leases) == count:
                return leases
            time.sleep(0.1)
        raise AssertionError(f"{count} leases did not come about")

    def ran(self):
        """When each job began and ended, in order."""
        return sorted(tuple(map(float, line.split())) for line in self.log.read_text().splitlines())


@pytest.fixture
def place(tmp_path, engine, bucket_name, table):
    place = Place(tmp_path, engine, bucket_name)
    yield place
    for job in place.jobs:
        job.send_signal(signal.SIGTERM)
        job.communicate(timeout=LONG)


def test_a_revoke_stops_a_command_before_another_gets_its_slot(place):
    first = place.job(60, "--max-tokens=1")
    (lease,) = place.leases(1)
    second = place.job(0, "--max-tokens=1")
    assert place("revoke", lease["lease_id"]) == f"lease {lease['lease_id']} is revoked\n"
    assert "lost (revoked); the command was ended" in first.communicate(timeout=LONG)[1]
    assert second.wait(LONG) == 0
    (_, ended), (began, _) = place.ran()
    assert ended < began
    assert (first.returncode, second.returncode) == (76, 0)


def test_a_shrink_lets_commands_run_on_and_no_other_gets_their_slots(place):
    for _ in range(3):
        place.job(60, "--max-tokens=3")
    place.leases(3)
    done = json.loads(place("resize", "1", "--json"))
    assert done == {"bucket": place.name, "before": 3, "after": 1, "retired": 2, "running": 2}
    assert all(job.poll() is None for job in place.jobs)
    retired = [lease for lease in place.leases(3) if lease["retired"]]
    assert {lease["slot"] for lease in retired} == {1, 2}
    for lease in retired:
        place("revoke", lease["lease_id"])
    (left,) = place.leases(1)
    assert left["slot"] == 0
    waiting = place.job(0, "--max-tokens=3", "--timeout=1s")
    assert waiting.wait(LONG) == 75, "the one slot that is left is held"


def test_a_reset_ends_the_commands_whose_leases_it_ended(place):
    jobs = [place.job(60, "--max-tokens=2") for _ in range(2)]
    place.leases(2)
    assert json.loads(place("reset", "--yes", "--json")) == {"bucket": place.name, "ended": 2}
    for job in jobs:
        assert "lost (taken); the command was ended" in job.communicate(timeout=LONG)[1]
        assert job.returncode == 76
    assert place("repair") == f"{place.name}: minted is 2, which is correct\n"
