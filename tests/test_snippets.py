"""Every snippet of every page is run by a test, or is read by what would read it.

A page's Python runs here, on an engine that stands for AWS, unless a module names the page in its ``SNIPPETS`` and does
more with it. Either way every statement of it runs: see `tests/pages.py`. Each command of a page must be one that its
program takes. Consoles in which `ddb-lease` is called run here too, but for those of ``RUN_ELSEWHERE``.
"""

import argparse
import configparser
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import botocore.loaders
import pytest
import yaml
from botocore import xform_name

from ddb_lease import LeaseBucket, RateLimiter
from ddb_lease.cli import main, parsing
from tests import pages
from tests.cli.test_commands import DUMMY, LONG, environment
from tests.pages import PAGES, ROOT, Block
from tests.support import recorded_engine

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None

pytest_plugins = ["pytester"]

NAMED = pages.named()
WITH_PYTHON = [page for page in PAGES if pages.blocks(page, "python")]


def each(*languages):
    """A parameter for each block of these languages."""
    found = [block for page in PAGES for block in pages.blocks(page) if block.language in languages]
    return pytest.mark.parametrize("block", found, ids=lambda block: block.place)


# Python.


@pytest.mark.parametrize("page", [page for page in WITH_PYTHON if page not in NAMED])
def test_the_python_of_a_page_that_no_module_names_runs_as_it_stands(page, as_aws):
    snippets, world, made = pages.Snippets(page), {"__name__": "page"}, set()
    for snippet in snippets.of():
        snippet.run(world)
        made |= {thing for thing in world.values() if isinstance(thing, (LeaseBucket, RateLimiter))}
    for thing in made:
        thing.close()
    assert snippets.missed() == [], (
        f"importing {page} does not run this. Write a test module that sets SNIPPETS = Snippets({page!r}), runs the page "
        "from there, and calls what it defines: tests/test_concepts_page.py is an example"
    )


def test_a_page_that_a_module_names_has_python_and_one_such_module():
    assert set(NAMED) <= set(WITH_PYTHON)
    assert [page for page, modules in NAMED.items() if len(modules) > 1] == []


# Commands.

OUTSIDE = {
    "[": "of any shell",
    "cd": "of any shell",
    "celery": "tests/howto/test_celery.py starts its worker",
    "cp": "of any machine",
    "curl": "of any machine; the tests of the page on FastAPI and Flask ask what it asks",
    "cut": "of any machine",
    "docker": "takes minutes; the container's files are checked where they are",
    "do": "of any shell",
    "done": "of any shell",
    "eval": "of any shell",
    "flask": "tests/howto/test_web.py starts it, as the page does",
    "for": "of any shell",
    "git": "of any machine",
    "gunicorn": "tests/howto/test_web.py starts it, as the page does",
    "head": "of any machine",
    "printf": "of any shell",
    "sha256sum": "of any machine",
    "sleep": "of any machine",
    "uvicorn": "tests/howto/test_web.py starts it, as the page does",
}
"""Programs of a page's command lines that are not ours, and of which nothing but their paths is looked at."""

OF_PYTEST = {"-k", "-q", "-x", "--timeout"}
"""Its options, and pytest-timeout's, that the pages use: `scripts/test` hands them on."""

OPERATORS = {";", "&&", "||", "|", "&"}


def lines_of(block):
    """What is typed in a console; all lines of a script."""
    text = block.text.replace("\\\n", " ")
    return re.findall(r"^\$ (.*)$", text, flags=re.MULTILINE) if block.language == "console" else text.splitlines()


FILES = {
    *(
        re.findall(r"\A# ([\w.]+)$", block.text, flags=re.MULTILINE)[0]
        for page in PAGES
        for block in pages.blocks(page, "python")
        if re.match(r"# [\w.]+\.py\n", block.text)
    ),
    *(path.name for path in (ROOT / "docs").rglob("*.py")),
}
"""The programs that pages show, or have to download."""

OF_THE_PROGRAM = {
    ("cloudformation", "package"): {"--template-file", "--s3-bucket", "--output-template-file"},
    ("cloudformation", "deploy"): {"--template-file", "--stack-name", "--capabilities"},
}
"""Commands of AWS's program that are no operations of a service, and options that it documents for them."""


def commands(line):
    """The words of each simple command of a line, without redirections and variables of its own."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    found = [[]]
    for word in lexer:
        if word in OPERATORS:
            found.append([])
        else:
            found[-1].append(word)
    for words in found:
        if ">" in words:
            del words[words.index(">") :]
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        if words:
            yield words


@functools.cache
def parser():
    return main.parser()


def ours(words):
    """`ddb-lease`, with all that follows it up to the command that it is to run."""
    own, _ = main.split_command(words[1:])
    try:
        assert parser().parse_args(own).execute
    except SystemExit:
        pytest.fail(f"ddb-lease does not take this: {shlex.join(words)}", pytrace=False)


def source_of(path):
    """A program's source, and those of the modules that it runs."""
    text = path.read_text()
    for module in re.findall(r'"-m",\s*"((?:tests|benchmarks)[\w.]*)"', text):
        text += source_of(main_of(module))
    return text


def main_of(module):
    path = ROOT / module.replace(".", "/")
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


def has_options(path, words):
    text = source_of(path)
    for word in words:
        option = word.partition("=")[0]
        if re.match(r"--?[a-z]", option) and f'"{option}"' not in text:
            assert path.name == "test", f"{path.name} has no option {option}"
            assert option in OF_PYTEST, f"{option} is not in OF_PYTEST: see that pytest has it, and name it there"


def are_there(words):
    """Each word that looks like a path of the repository is one; it may have a pattern, and a test's name after it."""
    for word in words:
        path = word.partition("::")[0]
        if re.match(r"(docs|tests|scripts|benchmarks)/", path):
            assert list(ROOT.glob(path)), f"there is no {path}"


def check(words):
    """What a simple command asks for exists."""
    program = words[0]
    are_there(words)
    if program == "ddb-lease":
        ours(words)
    elif program == "scripts/create_table.py":
        ours(["ddb-lease", "create-table", *words[1:]])
    elif program.startswith("scripts/"):
        assert os.access(ROOT / program, os.X_OK), f"{program} cannot be started"
        has_options(ROOT / program, words[1:])
    elif program in {"python", ".venv/bin/python"}:
        of_python(*words[1:])
    elif program == "pip":
        assert words[1] == "install", words
        for extra in re.findall(r"^ddb-lease\[([\w,]+)\]$", "\n".join(words), flags=re.MULTILINE):
            assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text(), f"there is no extra {extra}"
    elif program == "aws":
        of_aws(*words[1:])
    else:
        assert program in OUTSIDE, (
            f"teach tests/test_snippets.py how to check a command line of {program}, or name it in OUTSIDE"
        )


def of_python(what, *rest):
    """The program is there, and has the options."""
    if what == "-c":
        compile(rest[0], "a console", "exec")
    elif what != "-m":
        assert what in FILES, f"no page shows {what}"
    elif rest[0] != "pytest":
        has_options(main_of(rest[0]), rest[1:])


def of_aws(service, operation, *options):
    """The service has the operation, and the operation the parameters; or it is a command of the program's own."""
    if (service, operation) in OF_THE_PROGRAM:
        assert {option for option in options if option.startswith("--")} <= OF_THE_PROGRAM[service, operation]
        return
    model = botocore.loaders.create_loader().load_service_model(service, "service-2")
    (known,) = (name for name in model["operations"] if xform_name(name, "-") == operation)
    members = {
        xform_name(name, "-") for name in model["shapes"][model["operations"][known]["input"]["shape"]]["members"]
    }
    assert {option.removeprefix("--") for option in options if option.startswith("--")} <= members


@each("console", "sh")
def test_a_shell_takes_each_line_of_a_console(block):
    script = "\n".join(lines_of(block))
    assert script
    done = subprocess.run(["sh", "-n", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@each("console", "sh")
def test_each_command_of_a_console_is_one_that_its_program_takes(block):
    for line in lines_of(block):
        for words in commands(line):
            check(words)
        for inner in re.findall(r"\$\(([^()]*)\)", line):
            check(shlex.split(inner.partition(" | ")[0]))


def spans(page):
    """Each command in a page's prose."""
    programs = r"ddb-lease|scripts/[\w.-]+|python -m|\.venv/bin/python -m"
    return {" ".join(s.split()) for s in re.findall(rf"`((?:{programs})(?: [^`]*)?)`", pages.prose(page))}


TALKING = [page for page in PAGES if spans(page) and not page.startswith("docs/adr/")]
"""Decision records also name what was rejected, and so is not there."""


@pytest.mark.parametrize("page", TALKING)
def test_a_command_in_a_text_is_one_that_its_program_takes(page):
    for span in spans(page):
        words = shlex.split(span.partition(" | ")[0])
        path = ROOT / words[0]
        if words[0] == "ddb-lease":
            of_ours(words)
        elif words[0].startswith("scripts/") and not (path.is_file() and os.access(path, os.X_OK)):
            assert list(ROOT.glob(f"{span}*")), f"there is no {span}"  # it tells of a file, not of a command
        else:
            check([word for word in words if word != "..."])


def of_ours(words):
    """A command, maybe without all that it needs, or with words that stand for others: what it has is known."""
    own, command = main.split_command(words[1:])
    at = parser()
    for word in own:
        known = {name: choice for action in at._actions for name, choice in subcommands(action).items()}
        if word.startswith("-"):
            assert any(word in action.option_strings for action in at._actions), f"there is no {word}: {words}"
        elif known and word != "...":
            assert set(word.split("|")) <= set(known), f"there is no command {word}: {words}"
            at = known[word.partition("|")[0]]
    if command[:1] == ["ddb-lease"]:
        of_ours(command)


def subcommands(action):
    return action.choices if isinstance(action, argparse._SubParsersAction) else {}


@each("text", "ini", "dockerfile", "yaml")
def test_each_command_of_ours_in_a_table_or_a_manifest_is_one_that_it_takes(block):
    for line in block.text.splitlines():
        if found := re.search(r"(?:^ExecStart=\S*/|\* \* \* (?:.*; )?|^)(ddb-lease (?!lease ).+)$", line):
            for words in commands(found[1]):
                check(words)
        if found := re.search(r'\["ddb-lease".*\]', line):
            ours(json.loads(found[0]))


@pytest.mark.parametrize("page", PAGES)
def test_each_variable_of_ours_is_one_that_something_reads(page):
    named = set(re.findall(r"\bDDB_LEASE_[A-Z_]+[A-Z]", (ROOT / page).read_text()))
    options = {
        name.removeprefix("--").replace("-", "_").upper()
        for leaf in leaves(parser())
        for action in parsing.options(leaf)
        for name in action.option_strings
    }
    unknown = {
        name for name in named if name.removeprefix("DDB_LEASE_") not in options and f'"{name}"' not in sources()
    }
    assert unknown <= MISTAKEN


MISTAKEN = {"DDB_LEASE_TIMOUT", "DDB_LEASE_RUN_TIMEOUT"}
"""The pages say of these that nothing reads them."""


@functools.cache
def sources():
    from ddb_lease.cli import defaults

    files = [*(ROOT / "ddb_lease").rglob("*.py"), *(ROOT / "scripts" / "harness").rglob("*.py")]
    return "".join(file.read_text() for file in files) + str([f'"DDB_LEASE_{name}"' for name in defaults.OTHERS])


def leaves(top):
    yield top
    for action in top._actions:
        for leaf in subcommands(action).values():
            yield from leaves(leaf)


# Consoles that run.

RUN_ELSEWHERE = {
    ("docs/conformance.md", "ddb-lease conform"): "tests/conformance/test_command.py",  # it sends thousands of requests
    ("docs/operating.md", "ddb-lease "): "tests/cli/test_operating_page.py",  # all of it, and its output is compared
    ("docs/operations.md", "ddb-lease template"): "tests/cli/test_template.py",  # its output is compared
    ("docs/operations.md", "ddb-lease local"): "tests/cli/test_operations_page.py",  # likewise
    (
        "docs/seeing.md",
        "ddb-lease status gpus --watch",
    ): "tests/cli/seeing/test_seeing_page.py",  # until it is interrupted
}
"""Consoles that have tests of their own: their page, how they begin, and the module."""


def is_run_elsewhere(block):
    return any(page == block.page and lines_of(block)[0].startswith(begin) for page, begin in RUN_ELSEWHERE)


def test_what_is_run_elsewhere_is_there_and_its_module_knows_of_the_page():
    for (page, begin), module in RUN_ELSEWHERE.items():
        assert any(lines_of(block)[0].startswith(begin) for block in pages.blocks(page, "console"))
        assert page.rpartition("/")[2] in (ROOT / module).read_text()


BEFORE = {
    "docs/howto/cron.md": "ddb-lease run nightly --max-tokens 1 --hold-at-least 1h -- true",
    "docs/middleware.md": "ddb-lease rate set customers --rate 10/s",
}
"""What a page's programs have done by the time that its consoles come."""


def run_here(page):
    """Its consoles in which `ddb-lease` is called, unless they are run elsewhere."""
    return [b for b in pages.blocks(page, "console") if "$ ddb-lease " in b.text and not is_run_elsewhere(b)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A folder, and the variables of a machine that reaches an engine as if it were AWS, in which `ddb-lease` is installed."""
    folder = tmp_path_factory.mktemp("machine")
    programs = folder / "bin"
    programs.mkdir()
    write_program(programs / "ddb-lease", f'exec {shlex.quote(sys.executable)} -m ddb_lease.cli "$@"')
    for name in ("pip", "sleep", "docker", "simulate"):
        write_program(programs / name, "exit 0")
    variables = environment(folder)
    variables["PATH"] = f"{programs}{os.pathsep}{variables['PATH']}"

    def run(script):
        return subprocess.run(
            ["bash", "-e", "-c", script],
            env=variables,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=4 * LONG,
        )

    try:
        assert run("ddb-lease create-table --local").returncode == 0
        engine = recorded_engine(folder / "engine")
        variables.update(DUMMY, AWS_ACCESS_KEY_ID=engine.access_key_id, AWS_ENDPOINT_URL_DYNAMODB=engine.endpoint_url)
        yield run, folder
    finally:
        run("ddb-lease local stop --yes")


def write_program(path, line):
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("page", [page for page in PAGES if run_here(page)])
def test_the_consoles_of_a_page_run_to_their_end(page, machine):
    run, folder = machine
    assert run(BEFORE.get(page, "")).returncode == 0
    for block in run_here(page):
        script = "\n".join(lines_of(block))
        for name in re.findall(r" -- (?:\./)?(\w+[\w.]*)", script):
            if not shutil.which(name):
                write_program(folder / name, "exit 0")
        done = run(script)
        assert done.returncode == 0, (block.place, done.stdout, done.stderr)


# Other languages.


def reads_ini(text):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(text)
    assert parser.sections()


def reads_dockerfile(text):
    for line in text.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.partition(" ")
        assert instruction in {"FROM", "RUN", "COPY", "ENV", "ENTRYPOINT", "CMD", "USER", "WORKDIR"}, line
        if instruction in {"ENTRYPOINT", "CMD"}:
            assert json.loads(rest), line


def is_an_answer(text):
    head, _, body = text.partition("\n\n")
    status, *fields = head.splitlines()
    assert re.fullmatch(r"HTTP/1.1 \d{3} .+", status)
    assert all(re.fullmatch(r"[a-z-]+: .+", field) for field in fields)
    assert body


def is_no_code(text):
    """It shows what something printed: what is typed, or imported, belongs in a block that a test runs."""
    assert not re.search(r"^(\$ |from \w+ import |import \w+$|def \w|@\w)", text, flags=re.MULTILINE)


READ_BY = {
    "yaml": lambda text: [*yaml.safe_load_all(text)],
    "json": json.loads,
    "toml": lambda text: tomllib is None or tomllib.loads(text),
    "ini": reads_ini,
    "dockerfile": reads_dockerfile,
    "http": is_an_answer,
    "text": is_no_code,
}


@each(*READ_BY)
def test_a_block_is_what_its_language_is(block):
    READ_BY[block.language](block.text)


def test_every_block_is_of_a_language_that_a_test_runs_or_reads():
    known = {"python", "console", "sh", *READ_BY}
    unknown = [f"{b.place} [{b.language}]" for page in PAGES for b in pages.blocks(page) if b.language not in known]
    assert unknown == [], (
        "no test runs or reads these. Name the language after the fence: python, console (with `$ ` before what is "
        "typed), or text for what something printed; or teach tests/test_snippets.py another"
    )


# What watches over them.


A_PAGE = """\
# A page

```python
def both(old_lock, bucket, work):
    with old_lock:
        with bucket.acquire(timeout=300) as lease:
            work(lease)
```
"""


@pytest.fixture
def module(pytester, monkeypatch):
    """Runs a test module that names a page without calling what it defines; the outcome."""
    monkeypatch.setattr(pages, "ROOT", pytester.path)
    (pytester.path / "page.md").write_text(A_PAGE)
    pytester.makeconftest(
        "from tests.pages import Watch\ndef pytest_configure(config): config.pluginmanager.register(Watch())"
    )

    def run(call, *arguments):
        pytester.makepyfile(
            test_it=f"""
            import contextlib, types
            from tests.pages import Snippets
            SNIPPETS = Snippets("page.md")
            def test_it():
                both = SNIPPETS.run({{}})["both"]
                bucket = types.SimpleNamespace(acquire=lambda timeout: contextlib.nullcontext("lease"))
                {call}
            def test_another():
                pass
            """
        )
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)

    return run


def test_a_module_that_names_a_page_fails_unless_all_of_it_ran(module):
    done = module("pass")
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(
        ["No test of this module has run these lines*", "page.md:5: with old_lock:", "*:7: work(lease)"]
    )


@pytest.mark.parametrize(
    ("call", "arguments", "passed"),
    [
        ("both(contextlib.nullcontext(), bucket, print)", (), 2),
        ("pass", ("-k", "test_it or nothing", "--deselect", "test_it.py::test_another"), 1),
        ("pass", ("test_it.py::test_it", "test_it.py::test_another"), 2),
    ],
    ids=["all of it ran", "a test was deselected", "single tests were asked for"],
)
def test_it_passes_when_all_of_it_ran_or_only_some_tests_were_asked_for(module, call, arguments, passed):
    module(call, *arguments).assert_outcomes(passed=passed, deselected=2 - passed)


def test_a_failure_of_its_own_tests_is_told_alone_and_one_of_others_hides_nothing(module, pytester):
    module("assert False").assert_outcomes(passed=1, failed=1)
    pytester.makepyfile(test_before="def test_before(): assert False")
    module("pass").assert_outcomes(passed=2, failed=1, errors=1)


def test_every_statement_and_every_lambda_of_a_snippet_is_watched():
    text = '''\
def f(x, then=lambda: None):
    """Not a statement that could be wrong."""
    if x:
        then()
    else:
        return [y for y in range(x)]
    try:
        return x
    except ValueError:
        raise
    finally:
        g = lambda: x
'''
    snippet = pages.Snippet(Block(page="docs/index.md", line=1, language="python", text=text))
    world = snippet.run({})
    world["f"](1)
    assert [missed.removeprefix("docs/index.md:") for missed in snippet.missed()] == [
        "6: return [y for y in range(x)]",
        "10: raise",
        "12: x",
    ]
