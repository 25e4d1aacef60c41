"""The journal of granted leases: what it keeps, what it forgets, and what it does where it cannot be written."""

import json
import os
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from ddb_lease.local import journal as journal_module
from ddb_lease.local.app import App
from ddb_lease.local.embedded import serve
from ddb_lease.local.folder import Folder
from ddb_lease.local.journal import NAME, Journal, Place, by_bucket, load
from ddb_lease.local.writes import binds_until_ms, writes

NOW_S = 1_800_000_000.0
LATER_MS = int(NOW_S * 1000) + 60_000
A, B = Place("r", "t", "a", "slot#00000"), Place("r", "t", "b", "slot#00001")


class FakeClock:
    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch) -> FakeClock:
    """The engine's clock; the machine's steady clock goes with it."""
    clock = FakeClock()
    monkeypatch.setattr(journal_module, "elapsed_s", lambda: clock.now_s - 1_000_000)
    return clock


@pytest.fixture
def folder(tmp_path) -> Folder:
    folder = Folder(tmp_path / "engine")
    folder.make()
    return folder


def test_a_successor_finds_what_binds_and_not_what_was_given_back_or_has_ended(folder, clock):
    first = Journal(folder, clock=clock)
    first.note({A: LATER_MS, B: LATER_MS})
    first.note({A: LATER_MS + 1000})
    first.note({B: 0})
    assert load(folder, clock=clock) == {A: LATER_MS + 1000}
    clock.now_s += 60.5
    assert load(folder, clock=clock) == {A: LATER_MS + 1000}
    clock.now_s += 1
    assert load(folder, clock=clock) == {}


def test_what_is_complete_is_not_written_again(folder, clock):
    journal = Journal(folder, clock=clock)
    journal.note({A: LATER_MS})
    (folder.path / NAME).write_bytes(b"as it was left")
    journal.complete()
    assert (folder.path / NAME).read_bytes() == b"as it was left"


def test_what_is_noted_is_in_the_file_when_it_returns(folder, clock):
    Journal(folder, clock=clock).note({A: LATER_MS})
    assert [json.loads(line) for line in (folder.path / NAME).read_bytes().split(b"\n")[1:]] == [[*A, LATER_MS]]


def test_what_an_earlier_engine_left_is_handed_on_until_it_ends_or_is_forgotten(folder, clock):
    Journal(folder, clock=clock).note({A: LATER_MS})
    second = Journal(folder, clock=clock)
    second.note({B: LATER_MS})
    third = Journal(folder, clock=clock)
    assert third.awaited() == {A: LATER_MS, B: LATER_MS}
    assert third.running() == {}
    third.forget_awaited()
    assert third.awaited() == {}
    assert Journal(folder, clock=clock).awaited() == {}


def test_a_stepped_wall_clock_moves_no_end(folder, clock):
    Journal(folder, clock=clock).note({A: LATER_MS})
    stepped = FakeClock(NOW_S + 3600)  # the steady clock shows the same as before
    assert load(folder, clock=stepped) == {A: LATER_MS + 3_600_000}


def test_after_a_boot_nobody_is_waited_for(folder, clock, monkeypatch):
    Journal(folder, clock=clock).note({A: LATER_MS})
    monkeypatch.setattr(journal_module.Path, "read_text", lambda *_, **__: "another")
    assert load(folder, clock=clock) == {}


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_line_that_was_cut_short_spoils_no_other(folder, clock, cut):
    journal = Journal(folder, clock=clock)
    journal.note({A: LATER_MS})
    path = folder.path / NAME
    whole = path.read_bytes()
    journal.note({B: LATER_MS})
    path.write_bytes(path.read_bytes()[: len(whole) + cut])
    after = Journal(folder, clock=clock)
    assert after.awaited() == {A: LATER_MS}
    path.write_bytes(whole + b'\n["r"')
    with path.open("ab") as file:
        file.write(b"\n" + json.dumps([*B, LATER_MS]).encode())
    assert load(folder, clock=clock) == {A: LATER_MS, B: LATER_MS}


@pytest.mark.parametrize("content", [b"", b"\n", b"[]", b"{}", b'{"boot": 1}\n[1, 2]', b"\xff\n\xff"])
def test_a_file_that_is_none_of_ours_is_none(folder, clock, content):
    (folder.path / NAME).write_bytes(content)
    assert Journal(folder, clock=clock).awaited() == {}


def test_the_file_does_not_grow_with_the_number_of_renewals(folder, clock):
    journal = Journal(folder, clock=clock)
    for renewal in range(5000):
        journal.note({A: LATER_MS + renewal})
    assert len((folder.path / NAME).read_bytes().split(b"\n")) < 2100
    assert load(folder, clock=clock) == {A: LATER_MS + 4999}


def test_without_a_folder_it_is_kept_in_memory(clock):
    journal = Journal(None, clock=clock)
    journal.note({A: LATER_MS})
    assert journal.running() == {A: LATER_MS}
    clock.now_s += 61
    assert journal.running() == {}


def test_the_last_end_of_each_bucket_counts():
    same = A._replace(item="slot#00001")
    assert by_bucket({A: 5, same: 7, B: 6}) == {Place("r", "t", "a", ""): 7, Place("r", "t", "b", ""): 6}


def test_of_a_rate_each_key_binds_alone():
    team, other = Place("r", "t", "api#07", "rate#team"), Place("r", "t", "api#07", "rate#other")
    assert by_bucket({team: 5, other: 7}) == {team: 5, other: 7}
    assert [place.shown for place in (team, Place("r", "t", "api#07", "rate#"), A)] == ["api, key 'team'", "api", "a"]


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/dev/full").exists(), reason="nothing fails here")
def test_what_cannot_be_recorded_is_not_granted(folder, monkeypatch):
    with serve(app=App(folder=folder)) as engine:
        client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
        client.meta.events.register("needs-retry", lambda **_: None)
        client.create_table(
            TableName="t",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )

        def put(slot: str) -> None:
            item = {
                "pk": {"S": "b"},
                "sk": {"S": slot},
                "lease_id": {"S": slot},
                "expires_at": {"N": str(LATER_MS * 2)},
            }
            client.put_item(TableName="t", Item=item)

        def slots() -> set[str]:
            return {item["sk"]["S"] for item in client.scan(TableName="t")["Items"]}

        put("1")
        (folder.path / NAME).rename(folder.path / "aside")
        (folder.path / NAME).mkdir()  # nothing can be appended here, and no file can take its place
        with pytest.raises(ClientError, match="InternalServerError"):
            put("2")  # executed perhaps, but not confirmed
        before = slots()
        with pytest.raises(ClientError, match="InternalServerError"):
            put("3")
        assert slots() == before, "not even executed"
        (folder.path / NAME).rmdir()
        put("4")
    kept = {json.loads(line)[3] for line in (folder.path / NAME).read_bytes().split(b"\n")[1:]}
    assert kept == before | {"4"}


def hold(until, **held):
    """A process's hold, in milliseconds."""
    amounts = {name: {"N": str(amount * 1_000_000)} for name, amount in held.items()}
    return {"M": {"held": {"M": amounts}, "until": {"N": str(until * 1_000_000)}, "attempt": {"S": "x"}}}


@pytest.mark.parametrize(
    ("item", "until"),
    [
        ({"lease_id": {"S": "x"}, "expires_at": {"N": "5"}}, 5),
        ({"expires_at": {"N": "5"}}, 0),
        ({"lease_id": {"S": "x"}}, 0),
        ({"lease_id": {"S": "x"}, "expires_at": {"S": "5"}}, 0),
        ({"lease_id": {"S": "x"}, "expires_at": {"N": "much"}}, 0),
        ({"tat": {"N": "7000000"}}, 7),
        ({"tat#a": {"N": "9000000"}, "reach#a": {"N": "8000000"}, "reach#b": {"N": "7000000"}}, 8),
        ({"reach#a": {"N": "8000000"}, "blocked_until": {"N": "9000000"}}, 9),
        ({"reach#a": {"N": "8000000"}, "hold#p": hold(7, a=2), "hold#q": hold(6, a=1, b=3)}, 13),
        ({"reach#a": {"N": "80000000"}, "hold#p": hold(7, a=2)}, 80),
        ({}, 0),
    ],
)
def test_an_item_binds_until_its_lease_ends_or_its_permits_are_paid_for(item, until):
    assert binds_until_ms(item) == until


ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/t"


@pytest.mark.parametrize(
    ("operation", "parameters", "found"),
    [
        ("PutItem", {"TableName": "t", "Item": {"pk": 1}}, [("t", {"pk": 1})]),
        ("UpdateItem", {"TableName": ARN, "Key": {"pk": 1}}, [("t", {"pk": 1})]),
        ("DeleteItem", {"TableName": "t", "Key": {"pk": 1}}, [("t", {"pk": 1})]),
        (
            "TransactWriteItems",
            {
                "TransactItems": [
                    {"Put": {"TableName": "t", "Item": {"pk": 1}}},
                    {"Update": {"TableName": "t", "Key": {"pk": 2}}},
                    {"Delete": {"TableName": "u", "Key": {"pk": 3}}},
                    {"ConditionCheck": {"TableName": "t", "Key": {"pk": 4}}},
                    {"Put": {"TableName": "t"}},
                    "nonsense",
                ]
            },
            [("t", {"pk": 1}), ("t", {"pk": 2}), ("u", {"pk": 3}), ("t", {"pk": 4})],
        ),
        (
            "BatchWriteItem",
            {"RequestItems": {"t": [{"PutRequest": {"Item": {"pk": 1}}}, {"DeleteRequest": {"Key": {"pk": 2}}}, 5]}},
            [("t", {"pk": 1}), ("t", {"pk": 2})],
        ),
        ("GetItem", {"TableName": "t", "Key": {"pk": 1}}, []),
        ("PutItem", {}, []),
        ("TransactWriteItems", {"TransactItems": 5}, []),
        ("BatchWriteItem", {"RequestItems": {"t": 5}}, []),
    ],
)
def test_the_items_that_a_request_writes(operation, parameters, found):
    assert [tuple(write) for write in writes(operation, parameters)] == found
