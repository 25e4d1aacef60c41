"""What a user gives as a session or a client: what is surely something else is refused, with what to pass instead."""

from types import SimpleNamespace

import boto3
import pytest
from boto3.session import Session

from ddb_lease.dynamodb.given import require_client, require_endpoint_url, require_session
from ddb_lease.errors import ConfigurationError

A_CLIENT = 'boto3.client("dynamodb", config=ddb_lease.client_config())'


def stand_in(**attributes):
    """Something with these attributes and no others, which is shown as `it`."""
    return type("It", (SimpleNamespace,), {"__repr__": lambda _: "it"})(**attributes)


def client_for(service_name):
    return stand_in(meta=SimpleNamespace(service_model=SimpleNamespace(service_name=service_name)))


RESOURCE = stand_in(meta=SimpleNamespace(client=1, resource_model=2))
ASYNCHRONOUS = [
    type("Client", (), {"__module__": "aiobotocore.client"}),
    type("Client", (), {"__module__": "aioboto3.session"}),
    type("Client", (), {"__module__": "types_aiobotocore.dynamodb"}),
]
REFUSED_AS_CLIENT = [
    (stand_in(client=print), "client is a session: pass it as session="),
    (stand_in(create_client=print), "client is a session: pass it as session="),
    (stand_in(), f"client must be a DynamoDB client, not it: pass {A_CLIENT}"),
    (stand_in(meta=None, client="no function"), f"client must be a DynamoDB client, not it: pass {A_CLIENT}"),
    ("production", f"client must be a DynamoDB client, not 'production': pass {A_CLIENT}"),
    (
        type("Client", (), {"meta": 1}),
        f"client must be a DynamoDB client, not <class '{__name__}.Client'>: pass {A_CLIENT}",
    ),
    (RESOURCE, f"client is a boto3 resource, it: pass a session, or a client such as {A_CLIENT}"),
    (client_for("s3"), f"client is a client of s3, not of DynamoDB: pass {A_CLIENT}"),
]
TAKEN_AS_CLIENT = [
    client_for("dynamodb"),
    client_for(None),
    client_for(17),
    stand_in(meta=SimpleNamespace()),
    stand_in(meta=SimpleNamespace(client=1)),
    stand_in(meta=SimpleNamespace(client=None, resource_model=2)),
    stand_in(meta=SimpleNamespace(), client=print),
]
A_SESSION = "session must be a boto3.Session, not"
REFUSED_AS_SESSION = [
    (Session, "session is the class Session: make a session, as in boto3.Session()"),
    (
        "production",
        f"{A_SESSION} 'production': for a profile of that name, pass boto3.Session(profile_name=...)",
    ),
    (
        stand_in(create_client=print, client=print),
        "session is a session of botocore: wrap it, as in boto3.Session(botocore_session=session)",
    ),
    (RESOURCE, f"{A_SESSION} the resource it"),
    (client_for("dynamodb"), "session is a client of dynamodb, not a session: pass it as client="),
    (client_for("s3"), "session is a client of s3, not a session: pass a boto3.Session"),
    (stand_in(), f"{A_SESSION} it"),
    (stand_in(client="no function", create_client="nor this"), f"{A_SESSION} it"),
    (17, f"{A_SESSION} 17"),
]
TAKEN_AS_SESSION = [stand_in(client=print), stand_in(client=print, create_client=None)]


@pytest.mark.parametrize(("given", "says"), REFUSED_AS_CLIENT)
def test_what_is_no_client_is_refused_with_what_to_pass(given, says):
    with pytest.raises(ConfigurationError) as caught:
        require_client(given)
    assert str(caught.value) == says


@pytest.mark.parametrize("given", TAKEN_AS_CLIENT)
def test_what_behaves_like_a_client_is_taken(given):
    require_client(given)


@pytest.mark.parametrize(("given", "says"), REFUSED_AS_SESSION)
def test_what_is_no_session_is_refused_with_what_to_pass(given, says):
    with pytest.raises(ConfigurationError) as caught:
        require_session(given)
    assert str(caught.value) == says


@pytest.mark.parametrize("given", TAKEN_AS_SESSION)
def test_what_behaves_like_a_session_is_taken(given):
    require_session(given)


@pytest.mark.parametrize("kind", ASYNCHRONOUS, ids=lambda kind: kind.__module__)
def test_what_must_be_awaited_is_refused_and_so_is_what_is_made_of_it(kind):
    package = kind.__module__.partition(".")[0]
    for made in (kind(), type("Mine", (kind,), {"meta": 1, "client": print})()):
        for what, require in (("client", require_client), ("session", require_session)):
            with pytest.raises(ConfigurationError) as caught:
                require(made)
            assert str(caught.value) == (
                f"{what} is of {package}, whose methods must be awaited: pass one of boto3, to ddb_lease.aio too, "
                "which sends its requests on threads"
            )


def test_boto3s_own_are_taken_and_none_for_another():
    session = boto3.Session("key", "secret", region_name="eu-west-1")
    client = session.client("dynamodb")
    require_session(session)
    require_client(client)
    for require, given in ((require_session, client), (require_client, session), (require_client, boto3)):
        with pytest.raises(ConfigurationError):
            require(given)


@pytest.mark.parametrize(("given", "shown"), [(8000, "8000"), (b"http://x", "b'http://x'"), ([], r"\[\]")])
def test_an_endpoint_is_a_text_or_none(given, shown):
    require_endpoint_url(None)
    require_endpoint_url("")
    with pytest.raises(ConfigurationError, match=f"^endpoint_url must be a string, not {shown}$"):
        require_endpoint_url(given)
