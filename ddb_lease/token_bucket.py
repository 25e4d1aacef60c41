"""Plain tokens: a bucket with the interface of this library's seed, for programs that hold ids and not leases.

Invariants:

- A token is a lease that nobody renews. It belongs to no process: it is released by its id, or expires.
- Callers of this interface look at the returned value. If DynamoDB fails, that is logged and returned, not raised; the
  caller's own mistakes are raised.
- It adds no rule of its own to the protocol, and may share a bucket with `LeaseBucket`.
"""

from __future__ import annotations

import contextlib
import math
import threading
from typing import Final

from ddb_lease._numbers import checked_timeout
from ddb_lease._operations.maintain import Maintenance
from ddb_lease._operations.slot_writes import SlotWrites
from ddb_lease._protocol.grants import slots_of
from ddb_lease._protocol.records import Grant
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime import process
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.bucket_core import BucketCore, give_back_all
from ddb_lease._runtime.holds_nothing import HoldsNothing
from ddb_lease._runtime.resetting import end_all
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.log import queued as _log
from ddb_lease.dynamodb import Client, Session
from ddb_lease.errors import ConfigurationError, StoreError, UnknownBucket
from ddb_lease.models import Seconds, Timing

DEFAULT_BUCKET: Final = "tokens"

NO_CALLBACK: Final = Timing(grace=0.0)
"""Nobody is told of a token's end, so it needs no time for that."""

_LONGEST_ID: Final = 1_000
"""The id of a lease on as many slots as possible has some 600 characters."""


class DynamoDBTokenBucket(BelongsHere):
    """At most `max_tokens` tokens at once, each held under an id until it is released or its time is over.

    It has the interface of this library's seed, on this library's protocol: change only the import. Making one sends
    nothing. Tokens are not renewed: a token ends `token_timeout_seconds` after it was acquired, by the service's clock,
    and outlives the process that acquired it. Thread-safe. If your work may take longer, use a `LeaseBucket`.

    Not promised: that the holder of a token notices its end. Count `token_timeout_seconds` from before the call of
    `acquire_token`, minus a margin of a second, and stop by then.

    Args:
        table_name: The DynamoDB table, as ``scripts/create_table.py`` or ``ddb-lease create-table`` makes it.
        max_tokens: How many tokens there can be at once, 1 to 100,000. If the bucket exists, its stored settings apply.
        token_timeout_seconds: After how long a token expires; 3.004 s at least, a year at most.
        bucket_name: Which bucket of the table, of which there may be many.
        session: A `boto3.Session`, where boto3's defaults do not fit.
        client: A DynamoDB client instead. Make it with `client_config`.
        endpoint_url: An endpoint other than DynamoDB's own.
        owner: A name for the holder, shown by ``ddb-lease status``; ``host:pid`` by default.
        timing: The time budget around a token.

    Raises:
        ConfigurationError: A setting cannot work, or there is no region. Nothing was sent.

    Example:
        >>> from ddb_lease import DynamoDBTokenBucket, local
        >>> where = local.connect("tokens", create=True)
        >>> bucket = DynamoDBTokenBucket(where.pop("table"), max_tokens=2, token_timeout_seconds=60, **where)
        >>> bucket.initialize_bucket()
        >>> token_id, success = bucket.acquire_token(timeout_seconds=5)
        >>> success
        True
        >>> bucket.release_token(token_id)
        True
        >>> bucket.release_token(token_id)
        False
    """

    _instead = "pass its table and settings, and make one there; a token is its id, which any process may release"

    def __init__(
        self,
        table_name: str,
        max_tokens: int = 10,
        token_timeout_seconds: Seconds = 300,
        *,
        bucket_name: str = DEFAULT_BUCKET,
        session: Session | None = None,
        client: Client | None = None,
        endpoint_url: str | None = None,
        owner: str | None = None,
        timing: Timing | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self._core = BucketCore(
            bucket_name,
            max_tokens=max_tokens,
            lease_seconds=token_timeout_seconds,
            table=table_name,
            session=session,
            client=client,
            endpoint_url=endpoint_url,
            owner=owner,
            timing=timing or NO_CALLBACK,
            on_event=None,
            runtime=runtime,
        )
        self._bucket = _HeldByNobody(self._core)

    def __repr__(self) -> str:
        return f"<DynamoDBTokenBucket {self._core.name!r} in table {self._core.table!r}>"

    def initialize_bucket(self) -> None:
        """Create the bucket if it is missing, and all its tokens. Safe to repeat, and never needed.

        It ends no token and changes no setting. The first `acquire_token` would create the bucket too. Up to 99 tokens
        are created with it; the others of a larger bucket are minted here, 99 at a time, each leased for a moment.

        Raises:
            StoreRejected: No such table, no permission. Nothing was created.
            StoreUnavailable: The service did not answer; may be repeated.
            ConfigurationError: The stored time of a token is too short for this client's margin.

        Cost: 1 Query for each 1,000 tokens, and up to 2 more if these are the first requests of the process; 1
        TransactWriteItems for each 99 tokens made (2 WCU a token, and 2 for the counter in it). For each 99 after the
        first, also 1 Query of the counter, and 1 UpdateItem for each token.
        """
        self._bucket.fill()

    def acquire_token(self, timeout_seconds: Seconds = 30) -> tuple[str | None, bool]:
        """Wait for a token.

        If the service does not answer, it also retries for that long; if the service refuses for good (no table, no
        permission), it does not. Either is logged as one warning.

        Args:
            timeout_seconds: Seconds, or a timedelta, to wait at most, besides one request's time; 0 for a single try.

        Returns:
            The token's id and True; or None and False: nothing is held. A token that an unanswered request took
            expires.

        Raises:
            ConfigurationError: The argument cannot work, or the bucket is closed. Nothing is held.

        Cost: that of `LeaseBucket.acquire`; uncontended 1 PutItem, 1 WCU.
        """
        seconds = checked_timeout(timeout_seconds, what="timeout_seconds")
        if seconds is None:
            raise ConfigurationError("timeout_seconds must be 0 or more seconds, not None: it would wait for ever")
        try:
            token_id = self._bucket.take(seconds)
        except StoreError as error:
            _log.warning("no token of bucket %r could be acquired: %s", self._core.name, error)
            return None, False
        return token_id, token_id is not None

    def release_token(self, token_id: str) -> bool:
        """Give a token back, from any thread, process or machine. 1 UpdateItem, 1 WCU.

        Returns:
            Whether this ended the token. False: the id is unknown, was released before, another thread is releasing it,
            or its time was over and another token has its slot; nothing changed. Also False if the service did not
            answer or refused, which is logged: the token then expires.

        Raises:
            ConfigurationError: `token_id` is not a string. Nothing was sent.
        """
        given: object = token_id
        if not isinstance(given, str):
            raise ConfigurationError(f"a token id is a string, not {token_id!r}")
        slots = slots_of(token_id) if token_id.isascii() and len(token_id) <= _LONGEST_ID else None
        if slots is None:
            return False
        try:
            return self._bucket.release(token_id, slots)
        except StoreError as error:
            _log.warning("token %s was not released and will expire: %s", token_id, error)
            return False

    def cleanup_expired_tokens(self) -> int:
        """Free the slots of expired tokens. Never needed: `acquire_token` takes such slots anyway.

        It never frees a token that has not expired, nor one that is taken or renewed meanwhile: it claims each slot, on
        the condition that no lease runs on it, and releases it.

        Returns:
            How many it freed. If the service stopped answering or refused, which is logged: how many until then.

        Raises:
            ConfigurationError: The bucket is closed, or its stored time too short for this client's margin.

        Cost: 1 Query for each 1,000 tokens or MB; 1 PutItem and 1 UpdateItem for each that is freed (2 WCU). A
        process that is killed between the two leaves that one slot taken for `token_timeout_seconds`.
        """
        return self._bucket.sweep()

    def reset_bucket(self) -> None:
        """End all tokens now, held or not, and create what is missing of the bucket.

        It takes tokens from holders that still work: they are not told, and others may have the tokens at once. A
        client that acquires meanwhile may keep its token. The stored settings stay.

        Raises:
            StoreRejected: The service refuses for good. Some tokens may have ended.
            StoreUnavailable: The service did not answer; may be repeated.
            ConfigurationError: As in `initialize_bucket`; or the bucket is closed, after the tokens were ended.

        Cost: 1 Query for each 1,000 tokens or MB, 1 UpdateItem a token, and that of `initialize_bucket`.
        """
        self._bucket.empty()

    def close(self) -> None:
        """Close the connections. It cannot acquire any more; its tokens stay held until they expire.

        Raises nothing.
        """
        self._core.begin_closing()
        self._core.close_connections()


class _HeldByNobody:
    """A bucket that wins leases but does not hold them: no heartbeat, and it releases nothing at exit."""

    def __init__(self, core: BucketCore) -> None:
        self.core = core
        # Grants of this process: with the fence, a release can recognise its own lost answer, and wake a waiter here.
        self._won: dict[str, Grant] = {}
        self._ending: set[str] = set()
        self._ending_lock = threading.Lock()
        process.register(self)

    def take(self, timeout: float) -> str | None:
        """Win a grant; returns its lease id, or None if nothing came free in time."""
        core = self.core
        wakeup = core.runtime.wakeup()
        pending = core.begin_acquire(core.deadline(timeout), None, count=1, patient=True, wake=wakeup.wake)
        # An interrupt may come between any two instructions here: all of them are inside this block.
        try:
            outcome = core.driver.run(pending.operation, wakeup, observe=pending.observe)
            grant = core.conclude(pending, outcome)
            if grant is None:
                return None
            self._forget_the_expired()
            self._won[grant.lease_id] = grant
            core.state.began(grant.lease_id, grant.slots)
            if core.state.closed:  # closed just now
                raise core.state.closed_error()
            return grant.lease_id
        except BaseException:
            core.abandon(pending)
            raise

    def release(self, lease_id: str, slots: tuple[int, ...]) -> bool:
        """As `LeaseBucket.release`; waiters of this process are woken."""
        with self._ending_lock:
            if lease_id in self._ending:
                return False  # another thread is ending it: if both lost their answers, both would count it as theirs
            self._ending.add(lease_id)
        try:
            return self._release(lease_id, slots)
        finally:
            self._ending.discard(lease_id)

    def _release(self, lease_id: str, slots: tuple[int, ...]) -> bool:
        core, grant = self.core, self._won.get(lease_id)
        if grant is None:
            return bool(core.run(core.release(lease_id, slots, fence=None)))
        ended = core.run(core.release(lease_id, grant.slots, fence=grant.fence))
        self._forget(lease_id)
        for slot in ended:
            core.state.hints.released(slot, fence=grant.fence, now=core.state.time.steady())
        return bool(ended)

    def fill(self) -> None:
        """Create and mint what is missing."""
        maintenance = self._new_maintenance()
        self._maintain(maintenance, maintenance.fill())

    def sweep(self) -> int:
        """Free what has expired; returns how many."""
        maintenance = self._new_maintenance()
        try:
            self._maintain(maintenance, maintenance.sweep())
        except StoreError as error:
            _log.warning("cleaning up bucket %r stopped early: %s", self.core.name, error)
        return maintenance.freed

    def empty(self) -> None:
        """End every lease in the table, and fill what is missing."""
        if self.core.state.closed:
            raise self.core.state.closed_error()
        with contextlib.suppress(UnknownBucket):
            end_all(self.core)
        self.fill()

    # Called by `process`.

    def after_fork_in_child(self) -> None:
        """In a forked child: make a new lock, as another thread of the parent may have held the old one."""
        self.core.after_fork_in_child()
        self._ending_lock = threading.Lock()
        self._ending = set()

    def at_exit(self, deadline: float) -> None:
        """At the interpreter's exit: tokens outlive the process; only what interrupted acquires left is released."""
        HoldsNothing(self.core).at_exit(deadline)

    def _new_maintenance(self) -> Maintenance:
        core = self.core
        if core.state.closed:
            raise core.state.closed_error()
        return Maintenance(SlotWrites(core.state, owner=core.owner, data={}, deadline=math.inf))

    def _maintain(self, maintenance: Maintenance, operation: Operation[None]) -> None:
        core = self.core
        try:
            core.driver.run(operation, core.runtime.wakeup())
        except BaseException:
            give_back_all(core, maintenance.writes.open_grants)
            raise

    def _forget(self, lease_id: str) -> None:
        self._won.pop(lease_id, None)
        self.core.state.ended(lease_id)

    def _forget_the_expired(self) -> None:
        now = self.core.state.time.steady()
        for lease_id, grant in list(self._won.items()):
            # Long after its end by any clock, so that a late release still finds it.
            if now > grant.deadline + grant.lease_ms / 1000:
                self._forget(lease_id)
