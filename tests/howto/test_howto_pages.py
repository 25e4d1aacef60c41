"""The programs of the how-to pages run as they stand there, and do what the pages say."""

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from ddb_lease import LeaseBucket, local
from ddb_lease.cli import main
from ddb_lease.testing import TestEnvironment

PAGES = Path(__file__).parent.parent.parent / "docs" / "howto"


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (PAGES / f"{page}.md").read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    """The embedded engine, one for all pages."""
    before = os.environ.get("DDB_LEASE_LOCAL_DIR")
    os.environ["DDB_LEASE_LOCAL_DIR"] = str(tmp_path_factory.mktemp("howto"))
    yield local.connect(create=True)
    local.stop()
    if before is None:
        del os.environ["DDB_LEASE_LOCAL_DIR"]
    else:
        os.environ["DDB_LEASE_LOCAL_DIR"] = before


@pytest.fixture
def program(connection):
    """All Python of a page, run in its order; what it made is closed at the end."""
    made = []

    def run(page, **given):
        world = {"connection": connection, **given}
        for block in blocks(page, "python"):
            exec(block, world)
        made.extend(thing for thing in world.values() if hasattr(thing, "close") and hasattr(thing, "name"))
        return SimpleNamespace(**world)

    yield run
    for thing in made:
        thing.close()


def test_frameworks(program):
    page = program("frameworks")
    assert page.jobs.name == page.jobs_bucket().name
    slots = page.render_slot()
    assert next(slots).held
    with pytest.raises(StopIteration):
        next(slots)
    assert page.jobs.status().free == 8
    page.jobs_bucket().close()


def test_what_is_held_at_least_several_at_once_and_exclusive(program, capsys):
    page = program("holding")
    done = []
    assert page.report_once(lambda: done.append(1))
    assert not page.report_once(lambda: done.append(2))
    [closed] = page.reports.status().leases
    assert closed.closed
    assert 830 < closed.remaining_seconds < 841
    page.work_for_tenant([lambda: done.append(page.everybody.status().free)])
    assert done == [1, 48]
    assert page.everybody.status().free == 50
    assert capsys.readouterr().out == "read\nrebuild\n"


def test_who_waits_in_order_is_told_the_place_and_listed(program, connection, capsys):
    page = program("waiting")
    assert page.done == "done on slot 0"
    assert page.with_licence(lambda lease: lease.slot, patience=30) == 0
    with ThreadPoolExecutor(1) as pool, LeaseBucket("licences", max_tokens=1, owner="ann", **connection) as other:
        with other.acquire(timeout=30):
            assert page.with_licence(lambda lease: "work", patience=2) == "not in time: place 1, behind ann"
            served = pool.submit(page.with_licence, lambda lease: "work", patience=60)
            while not (waiting := page.who_waits()):
                assert not served.done()
            assert re.fullmatch(r"1\. \S+:\d+", *waiting)
        assert served.result(timeout=60) == "work"
    assert "place 1, after 0 s" in capsys.readouterr().out


@pytest.fixture
def lease_environment(connection):
    with TestEnvironment(**connection) as environment:
        yield environment


def test_a_seat_is_held_while_the_simulator_runs_and_ends_it_when_it_is_lost(
    program, lease_environment, tmp_path, monkeypatch
):
    simulator = tmp_path / "simulate"
    simulator.write_text('#!/bin/sh\necho > "$1.begun"\nexec sleep 600\n')
    simulator.chmod(simulator.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    world = vars(program("licences"))["simulate"].__globals__
    world["seats"] = lease_environment.bucket(max_tokens=1, lease_seconds=60)
    model = tmp_path / "model"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world["simulate"], str(model), user="eve")
        while not Path(f"{model}.begun").exists():
            assert not running.done()
            time.sleep(0.05)
        assert re.fullmatch(r"seat 0: eve, for \d+ s", next(iter(world["holders"]())))
        (lease,) = lease_environment.leases
        lease_environment.lose(lease, reason="unreachable")
        assert running.result(timeout=60) == -signal.SIGTERM


def test_training_goes_on_where_it_was_and_saves_when_its_gpu_is_wanted(program, tmp_path):
    page = program("training")
    done = []

    def step(number):
        done.append(number)
        if number == 14:
            raise KeyboardInterrupt
        return 1 / (number + 1)

    with pytest.raises(KeyboardInterrupt):
        page.train("a", steps=20, step=step, folder=tmp_path)
    assert json.loads((tmp_path / "a.json").read_text())["step"] == 10
    assert page.train("a", steps=20, step=lambda number: done.append(number) or 0.5, folder=tmp_path)
    assert done == [*range(15), *range(10, 20)]
    assert json.loads((tmp_path / "a.json").read_text())["step"] == 20
    assert page.gpus.status().free == 8


def test_training_that_is_revoked_saves_and_gives_the_gpu_back(program, lease_environment, tmp_path):
    world = vars(program("training"))
    world["train"].__globals__["gpus"] = lease_environment.bucket(max_tokens=1, lease_seconds=120)

    def step(number):
        if number == 3:
            (lease,) = lease_environment.leases
            lease_environment.lose(lease, reason="revoked")
        return 0.5

    assert not world["train"]("b", steps=9, step=step, folder=tmp_path)
    assert json.loads((tmp_path / "b.json").read_text())["step"] == 4
    assert world["train"].__globals__["gpus"].status().free == 1


def test_a_run_that_saved_later_is_not_overwritten(program, tmp_path):
    page = program("training")
    (tmp_path / "c.json").write_text(json.dumps({"step": 5, "fence": 2**62}))
    with pytest.raises(RuntimeError, match="later"):
        page.train("c", steps=9, step=lambda number: 0.5, folder=tmp_path)


def test_the_crawler_is_polite_to_each_host_and_puts_off_what_takes_too_long(program):
    page = program("crawler")
    urls = ["http://a.example/1", "http://b.example/1", "http://a.example/2", "http://c.example/429"]
    answers = {url: SimpleNamespace(status=429 if url.endswith("429") else 200) for url in urls}
    pages, later = page.crawl(urls, answers.__getitem__, patience=0.5)
    assert len(pages) == 2
    assert {re.search(r"//(\w)", url).group(1) for url in pages} == {"a", "b"}
    assert len(later) == 2
    assert page.hosts.key("c.example").wait_time() > 30
    (slow,) = page.hosts.key("slow.example").status().settings.values()
    assert (slow.permits, slow.per) == (1, 30)


def test_customers_have_limits_of_their_own(program):
    page = program("quotas")
    answers = [page.serve("customer-1", lambda: "ok")]
    while answers[-1][0] == 200 and len(answers) < 2_000:  # it comes back, too: ten a second
        answers.append(page.serve("customer-1", lambda: "ok"))
    assert len(answers) > 20
    assert answers[-1][0] == 429
    assert answers[0][1]["RateLimit"] == '"day";r=99999, "second";r=19'
    assert int(answers[-1][1]["Retry-After"]) >= 1
    assert page.serve("customer-9", lambda: "ok")[0] == 429
    assert [page.serve("customer-7", lambda: "ok")[0] for _ in range(40)] == [200] * 40


def test_what_an_answer_did_not_use_is_there_for_others(program):
    page = program("llm")
    assert page.ask(lambda prompt, max_tokens: SimpleNamespace(tokens=700), "why?").tokens == 700
    limits = page.model.status().limits  # a minute's tokens come back at 1,500 a second: 86,000 would be seen for 2 s
    assert limits["tokens"].remaining >= 89_300
    assert limits["requests"].remaining == 59


def test_a_session_may_be_a_profile_and_a_role_is_asked_for_by_need_only(tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text("[profile batch]\nregion = eu-west-1\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    world = {}
    for block in blocks("credentials", "python"):
        exec(block, world)
    assert world["session"].region_name == "eu-west-1"
    assert world["session"].get_credentials().access_key == "a"
    world["bucket"].close()
    monkeypatch.setenv("AWS_PROFILE", "batch")
    session = world["assumed"]("arn:aws:iam::123456789012:role/x", region="eu-west-1")
    with LeaseBucket("jobs", max_tokens=1, session=session) as bucket:
        assert bucket.name == "jobs"
    assert session.get_credentials().method == "assume-role"


def test_metrics_are_recorded_of_buckets_and_rates(program):
    page = program("alarms")
    with page.bucket.acquire(timeout=60):
        page.mail.acquire(timeout=30)
    assert callable(page.record)


def test_both_locks_are_held_for_the_days_of_the_change(program, connection):
    page = program("migrating")
    held = []
    with LeaseBucket("moved", max_tokens=1, **connection) as bucket:
        page.both(SimpleNamespaceLock(held), bucket, lambda lease: held.append(lease.held))
    assert held == ["locked", True, "unlocked"]


class SimpleNamespaceLock:
    def __init__(self, told):
        self._told = told

    def __enter__(self):
        self._told.append("locked")

    def __exit__(self, *_):
        self._told.append("unlocked")


def commands():
    """Each command line of these pages: of consoles, crontabs, units and manifests."""
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text()
        for line in re.findall(
            r"(?:^\$ |ExecStart=/opt/venv/bin/|; /opt/venv/bin/|\* \* \* )(ddb-lease .+)$", text, flags=re.MULTILINE
        ):
            yield line.split(" || ")[0]
        for listed in re.findall(r'command: (\["ddb-lease".*\])', text):
            yield shlex.join(yaml.safe_load(listed))
        yield from re.findall(r"`(ddb-lease [^`]+)`", text)


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_is_one_that_the_parser_takes(line):
    own, _ = main.split_command(shlex.split(line)[1:])
    if own not in (["run"], ["create-table"]):
        assert main.parser().parse_args(own).execute


@pytest.fixture
def cron(connection, tmp_path):
    """Runs a crontab's line as cron does: by sh, with hardly any environment. Its job appends to a file."""
    ddb_lease, environment = tmp_path / "ddb-lease", tmp_path / "ddb-lease.env"
    ddb_lease.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ddb_lease.cli "$@"\n')
    ddb_lease.chmod(0o700)
    folder = os.environ["DDB_LEASE_LOCAL_DIR"]
    environment.write_text(f"DDB_LEASE_LOCAL=true\nDDB_LEASE_LOCAL_DIR={folder}\nPYTHONPATH={PAGES.parents[1]}\n")
    job = tmp_path / "nightly.sh"

    def run(line, *, name, does="echo report"):
        job.write_text(f"#!/bin/sh\necho >> {tmp_path}/ran\n{does}\n")
        job.chmod(0o700)
        for theirs, ours in (
            ("/opt/venv/bin/ddb-lease", ddb_lease),
            ("/etc/ddb-lease.env", environment),
            ("/opt/jobs/nightly.sh", job),
            ("run nightly ", f"run {name} "),
        ):
            assert theirs in line
            line = line.replace(theirs, str(ours))
        bare = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["sh", "-c", line], env=bare, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    run.times = lambda: len((tmp_path / "ran").read_text().splitlines()) if (tmp_path / "ran").exists() else 0
    return run


CRONTAB = re.findall(r"^17 3 \* \* \* (.+)$", (PAGES / "cron.md").read_text(), flags=re.MULTILINE)


def test_cron_mails_nothing_from_the_machine_that_finds_the_job_running(cron, connection, bucket_name):
    with (
        LeaseBucket(bucket_name, max_tokens=1, lease_seconds=120, **connection) as elsewhere,
        elsewhere.acquire(timeout=30),
    ):
        assert cron(CRONTAB[0], name=bucket_name) == (0, "")
    assert cron.times() == 0
    assert cron(CRONTAB[0], name=bucket_name) == (0, "report\n")
    assert cron(CRONTAB[0], name=bucket_name, does="echo broken >&2; exit 3") == (3, "broken\n")


def test_once_not_twice_mails_nothing_from_the_machine_that_comes_later_until_the_slot_is_opened(
    cron, connection, bucket_name
):
    assert cron(CRONTAB[1], name=bucket_name, does="exit 3") == (3, "")
    assert cron(CRONTAB[1], name=bucket_name) == (0, "")
    assert cron.times() == 1
    assert main.main(["release", bucket_name, "--slot", "0", "--local"]) == 0
    assert cron(CRONTAB[1], name=bucket_name) == (0, "report\n")
    assert cron(CRONTAB[1], name=bucket_name) == (0, "")


@pytest.mark.parametrize("page", ["kubernetes", "containers"])
def test_every_manifest_is_yaml(page):
    assert all(yaml.safe_load(block) for block in blocks(page, "yaml"))


def test_the_index_names_each_page():
    listed = re.findall(r"\]\((\w+\.md)\)", (PAGES / "index.md").read_text())
    assert sorted([*listed, "index.md"]) == sorted(page.name for page in PAGES.glob("*.md"))
