"""Run workflow.asl.json on this machine, without AWS: each task in a process of its own, as in a sandbox of Lambda's.

$ python try_it.py FILE

It knows what that definition uses of the Amazon States Language, and no more.
"""

import json
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent


class TaskFailed(Exception):
    def __init__(self, error, cause=""):
        super().__init__(error, cause)
        self.error = error
        self.cause = cause


def run(definition, given, *, execution, invoke, pause=time.sleep, tell=print):
    """Execute the state machine. Returns whether it succeeded, and the last state's data."""
    name, data = definition["StartAt"], given
    while (state := definition["States"][name])["Type"] == "Task":
        began = data
        name, data = task(state, data, execution=execution, invoke=invoke, pause=pause, tell=tell)
        tell(f"-> {name}", json.dumps({key: data[key] for key in data if data[key] != began.get(key)}))
    if state["Type"] == "Fail":
        return False, {"Error": at(state["ErrorPath"], data), "Cause": at(state["CausePath"], data)}
    return True, data


def task(state, data, *, execution, invoke, pause, tell):
    """The next state's name, and its input."""
    context = {"Execution": {"Id": execution}}
    parameters = filled(state["Parameters"], data, context)
    tries = Counter()
    while True:
        try:
            result = invoke(parameters["FunctionName"], parameters["Payload"], state["TimeoutSeconds"])
        except TaskFailed as failed:
            tell(f"   {failed.error}: {failed.cause}")
            number, retrier = matching(state.get("Retry", []), failed.error)
            if retrier and tries[number] < retrier.get("MaxAttempts", 3):
                seconds = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2) ** tries[number]
                tries[number] += 1
                pause(min(seconds, retrier.get("MaxDelaySeconds", seconds)))
                continue
            _, catcher = matching(state.get("Catch", []), failed.error)
            caught = {"Error": failed.error, "Cause": failed.cause}
            return catcher["Next"], data | {catcher["ResultPath"].removeprefix("$."): caught}
        selected = filled(state["ResultSelector"], {"Payload": result}, context)
        return state["Next"], data | {state["ResultPath"].removeprefix("$."): selected}


def matching(handlers, error):
    for number, handler in enumerate(handlers):
        if {"States.ALL", error} & set(handler["ErrorEquals"]):
            return number, handler
    return None, None


def filled(template, data, context):
    """A template whose fields that end in `.$` are paths into the data, or with `$$.` into the context."""
    if not isinstance(template, dict):
        return template
    return {
        key.removesuffix(".$"): (
            at(value.replace("$$", "$", 1), context if value.startswith("$$") else data)
            if key.endswith(".$")
            else filled(value, data, context)
        )
        for key, value in template.items()
    }


def at(path, data):
    for part in path.removeprefix("$.").split("."):
        data = data[part]
    return data


def in_a_process(function, payload, seconds):
    """Call a function of functions.py in a process of its own, which is killed when its time is over."""
    line = [sys.executable, str(HERE / "try_it.py"), "--task", function.strip("${}").lower(), str(seconds)]
    try:
        done = subprocess.run(
            line, input=json.dumps(payload), capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise TaskFailed("States.Timeout") from None
    if done.returncode:
        raise TaskFailed("Runtime.ExitError", done.stderr.strip())
    answer = json.loads(done.stdout.splitlines()[-1])
    if "errorType" in answer:
        raise TaskFailed(answer["errorType"], answer["errorMessage"])
    return answer["result"]


def serve(function, seconds):
    """In that process: call it as Lambda does, and print what it returned or raised."""
    until = time.monotonic() + seconds

    class Context:
        def get_remaining_time_in_millis(self):
            return int((until - time.monotonic()) * 1000)

    import functions

    try:
        answer = {"result": getattr(functions, function)(json.load(sys.stdin), Context())}
    except Exception as error:
        answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    if sys.argv[1] == "--task":
        serve(sys.argv[2], float(sys.argv[3]))
    else:
        definition = json.loads((HERE / "workflow.asl.json").read_text())
        succeeded, last = run(definition, {"file": sys.argv[1]}, execution=str(uuid.uuid4()), invoke=in_a_process)
        print("SUCCEEDED" if succeeded else f"FAILED: {last['Error']}: {last['Cause']}")
        sys.exit(not succeeded)
