"""The command: what it says and asks beforehand, what ends it, what it records, and its exit codes."""

import json
import re
import signal
import subprocess
import time

import pytest
from botocore.exceptions import ClientError

from ddb_lease.cli import exits, main
from ddb_lease.cli.conform import measuring, running
from ddb_lease.cli.conform.own_table import PREFIX
from ddb_lease.cli.conform.recording import scrubbed
from ddb_lease.dynamodb.permissions import OPTIONAL, actions
from scripts.harness import engines
from tests.cli.test_commands import DUMMY, LONG, NOBODY, command, environment
from tests.conformance import page
from tests.dynamodb.test_permissions import IN_TRANSACTION
from tests.pages import blocks


@pytest.fixture(scope="module")
def service():
    """An engine of this module's own, as some tests take it away."""
    with engines.embedded() as engine:
        yield engine


@pytest.fixture
def tables(service):
    client = service.session().client("dynamodb", endpoint_url=service.endpoint_url)
    yield lambda: client.list_tables()["TableNames"]
    client.close()


@pytest.fixture
def conform(service, monkeypatch, capsys):
    """Runs the command in this process; its exit code, output and diagnostics."""
    for name, value in page.CREDENTIALS.items():
        monkeypatch.setenv(name, value)

    def run(*options, endpoint_url=service.endpoint_url):
        code = main.main(["conform", "--endpoint-url", endpoint_url, *options])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def few_probes(monkeypatch):
    """Only a few probes, of which one differs on this engine: how a run goes does not depend on their number."""
    whole = running.all_probes
    wanted = ("claim a free slot", "claim a slot that does not exist", "renew in a batch")
    monkeypatch.setattr(running, "all_probes", lambda run: [p for p in whole(run) if p.name in wanted])


# Before anything is sent.


def test_the_page_shows_how_many_probes_and_requests_there_are(monkeypatch, capsys):
    (console,) = blocks("docs/conformance.md", "console")
    (line,) = re.findall(r"^\$ ddb-lease (.*)$", console.text, flags=re.MULTILINE)
    asked = []
    monkeypatch.setattr(running, "new_name", lambda: f"{PREFIX}0b51...")
    monkeypatch.setattr(running, "confirmed", lambda question, **_: asked.append(question) or False)
    assert main.main(line.split()) == exits.USAGE
    assert capsys.readouterr() == ("", "ddb-lease: nothing was sent\n")
    probes = running.all_probes("run")
    (question,) = (" ".join(one.split()).removesuffix(" [y/N]") for one in asked)
    assert f"$ ddb-lease {line} {question}" in " ".join(console.text.split())
    assert f"\n{len(probes)} probes: {len(probes)} as expected, 0 different\n" in console.text


def test_without_a_terminal_it_asks_for_yes_and_sends_nothing(conform, tables):
    code, out, told = conform()
    assert (code, out) == (2, "")
    assert "give --yes" in told
    assert tables() == []


@pytest.mark.parametrize("agrees", [False, True])
def test_a_person_sees_what_is_sent_and_what_it_costs_before_it_is_sent(
    conform, tables, few_probes, monkeypatch, agrees
):
    asked = []

    def confirmed(question, *, refusal):
        asked.append(question)
        assert tables() == [], "nothing is sent before"
        return agrees

    monkeypatch.setattr(running, "confirmed", confirmed)
    code, out, told = conform("--quick")
    (question,) = asked
    for part in ("ddb-lease-conform-", "3 probes", "requests in all", "less than a cent", "deletes the table", "[y/N]"):
        assert part in question
    assert (code, "nothing was sent" in told) == ((1, False) if agrees else (2, True))
    assert bool(out) == agrees
    assert tables() == []


def test_a_file_that_cannot_be_written_is_told_before_anything_is_sent(conform, tables, tmp_path):
    for path, why in ((tmp_path / "none" / "file", "No such file or directory"), (tmp_path, "it is a directory")):
        code, _, told = conform("--yes", "--record", str(path))
        assert code == 2
        assert f"cannot write {path}: {why}" in told
        assert "makes table" not in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--local", "--without-partiql", "p"), "knows no permissions"),
        (("--table", "t"), "unrecognized arguments: --table"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, told, capsys):
    try:
        code = main.main(["conform", *options])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert told in capsys.readouterr().err


# What it touches.


def touched(session):
    """What is asked through a session: each action that IAM would check, with the table."""
    found = set()

    def note(params, model, **_):
        parts = [part for item in params.get("TransactItems", ()) for part in item.items()] or [(model.name, params)]
        if model.name == "BatchExecuteStatement":
            named = [re.match(r'UPDATE "(.+?)" SET ', one["Statement"]).group(1) for one in params["Statements"]]
            parts = [("PartiQLUpdate", {"TableName": name}) for name in named]
        for name, given in parts:
            found.add(
                (f"dynamodb:{IN_TRANSACTION.get(name, name)}", given.get("TableName") or given["GlobalTableName"])
            )

    session.events.register("before-parameter-build.dynamodb", note)
    return found


def test_it_touches_its_own_table_only_and_needs_what_the_page_says(conform, service, tables, monkeypatch):
    session = service.session()
    found = touched(session)
    monkeypatch.setattr("ddb_lease.cli.connection.new_session", lambda **_: session)
    conform("--yes", "--quick")
    (own,) = {name for action, name in found if action == "dynamodb:CreateTable"}
    assert own.startswith(PREFIX)
    assert {name for _, name in found} == {own, f"{own}-nowhere"}
    written = {action for action, _ in found}
    needed = {action for role in ("deployer", "worker", "operator") for action in actions(role)}
    # Who makes a table whose answer was late may also ask whether it is an old global one.
    assert written - {f"dynamodb:{name}" for name in OPTIONAL["deployer"]} == needed | {"dynamodb:DeleteTable"}
    assert tables() == []


# What it prints.


def test_a_difference_shows_both_answers_and_the_request_id_and_the_exit_code(conform, tables, few_probes):
    code, out, told = conform("--yes", "--quick")
    assert code == 1
    assert "  ok  claim a free slot: Claim (put_item): ok; 1 unit; Done [" in out
    where = out.index("DIFF  renew in a batch: RenewEach (batch_execute_statement) [")
    assert "\n        expected  ok [item]; 1 unit; Each [Done]\n        seen      ValidationException" in out[where:]
    left_out = "a batch of a role without PartiQLUpdate: not tried; name one with --without-partiql PROFILE"
    assert f"\n  --  {left_out}\n" in out
    assert out.endswith("3 probes: 2 as expected, 1 different\n")
    assert "deleted" in told
    assert "please report it" in told
    assert tables() == []


def test_without_a_difference_the_exit_code_is_0(conform, few_probes, monkeypatch):
    few = running.all_probes
    monkeypatch.setattr(running, "all_probes", lambda run: few(run)[:2])
    code, out, told = conform("--yes", "--quick")
    assert (code, out.splitlines()[-1]) == (0, "2 probes: 2 as expected, 0 different")
    assert "report" not in told


def test_what_is_measured_is_printed_like_a_probe(conform, few_probes, monkeypatch):
    made = running.Measurement(name="Dates", request="Look", expected="e", seen="s", as_expected=False)
    monkeypatch.setattr(running, "measure_dates", lambda *_: made)
    monkeypatch.setattr(measuring, "MINTS", 24)
    monkeypatch.setattr(measuring, "UPDATES", 8)
    code, out, told = conform("--yes")
    assert code == 1
    assert "DIFF  Dates: Look [-]\n        expected  e\n        seen      s\n" in out
    assert "  ok  transactions and updates that collide: " in out
    assert out.endswith("5 probes: 3 as expected, 2 different\n")
    assert "asking for 2000 Dates on 8 connections" in told


def denied(*parts, code=None):
    class Client:
        def batch_execute_statement(self, **_):
            metadata = {"RequestId": "R", "HTTPHeaders": {}}
            if code:
                error = {"Error": {"Code": code, "Message": "x"}, "ResponseMetadata": metadata}
                raise ClientError(error, "BatchExecuteStatement")
            return {"Responses": list(parts), "ResponseMetadata": metadata}

    return Client()


@pytest.mark.parametrize(
    ("client", "seen", "fine"),
    [
        (denied(code="AccessDeniedException"), "AccessDeniedException", True),
        (denied({"Error": {"Code": "AccessDenied", "Message": "x"}}), "AccessDenied", True),
        (denied({"Item": {}}), "ok", False),
        (denied(code="ValidationException"), "ValidationException", False),
        (denied(), "", False),
    ],
)
def test_a_role_without_partiql_must_be_denied_a_batch(conform, few_probes, monkeypatch, client, seen, fine):
    real = running.patient_client
    profiles = []

    def new_session(*, profile, region):
        profiles.append((profile, region))
        return object()

    monkeypatch.setattr(running, "new_session", new_session)
    monkeypatch.setattr(running, "ConnectionSettings", lambda **_: "theirs")
    monkeypatch.setattr(
        running,
        "patient_client",
        lambda settings, sender: client if settings == "theirs" else real(settings, sender),
    )
    _, out, _ = conform("--yes", "--quick", "--json", "--without-partiql", "narrow")
    told = json.loads(out.splitlines()[-1])
    assert (told["probe"], told["request"]) == ("a batch of a role without PartiQLUpdate", "RenewEach")
    assert told["expected"] == "AccessDenied, of the batch or of each statement"
    assert (told["seen"], told["as_expected"]) == (seen, fine)
    assert profiles == [("narrow", "us-east-1")]


# What ends it.


@pytest.fixture
def started(service, tmp_path):
    """Starts the command as a process, and waits until its first probes are told."""
    running_ = []

    def start(*options, engine=service):
        line = ["conform", "--yes", "--endpoint-url", engine.endpoint_url, *options]
        process = subprocess.Popen(
            command(line),
            env=environment(tmp_path, **DUMMY),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running_.append(process)
        while not process.stdout.readline().startswith("  ok  claim "):
            assert process.poll() is None
        return process

    yield start
    for process in running_:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_deletes_its_table_and_says_how_far_it_came(started, tables, tmp_path, signum, code):
    process = started("--record", str(tmp_path / "answers"))
    assert len(tables()) == 1
    process.send_signal(signum)
    _, told = process.communicate(timeout=LONG)
    assert process.returncode == code
    assert tables() == []
    assert "ended after " in told and "deleted" in told
    assert "Traceback" not in told
    assert json.loads((tmp_path / "answers").read_text())["answers"], "what was answered is kept"


def test_a_service_that_goes_away_ends_it_with_the_table_named(service, started, tmp_path):
    with engines.embedded() as engine:
        process = started("--quick", engine=engine)
    deadline = time.monotonic() + LONG
    while process.poll() is None:  # the first ends the run, or what is tried instead; one more ends the deletion
        assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    _, told = process.communicate(timeout=LONG)
    assert process.returncode in {69, 130, -signal.SIGINT}  # the last: one that came when all was done
    assert "may be left, delete it: aws dynamodb delete-table --table-name ddb-lease-conform-" in told
    assert "Traceback" not in told


def test_nobody_there_is_an_error_in_one_line(conform):
    code, out, told = conform("--yes", endpoint_url=NOBODY)
    assert (code, out) == (69, "")
    assert "DynamoDB does not answer" in told.splitlines()[-1]


# What it records.


def test_a_recording_has_every_answer_and_nothing_of_whose_it_is(conform, few_probes, tmp_path):
    path = tmp_path / "answers.json"
    path.write_text("an earlier one")
    conform("--yes", "--quick", "--record", str(path))
    text = path.read_text()
    recorded = json.loads(text)
    assert [one["probe"] for one in recorded["answers"]] == [
        "claim a free slot",
        "claim a slot that does not exist",
        "renew in a batch",
    ]
    first, second, _ = recorded["answers"]
    assert recorded["source"].startswith("ddb-lease conform of ddb-lease ")
    assert (first["operation"], first["status"]) == ("put_item", 200)
    assert second["answer"]["Error"]["Code"] == "ConditionalCheckFailedException"
    assert "ddb-lease-conform-" not in text
    assert list(tmp_path.iterdir()) == [path]


def test_account_ids_names_and_keys_are_replaced():
    arn = "arn:aws:sts::123456789012:assumed-role/Admin/jane@example.com"
    said = (
        f"User: {arn} is not authorized to perform: dynamodb:PartiQLUpdate on resource: "
        "arn:aws:dynamodb:eu-west-1:123456789012:table/mine-1 (ASIAIOSFODNN7EXAMPLE)"
    )
    found = scrubbed({"Message": said, "n": [{"N": "2000000000000"}]}, table="mine-1")
    assert found == {
        "Message": "User: arn:aws:sts::000000000000:someone is not authorized to perform: dynamodb:PartiQLUpdate on "
        "resource: arn:aws:dynamodb:eu-west-1:000000000000:table/TABLE (KEYID)",
        "n": [{"N": "2000000000000"}],
    }
