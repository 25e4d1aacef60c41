"""The folder through which processes find the engine: its place, its owner and its locks."""

import sys
import threading

import pytest

from ddb_lease.local import EngineError, find
from ddb_lease.local import folder as folder_module
from ddb_lease.local.folder import FOLDER_VARIABLE, locate

PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "engine"))


def test_a_folder_of_another_user_is_refused(monkeypatch):
    monkeypatch.setattr(folder_module.os, "getuid", lambda: 12345)
    with pytest.raises(EngineError, match="another user"):
        find()


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has its own place for caches")
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_RUNTIME_DIR": "{tmp}/run", "XDG_CACHE_HOME": "{tmp}/cache"}, "run/ddb-lease"),
        ({"XDG_CACHE_HOME": "{tmp}/cache"}, "cache/ddb-lease"),
        ({"HOME": "{tmp}/home"}, "home/.cache/ddb-lease"),
        ({"XDG_RUNTIME_DIR": "{tmp}/run", FOLDER_VARIABLE: "{tmp}/mine"}, "mine"),
    ],
)
def test_the_folder_is_where_the_environment_says(monkeypatch, tmp_path, environment, expected):
    with monkeypatch.context() as patch:
        for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", FOLDER_VARIABLE):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value.format(tmp=tmp_path))
        assert locate().path == tmp_path / expected


def test_a_lock_is_given_up_after_the_timeout():
    place = locate()
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
