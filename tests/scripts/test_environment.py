"""The scripts' environments: made once, by one script at a time, and not made again while another script uses them."""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONG = 60.0

# Makes an environment as `ensure` does, but in a folder of the test, and slowly; then uses it until told to end.
PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import environment
environment.ROOT = Path(sys.argv[2])
def make(home, requirements, python):
    home.mkdir()
    (home / "half").write_text("")
    time.sleep(0.5)
    (home / "half").unlink()
    (home / "whole").write_text(" ".join(requirements))
    print("made", flush=True)
environment.make = make
environment.fingerprint = lambda requirements, python: " ".join(requirements)
home = environment.ensure(".venv", *sys.argv[3:]).parent
print("uses", (home / "whole").read_text(), (home / "half").exists(), flush=True)
sys.stdin.readline()
print("still", (home / "whole").read_text(), flush=True)
"""


@contextlib.contextmanager
def script(folder, *requirements):
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "scripts"), str(folder), *requirements]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(process, count):
    return [process.stdout.readline().strip() for _ in range(count)]


def end(process):
    out, _ = process.communicate("\n", timeout=LONG)
    return out.split("\n")[:-1]


def test_of_two_scripts_at_once_one_makes_the_environment_and_both_use_it(tmp_path):
    with script(tmp_path, "a") as first, script(tmp_path, "a") as second:
        told = [*end(first), *end(second)]
    assert sorted(told) == ["made", "still a", "still a", "uses a False", "uses a False"]


def test_an_environment_is_not_made_anew_while_a_script_uses_it(tmp_path):
    with script(tmp_path, "a") as first:
        assert lines(first, 2) == ["made", "uses a False"]
        with script(tmp_path, "b") as second:
            time.sleep(1.0)  # long enough to make it, if it did not wait
            assert end(first) == ["still a"]
            assert end(second) == ["made", "uses b False", "still b"]


# As npm does, but without a registry: it puts a program into the folder that it is told, or fails.
NPM = """#!/bin/sh
while [ $# -gt 1 ]; do
    [ "$1" = --prefix ] && prefix=$2
    shift
done
echo "$1" >> "$ASKED"
[ -n "$BRINGS" ] || exit 1
mkdir -p "$prefix/node_modules/@dynoxide/$PLATFORM-x64"
printf %s "$BRINGS" > "$prefix/node_modules/@dynoxide/$PLATFORM-x64/dynoxide"
"""
BRING = """
import platform, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import environment
environment.ROOT = Path(sys.argv[2])
environment.DYNOXIDES = {(sys.platform, platform.machine()): sys.argv[3]} if sys.argv[3] else {}
print(environment.ensure_dynoxide())
"""
GOOD = "a program"


def bring(folder, *, npm=True, brings=GOOD, tried=True):
    """What `ensure_dynoxide` returns and tells, and what npm was asked for."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "npm").write_text(NPM)
    (tools / "npm").chmod(0o755 if npm else 0o644)
    own = {"ASKED": str(folder / "asked"), "BRINGS": brings, "PLATFORM": sys.platform}
    path = f"{tools}{os.pathsep}/usr/bin{os.pathsep}/bin" if npm else str(tools)
    digest = hashlib.sha256(GOOD.encode()).hexdigest() if tried else ""
    done = subprocess.run(
        [sys.executable, "-c", BRING, str(ROOT / "scripts"), str(folder), digest],
        env=os.environ | own | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )
    asked = folder / "asked"
    return done.stdout.strip(), done.stderr, asked.read_text().split() if asked.exists() else []


def test_dynoxide_is_brought_once_in_the_version_that_we_tried(tmp_path):
    program = tmp_path / ".dynoxide" / "dynoxide"
    for _ in range(2):
        found, _, asked = bring(tmp_path)
        assert found == str(program)
        assert program.read_text() == GOOD
        assert len(asked) == 1
    assert asked[0].startswith("@dynoxide/")
    assert asked[0].count("@") == 2
    assert [path.name for path in program.parent.iterdir()] == ["dynoxide"], "nothing is left of the download"


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"npm": False}, "npm is not at hand"),
        ({"brings": ""}, "npm did not bring"),
        ({"brings": "another program"}, "npm brought another program than the one that we tried"),
        ({"tried": False}, "it was not tried on"),
    ],
)
def test_without_dynoxide_the_scripts_go_on_and_say_why(tmp_path, how, told):
    found, said, _ = bring(tmp_path, **how)
    assert found == "None"
    assert f"without dynoxide, the third engine: {told}" in " ".join(said.split())
    assert not (tmp_path / ".dynoxide" / "dynoxide").exists()


def test_an_active_virtual_environment_makes_no_other_environment(tmp_path):
    """Neither another one, nor the one that the scripts have made themselves."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); import environment; print(environment.fingerprint(()))"
    told = set()
    below = sys.executable
    for home in (tmp_path / "one", tmp_path / "two"):
        subprocess.run([below, "-m", "venv", "--without-pip", home], check=True)
        below = home / "bin" / "python3"
        told.add(subprocess.check_output([below, "-c", program, ROOT / "scripts"], text=True))
    plain = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    told.add(subprocess.check_output([plain, "-c", program, ROOT / "scripts"], text=True))
    assert len(told) == 1


# What people see.


@pytest.mark.parametrize("code", [0, 1])
def test_what_the_package_manager_says_is_shown_only_if_it_fails(tmp_path, code):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho 'WARNING: a newer pip'\necho 'more of it' >&2\nexit {code}\n")
    python.chmod(0o755)
    program = "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import environment; environment.install(pathlib.Path(sys.argv[2]), ())"
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT / "scripts"), str(tmp_path / ".venv")],
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    failed = (
        "WARNING: a newer pip\nmore of it\nthe packages could not be installed: is the package index within reach?\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", failed if code else "")


DRAW = """
import sys
sys.path.insert(0, sys.argv[1])
from demo_view import Screen
screen = Screen()
screen.show(99.9, 3, {0: 8, 2: 1}, 1, 8, 8)
screen.show(100.9, 3, {0: 8}, 2, 8, 8)
"""


def test_the_demo_fits_80_columns_and_its_words_stand_apart():
    done = subprocess.run(
        [sys.executable, "-c", DRAW, str(ROOT / "scripts")], capture_output=True, text=True, timeout=LONG, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == " 99.9 s  slot 0: job 8   slot 1: killed  slot 2: job 1   waiting: 8  done: 8"
    assert second == "100.9 s  slot 0: job 8   slot 1: --      slot 2: killed  waiting: 8  done: 8"
    assert max(map(len, done.stdout.splitlines())) < 80


# Other versions of Python.

FIND = "import sys; sys.path.insert(0, sys.argv[1]); import environment; print(environment.interpreter(sys.argv[2]))"


def python_that_says(version, path):
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n[ -n '{version}' ] || exit 127\necho '{version} (main)'\necho /somewhere\n")
    path.chmod(0o755)
    return path


def find(folder, version):
    own = {"PATH": str(folder / "tools"), "PYENV_ROOT": str(folder / "pyenv")}
    command = [sys.executable, "-c", FIND, str(ROOT / "scripts"), version]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=LONG)
    return done.stdout.strip() or done.stderr.strip()


def test_another_python_is_the_one_on_the_path_or_the_newest_of_pyenv(tmp_path):
    assert find(tmp_path, "3.10") == "there is no Python 3.10 here: neither python3.10 on the path, nor one of pyenv's"
    python_that_says("3.10.9", tmp_path / "pyenv" / "versions" / "3.10.9" / "bin" / "python3.10")
    newest = python_that_says("3.10.13", tmp_path / "pyenv" / "versions" / "3.10.13" / "bin" / "python3.10")
    python_that_says("3.1.5", tmp_path / "pyenv" / "versions" / "3.1.5" / "bin" / "python3.1")
    python_that_says("3.11.4", tmp_path / "pyenv" / "versions" / "3.11.4" / "bin" / "python3.11")
    assert find(tmp_path, "3.10") == str(newest)
    shim = python_that_says("", tmp_path / "tools" / "python3.10")  # as pyenv's own, where that version is not chosen
    assert find(tmp_path, "3.10") == str(newest)
    shim.unlink()
    shim.parent.rmdir()
    on_path = python_that_says("3.10.2", shim)
    assert find(tmp_path, "3.10") == str(on_path)


def test_an_environment_of_another_python_is_made_by_it_and_anew_for_another_version(tmp_path):
    python = python_that_says("3.10.2", tmp_path / "bin" / "python3.10")
    program = "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import environment as e; print(e.fingerprint((), pathlib.Path(sys.argv[2])))"
    told = set()
    for version in ("3.10.2", "3.10.3"):
        python.write_text(python.read_text().replace("3.10.2", version))
        told.add(subprocess.check_output([sys.executable, "-c", program, ROOT / "scripts", python], text=True))
    assert len(told) == 2
    # Stands in for `python -m venv HOME`, and then for the environment's own `python -m pip ...`.
    python.write_text('#!/bin/sh\n[ "$2" != venv ] || { mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; }\n')
    program = "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import environment as e; e.make(pathlib.Path(sys.argv[2]), (), pathlib.Path(sys.argv[3]))"
    command = [sys.executable, "-c", program, ROOT / "scripts", tmp_path / "home", python]
    subprocess.run(command, check=True, timeout=LONG)
    assert (tmp_path / "home" / "bin" / "python").read_text() == python.read_text()
