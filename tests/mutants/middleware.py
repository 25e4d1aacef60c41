"""What the middleware promises: nobody is let through, nothing is made up, and no client can harm another."""

from tests.mutants.mutant import Chapter, Mutant

_HTTP = "adapters/_http.py"
_OF_HTTP = "tests/adapters/test_http.py::"
_OF_BOTH = "tests/adapters/test_middleware.py::"
_OF_ASGI = "tests/adapters/test_asgi.py::"

MIDDLEWARE = Chapter(
    title="Middleware",
    mutants=(
        Mutant(
            name="a request without a key takes the limiter's own permits",
            module="adapters/_middleware.py",
            target="Rules.limiter_for",
            code="self._keyless if key is None else self._limiter.key(key, under=self._under)",
            without="self._limiter.key(key or 'nobody', under=self._under)",
            noticed_by=(f"{_OF_BOTH}test_requests_without_a_key_share_the_limiters_own_limit",),
        ),
        Mutant(
            name="a text that is too long for a key is replaced by its digest",
            module=_HTTP,
            target="as_key",
            code="len(text.encode()) <= _KEY_BYTES",
            without="True",
            noticed_by=(f"{_OF_BOTH}test_no_client_can_make_a_key_fail",),
        ),
        Mutant(
            name="an address counts from the end of X-Forwarded-For",
            module=_HTTP,
            target="client_address",
            code="entries[-trusted_proxies]",
            without="entries[0]",
            noticed_by=(f"{_OF_HTTP}test_an_address_is_the_one_that_the_last_trusted_proxy_saw",),
        ),
        Mutant(
            name="an address that did not pass all proxies is the peer's",
            module=_HTTP,
            target="client_address",
            code="len(entries) >= trusted_proxies",
            without="len(entries) >= 1",
            noticed_by=(f"{_OF_HTTP}test_an_address_is_the_one_that_the_last_trusted_proxy_saw",),
        ),
        Mutant(
            name="a path with .. is never exempt",
            module=_HTTP,
            target="is_below",
            code="'..' not in path.split('/')",
            without="True",
            noticed_by=(f"{_OF_BOTH}test_exempt_requests_take_nothing_and_are_told_nothing",),
        ),
        Mutant(
            name="a path is exempt by whole segments",
            module=_HTTP,
            target="is_below",
            code="path.startswith(prefix + '/')",
            without="path.startswith(prefix)",
            noticed_by=(f"{_OF_BOTH}test_exempt_requests_take_nothing_and_are_told_nothing",),
        ),
        Mutant(
            name="a client that spreads what is left over its window keeps to the rate",
            module=_HTTP,
            target="_limit_item",
            code="left * _interval(limit) if left else standing.retry_after",
            without="standing.retry_after",
            noticed_by=(f"{_OF_HTTP}test_fields_are_structured_and_ask_for_no_more_than_the_rate",),
        ),
        Mutant(
            name="the window of a denial ends by Retry-After",
            module=_HTTP,
            target="_limit_item",
            code="window if most is None else min(window, most)",
            without="window",
            noticed_by=(f"{_OF_HTTP}test_fields_are_structured_and_ask_for_no_more_than_the_rate",),
        ),
        Mutant(
            name="a client that leaves ends its wait",
            module="aio/inbox.py",
            target="Inbox.during",
            code="working.cancel()",
            without="None",
            noticed_by=(f"{_OF_ASGI}test_a_client_that_leaves_ends_its_wait",),
        ),
        Mutant(
            name="what comes while a request waits is not kept without end",
            module="aio/inbox.py",
            target="Inbox._ask",
            code="self._bytes <= MOST_BYTES",
            without="True",
            noticed_by=(f"{_OF_ASGI}test_a_large_body_is_not_kept_in_memory",),
        ),
        Mutant(
            name="a receive that is under way is finished for the application",
            module="aio/inbox.py",
            target="Inbox.receive",
            code="self._next is None",
            without="True",
            noticed_by=(f"{_OF_ASGI}test_what_a_client_sends_while_it_waits_reaches_the_application_in_order",),
        ),
    ),
)
