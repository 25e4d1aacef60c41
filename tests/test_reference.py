"""The reference page is complete: each value's fields, each error, each reason, each setting."""

import asyncio
import contextlib
import dataclasses
import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from boto3 import Session
from fastapi import FastAPI

from ddb_lease import LeaseBucket, LossReason, Timing, errors, models
from ddb_lease.cli import exits
from tests.adapters.clients import ask
from tests.pages import Snippets

SNIPPETS = Snippets("docs/reference.md")
PAGE = (Path(__file__).parent.parent / "docs" / "reference.md").read_text()
ERRORS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.LeaseError)]


def row(section, name):
    """The cells of a section's row."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL).group(1)
    lines = (line.strip("|").split("|") for line in text.splitlines() if line.startswith("| "))
    (found,) = [cells for cells in lines if cells[0].strip() == name]
    return [cell.strip() for cell in found]


@pytest.mark.parametrize(
    "kind",
    [
        models.BucketStatus,
        models.LeaseInfo,
        models.RateStatus,
        models.WindowDecision,
        models.Resized,
        models.Repaired,
        models.Waiter,
        models.Configured,
    ],
)
def test_each_value_is_listed_with_all_its_fields(kind):
    after = PAGE.partition(f"**`{kind.__name__}`**")[2]
    own = re.split(r"\*\*`|^## ", after, maxsplit=1, flags=re.MULTILINE)[0]
    properties = {name for name, value in vars(kind).items() if isinstance(value, property)}
    for name in {field.name for field in dataclasses.fields(kind)} | properties:
        assert f"`{name}`" in own, name


def test_each_reason_of_loss_is_listed():
    for reason in LossReason:
        assert row("Reasons of loss", f"`{reason.value}`")


@pytest.mark.parametrize("kind", ERRORS)
def test_each_error_is_listed_with_its_base_and_its_exit_code(kind):
    _, base, _, code = row("Errors", f"`{kind.__name__}`")
    builtin = [parent.__name__ for parent in kind.__bases__ if parent is not errors.LeaseError]
    assert re.findall(r"\w+", base) == builtin
    mapped = {error: exits.code_for(_made(error)) for error in ERRORS}
    if mapped[kind] != exits.DEFECT:
        assert code == str(mapped[kind])


def _made(kind):
    if kind is errors.Overtaken:
        return kind("x", max_tokens=1)
    if kind is errors.LeaseLost:
        return kind("x", reason=LossReason.TAKEN, lease_id="0-a")
    return kind("x")


def test_each_timing_setting_is_listed_with_its_default():
    for field in dataclasses.fields(Timing):
        said = row("Timing", f"`{field.name}`")[1].replace(",", "")
        assert (None if said == "None" else float(said)) == field.default, field.name


@pytest.mark.parametrize(
    ("line", "timing"),
    [
        ("`LeaseBucket`, defaults", Timing()),
        ("`ddb-lease run`, whose grace is a tenth of the lease", Timing(grace_part=0.1, grace_most=5.0)),
        ("`DynamoDBTokenBucket`, without grace", Timing(grace=0.0)),
    ],
)
def test_the_shortest_leases_are_as_listed(line, timing):
    def bucket(seconds):
        settings = {"session": Session(region_name="eu-west-1"), "timing": timing}
        return LeaseBucket("jobs", max_tokens=1, lease_seconds=seconds, **settings)

    said = float(row("Timing", line)[1].split()[0])
    bucket(said).close()
    with pytest.raises(errors.ConfigurationError, match="too short"):
        bucket(said - 0.01)


def test_the_example_of_a_client_of_ones_own_runs():
    (example,) = (snippet for snippet in SNIPPETS.of() if "client_config" in snippet.block.text)
    world = {}
    example.run(world)
    world["bucket"].close()


def test_what_is_decorated_goes_on_being_what_a_framework_takes_and_a_generator_holds_the_lease_inside(as_aws):
    endpoint, fixture, _ = SNIPPETS.of()
    with LeaseBucket("reports", max_tokens=1, **as_aws) as bucket:
        app = FastAPI()
        endpoint.run({"app": app, "bucket": bucket})
        answer = asyncio.run(ask(app, "/reports/monday"))
        assert (answer.status, answer.body) == (200, b'"monday on slot 0"')
        # As pytest runs it: to the yield, and on from there after the test.
        world = fixture.run({"pytest": SimpleNamespace(fixture=contextlib.contextmanager), "bucket": bucket})
        with world["gpu"]() as lease:
            assert lease.held
        assert bucket.status().free == 1
