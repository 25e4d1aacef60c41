"""The page on Step Functions: its state machine is sound, and its functions keep one lease from the first to the last."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from ddb_lease import AcquireTimeout, LeaseLost, local
from ddb_lease.dynamodb.permissions import actions
from tests.pages import Snippets

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "docs" / "howto"
FOLDER = PAGES / "step-functions"
SNIPPETS = Snippets("docs/howto/step-functions.md")
DEFINITION = json.loads((FOLDER / "workflow.asl.json").read_text())
STATES = DEFINITION["States"]
LONG = 240.0
OURS, OTHERS = "arn:execution:ours", "arn:execution:others"


def module(name, path=None):
    """A module made anew, as in a fresh sandbox."""
    spec = importlib.util.spec_from_file_location(name, path or FOLDER / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)  # the folder is a part of the site
        spec.loader.exec_module(made)
    return made


try_it = module("try_it")

# The state machine.


def follows(name):
    """Each state that may come after this one, and whether by a failure."""
    state = STATES[name]
    yield from ((state["Next"], False),) if "Next" in state else ()
    yield from ((catch["Next"], True) for catch in state.get("Catch", ()))


def paths(name, before=()):
    """Each way from here to an end."""
    here = (*before, name)
    assert name not in before, "there is no circle"
    following = {after for after, _ in follows(name)}
    if not following:
        yield here
    for after in following:
        yield from paths(after, here)


def longest(name):
    """Seconds that a task may take with all its tries and pauses."""
    state, tries, pauses = STATES[name], 1, 0
    for retrier in state.get("Retry", ()):
        for number in range(retrier["MaxAttempts"]):
            seconds = retrier["IntervalSeconds"] * retrier["BackoffRate"] ** number
            pauses += min(seconds, retrier.get("MaxDelaySeconds", seconds))
        tries += retrier["MaxAttempts"]
    return tries * state.get("TimeoutSeconds", 0) + pauses


def test_the_page_shows_the_files():
    functions, container = (snippet.block.text for snippet in SNIPPETS.of())
    assert functions == (FOLDER / "functions.py").read_text()
    assert container.startswith("# container.py\n")


def test_awss_linter_accepts_the_state_machine_and_the_template(tmp_path):
    role = "arn:aws:iam::123456789012:role/imports"
    machine = {"Type": "AWS::StepFunctions::StateMachine", "Properties": {"RoleArn": role, "Definition": DEFINITION}}
    (tmp_path / "machine.json").write_text(json.dumps({"Resources": {"Import": machine}}))
    linter = Path(sysconfig.get_path("scripts"), "cfn-lint")
    # W3002: what `aws cloudformation package` replaces.
    line = [linter, "--ignore-checks", "W3002", "--", tmp_path / "machine.json", FOLDER / "template.yml"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_state_is_reached_and_every_way_after_acquire_releases():
    ways = list(paths(DEFINITION["StartAt"]))
    assert {name for way in ways for name in way} == set(STATES)
    for way in ways:
        assert {"Release", "ReleaseAfterFailure"} & set(way), way
        assert way[-1] in {"Done", "Failed"}
    for name, state in STATES.items():
        if state["Type"] == "Task":
            assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"], "whatever fails is caught"
            failed = {after for after, by_failure in follows(name) if by_failure}
            assert failed == ({"ReleaseAfterFailure"} if name not in {"Release", "ReleaseAfterFailure"} else failed)


def test_the_lease_is_longer_than_whatever_may_follow_acquire(functions):
    ways = [way[way.index("Acquire") + 1 :] for way in paths("Acquire")]
    worst = max(sum(longest(name) for name in way) for way in ways)
    assert worst + functions().MARGIN < functions().LEASE
    assert f"here at most {-(-worst // 60):.0f} minutes" in (PAGES / "step-functions.md").read_text()


def test_a_function_ends_before_its_state_gives_it_up():
    resources = yaml.safe_load((FOLDER / "template.yml").read_text())["Resources"]
    for name, state in STATES.items():
        if state["Type"] == "Task":
            function = state["Parameters"]["FunctionName"]
            properties = resources[function.strip("${}")]["Properties"]
            assert properties["Timeout"] + 5 <= state["TimeoutSeconds"], name
            assert properties["Handler"] == f"functions.{function.strip('${}').lower()}"
            assert function.strip("${}") in resources["Import"]["Properties"]["DefinitionSubstitutions"]


def test_the_functions_may_do_what_a_worker_may():
    resources = yaml.safe_load((FOLDER / "template.yml").read_text())["Resources"]
    (policy,) = resources["FunctionRole"]["Properties"]["Policies"]
    assert policy["PolicyDocument"]["Statement"][0]["Action"] == actions("worker")


# Executions.


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The page's files, with functions.py as the page shows it: it notes what of it runs."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("try_it.py", "workflow.asl.json"):
        shutil.copy(FOLDER / name, folder)
    (folder / "functions.py").write_text(SNIPPETS.of()[0].program(folder / "ran"))
    return folder


@pytest.fixture(scope="module")
def engine_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path_factory.mktemp("engine")))
        patch.delenv("DDB_LEASE_TABLE", raising=False)
        local.start(timeout=LONG)
        yield
        local.stop()


@pytest.fixture
def functions(engine_folder, files):
    """Makes functions.py anew: a sandbox with a bucket of its own."""
    made = []

    def make():
        made.append(module("functions", files / "functions.py"))
        return made[-1]

    yield make
    for sandbox in made:
        sandbox.bucket.close()


class Context:
    def __init__(self, seconds):
        self._seconds = seconds

    def get_remaining_time_in_millis(self):
        return int(self._seconds * 1000)


class Execution:
    """An execution whose tasks run in this process, each in a sandbox of its own.

    Attributes:
        log: What was called, and how each call ended.
        before: By function, what is called before it, with the number of its calls so far. It may raise.
        after: The same for after it, with its result too.
    """

    def __init__(self, functions, file, arn=OURS):
        self.functions = functions
        self._given = {"file": str(file)}
        self._arn = arn
        self.log = []
        self.before = {}
        self.after = {}

    def invoke(self, function, payload, seconds):
        name = function.strip("${}").lower()
        number = sum(name == called for called, _ in self.log)
        assert payload["execution"] == self._arn
        try:
            self.before.get(name, lambda number: None)(number)
            result = getattr(self.functions(), name)(json.loads(json.dumps(payload)), Context(seconds))
            self.after.get(name, lambda number, result: None)(number, result)
        except try_it.TaskFailed as failed:
            self.log.append((name, failed.error))
            raise
        except AssertionError:
            raise
        except Exception as error:
            self.log.append((name, type(error).__name__))
            raise try_it.TaskFailed(type(error).__name__, str(error)) from error
        self.log.append((name, "done"))
        return json.loads(json.dumps(result))

    def run(self, invoke=None, pause=lambda seconds: None):
        return try_it.run(
            DEFINITION,
            self._given,
            execution=self._arn,
            invoke=invoke or self.invoke,
            pause=pause,
            tell=lambda *_: None,
        )


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("a\nb\nc\n")
    return file


@pytest.fixture
def execution(functions, rows):
    return Execution(functions, rows)


def lost(number, *result):
    """The first try's answer does not come."""
    if number == 0:
        raise try_it.TaskFailed("Lambda.SdkClientException")


def test_each_task_in_a_process_of_its_own(functions, files, rows):
    """As the page says, word for word."""
    line = [sys.executable, files / "try_it.py", rows]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=LONG, env=environment)
    assert done.stdout.splitlines()[-1] == "SUCCEEDED", done.stdout + done.stderr
    assert json.loads(Path(f"{rows}.loaded").read_text())["rows"] == 3
    assert functions().bucket.status().free == 1


def test_one_lease_from_the_first_task_to_the_last(functions, execution):
    held = []
    for name in ("extract", "load"):
        execution.before[name] = lambda number: held.extend(functions().leases_of(OURS))
    succeeded, last = execution.run()
    assert succeeded
    assert [name for name, _ in execution.log] == ["acquire", "extract", "load", "release"]
    assert len({lease.lease_id for lease in held}) == 1
    assert all(lease.remaining_seconds > 3000 for lease in held)
    assert last["result"] == {"loaded": 3}
    assert functions().bucket.status().leases == ()


def test_another_execution_waits_until_it_is_over(functions, execution, rows):
    other = Execution(functions, rows, OTHERS)
    order, paused, runs, over = [], [], [], threading.Event()

    def pause(seconds):
        paused.append(seconds)
        assert over.wait(LONG)

    execution.before["load"] = lambda number: runs.append(pool.submit(other.run, pause=pause))
    execution.before["release"] = lambda number: wait_until(lambda: paused)
    execution.after["load"] = lambda number, result: order.append("loaded")
    execution.after["release"] = lambda number, result: over.set()
    other.before["extract"] = lambda number: order.append("began")
    with ThreadPoolExecutor(1) as pool:
        assert execution.run()[0]
        assert runs[0].result(timeout=LONG)[0]
    assert order == ["loaded", "began"]
    assert paused[0] == 15
    assert other.log[:1] == [("acquire", "AcquireTimeout")]


def wait_until(true):
    until = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_task_that_fails_is_tried_again_and_then_the_lease_is_released(functions, execution, rows):
    rows.unlink()
    succeeded, last = execution.run()
    assert not succeeded
    assert last["Error"] == "FileNotFoundError"
    assert [name for name, _ in execution.log] == ["acquire", "extract", "extract", "extract", "release"]
    assert functions().bucket.status().free == 1


def test_a_task_that_hangs_is_killed_at_its_timeout_and_the_lease_is_released(functions, tmp_path):
    hangs = tmp_path / "pipe"
    os.mkfifo(hangs)
    execution = Execution(functions, hangs)

    def invoke(function, payload, seconds):
        if function != "${Extract}":
            return execution.invoke(function, payload, seconds)
        line = [sys.executable, FOLDER / "try_it.py", "--task", "extract", str(seconds)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        with subprocess.Popen(line, stdin=subprocess.PIPE, env=environment) as process:
            process.stdin.write(json.dumps(payload).encode())
            process.stdin.close()
            writer = []

            def reads():
                assert process.poll() is None
                try:
                    writer.append(os.open(hangs, os.O_WRONLY | os.O_NONBLOCK))
                except OSError:  # nobody has opened it to read yet
                    return False
                return True

            wait_until(reads)
            assert functions().bucket.try_acquire() is None
            process.kill()
        os.close(*writer)
        execution.log.append(("extract", "killed"))
        raise try_it.TaskFailed("States.Timeout")

    succeeded, last = execution.run(invoke)
    assert (succeeded, last["Error"]) == (False, "States.Timeout")
    assert execution.log.count(("extract", "killed")) == 3
    assert execution.log[-1] == ("release", "done")
    assert functions().bucket.status().free == 1


def test_a_lost_answer_of_acquire_leaves_no_second_lease(functions, execution):
    execution.after["acquire"] = lost
    seen = []
    execution.before["extract"] = lambda number: seen.extend(functions().bucket.status().leases)
    assert execution.run()[0]
    assert [name for name, _ in execution.log] == ["acquire", "acquire", "extract", "load", "release"]
    assert len(seen) == 1
    assert functions().bucket.status().free == 1


def test_if_no_answer_of_acquire_comes_its_lease_is_released_all_the_same(functions, execution):
    def never(number, result):
        raise try_it.TaskFailed("States.Timeout")

    execution.after["acquire"] = never
    succeeded, last = execution.run()
    assert (succeeded, last["Error"]) == (False, "States.Timeout")
    assert {name for name, _ in execution.log} == {"acquire", "release"}
    assert functions().bucket.status().free == 1


def test_lost_answers_of_the_others_do_no_harm(functions, execution):
    execution.after |= {"extract": lost, "load": lost, "release": lost}
    assert execution.run()[0]
    assert functions().bucket.status().free == 1


@pytest.mark.parametrize("how", ["revoke", "release"])
def test_a_lease_that_an_operator_ends_ends_the_execution_before_its_next_task(functions, execution, how):
    def end(number, result):
        sandbox = functions()
        (lease,) = sandbox.leases_of(OURS)
        assert getattr(sandbox.bucket, how)(lease.lease_id)

    execution.after["extract"] = end
    succeeded, last = execution.run()
    assert (succeeded, last["Error"]) == (False, "LeaseEnded")
    assert [name for name, _ in execution.log] == ["acquire", "extract", "load", "release"], "it is not tried again"
    assert functions().bucket.status().leases == ()


def test_no_task_begins_with_a_lease_that_may_end_before_it(functions, execution):
    made = functions

    def short():
        sandbox = made()
        sandbox.LEASE = 330  # as long as a task may take, and no longer
        return sandbox

    execution.functions = short
    succeeded, last = execution.run()
    assert (succeeded, last["Error"]) == (False, "LeaseEnded")
    assert [name for name, _ in execution.log] == ["acquire", "extract", "release"]


def test_who_comes_late_with_an_old_fence_stores_nothing(functions, tmp_path):
    sandbox = functions()
    sandbox.store(tmp_path / "target", rows=3, fence=8)
    with pytest.raises(sandbox.LeaseEnded):
        sandbox.store(tmp_path / "target", rows=1, fence=7)
    assert json.loads((tmp_path / "target").read_text()) == {"rows": 3, "fence": 8}


def test_a_container_goes_on_with_the_lease_and_hands_it_over_again(functions, tmp_path, monkeypatch):
    (tmp_path / "container.py").write_text(SNIPPETS.of()[1].program(tmp_path / "ran"))
    monkeypatch.setitem(sys.modules, "functions", functions())
    container = module("container", tmp_path / "container.py")
    event, done = {"execution": OURS}, []
    first = functions().acquire(event, Context(30))
    later = container.work(first["token"], OURS, [lambda: done.append(functions().bucket.status().free)])
    assert done == [0]
    assert later["fence"] > first["fence"]
    functions().check(event | {"lease": later}, Context(300))
    with pytest.raises(LeaseLost):
        container.work(first["token"], OURS, [lambda: done.append("twice")])
    with pytest.raises(AcquireTimeout):
        functions().acquire({"execution": OTHERS}, Context(30))
    assert functions().release(event, Context(30)) == {"released": 1}
