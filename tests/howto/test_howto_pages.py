"""The programs of the how-to pages run as they stand there, and do what the pages say."""

import json
import math
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest

from ddb_lease import AcquireTimeout, LeaseBucket, LeaseLost, Limit, RateTimeout, StoreUnavailable, local
from ddb_lease.cli import main
from ddb_lease.testing import TestEnvironment
from scripts.harness.simulated_engine import Simulated
from tests.pages import Snippets

PAGES = Path(__file__).parent.parent.parent / "docs" / "howto"
SNIPPETS = Snippets(
    "docs/howto/alarms.md",
    "docs/howto/calling-an-api.md",
    "docs/howto/crawler.md",
    "docs/howto/credentials.md",
    "docs/howto/frameworks.md",
    "docs/howto/holding.md",
    "docs/howto/licences.md",
    "docs/howto/llm.md",
    "docs/howto/quotas.md",
    "docs/howto/training.md",
    "docs/howto/waiting.md",
)


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    """The embedded engine, as the pages find it: one for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path_factory.mktemp("engine")))
        yield local.connect(create=True)
        local.stop()


@pytest.fixture
def program(connection):
    """All Python of a page, run in its order; what it made is closed at the end."""
    made = []

    def run(page, **given):
        world = SNIPPETS.run(dict(given), f"docs/howto/{page}.md")
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
    assert {*page.STATUS} == {AcquireTimeout, LeaseLost, StoreUnavailable}


def test_what_is_held_at_least_several_at_once_and_exclusive(program, capsys):
    page = program("holding")
    done, began = [], time.monotonic()
    assert page.report_once(lambda: done.append(1))
    assert not page.report_once(lambda: done.append(2))
    [closed] = page.reports.status().leases
    assert closed.closed
    assert 838 - (time.monotonic() - began) < closed.remaining_seconds < 841
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
    assert re.search(r"place 1, after [0-2] s", capsys.readouterr().out)


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


def test_who_gets_no_seat_in_half_an_hour_is_told_so_and_no_simulator_runs(program, lease_environment, monkeypatch):
    world = vars(program("licences"))["simulate"].__globals__
    world["seats"] = lease_environment.bucket(max_tokens=1, lease_seconds=60)
    lease_environment.fill(world["seats"])
    monkeypatch.setenv("PATH", "")
    began = lease_environment.clock.steady()
    with pytest.raises(RuntimeError, match="no seat came free"):
        world["simulate"]("model", user="eve")
    assert lease_environment.clock.steady() - began == pytest.approx(1800, abs=5)


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


@pytest.fixture
def always_answered(monkeypatch):
    """A service whose answers never come so late that a page lets requests in without them."""
    service = Simulated()
    where = {"session": service.session(), "endpoint_url": service.endpoint_url}
    monkeypatch.setattr(local, "connect", lambda: where)


@pytest.mark.usefixtures("always_answered")
def test_customers_have_limits_of_their_own(program):
    page = program("quotas")
    # On a machine under load, ten a second come back as fast as they are used: sixty times as slowly, they do not.
    slowly = {name: replace(limit, per=limit.per * 60) for name, limit in page.quotas.policy().items()}
    page.quotas.key("customer-1").override(**slowly)
    answers = [page.serve("customer-1", lambda: "ok")]
    while answers[-1][0] == 200 and len(answers) < 2_000:
        answers.append(page.serve("customer-1", lambda: "ok"))
    assert len(answers) > 20
    assert answers[-1][0] == 429
    assert answers[0][1]["RateLimit"] == '"day";r=9999, "second";r=19'
    assert int(answers[-1][1]["Retry-After"]) >= 1
    assert page.serve("customer-9", lambda: "ok")[0] == 429
    assert [page.serve("customer-7", lambda: "ok")[0] for _ in range(40)] == [200] * 40
    day = page.quotas.policy()["day"]
    assert most_in(day, seconds=86_400, apart=1) == 99_999, "with the clocks a second apart"


@pytest.mark.usefixtures("always_answered")
def test_an_override_gives_nothing_before_a_reset(program):
    page = program("quotas")
    key = page.quotas.key("customer-8")
    key.override(day=Limit(5, per=86_400))
    assert key.try_acquire(second=1, day=5)
    key.override(day=Limit(50, per=86_400))
    assert key.status().limits["day"].remaining == 0, "what was used counts on"
    key.reset()
    assert key.status().limits["day"].remaining == 50


def test_a_calendar_day_has_its_quota_and_the_next_one_too(program):
    page = program("quotas")
    page.in_quota.__globals__["per_day"] = page.parse("3/day")
    noon = datetime(2031, 5, 6, 12, tzinfo=timezone.utc)
    assert [page.in_quota("ann", noon) for _ in range(5)] == [True] * 3 + [False] * 2
    assert page.in_quota("bob", noon)
    assert [page.in_quota("ann", noon + timedelta(days=1)) for _ in range(4)] == [True] * 3 + [False]
    month = page.parse("30000/31 days")
    assert (month.amount, month.get_expiry()) == (30_000, 31 * 86_400)


def most_in(limit, *, seconds, apart):
    """How many permits any so many seconds may have, of processes whose clocks lie so far apart."""
    burst = limit.burst or max(1, math.floor(limit.permits))
    return math.floor(limit.permits / limit.per * (seconds + apart) + burst + 1e-9)


def test_the_numbers_of_the_page_on_calls_are_those_of_the_formula():
    text = (PAGES / "calling-an-api.md").read_text()
    rows = re.findall(r"^\| `(rate=[^`]*)`[^|]*\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", text, flags=re.MULTILINE)
    assert len(rows) == 6
    for arguments, *numbers in rows:
        given = eval(f"dict({arguments})")
        limit = Limit(given.pop("rate"), **given)
        worst = [most_in(limit, seconds=t, apart=s) for t, s in ((1, 0), (1, 1), (60, 1))]
        assert [int(number.replace(",", "")) for number in numbers] == worst, arguments
    for most, arguments, seconds in (
        (20, "9.5, burst=1", 1),
        (60, "58, per=60, burst=1", 60),
        (1_000, "900, per=86_400, burst=100", 86_400),
    ):
        assert f"`rate={arguments}" in text
        permits, _, rest = arguments.partition(", ")
        assert most_in(Limit(float(permits), **eval(f"dict({rest})")), seconds=seconds, apart=1) <= most


def test_an_api_is_called_at_its_rate_and_let_alone_after_a_429(program):
    page = program("calling-an-api")
    answers = [SimpleNamespace(status=status, headers={"Retry-After": "1"}) for status in (429, 200)]
    asked = []

    def send(request):
        asked.append(time.monotonic())
        return answers[len(asked) - 1]

    assert page.call(send, "where?").status == 200
    assert asked[1] - asked[0] > 0.9
    assert page.api.status().burst == 1, "one by one"
    began, more = time.monotonic(), []
    page.permitted(timeout=30)

    def asked_for_more():
        while True:
            page.permitted(timeout=0)
            more.append(time.monotonic() - began)

    with pytest.raises(RateTimeout) as told:
        asked_for_more()
    assert told.value.limit == "minute"
    assert all(at >= number * 60 / 58 for number, at in enumerate(more, 1)), "only what has come back meanwhile"
    fetched = [page.fetch(str, "x") for _ in range(51)]
    assert [answer for answer, _ in fetched] == ["x"] * 50 + [None]
    assert 86_000 < fetched[-1][1] < 86_440


def test_what_an_answer_did_not_use_is_there_for_others(program):
    page = program("llm")
    # On a machine under load, what comes back in a minute hides what was used: sixty times as slowly, it does not.
    page.model.set_policy(requests=Limit(60, per=3600), tokens=Limit(90_000, per=3600))
    assert page.ask(lambda prompt, max_tokens: SimpleNamespace(tokens=700), "why?").tokens == 700
    limits = page.model.status().limits
    assert limits["tokens"].remaining >= 89_300
    assert limits["requests"].remaining == 59


def test_a_session_may_be_a_profile_and_a_role_is_asked_for_by_need_only(tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text("[profile batch]\nregion = eu-west-1\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    world = SNIPPETS.run({}, "docs/howto/credentials.md")
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
        done = subprocess.run(["sh", "-c", line], env=bare, capture_output=True, text=True, timeout=240, check=False)
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


def test_the_index_names_each_page():
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (PAGES / "index.md").read_text())
    assert sorted([*listed, "index.md"]) == sorted(page.name for page in PAGES.glob("*.md"))
