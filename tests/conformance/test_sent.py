"""No probe sends anything else than what was answered when it was recorded: see `tests.conformance.sent`."""

from tests.conformance.sent import LIST, sent


def test_every_probe_sends_what_is_listed():
    listed, found = LIST.read_text().splitlines(), sent()
    changed = [f"+ {line}" for line in found if line not in listed] + [
        f"- {line}" for line in listed if line not in found
    ]
    assert not changed, "if it is on purpose, list it and record the answers: python -m tests.conformance"
    assert found == listed
