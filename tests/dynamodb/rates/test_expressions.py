"""Requests about rates against every state of a key's item: what each writes, what is refused, what is returned."""

from dataclasses import replace

import pytest

from ddb_lease._protocol.messages import Done, Rejected
from ddb_lease._protocol.rates.messages import (
    Block,
    ChangePolicy,
    ChargeTogether,
    CreatePolicy,
    KeyIs,
    KeyRefused,
    KeysAre,
    KeyWritten,
    LimitSettlement,
    ListKeys,
    Override,
    PolicyIs,
    PolicyRefused,
    ReadKey,
    ReadPolicy,
    Reset,
    TogetherRefused,
)
from ddb_lease._protocol.rates.records import SHARDS, Hold, Policy
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.expressions import call_for
from ddb_lease.dynamodb.rates.items import shard_of
from tests.rates import HOLD, POLICY, REQUESTS, KeyTable, charge, key_state, limit, ours, part, settlement
from tests.support import TTL, new_token

CONTRACT = True  # the simulator's DynamoDB too

BUSY = part("busy")
HELD = {"M": {"held": {"M": {"tokens": {"N": "9"}}}, "until": {"N": "5000"}, "attempt": {"S": "held"}}}


@pytest.fixture
def keys(table):
    return KeyTable(table)


def sent(store, request):
    return store.send(request).answer


def refused(store, request):
    answer = sent(store, request)
    assert isinstance(answer, KeyRefused), answer
    return answer.state


def written(store, request):
    answer = sent(store, request)
    assert isinstance(answer, KeyWritten), answer
    return answer.state


# Charges.


def test_the_first_charge_makes_the_item(store, keys):
    state = written(store, charge(part(), part(name="tokens", charged=3, tolerance=50), lane=3))
    assert state == key_state(limits={"requests": limit(1_010), "tokens": limit(1_003)}, lanes={3: "mine"})
    assert keys.get() == ours(requests=(1_010, 0), tokens=(1_003, 0)) | {"a3": "mine", "ttl": TTL}


def test_an_idle_limit_counts_from_the_due_time(store, keys):
    keys.put(requests=(999, 0))
    assert written(store, charge()).limits == {"requests": limit(1_010)}


@pytest.mark.parametrize("tat", [1_000, 1_001, 5_000])
def test_an_idle_charge_is_refused_where_something_is_not_paid_for(store, keys, tat):
    keys.put(requests=(tat, 0))
    assert refused(store, charge()) == key_state(limits={"requests": limit(tat)})
    assert keys.get() == ours(requests=(tat, 0))


@pytest.mark.parametrize("tat", [1_000, 1_001, 1_090])
def test_a_busy_charge_comes_on_top(store, keys, tat):
    keys.put(requests=(tat, 0))
    assert written(store, charge(BUSY)).limits == {"requests": limit(tat + 10)}


@pytest.mark.parametrize("tat", [999, 1_091])
def test_a_busy_charge_is_refused_where_all_is_paid_for_and_beyond_the_tolerance(store, keys, tat):
    keys.put(requests=(tat, 0))
    assert refused(store, charge(BUSY)).limits == {"requests": limit(tat)}
    assert refused(store, charge(BUSY, key="other")) is None
    assert keys.get("other") is None


def test_within_its_horizon_a_charge_books_ahead(store, keys):
    keys.put(requests=(1_091, 0))
    assert refused(store, charge(BUSY)).limits == {"requests": limit(1_091)}
    assert written(store, charge(BUSY, horizon=1)).limits == {"requests": limit(1_101)}


@pytest.mark.parametrize(("branch", "tat", "horizon"), [("idle", 900, 0), ("busy", 1_000, 500)])
def test_nothing_is_booked_on_the_end_of_a_hold(store, keys, branch, tat, horizon):
    keys.put(requests=(tat, 91))
    request = charge(part(branch), horizon=horizon)
    assert refused(store, request).limits == {"requests": limit(tat, 91)}
    keys.put(requests=(tat, 90))
    after = max(tat, 1_000) + 10
    assert written(store, request).limits == {"requests": limit(after, 90)}


@pytest.mark.parametrize(("branch", "tat"), [("idle", 900), ("busy", 1_000)])
def test_a_reservation_is_held_apart(store, keys, branch, tat):
    keys.put(requests=(tat, 20))
    hold = Hold(held={"requests": 30}, until=9_000, attempt="mine")
    request = charge(part(branch, charged=0, reserved=30), process="p", hold=hold)
    state = written(store, request)
    assert state.limits == {"requests": limit(1_000, 50)}
    assert state.holds == {"p": hold}
    assert keys.get()["hold#p"] == {
        "held": {"M": {"requests": {"N": "30"}}},
        "until": {"N": "9000"},
        "attempt": {"S": "mine"},
    }


def test_permits_booked_and_reserved_go_in_one_charge(store, keys):
    keys.put(requests=(1_005, 0))
    both = part("busy", charged=10, reserved=20)
    state = written(store, charge(both, process="p", hold=replace(HOLD, attempt="mine")))
    assert state.limits == {"requests": limit(1_015, 20)}


def test_a_hold_is_changed_only_as_it_is_known(store, keys):
    keys.set(**ours(tokens=(900, 9)), **{"hold#p": HELD})
    more = charge(part(name="tokens", charged=0, reserved=5), process="p", hold=replace(HOLD, attempt="mine"))
    assert refused(store, more).holds == {"p": HOLD}
    assert refused(store, replace(more, hold_before="older")).holds == {"p": HOLD}
    assert written(store, replace(more, hold_before="held")).holds == {"p": replace(HOLD, attempt="mine")}
    assert refused(store, replace(more, key="k", attempt="again", hold_before="held")) is not None


def test_of_several_limits_all_are_charged_or_none(store, keys):
    keys.put(requests=(900, 0), tokens=(1_048, 0))
    tokens = part("busy", name="tokens", charged=3, tolerance=50)
    assert refused(store, charge(part(), tokens)).limits == {"requests": limit(900), "tokens": limit(1_048)}
    assert keys.get() == ours(requests=(900, 0), tokens=(1_048, 0))
    later = charge(part(), tokens, due=1_001)
    assert written(store, later).limits == {"requests": limit(1_011), "tokens": limit(1_051)}


def test_an_attempt_is_charged_once_and_finds_itself(store, keys):
    keys.put(requests=(1_050, 0))
    written(store, charge(BUSY))
    before = keys.get()
    for again in (charge(BUSY), charge(), charge(BUSY, due=1_020), charge(due=2_000), charge(BUSY, horizon=99)):
        assert refused(store, again).lanes == {0: "mine"}
    assert keys.get() == before
    assert isinstance(sent(store, charge(BUSY, attempt="other", lane=1)), KeyWritten)


def test_a_charge_is_refused_under_another_revision_of_the_policy(store, keys):
    keys.put(requests=(900, 0))
    for rev in (6, 8):
        assert refused(store, charge(rev=rev)).rev == 7
    assert refused(store, charge(rev=7, adopts=True)).rev == 7
    assert refused(store, charge(rev=7, adopts=True, key="new")) is None


def test_the_first_charge_under_a_new_policy_cuts_what_was_charged_before(store, keys):
    keys.put(requests=(50_000, 5), tokens=(60_000, 6))
    cut = (part("cut", cut=1_060), part("cut", name="tokens", charged=0, tolerance=0, cut=1_020))
    state = written(store, charge(*cut, rev=8, adopts=True, due=1_000))
    assert state.rev == 8
    assert state.limits == {"requests": limit(1_070, 5), "tokens": limit(1_020, 6)}


def test_a_cut_that_is_past_counts_from_the_due_time(store, keys):
    keys.put(requests=(50_000, 5))
    request = charge(part("cut", charged=10, reserved=2, cut=40), rev=8, adopts=True, process="p", hold=HOLD)
    assert written(store, request).limits == {"requests": limit(1_010, 7)}


@pytest.mark.parametrize(("held", "due", "fits"), [(30, 1_000, True), (31, 1_000, False), (31, 1_001, True)])
def test_a_cut_leaves_no_more_than_the_tolerance(store, keys, held, due, fits):
    keys.put(requests=(50_000, held))
    answer = sent(store, charge(part("cut", cut=1_060), rev=8, adopts=True, due=due))
    assert isinstance(answer, KeyWritten if fits else KeyRefused)


def test_a_limit_is_cut_only_where_it_is_beyond_the_cut_and_kept_only_where_it_is_not(store, keys):
    keys.put(requests=(900, 0), tokens=(1_020, 0))
    cut, kept = part("cut", name="tokens", charged=0, cut=1_020), part("kept", name="tokens", charged=0, cut=1_020)
    assert refused(store, charge(part(), cut, rev=8, adopts=True)) is not None
    assert refused(store, charge(part(), replace(kept, cut=1_019), rev=8, adopts=True)) is not None
    state = written(store, charge(part(), kept, rev=8, adopts=True))
    assert state.limits == {"requests": limit(1_010), "tokens": limit(1_020)}


def test_a_charge_is_refused_while_the_key_is_blocked_beyond_its_due_time(store, keys):
    keys.set(**ours(requests=(900, 0)), blocked_until=1_500)
    assert refused(store, charge(due=1_499)).blocked_until == 1_500
    assert isinstance(sent(store, charge(due=1_500)), KeyWritten)


def test_a_charge_is_refused_where_the_override_is_not_known(store, keys):
    keys.set(**ours(requests=(900, 0)), override_rev=4)
    assert refused(store, charge()).override_rev == 4
    assert refused(store, charge(override_rev=3)) is not None
    assert isinstance(sent(store, charge(override_rev=4)), KeyWritten)
    assert refused(store, charge(override_rev=4, key="new")) is None


def test_without_a_ttl_an_item_stays(store, keys):
    keys.set(**ours(requests=(900, 0)), ttl=TTL)
    written(store, charge(ttl=None))
    assert "ttl" not in keys.get()


def test_nanoseconds_are_added_exactly(store, keys):
    now = 1_795_470_755_123_456_789
    written(store, charge(part(charged=1), due=now))
    state = written(store, charge(part("busy", charged=333_333_334, tolerance=10**12), due=now, attempt="second"))
    assert state.limits["requests"] == limit(now + 333_333_335)


def test_ten_limits_with_all_that_they_may_have_fit_into_one_charge(store, keys):
    names = [f"limit_{n}".ljust(32, "x") for n in range(10)]
    now = 1_795_470_755_123_456_789
    hold = Hold(held=dict.fromkeys(names, 10), until=now, attempt="a" * 16)
    idle = tuple(part(name=name, reserved=10) for name in names)
    written(store, charge(*idle, process="p" * 16, hold=hold, due=now))
    busy = tuple(part("busy", name=name, reserved=10) for name in names)
    again = charge(*busy, process="p" * 16, hold=hold, hold_before="a" * 16, due=now, attempt="b")
    state = written(store, again)
    assert set(state.limits.values()) == {limit(now + 20, 20)}
    cuts = tuple(part("cut", name=name, reserved=10, cut=now + 5) for name in names)
    written(store, replace(again, limits=cuts, rev=8, adopts=True, attempt="c"))
    parts = tuple(LimitSettlement(name=name, idle=False, used=1, held=10) for name in names)
    request = settlement(*parts, now=now, process="p" * 16, hold_before="a" * 16, hold=hold, ttl=TTL)
    assert isinstance(sent(store, request), KeyWritten)
    for each in (again, replace(again, limits=cuts, adopts=True), request):
        _, arguments = call_for(each, BucketAddress(table="leases", bucket="b"))
        texts = [arguments[which] for which in ("ConditionExpression", "UpdateExpression")]
        assert max(map(len, texts)) < 4_096
        for text in texts:
            assert sum(text.count(operator) for operator in (" AND ", " OR ", "<", ">", "=", "+", "-", "(", ",")) < 300


# Settlements.


@pytest.mark.parametrize(
    ("tat", "idle", "after"), [(900, True, 1_004), (999, True, 1_004), (1_000, False, 1_004), (1_020, False, 1_024)]
)
def test_a_settlement_charges_what_was_used_and_gives_the_hold_back(store, keys, tat, idle, after):
    keys.set(**ours(tokens=(tat, 20)), **{"hold#p": HELD}, ttl=TTL)
    state = written(store, settlement(LimitSettlement(name="tokens", idle=idle, used=4, held=9)))
    assert state == key_state(limits={"tokens": limit(after, 11)}, lanes={1: "settled"})
    assert keys.get()["ttl"] == TTL


@pytest.mark.parametrize(("tat", "idle"), [(1_000, True), (999, False)])
def test_a_settlement_of_the_wrong_branch_is_refused(store, keys, tat, idle):
    keys.set(**ours(tokens=(tat, 9)), **{"hold#p": HELD})
    request = settlement(LimitSettlement(name="tokens", idle=idle, used=4, held=9))
    assert refused(store, request).limits == {"tokens": limit(tat, 9)}


def test_more_than_was_held_is_a_debt(store, keys):
    keys.set(**ours(tokens=(1_000, 9)), **{"hold#p": HELD})
    over = LimitSettlement(name="tokens", idle=False, used=500, held=9)
    assert written(store, settlement(over, ttl=TTL + 5)).limits == {"tokens": limit(1_500)}
    assert keys.get()["ttl"] == TTL + 5


def test_a_debt_gives_no_ttl_to_an_item_that_has_an_override_by_now(store, keys):
    override = {"M": {}}
    keys.set(**ours(tokens=(1_000, 9)), **{"hold#p": HELD}, override=override, override_rev=3)
    debt = settlement(LimitSettlement(name="tokens", idle=False, used=500, held=9))
    assert refused(store, replace(debt, ttl=TTL)).holds.keys() == {"p"}
    assert "ttl" not in keys.get()
    written(store, debt)
    assert "ttl" not in keys.get()


def test_what_is_not_settled_yet_stays_held(store, keys):
    keys.set(**ours(tokens=(900, 9)), **{"hold#p": HELD})
    rest = Hold(held={"tokens": 3}, until=5_000, attempt="settled")
    state = written(store, settlement(LimitSettlement(name="tokens", idle=True, used=0, held=6), hold=rest))
    assert state.holds == {"p": rest}
    assert state.limits == {"tokens": limit(1_000, 3)}


def test_each_settlement_happens_once(store, keys):
    keys.set(**ours(tokens=(900, 18)), **{"hold#p": HELD})
    rest = Hold(held={"tokens": 9}, until=5_000, attempt="settled")
    written(store, settlement(hold=rest))
    before = keys.get()
    for again in (settlement(hold=rest), settlement(hold=rest, attempt="another")):
        assert refused(store, again).holds == {"p": rest}
    assert keys.get() == before
    written(store, settlement(LimitSettlement(name="tokens", idle=False, used=9, held=9), hold_before="settled"))
    assert refused(store, settlement()).holds == {}


def test_nothing_is_settled_that_is_not_held(store, keys):
    keys.set(**ours(tokens=(900, 8)), **{"hold#p": HELD})
    assert refused(store, settlement()).limits == {"tokens": limit(900, 8)}
    keys.set(**ours(), **{"hold#p": HELD})
    assert refused(store, settlement()).holds == {"p": HOLD}
    assert refused(store, settlement(key="none")) is None


# A key and its parents.


def test_a_key_and_its_parents_are_charged_together(store, keys):
    keys.put("org", requests=(1_050, 0))
    together = ChargeTogether(charges=(charge(), charge(BUSY, key="org")), token=new_token())
    assert sent(store, together) == Done()
    assert keys.get("k")["tat#requests"] == 1_010
    assert keys.get("org")["tat#requests"] == 1_060


def test_a_key_and_its_parents_are_charged_all_or_none(store, keys):
    keys.put("org", requests=(1_091, 0))
    together = ChargeTogether(charges=(charge(), charge(BUSY, key="org")), token=new_token())
    found = (None, key_state(limits={"requests": limit(1_091)}))
    assert sent(store, together) == TogetherRefused(failed=(False, True), found=found)
    assert keys.get("k") is None


def test_a_parent_may_be_a_key_of_another_limiter(store, keys, table):
    parent = charge(key="org", limiter=f"{table.bucket}#x")
    assert sent(store, ChargeTogether(charges=(charge(), parent), token=new_token())) == Done()
    assert keys.get("org") is None


# Reading.


def test_a_key_is_read_as_it_is(store, keys):
    assert sent(store, ReadKey(key="k")) == KeyIs(state=None)
    keys.put(tokens=(900, 3))
    assert sent(store, ReadKey(key="k")) == KeyIs(state=key_state(limits={"tokens": limit(900, 3)}))


@pytest.mark.parametrize("key", ["", "k", "a#b", "käse", "x" * 512])
def test_any_key_has_an_item_of_its_own(store, keys, key):
    written(store, charge(key=key))
    assert keys.get(key)["tat#requests"] == 1_010


def test_keys_are_listed_page_by_page(store, keys, table):
    shard = shard_of("k")
    names = sorted([name for name in map(str, range(2_000)) if shard_of(name) == shard][:3])
    for name in names:
        keys.put(name, requests=(1_000, 0))
    keys.of("k").set("rate#foreign", price=3)
    keys.of("k").set("rates", price=3)
    found, after = [], None
    while True:
        page = sent(store, ListKeys(shard=shard, after=after, limit=2))
        assert isinstance(page, KeysAre)
        found += page.keys
        after = page.after
        if after is None:
            break
    assert found == [(name, key_state(limits={"requests": limit(1_000)})) for name in names]


def test_shards_are_the_same_for_ever_and_evenly_filled():
    assert [shard_of(key) for key in ("", "k", "team-7", "käse")] == SHARDS_OF_SOME
    counts = [0] * SHARDS
    for number in range(64_000):
        counts[shard_of(f"user-{number}")] += 1
    assert 700 < min(counts) <= max(counts) < 1_300


SHARDS_OF_SOME = [0, 29, 60, 55]


# Policy.


def test_a_policy_is_created_once_and_read(store, table):
    assert sent(store, ReadPolicy(consistent=True)) == PolicyIs(policy=None)
    assert sent(store, CreatePolicy(policy=POLICY)) == PolicyIs(policy=POLICY)
    other = Policy(limits={"requests": REQUESTS}, rev=9)
    assert sent(store, CreatePolicy(policy=other)) == PolicyRefused(policy=POLICY)
    assert sent(store, ReadPolicy(consistent=True)) == PolicyIs(policy=POLICY)
    assert sent(store, ReadPolicy(consistent=False)) == PolicyIs(policy=POLICY)


def test_a_policy_is_changed_as_it_was_seen(store, table):
    changed = Policy(limits={"requests": replace(REQUESTS, interval=20, rev=8, since=99)}, rev=8)
    assert sent(store, ChangePolicy(policy=changed, rev_before=7)) == PolicyRefused(policy=None)
    sent(store, CreatePolicy(policy=POLICY))
    assert sent(store, ChangePolicy(policy=changed, rev_before=6)) == PolicyRefused(policy=POLICY)
    assert sent(store, ChangePolicy(policy=changed, rev_before=7)) == PolicyIs(policy=changed)
    assert sent(store, ReadPolicy(consistent=True)) == PolicyIs(policy=changed)


def test_the_item_of_an_older_version_is_noticed(store, table):
    table.set("rate", tat=1_000, burst=5)
    assert sent(store, ReadPolicy(consistent=True)) == PolicyIs(policy=None, older=True)
    sent(store, CreatePolicy(policy=POLICY))
    assert sent(store, ReadPolicy(consistent=True)) == PolicyIs(policy=POLICY, older=True)
    assert table.get("rate") == {"tat": 1_000, "burst": 5}


def test_what_others_keep_beside_a_policy_does_not_matter(store, table):
    for sort in ("rate", "policy#2", "queue"):
        table.set(sort, price=3)
    assert sent(store, ReadPolicy(consistent=True)) == PolicyIs(policy=None)


# Steering.


def override(limits=None, **changes):
    limits = {"requests": REQUESTS} if limits is None else limits
    request = Override(key="k", limits=limits, override_rev=0, override_rev_after=5, rev=7, ttl=None)
    return replace(request, **changes)


def test_an_override_stays_until_it_is_removed(store, keys):
    state = written(store, override())
    assert state == key_state(override={"requests": REQUESTS}, override_rev=5)
    assert "ttl" not in keys.get()
    assert refused(store, override()).override_rev == 5
    removed = override({}, override_rev=5, override_rev_after=6, ttl=TTL)
    assert written(store, removed) == key_state(override_rev=6)
    assert keys.get() == ours() | {"override_rev": 6, "ttl": TTL}


def test_an_override_cuts_what_was_charged_before(store, keys):
    keys.set(**ours(requests=(9_000, 4), tokens=(9_000, 0)), ttl=TTL)
    assert refused(store, override(cuts={"requests": 9_000})) is not None
    state = written(store, override(cuts={"requests": 1_100}))
    assert state.limits == {"requests": limit(1_100, 4), "tokens": limit(9_000)}
    assert "ttl" not in keys.get()


def test_a_key_is_blocked(store, keys):
    block = Block(key="k", until=2_000, rev=7, override_rev=0, ttl=TTL)
    assert written(store, block) == key_state(blocked_until=2_000)
    assert keys.get() == ours() | {"blocked_until": 2_000, "ttl": TTL}
    written(store, override())
    assert refused(store, block) is not None
    again = replace(block, until=0, override_rev=5, ttl=None)
    assert written(store, again).blocked_until == 0
    assert "ttl" not in keys.get()


def test_a_reset_forgives_everything_but_the_override(store, keys):
    keys.set(
        **ours(requests=(9_000, 4), old=(1, 2)),
        **{"hold#p": HELD, "a0": "mine"},
        override_rev=3,
        blocked_until=4,
    )
    seen = sent(store, ReadKey(key="k")).state
    assert written(store, Reset(key="k", seen=seen, others=("tokens",))) == key_state(lanes={0: "mine"}, override_rev=3)


def test_a_reset_misses_no_reservation(store, keys):
    keys.set(**ours(tokens=(900, 9)), **{"hold#p": HELD})
    seen = sent(store, ReadKey(key="k")).state
    for before in (
        replace(seen, limits={"tokens": limit(900, 8)}),
        replace(seen, holds={"p": replace(HOLD, attempt="older")}),
        replace(seen, holds={"q": HOLD}),
    ):
        assert refused(store, Reset(key="k", seen=before)) == seen
    assert refused(store, Reset(key="k", seen=replace(seen, limits={}), others=("tokens",))) == seen


# Items of another shape.

FOREIGN = {
    "nothing of ours": {"price": 7, "currency": "EUR"},
    "no schema": {"rev": 7, "tat#requests": 1, "held#requests": 0, "reach#requests": 1},
    "a schema of another": {"schema": 1, "rev": 7},
    "a schema as text": {"schema": "2", "rev": 7},
    "a revision as text": {"schema": 2, "rev": "7"},
    "a TTL": {"ttl": TTL},
    "an attempt": {"a0": "mine"},
}


@pytest.mark.parametrize("item", FOREIGN.values(), ids=FOREIGN)
def test_an_item_of_another_shape_is_never_charged(store, keys, item):
    keys.set(**item)
    for request in (charge(), charge(BUSY), charge(adopts=True, rev=8), charge(due=10**18), settlement()):
        answer = sent(store, request)
        assert isinstance(answer, Rejected), request
        assert "'rate#k' (pk" in str(answer.error)
        assert "choose another name" in str(answer.error)
    assert isinstance(sent(store, ReadKey(key="k")), Rejected)
    assert keys.get() == item


@pytest.mark.parametrize("item", [{"price": 7}, {"schema": 1, "rev": 7}, {"schema": 2, "limits": "x"}])
def test_a_policy_of_another_shape_is_never_written_to(store, table, item):
    table.set("policy", **item)
    for request in (
        CreatePolicy(policy=POLICY),
        ChangePolicy(policy=POLICY, rev_before=7),
        ReadPolicy(consistent=True),
    ):
        assert isinstance(sent(store, request), Rejected)
    assert table.get("policy") == item


def test_what_a_newer_version_wrote_asks_for_an_upgrade(store, keys, table):
    keys.set(schema=3, rev=7)
    table.set("policy", schema=3, rev=7)
    for request in (charge(), ReadKey(key="k"), ReadPolicy(consistent=True), CreatePolicy(policy=POLICY)):
        answer = sent(store, request)
        assert isinstance(answer, Rejected)
        assert "upgrade ddb-lease" in str(answer.error)
    assert keys.get() == {"schema": 3, "rev": 7}


@pytest.mark.parametrize(
    "limits",
    [
        {"M": {"requests": {"M": {}}}},
        {"M": {"requests": {"N": "3"}}},
        {"L": []},
    ],
)
def test_a_policy_that_was_edited_into_nonsense_is_refused(store, table, limits):
    table.set("policy", schema=2, rev=7, limits=limits)
    assert isinstance(sent(store, ReadPolicy(consistent=True)), Rejected)


def test_an_item_of_three_limits_stays_within_one_write_unit(store, keys, hands, table):
    now = 1_795_470_755_123_456_789
    names = ("requests", "tokens", "tokens_per_day")
    for lane in range(8):
        branch = "idle" if lane == 0 else "busy"
        parts = tuple(part(branch, name=name, charged=10**8, tolerance=10**12) for name in names)
        written(store, charge(*parts, attempt=f"{lane}".ljust(16, "f"), lane=lane, due=now))
    item = hands.get_item(TableName=table.table, Key=keys.of().key("rate#k"))["Item"]
    assert len(item) == 2 + 3 + 3 * 3 + 8
    assert sum(len(name) + len(next(iter(value.values()))) for name, value in item.items()) < 600
