"""Runs command lines, each in a fork of this process: `forked_commands.py RESULTS LINES`, a file descriptor and JSON.

The forks have the standard streams that this process was started with, as a new interpreter sees them, and end as an
interpreter ends; but what is slow to import was imported once. Writes a JSON list of the exit codes to RESULTS.
"""

import gc
import importlib
import json
import os
import sys

if __name__ == "__main__":
    results, lines = int(sys.argv[1]), json.loads(sys.argv[2])
    os.set_inheritable(results, False)
    nowhere = [os.open(os.devnull, os.O_RDWR) for _ in range(4)]  # no import may take a closed stream's number
    import boto3
    import botocore.session

    from ddb_lease import Lease, local  # noqa: F401 - slow to import, too
    from ddb_lease._runtime.clock import SystemClock
    from ddb_lease.cli.main import main

    for name in ("known_names", "lead", "lease", "limit", "operate", "rate", "run", "setup", "status", "seeing.ls"):
        importlib.import_module(f"ddb_lease.cli.{name}")

    shared = botocore.session.create_loader()
    botocore.session.create_loader = lambda *_: shared  # it caches what it reads
    boto3.Session(region_name="us-east-1").client("dynamodb", aws_access_key_id="a", aws_secret_access_key="b").close()
    for fd in nowhere:
        os.close(fd)

    gc.freeze()  # what the forks share need not be looked through by each
    codes = []
    for first, *rest in lines:
        child = os.fork()
        if not child:
            line = [first, *rest]
            if first == "LOST":  # before the command starts
                check, steady, slept = Lease.check, SystemClock.steady, [0.0]

                def lost(lease, check=check, slept=slept):
                    slept[0] = 3600.0  # as if the process had slept
                    check(lease)

                SystemClock.steady = staticmethod(lambda steady=steady, slept=slept: steady() + slept[0])

                Lease.check = lost
                line = rest
            os.environ.update(word.split("=", 1) for word in line if word.startswith("DDB_LEASE_"))
            sys.exit(main([word for word in line if not word.startswith("DDB_LEASE_")]))
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.write(results, json.dumps(codes).encode())
    os._exit(0)
