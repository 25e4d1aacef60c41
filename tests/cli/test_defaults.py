"""Where an option's value is from: the command line, a variable, the configuration file, its default. Nothing is sent."""

import argparse
import math
import os
import re
import shlex
from pathlib import Path

import pytest

from ddb_lease.cli import config_file, defaults, main, parsing
from ddb_lease.errors import ConfigurationError, UnknownBucket

TOP = main.parser()
LEAVES = list(parsing.leaves(TOP))


@pytest.fixture
def options(tmp_path):
    """The options of a command line, with these variables and this file."""

    def read(line, file="", **env):
        path = tmp_path / "config.ini"
        path.write_text(file)
        words, _ = main.split_command(shlex.split(line))
        found = TOP.parse_args(words)
        defaults.fill(found, top=TOP, env={"DDB_LEASE_CONFIG": str(path)} | env)
        return found

    return read


def test_the_first_place_that_says_something_counts(options):
    file = "[global]\ntable = of-all\n[status]\ntable = of-status\n"
    assert options("status b").table == "ddb-lease"
    assert options("repair b", file).table == "of-all"
    assert options("status b", file).table == "of-status"
    assert options("status b", file, DDB_LEASE_TABLE="of-variable").table == "of-variable"
    assert options("status b --table typed", file, DDB_LEASE_TABLE="of-variable").table == "typed"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_tokens", "4", 4),
        ("timeout", "1m30s", 90.0),
        ("kill_after", "never", math.inf),
        ("data", "job=nightly\nteam=a=b", [("job", "nightly"), ("team", "a=b")]),
        ("owner", "ann", "ann"),
        ("quiet", "true", True),
        ("quiet", "0", False),
        ("verbose", "2", 2),
        ("lost_code", "9", 9),
        ("short_leases", "YES", True),
    ],
)
def test_a_value_is_read_as_the_option_is(options, name, text, value):
    in_file = text.replace("\n", "\n   ")
    assert getattr(options("run b", f"[run]\n{name.replace('_', '-')} = {in_file}\n"), name) == value
    assert getattr(options("run b", **{f"DDB_LEASE_{name.upper()}": text}), name) == value


def test_only_what_was_typed_counts_as_given(options):
    assert options("run b --lease 5s -v", DDB_LEASE_TIMEOUT="5s").given == {"lease", "verbose"}
    assert options("run b", "[run]\nlease = 30s\n").given == frozenset()


def test_an_empty_variable_counts_as_none(options):
    assert options("run b", DDB_LEASE_TIMEOUT="", DDB_LEASE_TABLE="").timeout is None
    assert options("limit m", **{"": "x"}).n == 1, "an option without a long name has no variable"


@pytest.mark.parametrize(
    ("line", "env", "local", "region"),
    [
        ("status b --local", {"DDB_LEASE_REGION": "r"}, True, None),
        ("status b --region typed", {"DDB_LEASE_LOCAL": "1"}, False, "typed"),
        ("status b", {"DDB_LEASE_LOCAL": "1", "DDB_LEASE_REGION": "r"}, True, "r"),
        ("status b", {"DDB_LEASE_REGION": "r"}, False, "r"),
    ],
)
def test_what_was_typed_leaves_out_what_contradicts_it(options, line, env, local, region):
    found = options(line, **env)
    assert (found.local, found.region) == (local, region)


def test_the_file_yields_to_a_variable_that_contradicts_it(options):
    file = "[global]\nlocal = on\n"
    assert options("status b", file).local
    assert not options("status b", file, DDB_LEASE_PROFILE="p").local


def test_the_burst_of_a_file_belongs_to_its_rate(options):
    file = "[limit]\nrate = 5/s\nburst = 50\n"
    assert (options("limit m", file).rate, options("limit m", file).burst) == ((5.0, 1.0), 50)
    assert options("limit m --rate 2/s", file).burst is None


@pytest.mark.parametrize(
    ("line", "variable", "names"),
    [
        ("reset b", "DDB_LEASE_YES", "yes"),
        ("local stop", "DDB_LEASE_YES", "yes"),
        ("rate set m", "DDB_LEASE_RATE", "rate"),
        ("rate override m", "DDB_LEASE_END", "end"),
        ("limit m", "DDB_LEASE_KEY", "key"),
        ("create-table", "DDB_LEASE_CHECK", "check"),
        ("conform", "DDB_LEASE_RECORD", "record"),
    ],
)
def test_what_one_call_does_is_only_ever_typed(options, line, variable, names):
    assert not getattr(options(line, **{variable: "1"}), names)
    assert options(line, **{variable: "1"}).given == frozenset()
    command = " ".join(word for word in line.split() if word not in {"b", "m", "stop"})
    with pytest.raises(ConfigurationError, match=f"line 2: {names}: .* no such option that a file may set"):
        options(line, f"[{command}]\n{names} = 1\n")


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"DDB_LEASE_TIMEOUT": "soon"}, "DDB_LEASE_TIMEOUT: 'soon' is not a duration"),
        ({"DDB_LEASE_MAX_TOKENS": "x"}, "DDB_LEASE_MAX_TOKENS: 'x' is not a whole number"),
        ({"DDB_LEASE_PRIORITY": "12"}, "DDB_LEASE_PRIORITY: '12' is not a whole number from 0 to 9"),
        ({"DDB_LEASE_LOCAL": "perhaps"}, "DDB_LEASE_LOCAL: 'perhaps' is neither true nor false"),
        ({"DDB_LEASE_DATA": "k"}, "DDB_LEASE_DATA: 'k' is not of the form KEY=VALUE"),
    ],
)
def test_a_variable_that_cannot_be_is_named(options, env, says):
    with pytest.raises(ConfigurationError, match=says):
        options("run b", **env)
    with pytest.raises(ConfigurationError, match=r"DDB_LEASE_ROLE: 'boss' is not one of worker, "):
        options("template iam", DDB_LEASE_ROLE="boss")
    assert options("run b --timeout 5s", DDB_LEASE_TIMEOUT="soon").timeout == 5.0, "nobody asked for it"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("[run]\n\ntimeout = soon\n", r"config\.ini, line 3: timeout: 'soon' is not a duration"),
        ("[run]\npriority = 12\n", r"config\.ini, line 2: priority: '12' is not a whole number from 0 to 9"),
        ("[run]\ncount = 0\n", r"config\.ini, line 2: count: '0' is not a whole number from 1 to 99"),
        ("[run]\ntimeuot = 5s\n", r"config\.ini, line 2: timeuot: run has no such option .*; did you mean timeout\?"),
        ("[global]\nowner_ = x\n", r"config\.ini, line 2: owner_: no command has such option"),
        ("[rnu]\n", r"config\.ini, line 1: no command \[rnu\]; did you mean run\?"),
        ("# all\n[rate]\ntable = t\n", r"config\.ini, line 2: no command \[rate\]"),
        ("timeout = 5s\n", r"config\.ini.*line: 1"),
        ("[run]\ntimeout\n", r"config\.ini.*\[line  ?2\]"),
        ("[run]\ntimeout = 5s\ntimeout = 6s\n", r"config\.ini.*line  ?3.*timeout"),
        ("[run]\n[run]\n", r"config\.ini.*line  ?2.*run"),
    ],
)
def test_a_file_that_cannot_be_is_told_with_its_line(options, file, says):
    with pytest.raises(ConfigurationError, match=says):
        options("run b", file)


@pytest.mark.parametrize("indent", [" ", "  ", "\t"])
def test_a_line_that_goes_on_with_a_value_is_not_taken_for_the_one_that_sets_it(options, indent):
    """Of a value of several lines, one may look as if it set an option."""
    file = f"# all\n[run]\nTimeout = soon\ndata = a=1\n{indent}timeout = 2\n[limit]\ntimeout = 5s\n"
    with pytest.raises(ConfigurationError, match=r"config\.ini, line 3: timeout: 'soon' is not a duration"):
        options("run b", file)


def test_of_a_wrong_value_that_another_command_has_nothing_is_said(options):
    assert options("status b", "[run]\ntimeout = soon\n").table == "ddb-lease"


def read(**env):
    return config_file.read(TOP, env, only_typed={})


def test_the_file_is_the_users_or_the_one_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read().get("run", "owner") is None
    for folder, owner in ((".config", "of-home"), ("xdg", "of-xdg")):
        (tmp_path / folder / "ddb-lease").mkdir(parents=True)
        (tmp_path / folder / "ddb-lease" / "config.ini").write_text(f"[run]\nowner = {owner}\n")
    (tmp_path / "named").write_text("[run]\nowner = of-name\n")
    assert read().get("run", "owner").text == "of-home"
    assert read(XDG_CONFIG_HOME=str(tmp_path / "xdg")).get("run", "owner").text == "of-xdg"
    assert read(DDB_LEASE_CONFIG=str(tmp_path / "named")).get("run", "owner").text == "of-name"
    assert read(DDB_LEASE_CONFIG="").get("run", "owner") is None
    assert read(DDB_LEASE_CONFIG=os.devnull).get("run", "owner") is None


def test_a_file_that_is_named_must_be_there_and_one_that_is_there_must_be_readable(tmp_path):
    with pytest.raises(ConfigurationError, match="DDB_LEASE_CONFIG: .*No such file"):
        read(DDB_LEASE_CONFIG=str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match=r"cannot be read: Is a directory"):
        read(DDB_LEASE_CONFIG=str(tmp_path))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="bytes: cannot be read"):
        read(DDB_LEASE_CONFIG=str(tmp_path / "bytes"))


def test_a_variable_or_a_file_that_is_wrong_is_one_line_and_code_2(monkeypatch, capsys):
    monkeypatch.setenv("DDB_LEASE_TIMEOUT", "soon")
    assert main.main(["run", "b", "--local", "--", "true"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.startswith("ddb-lease: DDB_LEASE_TIMEOUT: 'soon'")) == ("", 1, True)


def test_no_variable_of_an_option_means_something_else_already():
    taken = {"BUCKET", "SLOT", "SLOTS", "FENCE", "ID", "HELD", "LOCAL_DIR", "WIRE", "CONFIG"}
    for leaf in LEAVES:
        only_typed = defaults.only_typed_of(leaf)
        for action in parsing.options(leaf):
            if action.dest not in only_typed:
                assert defaults.variable(action).removeprefix("DDB_LEASE_") not in taken


def test_each_option_is_typed_or_has_a_long_name():
    for leaf in LEAVES:
        for action in parsing.options(leaf):
            assert isinstance(action, argparse.Action)
            assert defaults.variable(action) or action.dest == "n"


def test_an_option_of_one_name_is_read_alike_in_all_commands():
    """As one variable is for all of them."""
    read = {}
    for leaf in LEAVES:
        for action in parsing.options(leaf):
            if action.dest not in defaults.only_typed_of(leaf):
                read.setdefault(defaults.variable(action), set()).add((action.type, action.nargs))
    assert {name: kinds for name, kinds in read.items() if len(kinds) > 1} == {}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConfigurationError("--grace 9s is too long"), " (--grace is from DDB_LEASE_GRACE)"),
        (
            ConfigurationError("a lease of 3 s must be at least three margins"),
            " (--lease is from FILE, line 2: lease)",
        ),
        (ConfigurationError("--interval must be from 0.2 seconds to a day"), ""),
        (UnknownBucket("bucket 'b' does not exist in table 'staging'"), " (--table is from DDB_LEASE_TABLE)"),
        (UnknownBucket("there is no table"), ""),
        (ConfigurationError("a stable, untypical-table owner"), " (--owner is from FILE, line 3: owner)"),
    ],
)
def test_an_error_that_is_found_later_says_where_the_value_is_from(options, tmp_path, error, told):
    file = "[run]\nlease = 3s\nowner = ann\n"
    found = options("run b --timeout 3s", file, DDB_LEASE_GRACE="9s", DDB_LEASE_TABLE="staging")
    assert defaults.origin_of(error, found) == told.replace("FILE", str(tmp_path / "config.ini"))


def test_of_what_was_typed_it_is_not_said_where_it_is_from(options):
    assert defaults.origin_of(ConfigurationError("--grace 9s is too long"), options("run b --grace 9s")) == ""


def test_a_variable_that_nobody_knows_is_told_if_it_is_close_to_one_that_is_known():
    env = {
        "DDB_LEASE_PRIORTY": "5",
        "DDB_LEASE_TIMOUT": "5s",
        "DDB_LEASE_TABEL": "",
        "DDB_LEASE_LOCAL_DIR": "d",
        "DDB_LEASE_RUN_TIMEOUT": "5",
        "DDB_LEASE_SLOT": "1",
        "DDB_LEASE_YES": "1",
        "OTHER_PRIORTY": "5",
    }
    assert defaults.mistyped(TOP, env) == [
        "DDB_LEASE_PRIORTY is not known, and does nothing; did you mean DDB_LEASE_PRIORITY?",
        "DDB_LEASE_TIMOUT is not known, and does nothing; did you mean DDB_LEASE_TIMEOUT?",
    ]


def test_no_variable_of_ours_is_taken_for_a_mistyped_one():
    """Those that the package, its tests and its scripts read: they mean something else."""
    root = Path(__file__).parents[2]
    files = [
        path for folder in ("ddb_lease", "tests", "scripts", "benchmarks") for path in (root / folder).rglob("*.py")
    ]
    files += [path for path in (root / "scripts").iterdir() if path.is_file()]
    found = {name for path in files for name in re.findall(r"\bDDB_LEASE_[A-Z_]+\b", path.read_text())}
    wrong = {"DDB_LEASE_PRIORTY", "DDB_LEASE_TIMOUT", "DDB_LEASE_TABEL"}
    assert len(found) > 20
    assert defaults.mistyped(TOP, dict.fromkeys(found - wrong, "1")) == []


def test_a_mistyped_variable_is_told_by_the_program(monkeypatch, capsys):
    monkeypatch.setenv("DDB_LEASE_TABEL", "staging")
    assert main.main(["local", "stop", "--no-wait"]) == 2
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == "ddb-lease: DDB_LEASE_TABEL is not known, and does nothing; did you mean DDB_LEASE_TABLE?"
