"""The table of a run: made under a new name, and deleted whatever happens; nothing else is touched."""

import signal

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from ddb_lease.cli.conform import own_table as module
from ddb_lease.cli.conform.own_table import PREFIX, Ends, new_name, own_table
from ddb_lease.dynamodb import ConnectionSettings, client_config
from ddb_lease.errors import StoreRejected, StoreUnavailable
from ddb_lease.testing import MovableClock

LOST = ConnectionClosedError(endpoint_url="http://nowhere")


def refused(code):
    return ClientError(
        {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"RequestId": "R"}}, "DeleteTable"
    )


class Service:
    """A control plane: tables by name; errors that the next calls meet; what is done before a call."""

    def __init__(self, clock):
        self.clock = clock
        self.tables = {"theirs"}
        self.errors = {}
        self.before = {}
        self.calls = []
        self.late = None
        self.meta = type("Meta", (), {"config": client_config(60)})()

    def _meet(self, name):
        self.calls.append(name)
        if self.late is not None and self.calls.count("delete_table") > 2:
            self.tables.add(self.late)  # a creation that was under way arrives
            self.late = None
        if self.before.get(name):
            self.before[name].pop(0)()
        if self.errors.get(name):
            raise self.errors[name].pop(0)

    def describe_table(self, **wanted):
        self._meet("describe_table")
        if wanted["TableName"] not in self.tables:
            raise refused("ResourceNotFoundException")
        keys = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
        types = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]
        return {"Table": {"TableStatus": "ACTIVE", "KeySchema": keys, "AttributeDefinitions": types}}

    def create_table(self, **wanted):
        self._meet("create_table")
        if wanted["TableName"] in self.tables:
            raise refused("ResourceInUseException")
        self.tables.add(wanted["TableName"])
        return {}

    def describe_global_table(self, **_):
        raise refused("GlobalTableNotFoundException")

    def describe_time_to_live(self, **_):
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}}

    def delete_table(self, **wanted):
        self._meet("delete_table")
        if wanted["TableName"] not in self.tables:
            raise refused("ResourceNotFoundException")
        self.tables.remove(wanted["TableName"])
        return {}


@pytest.fixture
def service(monkeypatch):
    clock = MovableClock()
    monkeypatch.setattr("tenacity.nap.time.sleep", clock.pass_time)
    return Service(clock)


@pytest.fixture
def own(service):
    """Makes the table; the block is what runs meanwhile."""

    def make(name=None):
        name = name or new_name()
        return own_table(name, connection=ConnectionSettings(client=service), client=service, clock=service.clock)

    return make


def test_the_table_is_there_in_the_block_and_gone_after_it(own, service, capsys):
    with own():
        (mine,) = service.tables - {"theirs"}
        assert mine.startswith(PREFIX)
    assert service.tables == {"theirs"}
    assert f"table {mine} deleted" in capsys.readouterr().err


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(3), StoreUnavailable("x")])
def test_what_ends_the_block_does_not_keep_the_table(own, service, error):
    with pytest.raises(type(error)), own():
        raise error
    assert service.tables == {"theirs"}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("call", ["create_table", "delete_table"])
def test_a_signal_at_any_moment_does_not_keep_the_table(own, service, signum, call):
    service.before[call] = [lambda: signal.raise_signal(signum)]
    before = signal.getsignal(signum)
    if call == "create_table":
        with pytest.raises(KeyboardInterrupt if signum == signal.SIGINT else SystemExit), own():
            pytest.fail("it was not interrupted")
    else:
        try:
            with own():
                pass
        except BaseException as error:
            pytest.fail(f"the deletion was cut short by {error!r}")
    assert service.tables == {"theirs"}
    assert signal.getsignal(signum) == before


def test_a_creation_that_is_interrupted_and_arrives_late_is_deleted_all_the_same(own, service):
    name = new_name()

    def interrupt():
        service.late = name
        signal.raise_signal(signal.SIGINT)

    service.before["create_table"] = [interrupt]
    with pytest.raises(KeyboardInterrupt), own(name):
        pytest.fail("it was not interrupted")
    assert service.tables == {"theirs"}
    assert service.calls.count("delete_table") > 2


def test_a_creation_whose_answer_is_lost_is_ours(own, service):
    service.errors["create_table"] = [LOST]
    service.before["create_table"] = [lambda: service.tables.add(mine)]
    mine = new_name()
    with own(mine):
        pass
    assert service.tables == {"theirs"}


def test_a_table_that_is_there_already_is_left_alone(own, service):
    with pytest.raises(StoreRejected, match="left alone"), own("theirs"):
        pytest.fail("it ran")
    assert service.tables == {"theirs"}
    assert "delete_table" not in service.calls


def test_a_deletion_goes_on_until_it_succeeds(own, service):
    service.errors["delete_table"] = [LOST, refused("ResourceInUseException"), refused("ThrottlingException")]
    with own():
        pass
    assert service.tables == {"theirs"}


def test_a_table_that_cannot_be_deleted_is_named_with_the_command_for_it(own, service, capsys):
    service.errors["delete_table"] = [refused("AccessDeniedException")]
    with pytest.raises(StoreRejected, match="permission is missing"), own():
        pass
    (left,) = service.tables - {"theirs"}
    assert f"aws dynamodb delete-table --table-name {left} (permission is missing" in capsys.readouterr().err


def test_a_deletion_that_fails_masks_nothing(own, service):
    service.errors["delete_table"] = [refused("AccessDeniedException")]
    with pytest.raises(KeyboardInterrupt), own():
        raise KeyboardInterrupt


def test_a_second_signal_ends_a_deletion_that_does_not_succeed(own, service, capsys):
    service.errors["delete_table"] = [LOST] * 1_000
    service.before["delete_table"] = [lambda: None, lambda: signal.raise_signal(signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt), own():
        signal.raise_signal(signal.SIGINT)
    assert service.calls.count("delete_table") == 2
    assert "may be left" in capsys.readouterr().err


def test_a_second_signal_raises_nothing(own, service):
    def interrupted_twice():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGTERM)  # would raise SystemExit
            raise

    with pytest.raises(KeyboardInterrupt), own():
        interrupted_twice()
    assert service.tables == {"theirs"}


def test_a_deletion_without_answer_ends_in_time(own, service):
    service.errors["delete_table"] = [LOST] * 1_000
    with pytest.raises(StoreUnavailable), own():
        begun = service.clock.steady()
    assert service.clock.steady() - begun < 130


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Ends() as ends:
            signal.raise_signal(signal.SIGHUP)
        assert ends.count == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_names_are_new_and_within_dynamodbs_rules():
    names = {new_name() for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) <= 255 for name in names)
    assert module.PREFIX == "ddb-lease-conform-"
