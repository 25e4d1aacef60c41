"""The page on operating shows the real output: its session is run, word for word."""

import json
import re
import shlex
import subprocess
import time

import pytest

from ddb_lease.cli import wait_text
from ddb_lease.cli.wait_text import Holder
from tests.cli.test_commands import LONG, ROOT, Cli, command, environment

PAGE = (ROOT / "docs" / "operating.md").read_text()
SESSION = "".join(re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL))
STEPS = [
    (line, said) for line, said in re.findall(r"^\$ ddb-lease (.*)\n((?:(?!\$ ).*\n)*)", SESSION, flags=re.MULTILINE)
]
LEASE_ID = re.compile(r"\b(\d+)-[0-9a-f]{8}(?:[0-9a-f]{24})?\b")
VARY = {
    LEASE_ID: r"\1-ID",
    re.compile(r"\b\d{13}\b"): "FENCE",
    re.compile(r"\S+:\d+(?=\s+(\d|is))"): "OWNER",
    re.compile(r"\b\d+(\.\d)?s(?=\s)"): "TIME",
    re.compile(r"[\d.]+ RCU"): "RCU",
    re.compile(r" +"): " ",
}


def settled(text):
    """Without what differs from run to run."""
    for pattern, instead in VARY.items():
        text = pattern.sub(instead, text)
    return text


class Session:
    """The page's session: its jobs, and the holder of each slot."""

    def __init__(self, folder):
        self.cli = Cli(folder)
        self.jobs = []
        self.queued = []
        self.holders = {}

    def start(self, line):
        """A job in the background; of another bucket than the first one's, until it is seen there."""
        where = {"env": environment(self.cli.folder), "cwd": self.cli.folder}
        words = shlex.split(line)
        (self.queued if "--owner" in words else self.jobs).append(
            subprocess.Popen(command(line), stderr=subprocess.PIPE, text=True, **where)
        )
        if "--owner" in words:
            self.wait_for(words[words.index("--owner") + 1], bucket=words[1])

    def wait_for(self, owner, *, bucket):
        """Wait until this owner holds a slot, or stands in the queue."""
        deadline = time.monotonic() + LONG
        seen = set()
        while owner not in seen:
            assert time.monotonic() < deadline
            done = self.cli(f"status {bucket} --local --json")
            if done.returncode == 0:
                status = json.loads(done.stdout)
                seen = {one["owner"] for one in (*status["leases"], *status["queue"])}

    def settle(self):
        """Wait until every job has its slot."""
        deadline = time.monotonic() + LONG
        while len(self.holders) < len(self.jobs):
            assert time.monotonic() < deadline
            done = self.cli("status gpus --local --json")
            leases = json.loads(done.stdout)["leases"] if done.returncode == 0 else []
            self.holders = {lease["slot"]: lease for lease in leases}

    def run(self, line):
        """A command, on the lease ids that there are here; what it says."""
        return self.cli(LEASE_ID.sub(lambda found: self.holders[int(found[1])]["lease_id"][: len(found[0])], line))

    def says_at_its_end(self, slot):
        """The output of the job on this slot when it ends normally."""
        job = next(job for job in self.jobs if self.holders[slot]["owner"].endswith(f":{job.pid}"))
        return job.communicate(timeout=LONG)[1]

    def close(self):
        for job in [*self.queued[::-1], *self.jobs]:
            job.terminate()
            job.communicate(timeout=LONG)
        self.cli("local stop --yes")


@pytest.fixture
def session(tmp_path):
    session = Session(tmp_path)
    yield session
    session.close()


def test_the_page_shows_what_comes_out(session):
    (revoked,) = re.findall(r"```text\n(ddb-lease: the lease .*)\n```", PAGE)
    (waiting,) = re.findall(r"```text\n(waiting for .*)\n```", PAGE)
    held = (Holder(owner="ann", seconds=4.8),)
    assert waiting == wait_text.waiting("build", wait_text.placed(2, 2), held, waited=3.0, aged=0.2, width=80)
    for line, said in STEPS:
        if line.endswith(" &"):
            session.start(line[:-2])
            continue
        session.settle()
        done = session.run(line)
        assert (done.returncode, settled(done.stdout)) == (0, settled(said)), (line, done.stderr)
        if line.startswith("revoke"):
            assert revoked in session.says_at_its_end(0).splitlines()


def test_every_command_of_an_operator_is_on_the_page():
    assert {shlex.split(line)[0] for line, _ in STEPS} >= {
        "status",
        "resize",
        "configure",
        "revoke",
        "release",
        "repair",
        "reset",
    }
