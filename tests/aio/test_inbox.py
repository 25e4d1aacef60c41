"""What a server hands over while something else is awaited: kept in order, up to a bound, and never lost."""

import asyncio

import pytest

from ddb_lease.aio.inbox import Inbox

LONG = 60.0


class Server:
    """A server's `receive`: gives the messages that it has, then waits; counts how often it was asked."""

    def __init__(self, *messages):
        self.messages = list(messages)
        self.asked = 0
        self.more = asyncio.Event()

    def put(self, message):
        self.messages.append(message)
        self.more.set()

    async def receive(self):
        self.asked += 1
        while not self.messages:
            self.more.clear()
            await self.more.wait()
        message = self.messages.pop(0)
        if isinstance(message, Exception):
            raise message
        return message


def part(size):
    return {"type": "http.request", "body": b"x" * size}


async def turns(number=20):
    """Let the loop turn: everything that waits for nothing else goes on."""
    for _ in range(number):
        await asyncio.sleep(0)


async def work_until(event, result="done"):
    await event.wait()
    return result


@pytest.mark.parametrize(
    ("sizes", "asked"),
    [
        ([65_536, 1, 1], 2),  # so much is kept, and one message more is asked for
        ([65_537, 1, 1], 1),
        ([65_535, 1, 1, 1], 3),
        ([0, 0, 0], 4),  # and one that has not come
    ],
)
def test_of_a_body_64_kib_are_kept_and_then_nothing_is_asked_for_until_the_application_does(sizes, asked):
    async def main():
        server, go_on = Server(*map(part, sizes)), asyncio.Event()
        inbox = Inbox(server.receive)
        waiting = asyncio.create_task(inbox.during(work_until(go_on)))
        await turns()
        assert server.asked == asked
        go_on.set()
        assert await waiting == "done"
        assert [len((await inbox.receive())["body"]) for _ in sizes] == sizes
        inbox.close()

    asyncio.run(main())


def test_what_is_under_way_when_the_work_ends_is_the_applications_next_message():
    async def main():
        server, go_on = Server({"type": "http.request"}), asyncio.Event()
        inbox = Inbox(server.receive)
        waiting = asyncio.create_task(inbox.during(work_until(go_on)))
        await turns()
        go_on.set()
        await waiting
        assert await inbox.receive() == {"type": "http.request"}
        assert server.asked == 2
        server.put(part(3))
        assert await inbox.receive() == part(3)
        assert server.asked == 2, "the one that was under way was finished for it"
        server.put(part(4))
        assert await inbox.receive() == part(4)
        assert server.asked == 3

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["http.disconnect", "websocket.disconnect"])
def test_a_client_that_leaves_ends_the_work_and_the_application_is_told(kind):
    async def main():
        server, ended = Server(part(1), {"type": kind}), []

        async def work():
            try:
                await asyncio.sleep(LONG)
            finally:
                await asyncio.sleep(0)
                ended.append("ended")

        inbox = Inbox(server.receive)
        assert await inbox.during(work()) is None
        assert ended == ["ended"], "before it returned"
        assert [await inbox.receive(), await inbox.receive()] == [part(1), {"type": kind}]
        assert server.asked == 2

    asyncio.run(main())


def test_what_receive_raises_is_for_the_application_and_the_work_goes_on():
    async def main():
        server, go_on = Server(part(1), OSError("gone")), asyncio.Event()
        inbox = Inbox(server.receive)
        waiting = asyncio.create_task(inbox.during(work_until(go_on)))
        await turns()
        assert not waiting.done()
        go_on.set()
        assert await waiting == "done"
        assert await inbox.receive() == part(1)
        with pytest.raises(OSError, match="gone"):
            await inbox.receive()
        assert server.asked == 2

    asyncio.run(main())


def test_who_is_cancelled_leaves_no_work_behind():
    async def main():
        server, ended = Server(), []

        async def work():
            try:
                await asyncio.sleep(LONG)
            finally:
                ended.append("ended")

        inbox = Inbox(server.receive)
        waiting = asyncio.create_task(inbox.during(work()))
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ended == ["ended"]
        inbox.close()
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "closing it has ended what was asked for"
        inbox.close()

    asyncio.run(main())


def test_an_error_that_nobody_asks_for_is_not_complained_of():
    async def main():
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        server, go_on = Server(OSError("gone")), asyncio.Event()
        inbox = Inbox(server.receive)
        waiting = asyncio.create_task(inbox.during(work_until(go_on)))
        await turns()
        go_on.set()
        assert await waiting == "done"
        inbox.close()
        del inbox, waiting
        await turns()
        return complaints

    assert asyncio.run(main()) == []
