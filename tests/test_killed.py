"""Stages that are killed, or told to stop: what they leave, and how they go on."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clone import ENVIRONMENT, run, set_params
from tiny import SEEDS

KILLED = """
import os, runpy, signal, sys
from pathlib import Path
from cilp.training import unfinished
from cilp.training.unfinished import Unfinished

state, sys.argv = sys.argv[1], sys.argv[2:]
unfinished.SECONDS_BETWEEN_SAVES = 0.0
saved, save = [], Unfinished.save

def save_and_die(self, content):
    save(self, content)
    saved.append(self.path)
    if saved.count(Path(state)) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

Unfinished.save = save_and_die
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def killed_once(project, warm, command, state, results):
    """Run a stage's command, kill it by the one signal that nothing can catch, and run it again.

    It saves states at each validation, and dies once it has saved ``state`` twice, before it writes ``results``.
    Returns what the second run printed.
    """
    environment = {**ENVIRONMENT, "WANDB_MODE": "disabled"}
    dying = [sys.executable, "-c", KILLED, state, *command[1:]]
    killed = subprocess.run(dying, cwd=project, env=environment, capture_output=True, text=True, timeout=200)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (project / state).exists()
    assert not any((project / name).exists() for name in results)
    return run(project, *command, WANDB_MODE="disabled", **warm)


def remove(project, names):
    """So that what is there afterwards was written by what runs next; gives what it was."""
    before = [(project / name).read_bytes() for name in names]
    for name in names:
        (project / name).unlink()
    return before


def test_killed_training_goes_on_and_ends_with_the_same_bytes(sandbox, warm):
    """In the midst of the second seed."""
    set_params(sandbox, {"fusion": {"late": {"epochs": 6, "batch_size": 2}}})
    command = ["python", "stages/train_fusion.py", "--fusion", "late", "--downsampling", "strided"]
    results = [f"metrics/fusion/late-strided.{suffix}" for suffix in ("json", "csv")]
    results += ["plots/fusion/late-strided.csv", *(f"models/fusion/late-strided/seed-{seed}.pt" for seed in SEEDS)]
    remove(sandbox, results[:2])
    output = killed_once(sandbox, warm, command, "unfinished/train_fusion@late-strided/seed-52.pt", results[:2])
    assert "seed 51: goes on after step 48 of 48" in output
    assert "seed 52: goes on after step 16 of 48" in output
    assert not (sandbox / "unfinished/train_fusion@late-strided").exists()
    resumed = remove(sandbox, results)
    run(sandbox, *command, WANDB_MODE="disabled", **warm)
    assert remove(sandbox, results) == resumed


@pytest.mark.parametrize(
    ("command", "state", "results"),
    [
        pytest.param(
            ["stages/ablate_cilp.py", "--recipe", "reference"],
            "unfinished/ablate_cilp@reference/seed-51.pt",
            ["metrics/cilp_ablation/reference.json"],
            id="in a row of the ablation",
        ),
        pytest.param(
            ["stages/train_random_size_cilp.py", "--seed", "51"],
            "unfinished/train_random_size_cilp@51/cilp/seed-51.pt",
            [f"models/random_size/{name}/seed-51.pt" for name in ("lidar", "rgb2lidar")],
            id="on random sizes",
        ),
    ],
)
def test_killed_pretraining_goes_on_and_ends_with_the_same_bytes(sandbox, warm, command, state, results):
    """Where it is one part of a stage: what was trained before it is not trained again."""
    set_params(sandbox, {"cilp_ablation": {"pairs": 192}, "cilp": {"steps": 24}})
    command = ["python", *command]
    remove(sandbox, results)
    output = killed_once(sandbox, warm, command, state, results)
    assert re.search(r"CILP, .*: goes on after step 4 of 24", output)
    if "--seed" in command:
        assert re.search(r"lidar, random size, seed 51: goes on after step (\d+) of \1", output)
    assert not (sandbox / "unfinished" / Path(state).parts[1]).exists()
    resumed = remove(sandbox, results)
    run(sandbox, *command, WANDB_MODE="disabled", **warm)
    assert remove(sandbox, results) == resumed


def heed_signals():
    """Those that a job in the background, or below nohup, ignores."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_an_experiment_that_is_ended_leaves_git_on_its_branch(changing):
    """In the work tree, where DVC takes HEAD off it; and no stage that goes on."""
    branch = run(changing, "git", "symbolic-ref", "HEAD")
    settings = ["-S", "fusion.late.epochs=10000", "-S", "fusion.late.batch_size=2"]
    command = [sys.executable, "-m", "cilp.pipeline.warm", "dvc", "exp", "run", *settings, "train_fusion@late-maxpool"]
    experiment = subprocess.Popen(
        command, cwd=changing, env={**ENVIRONMENT, "WANDB_MODE": "disabled"}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=heed_signals,
    )  # fmt: skip
    try:
        said = iter(experiment.stdout.readline, "")
        assert any("late-maxpool seed 51: " in line for line in said)
        assert subprocess.run(["git", "symbolic-ref", "-q", "HEAD"], cwd=changing, check=False).returncode
        os.killpg(experiment.pid, signal.SIGTERM)
        assert "Traceback" not in "".join(said)  # to the end of the last process that can say something
        assert experiment.wait(30) == 128 + signal.SIGTERM
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(experiment.pid, signal.SIGKILL)
    assert run(changing, "git", "symbolic-ref", "HEAD") == branch


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "terminated")],
)
def test_a_signal_ends_training_with_one_line(sandbox, number, code, word):
    set_params(sandbox, {"fusion": {"late": {"epochs": 10_000}}})
    command = [sys.executable, "stages/train_fusion.py", "--fusion", "late", "--downsampling", "maxpool"]
    training = subprocess.Popen(
        command,
        cwd=sandbox,
        env={**ENVIRONMENT, "WANDB_MODE": "disabled"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_signals,
    )
    try:
        assert "late-maxpool: 2 seeds" in training.stdout.readline()
        time.sleep(1)
        start = time.monotonic()
        training.send_signal(number)
        said = training.stderr.readline()
        assert time.monotonic() - start < 10  # at once, not after 10,000 epochs; the machine may be busy
        _, errors = training.communicate(timeout=30)
    finally:
        training.kill()
    assert training.returncode == code
    assert (said, errors) == (f"{word}\n", "")
    assert not [path for path in sandbox.rglob("*.tmp") if "wandb" not in path.parts]
