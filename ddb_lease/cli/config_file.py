"""The user's configuration file: sections of `option = value`, as pip's own has them.

Invariants:

- It is the user's: no file in the working directory is read, as what lies there may be a stranger's.
- A file that is wrong anywhere is refused as a whole, with the line: a mistyped name is a setting that is missing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ddb_lease.cli import parsing
from ddb_lease.errors import ConfigurationError

VARIABLE: Final = "DDB_LEASE_CONFIG"
GLOBAL: Final = "global"
_PLACE: Final = ("ddb-lease", "config.ini")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A value as text, and where it is from, for messages."""

    text: str
    where: str


class ConfigFile:
    """The settings of one file: by section, by option.

    Args:
        settings: Of each section, the setting of each option.
    """

    def __init__(self, settings: Mapping[str, Mapping[str, Setting]]) -> None:
        self._settings = settings

    def get(self, command: str, option: str) -> Setting | None:
        """The setting of an option: that of the command's own section, else that for all commands."""
        for section in (command, GLOBAL):
            if (found := self._settings.get(section, {}).get(option)) is not None:
                return found
        return None


def read(
    top: argparse.ArgumentParser, env: Mapping[str, str], *, only_typed: Mapping[str, frozenset[str]]
) -> ConfigFile:
    """Read the file that the variable names, else the user's own, if there is one.

    Args:
        top: The whole command line: its commands and options are those that the file may set.
        env: Our environment.
        only_typed: Of each command, the options that no file may set.

    Raises:
        ConfigurationError: It cannot be read, or says something that no command knows.
    """
    path = env.get(VARIABLE)
    if path == "":
        return ConfigFile({})
    folder = env.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    file = Path(path or os.path.join(folder, *_PLACE))
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        if path is None:
            return ConfigFile({})
        raise ConfigurationError(f"{VARIABLE}: {file}: {error.strerror}") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return ConfigFile(_checked(_parsed(text, file), file, text=text, known=_known(top, only_typed)))


def command_name(leaf: argparse.ArgumentParser) -> str:
    """A command as a section names it: `run`, `rate set`."""
    return leaf.prog.partition(" ")[2]


def option_name(action: argparse.Action) -> str:
    """An option as the file names it: without its dashes; empty if it has only a short name."""
    long = [name for name in action.option_strings if name.startswith("--")]
    return long[0].removeprefix("--") if long else ""


def _known(top: argparse.ArgumentParser, only_typed: Mapping[str, frozenset[str]]) -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    for leaf in parsing.leaves(top):
        command = command_name(leaf)
        names = {option_name(a) for a in parsing.options(leaf) if a.dest not in only_typed.get(command, frozenset())}
        known[command] = names - {""}
    return known | {GLOBAL: set().union(*known.values())}


def _parsed(text: str, file: Path) -> dict[str, dict[str, str]]:
    import configparser  # noqa: PLC0415 - most users have no such file

    parser = configparser.RawConfigParser(delimiters=("=",), default_section="\0")
    try:
        parser.read_string(text, source=str(file))
    except configparser.Error as error:
        raise ConfigurationError(f"{file}: {' '.join(str(error).split())}") from error
    return {section: dict(parser[section]) for section in parser.sections()}


def _checked(
    parsed: Mapping[str, Mapping[str, str]], file: Path, *, text: str, known: Mapping[str, set[str]]
) -> dict[str, dict[str, Setting]]:
    settings: dict[str, dict[str, Setting]] = {}
    for section, values in parsed.items():
        if section not in known:
            said = f"no command [{section}]{parsing.meant(section, known)}"
            raise ConfigurationError(f"{file}, line {_line_of(text, section)}: {said}")
        settings[section] = {}
        for key, value in values.items():
            name = key.replace("_", "-")
            where = f"{file}, line {_line_of(text, section, key)}: {key}"
            if name not in known[section]:
                whose = "no command has" if section == GLOBAL else f"{section} has no"
                said = f"{whose} such option that a file may set{parsing.meant(name, known[section])}"
                raise ConfigurationError(f"{where}: {said}")
            settings[section][name] = Setting(text=value, where=where)
    return settings


def _line_of(text: str, section: str, key: str | None = None) -> int:
    """The number of the line where a section begins, or where it sets a key."""
    inside, found = False, 0
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip()
        if word.startswith("["):
            inside = word[1:].partition("]")[0] == section
            if inside and key is None:
                return number
        elif inside and not line[:1].isspace() and word.partition("=")[0].strip().lower() == key:
            found = number
    return found
