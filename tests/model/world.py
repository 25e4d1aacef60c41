"""The world: clients, operators, the network and time around the service, as one transition system.

Invariants:

- Everything that may happen is a step: the adversary chooses which step happens next. There is no fairness.
- The network: a request may be executed now, late, or never; again, as a copy, also after its sender has moved on; and
  its answer may be heard now, late, or never. A crashed client is one that takes no more steps, so every state includes
  crashes; such a client still counts as believing until its deadline, which is the harder case.
- A tick is a span, not an instant: an event stamped with a tick may have happened at its end, so a holder believes
  *through* the tick of its deadline.
- The adversary also chooses the bounds on the service's time that a client has, and how stale its look is.
- A client plans anything that some look could have made it plan, however stale: its safety is in the conditions. Reading
  is modelled, chunk by chunk, only where the design says what a plan must rest on (resize, repair, strays).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.model import properties
from tests.model.checker import Step
from tests.model.clauses import Clause, Kept
from tests.model.state import (
    ACQUISITIONS,
    DONE,
    HOLDING,
    IDLE,
    LONG_DUE,
    LOST,
    PLANNER,
    SENT,
    TRANSACTIONS,
    WAITING,
    Client,
    Job,
    Message,
    Operator,
    Scenario,
    State,
)
from tests.model.table import (
    NOBODY,
    Adopt,
    BringBack,
    Claim,
    Close,
    Counter,
    Create,
    Grow,
    Mint,
    Release,
    Renew,
    Request,
    Retire,
    Revoke,
    Service,
    Table,
    Take,
    circulates,
    slots_of,
)


class World:
    """A scenario, with some clauses removed, as a system that can be explored."""

    def __init__(
        self,
        scenario: Scenario,
        removed: Iterable[Clause] = (),
        *,
        watch: tuple[str, ...] | None = None,
        forget_the_dead: bool = True,
    ) -> None:
        self.scenario = scenario
        self.keep = Kept(removed)
        self.service = Service(self.keep)
        self.watch = frozenset(scenario.watch if watch is None else watch)
        self._forget_the_dead = forget_the_dead
        self._mortal = self._kinds_that_die()
        self._margin = scenario.margin if self.keep.MARGIN else 0

    # Called by the explorer.

    def initial(self) -> Iterator[State]:
        """The only start."""
        scenario = self.scenario
        clients = [Client() for _ in scenario.acquisitions]
        for slot, client, deadline in scenario.held:
            held = scenario.slots[slot]
            clients[client] = Client(
                HOLDING, lease=held.lease, slots=(slot,), deadlines=(deadline,), expires=(held.expires,)
            )
        yield State(
            now=1,
            table=Table(scenario.counter, scenario.slots),
            clients=tuple(clients),
            operators=tuple(Operator() for _ in scenario.jobs),
            net=(),
            fences=tuple(slot.fence if slot is not None else 0 for slot in scenario.slots),
            copies=scenario.copies,
            deletions=scenario.deletions,
            edits=1 if scenario.edits else 0,
            revocations=scenario.revocations,
            bring_backs=scenario.bring_backs,
            standstills=scenario.standstill if self.keep.STEADY_COUNTS_SLEEP else scenario.standstill + scenario.sleeps,
            edited=2 if scenario.uncounted else 0,
            closed=(0,) * len(scenario.slots) if scenario.hold else (),
        )

    def steps(self, state: State) -> Iterator[Step]:
        """All that may happen next."""
        for label, after, broken in self._all(state):
            yield label, self._without_the_dead(after), broken

    def broken_in(self, state: State) -> str | None:
        """The first property that does not hold in this state."""
        return properties.broken_in(state, self.watch)

    def _without_the_dead(self, s: State) -> State:
        """The state without requests that can do nothing any more and whose answer no client awaits.

        Each is dropped only if kept clauses make that certain, so no distinct state is lost.
        """
        if not (s.net and self._forget_the_dead):
            return s
        known = {client.lease for client in s.clients}
        alive = tuple([m for m in s.net if not self._dead(s, m, known)])
        return s if len(alive) == len(s.net) else s._replace(net=alive)

    def _kinds_that_die(self) -> frozenset[str]:
        """The kinds of request that can become certain to do nothing, by the clauses that are kept."""
        keep = self.keep
        fenced = keep.CLAIM_FENCE_RISES and keep.RELEASE_KEEPS_FENCE and not self.scenario.deletions
        found = {"claim": fenced, "renew": keep.RENEW_MINE, "release": keep.RELEASE_MINE, "close": keep.CLOSE_MINE}
        return frozenset(kind for kind, dies in found.items() if dies)

    def _dead(self, s: State, m: Message, known: set[int]) -> bool:
        """Whether a request is dead; `known` leases have a client."""
        if m.kind not in self._mortal or m.request.lease in known:
            return False
        if m.kind == "claim":
            # A slot's fence never falls while its item lives, and nothing but TTL ends that.
            slot = s.table.slots[m.request.slot]
            return slot is not None and slot.fence >= m.request.fence
        lease = m.request.lease  # in the table, or it may still be
        if any(slot is not None and slot.lease == lease for slot in s.table.slots):
            return False
        return not any(other.kind in ACQUISITIONS and other.request.lease == lease for other in s.net)

    def _all(self, s: State) -> Iterator[Step]:
        for i, client in enumerate(s.clients):
            yield from self._client(s, i, client)
        for j, operator in enumerate(s.operators):
            yield from self._operator(s, j, operator)
        for k, message in enumerate(s.net):
            yield from self._network(s, k, message)
        yield from self._lease_context(s)

    # Clients.

    def _client(self, s: State, i: int, c: Client) -> Iterator[Step]:
        scenario = self.scenario
        for k, answer in enumerate(c.inbox):
            rest = c._replace(inbox=c.inbox[:k] + c.inbox[k + 1 :])
            heard = self._hear(_with_client(s, i, rest), i, answer)
            yield (f"a late answer to {answer[0]} is heard", f"c{i}", answer), heard, None
        if c.phase in {IDLE, LOST} and c.tries < scenario.acquisitions[i]:
            yield from self._acquisitions(s, i, c)
        if c.phase == WAITING:
            yield from self._waits(s, i, c)
        if c.phase == HOLDING:
            if c.renewals < scenario.renewals[i]:
                yield from self._renewals(s, i, c)
            if scenario.hands_over:
                yield ("a holder hands over", f"c{i}"), self._hand_over(s, i), None
            if scenario.releases:
                yield ("a holder releases", f"c{i}"), self._let_go(s, i), None
            if c.lag:
                yield ("a client hears the service's time", f"c{i}"), self._corrected(s, i), None

    def _acquisitions(self, s: State, i: int, c: Client) -> Iterator[Step]:
        lease = 10 * (i + 1) + c.tries
        begun = Client(WAITING, tries=c.tries + 1, lease=lease, renewals=c.renewals)
        for label, kind, request in self._requests(s, lease):
            numbers = slots_of(kind, request)
            expires = _expires_of(kind, request)
            first = self._first_length()
            waiting = begun._replace(
                slots=numbers,
                deadlines=tuple(s.now + first - self._margin for _ in numbers),
                expires=tuple(expires for _ in numbers),
                hold_until=expires - first + self.scenario.hold if self.scenario.hold else 0,
            )
            yield (
                (label, f"c{i}", request),
                _with_client(self._send(s, kind, i, request), i, waiting),
                None,
            )

    def _requests(self, s: State, lease: int) -> Iterator[tuple[str, str, Request]]:
        scenario = self.scenario
        numbers = range(len(s.table.slots))
        for ahead in scenario.ahead:
            hi = s.now + ahead
            for way in scenario.ways:
                if way == "claim":
                    for n in numbers:
                        for claim in self._claims(s, n, hi, lease):
                            yield "a client plans a claim", "claim", claim
                elif way == "adopt":
                    for offer in s.offers:
                        yield "a client plans to adopt", "adopt", self._adopt(s, offer, hi, lease)
                elif way in {"take", "re-take"}:
                    yield from self._takes(s, hi, lease, int(way == "re-take"))
                else:
                    for n in numbers:
                        yield f"a client plans a {way}", "mint", self._mint(s, n, hi, lease, int(way == "re-mint"))

    def _claims(self, s: State, n: int, hi: int, lease: int) -> Iterator[Claim]:
        # Seen as it is now, or not at all: older looks are between these.
        slot, keep = s.table.slots[n], self.keep
        fences: list[int] = []
        for seen in (slot.fence if slot is not None else 0, 0):
            fence = self._fence(seen, hi)
            if fence in fences:
                continue
            fences.append(fence)
            expires = self._expires(s, hi, length=self._first_length())
            for behind in self.scenario.behind:
                before = s.now + (behind if keep.CLAIM_BY_NOW_LO else 2)
                yield Claim(n, fence, lease, expires, self._ttl(hi, expires), before)

    def _adopt(self, s: State, offer: tuple[int, int, int], hi: int, lease: int) -> Adopt:
        slot, giver, fence = offer
        expires = self._expires(s, hi)
        return Adopt(slot, giver, self._fence(fence, hi), lease, expires, self._ttl(hi, expires))

    def _hand_over(self, s: State, i: int) -> State:
        """Stop believing, and give the token to everybody. The renewal before it was like any other."""
        c = s.clients[i]
        offers = [(n, c.lease, s.fences[n]) for n in c.slots]
        s = s._replace(offers=tuple(sorted({*s.offers, *offers})))
        return _with_client(s, i, self._after_loss(c)) if self.keep.GIVER_STOPS else s

    def _mint(self, s: State, n: int, hi: int, lease: int, re_mint: int) -> Mint:
        expires = self._expires(s, hi)
        return Mint(n, self._fence(0, hi), lease, expires, self._ttl(hi, expires), re_mint)

    def _takes(self, s: State, hi: int, lease: int, re_mint: int) -> Iterator[tuple[str, str, Take]]:
        # Two slots at once, as some look may have shown them: each claimable or missing, and some `max_tokens`.
        top = len(s.table.slots)
        pairs = [(a, b) for a in range(top) for b in range(a + 1, top)]
        for a, b in pairs:
            for minted in ((a, b),) if re_mint else ((), (b,), (a,), (a, b)):
                for seen_max in range(1, top + 1):
                    if max(a, b) >= seen_max and (self.keep.TAKE_BELOW_SEEN or not minted):
                        continue
                    claims = tuple(next(self._claims(s, n, hi, lease)) for n in (a, b) if n not in minted)
                    mints = tuple(self._mint(s, n, hi, lease, 0) for n in minted)
                    if not minted and seen_max != top:
                        continue
                    yield "a client plans to take two slots", "take", Take(claims, mints, lease, seen_max, re_mint)

    def _waits(self, s: State, i: int, c: Client) -> Iterator[Step]:
        yield ("a client gives up", f"c{i}"), self._let_go(s, i), None
        if not self.keep.NEW_ATTEMPT and c.tries < self.scenario.acquisitions[i]:
            for label, kind, request in self._requests(s, c.lease):
                if kind != "claim" or (request.slot,) != c.slots:
                    continue
                again = c._replace(
                    tries=c.tries + 1,
                    deadlines=(s.now + self.scenario.length - self._margin,),
                    expires=(request.expires,),
                )
                sent = _with_client(self._send(s, kind, i, request), i, again)
                yield (f"{label} again, under its old lease id", f"c{i}", request), sent, None

    def _renewals(self, s: State, i: int, c: Client) -> Iterator[Step]:
        # A renewal in flight may have been given up: the next is a new attempt.
        for k, n in enumerate(c.slots):
            for ahead in self.scenario.ahead:
                hi = s.now + ahead
                expires = self._expires(s, hi)
                if self.keep.RENEW_NEVER_SHORTER:
                    expires = max(expires, c.expires[k])  # clients also never write an earlier one
                deadline = s.now + self.scenario.length - self._margin
                request = Renew(n, c.lease, expires, self._ttl(hi, expires), deadline)
                after = c._replace(
                    renewals=c.renewals + 1,
                    renewing=request,
                    expires=(*c.expires[:k], expires, *c.expires[k + 1 :]),
                )
                sent = _with_client(self._send(s, "renew", i, request), i, after)
                yield ("a holder sends a renewal", f"c{i}", request), sent, None

    def _let_go(self, s: State, i: int) -> State:
        """Stop believing, and send the release; the network chooses whether it ever arrives."""
        c = s.clients[i]
        keep = self.keep
        closes = c.phase in {HOLDING, LOST} and s.now <= c.hold_until and keep.HOLD_CLOSES
        for n in c.slots:
            if closes:
                until = c.hold_until if keep.CLOSE_UNTIL else s.now
                s = self._send(s, "close", i, Close(n, c.lease, -c.lease, until, self._ttl(s.now, until)))
            else:
                s = self._send(s, "release", i, Release(n, c.lease, self._ttl(s.now, 0)))
        return _with_client(s, i, self._after_loss(c))

    def _after_loss(self, c: Client) -> Client:
        if self.keep.LOST_FOR_EVER or c.phase != HOLDING:
            return Client(IDLE, tries=c.tries, renewals=c.renewals)
        return c._replace(phase=LOST)

    def _corrected(self, s: State, i: int) -> State:
        """After any answer: apply what its date says about our steady clock."""
        c = s.clients[i]
        if not c.lag:
            return s
        by = c.lag if self.keep.JUMP_CORRECTED else 0
        s = _with_client(s, i, c._replace(lag=0, deadlines=tuple(deadline - by for deadline in c.deadlines)))
        return self._noticed(s, i)

    def _noticed(self, s: State, i: int) -> State:
        """A holder whose deadline has passed knows, without any I/O."""
        c = s.clients[i]
        if c.phase != HOLDING:
            return s
        until = min(c.deadlines) if self.keep.TAKE_LOSES_ALL else max(c.deadlines)
        return self._let_go(s, i) if s.now > until else s

    # Answers.

    def _answer(self, s: State, message: Message, *, ok: bool) -> Iterator[tuple[str, State]]:
        """The ways in which an answer can come: (what to add to the label, the state)."""
        i, kind, request = message.sender, message.kind, message.request
        yield "", s
        if i >= PLANNER or kind not in {"claim", "mint", "take", "adopt", "renew"}:
            return
        c = s.clients[i]
        awaited = c.renewing == request if kind == "renew" else c.phase == WAITING
        if c.lease != request.lease or not awaited or c.phase == IDLE:
            return
        leases = tuple(
            slot.lease if slot is not None else NOBODY for slot in (s.table.slots[n] for n in slots_of(kind, request))
        )
        revoked = int(any(s.table.slots[n] is not None and s.table.slots[n].revoked for n in slots_of(kind, request)))
        answer = (kind, request, ok, leases, revoked)
        if not self.scenario.late:
            yield ", answered", self._hear(s, i, answer)
        elif answer not in c.inbox:
            yield ", answer under way", _with_client(s, i, c._replace(inbox=tuple(sorted((*c.inbox, answer)))))

    def _hear(self, s: State, i: int, answer: tuple) -> State:
        kind, request, ok, leases, revoked = answer
        s = self._corrected(s, i)
        c = s.clients[i]
        if c.lease != request.lease:
            return s
        if kind == "renew":
            return self._hear_renewal(s, i, c, request, ok=ok, lease=leases[0], revoked=revoked)
        if c.phase != WAITING:
            return s
        if not (ok or self._ours(c, leases)):
            return _with_client(s, i, Client(IDLE, tries=c.tries, renewals=c.renewals))
        if s.now > min(c.deadlines) and self.keep.DEADLINE_NOT_RECEIPT:
            if self.keep.LATE_NOT_RETURNED:
                return self._let_go(s, i)
            c = c._replace(deadlines=tuple(s.now for _ in c.deadlines))
        if not self.keep.DEADLINE_NOT_RECEIPT:
            c = c._replace(deadlines=tuple(s.now + self.scenario.length - self._margin for _ in c.deadlines))
        if c.hold_until and s.closed:
            closed = tuple(max(t, c.hold_until) if n in c.slots else t for n, t in enumerate(s.closed))
            s = s._replace(closed=closed)
        return _with_client(s, i, c._replace(phase=HOLDING, inbox=()))

    def _ours(self, c: Client, leases: tuple[int, ...]) -> bool:
        if not self.keep.OWN_WRITE:
            return c.uncertain > 0
        ours = [lease == c.lease for lease in leases]
        return all(ours) if self.keep.TAKE_ALL_OURS else any(ours)

    def _hear_renewal(
        self, s: State, i: int, c: Client, request: Renew, *, ok: bool, lease: int, revoked: int
    ) -> State:
        if c.renewing != request or c.phase not in {HOLDING, LOST}:
            return s
        if ok and not revoked:
            deadlines = tuple(
                max(deadline, request.deadline) if n == request.slot else deadline
                for n, deadline in zip(c.slots, c.deadlines, strict=True)
            )
            return _with_client(s, i, c._replace(phase=HOLDING, deadlines=deadlines, renewing=()))
        if ok:
            return self._let_go(s, i)
        if lease == c.lease:
            return _with_client(s, i, c._replace(renewing=()))
        return _with_client(s, i, self._after_loss(c))

    # Times and fences that a request carries.

    def _expires(self, s: State, hi: int, length: int = 0) -> int:
        return (hi if self.keep.EXPIRY_BY_NOW_HI else s.now - 1) + (length or self.scenario.length)

    def _first_length(self) -> int:
        """For how long a lease is acquired."""
        scenario = self.scenario
        return max(scenario.length, scenario.hold) if self.keep.HOLD_WRITTEN else scenario.length

    def _fence(self, seen: int, hi: int) -> int:
        above = seen + 1 if self.keep.FENCE_ABOVE_SEEN else 0
        return max(above, hi) if self.keep.FENCE_BY_CLOCK else above

    def _ttl(self, hi: int, expires: int) -> int:
        if not self.scenario.deletions or not self.scenario.last:
            return 0
        later = max(hi, expires) if self.keep.TTL_AFTER_EXPIRY else hi
        return later + (self.scenario.retention if self.keep.RETENTION else 0)

    # Operators.

    def _reads(self, job: Job) -> tuple[tuple[str, ...], ...]:
        """The chunks in which a job reads, each a snapshot of its own; "c" is the counter, "s" the slots."""
        keep = self.keep
        whole, torn = (("c", "s"),), (("s",), ("c",))
        if job.kind == "shrink":
            return whole if keep.SHRINK_READ else torn
        if job.kind == "repair":
            if not keep.REPAIR_READ:
                return torn
            return (("c", "0"), ("1+",)) if keep.REPAIR_COUNTER_FIRST else (("0",), ("c", "1+"))
        if job.kind == "strays":
            return (("c",), ("s",)) if job.counter_first else torn
        return (("c",),)

    def _operator(self, s: State, j: int, o: Operator) -> Iterator[Step]:
        if o.step < 0:
            return
        job = self.scenario.jobs[j]
        if job.kind == "create":
            # A stale look may show no counter, and slots or none, at any time.
            slots = min(job.target, len(s.table.slots)) if job.fresh else 0
            minted = slots if job.fresh else (job.target if self.keep.CREATE_OVER_REST else 0)
            request = Create(job.target, minted, slots, s.now)
            sent = self._send(_with_operator(s, j, Operator(SENT)), "create", PLANNER + j, request)
            yield ("an operator sends a create", f"o{j}", request), sent, None
            return
        chunks = self._reads(job)
        seen, counter = o.seen or (-1,) * len(s.table.slots), o.counter
        for part in chunks[o.step]:
            if part == "c":
                counter = tuple(s.table.counter or ())
            else:
                wanted = {"s": range(len(seen)), "0": range(1), "1+": range(1, len(seen))}[part]
                seen = tuple(
                    int(circulates(s.table.slots[n])) if n in wanted else known for n, known in enumerate(seen)
                )
        read = o._replace(step=o.step + 1, counter=counter, seen=seen)
        label = ("an operator reads", f"o{j}", job.kind, "".join(chunks[o.step]), counter, seen)
        if read.step < len(chunks):
            yield label, _with_operator(s, j, read), None
            return
        yield label, self._plan(s, j, job, read), None

    def _plan(self, s: State, j: int, job: Job, o: Operator) -> State:
        finished = _with_operator(s, j, Operator(DONE))
        if not o.counter:
            return finished
        counter = Counter(*o.counter)
        expected = counter.max_tokens if o.expected < 0 or not self.keep.RESIZER_STOPS else o.expected
        if o.expected >= 0 and expected != counter.max_tokens:
            return finished  # another resizer was faster: stop, and report
        expected = o.expected if o.expected >= 0 else counter.max_tokens
        circulating_ = [n for n, there in enumerate(o.seen) if there == 1]
        request: Request
        if job.kind == "grow":
            if counter.max_tokens >= job.target:
                return finished
            request = Grow(counter.rev, job.target, expected)
        elif job.kind == "shrink":
            if counter.max_tokens <= job.target:
                return finished
            request = self._shrink(job, counter, circulating_, expected)
        else:
            beyond = tuple(n for n in circulating_ if n >= counter.max_tokens)
            if job.kind == "strays":
                if not beyond or not self.keep.STRAYS_RETIRED:
                    return finished
                floor = min(counter.minted, counter.max_tokens) if self.keep.STRAYS_FLOOR else 0
                minted = max(counter.minted - len(beyond), floor)
                request = Retire(beyond, counter.rev, counter.max_tokens, minted, expected)
            else:
                beyond = beyond if self.keep.REPAIR_RETIRES else ()
                minted = len(circulating_) - len(beyond)
                request = Retire(beyond, counter.rev, counter.max_tokens, minted, expected)
        sent = Operator(SENT, tries=o.tries, expected=expected)
        return self._send(_with_operator(s, j, sent), job.kind, PLANNER + j, request)

    def _shrink(self, job: Job, counter: Counter, circulating_: list[int], expected: int) -> Retire:
        """The next step of a shrink: from the top down, as many slots as fit into one transaction."""
        above = [n for n in circulating_ if job.target <= n]
        retired = sorted(above)[-self.scenario.per_step :]
        bound = retired[0] if len(above) > len(retired) and self.keep.SHRINK_OWN_MAX else job.target
        minted = counter.minted - (len(retired) if self.keep.SHRINK_COUNTS else 0)
        return Retire(tuple(retired), counter.rev, bound, minted, expected)

    def _operator_hears(self, s: State, j: int, request: Request, *, ok: bool) -> State:
        if j >= len(s.operators) or s.operators[j].step != SENT:
            return s
        job, o = self.scenario.jobs[j], s.operators[j]
        if ok and job.kind == "shrink" and request.max_tokens > job.target:
            return _with_operator(s, j, Operator(0, tries=o.tries, expected=request.max_tokens))
        if not ok and o.tries + 1 < job.tries:
            return _with_operator(s, j, Operator(0, tries=o.tries + 1, expected=o.expected))
        return _with_operator(s, j, Operator(DONE))

    # The network and the service.

    def _send(self, s: State, kind: str, sender: int, request: Request) -> State:
        sent = s.now if self.scenario.lifetime else 0
        message = Message(kind, sender, request, sent=sent)
        if any(m.request == request and m.kind == kind and m.sender == sender for m in s.net):
            return s  # the same request is already in flight
        return s._replace(net=tuple(sorted((*s.net, message))))

    def _network(self, s: State, k: int, m: Message) -> Iterator[Step]:
        rest = s.net[:k] + s.net[k + 1 :]
        if s.copies and m.copies == 1:
            yield from self._copied(s, m, rest)
        if m.executed:
            spent = s._replace(net=rest)
            for how, after in self._answer(spent, m, ok=True):
                yield (f"a token answers a repeated {m.kind}{how}", m.request), after, None
            return
        table = self.service.execute(s.table, m.kind, m.request)
        left = m._replace(copies=m.copies - 1) if m.copies > 1 else None
        if table is None:
            refused = s._replace(net=tuple(sorted((*rest, left))) if left else rest)
            if m.sender >= PLANNER:
                refused = self._operator_hears(refused, m.sender - PLANNER, m.request, ok=False)
            for how, after in self._answer(refused, m, ok=False):
                yield (f"{m.kind} is refused{how}", m.request), after, None
            return
        if left and m.kind in TRANSACTIONS and (self.keep.MINT_TOKEN or m.kind != "mint"):
            left = left._replace(executed=1)
        broken = properties.broken_by(s, m.kind, m.request, table, self.watch)
        done = s._replace(
            table=table,
            net=tuple(sorted((*rest, left))) if left else rest,
            fences=_risen(s.fences, s.table, table),
            edited=0 if m.kind == "repair" else s.edited,
        )
        if m.sender >= PLANNER:
            done = self._operator_hears(done, m.sender - PLANNER, m.request, ok=True)
        what = _name_of(s, m)
        for how, after in self._answer(done, m, ok=True):
            yield (f"{what}{how}", m.request), after, broken

    def _copied(self, s: State, m: Message, rest: tuple[Message, ...]) -> Iterator[Step]:
        copied = s._replace(copies=s.copies - 1, net=tuple(sorted((*rest, m._replace(copies=2)))))
        label = (f"a copy of {m.kind} is made", f"sender {m.sender}")
        if m.sender < PLANNER:
            c = s.clients[m.sender]
            awaited = c.phase == WAITING and c.lease == getattr(m.request, "lease", None)
            if awaited and not self.keep.OWN_WRITE:
                copied = _with_client(copied, m.sender, c._replace(uncertain=1))
            if awaited and not self.keep.DEADLINE_BEFORE_SENDING:
                # A resend, in a client that counts its deadline from there.
                deadlines = tuple(s.now + self.scenario.length - self._margin for _ in c.deadlines)
                copied = _with_client(copied, m.sender, c._replace(deadlines=deadlines))
        yield label, copied, None

    # Time, TTL, and people.

    def _lease_context(self, s: State) -> Iterator[Step]:
        if s.now < self.scenario.last:
            yield ("a tick passes",), self._tick(s), None
            for i, c in enumerate(s.clients):
                if s.standstills and c.phase == HOLDING:
                    yield ("a steady clock stands still for a tick", f"c{i}"), self._tick(s, standing=i), None
        if s.deletions:
            yield from self._deletions(s)
        if s.edits and s.table.counter is not None:
            for minted in self.scenario.edits:
                counter = s.table.counter._replace(minted=minted)
                after = s._replace(edits=0, edited=1, table=s.table._replace(counter=counter))
                yield ("someone edits minted by hand", minted), after, None
        if s.revocations:
            yield from self._revocations(s)
        if s.bring_backs:
            yield from self._bring_backs(s)

    def _revocations(self, s: State) -> Iterator[Step]:
        for n, slot in enumerate(s.table.slots):
            if slot is not None and slot.lease:
                spent = s._replace(revocations=s.revocations - 1)
                request = Revoke(n, slot.lease)
                sent = self._send(spent, "revoke", PLANNER + len(s.operators), request)
                yield ("an operator revokes", request), sent, None

    def _bring_backs(self, s: State) -> Iterator[Step]:
        for n in range(len(s.table.slots)):
            for re_mint in (0, 1):
                request = BringBack(n, re_mint, 0)
                spent = s._replace(bring_backs=s.bring_backs - 1)
                sent = self._send(spent, "bring back", PLANNER + len(s.operators), request)
                yield ("an acquirer plans to bring back", request), sent, None

    def _tick(self, s: State, standing: int = -1) -> State:
        now = s.now + 1
        s = s._replace(now=now)
        lifetime = self.scenario.lifetime
        if lifetime:
            s = s._replace(net=tuple(m for m in s.net if m.sent + lifetime >= now))
        for i, c in enumerate(s.clients):
            if i == standing:
                # If the clock is to blame (a paused machine), the design corrects it later.
                lag = c.lag + (1 if self.keep.STEADY_COUNTS_SLEEP else 0)
                shifted = c._replace(lag=lag, deadlines=tuple(d + 1 for d in c.deadlines))
                s = _with_client(s._replace(standstills=s.standstills - 1), i, shifted)
            s = self._noticed(s, i)
        return s

    def _deletions(self, s: State) -> Iterator[Step]:
        timed = bool(self.scenario.last)
        for n, slot in enumerate(s.table.slots):
            if slot is None:
                continue
            # Without ticks, TTL's day passes at once: for an idle slot, once all requests that concern it are dead. A
            # slot that was due before the start may be deleted at any time.
            under_way = any(m.kind != "grow" and n in slots_of(m.kind, m.request) for m in s.net)
            due = s.now > slot.ttl if timed else not slot.lease and (slot.ttl == LONG_DUE or not under_way)
            if due:
                slots = (*s.table.slots[:n], None, *s.table.slots[n + 1 :])
                after = s._replace(deletions=s.deletions - 1, table=s.table._replace(slots=slots))
                yield ("TTL deletes a slot", n), after, None


def _with_client(s: State, i: int, client: Client) -> State:
    return s._replace(clients=(*s.clients[:i], client, *s.clients[i + 1 :]))


def _with_operator(s: State, j: int, operator: Operator) -> State:
    return s._replace(operators=(*s.operators[:j], operator, *s.operators[j + 1 :]))


def _expires_of(kind: str, request: Request) -> int:
    return (*request.claims, *request.mints)[0].expires if kind == "take" else request.expires


def _risen(fences: tuple[int, ...], before: Table, after: Table) -> tuple[int, ...]:
    if before.slots == after.slots:
        return fences
    return tuple(
        max(highest, slot.fence) if slot is not None and slot.lease else highest
        for highest, slot in zip(fences, after.slots, strict=True)
    )


def _name_of(s: State, m: Message) -> str:
    """A committed request's name: the landmarks tell a takeover from a claim, a re-mint from a mint."""
    if m.kind == "claim":
        slot = s.table.slots[m.request.slot]
        return "claim takes over an expired lease" if slot is not None and slot.lease else "claim commits"
    if m.kind in {"mint", "bring back", "take"} and m.request.re_mint:
        return f"{m.kind} commits, as re-mint"
    return f"{m.kind} commits"
