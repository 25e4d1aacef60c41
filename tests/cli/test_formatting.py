"""Formatting of the command line: accepted and refused arguments, displayed times, exit codes."""

import argparse
import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease import errors
from ddb_lease.cli import exits, formatting, main
from ddb_lease.cli import status as status_command
from ddb_lease.cli.fitting import columns_of
from ddb_lease.models import BucketStatus, LeaseInfo

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=300)


# Durations.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("30s", 30.0),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("1d", 86_400.0),
        ("250ms", 0.25),
        ("1.5m", 90.0),
        ("0", 0.0),
        (" 5 s ", 5.0),
        ("007", 7.0),
        ("1m30s", 90.0),
        ("1h30m", 5400.0),
        ("2d1h5m3s250ms", 176_703.25),
        ("1h 30m", 5400.0),
        ("1 h 0.5 m", 3630.0),
        ("1s500ms", 1.5),
        ("1m5ms", 60.005),
    ],
)
def test_a_duration_is_numbers_with_units_or_one_without(text, seconds):
    assert formatting.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "abc",
        "+5",
        "5 x",
        "5min",
        "30s1m",
        "1m1m",
        "1h30",
        "30 1h",
        "1e3",
        "inf",
        "nan",
        ".5",
        "5.",
        "5,5",
        "\u0665",
        "5s\n5",
        "1_0",
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(
        argparse.ArgumentTypeError, match="is not a duration; write 90, 250ms, 30s, 1m30s, 10m, 2h or 1d"
    ):
        formatting.duration(text)


@pytest.mark.parametrize("text", ["-5", "-1s", " - 2m", "-1m30s"])
def test_of_a_negative_duration_it_is_said_that_it_is_negative(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text.strip()}' is negative; a duration is 0 or more"):
        formatting.duration(text)


@REPEATABLE
@given(st.one_of(st.text(max_size=20), st.text(alphabet="0123456789.msdh -", max_size=12)))
def test_no_text_breaks_the_reading_of_a_duration(text):
    with contextlib.suppress(argparse.ArgumentTypeError):
        assert formatting.duration(text) >= 0.0


# Rates.


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/s", (100.0, 1.0)),
        ("10/m", (10.0, 60.0)),
        ("5/h", (5.0, 3600.0)),
        ("3/2.5s", (3.0, 2.5)),
        ("0.5/d", (0.5, 86_400.0)),
        ("7/250ms", (7.0, 0.25)),
        (" 1 / 2 s ", (1.0, 2.0)),
    ],
)
def test_a_rate_is_permits_in_a_time(text, rate):
    assert formatting.rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "5", "5/", "/s", "5/5", "0/s", "5/0s", "-1/s", "5/x", "5//s", "1e3/s", "5/s\n5"])
def test_what_is_no_rate_is_refused_with_examples(text):
    with pytest.raises(argparse.ArgumentTypeError, match="write 100/s, 10/m, 5/h or 3/2.5s"):
        formatting.rate(text)


@REPEATABLE
@given(st.text(max_size=20))
def test_no_text_breaks_the_reading_of_a_rate(text):
    with contextlib.suppress(argparse.ArgumentTypeError):
        assert min(formatting.rate(text)) > 0.0


# Data, and exit codes.


@pytest.mark.parametrize(
    ("text", "pair"),
    [("k=v", ("k", "v")), ("k=", ("k", "")), ("k=a=b", ("k", "a=b")), ("k= v ", ("k", " v "))],
)
def test_data_is_split_at_the_first_equals_sign(text, pair):
    assert formatting.pair(text) == pair


@pytest.mark.parametrize("text", ["", "k", "=v", "="])
def test_data_without_key_or_equals_sign_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="KEY=VALUE"):
        formatting.pair(text)


@pytest.mark.parametrize(("text", "code"), [("0", 0), ("75", 75), ("255", 255), ("007", 7)])
def test_an_exit_code_is_what_a_process_can_exit_with(text, code):
    assert formatting.exit_code(text) == code


@pytest.mark.parametrize("text", ["", "-1", "256", "1.0", "x", "\u0665", " 1", "\u00b2"])
def test_any_other_exit_code_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="0 to 255"):
        formatting.exit_code(text)


# Showing.


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.04, "0s"),
        (0.44, "0.4s"),
        (1.0, "1s"),
        (9.5, "9.5s"),
        (9.94, "9.9s"),
        (10.4, "10s"),
        (48.2, "48s"),
        (59.4, "59s"),
        (60.0, "1m"),
        (59.6, "1m"),
        (125.0, "2m05s"),
        (3599.0, "59m59s"),
        (3600.0, "1h"),
        (3660.0, "1h01m"),
        (11_400.0, "3h10m"),
        (90_000.0, "25h"),
        (-3.0, "-3s"),
        (-125.0, "-2m05s"),
    ],
)
def test_seconds_are_shown_as_a_person_reads_them(seconds, text):
    assert formatting.shown(seconds) == text


@REPEATABLE
@given(seconds=st.floats(-1e8, 1e8))
def test_what_is_shown_is_within_the_last_digit_shown(seconds):
    text = formatting.shown(seconds)
    parts, sign = text.lstrip("-"), -1 if text.startswith("-") else 1
    value, number = 0.0, ""
    for c in parts:
        if c in "hms":
            value += float(number) * {"h": 3600, "m": 60, "s": 1}[c]
            number = ""
        else:
            number += c
    assert number == ""
    assert abs(sign * value - seconds) <= (0.051 if abs(seconds) < 10 else 0.51 if abs(seconds) < 3600 else 60.0)


def test_ten_seconds_are_not_shown_as_a_decimal():
    assert formatting.shown(9.97) == "10s"


# Exit codes by kind.


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError("x"), 2),
        (errors.UnknownBucket("x"), 66),
        (errors.StoreUnavailable("x"), 69),
        (errors.EngineError("x"), 69),
        (errors.AcquireTimeout("x"), 75),
        (errors.StoreRejected("x"), 77),
        (errors.LeaseError("x"), 70),
        (errors.LeaseLost("x", reason=errors.LossReason.TAKEN, lease_id="0-a"), 70),
    ],
    ids=lambda it: type(it).__name__ if isinstance(it, Exception) else "",
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert exits.code_for(error) == code


def test_every_exit_code_is_in_the_help():
    for code in (exits.USAGE, exits.UNKNOWN_BUCKET, exits.UNAVAILABLE, exits.NO_SLOT, exits.LOST, exits.REJECTED):
        assert f" {code} " in exits.HELP


# The command after --.


@pytest.mark.parametrize(
    ("arguments", "own", "command"),
    [
        (["status", "b"], ["status", "b"], []),
        (["run", "b", "--", "x", "--local"], ["run", "b"], ["x", "--local"]),
        (["run", "b", "--", "x", "--", "y"], ["run", "b"], ["x", "--", "y"]),
        (["run", "b", "--"], ["run", "b"], []),
        (["--", "x"], [], ["x"]),
    ],
)
def test_what_stands_after_the_first_two_dashes_is_the_commands(arguments, own, command):
    assert main.split_command(arguments) == (own, command)


# The table of `status`.


def lease(**changes):
    values = {
        "lease_id": "0-abc",
        "slot": 0,
        "fence": 17,
        "owner": "host:1",
        "data": {},
        "age_seconds": 75.0,
        "remaining_seconds": 48.0,
        "revoked": False,
        "retired": False,
    }
    return LeaseInfo(**values | changes)


def status(*leases, **changes):
    values = {
        "name": "jobs",
        "table": "t",
        "max_tokens": 12,
        "lease_seconds": 60.0,
        "minted": 12,
        "in_circulation": 12,
        "leases": leases,
    }
    return BucketStatus(**values | changes)


def test_one_slot_is_not_called_slots():
    assert status_command.as_table(status(minted=1)).splitlines()[0].endswith(", leases of 1m, 1 slot minted")


def test_the_table_is_laid_out_for_a_person():
    shown = status_command.as_table(
        status(
            lease(),
            lease(slot=10, lease_id="10-defg", owner="another-host:22", age_seconds=3.5, remaining_seconds=-1.0),
            lease(slot=11, lease_id="11-h", data={"job": "nightly", "part": 3}, revoked=True, retired=True),
        )
    )
    assert shown == (
        "jobs in table t: 1 of 12 leased, 10 free, leases of 1m, 12 slots minted\n"
        "1 more on retired slots until they end\n"
        "\n"
        "SLOT  OWNER              AGE            REMAINING  FENCE  LEASE ID  DATA\n"
        "   0  host:1           1m15s                  48s  17     0-abc\n"
        "  10  another-host:22   3.5s              expired  17     10-defg\n"
        "  11  host:1           1m15s  48s revoked retired  17     11-h      job=nightly part=3"
    )


def test_a_slot_that_is_kept_closed_is_not_called_leased_nor_free():
    shown = status_command.as_table(status(lease(), lease(slot=1, lease_id=f"1-closed-{'1a' * 16}")), width=100)
    assert shown.startswith("jobs in table t: 1 of 12 leased, 1 kept closed, 10 free, leases of 1m")
    assert shown.splitlines()[-1].split() == ["1", "host:1", "1m15s", "48s", "closed", "17", "1-closed-1a1a1a1a"]
    told = json.loads(status_command.as_json(status(lease(lease_id="0-closed-a"))))
    assert told["leases"][0]["closed"] is True


def test_without_data_there_is_no_column_for_it_and_without_leases_no_table():
    assert "DATA" not in status_command.as_table(status(lease()))
    assert status_command.as_table(status()).count("\n") == 0


@REPEATABLE
@given(text=st.text(min_size=1, max_size=20), key=st.text(min_size=1, max_size=5))
def test_nothing_that_others_wrote_moves_the_cursor_or_breaks_the_layout(text, key):
    shown = status_command.as_table(status(lease(owner=text, lease_id=text, data={key: text}), name="jobs", table="t"))
    assert len(shown.split("\n")) == 4
    assert all(c.isprintable() for c in shown.replace("\n", ""))


def test_json_has_all_of_it():
    told = json.loads(status_command.as_json(status(lease(data={"k": [1, None, "\x1b[2J"]}))))
    assert {"name", "table", "max_tokens", "lease_seconds", "minted", "in_circulation", "free", "drift"} < set(told)
    assert told["free"] == 11
    assert told["drift"] == 0
    (one,) = told["leases"]
    assert one["data"] == {"k": [1, None, "\x1b[2J"]}
    assert one["expired"] is False
    assert one["remaining_seconds"] == 48.0


@pytest.mark.parametrize("text", ["\x9b2J", "\u202e"])
def test_json_for_a_terminal_escapes_what_would_move_its_cursor(text):
    told = status_command.as_json(status(lease(owner=text)))
    assert text not in told
    assert json.loads(told)["leases"][0]["owner"] == text


@pytest.mark.parametrize("width", [80, 60])
def test_the_table_fits_whatever_the_owner_and_the_data_are(width):
    long = "a-host-with-a-long-name.example.com:" + "\u4e2d" * 40
    leases = [lease(slot=n, lease_id=f"{n}-{'ab' * 16}", owner=long, data={"job": long}, retired=True) for n in (0, 11)]
    text = status_command.as_table(status(*leases, lease(revoked=True, retired=True), name=long), width=width)
    assert all(columns_of(line) <= width for line in text.splitlines())
    row = text.splitlines()[-2]
    assert " a-" in row and "\u2026" in row
    assert width < 80 or "11-abababab" in row
