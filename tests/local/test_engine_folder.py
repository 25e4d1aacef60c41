"""The folder through which processes find the engine: its place, its owner, its permissions and its locks."""

import dataclasses
import os
import pwd
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from ddb_lease.local import Engine, EngineError, find, start, stop
from ddb_lease.local import place as place_module
from ddb_lease.local.folder import locate
from ddb_lease.local.place import FOLDER_VARIABLE, chosen

PATIENCE_S = 30.0

# What differs between a login and a job of cron, a service or sudo.
LOGIN = {"XDG_RUNTIME_DIR": "{tmp}/run", "XDG_CACHE_HOME": "{tmp}/cache", "XDG_STATE_HOME": "{tmp}/state"}
LOGIN |= {"HOME": "{tmp}/home", "TMPDIR": "{tmp}/tmp", "USER": "somebody", "LOGNAME": "somebody"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "given"))
    return tmp_path / "given"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home, according to the user database, and no variable of ours."""
    path = tmp_path / "home of record"
    path.mkdir()
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setattr(place_module.pwd, "getpwuid", lambda uid: entry(uid, path))
    return path


def entry(uid: int, home: Path) -> pwd.struct_passwd:
    return pwd.struct_passwd(("somebody", "x", uid, uid, "", str(home), "/bin/sh"))


STARTED_AS = """
import pwd, sys
home = sys.argv[1]
pwd.getpwuid = lambda uid: pwd.struct_passwd(("somebody", "x", uid, uid, "", home, "/bin/sh"))
from ddb_lease import local
print(local.start().instance_id)
"""


def test_a_login_and_a_job_of_cron_share_one_engine(home, tmp_path):
    def started(environment: dict[str, str]) -> str:
        whole = {"PYTHONPATH": str(Path(place_module.__file__).parents[2]), "PATH": os.environ["PATH"], **environment}
        done = subprocess.run(
            [sys.executable, "-c", STARTED_AS, str(home)], env=whole, capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        return done.stdout

    try:
        login = started({name: value.format(tmp=tmp_path) for name, value in LOGIN.items()})
        assert login
        assert started({}) == login
        assert find().instance_id == login.strip()
    finally:
        stop()


@pytest.mark.parametrize("name", LOGIN)
def test_no_variable_but_our_own_moves_the_folder(home, monkeypatch, name):
    before = chosen()
    assert home in before.parents
    monkeypatch.setenv(name, "/elsewhere")
    assert chosen() == before
    monkeypatch.delenv(name)
    assert chosen() == before


def test_a_user_without_an_entry_has_a_place_that_depends_on_its_number_only(home, monkeypatch):
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(place_module.pwd, "getpwuid", unknown)
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert chosen().parent == Path(f"/tmp/ddb-lease-{os.geteuid()}")


@pytest.mark.parametrize(
    ("system", "below"),
    [("linux", ".local/state/ddb-lease"), ("darwin", "Library/Application Support/ddb-lease")],
)
def test_the_folder_is_where_the_system_keeps_what_a_program_remembers(home, monkeypatch, system, below):
    monkeypatch.setattr(place_module, "sys", SimpleNamespace(platform=system))
    assert chosen().parent == home / below


def test_a_folder_given_by_variable_may_be_relative_and_is_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", "below")
    monkeypatch.chdir(tmp_path)
    assert chosen().parent == tmp_path / "below"
    assert chosen().is_absolute()


@pytest.mark.parametrize(
    ("machine_id", "name"),
    [
        ("abc\n", "engine-ba7816bf"),  # the digest of the number, without the end of its line
        ("", "engine-4740ae63"),  # that of the machine's name
        (None, "engine-4740ae63"),
    ],
    ids=["a number", "an empty file", "no file"],
)
def test_the_folder_is_named_by_the_machines_number_and_else_by_its_name(monkeypatch, machine_id, name):
    def read(path, *, encoding):
        assert (str(path), encoding) == ("/etc/machine-id", "ascii")
        if machine_id is None:
            raise FileNotFoundError(path)
        return machine_id

    monkeypatch.setattr(place_module.Path, "read_text", read)
    monkeypatch.setattr(place_module.platform, "node", lambda: "host")
    assert chosen().name == name


def test_machines_that_share_a_home_have_a_folder_each(home, monkeypatch):
    here = chosen()
    monkeypatch.setattr(place_module.Path, "read_text", lambda *_, **__: "another")
    assert chosen() != here
    assert chosen().parent == here.parent


def test_looking_for_an_engine_makes_nothing_and_changes_nothing(folder):
    assert find() is None
    assert stop() is False
    assert not folder.exists()
    folder.mkdir()
    folder.chmod(0o755)
    assert find() is None
    assert stop() is False
    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_folder_given_by_variable_keeps_its_permissions_and_gets_a_folder_below_it(folder):
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "engine.log").write_text("mine")
    try:
        start()
    finally:
        stop()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert (folder / "engine.log").read_text() == "mine"
    assert stat.S_IMODE(locate().path.stat().st_mode) == 0o700
    assert locate().path.parent == folder


def test_folders_that_we_make_are_for_the_owner_only_whatever_the_umask(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "a" / "b"))
    before = os.umask(0)
    try:
        locate().make()
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")} == {0o700}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o777])
def test_a_folder_that_others_may_enter_is_refused_and_stays_as_it_is(mode):
    path = locate().path
    path.mkdir(parents=True)
    path.chmod(mode)
    for use in (find, stop, start):
        with pytest.raises(EngineError, match="others may enter"):
            use()
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(path.iterdir()) == []


def test_a_folder_below_one_where_anybody_may_replace_it_is_refused(folder):
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(EngineError, match="anybody may replace"):
        start()
    folder.chmod(0o1777)  # as /tmp is
    locate().make()


def test_a_folder_of_another_user_is_refused(monkeypatch):
    locate().make()
    monkeypatch.setattr(place_module.os, "geteuid", lambda: 12345)
    with pytest.raises(EngineError, match="another user"):
        find()


def test_a_link_in_place_of_the_folder_is_refused_even_if_it_leads_to_a_good_one(tmp_path):
    aim = tmp_path / "aim"
    aim.mkdir(mode=0o700)
    path = locate().path
    path.parent.mkdir()
    path.symlink_to(aim)
    for use in (find, stop, start):
        with pytest.raises(EngineError, match="cannot use"):
            use()
    assert list(aim.iterdir()) == []


@pytest.mark.parametrize("name", ["engine.log", "engine.lock", "start.lock"])
def test_a_link_in_place_of_a_file_is_not_followed(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    locate().make()
    (locate().path / name).symlink_to(victim)
    with pytest.raises(EngineError, match="cannot use"):
        start()
    assert victim.read_text() == "precious"


def test_a_link_in_place_of_the_record_is_not_read(tmp_path):
    elsewhere = tmp_path / "engine.json"
    elsewhere.write_text('{"endpoint_url": "http://127.0.0.1:1"}')
    locate().make()
    (locate().path / "engine.json").symlink_to(elsewhere)
    with pytest.raises(EngineError, match="cannot use"):
        find()


def test_a_file_where_the_folder_should_be_is_one_clear_error(folder):
    folder.write_text("")
    with pytest.raises(EngineError, match=f"cannot use .*{FOLDER_VARIABLE}"):
        start()


def test_a_lock_is_given_up_after_the_timeout():
    place = locate()
    place.make()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with place.starting(timeout_s=1):
            entered.set()
            leave.wait(PATIENCE_S)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(PATIENCE_S)
    with pytest.raises(EngineError, match="starting"), place.starting(timeout_s=0):
        pytest.fail("two hold it")
    leave.set()
    holder.join()


RECORDED = Engine(
    endpoint_url="http://127.0.0.1:9", pid=12, started_at_ms=34, instance_id="mine", access_key_id="its key"
)


def test_what_was_recorded_is_read_and_is_erased_by_its_own_engine_only():
    place = locate()
    place.make()
    assert not place.is_recorded(RECORDED)
    place.write(RECORDED)
    assert place.read() == RECORDED
    assert place.read().access_key_id == "its key"
    another = dataclasses.replace(RECORDED, instance_id="another")
    assert place.is_recorded(RECORDED)
    assert not place.is_recorded(another)
    place.erase(another)
    assert place.read() == RECORDED
    place.erase(RECORDED)
    assert place.read() is None
    assert list(place.path.iterdir()) == [], "no draft is left"


def test_an_engine_that_holds_the_folder_in_silence_is_named_by_its_pid():
    place = locate()
    place.make()
    holds = f"holds {place.path} but does not answer: ddb-lease local stop --yes ends it"
    assert place.silent_engine() == f"the engine of unknown pid {holds}"
    place.write(RECORDED)
    assert place.silent_engine() == f"the engine of pid 12 {holds}"


def test_an_engine_lives_as_long_as_its_lock_is_held():
    place = locate()
    place.make()
    assert not place.engine_lives(), "no engine has been here"
    with place.running(timeout_s=0):
        assert place.engine_lives()
        assert not place.wait_until_gone(timeout_s=0)
        with pytest.raises(EngineError, match="the engine of unknown pid holds"), place.running(timeout_s=0):
            pytest.fail("two hold it")
    assert not place.engine_lives()
    assert place.wait_until_gone(timeout_s=0)
