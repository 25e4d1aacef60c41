"""Signing by the service's time: botocore's own signature, at another time; and which refusals are for the time."""

import boto3
import botocore
import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials

from ddb_lease import client_config
from ddb_lease.dynamodb import ConnectionSettings, signing
from ddb_lease.dynamodb.signature import stamp
from ddb_lease.dynamodb.signing import call, hook, is_untimely, sign, time_of_call
from tests.dynamodb.http_body import Body
from tests.support import set_botocores_clock

THEN = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
STAMP = "20231114T221320Z"
TABLE = {"TableName": "t", "Key": {"pk": {"S": "b"}, "sk": {"S": "s"}}}


class By:
    """Signs by this time; None: by the wall clock."""

    def __init__(self, at):
        self._at = at

    def at(self):
        return self._at


def session(token=None):
    return boto3.Session(
        aws_access_key_id="AKID/x", aws_secret_access_key="secret", aws_session_token=token, region_name="eu-west-1"
    )


def noted(client):
    """The requests that the client sends; each is answered at once."""
    sent = []

    def answer(request, **_):
        sent.append(request)
        return AWSResponse(request.url, 200, {"x-amzn-requestid": "R"}, Body(b"{}"))

    client.meta.events.register("before-send.dynamodb", answer)
    return sent


def client_of(session_, **config):
    return session_.client("dynamodb", config=client_config(30).merge(Config(**config)))


def header(request, name):
    found = request.headers.get_all(name) if hasattr(request.headers, "get_all") else [request.headers[name]]
    assert len(found) == 1, f"{name} stands there {len(found)} times"
    return found[0].decode() if isinstance(found[0], bytes) else found[0]


@pytest.mark.parametrize("token", [None, "a token"])
def test_a_request_is_signed_as_botocore_would_at_that_time(monkeypatch, token):
    client = client_of(session(token))
    hook(client)
    sent = noted(client)
    call(client.get_item, TABLE, By(THEN))
    set_botocores_clock(monkeypatch, lambda: THEN)
    call(client.get_item, TABLE, By(None))
    ours, botocores = sent
    for name in ["Authorization", "X-Amz-Date"] + ["X-Amz-Security-Token"] * (token is not None):
        assert header(ours, name) == header(botocores, name)
    assert header(ours, "X-Amz-Date") == STAMP
    assert "/20231114/eu-west-1/dynamodb/aws4_request" in header(ours, "Authorization")
    assert ours.body == botocores.body


@pytest.mark.parametrize("how", ["made by us", "a client of the user's"])
def test_each_client_is_hooked_once_however_many_use_it(how, monkeypatch):
    ours = session()
    client = client_of(ours)
    settings = ConnectionSettings(session=ours) if how == "made by us" else ConnectionSettings(client=client)
    client = settings.connect(30)
    for _ in range(3):
        hook(client)
    sent, signed = noted(client), []
    monkeypatch.setattr(signing, "sign", lambda request, *a, **k: (signed.append(request), sign(request, *a, **k)))
    call(client.get_item, TABLE, By(THEN))
    assert header(sent[0], "X-Amz-Date") == STAMP
    assert len(signed) == 1
    other = ours.client("dynamodb", config=client_config(30))
    unhooked = noted(other)
    call(other.get_item, TABLE, By(THEN))
    assert header(unhooked[0], "X-Amz-Date") != STAMP, "other clients of the session are left alone"


def test_only_what_is_called_through_us_is_signed_by_the_services_time():
    client = ConnectionSettings(session=session()).connect(30)
    sent = noted(client)
    client.get_item(**TABLE)
    assert header(sent[0], "X-Amz-Date") != STAMP

    def within():
        client.get_item(**TABLE)
        raise OSError("an interrupt, or an answer")

    with pytest.raises(OSError, match="an interrupt"):
        call(within, {}, By(THEN))
    assert time_of_call() is None
    client.get_item(**TABLE)
    url = client.generate_presigned_url("get_item", Params=TABLE)
    assert [header(request, "X-Amz-Date") == STAMP for request in sent] == [False, True, False]
    assert STAMP not in url


def test_what_is_signed_with_other_credentials_or_not_at_all_is_left_as_it_is():
    unsigned = client_of(session(), signature_version=botocore.UNSIGNED)
    hook(unsigned)
    sent = noted(unsigned)
    call(unsigned.get_item, TABLE, By(THEN))
    assert "Authorization" not in sent[0].headers
    client = client_of(session())
    hook(client)
    sent = noted(client)

    def others(request, **_):
        request.context["signing"] = {"request_credentials": Credentials("another", "x")}

    client.meta.events.register("before-sign.dynamodb", lambda **_: None)
    client.meta.events.register_first("request-created.dynamodb", others)
    call(client.get_item, TABLE, By(THEN))
    assert "Credential=another/" in header(sent[0], "Authorization")
    assert header(sent[0], "X-Amz-Date") != STAMP


def test_what_handlers_add_to_a_request_is_signed_too():
    client = client_of(session())
    client.meta.events.register("before-sign.dynamodb", lambda request, **_: request.headers.add_header("X-Mine", "1"))
    hook(client)
    sent = noted(client)
    call(client.get_item, TABLE, By(THEN))
    assert ";x-mine," in header(sent[0], "Authorization")


@pytest.mark.parametrize("at", [1e20, -1e20, float("nan"), float("inf")])
def test_a_time_out_of_the_calendar_leaves_the_signature_as_it_is(at):
    request = AWSRequest(method="POST", url="https://nowhere/", headers={"Authorization": "as it was"}, data=b"{}")
    sign(request, Credentials("a", "b"), region="eu-west-1", service="dynamodb", at=at)
    assert request.headers["Authorization"] == "as it was"


@pytest.mark.parametrize("at", [0.0, THEN, THEN + 86_399.9, 4e9])
def test_the_day_of_the_scope_is_that_of_the_time(at):
    request = AWSRequest(method="POST", url="https://nowhere/", headers={"Date": "an older way"}, data=b"{}")
    sign(request, Credentials("a", "b"), region="eu-west-1", service="dynamodb", at=at)
    assert request.headers["X-Amz-Date"] == stamp(at)
    assert f"Credential=a/{stamp(at)[:8]}/eu-west-1/dynamodb/aws4_request," in request.headers["Authorization"]
    assert "Date" not in request.headers


@pytest.mark.parametrize("stand_in", [object(), None, type("Meta", (), {"meta": None})()])
def test_what_merely_behaves_like_a_client_is_left_alone(stand_in):
    hook(stand_in)
    assert call(lambda **given: given, {"a": 1}, By(THEN)) == {"a": 1}


@pytest.mark.parametrize(
    ("code", "said", "untimely"),
    [
        (
            "InvalidSignatureException",
            "Signature expired: 2023... is now earlier than 2026... (2026... - 5 min.)",
            True,
        ),
        ("InvalidSignatureException", "Signature not yet current: 2026... is still later than 2023...", True),
        ("InvalidSignatureException", "The request signature we calculated does not match the signature", False),
        ("InvalidSignatureException", "", False),
        ("SignatureDoesNotMatch", "Signature expired: 2023... is now earlier than 2026...", True),
        ("SignatureDoesNotMatch", "The request signature we calculated does not match", False),
        ("RequestTimeTooSkewed", "", True),
        ("RequestExpired", "Request has expired.", True),
        ("RequestInTheFuture", "", True),
        ("ExpiredTokenException", "The security token included in the request is expired", False),
        ("ValidationException", "Signature expired", False),
    ],
)
def test_which_refusals_are_for_the_time(code, said, untimely):
    assert is_untimely(code, said) is untimely
