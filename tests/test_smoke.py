def test_a_lease_is_had_and_given_back(new_bucket, table):
    bucket = new_bucket()
    with bucket.acquire(timeout=5) as lease:
        assert lease.held
        assert table.get(lease.slot)["lease_id"] == lease.id
    assert "lease_id" not in table.get(lease.slot)
