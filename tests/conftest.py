"""Keeps what a user has configured for the tools out of the tests."""

import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

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


def _listen_on_loopback(server: socket.socket, *backlog: int, listen=socket.socket.listen) -> None:
    """No server within a test is there for the network."""
    here = server.family == getattr(socket, "AF_UNIX", None) or server.getsockname()[0] in ("127.0.0.1", "::1")
    assert here, f"{server.getsockname()} is not loopback"
    listen(server, *backlog)


socket.socket.listen = _listen_on_loopback

SHARE_THE_CLONE = {
    "test_pipeline.py": 0,
    **dict.fromkeys(["test_living_with_it.py", "test_distributed.py", "test_secrets.py", "test_two_at_once.py"], 2),
    "test_full_disk.py": 2,
    "test_verify.py": 2,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, with the clone that it makes; what needs that as well comes last, when it is there."""
    items.sort(key=lambda item: SHARE_THE_CLONE.get(item.path.name, 1))


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the working tree in which ``dvc repro`` has run once, everything committed.

    The first worker to ask makes it, each has a copy of its own, and a test that changes it puts it back. It ran with
    tokens in the environment, which must have left no trace; ``.git`` holds its home and what it printed.
    """
    from canaries import VARIABLES
    from clone import clone, commit, run  # which takes a copy of the environment as it stands now
    from tiny import TINY

    folder = tmp_path_factory.getbasetemp()
    made = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "pipeline"
    with FileLock(f"{made}.lock"):
        if not (made / ".git/made").exists():
            made.mkdir()
            clone(made, TINY)
            home = made / ".git/home"
            home.mkdir()
            printed = run(made, "dvc", "repro", HOME=str(home), WANDB_MODE="offline", **VARIABLES)
            (made / ".git/printed").write_text(printed)
            commit(made, "results")
            (made / ".git/made").touch()
    return shutil.copytree(made, tmp_path_factory.mktemp("clone") / "project", symlinks=True)


@pytest.fixture
def sandbox(project: Path, tmp_path: Path) -> Path:
    """A copy of the project's files to change, without DVC."""
    return shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns(".git", ".dvc", "wandb"))


def pytest_unconfigure() -> None:
    shutil.rmtree(_settings, ignore_errors=True)
