"""What a command line waits for before it does anything: help, versions and refusals import none of the library."""

import importlib
import subprocess
import sys

import pytest

from ddb_lease.cli import main, parsing
from ddb_lease.cli.options import bounds

OWNERS = {
    "DEFAULT_TABLE": "_runtime.arguments",
    "HIGHEST_PRIORITY": "_protocol.tickets",
    "LEADER_SECONDS": "_runtime.leadership",
    "LONGEST_LEASE_MS": "_protocol.records",
    "MAX_TOKENS": "_protocol.records",
    "ORDERS": "models",
    "PER_TRANSACTION": "_protocol.records",
    "ROLES": "dynamodb.permissions",
}
OURS = {"ddb_lease", "ddb_lease._numbers", "ddb_lease.errors"}
"""What there may be besides the command line's own modules."""
AWS = {"boto3", "botocore", "urllib3"}


def imported_by(*words):
    """What a new interpreter has imported when this command line has ended."""
    code = (
        "import sys; from ddb_lease.cli.main import main\n"
        f"try: main({list(words)!r})\n"
        "except SystemExit: pass\n"
        "print('imported', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "line",
    [
        "--version",
        "--help",
        "run --help",
        "rate set --help",
        "conform --help",
        "runn b",
        "status",
        "run b --lease x -- true",
    ],
)
def test_help_the_version_and_refusals_import_neither_boto3_nor_the_library(line):
    found = imported_by(*line.split())
    assert "ddb_lease.cli.main" in found
    assert not {name for name in found if name.partition(".")[0] in AWS}
    library = {name for name in found if name.startswith("ddb_lease.") and not name.startswith("ddb_lease.cli.")}
    assert library | {"ddb_lease"} == OURS | {"ddb_lease.cli"}


def test_a_command_that_sends_nothing_imports_no_limiter_and_one_that_runs_nothing_no_watchdog():
    found = imported_by("--local", "--region", "r", "status", "b")  # refused before anything is sent
    assert "ddb_lease.bucket" in found
    assert not found & {"ddb_lease.rate_limiter", "ddb_lease.cli.run", "ddb_lease.cli.seeing.ls", "asyncio"}
    found = imported_by("--local", "--region", "r", "rate", "status", "b")
    assert "ddb_lease.rate_limiter" in found
    assert "ddb_lease.cli.run" not in found


def test_an_interrupt_before_a_command_begins_is_no_traceback(monkeypatch):
    def parser():
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "parser", parser)
    assert main.main(["status", "b"]) == 130


def test_every_command_finds_what_it_does():
    for leaf in parsing.leaves(main.parser()):
        execute = leaf.get_default("execute")
        if leaf.prog != "ddb-lease completion":
            module, function = execute.args
            assert callable(getattr(importlib.import_module(module), function)), leaf.prog


@pytest.mark.parametrize("name", [name for name in vars(bounds) if name.isupper()])
def test_the_bounds_of_the_options_are_those_of_the_library(name):
    owned = getattr(importlib.import_module(f"ddb_lease.{OWNERS[name]}"), name)
    assert getattr(bounds, name) == (tuple(owned) if isinstance(owned, dict) else owned)
