"""`ddb-lease lead` as a real process: one machine runs the command, and another one when that fails."""

import contextlib
import shlex
import signal
import types

import pytest

from ddb_lease import AcquireTimeout, StoreRejected, StoreUnavailable
from ddb_lease.cli import defaults, lead, main
from ddb_lease.cli.run import LeasedRun, Signals
from ddb_lease.cli.supervisor import Exit, SupervisedCommand
from tests.cli.test_run import LEASE, LONG, TABLE, Cli, but_the_wait, first_line, leased, lives, says
from tests.support import Table, recorded_engine

STAYS = 'echo "$$ $DDB_LEASE_FENCE"; exec sleep 600'


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    """A private engine."""
    cli = Cli(tmp_path_factory.mktemp("lead"))
    try:
        assert cli("local", "start").returncode == 0
        assert cli("create-table", "--local").returncode == 0
        yield cli
    finally:
        cli("local", "stop", "--yes")


@pytest.fixture(scope="module")
def client(cli):
    engine = recorded_engine(cli.folder / "engine")
    client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
    yield client
    client.close()


@pytest.fixture
def table(client, bucket_name):
    return Table(client, TABLE, bucket_name)


def lead_line(name, job, *, options="", lease=LEASE):
    own = ["lead", name, "--local", "--short-leases", "--lease", f"{lease}s", *shlex.split(options)]
    return [*own, "--", *(["sh", "-c", job] if isinstance(job, str) else job)]


@pytest.fixture
def run(cli, bucket_name):
    """Run a job as the leader, to its end."""
    return lambda job, **how: cli(*lead_line(bucket_name, job, **how))


@pytest.fixture
def start(cli, bucket_name):
    """Start a candidate."""
    with contextlib.ExitStack() as stack:

        def start(job=STAYS, **how):
            process = cli.popen(*lead_line(bucket_name, job, **how))
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def test_it_ends_with_the_command_and_with_its_code_and_the_place_is_free(run, table):
    done = run('echo "$DDB_LEASE_SLOT $DDB_LEASE_FENCE"; exit 3')
    assert (done.returncode, but_the_wait(done.stderr)) == (3, "")
    slot, fence = map(int, done.stdout.split())
    assert table.get(slot)["fence"] == fence
    assert not leased(table)


def test_what_cannot_be_run_leads_nothing(run, table):
    assert run(["no-such-command-anywhere"]).returncode == 127
    done = run([])
    assert done.returncode == 2
    assert "ddb-lease lead NAME -- COMMAND" in done.stderr
    assert not table.all()


def test_a_bucket_of_several_tokens_makes_no_leader(cli, run, table, bucket_name):
    where = ["--local", "--short-leases", "--lease", f"{LEASE:g}s"]
    assert cli("run", bucket_name, *where, "--max-tokens", "2", "--", "true").returncode == 0
    done = run("echo ran")
    assert (done.returncode, done.stdout) == (2, "")
    assert "has max_tokens=2, and a leader needs a bucket of one token" in done.stderr
    assert not leased(table)


def test_after_a_loss_it_leads_again_and_after_term_it_ends(start, table, bucket_name):
    process = start()
    first, fence = map(int, first_line(process).split())
    table.delete(0)
    second, later = map(int, first_line(process).split())
    assert not lives(first)
    assert later > fence
    process.terminate()
    assert process.wait(LONG) == 143
    assert not lives(second)
    said = f"ddb-lease: the lease on slot 0 of '{bucket_name}' was lost (gone); the command was ended\n"
    assert but_the_wait(process.stderr.read()) == said
    assert not leased(table)


def test_a_killed_leader_is_followed_and_its_command_is_dead_by_then(start, table, bucket_name):
    leader = start()
    command, fence = map(int, first_line(leader).split())
    follower = start(options="--owner ann")
    says(follower, f":{leader.pid} has led for ")
    leader.kill()
    _, later = map(int, first_line(follower).split())
    assert not lives(command)
    assert later > fence
    assert leased(table)[0]["owner"] == "ann"
    says(follower, f"leading {bucket_name} after ")
    waits = start()
    says(waits, "waiting")
    waits.terminate()
    assert waits.wait(LONG) == 143
    assert waits.stdout.read() == ""
    follower.send_signal(signal.SIGTERM)
    assert follower.wait(LONG) == 143


def test_who_was_told_to_end_does_not_wait_again_after_a_loss(start, table):
    process = start("trap 'echo told' TERM; echo ready; while :; do sleep 0.05; done", options="--kill-after never")
    assert first_line(process) == "ready"
    process.terminate()
    assert first_line(process) == "told"
    table.delete(0)
    assert process.wait(LONG) == 143


# Without a process.


def options_of(line):
    """What a command line says, and its command."""
    words, command = main.split_command(shlex.split(line))
    options = main.parser().parse_args(words)
    defaults.fill(options, top=main.parser(), env={"DDB_LEASE_CONFIG": ""})
    options.command = command
    return options


class Known:
    """A bucket that is known at last: this is as far as a test goes."""

    name = "scheduler"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def acquire(self, *_, **__):
        raise StoreRejected("the bucket is known, and asked")


def test_an_outage_is_waited_out_before_anything_is_known_of_the_bucket(monkeypatch, capsys):
    answers = iter([StoreUnavailable("no answer"), StoreUnavailable("no answer"), (Known(), 1)])

    def asked(_options):
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    monkeypatch.setattr(lead, "asked_bucket", asked)
    monkeypatch.setattr(lead, "AWAY_SECONDS", 0.0)
    with pytest.raises(StoreRejected, match="the bucket is known, and asked"):
        lead.execute(options_of("lead scheduler --local --quiet -- true"))
    assert capsys.readouterr().err.count("the wait goes on") == 1


def test_each_outage_amid_the_wait_is_told_once(monkeypatch, capsys):
    away, busy = StoreUnavailable("no answer"), AcquireTimeout("somebody leads")
    answers = iter([away, away, busy, busy, away, away, StoreRejected("asked to the end")])

    class Away(Known):
        def acquire(self, *_, **__):
            raise next(answers)

    monkeypatch.setattr(lead, "asked_bucket", lambda _options: (Away(), 1))
    monkeypatch.setattr(lead, "AWAY_SECONDS", 0.0)
    with pytest.raises(StoreRejected, match="asked to the end"):
        lead.execute(options_of("lead scheduler --local --quiet -- true"))
    told = [line for line in capsys.readouterr().err.splitlines() if "goes on" in line]
    assert told == ["ddb-lease: no answer; the wait goes on when the service answers"] * 2


def test_a_signal_that_the_command_has_got_does_not_end_the_leader_later(monkeypatch):
    signals = Signals()
    signals.note_only()
    signals.noted.append(signal.SIGHUP)
    sent = []
    ended = Exit(code=0, signal=None, cause="itself", gone_at=0.0)
    command = types.SimpleNamespace(pid=1, reach="group", signal=sent.append, wait=lambda timeout: ended)
    own = {"id": "0-a", "slot": 0, "slots": (0,), "fence": 1}
    lease = types.SimpleNamespace(**own, grace=1.0, remaining=9.0, held=True, lost=None, on_lost=None)
    options = options_of("lead scheduler --local -- work")
    monkeypatch.setattr(SupervisedCommand, "start", lambda *_, **__: command)
    run = LeasedRun(lease, options=options, signals=signals, losses=None)
    assert run.run(["work"]) == 0
    assert sent == run.passed_on == [signal.SIGHUP]
    signals.raise_again()
