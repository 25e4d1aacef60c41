"""The item of the random search is the item that the library's own expressions make: every answer is compared."""

from random import Random

import pytest
from botocore.exceptions import ClientError

from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import read_answer, read_failure
from ddb_lease.dynamodb.expressions import call_for
from scripts.harness.simulated_dynamodb import DynamoDB
from tests.protocol.rates.item import Item
from tests.protocol.rates.world import Setting, World

ADDRESS = BucketAddress(table="leases", bucket="api")


class Both(Item):
    """An item in memory, and one that the simulator's DynamoDB makes by the library's expressions."""

    def __init__(self):
        super().__init__()
        self._service = DynamoDB()
        self.compared = 0

    def execute(self, request):
        method, arguments = call_for(request, ADDRESS)
        try:
            response = self._service.execute(method, arguments, now=0.0, date=None)
            answer = read_answer(request, response, ADDRESS)
        except ClientError as error:
            answer = read_failure(error, ADDRESS, request)
        expected = super().execute(request)
        assert answer == expected
        self.compared += 1
        return expected


@pytest.mark.parametrize("changes", [False, True], ids=["one policy", "a policy that changes"])
@pytest.mark.parametrize("limits", [1, 3])
def test_expressions_and_messages_say_the_same(limits, changes):
    compared = 0
    for seed in range(100):
        world = World(Random(seed), Setting(limits=limits, changes=changes))
        world.item = Both()
        world.run(30)
        compared += world.item.compared
    assert compared > 500
