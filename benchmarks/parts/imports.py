"""Imports: how long a program takes to start if it imports ddb_lease, against one that imports boto3."""

from __future__ import annotations

import compileall
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.company import ROOT, Company
from benchmarks.parts import Tick

ROUNDS = 15
PROGRAMS = {
    "boto3": "import boto3",
    "ddb_lease": "import ddb_lease",
    # `import ddb_lease` alone imports next to nothing: the names are imported when they are first used.
    "LeaseBucket": "from ddb_lease import LeaseBucket",
    "both": "import boto3; from ddb_lease import LeaseBucket",
}


def run(company: Company, tick: Tick, *, rounds: int = ROUNDS) -> dict[str, Any]:  # noqa: ARG001 - like all parts
    """In turn, each in a fresh interpreter; modules are compiled before, as an installer does."""
    compileall.compile_dir(str(ROOT / "ddb_lease"), quiet=1)
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for number in range(rounds):
        for name, program in PROGRAMS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True, cwd="/")
            taken[name].append(time.perf_counter() - began)
        tick((number + 1) / rounds)
    ratios = {
        name: statistics.median(a / b for a, b in zip(taken[name], taken["boto3"], strict=True)) for name in PROGRAMS
    }
    return {"rounds": rounds, "to_boto3": ratios}
