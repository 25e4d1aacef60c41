"""What a timeout says of the holders that a look has shown."""

from ddb_lease._protocol.messages import Seen
from ddb_lease._protocol.records import Claimant, Slot, View
from ddb_lease._runtime.own_holders import OwnHolders
from ddb_lease._runtime.runtime import Runtime

NOW = 2_000_000_000_000


def claimant(name, *, held_for, remaining):
    return Claimant(lease_id=f"0-{name}", owner=name, acquired_at=NOW - held_for, expires_at=NOW + remaining)


def test_those_who_were_dead_when_they_were_seen_are_not_named_and_a_lease_of_several_slots_is_named_once():
    several = claimant("several", held_for=90_000, remaining=1_000)
    held = [claimant("dead", held_for=99_000, remaining=-1_000), claimant("new", held_for=4_000, remaining=1), several]
    slots = {n: Slot(number=n, fence=1, lease=lease) for n, lease in enumerate([*held, several, None])}
    holders = OwnHolders("gpus", Runtime())
    assert holders.in_timeout(NOW) == ("", ())
    holders.note(Seen(view=View(counter=None, slots=slots, covered=range(5)), more=False))
    said, owners = holders.in_timeout(NOW)
    assert owners == ("several", "new")
    assert said == "held by several (for 1m30s), new (for 4s)"
