"""Every public name has its types checked; the check itself is mypy's, in `scripts/check`."""

import ast
from pathlib import Path

import pytest

import ddb_lease
from ddb_lease import aio, events, local, rate_events, testing
from ddb_lease.adapters import asgi, langchain, limits, pyrate, wsgi

SURFACE = ast.parse((Path(__file__).parent / "public_surface.py").read_text())
USED = {
    (node.value.id, node.attr)
    for node in ast.walk(SURFACE)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
}


PACKAGES = [ddb_lease, aio, asgi, events, langchain, limits, local, pyrate, rate_events, testing, wsgi]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_occurs_in_the_typing_tests(package):
    name = package.__name__.rpartition(".")[2]
    assert {public for public in package.__all__ if (name, public) not in USED} == set()
