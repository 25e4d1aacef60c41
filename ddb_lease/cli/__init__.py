"""The command line: `ddb-lease`.

Its commands, options and exit codes are public; its modules are private, and may change at any time.
"""
