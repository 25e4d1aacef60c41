"""Which release of this library is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed() -> str:
    """Its version, for people."""
    try:
        return version("ddb-lease")
    except PackageNotFoundError:
        return "(not installed)"
