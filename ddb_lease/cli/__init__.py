"""The command line: `ddb-lease`."""
