"""The parser of the command line: what argparse leaves to be wished for. No I/O but argparse's own.

Invariants:

- An option that every command takes may stand before the command too: it is moved behind it, and parsed there.
- A value that begins with a minus sign and a digit is a value, so that it is refused for what it is.
- Whoever mistypes a word is told the word that is there and close to it.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, NoReturn

_NEGATIVE: Final = re.compile(r"-\.?\d")
_CHOICE: Final = re.compile(
    r"argument (?P<what>.+?): invalid choice: '(?P<given>.*)' \(choose from (?P<choices>.*)\)\Z"
)
_ALIKE: Final = {
    "list": "ls",
    "ps": "status",
    "show": "status",
    "exec": "run",
    "lock": "run",
    "create": "create-table",
    "init": "create-table",
    "watch": "top",
    "history": "timeline",
    "--order": "--fifo",
    "--fifo": "--order fifo",
}
"""What other tools call our commands, and the library our options."""

TAKES_COMMAND: Final = "takes_command"
"""The name of a parser's default: True where a command follows after ``--``."""


class Parser(argparse.ArgumentParser):
    """Says of a wrong word which one may be meant, and where to read more."""

    def error(self, message: str) -> NoReturn:
        """End the process, with the usage and this message."""
        found = _CHOICE.match(message)
        if found:
            choices = re.findall(r"[\w.-]+", found["choices"])
            message = (
                f"argument {found['what']}: invalid choice: {found['given']!r}{meant(found['given'], choices)} "
                f"(one of {', '.join(choices)})"
            )
        elif subcommands(self) and message.startswith("the following arguments are required"):
            message += f"; {self.prog} --help lists them"
        super().error(message)


def meant(given: str, known: Collection[str]) -> str:
    """What to add to a message on a word that is not known: `; did you mean ...?`, or nothing."""
    alike = _ALIKE.get(given, "")
    close = [alike] if alike.partition(" ")[0] in known else difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def arranged(
    words: Sequence[str],
    top: argparse.ArgumentParser,
    *,
    everywhere: argparse.ArgumentParser,
    command: Sequence[str] | None = None,
) -> list[str]:
    """Our own words, as argparse reads them best.

    Args:
        words: All before the first ``--``.
        top: The parser of the whole command line.
        everywhere: A parser of the options that may stand before the command.
        command: What stands after the first ``--``; None if there is none.

    Raises:
        SystemExit: There is no such command, or the command to run stands here without ``--``.
    """
    return _Line(words, top=top, everywhere=everywhere, command=command).arranged()


class _Line:
    def __init__(
        self,
        words: Sequence[str],
        *,
        top: argparse.ArgumentParser,
        everywhere: argparse.ArgumentParser,
        command: Sequence[str] | None,
    ) -> None:
        self._words = list(words)
        self._top = self._parser = top
        self._everywhere = everywhere
        self._command = command
        self._out: list[str] = []
        self._early: list[str] = []
        self._named: list[str] = []

    def arranged(self) -> list[str]:
        at = 0
        while at < len(self._words):
            word = self._words[at]
            commands = subcommands(self._parser)
            if word.startswith("-") and word != "-" and not _NEGATIVE.match(word):
                size = self._option(at)
                if not size and commands:
                    hint = meant(word, _spelled(self._everywhere)) or "; options of a command stand after it"
                    self._parser.error(f"unrecognized arguments: {shlex.quote(word)}{hint}")
                if not size:  # argparse says so
                    return self._out + self._early + self._words[at:]
                at += size
                continue
            if commands:
                self._enter(word, commands)
            elif len(self._named) == len(_names(self._parser)) and self._parser.get_default(TAKES_COMMAND):
                self._refuse_command(at)
            else:
                self._named.append(word)
                self._out.append(word)
            at += 1
        return self._out + self._early

    def _option(self, at: int) -> int:
        """Take an option, with its value; returns how many words that were, 0 if it is not known."""
        word = self._words[at]
        name, equals, _ = word.partition("=")
        early = bool(subcommands(self._parser))
        action = _action(self._parser, name) if not early or name in {"-h", "--help", "--version"} else None
        early = early and action is None
        if early:
            action = _action(self._everywhere, name)
        if action is None:
            return 0
        into = self._early if early else self._out
        if action.nargs is None and not equals and word in _spellings(action, word) and at + 1 < len(self._words):
            value = self._words[at + 1]
            if _NEGATIVE.match(value):
                into.append(f"{word}={value}" if word.startswith("--") else f"{word}{value}")
            else:
                into += [word, value]
            return 2
        into.append(word)
        return 1

    def _enter(self, word: str, commands: dict[str, argparse.ArgumentParser]) -> None:
        if word not in commands:
            hint = meant(word, commands) or f"; {self._parser.prog} --help lists them"
            self._parser.error(f"no such command: {word!r}{hint}")
        self._out.append(word)
        self._parser = commands[word]
        if not subcommands(self._parser):
            for name in self._early:
                if name.startswith("-") and _action(self._parser, name.partition("=")[0]) is None:
                    self._parser.error(unknown(self._early, self._parser))
            self._out += self._early
            self._early = []

    def _refuse_command(self, at: int) -> NoReturn:
        ours, command = self._words[:at], self._words[at:]
        if self._command is not None:
            what = str(_names(self._parser)[0].metavar)
            given = " and ".join(repr(word) for word in [*self._named, self._words[at]])
            self._parser.error(f"one {what} only, before --: {given} are given")
        self._parser.error(f"write the command after --: {self._top.prog} {shlex.join([*ours, '--', *command])}")


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's commands, by name; empty for a command that has none."""
    kinds = [a for a in _actions(parser) if isinstance(a, argparse._SubParsersAction)]  # noqa: SLF001 - see _actions
    return dict(kinds[0].choices) if kinds else {}


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands below this one that have no commands of their own."""
    below = subcommands(parser)
    if not below:
        yield parser
    for one in below.values():
        yield from leaves(one)


def brief_usage(parser: argparse.ArgumentParser) -> str:
    """The usage of a command in a line: its options stand below, or in its help."""
    names = [str(a.metavar or f"{{{','.join(map(str, a.choices))}}}") for a in _names(parser)]  # type: ignore[arg-type]
    return " ".join([parser.prog, *names, "[options]"])


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """A parser's own options, but `--help`."""
    return [a for a in _actions(parser) if a.option_strings and a.dest not in {"help", "version"}]


def unknown(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """The message on words that a command does not know."""
    first = words[0].partition("=")[0]
    hint = meant(first, _spelled(parser)) if first.startswith("-") else _as_value(first, parser)
    return f"unrecognized arguments: {shlex.join(words)}{hint}"


def _as_value(word: str, parser: argparse.ArgumentParser) -> str:
    """What to add if a word that stands alone is the value of an option."""
    found = [action.option_strings[0] for action in options(parser) if action.choices and word in action.choices]
    return f"; did you mean {found[0]} {word}?" if len(found) == 1 else ""


def typed_as(kind: Callable[[str], object], text: str) -> object:
    """A value as an option's type reads it.

    Raises:
        ValueError: It refuses the text; the message is for people.
    """
    try:
        return kind(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(str(error)) from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{text!r} is not a whole number" if kind is int else f"{text!r} cannot be read") from error


def _spelled(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in options(parser) for name in action.option_strings]


def _names(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in _actions(parser) if not action.option_strings]


def _action(parser: argparse.ArgumentParser, name: str) -> argparse.Action | None:
    """The option of this name, or the only one that begins so, as argparse has it."""
    spelled = {spelling: action for action in _actions(parser) for spelling in action.option_strings}
    if name in spelled:
        return spelled[name]
    if not name.startswith("--"):  # -vv, -n5
        return spelled.get(name[:2])
    found = {id(action): action for spelling, action in spelled.items() if spelling.startswith(name)}
    return next(iter(found.values())) if len(found) == 1 else None


def _spellings(action: argparse.Action, word: str) -> list[str]:
    """The word, if a value of this option is yet to come: it is not part of the word, as in -n5."""
    return [word] if word.startswith("--") or word in action.option_strings else []


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001 - argparse has no public way to list them
