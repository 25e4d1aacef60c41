"""Ways to send one and the same request, and the processor time and wall time of each, relative to boto3's call.

    python -m benchmarks.wires

The server answers from another process at once. What is compared: boto3's call; botocore's signer and HTTP session
without the rest; our wire; and, where awscrt is installed, its signer with urllib3, and awscrt alone.
Why we do what we do: docs/adr/0016-a-wire-of-our-own.md.
"""

from __future__ import annotations

import importlib
import io
import json
import multiprocessing
import statistics
import time
import types
from collections.abc import Callable
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from ddb_lease import client_config
from ddb_lease.dynamodb.wire import wire_for

_ROUNDS = 60
_CALLS = 10
_REGION = "eu-west-1"
_TARGET = "DynamoDB_20120810.PutItem"
_TYPE = "application/x-amz-json-1.0"
_CALL = {
    "TableName": "leases",
    "Item": {
        "pk": {"S": "lease#nightly"},
        "sk": {"S": "S#000001"},
        "fence": {"N": "1795915800001"},
        "ttl": {"N": "1795915800"},
        "lease_id": {"S": "1-" + 32 * "0"},
        "owner": {"S": "host:1"},
        "acquired_at": {"N": "1795915800000"},
        "expires_at": {"N": "1795915860000"},
    },
    "ConditionExpression": "fence < :fence AND (attribute_not_exists(lease_id) OR expires_at < :now)",
    "ExpressionAttributeValues": {":fence": {"N": "1795915800001"}, ":now": {"N": "1795915800000"}},
    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        for name, value in (("x-amzn-RequestId", "R"), ("Content-Type", _TYPE), ("Content-Length", "2")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Log nothing."""


def _serve(told: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    told.send(server.server_port)
    server.serve_forever()


def _ways(port: int) -> dict[str, Callable[[], Any]]:
    url = f"http://127.0.0.1:{port}/"
    session = boto3.Session("key", "secret", region_name=_REGION)
    client = session.client("dynamodb", endpoint_url=url, config=client_config(60))
    http, credentials = client._endpoint.http_session, client._get_credentials()
    wire, by_the_wall_clock = wire_for(client), types.SimpleNamespace(at=lambda: None)
    assert wire is not None
    headers = {"X-Amz-Target": _TARGET, "Content-Type": _TYPE}

    def parts() -> None:
        request = AWSRequest("POST", url, headers=dict(headers), data=json.dumps(_CALL).encode())
        SigV4Auth(credentials, "dynamodb", _REGION).add_auth(request)
        json.loads(http.send(request.prepare()).content)

    return {
        "boto3's call": lambda: client.put_item(**_CALL),
        "botocore's signer and session": parts,
        "ours": lambda: wire.call(client, "put_item", _CALL, by_the_wall_clock),
        **_with_awscrt(port, headers),
    }


def _with_awscrt(port: int, headers: dict[str, str]) -> dict[str, Callable[[], Any]]:
    try:
        auth, crt_http, crt_io = (importlib.import_module(f"awscrt.{name}") for name in ("auth", "http", "io"))
    except ImportError:
        return {}
    provider = auth.AwsCredentialsProvider.new_static("key", "secret")
    pool = urllib3.HTTPConnectionPool("127.0.0.1", port)
    loops = crt_io.EventLoopGroup(1)
    bootstrap = crt_io.ClientBootstrap(loops, crt_io.DefaultHostResolver(loops))
    connection = crt_http.HttpClientConnection.new("127.0.0.1", port, bootstrap, crt_io.SocketOptions()).result()

    def signed(body: bytes) -> Any:
        named = {**headers, "host": f"127.0.0.1:{port}", "Content-Length": str(len(body))}
        request = crt_http.HttpRequest("POST", "/", crt_http.HttpHeaders(list(named.items())), io.BytesIO(body))
        config = auth.AwsSigningConfig(
            algorithm=auth.AwsSigningAlgorithm.V4,
            signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=provider,
            region=_REGION,
            service="dynamodb",
            date=datetime.now(timezone.utc),
        )
        return auth.aws_sign_request(request, config).result()

    def signer() -> None:
        body = json.dumps(_CALL).encode()
        json.loads(pool.urlopen("POST", "/", body=body, headers=dict(signed(body).headers), retries=False).data)

    def whole() -> None:
        chunks: list[bytes] = []
        stream = connection.request(
            signed(json.dumps(_CALL).encode()), lambda **_: None, lambda chunk, **_: chunks.append(chunk)
        )
        stream.activate()
        stream.completion_future.result(10)
        json.loads(b"".join(chunks))

    return {"awscrt's signer, urllib3": signer, "awscrt alone": whole}


def main() -> None:
    """Measure, and print a table."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    server.start()
    ways = _ways(here.recv())
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for call in ways.values():
        for _ in range(5 * _CALLS):
            call()
    for _ in range(_ROUNDS):
        for way, call in ways.items():
            busy, began = time.process_time(), time.perf_counter()
            for _ in range(_CALLS):
                call()
            taken[way].append((time.process_time() - busy, time.perf_counter() - began))
    server.terminate()
    base = taken["boto3's call"]
    print(f"{'':30}  processor     wall")
    for way, each in taken.items():
        cpu, wall = (
            statistics.median(one[k] / other[k] for one, other in zip(each, base, strict=True)) for k in (0, 1)
        )
        print(f"{way:30}  {cpu:9.2f}  {wall:7.2f}")


if __name__ == "__main__":
    main()
