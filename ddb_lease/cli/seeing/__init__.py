"""Commands that show: `ls`, `top`, `serve` and `timeline`.

Invariants: they read only. What others wrote into the table is text, never markup, terminal control or a path.
"""
