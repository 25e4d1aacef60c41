"""What a probe compares, and what the measurements conclude: without any engine."""

import pytest

from ddb_lease._protocol.messages import Done, Each, Refused, Rejected
from ddb_lease._state.offset import Interval
from ddb_lease.cli.conform import measuring
from ddb_lease.cli.conform.measuring import agreement, measure_conflicts, measure_dates
from ddb_lease.cli.conform.probe import Probe, judge, told
from ddb_lease.cli.conform.samples import MINE, claim, free, leased
from ddb_lease.dynamodb.raw import RawAnswer
from ddb_lease.testing import MovableClock
from scripts.harness.simulated_engine import Simulated

SLOT = "slot#00000"
REFUSED = "ConditionalCheckFailedException"


def answered(code=None, *, operation="put_item", read=None, **response):
    read = read or (Refused() if code else Done())
    return RawAnswer(
        operation=operation, arguments={}, response=response, code=code, request_id="R", date=None, read=read
    )


def item(attributes, slot=0):
    return {"pk": {"S": "b"}, "sk": {"S": f"slot#{slot:05d}"}, **attributes}


CLAIMED = Probe(name="claim", request=claim(), before={SLOT: free()}, units=1, after={SLOT: MINE})
ONE_UNIT = {"CapacityUnits": 1.0}


def test_what_the_service_answers_is_as_expected():
    finding = judge(CLAIMED, answered(ConsumedCapacity=ONE_UNIT), {SLOT: MINE})
    assert finding.as_expected
    assert finding.seen == CLAIMED.expected == "ok; 1 unit; Done"


@pytest.mark.parametrize(
    ("raw", "left", "seen"),
    [
        (answered(REFUSED, ConsumedCapacity=ONE_UNIT, read=Done()), {SLOT: MINE}, f"{REFUSED}; 1 unit; Done"),
        (answered(ConsumedCapacity={"CapacityUnits": 2.0}), {SLOT: MINE}, "ok; 2 units; Done"),
        (answered(), {SLOT: MINE}, "ok; Done"),
        (answered(ConsumedCapacity=ONE_UNIT, read=Refused()), {SLOT: MINE}, "ok; 1 unit; Refused"),
        (answered(ConsumedCapacity=ONE_UNIT), {}, "ok; 1 unit; Done; slot#00000 is missing"),
        (
            answered(ConsumedCapacity=ONE_UNIT),
            {SLOT: MINE | {"owner": {"S": "x"}, "more": {"N": "1"}}, "slot#00001": free()},
            "ok; 1 unit; Done; slot#00000 has more 1, not no value, owner x, not owner, and 1 more",
        ),
        (answered(ConsumedCapacity=ONE_UNIT), {SLOT: MINE, "z": free()}, "ok; 1 unit; Done; z was made"),
    ],
)
def test_an_answer_a_cost_a_reading_or_an_item_that_differs_is_a_difference(raw, left, seen):
    finding = judge(CLAIMED, raw, left)
    assert not finding.as_expected
    assert finding.seen == seen


def test_a_difference_in_capacity_alone_is_told_from_others():
    assert judge(CLAIMED, answered(), {SLOT: MINE}).only_capacity_differs
    assert not judge(CLAIMED, answered(), {}).only_capacity_differs
    assert not judge(CLAIMED, answered(ConsumedCapacity=ONE_UNIT), {SLOT: MINE}).only_capacity_differs


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (answered(REFUSED, Item=item(leased())), f"{REFUSED} with the item"),
        (answered(REFUSED, Item=item(free())), f"{REFUSED} with another item"),
        (answered(REFUSED, Item=item(leased(), slot=1)), f"{REFUSED} with another item"),
        (
            answered(
                "TransactionCanceledException",
                CancellationReasons=[{"Code": "None"}, {"Code": "None"}, {"Code": "X", "Item": item(leased())}],
            ),
            "TransactionCanceledException [2 x None, X with the item]",
        ),
        (
            answered(
                operation="batch_execute_statement",
                Responses=[
                    {"Item": item(free())},
                    {"Error": {"Code": "X"}},
                    {"Error": {"Code": "X", "Item": {"a": 1}}},
                ],
                read=Each(answers=(Done(), Rejected(error=Exception()), Rejected(error=Exception()))),
            ),
            "ok [item, X, X with the item]",
        ),
        (answered(operation="transact_get_items", Responses=[{"Item": item(free())}, {}]), "ok [item, none]"),
        (answered(operation="query", Items=[{}], LastEvaluatedKey={"a": 1}), "ok, 1 item, more"),
        (answered(operation="update_item", Attributes={"a": 1}), "ok, shows the item"),
    ],
)
def test_an_answer_is_told_by_its_codes_and_items(raw, said):
    assert told(raw, {SLOT: leased()}) == said


# Dates.


def test_dates_that_agree_bound_the_time_by_their_intersection():
    found = agreement([Interval(0.0, 1.0, 0.0), Interval(0.4, 1.4, 0.0), Interval(-0.5, 0.5, 0.0)])
    assert found.width == pytest.approx(0.1)
    assert (found.agreeing, found.answers) == (3, 3)


def test_of_dates_that_contradict_each_other_the_most_that_agree_are_counted():
    found = agreement([Interval(0.0, 1.0, 0.0), Interval(0.2, 1.2, 0.0), Interval(3.0, 4.0, 0.0)])
    assert found.width == pytest.approx(-2.0)
    assert (found.agreeing, found.answers) == (2, 3)


class Dated:
    """A client whose answers carry Dates by a test's clock, off by some seconds."""

    def __init__(self, clock, off=0.0):
        self.clock, self.off = clock, off

    def query(self, **_):
        import email.utils

        date = email.utils.formatdate(int(self.clock.wall() + self.off), usegmt=True)
        return {"Items": [], "ResponseMetadata": {"RequestId": "R", "HTTPHeaders": {"date": date}}}


@pytest.mark.parametrize(("off", "fine"), [(0.0, True), (0.9, True), (4.0, False)])
def test_a_front_end_whose_clock_is_off_by_more_than_assumed_is_told(off, fine, monkeypatch):
    monkeypatch.setattr(measuring, "DATES", 400)
    monkeypatch.setattr(measuring, "at_once", lambda works: [work(measuring.threading.Event()) for work in works])
    clock = MovableClock()
    clients = [Dated(clock), Dated(clock), Dated(clock, off)]
    found = measure_dates(clients, "t", clock, lambda seconds: clock.pass_time(seconds * 1.03))
    assert found.as_expected == fine, found.seen
    assert ("all 399 agree" in found.seen) == (off == 0.0)


def test_no_date_at_all_is_told(monkeypatch):
    monkeypatch.setattr(measuring, "DATES", 10)

    class Dateless:
        def query(self, **_):
            return {"Items": [], "ResponseMetadata": {"RequestId": "R", "HTTPHeaders": {}}}

    clock = MovableClock()
    found = measure_dates([Dateless()], "t", clock, lambda _: None)
    assert (found.as_expected, found.seen) == (False, "no answer has a Date")


# Collisions.


def colliding(engine=None, *, table="leases"):
    engine = engine or Simulated()
    clients = [engine.session().client("dynamodb", config=None) for _ in range(4)]
    tokens = iter(range(10_000))
    return measure_conflicts(clients, table, lambda: f"t-{next(tokens)}")


def test_what_is_minted_at_once_adds_up(monkeypatch):
    found = colliding()
    assert found.as_expected, found.seen
    assert found.seen == (
        f"{measuring.MINTS} transactions: {measuring.MINTS} ok; {measuring.UPDATES} updates: "
        f"{measuring.UPDATES} ConditionalCheckFailedException; what was written adds up"
    )


class Forgetful(Simulated):
    """Answers some transactions with success and writes nothing."""

    def execute(self, operation, **arguments):
        if operation == "transact_write_items" and arguments["ClientRequestToken"].endswith("7"):
            return {"ResponseMetadata": {"RequestId": "R", "HTTPHeaders": {}}}
        return super().execute(operation, **arguments)


def test_a_transaction_that_is_answered_but_not_carried_out_is_told():
    found = colliding(Forgetful())
    assert not found.as_expected
    assert "240 were ok, 216 slots exist, 216 are counted" in found.seen
