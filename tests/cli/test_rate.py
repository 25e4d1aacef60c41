"""`ddb-lease rate`: what it shows, what it changes, and how it exits."""

import json
import re
import shlex
from pathlib import Path

import pytest

from ddb_lease import Limit, RateLimiter
from ddb_lease._protocol.messages import Reply
from ddb_lease.cli import main
from tests.conftest import TABLE
from tests.rates import KeyTable
from tests.support import LOST

PAGE = (Path(__file__).parents[2] / "docs" / "rates.md").read_text()

CONTRACT = True  # the simulator's DynamoDB too


@pytest.fixture
def run(engine, session, bucket_name, table, capsys, monkeypatch):
    """Runs `ddb-lease rate` on this test's rate, whose name a line has as NAME: exit code, output, errors."""
    monkeypatch.setattr("ddb_lease.cli.connection.new_session", lambda **_: session)

    def run(line):
        words = [word.replace("NAME", bucket_name) for word in shlex.split(line)]
        where = [f"--table={TABLE}", f"--endpoint-url={engine.endpoint_url}"]
        code = main.main(["rate", words[0], *where, *words[1:]])
        shown = capsys.readouterr()
        return code, shown.out.replace(bucket_name, "NAME"), shown.err.replace(bucket_name, "NAME")

    return run


@pytest.fixture
def limiter(engine, session, bucket_name, table):
    """Five permits an hour."""
    settings = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
    with RateLimiter(bucket_name, rate=5, per=3600, **settings) as limiter:
        limiter.set_policy(Limit(5, per=3600))
        yield limiter


NEVER_USED = "ddb-lease: rate 'NAME' was never used: its first use creates it, or `ddb-lease rate set`"


@pytest.mark.parametrize(
    "line",
    [
        "status NAME",
        "status NAME --key k",
        "keys NAME",
        "override NAME --rate 5/s",
        "block NAME --for 5m",
        "reset NAME",
        "set NAME --remove x",
    ],
)
def test_a_rate_that_was_never_used_is_no_bucket_and_is_not_created(run, table, line):
    code, out, err = run(line)
    assert (code, out) == (66, "")
    assert err.startswith(f"{NEVER_USED}; `ddb-lease ls --table leases --endpoint-url ")
    assert table.all() == {}


def test_set_stores_the_first_limits_and_changes_them(run, table):
    assert run("set NAME --rate 100/s --burst 7") == (0, "NAME: 100/s, burst 7\n", "")
    assert run("set NAME --rate 2.5/m") == (0, "NAME: 2.5/m, burst 2\n", "")
    code, out, _ = run("set NAME --rate 2.5/m --json")
    assert (code, json.loads(out)) == (
        0,
        {"rate": "NAME", "limits": {"permits": {"permits": 2.5, "per": 60.0, "burst": 2}}},
    )


def test_set_changes_several_limits_and_leaves_the_others(run):
    run("set NAME --limit requests=60/m --limit tokens=90000/m,burst=500")
    assert run("set NAME --limit words=5/s --add --remove requests") == (
        0,
        "NAME: tokens 90000/m, burst 500; words 5/s, burst 5\n",
        "",
    )
    code, _, err = run("set NAME --rate 5/s")
    assert (code, err) == (2, "ddb-lease: name the limits to change: there are tokens, words\n")


def test_a_mistyped_name_adds_no_limit_and_removes_none(run):
    run("set NAME --limit requests=60/m --limit tokens=9000/m,burst=500")
    before = run("status NAME")
    code, out, err = run("set NAME --limit tokns=5/m")
    assert (code, out) == (2, "")
    assert err == "ddb-lease: rate 'NAME' has no limit 'tokns': it has requests, tokens; to add one, give --add too\n"
    assert run("set NAME --limit tokens=5/m --remove tokns")[0] == 2
    assert run("status NAME") == before
    limits = "NAME: requests 60/m, burst 60; tokens 9000/m, burst 500; tokns 5/m, burst 5\n"
    assert run("set NAME --limit tokns=5/m --add") == (0, limits, "")


def test_a_limit_that_is_given_is_given_whole(run):
    run("set NAME --limit requests=60/m --limit tokens=9000/m,burst=500")
    assert run("set NAME --limit tokens=8000/m")[1] == ("NAME: requests 60/m, burst 60; tokens 8000/m, burst 8000\n")


def test_what_the_override_of_a_key_does_not_have_cannot_be_removed_from_it(run):
    run("set NAME --limit requests=60/m --limit tokens=9000/m")
    run("override NAME --key k --limit tokens=5/m")
    code, _, err = run("override NAME --key k --remove requests")
    assert (code, err) == (2, "ddb-lease: the override has no limit 'requests': it has tokens\n")
    assert run("override NAME --key k --remove tokens")[0] == 0
    assert json.loads(run("status NAME --key k --json")[1])["override"] == {}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("set NAME", "say what to set"),
        ("set NAME --burst 5", "--burst belongs to --rate"),
        ("set NAME --rate 5/s --limit a=5/s", "not both"),
        ("set NAME --limit a=5/s --limit a=6/s", "'a' is given twice"),
        ("set NAME --add --limit self=5/s", "timeout, under; not 'self'"),
        ("set NAME --limit permts=5/s", "has no limit 'permts': it has permits; to add one, give --add too"),
        ("set NAME --limit permits=5/s --remove permts", "has no limit 'permts': it has permits\n"),
        ("set NAME --add --limit permits=5/s --remove permts", "has no limit 'permts': it has permits\n"),
        ("set NAME --add --remove permits", "--add belongs to --limit"),
        ("set NAME --add --rate 5/s", "--add belongs to --limit"),
        ("override NAME --remove permits", "the override has no limit 'permits': there is none\n"),
        ("override NAME --remove permts", "the override has no limit 'permts': there is none\n"),
        ("override NAME", "say what to override"),
        ("override NAME --rate 5/s --end", "leave out the limits"),
        ("override NAME --limit self=5/s", "none of key"),
        ("override NAME --limit other=5/s", "has no limit 'other': it has permits"),
        ("block NAME --key '' --for 5m", "a key must be a string that is not empty"),
        ("block NAME --for 500d", "a block takes a number of seconds, up to a year"),
    ],
)
def test_what_cannot_work_exits_with_2_and_changes_nothing(run, limiter, table, line, says):
    before = table.all()
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert table.all() == before


@pytest.mark.parametrize(
    "line", ["block NAME", "block NAME --for 5m --end", "set NAME --limit a", "set NAME --rate 5", ""]
)
def test_wrong_options_are_the_parsers(engine, line, capsys):
    with pytest.raises(SystemExit) as end:
        main.main(["rate", *shlex.split(line)])
    assert end.value.code == 2


def test_status_shows_every_limit(run, limiter):
    assert limiter.try_acquire(2)
    code, out, err = run("status NAME")
    assert (code, err) == (0, "")
    first, blank, head, row = out.splitlines()
    assert first == f"NAME in table {TABLE}: 3 available"
    assert (blank, head.split()) == ("", ["LIMIT", "RATE", "BURST", "AVAILABLE", "NEXT", "WHOLE", "BURST"])
    assert row.split()[:5] == ["permits", "5/h", "5", "3", "now"]
    found = json.loads(run("status NAME --json")[1])
    assert (found["name"], found["available"], found["key"], found["override"]) == ("NAME", 3, "", {})
    assert found["settings"] == {"permits": {"permits": 5.0, "per": 3600.0, "burst": 5}}


def test_a_key_is_overridden_blocked_and_reset(run, limiter):
    key = limiter.key("team-7")
    assert run("override NAME --key team-7 --rate 8/h")[:2] == (0, "NAME, key team-7: 8/h, burst 8\n")
    assert key.try_acquire(8)
    first, *_, row = run("status NAME --key team-7")[1].splitlines()
    assert first.startswith(f"NAME, key team-7, in table {TABLE}: none available, the next in ")
    assert "8/h (override)" in row
    assert run("block NAME --key team-7 --for 10m") == (0, "NAME, key team-7: blocked for 10m\n", "")
    assert re.search(r": blocked for (10m|9m\d\ds) more$", run("status NAME --key team-7")[1].splitlines()[0])
    assert run("block NAME --key team-7 --end") == (0, "NAME, key team-7: not blocked\n", "")
    assert run("reset NAME --key team-7") == (0, "NAME, key team-7: reset\n", "")
    assert key.status().available == 8
    assert run("override NAME --key team-7 --end --json")[1] == (
        '{"rate": "NAME", "key": "team-7", "limits": {"permits": {"permits": 5.0, "per": 3600.0, "burst": 5}}}\n'
    )
    assert json.loads(run("block NAME --key team-7 --for 90 --json")[1])["blocked_seconds"] == 90.0
    assert json.loads(run("reset NAME --key team-7 --json")[1]) == {"rate": "NAME", "key": "team-7", "reset": True}
    assert key.status().override == {}


def test_of_a_key_that_was_never_used_it_is_said_so_and_what_was_asked_for_is_done(run, limiter):
    limiter.key("team-7").acquire()
    for line in ("status NAME --key taem-7", "block NAME --key taem-7 --for 10m"):
        code, out, said = run(line)
        assert (code, "taem-7" in out) == (0, True)
        assert re.fullmatch(
            "ddb-lease: note: key 'taem-7' was never used, or not lately; ddb-lease rate keys NAME .* lists the keys\n",
            said,
        )
    assert limiter.key("taem-7").status().blocked_seconds
    for line in (
        "status NAME --key team-7",
        "status NAME",
        "block NAME --key team-7 --for 10m",
        "status NAME --key taem-7",
    ):
        assert run(line)[2] == "", line
    assert "was never used" in run("override NAME --key tame-7 --rate 8/h")[2]


def test_without_a_key_the_rate_itself_is_meant(run, limiter):
    assert limiter.try_acquire(5)
    assert run("reset NAME") == (0, "NAME: reset\n", "")
    assert limiter.status().available == 5
    assert run("block NAME --for 1h")[0] == 0
    assert limiter.status().available == 0


def test_keys_are_listed_with_what_is_left(run, limiter):
    assert run("keys NAME") == (0, "no key was used lately\n", "")
    assert limiter.key("bob").try_acquire(2)
    assert limiter.key("ann\x1b[2J").try_acquire(5)
    limiter.key("eve").block(600)
    limiter.key("eve").override(Limit(8, per=3600))
    head, *rows = run("keys NAME")[1].splitlines()
    assert head.split() == ["KEY", "AVAILABLE", "NEXT", "NOTES"]
    assert [row.split()[:2] for row in rows] == [["ann\N{REPLACEMENT CHARACTER}[2J", "0"], ["bob", "3"], ["eve", "0"]]
    assert re.search(r" blocked for (10m|9m\d\ds) more, override$", rows[2])
    lines = [json.loads(line) for line in run("keys NAME --json")[1].splitlines()]
    assert {line["key"]: line["available"] for line in lines} == {"ann\x1b[2J": 0, "bob": 3, "eve": 0}


def test_of_several_limits_the_list_of_keys_names_the_tightest(run, rates):
    run("set NAME --limit requests=10/1000h --limit tokens=9000/1000h")
    limits = {"requests": Limit(10, per=3_600_000), "tokens": Limit(9000, per=3_600_000)}
    limiter = rates(rate=None, burst=None, limits=limits)
    assert limiter.key("ann").try_acquire(requests=1, tokens=8990)
    assert limiter.key("bob").try_acquire(requests=9, tokens=900)
    assert limiter.key("eve").try_acquire(requests=10, tokens=900)
    _, *rows = run("keys NAME")[1].splitlines()
    assert [row.split()[:3] for row in rows] == [
        ["ann", "10", "tokens"],
        ["bob", "1", "requests"],
        ["eve", "0", "requests"],
    ]


def test_the_pages_commands_run(run):
    assert run("set NAME --limit requests=60/m --limit tokens=90000/m")[0] == 0
    lines = re.findall(r"^\$ ddb-lease rate (.*)$", PAGE, flags=re.MULTILINE)
    assert len(lines) == 8
    done = [run(line.replace(" llm", " NAME"))[::2] for line in lines]
    assert [code for code, _ in done] == [0] * 8
    assert all(not said or said.startswith("ddb-lease: note: key 'team-7' was never used") for _, said in done)


def test_looking_at_a_rate_warns_of_nothing_and_changes_nothing(run, limiter, table, caplog):
    shards = KeyTable(table)
    assert limiter.key("k").try_acquire()
    before = table.all(), shards.get("k")
    for line in ("status NAME", "status NAME --key k", "keys NAME"):
        assert run(line)[::2] == (0, "")
    assert "key 'other' was never used" in run("status NAME --key other")[2]
    assert (table.all(), shards.get("k")) == before
    assert caplog.messages == []


@pytest.mark.parametrize("line", ["status NAME", "set NAME --rate 5/s", "keys NAME", "block NAME --for 5s"])
def test_an_outage_exits_with_69(run, limiter, monkeypatch, line):
    monkeypatch.setattr("ddb_lease.dynamodb.store.Store.send", lambda *_: Reply(answer=LOST, genuine=False, date=None))
    monkeypatch.setattr("ddb_lease._runtime.rates.steering.STEER_SECONDS", 0.1)
    code, out, err = run(line)
    assert (code, out, len(err.splitlines())) == (69, "", 1)
    assert err.startswith("ddb-lease: the policy cannot be ")


def test_the_command_that_the_warning_names_makes_its_limits_the_stored_ones(run, bucket_name, rates, caplog):
    run("set NAME --limit requests=3/m --limit words=1/h")
    limits = {"requests": Limit(0.25, per=0.5, burst=3), "words": Limit(1e6, per=1)}
    rates(rate=None, burst=None, limits=limits).policy()
    (said,) = caplog.messages
    command = said.rpartition("`ddb-lease rate ")[2].removesuffix("`").replace(bucket_name, "NAME")
    command = command.removesuffix(" --local")  # where the package's own engines stand in: `run` gives their endpoint
    assert run(command)[0] == 0
    caplog.clear()
    assert rates(rate=None, burst=None, limits=limits).policy() == {
        "requests": Limit(0.25, per=0.5, burst=3),
        "words": Limit(1e6, per=1.0, burst=1_000_000),
    }
    assert caplog.messages == []
