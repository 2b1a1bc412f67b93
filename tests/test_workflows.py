"""What runs on GitHub has no more rights than it needs."""

import json
import os
import re
import shutil
import subprocess
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


GH = """#!/bin/sh
echo "$@" >> called
case "$*" in *--jq*) for filter; do :; done; jq -r "$filter" comments.json;; esac
"""
"""As much of GitHub's client as the step needs."""


@pytest.mark.skipif(shutil.which("jq") is None, reason="filters as gh does")
@pytest.mark.parametrize("known", [None, 3])
def test_the_report_replaces_its_own_comment_and_no_other(tmp_path, known):
    (tmp_path / "report.md").write_text("| metric |")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gh").write_text(GH)
    (tmp_path / "bin/gh").chmod(0o755)
    steps = yaml.safe_load((ROOT / ".github/workflows/report.yml").read_text())["jobs"]["comment"]["steps"]
    (step,) = [step for step in steps if step.get("name", "").startswith("Comment")]
    marked = "<!-- report of results -->\nold"
    comments = [(1, "someone", marked), (2, "github-actions[bot]", f"coverage, not {marked}")]
    comments += [(known, "github-actions[bot]", marked)] if known else []
    comments += [(4, "github-actions[bot]", "coverage")]
    shown = [{"id": number, "user": {"login": login}, "body": body} for number, login, body in comments]
    (tmp_path / "comments.json").write_text(json.dumps(shown))
    environment = {"PATH": f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}", "NUMBER": "7", "REPOSITORY": "a/b"}
    command = ["bash", "-eo", "pipefail", "-c", step["run"]]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    *_, last = (tmp_path / "called").read_text().splitlines()
    method = "PATCH repos/a/b/issues/comments/3" if known else "POST repos/a/b/issues/7/comments"
    assert last == f"api --method {method} --field body=@comment.md"
    assert (tmp_path / "comment.md").read_text() == "<!-- report of results -->\n| metric |"
