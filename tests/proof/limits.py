"""The proof about rates: what its parts are, and which parts of the requests it does not need."""

from __future__ import annotations

from tests.proof import rates
from tests.proof.theory import Part, Theory

_EDGE = "at that instant both branches write the same"
_NO_OVERRIDE = "it requires that there is none"
_NO_HORIZON = "without a horizon, `tat >= :due` and `reach <= :x` say it already"

REDUNDANT: dict[tuple[str, str, str], str] = {
    ("key", "`tat#x < :due` as `tat#x <= :due`", "charge"): _EDGE,
    ("key", "`tat#x < :now` as `tat#x <= :now`", "settle"): _EDGE,
    ("key", "`tat#x > :k0` as `tat#x >= :k0`", ""): "to cut where nothing is above changes nothing",
    ("key", "without `attribute_type(rev, :number)`", "charge"): "`rev < :rev` is false of what is no number",
    ("key", "`rev < :rev` as `rev <= :rev`", "charge, idle, by"): "under the same policy, it is the same charge",
    ("key", "`rev < :rev` as `rev <= :rev`", "charge, busy, by"): "under the same policy, it is the same charge",
    ("key", "without `attribute_not_exists(held#x) OR held#x <= :m0`", "charge, busy, with"): _NO_HORIZON,
    ("key", "without `attribute_not_exists(held#x) OR held#x <= :m0`", "charge together"): _NO_HORIZON,
    ("key", "without `held#x >= :h0`", "settle"): "only an edit by hand leaves less than the holds are of",
    ("key", "removes override_rev too", "charge"): _NO_OVERRIDE,
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
