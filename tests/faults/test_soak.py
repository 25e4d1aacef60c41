"""The soak amid troubles, for some seconds; `scripts/soak --minutes 60` runs it for an hour."""

import socket
from random import Random

import pytest

from scripts.harness.holders import PATIENCE, TABLE, session
from scripts.harness.slow_wire import SlowWire
from scripts.harness.soaking import Plan, embedded_engine, soak
from scripts.harness.sufferers import HEALTHY, Figures


def test_the_soak_notices_a_healthy_bucket_that_loses_a_lease(tmp_path):
    with embedded_engine() as endpoint_url:
        client = session(endpoint_url).client("dynamodb", endpoint_url=endpoint_url)

        def rob(_seconds, _so_far):
            for slot in range(2):
                client.delete_item(TableName=TABLE, Key={"pk": {"S": HEALTHY}, "sk": {"S": f"slot#{slot:05d}"}})

        figures = soak(endpoint_url, TABLE, tmp_path, Plan(seconds=20.0, seed=1, victims=1, threads=1), rob)
    lost = [violation for violation in figures.violations if "lost its healthy lease" in violation]
    assert len(lost) == 2, figures.violations


def test_for_some_seconds_amid_troubles_all_is_as_promised(tmp_path):
    with embedded_engine() as endpoint_url:
        figures = soak(endpoint_url, TABLE, tmp_path, Plan(seconds=20.0, seed=3))
    assert figures.violations == []
    assert figures.renewals["healthy"] > 0
    assert len(figures.troubles) > 5, "it was no quiet time"


def test_figures_of_several_processes_add_up():
    total = Figures(renewals={"sick": 2}, worst_lateness=0.5, threads=9)
    total.add(Figures(grants=3, renewals={"sick": 1, "healthy": 4}, worst_lateness=0.2, threads=12, violations=["x"]))
    assert total.renewals == {"sick": 3, "healthy": 4}
    assert (total.grants, total.worst_lateness, total.threads, total.violations) == (3, 0.5, 12, ["x"])


@pytest.mark.parametrize("trouble", ["hangs", "trickles", "is cut"])
def test_an_answer_on_a_slow_wire_comes_whole_or_is_cut(monkeypatch, trouble):
    monkeypatch.setattr("scripts.harness.slow_wire.OFTEN", {trouble: 1.0})
    monkeypatch.setattr("scripts.harness.slow_wire.LONGEST", 0.5)
    monkeypatch.setattr("scripts.harness.slow_wire.TRICKLE", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with SlowWire(f"http://127.0.0.1:{listener.getsockname()[1]}", Random(1)) as wire:
            port = int(wire.endpoint_url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as near:
                far = listener.accept()[0]
                with far:
                    near.sendall(b"question")
                    assert far.recv(100) == b"question"
                    far.sendall(b"a long answer")
                    said = b""
                    while len(said) < 13 and (more := near.recv(100)):
                        said += more
        assert said == (b"" if trouble == "is cut" else b"a long answer")
        assert wire.met == {trouble: 1}
