"""Keeps what a user has configured for the tools out of the tests."""

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

import cilp  # noqa: F401 - before PyTorch, so that no garbage is looked for while that is imported

_settings = Path(tempfile.mkdtemp(prefix="settings-"))
(_settings / "tmp").mkdir()
OF_TOOLS = ("FIFTYONE_", "WANDB_", "DVC_", "HF_", "KAGGLE", "AWS_", "TRITON_")
for name in [name for name in os.environ if name.startswith(OF_TOOLS)]:
    del os.environ[name]
os.environ |= {
    "OMP_NUM_THREADS": "1",  # other workers work at the same time, and what fails beside them has the same bits alone
    "LC_ALL": "C.UTF-8",  # what git says is matched, in its own words
    "DVC_NO_ANALYTICS": "1",
    "DVC_GLOBAL_CONFIG_DIR": str(_settings / "dvc"),
    "DVC_SYSTEM_CONFIG_DIR": str(_settings / "dvc"),
    "DVC_SITE_CACHE_DIR": str(_settings / "dvc-site"),  # which gains a folder for every clone that there ever was
    "TRITON_CACHE_DIR": str(_settings / "triton"),
    "FIFTYONE_DO_NOT_TRACK": "1",
    "FIFTYONE_CONFIG_PATH": str(_settings / "fiftyone.json"),  # read when fiftyone is imported, hence not in a fixture
    "MPLCONFIGDIR": str(_settings / "matplotlib"),
    "TMPDIR": str(_settings / "tmp"),  # of processes that tests start: what is killed leaves its temporary files
}
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in the background, which all processes inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _listen_on_loopback(server: socket.socket, *backlog: int, listen=socket.socket.listen) -> None:
    """No server within a test is there for the network."""
    here = server.family == getattr(socket, "AF_UNIX", None) or server.getsockname()[0] in ("127.0.0.1", "::1")
    assert here, f"{server.getsockname()} is not loopback"
    listen(server, *backlog)


socket.socket.listen = _listen_on_loopback

NEED_NO_CLONE = (
    "test_app.py",
    "test_subset.py",
    "test_unfinished.py",
    "test_contrastive.py",
    "test_fuzz_readers.py",
    "test_fuzz_params.py",
    "test_simulation.py",
    "test_training.py",
)
SHARE_THE_CLONE = (
    "test_reruns.py",
    "test_living_with_it.py",
    "test_independence.py",
    "test_killed.py",
    "test_verify.py",
    "test_unchanged.py",
    "test_two_at_once.py",
    "test_distributed.py",
    "test_full_disk.py",
    "test_secrets.py",
)
ORDER = ("test_pipeline.py", *NEED_NO_CLONE, *SHARE_THE_CLONE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, with the clone that it makes; meanwhile other long ones, then what needs the clone too.

    Short files come last, so that no worker is left with a long one alone.
    """
    items.sort(key=lambda item: ORDER.index(item.path.name) if item.path.name in ORDER else len(ORDER))


@pytest.fixture(autouse=True)
def denormals() -> None:
    """A training takes numbers below 1.2e-38 for zero, in all of its process: no test begins in such a one."""
    if torch := sys.modules.get("torch"):  # not imported for this alone
        torch.set_flush_denormal(False)


DVC = ("dvc.cli", "dvc.commands.repro", "dvc.commands.experiments.run", "dvc.repo.index", "dvc.stage.run", "networkx")


@pytest.fixture(scope="session")
def quick_dvc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For every command, ``dvc`` is what ``make repro`` runs, as a fork of a process that has imported it: a second
    less, a hundred times. What kills DVC runs it by itself, as ``python -m dvc``.
    """
    import clone
    import declared

    from cilp.pipeline.warm import serving

    folder = tmp_path_factory.mktemp("bin")
    dvc = "import sys\nfrom cilp.pipeline.quick_dvc import main\nsys.exit(main())\n"
    with serving(clone.ENVIRONMENT, DVC, scripts=str(folder)) as first:
        for name, script in (("dvc", dvc), ("declared-params", declared.LISTING)):
            (folder / name).write_text(script)
            (first / name).write_text(f'#!/bin/sh\nexec "{first}/python" "{folder / name}" "$@"\n')
            (first / name).chmod(0o755)
        before = clone.ENVIRONMENT["PATH"]
        clone.ENVIRONMENT["PATH"] = f"{first}{os.pathsep}{before}"
        yield
        clone.ENVIRONMENT["PATH"] = before


@pytest.fixture(scope="session")
def warm(quick_dvc: None) -> Iterator[dict[str, str]]:
    """Of an environment, what has ``python stages/...`` start at once, as ``make repro`` does.

    For the dozens of stages that DVC runs here one after the other. What is about processes (signals, kills, locks, two
    at once) runs stages by themselves; so does a test of ``make verify``, byte for byte with what came of forks.
    """
    from clone import ENVIRONMENT

    from cilp.pipeline.warm import serving

    with serving(ENVIRONMENT) as first:
        (first / "dvc").unlink()  # which imports DVC anew; the other one is the same
        yield {"PATH": f"{first}{os.pathsep}{ENVIRONMENT['PATH']}"}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, quick_dvc: None) -> Path:
    """A clone of the working tree in which ``dvc repro`` has run once, everything committed.

    The first worker to ask makes it, each has a copy of its own, and ``changing`` puts back what a test changes. It ran
    with tokens in the environment, which must have left no trace, and each stage without the params that it does not
    declare; ``.git`` holds its home and what it printed.
    """
    import declared
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
            warm = request.getfixturevalue("warm")
            seeing_little = declared.hide_the_rest(made, warm)
            printed = run(made, "dvc", "repro", HOME=str(home), WANDB_MODE="offline", **VARIABLES, **seeing_little)
            (made / ".git/printed").write_text(printed)
            commit(made, "results")
            (made / ".git/made").touch()
    return shutil.copytree(made, tmp_path_factory.mktemp("clone") / "project", symlinks=True)


@pytest.fixture
def changing(project: Path) -> Iterator[Path]:
    """The project, for what DVC or git has to see changed: whatever a test does to it, or commits, is put back."""
    from clone import run

    base = run(project, "git", "rev-parse", "HEAD").strip()
    try:
        yield project
    finally:
        run(project, "git", "reset", "--quiet", "--hard", base)
        run(project, "git", "clean", "-d", "--force", "--quiet", "src", "stages")
        (project / ".dvc/config.local").unlink(missing_ok=True)
        run(project, "dvc", "checkout", "--quiet", "--force")


@pytest.fixture
def sandbox(project: Path, tmp_path: Path) -> Path:
    """A copy of the project's files to change, without DVC."""
    return shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns(".git", ".dvc", "wandb"))


def pytest_unconfigure() -> None:
    shutil.rmtree(_settings, ignore_errors=True)
