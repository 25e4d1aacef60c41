"""A lease goes from process to process. Real processes; bounds on time tell "some time" from "never"."""

from __future__ import annotations

import signal

from scripts.harness.handing import adopt, give
from scripts.harness.holders import Job, started
from scripts.harness.referee import Log
from tests.conftest import TABLE

NOT_ON = ("ministack", "dynoxide")
LEASE = 6.0
SLACK = 30.0
"""For expiry's two seconds, round trips and a busy machine."""


def test_a_lease_outlives_its_giver_goes_to_one_adopter_and_comes_free_if_that_one_dies(
    engine, bucket_name, tmp_path, new_bucket
):
    log = Log(tmp_path / "notes")
    place = {"endpoint_url": engine.endpoint_url, "bucket": bucket_name, "table": TABLE, "log": str(log.path)}

    def job(number):
        return Job(**place, tokens=1, lease_seconds=LEASE, number=number)

    with started(give, job(0)) as [giver], started(adopt, job(1), job(2), job(3)) as adopters:
        gave = giver.expect("gave")
        for each in adopters:
            each.expect("ready")
        giver.signal(signal.SIGKILL)
        giver.wait()
        for each in adopters:
            each.tell(gave["token"])
        said = {each: each.next() for each in adopters}
        [winner] = [each for each, what in said.items() if what["said"] == "adopted"]
        assert [what["reason"] for what in said.values() if what["said"] == "refused"] == ["taken", "taken"]
        assert said[winner]["slot"] == gave["slot"]
        assert said[winner]["fence"] > gave["fence"]
        bucket = new_bucket(max_tokens=1)
        assert bucket.try_acquire() is None
        winner.signal(signal.SIGKILL)
        winner.wait()
        with bucket.acquire(timeout=LEASE + SLACK) as lease:
            assert lease.fence > said[winner]["fence"]
    assert not log.complaints(1)
