"""What the applications for real servers have in common, `served_asgi` and `served_wsgi`.

``/`` is limited, ``/all`` takes the whole burst, and ``/who`` is exempt: it says which process answers, and how far its
clock may be off, in seconds. The engine's address and the rate's name are in the environment.
"""

from __future__ import annotations

import os
import time
from typing import Any

from scripts.harness.engine_process import LOOPBACK
from scripts.harness.holders import TABLE, session

RATE, BURST = 5, 20
WAIT = 1.0
"""Seconds, in front of the asynchronous application; the other one denies at once."""

BUDGET = 30.0
"""Seconds for a decision: an answer may take a quarter of it, on a busy machine."""


def settings() -> dict[str, Any]:
    """Of the limiter."""
    endpoint_url = os.environ["SERVED_ENDPOINT"]
    where = {"session": session(endpoint_url), "endpoint_url": endpoint_url, "table": TABLE}
    return {"name": os.environ["SERVED_RATE"], "rate": RATE, "burst": BURST, "budget": BUDGET, **where}


def cost_of(path: str) -> int:
    return BURST if path == "/all" else 1


def busy() -> None:
    """Hold the process for a moment, so that other workers get the next connections."""
    time.sleep(0.03)


def command(server: str, port: int, *, workers: int, preload: bool = False) -> list[str]:
    """The arguments of Python that serve an application."""
    if server == "uvicorn":
        own = ["uvicorn", "tests.adapters.served_asgi:app", "--host", LOOPBACK, "--port", str(port)]
    else:
        own = ["gunicorn", "tests.adapters.served_wsgi:app", "--bind", f"{LOOPBACK}:{port}", "--no-control-socket"]
    return ["-m", *own, "--workers", str(workers), "--log-level", "warning", *(["--preload"] if preload else [])]
