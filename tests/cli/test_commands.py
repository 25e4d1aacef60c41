"""Every command and option but `run`'s own work, as real processes: their output and exit code."""

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from ddb_lease import SlidingWindow
from ddb_lease.cli import connection, main
from ddb_lease.cli import status as status_command
from ddb_lease.errors import StoreUnavailable, UnknownBucket
from tests.cli import fork_server
from tests.cli.test_formatting import lease as a_lease
from tests.cli.test_formatting import status as a_status
from tests.cli.test_run import but_the_wait
from tests.support import recorded_engine

ROOT = Path(__file__).resolve().parents[2]
LONG = 60.0  # more than any command needs; a bound for failure, never an expectation
DUMMY = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1"}
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there


def environment(folder, **more):
    """All that a command finds: none of this machine's AWS settings, and an engine of its own."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "DDB_LEASE_LOCAL_DIR": str(folder / "engine"),
        "AWS_CONFIG_FILE": str(folder / "no-such-file"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-such-file"),
        "AWS_EC2_METADATA_DISABLED": "true",
        **more,
    }


def command(line):
    return [sys.executable, "-m", "ddb_lease.cli", *(shlex.split(line) if isinstance(line, str) else line)]


class Cli:
    """`ddb-lease` in an environment of its own."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, line, *, env=None, **how):
        """Run a command line to its end."""
        how = {"capture_output": True, "text": True, "timeout": LONG, "stdin": subprocess.DEVNULL} | how
        words = shlex.split(line) if isinstance(line, str) else line
        return fork_server.run(words, env=environment(self.folder, **(env or {})), cwd=self.folder, **how)

    def recorded(self):
        """This environment's engine, with the key that it wants."""
        return recorded_engine(self.folder / "engine")

    def credentials(self):
        """Variables with which a command reaches that engine as if it were AWS."""
        return DUMMY | {"AWS_ACCESS_KEY_ID": self.recorded().access_key_id}


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    """A private engine, with the default table, a bucket that was used, and one whose leases are odd."""
    cli = Cli(tmp_path_factory.mktemp("cli"))
    try:
        assert cli("local start").returncode == 0
        assert cli("create-table --local").returncode == 0
        assert cli("run used --local --max-tokens 2 -- true").returncode == 0
        yield cli
    finally:
        cli("local stop --yes")


@pytest.fixture(scope="module")
def engine(cli):
    """The engine's URL: what a command gets that is to reach it as if it were AWS."""
    return cli.recorded().endpoint_url


@pytest.fixture(scope="module")
def client(cli, engine):
    client = cli.recorded().session().client("dynamodb", endpoint_url=engine)
    yield client
    client.close()


def put_bucket(client, name, leases, *, table="ddb-lease"):
    """A bucket by hand, with these leases: slot -> attributes."""
    counter = {"max_tokens": 9, "minted": 9, "rev": 1, "lease_ms": 60_000, "schema": 1}
    items = [{"sk": {"S": "counter"}} | {k: {"N": str(v)} for k, v in counter.items()}]
    now = int(time.time() * 1000)
    for slot, (owner, data) in leases.items():
        items.append(
            {
                "sk": {"S": f"slot#{slot:05d}"},
                "fence": {"N": str(now)},
                "ttl": {"N": str(now // 1000 + 86_400)},
                "lease_id": {"S": f"{slot}-{'ab' * 16}"},
                "owner": {"S": owner},
                "acquired_at": {"N": str(now)},
                "expires_at": {"N": str(now + 3_600_000)},
                "data": {"M": {k: {"S": v} for k, v in data.items()}},
            }
        )
    for item in reversed(items):  # the counter last: a bucket that is seen has its leases
        client.put_item(TableName=table, Item={"pk": {"S": name}} | item)


def is_one_line(done, *, outage=False):
    """An error is one line, with its name, without a traceback; after a while of waiting, others told of that."""
    lines = [
        line for line in done.stderr.splitlines() if not (outage and line.startswith("ddb-lease: waiting for b: "))
    ]
    if outage and lines[0].startswith("ddb-lease: bucket 'b': no answer from DynamoDB for "):
        del lines[0]
    return len(lines) == 1 and lines[0].startswith("ddb-lease: ") and "defect" not in lines[0]


# Arguments.


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "run --help",
        "status --help",
        "ls --help",
        "top --help",
        "serve --help",
        "timeline --help",
        "create-table --help",
        "conform --help",
        "local --help",
        "template --help",
        "completion --help",
        "limit --help",
        "rate --help",
        *(f"rate {what} --help" for what in ("status", "set", "override", "block", "reset", "keys")),
    ],
)
def test_every_command_has_a_help_page(cli, line):
    done = cli(line)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ddb-lease")
    assert done.stderr == ""


def test_every_option_of_a_command_is_in_its_help(cli):
    run, status, table = (cli(f"{name} --help").stdout for name in ("run", "status", "create-table"))
    for option in ["--max-tokens", "--lease", "--timeout", "--grace", "--data", "--no-slot-code", "--lost-code"]:
        assert option in run
    assert "--json" in status
    assert "--wait" in table
    for page in (run, status, table):
        for option in ["--table", "--region", "--profile", "--endpoint-url", "--local"]:
            assert option in page


def test_the_version_is_told(cli):
    done = cli("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"ddb-lease (\d+\.\d+\S*|\(not installed\))\n", done.stdout)


def test_the_package_by_itself_is_the_program_too(cli):
    done = subprocess.run([sys.executable, "-m", "ddb_lease", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, cli("--version").stdout)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "COMMAND"),
        ("frobnicate", "no such command: 'frobnicate'"),
        ("run", "BUCKET"),
        ("run b --max-tokens x --local -- true", "'x' is not a whole number from 1 to 100,000"),
        ("run b --max-tokens 0 --local -- true", "argument --max-tokens: '0' is not a whole number from 1 to 100,000"),
        ("run b --count 100 --local -- true", "argument --count: '100' is not a whole number from 1 to 99"),
        ("run b --priority x --local -- true", "argument --priority: 'x' is not a whole number from 0 to 9"),
        ("run b --max-tokens 1 --lease 0 --local -- true", "'0' is no length of a lease: it is above 0"),
        ("run b --max-tokens 1 --lease 366d --local -- true", "'366d' is no length of a lease"),
        ("limit b -n 0 --local -- true", "argument -n: '0' is not a whole number from 1 up"),
        ("create-table --local --max-writes 0", "argument --max-writes: '0' is not a whole number from 1 up"),
        ("revoke used --slot x --local", "argument --slot: 'x' is not a whole number from 0 up"),
        ("serve --port x --local", "argument --port: 'x' is not a whole number from 0 up"),
        ("configure used --fifo --local", "unrecognized arguments: --fifo; did you mean --order fifo?"),
        ("configure used fifo --local", "unrecognized arguments: fifo; did you mean --order fifo?"),
        ("run b --max-tokens 1 --lease soon --local -- true", "'soon' is not a duration"),
        ("run b --max-tokens 1 --timeout -1 --local -- true", "--timeout"),
        ("run b --max-tokens 1 --grace 1x --local -- true", "'1x' is not a duration"),
        ("run b --max-tokens 1 --data k --local -- true", "'k' is not of the form KEY=VALUE"),
        ("run b --max-tokens 1 --no-slot-code 256 --local -- true", "'256' is not an exit code"),
        ("run b --max-tokens 1 --lost-code no --local -- true", "'no' is not an exit code"),
        ("create-table --local --wait never", "'never' is not a duration"),
        ("local restart", "invalid choice"),
        ("status used --local -- true", "only run, lead and limit take a command"),
        (
            "run b --max-tokens 1 --local echo 'a b'",
            "write the command after --: ddb-lease run b --max-tokens 1 --local -- echo 'a b'",
        ),
        ("rate", "what"),
        ("rate status", "NAME"),
        ("rate set b --limit tokens --local", "'tokens' is not a limit; write tokens=90000/m"),
        ("rate set b --limit tokens=9 --local", "'9' is not a rate"),
        ("rate set b --limit tokens=9/s,burst=1.5 --local", "the burst must be a whole number from 1 up, not 1.5"),
        ("rate block b --local", "--for"),
        ("rate status b --local -- true", "only run, lead and limit take a command"),
        ("limit b --rate 1/s --local true", "write the command after --: ddb-lease limit b --rate 1/s --local -- true"),
        ("run b --max-tokens 1 --locale -- true", "unrecognized arguments: --locale"),
        ("status used --local true", "unrecognized arguments: true"),
    ],
)
def test_wrong_arguments_are_refused_with_usage_and_code_2(line, says, capsys):
    # In this process, as nothing but the parser runs; the next test has a real one.
    with pytest.raises(SystemExit) as ended:
        main.main(shlex.split(line))
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("usage: ddb-lease")
    last = err.splitlines()[-1]
    assert re.match(r"ddb-lease.*: error: ", last)
    assert says in last


def test_wrong_arguments_are_told_without_a_traceback(cli):
    done = cli("run b --max-tokens 1 --lease soon --local -- true")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "ddb-lease run: error: argument --lease: 'soon' is not a duration; write 90, 250ms, 30s, 1m30s, 10m, 2h or 1d"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("run b --max-tokens 1 --local", "no command"),
        ("run b --max-tokens 1 --lease 0.1s --local --short-leases -- true", "too short"),
        ("run b --max-tokens 1 --lease 3s --local -- true", "at least 4.3 s, as the margin grows with the lease"),
        ("run b --max-tokens 1 --lease 3s --short-leases -- true", "--short-leases needs --local"),
        (
            "run b --max-tokens 1 --lease 10s --grace 9s --local -- true",
            "--grace 9s is too long for a lease of 10s: it may be 2.3s at most",
        ),
        (
            "run b --max-tokens 1 --grace 1h --local -- true",
            "--grace 1h is too long for a lease of 1m: it may be 18s at most",
        ),
        ("limit b --burst 5 --local -- true", "--burst belongs to --rate"),
        ("run '' --max-tokens 1 --local -- true", "non-empty"),
        ("status used --local --region us-east-1", "--local means this machine's engine"),
        ("status used --local --profile p", "--local means this machine's engine"),
        ("create-table --local --endpoint-url http://127.0.0.1:9", "--local means this machine's engine"),
        ("status used", "or give --region; for this machine's engine give --local"),
        ("create-table", "no AWS region is set"),
        ("limit b --rate 1/s -- true", "or give --region"),
        ("status used --profile nobodys", "nobodys"),
        ("status used --region us-east-1 --endpoint-url nonsense", "nonsense"),
    ],
)
def test_settings_that_cannot_work_are_told_in_one_line_with_code_2(cli, line, says):
    done = cli(line)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert is_one_line(done), done.stderr
    assert says in done.stderr


def test_a_lease_shorter_than_its_margin_is_told_before_anything_is_sent(cli):
    done = cli(f"run b --max-tokens 1 --lease 2s --endpoint-url {NOBODY} -- true", env=DUMMY)
    assert done.returncode == 2
    assert "too short" in done.stderr
    assert "of the margin is the time in which the command ends once the lease is lost: --grace" in done.stderr


# A service that does not do what is asked.


@pytest.mark.parametrize(
    "line", ["status b --table nowhere", "run b --max-tokens 1 --table nowhere -- true"], ids=["status", "run"]
)
def test_a_missing_table_is_told_with_how_to_make_it_and_code_77(cli, engine, line):
    own, dashes, job = line.partition(" -- ")
    done = cli(f"{own} --endpoint-url {engine} {dashes} {job}", env=cli.credentials())
    assert done.returncode == 77, done.stderr
    assert is_one_line(done), done.stderr
    assert f"`ddb-lease create-table --table nowhere --endpoint-url {engine}`" in done.stderr


def test_the_engines_key_is_told_of_where_another_is_used_with_code_77(cli, engine):
    done = cli(f"status used --endpoint-url {engine}", env=DUMMY)
    assert done.returncode == 77
    assert is_one_line(done), done.stderr
    assert "access key of its own" in done.stderr
    assert cli.recorded().access_key_id not in done.stderr


def test_missing_credentials_are_told_with_code_77(cli, engine):
    for line in (f"status used --endpoint-url {engine}", f"create-table --wait 1s --endpoint-url {engine}"):
        done = cli(line, env={"AWS_REGION": "us-east-1"})
        assert done.returncode == 77, done.stderr
        assert is_one_line(done), done.stderr
        assert "credentials" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        f"run b --max-tokens 1 --timeout 1s --endpoint-url {NOBODY} -- true",
        f"status b --endpoint-url {NOBODY}",
        f"create-table --wait 1s --endpoint-url {NOBODY}",
    ],
    ids=["run", "status", "create-table"],
)
def test_an_endpoint_where_nobody_is_ends_in_time_with_code_69(cli, line):
    done = cli(line, env=DUMMY)
    assert done.returncode == 69, done.stderr
    assert is_one_line(done, outage=line.startswith("run")), done.stderr
    assert NOBODY in done.stderr


@contextlib.contextmanager
def silence():
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LONG)
        yield server, f"http://127.0.0.1:{server.getsockname()[1]}"


def test_an_endpoint_that_never_answers_ends_in_time_with_code_69(cli):
    with silence() as (_, url):
        done = cli(f"run b --max-tokens 1 --timeout 1s --endpoint-url {url} -- true", env=DUMMY)
    assert done.returncode == 69, done.stderr
    assert is_one_line(done, outage=True), done.stderr


@pytest.mark.parametrize("line", ["status b", "create-table", "run b --max-tokens 1 -- true"])
def test_an_interrupt_ends_a_command_quietly_with_130(cli, line):
    own, dashes, job = line.partition(" -- ")
    with silence() as (server, url):
        process = subprocess.Popen(
            command(f"{own} --endpoint-url {url} {dashes} {job}"),
            env=environment(cli.folder, **DUMMY),
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            connection, _ = server.accept()  # it is waiting for an answer now
            with connection:
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=LONG)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "defect" not in said


def test_an_unknown_bucket_is_told_with_code_66(cli):
    done = cli("status never-used --local")
    assert done.returncode == 66
    assert is_one_line(done), done.stderr
    assert "'never-used' does not exist in table 'ddb-lease'" in done.stderr


def test_who_confuses_buckets_and_rates_is_told_which_it_is(cli):
    assert cli("run a-bucket --local --max-tokens 1 -- true").returncode == 0
    assert cli("limit a-rate --local --rate 100/s -- true").returncode == 0
    shows = "`ddb-lease {} --table ddb-lease --local` shows it\n"
    as_rate = "; 'a-rate' is a rate: " + shows.format("rate status a-rate")
    for line in (
        "status a-rate",
        "run a-rate",
        "resize a-rate 3",
        "configure a-rate --order any",
        "repair a-rate",
        "reset a-rate --yes",
        "release a-rate --slot 0",
        "revoke a-rate --slot 0",
    ):
        done = cli(f"{line} --local{' -- true' * line.startswith('run')}")
        assert (done.returncode, is_one_line(done)) == (66, True), done.stderr
        assert done.stderr.endswith(as_rate)
    as_bucket = "; 'a-bucket' is a bucket: " + shows.format("status a-bucket")
    for line in (
        "rate status a-bucket",
        "rate override a-bucket --key k --rate 1/s",
        "rate block a-bucket --key k --for 1s",
        "rate reset a-bucket",
        "rate keys a-bucket",
        "limit a-bucket",
    ):
        done = cli(f"{line} --local{' -- true' * line.startswith('limit')}")
        assert (done.returncode, is_one_line(done)) == (66, True), done.stderr
        assert done.stderr.endswith(as_bucket)
    assert "; did you mean the rate a-rate?; `ddb-lease ls" in cli("status a-rat --local").stderr
    assert "; did you mean a-bucket?; `ddb-lease ls" in cli("status a-buckt --local").stderr


# create-table.


def test_a_table_is_made_once_and_found_the_second_time(cli):
    first, second = cli("create-table --local --table twice"), cli("create-table --local --table twice")
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == "table twice: created, active; TTL turned on (attribute ttl)\n"
    assert second.stdout == "table twice: exists already, active; TTL is on (attribute ttl)\n"
    assert first.stderr + second.stderr == ""


def test_a_table_made_on_an_endpoint_is_on_demand_with_ttl(cli, engine, client):
    done = cli(f"create-table --table made --region us-east-1 --endpoint-url {engine}", env=cli.credentials())
    assert done.returncode == 0, done.stderr
    assert "table made: created, active" in done.stdout
    described = client.describe_table(TableName="made")["Table"]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert {k["AttributeName"]: k["KeyType"] for k in described["KeySchema"]} == {"pk": "HASH", "sk": "RANGE"}
    ttl = client.describe_time_to_live(TableName="made")["TimeToLiveDescription"]
    assert (ttl["TimeToLiveStatus"], ttl["AttributeName"]) == ("ENABLED", "ttl")


def test_a_table_is_protected_and_capped_if_that_is_asked_for_also_later(cli, client):
    asked = "--deletion-protection --max-writes 100"
    first, second = cli(f"create-table --local --table kept {asked}"), cli("create-table --local --table later")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    told = "deletion protection on, at most 100 write request units a second"
    assert first.stdout == f"table kept: created, active; TTL turned on (attribute ttl); {told}\n"
    assert client.describe_table(TableName="kept")["Table"]["DeletionProtectionEnabled"]
    later = cli(f"create-table --local --table later {asked}")
    assert later.stdout == f"table later: exists already, active; TTL is on (attribute ttl); now {told}\n"
    assert client.describe_table(TableName="later")["Table"]["DeletionProtectionEnabled"]
    off = cli("create-table --local --table kept --no-deletion-protection")
    assert "now deletion protection off" in off.stdout
    assert not client.describe_table(TableName="kept")["Table"]["DeletionProtectionEnabled"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("create-table --local --table 'bad table'", "'bad table' is no name of a table: DynamoDB takes 3 to 255 "),
        ("create-table --local --table ab", "'ab' is no name of a table"),
        ("create-table --local --check --deletion-protection", "--check changes nothing"),
    ],
)
def test_options_of_a_table_that_cannot_be_are_refused(cli, line, says):
    done = cli(line)
    assert done.returncode == 2
    assert is_one_line(done), done.stderr
    assert says in done.stderr


def test_a_table_with_other_keys_is_left_alone_with_code_77(cli, client):
    client.create_table(
        TableName="others",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    done = cli("create-table --local --table others")
    assert done.returncode == 77
    assert is_one_line(done), done.stderr
    assert "choose another --table" in done.stderr
    assert client.describe_time_to_live(TableName="others")["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED"


# The connection.


def test_the_table_can_come_from_the_environment_and_the_option_wins(cli):
    for name in ("from-environment", "from-option"):
        assert cli(f"create-table --local --table {name}").returncode == 0
    done = cli("status never-used --local", env={"DDB_LEASE_TABLE": "from-environment"})
    assert "table 'from-environment'" in done.stderr
    done = cli("status never-used --local --table from-option", env={"DDB_LEASE_TABLE": "from-environment"})
    assert "table 'from-option'" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "run b --local --max-tokens 1 --table mistyped -- echo ran",
        "limit b --local --rate 1/s --table mistyped -- echo ran",
        "rate status b --local --table mistyped",
        "status b --local --table mistyped",
        "resize b 3 --local --table mistyped",
    ],
    ids=lambda line: line.split()[0],
)
def test_a_mistyped_table_of_the_embedded_engine_is_an_error_with_code_77(cli, client, line):
    done = cli(line)
    assert (done.returncode, done.stdout) == (77, "")
    assert is_one_line(done), done.stderr
    assert "ddb-lease create-table --local --table mistyped" in done.stderr
    assert "mistyped" not in client.list_tables()["TableNames"]


def test_a_lease_that_only_the_embedded_engine_takes_needs_a_flag(cli):
    assert cli("run short --local --max-tokens 1 --lease 4s -- true").returncode == 2
    assert cli("run short --local --short-leases --max-tokens 1 --lease 4s -- true").returncode == 0
    assert "too short" in cli("run short --local --max-tokens 1 -- true").stderr, "the stored length counts"


@pytest.mark.parametrize(
    "where", [{"AWS_REGION": "us-east-1"}, {"AWS_DEFAULT_REGION": "us-east-1"}, {"AWS_REGION": "", "option": "1"}]
)
def test_the_region_is_taken_from_where_users_of_aws_expect(cli, engine, where):
    option = "--region us-east-1" if where.pop("option", None) else ""
    env = {name: value for name, value in (cli.credentials() | {"AWS_REGION": ""} | where).items() if value}
    done = cli(f"status used --endpoint-url {engine} {option}", env=env)
    assert done.returncode == 0, done.stderr


def test_a_profile_is_taken_from_the_users_files(cli, engine, tmp_path):
    files = tmp_path / "config"
    key = cli.recorded().access_key_id
    files.write_text(f"[profile mine]\nregion = us-east-1\naws_access_key_id = {key}\naws_secret_access_key = any\n")
    done = cli(f"status used --profile mine --endpoint-url {engine}", env={"AWS_CONFIG_FILE": str(files)})
    assert done.returncode == 0, done.stderr


# status.


def test_status_sums_a_bucket_up_in_one_line(cli):
    done = cli("status used --local")
    assert done.returncode == 0
    assert done.stdout == "used in table ddb-lease: 0 of 2 leased, 2 free, leases of 1m, 2 slots minted\n"
    assert done.stderr == ""


def test_status_shows_each_lease_in_a_line(cli, client):
    put_bucket(client, "shown", {0: ("host:1", {}), 7: ("other-host:22", {"job": "nightly"})})
    done = cli("status shown --local")
    head, drift, blank, columns, first, second = done.stdout.splitlines()
    assert head == "shown in table ddb-lease: 2 of 9 leased, 7 free, leases of 1m, 9 slots minted"
    assert drift == "drift: 2 slots are in circulation; the others are minted again when needed"
    assert blank == ""
    assert columns.split("  ")[0] == "SLOT"
    assert columns.split() == ["SLOT", "OWNER", "AGE", "REMAINING", "FENCE", "LEASE", "ID", "DATA"]
    assert re.match(r"   0  host:1 +\d.*s +(59m\d\ds|1h)  \d{13}  0-(ab){4}$", first)
    assert re.match(r"   7  other-host:22 +\d.*s +(59m\d\ds|1h)  \d{13}  7-(ab){4}  job=nightly$", second)
    wide = cli("status shown --local --wide").stdout.splitlines()
    assert re.search(r"  7-(ab){16}  job=nightly$", wide[-1])


def test_status_as_json_has_all_of_it(cli, client):
    put_bucket(client, "jsonned", {3: ("h\xf6st", {"k": "\u20ac"})})
    done = cli("status jsonned --json --local")
    told = json.loads(done.stdout)
    assert (told["name"], told["table"], told["max_tokens"], told["lease_seconds"]) == ("jsonned", "ddb-lease", 9, 60.0)
    assert (told["free"], told["minted"], told["in_circulation"], told["drift"]) == (8, 9, 1, 8)
    (lease,) = told["leases"]
    assert (lease["slot"], lease["owner"], lease["data"], lease["expired"]) == (3, "h\xf6st", {"k": "\u20ac"}, False)
    assert 3_000 < lease["remaining_seconds"] <= 3_601


def test_what_others_wrote_is_not_printed_raw(cli, client):
    odd = "a\x1b[2J\x07\r\n\x9b31m\u202eb"
    put_bucket(client, "odd", {0: (odd, {odd: odd})})
    done = cli("status odd --local", text=False)
    shown = done.stdout.decode()
    assert done.returncode == 0
    assert len(shown.splitlines()) == 5, "head, drift, nothing, columns, the lease"
    assert all(c.isprintable() for c in shown.replace("\n", ""))
    assert json.loads(cli("status odd --local --json").stdout)["leases"][0]["owner"] == odd


@pytest.mark.parametrize("option", ["", "--json"])
def test_a_terminal_that_lacks_a_character_is_no_defect(cli, client, option):
    put_bucket(client, "euro", {0: ("\u20ac", {"k": "\u4e2d"})})
    done = cli(f"status euro --local {option}", env={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.fixture
def filled(client):
    """Puts a bucket with so many leases; its items go after the test, as they make each later read of the table slow."""
    made = []

    def put(leases):
        name = f"long-{leases}"
        made.append((name, ["counter", *(f"slot#{n:05d}" for n in range(leases))]))
        put_bucket(client, name, {n: ("host:1", {"job": "x" * 50}) for n in range(leases)})

    yield put
    for name, keys in made:
        for key in keys:
            client.delete_item(TableName="ddb-lease", Key={"pk": {"S": name}, "sk": {"S": key}})


@pytest.mark.parametrize("leases", [1, 150], ids=["less than a buffer", "more than a buffer"])
def test_a_reader_that_has_gone_is_no_reason_to_complain(cli, filled, leases):
    filled(leases)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = cli(f"status long-{leases} --local", stdout=gone, capture_output=False, stderr=subprocess.PIPE)
    assert done.stderr == ""
    assert done.returncode in {0, 128 + signal.SIGPIPE}


def test_head_gets_its_line(cli, filled):
    filled(150)
    line = f"{shlex.join(command('status long-150 --local'))} | head -1"
    done = subprocess.run(
        ["bash", "-c", line],
        env=environment(cli.folder),
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.stdout.startswith("long-150 in table ddb-lease")
    assert done.stderr == ""


def test_without_a_standard_output_a_command_still_works(cli):
    done = subprocess.run(
        ["bash", "-c", f"{shlex.join(command('status used --local'))} >&-"],
        env=environment(cli.folder),
        stderr=subprocess.PIPE,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# Verbosity.


def test_verbose_says_what_happens_and_quiet_says_nothing(cli):
    quiet = cli("run verbosity --local --max-tokens 1 -- true")
    once = cli("-v run verbosity --local --max-tokens 1 -- true")
    twice = cli("-vv run verbosity --local --max-tokens 1 -- true")
    assert but_the_wait(quiet.stderr) == ""
    assert re.search(r"^ddb-lease: lease 0-\w+: slot 0 of bucket 'verbosity', fence \d+$", once.stderr, re.MULTILINE)
    assert len(twice.stderr) > len(once.stderr)
    assert (quiet.returncode, once.returncode, twice.returncode) == (0, 0, 0)


@pytest.mark.parametrize("verbosity", ["-v", "-vv"])
@pytest.mark.parametrize(
    "line",
    [
        "limit secretive --endpoint-url {} --rate 1/s --timeout 1s -- true",
        "run secretive --endpoint-url {} --max-tokens 1 --timeout 1s -- true",
    ],
)
def test_no_verbosity_shows_a_credential(cli, verbosity, line):
    secrets = {
        "AWS_ACCESS_KEY_ID": "AKIA" + "K" * 16,
        "AWS_SECRET_ACCESS_KEY": "s3cret" * 6,
        "AWS_SESSION_TOKEN": "t0ken" * 9,
    }
    where = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    done = cli(f"{verbosity} {line.format(NOBODY)}", env=secrets | where)
    assert done.returncode == 69
    for secret in secrets.values():
        assert secret not in done.stdout + done.stderr
    assert ("Unsent" in done.stderr) is (verbosity == "-vv"), "ours is shown all the same"


# local.


def test_the_engine_is_started_told_of_and_stopped(tmp_path):
    cli = Cli(tmp_path)
    try:
        nothing = cli("local status")
        assert (nothing.returncode, nothing.stdout) == (1, "no engine is running\n")
        assert cli("local stop").stdout == "no engine was running\n"
        line = r"engine at http://127\.0\.0\.1:\d+, process \d+, up for \S+\n"
        line += rf"in {re.escape(environment(tmp_path)['DDB_LEASE_LOCAL_DIR'])}/engine-\w+"
        line += rf", run by {re.escape(sys.executable)}\n" if sys.platform == "linux" else "\n"
        started, again, status = cli("local start"), cli("local start"), cli("local status")
        for done in (started, again, status):
            assert (done.returncode, done.stderr) == (0, "")
            assert re.fullmatch(line, done.stdout)
        assert len({re.search(r"process (\d+)", d.stdout).group() for d in (started, again, status)}) == 1
        stopped = cli("local stop")
        assert (stopped.returncode, stopped.stdout) == (0, "engine stopped; its tables are gone\n")
        assert cli("local status").returncode == 1
    finally:
        cli("local stop --yes")


@pytest.fixture
def busy(tmp_path):
    """An engine on which a lease of an hour is held, by nobody who renews it."""
    cli = Cli(tmp_path)
    try:
        assert cli("local start").returncode == 0
        assert cli("create-table --local").returncode == 0
        engine = cli.recorded()
        client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
        put_bucket(client, "nightly", {3: ("host:1", {})})
        client.close()
        yield cli
    finally:
        cli("local stop --yes")


def test_an_engine_on_which_leases_are_held_is_stopped_only_if_that_is_confirmed(busy):
    refused = busy("local stop")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert is_one_line(refused), refused.stderr
    assert re.search(
        r"1 lease would be lost: host:1 holds slot#00003 of nightly, for another (59m\d\ds|1h).*--yes", refused.stderr
    )
    assert busy("local status").returncode == 0
    done = busy("local stop --yes")
    assert (done.returncode, done.stdout) == (0, "engine stopped; its tables are gone\n")
    assert busy("local status").returncode == 1


@pytest.mark.parametrize(("typed", "code"), [("y", 0), ("n", 2), ("", 2)])
def test_on_a_terminal_it_asks(busy, typed, code):
    ours, theirs = os.openpty()
    try:
        os.write(ours, f"{typed}\n".encode())
        done = busy("local stop", stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == code
    assert "Stop the engine, and lose 1 lease? [y/N]" in done.stderr
    assert ("for another" in done.stderr, "host:1 holds slot#00003 of nightly" in done.stderr) == (True, True)
    if code == 0:
        assert "the next engine grants nothing in nightly for" in done.stdout
    assert (busy("local status").returncode == 0) == (code == 2)


def test_used_permits_of_a_window_are_no_leases_that_somebody_holds(tmp_path):
    cli = Cli(tmp_path)
    try:
        assert cli("local start").returncode == 0
        assert cli("create-table --local").returncode == 0
        engine = cli.recorded()
        where = {"session": engine.session(), "endpoint_url": engine.endpoint_url}
        with SlidingWindow("sign-ups", max_tokens=2, period=3600, **where) as window:
            assert window.try_acquire()
        stopped = cli("local stop")
        assert (stopped.returncode, stopped.stderr) == (0, "")
        told = r"engine stopped; its tables are gone\nthe next engine grants nothing in sign-ups for (59m\d\ds|1h)\n"
        assert re.fullmatch(told, stopped.stdout)
    finally:
        cli("local stop --yes")


def test_an_engine_that_does_not_answer_is_stopped_by_force_only_if_that_is_confirmed(busy):
    pid = busy.recorded().pid
    os.kill(pid, signal.SIGSTOP)
    refused = busy("local stop")
    assert refused.returncode == 69
    assert "ddb-lease local stop --yes" in refused.stderr
    assert busy("local stop --yes").returncode == 0


def test_what_a_killed_engine_left_behind_is_told_and_can_be_skipped(busy):
    os.kill(busy.recorded().pid, signal.SIGKILL)
    started = busy("local start")
    assert started.returncode == 0
    told = (
        r"nightly in table ddb-lease: nothing is granted for another (59m\d\ds|1h), as leases of an earlier engine run"
    )
    assert re.search(told, started.stdout)
    assert re.search(told, busy("local status").stdout)
    waiting = busy("run nightly --local --max-tokens 9 --timeout 1s -- true")
    assert waiting.returncode == 69
    assert re.search(told, waiting.stderr)
    assert "nothing is granted" not in busy("status other --local").stderr, "that bucket does not wait"
    assert "nothing is granted" not in busy("local start --no-wait").stdout
    assert busy("run nightly --local --max-tokens 9 -- true").returncode == 0


@pytest.mark.parametrize("line", ["local start --yes", "local status --yes", "local stop --no-wait"])
def test_an_option_of_another_action_is_refused(cli, line):
    done = cli(line)
    assert done.returncode == 2
    assert is_one_line(done), done.stderr


def test_an_engine_whose_folder_cannot_be_used_is_told_with_code_69(cli, tmp_path):
    (tmp_path / "file").write_text("no folder")
    done = cli("status used --local", env={"DDB_LEASE_LOCAL_DIR": str(tmp_path / "file")})
    assert done.returncode == 69
    assert is_one_line(done), done.stderr


def test_a_command_with_local_starts_the_engine_by_itself(tmp_path):
    cli = Cli(tmp_path)
    try:
        done = cli("run b --local --max-tokens 1 -- echo hello")
        assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
        assert cli("local status").returncode == 0
    finally:
        assert cli("local stop").returncode == 0


# Waiting.


def test_waiting_speaks_on_a_terminal_in_one_line_and_says_at_the_end_how_long_it_took(cli, client):
    name = put_nine(client, leased=9)
    (lease,) = [lease for lease in _leases(cli, name) if lease["slot"] == 4]
    said, code = on_terminal(
        cli,
        f"run {name} --local -- sh -c 'echo ran >&2'",
        after="held by",
        act=lambda: cli(f"release {name} {lease['lease_id']} --local"),
        columns=80,
    )
    assert code == 0
    drawn = re.findall(r"\r(waiting for .*?)\x1b\[K", said)
    assert drawn
    assert max(map(len, drawn)) < 80
    held = [line for line in drawn if "held by" in line]
    assert held
    assert re.match(
        rf"waiting for {name}: full, waited \S+; held by host:\d(?: for \S+)?(?: \+8|, and 8 more)", held[0]
    )
    for line in held[1:]:  # the slot may be free by then
        assert re.match(
            rf"waiting for {name}: (?:full, )?waited \S+; held by host:\d(?: for \S+)?(?: \+[78]|, and [78] more)", line
        )
    assert re.search(rf"\r\x1b\[Kddb-lease: slot 4 of {name} after \S+s\r\nran\r\n\Z", said)


def test_an_interrupted_wait_leaves_a_clean_terminal(cli, client):
    name = put_nine(client, leased=9)
    said, code = on_terminal(cli, f"run {name} --local -- true", after="held by", keys=b"\x03")
    assert code == 130
    assert said.endswith("\r\x1b[K")
    assert "\n" not in said


# One lease, by its id.


@pytest.fixture
def holder(cli):
    """A command that runs under a lease, in a bucket of its own; its lease id, and the process."""
    name = f"held-{time.time_ns()}"
    line = command(f"run {name} --local --max-tokens 1 --lease 9s -- sleep 60")
    with subprocess.Popen(
        line, env=environment(cli.folder), cwd=cli.folder, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        try:
            deadline = time.monotonic() + LONG
            while not (leases := _leases(cli, name)):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield name, leases[0]["lease_id"], process
        finally:
            process.terminate()


def _leases(cli, name):
    done = cli(f"status {name} --local --json")
    return json.loads(done.stdout)["leases"] if done.returncode == 0 else []


def test_a_revoke_stops_a_command_and_another_gets_its_slot_only_then(cli, holder):
    name, lease_id, process = holder
    done = cli(f"revoke {name} {lease_id} --local")
    assert (done.returncode, done.stdout) == (0, f"lease {lease_id} is revoked\n")
    _, said = process.communicate(timeout=LONG)
    assert process.returncode == 76
    assert "lost (revoked)" in said
    assert cli(f"run {name} --local --max-tokens 1 --timeout 20s -- true").returncode == 0


@pytest.mark.parametrize("what", ["release", "revoke"])
def test_who_opens_a_slot_that_is_kept_closed_is_told_so(cli, what):
    name = f"closed-{time.time_ns()}"
    closing = f"run {name} --local --max-tokens 1 --owner ann --hold-at-least 10m -- true"
    assert cli(closing).returncode == 0
    done = cli(f"{what} {name} --slot 0 --local")
    assert re.fullmatch(
        r"slot 0 was kept closed for another (10m\d\ds|10m|9m\d\ds) by ann; it is open now\n", done.stdout
    )
    assert cli(closing).returncode == 0
    lease_id = _leases(cli, name)[0]["lease_id"]
    assert cli(f"{what} {name} {lease_id} --local").stdout == "slot 0 was kept closed; it is open now\n"


def test_a_release_by_id_ends_a_lease(cli, holder):
    name, lease_id, _ = holder
    done = cli(f"release {name} {lease_id} --local --json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"lease_id": lease_id, "released": True})
    again = cli(f"release {name} {lease_id} --local")
    assert (again.returncode, again.stdout) == (66, "")
    assert again.stderr == f"ddb-lease: lease {lease_id} is not held: nothing was changed\n"


def test_a_lease_is_meant_by_what_status_shows_or_by_its_slot(cli, client):
    name = put_nine(client)
    whole = f"7-{'ab' * 16}"
    done = cli(f"revoke {name} 7-abab --local")
    assert (done.returncode, done.stdout) == (0, f"lease {whole} of host:7 is revoked\n")
    done = cli(f"release {name} --slot 7 --local --json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"lease_id": whole, "released": True})
    for given, said in (("--slot 7", "slot 7 is not leased"), ("7-abab", "lease 7-abab is not held")):
        done = cli(f"release {name} {given} --local")
        assert (done.returncode, done.stderr) == (66, f"ddb-lease: {said}: nothing was changed\n")
    assert {lease["slot"] for lease in _leases(cli, name)} == {6, 8}
    for given in ("", "8-abab --slot 8"):
        done = cli(f"release {name} {given} --local")
        assert (done.returncode, "say which lease" in done.stderr) == (2, True)


@pytest.mark.parametrize("what", ["release", "revoke"])
@pytest.mark.parametrize("lease", [f"0-{'ab' * 16}", "0-abcdef", "--slot=0"])
def test_a_lease_of_a_bucket_that_does_not_exist_is_told_as_such(cli, what, lease):
    done = cli(f"{what} usd {lease} --local")
    assert (done.returncode, done.stdout) == (66, "")
    assert done.stderr.startswith("ddb-lease: bucket 'usd' does not exist in table 'ddb-lease'; ")
    assert done.stderr.endswith("; did you mean used?; `ddb-lease ls --table ddb-lease --local` lists what there is\n")


@pytest.mark.parametrize("what", ["release", "revoke"])
def test_what_is_no_lease_id_is_told(cli, what):
    done = cli(f"{what} used nonsense --local")
    assert done.returncode == 2
    assert "not a lease id" in done.stderr


# A whole bucket.


def put_nine(client, leased=3):
    """A bucket of nine tokens by hand; its name."""
    name = f"nine-{time.time_ns()}"
    put_bucket(client, name, {slot: (f"host:{slot}", {}) for slot in range(9 - leased, 9)})
    return name


def test_a_resize_tells_what_it_did(cli, client):
    name = put_nine(client)
    done = cli(f"resize {name} 7 --local")
    assert (done.returncode, done.stdout) == (
        0,
        f"{name}: 9 -> 7 tokens; 2 slots retired, where 2 leases may run on\n",
    )
    done = cli(f"resize {name} 7 --local")
    assert (done.returncode, done.stdout) == (0, f"{name} has 7 tokens already\n")
    done = cli(f"resize {name} 1 --local --json")
    assert json.loads(done.stdout) == {"bucket": name, "before": 7, "after": 1, "retired": 1, "running": 1}
    assert cli(f"resize {name} 2 --local").stdout == f"{name}: 1 -> 2 tokens\n"
    status = cli(f"status {name} --local").stdout
    assert f"{name} in table ddb-lease: 0 of 2 leased, 2 free" in status
    assert "3 more on retired slots until they end" in status


def test_a_configure_tells_what_it_did(cli, client):
    name = put_nine(client)
    lines = [f"configure {name} --local --order fifo"] * 2 + [f"configure {name} --local --order any --json"]
    said = [cli(line).stdout for line in lines]
    assert said[:2] == [f"{name} has order fifo, and had any\n", f"{name} has order fifo already\n"]
    assert json.loads(said[2]) == {"bucket": name, "before": "fifo", "after": "any"}


def test_a_repair_tells_what_it_did(cli, client):
    name = put_nine(client)
    assert "drift: 3 slots are in circulation" in cli(f"status {name} --local").stdout
    assert cli(f"repair {name} --local").stdout == f"{name}: minted 9 -> 3\n"
    assert cli(f"repair {name} --local").stdout == f"{name}: minted is 3, which is correct\n"
    assert "drift" not in cli(f"status {name} --local").stdout
    done = cli(f"repair {name} --local --json")
    expected = {"bucket": name, "max_tokens": 9, "before": 3, "after": 3, "retired": 0}
    assert json.loads(done.stdout) == expected


def test_a_reset_asks_and_does_nothing_unless_told(cli, client):
    name = put_nine(client)
    refused = cli(f"reset {name} --local")
    assert refused.returncode == 2
    assert "give --yes" in refused.stderr
    for answer, code, left in (("n\n", 2, 3), ("\n", 2, 3), ("y\n", 0, 0)):
        said, returned = on_terminal(cli, f"reset {name} --local", types=answer, after="[y/N]")
        assert f"End 3 leases of {name} (3 not expired), whoever holds them? [y/N]" in said
        assert returned == code
        assert len(_leases(cli, name)) == left
    assert f"{name}: 3 leases ended" in said


def test_a_reset_that_is_told_not_to_ask_does_not(cli, client):
    name = put_nine(client)
    done = cli(f"reset {name} --local --yes --json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"bucket": name, "ended": 3})
    assert _leases(cli, name) == []


@pytest.mark.parametrize(
    "line", ["resize nobody 3", "configure nobody --order fifo", "repair nobody", "reset nobody --yes", "reset nobody"]
)
def test_what_does_not_exist_is_not_made_by_an_operator(cli, line):
    done = cli(f"{line} --local")
    assert done.returncode == 66
    assert is_one_line(done)
    assert "bucket 'nobody' does not exist in table 'ddb-lease'" in done.stderr
    assert cli("status nobody --local").returncode == 66


@pytest.mark.parametrize("tokens", ["0", "-3", "100001"])
def test_a_size_that_cannot_be_is_told(cli, tokens):
    done = cli(["resize", "used", tokens, "--local"])
    assert done.returncode == 2
    assert f"{tokens!r} is not a whole number from 1 to 100,000" in done.stderr


# Watching.


def test_a_page_is_served_until_it_is_interrupted(cli):
    process = subprocess.Popen(
        command("serve used --local --port 0"),
        env=environment(cli.folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = process.stdout.readline()
    found = re.fullmatch(r"ddb-lease is at http://127\.0\.0\.1:(\d+)/ until Ctrl-C\n", said)
    assert found, said
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=LONG)
    connection.request("GET", "/data.json")
    told = json.loads(connection.getresponse().read())
    connection.close()
    assert [(one["name"], one["used"], one["max"]) for one in told["buckets"]] == [("used", 0, 2)]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=LONG) == ("", "")
    assert process.returncode == 130


def on_terminal(cli, line, *, types="", after="", keys=b"", act=None, rows=24, columns=100, env=None):
    """Run a command on a terminal of its own; type, or act, once it has said something. What it said, and its code."""
    pid, fd = pty.fork()
    if not pid:
        os.chdir(cli.folder)
        os.execve(sys.executable, command(line), environment(cli.folder, **(env or {})))
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    said, deadline = "", time.monotonic() + LONG
    pending = types.encode() or keys
    try:
        while time.monotonic() < deadline:
            if pending and after in said:
                os.write(fd, pending)
                pending = b""
            if act is not None and after in said:
                act()
                act = None
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    said += os.read(fd, 65536).decode(errors="replace")
                except OSError:
                    break
    finally:
        with contextlib.suppress(ProcessLookupError):
            if time.monotonic() >= deadline:
                os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(fd)
    return said, os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize(
    ("keys", "env", "code"),
    [(b"q", {"TERM": "xterm-256color"}, 0), (b"\x03", {"TERM": "xterm", "NO_COLOR": "1"}, 130)],
    ids=["q", "Ctrl-C, without colours"],
)
def test_top_shows_the_table_until_a_key_ends_it(cli, client, keys, env, code):
    put_bucket(client, "topped", {0: ("host:1", {})})
    said, returned = on_terminal(cli, "top topped used --local", keys=keys, after="q ends", columns=80, env=env)
    assert returned == code
    assert "topped" in said and "1 of 9" in said and "host:1" in said
    assert said.count("\x1b[?1049h") == said.count("\x1b[?1049l") == 1, "another screen, and back"
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l"), "the cursor is back"
    assert bool(re.search(r"\x1b\[[0-9;]*[39][0-9]m", said)) == ("NO_COLOR" not in env)


def test_top_needs_a_terminal(cli):
    done = cli("top --local")
    assert (done.returncode, done.stderr) == (
        2,
        "ddb-lease: top needs a terminal; elsewhere, use ls, status --watch or serve\n",
    )
    said, code = on_terminal(cli, "top --local", env={"TERM": "dumb"})
    assert (code, "top needs a terminal that can move its cursor" in said) == (2, True)


def test_a_watch_shows_the_bucket_in_place_and_leaves_the_terminal_as_it_was(cli, client):
    name = put_nine(client)
    said, code = on_terminal(
        cli, f"status {name} --local --watch --interval 0.3", keys=b"\x03", after="every 0.3s", rows=8
    )
    assert code == 128 + signal.SIGINT
    assert said.startswith("\x1b[?1049h\x1b[?25l\x1b[H"), "another screen, without a cursor"
    shown, _, afterwards = said.partition("\x1b[?25h\x1b[?1049l")
    assert "... and " in shown, "what does not fit is counted"
    assert "lines more" not in afterwards
    assert f"{name} in table ddb-lease: 3 of 9 leased" in afterwards, "the last one stands there in full"


def test_a_watch_that_is_terminated_leaves_the_terminal_as_it_was(cli, client):
    name = put_nine(client)
    pid, fd = pty.fork()
    if not pid:
        os.execve(sys.executable, command(f"status {name} --local --watch"), environment(cli.folder))
    said = ""
    while "SLOT" not in said:
        said += os.read(fd, 65536).decode(errors="replace")
    os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(OSError):
        while chunk := os.read(fd, 65536):
            said += chunk.decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM
    assert "\x1b[?25h\x1b[?1049l" in said


def test_a_watch_for_programs_is_a_line_each_time_and_waits_for_the_bucket(cli, client):
    name = f"late-{time.time_ns()}"
    line = command(f"status {name} --local --watch --json --interval 0.2")
    with subprocess.Popen(
        line, env=environment(cli.folder), cwd=cli.folder, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert json.loads(process.stdout.readline())["error"] == "UnknownBucket"
            put_bucket(client, name, {0: ("host:1", {})})
            while "error" in (seen := json.loads(process.stdout.readline())):
                pass
            assert (seen["name"], len(seen["leases"])) == (name, 1)
            process.send_signal(signal.SIGINT)
            assert process.wait(LONG) == 128 + signal.SIGINT
        finally:
            process.kill()


@pytest.mark.parametrize("interval", ["0", "0.1", "2d"])
def test_an_interval_that_cannot_be_is_told(interval, capsys):
    assert main.main(["status", "used", "--local", "--watch", f"--interval={interval}"]) == 2
    assert "--interval must be from 0.2 seconds to a day" in capsys.readouterr().err


class Failing:
    """A bucket whose reads go as told."""

    def __init__(self, *answers):
        self._answers = iter(answers)

    def status(self):
        answer = next(self._answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def watch(monkeypatch, *answers):
    """`status --watch` of a bucket whose reads go as told."""
    monkeypatch.setattr(connection, "bucket", lambda *_, **__: contextlib.nullcontext(Failing(*answers)))
    options = argparse.Namespace(watch=True, interval=0.2, json=False, wide=False)
    with pytest.raises(KeyboardInterrupt):
        status_command.execute(options)


def test_in_an_outage_a_watch_keeps_the_last_table_and_says_how_old_it_is(monkeypatch, capsys):
    outage = StoreUnavailable(f"no answer: {'x' * 60} {'y' * 60}")
    watch(monkeypatch, outage, a_status(a_lease()), StoreUnavailable("no answer"), KeyboardInterrupt())
    out = capsys.readouterr().out
    first, table, kept = re.split(r"^\d\d:\d\d:\d\d, every 0\.2s, until Ctrl-C\n\n", out, flags=re.MULTILINE)[1:]
    assert max(map(len, first.splitlines())) <= 80
    assert re.fullmatch(r"no answer\n\nas of \d\d:\d\d:\d\d, \d\S*s ago:\n(.*)", kept, re.DOTALL)[1] == table


def test_a_bucket_that_is_gone_is_no_outage(monkeypatch, capsys):
    watch(monkeypatch, a_status(a_lease()), UnknownBucket("it is gone"), KeyboardInterrupt())
    assert capsys.readouterr().out.endswith("until Ctrl-C\n\nit is gone\n")
