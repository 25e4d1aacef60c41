"""The exit codes of `ddb-lease` itself, one for each kind of error; the numbers of sysexits.h where it has one."""

from __future__ import annotations

from typing import Final

from ddb_lease.errors import (
    AcquireTimeout,
    ConfigurationError,
    EngineError,
    LeaseError,
    Overtaken,
    StoreRejected,
    StoreUnavailable,
    UnknownBucket,
)

DIFFERENT: Final = 1
USAGE: Final = 2
UNKNOWN_BUCKET: Final = 66
UNAVAILABLE: Final = 69
DEFECT: Final = 70
OUTPUT_LOST: Final = 73
OVERTAKEN: Final = 74
NO_SLOT: Final = 75
LOST: Final = 76
REJECTED: Final = 77
CANNOT_BE_RUN: Final = 126
NO_SUCH_COMMAND: Final = 127

HELP: Final = f"""exit codes:
  run, lead: the command's code (128 + N if signal N ended it), or
   {NO_SLOT}  no slot came free in time (--no-slot-code); limit: no permit
   {LOST}  run: the lease was lost and the command was ended (--lost-code)
  127  run, lead, limit: no such command
  126  run, lead, limit: the command cannot be run
  and every command with
    0  done
    {DIFFERENT}  local status: no engine is running; conform: an answer differs
    {USAGE}  wrong arguments or settings; reset, local stop, conform: not confirmed
   {UNKNOWN_BUCKET}  no such bucket, lease, or rate
   {UNAVAILABLE}  DynamoDB, or the embedded engine, does not answer
   {DEFECT}  a defect of ddb-lease
   {OUTPUT_LOST}  done, but the output cannot be written (disk full)
   {OVERTAKEN}  resize: another resize came in between
   {REJECTED}  DynamoDB refuses: no table, no permission, no credentials
  130  interrupted (Ctrl-C); 128 + N: ended by signal N (143: TERM)
  141  the reader of the output has gone"""


_ENDS: Final = f"""\
  {CANNOT_BE_RUN}  the command cannot be run; {NO_SUCH_COMMAND}: there is no such command
    {USAGE}  wrong arguments or settings
   {UNAVAILABLE}  DynamoDB, or the embedded engine, does not answer
   {REJECTED}  DynamoDB refuses: no table, no permission, no credentials
  130  interrupted (Ctrl-C) before the command began; 143: by TERM"""

RUN: Final = f"""exit codes:
  the command's code (128 + N if signal N ended it), or
   {NO_SLOT}  no slot came free in time (--no-slot-code; --skip-if-full: 0)
   {LOST}  the lease was lost, and the command was ended (--lost-code)
   {UNKNOWN_BUCKET}  no such bucket, and --max-tokens was not given
{_ENDS}"""

LEAD: Final = f"""exit codes:
  the command's code (128 + N if signal N ended it), or
{_ENDS}"""

LIMIT: Final = f"""exit codes:
  the command's own, which replaces this process, or
   {NO_SLOT}  no permit came free in time
   {UNKNOWN_BUCKET}  no such rate, and --rate was not given
{_ENDS}"""


def code_for(error: LeaseError) -> int:
    """The exit code for an error of the library."""
    kinds: tuple[tuple[type[LeaseError], int], ...] = (
        (ConfigurationError, USAGE),
        (UnknownBucket, UNKNOWN_BUCKET),
        (AcquireTimeout, NO_SLOT),
        (Overtaken, OVERTAKEN),
        (StoreUnavailable, UNAVAILABLE),
        (EngineError, UNAVAILABLE),
        (StoreRejected, REJECTED),
    )
    return next((code for kind, code in kinds if isinstance(error, kind)), DEFECT)
