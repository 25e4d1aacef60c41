"""The host names that the page lists for a network that allows only some: asked of botocore, without a request."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest

from ddb_lease import client_config

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
SECTION = PAGE.partition("## Network\n")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (?:`(\w+)=(\w+)`|none) \| `(\S+)` \| `(\S+)` \|$", SECTION, flags=re.MULTILINE)
ACCOUNT = "123456789012"


class Asked(Exception):
    """A request would be sent now."""


def host(region, account):
    """Where a request would go."""
    try:
        session = boto3.Session("key", "secret", region_name=region, **({"aws_account_id": account} if account else {}))
    except TypeError:
        pytest.skip("this boto3 takes no account id")
    client = session.client("dynamodb", config=client_config(30))
    hosts = []

    def note(request, **_):
        hosts.append(urlsplit(request.url).hostname)
        raise Asked

    client.meta.events.register("before-send.dynamodb", note)
    with pytest.raises(Asked):
        client.describe_table(TableName="leases")
    client.close()
    return hosts[0]


@pytest.mark.parametrize(("variable", "value", "without", "with_one"), ROWS, ids=[row[0] or "none" for row in ROWS])
def test_the_page_lists_the_hosts_that_botocore_asks(monkeypatch, variable, value, without, with_one):
    if variable:
        monkeypatch.setenv(variable, value)
    assert host("eu-west-1", None) == without.replace("REGION", "eu-west-1")
    assert host("eu-west-1", ACCOUNT) == with_one.replace("REGION", "eu-west-1").replace("ACCOUNT", ACCOUNT)


def test_the_page_has_each_setting_and_the_names_in_china():
    assert [row[0] for row in ROWS] == [
        "",
        "AWS_ACCOUNT_ID_ENDPOINT_MODE",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_USE_FIPS_ENDPOINT",
    ]
    assert host("cn-north-1", ACCOUNT) == f"{ACCOUNT}.ddb.cn-north-1.amazonaws.com.cn"
