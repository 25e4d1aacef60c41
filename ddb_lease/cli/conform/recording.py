"""Answers written down, for fixtures: nothing in them tells whose account they are from.

Invariants: account ids, names in ARNs and key ids are replaced before anything is written; the table's name is replaced
by a fixed one, so that two recordings can be compared. Requests are not written: the probe's name and the library's
version say what was sent. A file appears as a whole, or not at all.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ddb_lease.cli.conform.probe import Finding
from ddb_lease.errors import ConfigurationError

_WHO: Final = re.compile(r"arn:(aws[\w-]*):(iam|sts)::\d{12}:[^\s\"',]+")
_ACCOUNT: Final = re.compile(r"(?<!\d)\d{12}(?!\d)")
_KEY_ID: Final = re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}\b")
_HEADERS: Final = ("date", "content-type", "server")
TABLE: Final = "TABLE"


class Recording:
    """Collects answers, and writes them to a file."""

    def __init__(self, path: str) -> None:
        """Check that the file can be written, before anything is sent.

        Raises:
            ConfigurationError: It cannot.
        """
        self._path = Path(path)
        self._parts: list[dict[str, Any]] = []
        try:
            if self._path.is_dir():
                raise ConfigurationError(f"cannot write {path}: it is a directory")
            with tempfile.TemporaryFile(dir=self._path.resolve().parent):
                pass
        except OSError as error:
            raise ConfigurationError(f"cannot write {path}: {error.strerror or error}") from error

    def add(self, finding: Finding, *, table: str) -> None:
        """Keep a probe's answer."""
        self._parts.append(recorded(finding, table=table))

    def write(self, about: Mapping[str, Any]) -> None:
        """Write the file, with a few words about where the answers come from.

        Raises:
            ConfigurationError: It cannot be written.
        """
        # An answer a line, so that people can compare two files.
        answers = ",\n".join(json.dumps(part, sort_keys=True, default=str) for part in self._parts)
        whole = f'{json.dumps(dict(about))[:-1]}, "answers": [\n{answers}\n]}}'
        folder = self._path.resolve().parent
        try:
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
                file.write(whole + "\n")
            os.chmod(file.name, 0o644)
            os.replace(file.name, self._path)
        except OSError as error:
            raise ConfigurationError(f"cannot write {self._path}: {error.strerror or error}") from error


def recorded(finding: Finding, *, table: str) -> dict[str, Any]:
    """A probe's answer as it is written down. Pure."""
    raw = finding.raw
    metadata = raw.response.get("ResponseMetadata", {})
    part = {
        "probe": finding.probe.name,
        "operation": raw.operation,
        "answer": {k: v for k, v in raw.response.items() if k != "ResponseMetadata"},
        "status": metadata.get("HTTPStatusCode"),
        "headers": {name: value for name, value in metadata.get("HTTPHeaders", {}).items() if name in _HEADERS},
        "as_expected": finding.as_expected,
    }
    whole: dict[str, Any] = scrubbed(part, table=table)
    return whole


def scrubbed(value: Any, *, table: str) -> Any:  # noqa: ANN401 - any part of a request or an answer
    """The same without what tells whose account it is, and with a fixed name for the table. Pure."""
    if isinstance(value, str):
        value = value.replace(table, TABLE)
        value = _WHO.sub(r"arn:\1:\2::000000000000:someone", value)
        return _KEY_ID.sub("KEYID", _ACCOUNT.sub("000000000000", value))
    if isinstance(value, Mapping):
        return {name: scrubbed(each, table=table) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrubbed(each, table=table) for each in value]
    return value
