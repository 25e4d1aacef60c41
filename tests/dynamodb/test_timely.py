"""Timely calls: a client whose calls the service refuses for their time, as this machine's wall clock is wrong."""

import email.utils
import json

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb.timely import TimelySender
from tests.dynamodb.http_body import Body
from tests.dynamodb.test_signing import STAMP, THEN, client_of, header, session


class Service:
    """Answers a client's requests; it refuses what is signed by another hour than its own."""

    def __init__(self, client, *, dated=THEN, takes=STAMP[:11]):
        self.stamps = []
        self.dated = email.utils.formatdate(dated, usegmt=True)
        self._takes = takes
        client.meta.events.register("before-send.dynamodb", self._answer)

    def _answer(self, request, **_):
        self.stamps.append(header(request, "X-Amz-Date"))
        if self.stamps[-1].startswith(self._takes):
            return self._answered(request, 200, {"TableNames": ["t"]})
        said = "Signature expired: 2023... is now earlier than 2026... (2026... - 5 min.)"
        return self._answered(request, 400, {"__type": "x#InvalidSignatureException", "message": said})

    def _answered(self, request, code, said):
        headers = {"x-amzn-requestid": "R", "Date": self.dated, "Content-Type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, code, headers, Body(json.dumps(said).encode()))


@pytest.fixture
def client():
    client = client_of(session())
    yield client
    client.close()


def test_a_call_that_is_refused_for_its_time_is_signed_by_the_services(client):
    service = Service(client)
    timely = TimelySender(SystemClock()).around(client)
    assert timely.list_tables()["TableNames"] == ["t"]
    assert [stamp.startswith(STAMP[:11]) for stamp in service.stamps] == [False, True]
    assert timely.list_tables()["TableNames"] == ["t"]
    assert service.stamps[2:] == [service.stamps[2]]
    assert service.stamps[2].startswith(STAMP[:11]), "it has learnt the time"


def test_one_that_is_refused_again_is_raised(client):
    service = Service(client, takes="never")
    timely = TimelySender(SystemClock()).around(client)
    with pytest.raises(ClientError, match="Signature expired"):
        timely.list_tables()
    assert len(service.stamps) == 4, "one sending, and three that are signed anew"


def test_a_refusal_that_names_no_time_is_raised_at_once(client):
    service = Service(client, takes="never")
    service.dated = "some day"
    with pytest.raises(ClientError, match="Signature expired"):
        TimelySender(SystemClock()).around(client).list_tables()
    assert len(service.stamps) == 1


def test_what_is_no_call_is_the_clients_own(client):
    timely = TimelySender(SystemClock()).around(client)
    assert timely.meta is client.meta
    assert timely.can_paginate("list_tables") is True
    assert timely.exceptions is client.exceptions


def test_what_a_call_is_given_is_what_the_client_sends(client):
    asked = []
    Service(client, dated=THEN, takes="")
    client.meta.events.register(
        "before-parameter-build.dynamodb", lambda params, model, **_: asked.append((model.name, params))
    )
    TimelySender(SystemClock()).around(client).list_tables(Limit=3, ExclusiveStartTableName="abc")
    assert asked == [("ListTables", {"Limit": 3, "ExclusiveStartTableName": "abc"})]
