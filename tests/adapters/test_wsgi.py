"""What only middleware for WSGI meets: `start_response` in all its forms, and Flask."""

import pytest
from flask import Flask, Response

from ddb_lease import RateLimiter
from ddb_lease.adapters.wsgi import RateLimitMiddleware
from tests.adapters.clients import ByWsgi

HOUR = 3600.0


@pytest.fixture
def limiter(service):
    with RateLimiter("api", rate=2, per=HOUR, session=service.session(), endpoint_url=service.endpoint_url) as made:
        yield made


@pytest.fixture
def by():
    return ByWsgi()


class Chunks:
    """An iterable of an application's own, with a `close`."""

    def __init__(self):
        self.closed = False

    def __iter__(self):
        return iter([b"x"])

    def close(self):
        self.closed = True


def test_what_the_application_returns_is_passed_on_as_it_is(limiter):
    chunks = Chunks()

    def app(environ, start_response):
        start_response("200 OK", [])
        return chunks

    assert RateLimitMiddleware(app, limiter=limiter)({"REMOTE_ADDR": "a"}, lambda *_: None) is chunks


def test_an_application_may_begin_late_and_anew_after_an_error(limiter, by):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            raise LookupError
        except LookupError as error:
            write = start_response("500 Oops", [("Content-Type", "text/plain")], (LookupError, error, None))
            write(b"")
        yield b"sorry"

    answer = by.around(limiter, app)()
    assert (answer.status, answer.body) == (500, b"sorry")
    assert len(answer.all("ratelimit")) == 1


def test_an_application_may_call_start_response_by_keyword(limiter):
    seen = []

    def app(environ, start_response):
        start_response(status="200 OK", response_headers=[])
        start_response("500 Oops", [], exc_info=(LookupError, None, None))
        return []

    RateLimitMiddleware(app, limiter=limiter, key=None)({}, lambda *given: seen.append(given))
    assert [(given[0], len(given)) for given in seen] == [("200 OK", 2), ("500 Oops", 3)]
    assert all(dict(given[1])["RateLimit"] for given in seen)


def test_an_applications_own_error_is_its_own_and_its_permit_is_used(limiter):
    def broken(environ, start_response):
        raise LookupError("mine")

    app = RateLimitMiddleware(broken, limiter=limiter, key=None, cost=2)
    with pytest.raises(LookupError, match="mine"):
        app({}, None)
    assert not limiter.try_acquire()


def test_a_path_is_read_as_utf_8(limiter, by):
    get = by.around(limiter, exempt=["/naïve"], key=None, cost=2)
    assert [get("/naïve".encode().decode("latin-1")).status for _ in range(2)] == [200, 200]
    assert [get("/\xff").status for _ in range(2)] == [200, 429]


def test_around_flask(limiter):
    flask = Flask(__name__)
    flask.add_url_rule("/", view_func=lambda: Response(iter(["a", "b"]), headers={"Set-Cookie": "a=1"}))
    flask.wsgi_app = RateLimitMiddleware(flask.wsgi_app, limiter=limiter, exempt=["/health"])
    client = flask.test_client()
    first, second, third = client.get("/"), client.head("/"), client.get("/")
    assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
    assert (first.data, first.headers["RateLimit"][:15]) == (b"ab", '"default";r=1;t')
    assert third.json["violated-policies"] == ["default"]
    assert client.get("/health").status_code == 404
