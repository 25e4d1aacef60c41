"""Both paths to the service, ours and botocore's whole one, under the conditions that networks and accounts impose."""

import base64
import gzip
import itertools
import json
import socket
import sys
import types
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs

import boto3
import pytest

from ddb_lease._protocol.messages import Look, Rejected, Seen, Unknown, Unsent
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.pool import Pool
from ddb_lease.dynamodb.store import Store
from ddb_lease.dynamodb.wire import VARIABLE
from tests.dynamodb.http_service import Says, certificate, says, serving, tunnelling

LOOK = Look(limit=1, consistent=False)
EMPTY = says({"Items": [], "Count": 0, "ScannedCount": 0})
REGION = "us-east-1"
HOSTS = {
    "plain": "dynamodb.us-east-1.amazonaws.com",
    "FIPS": "dynamodb-fips.us-east-1.amazonaws.com",
    "dual stack": "dynamodb.us-east-1.api.aws",
    "FIPS and dual stack": "dynamodb-fips.us-east-1.api.aws",
}
LONG_LIVED = timedelta(hours=1)


@pytest.fixture(params=["wire", "boto3"])
def path(request, monkeypatch):
    """Which path is taken."""
    if request.param == "boto3":
        monkeypatch.setenv(VARIABLE, "boto3")
    else:
        monkeypatch.delenv(VARIABLE, raising=False)
    return request.param


@pytest.fixture
def posts(monkeypatch):
    """How many requests went past botocore's path."""
    counted = []
    post = Pool.post
    monkeypatch.setattr(Pool, "post", lambda *given: counted.append(1) or post(*given))
    return counted


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch, tmp_path):
    """No settings but the test's: neither this machine's variables nor its files."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
def service():
    with serving() as running:
        running.answer = lambda _: EMPTY
        yield running


@pytest.fixture
def opened():
    """Makes stores."""
    made = []

    def make(session=None, *, endpoint_url=None):
        session = session or boto3.Session("key", "secret")
        connection = ConnectionSettings(session=session, endpoint_url=endpoint_url)
        signing = types.SimpleNamespace(at=lambda: None)
        made.append(Store(table="leases", bucket="b", connection=connection, lease_seconds=100, signing=signing))
        return made[-1]

    yield make
    for store in made:
        store.close()


def answers(store, times=3):
    """What so many looks are answered."""
    return [store.send(LOOK).answer for _ in range(times)]


def require_path(path, posts, sent):
    """Check that all but the first of so many requests took our path, or none did."""
    assert len(posts) == (sent - 1 if path == "wire" else 0)


def all_seen(found):
    return all(isinstance(answer, Seen) for answer in found)


# ---- Ways to the service.


@pytest.fixture
def secure(tmp_path, monkeypatch):
    """A service that is all of DynamoDB's hosts, for those who trust its certificate."""
    context, known = certificate(tmp_path, *HOSTS.values())
    monkeypatch.setenv("AWS_CA_BUNDLE", str(known))
    with serving(tls=context) as running:
        running.answer = lambda _: EMPTY
        yield running


@pytest.mark.parametrize("where", HOSTS)
def test_each_host_is_reached_over_tls_through_a_proxy(path, posts, secure, opened, monkeypatch, where):
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", str("FIPS" in where).lower())
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", str("dual stack" in where).lower())
    with tunnelling(secure) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert all_seen(answers(opened()))
    assert {asked.headers["Host"] for asked in secure.asked} == {HOSTS[where]}
    assert {asked.headers.get("X-Amz-Target") for asked in secure.asked} == {"DynamoDB_20120810.Query"}
    assert proxy.asked == [(f"{HOSTS[where]}:443", None)], "one connection for all of them"
    require_path(path, posts, sent=3)


def test_a_proxy_gets_the_credentials_that_its_url_has(path, posts, secure, opened, monkeypatch):
    wanted = "Basic " + base64.b64encode(b"somebody:a secret").decode()
    with tunnelling(secure, credentials=wanted) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:a%20secret@127.0.0.1:{proxy.port}")
        assert all_seen(answers(opened()))
    assert proxy.asked == [(f"{HOSTS['plain']}:443", wanted)]
    assert not any("Proxy-Authorization" in asked.headers for asked in secure.asked)
    require_path(path, posts, sent=3)


def test_a_proxy_that_refuses_is_no_answer_of_the_service_and_its_password_is_not_told(
    path, posts, secure, opened, monkeypatch
):
    with tunnelling(secure) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:hidden@127.0.0.1:{proxy.port}")
        store = opened()
        assert all_seen(answers(store))
        store.close()  # its connections: the next request opens one
        proxy.credentials = "Basic another"
        (refused,) = answers(store, times=1)
        assert isinstance(refused, Unsent)
        assert "hidden" not in str(refused.cause)
        proxy.credentials = None
        assert all_seen(answers(store, times=1))
    assert len(secure.asked) == 4
    require_path(path, posts, sent=5)


def test_a_proxy_that_is_gone_is_no_answer_and_may_come_back(path, posts, secure, opened, monkeypatch):
    with tunnelling(secure) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        store = opened()
        assert all_seen(answers(store))
    store.close()
    (lost,) = answers(store, times=1)
    assert isinstance(lost, Unsent)
    require_path(path, posts, sent=4)


def test_a_proxy_without_tls_gets_the_whole_url_and_its_credentials(path, posts, service, opened, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://somebody:secret@127.0.0.1:{service.server.server_port}")
    assert all_seen(answers(opened(endpoint_url="http://dynamodb.test:8000")))
    wanted = "Basic " + base64.b64encode(b"somebody:secret").decode()
    assert [(asked.target, asked.headers["Proxy-Authorization"]) for asked in service.asked] == [
        ("http://dynamodb.test:8000/", wanted)
    ] * 3
    require_path(path, posts, sent=3)


def test_hosts_for_which_no_proxy_is_to_be_used_are_reached_without_it(path, posts, service, opened, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert all_seen(answers(opened(endpoint_url=service.url)))
    require_path(path, posts, sent=3)


def test_a_profile_may_name_the_certificate(path, posts, secure, opened, monkeypatch, tmp_path):
    known = tmp_path / "known.pem"
    monkeypatch.delenv("AWS_CA_BUNDLE")
    (tmp_path / "config").write_text(f"[profile ours]\nca_bundle = {known}\n")
    (tmp_path / "credentials").write_text("[ours]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    assert all_seen(answers(opened(boto3.Session(profile_name="ours"), endpoint_url=secure.url)))
    require_path(path, posts, sent=3)


def test_a_certificate_that_nobody_knows_is_not_trusted(path, posts, opened, tmp_path, monkeypatch):
    context, known = certificate(tmp_path)
    with serving(tls=context) as service:
        service.answer = lambda _: EMPTY
        for refused in answers(opened(endpoint_url=service.url), times=2):
            assert isinstance(refused, (Unknown, Unsent))
            assert "certificate verify failed" in str(refused.cause)
        assert not service.asked
        posts.clear()
        monkeypatch.setenv("AWS_CA_BUNDLE", str(known))
        assert all_seen(answers(opened(endpoint_url=service.url)))
    require_path(path, posts, sent=3)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_address_of_ipv6(path, posts, opened):
    try:
        running = serving(host="::1")
        service = running.__enter__()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    try:
        service.answer = lambda _: EMPTY
        assert all_seen(answers(opened(endpoint_url=service.url)))
        assert {asked.headers["Host"] for asked in service.asked} == {f"[::1]:{service.server.server_port}"}
    finally:
        running.__exit__(None, None, None)
    require_path(path, posts, sent=3)


# ---- Answers that are none.

ERROR = "com.amazonaws.dynamodb.v20120810#"
DYNAMODBS = {"x-amzn-RequestId": "R"}
TROUBLE = {
    "the service is in trouble": (says({"__type": ERROR + "InternalServerError"}, status=500), Unknown),
    "a gateway has no answer": (Says(status=502, body=b"<html>", headers={"Content-Type": "text/html"}), Unknown),
    "a gateway is busy": (Says(status=503, body=b"", headers={}), Unknown),
    "a gateway waited too long": (Says(status=504, body=b"<html>", headers={}), Unknown),
    "a portal welcomes you": (Says(status=200, body=b"<html>welcome</html>", headers={}), Unknown),
    "somebody else's JSON": (Says(status=200, body=b"{}", headers={}), Unknown),
    "a portal sends you elsewhere": (Says(status=302, body=b"", headers={"Location": "http://127.0.0.1:9/"}), Unknown),
    "half of it": (Says(body=b'{"Items": [', headers=DYNAMODBS), Unknown),
    "zipped": (Says(body=gzip.compress(EMPTY.body), headers=DYNAMODBS | {"Content-Encoding": "gzip"}), Unknown),
    "a permission is missing": (
        says({"__type": ERROR + "AccessDeniedException", "message": "no"}, status=400),
        Rejected,
    ),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_an_answer_that_is_none_is_taken_for_none_and_the_next_one_counts(path, posts, service, opened, name):
    store = opened(endpoint_url=service.url)
    assert all_seen(answers(store))
    said, kind = TROUBLE[name]
    service.answer = lambda _: said
    (trouble,) = answers(store, times=1)
    assert isinstance(trouble, kind)
    service.answer = lambda _: EMPTY
    assert all_seen(answers(store))
    assert len(service.asked) == 7
    require_path(path, posts, sent=7)


# ---- Credentials.


def used(service):
    """The access key and the token of each request that was sent."""
    return [
        (
            asked.headers["Authorization"].partition("Credential=")[2].partition("/")[0],
            asked.headers["X-Amz-Security-Token"],
        )
        for asked in service.asked
    ]


def issued(number):
    return f"KEY{number}", f"token-{number}"


class TokenService:
    """Gives out numbered credentials, as AWS's Security Token Service does."""

    def __init__(self, http):
        self.http = http
        self.asked = []
        self.refuses = None
        self.live = LONG_LIVED
        http.answer = self._answer

    def _answer(self, asked):
        form = {name: value for name, (value,) in parse_qs(asked.body.decode()).items()}
        self.asked.append(form | {"Authorization": asked.headers.get("Authorization")})
        xml = {"Content-Type": "text/xml", "x-amzn-RequestId": "R"}
        if self.refuses:
            error = f"<Error><Type>Sender</Type><Code>{self.refuses}</Code><Message>not allowed</Message></Error>"
            return Says(status=403, body=f"<ErrorResponse>{error}</ErrorResponse>".encode(), headers=xml)
        key, token = issued(len(self.asked))
        until = (datetime.now(timezone.utc) + self.live).strftime("%Y-%m-%dT%H:%M:%SZ")
        given = (
            f"<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
            f"<SessionToken>{token}</SessionToken><Expiration>{until}</Expiration></Credentials>"
            "<AssumedRoleUser><AssumedRoleId>R:s</AssumedRoleId>"
            "<Arn>arn:aws:sts::123456789012:assumed-role/leases/s</Arn></AssumedRoleUser>"
        )
        action = form["Action"]
        body = f"<{action}Response><{action}Result>{given}</{action}Result></{action}Response>"
        return Says(body=body.encode(), headers=xml)


@pytest.fixture
def tokens(monkeypatch):
    with serving() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", running.url)
        yield TokenService(running)


def assumed_role(tmp_path, monkeypatch):
    (tmp_path / "config").write_text(
        "[profile base]\n\n[profile ours]\nrole_arn = arn:aws:iam::123456789012:role/leases\nsource_profile = base\n"
    )
    (tmp_path / "credentials").write_text("[base]\naws_access_key_id = BASE\naws_secret_access_key = secret\n")
    return boto3.Session(profile_name="ours")


def web_identity(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("a signed token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/leases")
    return boto3.Session()


PROGRAM = """
import json, pathlib, sys
count = pathlib.Path(sys.argv[1])
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
print(json.dumps({"Version": 1, "AccessKeyId": f"KEY{number}", "SecretAccessKey": "secret",
                  "SessionToken": f"token-{number}", "Expiration": sys.argv[2]}))
"""


def process(tmp_path, monkeypatch):
    program, count = tmp_path / "program.py", tmp_path / "count"
    program.write_text(PROGRAM)
    until = (datetime.now(timezone.utc) + LONG_LIVED).isoformat()
    command = f'"{sys.executable}" "{program}" "{count}" {until}'
    (tmp_path / "config").write_text(f"[profile ours]\ncredential_process = {command}\n")
    return boto3.Session(profile_name="ours")


PROVIDERS = [assumed_role, web_identity, process]


def let_an_hour_pass(session):
    """As if the credentials at hand were about to expire."""
    credentials = session.get_credentials()
    credentials._expiry_time = datetime.now(timezone.utc) + timedelta(seconds=60)
    cache = getattr(getattr(credentials._refresh_using, "__self__", None), "_cache", None)
    if cache is not None:
        cache.clear()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_credentials_are_fetched_once_and_anew_when_they_are_about_to_expire(
    path, posts, service, tokens, opened, tmp_path, monkeypatch, provider
):
    session = provider(tmp_path, monkeypatch)
    store = opened(session, endpoint_url=service.url)
    assert all_seen(answers(store))
    let_an_hour_pass(session)
    assert all_seen(answers(store))
    assert used(service) == [issued(1)] * 3 + [issued(2)] * 3
    require_path(path, posts, sent=6)


def test_credentials_that_never_live_long_keep_no_request_from_our_path_which_fetches_them_once(
    path, posts, service, tokens, opened, tmp_path, monkeypatch
):
    """Within the last ten minutes of their life, botocore fetches new ones whenever it needs some."""
    tokens.live = timedelta(minutes=5)
    store = opened(assumed_role(tmp_path, monkeypatch), endpoint_url=service.url)
    fetched = []
    for _ in range(4):
        assert all_seen(answers(store, times=1))
        fetched.append(len(tokens.asked))
        assert used(service)[-1] == issued(fetched[-1]), "the latest are used"
    if path == "wire":
        assert [after - before for before, after in itertools.pairwise(fetched)] == [1, 1, 1]
    require_path(path, posts, sent=4)


def test_a_role_is_assumed_with_the_credentials_of_its_source_and_for_itself(
    path, service, tokens, opened, tmp_path, monkeypatch
):
    answers(opened(assumed_role(tmp_path, monkeypatch), endpoint_url=service.url))
    (asked,) = tokens.asked
    assert (asked["Action"], asked["RoleArn"]) == ("AssumeRole", "arn:aws:iam::123456789012:role/leases")
    assert "Credential=BASE/" in asked["Authorization"]


def test_a_web_identity_is_shown_and_nothing_is_signed_for_it(path, service, tokens, opened, tmp_path, monkeypatch):
    answers(opened(web_identity(tmp_path, monkeypatch), endpoint_url=service.url))
    (asked,) = tokens.asked
    assert (asked["Action"], asked["WebIdentityToken"]) == ("AssumeRoleWithWebIdentity", "a signed token")
    assert asked["Authorization"] is None


@pytest.mark.parametrize("provider", [assumed_role, web_identity])
def test_a_role_that_may_no_longer_be_assumed_refuses_once_its_credentials_have_expired(
    path, posts, service, tokens, opened, tmp_path, monkeypatch, provider
):
    session = provider(tmp_path, monkeypatch)
    store = opened(session, endpoint_url=service.url)
    assert all_seen(answers(store))
    tokens.refuses = "AccessDenied"
    let_an_hour_pass(session)
    (refused,) = answers(store, times=1)
    assert isinstance(refused, Rejected) and refused.unauthenticated
    assert "no credentials" in str(refused.error) and "not allowed" in str(refused.error)
    assert len(service.asked) == 3, "nothing is sent with credentials that are about to expire"
    tokens.refuses = None
    assert all_seen(answers(store))
    assert len(set(used(service))) == 2
    require_path(path, posts, sent=6)


def test_a_process_that_gives_no_credentials_any_more_is_no_refusal_of_the_service(
    path, posts, service, opened, tmp_path, monkeypatch
):
    session = process(tmp_path, monkeypatch)
    store = opened(session, endpoint_url=service.url)
    assert all_seen(answers(store))
    program = (tmp_path / "program.py").read_text()
    (tmp_path / "program.py").write_text("import sys; sys.exit('busy')")
    let_an_hour_pass(session)
    (failed,) = answers(store, times=1)
    assert isinstance(failed, Unsent)
    assert "busy" in str(failed.cause)
    (tmp_path / "program.py").write_text(program)
    assert all_seen(answers(store))
    assert used(service) == [issued(1)] * 3 + [issued(2)] * 3
    require_path(path, posts, sent=6)


def test_an_expired_token_is_refused_and_the_next_one_is_used(
    path, posts, service, tokens, opened, tmp_path, monkeypatch
):
    """The service decides what has expired, whatever the credentials say of themselves."""
    session = assumed_role(tmp_path, monkeypatch)
    store = opened(session, endpoint_url=service.url)
    expired = says({"__type": "com.amazon.coral.service#ExpiredTokenException", "message": "expired"}, status=400)
    service.answer = lambda asked: expired if asked.headers["X-Amz-Security-Token"] == "token-1" else EMPTY
    for answer in answers(store, times=2):
        assert isinstance(answer, Rejected) and answer.unauthenticated
        assert "credentials have run out" in str(answer.error)
    let_an_hour_pass(session)
    assert all_seen(answers(store))
    assert json.loads(service.asked[-1].body)["TableName"] == "leases"
    require_path(path, posts, sent=5)
