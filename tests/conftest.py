"""Keeps what a user has configured for the tools out of the tests."""

import os
import shutil
import tempfile
from pathlib import Path

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


def pytest_collection_modifyitems(items: list) -> None:
    """The longest file first, so that the others are done beside it."""
    items.sort(key=lambda item: "test_pipeline" not in item.nodeid)


def pytest_unconfigure() -> None:
    shutil.rmtree(_settings, ignore_errors=True)
