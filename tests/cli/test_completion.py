"""Bash accepts the completion script, and it completes our commands and options."""

import subprocess
import sys

import pytest

from ddb_lease.cli import main

LONG = 60.0


@pytest.fixture
def script(capsys):
    """Prints the script for a shell; returns it."""

    def run(shell):
        assert main.main(["completion", shell]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return run


def bash(text, *arguments):
    done = subprocess.run(["bash", "--norc", *arguments], input=text, capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def completions(script, *typed):
    """The completions that bash offers for the last of these words."""
    quoted = " ".join(f"'{word}'" for word in ("ddb-lease", *typed))
    ask = f"""
set -- $(complete -p ddb-lease)
while [ "$1" != -F ]; do shift; done
COMP_WORDS=({quoted}); COMP_CWORD={len(typed)}
"$2" ddb-lease "{typed[-1]}" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return set(bash(f"{script}\n{ask}").split())


def test_bash_takes_the_script(script):
    bash(script("bash"), "-n")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ([""], {"run", "limit", "status", "create-table", "local", "template", "completion"}),
        (["st"], {"status"}),
        (["template", ""], {"cloudformation", "terraform", "iam"}),
        (["template", "iam", "--role", ""], {"worker", "operator", "reader", "deployer"}),
        (["run", "--max"], {"--max-tokens"}),
        (["local", ""], {"start", "stop", "status"}),
    ],
)
def test_bash_completes_commands_options_and_choices(script, typed, offered):
    assert offered <= completions(script("bash"), *typed)


def test_bash_offers_every_command_that_there_is(script):
    (subparsers,) = [action for action in main.parser()._actions if action.dest == "==SUPPRESS=="][-1:]
    assert completions(script("bash"), "") >= set(subparsers.choices)


@pytest.mark.parametrize(("shell", "begins"), [("zsh", "#compdef ddb-lease"), ("tcsh", "#")])
def test_other_shells_get_a_script_of_their_own(script, shell, begins):
    assert script(shell).startswith(begins)
    assert "create-table" in script(shell)


def test_without_its_extra_one_line_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main.main(["completion", "bash"]) == 2
    assert capsys.readouterr() == ("", "ddb-lease: completion needs shtab: pip install 'ddb-lease[completion]'\n")


def test_fish_is_not_among_the_shells(capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(["completion", "fish"])
    assert ended.value.code == 2
    assert "invalid choice: 'fish'" in capsys.readouterr().err
