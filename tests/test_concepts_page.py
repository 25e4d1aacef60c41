"""The resource of docs/concepts.md refuses a fence that is older than one that it has seen."""

import pytest

from tests.pages import Snippets

SNIPPETS = Snippets("docs/concepts.md")


@pytest.mark.usefixtures("as_aws")
def test_the_resource_refuses_an_older_fence(capsys):
    page = SNIPPETS.run({})
    assert capsys.readouterr().out == "paid\n"
    with pytest.raises(PermissionError, match="is older than"):
        page["write"]("paid again", page["lease"].fence - 1)
    assert capsys.readouterr().out == ""
    page["bucket"].close()
