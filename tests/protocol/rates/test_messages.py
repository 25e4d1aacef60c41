"""Charges that would break an envelope cannot even be made."""

from dataclasses import replace

import pytest

from ddb_lease._protocol.rates.messages import Charge, ChargeTogether, LimitCharge

REQUESTS = LimitCharge(name="requests", branch="idle", charged=10, tolerance=100)
TOKENS = LimitCharge(name="tokens", branch="busy", reserved=3, tolerance=30)
CHARGE = Charge(key="k", limits=(REQUESTS,), due=1_000, rev=1, lane=0, attempt="mine", ttl=9)


def test_only_a_charge_of_one_limit_may_have_a_horizon():
    assert replace(CHARGE, horizon=5).horizon == 5
    with pytest.raises(ValueError, match="one limit"):
        replace(CHARGE, limits=(REQUESTS, TOKENS), horizon=5)
    with pytest.raises(ValueError, match="one limit"):
        replace(CHARGE, limits=(), horizon=5)


def test_a_limit_that_is_only_cut_does_not_count():
    cut = LimitCharge(name="tokens", branch="cut", cut=9)
    assert replace(CHARGE, limits=(REQUESTS, cut), horizon=5).horizon == 5


def test_charges_together_have_one_due_time_and_no_horizon():
    assert ChargeTogether(charges=(CHARGE, replace(CHARGE, key="parent")), token="t").charges[0] is CHARGE
    for other in (replace(CHARGE, due=1_001), replace(CHARGE, horizon=5)):
        with pytest.raises(ValueError, match="together"):
            ChargeTogether(charges=(CHARGE, other), token="t")
