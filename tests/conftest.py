"""Keeps what a user has configured for the tools out of the tests."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

_settings = Path(tempfile.mkdtemp(prefix="settings-"))
for name in [name for name in os.environ if name.startswith(("FIFTYONE_", "WANDB_", "DVC_"))]:
    del os.environ[name]
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # the others work at the same time
os.environ |= {
    "DVC_NO_ANALYTICS": "1",
    "FIFTYONE_DO_NOT_TRACK": "1",
    "FIFTYONE_CONFIG_PATH": str(_settings / "fiftyone.json"),  # read when fiftyone is imported, hence not in a fixture
    "MPLCONFIGDIR": str(_settings / "matplotlib"),
}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests of one file stay together on a worker, and so do all that share the pipeline's clone."""
    group = "pipeline" if "project" in item.fixturenames else item.path.name
    item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pipeline's first: they last the longest, and the others are done beside them."""
    items.sort(key=lambda item: "project" not in item.fixturenames)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the working tree in which ``dvc repro`` has run once, everything committed; a test that changes it
    puts it back."""
    from clone import clone, commit, run  # which takes a copy of the environment as it stands now
    from tiny import TINY

    project = clone(tmp_path_factory.mktemp("clone"), TINY)
    run(project, "dvc", "repro")
    commit(project, "results")
    return project


@pytest.fixture
def sandbox(project: Path, tmp_path: Path) -> Path:
    """A copy of the project's files to change, without DVC."""
    return shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns(".git", ".dvc", "wandb"))


def pytest_unconfigure() -> None:
    shutil.rmtree(_settings, ignore_errors=True)
