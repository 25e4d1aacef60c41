"""`ddb-lease serve`: who gets what from the page's server, and what a real browser makes of it."""

import contextlib
import dataclasses
import http.client
import json
import logging
import re
import socket
import threading
from datetime import datetime, timedelta, timezone

import pytest

from ddb_lease import Limit
from ddb_lease._protocol.listing import RateListing
from ddb_lease.cli import main
from ddb_lease.cli.seeing.serve import PageServer, live_page, plain
from ddb_lease.cli.seeing.watching import Picture, Watching
from ddb_lease.errors import StoreUnavailable
from ddb_lease.models import Waiter
from tests.cli.seeing import browser
from tests.cli.seeing.test_ls import bucket, lease, listing
from tests.cli.seeing.test_timeline import EVIL, Document
from tests.cli.seeing.test_watching import Looks
from tests.support import eventually

LONG = 60.0


class Shown(Looks):
    """Looks at a bucket with an owner who means mischief."""

    def __call__(self):
        super().__call__()
        held = lease(0, EVIL, lease_id="0-secret", data={"token": "secret"})
        waiter = Waiter(place=1, owner="w:1", since=datetime.now(timezone.utc), count=2, priority=7)
        one = bucket("gpus", held, lease(1, "b:2", remaining=-1.0), lease(2, "c:3", retired=True))
        return listing(type(one)(**{f: getattr(one, f) for f in one.__slots__} | {"queue": (waiter,), "waiting": 1}))


@pytest.fixture
def looks():
    return Shown()


@pytest.fixture
def server(looks):
    with serving(looks, interval=0.2) as server:
        yield server


@contextlib.contextmanager
def serving(looks, *, interval):
    """A server of these looks."""
    watching = Watching(looks, interval=interval, always=False)
    with PageServer(watching, port=0, interval=interval) as server, watching:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path="/", *, method="GET", host=None, **headers):
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for one in [f"127.0.0.1:{port}"] if host is None else host:
        connection.putheader("Host", one.format(port=port))
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body.decode()


def test_it_serves_its_page_and_its_data(server):
    answer, page = ask(server)
    assert (answer.status, page) == (200, live_page())
    answer, data = ask(server, "/data.json?x=1")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(data)["table"] == "ddb-lease"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_it_listens_on_loopback_only(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}"])
def test_it_answers_to_the_names_of_this_machine(server, host):
    assert ask(server, "/data.json", host=[host])[0].status == 200


@pytest.mark.parametrize(
    "host",
    [
        ["evil.example:{port}"],
        ["evil.example"],
        ["127.0.0.1"],
        ["127.0.0.1:1"],
        ["127.0.0.1:{port}.evil.example"],
        ["localhost.evil.example:{port}"],
        [""],
        [],
        ["127.0.0.1:{port}", "evil.example"],
    ],
)
@pytest.mark.parametrize("path", ["/", "/data.json"])
def test_a_page_elsewhere_whose_name_leads_here_gets_nothing(server, host, path):
    answer, body = ask(server, path, host=host)
    assert (answer.status, body) == (421, "this is another host\n")


@pytest.mark.parametrize("path", ["/etc/passwd", "/../data.json", "/%2e%2e/", "/index.html"])
def test_there_is_nothing_else(server, path):
    assert ask(server, path)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_changes_nothing(server, method):
    assert ask(server, "/data.json", method=method)[0].status == 501


def test_a_head_has_no_body(server):
    answer, body = ask(server, "/", method="HEAD")
    assert (answer.status, body) == (200, "")
    assert int(answer.headers["Content-Length"]) == len(live_page().encode())


def test_many_viewers_cost_one_look(looks):
    with serving(looks, interval=600) as server:
        for _ in range(30):
            ask(server, "/data.json")
    assert looks.count == 1


@pytest.fixture
def unanswered(looks, monkeypatch, caplog):
    """Asks a server that cannot answer, with the log at a level; gives what was logged of it."""

    def data(self):
        raise LookupError("there is no picture")

    def ask_it(level):
        with (
            caplog.at_level(level, logger="ddb_lease"),
            serving(looks, interval=600) as server,
            pytest.raises(ConnectionError),  # the server hangs up, and has logged it by then
        ):
            ask(server, "/data.json")
        return [record for record in caplog.records if "a request" in record.getMessage()]

    monkeypatch.setattr(PageServer, "data", data)
    return ask_it


def test_a_request_that_is_not_answered_is_logged_with_its_traceback_and_not_printed(unanswered, capfd):
    (said,) = unanswered(logging.DEBUG)
    assert (said.name, said.levelno) == ("ddb_lease", logging.DEBUG)
    shown = logging.Formatter().format(said)
    assert "in data\n" in shown
    assert shown.endswith("LookupError: there is no picture")
    assert capfd.readouterr() == ("", "")


def test_unless_details_are_asked_for_nobody_hears_of_it(unanswered, capfd):
    assert unanswered(logging.INFO) == []
    assert capfd.readouterr() == ("", "")


def shown_of(*found, **more):
    """What is served of a listing."""
    picture = Picture(listing=listing(*found, **more), number=3, age_seconds=1.25, error="no answer")
    return plain(picture, interval=2.0)


def test_it_serves_all_of_a_bucket_and_of_its_holders_and_waiters():
    now = datetime.now(timezone.utc)
    first = Waiter(place=1, owner="w:1", since=now - timedelta(seconds=90), count=2, priority=7)
    ahead = Waiter(place=2, owner="w:\x1b2", since=now + timedelta(hours=1), count=1, priority=0)
    leases = (
        lease(0, "a:\x1b1", age=5.04, remaining=20.06, lease_id="0-closed-1"),
        lease(1, "b:2", age=7.0, remaining=-1.0, revoked=True),
        lease(4, "c:3", retired=True),
    )
    queued = dataclasses.replace(bucket("gp\x1bus", *leases), order="fifo", queue=(first, ahead), waiting=2)
    (told,) = shown_of(queued)["buckets"]
    soon, later = (one.pop("waited") for one in told["queue"])
    assert 90 <= soon < 90 + LONG
    assert later == 0, "a clock that is ahead is no wait"
    assert told == {
        "name": "gp\ufffdus",
        "kind": "bucket",
        "max": 4,
        "used": 1,
        "order": "fifo",
        "waiting": 2,
        "held": 3,
        "lease": 60.0,
        "cells": [[0, False, False], [1, True, False], [4, False, True]],
        "holders": [
            {"slot": 1, "owner": "b:2", "age": 7.0, "left": -1.0, "revoked": True, "retired": False, "closed": False},
            {
                "slot": 0,
                "owner": "a:\ufffd1",
                "age": 5.0,
                "left": 20.1,
                "revoked": False,
                "retired": False,
                "closed": True,
            },
            {"slot": 4, "owner": "c:3", "age": 5.0, "left": 20.0, "revoked": False, "retired": True, "closed": False},
        ],
        "queue": [
            {"place": 1, "owner": "w:1", "count": 2, "priority": 7},
            {"place": 2, "owner": "w:\ufffd2", "count": 1, "priority": 0},
        ],
    }


def test_of_a_large_bucket_it_serves_the_first_cells_and_the_oldest_holders():
    (told,) = shown_of(bucket("b", *(lease(n, f"h:{n}", age=n) for n in range(70)), max_tokens=80))["buckets"]
    assert [slot for slot, *_ in told["cells"]] == [*range(64)]
    assert [one["owner"] for one in told["holders"]] == [f"h:{n}" for n in range(69, 5, -1)]
    assert (told["held"], told["used"]) == (70, 70)


def test_of_a_window_it_serves_no_holders():
    (told,) = shown_of(bucket("w", lease(), kind="window"))["buckets"]
    assert (told["kind"], told["holders"], len(told["cells"])) == ("window", [], 1)


def test_it_serves_all_of_a_rate():
    limits = {"requests": Limit(5.0, per=60.0, burst=9), "tokens": Limit(7.0, burst=4)}
    keyed = RateListing(name="a\x1bpi", limits=limits, available=3, keys=12, blocked=2)
    assert shown_of(keyed, RateListing(name="none"))["rates"] == [
        {
            "name": "a\ufffdpi",
            "limits": "requests 5/m, burst 9; tokens 7/s, burst 4",
            "available": 3,
            "burst": 4,
            "keys": 12,
            "blocked": 2,
        },
        {"name": "none", "limits": "", "available": None, "burst": 1, "keys": 0, "blocked": 0},
    ]


def test_it_serves_all_of_a_table():
    assert shown_of(table="le\x1base") == {
        "table": "le\ufffdase",
        "number": 3,
        "age": 1.2,
        "interval": 2.0,
        "error": "no answer",
        "cost": "12 items read in 1 request, 6.5 RCU",
        "buckets": [],
        "rates": [],
    }
    assert shown_of(read_units=None)["cost"] == ""
    full = bucket("full", lease(), max_tokens=1)
    assert [one["name"] for one in shown_of(bucket("free"), full)["buckets"]] == ["full", "free"]


def test_what_it_shows_has_owners_and_no_secrets(looks):
    told = plain(Picture(listing=looks(), number=3, age_seconds=1.25, error="no answer"), interval=2.0)
    assert "secret" not in json.dumps(told)
    assert (told["number"], told["age"], told["error"]) == (3, 1.2, "no answer")
    (one,) = told["buckets"]
    assert (one["name"], one["used"], one["max"], one["waiting"], one["held"]) == ("gpus", 2, 4, 1, 3)
    assert one["cells"] == [[0, False, False], [1, True, False], [2, False, True]]
    assert one["holders"][0]["owner"].startswith("</script>")
    assert one["queue"] == [{"place": 1, "owner": "w:1", "waited": pytest.approx(0, abs=5), "count": 2, "priority": 7}]


def test_the_page_loads_nothing_and_may_only_ask_its_server():
    page = live_page()
    document = Document(page)
    assert [one for one in document.attributes if one[1] in {"src", "href", "action"} or one[1].startswith("on")] == []
    (policy,) = [value for _, name, value in document.attributes if name == "content" and "default-src" in value]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "'unsafe" not in policy
    assert not re.search(r"https?://", page)


def test_a_real_browser_shows_it(server, looks):
    dom, console = browser.rendered(server.url)
    assert 'data-shown="1"' in dom
    assert console == []
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in dom, "as text"
    assert "expired" in dom and "1 waiting" in dom and "w:1" in dom
    assert '<div id="trouble" role="alert" hidden' in dom


def test_a_real_browser_shows_how_old_the_picture_is_in_an_outage(server, looks):
    looks.error = StoreUnavailable("DynamoDB does not answer.")
    eventually(lambda: json.loads(ask(server, "/data.json")[1])["error"])
    dom, _ = browser.rendered(server.url, milliseconds=4_000)
    assert re.search(r'role="alert">DynamoDB does not answer\. This picture is \d+s old\.<', dom)
    assert 'class="stale"' in dom
    assert "of 4 leased" in dom, "the last picture stays"


def test_a_port_in_use_is_told(tmp_path, capsys, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Exception, match=rf"cannot listen on port {port}: Address already in use"):
            PageServer(Watching(Shown(), interval=1, always=False), port=port, interval=1)
    for words, said in ((["--port", "70000"], "--port must be"), (["--interval", "0"], "--interval must be")):
        assert main.main(["serve", "--region=us-east-1", *words]) == 2
        assert said in capsys.readouterr().err
