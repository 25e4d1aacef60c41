"""Hooks: whatever is replaced in botocore, or registered with a client, is found before a request goes past it."""

import functools

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.endpoint import Endpoint
from botocore.hooks import HierarchicalEmitter
from botocore.httpsession import URLLib3Session
from botocore.parsers import ResponseParser
from botocore.signers import RequestSigner

from ddb_lease import client_config
from ddb_lease.dynamodb.hooks import Hooks
from ddb_lease.dynamodb.signing import hook

NOWHERE = "http://127.0.0.1:9"
EVENTS = [
    "provide-client-params",
    "before-parameter-build",
    "before-endpoint-resolution",
    "before-call",
    "request-created",
    "choose-signer",
    "before-sign",
    "before-send",
    "before-parse",
    "response-received",
    "needs-retry",
    "after-call",
    "after-call-error",
]
FUNCTIONS = [
    (BaseClient, "_make_api_call"),
    (BaseClient, "_make_request"),
    (BaseClient, "_convert_to_request_dict"),
    (BaseClient, "_emit_api_params"),
    (BaseClient, "_resolve_endpoint_ruleset"),
    (Endpoint, "make_request"),
    (Endpoint, "create_request"),
    (Endpoint, "prepare_request"),
    (Endpoint, "_send_request"),
    (Endpoint, "_get_response"),
    (Endpoint, "_do_get_response"),
    (Endpoint, "_send"),
    (URLLib3Session, "send"),
    (RequestSigner, "handler"),
    (RequestSigner, "sign"),
    (RequestSigner, "get_auth_instance"),
    (SigV4Auth, "add_auth"),
    (AWSRequest, "prepare"),
    (HierarchicalEmitter, "_emit"),
    (ResponseParser, "parse"),
]
FUNCTIONS = [(owner, name) for owner, name in FUNCTIONS if hasattr(owner, name)]
"""What a call goes through, as far as the installed botocore has it: an older one lacks some."""


@pytest.fixture(scope="module")
def session():
    return boto3.Session(aws_access_key_id="key", aws_secret_access_key="secret", region_name="eu-west-1")


@pytest.fixture
def new_client(session):
    def made(**config):
        return session.client("dynamodb", endpoint_url=NOWHERE, config=client_config(10).merge(Config(**config)))

    return made


@pytest.fixture
def client(new_client):
    return new_client()


def found(hooks, client):
    return hooks.found(client, "update_item", "UpdateItem")


# ---- Handlers.


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("of", ["", ".dynamodb", ".dynamodb.UpdateItem"])
def test_a_handler_of_any_event_of_a_call_is_found_until_it_is_gone(client, event, of):
    hooks = Hooks(client)
    assert found(hooks, client) is None

    def mine(**_):
        """Does nothing."""

    client.meta.events.register(f"{event}{of}", mine)
    name = "test_a_handler_of_any_event_of_a_call_is_found_until_it_is_gone.<locals>.mine"
    assert found(hooks, client) == f"tests.dynamodb.test_hooks.{name} handles {event}"
    client.meta.events.unregister(f"{event}{of}", mine)
    assert found(hooks, client) is None


@pytest.mark.parametrize("event", ["before-call.dynamodb.Query", "before-call.s3", "creating-client-class"])
def test_a_handler_of_something_else_is_none_of_it(client, event):
    client.meta.events.register(event, lambda **_: None)
    assert found(Hooks(client), client) is None


def test_each_operation_is_looked_through_by_itself(client):
    hooks = Hooks(client)
    client.meta.events.register("before-call.dynamodb.Query", plain)
    for _ in range(2):
        assert found(hooks, client) is None
        assert hooks.found(client, "query", "Query") == "tests.dynamodb.test_hooks.plain handles before-call"


def plain(**_):
    """Does nothing."""


class Handler:
    def __call__(self, **_):
        """Does nothing."""

    def method(self, **_):
        """Does nothing."""


@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (plain, "tests.dynamodb.test_hooks.plain"),
        (functools.partial(functools.partial(plain, a=1), b=2), "tests.dynamodb.test_hooks.plain"),
        (Handler(), "tests.dynamodb.test_hooks.Handler"),
        (Handler().method, "tests.dynamodb.test_hooks.Handler.method"),
        (functools.partial(Handler().method), "tests.dynamodb.test_hooks.Handler.method"),
        (dict, "builtins.type"),
    ],
    ids=["function", "partial", "object", "method", "partial of a method", "class"],
)
def test_a_handler_is_named_by_where_its_code_stands(client, handler, name):
    client.meta.events.register("before-call.dynamodb", handler)
    assert found(Hooks(client), client) == f"{name} handles before-call"


def test_a_wrapper_that_looks_like_botocores_is_found_all_the_same(client):
    @functools.wraps(SigV4Auth.add_auth)
    def wrapper(**_):
        """Does nothing."""

    client.meta.events.register("before-call.dynamodb", wrapper)
    assert found(Hooks(client), client).startswith("tests.dynamodb.test_hooks.")


def test_our_own_handlers_are_none(client):
    hook(client)
    assert found(Hooks(client), client) is None


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_botocores_own_retries_are_none(new_client, mode):
    client = new_client(retries={"mode": mode, "total_max_attempts": 1})
    assert found(Hooks(client), client) is None


def test_retries_that_slow_down_by_themselves_are_one(new_client):
    client = new_client(retries={"mode": "adaptive", "total_max_attempts": 1})
    assert "botocore.retries.adaptive." in found(Hooks(client), client)


def test_who_has_botocore_discover_endpoints_has_it_do_so(session):
    config = client_config(10).merge(Config(endpoint_discovery_enabled=True))
    client = session.client("dynamodb", config=config)  # at an endpoint of one's own, nothing is discovered
    assert "botocore.discovery.EndpointDiscoveryHandler." in found(Hooks(client), client)


@pytest.mark.parametrize(
    ("module", "enabled", "is_one"),
    [
        ("moto.core.botocore_stubber", False, False),
        ("moto.core.botocore_stubber", True, True),
        ("moto.core.botocore_stubber", None, True),
        ("motorway", False, True),
        ("mine", False, True),
    ],
)
def test_motos_handler_counts_while_it_is_switched_on(client, module, enabled, is_one):
    stubber = type("Stubber", (), {"__module__": module, "__call__": lambda self, **_: None})()
    if enabled is not None:
        stubber.enabled = enabled
    client.meta.events.register("before-send.dynamodb", stubber)
    hooks = Hooks(client)
    assert found(hooks, client) == (f"{module}.Stubber handles before-send" if is_one else None)
    if enabled is False and not is_one:
        stubber.enabled = True
        assert found(hooks, client) == f"{module}.Stubber handles before-send"


# ---- What is replaced.


@pytest.mark.parametrize(("owner", "name"), FUNCTIONS, ids=[name for _, name in FUNCTIONS])
def test_a_function_that_is_replaced_is_found_now_and_by_who_looks_later(client, monkeypatch, owner, name):
    hooks = Hooks(client)
    assert found(hooks, client) is None
    wrapped = functools.wraps(getattr(owner, name))(lambda *given, **named: None)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, wrapped)
        assert found(hooks, client).endswith(f".{name} is replaced")
        before = Hooks(client)
        assert found(before, client) == f"{name} of botocore was replaced before"
    assert found(hooks, client) is None
    assert found(before, client).endswith(f".{name} is replaced")


@pytest.mark.parametrize("name", ["update_item", *(name for owner, name in FUNCTIONS if owner is BaseClient)])
def test_a_method_that_is_replaced_on_the_client_is_found(client, name):
    hooks = Hooks(client)
    setattr(client, name, lambda *_, **__: None)
    assert found(hooks, client) == "update_item of the client is replaced"


@pytest.mark.parametrize("name", [name for owner, name in FUNCTIONS if owner is Endpoint])
def test_a_method_that_is_replaced_on_its_endpoint_is_found(client, name):
    hooks = Hooks(client)
    setattr(client._endpoint, name, lambda *_, **__: None)
    assert found(hooks, client) == "a method of the client's Endpoint is replaced"


def test_a_method_that_is_replaced_on_its_http_session_is_found(client):
    hooks = Hooks(client)
    client._endpoint.http_session.send = lambda *_: None
    assert found(hooks, client) == "a method of the client's URLLib3Session is replaced"


def test_another_operations_method_is_none_of_it(client):
    client.query = lambda **_: None
    assert found(Hooks(client), client) is None
