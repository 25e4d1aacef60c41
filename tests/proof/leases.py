"""The proof about leases: what its parts are, and which parts of the requests it does not need."""

from __future__ import annotations

from scripts.harness.expression_tree import Exists
from tests.proof import slots
from tests.proof.shipped import Write
from tests.proof.theory import Part, Theory

_NUMBERS = "the numbers of the slots carry it: slots are distinct, and all are below max_tokens"
_NO_ITEM = "false of a missing item anyway"
_STAYS_HIGH = "minted stays too high, which is safe; L2 needs it, in the model"
_BY_HAND = "of use only for a slot that lost its ttl by an edit by hand: it would stay for ever"

REDUNDANT = {
    ("slot", "without `attribute_exists(pk)`", "claim"): f"`fence < :fence` is {_NO_ITEM}",
    ("slot", "without `attribute_exists(pk)`", "take*"): f"`fence < :fence` is {_NO_ITEM}",
    ("slot", "without `attribute_exists(pk)`", "retire"): f"`attribute_type(fence, :number)` is {_NO_ITEM}",
    ("slot", "without `attribute_exists(pk)`", "bring back*"): f"`attribute_exists(retired)` is {_NO_ITEM}",
    (
        "slot",
        "does not set `ttl = :ttl`",
        "release",
    ): "the item keeps the ttl of its lease, which is safe, if early by some hours",
    ("slot", "does not set `ttl = if_not_exists(ttl, :ttl)`", "bring back*"): _BY_HAND,
    ("slot", "does not set `ttl = if_not_exists(ttl, :ttl)`", "retire"): _BY_HAND,
    ("counter", "without `minted < max_tokens`", "*"): _NUMBERS,
    ("counter", "`minted < max_tokens` as `minted <= max_tokens`", "*"): _NUMBERS,
    ("counter", "without `minted <= :room`", "*"): _NUMBERS,
    ("counter", "does not set `minted = max_tokens`", "re-mint"): _STAYS_HIGH,
    ("counter", "does not set `minted = max_tokens`", "bring back*"): _STAYS_HIGH,
    (
        "counter",
        "`minted > :room` as `minted >= :room`",
        "*",
    ): "with just enough room, both forms of the request are right",
}
"""Why a part may go, by the item, the part, and the requests."""


def where(write: Write) -> str:
    """What a write is to."""
    if write.slot is None:
        return "counter"
    return "new slot" if write.condition == Exists("#pk", wanted=False) else "slot"


LEASES = Theory(
    name="Leases",
    state=slots.a_state,
    beginning=slots.beginning,
    parts=(
        Part(slots.steps, slots.known, slots.invariant, slots.BY_COUNTING),
        Part(slots.foreign, lambda s, setting: [], lambda s: {}),
    ),
    where=where,
    alike=lambda write: write.texts,
    also_removed={
        "new slot": (),
        "slot": ("fence", "ttl", "lease_id", "expires_at"),
        "counter": ("max_tokens", "minted", "rev"),
    },
    looked_at=lambda what: True,
    redundant=REDUNDANT,
    shown=slots.shown,
)
