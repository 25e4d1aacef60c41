"""An endpoint as messages speak of it: what it takes to reach it, and what it means if nobody answers there.

Invariant: values only. They decide nothing, and reach users in errors and in the log.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where requests go.

    Attributes:
        options: What `ddb-lease` needs besides --table to reach the same tables.
        gone: If nobody listens there any more: what that means, and what to do. Empty if that is an outage.
    """

    options: str = ""
    gone: str = ""

    def command(self, name: str, *, table: str) -> str:
        """A `ddb-lease` command on a table there, to be typed."""
        return f"ddb-lease {name} {self.place(table=table)}"

    def place(self, *, table: str) -> str:
        """The options that a command on a table there needs: in another shell, variables may name another table."""
        return " ".join(word for word in (f"--table {shlex.quote(table)}", self.options) if word)


AWS: Final = Endpoint()


def endpoint_of(session: object, endpoint_url: str | None) -> Endpoint:
    """Where a session's requests go; an engine's session knows it."""
    known = getattr(session, "ddb_lease_endpoint", None)
    if isinstance(known, Endpoint):
        return known
    return Endpoint(options=f"--endpoint-url {shlex.quote(endpoint_url)}") if endpoint_url else AWS
