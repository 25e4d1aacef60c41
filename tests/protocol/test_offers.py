"""The token of a hand-over: what goes in comes out, and nothing else does."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease import ConfigurationError
from ddb_lease._protocol.offers import Offer, read_token, token_of

OFFER = Offer(bucket="uploads", lease_id="1.7-0af3", slots=(1, 7), fence=1_800_000_000_000, until=1_800_000_030_000)
TOKEN = token_of(OFFER)


def test_a_token_brings_the_offer():
    assert read_token(TOKEN, bucket="uploads") == OFFER


@given(bucket=st.text(min_size=1, max_size=300).filter(lambda text: text.isprintable()))
def test_a_token_is_safe_in_a_url_whatever_the_buckets_name(bucket):
    offer = Offer(bucket=bucket, lease_id="0-x", slots=(0,), fence=1, until=2)
    token = token_of(offer)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", token)
    assert read_token(token, bucket=bucket) == offer


def test_a_token_of_the_longest_name_is_read():
    offer = Offer(bucket="ü" * 1024, lease_id="0-x", slots=(0,), fence=1, until=2)
    assert read_token(token_of(offer), bucket="ü" * 1024) == offer


@pytest.mark.parametrize("kept", range(0, len(TOKEN), 7))
def test_a_cut_token_is_refused(kept):
    with pytest.raises(ConfigurationError, match="token"):
        read_token(TOKEN[:kept], bucket="uploads")


@given(place=st.integers(0, len(TOKEN) - 1), other=st.sampled_from("Az0._-é"))
def test_a_changed_token_is_refused(place, other):
    changed = TOKEN[:place] + other + TOKEN[place + 1 :]
    if changed != TOKEN:
        with pytest.raises(ConfigurationError, match="token"):
            read_token(changed, bucket="uploads")


@given(st.one_of(st.none(), st.integers(), st.binary(), st.text()))
def test_anything_else_is_refused(token):
    with pytest.raises(ConfigurationError, match="token"):
        read_token(token, bucket="uploads")


def test_a_huge_text_is_not_read():
    with pytest.raises(ConfigurationError, match="no token"):
        read_token("h1." + "A" * 20_000 + ".00000000", bucket="uploads")


def test_a_token_of_another_bucket_names_both():
    with pytest.raises(ConfigurationError, match="'uploads'.*'downloads'"):
        read_token(TOKEN, bucket="downloads")


def test_a_token_of_a_newer_version_says_so():
    with pytest.raises(ConfigurationError, match="newer version"):
        read_token("h2." + TOKEN[3:], bucket="uploads")
