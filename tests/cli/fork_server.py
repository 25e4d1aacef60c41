"""Runs command lines in forks of one warm process: importing boto3 takes a new interpreter longer than most commands.

A fork has the environment, folder and standard streams that its caller gave it, as a new interpreter would have, and
ends as an interpreter ends. What is tested of an interpreter's start (signals, terminals, closed streams, Python's own
settings) needs a new one: `run` takes nothing that asks for that.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLAIN = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
"""How `subprocess.run` is to be called for a fork to do as well."""
OF_PYTHON = ("PYTHON", "LANG", "LC_")
"""The beginnings of the variables that an interpreter reads when it starts."""


def run(words, *, env, cwd, **how):
    """Run `ddb-lease` with these arguments to its end: in a fork, or in a new interpreter where only that will do.

    Takes and returns what `subprocess.run` does; never checks the exit code.
    """
    timeout = how.pop("timeout")
    of_python = {name for name in env if name.startswith(OF_PYTHON)} - {"PYTHONPATH"}
    if how == PLAIN and not of_python and env.get("PYTHONPATH") == str(ROOT):
        return _server().run(words, env=env, cwd=cwd, timeout=timeout)
    line = [sys.executable, "-m", "ddb_lease.cli", *words]
    return subprocess.run(line, env=env, cwd=cwd, check=False, timeout=timeout, **how)


@functools.cache
def _server():
    return ForkServer()


class ForkServer:
    """The warm process, and the connection to it. Runs one command at a time."""

    def __init__(self):
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.cli.fork_server", str(theirs.fileno())],
                env={"PATH": os.environ["PATH"], "HOME": os.devnull, "PYTHONPATH": str(ROOT)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._answers = self._ours.makefile("r")
        atexit.register(self.close)

    def run(self, words, *, env, cwd, timeout):
        """Run a command line to its end, and until nobody has its streams open any longer."""
        request = json.dumps({"words": list(words), "env": env, "cwd": str(cwd)})
        ends = [os.pipe(), os.pipe()]
        with open(os.devnull) as nothing:
            socket.send_fds(self._ours, [b"\n"], [nothing.fileno(), *(end for _, end in ends)])
        for _, end in ends:
            os.close(end)
        self._ours.sendall(request.encode() + b"\n")
        told = [[], []]
        readers = [
            threading.Thread(target=_read, args=(end, into), daemon=True)
            for (end, _), into in zip(ends, told, strict=True)
        ]
        for reader in readers:
            reader.start()
        pid = int(self._answers.readline())
        until = time.monotonic() + timeout
        for reader in readers:
            reader.join(max(0.0, until - time.monotonic()))
        late = any(reader.is_alive() for reader in readers)
        if late:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = int(self._answers.readline())
        if late:
            raise subprocess.TimeoutExpired(list(words), timeout)
        out, err = ("".join(texts) for texts in told)
        return subprocess.CompletedProcess(list(words), code, out, err)

    def close(self):
        """End the process. Commands that run on are their own affair."""
        self._answers.close()
        self._ours.close()
        self._process.wait()


def _read(end, into):
    with open(end) as stream:
        into.append(stream.read())


def _serve(connection):
    """Fork for each request. Returns in a fork, with its arguments; in the server, at the end: with None."""
    requests = connection.makefile("rb")
    while True:
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        if not streams:
            return None
        request = json.loads(requests.readline())
        child = os.fork()
        if not child:
            requests.close()
            connection.close()
            _take_over(request, streams)
            return request["words"]
        for stream in streams:
            os.close(stream)
        connection.sendall(b"%d\n" % child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(b"%d\n" % code)


def _take_over(request, streams):
    for fd, stream in enumerate(streams):
        os.dup2(stream, fd)
        os.close(stream)
    # As an interpreter makes them. Those of the server are of other kinds: one cannot seek in a pipe.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = ["ddb-lease", *request["words"]]


def _warm_up():
    import boto3
    import botocore.session

    import ddb_lease.local  # noqa: F401 - so that it is there

    for name in ("known_names", "lead", "lease", "limit", "main", "operate", "rate", "setup", "status", "template"):
        importlib.import_module(f"ddb_lease.cli.{name}")  # so that it is there

    shared = botocore.session.create_loader()
    botocore.session.create_loader = lambda *_: shared  # it caches what it reads
    boto3.Session(region_name="us-east-1").client("dynamodb", aws_access_key_id="a", aws_secret_access_key="b").close()
    gc.collect()
    gc.freeze()  # what the forks share need not be looked through by each


if __name__ == "__main__":
    _warm_up()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        os.set_inheritable(connection.fileno(), False)
        words = _serve(connection)
    if words is not None:
        from ddb_lease.cli.main import main

        sys.exit(main(words))
