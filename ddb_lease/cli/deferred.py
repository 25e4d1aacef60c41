"""What a command does, imported when it does it.

Invariant: nothing is imported before. A failure to import is the command's, and is told as one.
"""

from __future__ import annotations

import argparse
import functools
import importlib
from collections.abc import Callable


def deferred(module: str, function: str = "execute") -> Callable[[argparse.Namespace], int]:
    """A function of a module of `cli` that is looked up when it is called: `deferred("seeing.ls")`."""
    return functools.partial(_execute, f"ddb_lease.cli.{module}", function)


def _execute(module: str, function: str, options: argparse.Namespace) -> int:
    return int(getattr(importlib.import_module(module), function)(options))
