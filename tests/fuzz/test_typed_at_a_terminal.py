"""Command lines of any content: the right exit code, one line on stderr, no traceback, no cursor movements."""

import contextlib
import io
import itertools
import json
import uuid

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ddb_lease import StoreUnavailable
from ddb_lease.cli import exits, formatting, main, run
from tests.conftest import TABLE
from tests.strategies import any_text, attributes, counter_items, slot_items, sound_text, stored_number

few = settings(
    max_examples=max(20, settings.default.max_examples // 6),
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # what `where` sets up is the same for all examples
)
"""For tests that talk to an engine."""

argument = st.one_of(any_text, st.text(max_size=8)).map(lambda text: text.replace("\x00", ""))  # no process gets a NUL
"""What a shell can hand over: bytes that are no UTF-8 arrive as lone surrogates."""

durations = st.one_of(
    argument,
    st.from_regex(r"\A\d{1,400}(\.\d{1,9})?\s*(ms|s|m|h|d)?\Z"),
    st.sampled_from(["9" * 5_000, "0", "1e9", "-1", "inf", "nan", "0.0000001ms", "1s1s"]),
)
whole_numbers = st.one_of(
    argument, st.integers().map(str), st.sampled_from(["9" * 5_000, "1_0", "٣", " 2 ", "+2", "1.0"])
)


def ran(*arguments):
    """Run a command line in this process: its exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main.main(arguments)
        except SystemExit as exit_:  # argparse's own
            code = exit_.code
    return code, out.getvalue(), err.getvalue()


def is_told_well(code, err, *, code_of=(exits.USAGE,)):
    """Trouble is one line of ours, by name; or argparse's usage and one line."""
    assert code in code_of
    assert "Traceback" not in err
    lines = err.split("\n")
    assert lines.pop() == ""
    if not err.startswith("usage: "):
        assert len(lines) == 1
        assert all(c.isprintable() for c in lines[0]), err
    assert lines[-1].startswith("ddb-lease"), err
    return True


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    """A region and keys, as without them every command line ends at the same line."""
    for name, value in {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)


@contextlib.contextmanager
def nobody():
    """What gets past the reading of its arguments ends here, before it is sent to a service that is not there."""

    def stop(*_, **__):
        raise StoreUnavailable("this is as far as it goes")

    with pytest.MonkeyPatch.context() as patch:
        for place in ("dynamodb.store.Store.send", "dynamodb.timely.TimelySender.send", "local.connect", "local.start"):
            patch.setattr(f"ddb_lease.{place}", stop)
        yield


# Without an engine


@given(text=durations)
def test_a_duration_is_a_number_of_seconds_or_a_usage_error(text):
    with contextlib.suppress(formatting.argparse.ArgumentTypeError):
        seconds = formatting.duration(text)
        assert 0 <= seconds < float("inf")
        assert formatting.shown(seconds)


@given(
    options=st.dictionaries(
        st.sampled_from(["--lease", "--timeout", "--grace", "--max-tokens", "--no-slot-code", "--lost-code", "--data"]),
        st.one_of(durations, whole_numbers, argument, st.just("k=v")),
    ),
    bucket=argument,
)
@example(options={"--max-tokens": "9" * 5_000}, bucket="b")
@example(options={"--no-slot-code": "9" * 5_000}, bucket="b")
@example(options={"--lease": "9" * 400}, bucket="b")
@example(options={"--timeout": "9" * 400}, bucket="b")
@example(options={"--grace": "9" * 400}, bucket="b")
def test_a_run_without_a_command_is_a_usage_error_whatever_else_it_says(options, bucket):
    code, out, err = ran("run", bucket, *(f"{name}={value}" for name, value in options.items()))
    is_told_well(code, err)
    assert out == ""


@given(arguments=st.lists(st.one_of(argument, st.sampled_from(["run", "status", "--", "-v", "--json"])), max_size=4))
@example(arguments=["status", "\ud800"])
@example(arguments=["create-table", "--table", "\ud800"])
@example(arguments=["create-table", "--table="])
@example(arguments=["status", "b", "--region", "x y"])
@example(arguments=["status", "b", "--profile", "\x1b[2J"])
@example(arguments=["status", "b", "--endpoint-url", "http://["])
@example(arguments=["run", "", "--max-tokens", "1", "--", "true"])
@example(arguments=["run", "b", "--max-tokens", "0", "--", "true"])
@example(arguments=["run", "b", "--max-tokens", "1", "--lease", "1s", "--", "true"])
@example(arguments=["run", "b", "--max-tokens", "1", "--data", "\ud800=1", "--", "true"])
def test_no_command_line_is_a_crash(arguments):
    with nobody():
        code, _, err = ran(*arguments)
    if code != 0:
        is_told_well(code, err, code_of=(exits.USAGE, exits.UNAVAILABLE, exits.UNKNOWN_BUCKET))


# On an engine


@pytest.fixture
def where(engine, session, monkeypatch):
    """The options that lead to the engine; one session for all command lines, as making one takes a quarter of a second."""
    monkeypatch.setattr("ddb_lease.cli.connection.new_session", lambda **_: session)
    return f"--endpoint-url={engine.endpoint_url}", f"--table={TABLE}"


_serial = itertools.count()


def delete_bucket(client, name):
    query = {"KeyConditionExpression": "pk = :b", "ExpressionAttributeValues": {":b": {"S": name}}}
    for item in client.query(TableName=TABLE, ConsistentRead=True, **query)["Items"]:
        client.delete_item(TableName=TABLE, Key={"pk": item["pk"], "sk": item["sk"]})


as_typed = sound_text.map(lambda text: text.replace("\x00", "")).filter(bool)
keys_typed = as_typed.map(lambda text: text.replace("=", "")).filter(bool)


@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
@few
@given(name=as_typed, data=st.dictionaries(keys_typed, as_typed, max_size=3))
def test_what_was_typed_is_what_status_shows(engine, client, where, name, data):
    name = f"b{name.encode()[:2000].decode(errors='ignore')}{next(_serial)}"
    shown = []

    def look(*_):
        shown.extend((ran("status", *where, "--json", name), ran("status", *where, "--wide", name)))
        return 7

    is_told_well(*ran("status", *where, name)[::2], code_of=(exits.UNKNOWN_BUCKET,))
    typed = [f"--data={key}={value}" for key, value in data.items()]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run.LeasedRun, "run", look)
            code, _, err = ran("run", *where, name, "--max-tokens=2", "--lease=30s", *typed, "--", "true")
        assert (code, err) == (7, "")
        (code, out, err), (code_for_people, for_people, _) = shown
        assert (code, err, code_for_people) == (0, "", 0)
        (lease,) = json.loads(out)["leases"]
        assert lease["data"] == data
        assert json.loads(out)["name"] == name
        assert all(c.isprintable() for c in for_people.replace("\n", ""))
        assert for_people.count("\n") == 4
    finally:
        delete_bucket(client, name)


@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
@few
@given(
    slots=st.dictionaries(st.integers(0, 3), slot_items(stored_number), max_size=3),
    data=st.dictionaries(st.text(min_size=1, max_size=4), attributes(stored_number), max_size=3),
    counter=st.one_of(st.none(), counter_items(stored_number)),
)
@example(
    slots={},
    data={"k": {"B": b"\xff"}, "n": {"N": "0.12345678901234567890123"}, "\x1b[2J": {"NULL": True}},
    counter=None,
)
def test_any_table_can_be_shown(engine, client, where, slots, data, counter):
    name = f"shown-{next(_serial)}-{uuid.uuid4().hex[:6]}"
    plain = {"max_tokens": 9, "minted": 9, "rev": 1, "lease_ms": 60_000}
    lease = {
        "fence": {"N": "1"},
        "lease_id": {"S": "4-\x1b[2J"},
        "owner": {"S": "\u202e"},
        "expires_at": {"N": "4102444800000"},
        "data": {"M": data},
    }
    items = {f"slot#{number:05d}": item for number, item in slots.items()} | {"slot#00004": lease}
    items["counter"] = {k: {"N": str(v)} for k, v in plain.items()} if counter is None else counter
    try:
        for sort, item in items.items():
            client.put_item(TableName=TABLE, Item={**item, "pk": {"S": name}, "sk": {"S": sort}})
        for as_json in ((), ("--json",)):
            code, out, err = ran("status", *where, *as_json, name)
            if code != 0:
                assert counter is not None
                is_told_well(code, err, code_of=(exits.REJECTED,))
                continue
            assert err == ""
            assert all(c.isprintable() for c in out.replace("\n", ""))
            assert "4-" in out
            if as_json:
                assert {lease["slot"] for lease in json.loads(out)["leases"]} >= {4}
    finally:
        delete_bucket(client, name)


def test_what_a_stranger_answers_does_not_move_the_cursor(monkeypatch):
    def answer(*_):
        raise StoreUnavailable("it says \x1b[2J\u202e\r\n\ud800")

    monkeypatch.setattr("ddb_lease.dynamodb.store.Store.send", answer)
    is_told_well(*ran("status", "b")[::2], code_of=(exits.UNAVAILABLE,))
