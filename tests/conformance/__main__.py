"""Writes the lists of docs/conformance.md and what each probe sends anew, and the recording of dynoxide's answers, with all
engines at hand:

.venv/bin/python -m tests.conformance
"""

from __future__ import annotations

import os

from ddb_lease import client_config
from scripts.harness import engines
from scripts.harness.simulated_engine import simulated
from tests.conformance import page, sent


def main() -> None:
    """Run all probes on every engine, and write what differs."""
    sent.write()
    os.environ.update(page.CREDENTIALS)
    page.written("all probes", page.known(page.expected_answers()))
    with simulated() as engine:
        client = engine.session().client("dynamodb", config=client_config())
        page.written(page.NAMES[engine.name], page.differences(page.on_simulator(engine, client)))
    for start in (engines.embedded, engines.ministack, engines.dynoxide):
        with start() as engine:
            record = ("--record", str(page.ANSWERS / "dynoxide.json")) if engine.name == "dynoxide" else ()
            _, found = page.on_engine(engine.endpoint_url, *record)
            page.written(page.NAMES[engine.name], page.differences(found))


if __name__ == "__main__":
    main()
