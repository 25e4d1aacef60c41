"""The proof holds, of the shipped requests; it can fail; and what it takes expressions for is what they are.

`scripts/prove` tries every alteration of every request; here are some of each kind. docs/proof.md says what is proved.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import get_args

import pytest
import z3
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease._protocol.hits import ListHits, ReadHits
from ddb_lease._protocol.listing import ListPage
from ddb_lease._protocol.messages import Look, Mint, Request, Snapshot
from ddb_lease._protocol.rates.messages import ListKeys, ReadKey, ReadPolicy
from ddb_lease._protocol.records import Claimant
from ddb_lease._protocol.tickets import LookAtQueue
from ddb_lease.dynamodb import expressions as shipped_expressions
from ddb_lease.dynamodb import tickets as shipped_tickets
from scripts.harness import expressions
from scripts.harness.expression_tree import BadExpression, parse_condition, parse_update
from tests.proof.clients import LEMMAS
from tests.proof.document import DOCUMENT, keys
from tests.proof.hits import HITS, is_hits
from tests.proof.leases import LEASES
from tests.proof.limits import RATES
from tests.proof.shipped import ADDRESS, sent
from tests.proof.steps import Setting
from tests.proof.symbols import Run, ways
from tests.proof.tickets import TICKETS, is_ticket
from tests.proof.translation import ABSENT, Meaning, flat

THEORIES = {theory.name: theory for theory in (LEASES, RATES, TICKETS, HITS)}
each_theory = pytest.mark.parametrize("theory", THEORIES.values(), ids=THEORIES.keys())


# The proof.


@each_theory
def test_the_invariant_holds_at_the_beginning_and_after_every_step(theory):
    assert theory.beginning_breaks() is None
    assert [theory.table(failure) for failure in theory.failures()] == []


@each_theory
def test_every_step_can_happen(theory):
    assert theory.impossible() == []


@pytest.mark.parametrize("lemma", LEMMAS, ids=lambda lemma: lemma.name)
def test_clients_compute_what_the_proof_assumes_of_them(lemma):
    assert lemma.counterexample() is None
    for assumption in lemma.given:
        assert lemma.counterexample(without=assumption) is not None, assumption


READS = {Look, LookAtQueue, Snapshot, ListPage, ReadKey, ListKeys, ReadPolicy, ReadHits, ListHits}


def test_every_request_that_writes_is_part_of_the_proof():
    proved = {kind for theory in THEORIES.values() for kind in theory.setting().kinds}
    assert proved | READS == set(kinds_in(Request))


def test_tickets_and_hits_are_items_of_their_own():
    for theory in THEORIES.values():
        assert {is_ticket(write) for write in writes_of(theory)} == {theory is TICKETS}
        assert {is_hits(write) for write in writes_of(theory)} == {theory is HITS}


def kinds_in(union):
    parts = get_args(union)
    return [kind for part in parts for kind in kinds_in(part)] if parts else [union]


def writes_of(theory):
    """All writes of all requests."""
    sent_ways = theory.setting().requests().values()
    return [write for found in sent_ways for way in found for write in way.returned]


# That it can fail.


BROKEN = [
    ("Leases", "claim", "without `fence < :fence`", "S3"),
    ("Leases", "claim", "without `attribute_not_exists(retired)`", "S1"),
    ("Leases", "claim", "without `attribute_not_exists(lease_id) OR expires_at < :expired_before`", "S2"),
    ("Leases", "mint", "without `max_tokens > :slot`", "S1"),
    ("Leases", "take, mint", "does not set `minted = minted + :many`", "S4"),
    ("Leases", "renew, in a batch", "without `lease_id = :lease_id`", "S5"),
    ("Leases", "renew", "without `expires_at <= :expires_at`", "S6"),
    ("Leases", "release", "removes fence too", "shape"),
    ("Leases", "retire", "without `rev = :rev`", "R"),
    ("Leases", "retire", "without `attribute_type(fence, :number)`", "F"),
    ("Rates", "charge, busy", "without `reach#x <= :x0`", "E"),
    ("Rates", "charge, idle", "without `attribute_not_exists(held#x) OR held#x <= :m0`", "E"),
    ("Rates", "charge, cut", "`rev < :rev` as `rev <= :rev`", "what is counted"),
    ("Rates", "charge, idle", "without `attribute_not_exists(a0) OR a0 <> :attempt`", "an attempt is charged once"),
    ("Rates", "settle, busy", "without `hold#p.attempt = :hold_before`", "a reservation is settled once"),
    ("Rates", "settle, idle", "without `attribute_not_exists(override)`", "an item has an override, or a ttl"),
    ("Hits", "add hits", "without `ends_at > :now`", "hits are added to a window that is not over"),
    (
        "Hits",
        "begin a window",
        "without `attribute_not_exists(pk) OR ends_at <= :now`",
        "a window begins where none is",
    ),
    ("Hits", "slide, same", "without `previous <= :most_previous`", "hits that are let in fit"),
    ("Hits", "slide, next", "does not set `previous = count`", "no hit is missed of a sliding window"),
    ("Hits", "slide, new", "`window < :before` as `window <= :before`", "no hit is missed of a sliding window"),
    ("Tickets", "put a ticket", "without `attribute_not_exists(pk)`", "a put overwrites no ticket"),
    ("Tickets", "refresh a ticket", "without `expires_at <= :expires_at`", "a refresh makes no ticket"),
    ("Tickets", "refresh a ticket", "does not set `ttl = :ttl`", "ttl is not before the expiry"),
    ("Tickets", "refresh a ticket", "removes count too", "shape"),
    ("Tickets", "drop a ticket", "without `expires_at <= :expires_at`", "a drop deletes nothing that was refreshed"),
]
"""Some of each kind; `scripts/prove` tries all."""


@each_theory
def test_what_a_request_needs_cannot_be_left_out(theory):
    found = {(one.request, one.what): one for one in theory.alterations()}
    written = rows_of(theory)
    for name, request, what, broken in BROKEN:
        if name == theory.name:
            one = found[request, what]
            failure = theory.with_altered(one)
            assert failure is not None, what
            assert failure.broken.startswith(broken)
            assert written[one.request, one.where, what] == failure.broken


def test_what_is_defence_in_depth_can_be_left_out():
    found = {(one.request, one.what): one for one in LEASES.alterations()}
    one = found["mint", "without `minted < max_tokens`"]
    assert LEASES.with_altered(one) is None
    assert LEASES.reason(one) in rows_of(LEASES)[one.request, one.where, one.what]


def test_without_an_assumption_a_counterexample_shows_what_it_is_for():
    failure = LEASES.without("expired_before is now_lo: not above the service's time")
    assert failure.broken == "S2: no lease that may run is taken"


def rows_of(theory):
    """What the page says that each alteration breaks."""
    section = DOCUMENT.read_text().partition(f"### {theory.name}: parts of requests\n")[2].partition("\n###")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    return {
        (request, where, what): result for requests, where, what, result in rows for request in requests.split("; ")
    }


@each_theory
def test_the_page_has_every_alteration_and_every_assumption(theory):
    assert sorted(rows_of(theory)) == sorted(keys(theory)), "scripts/prove --table writes it anew"
    section = DOCUMENT.read_text().partition(f"### {theory.name}: assumptions\n")[2].partition("\n###")[0]
    assert [line.strip("| ").split(" | ")[0] for line in section.splitlines() if line.startswith("| ")][1:] == list(
        theory.assumptions()
    )


def changed(module, old, new):
    """A module of the library whose source has another text in one place."""
    source = Path(module.__file__).read_text()
    assert source.count(old) == 1
    other = types.ModuleType("changed")
    exec(compile(source.replace(old, new), module.__file__, "exec"), other.__dict__)
    return other


@pytest.mark.parametrize(
    ("old", "new", "broken"),
    [
        ('"#fence < :fence"', '"#fence <= :fence"', "S3"),
        ("#expires_at < :expired_before", "#expires_at <= :expired_before", "S2"),
        ('"#max_tokens > :slot"', '"#max_tokens >= :slot"', "S1"),
    ],
)
def test_a_changed_source_breaks_the_proof_with_a_counterexample(old, new, broken):
    failure = next(LEASES.failures(Setting(maker=changed(shipped_expressions, old, new).call_for)))
    assert failure.broken.startswith(broken)
    shown = LEASES.table(failure)
    assert shown.startswith(f"step: {failure.step}\nbreaks: {failure.broken}\n")
    assert "slot: fence" in shown


@pytest.mark.parametrize(
    ("old", "new", "broken"),
    [
        (
            "REFRESH_TICKET: Final = _never_shorter",
            'REFRESH_TICKET: Final = "attribute_exists(#expires_at)"',
            "a refresh shortens",
        ),
        (
            '_never_shorter: Final = "',
            '_never_shorter: Final = "attribute_not_exists(#expires_at) OR ',
            "a refresh makes",
        ),
        (
            "DROP_TICKET: Final = _not_refreshed_since",
            'DROP_TICKET: Final = "attribute_exists(#expires_at)"',
            "a drop deletes",
        ),
        ('TICKET_PREFIX: Final = "wait#"', 'TICKET_PREFIX: Final = "slot#"', "what is written is a ticket"),
    ],
)
def test_a_changed_request_of_tickets_breaks_the_proof(old, new, broken):
    # Both halves of a refresh's condition are one comparison: it is false of an earlier expiry, and where there is none.
    failure = next(TICKETS.failures(Setting(maker=changed(shipped_tickets, old, new).ticket_call_for)))
    assert failure.broken.startswith(broken)


# What expressions mean, against the simulator's DynamoDB.

WRITES = [write for theory in THEORIES.values() for write in writes_of(theory)]
NUMBERS = st.integers(-2, 3).map(lambda n: {"N": str(n)})
TEXTS = st.sampled_from(["a", "b"]).map(lambda text: {"S": text})
ATTRIBUTES = st.one_of(
    st.none(),
    NUMBERS,
    st.just({"S": "a"}),  # no request compares strings by order
    st.just({"BOOL": True}),
    st.builds(lambda text: {"M": {"attempt": text}}, TEXTS),
)


def like(value):
    """A value of the same type."""
    if "M" in value:
        return st.builds(lambda text: {"M": {"attempt": text}}, TEXTS)
    return NUMBERS if "N" in value else TEXTS if "S" in value and value["S"] != "N" else st.just(value)


@given(data=st.data())
def test_the_translation_means_what_the_simulators_dynamodb_does(data):
    write = data.draw(st.sampled_from(WRITES), label="write")
    found = {name: data.draw(ATTRIBUTES, label=name) for name in sorted(set(write.names.values()))}
    item = {name: value for name, value in found.items() if value is not None}
    values = {name: data.draw(like(value), label=name) for name, value in write.values.items()}
    run, formula = Run(), {}
    meaning = Meaning(write.names, values, run)
    for name, value in item.items():
        formula |= flat(name, value, run)
    holds = z3.simplify(meaning.holds(write.condition, formula))
    assert z3.is_true(holds) == expressions.condition(str(write.condition))(item, write.names, values)
    assert z3.is_true(holds) or z3.is_false(holds)
    if write.update is None:
        return
    needs, after = meaning.applied(write.update, formula)
    changed = dict(item)
    try:
        expressions.update(str(write.update))(changed, write.names, values)
    except BadExpression:
        assert z3.is_false(z3.simplify(needs))
        return
    assert z3.is_true(z3.simplify(needs))
    expected = {}
    for name, value in changed.items():
        expected |= flat(name, value, run)
    for name in {*after, *expected} - {"pk"}:
        left, right = after.get(name, ABSENT), expected.get(name, ABSENT)
        assert z3.is_true(z3.simplify(z3.And(left.kind == right.kind))), name
        assert z3.is_true(z3.simplify(z3.Or(left.kind == 0, left.value == right.value))), name


def test_an_expression_is_printed_as_it_was_read():
    for write in WRITES:
        assert parse_condition(str(write.condition)) == write.condition
        assert write.update is None or parse_update(str(write.update)) == write.update


# How the shipped code is run on symbols.


def test_code_is_run_along_every_way_with_what_it_supposes():
    found = {
        way.returned: len(way.supposed)
        for way in ways(lambda run: max(run.symbol("x"), run.symbol("y"), run.symbol("z")).term)
    }
    assert {str(term) for term in found} == {"x", "y", "z"}
    assert set(found.values()) == {2}


def test_what_the_code_refuses_to_send_is_left_out():
    def request(run):
        if run.symbol("x") >= run.symbol("y"):
            raise ValueError
        return run

    (way,) = ways(request)
    assert [str(z3.simplify(one)) for one in way.supposed] == ["Not(x >= y)"]


def test_the_values_of_a_request_are_those_that_the_library_computed():
    def mint(run):
        lease = Claimant(lease_id=run.symbol("id"), owner="o", acquired_at=1, expires_at=run.symbol("now") + 5)
        return Mint(slot=run.symbol("n"), fence=run.symbol("f"), lease=lease, ttl=3, re_mint=False, token="t")

    ((slot, counter),) = (way.returned for way in sent(mint))
    assert str(slot.slot) == "n"
    _, item = slot.on({})
    assert str(item["expires_at"].value) == "now + 5"
    assert counter.slot is None
    assert ADDRESS.bucket == "bucket"
