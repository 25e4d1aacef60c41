"""Configuring: the order in which waiters are served, stored with the bucket."""

import logging

import pytest

from ddb_lease import ConfigurationError, StoreRejected, StoreUnavailable, UnknownBucket
from ddb_lease._protocol.messages import Look, Refused, SetOrder
from tests.support import LOST, REJECTED, put_counter

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too


def test_the_order_alone_is_set_and_the_counter_counts_the_write(store, table):
    put_counter(table, rev=7)
    before = table.get("counter")
    store.send(SetOrder(rev=7, order="fifo"))
    assert table.get("counter") == before | {"order": "fifo", "rev": 8}
    (seen,) = [store.send(Look(limit=1, consistent=True)).answer]
    assert seen.view.counter.order == "fifo"


@pytest.mark.parametrize("rev", [6, 8, None])
def test_a_counter_that_is_not_as_seen_is_left_alone(store, table, rev):
    if rev is not None:
        put_counter(table, rev=rev)
    before = table.all()
    answer = store.send(SetOrder(rev=7, order="fifo")).answer
    assert isinstance(answer, Refused)
    assert answer.counter_failed
    assert (answer.counter and answer.counter.rev) == rev
    assert table.all() == before


def test_a_change_says_what_was_and_what_is(environment, table):
    put_counter(table, rev=7)
    bucket = environment.bucket()
    done = bucket.configure(order="fifo")
    assert (done.before, done.after) == ("any", "fifo")
    assert bucket.status().order == "fifo"
    done = bucket.configure(order="any")
    assert (done.before, done.after) == ("fifo", "any")
    assert bucket.status().order == "any"


def test_setting_what_is_set_writes_nothing(environment, table):
    put_counter(table, rev=7, order="fifo")
    done = environment.bucket().configure(order="fifo")
    assert (done.before, done.after) == ("fifo", "fifo")
    assert table.get("counter")["rev"] == 7


def test_a_bucket_is_created_with_the_order_of_its_first_client(environment, table):
    environment.bucket(order="fifo").acquire(5).release()
    assert table.get("counter")["order"] == "fifo"


def test_by_default_nothing_is_stored_and_any_order_holds(environment, table):
    bucket = environment.bucket()
    bucket.acquire(5).release()
    assert "order" not in table.get("counter")
    assert bucket.status().order == "any"


def test_other_settings_than_those_stored_are_said_with_the_way_to_have_them(environment, table, caplog):
    put_counter(table, max_tokens=2, minted=0, lease_ms=30_000)
    tokens = f"; to change max_tokens: bucket.resize(3), or ddb-lease resize '{table.bucket}' 3"
    length = "; a bucket keeps the lease_seconds that it was made with: for others, take another name"
    for settings, said in (({"max_tokens": 3}, tokens), ({"max_tokens": 2, "lease_seconds": 60}, length)):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="ddb_lease"):
            environment.bucket(**settings).acquire(5).release()
        (message,) = caplog.messages
        assert message.partition("lease_seconds=30: these settings are used, not ")[2].partition(";")[1:] == (
            ";",
            said[1:],
        )


def test_an_order_that_differs_from_the_stored_one_is_said_once(environment, table, caplog):
    put_counter(table, max_tokens=2, minted=0, order="fifo")
    with caplog.at_level(logging.WARNING, logger="ddb_lease"):
        environment.bucket(max_tokens=2, order="fifo").acquire(5).release()
        environment.bucket(max_tokens=2).acquire(5).release()
        assert caplog.messages == []
        environment.bucket(max_tokens=2, order="any").acquire(5).release()
    (said,) = caplog.messages
    assert "order=fifo: these settings are used, not" in said
    assert said.endswith("order=any; to change the order: bucket.configure(order='any')")


def test_what_is_no_order_is_refused_before_anything_is_sent(environment, table):
    bucket = environment.bucket()
    for order in ("lifo", "", None, 1):
        with pytest.raises(ConfigurationError, match="order must be one of 'any', 'fifo'"):
            bucket.configure(order=order)
    with pytest.raises(ConfigurationError, match="order must be one of"):
        environment.bucket(order="FIFO")
    assert bucket.tap.sent == []


def test_a_bucket_that_does_not_exist_is_not_made(environment, table):
    with pytest.raises(UnknownBucket, match="the first acquire creates it"):
        environment.bucket().configure(order="fifo")
    assert table.all() == {}


def test_a_lost_answer_is_found_out_by_reading_again(environment, table):
    put_counter(table, rev=7)
    bucket = environment.bucket()
    bucket.tap.inject(SetOrder, answer=LOST)
    assert bucket.configure(order="fifo").before == "any"
    assert table.get("counter")["rev"] == 8
    assert table.get("counter")["order"] == "fifo"


@pytest.mark.parametrize(
    ("answer", "error"), [(REJECTED, StoreRejected), (Refused(), StoreUnavailable), (LOST, StoreUnavailable)]
)
def test_what_cannot_be_set_is_said(environment, table, answer, error):
    put_counter(table, rev=7)
    bucket = environment.bucket()
    for _ in range(20):
        bucket.tap.inject(SetOrder, answer=answer, commits=False)
    with pytest.raises(error):
        bucket.configure(order="fifo")
    assert "order" not in table.get("counter")
