"""A clone of the working tree, made tiny by params, in which commands run as on a machine of nobody's."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MAKE = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in MAKE},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": "src",
    "NETRC": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}
"""This machine's environment, without what a user may have configured for git and W&B, and without the traces of a
`make test` that runs all this: the make of a test is a first one."""


def clone(project, params, root=ROOT):
    """Copy the working tree at ``root`` to ``project``, a folder that is there, change its params, and commit.

    The lock file stays behind: it is of other params, and DVC reads and writes all of it with each stage that runs.
    """
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file() and name != "dvc.lock":
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, project / name)
    run(project, "git", "init", "--quiet")
    set_params(project, params)
    commit(project, "tiny")
    return project


def committed(name):
    """A file as committed: what lies uncommitted in the working tree, such as another run, does not count."""
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("not a git checkout")
    return subprocess.run(["git", "show", f"HEAD:{name}"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def committed_results(folder):
    """Put what the last commit holds of params and results into ``folder``."""
    committed("dvc.lock")  # or there is no commit
    names = ("params.yaml", "dvc.lock", "metrics", "costs")
    archive = subprocess.run(["git", "archive", "HEAD", *names], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder, filter="data")
    return folder


def merge(base, change):
    """``change`` put into ``base``; None removes a key."""
    for key, value in change.items():
        if value is None:
            del base[key]
        else:
            base[key] = merge(base.get(key, {}), value) if isinstance(value, dict) else value
    return base


def set_params(project, change):
    path = project / "params.yaml"
    path.write_text(yaml.safe_dump(merge(yaml.safe_load(path.read_text()), change), sort_keys=False))


def run(project, *command, code=0, **environment):
    """Run a command in ``project`` and return what it printed; fail with that when its exit code is another."""
    done = subprocess.run(
        command,
        cwd=project,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def commit(project, message):
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", message)
