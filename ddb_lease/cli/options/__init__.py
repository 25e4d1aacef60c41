"""The commands' options, a module a command, and where they are said to connect to.

Invariant: nothing that a command does is imported before it does it. So `--version`, help pages and what is refused for
its arguments wait neither for boto3 nor for the library.
"""
