"""The proof about rates: what its parts are, and which parts of the requests it does not need."""

from __future__ import annotations

from tests.proof import rates
from tests.proof.theory import Part, Theory

_EDGE = "at that instant both branches write the same"
_NO_OVERRIDE = "it requires that there is none"
_NO_HORIZON = "without a horizon, `tat >= :due` and `reach <= :x` say it already"
_THERE = "the item must be there already, and has it"
_NO_TTL = "an item with an override has no ttl"
_HELD = "without `attribute_not_exists(held#x) OR held#x <= :m0`"

REDUNDANT: dict[tuple[str, str, str], str] = {
    ("key", "`tat#x < :due` as `tat#x <= :due`", "charge*"): _EDGE,
    ("key", "`tat#x < :now` as `tat#x <= :now`", "settle*"): _EDGE,
    ("key", "`tat#x > :k0` as `tat#x >= :k0`", "*"): "to cut where nothing is above changes nothing",
    ("key", "without `attribute_type(rev, :number)`", "charge*"): "`rev < :rev` is false of what is no number",
    ("key", "`rev < :rev` as `rev <= :rev`", "charge, idle, by*"): "under the same policy, it is the same charge",
    ("key", "`rev < :rev` as `rev <= :rev`", "charge, busy, by*"): "under the same policy, it is the same charge",
    ("key", "`rev < :rev` as `rev <= :rev`", "charge, kept"): "nothing is charged",
    ("key", _HELD, "charge, busy, with*"): _NO_HORIZON,
    ("key", _HELD, "charge together"): _NO_HORIZON,
    ("key", "without `held#x >= :h0`", "settle*"): "only an edit by hand leaves less than the holds are of",
    ("key", "removes override_rev too", "charge, idle"): _NO_OVERRIDE,
    ("key", "removes override_rev too", "charge, busy, by*"): _NO_OVERRIDE,
    ("key", "removes override_rev too", "charge, cut"): _NO_OVERRIDE,
    ("key", "removes override_rev too", "charge, *, with*"): _NO_OVERRIDE,
    ("key", "removes override_rev too", "charge together"): _NO_OVERRIDE,
    ("key", "does not set `schema = :schema`", "charge, busy*"): _THERE,
    ("key", "does not set `schema = :schema`", "charge, * by*"): _THERE,
    ("key", "does not set `schema = :schema`", "charge, [ck]*"): _THERE,
    ("key", "does not set `schema = :schema`", "charge, *, with*"): _THERE,
    ("key", "does not set `schema = :schema`", "charge together"): _THERE,
    ("key", "does not set `schema = :schema`", "override, and cut"): _THERE,
    ("key", "does not set `schema = :schema`", "block, with*"): _THERE,
    ("key", "does not set `rev = if_not_exists(rev, :rev)`", "override, and cut"): _THERE,
    ("key", "does not set `rev = if_not_exists(rev, :rev)`", "block, with*"): _THERE,
    ("key", "does not set `rev = :rev`", "charge, busy"): _THERE,
    ("key", "does not set `rev = :rev`", "charge, *, with*"): _THERE,
    ("key", "does not set `rev = :rev`", "charge together"): _THERE,
    ("key", "does not set `rev = :rev`", "charge, kept"): "nothing is charged; the next charge adopts the policy",
    ("key", "does not remove `ttl`", "charge*"): _NO_TTL,
    ("key", "removes hold#p too", "reset, where*"): "a hold that is not seen holds nothing",
}
"""Why a part may go, by the item, the part, and the request's first words."""

RATES = Theory(
    name="Rates",
    state=rates.a_state,
    beginning=rates.beginning,
    parts=(
        Part(rates.steps, rates.known, rates.invariant),
        Part(rates.foreign, lambda s, setting: [], lambda s: {}),
    ),
    where=rates.where,
    alike=rates.where,
    also_removed={
        "key": ("schema", "rev", "a0", "tat#x", "held#x", "reach#x", "hold#p", "override_rev", "blocked_until"),
        "policy": ("rev",),
    },
    looked_at=lambda what: "#y" not in what,  # the other limit is looked at as the first
    redundant=REDUNDANT,
    shown=rates.shown,
)
