"""Looking at a table again and again: one look an interval, however many ask, and the last picture in an outage."""

import threading
import time
import types

import pytest

from ddb_lease.cli.seeing.watching import Watching
from ddb_lease.errors import StoreRejected, StoreUnavailable
from tests.cli.seeing.test_ls import bucket, listing
from tests.support import eventually


class Looks:
    """Looks that are counted, and fail when they are told to."""

    def __init__(self):
        self.count, self.error = 0, None

    def __call__(self):
        self.count += 1
        if self.error is not None:
            raise self.error
        return listing(bucket(f"look-{self.count}"))


@pytest.fixture
def looks():
    return Looks()


def test_the_first_look_raises_what_it_meets(looks):
    looks.error = StoreRejected("no permission")
    with pytest.raises(StoreRejected), Watching(looks, interval=0.01, always=True):
        raise AssertionError("it began")


def test_it_looks_again_and_again(looks):
    before = set(threading.enumerate())
    with Watching(looks, interval=0.01, always=True) as watching:
        eventually(lambda: watching.picture().number >= 3)
        picture = watching.picture()
    assert picture.listing.buckets[0].name.startswith("look-")
    assert (picture.error, picture.age_seconds < 5) == ("", True)
    assert "ddb-lease-watching" not in {thread.name for thread in set(threading.enumerate()) - before}


def test_an_outage_leaves_the_last_picture_with_its_age(looks):
    with Watching(looks, interval=0.01, always=True) as watching:
        looks.error = StoreUnavailable("no answer\x1b[2J\nfrom it")
        eventually(lambda: watching.picture().error)
        before = watching.picture()
        eventually(lambda: watching.picture().age_seconds > before.age_seconds)
        assert watching.picture().listing is before.listing
        assert before.error == "no answer\ufffd[2J from it"
        looks.error = None
        eventually(lambda: watching.picture().number > before.number)
        assert watching.picture().error == ""


def test_while_nobody_asks_nothing_is_read_and_who_asks_then_gets_a_new_picture(looks, monkeypatch):
    later = [0.0]
    clock = types.SimpleNamespace(monotonic=lambda: time.monotonic() + later[0])
    monkeypatch.setattr("ddb_lease.cli.seeing.watching.time", clock)

    with Watching(looks, interval=0.01, always=False) as watching:
        watching.picture()
        eventually(lambda: looks.count > 3)
        later[0], before = 60.0, looks.count
        time.sleep(0.3)
        resting = looks.count
        assert resting <= before + 2, "at most one was under way, and one decided on"
        assert watching.picture().number > resting - 1
        eventually(lambda: looks.count > resting)
        assert watching.picture().age_seconds < 0.1 + 5


def test_many_who_ask_cost_one_look(looks):
    with Watching(looks, interval=60, always=False) as watching:
        threads = [threading.Thread(target=watching.picture) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert looks.count == 1
