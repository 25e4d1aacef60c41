"""No probe sends anything else than what was answered when it was recorded: see `tests.conformance.sent`."""

from tests.conformance.sent import LIST, sent
from tests.support import require_as_listed


def test_every_probe_sends_what_is_listed():
    otherwise = "if it is on purpose, list it and record the answers: python -m tests.conformance"
    require_as_listed(LIST, sent(), otherwise=otherwise)
