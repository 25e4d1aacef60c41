"""An application of FastAPI's for uvicorn: see `served`."""

import os
from typing import Any

from fastapi import FastAPI, Request, WebSocket

from ddb_lease.adapters.asgi import RateLimitMiddleware, by_header
from ddb_lease.aio import RateLimiter
from tests.adapters.served import WAIT, busy, cost_of, settings

app, limiter = FastAPI(), RateLimiter(**settings())
app.add_middleware(
    RateLimitMiddleware,
    limiter=limiter,
    key=by_header("x-api-key"),
    cost=lambda scope: cost_of(scope["path"]),
    exempt=["/who"],
    wait=WAIT,
)
off: list[float] = []


@app.get("/who")
async def who() -> dict[str, Any]:
    if not off:
        off.append((await limiter.status()).uncertainty_seconds)
    busy()
    return {"pid": os.getpid(), "off": off[0]}


@app.api_route("/", methods=["GET", "HEAD"])
@app.post("/all")
async def root(request: Request) -> dict[str, Any]:
    return {"pid": os.getpid(), "bytes": len(await request.body())}


@app.websocket("/all")
async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()
