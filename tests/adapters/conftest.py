"""Limiters and middleware of both APIs, on the simulator's DynamoDB."""

import pytest

from ddb_lease._runtime.runtime import Runtime
from scripts.harness.simulated_engine import Simulated
from tests.adapters.clients import ByAsgi, ByWsgi
from tests.apis import Loop
from tests.rate_apis import APIS, limiter_of
from tests.support import Tap


@pytest.fixture(scope="session")
def loop():
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def service():
    return Simulated()


@pytest.fixture(params=APIS)
def kind(request):
    return request.param


@pytest.fixture
def by(kind, loop):
    """Middleware of an API, and its clients."""
    return (ByAsgi if kind == "asyncio" else ByWsgi)(loop)


@pytest.fixture
def make(kind, service, loop):
    """Makes limiters of the API, each with a `tap` on its requests; `real` is what the middleware takes."""
    made = []

    def limiter(name="api", **settings):
        tap = Tap()
        settings |= {"session": service.session(), "endpoint_url": service.endpoint_url}
        made.append(limiter_of(kind, loop, name, runtime=Runtime(wrap=tap.around), **settings))
        made[-1].tap = tap
        return made[-1]

    yield limiter
    for one in made:
        one.close()
