"""Where the value of an option comes from: the command line, a variable, the configuration file, its default.

Invariants:

- In this order, and whole: what was typed is never mixed with what a file says of the same thing. So `--local` typed
  leaves out a region of the file, and a typed rate leaves out the file's burst.
- What one call does, or does without being asked, is only ever typed: to confirm, to end, to remove. Nor is the name
  that it does this to.
- A value that cannot be is told with its variable, or with its file and line, whoever finds that out.
- A variable of our kind that nobody knows is told if it is close to one that is known: it does nothing.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from ddb_lease.cli import config_file, parsing
from ddb_lease.cli.config_file import ConfigFile, Setting
from ddb_lease.cli.formatting import printable
from ddb_lease.errors import ConfigurationError, LeaseError

PREFIX: Final = "DDB_LEASE_"

ONLY_TYPED: Final = "only_typed"
"""The name of a parser's default: the options that a command takes from its command line only."""

_NEVER: Final = frozenset({"yes", "html", "slot"})
"""Of no command: what confirms, where to write, and what a variable of a command's own means."""

OTHERS: Final = frozenset({"BUCKET", "SLOT", "SLOTS", "FENCE", "ID", "HELD", "CONFIG", "LOCAL_DIR", "WIRE"})
"""Without the prefix: variables that no option has. The command has the first ones, the library the last."""

_CLOSE: Final = 0.8
"""How alike, of 1, two names are that may be mistaken for one another: TIMOUT and TIMEOUT, not RUN_TIMEOUT."""

_TYPED, _VARIABLE, _FILE, _DEFAULT = 3, 2, 1, 0

_YIELDING: Final = (
    (frozenset({"local"}), frozenset({"region", "profile", "endpoint_url"})),
    (frozenset({"region", "profile", "endpoint_url"}), frozenset({"local"})),
    (frozenset({"rate"}), frozenset({"burst"})),
)
"""Those on the right count only if none on the left comes from a place that goes first."""

_WORDS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def defer(leaf: argparse.ArgumentParser) -> None:
    """Leave out of a command's namespace what was not typed: `fill` puts it in."""
    deferred = {}
    for action in parsing.options(leaf):
        deferred[action.dest] = action.default
        action.default = argparse.SUPPRESS
    leaf.set_defaults(leaf=leaf, deferred=deferred)


def fill(options: argparse.Namespace, *, top: argparse.ArgumentParser, env: Mapping[str, str] = os.environ) -> None:
    """Put into a namespace what was not typed. Its `given` has the names of the options that were.

    Raises:
        ConfigurationError: A variable or the configuration file says something that cannot be.
    """
    leaf: argparse.ArgumentParser = options.leaf
    only_typed = {config_file.command_name(one): only_typed_of(one) for one in parsing.leaves(top)}
    config = config_file.read(top, env, only_typed=only_typed)
    actions = {action.dest: action for action in parsing.options(leaf)}
    options.given = frozenset(dest for dest in actions if hasattr(options, dest))
    levels = dict.fromkeys(options.given, _TYPED)
    settings: dict[str, Setting] = {}
    options.origins = {}
    for dest in actions.keys() - options.given - only_typed_of(leaf):
        found = _setting(actions[dest], leaf, env, config)
        if found is not None:
            levels[dest], settings[dest] = found
    for first, second in _YIELDING:
        highest = max((levels.get(dest, _DEFAULT) for dest in first), default=_DEFAULT)
        for dest in second & settings.keys():
            if levels[dest] < highest:
                del settings[dest]
    for dest, action in actions.items():
        if dest in settings:
            setattr(options, dest, _value(action, settings[dest], default=options.deferred[dest]))
            options.origins[dest] = settings[dest].where
        elif dest not in options.given:
            setattr(options, dest, options.deferred[dest])


def variable(action: argparse.Action) -> str:
    """The variable that stands for an option; empty if there is none."""
    name = config_file.option_name(action)
    return PREFIX + name.upper().replace("-", "_") if name else ""


def mistyped(top: argparse.ArgumentParser, env: Mapping[str, str] = os.environ) -> list[str]:
    """What to say of variables that nobody knows, and that are close to one that is known."""
    known = {variable(action).removeprefix(PREFIX) for leaf in parsing.leaves(top) for action in parsing.options(leaf)}
    known = (known | OTHERS) - {""}
    names = sorted(name for name, text in env.items() if name.startswith(PREFIX) and text)
    close = {name: difflib.get_close_matches(name[len(PREFIX) :], known, n=1, cutoff=_CLOSE) for name in names}
    return [
        printable(f"{name} is not known, and does nothing; did you mean {PREFIX}{found[0]}?")
        for name, found in close.items()
        if found and name.removeprefix(PREFIX) not in known
    ]


def origin_of(error: LeaseError, options: argparse.Namespace) -> str:
    """What to add to the message of an error about values that were not typed: where they are from."""
    said = str(error)
    told = [
        f"--{dest.replace('_', '-')} is from {where}"
        for dest, where in options.origins.items()
        if any(re.search(rf"(?<![\w-]){name}(?![\w-])", said) for name in _names_of(dest))
        and (isinstance(error, ConfigurationError) or str(getattr(options, dest)) in said)
    ]
    return printable(f" ({', '.join(told)})") if told else ""


def _names_of(dest: str) -> tuple[str, ...]:
    """What messages call an option: its own name, or the library's argument."""
    spelled = "--" + dest.replace("_", "-")
    return (spelled, "margins?", "lease_seconds") if dest == "lease" else (spelled, dest)


def only_typed_of(leaf: argparse.ArgumentParser) -> frozenset[str]:
    """The options that a command takes from its command line only."""
    return _NEVER | frozenset(leaf.get_default(ONLY_TYPED) or ())


def _setting(
    action: argparse.Action, leaf: argparse.ArgumentParser, env: Mapping[str, str], config: ConfigFile
) -> tuple[int, Setting] | None:
    name = variable(action)
    if name and env.get(name):  # an empty one counts as none, and one without a name as nobody's
        return _VARIABLE, Setting(text=env[name], where=name)
    found = config.get(config_file.command_name(leaf), config_file.option_name(action))
    return None if found is None else (_FILE, found)


def _value(action: argparse.Action, setting: Setting, *, default: Any) -> Any:  # noqa: ANN401 - what an option holds
    try:
        return _read(action, setting.text, default=default)
    except ValueError as error:
        raise ConfigurationError(printable(f"{setting.where}: {error}")) from error


def _read(action: argparse.Action, text: str, *, default: Any) -> Any:  # noqa: ANN401 - as above
    kind = action.type if callable(action.type) else str
    if action.dest == "verbose":
        return parsing.typed_as(int, text)
    if action.nargs == 0:
        if text.strip().lower() not in _WORDS:
            raise ValueError(f"{text!r} is neither true nor false")
        return _WORDS[text.strip().lower()]
    if isinstance(default, list):
        return [parsing.typed_as(kind, line) for line in text.splitlines() if line.strip()]
    value = parsing.typed_as(kind, text)
    if action.choices is not None and value not in action.choices:
        raise ValueError(f"{text!r} is not one of {', '.join(map(str, action.choices))}")
    return value
