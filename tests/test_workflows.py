"""What runs on GitHub has no more rights than it needs."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_rights_are_few_and_code_of_others_is_pinned(path):
    workflow = yaml.safe_load(path.read_text())
    triggers = workflow[True]  # YAML 1.1 reads `on` so
    assert not {"pull_request_target", "workflow_run"} & set(triggers)
    for job in workflow["jobs"].values():
        rights = job.get("permissions", workflow["permissions"])
        writes = {name for name, right in rights.items() if right != "read"}
        uses = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", use) for use in uses)
        checkout = [step for step in job["steps"] if "checkout" in step.get("uses", "")]
        assert all(step["with"]["persist-credentials"] is False for step in checkout)
        assert not (writes and checkout), "a job that may write runs no code of a pull request"
        assert writes <= {"pull-requests"}
        for step in job["steps"]:  # what others choose, such as a branch's name, reaches a shell as a variable only
            assert "${{" not in step.get("run", "")


def test_the_report_runs_the_projects_own_command():
    steps = yaml.safe_load((ROOT / ".github/workflows/report.yml").read_text())["jobs"]["report"]["steps"]
    (command,) = [step["run"] for step in steps if step.get("name") == "Report"]
    assert command.startswith("make report READY= ")
    assert re.search(r"^report: \$\(READY\)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
