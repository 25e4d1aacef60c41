"""Runs the parts, and writes the report: see `scripts/bench`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from benchmarks.company import DLM, LOCK, NAIVE, OURS, RATE, RAW, ZAE, ContenderFailed, gather, here
from benchmarks.goals import judge
from benchmarks.parts import (
    contention,
    handover,
    imports,
    large,
    leader,
    manners,
    middleware,
    process,
    rates,
    scale,
    single,
    waiting,
)
from benchmarks.plots import draw
from benchmarks.report import markdown

PARTS: dict[str, ModuleType] = {
    "single": single,
    "contention": contention,
    "handover": handover,
    "leader": leader,
    "waiting": waiting,
    "scale": scale,
    "large": large,
    "manners": manners,
    "rates": rates,
    "middleware": middleware,
    "imports": imports,
    "process": process,
}
SHARES = {
    "single": 8,
    "contention": 36,
    "handover": 14,
    "leader": 60,
    "waiting": 8,
    "scale": 18,
    "large": 8,
    "manners": 8,
    "rates": 110,
    "middleware": 6,
    "imports": 4,
    "process": 14,
}
"""The approximate share of the time that each part takes."""
QUICKER = {"rates"}
"""Parts that `--quick` makes shorter."""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="What leases cost, beside others, in one run.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of: {', '.join(PARTS)} (all)")
    parser.add_argument("--engine", choices=("ministack", "embedded"), default="ministack", help="(ministack)")
    parser.add_argument("--endpoint-url", metavar="URL", help="another engine, or DynamoDB, with your own credentials")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), metavar="FOLDER", help="(bench-results)")
    parser.add_argument(
        "--quick", action="store_true", help="rates over 10 s in place of 60 s: too short to judge shares of 1/s"
    )
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)} (there are: {', '.join(PARTS)})")
    pythons = dict.fromkeys((RAW, OURS, NAIVE, RATE), here())
    for kind in (DLM, LOCK, ZAE):
        if python := os.environ.get(f"BENCH_PYTHON_{kind.upper()}"):
            pythons[kind] = Path(python)
    wanted = given.parts or list(PARTS)
    began = time.monotonic()
    results: dict[str, Any] = {}
    try:
        with gather(given.engine, given.endpoint_url, pythons) as company:
            whole = sum(SHARES[part] for part in wanted)
            with tqdm(total=whole, bar_format="{desc:11}{percentage:3.0f}% |{bar:40}| {elapsed}", leave=False) as bar:
                for part in wanted:
                    before = bar.n
                    bar.set_description_str(part)

                    def tick(share: float, part: str = part, before: float = before) -> None:
                        bar.n = before + SHARES[part] * share
                        bar.refresh()

                    shorter = {"quick": True} if given.quick and part in QUICKER else {}
                    results[part] = PARTS[part].run(company, tick, **shorter)
                    tick(1.0)
            engine = company.engine
    except ContenderFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; nothing was written", file=sys.stderr)
        return 130
    results["about"] = _about(engine, time.monotonic() - began)
    results["goals"] = judge(results)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    report = markdown(results)
    (given.out / "report.md").write_text(report)
    for path in draw(results, given.out):
        print(f"drew {path}", file=sys.stderr)
    print(report)
    return 0


def _about(engine: str, seconds: float) -> dict[str, Any]:
    import boto3  # noqa: PLC0415 - for their versions only
    import botocore  # noqa: PLC0415

    import ddb_lease  # noqa: F401, PLC0415

    return {
        "engine": engine,
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "boto3": boto3.__version__,
            "botocore": botocore.__version__,
            "dynamo-dlm": "2.1.0",
            "zae-limiter": "0.17.0",
            "python_dynamodb_lock": "0.9.1",
        },
        "seconds": seconds,
    }


if __name__ == "__main__":
    sys.exit(main())
