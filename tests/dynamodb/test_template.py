"""Templates: the whole of what one has of a request, and of what it sends later."""

from calendar import timegm
from types import SimpleNamespace

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from ddb_lease.dynamodb.template import Headers, template_of

CREDENTIALS = ReadOnlyCredentials("AKID", "secret", None)
LATER = timegm((2026, 11, 29, 1, 30, 0))
OF_ONE_CALL = {
    "Content-Length": "2",
    "amz-sdk-invocation-id": "3a1f",
    "amz-sdk-request": "attempt=1",
    "X-Amzn-Trace-Id": "Root=1",
}
PLAIN = {
    "X-Amz-Target": "DynamoDB_20120810.PutItem",
    "Content-Type": "application/x-amz-json-1.0",
    "User-Agent": "a program/1.0",
}


def prepared(url, credentials=CREDENTIALS, *, headers=PLAIN):
    """A request as botocore prepares it: its headers."""
    request = AWSRequest("POST", url, data=b"{}", headers=headers)
    SigV4Auth(credentials, "dynamodb", "eu-west-1").add_auth(request)
    return dict(request.prepare().headers.items())


def made(url, credentials=CREDENTIALS, *, more=None):
    return template_of(url, (prepared(url, credentials) | (more or {})).items(), b"{}", credentials)


@pytest.mark.parametrize("token", [None, "a token"])
def test_it_has_what_stays_the_same_and_nothing_of_the_one_call(token):
    url = "http://localhost:8000/"
    template = made(url, ReadOnlyCredentials("AKID", "secret", token), more=OF_ONE_CALL)
    assert (template.url, template.path, template.account) == (url, "/", None)
    assert template.headers == PLAIN
    assert template.lines == (
        "Host: localhost:8000\r\n"
        "Accept-Encoding: identity\r\n"
        "X-Amz-Target: DynamoDB_20120810.PutItem\r\n"
        "Content-Type: application/x-amz-json-1.0\r\n"
        "User-Agent: a program/1.0\r\n"
    )
    assert template.values == {
        "content-type": "application/x-amz-json-1.0",
        "host": "localhost:8000",
        "x-amz-target": "DynamoDB_20120810.PutItem",
    }
    assert template.signed == ("content-type", "host", "x-amz-date", "x-amz-target")


def test_what_it_sends_is_whole():
    filled = made("http://localhost/").filled_in(b"[1]", ReadOnlyCredentials("AKID", "secret", "t"), at=LATER)
    signature = "15fbc80a534bdc0c464a7765e9c773754c13b7ae31d7440ca6fb45668fb8dad0"
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKID/20261129/eu-west-1/dynamodb/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, "
        f"Signature={signature}"
    )
    assert filled == PLAIN | {
        "X-Amz-Date": "20261129T013000Z",
        "X-Amz-Security-Token": "t",
        "Authorization": authorization,
        "Content-Length": "3",
    }
    assert (
        filled.lines
        == (
            "Host: localhost\r\n"
            "Accept-Encoding: identity\r\n"
            "X-Amz-Target: DynamoDB_20120810.PutItem\r\n"
            "Content-Type: application/x-amz-json-1.0\r\n"
            "User-Agent: a program/1.0\r\n"
            "X-Amz-Date: 20261129T013000Z\r\n"
            "X-Amz-Security-Token: t\r\n"
            f"Authorization: {authorization}\r\n"
            "Content-Length: 3\r\n"
            "\r\n"
        ).encode()
    )


def test_headers_that_the_request_has_are_not_added_again():
    template = made("http://localhost/", more={"host": "localhost", "accept-encoding": "gzip"})
    assert template.lines.lower().count("host: ") == 1
    assert template.lines.count("accept-encoding: gzip\r\n") == 1
    assert "identity" not in template.lines


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://localhost/", "localhost"),
        ("http://localhost:80", "localhost"),
        ("http://localhost:443/", "localhost:443"),
        ("https://localhost:443/", "localhost"),
        ("https://localhost:80/", "localhost:80"),
        ("http://[::1]:8000/", "[::1]:8000"),
        ("https://[::1]/", "[::1]"),
    ],
)
def test_a_port_is_named_where_it_is_not_the_usual_one(url, host):
    template = made(url)
    assert template.values["host"] == host
    assert template.lines.startswith(f"Host: {host}\r\n")


@pytest.mark.parametrize("name", ["User-Agent", "X-Amz-Target", "X-Mine"])
@pytest.mark.parametrize("value", ["caf\u00e9", "a\rb", "a\nb"])
def test_there_is_none_of_what_cannot_stand_in_a_line(name, value):
    assert made("http://localhost/", more={name: value}) is None


@pytest.mark.parametrize("name", ["X-A\rX-B", "X-A\nX-B"])
def test_nor_of_a_name_that_is_two_lines(name):
    assert made("http://localhost/", more={name: "1"}) is None


def test_values_that_are_bytes_are_read_as_text():
    headers = {name: value.encode() for name, value in prepared("http://localhost/").items()}
    assert template_of("http://localhost/", headers.items(), b"{}", CREDENTIALS).headers == PLAIN


@pytest.mark.parametrize("token", ["a\rb", "a\nb"])
def test_credentials_that_are_two_lines_are_refused(token):
    with pytest.raises(ValueError, match="a line break in the credentials"):
        made("http://localhost/").filled_in(b"{}", ReadOnlyCredentials("AKID", "secret", token), at=LATER)


@pytest.mark.parametrize("without", ["X-Amz-Date", "Authorization"])
def test_there_is_none_of_what_is_not_signed(without):
    headers = prepared("http://localhost/")
    del headers[without]
    assert template_of("http://localhost/", headers.items(), b"{}", CREDENTIALS) is None


@pytest.mark.parametrize(
    ("url", "account", "known"),
    [
        ("https://111111111111.ddb.eu-west-1.amazonaws.com/", "111111111111", True),
        ("https://111111111111.ddb.eu-west-1.amazonaws.com/", "111111111112", False),
        ("https://111111111111.ddb.eu-west-1.amazonaws.com/", None, False),
        ("https://11111111111.example.com/", "222222222222", True),
        ("https://x111111111111.example.com/", "222222222222", True),
        ("https://localhost/", "222222222222", True),
    ],
)
def test_a_host_that_names_an_account_is_only_that_accounts(url, account, known):
    named = SimpleNamespace(access_key="AKID", secret_key="secret", token=None, account_id=account)
    template = made(url, named)
    assert (template is not None) is known
    if known:
        assert template.account == account
        assert template.fits(named)
        assert not template.fits(SimpleNamespace(account_id="333333333333"))
        assert not template.fits(CREDENTIALS)


def test_headers_are_sent_as_they_were_made_until_somebody_changes_them():
    headers = Headers({"A": "1"}, lines=b"A: 1\r\n\r\n")
    assert (headers.copy() is headers, headers, headers.lines) == (True, {"A": "1"}, b"A: 1\r\n\r\n")
    headers["B"] = "2"
    assert headers.lines is None
    del headers["B"]
    assert headers.lines == b"A: 1\r\n\r\n"
