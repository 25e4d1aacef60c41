"""Failures: what each exception of botocore's that is no answer of DynamoDB means, and what is said of it."""

import http.client
import itertools
import string

import pytest
from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from ddb_lease import StoreRejected
from ddb_lease._protocol.messages import Rejected, Unknown, Unsent
from ddb_lease.dynamodb.endpoint import AWS, Endpoint
from ddb_lease.dynamodb.failures import read_exception, refusal, while_fetching_credentials, with_reason

URL = "http://127.0.0.1:9/"
ENGINE = Endpoint(gone="the engine has ended")


def of_botocore(*names):
    """An exception of each of these names, as far as the installed botocore has it: an older one lacks some."""
    made = {}
    for kind in (getattr(aws, name) for name in names if hasattr(aws, name)):
        fields = {field for _, field, _, _ in string.Formatter().parse(kind.fmt) if field}
        made[kind.__name__] = kind(**dict.fromkeys(sorted(fields), "x"))
    return [pytest.param(error, id=name) for name, error in made.items()]


@pytest.mark.parametrize(
    "error",
    of_botocore(
        "NoCredentialsError",
        "PartialCredentialsError",
        "UnknownCredentialError",
        "NoAuthTokenError",
        "UnknownTokenProviderError",
        "NoRegionError",
        "UnknownRegionError",
        "ProfileNotFound",
        "ConfigNotFound",
        "ConfigParseError",
        "InvalidConfigError",
        "InvalidIMDSEndpointError",
        "InvalidIMDSEndpointModeError",
        "InvalidProxiesConfigError",
        "InvalidEndpointConfigurationError",
        "BaseEndpointResolverError",
        "EndpointProviderError",
        "InvalidHostLabelError",
        "UnknownSignatureVersionError",
        "UnsupportedSignatureVersionError",
        "MissingDependencyException",
        "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
        "RefreshWithMFAUnsupportedError",
        "LoginRefreshRequired",
        "LoginTokenLoadError",
        "LoginAuthorizationCodeError",
        "LoginInsufficientPermissions",
        "TokenRetrievalError",
    ),
)
def test_a_set_up_that_cannot_work_is_refused_for_good(error):
    answer = read_exception(error)
    assert isinstance(answer, Rejected)
    assert (answer.unauthenticated, answer.untimely, answer.error.__cause__) == (True, False, error)
    assert str(answer.error) == str(error).rstrip(".") + ": check credentials, profile and region"


@pytest.mark.parametrize(
    "error",
    of_botocore(
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "ProxyConnectionError",
        "CredentialRetrievalError",
        "MetadataRetrievalError",
        "SSOError",
        "LoginError",
    ),
)
def test_what_was_not_sent_may_work_the_next_time(error):
    assert read_exception(error) == Unsent(cause=error)


def test_a_refusal_ends_in_one_colon_and_no_full_stop_before_it():
    refused = refusal(aws.NoRegionError())
    assert isinstance(refused, StoreRejected)
    assert str(refused) == "You must specify a region: check credentials, profile and region"
    assert str(refusal(ValueError("no profile..."))) == "no profile: check credentials, profile and region"


# ---- Who hung up.


class Below(Exception):
    """What urllib3 raises for a proxy: it keeps what the system said."""

    def __init__(self, original_error):
        super().__init__("Unable to connect to proxy")
        self.original_error = original_error


@pytest.mark.parametrize(
    "said", [ConnectionResetError(), TimeoutError(), http.client.RemoteDisconnected(), http.client.BadStatusLine("x")]
)
def test_only_a_proxy_that_hangs_up_may_have_passed_the_request_on(said):
    by_proxy = aws.ProxyConnectionError(proxy_url="x", error=Below(said))
    assert read_exception(by_proxy) == Unknown(cause=by_proxy)
    for error in (
        aws.EndpointConnectionError(endpoint_url=URL, error=Below(said)),
        aws.ConnectTimeoutError(endpoint_url=URL, error=Below(said)),
        aws.ProxyConnectionError(proxy_url="x", error=Below(OSError("407"))),
    ):
        assert read_exception(error) == Unsent(cause=error)


# ---- What is said of it.


def caused_by(*errors):
    """An exception whose chain is these, the first on top."""
    for above, cause in itertools.pairwise(errors):
        above.__cause__ = cause
    return errors[0]


REFUSED = 'Could not connect to the endpoint URL: "http://127.0.0.1:9/"'
TOO_MANY = OSError(24, "Too many open files")


@pytest.mark.parametrize(
    ("below", "endpoint", "says"),
    [
        (None, AWS, REFUSED),
        ("refused", AWS, REFUSED),
        (ValueError("urllib3's own"), AWS, REFUSED),
        (OSError("without a number"), AWS, REFUSED),
        (TOO_MANY, AWS, f"{REFUSED}: Too many open files"),
        (caused_by(ValueError("urllib3's own"), TOO_MANY), AWS, f"{REFUSED}: Too many open files"),
        (OSError(2, "the endpoint URL"), AWS, REFUSED),
        (None, ENGINE, f"{REFUSED}: the engine has ended"),
        (TOO_MANY, ENGINE, f"{REFUSED}: Too many open files: the engine has ended"),
    ],
)
def test_what_the_system_said_follows_what_botocore_says_once(below, endpoint, says):
    error = aws.EndpointConnectionError(endpoint_url=URL, error=below)
    for _ in range(2):
        assert str(with_reason(error, endpoint)) == says
    answer = read_exception(aws.EndpointConnectionError(endpoint_url=URL, error=below), endpoint)
    assert str(answer.cause) == says


def test_what_came_before_by_the_way_is_told_too():
    try:
        try:
            raise OSError(111, "Connection refused")
        except OSError:
            raise ValueError("urllib3's own")  # noqa: B904 - as urllib3 does it
    except ValueError as below:
        error = aws.EndpointConnectionError(endpoint_url=URL, error=below)
    assert str(with_reason(error, AWS)) == f"{REFUSED}: Connection refused"


def test_only_a_refused_connection_means_that_an_engine_has_ended():
    error = aws.ConnectTimeoutError(endpoint_url=URL)
    before = str(error)
    assert str(with_reason(error, ENGINE)) == before


def test_an_exception_that_leads_to_itself_is_told_all_the_same():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert str(with_reason(aws.EndpointConnectionError(endpoint_url=URL, error=one), AWS)) == REFUSED


# ---- Where it came from.


def raised_in(*modules):
    """An exception that passed through these modules; it was raised in the last of them."""
    step = "raise KeyError('x')"
    for module in reversed(modules):
        name = {"__name__": module}
        step = f"exec({step!r}, {name!r})"
    try:
        exec(step, {"__name__": "a program"})
    except KeyError as error:
        return error


@pytest.mark.parametrize(
    "module",
    [
        "botocore.parsers",
        "botocore.httpsession",
        "botocore.awsrequest",
        "urllib3.connectionpool",
        "urllib3.response",
        "http.client",
        "ssl",
        "ddb_lease.dynamodb.json_protocol",
        "ddb_lease.dynamodb.pool",
    ],
)
def test_what_passed_through_what_reads_answers_is_not_this_processs_own(module):
    for modules in ((module,), ("botocore.client", module, "json.decoder")):
        error = raised_in(*modules)
        assert read_exception(error) == Unknown(cause=error, raised_here=False)


@pytest.mark.parametrize("module", ["botocore.client", "botocore.hooks", "urllib3_tracing", "ddb_lease.dynamodb.wire"])
def test_what_passed_through_nothing_of_that_is(module):
    error = raised_in(module)
    assert read_exception(error) == Unknown(cause=error, raised_here=True)


@pytest.mark.parametrize(
    "error",
    [aws.BotoCoreError(), OSError("reset"), http.client.IncompleteRead(b""), ResponseParserError("none of DynamoDB's")],
    ids=lambda error: type(error).__name__,
)
def test_what_a_network_or_an_answer_causes_is_never_this_processs_own(error):
    with pytest.raises(type(error)) as caught:
        raise error
    assert read_exception(caught.value) == Unknown(cause=error, raised_here=False)


def test_what_was_never_raised_passed_through_nothing():
    error = KeyError("x")
    assert read_exception(error) == Unknown(cause=error, raised_here=False)


@pytest.mark.parametrize("module", ["botocore.credentials", "botocore.tokens"])
def test_what_passed_through_what_fetches_credentials_was_sent_to_nobody(module):
    error = raised_in("botocore.client", module, "a.provider")
    assert while_fetching_credentials(error)
    assert read_exception(error) == Unsent(cause=error)


def test_a_module_whose_name_only_begins_like_that_fetches_none():
    assert not while_fetching_credentials(raised_in("botocore.credentials_of_mine"))
