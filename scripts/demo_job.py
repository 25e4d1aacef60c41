"""One job of the demo: works for some seconds, and notes ten times a second that it is running, and on which slot."""

import os
import sys
import threading

from harness.referee import note, now

job, seconds = int(sys.argv[1]), float(sys.argv[2])
slot, fence = int(os.environ["DDB_LEASE_SLOT"]), int(os.environ["DDB_LEASE_FENCE"])
until = now() + seconds
while True:
    note(os.environ["DEMO_LOG"], job=job, pid=os.getpid(), slot=slot, fence=fence)
    if now() >= until:
        break
    threading.Event().wait(0.1)
