"""Results and pages committed in a git revision, read without checking anything out or pulling data."""

import io
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from cilp.errors import UserError

RESULTS = ("params.yaml", "dvc.lock", "metrics", "costs", "plots")
PAGES = ("README.md", "docs")
"""What is said of the results; of the folder, the pages alone."""


@dataclass(frozen=True)
class Revision:
    """A commit, and the folder that holds a copy of its results."""

    name: str
    sha: str
    root: Path

    def __str__(self) -> str:
        return f"`{self.sha[:7]}`" if self.name == "HEAD" else f"`{self.name}` (`{self.sha[:7]}`)"


def read_revision(name: str, target: Path, repository: Path = Path()) -> Revision:
    """Copy the results and pages committed in revision ``name`` of ``repository`` into the empty folder ``target``.

    Raises:
        UserError: there is no such revision or experiment, or it holds no params.
    """
    sha = commit_of(name, repository)
    listed = _git(repository, "ls-tree", "-r", "--name-only", "-z", sha, "--", *RESULTS, *PAGES).split("\0")[:-1]
    paths = [path for path in listed if not path.startswith("docs/") or path.endswith(".md")]
    if "params.yaml" not in paths:
        raise UserError(f"{name} holds no params.yaml; name a revision of the study.")
    archive = subprocess.run(["git", "archive", sha, "--", *paths], cwd=repository, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        checked = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in Python before 3.11.4
        files.extractall(target, **checked)
    return Revision(name, sha, target)


def commit_of(name: str, repository: Path = Path()) -> str:
    """The commit of a branch, tag or other revision, or of the latest experiment that DVC keeps by this ``name``.

    Raises:
        UserError: there is none.
    """
    if sha := _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip():
        return sha
    latest = ["for-each-ref", "--sort=-committerdate", "--count=1", "--format=%(objectname)"]
    if re.fullmatch(r"[\w-]+", name) and (sha := _git(repository, *latest, f"refs/exps/*/*/{name}").strip()):
        return sha
    raise UserError(
        f"{name} is no revision of this repository and no experiment; name a branch, tag or commit, or fetch it first."
    )


def fork_point(base: str, head: str, repository: Path = Path()) -> str:
    """The commit at which ``head`` left ``base``: what came into ``base`` since is no change of ``head``.

    ``base`` itself, if the two have no common history here (as in a shallow clone).
    """
    sides = [commit_of(name, repository) for name in (base, head)]
    return _git(repository, "merge-base", *sides).strip() or sides[0]


def current_branch(repository: Path = Path()) -> str:
    """The name of the branch that is checked out, or ``HEAD``."""
    return _git(repository, "rev-parse", "--abbrev-ref", "HEAD").strip() or "HEAD"


def _git(repository: Path, *arguments: str) -> str:
    """What git prints; nothing, if it fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("git is missing; install it.") from None
    return done.stdout if done.returncode == 0 else ""
