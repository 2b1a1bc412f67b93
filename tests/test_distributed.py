"""Two processes that share every batch do what one process does that has it whole."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from clone import ENVIRONMENT, ROOT, run
from synthetic import make_packed

from cilp import params
from cilp.contrastive.pairs import load_pairs
from cilp.contrastive.pretraining import CilpParams, pretrain
from cilp.errors import UserError
from cilp.evaluation.data_efficiency import Reached, write_reached
from cilp.models.embedder import EmbedderParams
from cilp.training.distributed import World
from cilp.training.loop import Run

SCRIPT = """
import os
import sys
from pathlib import Path

import cilp
import torch
from synthetic import make_packed

from cilp.classifiers.fusion import FusionProtocol, network, train_fusion
from cilp.contrastive.pairs import load_pairs
from cilp.contrastive.pretraining import CilpParams, pretrain
from cilp.models import fusion
from cilp.models.embedder import EmbedderParams
from cilp.training import optimizers, unfinished
from cilp.training.classifier import TrainingParams, train_classifier
from cilp.training.device import prepare_device
from cilp.training.distributed import world
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.unfinished import Unfinished

device = prepare_device("cpu")
packed = make_packed()
result = {"processes": world().size}
last = {}  # gradients, which a run lets go of when it is over
for kind in (optimizers.Adam, optimizers.AdamW):
    def step(self, closure=None, take=kind.step):
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        last["gradients"] = torch.cat([parameter.grad.contiguous().flatten() for parameter in parameters])
        return take(self, closure)

    kind.step = step


def keep(name, done):
    result[f"{name} losses"] = torch.tensor([[f.train_loss, f.valid_loss] for f in done.history])
    if last:  # a run that was over when it went on takes no step
        result[f"{name} gradients"] = last.pop("gradients")


def classifier(name, way, epochs, batch, state=None, label=None):
    splits = [load_split(packed, split, device) for split in ("train", "val")]
    params = TrainingParams(epochs=epochs, batch_size=batch, lr=1e-4, lr_min=1e-4)
    keep(
        label or f"{name}-{way}",
        train_classifier(lambda: fusion.build(name, way, 50.0), *splits, params, Run(1, "test", unfinished=state)),
    )


def auxiliary(name, way, epochs, batch):
    splits = [load_split(packed, split, device) for split in ("train", "val")]
    params = FusionProtocol(
        epochs=epochs, batch_size=batch, lr=1e-4, lr_min=1e-4, xyz_scale=50.0, modality_dropout=0.0,
        auxiliary_losses=True,
    )
    keep(f"{name}-{way}-auxiliary", train_fusion(network(name, way, params), *splits, params, Run(1, "test")))


def contrastive(steps, embedder):
    pairs = [load_pairs([(packed, packed.rows(split))], device) for split in ("train", "val")]
    params = CilpParams(
        steps=steps, batch_size=16, schedule="constant", lr=1e-4, temperature="learned", temperature_lr=1e-3,
        weight_decay=1e-2, twins=True, mirror=True, permute_colours=True, unlabelled=False, validate_every=1,
    )
    keep("cilp", pretrain(*pairs, params, embedder, Run(1, "test")))


classifier("late", "strided", 2, 17)  # 48 samples: batches of 17, 17 and 14, of which the odd ones part unequally
auxiliary("add", "strided", 1, 17)  # a loss for each sensor
classifier("concat", "maxpool", 1, 47)  # the last batch is a single sample
# not "he": with biases of zero, black background begins at ReLU's corner, where rounding decides about the gradient
contrastive(3, EmbedderParams("shading", (0.0, 25.0, 0.0), 5.0, True, "torch"))
rank = int(os.environ.get("RANK", "0"))
result["agreement"] = [world().agree(number, device) for number in (3, rank)]
unfinished.SECONDS_BETWEEN_SAVES = 0.0
for name in ("killed", "anew"):  # the process that leads has a state to go on from, the other has none
    classifier("late", "strided", 2, 17, Unfinished(Path(f"{sys.argv[1]}-{rank}"), "mine"), name)
if world().leads:
    torch.save(result, sys.argv[1])
"""


def torchrun(folder, *command, code=0):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return run(folder, *launcher, *command, code=code, WANDB_MODE="disabled")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Losses and last gradients of the same runs in one process and in two."""
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "script.py").write_text(SCRIPT)
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name, start in (("one", [sys.executable]), ("two", launcher)):
        command = [*start, "script.py", f"{name}.pt"]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{name}.pt", weights_only=True) for name in ("one", "two")]


@pytest.mark.parametrize("name", ["late-strided", "add-strided-auxiliary", "concat-maxpool", "cilp"])
def test_losses_and_gradients_are_those_of_one_process(results, name):
    one, two = results
    assert (one["processes"], two["processes"]) == (1, 2)
    torch.testing.assert_close(two[f"{name} losses"], one[f"{name} losses"], rtol=1e-5, atol=1e-5)
    assert one[f"{name} gradients"].abs().max() > 1e-3
    torch.testing.assert_close(two[f"{name} gradients"], one[f"{name} gradients"], rtol=0, atol=1e-5)


def test_processes_that_do_not_have_the_same_state_begin_anew(results):
    one, two = results
    assert (one["agreement"], two["agreement"]) == ([True, True], [True, False])
    for name in ("killed", "anew"):
        assert torch.equal(two[f"{name} losses"], two["late-strided losses"])


def test_a_stage_runs_under_torchrun_and_writes_once(project, sandbox):
    """``project`` holds what one process makes of it."""
    name = "metrics/fusion/late-strided.csv"
    (sandbox / name).unlink()
    output = torchrun(sandbox, "stages/train_fusion.py", "--fusion", "late", "--downsampling", "strided")
    assert output.count("late-strided: 2 seeds on") == 1
    ours, theirs = ((root / name).read_text().splitlines() for root in (sandbox, project))
    assert ours[0] == theirs[0]
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        values = [[float(cell) for cell in row.split(",")] for row in (mine, other)]
        assert values[0] == pytest.approx(values[1], abs=1e-4)


def test_pretraining_needs_equal_shares(monkeypatch):
    monkeypatch.setattr("cilp.contrastive.pretraining.world", lambda: World(0, 2))
    packed = make_packed()
    pairs = load_pairs([(packed, packed.rows("train"))], torch.device("cpu"))
    settings = params.load(ROOT / "params.yaml")
    cilp = replace(params.section(settings, "cilp", CilpParams), batch_size=7)
    with pytest.raises(
        UserError, match=r"^cilp\.batch_size is 7, which 2 processes cannot share equally; change either"
    ):
        pretrain(pairs, pairs, cilp, params.section(settings, "embedder", EmbedderParams), Run(1, "test"))


def test_shares_make_up_the_batch_and_weights_its_mean():
    rows = torch.arange(11)
    loss = rows.double() ** 2
    worlds = [World(rank, 3) for rank in range(3)]
    assert torch.equal(torch.cat([world.share(rows) for world in worlds]), rows)
    parts = [loss[world.share(rows)].mean() * world.weight(world.share(rows), rows) for world in worlds]
    assert sum(parts) / 3 == pytest.approx(loss.mean())
    few = rows[:2]  # fewer than processes
    parts = [loss[world.share(few)].mean() * world.weight(world.share(few), few) for world in worlds]
    assert sum(parts) / 3 == pytest.approx(loss[few].mean())
    assert torch.equal(World().share(rows), rows)
    with pytest.raises(UserError, match="3 processes"):
        worlds[0].check_divides(10, "cilp.batch_size")


def test_the_leading_process_alone_writes_results(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    for world, there in ((World(1, 2), False), (World(0, 2), True)):
        monkeypatch.setattr("cilp.training.distributed.world", lambda world=world: world)
        write_reached(path, [Reached("lidar", "scratch", 25, 51, 0.75)])
        assert path.exists() is there
