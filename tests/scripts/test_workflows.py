"""The workflows for a public forge call scripts that are there, and what they may do is said."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_our_own_scripts_with_few_permissions(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert runs
    for line in runs:
        script = ROOT / line.split()[0]
        assert script.stat().st_mode & 0o111, line
        for option in re.findall(r"--[\w-]+", line):
            assert option in script.read_text(), line
    uses = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert uses
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used) for used in uses), "a tag may be moved, a commit may not"


def test_each_supported_version_of_python_is_tried():
    gate = yaml.safe_load((ROOT / ".github" / "workflows" / "gate.yml").read_text())
    tried = {"3.11", *gate["jobs"]["suite"]["strategy"]["matrix"]["python"]}
    declared = re.findall(r'Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert set(declared) <= tried
    (line,) = [step["run"] for step in gate["jobs"]["suite"]["steps"] if "run" in step]
    assert line.startswith("scripts/test --python "), "as anyone can run it"
    assert '>=3.10"' in (ROOT / "pyproject.toml").read_text()
    assert "3.10" in tried
