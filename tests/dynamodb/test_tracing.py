"""Tracing libraries that hook into botocore see our requests: their real packages, each in a process of its own.

They replace functions of botocore for good, so another test of this process would see them too.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import TABLE

OTEL = """
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))

def install():
    BotocoreInstrumentor().instrument(tracer_provider=provider)

def traced():
    return [span.attributes["rpc.method"] for span in spans.get_finished_spans()]
"""

XRAY = """
from aws_xray_sdk.core import patch, xray_recorder

xray_recorder.configure(sampling=False, context_missing="IGNORE_ERROR", emitter=type("E", (), {"send_entity": print})())
segment = xray_recorder.begin_segment("a job")

def install():
    patch(["botocore"])

def traced():
    return [each.aws["operation"] for each in segment.subsegments]
"""

JOB = """
import json, sys
from ddb_lease import LeaseBucket
from ddb_lease.local import Engine

url, table, when = sys.argv[1:]
session = Engine(endpoint_url=url, pid=0, started_at_ms=0, instance_id="").session()
if when == "first":
    install()
bucket = LeaseBucket(f"traced-{when}", max_tokens=1, table=table, session=session, endpoint_url=url)
with bucket.acquire(timeout=30):
    pass
install()
before = len(traced())
lease = bucket.acquire(timeout=30)
lease.renew()
lease.release()
print(json.dumps(traced()[before:]))
"""


@pytest.mark.parametrize("library", [OTEL, XRAY], ids=["OpenTelemetry", "X-Ray"])
@pytest.mark.parametrize("when", ["first", "later"])
def test_a_tracing_library_sees_every_request(engine, library, when):
    if engine.name != "ministack":
        pytest.skip("what is tried out is this process, not the engine: once is enough")
    made = subprocess.run(
        [sys.executable, "-c", library + JOB, engine.endpoint_url, TABLE, when],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "AWS_XRAY_SDK_ENABLED": "true"},
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout.splitlines()[-1]) == ["PutItem", "UpdateItem", "UpdateItem"]
