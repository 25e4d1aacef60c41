"""What users see of the adapters for other libraries: names, docstrings, parameters, and what importing them brings in."""

import inspect
import re

import pytest

from ddb_lease.adapters import langchain, limits, pyrate
from tests.test_surface import brought_in_by

THEIRS = {"limits": limits, "langchain_core": langchain, "pyrate_limiter": pyrate}
CLASSES = [getattr(module, name) for module in THEIRS.values() for name in module.__all__]


def members(kind):
    return {name: value for name, value in vars(kind).items() if inspect.isfunction(value) and not name.startswith("_")}


def test_the_names_are_these():
    assert {kind.__name__ for kind in CLASSES} == {
        *("DynamoDBStorage", "AsyncDynamoDBStorage", "LangChainRateLimiter", "DynamoDBBucket", "AsyncDynamoDBBucket")
    }


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_has_docstrings_and_explains_its_arguments(kind):
    text = inspect.getdoc(kind)
    explained = set(
        re.findall(r"^\s{4}(?:\*{1,2})?(\w+): ", text.partition("Args:")[2].partition("\n\n")[0], re.MULTILINE)
    )
    assert explained == set(inspect.signature(kind).parameters) - {"runtime"}
    assert all(inspect.unwrap(member).__doc__ for member in members(kind).values())


@pytest.mark.parametrize(
    ("plain", "awaited"),
    [(limits.DynamoDBStorage, limits.AsyncDynamoDBStorage), (pyrate.DynamoDBBucket, pyrate.AsyncDynamoDBBucket)],
)
def test_both_apis_have_the_same_methods_with_the_same_parameters(plain, awaited):
    assert {name.replace("aclose", "close") for name in members(awaited)} == set(members(plain))
    for name in members(plain).keys() & members(awaited).keys():
        assert [*inspect.signature(getattr(plain, name)).parameters] == [
            *inspect.signature(getattr(awaited, name)).parameters
        ]
    parameters = [*inspect.signature(plain).parameters]
    assert [name for name in inspect.signature(awaited).parameters if name != "max_requests"] == parameters


def test_other_libraries_are_imported_by_their_own_adapter_only():
    brought = brought_in_by("ddb_lease.adapters.limits")
    assert not {"flask", "starlette", "langchain_core", "pyrate_limiter"} & brought
