"""Arguments that several public classes take, checked before anything is sent."""

from __future__ import annotations

from typing import Final

from ddb_lease.errors import ConfigurationError

DEFAULT_TABLE: Final = "ddb-lease"
_KEY_BYTES: Final = 2048


def checked_text(what: str, text: object) -> str:
    """Return `text` if DynamoDB accepts it as a key; refuse it otherwise."""
    if not isinstance(text, str) or not text:
        raise ConfigurationError(f"{what} must be a non-empty string, not {text!r}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{what} {text!r} cannot be encoded as UTF-8") from error
    if size > _KEY_BYTES:
        raise ConfigurationError(f"{what} may have {_KEY_BYTES} bytes, not {size}")
    return text
