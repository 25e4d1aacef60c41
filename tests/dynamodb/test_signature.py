"""Our signatures are botocore's, of whatever is signed; a template is made only where that is so."""

import string
from types import SimpleNamespace

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease.dynamodb.signature import Scope, Signer
from ddb_lease.dynamodb.template import template_of

WORDS = st.text(string.ascii_letters + string.digits + "/+=", min_size=1, max_size=40)
REGIONS = st.sampled_from(["eu-west-1", "us-gov-east-1", "cn-north-1", "local"])
URLS = st.sampled_from(
    [
        "https://dynamodb.eu-west-1.amazonaws.com/",
        "http://127.0.0.1:8000/",
        "http://[::1]:8000/",
        "https://localhost:443/",
        "http://localhost:80",
    ]
)


def signed_by_botocore(url, body, credentials, region, *, service="dynamodb", **headers):
    request = AWSRequest(
        "POST",
        url,
        data=body,
        headers={
            "X-Amz-Target": "DynamoDB_20120810.PutItem",
            "Content-Type": "application/x-amz-json-1.0",
            "User-Agent": "a  program/1.0",
            **headers,
        },
    )
    SigV4Auth(credentials, service, region).add_auth(request)
    return request.prepare()


@given(URLS, st.binary(max_size=200), WORDS, WORDS, st.none() | WORDS, REGIONS)
def test_a_template_signs_as_botocore_does(url, body, key, secret, token, region):
    credentials = ReadOnlyCredentials(key, secret, token)
    prepared = signed_by_botocore(url, body, credentials, region)
    template = template_of(prepared.url, prepared.headers.items(), body, credentials)
    assert template is not None
    later = signed_by_botocore(url, body + b"!", credentials, region)
    date = later.headers["X-Amz-Date"]
    from calendar import timegm
    from time import strptime

    filled = template.filled_in(body + b"!", credentials, at=timegm(strptime(date, "%Y%m%dT%H%M%SZ")))
    assert filled == dict(later.headers.items())


def test_a_key_is_derived_anew_for_another_day_and_for_another_secret():
    signer = Signer(Scope(region="eu-west-1", service="dynamodb"))

    def signature(secret, at):
        made = signer.headers(
            path="/",
            fixed={"host": "h"},
            signed=("host", "x-amz-date"),
            body=b"{}",
            credentials=ReadOnlyCredentials("key", secret, None),
            at=at,
        )
        return made["Authorization"]

    days = [signature("secret", at) for at in (0, 86399, 86400, 0)]
    assert len(set(days)) == 3
    assert days[0] == days[3]
    assert signature("another", 0) != days[0]
    assert signature("secret", 0) == days[0]


def test_there_is_no_template_of_what_is_signed_in_a_way_that_we_do_not_know():
    credentials = ReadOnlyCredentials("key", "secret", None)
    url = "http://localhost/"

    def template(url=url, body=b"{}", signed_with=credentials, **changed):
        prepared = signed_by_botocore(url, body, credentials, "eu-west-1")
        headers = dict(prepared.headers.items()) | changed
        return template_of(
            url, [(name, value) for name, value in headers.items() if value is not None], body, signed_with
        )

    assert template() is not None
    assert template(Authorization="Bearer token") is None
    assert template(Authorization=None) is None
    assert template(**{"X-Amz-Date": "yesterday"}) is None
    assert template(**{"X-Amz-Target": "DynamoDB_20120810.GetItem"}) is None  # changed after it was signed
    assert template(signed_with=ReadOnlyCredentials("key", "another", None)) is None
    assert template(url="http://localhost/a/path") is None
    assert template(url="http://localhost/?a=query") is None
    assert template(**{"User-Agent": "caf\u00e9"}) is None  # botocore sends its bytes


def test_a_header_of_one_call_is_in_no_template():
    credentials = ReadOnlyCredentials("key", "secret", "token")
    prepared = signed_by_botocore("http://localhost/", b"{}", credentials, "eu-west-1")
    prepared.headers["amz-sdk-invocation-id"] = "this call's"
    prepared.headers["X-Amzn-Trace-Id"] = "this call's"
    template = template_of("http://localhost/", prepared.headers.items(), b"{}", credentials)
    assert set(template.headers) == {"X-Amz-Target", "Content-Type", "User-Agent"}
    assert "X-Amz-Security-Token" not in template.filled_in(b"{}", ReadOnlyCredentials("key", "secret", None), at=0)


@pytest.mark.parametrize("header", ["X-Amz-Content-SHA256", "X-Amz-Anything"])
def test_there_is_no_template_where_more_is_signed_than_we_know(header):
    """Another header may be one of a single call: `s3v4`, for one, signs the body's hash."""
    credentials = ReadOnlyCredentials("key", "secret", None)
    prepared = signed_by_botocore("http://localhost/", b"{}", credentials, "eu-west-1", **{header: "of this call"})
    assert template_of("http://localhost/", prepared.headers.items(), b"{}", credentials) is None


def test_there_is_no_template_for_an_endpoint_of_another_account():
    """Credentials may change while botocore prepares a request."""
    url = "https://111111111111.ddb.eu-west-1.amazonaws.com/"
    credentials = ReadOnlyCredentials("key", "secret", None)
    prepared = signed_by_botocore(url, b"{}", credentials, "eu-west-1")
    for account, known in (("111111111111", True), ("222222222222", False), (None, False)):
        named = SimpleNamespace(access_key="key", secret_key="secret", token=None, account_id=account)
        assert (template_of(url, prepared.headers.items(), b"{}", named) is not None) == known
