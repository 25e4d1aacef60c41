"""What a program is told of buckets in which nothing is granted yet: once, in one sentence, and of its own ones only."""

import itertools

import pytest

from ddb_lease.local.control import Awaited
from ddb_lease.local.waiting import news, text

_engines = itertools.count()


@pytest.fixture
def engine() -> str:
    """The id of an engine of which this process has told nothing."""
    return f"engine of a test {next(_engines)}"


def bucket(name: str, remaining_s: float = 60.0, *, table: str = "t") -> Awaited:
    return Awaited(table=table, bucket=name, remaining_s=remaining_s)


def rate(name: str, remaining_s: float = 60.0) -> Awaited:
    return Awaited(table="t", bucket=name, remaining_s=remaining_s, is_rate=True)


OF_LEASES = "leases of an earlier engine run; if their holders are dead"
OF_RATES = "a rate's block, or permits given in advance, of an earlier engine run; if that may be forgotten"
SKIP = "ddb-lease local start --no-wait"


@pytest.mark.parametrize(
    ("awaited", "says"),
    [
        ([bucket("a")], f"a in table t: nothing is granted for another 1m, as {OF_LEASES}: {SKIP}"),
        ([rate("r")], f"r in table t: nothing is granted for another 1m, as {OF_RATES}: {SKIP}"),
        (
            [bucket("a", 3.0), bucket("b", 9.0), bucket("c", 5.0)],
            f"a, b, c in table t: nothing is granted for up to another 9s, as {OF_LEASES}: {SKIP}",
        ),
        (
            [rate("r", 30.0), bucket("a", 20.0)],
            f"r, a in table t: nothing is granted for up to another 30s, as {OF_LEASES}, and {OF_RATES}: {SKIP}",
        ),
        (
            [bucket(name) for name in "abcde"],
            f"a, b, c, d, e in table t: nothing is granted for up to another 1m, as {OF_LEASES}: {SKIP}",
        ),
        (
            [bucket(name) for name in "abcdefg"],
            f"a, b, c, d, e and 2 more in table t: nothing is granted for up to another 1m, as {OF_LEASES}: {SKIP}",
        ),
    ],
    ids=["a bucket", "a rate", "three", "both", "five", "seven"],
)
def test_what_is_waited_for_is_told_in_one_sentence(awaited, says):
    assert text(awaited) == says


def told(awaited, engine: str, *, table: str = "t", only: str | None = None) -> str:
    """The buckets that the news names."""
    return news(awaited, instance_id=engine, table=table, bucket=only).partition(" in table ")[0]


def test_each_is_told_once_an_engine(engine):
    assert told([bucket("a")], engine) == "a"
    assert told([bucket("a")], engine) == ""
    assert told([bucket("a"), bucket("b")], engine) == "b"
    assert told([bucket("a"), bucket("b")], f"{engine}, restarted") == "a, b"


def test_only_what_the_program_uses_is_told(engine):
    awaited = [bucket("a"), bucket("b"), bucket("a", table="u"), bucket("c", table="u")]
    assert told(awaited, engine, only="b") == "b"
    assert told(awaited, engine) == "a", "the other one was told before"
    assert told(awaited, engine, table="u") == "a, c", "a bucket of the same name in another table is another one"


def test_where_nothing_is_waited_for_nothing_is_said(engine):
    assert news([], instance_id=engine, table="t", bucket=None) == ""
    assert news([bucket("a")], instance_id=engine, table="u", bucket=None) == ""
    assert news([bucket("a")], instance_id=engine, table="t", bucket="b") == ""
