"""The dashboards and alarms ask for metrics that exist, under the names that they have there."""

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "docs" / "howto" / "dashboards"
OBSERVING = (ROOT / "docs" / "observing.md").read_text()
INSTRUMENTS = re.findall(r"^\| `(ddb_lease\.[\w.]+)` \| ([\w -]+) \| (\S+) \|", OBSERVING, flags=re.MULTILINE)
ATTRIBUTES = {
    name.replace(".", "_")
    for name in re.findall(r"`(ddb_lease\.(?:bucket|rate|rate\.limit|reason|limit|operation|decided_by))`", OBSERVING)
}


def in_prometheus():
    """The names after OpenTelemetry's rules for Prometheus: its unit in the name, a counter's `_total`."""
    for name, kind, unit in INSTRUMENTS:
        flat = name.replace(".", "_") + ("_seconds" if unit == "s" else "")
        yield from {
            "counter": [f"{flat}_total"],
            "up-down counter": [flat],
            "histogram": [f"{flat}_bucket", f"{flat}_sum", f"{flat}_count"],
        }[kind]


NAMES = set(in_prometheus())


def asked_for(expression):
    words = set(re.findall(r"\bddb_lease_\w+", expression))
    return words - ATTRIBUTES


def expressions():
    board = json.loads((FOLDER / "grafana.json").read_text())
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query")
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_asks_for_metrics_that_are_recorded(expression):
    assert asked_for(expression)
    assert asked_for(expression) <= NAMES


def test_every_alert_is_explained_and_every_explained_one_is_there():
    page = (ROOT / "docs" / "howto" / "alarms.md").read_text()
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    assert re.findall(r"^\| `(\w+)`", page, flags=re.MULTILINE) == [rule["alert"] for rule in rules]


def test_no_panel_lies_on_another():
    for panels in (
        [panel["gridPos"] for panel in json.loads((FOLDER / "grafana.json").read_text())["panels"]],
        [
            {"x": w["x"], "y": w["y"], "w": w["width"], "h": w["height"]}
            for w in json.loads((FOLDER / "cloudwatch.json").read_text())["widgets"]
        ],
    ):
        cells = [(x, y) for p in panels for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
        assert len(cells) == len(set(cells))
        assert all(x < 24 for x, _ in cells)


def test_cloudwatch_is_asked_for_what_the_recipe_prints_and_the_service_has():
    recipe = OBSERVING[OBSERVING.index("## CloudWatch, by lines") :]
    own = {"Acquired", "Lost", "Renewed", "Released", "Contended", "Throttled"}
    own |= {
        f"{kind}.{name}"
        for kind, fields in re.findall(r"events\.(\w+): \((.*?)\),\n", recipe)
        for name in re.findall(r'"(\w+_seconds|requests)"', fields)
    }
    service = {
        *("ConsumedWriteCapacityUnits", "ConsumedReadCapacityUnits", "WriteThrottleEvents", "ReadThrottleEvents"),
        *("ConditionalCheckFailedRequests", "SuccessfulRequestLatency", "SystemErrors"),
    }
    for widget in json.loads((FOLDER / "cloudwatch.json").read_text())["widgets"]:
        for metric in widget["properties"]["metrics"]:
            assert isinstance(metric, list)
            if isinstance(metric[0], dict):
                assert set(re.findall(r'MetricName="([\w.]+)"', metric[0]["expression"])) <= own
            else:
                assert metric[1] in service
