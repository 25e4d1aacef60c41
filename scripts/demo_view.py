"""The output of the demo: a few lines drawn in place on a terminal; elsewhere one line for each change."""

import sys
import threading

_CLEAR = "\x1b[K"


class Screen:
    """Draws which job holds which slot."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self.drawn = 0
        self.last = ""

    def wait(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.erase()
        print(text, flush=True)

    def show(
        self, elapsed: float, tokens: int, holders: dict[int, int], dead: int | None, waiting: int, done: int
    ) -> None:
        cells = []
        for slot in range(tokens):
            if slot in holders:
                cells.append(f"slot {slot}: job {holders[slot]}")
            elif slot == dead:
                cells.append(f"slot {slot}: killed")
            else:
                cells.append(f"slot {slot}: --")
        state = "  ".join([*(f"{cell:<14}" for cell in cells), f"waiting: {waiting}", f"done: {done}"])
        if self.terminal:
            self.erase()
            print(f"{elapsed:5.1f} s  {state}{_CLEAR}", flush=True)
            self.drawn = 1
        elif state != self.last:
            print(f"{elapsed:5.1f} s  {state}", flush=True)
        self.last = state

    def erase(self) -> None:
        if self.drawn:
            print(f"\x1b[{self.drawn}A\r{_CLEAR}", end="")
            self.drawn = 0

    def end(self) -> None:
        self.drawn = 0
        print()
