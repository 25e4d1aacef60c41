"""The command line as a newcomer types it: options in either place, slips of the fingers, help pages. Nothing is sent."""

import argparse
import itertools
import re
import shlex

import pytest

from ddb_lease.cli import main, parsing

TOP = main.parser()
LEAVES = {leaf.prog: leaf for leaf in parsing.leaves(TOP)}


def with_all_below(command):
    """The parser of a command, and those of its commands, and of theirs."""
    yield command
    for one in parsing.subcommands(command).values():
        yield from with_all_below(one)


PAGES = {command.prog: command for command in with_all_below(TOP)}
GROUPS = [page for page, command in PAGES.items() if parsing.subcommands(command)]


def refused(line, capsys):
    """The last line that a command line which cannot be ends with."""
    with pytest.raises(SystemExit) as ended:
        main.main(shlex.split(line))
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("usage: ddb-lease")
    return err.splitlines()[-1]


def parsed(line):
    own, command = main.split_command(shlex.split(line))
    words = parsing.arranged(own, TOP, everywhere=main.everywhere())
    options = TOP.parse_args(words)
    return vars(options) | {"command": command}


# Options in either place.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("--table t status b", "status b --table t"),
        ("--local --endpoint-url=u status b --json", "status b --json --local --endpoint-url u"),
        ("-v run b -- true", "run b -v -- true"),
        ("-vv run b -- true", "run b -v -v -- true"),
        ("-v run -v b -- true", "run b -vv -- true"),
        ("--table t rate status m", "rate status m --table t"),
        ("rate --table t --local status m", "rate status --table t --local m"),
        ("--tab t status b", "status b --table t"),
        ("--table t template iam", "template iam --table t"),
    ],
)
def test_an_option_of_all_commands_means_the_same_before_and_after_the_command(before, after):
    first, second = parsed(before), parsed(after)
    same = first.keys() - {"leaf", "deferred"}
    assert {name: first[name] for name in same if not callable(first[name])} == {
        name: second[name] for name in same if not callable(second[name])
    }


def test_an_option_that_the_command_does_not_have_is_refused_before_it_too(capsys):
    assert "unrecognized arguments: --table t" in refused("--table t completion bash", capsys)
    assert "arguments: --json; options of a command stand after it" in refused("--json status b", capsys)
    assert "arguments: --tabel; did you mean --table?" in refused("--tabel t status b", capsys)


# The command after --.


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("run gpus --max-tokens 2 sleep 1", "ddb-lease run gpus --max-tokens 2 -- sleep 1"),
        ("run gpus sleep 1", "ddb-lease run gpus -- sleep 1"),
        ("run gpus python -c 'print(1)'", "ddb-lease run gpus -- python -c 'print(1)'"),
        ("run gpus --timeout 5s ls -l --table", "ddb-lease run gpus --timeout 5s -- ls -l --table"),
        ("--local run gpus ls -v", "ddb-lease --local run gpus -- ls -v"),
        ("limit mail --rate 1/s ./send.sh -n 3", "ddb-lease limit mail --rate 1/s -- ./send.sh -n 3"),
    ],
)
def test_without_the_two_dashes_the_whole_line_is_shown_with_them(line, right, capsys):
    said = refused(line, capsys)
    assert said == f"ddb-lease {line.replace('--local ', '').split()[0]}: error: write the command after --: {right}"
    own, _ = main.split_command(shlex.split(right)[1:])
    assert parsing.arranged(own, TOP, everywhere=main.everywhere())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "run nightly report --local -- true",
            "run: error: one BUCKET only, before --: 'nightly' and 'report' are given",
        ),
        ("--local limit mail -v letters --", "limit: error: one NAME only, before --: 'mail' and 'letters' are given"),
    ],
)
def test_a_second_name_before_the_two_dashes_is_no_command(line, says, capsys):
    assert refused(line, capsys) == f"ddb-lease {says}"


# Slips of the fingers.


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("runn b", "no such command: 'runn'; did you mean run?"),
        ("satus b", "no such command: 'satus'; did you mean status?"),
        ("exec b", "no such command: 'exec'; did you mean run?"),
        ("zzz", "no such command: 'zzz'; ddb-lease --help lists them"),
        ("", "required: COMMAND; ddb-lease --help lists them"),
        ("rate", "ddb-lease rate --help lists them"),
        ("rate statsu m", "no such command: 'statsu'; did you mean status?"),
        ("run b --tiemout 5s -- true", "unrecognized arguments: --tiemout 5s; did you mean --timeout?"),
        ("run b --ownr=x -- true", "unrecognized arguments: --ownr=x; did you mean --owner?"),
        ("run b --order fifo -- true", "unrecognized arguments: --order fifo; did you mean --fifo?"),
        ("status b --jsno", "unrecognized arguments: --jsno; did you mean --json?"),
        ("local restart", "invalid choice: 'restart'; did you mean start? (one of start, stop, status)"),
        ("template iam --role wroker", "invalid choice: 'wroker'; did you mean worker?"),
    ],
)
def test_of_a_mistyped_word_it_is_said_which_may_be_meant(line, says, capsys):
    assert says in refused(line, capsys)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("run b --timeout -1s -- true", "argument --timeout: '-1s' is negative; a duration is 0 or more"),
        ("run b --lease=-5 -- true", "argument --lease: '-5' is negative"),
        ("run b --count -1s -- true", "argument --count: '-1s' is not a whole number from 1 to 99"),
        ("limit b --rate -5/s -- true", "argument --rate: '-5/s' is not a rate"),
        ("limit b --rate 5/s -n -x -- true", "expected one argument"),
    ],
)
def test_of_a_value_with_a_minus_sign_it_is_said_what_is_wrong_with_it(line, says, capsys):
    assert says in refused(line, capsys)


def test_what_was_typed_does_not_move_the_cursor(capsys):
    for line in ("run b '--\x1b[2J' -- true", "'\x1b[2J'", "local '\x1b[2J'"):
        assert "\x1b" not in refused(line, capsys)


# Help pages.


@pytest.fixture
def help_of(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def page(leaf):
        with pytest.raises(SystemExit) as ended:
            main.main([*leaf.split()[1:], "--help"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    return page


def before_the_shell(line):
    """The words of a command line, without what a shell does with them: `> file`, `| program`."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, ""
    return list(itertools.takewhile(lambda word: word.strip("();<>|&"), words))


@pytest.mark.parametrize("page", PAGES)
def test_a_help_page_is_80_columns_wide_and_has_two_examples_that_lead_to_its_command(page, help_of):
    text = help_of(page)
    assert max(map(len, text.splitlines())) <= 80
    examples = re.findall(r"^  \$ (.*)$", text, re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        program, *words = before_the_shell(example)
        reached = parsed(shlex.join(words))["leaf"]
        assert program == TOP.prog
        assert reached in with_all_below(PAGES[page]), f"{example} leads to {reached.prog}"


@pytest.mark.parametrize("page", GROUPS)
def test_a_help_page_says_in_a_line_what_each_command_below_it_does(page, help_of):
    listed = re.findall(r"^    ([a-z][\w-]*)(?: {2,}|\n {10,})\w", help_of(page), re.MULTILINE)
    assert listed == list(parsing.subcommands(PAGES[page]))


@pytest.mark.parametrize("page", PAGES)
def test_a_help_page_says_of_its_command_and_of_each_option_what_it_is(page, help_of):
    command, text = PAGES[page], " ".join(help_of(page).split())
    assert command.description and " ".join(command.description.split()[:2]) in text
    for action in parsing.options(command):
        assert action.help and action.help != argparse.SUPPRESS, action.option_strings


@pytest.mark.parametrize("leaf", ["ddb-lease", *LEAVES])
def test_the_exit_codes_are_on_the_page_of_all_and_on_those_of_commands_that_run_one(leaf, help_of):
    page = help_of(leaf)
    runs = bool(leaf in LEAVES and LEAVES[leaf].get_default(parsing.TAKES_COMMAND))
    assert page.count("exit codes:\n") == (runs or leaf == "ddb-lease")
    assert (
        leaf == "ddb-lease" or f"{'All exit' if runs else 'Exit'} codes, variables and the configuration file" in page
    )
    assert leaf == "ddb-lease" or "ddb-lease --help" in page


@pytest.mark.parametrize(("command", "own"), [("run", {75, 76, 66}), ("lead", set()), ("limit", {75, 66})])
def test_a_command_that_runs_one_lists_the_codes_that_are_its_own(command, own, help_of):
    listed = help_of(f"ddb-lease {command}").partition("exit codes:\n")[2]
    codes = {int(code) for code in re.findall(r"^ +(\d+)  |; (\d+): ", listed, re.MULTILINE) for code in code if code}
    assert codes == own | {2, 69, 77, 126, 127, 130, 143}


def test_every_command_has_the_options_that_may_stand_before_it_or_says_that_it_has_not():
    everywhere = {name for action in parsing.options(main.everywhere()) for name in action.option_strings}
    assert {"-v", "--table", "--local"} <= everywhere
    for leaf in LEAVES.values():
        assert isinstance(leaf, argparse.ArgumentParser)
        assert "-v" in {name for action in parsing.options(leaf) for name in action.option_strings}
