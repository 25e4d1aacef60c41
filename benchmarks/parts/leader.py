"""Leaders: from the end of one, killed or stopped, to the election of the next."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import time
from typing import Any

from benchmarks.company import OURS, ROOT, Company
from benchmarks.figures import quantile
from benchmarks.parts import Tick

LEASE_SECONDS = 6.0
FOLLOWERS = 2
ROUNDS = 6
_SETTLE = 2.5  # seconds: a new candidate has looked, and waits
_ENDS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM}


def run(
    company: Company,
    tick: Tick,
    *,
    rounds: int = ROUNDS,
    followers: int = FOLLOWERS,
    lease_seconds: float = LEASE_SECONDS,
) -> dict[str, Any]:
    """Killed and stopped in turn, at any moment between two renewals."""
    setting = {
        "name": company.bucket(),
        "table": company.table(OURS),
        "endpoint_url": company.endpoint_url,
        "lease_seconds": lease_seconds,
    }
    gaps: dict[str, list[float]] = {end: [] for end in _ENDS}
    candidates = [_start(company, setting) for _ in range(followers + 1)]
    try:
        leader = _elected(candidates)
        for number in range(rounds):
            for end, signum in _ENDS.items():
                time.sleep(_SETTLE + random.uniform(0.0, lease_seconds / 3))
                candidates.remove(leader)
                began = time.monotonic()
                leader.send_signal(signum)
                after = _elected(candidates)
                gaps[end].append(time.monotonic() - began)
                _end(leader)
                leader = after
                candidates.append(_start(company, setting))
            tick((number + 1) / rounds)
    finally:
        for candidate in candidates:
            candidate.kill()
            _end(candidate)
    rows = [
        {"end": end, "median_s": quantile(found, 0.5), "worst_s": max(found), "rounds": len(found)}
        for end, found in gaps.items()
    ]
    return {"lease_seconds": lease_seconds, "followers": followers, "rows": rows}


def _start(company: Company, setting: dict[str, Any]) -> subprocess.Popen[str]:
    candidate = subprocess.Popen(
        [str(company.pythons[OURS]), "-m", "benchmarks.candidate", json.dumps(setting)],
        cwd=ROOT,
        env=os.environ | company.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert candidate.stdout is not None
    assert candidate.stdout.readline() == "waits\n"
    return candidate


def _elected(candidates: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """Wait for the one that is elected next."""
    by_pipe = {candidate.stdout: candidate for candidate in candidates}
    ready, _, _ = select.select(list(by_pipe), [], [], 120.0)
    (pipe,) = ready
    assert pipe.readline() == "elected\n"
    return by_pipe[pipe]


def _end(candidate: subprocess.Popen[str]) -> None:
    try:
        candidate.wait(10.0)
    except subprocess.TimeoutExpired:
        candidate.kill()
        candidate.wait()
    if candidate.stdout is not None:
        candidate.stdout.close()
