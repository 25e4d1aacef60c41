"""A small supervisor for the tests: `watchdog_supervisor.py NOTES DEADLINE_IN GRACE[,RESERVE] feed|hold COMMAND...`.

It writes "COMMAND_PID DEADLINE" to NOTES once the command runs, and exits with its status.
"""

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ddb_lease.cli.supervisor import CommandNotStarted, SupervisedCommand, pass_on, steady_seconds


def main() -> int:
    notes, deadline_in, grace, mode, *argv = sys.argv[1:]
    grace, _, reserve = grace.partition(",")
    options = {"kill_reserve": float(reserve)} if reserve else {}
    deadline = steady_seconds() + float(deadline_in)
    try:
        command = SupervisedCommand.start(argv, deadline=deadline, grace=float(grace), **options)
    except CommandNotStarted as error:
        return error.exit_code
    if mode == "feed":

        def feed_forever() -> None:
            forgotten = steady_seconds() + 120  # a failed test must not leave us running
            while steady_seconds() < forgotten:
                command.feed(steady_seconds() + float(deadline_in))
                threading.Event().wait(0.05)

        threading.Thread(target=feed_forever, daemon=True).start()
    with pass_on(command):
        fresh = Path(notes + ".new")
        fresh.write_text(f"{command.pid} {deadline!r}")
        os.replace(fresh, notes)
        ended = command.wait()
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
