"""What docs/operations.md says of the embedded engine, of the configuration file and of completion works."""

import re

import pytest

from ddb_lease import local
from ddb_lease.cli import defaults, main
from tests.cli.test_commands import Cli, put_bucket
from tests.pages import Snippets, blocks

SNIPPETS = Snippets("docs/operations.md")
PAGE = "docs/operations.md"


@pytest.fixture
def engine_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path / "engine"))
    yield
    local.stop()


@pytest.mark.usefixtures("engine_of_its_own")
def test_a_client_of_ones_own_reaches_the_engine():
    (example,) = SNIPPETS.of()
    client = example.run({})["dynamodb"]
    assert client.list_tables()["TableNames"] == []
    client.close()


def test_the_configuration_file_says_what_it_is_said_to_say(tmp_path):
    (file,) = (block.text for block in blocks(PAGE, "ini"))
    path = tmp_path / "config.ini"
    path.write_text(file)

    def read(line):
        top = main.parser()
        options = top.parse_args(line.split())
        defaults.fill(options, top=top, env={"DDB_LEASE_CONFIG": str(path)})
        return options

    run, status = read("run nightly"), read("status nightly")
    assert (run.table, run.region, run.timeout, run.owner) == ("staging", "eu-central-1", 600.0, "ann")
    assert (status.table, status.region) == ("staging", "eu-central-1")
    assert path.read_text().count("=") == 4, "each setting is asked for above"


VARY = {
    re.compile(r"http://127\.0\.0\.1:\d+"): "URL",
    re.compile(r"process \d+"): "PROCESS",
    re.compile(r"in /\S+/engine-\w+, run by /\S+/python"): "in FOLDER, run by PYTHON",
    re.compile(r"up for \S+"): "TIME",
    re.compile(r"for another \S+?(?=[.,])"): "TIME",
    re.compile(r"\s+"): " ",
}


def settled(text):
    """Without what differs from run to run, and on one line."""
    for pattern, instead in VARY.items():
        text = pattern.sub(instead, text)
    return text.strip()


def test_an_engine_is_started_stopped_and_waits_for_the_leases_of_the_one_before(tmp_path):
    (session,) = (block.text for block in blocks(PAGE, "console") if "ddb-lease local" in block.text)
    steps = re.findall(r"^\$ ddb-lease (.*)\n((?:(?!\$ ).*\n)*)", session, flags=re.MULTILINE)
    cli = Cli(tmp_path)
    try:
        for line, said in steps:
            if line == "local status":  # on the page the leases have ended by then
                assert cli("local start --no-wait").returncode == 0
            done = cli(line)
            told = done.stdout + (done.stderr if done.returncode else "")
            assert settled(told) == settled(said), line
            if line == "local start" and "nothing is granted" not in said:
                client = cli.recorded().session().client("dynamodb", endpoint_url=cli.recorded().endpoint_url)
                assert cli("create-table --local").returncode == 0
                put_bucket(client, "nightly", {3: ("host:4711", {})})
                client.close()
    finally:
        cli("local stop --yes")
