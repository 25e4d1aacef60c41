"""First contact: what is wrong with the way to DynamoDB is told as it is, by buckets and by limiters alike."""

from __future__ import annotations

import resource
import time
from contextlib import contextmanager

import boto3
import pytest
from botocore.exceptions import ClientError

from ddb_lease import ConfigurationError, LeaseBucket, RateLimiter, StoreRejected, StoreUnavailable, client_config
from ddb_lease.cli import exits

REFUSING = "http://127.0.0.1:9"
PATIENCE = 15.0
"""Seconds for what takes one, on a machine that may be busy; today's code took 20."""

KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "eu-west-1"}
MAKERS = {
    "bucket": lambda **where: LeaseBucket("b", max_tokens=1, lease_seconds=30, **where),
    "limiter": lambda **where: RateLimiter("b", rate=10, **where),
}
made_as = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def through(endpoint_url, **session):
    return {"session": boto3.Session(**(KEYS | session)), "endpoint_url": endpoint_url}


def told(make, where, code):
    """The error of an acquire that has a second, and of a try, which must agree."""
    began = time.monotonic()
    with make(**where) as guard:
        with pytest.raises((StoreRejected, StoreUnavailable)) as acquiring:
            guard.acquire(timeout=1)
        with pytest.raises(type(acquiring.value)) as trying:
            guard.try_acquire()
    assert time.monotonic() - began < PATIENCE
    assert exits.code_for(acquiring.value) == exits.code_for(trying.value) == code
    return str(acquiring.value)


@made_as
def test_missing_credentials_are_told_at_once(make):
    where = through(REFUSING) | {"session": boto3.Session(region_name="eu-west-1")}
    with make(**where) as guard:
        began = time.monotonic()
        with pytest.raises(StoreRejected, match="Unable to locate credentials"):
            guard.acquire()  # without a timeout
        assert time.monotonic() - began < PATIENCE
    told(make, where, exits.REJECTED)


@made_as
@pytest.mark.parametrize(
    ("endpoint_url", "why"),
    [
        (REFUSING, "Connection refused"),
        ("http://no-such-host.invalid:9", "Could not connect.*no-such-host.invalid.*: "),
    ],
)
def test_an_endpoint_that_cannot_be_reached_is_told_with_the_reason(make, endpoint_url, why):
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(told(make, through(endpoint_url), exits.UNAVAILABLE))


@contextmanager
def no_file_to_be_had():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@made_as
def test_too_many_open_files_are_told(make):
    with (
        make(**through(REFUSING)) as guard,
        pytest.raises(StoreUnavailable, match="Too many open files"),
        no_file_to_be_had(),
    ):
        guard.acquire(timeout=0.5)


@made_as
def test_a_region_that_is_none_is_told_before_anything_is_sent(make):
    with pytest.raises(ConfigurationError, match="region"):
        make(session=boto3.Session(**(KEYS | {"region_name": "eu west"})))


REFUSALS = {
    "no table": ("ResourceNotFoundException", "no such table", "create-table"),
    "wrong keys": ("ValidationException", "the provided key element does not match the schema", "pk and sk"),
    "access denied": ("AccessDeniedException", "not authorized to perform", "permission"),
}


@made_as
@pytest.mark.parametrize("dated", [True, False], ids=["with its time", "without"])
@pytest.mark.parametrize(("code", "message", "says"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_by_the_service_is_told_at_once(make, code, message, says, dated):
    client = boto3.client("dynamodb", endpoint_url=REFUSING, config=client_config(30), **KEYS)
    headers = {"date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())} if dated else {}

    def refuse(operation, _parameters):
        metadata = {"RequestId": "R1", "HTTPStatusCode": 400, "HTTPHeaders": headers}
        raise ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, operation)

    client._make_api_call = refuse
    assert says in told(make, {"client": client}, exits.REJECTED)
