"""Makes the virtual environments that the scripts here run in; needs Python with venv, and nothing else.

The third engine of the tests, dynoxide, is a single program that npm brings. Where npm is not at hand, or cannot bring
it, the tests go without it, and say so.

An environment is made once and kept; it is made again when pyproject.toml or the Python version changes. Another
virtual environment that is active makes no difference, only the Python that it was made by. Packages are not compiled
when they are installed, as most modules are never imported: the first import compiles them.

Several scripts may run at once: one makes an environment while the others wait, and no environment is made again while
a script uses it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
MINISTACK = "ministack==1.5.33"  # it pins a botocore of its own: always in an environment of its own
DYNOXIDE = "1.2.1"
DYNOXIDES = {("linux", "x86_64"): "be909b7910d3fb552e85db10ef3c8ebae4bd35fee0f26dffdb6dfa5cc656426e"}
"""The machines that we tried it on, and the SHA-256 of its program there: another program is not started."""
_STAMP = ".made-from"
_NPM_S = 120.0  # for some megabytes; a registry that does not answer must not hold up the tests for longer
_in_use: list[IO[str]] = []

# Write bytecode even if the user does not want it: without it, each of the many processes that we start would compile
# its imports again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def ensure(name: str, *requirements: str, python: Path | None = None) -> Path:
    """An environment called `name` in the repository, with these requirements; returns its bin folder.

    It is made by the Python that runs the script, or by `python`.
    """
    if sys.version_info < (3, 10):  # noqa: UP036 - the very check that says so
        sys.exit(f"ddb_lease needs Python 3.10 or newer; this is {sys.version.split()[0]}")
    home = ROOT / name
    wanted = fingerprint(requirements, python)
    lock = (ROOT / f"{name}.lock").open("a")
    _in_use.append(lock)  # held for as long as this script runs
    fcntl.flock(lock, fcntl.LOCK_SH)
    if not _is_made(home, wanted):
        _lock_alone(lock, name)
        if not _is_made(home, wanted):  # another script may have made it while we waited
            print(f"making {name} (once) ...", file=sys.stderr, flush=True)
            shutil.rmtree(home, ignore_errors=True)
            make(home, requirements, python)
            (home / _STAMP).write_text(wanted)
        fcntl.flock(lock, fcntl.LOCK_SH)
    return home / "bin"


def ensure_dynoxide() -> Path | None:
    """The program of dynoxide, in a folder of its own in the repository; None if it cannot be had here: it says why."""
    program = ROOT / ".dynoxide" / "dynoxide"
    expected = DYNOXIDES.get((sys.platform, platform.machine()))
    if expected is None:
        trouble = f"it was not tried on {sys.platform} {platform.machine()}"
    else:
        with (ROOT / ".dynoxide.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            trouble = "" if _has_digest(program, expected) else _bring_dynoxide(program, expected)
    if trouble:
        print(f"without dynoxide, the third engine: {trouble}", file=sys.stderr, flush=True)
        return None
    return program


def _bring_dynoxide(program: Path, expected: str) -> str:
    """Let npm bring it; returns what is in the way, or nothing."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not at hand"
    print("making .dynoxide (once) ...", file=sys.stderr, flush=True)
    program.parent.mkdir(exist_ok=True)
    package = f"@dynoxide/{sys.platform}-x64@{DYNOXIDE}"
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        own = (f"--cache={folder}/cache", "--prefix", folder)
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--silent", "--fetch-retries=1")
        command = [npm, "install", *quiet, *own, package]
        try:
            subprocess.run(command, check=True, timeout=_NPM_S, capture_output=True, cwd=folder)
            found = Path(folder, "node_modules", "@dynoxide", f"{sys.platform}-x64", "dynoxide")
            if not _has_digest(found, expected):
                return "npm brought another program than the one that we tried"
            found.replace(program)  # at once: whoever looks finds all of it, or none
        except (subprocess.SubprocessError, OSError) as error:
            return f"npm did not bring {package}: {error}"
    return ""


def _has_digest(program: Path, expected: str) -> bool:
    try:
        return hashlib.sha256(program.read_bytes()).hexdigest() == expected
    except OSError:
        return False


def _is_made(home: Path, wanted: str) -> bool:
    stamp = home / _STAMP
    return stamp.exists() and stamp.read_text() == wanted


def _lock_alone(lock: IO[str], name: str) -> None:
    """Take the exclusive lock; say so if we have to wait for another script."""
    fcntl.flock(lock, fcntl.LOCK_UN)  # two scripts that both keep their shared lock would wait for each other for ever
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print(f"waiting for another script that uses {name} ...", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def make(home: Path, requirements: tuple[str, ...], python: Path | None) -> None:
    """Make an environment in a folder that is not there yet."""
    if python is None:
        venv.create(home, with_pip=True)
    else:
        subprocess.run([python, "-m", "venv", home], check=True)
    install(home, requirements)


def interpreter(version: str) -> Path:
    """The Python of this version, as "3.10": on the path, or the newest of pyenv; ends the script if there is none."""
    tools = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    homes = sorted(tools.glob(f"{version}.*"), key=_patch, reverse=True)
    on_path = shutil.which(f"python{version}")
    for python in (*((Path(on_path),) if on_path else ()), *(home / "bin" / f"python{version}" for home in homes)):
        if _about(python).startswith(f"{version}."):
            return python
    sys.exit(f"there is no Python {version} here: neither python{version} on the path, nor one of pyenv's")


def _patch(home: Path) -> int:
    number = home.name.rpartition(".")[2]
    return int(number) if number.isdecimal() else -1


def _about(python: Path) -> str:
    """Which version it is, and where; nothing if it does not start, as a shim of pyenv whose version is not chosen."""
    program = "import sys; print(sys.version); print(sys.base_prefix)"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def package(*extras: str) -> tuple[str, ...]:
    """The requirement that installs this checkout, editable, with these extras."""
    return ("--editable", f"{ROOT}[{','.join(extras)}]")


def floors() -> tuple[str, ...]:
    """Every lower bound in pyproject.toml as an exact requirement."""
    text = (ROOT / "pyproject.toml").read_text()
    dependencies = text[text.index("\n[project]\n") : text.index("\n[project.scripts]\n")]
    return tuple(f"{name}=={bound}" for name, bound in re.findall(r'"([\w.\-]+(?:\[\w+\])?)>=([\w.]+)"', dependencies))


def run(*command: str | Path, **environment: str) -> int:
    """Run a command in the repository, with our terminal; returns its exit code."""
    try:
        return subprocess.run([str(c) for c in command], cwd=ROOT, env=os.environ | environment, check=False).returncode
    except KeyboardInterrupt:
        return 130


def install(home: Path, requirements: tuple[str, ...]) -> None:
    """Install; what pip says is shown only if it fails, as its warnings are not about us."""
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-compile")
    try:
        command = [home / "bin" / "python", "-m", "pip", "install", *quiet, *requirements]
        subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(home, ignore_errors=True)
        print(error.stdout, file=sys.stderr, end="", flush=True)
        sys.exit("the packages could not be installed: is the package index within reach?")


def fingerprint(requirements: tuple[str, ...], python: Path | None = None) -> str:
    """What an environment is made from: another one is made where this is another."""
    # Not `sys.executable`: in an active virtual environment that is its own, and `venv` uses the Python below it.
    own = (sys.version, str(Path(sys.base_prefix, "bin", "python3")))
    made_by = own if python is None else (_about(python), str(python))
    parts = [*made_by, *requirements, (ROOT / "pyproject.toml").read_text()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
