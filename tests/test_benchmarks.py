"""The benchmarks: their counting rules, and that each of our contenders does what is measured."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import cost
from benchmarks.company import NAIVE, OURS, RATE, RAW, gather
from benchmarks.figures import quantile, ratio
from benchmarks.goals import GOALS, judge
from benchmarks.meter import Meter, item_bytes
from benchmarks.parts import large, manners, middleware, process
from benchmarks.parts.rates import alone, limits, making, sharing
from benchmarks.report import markdown
from ddb_lease import RateLimiter
from scripts.harness.rate_referee import NS, served_by

KEYS = hasattr(RateLimiter, "key")


class Events:
    """botocore's, as much of it as the meter listens to."""

    def __init__(self):
        self.handlers = []

    def register(self, name, handler):
        self.handlers.append((name.split(".")[0], handler))

    def unregister(self, name, handler):
        if (name.split(".")[0], handler) in self.handlers:
            self.handlers.remove((name.split(".")[0], handler))

    def emit(self, name, **given):
        for wanted, handler in self.handlers:
            if wanted == name:
                handler(**given)

    def send(self, operation, body, *, status=200, parsed=None):
        context = {}
        self.emit("before-call", params={"body": json.dumps(body).encode()}, context=context)
        answer = type("Answer", (), {"status_code": status})
        model = type("Model", (), {"name": operation})
        self.emit("after-call", http_response=answer, parsed=parsed or {}, model=model, context=context)


@pytest.fixture
def events():
    return Events()


@pytest.fixture
def meter(events):
    return Meter(events)


def item(size):
    """An item of so many bytes."""
    return {"pk": {"S": "x" * (size - 2)}}


@pytest.mark.parametrize(("size", "units"), [(3, 1), (1024, 1), (1025, 2), (4096, 4)])
def test_a_write_costs_a_unit_for_each_kilobyte_begun(events, meter, size, units):
    assert item_bytes(item(size)) == size
    events.send("PutItem", {"Item": item(size)})
    assert meter.take()["wcu"] == units


def test_a_transaction_costs_twice_and_a_failed_condition_as_much(events, meter):
    steps = [{"Put": {"Item": item(100)}}, {"Update": {"Key": {}}}]
    events.send("TransactWriteItems", {"TransactItems": steps})
    events.send("TransactWriteItems", {"TransactItems": steps}, status=400)
    events.send("UpdateItem", {"Key": {}}, status=400)
    assert meter.take() == {
        "requests": {"TransactWriteItems": 2, "UpdateItem": 1},
        "wcu": 9.0,
        "rcu": 0.0,
        "wasted_writes": 2,
        "consumed": 0.0,
    }
    assert meter.take()["requests"] == {}, "what was counted is not counted again"


def test_one_switch_stops_the_recording_and_leaves_clients_without_a_listener(events, meter):
    client = SimpleNamespace(meta=SimpleNamespace(events=Events()))
    put = {"Item": item(100)}
    meter.record(True, [client])
    meter.record(True, [client])
    client.meta.events.send("PutItem", put)
    events.send("PutItem", put)
    assert meter.take()["requests"] == {"PutItem": 2}
    meter.record(False, [client])
    assert not client.meta.events.handlers
    events.send("PutItem", put)
    assert meter.take()["requests"] == {}
    meter.record(True, [client])
    events.send("PutItem", put)
    client.meta.events.send("PutItem", put)
    assert meter.take()["requests"] == {"PutItem": 2}


@pytest.mark.parametrize(("consistent", "units"), [(True, 3.0), (False, 1.5)])
def test_a_query_costs_by_what_it_went_through_and_half_where_it_is_eventually_consistent(
    events, meter, consistent, units
):
    events.send("PutItem", {"Item": item(1000)})
    meter.take()
    events.send("Query", {"ConsistentRead": consistent}, parsed={"ScannedCount": 12, "Count": 1})
    assert meter.take()["rcu"] == units


def test_what_the_engine_reports_is_kept_beside(events, meter):
    events.send("PutItem", {"Item": item(10)}, parsed={"ConsumedCapacity": {"CapacityUnits": 1.0}})
    events.send(
        "TransactWriteItems",
        {"TransactItems": [{"Put": {"Item": item(10)}}]},
        parsed={"ConsumedCapacity": [{"CapacityUnits": 2.0}]},
    )
    counted = meter.take()
    assert counted["wcu"] == counted["consumed"] == 3.0


def test_figures():
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0], 0.99) == 1.0
    assert ratio([2.0, 6.0, 4.0], [1.0, 2.0, 4.0]) == 2.0


def test_the_formula_of_the_costs():
    counts = cost.Counts(cycle_wcu=2.0, cycle_rcu=1.0, renewals=3.0, waiting_wcu=4.0, waiting_rcu=0.5)
    paid = cost.dollars(counts, acquires=1_000.0, lease_hours=2.0, lease_seconds=60.0, waiting_hours=1.0)
    assert paid == pytest.approx((2_000 + 360 + 14_400) * 0.625e-6 + (1_000 + 1_800) * 0.125e-6)


def test_the_cost_of_a_rate_and_what_makes_it_cheaper(capsys):
    month = 730 * 3600

    def paid(*arguments):
        assert cost.main(["--processes", "0", *arguments]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        return float(line.split()[-2].replace(",", ""))

    single = paid("--permits-per-second", "100")
    assert single == pytest.approx(100 * month * 0.625e-6, abs=1e-3)
    assert paid("--permits-per-second", "100", "--prefetch", "10") == pytest.approx(single / 10, abs=1e-3)
    assert paid("--permits-per-second", "100", "--parents", "1") == pytest.approx(single * 4, abs=1e-3)
    assert paid("--denials-per-second", "100") == pytest.approx(single, abs=1e-3)
    cost.main(["--permits-per-second", "1", "--acquires", "1"])
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(cost.MEASURED)


def test_the_page_on_costs_has_what_is_computed():
    page = (Path(__file__).parent.parent / "docs" / "cost.md").read_text()
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,.]+) \$ \|(.*)$", page, flags=re.MULTILINE)
    assert len(rows) == 4
    for rate, single, rest in rows:
        permits = float(rate.replace(",", ""))
        shown = [single, *(cell.strip(" $") for cell in rest.split("|")[:-1])]
        ways = [{}, {"prefetch": 10.0}, {"prefetch": 100.0}, {"parents": 1.0}]
        for cell, way in zip(shown, ways, strict=True):
            if cell:
                assert cell == f"{cost.dollars_of_permits(permits_per_second=permits, **way):,.2f}"
    ours, none = (
        cost.MEASURED["ddb_lease"],
        {"acquires": 0.0, "lease_hours": 0.0, "lease_seconds": 60.0, "waiting_hours": 0.0},
    )
    leases = [
        {"acquires": 1e6},
        *({"lease_hours": 730.0, "lease_seconds": each} for each in (15.0, 60.0, 600.0)),
        {"waiting_hours": 730.0},
    ]
    told = re.findall(r"^\| [^|]*\| [^|]*units?[^|]* \| ([\d.]+) \$ \|$", page, flags=re.MULTILINE)
    assert told == [f"{cost.dollars(ours, **{**none, **way}):,.2f}" for way in leases]


@pytest.mark.parametrize(
    "wrong", [["--prefetch", "0.5"], ["--acquires", "-1"], ["--acquires", "many"], ["--lease-seconds", "0"]]
)
def test_wrong_numbers_are_refused(wrong, capsys):
    with pytest.raises(SystemExit) as end:
        cost.main(wrong)
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_goal_without_a_figure_is_left_out_and_one_that_is_missed_is_said(capsys):
    results = {"imports": {"to_boto3": {"LeaseBucket": 1.5}}}
    (judged,) = judge(results)
    assert judged == {
        "measure": "from ddb_lease import LeaseBucket / import boto3",
        "goal": "<= 1.05",
        "measured": 1.5,
        "met": False,
    }
    assert not any(goal.met(float("nan")) for goal in GOALS), "what was not measured is not met"


def test_a_goal_of_something_that_is_not_there_yet_says_so_and_is_not_met():
    results = {"rates": {"making": [{"made": "limiter", "us": 5.0}, {"made": "key", "state": "not yet"}], "limits": []}}
    of_keys = [judged for judged in judge(results) if "key" in judged["measure"]]
    assert len(of_keys) == 6
    assert {(judged["measured"], judged["met"]) for judged in of_keys} == {("not yet", False)}


def test_on_the_simulated_partition_ours_does_not_collapse_where_the_naive_one_does():
    ours, naive = manners.play(OURS, 30, seconds=4.0), manners.play(NAIVE, 30, seconds=4.0)
    assert ours["grants_a_second"] > 3 * naive["grants_a_second"]
    assert ours["wcu_a_grant"] == pytest.approx(2.0, abs=0.1)
    assert naive["conflicts_a_second"] > 0
    assert ours == manners.play(OURS, 30, seconds=4.0), "a seed is a run"


def test_on_the_simulated_service_the_last_free_slots_are_found_and_a_bucket_is_filled_without_pauses():
    found = large.find(3_000, 2, claims=3)
    assert 1 <= found["looks"] <= 24 + 10
    assert found["most_s"] < 0.3, "a poll's pause is some seconds"
    filled = large.fill(200, 1)
    assert filled["requests_a_claim"] < 1.05
    assert filled["to_claims_alone"] == pytest.approx(1.0, abs=0.1)
    waited = large.wait(1_000)
    assert 8 <= waited["first_looks"] < 60
    assert 1.5 < waited["looks_a_second"] < 3.0
    assert filled == large.fill(200, 1), "a seed is a run"


@pytest.fixture(scope="module")
def company():
    here = Path(sys.executable)
    with gather("embedded", None, dict.fromkeys((OURS, RAW, NAIVE, RATE), here)) as made:
        yield made


@pytest.mark.parametrize("kind", [OURS, RAW, NAIVE])
def test_a_contender_cycles_with_one_request_for_each_operation(company, kind):
    with company.hired([kind], tokens=3) as (member,):
        member.ask("open", bucket="b")
        member.ask("cycles", bucket="b", times=2)
        member.ask("count")
        taken = member.ask("cycles", bucket="b", times=4)
        count = member.ask("count")
    operations = [name for each in ("acquire", "renew", "release") for name in (each, f"{each} cpu")]
    assert {name: len(taken[name]) for name in operations} == dict.fromkeys(operations, 4)
    assert count["wcu"] == {OURS: 12.0, RAW: 16.0, NAIVE: 36.0}[kind]
    assert count["wasted_writes"] == 0


def test_a_full_bucket_and_contenders_for_one(company):
    with company.hired([OURS, OURS], tokens=1) as (holder, other):
        for member in (holder, other):
            member.ask("open", bucket="c")
        holder.ask("fill", bucket="c", count=1)
        other.ask("tries", bucket="c", times=2)
        other.ask("count")
        other.ask("tries", bucket="c", times=3)
        assert other.ask("count")["requests"] == {"Query": 3}
        holder.ask("drop", bucket="c")


def test_callers_of_a_rate_want_permits_and_are_counted_in_their_processes(company):
    with company.hired([RATE, RATE], tokens=5) as members:
        sharing.prepare(members, "s")
        calls, begin, until = sharing.contend(members, "s", threads=2, seconds=1.0, counts=[1, 2])
        requests = sharing.requests_of(members)
    assert until - begin == NS
    assert {(call.process, call.n) for call in calls} == {(0, 1), (1, 2)}
    assert all(begin <= call.wanted < until for call in calls)
    assert sum(served_by(calls).values()) >= 5, "the burst at least"
    assert requests >= 1


def test_a_denial_from_memory_sends_nothing(company):
    measured = alone.denial(company, lambda _: None)
    assert (measured["denials"], measured["requests"]) == (alone.DENIALS, 0)


def test_a_limiter_is_made_and_used_once_and_keys_are_if_there_are_any(company):
    limiter, key = making.run(company, lambda _: None, limiters=3, keys=20)
    assert limiter["made"] == "limiter"
    assert limiter["bytes_used"] > limiter["bytes"] > 0
    assert limiter["requests"] >= 1.0
    assert ("state" in key) is not KEYS


def test_several_limits_and_reservations_are_measured_if_there_are_any(company):
    rows = limits.run(company, lambda _: None)
    assert [row["operation"] for row in rows] == list(limits.OPERATIONS.values())
    assert KEYS or [row["state"] for row in rows] == ["not yet"] * 2


def test_a_request_is_measured_with_the_middleware_and_without_it(company):
    few = {"admitted": 3, "denied": 3}
    rows = middleware.run(company, lambda _: None, requests=few)
    assert [(row["middleware"], row["request"]) for row in rows] == [
        (kind, case) for kind in ("WSGI", "ASGI") for case in few
    ]
    assert all(row["with_us"] > 0 for row in rows)
    about = {"engine": "embedded", "machine": "this", "versions": {}, "seconds": 1.0}
    assert "Middleware" in markdown({"middleware": rows, "about": about})


def test_a_contender_of_rates_admits_what_its_rate_does(company):
    with company.hired([RATE], tokens=2) as (member,):
        member.ask("open", bucket="r")
        assert member.ask("permits", bucket="r", times=2)["admitted"] == 2


def test_one_process_is_measured_with_the_wire_and_without_and_next_to_boto3(company):
    done = []
    measured = process.run(company, done.append, seconds=0.2, rounds=1, first_rounds=1, task_rounds=1, tasks=30)
    assert done[-1] == 1.0
    ours = {"ddb_lease", "ddb_lease without the wire"}
    assert {name: {row["way"] for row in rows} for name, rows in measured.items()} == {
        "throughput": {"boto3", *ours},
        "first": ours,
        "tasks": ours,
    }
    assert all(row["requests_a_second"] > 0 for row in measured["throughput"])
    assert all(row["seconds"] > 0 for name in ("first", "tasks") for row in measured[name])
    assert len(judge({"process": measured})) == 3
    about = {"engine": "embedded", "machine": "this", "versions": {}, "seconds": 1.0}
    assert "1,000 tasks" in markdown({"process": measured, "about": about})
