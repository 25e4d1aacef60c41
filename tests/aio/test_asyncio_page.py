"""All Python of docs/asyncio.md runs, and does what the page says."""

import asyncio

import pytest

from ddb_lease import events
from tests.pages import Snippets

SNIPPETS = Snippets("docs/asyncio.md")
GUARDED, IN_ORDER, CHAT = SNIPPETS.of()


class TaskGroup:
    """As much of Python 3.11's as the page needs, for 3.10."""

    async def __aenter__(self):
        self._tasks = []
        return self

    def create_task(self, coroutine):
        self._tasks.append(asyncio.ensure_future(coroutine))

    async def __aexit__(self, *_):
        await asyncio.gather(*self._tasks)


@pytest.mark.usefixtures("as_aws")
def test_the_tasks_of_a_guarded_block_run(monkeypatch):
    monkeypatch.setattr(asyncio, "TaskGroup", getattr(asyncio, "TaskGroup", TaskGroup), raising=False)
    done = []

    async def write_parts(fence):
        done.append(fence)

    async def send_mails():
        done.append("sent")

    GUARDED.run({"write_parts": write_parts, "send_mails": send_mails})
    fence, sent = done
    assert fence > 0
    assert sent == "sent"


@pytest.mark.usefixtures("as_aws")
def test_the_example_of_waiting_in_order_runs(capsys):
    ran = []

    async def job(slots):
        ran.append(slots)

    world = IN_ORDER.run({})
    asyncio.run(world["train"](job))
    assert [len(slots) for slots in ran] == [2]
    world["tell"](events.Waiting(bucket="gpus", place=3, exact=True, waited_seconds=1.0))
    assert capsys.readouterr().out == "place 3 in the queue of gpus\n"


@pytest.mark.usefixtures("as_aws")
def test_what_a_chat_did_not_use_of_its_tokens_is_left_for_others(capsys):
    asyncio.run(CHAT.run({})["chat"]())
    team, left = capsys.readouterr().out.split()
    assert team == "team-7"
    assert 90_000 - 900 - 700 <= int(left) <= 90_000
