"""Short lease ids: which lease they mean."""

import pytest

from ddb_lease import ConfigurationError
from ddb_lease.cli.abbreviations import abbreviated, is_whole, meant_by
from tests.cli.seeing.test_ls import lease

ONE = lease(1, lease_id=f"1-{'1a' * 16}")
TWELVE = lease(12, lease_id=f"12-{'1b' * 16}")
PAIR = [lease(slot, lease_id=f"3.4-{'c0' * 16}") for slot in (3, 4)]
CLOSED = lease(2, lease_id=f"2-closed-{'2e' * 16}")
FOREIGN = [lease(5, lease_id="5.6-job-a"), lease(6, lease_id="5.6-job-b")]
ALL = [ONE, TWELVE, *PAIR, *FOREIGN, CLOSED]


def test_what_is_shown_means_the_lease_that_it_was_shown_for():
    for one in ALL:
        assert meant_by(abbreviated(one), ALL).lease_id == one.lease_id
        assert meant_by(one.lease_id, ALL).lease_id == one.lease_id
    assert [abbreviated(one) for one in ALL] == [
        "1-1a1a1a1a",
        "12-1b1b1b1b",
        "3-c0c0c0c0",
        "4-c0c0c0c0",
        "5.6-job-a",
        "5.6-job-b",
        "2-closed-2e2e2e2e",
    ]


def test_a_slots_number_is_no_beginning_of_another_slots_lease():
    assert meant_by("1-1a1a", ALL) is ONE
    assert meant_by("2-1b1b", ALL) is None
    assert meant_by("1-1b1b", ALL) is None
    assert meant_by("5-c0c0", ALL) is None


def test_several_slots_of_one_lease_are_one_lease():
    assert meant_by("3.4-c0c0", ALL).lease_id == PAIR[0].lease_id


@pytest.mark.parametrize("text", ["1", "12", "1-", "1-1a1", "", "nonsense"])
def test_too_little_is_refused(text):
    with pytest.raises(ConfigurationError, match="not a lease id, nor enough of one"):
        meant_by(text, ALL)


def test_what_may_mean_two_leases_is_refused_and_names_them():
    with pytest.raises(ConfigurationError, match="'5.6-job-' may mean 5.6-job-a or 5.6-job-b"):
        meant_by("5.6-job-", ALL)
    assert meant_by("5.6-job-a", ALL) is FOREIGN[0]


def test_only_ids_as_we_make_them_need_no_look():
    assert is_whole(ONE.lease_id) and is_whole(PAIR[0].lease_id)
    assert not any(map(is_whole, ["1-1a1a1a1a", "5.6-job-a", ONE.lease_id + "0", ONE.lease_id.upper()]))
