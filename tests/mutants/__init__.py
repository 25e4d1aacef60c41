"""Mutants: changes of the code that break a promise, and the tests that must notice each of them.

Invariants: a mutant still runs, and sends requests that DynamoDB takes. One that no test notices is a gap in the
suite. These are the promises by name; `scripts/mutation-sample` draws changes at random from all of the code.
"""
