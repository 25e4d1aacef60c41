"""An application of Flask's for gunicorn: see `served`. With `SERVED_BEFORE_FORK`, the limiter is used at once."""

import functools
import os
from typing import Any

from flask import Flask, request

from ddb_lease import RateLimiter
from ddb_lease.adapters.wsgi import RateLimitMiddleware, by_header
from tests.adapters.served import busy, cost_of, settings

app, limiter = Flask(__name__), RateLimiter(**settings())
if os.environ.get("SERVED_BEFORE_FORK"):
    assert limiter.key("before the fork").try_acquire()
app.wsgi_app = RateLimitMiddleware(  # type: ignore[method-assign]
    app.wsgi_app,
    limiter=limiter,
    key=by_header("x-api-key"),
    cost=lambda environ: cost_of(environ["PATH_INFO"]),
    exempt=["/who"],
)


@functools.cache
def off(pid: int) -> float:
    return limiter.status().uncertainty_seconds


@app.get("/who")
def who() -> dict[str, Any]:
    busy()
    return {"pid": os.getpid(), "off": off(os.getpid())}


@app.get("/")
@app.post("/all")
def root() -> dict[str, Any]:
    return {"pid": os.getpid(), "bytes": len(request.get_data())}
