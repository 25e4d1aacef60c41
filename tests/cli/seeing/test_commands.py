"""The commands that show cost the other commands nothing."""

import subprocess
import sys

from ddb_lease.cli import main

HEAVY = {"rich", "http.server", "statistics", "ddb_lease.cli.seeing.history"}


def test_what_they_need_is_imported_by_no_other_command():
    code = f"import sys; from ddb_lease.cli import main; main.parser(); print({HEAVY!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_each_does_what_its_module_does(monkeypatch):
    from ddb_lease.cli.seeing import ls, serve, timeline, top

    for module, words in ((ls, []), (serve, ["b"]), (top, []), (timeline, ["file"])):
        name = module.__name__.rpartition(".")[2]
        monkeypatch.setattr(module, "execute", lambda options, own=name: 42 * options.leaf.prog.endswith(own))
        assert main.main([name, *words]) == 42
