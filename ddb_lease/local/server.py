"""The engine as a process: `python -m ddb_lease.local.server`.

In the foreground it prints its address and serves until a signal or an idle spell ends it. With `--folder`
it is the one engine of that folder; with `--daemon` it also leaves the starter's process tree.

Why it stops when its record is gone or is another's: nobody can find it any more, and an engine that only
the old clients know, beside a new one, would grant what the other has granted.
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

from ddb_lease.local.clock import elapsed_s
from ddb_lease.local.engine import Engine
from ddb_lease.local.errors import MISSING_EXTRA, EngineError
from ddb_lease.local.folder import Folder

IDLE_S = 30 * 60.0
"""Without requests for this long, the engine stops."""

SWEEP_S = 60.0
"""Between two deletions by TTL."""

READY = b"ready\n"
"""Written to `--ready-fd` once requests are answered. The end without it means failure."""

# The engine before may still be finishing its last requests.
_WAIT_FOR_PREDECESSOR_S = 10.0

# How late a stop by idleness or for want of a record may come.
_MAX_TICK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    port: int
    idle_s: float
    sweep_s: float
    folder: Folder | None
    daemon: bool
    ready_fd: int | None


def main(arguments: list[str] | None = None) -> int:
    """Run the engine until it stops; the exit status."""
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
    # Here, so that a missing extra is an error of its own.
    from ddb_lease.local.app import App  # noqa: PLC0415
    from ddb_lease.local.httpd import HttpServer  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        wait_for_signal = stack.enter_context(_signals())
        if options.folder is not None:
            stack.enter_context(options.folder.running(timeout_s=_WAIT_FOR_PREDECESSOR_S))
        app = App()
        server = HttpServer(app, port=options.port)
        server.start()
        stack.callback(server.stop)
        engine = Engine(
            endpoint_url=server.endpoint_url,
            pid=os.getpid(),
            started_at_ms=int(time.time() * 1000),
            instance_id=app.instance_id,
        )
        if options.folder is not None:
            options.folder.write(engine)
            # Before the server stops: whoever reads the record from now on finds nothing.
            stack.callback(options.folder.erase, engine)
        _announce(engine, options)

        def has_reason_to_stop() -> bool:
            is_lost = options.folder is not None and not options.folder.is_recorded(engine)
            return is_lost or server.activity.close_if_idle(options.idle_s)

        _keep_house(app.sweep, has_reason_to_stop, wait_for_signal, options)


def _keep_house(
    sweep: Callable[[], int],
    has_reason_to_stop: Callable[[], bool],
    wait_for_signal: Callable[[float], bool],
    options: Options,
) -> None:
    """Sweep now and then, until there is a reason to stop."""
    tick_s = min(_MAX_TICK_S, options.idle_s / 4, options.sweep_s)
    swept_at_s = elapsed_s()
    while not wait_for_signal(tick_s) and not has_reason_to_stop():
        if elapsed_s() - swept_at_s >= options.sweep_s:
            swept_at_s = elapsed_s()
            try:
                sweep()
            except Exception:
                # Deletion by TTL is a service: the engine goes on without it.
                logging.getLogger(__name__).exception("the sweep failed")


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits some seconds and says whether SIGTERM or SIGINT has come.

    Through a socket: an event that a signal handler sets could deadlock with the wait that it interrupts.
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
    """Become a child of init, so that nobody has to reap us and no clean-up of the starter's tree finds us.

    Safe here: no thread has been started yet. The starter has put us into a session of our own already,
    and as we no longer lead it, no terminal can become ours.
    """
    if os.fork() > 0:
        os._exit(0)


def _announce(engine: Engine, options: Options) -> None:
    if options.daemon:
        os.chdir("/")  # the starter's folder may be unmounted or removed
    if options.ready_fd is not None:
        # Fails if the starter has given up, and then we end: it said that nothing is left running.
        os.write(options.ready_fd, READY)
        os.close(options.ready_fd)
    else:
        sys.stdout.write(f"{engine.endpoint_url}\n")
        sys.stdout.flush()


def _fail(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 1


def _parse(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m ddb_lease.local.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--idle-s", type=float, default=IDLE_S, help="stop after so long without requests")
    parser.add_argument("--sweep-s", type=float, default=SWEEP_S, help="between two deletions by TTL")
    parser.add_argument("--folder", type=Path, help="be the one engine of this folder")
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
