"""The engine as a process: `python -m ddb_lease.local.server`.

In the foreground it prints its address and serves until it gets a signal or has been idle too long; without a folder
to record its access key in, it prints that too. With `--folder` it is the only engine of that folder; with `--daemon`
it also leaves the starter's process tree.

It does not stop for idleness while leases run. It stops when its record is gone or names another engine. New clients
cannot find it then; if it went on serving the old ones, two engines would grant the same leases.
"""

import argparse
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ddb_lease.local.clock import elapsed_s
from ddb_lease.local.engine import Engine
from ddb_lease.local.errors import MISSING_EXTRA, EngineError
from ddb_lease.local.folder import Folder

if TYPE_CHECKING:
    from ddb_lease.local.activity import Activity
    from ddb_lease.local.app import App

IDLE_S = 30 * 60.0
"""The engine stops after this long without requests."""

SWEEP_S = 60.0
"""The time between two deletions by TTL."""

READY = b"ready\n"
"""Written to `--ready-fd` once the engine serves. If the file ends without it, the start has failed."""

# The previous engine may still be finishing its last requests.
_WAIT_FOR_PREDECESSOR_S = 10.0

# How late the engine may notice that it is idle, or that its record is gone.
_MAX_TICK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The parsed command line."""

    port: int
    idle_s: float
    sweep_s: float
    folder: Folder | None
    daemon: bool
    ready_fd: int | None


def main(arguments: list[str] | None = None) -> int:
    """Run the engine until it stops; returns the exit status."""
    options = _parse(arguments)
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    if options.daemon:
        _leave_the_starter()
    try:
        _run(options)
    except ImportError as error:
        return _fail(f"{MISSING_EXTRA} ({error})")
    except (EngineError, OSError) as error:
        return _fail(str(error))
    return 0


def _run(options: Options) -> None:
    # Imported here, so that `main` can report a missing extra.
    from ddb_lease.local.app import App  # noqa: PLC0415
    from ddb_lease.local.httpd import HttpServer  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        wait_for_signal = stack.enter_context(_signals())
        if options.folder is not None:
            stack.enter_context(options.folder.running(timeout_s=_WAIT_FOR_PREDECESSOR_S))
        app = App(folder=options.folder)
        server = HttpServer(app, port=options.port)
        server.start()
        stack.callback(server.stop)
        engine = Engine(
            endpoint_url=server.endpoint_url,
            pid=os.getpid(),
            started_at_ms=int(time.time() * 1000),
            instance_id=app.instance_id,
            access_key_id=app.access_key_id or "",
        )
        if options.folder is not None:
            options.folder.write(engine)
            # Runs before the server stops, so that no new client finds an engine that is stopping.
            stack.callback(options.folder.erase, engine)
        _announce(engine, options)

        def has_reason_to_stop() -> bool:
            is_lost = options.folder is not None and not options.folder.is_recorded(engine)
            return is_lost or may_idle_away(app, server.activity, options.idle_s)

        _sweep_until_stopped(app.sweep, has_reason_to_stop, wait_for_signal, options)


def may_idle_away(app: "App", activity: "Activity", idle_s: float) -> bool:
    """Whether the engine may stop, as nobody has asked for so long; then it admits no request any more.

    An engine that stops forgets the tables. So it stays while somebody relies on them without asking, as the holder of
    a lease of a day does for hours.
    """
    return not app.binds() and activity.close_if_idle(idle_s)


def _sweep_until_stopped(
    sweep: Callable[[], int],
    has_reason_to_stop: Callable[[], bool],
    wait_for_signal: Callable[[float], bool],
    options: Options,
) -> None:
    """Sweep at intervals, until there is a signal or another reason to stop."""
    tick_s = min(_MAX_TICK_S, options.idle_s / 4, options.sweep_s)
    swept_at_s = elapsed_s()
    while not wait_for_signal(tick_s) and not has_reason_to_stop():
        if elapsed_s() - swept_at_s >= options.sweep_s:
            swept_at_s = elapsed_s()
            try:
                sweep()
            except Exception:
                # The engine is useful without deletion by TTL, so it goes on.
                logging.getLogger(__name__).exception("the sweep failed")


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits some seconds and returns whether SIGTERM or SIGINT has arrived.

    It waits on a socket: a signal handler that sets an event could deadlock with the wait that it interrupts.
    """
    receiver, sender = socket.socketpair()
    with receiver, sender:
        sender.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        try:
            yield lambda timeout_s: bool(select.select([receiver], [], [], timeout_s)[0])
        finally:
            signal.set_wakeup_fd(-1)


def _leave_the_starter() -> None:
    """Become a child of init, so that no process has to reap us and no clean-up of the starter's tree ends us.

    Forking is safe here: no thread has been started yet. The starter has already put us into a new session, and as
    we do not lead it after the fork, we cannot acquire a controlling terminal.
    """
    if os.fork() > 0:
        os._exit(0)


def _announce(engine: Engine, options: Options) -> None:
    if options.daemon:
        os.chdir("/")  # so that the starter's folder can be unmounted or removed
    if options.ready_fd is not None:
        # Fails if the starter has given up, and then we stop: it has reported that nothing is left running.
        os.write(options.ready_fd, READY)
        os.close(options.ready_fd)
    else:
        key = f"access key: {engine.access_key_id}\n" if options.folder is None else ""
        sys.stdout.write(f"{engine.endpoint_url}\n{key}")
        sys.stdout.flush()


def _fail(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 1


def _parse(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m ddb_lease.local.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--idle-s", type=float, default=IDLE_S, help="seconds without requests until the engine stops")
    parser.add_argument("--sweep-s", type=float, default=SWEEP_S, help="seconds between two deletions by TTL")
    parser.add_argument("--folder", type=Path, help="be the only engine of this folder")
    parser.add_argument("--daemon", action="store_true", help="leave the process tree of the starter")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    return Options(
        port=parsed.port,
        idle_s=parsed.idle_s,
        sweep_s=parsed.sweep_s,
        folder=None if parsed.folder is None else Folder(parsed.folder),
        daemon=parsed.daemon,
        ready_fd=parsed.ready_fd,
    )


if __name__ == "__main__":
    raise SystemExit(main())
