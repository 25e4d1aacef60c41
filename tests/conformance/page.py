"""The page's lists: what the service is known to answer, and where the engines differ."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddb_lease.cli import main
from ddb_lease.cli.conform.probe import Finding
from ddb_lease.cli.conform.probing import all_probes, findings
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.expressions import call_for
from scripts.harness.simulated_engine import Simulated

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
NAMES = {
    "simulated": "the simulator",
    "embedded": "the embedded engine",
    "ministack": "ministack",
    "dynoxide": "dynoxide",
}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
ANSWERS = Path(__file__).parent / "answers"
SIMULATED_TABLE = "leases"
Difference = dict[str, Any]


def on_simulator(simulated: Simulated, client: Any) -> list[Difference]:
    """What the simulator's DynamoDB answers to each probe, as the command prints it."""
    return [_told(finding) for finding in simulated_findings(client)]


def simulated_findings(client: Any) -> list[Finding]:
    """The outcome of each probe on the simulator's DynamoDB."""
    return list(findings(client, SIMULATED_TABLE, all_probes("simulated")))


def on_engine(endpoint_url: str, *options: str) -> tuple[int, list[Difference]]:
    """The exit code, and what the command prints, for an endpoint."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main.main(["conform", "--endpoint-url", endpoint_url, "--yes", "--json", "--quick", *options])
    return code, [json.loads(line) for line in printed.getvalue().splitlines()]


def _told(finding: Finding) -> Difference:
    probe = finding.probe
    return {
        "probe": probe.name,
        "request": f"{type(probe.request).__name__} ({finding.raw.operation})",
        "expected": probe.expected,
        "seen": finding.seen,
        "as_expected": finding.as_expected,
        "units": {"expected": probe.units, "seen": finding.units},
        "only_capacity_differs": finding.only_capacity_differs,
    }


def section(engine: str) -> str:
    """What the page says about an engine; empty if nothing."""
    text = PAGE.read_text()
    begin, end = f"<!-- {engine} -->\n", f"<!-- end of {engine} -->\n"
    return text[text.index(begin) + len(begin) : text.index(end)] if begin in text else ""


def written(engine: str, text: str) -> None:
    """Write what the page says about an engine."""
    whole = PAGE.read_text()
    PAGE.write_text(whole.replace(f"<!-- {engine} -->\n{section(engine)}", f"<!-- {engine} -->\n{text}"))


def differences(found: Iterable[Difference]) -> str:
    """An engine's differences as a list for the page; those of capacity alone are summed up."""
    different = [one for one in found if not one["as_expected"]]
    rows = [f"| {one['probe']} | {one['expected']} | {one['seen']} |" for one in different if not _of_capacity(one)]
    lines = ["| probe | DynamoDB | here |", "|---|---|---|", *rows] if rows else []
    capacity = [one for one in different if _of_capacity(one)]
    if capacity:
        lines += ["", *_summed(capacity)] if lines else _summed(capacity)
    return "".join(f"{line}\n" for line in lines or ["None."])


def expected_answers() -> list[Difference]:
    """Every probe, and what the service answers."""
    address = BucketAddress(table="table", bucket="bucket")
    return [
        {
            "probe": probe.name,
            "request": f"{type(probe.request).__name__} ({call_for(probe.request, address)[0]})",
            "expected": probe.expected,
        }
        for probe in all_probes("page")
    ]


def known(expected: Sequence[Mapping[str, Any]]) -> str:
    """Every probe with the service's known answer."""
    rows = [f"| {one['probe']} | {one['request']} | {one['expected']} |" for one in expected]
    return "".join(f"{line}\n" for line in ["| probe | request | DynamoDB |", "|---|---|---|", *rows])


def _of_capacity(one: Difference) -> bool:
    return bool(one.get("only_capacity_differs"))


def _summed(different: Sequence[Difference]) -> list[str]:
    def said(one: Difference) -> tuple[str, str]:
        seen, expected = one["units"]["seen"], one["units"]["expected"]
        operation = one["request"].partition("(")[2].rstrip(")")
        return operation, "none is reported" if seen is None else f"{seen / expected:g} of what the service reports"

    groups = itertools.groupby(sorted(different, key=said), key=said)
    return [f"- Capacity of `{operation}`: {what} (probes: {len(list(some))})." for (operation, what), some in groups]
