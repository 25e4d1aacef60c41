"""Tables that tests of the engine make."""

from typing import Any


def make_ordered_table(client: Any, name: str) -> None:
    """A table of partitions `pk` with sort keys `sk`, as the library's is."""
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
