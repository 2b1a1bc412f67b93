"""What people do with the study all day: try variations, carry results to another machine, open the notebook."""

import json
import os
import re
import shutil
import subprocess
import time

import pytest
import yaml
from clone import ENVIRONMENT, ROOT, run, set_params
from tiny import stages_run

pytestmark = pytest.mark.timeout(420)


def test_a_grid_is_queued_compared_and_the_best_applied(changing, warm):
    """By two workers at the same time, after one that was stopped: of two that make the list of who listens at once,
    one stays out of it (kombu 5.7.0), never hears that it should end, and a pipe that it inherited stays open."""
    run(changing, "dvc", "exp", "remove", "--all-commits")  # of other tests
    background(changing, "dvc", "queue", "start", WANDB_MODE="disabled", **warm)
    wait_until(changing, "0 active, 1 idle")
    run(changing, "dvc", "queue", "stop")
    wait_until(changing, "0 active, 0 idle")
    only = ("--single-item", "train_fusion@late-strided")
    run(changing, "dvc", "exp", "run", "--queue", "-S", "fusion.late.lr=0.0005,0.0001", *only)
    background(changing, "dvc", "queue", "start", "--jobs", "2", WANDB_MODE="disabled", **warm)
    wait_until(changing, "2 active, 0 idle|1 active, 1 idle|0 active, 2 idle")
    deadline = time.monotonic() + 100
    while len(finished(changing)) < 2:  # a worker that is busy may not answer in time, and counts as none
        assert time.monotonic() < deadline, run(changing, "dvc", "queue", "status")
    wait_until(changing, "0 active, 0 idle")
    table = run(changing, "dvc", "exp", "show", "--only-changed", "--md").splitlines()
    columns = [column.strip() for column in table[0].split("|")]
    assert any("late" in column and column.endswith("lr") for column in columns)
    assert not any("hadamard" in column or "seeds" in column for column in columns)  # what is the same is not shown
    rates = {}
    for row in table:
        name = re.search(r"\[([\w-]+)\]", row)
        if name:
            rates[name[1]] = next(float(cell) for cell, column in zip(row.split("|"), columns, strict=True)
                                  if column.endswith("lr"))  # fmt: skip
    assert sorted(rates.values()) == [0.0001, 0.0005]
    run(changing, "dvc", "exp", "apply", min(rates, key=rates.get))
    assert yaml.safe_load((changing / "params.yaml").read_text())["fusion"]["late"]["lr"] == 0.0001


def background(project, *command, **environment):
    """Run what leaves processes behind: they have the output of ``run`` too, which would wait for all of them."""
    subprocess.run(command, cwd=project, env={**ENVIRONMENT, **environment}, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=60, check=True)  # fmt: skip


def wait_until(project, workers):
    """What ``dvc queue status`` says once its last line is that of these workers."""
    deadline = time.monotonic() + 100
    while not re.search(f"Worker status: ({workers})", shown := run(project, "dvc", "queue", "status")):
        assert time.monotonic() < deadline, shown
    return shown


def finished(project):
    """References of the experiments that have ended; those of the queue itself are others."""
    listed = run(project, "git", "for-each-ref", "--format=%(refname)", "refs/exps/").splitlines()
    return [name for name in listed if re.match(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/", name)]


@pytest.fixture
def remote():
    """Address and settings of a DVC remote: a bucket on a stand-in for S3 on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
        import boto3

        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
                              aws_access_key_id="testing", aws_secret_access_key="testing")  # fmt: skip
        client.create_bucket(Bucket="study")
        yield "s3://study/cache", {"endpointurl": f"http://{host}:{port}"}, keys
    finally:
        server.stop()


def test_another_machine_pulls_what_this_one_trained_and_runs_nothing(changing, tmp_path, remote):
    address, settings, keys = remote

    def add_remote(clone):
        run(clone, "dvc", "remote", "add", "--default", "--force", "--local", "box", address)
        for name, value in settings.items():
            run(clone, "dvc", "remote", "modify", "--local", "box", name, value)

    add_remote(changing)
    run(changing, "dvc", "push", "--run-cache", **keys)
    laptop = tmp_path / "laptop"
    run(tmp_path, "git", "clone", "--quiet", str(changing), str(laptop))
    add_remote(laptop)
    run(laptop, "dvc", "pull", "--run-cache", **keys)
    assert not stages_run(run(laptop, "dvc", "repro", **keys))
    for path in (changing / "models").rglob("*.pt"):
        assert (laptop / path.relative_to(changing)).read_bytes() == path.read_bytes()
    # finished runs come along: what made the data does not run again, though neither lock file nor data are there
    (laptop / "dvc.lock").unlink()
    shutil.rmtree(laptop / "data")
    assert not stages_run(run(laptop, "dvc", "repro", "pack", **keys))
    assert (laptop / "data/packed.pt").read_bytes() == (changing / "data/packed.pt").read_bytes()


def test_the_fusion_that_the_readme_adds_trains(sandbox, warm, tmp_path):
    """The diff applies to the files as they are, and what it adds is legal and as large a network as its siblings."""
    (diff,) = re.findall(r"^```diff\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    (tmp_path / "maximum.diff").write_text(diff)
    files = ("params.yaml", "src/cilp/models/fusion/maximum.py")
    assert re.findall(r"^\+\+\+ b/(.*)$", diff, flags=re.MULTILINE) == list(files)
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    run(tmp_path, "git", "apply", "maximum.diff")
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert params["variants"]["fusion"][-1] == "maximum"
    small = {**params["fusion"]["maximum"], "epochs": 1, "batch_size": 8, "lr": 1e-3, "lr_min": 1e-6}
    set_params(sandbox, {"fusion": {"maximum": small}, "variants": {"fusion": ["late", "maximum"]}})
    shutil.copy(tmp_path / files[1], sandbox / files[1])
    run(sandbox, "python", "stages/check_params.py", **warm)
    for downsampling in ("maxpool", "strided"):
        options = ("--fusion", "maximum", "--downsampling", downsampling)
        run(sandbox, "python", "stages/train_fusion.py", *options, WANDB_MODE="disabled", **warm)
    run(sandbox, "python", "stages/compare_fusion.py", **warm)
    assert "| metric | late | maximum |" in (sandbox / "metrics/fusion_comparison.md").read_text()
    assert "| 1,415,051 | 824,201 |" in (sandbox / "metrics/fusion_comparison.md").read_text()


SPACED = "tracking.project='two words'"
NOTE = "import sys\nprint('at once:', 'torch' in sys.modules)\n"


def test_the_notebook_runs_outside_colab(project, tmp_path):
    """From the first cell to the last, on settings small enough; what it shows is there.

    Stages start at once because the notebook has them do so: nothing here does.
    """
    import nbclient
    import nbformat

    copy = shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("wandb"), symlinks=True)
    notebook = nbformat.read(ROOT / "notebooks/colab.ipynb", as_version=4)
    settings = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(settings) == 1
    settings[0].source = f"SETTINGS = {['significance.resamples=999', SPACED]!r}"
    (copy / "stages/significance.py").write_text(f"{NOTE}{(copy / 'stages/significance.py').read_text()}")
    (copy / ".venv").mkdir()
    (copy / ".venv/.ready").touch()  # the environment that runs this test is set up
    client = nbclient.NotebookClient(
        notebook, timeout=300, coalesce_streams=True, resources={"metadata": {"path": str(copy)}}
    )
    environment = dict(os.environ)
    os.environ |= {**ENVIRONMENT, "WANDB_MODE": "disabled"}
    try:
        client.execute()
    finally:
        os.environ.clear()
        os.environ |= environment
    shown = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert "Running stage 'significance'" in shown
    assert "at once: True" in shown
    assert "Running stage 'predict'" not in shown
    tried = ("| test accuracy | workspace |", "| fusion/late-maxpool | 0.")
    for fact in ("| metric | late | Hadamard |", "recall@1", "image/png", *tried):
        assert fact in shown
    assert not any(
        output.get("output_type") == "error" for cell in notebook.cells for output in cell.get("outputs", [])
    )
