"""Items of rates as values: what is no policy of ours is never guessed at."""

from dataclasses import replace

import pytest

from ddb_lease.dynamodb.rates.items import encode_limits, read_policy
from tests.rates import POLICY, REQUESTS


def item(limit):
    return {"schema": {"N": "2"}, "rev": {"N": "7"}, "limits": encode_limits({"requests": limit})}


def test_a_policy_comes_back_as_it_was_stored():
    assert read_policy(item(REQUESTS)) == replace(POLICY, limits={"requests": REQUESTS})


@pytest.mark.parametrize("edited", [{"permits": 0.0}, {"per": -1.0}, {"interval": 0}, {"burst": 0}, {"burst": 10**17}])
def test_a_limit_that_cannot_work_is_not_of_our_shape(edited):
    with pytest.raises(ValueError, match="limits"):
        read_policy(item(replace(REQUESTS, **edited)))
