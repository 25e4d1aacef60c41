"""No number that the code goes by has changed by accident: see `tests.figures`."""

from tests.figures import LIST, figures
from tests.support import require_as_listed


def test_every_number_is_as_listed():
    require_as_listed(LIST, figures(), otherwise="if it is on purpose: python -m tests.figures")


def test_there_are_constants_fields_and_parameters_among_them():
    names = [line.split(" = ")[0] for line in figures()]
    for known in ("models.py: Timing.retention", "rate_limiter.py: RateLimiter.__init__(local_share)"):
        assert known in names
    assert "_runtime/renewer.py: AHEAD" in names
    assert len(names) > 600
