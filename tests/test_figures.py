"""No number that the code goes by has changed by accident: see `tests.figures`."""

from tests.figures import LIST, figures


def test_every_number_is_as_listed():
    listed, found = LIST.read_text().splitlines(), figures()
    changed = [f"+ {line}" for line in found if line not in listed] + [
        f"- {line}" for line in listed if line not in found
    ]
    assert not changed, "if it is on purpose: python -m tests.figures"
    assert found == listed


def test_there_are_constants_fields_and_parameters_among_them():
    names = [line.split(" = ")[0] for line in figures()]
    for known in ("models.py: Timing.retention", "rate_limiter.py: RateLimiter.__init__(local_share)"):
        assert known in names
    assert "_runtime/renewer.py: AHEAD" in names
    assert len(names) > 600
