"""The time budget around a lease: the parts of a margin, and the settings that are refused."""

import math
import re
from types import SimpleNamespace

import pytest

from ddb_lease import ConfigurationError, LeaseBucket, Timing, client_config
from scripts.harness.inside import core_of

PPM = 1e-6
HOUR = 3600.0


def test_the_margin_is_what_front_ends_oscillators_and_the_callback_need():
    timing = Timing(front_end_skew=1.5, grace=0.25)
    assert timing.margin_for(10_000.0) == pytest.approx(1.5 + 400 * PPM * 10_000.0 + 0.25)


def test_the_callback_has_a_twentieth_of_the_lease_but_at_most_two_seconds():
    assert Timing().grace_for(10.0) == pytest.approx(0.5)
    assert Timing().grace_for(1_000.0) == 2.0
    assert Timing().margin_for(1_000.0) == pytest.approx(1.0 + 400 * PPM * 1_000.0 + 2.0)


def test_a_lease_has_room_for_three_margins_or_is_refused():
    timing = Timing(front_end_skew=1.0, grace=1.0)
    least = 6.0 / (1.0 - 3 * 400 * PPM)  # the margin grows with the length
    timing.require_room(least + 0.001)
    with pytest.raises(ConfigurationError, match="three margins long: at least"):
        timing.require_room(least - 0.001)


@pytest.mark.parametrize("timing", [Timing(), Timing(grace=1.0), Timing(grace_part=0.3)])
def test_a_lease_of_the_length_that_the_refusal_names_is_taken(timing):
    with pytest.raises(ConfigurationError) as refused:
        timing.require_room(0.001)
    named = float(re.search(r"three margins long: at least (.*?) s,", str(refused.value))[1])
    timing.require_room(named)
    with pytest.raises(ConfigurationError):
        timing.require_room(named - 0.2)


def test_a_lease_without_end_or_number_is_refused():
    with pytest.raises(ConfigurationError):
        Timing().require_room(math.nan)


@pytest.mark.parametrize(
    ("setting", "least"),
    [
        ("front_end_skew", 0),
        ("grace", 0),
        ("grace_part", 0),
        ("grace_most", 0),
        ("retention", HOUR),
        ("max_clock_skew", 0),
    ],
)
def test_each_part_has_a_least_and_is_a_number(setting, least):
    assert getattr(Timing(**{setting: least}), setting) == least
    for wrong in (least - 0.001, math.nan, math.inf):
        with pytest.raises(ConfigurationError, match=f"{setting} must be .* up, not {wrong!r}$"):
            Timing(**{setting: wrong})


def test_a_bucket_takes_the_front_ends_difference_and_the_wall_clocks_from_its_timing():
    client = SimpleNamespace(meta=SimpleNamespace(config=client_config(60)))
    bucket = LeaseBucket("b", max_tokens=1, timing=Timing(front_end_skew=0.3, max_clock_skew=7.0), client=client)
    assert core_of(bucket).state.time.front_end_skew == 0.3
    assert core_of(bucket).state.time.max_clock_skew == 7.0


def test_the_defaults_are_those_of_the_docs():
    assert Timing() == Timing(
        front_end_skew=1.0, grace=None, grace_part=0.05, grace_most=2.0, retention=24 * HOUR, max_clock_skew=2.0
    )
