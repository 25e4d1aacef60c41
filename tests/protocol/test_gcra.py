"""The decisions of a rate limit, as values; compared with the textbook algorithm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease import ConfigurationError
from ddb_lease._protocol.gcra import (
    NS,
    Balance,
    Batch,
    BusyBranch,
    FromHand,
    IdleBranch,
    Later,
    available,
    decide,
    is_own,
    rate_of,
)
from ddb_lease._protocol.records import Meter

NOW = 1_795_470_755 * NS


@pytest.mark.parametrize(
    ("tat", "decided"),
    [
        (None, IdleBranch(missing=1)),
        (99, IdleBranch(missing=1)),
        (100, BusyBranch(missing=1)),
        (140, BusyBranch(missing=1)),
        (141, Later(at=101)),
        (1_000, Later(at=960)),
    ],
)
def test_the_branch_is_told_by_where_the_charge_reaches(tat, decided):
    assert decide(Balance(tat=tat), 1, now=100, interval=10, tolerance=50) == decided


def test_a_denial_tells_the_very_moment_from_which_it_is_none():
    balance = Balance(tat=1_000)
    later = decide(balance, 1, now=100, interval=10, tolerance=50)
    assert isinstance(decide(balance, 1, now=later.at - 1, interval=10, tolerance=50), Later)
    assert isinstance(decide(balance, 1, now=later.at, interval=10, tolerance=50), BusyBranch)


@pytest.mark.parametrize(
    ("count", "decided"),
    [
        (1, FromHand()),
        (2, FromHand()),
        (3, Later(at=120)),  # the third in hand is not due yet
        (4, BusyBranch(missing=1)),
        (5, Later(at=110)),
    ],
)
def test_permits_in_hand_are_used_when_due_and_only_what_is_missing_is_charged(count, decided):
    balance = Balance(tat=140, batches=(Batch(first=80, count=1), Batch(first=100, count=1), Batch(first=120, count=1)))
    assert decide(balance, count, now=100, interval=10, tolerance=50) == decided


@pytest.mark.parametrize("tat", [None, 99, 100])
def test_more_than_a_burst_is_never_had_at_once(tat):
    assert decide(Balance(tat=tat), 6, now=100, interval=10, tolerance=50) == Later(at=110)


@given(
    charges=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=5),
    count=st.integers(1, 60),
)
def test_permits_of_a_charge_come_one_each_interval_however_they_are_spent(charges, count):
    balance, dues, tat = Balance(), [], 1_000
    for taken, spent in charges:
        tat += taken * 10
        balance = balance.charged(tat=tat, taken=taken, interval=10, tolerance=50).spent(spent, interval=10)
        dues = [*dues, *(tat - 50 - 10 * (taken - 1 - number) for number in range(taken))][spent:]
    assert balance.tat == (tat if charges else None)
    assert balance.in_hand == len(dues)
    if count <= len(dues):
        assert balance.due(count, interval=10) == dues[count - 1]
    else:
        with pytest.raises(ValueError, match="not so many"):
            balance.due(count, interval=10)


def admitted_at_once(rate, sizes):
    """How many permits an idle item admits at one moment, taken in these sizes over and over."""
    tat, had, refused = None, 0, 0
    while refused < len(sizes):
        for size in sizes:
            needed = size * rate.interval_ns
            balance, interval = Balance(tat=tat), rate.interval_ns
            match decide(balance, size, now=NOW, interval=interval, tolerance=rate.tolerance_ns):
                case IdleBranch():
                    tat, had, refused = NOW + needed, had + size, 0
                case BusyBranch():
                    tat, had, refused = tat + needed, had + size, 0
                case Later():
                    refused += 1
    return had


@given(
    rate=st.one_of(st.integers(1, 1_000_000), st.floats(0.01, 1e6)),
    burst=st.integers(1, 200),
    sizes=st.lists(st.integers(1, 7), max_size=4),
)
def test_a_burst_is_exactly_the_burst_however_it_is_taken(rate, burst, sizes):
    sizes = [size for size in sizes if size <= burst]
    assert admitted_at_once(rate_of(rate, 1.0, burst), [*sizes, 1]) == burst


@given(rate=st.floats(0.001, 1e6), per=st.floats(0.001, 1e4))
def test_the_rate_is_kept_and_never_exceeded(rate, per):
    if rate / per > 1e6 or per / rate > 1e6:
        return
    kept = NS / rate_of(rate, per, 1).interval_ns
    assert rate / per * 0.999 <= kept <= rate / per * (1 + 1e-12)


@pytest.mark.parametrize(
    ("rate", "per", "interval"),
    [(100, 1, 10_000_000), (3, 1, 333_333_334), (0.1, 1, 10 * NS), (1, 0.1, NS // 10), (5, 3600, 720 * NS)],
)
def test_an_interval_is_rounded_up_once_and_decimals_are_meant_as_written(rate, per, interval):
    assert rate_of(rate, per, 1).interval_ns == interval


@pytest.mark.parametrize(("rate", "burst"), [(100, 100), (2.5, 2), (0.1, 1), (1, 1)])
def test_the_burst_is_that_of_one_period_unless_it_is_given(rate, burst):
    assert rate_of(rate, 1.0, None).burst == burst


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ((0, 1, 1), "rate must be a number above 0"),
        ((-1, 1, 1), "rate must be"),
        ((float("nan"), 1, 1), "rate must be"),
        ((float("inf"), 1, 1), "rate must be"),
        ((True, 1, 1), "rate must be"),
        (("5", 1, 1), "rate must be"),
        ((1, 0, 1), "per must be a number above 0"),
        ((1_000_001, 1, 1), "up to 1,000,000 permits a second"),
        ((1, 1, 0), "burst must be a whole number from 1"),
        ((1, 1, 1.5), "burst must be"),
        ((1, 1, True), "burst must be"),
        ((1, 86_400, 366), "more than a year"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, says):
    with pytest.raises(ConfigurationError, match=says):
        rate_of(*settings)


def test_the_fastest_and_the_slowest_that_work():
    assert rate_of(1_000_000, 1, 1).interval_ns == 1_000
    assert rate_of(1, 86_400, 365).tolerance_ns == 365 * 86_400 * NS


def test_an_attempt_knows_itself_by_its_id_in_its_lane():
    meter = Meter(tat=5, lanes={1: "mine", 2: "other"})
    assert is_own(meter, lane=1, attempt="mine")
    assert not is_own(meter, lane=2, attempt="mine")
    assert not is_own(meter, lane=3, attempt="mine")
    assert not is_own(None, lane=1, attempt="mine")


@pytest.mark.parametrize(
    ("tat", "told"),
    [
        (NOW - 1, (3, 0)),
        (NOW, (3, 0)),
        (NOW + 1, (2, 0)),
        (NOW + 2 * NS, (1, 0)),
        (NOW + 2 * NS + 1, (0, 1)),
        (NOW + 3 * NS, (0, NS)),
        (NOW + 9 * NS, (0, 7 * NS)),
    ],
)
def test_what_is_available_and_when(tat, told):
    assert available(Meter(tat=tat), rate_of(1, 1, 3), now=NOW) == told
    assert available(None, rate_of(1, 1, 3), now=NOW) == (3, 0)
